"""Recent calls of a report: those of each audience, read by few statements for all of them."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from warehouses.desk import Desk, desk_on
from warehouses.stores import WAREHOUSES

from tailrace.plan.policy import PlanOptions
from tailrace.reporting.ledger_facts import ledger_facts
from tailrace.run.delivery import save_plans

AUDIENCE = """/* ---
key: id
user_id: id
track: {{changed: Changed, properties: {{{column}: {column}}}}}
--- */
SELECT id, {column} FROM salesforce.contact WHERE part = '{part}'"""
# The columns of the first two have equal names and types.
COLUMNS = {"north": "city", "south": "city", "west": "score"}


@pytest.fixture(params=WAREHOUSES)
def desk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Desk]:
    """Three audiences. In the last run, one member of each is new and one has changed."""
    with desk_on(request, tmp_path) as desk:
        desk.clear()
        desk.script(
            "CREATE TABLE salesforce.contact (id TEXT, city TEXT, score INTEGER, part TEXT);"
        )
        for part, column in COLUMNS.items():
            desk.store.audience(AUDIENCE.format(column=column, part=part), part)
        for number in (1, 2):
            for part in COLUMNS:
                desk.script(
                    f"UPDATE salesforce.contact SET city = 'Moss', score = 7 WHERE part = '{part}'"
                )
                desk.script(
                    f"INSERT INTO salesforce.contact VALUES ('{part}{number}', 'Oslo', 5, '{part}')"
                )
            run = desk.start_run()
            plans = [desk.plan(part) for part in COLUMNS]
            for delivery in save_plans(desk.ledger, run, plans, options=PlanOptions()):
                desk.settle(delivery)
        yield desk


def test_each_audience_has_the_calls_of_its_own_changes(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="tailrace.warehouse.connection")
    calls = ledger_facts(desk.warehouse, clock=desk.clock)["calls"]
    assert {*COLUMNS} == {*calls}
    for part, column in COLUMNS.items():
        sent = [(call["op"], call["outcome"], json.loads(call["body"])) for call in calls[part]]
        assert [("changed", "accepted"), ("entered", "accepted")] == [row[:2] for row in sent]
        assert {column} == {
            name for row in sent for name in row[2]["properties"] if name in ("city", "score")
        }
    ids = {call["message_id"] for part in COLUMNS for call in calls[part]}
    assert 2 * len(COLUMNS) == len(ids)
    counted = Counter(record.getMessage() for record in caplog.records)
    assert 1 == counted["statement page/first_changes"]
    # One for the outboxes with equal columns.
    assert 2 == counted["statement page/samples"]
    # The columns of a dataset are read once for the landed tables, and once for the ledger's.
    assert {"statement warehouse/columns_in": 2, "statement page/samples": 2} == {
        name: number for name, number in counted.items() if number > 1
    }
