"""Infinity, BC and years above 9999: null and counted as values, rejected as times of events."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from rendered_rows import mapper_of
from warehouses.desk import Desk, desk_on
from warehouses.stores import WAREHOUSES

from tailrace.run.member_messages import OutboxMessages

TIMES = ["infinity", "-infinity", "0044-03-15 (BC)", "12026-01-01", "0000-01-01"]
PROPERTIES = "{born: born, seen: seen, moved: moved}"


@pytest.fixture(scope="module", params=WAREHOUSES)
def desk(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Desk]:
    with desk_on(request, tmp_path_factory.mktemp("desk")) as desk:
        yield desk


def land(desk: Desk, time: str) -> None:
    """Four people: the time as a date, a timestamp, a timestamp with a zone, and as text."""
    if desk.warehouse.dialect == "postgres":
        time = time.replace("(BC)", "BC")
    if time.startswith("0000"):
        # Year 0 is 1 BC; neither engine reads it from text.
        time = "0001-01-01 BC" if desk.warehouse.dialect == "postgres" else "0001-01-01 (BC)"
    desk.warehouse.execute("DROP TABLE IF EXISTS salesforce.contact")
    desk.warehouse.execute(
        "CREATE TABLE salesforce.contact AS SELECT CAST(n AS VARCHAR) AS id, "
        f"CASE WHEN n = 1 THEN CAST('{time}' AS DATE) ELSE DATE '9999-12-31' END AS born, "
        f"CASE WHEN n = 2 THEN CAST('{time}' AS TIMESTAMP) "
        "ELSE TIMESTAMP '9999-12-31 23:59:59.999999' END AS seen, "
        f"CASE WHEN n = 3 THEN CAST('{time}' AS TIMESTAMPTZ) "
        "ELSE TIMESTAMPTZ '2026-01-01 00:00:00+00' END AS moved, "
        f"CASE WHEN n = 4 THEN '{time}' ELSE '2026-01-01' END AS words "
        "FROM (VALUES (1), (2), (3), (4)) AS t(n)"
    )


def sent(desk: Desk, header: str) -> tuple[dict[str, dict[str, object]], list[str], int]:
    """The events by user, the rules of rejections, and the number of values sent as null."""
    desk.store.audience(
        f"/* ---\naudience: people\nkey: id\nuser_id: id\n{header}\n--- */\n"
        "SELECT * FROM salesforce.contact\n"
    )
    _, delivery = desk.save_plan()
    mapper = mapper_of(desk, delivery)
    rules: list[str] = []
    members = OutboxMessages(
        desk.ledger,
        mapper,
        run_seq=delivery.run_seq,
        shape=delivery.shape,
        planned=delivery.planned,
        refuse=lambda transition, refusal: rules.append(refusal.rule),
    )
    events = {
        member.user: json.loads(message.body) for member in members for message in member.messages
    }
    return events, rules, mapper.encoder.nulled


@pytest.mark.parametrize("time", TIMES)
def test_a_time_out_of_range_is_null_and_counted(desk: Desk, time: str) -> None:
    """Neighbours such as the last day of year 9999, which many systems use for `never`, stay."""
    desk.clear()
    land(desk, time)
    events, rules, nulled = sent(desk, f"track:\n  properties: {PROPERTIES}")
    assert ([], 3) == (rules, nulled)
    usual = {
        "audience_key": "people",
        "born": "9999-12-31",
        "seen": "9999-12-31T23:59:59.999999Z",
        "moved": "2026-01-01T00:00:00Z",
    }
    assert usual == events["4"]["properties"]
    for user, column in (("1", "born"), ("2", "seen"), ("3", "moved")):
        assert {**usual, column: None} == events[user]["properties"]


@pytest.mark.parametrize("time", TIMES)
@pytest.mark.parametrize(("column", "user"), [("born", 1), ("seen", 2), ("moved", 3), ("words", 4)])
def test_an_event_without_a_possible_time_is_rejected(
    desk: Desk, time: str, column: str, user: int
) -> None:
    """Also as text: the time of planning in its place would be another time."""
    desk.clear()
    land(desk, time)
    events, rules, _ = sent(desk, f"track:\n  timestamp: {column}\n  properties: {{id: id}}")
    assert ["timestamp_not_iso8601"] == rules
    assert {"1", "2", "3", "4"} - {str(user)} == events.keys()
