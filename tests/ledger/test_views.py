"""The views that other tools read: their columns and rows, and that they hold no table."""

from __future__ import annotations

import pytest
from repository import references
from warehouses.desk import Desk

from tailrace.ledger.tables import VIEWS
from tailrace.ledger.views import MembersTable

PEOPLE = """/* ---
audience: people
key: id
user_id: id
track: {properties: {city: city}}
--- */
SELECT id, city FROM salesforce.contact"""
PAIRS = """/* ---
key: [id, city]
user_id: id
identify: {traits: {city: city}}
--- */
SELECT id, city FROM salesforce.contact WHERE id <> 'c3'"""
EVENTS = """/* ---
events: visits
key: id
event: Visited
timestamp: seen_at
user_id: id
since: all
--- */
SELECT id, seen_at FROM salesforce.visit"""


@pytest.fixture
def desk(open_desk: Desk) -> Desk:
    open_desk.clear()
    open_desk.script(
        "CREATE TABLE salesforce.contact AS SELECT 'c1' AS id, 'Oslo' AS city UNION ALL"
        " SELECT 'c2', 'Moss' UNION ALL SELECT 'c3', 'Bonn';"
        "CREATE TABLE salesforce.visit AS"
        " SELECT 'v1' AS id, TIMESTAMPTZ '2026-11-01 00:00:00+00' AS seen_at"
    )
    open_desk.store.audience(PEOPLE)
    return open_desk


def members(desk: Desk) -> list[tuple[str, str, str]]:
    return [
        (str(audience), str(destination), str(key))
        for audience, destination, key in desk.query(
            "SELECT audience, destination, member_key FROM tailrace.v_members ORDER BY 1, 2, 3"
        )
    ]


PEOPLE_ROWS = [("people", "segment", key) for key in ("c1", "c2", "c3")]


def test_the_documented_columns_are_those_of_the_warehouse(desk: Desk) -> None:
    """On each warehouse: the same names in the same order, with types that mean the same."""
    desk.deliver()
    documented = {
        name: [(column, kind) for column, kind in columns]
        for name, columns in references.installed_tables().items()
        if name in VIEWS
    }
    kinds = {"double precision": "DOUBLE", "double": "DOUBLE", "character varying": "VARCHAR"}
    real = {
        name: [
            (column.name, references._kind(kinds.get(column.type.lower(), column.type.upper())))
            for column in columns
        ]
        for name, columns in desk.warehouse.columns_in("tailrace").items()
        if name in VIEWS
    }
    plain = {"VARCHAR": "text", "TEXT": "text", "TIMESTAMP WITH TIME ZONE": "time"}

    def meaning(columns: list[tuple[str, str]]) -> list[tuple[str, str]]:
        return [(name, plain.get(kind.upper(), kind.lower())) for name, kind in columns]

    assert set(VIEWS) == set(documented)
    assert {name: meaning(columns) for name, columns in documented.items()} == {
        name: meaning(columns) for name, columns in real.items()
    }


def test_members_are_those_that_were_acknowledged(desk: Desk) -> None:
    """A rejected one is none, an exit leaves, and a composite key is one text."""
    desk.store.audience(PAIRS, "pairs")
    desk.store.audience(EVENTS, "visits")
    desk.deliver(rejected={"c3"})
    desk.deliver("pairs")
    desk.deliver("visits")
    pairs = [("pairs", "segment", key) for key in ("c1|Oslo", "c2|Moss")]
    assert [*pairs, *PEOPLE_ROWS[:2]] == members(desk)
    desk.script("DELETE FROM salesforce.contact WHERE id = 'c1'")
    desk.deliver()
    assert [*pairs, *PEOPLE_ROWS[1:]] == members(desk)
    ((since,),) = desk.query("SELECT MIN(since) FROM tailrace.v_members")
    assert since is not None


def test_a_table_of_members_can_be_dropped_created_and_altered(desk: Desk) -> None:
    """The view holds no table, and a view that somebody built on it stays."""
    desk.deliver()
    desk.script("CREATE SCHEMA IF NOT EXISTS bi; DROP VIEW IF EXISTS bi.sizes")
    desk.script("CREATE VIEW bi.sizes AS SELECT COUNT(*) AS members FROM tailrace.v_members")
    desk.script("ALTER TABLE salesforce.contact ADD COLUMN score INTEGER")
    mapped = PEOPLE.replace("city: city", "city: city, score: score")
    desk.store.audience(mapped.replace("id, city", "id, city, score"))
    desk.deliver()
    assert PEOPLE_ROWS == members(desk)
    desk.ledger.audiences.retire("people")
    assert [] == members(desk)
    assert [(0,)] == desk.query("SELECT members FROM bi.sizes")
    # The key may have another type after that.
    desk.store.audience(PEOPLE.replace("id, city FROM", "CAST(1 AS BIGINT) AS id, city FROM"))
    desk.script("DELETE FROM salesforce.contact WHERE id > 'c1'")
    desk.deliver()
    assert [("people", "segment", "1")] == members(desk)
    assert [(1,)] == desk.query("SELECT members FROM bi.sizes")
    desk.script("DROP VIEW bi.sizes")


def test_runs_deliveries_and_rejections_are_rows(desk: Desk) -> None:
    desk.deliver(rejected={"c3"})
    run = desk.start_run()
    desk.ledger.runs.finish(run, exit_code=3, error=None, salesforce_calls=7)
    latest = "SELECT status, exit_code, salesforce_calls FROM tailrace.v_runs ORDER BY run_seq DESC"
    assert ("held", 3, 7) == desk.query(latest)[0]
    assert ("unfinished", None, 0) == desk.query(latest)[1]
    assert [("people", "segment", "done", 3, 0, 2, 1)] == desk.query(
        "SELECT audience, destination, phase, entered, exited, sent, rejected"
        " FROM tailrace.v_audience_runs"
    )
    assert [("people", "segment", 3, 3)] == desk.query(
        "SELECT audience, destination, changes, messages FROM tailrace.v_deliveries"
    )
    rejected = "SELECT audience, kind, reason, status, is_open FROM tailrace.v_rejections"
    assert [("people", "track", "refused", 400, True)] == desk.query(rejected)


def test_many_syncs_are_one_view(desk: Desk) -> None:
    """The statement does not become deeper with each of them."""
    for number in range(40):
        audience = PEOPLE.replace("audience: people", f"audience: people_{number}")
        desk.store.audience(audience, f"people_{number}")
    desk.deliver()
    models = desk.models()
    audiences = [model.audience for model in models.audiences() if model.audience is not None]
    for audience in audiences[1:]:
        desk.script(
            f"CREATE TABLE tailrace.snapshot__{audience.ledger_key} AS"
            " SELECT id, _since, _gone FROM tailrace.snapshot__people"
        )
    desk.ledger.views.replace(planned=audiences)
    assert [(41, 123)] == desk.query(
        "SELECT COUNT(DISTINCT sync_key), COUNT(*) FROM tailrace.v_members"
    )
    desk.ledger.views.release([audience.ledger_key for audience in audiences])
    assert [] == members(desk)
    assert MembersTable.of(audiences[0]) is not None
