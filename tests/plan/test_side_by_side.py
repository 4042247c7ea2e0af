"""Several audiences are planned side by side: what runs at once, and what stays the same."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from warehouses.desk import Desk

from tailrace.errors import MemoryShort, TailraceError, UserError
from tailrace.ledger.ledger import Ledger
from tailrace.plan import pooled_reads, side_by_side
from tailrace.plan.plan import Plan
from tailrace.plan.planner import Planner
from tailrace.plan.policy import PlanOptions
from tailrace.plan.side_by_side import run_side_by_side, session_beside, sharing_plan_tables
from tailrace.run.delivery import save_plans
from tailrace.warehouse.engines import ENGINES
from tailrace.warehouse.memory import MemoryLimit, read_limits

AUDIENCE = """/* ---
key: id
user_id: id
track: {{changed: Changed, properties: {{city: city}}}}
--- */
SELECT id, {city} AS city FROM salesforce.contact WHERE part = {part}"""
AUDIENCES = 6
# So long a step waits for another thread; a limit for a hang.
MEETING_SECONDS_MAX = 60
THREAD = "plan"


@pytest.fixture
def desk(duckdb_desk: Desk) -> Desk:
    """Some audiences over one table; one of them fails on a value."""
    duckdb_desk.clear()
    duckdb_desk.script(
        "CREATE TABLE salesforce.contact AS SELECT 'c' || i AS id, "
        f"CASE WHEN i = 58 THEN 'Oslo' ELSE '1' END AS city, i % {AUDIENCES} AS part "
        "FROM range(60) AS r(i)"
    )
    for part in range(AUDIENCES):
        city = "CAST(city AS INTEGER)" if part == 4 else "city"
        duckdb_desk.store.audience(AUDIENCE.format(part=part, city=city), f"part_{part}")
    return duckdb_desk


def planned(
    desk: Desk,
    audiences_in_flight_max: int,
    *,
    progress: Callable[[str, int, int], None] | None = None,
    memory_limit: MemoryLimit | None = None,
) -> Plan:
    project = desk.warehouse.project
    settings = replace(project.settings, audiences_in_flight_max=audiences_in_flight_max)
    desk.warehouse.project = replace(project, settings=settings)
    models = desk.models()
    planner = Planner(
        desk.ledger,
        models,
        options=PlanOptions(digests=True),
        destinations=None,
        now=desk.clock.now(),
        progress=progress,
        memory_limit=memory_limit,
    )
    return planner.plan(models.audiences())


def facts(plan: Plan) -> list[dict[str, Any]]:
    """All of a plan's results that do not depend on the time of the plan."""
    return [
        {
            "audience": audience.ledger_key,
            "counts": (audience.entered, audience.changed, audience.exited, audience.new_users),
            "reasons": audience.by_reason,
            "calls": audience.calls,
            "samples": audience.samples,
            "size": (audience.diff.size_before, audience.diff.size_after),
            "rows": (audience.diff.rows_seen, audience.diff.fingerprint),
            "inputs": audience.inputs,
        }
        for audience in plan.audiences
    ] + [
        {"failure": failure.audience.ledger_key, "error": str(failure.error)}
        for failure in plan.failures
    ]


@pytest.fixture
def meeting(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[str, int, int], None]]:
    """A progress that waits in the caller's thread until the other thread has run a statement."""
    begun = threading.Event()

    class Listening(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.threadName == THREAD:
                begun.set()

    def progress(name: str, done: int, total: int) -> None:
        begun.wait(MEETING_SECONDS_MAX)

    logger, listening = logging.getLogger("tailrace.warehouse.connection"), Listening()
    caplog.set_level(logging.DEBUG, logger=logger.name)
    logger.addHandler(listening)
    yield progress
    logger.removeHandler(listening)


@pytest.mark.older_duckdb
@pytest.mark.parametrize("rows_max", [pooled_reads.POOLED_ROWS_MAX, 25])
def test_a_plan_is_the_same_however_many_audiences_are_in_flight(
    desk: Desk,
    caplog: pytest.LogCaptureFixture,
    meeting: Callable[[str, int, int], None],
    monkeypatch: pytest.MonkeyPatch,
    rows_max: int,
) -> None:
    """First plans and later ones, with an audience that fails; the plans are saved and sent.

    Three audiences are planned together. One statement reads the rows of all of them, or of two.
    """
    monkeypatch.setattr(side_by_side, "PARTS_MIN", 1)
    monkeypatch.setattr(pooled_reads, "POOLED_ROWS_MAX", rows_max)
    statements: list[int] = []
    desk.store.audience(
        AUDIENCE.format(part=3, city="CAST(CAST(city AS INTEGER) AS TEXT)"), "part_3"
    )
    for failing in (["part_4"], ["part_3", "part_4"]):
        one_by_one = planned(desk, 1)
        caplog.clear()
        plan = planned(desk, 2, progress=meeting, memory_limit=MemoryLimit(desk.warehouse))
        assert {THREAD} < {record.threadName for record in caplog.records}
        counts = sum("statement plan/count_keys" == r.getMessage() for r in caplog.records)
        statements.append(counts)
        assert facts(one_by_one) == facts(plan)
        assert failing == [failure.audience.ledger_key for failure in plan.failures]
        assert one_by_one.new_users == plan.new_users
        run = desk.start_run()
        for delivery in save_plans(desk.ledger, run, plan.audiences, options=PlanOptions()):
            desk.settle(delivery)
        desk.script("UPDATE salesforce.contact SET city = '2' WHERE id IN ('c0', 'c1', 'c7')")
        desk.script("UPDATE salesforce.contact SET city = 'Rome' WHERE id = 'c3'")
    # Two parts of three audiences. The one that fails counts no keys, and later two have changes.
    assert ([2, 1] if rows_max > 25 else [3, 2]) == statements
    assert {"part_0": 1, "part_1": 2} == {
        audience.ledger_key: audience.changed for audience in plan.audiences if audience.changed
    }
    assert [(60 - 10,)] == desk.query(
        "SELECT SUM(n) FROM (VALUES "
        + ", ".join(
            f"((SELECT COUNT(*) FROM tailrace.snapshot__part_{part}))"
            for part in range(AUDIENCES)
            if part != 4
        )
        + ") AS v(n)"
    )


def test_one_audience_in_flight_is_planned_in_the_session_of_the_run(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="tailrace.warehouse.connection")
    plan = planned(desk, 1)
    assert {threading.current_thread().name} == {record.threadName for record in caplog.records}
    assert {"temp"} == {audience.diff.transitions.dataset for audience in plan.audiences}


def test_an_audience_that_reads_a_large_table_is_planned_alone(
    desk: Desk,
    caplog: pytest.LogCaptureFixture,
    meeting: Callable[[str, int, int], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(side_by_side, "TABLE_ROWS_MAX", 59)
    desk.script("CREATE TABLE salesforce.lead AS SELECT * FROM salesforce.contact WHERE part < 2")
    for part in range(2):
        text = AUDIENCE.format(part=part, city="city").replace("contact", "lead")
        desk.store.audience(text, f"part_{part}")
    desk.script("CHECKPOINT")
    order: list[tuple[str, int, int]] = []

    def progress(name: str, done: int, total: int) -> None:
        order.append((name, done, total))
        if done == 0:
            meeting(name, done, total)

    plan = planned(desk, 2, progress=progress)
    assert [(f"part_{part}", part, AUDIENCES) for part in range(AUDIENCES)] == order
    created = [r for r in caplog.records if "initial_transitions" in r.getMessage()]
    assert {threading.current_thread().name} == {record.threadName for record in created[2:]}
    assert [f"part_{part}" for part in (0, 1, 2, 3, 5)] == [a.ledger_key for a in plan.audiences]


def test_only_an_embedded_file_is_planned_side_by_side() -> None:
    """A DuckLake and a server have other sessions, whose temporary tables are their own."""
    assert ["duckdb"] == [name for name, engine in ENGINES.items() if engine.plans_side_by_side]


@pytest.fixture
def ledgers(desk: Desk) -> Iterator[list[Ledger]]:
    with sharing_plan_tables(desk.warehouse):
        warehouse = session_beside(desk.warehouse)
        yield [desk.ledger, Ledger(warehouse, clock=desk.clock)]
        warehouse.close()


def test_steps_run_at_the_same_time_and_end_in_their_order(ledgers: list[Ledger]) -> None:
    meet = threading.Barrier(2)
    threads_before = read_limits(ledgers[0].warehouse.run).threads
    shown: list[int] = []

    def step(number: int) -> Callable[[Ledger], int]:
        def run(ledger: Ledger) -> int:
            meet.wait(MEETING_SECONDS_MAX)
            if number == 3:
                raise UserError("step 3")
            if number == 2:
                raise MemoryShort("step 2")
            ((value,),) = ledger.warehouse.execute(f"SELECT {number}")
            return int(value)

        return run

    results = run_side_by_side(ledgers, [step(n) for n in range(6)], starting=shown.append)
    assert [0, 1, "step 2", "step 3", 4, 5] == [
        result.message if isinstance(result, TailraceError) else result for result in results
    ]
    assert [0, 1, 2, 3, 4, 5] == shown
    assert threads_before == read_limits(ledgers[0].warehouse.run).threads


def test_steps_run_while_the_callers_thread_makes_others(ledgers: list[Ledger]) -> None:
    first_ran = threading.Event()
    ran_in: dict[int, Ledger] = {}

    def step(number: int) -> Callable[[Ledger], int]:
        def run(ledger: Ledger) -> int:
            ran_in[number] = ledger
            first_ran.set()
            return number

        return run

    def steps() -> Iterator[Callable[[Ledger], int]]:
        yield step(0)
        assert first_ran.wait(MEETING_SECONDS_MAX)
        yield step(1)

    assert [0, 1] == run_side_by_side(ledgers, steps())
    assert ran_in[0] is ledgers[1]


def test_an_error_in_making_a_step_ends_the_work(ledgers: list[Ledger]) -> None:
    def steps() -> Iterator[Callable[[Ledger], None]]:
        yield lambda ledger: None
        raise UserError("no second step")

    with pytest.raises(UserError, match="no second step"):
        run_side_by_side(ledgers, steps())
    assert THREAD not in {thread.name for thread in threading.enumerate()}


def test_an_internal_error_in_a_thread_is_raised_and_ends_the_work(ledgers: list[Ledger]) -> None:
    meet = threading.Barrier(2)
    ran: list[int] = []

    def step(number: int) -> Callable[[Ledger], None]:
        def run(ledger: Ledger) -> None:
            ran.append(number)
            meet.wait(MEETING_SECONDS_MAX)
            if ledger is ledgers[1]:
                raise ZeroDivisionError
            # The caller's thread takes no further step once the other one has failed.
            for thread in threading.enumerate():
                if thread.name == THREAD:
                    thread.join(MEETING_SECONDS_MAX)

        return run

    with pytest.raises(ZeroDivisionError):
        run_side_by_side(ledgers, [step(n) for n in range(9)], starting=lambda place: None)
    assert [0, 1] == sorted(ran)


def test_a_signal_stops_the_statement_of_the_other_thread(ledgers: list[Ledger]) -> None:
    begun = threading.Event()

    def step(ledger: Ledger) -> None:
        if ledger is ledgers[0]:
            begun.wait(MEETING_SECONDS_MAX)
            raise KeyboardInterrupt
        begun.set()
        ledger.warehouse.execute(
            "SELECT COUNT(*) FROM range(10000000000) AS a(i) WHERE HASH(i) = 1 AND HASH(i + 1) = 2"
        )

    with pytest.raises(KeyboardInterrupt):
        run_side_by_side(ledgers, [step, step], starting=lambda place: None)
    assert THREAD not in {thread.name for thread in threading.enumerate()}
