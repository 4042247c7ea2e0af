"""What holds an audience back: at which number, in which words, and how it is let pass once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from warehouses.desk import Desk, desk_on
from warehouses.stores import WAREHOUSES

from tailrace.audience.audience import Audience, Guards, Limit
from tailrace.plan.guards import Guard, GuardInput, judge
from tailrace.plan.policy import PlanOptions

NOTHING = GuardInput(
    size_before=1000,
    size_after=1000,
    entered=0,
    changed=0,
    exited=0,
    quarantined=0,
    upstream=(),
)


def judged(*allowed: str, guards: Guards | None = None, **seen: Any) -> dict[str, Guard]:
    """The verdicts on what was seen, by name."""
    audience = Audience(name="people", key=("id",), guards=guards or Guards())
    verdicts = judge(audience, replace(NOTHING, **seen), allowed=frozenset(allowed))
    return {guard.name: guard for guard in verdicts}


def holding(*allowed: str, **seen: Any) -> list[str]:
    return [name for name, guard in judged(*allowed, **seen).items() if guard.held]


def limits(**named: Limit | None) -> Guards:
    """Guards as a header writes them: what is named counts, null included."""
    return Guards(**named, explicit=frozenset(named))  # type: ignore[arg-type]


def test_nothing_that_moved_is_held() -> None:
    assert [] == holding()
    assert ["upstream", "keys", "max_exited"] == list(judged())


@pytest.mark.parametrize(
    ("size", "exited", "held"),
    [
        *((1000, 200, False), (1000, 201, True), (400, 100, False), (400, 101, True)),
        *((500, 100, False), (500, 101, True), (505, 101, False), (3, 3, False), (100, 100, False)),
        *((101, 101, True), (10_000_000, 2_000_000, False), (10_000_000, 2_000_001, True)),
    ],
)
def test_unasked_for_a_fifth_and_a_hundred_may_leave(size: int, exited: int, held: bool) -> None:
    """More than 20 % and more than 100 members: a small audience may lose half of itself."""
    assert held == judged(size_before=size, exited=exited)["max_exited"].held


@pytest.mark.parametrize(
    ("limit", "size", "exited", "held"),
    [
        *((Limit(rows=2), 1000, 2, False), (Limit(rows=2), 1000, 3, True)),
        *((Limit(rows=0), 1000, 0, False), (Limit(rows=0), 1000, 1, True)),
        *((Limit(share=0.2), 10, 2, False), (Limit(share=0.2), 10, 3, True)),
        *((Limit(share=0.2), 7, 1, False), (Limit(share=0.2), 7, 2, True)),
        *((Limit(share=0.1), 30, 3, False), (Limit(share=0.29), 100, 29, False)),
        *((Limit(share=1.0), 5, 5, False), (Limit(share=0.0), 5, 1, True)),
        *((None, 5, 5, False), (None, 10_000, 10_000, False)),
    ],
)
def test_written_in_the_header_a_limit_is_exact(
    limit: Limit | None, size: int, exited: int, held: bool
) -> None:
    """No floor and no rounding up; null means no limit."""
    seen = judged(guards=limits(max_exited=limit), size_before=size, exited=exited)
    assert held == ("max_exited" in seen and seen["max_exited"].held)


@pytest.mark.parametrize("move", ["entered", "changed"])
def test_who_enters_and_changes_may_be_limited_too(move: str) -> None:
    """Only where the header says so: growth alone is not an accident."""
    assert [] == holding(**{move: 10**6})
    name = f"max_{move}"
    limited = limits(**{name: Limit(share=0.01)})
    assert [] == holding(guards=limited, **{move: 10})
    assert [name] == holding(guards=limited, **{move: 11})


def test_a_percentage_does_not_hold_the_first_run() -> None:
    """A limit in rows is a limit for it too."""
    first = {"size_before": 0, "size_after": 50, "entered": 50}
    assert [] == holding(guards=limits(max_entered=Limit(share=0.5)), **first)
    assert [] == holding(guards=limits(max_entered=Limit(rows=50)), **first)
    assert ["max_entered"] == holding(guards=limits(max_entered=Limit(rows=49)), **first)


def test_an_audience_may_be_too_small() -> None:
    """Counted as it would be afterwards."""
    few = Guards(min_rows=10, explicit=frozenset({"min_rows"}))
    assert [] == holding(guards=few, size_after=10)
    assert ["min_rows"] == holding(guards=few, size_after=9)
    guard = judged(guards=few, size_after=9)["min_rows"]
    assert (9, 10, "the audience would have 9 members") == (guard.seen, guard.limit, guard.message)


def test_bad_keys_hold_whatever_else_is_allowed() -> None:
    assert ["keys"] == holding("max_exited", "upstream", quarantined=1)
    guard = judged(quarantined=3)["keys"]
    assert "3 rows have a NULL or duplicate key" == guard.message


def test_an_unreliable_object_holds_with_its_reasons() -> None:
    seen = judged(upstream=("Contact is incomplete (cut off)", "Lead came back empty"))["upstream"]
    assert (True, 2, 0) == (seen.held, seen.seen, seen.limit)
    assert "Contact is incomplete (cut off); Lead came back empty" in seen.message


@pytest.mark.parametrize("change", ["definition", "mapping", "new_column"])
def test_a_change_that_is_to_be_held_holds_whom_it_moves(change: str) -> None:
    assert change not in judged()
    assert [change] == holding(on_hold={change: 5})
    assert [] == holding(on_hold={change: 0})
    assert "5 members would" in judged(on_hold={change: 5})[change].message


@pytest.mark.parametrize("name", ["upstream", "keys", "max_exited", "min_rows", "definition"])
def test_each_guard_is_allowed_by_its_own_name_only(name: str) -> None:
    """And then says so, which is written into the run."""
    seen: dict[str, Any] = {
        "upstream": ("Contact came back empty",),
        "quarantined": 1,
        "exited": 900,
        "size_after": 1,
        "guards": Guards(min_rows=2, explicit=frozenset({"min_rows"})),
        "on_hold": {"definition": 1},
    }
    everything = {"upstream", "keys", "max_exited", "min_rows", "definition"}
    assert everything == set(holding(**seen))
    assert everything - {name} == set(holding(name, **seen))
    let_pass = judged(name, **seen)[name]
    assert (False, True) == (let_pass.held, let_pass.allowed)
    assert let_pass.message
    assert not judged(name)["keys"].allowed


def test_a_guard_has_the_shape_of_a_result() -> None:
    told = judged(exited=900)["max_exited"].as_dict()
    assert {
        "name": "max_exited",
        "seen": 900,
        "limit": 200,
        "held": True,
        "allowed": False,
        "message": "900 of 1000 members would have exited",
        "hint": "Review with: tailrace plan --show 5 -s people. To send all the same: "
        "--allow people:max_exited",
    } == told


# On a warehouse


PEOPLE = """/* ---
key: id
user_id: id
track: {properties: {city: city}}
guards: {max_exited: 1, min_rows: 2}
--- */
SELECT id, city FROM salesforce.contact"""


@pytest.fixture(scope="module", params=WAREHOUSES)
def desk(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Desk]:
    with desk_on(request, tmp_path_factory.mktemp("desk")) as desk:
        yield desk


def test_what_is_allowed_once_holds_again_the_next_time(desk: Desk) -> None:
    """The held run sends nothing and moves nothing; the others of the same run go on."""
    desk.clear()
    desk.store.audience(PEOPLE)
    desk.store.audience(PEOPLE.replace("max_exited: 1", "max_exited: 9"), "others")
    desk.script(
        "CREATE TABLE salesforce.contact (id TEXT, city TEXT);"
        "INSERT INTO salesforce.contact VALUES ('c1', 'a'), ('c2', 'b'), ('c3', 'c'), ('c4', 'd'),"
        "('c5', 'e'), ('c6', 'f')"
    )
    desk.deliver()
    desk.deliver("others")
    desk.script("DELETE FROM salesforce.contact WHERE id IN ('c1', 'c2')")
    assert ("held", "ok") == (desk.deliver().status, desk.deliver("others").status)
    assert [(0,)] == desk.query("SELECT COUNT(*) FROM tailrace.outbox__people WHERE op = 'exited'")
    once = PlanOptions(allow=frozenset({("people", "max_exited")}))
    assert ("ok", 2) == ((made := desk.deliver(options=once)).status, made.exited)
    desk.script("DELETE FROM salesforce.contact WHERE id IN ('c3', 'c4')")
    other = PlanOptions(allow=frozenset({("others", "max_exited"), ("people", "min_rows")}))
    assert "held" == desk.deliver(options=other).status
    assert "ok" == desk.deliver(options=once).status
    desk.script("DELETE FROM salesforce.contact WHERE id = 'c5'")
    last = desk.deliver(options=once)
    assert ["min_rows"] == [guard.name for guard in last.guards if guard.held]


def test_bad_keys_are_named_masked_and_the_fix_comes_before_allow(desk: Desk) -> None:
    """The most frequent first; a NULL is said as it is."""
    desk.clear()
    desk.store.audience(PEOPLE)
    desk.script(
        "CREATE TABLE salesforce.contact (id TEXT, city TEXT);"
        "INSERT INTO salesforce.contact VALUES ('003000000000001AAA', 'Oslo'),"
        " ('secretkey', 'Oslo'), ('secretkey', 'Moss'), ('secretkey', 'Moss'),"
        " (NULL, 'Oslo'), (NULL, 'Moss')"
    )
    (guard,) = [guard for guard in desk.plan().guards if guard.name == "keys"]
    assert guard.held
    assert "5 rows have a NULL or duplicate key: s*** (3 rows), NULL (2 rows)" == guard.message
    assert guard.hint.index("QUALIFY") < guard.hint.index("--allow people:keys")
    assert "PARTITION BY id" in guard.hint


@pytest.mark.parametrize(
    ("sql", "held"),
    [
        ("SELECT id, city FROM salesforce.contact", True),
        ("SELECT id, 'x' AS city FROM salesforce.contact WHERE city IS NOT NULL", True),
        (
            "SELECT id, town AS city FROM (SELECT *, city AS town FROM salesforce.contact) AS c",
            True,
        ),
        ("SELECT c.id, c.name AS city FROM salesforce.contact AS c", False),
        ("SELECT id, name AS city FROM (SELECT * FROM salesforce.contact) AS c", False),
        ("SELECT id, 'x' AS city, city AS unused FROM salesforce.contact", False),
    ],
)
def test_an_audience_that_reads_a_vanished_field_is_held(desk: Desk, sql: str, held: bool) -> None:
    """Nothing is sent as null because a field became invisible; other audiences go on."""
    desk.clear()
    desk.store.audience(PEOPLE.partition("SELECT")[0] + sql)
    desk.script(
        "CREATE TABLE salesforce.contact (id TEXT, city TEXT, name TEXT);"
        "INSERT INTO salesforce.contact VALUES ('c1', 'Oslo', 'a'), ('c2', 'Moss', 'b')"
    )
    desk.ledger.extracts.save(
        desk.start_run(),
        object="Contact",
        table_name="contact",
        rows_landed=2,
        window_start=None,
        window_end=None,
        watermark=None,
        complete=True,
        empty=False,
        quarantined=0,
        vanished_fields="City",
        error=None,
    )
    (guard,) = [guard for guard in desk.plan().guards if guard.name == "upstream"]
    assert held == guard.held
    assert held == ("Contact.City" in guard.message)


@pytest.mark.parametrize(
    ("ids", "held"),
    [(("m1", "m1", "m2"), True), (("m1", "m2", "m3"), False), (("NULL", "NULL", "m1"), False)],
)
def test_a_message_id_of_two_rows_is_held_like_a_bad_key(
    desk: Desk, ids: tuple[str, ...], held: bool
) -> None:
    """The receiver would acknowledge both and keep one of them."""
    desk.clear()
    track = "{entered: E, exited: false, properties: {city: city}, message_id: mid}"
    desk.store.audience(
        f"/* ---\nkey: id\nuser_id: id\ntrack: {track}\n--- */\n"
        "SELECT id, city, mid FROM salesforce.contact"
    )
    values = ", ".join(
        f"('c{n}', 'Oslo', {'NULL' if mid == 'NULL' else repr(mid)})" for n, mid in enumerate(ids)
    )
    desk.script(
        "CREATE TABLE salesforce.contact (id TEXT, city TEXT, mid TEXT);"
        f"INSERT INTO salesforce.contact VALUES {values}"
    )
    plan = desk.plan()
    (guard,) = [guard for guard in plan.guards if guard.name == "keys"]
    assert held == guard.held
    assert (1 if held else 3) == plan.entered == plan.diff.size_after
    if held:
        assert "2 rows have the messageId of another row: " in guard.message
        assert "c0" not in guard.message
        allowed = PlanOptions(allow=frozenset({("people", "keys")}))
        assert 1 == desk.deliver(options=allowed).entered
        desk.script("UPDATE salesforce.contact SET mid = 'm9' WHERE id = 'c0'")
        assert 2 == desk.plan().entered
        assert 2 == desk.plan().entered
    else:
        desk.deliver()
        desk.script("INSERT INTO salesforce.contact VALUES ('c9', 'Moss', 'm1')")
        assert "held" == desk.plan().status, "a member was sent under this messageId before"
