"""The processes of `run --watch`: one row each, which counts the cycles without news."""

from __future__ import annotations

import os
import platform
from datetime import datetime
from typing import Any, NamedTuple

from tailrace.clock import format_utc
from tailrace.dataclass import dataclass
from tailrace.ledger.tables import LedgerTables


@dataclass(kw_only=True)
class Cycles:
    """The cycles of a process so far.

    Attributes:
        count: All cycles.
        idle: Cycles that found nothing new, and have no run in the ledger.
        failed: Cycles whose run failed.
        last_at: When the last cycle began.
        error: The class of the error of the last cycle, if it failed.
    """

    count: int = 0
    idle: int = 0
    failed: int = 0
    last_at: datetime | None = None
    error: str | None = None


class WatchRow(NamedTuple):
    """A row of `ledger/latest_watch`."""

    watch_id: str
    host: str
    process: int
    every_seconds: float
    started_at: datetime
    last_cycle_at: datetime | None
    ended_at: datetime | None
    cycles: int
    idle_cycles: int
    failed_cycles: int
    error: str | None

    def as_json(self) -> dict[str, Any]:
        """The process in the shape of a result."""
        times = ("started_at", "last_cycle_at", "ended_at")
        values = self._asdict()
        return values | {name: format_utc(values[name]) if values[name] else None for name in times}


class Watches:
    """Reads and writes the table `watches`."""

    def __init__(self, tables: LedgerTables) -> None:
        self._tables = tables

    def start(self, watch_id: str, *, every_seconds: float) -> None:
        """Save the start of this process."""
        self._tables.run(
            "start_watch",
            watch_id=watch_id,
            host=platform.node(),
            process=os.getpid(),
            every_seconds=every_seconds,
            now=self._tables.clock.now(),
        )

    def save(self, watch_id: str, cycles: Cycles) -> None:
        """Save the cycles so far."""
        self._tables.run(
            "save_cycles",
            watch_id=watch_id,
            last_cycle_at=cycles.last_at,
            cycles=cycles.count,
            idle_cycles=cycles.idle,
            failed_cycles=cycles.failed,
            error=cycles.error,
        )

    def end(self, watch_id: str) -> None:
        """Save the end of this process."""
        self._tables.run("end_watch", watch_id=watch_id, now=self._tables.clock.now())

    def latest(self) -> WatchRow | None:
        """The process that started last; None if there was none."""
        if not self._tables.has_table("watches"):
            return None
        rows = self._tables.run("latest_watch")
        return WatchRow(*rows[0]) if rows else None
