"""A random history: data that moves, SQL that is edited, services that fail, runs that die.

One seed is one history. When it is over and everything works again, the receiver must hold what
the source holds; on the way nothing may arrive twice under two ids, or differ under one.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from shop import CONTACT, Shop

from tailrace.errors import TailraceError
from tailrace.run.job import Job, carry_out, prepare
from tailrace.run.result import RunResult
from tailrace.testing.http.faults import Fault
from tailrace.testing.segment.simulator import SegmentSimulator
from tailrace.warehouse.connection import Warehouse
from tailrace.warehouse.opening import open_warehouse

KEYS = [f"c{n}" for n in range(8)]
CITIES = [None, "Oslo", "Bergen", "Tromsø"]
SCORES = [None, 0.0, 1.5, float("nan")]
WHERES = ["NOT is_deleted", "NOT is_deleted AND city IS NOT NULL", "city IS DISTINCT FROM 'Oslo'"]
RUNS = 4
HEALING_RUNS_MAX = 3
FAILURES = [
    {"status": 500},
    {"status": 503, "processed": True},
    {"cut": "after"},
    {"cut": "before"},
]

HEADER = """/* ---
audience: people
key: id
user_id: id
track:
  changed: People Changed
  properties: {city: city, score: score}
identify:
  traits: {email: email}
  membership_trait: people
--- */
"""


class Killed(BaseException):
    """The process is gone: nothing of ours may catch this."""


class History:
    """The world of one seed."""

    def __init__(self, seed: int, folder: Path, segment: SegmentSimulator) -> None:
        self.chance = random.Random(seed)
        self.segment = segment
        self.shop = Shop(folder, segment)
        self.shop.environ |= {
            "DESTINATION__SEGMENT__RETRY_SECONDS_MAX": "0.05",
            "DESTINATION__SEGMENT__BATCH_EVENTS_MAX": "4",
        }
        self.rows: dict[str, dict[str, Any]] = {}
        self.where = WHERES[0]
        self.opened = ExitStack()
        self.warehouse = self._open()

    def play(self) -> None:
        """Live through the history, then let everything work until nothing moves."""
        for _ in range(RUNS):
            self._move_data()
            if self.chance.random() < 0.2:
                self.where = self.chance.choice(WHERES)
            self._write()
            self._run_amid_faults()
        self.segment.faults.clear()
        # Pending deliveries are resumed before a new plan; the next run has no changes.
        sent = -1
        for _ in range(HEALING_RUNS_MAX):
            last = self._sync()
            assert last.exit_code == 0, last.errors
            sent = sum(each["sent"] for each in last.audiences)
            if not sent:
                return
        assert sent == 0

    def expected(self) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
        """The audience as the source has it, in the receiver's words."""
        found = self.warehouse.execute(
            f"SELECT id, email, city, score FROM salesforce.contact WHERE {self.where}"
        )
        return {
            key: (
                {"audience_key": "people", "city": city, "score": _sent(score)},
                {"email": email, "people": True},
            )
            for key, email, city, score in found
        }

    def gaps(self) -> list[tuple[Any, ...]]:
        """Finished audience runs whose numbers do not add up."""
        return self.warehouse.execute(
            "SELECT * FROM tailrace.audience_runs "
            "WHERE phase = 'done' AND entered + changed + exited <> sent + rejected"
        )

    def _open(self) -> Warehouse:
        return self.opened.enter_context(open_warehouse(self.shop.project, clock=self.shop.clock))

    def _sync(self) -> RunResult:
        work = prepare(self.shop.project, Job(command="sync"))
        return carry_out(self.warehouse, work, clock=self.shop.clock)

    def _move_data(self) -> None:
        for key in self.chance.sample(KEYS, self.chance.randrange(0, 5)):
            if key in self.rows and self.chance.random() < 0.3:
                del self.rows[key]
                continue
            self.rows[key] = {
                "id": key,
                "email": self.chance.choice([None, f"{key}@example.com", f"{key}@example.org"]),
                "city": self.chance.choice(CITIES),
                "score": self.chance.choice(SCORES),
                "is_deleted": self.chance.random() < 0.1,
            }

    def _write(self) -> None:
        self.shop.audience(
            f"{HEADER}SELECT id, email, city, score FROM salesforce.contact WHERE {self.where}"
        )
        self.warehouse.execute("CREATE SCHEMA IF NOT EXISTS salesforce")
        self.warehouse.execute(f"CREATE OR REPLACE TABLE salesforce.contact ({CONTACT})")
        rows = [f"({', '.join(map(_literal, row.values()))})" for row in self.rows.values()]
        if rows:
            self.warehouse.execute(f"INSERT INTO salesforce.contact VALUES {', '.join(rows)}")

    def _run_amid_faults(self) -> None:
        self.segment.faults.clear()
        for fault in self._faults():
            self.segment.faults.append(fault)
        die_after = self.chance.randrange(1, 90) if self.chance.random() < 0.4 else None
        try:
            with dying(die_after):
                self._sync()
        except TailraceError:
            pass
        except Killed:
            self.opened.close()
            self.warehouse = self._open()

    def _faults(self) -> Iterator[Fault]:
        if self.chance.random() < 0.35:
            poisoned = self.chance.choice(KEYS)
            yield Fault(path="/v1/batch", poison={"userId": poisoned}, status=400)
        if self.chance.random() < 0.5:
            nth = self.chance.randrange(1, 5)
            kind: Mapping[str, Any] = self.chance.choice(
                [
                    {"status": 500},
                    {"status": 503, "processed": True},
                    {"cut": "after"},
                    {"cut": "before"},
                ]
            )
            yield Fault(path="/v1/batch", nth=nth, times=self.chance.randrange(1, 9), **kind)


def _literal(value: Any) -> str:
    if isinstance(value, float):
        return f"'{value}'::DOUBLE"
    return "NULL" if value is None else repr(value)


def _sent(score: float | None) -> float | None:
    return None if score is None or score != score else score


@contextmanager
def dying(after: int | None) -> Iterator[None]:
    """Let the process die before its n-th statement; the warehouse is closed as by a kill."""
    if after is None:
        yield
        return
    left = after
    execute = Warehouse.execute

    def counted(self: Warehouse, sql: str, name: str = "a statement") -> list[tuple[Any, ...]]:
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed
        return execute(self, sql, name)

    Warehouse.execute = counted  # type: ignore[method-assign]
    try:
        yield
    finally:
        Warehouse.execute = execute  # type: ignore[method-assign]
