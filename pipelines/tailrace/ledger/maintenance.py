"""Ledger maintenance between runs: rename, purge, and the list of rejections."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from tailrace.audience.ledger_keys import ledger_key
from tailrace.clock import Clock, format_utc
from tailrace.config.project import ProjectConfig
from tailrace.errors import DeliveryIncomplete, NothingLanded, NothingSelected
from tailrace.ledger.audiences import no_such_audience
from tailrace.ledger.ledger import Ledger
from tailrace.ledger.lock import lock
from tailrace.ledger.runs import Run
from tailrace.warehouse.opening import open_warehouse
from tailrace.warehouse.statements import Binding, TableName

# A receiver may drop a message id that it took in the last 24 hours.
REMEMBERED_HOURS = 24


def rename(project: ProjectConfig, old_name: str, new_name: str, *, clock: Clock) -> dict[str, Any]:
    """Carry an audience's ledger over to a new name, so that no member enters or exits.

    Raises:
        NothingSelected: The old name is not in the ledger, or the new one already is or is not
            a valid name.
        DeliveryIncomplete: A delivery under the old name is pending.
    """
    # `status` reads rejections, and does not pay for importing the SQL tools.
    from tailrace.models.file import NAME_HINT, is_name

    if not is_name(new_name):
        raise NothingSelected(f'"{new_name}" cannot be the name of an audience', hint=NAME_HINT)
    with _locked(project, "rename", clock=clock) as ledger:
        statuses = ledger.audiences.statuses()
        sync_keys = {
            str(row["sync"]): ledger_key(new_name, str(row["destination"]))
            for row in statuses
            if row["audience"] == old_name
        }
        if not sync_keys:
            raise no_such_audience(old_name, statuses)
        if any(
            row["sync"] in sync_keys.values() or row["audience"] == new_name for row in statuses
        ):
            raise NothingSelected(
                f'The ledger already has an audience "{new_name}"',
                hint=f"Retire it first with: tailrace retire {new_name}",
            )
        if any(delivery.sync_key in sync_keys for delivery in ledger.deliveries.pending()):
            raise DeliveryIncomplete(
                f"A delivery of {old_name} is pending",
                hint="Finish it with: tailrace sync. Where a file has the new name by now: "
                f"tailrace sync --exclude {new_name}",
            )
        run = ledger.runs.start("rename", suffix=secrets.token_hex(2))
        with ledger.warehouse.transaction():
            # Where a statement that alters a table is committed at once, all of them come before
            # the rows, so that the same command completes an interrupted rename.
            for old_key, new_key in sync_keys.items():
                _archive(ledger, run, new_key)
                _rename_tables(ledger, old_key, new_key)
            for old_key, new_key in sync_keys.items():
                _rename(ledger, run, old_key, new_key, name=new_name)
            ledger.views.replace()
            ledger.runs.finish(run, exit_code=0, error=None, salesforce_calls=0)
    return {"renamed": {"from": old_name, "to": new_name}}


class _RollBack(Exception):
    """Ends the transaction of a dry run."""


def purge(
    project: ProjectConfig, *, older_than: timedelta, clock: Clock, dry_run: bool = False
) -> dict[str, Any]:
    """Delete outbox rows, acks, rejections and tombstones of deliveries that completed longer ago.

    With `dry_run` the rows are counted and kept.
    """
    now = clock.now()
    before = now - older_than
    # With a tombstone, a member that returns gets a message id that the receiver has not seen.
    left_before = min(before, now - timedelta(hours=REMEMBERED_HOURS))
    with _locked(project, "purge", clock=clock) as ledger:
        forgotten = _purge(ledger, before=before, left_before=left_before, dry_run=dry_run)
        result = {"before": format_utc(before), "forgotten": forgotten}
        return {"dry_run": True, **result} if dry_run else result


def rejected(project: ProjectConfig, *, clock: Clock) -> dict[str, Any]:
    """Open rejections by audience and reason."""
    with open_warehouse(project, clock=clock, read_only=True) as warehouse:
        return {"rejected": rejected_by_reason(Ledger(warehouse, clock=clock))}


@contextmanager
def _locked(project: ProjectConfig, command: str, *, clock: Clock) -> Iterator[Ledger]:
    with open_warehouse(project, clock=clock) as warehouse:
        ledger = Ledger(warehouse, clock=clock)
        if not ledger.installed:
            raise NothingLanded("There is no ledger yet", hint="Start with: tailrace run")
        owner = secrets.token_hex(8)
        with lock(ledger, owner=owner, run_id=command, clock=clock):
            ledger.upgrade()
            yield ledger


def _archive(ledger: Ledger, run: Run, sync_key: str) -> None:
    """Drop a retired audience's outbox and rename its rows, which frees its ledger key."""
    if sync_key in ledger.audiences.sync_keys():
        ledger.warehouse.run("ledger/drop_table", tables={"dropped": ledger.outbox(sync_key)})
        _rename_rows(ledger, sync_key, f"{sync_key} before run {run.seq}", before=run.seq)


def _rename_tables(ledger: Ledger, old_key: str, new_key: str) -> None:
    warehouse = ledger.warehouse
    there = warehouse.tables_in(ledger.dataset)
    for old, new in (
        (ledger.snapshot(old_key), ledger.snapshot(new_key)),
        (ledger.outbox(old_key), ledger.outbox(new_key)),
    ):
        # An audience that was always held has no tables.
        if old.name in there:
            tables = {"renamed": old, "named": TableName(None, new.name)}
            warehouse.run("ledger/rename_table", tables=tables)


def _rename(ledger: Ledger, run: Run, old_key: str, new_key: str, *, name: str) -> None:
    warehouse = ledger.warehouse
    warehouse.run(
        "ledger/release_name",
        tables=ledger.tables,
        run=run.seq,
        sync_key=old_key,
        now=run.started_at,
    )
    _rename_rows(ledger, old_key, new_key, before=run.seq)
    ledger.alerts.rename(old_key, new_key)
    warehouse.run("ledger/rename_audience", tables=ledger.tables, sync_key=new_key, name=name)


def _rename_rows(ledger: Ledger, old_key: str, new_key: str, *, before: int) -> None:
    for table in ("audience_runs", "acks", "rejections", "unconfirmed"):
        ledger.warehouse.run(
            "ledger/rename_rows",
            tables={"renamed": ledger.tables[table]},
            old_key=old_key,
            new_key=new_key,
            before=before,
        )


def _purge(
    ledger: Ledger, *, before: datetime, left_before: datetime, dry_run: bool
) -> dict[str, int]:
    """How many rows went, by table."""
    there = ledger.warehouse.tables_in(ledger.dataset)
    forgotten: dict[str, int] = {"outbox": 0, "tombstones": 0}
    with suppress(_RollBack), ledger.warehouse.transaction():
        for sync_key in ledger.audiences.sync_keys():
            outbox, snapshot = ledger.outbox(sync_key), ledger.snapshot(sync_key)
            tables: dict[str, Binding] = {**ledger.tables, "outbox": outbox, "snapshot": snapshot}
            if outbox.name in there:
                forgotten["outbox"] += _purged(
                    ledger, "purge_outbox", outbox, tables, sync_key=sync_key, before=before
                )
            if snapshot.name in there:
                forgotten["tombstones"] += _purged(
                    ledger, "purge_tombstones", snapshot, tables, before=left_before
                )
        for name in ("rejections", "acks", "watches"):
            forgotten[name] = _purged(
                ledger, f"purge_{name}", ledger.tables[name], ledger.tables, before=before
            )
        if dry_run:
            raise _RollBack
    return forgotten


def _purged(
    ledger: Ledger, name: str, table: Binding, tables: Mapping[str, Binding], **values: Any
) -> int:
    def count() -> int:
        ((rows,),) = ledger.warehouse.run("warehouse/count_rows", tables={"counted": table})
        return int(rows)

    there = count()
    ledger.warehouse.run(f"ledger/{name}", tables=tables, **values)
    return there - count()


class _RejectedRow(NamedTuple):
    """A row of `ledger/rejected_by_reason`. `sample` is the JSON of a message."""

    audience: str
    kind: str
    reason: str
    path: str
    status: int | None
    rows: int
    attempts: int
    first_seen: datetime
    last_seen: datetime
    sample: str | None

    def as_json(self) -> dict[str, Any]:
        return {
            **self._asdict(),
            "first_seen": format_utc(self.first_seen),
            "last_seen": format_utc(self.last_seen),
            "sample": json.loads(self.sample) if self.sample else None,
        }


def rejected_by_reason(ledger: Ledger) -> list[dict[str, Any]]:
    """The unresolved rejections, by audience, message kind and reason."""
    if not ledger.installed:
        return []
    return [_RejectedRow(*row).as_json() for row in ledger.run("rejected_by_reason")]
