"""Machines that are thrown away: project folders that share a store, and a store that dies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from shop import CONTACT, PEOPLE, Shop

from tailrace.clock import Clock
from tailrace.run.delivery import Progress
from tailrace.run.job import Job, open_and_carry_out, prepare
from tailrace.run.result import RunResult
from tailrace.state.store import Store, Stored
from tailrace.testing import SegmentSimulator
from tailrace.warehouse.connection import Warehouse
from tailrace.warehouse.opening import open_warehouse

TRACK_ONLY = PEOPLE.partition("identify:")[0] + (
    "--- */\nSELECT id, email, city, score FROM salesforce.contact\n"
)


class Killed(BaseException):
    """The process is gone: nothing of ours may catch this."""


class SteppedClock:
    """A clock that moves only when a test or a wait moves it."""

    def __init__(self) -> None:
        self._now = datetime(2026, 11, 27, 9, tzinfo=UTC)
        self._elapsed = 0.0

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._elapsed

    def sleep(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)
        self._elapsed += seconds


class DyingStore:
    """A store whose caller dies before or after its n-th operation, and stays dead.

    Attributes:
        calls: The operations so far.
        before: Called before each operation with its number, from 1.
    """

    def __init__(
        self,
        store: Store,
        *,
        die_at: int | None = None,
        after: bool = False,
        before: Callable[[int], None] = lambda number: None,
    ) -> None:
        self.store = store
        self.calls = 0
        self.before = before
        self._die_at = die_at
        self._after = after
        self._dead = False

    @property
    def url(self) -> str:
        return self.store.url

    def get(self, name: str) -> Stored | None:
        return self._call(lambda: self.store.get(name))

    def put(self, name: str, body: bytes) -> None:
        return self._call(lambda: self.store.put(name, body))

    def replace(self, name: str, body: bytes, expected: str | None) -> str:
        return self._call(lambda: self.store.replace(name, body, expected))

    def names(self, folder: str) -> list[str]:
        return self._call(lambda: self.store.names(folder))

    def delete(self, names: Sequence[str]) -> None:
        return self._call(lambda: self.store.delete(names))

    def kill(self) -> None:
        """The process dies now: no later operation reaches the store."""
        self._dead = True

    def _call(self, action: Callable[[], Any]) -> Any:
        if self._dead:
            raise Killed
        self.calls += 1
        self.before(self.calls)
        if self.calls != self._die_at:
            return action()
        self._dead = True
        if self._after:
            action()
        raise Killed


class Machine(Shop):
    """A project folder whose DuckDB file is kept in a store."""

    def __init__(
        self, root: Path, url: str, segment: SegmentSimulator | None, clock: Clock | None = None
    ) -> None:
        super().__init__(root, segment, clock=clock)
        self.audience(TRACK_ONLY)
        self.environ |= {
            "TAILRACE__STATE_URL": url,
            "TAILRACE__STATE__PARTS_IN_FLIGHT_MAX": "1",
            "DESTINATION__SEGMENT__BATCH_EVENTS_MAX": "4",
            "DESTINATION__SEGMENT__REQUESTS_IN_FLIGHT_MAX": "1",
        }

    @property
    def file(self) -> Path:
        return self.project.duckdb_file

    def open(self, *, read_only: bool = False) -> AbstractContextManager[Warehouse]:
        return open_warehouse(self.project, clock=self.clock, read_only=read_only)

    def run_with(
        self,
        cities: Sequence[str],
        store: Store | None = None,
        *,
        progress: Progress | None = None,
    ) -> RunResult:
        """One run that lands a contact for each city, plans and sends."""
        return open_and_carry_out(
            self.project,
            prepare(self.project, Job(command="sync")),
            clock=self.clock,
            progress=progress,
            store=store,
            before=lambda warehouse: land(warehouse, cities),
        )


def land(warehouse: Warehouse, cities: Sequence[str]) -> None:
    """Replace the landed contacts: c0, c1, … in these cities."""
    warehouse.execute("CREATE SCHEMA IF NOT EXISTS salesforce")
    warehouse.execute(f"CREATE OR REPLACE TABLE salesforce.contact ({CONTACT})")
    if cities:
        rows = ", ".join(f"('c{n}', NULL, '{city}', 1, false)" for n, city in enumerate(cities))
        warehouse.execute(f"INSERT INTO salesforce.contact VALUES {rows}")
