"""How a plan is numbered when it is written down, on every warehouse."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from warehouses.desk import Desk, desk_on

from tailrace.destinations.protocol import MapperOptions
from tailrace.destinations.registry import destination_type
from tailrace.errors import LedgerGap, MemoryShort, WarehouseFailed
from tailrace.ledger.deliveries import STATISTICS_MEMBERS_MIN
from tailrace.ledger.outbox import (
    FIRST_PAGE_ROWS,
    PAGE_ROWS_MAX,
    SORTED_ROWS_MAX,
    PlannedTransitions,
    enqueue,
)
from tailrace.run import member_messages
from tailrace.run.member_messages import OutboxMessages
from tailrace.run.planned_delivery import Delivery
from tailrace.warehouse.connection import Warehouse
from tailrace.warehouse.statements import TableName

pytestmark = pytest.mark.older_duckdb

PEOPLE = """/* ---
audience: people
key: id
user_id: email
guards: {max_exited: null}
track:
  properties: {score: score}
--- */
SELECT id, email, score FROM salesforce.contact
"""
# DuckDB writes a row group as soon as it is full, and not with the rest of a transaction.
ROW_GROUP_ROWS = 122_880


@pytest.fixture(scope="module", params=["duckdb", "postgres"])
def shared_desk(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Desk]:
    with desk_on(request, tmp_path_factory.mktemp("desk")) as made:
        yield made


@pytest.fixture
def desk(shared_desk: Desk) -> Desk:
    shared_desk.clear()
    return shared_desk


def land(desk: Desk, rows: int, email: str) -> None:
    desk.script(
        "DROP TABLE IF EXISTS salesforce.contact; CREATE TABLE salesforce.contact AS "
        f"SELECT CONCAT('c', i) AS id, {email} AS email, CAST(i AS DOUBLE) AS score "
        f"FROM GENERATE_SERIES(1, {rows}) AS r(i)"
    )


@pytest.mark.parametrize(
    ("rows", "email"),
    [
        (SORTED_ROWS_MAX, "CONCAT('u', i % 700)"),
        (SORTED_ROWS_MAX + 500, "CONCAT('u', i % 1400)"),
        (SORTED_ROWS_MAX + 500, "CASE WHEN i % 3 > 0 THEN CONCAT('u', i) END"),
        (SORTED_ROWS_MAX + 500, "'everybody'"),
        (ROW_GROUP_ROWS + 5_000, "CONCAT('u', i)"),
    ],
    ids=["small", "some", "one or nobody", "all", "row groups"],
)
def test_the_rows_of_a_user_stand_together(desk: Desk, rows: int, email: str) -> None:
    """Numbered from 1 without a gap; first who has several rows, each one's rows side by side."""
    desk.store.audience(PEOPLE)
    land(desk, rows, email)
    _, delivery = desk.save_plan()
    numbered = desk.query("SELECT seq, email FROM tailrace.outbox__people ORDER BY seq")
    assert [*range(1, rows + 1)] == [seq for seq, _ in numbered]
    users = [user for _, user in numbered if user is not None]
    assert len(set(users)) == sum(
        1 for at, user in enumerate(users) if at == 0 or users[at - 1] != user
    )
    if rows > SORTED_ROWS_MAX:
        counted = Counter(users)
        several = [counted[user] > 1 for user in users]
        assert several == sorted(several, reverse=True)
    if desk.warehouse.engine.reads_by_index:
        indexes = desk.warehouse.run(
            "outbox/count_indexes", dataset="tailrace", table="outbox__people"
        )
        assert [(int(rows > PAGE_ROWS_MAX),)] == indexes
    desk.acknowledge(delivery, 1, delivery.planned)


def test_postgres_has_statistics_of_a_snapshot_that_was_filled_or_changed_much(
    desk: Desk,
) -> None:
    """On its own, the server collects them about a minute later. Few changes are left to it."""
    if not desk.warehouse.engine.needs_statistics:
        pytest.skip("the engine needs no statistics")
    desk.store.audience(PEOPLE)
    changes = STATISTICS_MEMBERS_MIN
    for known, planned, email, then in (
        (-1, changes, "CONCAT('u', i)", changes),
        (5 * changes, changes, "CONCAT('v', i)", changes),
        (50 * changes, changes, "CONCAT('w', i)", 50 * changes),
        (-1, changes - 1, "CONCAT(CASE WHEN i = 1 THEN 'w' ELSE 'x' END, i)", -1),
    ):
        desk.script(f"UPDATE pg_class SET reltuples = {known} WHERE relname = 'snapshot__people'")
        land(desk, changes, email)
        assert planned == desk.deliver().planned
        assert [(then,)] == desk.query(
            "SELECT reltuples FROM pg_class WHERE relname = 'snapshot__people'"
        )


def test_numbers_above_32_bits_are_numbers(desk: Desk) -> None:
    """Runs, rows of the outbox and of the snapshot are numbered from five billion on."""
    large = 5_000_000_000
    desk.store.audience(PEOPLE)
    desk.warehouse.run(
        "ledger/start_run",
        tables=desk.ledger.tables,
        run=large,
        run_id="earlier",
        command="sync",
        now=desk.clock.now(),
        versions="{}",
        allowed="[]",
    )
    land(desk, 3, "CONCAT('u', i)")
    _, delivery = desk.save_plan()
    assert large + 1 == delivery.run_seq
    desk.script(f"UPDATE tailrace.outbox__people SET seq = seq + {large}")
    late = replace(delivery, planned=delivery.planned + large)
    desk.acknowledge(late, 1, large + 1)
    assert [large + 2, large + 3] == [moved.seq for moved, _ in desk.transitions(late)]
    desk.acknowledge(late, large + 2, large + 3)
    desk.advance(late)
    if desk.warehouse.dialect == "duckdb":
        # A column of this name hides DuckDB's own number of a row.
        desk.script("ALTER TABLE tailrace.snapshot__people ADD COLUMN rowid BIGINT")
        desk.script(
            f"UPDATE tailrace.snapshot__people SET rowid = {large} + CAST(SUBSTRING(id, 2) AS INT)"
        )
    desk.script("UPDATE salesforce.contact SET score = 9 WHERE id = 'c2'")
    _, delivery = desk.save_plan()
    ((moved, _),) = desk.transitions(delivery)
    assert ("changed", ("c2",), 2, 9) == (
        moved.op,
        moved.key,
        moved.old["score"],
        moved.new["score"],
    )
    desk.acknowledge(delivery, 1, 1)


def test_what_the_engine_did_not_take_is_a_gap(desk: Desk) -> None:
    """Nothing is sent of a plan of which not every row stands in the outbox."""
    desk.store.audience(PEOPLE)
    land(desk, 3, "CONCAT('u', i)")
    planned, delivery = desk.save_plan()
    once = TableName("tailrace", "moved_once")
    # A count finds three rows, and a later read finds none.
    desk.warehouse.execute(
        "CREATE SEQUENCE tailrace.looks; CREATE VIEW tailrace.moved_once AS "
        "SELECT * FROM tailrace.outbox__people WHERE NEXTVAL('tailrace.looks') <= 3"
    )
    with pytest.raises(LedgerGap, match="3 planned, 0 saved"):
        plan = PlannedTransitions(audience=delivery.audience, transitions=once, shape=planned.shape)
        enqueue(desk.ledger, 99, [plan])
    desk.warehouse.execute("DROP VIEW tailrace.moved_once; DROP SEQUENCE tailrace.looks")


@pytest.mark.parametrize("rows_max", [1, 2, 3, 6])
def test_a_page_that_exceeds_the_memory_is_read_in_halves(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, rows_max: int
) -> None:
    """Every transition once and in order, however often the page is halved."""
    desk.store.audience(PEOPLE)
    land(desk, 7, "CONCAT('u', i)")
    _, delivery = desk.save_plan()
    run = desk.warehouse.run

    def run_with_little_memory(name: str, /, **bindings: Any) -> list[tuple[Any, ...]]:
        rows = run(name, **bindings)
        if name == "outbox/page" and len(rows) > rows_max:
            raise MemoryShort("too little memory")
        return rows

    monkeypatch.setattr(desk.warehouse, "run", run_with_little_memory)
    assert [1, 2, 3, 4, 5, 6, 7] == [row.seq for row, _ in desk.transitions(delivery)]
    monkeypatch.undo()
    desk.acknowledge(delivery, 1, delivery.planned)


def messages_of(desk: Desk, delivery: Delivery) -> OutboxMessages:
    options = MapperOptions(namespace=desk.ledger.namespace, planned_at=delivery.planned_at)
    return OutboxMessages(
        desk.ledger,
        destination_type("segment").mapper(delivery.audience, options),
        run_seq=delivery.run_seq,
        shape=delivery.shape,
        planned=delivery.planned,
        refuse=lambda transition, refusal: None,
    )


@pytest.mark.parametrize("sessions", [1, 2])
def test_rendered_pages_give_every_transition_once_and_in_order(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, sessions: int
) -> None:
    """Read beside the run's session, from where an earlier run stopped, and from two ranges."""
    if sessions == 2 and not desk.warehouse.engine.joins_pages:
        pytest.skip("one session renders with all cores")
    monkeypatch.setattr(member_messages, "TWO_SESSIONS_ROWS_MIN", 1)
    opened: list[Warehouse] = []
    another = desk.warehouse.another

    def another_while_there_is_one() -> Warehouse:
        if len(opened) == sessions:
            raise WarehouseFailed("the server has no connection left")
        opened.append(another())
        return opened[-1]

    monkeypatch.setattr(desk.warehouse, "another", another_while_there_is_one)
    desk.store.audience(PEOPLE)
    rows = 2 * FIRST_PAGE_ROWS + 500
    land(desk, rows, "CONCAT('u', i)")
    _, delivery = desk.save_plan()
    desk.acknowledge(delivery, 1, 10)
    desk.acknowledge(delivery, 21, FIRST_PAGE_ROWS + 30)
    members = list(messages_of(desk, delivery))
    open_seqs = [*range(11, 21), *range(FIRST_PAGE_ROWS + 31, rows + 1)]
    assert open_seqs == [member.seq for member in members]
    ids = [message.message_id for member in members for message in member.messages]
    assert len(open_seqs) == len(ids) == len({*ids})
    if desk.warehouse.engine.joins_pages:
        assert [None] * sessions == [session.session.native for session in opened]
    desk.acknowledge(delivery, 1, delivery.planned)


@pytest.mark.parametrize("shared_desk", ["postgres"], indirect=True)
@pytest.mark.parametrize("rows_max", [1, 2, 6])
def test_a_joined_page_that_exceeds_the_memory_is_read_in_parts(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, rows_max: int
) -> None:
    """Every transition once and in order, however small the pages are."""
    desk.store.audience(PEOPLE)
    land(desk, 7, "CONCAT('u', i)")
    _, delivery = desk.save_plan()
    run = desk.warehouse.run

    def run_with_little_memory(name: str, /, **bindings: Any) -> list[tuple[Any, ...]]:
        rows = run(name, **bindings)
        if name == "outbox/joined_page" and len(rows[0][0].split(",")) > rows_max:
            raise MemoryShort("too little memory")
        return rows

    monkeypatch.setattr(desk.warehouse, "run", run_with_little_memory)
    assert [1, 2, 3, 4, 5, 6, 7] == [member.seq for member in messages_of(desk, delivery)]
    monkeypatch.undo()
    desk.acknowledge(delivery, 1, delivery.planned)


@pytest.mark.parametrize("shared_desk", ["postgres"], indirect=True)
def test_a_session_sets_what_rendered_bytes_and_plans_rely_on(desk: Desk) -> None:
    """Whatever the settings of the user are; more memory than a plan asks for stays."""
    shown = "SELECT " + ", ".join(
        f"CURRENT_SETTING('{name}')" for name in ("TimeZone", "extra_float_digits", "work_mem")
    )
    assert [("UTC", "1", "64MB")] == desk.warehouse.execute(shown)
    try:
        desk.warehouse.execute("ALTER ROLE CURRENT_USER SET extra_float_digits = -3")
        desk.warehouse.execute("ALTER ROLE CURRENT_USER SET work_mem = '96MB'")
        beside = desk.warehouse.another()
        assert [("UTC", "1", "96MB")] == beside.execute(shown)
        beside.close()
    finally:
        desk.warehouse.execute("ALTER ROLE CURRENT_USER RESET ALL")
