"""The audience runs of the ledger: what each run planned for a sync, and the inputs that it read.

A sync is an audience at one destination. Its key, `sync_key`, names its tables and rows.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from tailrace.clock import format_utc
from tailrace.config.sections import did_you_mean
from tailrace.dataclass import dataclass
from tailrace.errors import NothingSelected
from tailrace.ledger.runs import Run
from tailrace.ledger.tables import SYNC_KEY_VERSION, LedgerTables
from tailrace.ledger.views import Views
from tailrace.warehouse.statements import Rows

SAVED_ROWS_MAX = 100
# The status of a sync by the phase of its latest run.
STATUSES = {"held": "held", "delivering": "failed", "failed": "failed"}


@dataclass(frozen=True, kw_only=True)
class Delivered:
    """The last finished run of a sync, which its snapshot reflects."""

    run_seq: int
    definition: str
    definition_fingerprint: str
    mapping: Mapping[str, Any]
    mapping_fingerprint: str
    model_fingerprint: str | None
    rows_seen: int
    rejected: int


def no_such_audience(name: str, statuses: Iterable[Mapping[str, Any]]) -> NothingSelected:
    """The error for a name that the ledger does not have, with the command that helps."""
    names = [str(row["audience"]) for row in statuses]
    return NothingSelected(
        f'The ledger has no audience "{name}".{did_you_mean(name, names)}',
        hint="List the audiences with: tailrace status" if names else "Start with: tailrace run",
    )


class _AudienceRunRow(NamedTuple):
    """A row of `ledger/latest_audience_runs`. `by_reason` and `guards` are JSON."""

    sync_key: str
    run_seq: int
    phase: str
    size_before: int
    size_after: int
    entered: int
    changed: int
    exited: int
    sent: int
    rejected: int
    held: int
    quarantined: int
    by_reason: str
    guards: str
    finished_at: datetime | None
    name: str
    destination: str

    def status(self) -> dict[str, Any]:
        moved = self.entered + self.changed + self.exited
        return {
            "audience": self.name,
            "destination": self.destination,
            "lane": self.sync_key,
            "sync": self.sync_key,
            "status": STATUSES.get(self.phase, "ok" if moved else "unchanged"),
            "size_before": self.size_before,
            "size_after": self.size_before if self.phase == "held" else self.size_after,
            "entered": self.entered,
            "changed": self.changed,
            "exited": self.exited,
            "sent": self.sent,
            "rejected": self.rejected,
            "held": self.held,
            "quarantined": self.quarantined,
            "by_reason": json.loads(self.by_reason),
            "guards": json.loads(self.guards),
            "finished_at": format_utc(self.finished_at) if self.finished_at else None,
        }


class _DeliveredRow(NamedTuple):
    """A row of `ledger/last_delivered`. `mapping` is JSON."""

    run_seq: int
    definition: str
    definition_fingerprint: str
    mapping: str
    mapping_fingerprint: str
    model_fingerprint: str | None
    rows_seen: int
    rejected: int

    def delivered(self) -> Delivered:
        return Delivered(**{**self._asdict(), "mapping": json.loads(self.mapping)})


class AudienceRuns:
    """Reads and writes the tables `audience_runs` and `audience_inputs`."""

    def __init__(self, tables: LedgerTables) -> None:
        self._tables = tables

    def statuses(self) -> list[dict[str, Any]]:
        """The status of each sync after its latest run, in the shape of a result."""
        return [row.status() for row in self._latest() if row.phase != "retired"]

    def sync_keys(self) -> list[str]:
        """The keys of all syncs, retired ones included."""
        return [row.sync_key for row in self._latest()]

    def sync_keys_of(self, name: str) -> list[str]:
        """The keys of the syncs of an audience, one per destination."""
        rows = [row for row in self._latest() if row.phase != "retired"]
        sync_keys = [row.sync_key for row in rows if row.name == name]
        return sync_keys or [row.sync_key for row in rows if row.sync_key == name]

    def _latest(self) -> list[_AudienceRunRow]:
        rows = self._tables.run("latest_audience_runs") if self._tables.installed else []
        return [_AudienceRunRow(*row) for row in rows]

    def last_delivered(self, sync_key: str) -> Delivered | None:
        """The run that the snapshot reflects, None before the first delivery."""
        if not self._tables.installed:
            return None
        for row in self._tables.run("last_delivered", sync_key=sync_key):
            return _DeliveredRow(*row).delivered()
        return None

    def all_last_delivered(self) -> dict[str, Delivered]:
        """`last_delivered` of every sync that was delivered, by its key."""
        rows = self._tables.run("all_last_delivered") if self._tables.installed else []
        return {str(key): _DeliveredRow(*row).delivered() for key, *row in rows}

    def released_names(self) -> dict[tuple[str, str], int]:
        """The last run that released each name of an audience, by name and destination."""
        rows = self._tables.run("released_names") if self._tables.installed else []
        return {(str(name), str(at)): int(run_seq) for name, at, run_seq in rows}

    def save(self, run: Run, plans: Sequence[Mapping[str, Any]]) -> None:
        """Save the plans of syncs, each as the values of its columns.

        A statement has the rows of `SAVED_ROWS_MAX` plans, whose definitions are its text.
        """
        now = self._tables.clock.now()
        for start in range(0, len(plans), SAVED_ROWS_MAX):
            part = plans[start : start + SAVED_ROWS_MAX]
            rows = Rows(tuple(part[0]), [tuple(plan.values()) for plan in part])
            self._tables.run(
                "save_audience_runs", rows={"planned": rows}, run=run.seq, written_at=now
            )

    def save_inputs(self, run: Run, fingerprints: Mapping[str, str | None]) -> None:
        """Replace the fingerprints of the inputs of all syncs that a run saved, by sync key.

        A sync that is left out, or has None, has no fingerprint any more.
        """
        self._tables.run("delete_earlier_inputs", run=run.seq)
        comparable = [pair for pair in fingerprints.items() if pair[1] is not None]
        if comparable:
            inputs = Rows(("sync_key", "fingerprint"), comparable)
            self._tables.run("save_inputs", rows={"inputs": inputs}, run=run.seq)

    def saved_inputs(self) -> dict[tuple[str, int], str]:
        """The fingerprint of each sync's inputs, by sync key and run_seq."""
        if not self._tables.installed or self._tables.version < SYNC_KEY_VERSION:
            return {}
        rows = self._tables.run("read_inputs")
        return {(str(key), int(run_seq)): str(fingerprint) for key, run_seq, fingerprint in rows}

    def retire(self, sync_key: str) -> None:
        """Close the ledger of a sync. A later audience of the same name starts empty."""
        with self._tables.warehouse.transaction():
            self._tables.run("retire_runs", sync_key=sync_key)
            Views(self._tables).release([sync_key])
            self._tables.warehouse.run(
                "ledger/drop_table", tables={"dropped": self._tables.snapshot(sync_key)}
            )
