"""How many statements a plan runs: the look-ups of all audiences together are one statement."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator

import pytest
from warehouses.desk import Desk, desk_at
from warehouses.stores import store_on

from tailrace.plan import side_by_side
from tailrace.plan.plan import Plan
from tailrace.plan.planner import Planner
from tailrace.plan.policy import PlanOptions
from tailrace.run.delivery import save_plan, save_plans

AUDIENCE = """/* ---
key: id
user_id: id
track: {{changed: Changed, properties: {{city: city}}}}
--- */
SELECT id, city FROM salesforce.contact WHERE part = {part}"""
AUDIENCES = 6


@pytest.fixture(scope="module", params=["duckdb"])
def desk(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Desk]:
    """Some audiences over one table, all of them delivered."""
    with store_on(request, tmp_path_factory.mktemp("desk")) as store:
        with desk_at(store) as desk:
            desk.clear()
            desk.script(
                "CREATE TABLE salesforce.contact AS SELECT 'c' || i AS id, 'Oslo' AS city, "
                f"i % {AUDIENCES} AS part FROM range(60) AS r(i)"
            )
            for part in range(AUDIENCES):
                desk.store.audience(AUDIENCE.format(part=part), f"part_{part}")
            run = desk.start_run()
            for plan in planned(desk).audiences:
                desk.settle(save_plan(desk.ledger, run, plan, options=PlanOptions()))
        # A session of its own, which has no temporary tables yet.
        with desk_at(store) as desk:
            yield desk


def planned(desk: Desk, **options: bool) -> Plan:
    models = desk.models()
    planner = Planner(
        desk.ledger,
        models,
        options=PlanOptions(**options),
        destinations=None,
        now=desk.clock.now(),
    )
    return planner.plan(models.audiences())


def statements(caplog: pytest.LogCaptureFixture) -> Counter[str]:
    """How often each statement ran."""
    messages = [record.getMessage() for record in caplog.records]
    return Counter(
        text.removeprefix("statement ") for text in messages if text.startswith("statement ")
    )


def statements_per_audience(caplog: pytest.LogCaptureFixture) -> dict[str, int]:
    """How often each statement ran for each audience, without those that ran for all at once."""
    return {name: n // AUDIENCES for name, n in statements(caplog).items() if n >= AUDIENCES}


@pytest.fixture
def counted(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG, logger="tailrace.warehouse.connection")
    return caplog


def test_unchanged_audiences_take_no_statement_each(
    desk: Desk, counted: pytest.LogCaptureFixture
) -> None:
    plan = planned(desk)
    assert {"inputs unchanged"} == {audience.skipped for audience in plan.audiences}
    assert {} == statements_per_audience(counted)
    assert 1 == statements(counted)["plan/sizes"]


def test_an_audience_without_changes_takes_one_statement(
    desk: Desk, counted: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(side_by_side, "PARTS_MIN", 1)
    plan = planned(desk, skip_unchanged=False)
    assert {"unchanged"} == {audience.status for audience in plan.audiences}
    assert {"warehouse/query_columns": 1} == statements_per_audience(counted)
    # One for the table, and one for the models of each of the two parts.
    assert 1 + 2 == statements(counted)["plan/measure"]


def test_audiences_without_changes_are_saved_and_finished_by_four_statements_in_all(
    desk: Desk, counted: pytest.LogCaptureFixture
) -> None:
    plans = planned(desk, skip_unchanged=False).audiences
    run = desk.start_run()
    counted.clear()
    deliveries = save_plans(desk.ledger, run, plans, options=PlanOptions())
    ledger = ("save_audience_runs", "delete_earlier_inputs", "save_inputs")
    expected = ["warehouse/columns_in", *(f"ledger/{name}" for name in ledger)]
    assert Counter(expected) == statements(counted)
    assert {True} == {delivery.finished for delivery in deliveries}
    assert [] == desk.ledger.deliveries.pending()
