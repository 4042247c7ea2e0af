"""The tables of an audience's members follow its columns, and keep what they cannot lose."""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_lowercase

import pytest
from warehouses.desk import Desk

from tailrace.audience.audience import Audience
from tailrace.errors import KeyTypeChanged, ModelError, UnknownColumn
from tailrace.ledger.tables import Shape
from tailrace.plan.policy import PlanOptions
from tailrace.plan.snapshot_schema import (
    Alignment,
    SchemaChange,
    align,
    check_names,
    schema_change,
    shape_of,
)
from tailrace.warehouse.statements import Column

PEOPLE = """/* ---
key: {key}
user_id: {user}
track: {{changed: Changed, properties: {{{properties}}}}}
--- */
SELECT {select} FROM salesforce.contact"""
ID, CITY = Column("id", "VARCHAR"), Column("city", "VARCHAR")
AUDIENCE = Audience(name="people", key=("id",), user_id="id", track=None, file="people.sql")


@pytest.fixture
def desk(open_desk: Desk) -> Desk:
    """A desk with two contacts, and an audience of them by id."""
    open_desk.clear()
    open_desk.script(
        "CREATE TABLE salesforce.contact (id TEXT, email TEXT, city TEXT, score INTEGER);"
        "INSERT INTO salesforce.contact VALUES ('c1', 'a@example.com', 'Oslo', 1), "
        "('c2', 'b@example.com', NULL, 2)"
    )
    people(open_desk)
    return open_desk


def people(
    desk: Desk,
    key: str = "id",
    properties: str = "city: city",
    select: str = "id, email, city, score",
    user: str | None = None,
) -> None:
    text = PEOPLE.format(
        key=key, user=user or key.strip("[]").split(",")[0], properties=properties, select=select
    )
    desk.store.audience(text)


def snapshot(desk: Desk) -> dict[str, str]:
    """The snapshot's columns with their types."""
    return {c.name: c.type for c in desk.warehouse.columns_of(desk.ledger.snapshot("people"))}


def shape(*columns: Column, keys: Sequence[Column] = (ID,)) -> Shape:
    return Shape(keys=tuple(keys), columns=columns)


# Names


def test_a_column_that_the_model_does_not_give_is_named() -> None:
    with pytest.raises(UnknownColumn, match='no column "town"') as raised:
        shape_of([ID, CITY], key=["id"], mapped=["town"], file="people.sql")
    assert "people.sql" == raised.value.file


@pytest.mark.parametrize("name", ["seq", "op", "_since", "_epoch", "old__city", "rowid", "tr__m"])
def test_a_reserved_column_name_is_refused(name: str) -> None:
    """With what to write instead."""
    with pytest.raises(ModelError, match=f'Column name "{name}" is reserved') as raised:
        shape_of([ID, Column(name)], key=["id"], mapped=[name], file="people.sql")
    assert f"{name} AS" in raised.value.hint


def test_every_name_that_a_statement_makes_up_is_reserved(desk: Desk) -> None:
    """A column of that name beside it would be taken for ours, or ours for it."""
    from tailrace.plan.snapshot_schema import RESERVED_COLUMNS

    made = {name for name in snapshot_of_a_run(desk) if name not in ("id", "city")}
    assert made <= RESERVED_COLUMNS


def snapshot_of_a_run(desk: Desk) -> set[str]:
    planned = desk.deliver()
    tables = (
        planned.diff.transitions,
        desk.ledger.outbox("people"),
        desk.ledger.snapshot("people"),
    )
    found = {column.name for table in tables for column in desk.warehouse.columns_of(table)}
    return {name for name in found if not name.startswith("old__")}


def test_a_key_that_is_mapped_too_is_one_column() -> None:
    made = shape_of([ID, CITY], key=["id"], mapped=["id", "city"], file=None)
    assert shape(CITY) == made


@pytest.mark.parametrize(
    ("name", "column", "words"),
    [
        ("a" * 51, "city", "The audience's name"),
        ("people", "c" * 59, "The column's name"),
        ("people", "ø" * 30, "The column's name"),
    ],
)
def test_a_name_that_the_warehouse_would_cut_is_refused(name: str, column: str, words: str) -> None:
    """PostgreSQL cuts silently after 63 bytes, and two audiences would share one table."""
    audience = Audience(name=name, key=("id",), track=None)
    with pytest.raises(ModelError, match=f"{words} .* is too long") as raised:
        check_names(audience, shape(Column(column)), name_bytes_max=63)
    assert "bytes fit" in raised.value.hint
    check_names(audience, shape(Column(column)), name_bytes_max=65_536)


def test_the_longest_names_that_are_allowed_work(desk: Desk) -> None:
    """And two audiences that only differ in their last letter have tables of their own."""
    column = "c" * 58
    for letter in "xy":
        name = "a" * 49 + letter
        text = PEOPLE.format(
            key="id", user="id", properties=f"c: {column}", select=f"id, city AS {column}"
        )
        desk.store.audience(text, name)
        assert 2 == desk.deliver(name).entered
    desk.script("DELETE FROM salesforce.contact WHERE id = 'c1'")
    assert 1 == desk.deliver("a" * 49 + "x").exited
    assert 0 == desk.deliver("a" * 49 + "x").exited
    assert 1 == desk.plan("a" * 49 + "y").exited


# Columns


def test_a_schema_change_lists_what_differs() -> None:
    """Added, dropped, retyped; our own columns and the keys are no part of it."""
    score = Column("score", "INTEGER")
    found = [ID, CITY, score, Column("_v", "BIGINT"), Column("_gone", "BOOLEAN")]
    wide, new = Column("score", "BIGINT"), Column("new", "DATE")
    changed = schema_change(found, shape(wide, new), audience=AUDIENCE, keys=("id",))
    assert SchemaChange(added=(new,), dropped=(CITY,), retyped=(wide,)) == changed
    assert SchemaChange() == schema_change(
        found, shape(score, CITY), audience=AUDIENCE, keys=("id",)
    )


def test_a_key_of_another_type_is_refused_with_both_ways_out() -> None:
    with pytest.raises(
        KeyTypeChanged, match='type of key column "id" changed from VARCHAR to BIGINT'
    ) as raised:
        schema_change([ID], shape(keys=[Column("id", "BIGINT")]), audience=AUDIENCE, keys=("id",))
    assert "Cast it back" in raised.value.hint
    assert "tailrace reset people" in raised.value.hint


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("[id, city]", "The key changed from id to id, city"),
        ("email", "The key changed from id to email"),
    ],
)
def test_another_key_is_another_audience(desk: Desk, key: str, message: str) -> None:
    """Although all its columns were recorded: every member would exit and enter."""
    people(desk, properties="city: city, email: email")
    desk.deliver()
    people(desk, key=key, properties="city: city, email: email")
    with pytest.raises(KeyTypeChanged, match=message):
        desk.plan()


def test_a_part_of_the_key_less_is_another_audience(desk: Desk) -> None:
    """Members that only differed in that part would become one."""
    people(desk, key="[id, email]", properties="city: city, email: email")
    desk.deliver()
    people(desk, key="id", properties="city: city, email: email")
    with pytest.raises(KeyTypeChanged, match="The key changed from id, email to id"):
        desk.plan()


def test_the_order_of_the_key_s_parts_means_nothing(desk: Desk) -> None:
    people(desk, key="[id, email]")
    desk.deliver()
    people(desk, key="[email, id]")
    assert 0 == desk.plan().planned


def test_a_reset_starts_again_with_another_key(desk: Desk) -> None:
    """Nothing of the old key is left to stand in the way, doubts included."""
    desk.deliver(unconfirmed=["c1"])
    people(desk, key="email")
    planned = desk.deliver(options=PlanOptions(intent="accept"))
    assert (2, 0) == (planned.entered, planned.exited)
    assert (0, 0) == desk.ledger.deliveries.unresolved_counts("people")
    assert ["email", "city"] == list(snapshot(desk))[:2]
    assert 0 == desk.plan().planned


def test_tables_have_the_types_of_the_model(desk: Desk) -> None:
    """Not those of some encoding: a value comes back as it went in."""
    people(desk, properties="city: city, score: score")
    desk.deliver()
    types = {c.name: c.type for c in desk.plan().shape.columns}
    recorded = snapshot(desk)
    assert types == {name: recorded[name] for name in types}


def test_a_column_that_comes_is_filled_in_for_members_only(desk: Desk) -> None:
    """A tombstone keeps the last-known values, and knows nothing of it."""
    desk.deliver()
    desk.script("DELETE FROM salesforce.contact WHERE id = 'c2'")
    desk.deliver()
    desk.script("INSERT INTO salesforce.contact VALUES ('c2', 'b@example.com', NULL, 2)")
    people(desk, properties="city: city, score: score")
    planned, delivery = desk.save_plan()
    assert (1, 0, 0) == (planned.entered, planned.changed, planned.exited)
    assert [("c1", 1), ("c2", None)] == desk.query(
        "SELECT id, score FROM tailrace.snapshot__people ORDER BY id"
    )
    desk.settle(delivery)
    assert 0 == desk.plan().planned


def test_a_held_audience_s_tables_stay_as_they_are(desk: Desk) -> None:
    """Also its columns: whoever is held today decides about them tomorrow."""
    desk.deliver()
    before = snapshot(desk)
    people(desk, properties="score: score")
    desk.script("INSERT INTO salesforce.contact VALUES (NULL, NULL, NULL, NULL)")
    assert "held" == desk.deliver().status
    assert before == snapshot(desk)


def test_a_run_that_died_between_columns_and_plan_is_made_up_for(desk: Desk) -> None:
    """The columns were committed, the plan was not: the next run asks the same question."""
    desk.deliver()
    people(desk, properties="city: city, score: score")
    asked = desk.plan(options=PlanOptions(on_new_column="send"))
    alignment = Alignment(
        audience=asked.audience,
        model=asked.model,
        shape=asked.shape,
        reset_columns=asked.diff.reset_columns,
    )
    align(desk.ledger, [alignment])
    again = desk.plan(options=PlanOptions(on_new_column="send"))
    assert {"mapping": {"entered": 0, "changed": 2, "exited": 0}} == again.by_reason
    assert 0 == desk.plan().planned
    assert 0 == desk.deliver().planned
    assert [(1,), (2,)] == desk.query("SELECT score FROM tailrace.snapshot__people ORDER BY score")


def test_a_first_run_that_died_leaves_no_key_behind(desk: Desk) -> None:
    """No member was delivered, so the key can still be changed."""
    asked = desk.plan()
    alignment = Alignment(
        audience=asked.audience, model=asked.model, shape=asked.shape, backfill=True
    )
    align(desk.ledger, [alignment])
    people(desk, key="email")
    assert 2 == desk.deliver().entered
    assert 0 == desk.plan().planned


def test_an_audience_that_was_retired_may_come_back_as_another(desk: Desk) -> None:
    """Under its old name, by another key; all members enter."""
    desk.deliver()
    desk.ledger.audiences.retire("people")
    people(desk, key="email")
    assert 2 == desk.deliver().entered
    assert 0 == desk.plan().planned


def test_rows_of_the_outbox_outlive_the_columns_they_had(desk: Desk) -> None:
    """History keeps what a dropped column was; a type that does not fit resets the column."""
    people(desk, properties="city: city, email: email")
    desk.deliver()
    people(desk, properties="score: score")
    desk.deliver()
    people(desk, properties="city: city", select="id, score AS city")
    assert 0 == desk.deliver().planned
    rows = desk.query("SELECT email, city FROM tailrace.outbox__people ORDER BY id")
    assert [("a@example.com", None), ("b@example.com", None)] == rows


def test_a_column_may_be_called_as_a_statement_calls_a_table(desk: Desk) -> None:
    """Every letter, as keys and as values: planned, refused, unconfirmed, told again, looked at."""
    given = dict.fromkeys(ascii_lowercase, "score") | {"d": "id", "o": "city", "u": "email"}
    select = ", ".join(f'{column} AS "{name}"' for name, column in given.items())
    mapped = ", ".join(f'"{name}": "{name}"' for name in ascii_lowercase)
    desk.script("UPDATE salesforce.contact SET city = 'Oslo'")

    def put(more: str = "") -> None:
        people(desk, key="[d, o]", user="u", properties=mapped, select=select + more)

    put()
    assert 2 == desk.deliver(unconfirmed=["c1 Oslo"], rejected=["c2 Oslo"]).entered
    assert 2 == desk.deliver(rejected=["c1 Oslo"]).entered
    assert 1 == desk.deliver().entered
    desk.script("UPDATE salesforce.contact SET score = 9 WHERE id = 'c1'")
    assert 1 == desk.deliver(unconfirmed=["c1 Oslo"]).changed
    desk.script("INSERT INTO salesforce.contact VALUES ('c3', NULL, NULL, 1), ('c4', 'x', 'y', 1)")
    bad = PlanOptions(allow=frozenset({("people", "keys")}))
    assert (1, 1) == ((made := desk.deliver(options=bad)).entered, made.changed)
    desk.script("DELETE FROM salesforce.contact WHERE city IS NULL")
    assert 3 == desk.deliver(options=PlanOptions(intent="resend")).entered
    put(", 1 AS unmapped")
    assert 0 == desk.deliver(options=PlanOptions(on_mapping_change="send")).planned
    desk.script("DELETE FROM salesforce.contact WHERE id = 'c1'")
    assert 1 == desk.deliver().exited
    desk.ledger.audiences.retire("people")
    assert 2 == desk.deliver().entered
