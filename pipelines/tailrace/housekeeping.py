"""Upkeep of the ledger between runs: rename, purge, and the list of what was refused."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from tailrace.clock import Clock, iso
from tailrace.errors import DeliveryIncomplete, NothingLanded, NothingSelected
from tailrace.ledger import Ledger
from tailrace.lock import lock
from tailrace.project import Project, did_you_mean
from tailrace.warehouse import open_warehouse


def rename(project: Project, old_name: str, new_name: str, *, clock: Clock) -> dict[str, Any]:
    """Carry an audience's ledger over to a new name, so that nobody enters and nobody exits.

    Raises:
        NothingSelected: The old name is not in the ledger, or the new one already is.
        DeliveryIncomplete: A delivery under the old name is not settled.
    """
    with _locked(project, "rename", clock=clock) as ledger:
        known = [str(row["audience"]) for row in ledger.standing()]
        if old_name not in known:
            suggestion = did_you_mean(old_name, known)
            raise NothingSelected(f'The ledger has no audience "{old_name}".{suggestion}')
        if ledger.snapshot(new_name).name in ledger.warehouse.tables_in(ledger.dataset):
            raise NothingSelected(
                f'The ledger already has an audience "{new_name}"',
                hint=f"Retire it first with: tailrace retire {new_name}",
            )
        if any(each.audience == old_name for each in ledger.unsettled()):
            raise DeliveryIncomplete(
                f"A delivery of {old_name} is not settled", hint="Finish it with: tailrace sync"
            )
        ledger.rename(old_name, new_name)
    return {"renamed": {"from": old_name, "to": new_name}}


def purge(project: Project, *, older_than: timedelta, clock: Clock) -> dict[str, Any]:
    """Forget what was settled longer ago: outbox rows, acks, rejections, tombstones."""
    before = clock.now() - older_than
    with _locked(project, "purge", clock=clock) as ledger:
        return {"before": iso(before), "forgotten": ledger.purge(before=before)}


def rejected(project: Project, *, clock: Clock) -> dict[str, Any]:
    """What was refused and is not settled, by audience and reason."""
    with open_warehouse(project, clock=clock, read_only=True) as warehouse:
        return {"rejected": Ledger(warehouse, clock=clock).rejected()}


@contextmanager
def _locked(project: Project, command: str, *, clock: Clock) -> Iterator[Ledger]:
    with open_warehouse(project, clock=clock) as warehouse:
        ledger = Ledger(warehouse, clock=clock)
        if not ledger.installed:
            raise NothingLanded("There is no ledger yet", hint="tailrace run")
        owner = secrets.token_hex(8)
        with lock(ledger, owner=owner, run_id=command, clock=clock):
            yield ledger
