"""The runs of the ledger."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from tailrace import __version__
from tailrace.clock import format_utc
from tailrace.dataclass import dataclass
from tailrace.ledger.tables import LedgerTables


@dataclass(frozen=True, kw_only=True)
class Run:
    """A started run. `started_at` is the planning time of its audiences."""

    seq: int
    id: str
    command: str
    started_at: datetime


@dataclass(frozen=True, kw_only=True)
class Latency:
    """The seconds from the modification of records in Salesforce to the acknowledgement.

    Attributes:
        records: How many records were measured.
        p50_seconds: The time that half of them took at most; None without a record.
        p95_seconds: The time that 95 % of them took at most.
    """

    records: int
    p50_seconds: float | None
    p95_seconds: float | None


class RunRow(NamedTuple):
    """A row of `ledger/recent_runs` or `reporting/find_run`."""

    run_seq: int
    run_id: str
    command: str
    phase: str
    started_at: datetime
    finished_at: datetime | None
    exit_code: int | None
    salesforce_calls: int
    error: str | None
    latency_p50_seconds: float | None = None
    latency_p95_seconds: float | None = None

    def as_json(self) -> dict[str, Any]:
        """The run in the shape of a result."""
        return {
            "run_id": self.run_id,
            "command": self.command,
            "phase": self.phase,
            "started_at": format_utc(self.started_at),
            "finished_at": format_utc(self.finished_at) if self.finished_at else None,
            "exit_code": self.exit_code,
            "salesforce_calls": self.salesforce_calls,
            "error": self.error,
            "latency_p50_seconds": self.latency_p50_seconds,
            "latency_p95_seconds": self.latency_p95_seconds,
        }


class Runs:
    """Reads and writes the table `runs`."""

    def __init__(self, tables: LedgerTables) -> None:
        self._tables = tables

    def start(self, command: str, *, suffix: str, allowed: Sequence[str] = ()) -> Run:
        """Number and save a run. Called under the lock."""
        now = self._tables.clock.now()
        ((seq,),) = self._tables.run("next_run")
        run_id = f"{now:%Y-%m-%dT%H:%M:%SZ}-{suffix}"
        versions = {"tailrace": __version__, "engine": self._tables.warehouse.engine_version}
        self._tables.run(
            "start_run",
            run=seq,
            run_id=run_id,
            command=command,
            now=now,
            versions=json.dumps(versions),
            allowed=json.dumps(list(allowed)),
        )
        return Run(seq=seq, id=run_id, command=command, started_at=now)

    def finish(
        self,
        run: Run,
        *,
        exit_code: int,
        error: BaseException | None,
        salesforce_calls: int,
        details: Mapping[str, Any] | None = None,
        latency: Latency | None = None,
    ) -> None:
        """Save the end of a run. `details`: seconds by phase, and what it used of budgets."""
        measured = latency or Latency(records=0, p50_seconds=None, p95_seconds=None)
        self._tables.run(
            "finish_run",
            run=run.seq,
            phase="failed" if exit_code in (1, 2) else "done",
            now=self._tables.clock.now(),
            exit_code=exit_code,
            error=None if error is None else type(error).__name__,
            salesforce_calls=salesforce_calls,
            details=None if details is None else json.dumps(details),
            latency_records=measured.records,
            latency_p50_seconds=measured.p50_seconds,
            latency_p95_seconds=measured.p95_seconds,
        )

    def has_interrupted(self, command: str) -> bool:
        """Whether the last run of a command has not come to its end."""
        rows = self._tables.run("last_phase", command=command)
        return [("planned",)] == [tuple(row) for row in rows]

    def next_seq(self) -> int:
        """The number of the next run."""
        if not self._tables.installed:
            return 1
        ((seq,),) = self._tables.run("next_run")
        return int(seq)

    def recent(self, rows_max: int) -> list[dict[str, Any]]:
        """The latest runs, newest first."""
        if not self._tables.installed:
            return []
        rows = self._tables.run("recent_runs", rows_max=rows_max)
        return [RunRow(*row).as_json() for row in rows]
