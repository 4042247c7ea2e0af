"""The diff: exact on every engine, against an oracle, and quick where nothing moved."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import pytest
from warehouses.desk import Desk

from tailrace.encoding.values import equal_when_sent, json_value, unchanged
from tailrace.plan import model_fingerprint
from tailrace.plan.plan import AudiencePlan
from tailrace.plan.policy import PlanOptions

PEOPLE = """/* ---
key: id
user_id: id
track: {changed: Changed, properties: {city: city, score: score}}
--- */
SELECT id, city, score FROM salesforce.contact"""
CONTACT = (
    "CREATE TABLE salesforce.contact (id TEXT, city TEXT, score DOUBLE);"
    "INSERT INTO salesforce.contact VALUES ('c1', 'Oslo', 1), ('c2', 'Moss', 2), ('c3', NULL, NULL)"
)


@pytest.fixture
def desk(open_desk: Desk) -> Desk:
    """A desk whose three contacts were delivered."""
    return delivered(open_desk)


@pytest.fixture
def quick(duckdb_desk: Desk) -> Desk:
    """The same where the engine has a hash that costs nothing."""
    return delivered(duckdb_desk)


def delivered(desk: Desk) -> Desk:
    desk.clear()
    desk.store.audience(PEOPLE)
    desk.script(CONTACT)
    desk.deliver()
    return desk


NUMBERS = ("NaN", "Infinity", "-Infinity", None, "0.0", "-0.0", "1.5", "0.1", "1e30")


def plan_of_pairs(
    desk: Desk, pairs: Sequence[tuple[str | None, str | None]]
) -> tuple[AudiencePlan, set[str]]:
    """Deliver the first value of each pair, then plan the second.

    Returns:
        The plan, and the keys whose members it changes: `p0` for the first pair.
    """
    for column in (0, 1):
        values = ", ".join(
            f"('p{number}', 'Oslo', {literal(pair[column])})" for number, pair in enumerate(pairs)
        )
        desk.script(
            f"DELETE FROM salesforce.contact;INSERT INTO salesforce.contact VALUES {values}"
        )
        if column == 0:
            desk.deliver()
    planned, delivery = desk.save_plan()
    return planned, {str(transition.key[0]) for transition, _ in desk.transitions(delivery)}


@pytest.mark.parametrize("type_", ["DOUBLE PRECISION", "REAL", "NUMERIC"])
def test_a_member_changes_if_and_only_if_its_json_changes(open_desk: Desk, type_: str) -> None:
    """Every pair of values: what the diff finds, and what the plan counts, is what is sent."""
    if type_ == "NUMERIC" and open_desk.warehouse.dialect != "postgres":
        pytest.skip("a DECIMAL of DuckDB is always a number")
    open_desk.clear()
    open_desk.store.audience(PEOPLE)
    open_desk.script(CONTACT)
    # Not in DuckDB's words, in which a NUMERIC has a precision.
    open_desk.warehouse.execute(f"ALTER TABLE salesforce.contact ALTER COLUMN score TYPE {type_}")
    pairs = [(old, new) for old in NUMBERS for new in NUMBERS]
    planned, changed = plan_of_pairs(open_desk, pairs)
    numbers = [[Decimal(value) if value else None for value in pair] for pair in pairs]
    expected = {
        f"p{number}"
        for number, (old, new) in enumerate(numbers)
        # Zero and minus zero are one number.
        if old is not new and old != new and not equal_when_sent(old, new)
    }
    assert expected == changed
    assert len(expected) == planned.changed == planned.calls["track"]


DOCUMENTS = (
    None, "null", "[]", "{}", "1", "1.0", "1.50", "15e-1", "true", '"1"', "[1, 2]", "[2, 1]",
    '{"a": 1, "b": {"c": null, "d": [1]}}', '{"b":{"d":[1.0],"c":null},"a":1}', '{"a": 1, "b": {}}',
    '{"a": 1, "a": 2}', '{"a": 2}', '{"a": true}', '{"A": 2}', '"\\u00e9"', '"é"', '"\\/"', '"/"',
    "12345678901234567890123", "12345678901234567890124",
)  # fmt: skip


@pytest.mark.parametrize("type_", ["JSON", "JSONB"])
def test_a_json_value_changes_if_and_only_if_its_message_does(open_desk: Desk, type_: str) -> None:
    """Every pair of documents: order of keys, white space, escapes, numbers, duplicate keys."""
    if type_ == "JSONB" and open_desk.warehouse.dialect != "postgres":
        pytest.skip("DuckDB has one type for JSON")
    open_desk.clear()
    open_desk.store.audience(PEOPLE)
    open_desk.script(CONTACT)
    open_desk.warehouse.execute("ALTER TABLE salesforce.contact DROP COLUMN score")
    open_desk.warehouse.execute(f"ALTER TABLE salesforce.contact ADD COLUMN score {type_}")
    pairs = [(old, new) for old in DOCUMENTS for new in DOCUMENTS]
    planned, changed = plan_of_pairs(open_desk, pairs)
    expected = {
        f"p{number}"
        for number, (old, new) in enumerate(pairs)
        if not unchanged(json_value(old), json_value(new))
    }
    assert expected == changed
    assert len(expected) == planned.changed == planned.calls["track"]


def test_an_unconfirmed_document_in_another_order_keeps_its_message(quick: Desk) -> None:
    """The messageId of the attempt, although the model writes the same JSON differently today."""
    quick.store.audience(PEOPLE.replace("city, score FROM", "city, d AS score FROM"))
    quick.script("ALTER TABLE salesforce.contact ADD COLUMN d JSON")
    quick.deliver()
    quick.script("""UPDATE salesforce.contact SET d = '{"a": 1, "b": 2}' WHERE id = 'c1'""")
    quick.deliver(unconfirmed=["c1"])

    def attempt() -> list[tuple[int, bool]]:
        _, delivery = quick.save_plan()
        rows = [transition for transition, _ in quick.transitions(delivery)]
        return [(row.base_v, bool(row.old)) for row in rows]

    same_text = attempt()
    quick.script("""UPDATE salesforce.contact SET d = '{"b":2,"a":1}' WHERE id = 'c1'""")
    assert same_text == attempt()
    quick.script("""UPDATE salesforce.contact SET d = '{"b":2,"a":3}' WHERE id = 'c1'""")
    assert same_text != attempt()


def literal(value: str | None) -> str:
    return "NULL" if value is None else f"'{value}'"


# The fast path


def test_the_very_rows_that_were_delivered_need_no_diff(quick: Desk) -> None:
    """Whatever their order; the run is written down as any other."""
    planned = quick.plan()
    assert planned.diff.unchanged
    assert ("unchanged", 0, 3, 3) == (
        planned.status,
        planned.planned,
        planned.diff.size_before,
        planned.diff.size_after,
    )
    quick.script(
        "CREATE TABLE salesforce.sorted AS SELECT * FROM salesforce.contact ORDER BY id DESC;"
        "DROP TABLE salesforce.contact; ALTER TABLE salesforce.sorted RENAME TO contact"
    )
    assert quick.deliver().diff.unchanged
    assert quick.plan().diff.unchanged


def test_an_engine_without_a_cheap_hash_never_claims_it(desk: Desk) -> None:
    """It compares, and finds nothing."""
    planned = desk.plan()
    assert 0 == planned.planned
    assert (desk.warehouse.dialect == "duckdb") == planned.diff.unchanged
    assert (planned.diff.fingerprint is None) == (desk.warehouse.dialect != "duckdb")


@pytest.mark.parametrize(
    "moved",
    [
        "UPDATE salesforce.contact SET city = 'Bodø' WHERE id = 'c1'",
        "UPDATE salesforce.contact SET city = '' WHERE id = 'c3'",
        "UPDATE salesforce.contact SET score = score + 1",
        "UPDATE salesforce.contact SET score = 3 - score",
        "UPDATE salesforce.contact SET id = 'c4' WHERE id = 'c1'",
        "DELETE FROM salesforce.contact WHERE id = 'c3'",
        "INSERT INTO salesforce.contact VALUES ('c4', NULL, NULL)",
        "INSERT INTO salesforce.contact SELECT * FROM salesforce.contact",
        "INSERT INTO salesforce.contact VALUES (NULL, NULL, NULL)",
        "ALTER TABLE salesforce.contact ALTER COLUMN score SET DATA TYPE INTEGER",
    ],
)
def test_anything_that_moved_is_looked_at(quick: Desk, moved: str) -> None:
    quick.script(moved)
    assert not quick.plan().diff.unchanged


def test_a_column_that_was_recorded_but_not_compared_is_looked_at(quick: Desk) -> None:
    """The rows are the very same, and yet the receiver has never had the values of the column."""
    timed = PEOPLE.replace("score: score}", "city2: city}, timestamp: score").replace(
        "SELECT id, city, score", "SELECT id, city, TIMESTAMP '2026-01-01' AS score"
    )
    quick.store.audience(timed)
    quick.deliver()
    quick.store.audience(timed.replace("city2: city}", "city2: city, score: score}"))
    sent = PlanOptions(on_new_column="send")
    assert (False, 3) == ((plan := quick.plan(options=sent)).diff.unchanged, plan.changed)


@pytest.mark.parametrize("outcome", ["rejected", "unconfirmed"])
def test_what_is_owed_is_planned_though_no_row_moved(quick: Desk, outcome: str) -> None:
    """Until it was delivered; then the same rows are quick again."""
    quick.script("UPDATE salesforce.contact SET city = 'Hamar' WHERE id = 'c1'")
    quick.deliver(**{outcome: ["c1"]})
    planned = quick.deliver()
    assert (False, 1) == (planned.diff.unchanged, planned.changed)
    assert quick.plan().diff.unchanged


def test_an_edit_that_gives_the_same_rows_is_quick_and_recorded(quick: Desk) -> None:
    """The next edit is compared with this one."""
    quick.store.audience(PEOPLE + " WHERE id IS NOT NULL")
    planned = quick.deliver()
    assert (True, True) == (planned.definition_changed, planned.diff.unchanged)
    assert not quick.plan().definition_changed


def test_another_mapping_is_looked_at_where_it_is_to_be_sent(quick: Desk) -> None:
    quick.store.audience(PEOPLE.replace("city: city", "town: city"))
    assert quick.plan().diff.unchanged
    assert 3 == quick.plan(options=PlanOptions(on_mapping_change="send")).changed


def test_a_hash_of_another_engine_says_nothing(quick: Desk) -> None:
    """An upgrade costs one comparison and sends nothing."""
    quick.script(
        "UPDATE tailrace.audience_runs "
        "SET model_fingerprint = REPLACE(model_fingerprint, 'duckdb', 'duckdb of old')"
    )
    planned = quick.plan()
    assert (False, 0) == (planned.diff.unchanged, planned.planned)


def test_bad_keys_are_looked_at_every_time(quick: Desk) -> None:
    """Rows that stayed out are no rows that were delivered."""
    quick.script("INSERT INTO salesforce.contact VALUES ('c1', 'Oslo', 1)")
    allowed = PlanOptions(allow=frozenset({("people", "keys")}))
    for _ in range(2):
        planned = quick.deliver(options=allowed)
        assert (False, 2) == (planned.diff.unchanged, planned.diff.quarantined)


@pytest.mark.parametrize(
    ("type_", "one", "another"),
    [
        ("VARCHAR[]", "NULL", "[]"),
        ("VARCHAR[][]", "[NULL]", "[[]]"),
        ("STRUCT(a INTEGER, b VARCHAR[])", "NULL", "{'a': NULL, 'b': NULL}"),
        ("STRUCT(a INTEGER, b VARCHAR[])", "{'a': NULL, 'b': NULL}", "{'a': NULL, 'b': []}"),
        ("MAP(VARCHAR, INTEGER)", "NULL", "MAP {}"),
        ("HUGEINT", "0", "-1"),
        ("DECIMAL(38, 2)", "0", "-0.01"),
        ("DECIMAL(19, 0)", "-1", "0"),
        ("HUGEINT", "1", "18446744073709551616"),
        ("UHUGEINT", "1", "18446744073709551616"),
        ("INTEGER[]", "[]", "[NULL]"),
        ("DECIMAL(18, 2)[]", "NULL", "[NULL]"),
        ("HUGEINT[]", "[0]", "[-1]"),
        ("DECIMAL(38, 2)[]", "[-0.01]", "[0]"),
        ("INTEGER[1]", "NULL", "[NULL]"),
    ],
)
def test_what_a_hash_takes_for_the_same_is_a_change(
    quick: Desk, type_: str, one: str, another: str
) -> None:
    """DuckDB's hash() is equal for these; a sum of integers is a HUGEINT."""
    quick.clear()
    quick.store.audience(PEOPLE)
    quick.script(
        f"CREATE TABLE salesforce.contact (id TEXT, city TEXT, score {type_});"
        f"INSERT INTO salesforce.contact VALUES ('c1', 'Oslo', {one})"
    )
    ((equal,),) = quick.warehouse.execute(
        f"SELECT hash(CAST({one} AS {type_})) = hash(CAST({another} AS {type_}))"
    )
    assert equal, "a newer DuckDB tells them apart, and needs no help"
    quick.deliver()
    quick.script(f"UPDATE salesforce.contact SET score = {another}")
    assert 1 == quick.plan().changed


# The oracle


VALUES: Mapping[str, list[str]] = {
    "txt TEXT": ["NULL", "''", "' '", "'Tromsø'", "'Tromso\u0308'", "'it''s'", "'NULL'", "'a\\b'"],
    "num DOUBLE": ["NULL", "0.0", "-0.0", "1.5", "'NaN'", "'Infinity'", "1e300", "0.1", "0.3"],
    "amount DECIMAL(38, 2)": ["NULL", "0", "-0.01", "0.01", "99999999999999999999.99"],
    "flag BOOLEAN": ["NULL", "TRUE", "FALSE"],
    "seen TIMESTAMP": ["NULL", "'1969-12-31 23:59:59.999999'", "'2026-03-29 01:30:00'"],
    "tags TEXT[]": ["NULL", "[]", "[NULL]", "['a']", "['a', 'b']", "['b', 'a']", "['a,b']"],
}
COLUMNS = [column.split(" ", 1) for column in VALUES]
EVERYTHING = f"""/* ---
key: [a, b]
user_id: a
track: {{changed: Changed, properties: {json.dumps({name: name for name, _ in COLUMNS})}}}
--- */
SELECT * FROM salesforce.contact"""
KEYS = [(a, b) for a in ("x", "xy", "é") for b in (1, 2, 3)]
Row = tuple[str, ...]


def landed(desk: Desk, rows: list[tuple[Any, Row]]) -> None:
    """Replace the landed rows; a key's parts may be NULL."""
    desk.script("DELETE FROM salesforce.contact")
    for (a, b), values in rows:
        key = [f"'{a}'" if a is not None else "NULL", str(b) if b is not None else "NULL"]
        cells = [f"CAST({v} AS {type_})" for v, (_, type_) in zip(values, COLUMNS, strict=True)]
        desk.script(f"INSERT INTO salesforce.contact VALUES ({', '.join([*key, *cells])})")


def same(one: str, another: str) -> bool:
    return one == another or {one, another} == {"0.0", "-0.0"}


def expected(
    members: Mapping[Any, Row], rows: list[tuple[Any, Row]]
) -> tuple[dict[Any, str], dict[Any, Row], int]:
    """What each key does, who is a member then, and how many rows are quarantined."""
    keys = [key for key, _ in rows]
    bad = {key for key in keys if None in key or keys.count(key) > 1}
    now = {key: values for key, values in rows if key not in bad}
    moves = {key: "entered" for key in now if key not in members}
    moves |= {key: "exited" for key in members if key not in now and key not in bad}
    for key in now.keys() & members.keys():
        if not all(map(same, now[key], members[key])):
            moves[key] = "changed"
    kept = {key: values for key, values in members.items() if key in bad}
    # Who did not move stands in the ledger as delivered before.
    after = {key: values if key in moves else members[key] for key, values in now.items()}
    return moves, {**after, **kept}, sum(key in bad for key in keys)


@pytest.mark.parametrize("seed", range(6))
def test_a_diff_is_what_an_oracle_says(
    open_desk: Desk, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over values that engines are tempted to confuse, run after run, bad keys in between.

    With odd seeds the audience counts as a large one.
    """
    desk, chance = open_desk, random.Random(seed)
    if seed % 2:
        monkeypatch.setattr(model_fingerprint, "LARGE_ROWS_MIN", 1)
    desk.clear()
    desk.store.audience(EVERYTHING)
    desk.script(f"CREATE TABLE salesforce.contact (a TEXT, b INTEGER, {', '.join(VALUES)})")
    allowed = PlanOptions(allow=frozenset({("people", "keys"), ("people", "max_exited")}))
    members: Mapping[Any, Row] = {}
    rows: dict[Any, Row] = {}
    for _ in range(4):
        for key in chance.sample(KEYS, 5):
            rows[key] = tuple(chance.choice(values) for values in VALUES.values())
            if chance.random() < 0.2:
                del rows[key]
        given = list(rows.items())
        if given and chance.random() < 0.5:
            given.append(
                chance.choice([(chance.choice(given)[0], given[0][1]), ((None, 1), given[0][1])])
            )
        landed(desk, given)
        moves, members, bad = expected(members, given)
        planned, delivery = desk.save_plan(options=allowed)
        found = {each.key: each.op for each, _ in desk.transitions(delivery)}
        assert (moves, bad) == (found, planned.diff.quarantined)
        assert len(members) == planned.diff.size_after
        desk.settle(delivery)


def test_old_and_new_values_come_back_as_they_went_in(open_desk: Desk) -> None:
    """Through the ledger and out of the outbox, whatever their type."""
    desk = open_desk
    desk.clear()
    desk.store.audience(EVERYTHING)
    desk.script(f"CREATE TABLE salesforce.contact (a TEXT, b INTEGER, {', '.join(VALUES)})")
    first = (
        "'it''s'",
        "0.1",
        "99999999999999999999.99",
        "TRUE",
        "'2026-03-29 01:30:00'",
        "['a,b']",
    )
    landed(desk, [(("x", 1), first)])
    desk.deliver()
    landed(desk, [(("x", 1), ("NULL",) * 6)])
    _, delivery = desk.save_plan()
    ((moved, _),) = desk.transitions(delivery)
    old = {name: value for name, value in moved.old.items() if name not in ("a", "b")}
    assert dict.fromkeys(old) == {name: moved.new[name] for name in old}
    assert "it's" == old["txt"]
    assert (0.1, Decimal("99999999999999999999.99")) == (old["num"], old["amount"])
    assert (True, ["a,b"]) == (old["flag"], list(old["tags"]))
    assert "2026-03-29 01:30:00" == str(old["seen"])


# Sums


def test_the_reasons_of_a_plan_add_up(desk: Desk) -> None:
    """Each member moves once, for one reason, and the calls are those of the members."""
    desk.script(
        "UPDATE salesforce.contact SET city = 'Hamar' WHERE id = 'c2';"
        "DELETE FROM salesforce.contact WHERE id = 'c3';"
        "INSERT INTO salesforce.contact VALUES ('c4', 'Oslo', 4), ('c5', 'Bodø', 5)"
    )
    desk.store.audience(PEOPLE + " WHERE city <> 'Oslo' OR id = 'c4'")
    planned = desk.plan()
    told = {
        reason: {op: count for op, count in ops.items() if count}
        for reason, ops in planned.by_reason.items()
    }
    assert {"data": {"entered": 2, "changed": 1, "exited": 1}, "definition": {"exited": 1}} == told
    assert (2, 1, 2) == (planned.entered, planned.changed, planned.exited)
    assert 3 + 2 - 2 == planned.diff.size_after
    assert 5 == planned.calls["track"]
    assert 2 == planned.new_users


def digest(desk: Desk) -> str:
    return desk.plan(options=PlanOptions(digests=True)).digest


def test_equal_plans_have_equal_digests_and_others_have_not(desk: Desk) -> None:
    """By which a plan that was reviewed is known again."""
    assert "nothing" == digest(desk)
    seen = set()
    for moved in (
        "UPDATE salesforce.contact SET city = 'Hamar' WHERE id = 'c1'",
        "UPDATE salesforce.contact SET city = NULL WHERE id = 'c1'",
        "UPDATE salesforce.contact SET city = '' WHERE id = 'c1'",
        "UPDATE salesforce.contact SET score = -1 WHERE id = 'c1'",
        "DELETE FROM salesforce.contact WHERE id = 'c2'",
        "INSERT INTO salesforce.contact VALUES ('c9', NULL, NULL)",
    ):
        desk.script(moved)
        made = digest(desk)
        assert made == digest(desk)
        seen.add(made)
    assert 6 == len(seen)


def test_a_plan_of_many_audiences_keeps_them_apart(desk: Desk) -> None:
    """One that needs a trial cast in between costs the others nothing."""
    from tailrace.plan.planner import Planner
    from tailrace.run.delivery import save_plan

    desk.store.audience(PEOPLE.replace("score: score", "city2: city"), "before")
    desk.store.audience(PEOPLE, "zz_last")
    desk.deliver("before")
    desk.deliver("zz_last")
    desk.script(
        "UPDATE salesforce.contact SET city = 'high' WHERE id = 'c1';"
        "ALTER TABLE salesforce.contact DROP COLUMN score;"
        "ALTER TABLE salesforce.contact ADD COLUMN score DATE"
    )
    models = desk.models()
    planner = Planner(
        desk.ledger, models, options=PlanOptions(), destinations=None, now=desk.clock.now()
    )
    run = desk.start_run()
    made = planner.plan([models.by_name[name] for name in ("before", "people", "zz_last")])
    changed: list[AudiencePlan] = list(made.audiences)
    assert [1, 1, 1] == [each.changed for each in changed]
    for each in changed:
        delivery = save_plan(desk.ledger, run, each, options=PlanOptions())
        assert ["c1"] == [t.key[0] for t, _ in desk.transitions(delivery)]
