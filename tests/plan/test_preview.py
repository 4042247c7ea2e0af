"""`plan --show N`: the transitions of a plan, and the messages that a run would send."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from shop import PEOPLE, Shop
from warehouses.desk import Desk

from tailrace.plan.policy import PlanOptions
from tailrace.testing.segment.simulator import SegmentSimulator

AUDIENCE = """/* ---
key: id
user_id: id
track: {changed: Changed, properties: {city: city, score: score}}
identify: {traits: {city: city}}
--- */
SELECT id, city, score FROM salesforce.contact"""
IDS = ("003000000000001AAA", "003000000000002AAA", "003000000000003AAA", "003000000000004AAA")
SHOWN = PlanOptions(show_rows_max=2, show_values=True)


@pytest.fixture
def desk(open_desk: Desk) -> Desk:
    """Three delivered contacts: one changes two values, one exits, and two enter."""
    open_desk.clear()
    open_desk.store.audience(AUDIENCE)
    rows = f"('{IDS[0]}', 'Oslo', 1.5), ('{IDS[1]}', 'Moss', 2)"
    open_desk.script(
        "CREATE TABLE salesforce.contact (id TEXT, city TEXT, score DOUBLE);"
        f"INSERT INTO salesforce.contact VALUES {rows}"
    )
    open_desk.deliver()
    open_desk.script(
        f"UPDATE salesforce.contact SET city = 'Bodø', score = NULL WHERE id = '{IDS[0]}';"
        f"DELETE FROM salesforce.contact WHERE id = '{IDS[1]}';"
        f"INSERT INTO salesforce.contact VALUES ('{IDS[2]}', NULL, 3), ('{IDS[3]}', 'Ås', 4)"
    )
    return open_desk


def test_each_operation_shows_its_first_transitions(desk: Desk) -> None:
    rows = desk.plan(options=PlanOptions(show_rows_max=1, show_values=True)).rows
    assert [("changed", (IDS[0],)), ("entered", (IDS[2],)), ("exited", (IDS[1],))] == [
        (row.op, row.key) for row in rows
    ]
    assert 4 == len(desk.plan(options=SHOWN).rows)
    assert () == desk.plan().rows


def test_a_change_shows_old_and_new_values_and_its_messages(desk: Desk) -> None:
    row = desk.plan(options=SHOWN).rows[0]
    changes = {change.column: (change.old, change.new) for change in row.changes}
    assert {"city": ("Oslo", "Bodø"), "score": (1.5, None)} == changes
    identify, track = row.messages
    assert ("identify", "track") == (identify["type"], track["type"])
    assert (IDS[0], "Bodø") == (track["userId"], track["properties"]["city"])
    assert {"city": "Oslo", "score": 1.5} == track["properties"]["previous"]


def test_without_show_values_nothing_personal_is_shown(desk: Desk) -> None:
    rows = desk.plan(options=PlanOptions(show_rows_max=2)).rows
    text = json.dumps([row.as_dict() for row in rows], ensure_ascii=False)
    for value in (*IDS, "Oslo", "Moss", "Bodø", "Ås", "1.5"):
        assert value not in text
    assert "003***" in text
    assert "Changed" in text


def test_a_transition_that_is_only_recorded_has_no_message(desk: Desk) -> None:
    options = PlanOptions(intent="accept", show_rows_max=2, show_values=True)
    assert {()} == {row.messages for row in desk.plan(options=options).rows}


def test_a_transition_that_would_be_rejected_says_why(desk: Desk) -> None:
    desk.script(f"UPDATE salesforce.contact SET city = repeat('x', 40000) WHERE id = '{IDS[3]}'")
    (row,) = [row for row in desk.plan(options=SHOWN).rows if row.key == (IDS[3],)]
    assert ("event_over_32_kb", ()) == (row.problem, row.messages)


def test_the_messages_shown_are_the_messages_sent(tmp_path: Path) -> None:
    """All but the times, which are those of the run."""
    with SegmentSimulator() as segment:
        shop = Shop(tmp_path, segment)
        shop.audience(PEOPLE)
        shop.land([{"id": "c1", "city": "Oslo"}, {"id": "c2", "city": "Bergen"}])
        shop.sync()
        shop.arrived()
        shop.land([{"id": "c1", "city": "Moss"}, {"id": "c3", "city": "Bergen"}])

        (audience,) = shop.plan(options=SHOWN).audiences
        shown = [untimed(message) for row in audience.rows for message in row.messages]
        shop.sync()
        arrived = [untimed(message) for message in shop.arrived()]

    by_id = {str(message["messageId"]): message for message in arrived}
    assert by_id == {str(message["messageId"]): message for message in shown}
    assert len(shown) == len(arrived)


def untimed(message: Any) -> dict[str, Any]:
    return {
        name: value
        for name, value in message.items()
        if name not in ("timestamp", "sentAt", "receivedAt", "originalTimestamp")
    }


def test_a_saved_plan_has_no_rows(tmp_path: Path) -> None:
    with SegmentSimulator() as segment:
        shop = Shop(tmp_path, segment)
        shop.audience(PEOPLE)
        shop.land([{"id": "c1", "city": "Lyngør"}])
        shop.plan(out=shop.root / "plan.json", options=SHOWN)
    assert "Lyngør" not in (shop.root / "plan.json").read_text()
