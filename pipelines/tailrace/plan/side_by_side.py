"""Makes the plans of several audiences side by side, each in a session of its own.

An engine in this process computes outside Python's lock, so that two sessions keep two cores busy
although each of them runs small statements.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Generic, TypeVar

from tailrace.errors import MemoryShort, StatementRefused, TailraceError
from tailrace.ledger.ledger import Ledger
from tailrace.plan.audience_planner import (
    FAULTS_OF_ONE,
    AudiencePlanner,
    DueAudience,
    RequestedPlan,
)
from tailrace.plan.plan import AudiencePlan
from tailrace.warehouse.connection import Warehouse
from tailrace.warehouse.memory import MemoryLimit, limited, read_limits
from tailrace.warehouse.statements import TableName

T = TypeVar("T")

SESSIONS_MIN = 2
# An audience that reads a table with more rows is planned alone: each of its statements uses all
# cores and the whole memory limit.
TABLE_ROWS_MAX = 1_000_000
# Audiences whose reads one statement answers. A statement over more is not cheaper an audience.
TOGETHER_MAX = 20
# Parts that each session takes at least, so that none waits long for another at the end.
PARTS_MIN = 2
# The pause between two attempts to stop a thread, which cannot be interrupted between statements.
STOP_PAUSE_SECONDS = 0.05


def may_plan_side_by_side(warehouse: Warehouse) -> bool:
    """Whether the engine, the session and the settings allow it."""
    return (
        warehouse.engine.plans_side_by_side
        and not warehouse.reads_beside_a_run
        and warehouse.project.settings.audiences_in_flight_max >= SESSIONS_MIN
    )


def large_tables(warehouse: Warehouse) -> frozenset[TableName]:
    """The tables with more than `TABLE_ROWS_MAX` rows."""
    rows = warehouse.run("warehouse/large_tables", rows_min=TABLE_ROWS_MAX)
    return frozenset(TableName(str(schema), str(table)) for schema, table, _ in rows)


@contextmanager
def sharing_plan_tables(warehouse: Warehouse) -> Iterator[None]:
    """Create temporary tables where the sessions of `session_beside` see them.

    The tables are in memory, and live until `release_plan_tables`. A transaction that writes to one
    of them can write to no table of the warehouse.
    """
    warehouse.confine_models()
    warehouse.run("warehouse/attach_shared")
    own = warehouse.plan_tables
    warehouse.plan_tables = own.shared()
    try:
        yield
    finally:
        warehouse.plan_tables = own


def release_plan_tables(warehouse: Warehouse) -> None:
    """Drop the tables of `sharing_plan_tables`: the plans are saved, or are not carried out.

    Each small table takes some hundred kilobytes of the memory that the delivery has.
    """
    if warehouse.plan_tables.forget_shared():
        warehouse.run("warehouse/detach_shared")


def session_beside(warehouse: Warehouse) -> Warehouse:
    """A session for another thread of this run, inside a block of `sharing_plan_tables`."""
    beside = warehouse.another()
    # The engine is confined once for all of its sessions.
    beside.is_confined = warehouse.is_confined
    beside.plan_tables = warehouse.plan_tables
    return beside


@contextmanager
def ledgers_beside(ledger: Ledger, sessions: int) -> Iterator[list[Ledger]]:
    """The ledger, and the same one in other sessions, so that there are so many in all."""
    with ExitStack() as stack:
        ledgers = [ledger]
        while len(ledgers) < sessions:
            warehouse = session_beside(ledger.warehouse)
            stack.callback(warehouse.close)
            ledgers.append(Ledger(warehouse, clock=ledger.clock))
        yield ledgers


def plan_side_by_side(
    ledger: Ledger,
    audiences: Sequence[DueAudience],
    *,
    planner: AudiencePlanner,
    memory_limit: MemoryLimit | None,
    begin: Callable[[RequestedPlan], None],
) -> dict[str, AudiencePlan | TailraceError]:
    """The plans of audiences by ledger key, or the error of each that fails.

    The caller's thread makes the requests, while others plan those that are made. Audiences that
    had too little memory beside others are left out.

    Args:
        ledger: The open ledger, inside a block of `sharing_plan_tables`.
        audiences: The audiences.
        planner: Makes each plan.
        memory_limit: The memory limit of the session, which first plans lower.
        begin: Called in the caller's thread for each audience whose plan has begun.

    Raises:
        TailraceError: Another error than those of a single audience.
    """
    if not audiences:
        return {}
    try:
        planner.recorded.read_ahead()
    except StatementRefused:
        # The ledger is damaged. Each audience reports what it cannot read.
        return {}
    outcomes: dict[str, AudiencePlan | TailraceError] = {}
    sessions = min(len(audiences), ledger.warehouse.project.settings.audiences_in_flight_max)
    with ledgers_beside(ledger, sessions) as ledgers:
        for is_first in (False, True):
            group = [
                due
                for due in audiences
                if (planner.recorded.delivered(due.ledger_key) is None) is is_first
            ]
            with memory_limit.low_memory() if memory_limit and is_first else nullcontext():
                outcomes |= _plans_of_group(ledgers, group, planner, begin)
    return outcomes


def _plans_of_group(
    ledgers: Sequence[Ledger],
    group: Sequence[DueAudience],
    planner: AudiencePlanner,
    begin: Callable[[RequestedPlan], None],
) -> dict[str, AudiencePlan | TailraceError]:
    together: list[Sequence[RequestedPlan]] = []
    results: dict[str, AudiencePlan | TailraceError] = {}

    def steps() -> Iterator[Callable[[Ledger], list[AudiencePlan | TailraceError]]]:
        for audiences in _planned_together(group, len(ledgers)):
            requests = [due.request for due in audiences]
            for due, request in zip(audiences, requests, strict=True):
                if isinstance(request, TailraceError):
                    results[due.ledger_key] = request
            together.append([r for r in requests if isinstance(r, RequestedPlan)])
            yield partial(planner.plan_together, requests=together[-1])

    def starting(place: int) -> None:
        for requested in together[place]:
            begin(requested)

    for requests, outcome in zip(
        together, run_side_by_side(ledgers, steps(), starting=starting), strict=True
    ):
        plans = [outcome] * len(requests) if isinstance(outcome, TailraceError) else outcome
        results |= zip((requested.ledger_key for requested in requests), plans, strict=True)
    for result in results.values():
        if isinstance(result, TailraceError) and not isinstance(result, FAULTS_OF_ONE):
            raise result
    return {key: result for key, result in results.items() if not isinstance(result, MemoryShort)}


def _planned_together(
    group: Sequence[DueAudience], sessions: int
) -> Iterator[Sequence[DueAudience]]:
    """Divide audiences so that each session gets several parts, the last ones at the same time."""
    size = min(TOGETHER_MAX, max(len(group) // (PARTS_MIN * sessions), 1))
    for start in range(0, len(group), size):
        yield group[start : start + size]


def run_side_by_side(
    ledgers: Sequence[Ledger],
    steps: Iterable[Callable[[Ledger], T]],
    *,
    starting: Callable[[int], None] = lambda place: None,
    thread: str = "plan",
) -> list[T | TailraceError]:
    """The result of each step, or its error, in the order of the steps.

    Args:
        ledgers: The sessions. The caller's thread works in the first one, a thread in each other.
        steps: The steps, which begin in this order. The caller's thread makes all of them before
            it takes one, and the other threads take those that are made.
        starting: Called by the caller's thread with the place of each step that has begun, in this
            order.
        thread: The name of the threads.
    """
    work: _Work[T] = _Work(starting)
    run = ledgers[0].warehouse.run
    limits = read_limits(run)
    # The thread of each session computes as well, so the engine needs fewer of its own.
    threads = limits.threads and max(limits.threads - len(ledgers) + 1, 1)
    fewer = replace(limits, threads=threads)
    with limited(run, fewer):
        _run_in_threads(work, steps, ledgers, thread)
    return work.results()


def _run_in_threads(
    work: _Work[T],
    steps: Iterable[Callable[[Ledger], T]],
    ledgers: Sequence[Ledger],
    name: str,
) -> None:
    threads = [
        threading.Thread(target=work.run, args=(ledger,), name=name, daemon=True)
        for ledger in ledgers[1:]
    ]
    begun = []
    try:
        for thread in threads:
            thread.start()
            begun.append(thread)
        for step in steps:
            work.add(step)
            work.show()
        work.close()
        work.run(ledgers[0], shows=True)
        for thread in threads:
            thread.join()
    finally:
        # After a signal the threads still run.
        work.stop()
        for thread, ledger in zip(begun, ledgers[1:], strict=False):
            while thread.is_alive():
                ledger.warehouse.interrupt()
                thread.join(STOP_PAUSE_SECONDS)


class _Work(Generic[T]):
    """Steps that several threads take, each the next one that no other has taken.

    Args:
        starting: Called by `show` with the place of each step that was taken.
    """

    def __init__(self, starting: Callable[[int], None]) -> None:
        self._starting = starting
        self._steps: list[Callable[[Ledger], T]] = []
        self._results: dict[int, T | TailraceError] = {}
        self._unexpected: list[Exception] = []
        self._changed = threading.Condition()
        self._taken = 0
        self._shown = 0
        self._is_complete = False
        self._stopped = False

    def add(self, step: Callable[[Ledger], T]) -> None:
        """Add a step for the next thread that asks for one."""
        with self._changed:
            self._steps.append(step)
            self._changed.notify()

    def close(self) -> None:
        """Let the threads end when all steps are taken."""
        with self._changed:
            self._is_complete = True
            self._changed.notify_all()

    def run(self, ledger: Ledger, *, shows: bool = False) -> None:
        """Take and run steps until none is left or an internal error has stopped the work."""
        while (place := self._take()) is not None:
            if shows:
                self.show()
            self._run_step(place, ledger)
        if shows:
            self.show()

    def show(self) -> None:
        """Say which steps were taken since the last call."""
        while self._shown < self._taken:
            self._starting(self._shown)
            self._shown += 1

    def _run_step(self, place: int, ledger: Ledger) -> None:
        try:
            self._results[place] = self._steps[place](ledger)
        except TailraceError as error:
            self._results[place] = error
        except Exception as error:
            self._unexpected.append(error)
            self.stop()

    def stop(self) -> None:
        """Let no thread take another step."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def results(self) -> list[T | TailraceError]:
        """The results in the order of the steps; raises the first internal error."""
        if self._unexpected:
            raise self._unexpected[0]
        return [self._results[place] for place in range(len(self._steps))]

    def _take(self) -> int | None:
        """The place of the next step, when it was added; None if there is none."""
        with self._changed:
            while not (self._stopped or self._is_complete or self._taken < len(self._steps)):
                self._changed.wait()
            if self._stopped or self._taken == len(self._steps):
                return None
            self._taken += 1
            return self._taken - 1
