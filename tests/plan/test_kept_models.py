"""A model that an earlier command has described is not parsed again, unless something changed."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from warehouses.desk import Desk, desk_at
from warehouses.stores import store_on

from tailrace.plan import kept_models
from tailrace.plan.plan import Plan
from tailrace.plan.planner import Planner
from tailrace.plan.policy import PlanOptions

HEADER = """/* ---
key: id
user_id: id
track: {properties: {city: city}}
--- */
"""
AUDIENCE = f"{HEADER}SELECT id, UPPER(city) AS city FROM salesforce.contact"
CONTACT = "CREATE TABLE salesforce.contact AS SELECT 'c1' AS id, 'Oslo' AS city"


@pytest.fixture(scope="module", params=["duckdb"])
def opened(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Desk]:
    with store_on(request, tmp_path_factory.mktemp("desk")) as store, desk_at(store) as desk:
        (desk.warehouse.project.root / ".tailrace").mkdir(exist_ok=True)
        yield desk


@pytest.fixture
def desk(
    opened: Desk, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Desk]:
    """An audience that one command has planned, where one is enough to be kept."""
    monkeypatch.setattr(kept_models, "MODELS_MIN", 1)
    opened.clear()
    opened.script(CONTACT)
    opened.store.audience(AUDIENCE, "people")
    planned(opened)
    caplog.set_level(logging.DEBUG, logger="tailrace.warehouse.connection")
    yield opened
    opened.script("DROP MACRO IF EXISTS main.shout; DROP TYPE IF EXISTS main.mood")


def planned(desk: Desk, *, skip: bool = True) -> Plan:
    models = desk.models()
    planner = Planner(
        desk.ledger,
        models,
        options=PlanOptions(skip_unchanged=skip),
        destinations=None,
        now=desk.clock.now(),
    )
    return planner.plan(models.audiences())


def descriptions(caplog: pytest.LogCaptureFixture) -> int:
    """How often the columns of a model were read from DuckDB."""
    text = "statement warehouse/query_columns"
    return sum(text == record.getMessage() for record in caplog.records)


def test_a_few_models_are_described_each_time(
    desk: Desk, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To list what the file defines costs more."""
    monkeypatch.setattr(kept_models, "MODELS_MIN", 2)
    planned(desk)
    assert 1 == descriptions(caplog)
    assert "statement warehouse/definitions" not in caplog.messages


def test_a_known_model_is_not_described_again(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    desk.script("INSERT INTO salesforce.contact VALUES ('c2', 'Moss')")
    (plan,) = planned(desk).audiences
    assert 0 == descriptions(caplog)
    (full,) = planned(desk, skip=False).audiences
    assert 1 == descriptions(caplog)
    assert 2 == plan.entered == full.entered
    assert (plan.shape, plan.model, plan.inputs) == (full.shape, full.model, full.inputs)


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE salesforce.contact ADD COLUMN score INTEGER",
        "ALTER TABLE salesforce.contact ALTER COLUMN id SET DATA TYPE BLOB",
        "DROP TABLE salesforce.contact;"
        "CREATE VIEW salesforce.contact AS SELECT 'c1' AS id, 'Oslo' AS city",
        "CREATE MACRO main.shout(word) AS word || '!'",
        "CREATE TYPE main.mood AS ENUM ('good', 'bad')",
    ],
)
def test_a_model_is_described_again_when_what_it_may_name_has_changed(
    desk: Desk, caplog: pytest.LogCaptureFixture, change: str
) -> None:
    desk.script(change)
    caplog.clear()
    planned(desk)
    assert 1 == descriptions(caplog)


@pytest.mark.parametrize(
    "text",
    [
        AUDIENCE.replace("UPPER", "LOWER"),
        AUDIENCE + " WHERE current_date > DATE '2000-01-01'",
        AUDIENCE.replace("track:", "consent: {suppress_when: opted_out}\ntrack:").replace(
            "SELECT", "SELECT FALSE AS opted_out,"
        ),
    ],
)
def test_a_model_with_another_text_is_described_again(
    desk: Desk, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    desk.store.audience(text, "people")
    planned(desk)
    assert 1 == descriptions(caplog)
