"""OpenLineage events of a run: START, an end for each job, and the columns that feed each other."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alerts.alert_receivers import receiving
from shop import PEOPLE, Shop

from tailrace.config.project import load_project
from tailrace.errors import TailraceError
from tailrace.lineage_events.datasets import Dataset, salesforce_object, warehouse_of
from tailrace.lineage_events.events import Sources, child_events, names_of
from tailrace.models.loader import Models
from tailrace.project import Project
from tailrace.testing.segment.simulator import SegmentSimulator

ROWS = [{"id": f"c{n}", "email": f"c{n}@example.com", "city": "Oslo"} for n in range(9)]
HASHED = PEOPLE.replace("{email: email}", "{email: {column: email, hash: sha256}}")


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with SegmentSimulator() as segment:
        shop = Shop(tmp_path / "shop", segment)
        shop.audience(HASHED.replace("key: id", "key: id\nguards: {max_exited: 1}"))
        shop.land(ROWS)
        yield shop


def to_file(shop: Shop) -> Path:
    """Configure the file transport; returns the file with one event a line."""
    log = shop.root / "events.jsonl"
    config = shop.root / "openlineage.yml"
    config.write_text(f"transport: {{type: file, log_file_path: {log}, append: true}}\n")
    shop.environ["OPENLINEAGE_CONFIG"] = str(config)
    return log


def events_of(log: Path) -> list[dict[str, Any]]:
    text = log.read_text(encoding="utf-8")
    assert "@example.com" not in text and "write_key" not in text
    return [json.loads(line) for line in text.splitlines()]


def test_a_sync_sends_its_jobs_datasets_and_columns(shop: Shop) -> None:
    """The file transport: START at the beginning; facets on COMPLETE; hashed columns are masked."""
    log = to_file(shop)
    shop.environ["OPENLINEAGE_PARENT_ID"] = (
        "airflow/nightly.tailrace/3f5e83fa-3480-44ff-99c5-ff943904e5e8"
    )
    result = Project(shop.project).sync()
    assert (0, ()) == (result.exit_code, result.warnings)
    events = events_of(log)
    assert [
        ("START", "shop.sync"),
        ("START", "shop.sync.people.segment"),
        ("COMPLETE", "shop.sync.people.segment"),
        ("COMPLETE", "shop.sync"),
    ] == [(event["eventType"], event["job"]["name"]) for event in events]
    assert events[0]["run"]["runId"] == events[3]["run"]["runId"]
    assert "airflow" == events[0]["run"]["facets"]["parent"]["job"]["namespace"]
    complete = events[2]
    parent = complete["run"]["facets"]["parent"]
    assert events[0]["run"]["runId"] == parent["run"]["runId"]
    assert "nightly.tailrace" == parent["root"]["job"]["name"]
    assert "SYNC" == complete["job"]["facets"]["jobType"]["jobType"]
    (table,), (audience,) = complete["inputs"], complete["outputs"]
    assert ("duckdb://warehouse.duckdb", "warehouse.salesforce.contact") == (
        table["namespace"],
        table["name"],
    )
    assert {"id", "email", "city", "score", "is_deleted"} == {
        column["name"] for column in table["facets"]["schema"]["fields"]
    }
    assert audience["namespace"].startswith("segment://127.0.0.1:")
    assert "segment.people" == audience["name"]
    assert 9 == audience["outputFacets"]["outputStatistics"]["rowCount"]
    lineage = audience["facets"]["columnLineage"]
    (source,) = lineage["fields"]["identify.traits.email"]["inputFields"]
    assert ("warehouse.salesforce.contact", "email") == (source["name"], source["field"])
    assert source["transformations"][0]["masking"] is True
    (source,) = lineage["fields"]["track.properties.city"]["inputFields"]
    assert ("city", False) == (source["field"], source["transformations"][0]["masking"])
    (filtered,) = lineage["dataset"]
    assert ("is_deleted", "FILTER") == (
        filtered["field"],
        filtered["transformations"][0]["subtype"],
    )
    assert "columnLineage" not in json.dumps(events[1])


def test_held_and_failed_runs_end_as_such(shop: Shop) -> None:
    """A held audience is ABORT in a COMPLETE run; an error that ends the run is FAIL."""
    Project(shop.project).sync()
    log = to_file(shop)
    shop.land(ROWS[:2])
    assert 3 == Project(shop.project).sync().exit_code
    assert ["START", "START", "ABORT", "COMPLETE"] == [e["eventType"] for e in events_of(log)]
    log.unlink()
    assert shop.segment is not None
    shop.environ["DESTINATION__SEGMENT__WRITE_KEY"] = "wrong"
    shop.environ["DESTINATION__SEGMENT__SETTINGS_HOST"] = shop.segment.url
    try:
        code = Project(shop.project).sync().exit_code
    except TailraceError:
        # Refused before the run began: there is nothing that has to end.
        assert not log.exists()
        return
    last = events_of(log)[-1]
    assert (2, "FAIL") == (code, last["eventType"])
    assert last["run"]["facets"]["errorMessage"]["message"]


def test_events_arrive_over_http_and_a_receiver_that_fails_is_a_warning(shop: Shop) -> None:
    with receiving() as receiver:
        url = receiver.url.replace("json://", "http://").removesuffix("/alerts")
        shop.environ["OPENLINEAGE_URL"] = url
        result = Project(shop.project).sync()
        assert (0, ()) == (result.exit_code, result.warnings)
    assert {"/api/v1/lineage"} == {path for path, _ in receiver.taken}
    assert ["START", "START", "COMPLETE", "COMPLETE"] == [
        body["eventType"] for body in receiver.bodies
    ]
    shop.land(ROWS[:8])
    result = Project(shop.project).sync()
    assert 0 == result.exit_code
    (warning,) = result.warnings
    assert warning["message"].startswith("OpenLineage events were not sent: ")


def test_without_the_package_a_run_warns_with_the_command_that_installs_it(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openlineage", None)
    shop.environ["OPENLINEAGE_URL"] = "http://127.0.0.1:1"
    result = Project(shop.project).sync()
    assert 0 == result.exit_code
    (warning,) = result.warnings
    assert "pip install" in warning["message"] and "[openlineage]" in warning["message"]


def test_datasets_are_named_without_credentials(tmp_path: Path) -> None:
    """By OpenLineage's conventions: the host and the database, no user and no password."""
    (tmp_path / ".dlt").mkdir()
    (tmp_path / ".dlt" / "config.toml").write_text('[tailrace]\nwarehouse = "postgres"\n')
    url = "postgresql://user:secret@db.example.com:6543/shop"
    for environ in (
        {"DESTINATION__POSTGRES__CREDENTIALS": url},
        {
            "DESTINATION__POSTGRES__CREDENTIALS__HOST": "db.example.com",
            "DESTINATION__POSTGRES__CREDENTIALS__PORT": "6543",
            "DESTINATION__POSTGRES__CREDENTIALS__DATABASE": "shop",
            "DESTINATION__POSTGRES__CREDENTIALS__PASSWORD": "secret",
        },
    ):
        warehouse = warehouse_of(load_project(tmp_path, environ=environ))
        assert Dataset(
            namespace="postgres://db.example.com:6543", name="shop.salesforce.contact"
        ) == warehouse.table("salesforce", "contact")
    assert Dataset(
        namespace="salesforce://acme.my.salesforce.com", name="Contact"
    ) == salesforce_object("https://user:secret@acme.my.salesforce.com", "Contact")


def test_an_extracted_object_names_its_fields_and_columns(tmp_path: Path) -> None:
    """Each landed column comes from one field; columns that dlt adds come from none."""
    shop = Shop(tmp_path / "shop")
    sources = Sources(
        project=shop.project,
        models=Models(by_name={}),
        landed={"contact": {"email": ["Email", "email", True], "_dlt_id": ["_dlt_id", "", False]}},
        objects={"contact": "Contact"},
        destinations={},
        instance_url="https://acme.my.salesforce.com",
    )
    entry = {"object": "Contact", "table": "contact", "complete": False, "rows": 5}
    now = shop.clock.now()
    names = names_of(shop.project, "extract", "seed")
    start, end = child_events(names, sources, objects=[entry], audiences=[], started=now, ended=now)
    assert ("START", "FAIL") == (start.type, end.type)
    assert "shop.extract.Contact" == end.name
    (org,), (table,) = end.inputs, end.outputs
    assert ["Email"] == org["fields"]
    assert ("warehouse.salesforce.contact", 5) == (table["name"], table["rows"])
    (source,) = table["columns"]["email"]
    assert ("Contact", "Email", "IDENTITY") == (source["name"], source["field"], source["subtype"])
