"""Large joins on PostgreSQL: computed by halves, with the same transitions as in one piece."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
from warehouses.desk import Desk, desk_on

from tailrace.errors import TailraceError, WarehouseFailed
from tailrace.warehouse import halves

pytestmark = pytest.mark.postgres
PEOPLE = """/* ---
dialect: postgres
key: [{key}]
user_id: id
track: {{changed: Changed, properties: {{city: city, score: score}}}}
--- */
SELECT id, number, day, amount, city, 12 / score AS score FROM salesforce.contact"""
# 60 people; of each five, one exits, one has another city, one the same values in a new row.
CONTACT = """
CREATE TABLE salesforce.contact AS
SELECT 'ø' || i AS id, i - 20 AS number, DATE '2026-01-01' + i % 7 AS day,
       CAST(i AS NUMERIC(9, 2)) AS amount,
       CASE WHEN i % 3 > 0 THEN 'Oslo' END AS city, 1 + i % 4 AS score
FROM generate_series(1, 60) AS s(i)
"""
CHANGES = """
DELETE FROM salesforce.contact WHERE number % 5 = 0;
UPDATE salesforce.contact SET city = 'Moss' WHERE number % 5 = 1;
UPDATE salesforce.contact SET score = score WHERE number % 5 = 2;
INSERT INTO salesforce.contact SELECT 'new ' || i, i, DATE '2026-01-09', 0, 'Moss', 1
FROM generate_series(101, 110) AS s(i);
INSERT INTO salesforce.contact SELECT * FROM salesforce.contact WHERE number IN (4, 104, -9);
INSERT INTO salesforce.contact VALUES (NULL, NULL, NULL, NULL, 'Oslo', 1)
"""
# All but the time of the plan.
TRANSITIONS = """
SELECT CAST(TO_JSONB(t) - '_since' AS TEXT) FROM pg_temp."transitions__people" AS t ORDER BY 1"""


@pytest.fixture(scope="module")
def open_desk(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Desk]:
    request.param = "postgres"
    with desk_on(request, tmp_path_factory.mktemp("desk")) as desk:
        yield desk


@pytest.fixture
def desk(open_desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    """A desk whose people were delivered twice, so that some are former members.

    A table of any size is large, and the server tells how it runs each statement.
    """
    monkeypatch.setattr(halves, "TABLE_BYTES_MIN", 0)
    open_desk.clear()
    run(open_desk, CONTACT)
    yield open_desk
    run(open_desk, "RESET ALL; SET TimeZone = 'UTC'")


def delivered(desk: Desk, key: str = "id") -> Desk:
    desk.store.audience(PEOPLE.format(key=key))
    desk.deliver()
    run(desk, "DELETE FROM salesforce.contact WHERE number % 6 = 0")
    desk.deliver()
    return desk


def run(desk: Desk, script: str) -> None:
    for sql in script.split(";\n"):
        desk.warehouse.execute(sql)


def plans_of(desk: Desk) -> list[str]:
    """How the server runs a plan's statements, those of functions among them."""
    try:
        run(desk, "LOAD 'auto_explain'")
    except WarehouseFailed:
        pytest.skip("this server has no auto_explain")
    run(desk, "SET auto_explain.log_nested_statements = ON")
    run(desk, "SET auto_explain.log_min_duration = 0; SET client_min_messages = LOG")
    notices: list[str] = desk.warehouse.session.native.notices
    notices.clear()
    desk.plan()
    return list(notices)


@pytest.mark.parametrize("key", ["id", "number", "day, id", "number, day"])
def test_halves_have_the_transitions_of_the_whole(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    """Former members, repeated keys and keys without a value among them."""
    delivered(desk, key)
    run(desk, CHANGES)
    found: list[tuple[Any, ...]] = []
    for share in (0.0, math.inf):
        monkeypatch.setattr(halves, "COST_SHARE_MAX", share)
        plan = desk.plan()
        moves = (plan.entered, plan.changed, plan.exited, plan.diff.quarantined)
        found.append((moves, desk.warehouse.execute(TRANSITIONS)))
    assert found[0] == found[1]
    assert all(found[0][0])


@pytest.mark.parametrize(
    ("key", "settings", "by_halves"),
    [
        ("id", "SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0", True),
        ("day, number", "SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0", True),
        # A day and a number with a scale may be equal without being one text.
        ("day", "SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0", False),
        ("amount", "SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0", False),
        # To start another process costs more than the join.
        ("id", "SET parallel_setup_cost = 1000", False),
        ("id", "SET parallel_setup_cost = 0; SET max_parallel_workers_per_gather = 0", False),
    ],
)
def test_the_server_decides_whether_halves_are_cheaper(
    desk: Desk, key: str, settings: str, by_halves: bool
) -> None:
    """Two processes of the server compute them then."""
    delivered(desk, key)
    run(desk, CHANGES)
    run(desk, settings)
    plans = plans_of(desk)
    assert by_halves == any("Function Scan on tr__rows_of" in plan for plan in plans)
    assert by_halves == any("Parallel Append" in plan and "Full Join" in plan for plan in plans)


def test_a_join_with_a_small_table_is_planned_once(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(halves, "TABLE_BYTES_MIN", halves.TABLE_BYTES_MIN + 1_000_000)
    delivered(desk)
    run(desk, CHANGES)
    run(desk, "SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0")
    assert not any("tr__cost_of" in plan for plan in plans_of(desk))


def test_a_model_that_fails_in_a_half_says_the_same(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    delivered(desk)
    run(desk, "UPDATE salesforce.contact SET score = 0 WHERE number = 9")
    said = []
    for share in (0.0, math.inf):
        monkeypatch.setattr(halves, "COST_SHARE_MAX", share)
        with pytest.raises(TailraceError) as failed:
            desk.plan()
        said.append((type(failed.value), failed.value.message, failed.value.hint))
    assert said[0] == said[1]
