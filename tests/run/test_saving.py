"""The plans of many small audiences are saved in several sessions at once, as one by one."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import pytest
from warehouses.desk import Desk

from tailrace.errors import MemoryShort, TailraceError
from tailrace.ledger.ledger import Ledger
from tailrace.plan.plan import AudiencePlan
from tailrace.plan.planner import Planner
from tailrace.plan.policy import PlanOptions
from tailrace.run import saving
from tailrace.run.planned_delivery import Delivery
from tailrace.run.saving import save_all
from tailrace.warehouse.memory import MemoryLimit

AUDIENCE = """/* ---
key: id
user_id: id
track: {{changed: Changed, properties: {{city: city}}}}
--- */
SELECT id, city FROM salesforce.contact WHERE part = {part}"""
AUDIENCES = 8


@pytest.fixture
def desk(duckdb_desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setattr(saving, "BESIDE_MIN", 2)
    fill(duckdb_desk)
    return duckdb_desk


def fill(desk: Desk) -> None:
    """Some audiences, none of them planned."""
    desk.clear()
    desk.script(
        "CREATE TABLE salesforce.contact AS SELECT 'c' || i AS id, 'Oslo' AS city, "
        f"i % {AUDIENCES} AS part FROM range(60) AS r(i)"
    )
    for part in range(AUDIENCES):
        desk.store.audience(AUDIENCE.format(part=part), f"part_{part}")


def planned(desk: Desk) -> tuple[Sequence[AudiencePlan], MemoryLimit]:
    models, limit = desk.models(), MemoryLimit(desk.warehouse)
    planner = Planner(
        desk.ledger,
        models,
        options=PlanOptions(),
        destinations=None,
        now=desk.clock.now(),
        memory_limit=limit,
    )
    return planner.plan(models.audiences()).audiences, limit


def save(desk: Desk, plans: Sequence[AudiencePlan], limit: MemoryLimit) -> list[Delivery]:
    return save_all(desk.ledger, desk.start_run(), plans, options=PlanOptions(), memory_limit=limit)


def contents(desk: Desk) -> dict[str, Any]:
    """The transitions of each audience in the outbox, and what is recorded of its plan."""
    rows = desk.query("SELECT sync_key, phase, entered, exited FROM tailrace.audience_runs")
    return {
        key: (
            *recorded,
            desk.query(
                f"SELECT seq, op, reason, id, city FROM tailrace.outbox__{key} ORDER BY seq"
            ),
        )
        for key, *recorded in rows
    }


def test_two_sessions_save_what_one_saves(
    desk: Desk, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG, logger="tailrace.warehouse.connection")
    plans, limit = planned(desk)
    deliveries = save(desk, plans, limit)
    assert [plan.ledger_key for plan in plans] == [d.audience.ledger_key for d in deliveries]
    statements = [record.getMessage() for record in caplog.records]
    # One transaction for two audiences each, not one for all.
    assert AUDIENCES // 2 == statements.count("statement ledger/save_audience_runs")
    beside = contents(desk)
    fill(desk)
    monkeypatch.setattr(saving, "BESIDE_MIN", AUDIENCES + 1)
    save(desk, *planned(desk))
    assert contents(desk) == beside
    assert {60} == {sum(len(rows) for *_, rows in beside.values())}


def test_a_group_that_fails_leaves_the_others_to_the_next_run(desk: Desk) -> None:
    plans, limit = planned(desk)
    desk.script(f'DROP TABLE "tr__plan"."{plans[2].diff.transitions.name}"')
    with pytest.raises(TailraceError, match="part_2"):
        save(desk, plans, limit)
    pending = {delivery.sync_key for delivery in desk.ledger.deliveries.pending()}
    assert "part_2" not in pending
    assert {"part_0", "part_7"} <= pending


def test_a_group_with_too_little_memory_is_saved_alone(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_plans = saving.save_plans

    def short(ledger: Ledger, *given: Any, are_aligned: bool = False, **named: Any) -> Any:
        if are_aligned and "part_2" in {plan.ledger_key for plan in named["plans"]}:
            raise MemoryShort("The warehouse has too little memory")
        return save_plans(ledger, *given, are_aligned=are_aligned, **named)

    monkeypatch.setattr(saving, "save_plans", short)
    deliveries = save(desk, *planned(desk))
    assert [f"part_{part}" for part in range(AUDIENCES)] == [
        delivery.audience.ledger_key for delivery in deliveries
    ]
    assert AUDIENCES == len(desk.ledger.deliveries.pending())
