"""What the warehouse writes of elements is to the letter what the mapper makes of each row."""

from __future__ import annotations

import pytest
from rendered_rows import POOLS, ROWS, compare, desk, land
from warehouses.desk import Desk

pytestmark = pytest.mark.older_duckdb

__all__ = ["desk"]

BODY = "{" + ", ".join(f"{name}: {name}" for name in POOLS) + ", event: {value: [1, {d: é}]}}"
HEADERS = {
    "every column": "{}",
    "template": f"{{body: {BODY}}}",
    "ndjson": "{batch: ndjson, body: {id: id, name: name, again: name}}",
    "own names": "{body: {id: id, key: name, previous: score, op: token}}",
    "some operations": "{send: [changed], body: {name: name}}",
    "nested": "{body: {a: {b: [name, {c: score}], d: {value: null}}}}",
    "hashed": "{body: {a: {column: name, hash: sha256}}}",
}
# Mapped row by row: previous values are not at the top, or are not the columns' own.
ROW_BY_ROW = {"nested": {"changed"}, "hashed": {"entered", "changed"}}

# Nearly every changed row has a value that writers of JSON disagree about.
WIDE = ("every column", "template")


@pytest.mark.parametrize(
    ("desk", "header"),
    [*(("duckdb", header) for header in HEADERS), ("postgres", "every column")],
    indirect=["desk"],
)
def test_both_ways_write_the_same_elements(desk: Desk, header: str) -> None:
    """Entering, changing and leaving, over every type and the values writers disagree about."""
    desk.clear()
    land(desk, first=0, last=ROWS, seed=1)
    desk.store.audience(
        "/* ---\naudience: people\nkey: id\nguards: {max_exited: null}\n"
        f"webhook: {HEADERS[header]}\n--- */\nSELECT * FROM salesforce.contact\n"
    )
    _, first = desk.save_plan()
    rendered = compare(desk, first)["entered"]
    assert (rendered > ROWS // 20) == ("entered" not in ROW_BY_ROW.get(header, ()))
    desk.settle(first)
    land(desk, first=ROWS // 10, last=ROWS + ROWS // 10, seed=2)
    _, second = desk.save_plan()
    rendered_changes = compare(desk, second)["changed"]
    if header not in WIDE:
        assert (rendered_changes > 0) == ("changed" not in ROW_BY_ROW.get(header, ()))
