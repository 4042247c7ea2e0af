"""Declared sources: an old, missing or altered one holds the audiences that read it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from warehouses.desk import Desk

from tailrace.errors import ModelDoesNotBind, NotAllowedInModel
from tailrace.models.loader import Models
from tailrace.plan.bound_models import BoundModels
from tailrace.plan.guards import Guard
from tailrace.plan.plan import AudiencePlan, Plan
from tailrace.plan.planner import Planner
from tailrace.plan.policy import PlanOptions
from tailrace.run.build import build
from tailrace.run.delivery import save_plan

HEADER = "/* ---\nkey: id\nuser_id: id\ntrack: {properties: {total: total}}\n--- */\n"
BUYERS = f"{HEADER}SELECT customer_id AS id, total, note FROM shop.orders"
CONTACTS = HEADER.replace("total: total", "city: city") + "SELECT id, city FROM salesforce.contact"
SOURCES = """sources:
- dataset: shop
  table: orders
  freshness: {column: loaded_at, hold_after: 24h}
  columns: {customer_id: VARCHAR, total: DOUBLE, note: VARCHAR, unused: INTEGER}
"""
TABLES = """
CREATE SCHEMA IF NOT EXISTS shop;
DROP TABLE IF EXISTS shop.orders;
CREATE TABLE shop.orders (
  customer_id TEXT, total DOUBLE, note TEXT, loaded_at TIMESTAMP, unused INTEGER
);
INSERT INTO shop.orders VALUES
  ('c1', 1.5, NULL, TIMESTAMP '2026-11-27 06:00:00', 1),
  ('c2', 2.5, 'x', TIMESTAMP '2026-11-26 06:00:00', 2);
CREATE TABLE salesforce.contact (id TEXT, city TEXT);
INSERT INTO salesforce.contact VALUES ('c1', 'Oslo')
"""
NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)


@pytest.fixture
def desk(open_desk: Desk) -> Desk:
    """An audience over the orders of a shop, and one over landed contacts."""
    open_desk.clear()
    open_desk.script("DROP SCHEMA IF EXISTS tailrace_models CASCADE")
    open_desk.script(TABLES)
    open_desk.store.audience(BUYERS, "buyers")
    open_desk.store.audience(CONTACTS, "contacts")
    declare(open_desk, SOURCES)
    return open_desk


def declare(desk: Desk, text: str) -> None:
    (desk.store.project.models_folder / "sources.yml").write_text(text)


def planned(desk: Desk, *, allow: bool = False, now: datetime = NOW) -> Plan:
    models = desk.models()
    selected = [model for model in models.by_name.values() if model.audience]
    options = PlanOptions(allow=frozenset({("buyers", "upstream")}) if allow else frozenset())
    planner = Planner(
        desk.ledger,
        models,
        options=options,
        destinations=None,
        now=now,
        build=build(desk.warehouse, models, selected, now=now),
    )
    return planner.plan(selected)


def of(plan: Plan, name: str = "buyers") -> AudiencePlan:
    return {entry.audience.name: entry for entry in plan.audiences}[name]


def upstream(plan: Plan) -> Guard:
    return next(guard for guard in of(plan).guards if guard.name == "upstream")


def deliver(desk: Desk) -> None:
    run = desk.start_run()
    for plan in planned(desk).audiences:
        desk.settle(save_plan(desk.ledger, run, plan, options=PlanOptions()))


OLD = "is 1d 7h old, and may be 1d old"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("DROP TABLE shop.orders", "shop.orders is missing"),
        ("DROP SCHEMA shop CASCADE", "shop.orders is missing"),
        ("DELETE FROM shop.orders", "shop.orders has no row with a loaded_at"),
        (
            "UPDATE shop.orders SET loaded_at = TIMESTAMP '2026-11-26 05:00:00'",
            f"shop.orders {OLD}",
        ),
        (
            "ALTER TABLE shop.orders DROP COLUMN loaded_at",
            "shop.orders has no column loaded_at, which shows its age",
        ),
        (
            "ALTER TABLE shop.orders ALTER COLUMN loaded_at SET DATA TYPE TEXT",
            "shop.orders has no date or time in loaded_at, but ",
        ),
        ("ALTER TABLE shop.orders DROP COLUMN total", "shop.orders.total is missing"),
        # The SQL cannot run without it, although no message has it.
        ("ALTER TABLE shop.orders DROP COLUMN note", "shop.orders.note is missing"),
        (
            "ALTER TABLE shop.orders ALTER COLUMN total SET DATA TYPE TEXT",
            "shop.orders.total has the type ",
        ),
    ],
)
def test_a_source_that_cannot_be_trusted_holds_its_audiences(
    desk: Desk, change: str, reason: str
) -> None:
    """Others go on, nothing is planned as an exit, and the held plan is saved in the ledger."""
    deliver(desk)
    desk.script(change)
    plan = planned(desk)
    guard = upstream(plan)
    assert (True, 1) == (guard.held, guard.seen)
    assert reason in guard.message
    assert "Run the job that loads the table" in guard.hint
    assert ("unchanged", "held") == (of(plan, "contacts").status, of(plan).status)
    assert () == plan.errors
    run = desk.start_run()
    save_plan(desk.ledger, run, of(plan), options=PlanOptions())
    (status,) = (s for s in desk.ledger.audiences.statuses() if s["audience"] == "buyers")
    assert ("held", 2) == (status["status"], status["size_after"])


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE shop.orders DROP COLUMN unused",
        "UPDATE shop.orders SET loaded_at = TIMESTAMP '2026-11-26 12:00:00'",
        "ALTER TABLE shop.orders ALTER COLUMN loaded_at SET DATA TYPE TIMESTAMPTZ",
        # A date is its midnight.
        "ALTER TABLE shop.orders ALTER COLUMN loaded_at SET DATA TYPE DATE",
        # A widened type is of the same kind, and no message has note.
        "ALTER TABLE shop.orders ALTER COLUMN total SET DATA TYPE DECIMAL(18, 2)",
        "ALTER TABLE shop.orders ALTER COLUMN note SET DATA TYPE INTEGER USING NULL",
    ],
)
def test_what_the_audience_can_be_trusted_with_holds_nothing(desk: Desk, change: str) -> None:
    deliver(desk)
    desk.script(change)
    assert not upstream(planned(desk)).held


def test_an_audience_that_was_never_delivered_is_held_too(desk: Desk) -> None:
    desk.script("DROP TABLE shop.orders")
    plan = planned(desk)
    assert ("held", 0) == (of(plan).status, of(plan).diff.size_before)
    assert ("ok", 1) == (of(plan, "contacts").status, of(plan, "contacts").entered)


def test_an_old_source_is_planned_and_can_be_allowed_once(desk: Desk) -> None:
    """The age counts by the engine's clock; a missing table cannot be allowed away."""
    late = datetime(2026, 11, 28, 6, 1, tzinfo=UTC)
    assert not upstream(planned(desk, now=datetime(2026, 11, 28, 6, tzinfo=UTC))).held
    held = planned(desk, now=late)
    assert ("held", 2) == (of(held).status, of(held).entered)
    assert "shop.orders is 1d 1m old, and may be 1d old" in upstream(held).message
    allowed = upstream(planned(desk, allow=True, now=late))
    assert (False, True) == (allowed.held, allowed.allowed)
    desk.script("DROP TABLE shop.orders")
    (failure,) = planned(desk, allow=True).failures
    assert isinstance(failure.error, ModelDoesNotBind)


def test_a_lost_column_without_a_declaration_holds_unless_the_model_was_edited(desk: Desk) -> None:
    """An unedited model has run before, so the table changed; else its SQL names what is not there.

    It is the same where the column is read by a model in between, whose view cannot be built.
    """
    declare(desk, "sources: [{dataset: shop, table: orders}]")
    staging = desk.store.project.models_folder / "staging"
    staging.mkdir(exist_ok=True)
    (staging / "orders.sql").write_text("SELECT customer_id AS id, total FROM shop.orders")
    desk.store.audience(f"{HEADER}SELECT id, total FROM orders", "buyers")
    deliver(desk)
    desk.script("DROP VIEW tailrace_models.orders; ALTER TABLE shop.orders DROP COLUMN total")
    plan = planned(desk)
    assert "shop.orders.total is missing" in upstream(plan).message
    assert ("held", ()) == (of(plan).status, plan.errors)
    (staging / "orders.sql").write_text("SELECT customer_id AS id, totl AS total FROM shop.orders")
    (failure,) = planned(desk).failures
    assert isinstance(failure.error, ModelDoesNotBind)
    assert ("models/staging/orders.sql", 1) == (failure.error.file, failure.error.line)


def test_a_name_that_another_model_misspells_does_not_hold_an_audience(desk: Desk) -> None:
    deliver(desk)
    typo = BUYERS.replace("customer_id AS", "customerid AS")
    desk.store.audience(typo, "others")
    plan = planned(desk)
    assert not upstream(plan).held
    (failure,) = plan.failures
    assert "others" == failure.audience.name


def test_on_a_server_only_declared_tables_may_be_read(desk: Desk) -> None:
    """The names that the server resolved are checked, whatever the SQL calls them."""
    if desk.warehouse.dialect != "postgres":
        pytest.skip("only a server has a catalog of resolved names")
    models = desk.models()
    assert not planned(desk).failures
    undeclared = BoundModels(desk.warehouse, Models(by_name=models.by_name, sources={}), now=NOW)
    desk.warehouse._allowed_tables.clear()
    with pytest.raises(NotAllowedInModel, match=r"shop\.orders is neither a model nor"):
        undeclared.columns_of(models.by_name["buyers"])
