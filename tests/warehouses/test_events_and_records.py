"""Event models, and audiences that write Salesforce records, on warehouses beside the first two."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from run.test_event_models import CHANGES, DAY, NOW, ClockAt
from salesforce_org import SIZES
from warehouses.stores import ENGINES, WAREHOUSES, Store, store_on
from warehouses.test_write_back_postgres import AUDIENCE

from tailrace.run import job
from tailrace.testing import BulkSettings, SalesforceSimulator, SegmentSimulator
from tailrace.testing.org.editions import enable_write_back
from tailrace.testing.org.org import Org

# DuckDB and PostgreSQL have tests of their own.
OTHERS = ENGINES[len(WAREHOUSES) :]
pytestmark = pytest.mark.skipif(not OTHERS, reason="run by: make test-engines")


@pytest.fixture(params=OTHERS)
def events(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A table of stage changes, and a clock that stands still."""
    with (
        SegmentSimulator(clock=ClockAt(NOW)) as segment,
        store_on(request, tmp_path / "shop", segment) as store,
    ):
        store.clock = segment.clock
        config = store.root / ".dlt" / "config.toml"
        config.write_text(config.read_text().replace('"Account"]', '"Stage_Change"]'))
        store.script(
            "CREATE SCHEMA salesforce; CREATE TABLE salesforce.stage_change (opportunity_id TEXT, "
            "changed_at TIMESTAMPTZ, contact_id TEXT, stage TEXT, amount DOUBLE)"
        )
        yield store


def happen(store: Store, key: str, at: datetime) -> None:
    store.script(
        "INSERT INTO salesforce.stage_change VALUES "
        f"('{key}', TIMESTAMPTZ '{at:%Y-%m-%d %H:%M:%S}+00', 'c1', '{key}', 5)"
    )


def sent(store: Store) -> list[str]:
    assert 0 == store.sync().exit_code
    return sorted(event["properties"]["stage"] for event in store.arrived())


@pytest.mark.parametrize("key", ["[opportunity_id, changed_at]", "opportunity_id"])
def test_keys_of_events_that_no_run_reads_are_forgotten(events: Store, key: str) -> None:
    """Without the time in the key, the key of a row whose time was corrected is remembered."""
    events.audience(CHANGES.replace("[opportunity_id, changed_at]", key), "stage_changes")
    clock: Any = events.clock
    happen(events, "o1", NOW - DAY)
    happen(events, "o2", NOW - DAY)
    assert ["o1", "o2"] == sent(events)
    clock.time = NOW + 20 * DAY
    if key == "opportunity_id":
        later = f"{clock.time - timedelta(hours=1):%Y-%m-%d %H:%M:%S}+00"
        events.script(
            f"UPDATE salesforce.stage_change SET changed_at = TIMESTAMPTZ '{later}' "
            "WHERE opportunity_id = 'o1'"
        )
    clock.time += 10 * DAY
    happen(events, "o3", clock.time - DAY)
    assert ["o3"] == sent(events)
    left = ["o1", "o3"] if key == "opportunity_id" else ["o3"]
    remembered = "SELECT opportunity_id FROM tailrace.snapshot__stage_changes ORDER BY 1"
    assert left == [key for (key,) in events.query(remembered)]
    assert [] == sent(events)


@pytest.fixture(params=OTHERS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    with store_on(request, tmp_path / "shop") as store:
        yield store


def test_records_are_written_from_every_warehouse(store: Store) -> None:
    """A value that a field refuses, a record that is current, and a job for the others."""
    org = Org(ticking=False, sizes=SIZES)
    enable_write_back(org)
    with SalesforceSimulator(org=org, bulk=BulkSettings(polls=0)) as simulator:
        config = store.root / ".dlt" / "config.toml"
        config.write_text(
            config.read_text().replace(', "Account"]', "]")
            + "\n[destination.salesforce]\nretry_seconds_max = 5\n"
        )
        store.environ |= {
            "SOURCES__SALESFORCE__CREDENTIALS__INSTANCE_URL": simulator.url,
            "SOURCES__SALESFORCE__CREDENTIALS__ACCESS_TOKEN": simulator.access_token(),
        }
        store.audience(AUDIENCE.replace("dialect: postgres\n", ""))

        def record(key: str) -> dict[str, Any]:
            rows = org.rows("Contact").records()
            return next(row for row in rows if row.get("Crm_Key__c") == key)

        wanted = {"Plan_Tier__c": "gold", "Health__c": 12.5, "Is_VIP__c": True}
        org.update("Contact", record("c-0001")["Id"], wanted)
        assert 0 == job.extract(store.project, clock=store.clock).exit_code
        plan = store.plan()
        assert not plan.errors, [vars(error) for error in plan.errors]
        (planned,) = plan.as_dict()["audiences"]
        assert (1, 1, 3) == (planned["current"], planned["refused"], planned["entered"])
        result = store.sync()
        (written,) = result.as_dict()["audiences"]
        assert (4, 2, 1) == (result.exit_code, written["sent"], written["rejected"])
        assert wanted == {name: record("c-0002")[name] for name in wanted}
        assert ["update"] == [write.operation for write in simulator.writer.writes]
        # A member who left clears the fields of the record.
        store.audience(
            AUDIENCE.replace("dialect: postgres\n", "").replace("'c-0001', 'c-0002'", "'c-0001'")
        )
        assert 4 == store.sync(options=store.allow(("people", "max_exited"))).exit_code
        assert [None, None] == [record("c-0002")[name] for name in ("Plan_Tier__c", "Health__c")]
