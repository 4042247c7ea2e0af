"""The pages of several small deliveries are rendered by one statement, with the same messages."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import pytest
from warehouses.desk import Desk

from tailrace.destinations.messages import MemberMessages
from tailrace.destinations.registry import destination_type
from tailrace.errors import MemoryShort, StatementRefused
from tailrace.plan.planner import Planner
from tailrace.plan.policy import PlanOptions
from tailrace.run import pages_together
from tailrace.run.delivery import save_plans
from tailrace.run.member_messages import OutboxMessages
from tailrace.run.pages_together import PagesTogether
from tailrace.run.planned_delivery import Delivery, Terms, mapper_of, pages_of_small

AUDIENCE = """/* ---
key: id
user_id: id
track: {{entered: {event}, changed: {event}, properties: {{city: city, score: score}}}}
identify: {{traits: {{city: city}}, membership_trait: {trait}}}
guards: {{max_exited: null}}
--- */
SELECT id, city, score FROM salesforce.contact WHERE part = {part}"""
WITHOUT_TRAITS = """/* ---
key: id
user_id: id
track: {{properties: {{score: score}}}}
--- */
SELECT id, score FROM salesforce.contact WHERE part = {part}"""
AUDIENCES = 6


@pytest.fixture
def desk(duckdb_desk: Desk) -> Desk:
    """Audiences of two forms; some values have to be mapped row by row."""
    duckdb_desk.clear()
    duckdb_desk.script(
        "CREATE TABLE salesforce.contact AS SELECT 'c' || i AS id, "
        "CASE i % 5 WHEN 0 THEN 'a' || chr(1) || 'b' ELSE 'O''Hara \"' || i END AS city, "
        f"CASE WHEN i % 7 = 0 THEN 'nan' ELSE i / 8 END::DOUBLE AS score, i % {AUDIENCES} AS part "
        "FROM range(60) AS r(i)"
    )
    for part in range(AUDIENCES):
        text = WITHOUT_TRAITS if part in (1, 4) else AUDIENCE
        event = """'It''s "%" new'""" if part == 3 else f"Entered {part}"
        sql = text.format(part=part, event=event, trait=f"in_{part}")
        duckdb_desk.store.audience(sql, f"part_{part}")
    return duckdb_desk


def saved(desk: Desk) -> list[Delivery]:
    """The deliveries of a new run, which were not sent yet."""
    models = desk.models()
    planner = Planner(
        desk.ledger, models, options=PlanOptions(), destinations=None, now=desk.clock.now()
    )
    plans = planner.plan(models.audiences()).audiences
    return save_plans(desk.ledger, desk.start_run(), plans, options=PlanOptions())


def rendered(
    desk: Desk, deliveries: Sequence[Delivery], together: PagesTogether | None
) -> dict[str, list[MemberMessages]]:
    """The messages of each delivery by its audience."""
    kind, terms = destination_type("segment"), Terms()
    return {
        delivery.audience.ledger_key: list(
            OutboxMessages(
                desk.ledger,
                mapper_of(desk.ledger, delivery, kind=kind, terms=terms),
                run_seq=delivery.run_seq,
                shape=delivery.shape,
                planned=delivery.planned,
                changed=delivery.changed,
                refuse=lambda transition, refusal: None,
                together=together,
            )
        )
        for delivery in deliveries
    }


def together_of(desk: Desk, deliveries: Sequence[Delivery]) -> PagesTogether:
    together = pages_of_small(
        desk.ledger, deliveries, kind=destination_type("segment"), terms=Terms()
    )
    assert together is not None
    return together


def statements(caplog: pytest.LogCaptureFixture) -> int:
    text = "statement outbox/rendered_page"
    return sum(text == record.getMessage() for record in caplog.records)


@pytest.mark.older_duckdb
def test_messages_that_are_rendered_together_are_those_of_each_delivery(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    """First deliveries, and later ones with entries, changes and exits."""
    caplog.set_level(logging.DEBUG, logger="tailrace.warehouse.connection")
    # One for each of the two forms; later the one audience without changes has a form of its own.
    for expected in (2, 3):
        deliveries = saved(desk)
        alone = rendered(desk, deliveries, None)
        caplog.clear()
        assert alone == rendered(desk, deliveries, together_of(desk, deliveries))
        assert expected == statements(caplog)
        assert all(alone.values())
        for delivery in deliveries:
            desk.settle(delivery)
        desk.script(
            "UPDATE salesforce.contact SET city = 'Rome', score = 1.5 WHERE part < 5 AND id > 'c3'"
        )
        desk.script("UPDATE salesforce.contact SET part = (part + 1) % 6 WHERE id < 'c2'")


def test_only_new_small_deliveries_are_rendered_with_others(
    desk: Desk, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG, logger="tailrace.warehouse.connection")
    monkeypatch.setattr(pages_together, "MEMBERS_MAX", 10)
    monkeypatch.setattr(pages_together, "MEMBERS_IN_ADVANCE_MAX", 25)
    desk.script("UPDATE salesforce.contact SET part = 5 WHERE id = 'c0'")
    deliveries = saved(desk)
    alone = rendered(desk, deliveries, None)
    caplog.clear()
    assert alone == rendered(desk, deliveries, together_of(desk, deliveries))
    # part_5 has eleven members. part_0 and part_2 are rendered together; while part_2 waits, part_1
    # and part_4 would be too many.
    assert 5 == statements(caplog)
    for delivery in deliveries:
        desk.settle(delivery)


@pytest.mark.parametrize(
    ("error", "expected"), [(MemoryShort("short"), 1 + 4), (StatementRefused("no"), 2 + 6)]
)
def test_a_statement_of_several_that_fails_is_replaced_by_smaller_ones(
    desk: Desk,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    expected: int,
) -> None:
    caplog.set_level(logging.DEBUG, logger="tailrace.warehouse.connection")
    monkeypatch.setattr(pages_together, "TOGETHER_MAX", 4)
    deliveries = saved(desk)
    alone = rendered(desk, deliveries, None)
    caplog.clear()
    ran: list[int] = []
    united_max = 2 if isinstance(error, MemoryShort) else 1
    execute = desk.warehouse.execute

    def execute_small(sql: str, name: str = "a statement") -> list[tuple[object, ...]]:
        if name == "outbox/rendered_page":
            ran.append(sql.count("AS _place"))
            if ran[-1] > united_max:
                raise error
        return execute(sql, name)

    monkeypatch.setattr(desk.warehouse, "execute", execute_small)
    assert alone == rendered(desk, deliveries, together_of(desk, deliveries))
    monkeypatch.undo()
    assert expected == len(ran)
    for delivery in deliveries:
        desk.settle(delivery)


@pytest.mark.parametrize("error", [None, MemoryShort("short"), StatementRefused("no")])
def test_pages_that_another_thread_renders_ahead_are_the_same(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, error: Exception | None
) -> None:
    """A statement that fails there is replaced by smaller ones in the run's own session."""
    monkeypatch.setattr(pages_together, "TOGETHER_MAX", 2)
    deliveries = saved(desk)
    alone = rendered(desk, deliveries, None)
    another = desk.warehouse.another()
    execute = another.execute
    ahead: list[str] = []

    def execute_or_fail(sql: str, name: str = "a statement") -> list[tuple[object, ...]]:
        ahead.append(name)
        if error is not None:
            raise error
        return execute(sql, name)

    monkeypatch.setattr(another, "execute", execute_or_fail)
    monkeypatch.setattr(desk.warehouse, "another", lambda: another)
    together = pages_of_small(
        desk.ledger, deliveries, kind=destination_type("segment"), terms=Terms(), ahead=True
    )
    assert together is not None
    try:
        assert alone == rendered(desk, deliveries, together)
    finally:
        together.close()
    # The pages of part_0 and part_2, of part_1 and part_4, and of part_3 and part_5.
    assert ["outbox/rendered_page"] * 3 == ahead
    for delivery in deliveries:
        desk.settle(delivery)
