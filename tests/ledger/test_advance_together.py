"""Runs of several audiences are applied to their snapshots in one transaction."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from warehouses.desk import Desk, desk_on
from warehouses.stores import WAREHOUSES

from tailrace.ledger.deliveries import Finished
from tailrace.plan.planner import Planner
from tailrace.plan.policy import PlanOptions
from tailrace.run.delivery import save_plans

AUDIENCE = """/* ---
key: id
user_id: id
track: {{properties: {{city: city}}}}
guards: {{max_exited: null}}
--- */
SELECT id, city FROM salesforce.contact WHERE part = {part}"""
PARTS = (0, 1)


@pytest.fixture(params=WAREHOUSES)
def desk(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Desk]:
    """Two audiences of one member each."""
    with desk_on(request, tmp_path_factory.mktemp("desk")) as desk:
        desk.clear()
        desk.script(
            "CREATE TABLE salesforce.contact (id TEXT, city TEXT, part INTEGER);"
            "INSERT INTO salesforce.contact VALUES ('c0', 'Oslo', 0), ('c1', 'Moss', 1)"
        )
        for part in PARTS:
            desk.store.audience(AUDIENCE.format(part=part), f"part_{part}")
        yield desk


def planned_when_delivered(desk: Desk) -> list[int]:
    """Plan both audiences, deliver them and advance them together; the planned transitions."""
    models = desk.models()
    planner = Planner(
        desk.ledger, models, options=PlanOptions(), destinations=None, now=desk.clock.now()
    )
    plans = planner.plan(models.audiences()).audiences
    deliveries = save_plans(desk.ledger, desk.start_run(), plans, options=PlanOptions())
    for delivery in deliveries:
        desk.acknowledge(delivery, 1, delivery.planned)
    with desk.warehouse.transaction():
        desk.ledger.deliveries.advance(
            [Finished(d.run_seq, d.audience.ledger_key, d.shape, d.planned) for d in deliveries]
        )
    return [delivery.planned for delivery in deliveries]


def test_only_snapshots_with_rows_have_members_to_replace(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    """A member who left stays in the snapshot as a former one, who enters again as one row."""
    caplog.set_level(logging.DEBUG, logger="tailrace.warehouse.connection")
    steps = (
        "SELECT 1",
        "UPDATE salesforce.contact SET part = part + 10",
        "UPDATE salesforce.contact SET part = part - 10",
    )
    replaced = []
    for step in steps:
        desk.script(step)
        caplog.clear()
        assert [1, 1] == planned_when_delivered(desk)
        messages = [record.getMessage() for record in caplog.records]
        replaced.append(messages.count("statement ledger/delete_replaced_members"))
    assert [0, 2, 2] == replaced
    rows = [desk.query(f"SELECT id, _gone FROM tailrace.snapshot__part_{n}") for n in PARTS]
    assert [[("c0", False)], [("c1", False)]] == rows
