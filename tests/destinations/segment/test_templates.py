"""What the warehouse writes down itself is to the letter what the mapper makes of each row."""

from __future__ import annotations

import pytest
from rendered_rows import POOLS, ROWS, compare, desk, land
from warehouses.desk import Desk

pytestmark = pytest.mark.older_duckdb

__all__ = ["desk"]

PROPERTIES = "{" + ", ".join(f"{name}: {name}" for name in POOLS) + "}"
HEADERS = {
    "track": f"user_id: id\ntrack:\n  changed: Moved\n  properties: {PROPERTIES}",
    "all": f"user_id: id\ntrack:\n  changed: Moved\n  properties: {PROPERTIES}\n"
    "identify:\n  traits: {name: name, Home: born, score: score}\n  membership_trait: is_people\n"
    "group:\n  group_id: account\n  traits: {units: units, plan: {value: pro}}",
    "odd_ids": "user_id: known\ntrack:\n  changed: Moved\n  properties: {a: name}\n"
    "identify:\n  traits: {t: tags}",
    "engage": "user_id: id\npayload: engage\ntrack:\n  changed: Moved\n  properties: {n: name}\n"
    "identify:\n  traits: {s: score}",
    "anonymous": "anonymous_id: id\ntrack:\n  changed: Moved\n  properties: {zone: moved, b: big}",
    "timed": "user_id: id\ntrack:\n  timestamp: moved\n  initial: skip\n  changed: Moved\n"
    "  properties: {a: name, c: {value: [1, {d: 2}]}}",
    "nested": "user_id: id\ntrack:\n  properties: {address.city: name, address.zip: small, b: ok}",
    "nested_changes": "user_id: id\ntrack:\n  changed: Moved\n"
    "  properties: {address.city: name, address.zip: small}",
    "identify_only": "user_id: id\nidentify:\n  traits: {name: name, address.city: account}",
    "odd_names": "user_id: id\ntrack:\n  changed: Moved\n"
    "  properties: {a: _track, b: user__id, c: x___, d: '%', previous_text: _usual}",
    "context": "user_id: id\ncontext: {active: false, app: {name: 'Ta''il'}}\n"
    "integrations: {All: false, Braze: true}\ntrack:\n  properties: {id: id}",
}


# Enough of them for PostgreSQL, whose statement has the same parts in other words.
ON_POSTGRES = ("all", "odd_ids", "timed", "odd_names")


@pytest.mark.parametrize(
    ("desk", "header"),
    [
        *(("duckdb", header) for header in HEADERS),
        *(("postgres", header) for header in ON_POSTGRES),
    ],
    indirect=["desk"],
)
def test_both_ways_write_the_same_bytes(desk: Desk, header: str) -> None:
    """Entering, changing and leaving, over every type and the values writers disagree about."""
    desk.clear()
    land(desk, first=0, last=ROWS, seed=1)
    desk.store.audience(
        f"/* ---\naudience: people\nkey: id\nguards: {{max_exited: null}}\n{HEADERS[header]}\n"
        "--- */\nSELECT *, name AS _track, tags AS user__id, big AS x___, ok AS _usual, "
        'born AS "%" FROM salesforce.contact\n'
    )
    _, first = desk.save_plan()
    assert compare(desk, first)["entered"] > ROWS // 20
    desk.settle(first)
    land(desk, first=ROWS // 10, last=ROWS + ROWS // 10, seed=2)
    _, second = desk.save_plan()
    quick = compare(desk, second)
    if header == "nested_changes":
        assert not quick
    elif header != "odd_ids":
        assert {"entered", "changed", "exited"} >= quick.keys() >= {"entered", "exited"}
        assert "changed" in quick or header in ("all", "track", "context")
