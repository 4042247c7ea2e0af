"""Changes that SQL merges leave what a load of dlt leaves, and dlt continues from there."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest
from dlt.common.versioned_state import decompress_state
from dlt.pipeline.state_sync import generate_pipeline_state_version_hash
from salesforce_landing import DltRefused, Landing, landing_of

from tailrace.salesforce.extract.stored import StoredExtract, read_stored
from tailrace.testing import Fault
from tailrace.testing.org.describe import Field

# They depend on the clock of the org.
TIMES = ("created_date", "last_modified_date", "system_modstamp")


@pytest.fixture(scope="module")
def landed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warehouse with two objects of the simulated org, and with nothing pending."""
    folder = tmp_path_factory.mktemp("landed")
    with landing_of(folder) as landing:
        landing.extract()
        landing.sf.org.advance(minutes=30)
        landing.extract()
    return folder / "warehouse.duckdb"


def copied(landed: Path, folder: Path) -> Any:
    folder.mkdir()
    shutil.copy(landed, folder / "warehouse.duckdb")
    return landing_of(folder)


@pytest.fixture
def landing(landed: Path, tmp_path: Path) -> Iterator[Landing]:
    """A copy of it with the same org, an hour after the first extract."""
    with copied(landed, tmp_path / "copy") as landing:
        landing.sf.org.advance(hours=1)
        yield landing


def stored(landing: Landing) -> StoredExtract:
    stored = read_stored(landing.landing)
    assert stored is not None
    return stored


def change(landing: Landing, choose: random.Random) -> None:
    """Change some contacts and accounts in every way that leaves the columns alone."""
    org = landing.sf.org
    ids = org.rows("Contact").ids()
    for contact in choose.sample(ids, 4):
        values = {"LastName": f"N{choose.random()}", "Birthdate": None, "Visits__c": 7}
        org.update("Contact", contact, values)
    org.delete("Contact", choose.choice(ids))
    org.insert("Contact", {"LastName": "New\n'quoted'", "Email": "new@example.com"})
    org.touch("Account", 2, {"Name": "Acme"})
    org.purge("Contact", choose.choice(ids))
    org.advance(minutes=45)


def stamps_of(landing: Landing) -> set[tuple[str, Any]]:
    """When each contact of the org that is not deleted was modified."""
    records = landing.sf.org.rows("Contact").records()
    return {
        (record["Id"], record["SystemModstamp"].replace(tzinfo=UTC))
        for record in records
        if not record.get("IsDeleted")
    }


@pytest.mark.parametrize("deleted", ["flag", "remove"])
def test_sql_leaves_what_dlt_leaves(landed: Path, tmp_path: Path, deleted: str) -> None:
    """Rows, deletions and the state, after the same history."""
    tables, states = [], []
    for merges_files in (True, False):
        with copied(landed, tmp_path / str(merges_files)) as landing:
            landing.sf.org.advance(hours=1)
            for name in ("Account", "Contact"):
                landing.sf.org.touch(name, 1)
            landing.extract(deleted=deleted)
            landing.sf.org.advance(hours=1)
            landing.landing.loads = 0
            landing.landing.merges_files = merges_files
            choose = random.Random(3)
            for _ in range(2):
                change(landing, choose)
                assert all(facts.complete for facts in landing.extract(deleted=deleted).objects)
            assert (0 if merges_files else 2) == landing.loads
            tables.append(
                [
                    row
                    for table in ("account", "contact")
                    for row in landing.rows(
                        f"SELECT * EXCLUDE ({', '.join(TIMES)}) FROM salesforce.{table} ORDER BY id"
                    )
                ]
            )
            live = "SELECT id, system_modstamp FROM salesforce.contact WHERE NOT is_deleted"
            assert stamps_of(landing) == set(landing.rows(live))
            resources = landing_state(landing)["sources"]["salesforce"]["resources"]
            for state in resources.values():
                assert state.pop("watermark")
                state.pop("unsettled", None)
            states.append(resources)
    assert tables[0] == tables[1]
    assert states[0] == states[1]


def landing_state(landing: Landing) -> Any:
    """The newest state as dlt itself reads it."""
    text = landing.value("SELECT state FROM salesforce._dlt_pipeline_state ORDER BY version DESC")
    return decompress_state(text)


def test_the_state_is_one_of_dlts_own(landing: Landing) -> None:
    """With dlt's hash of it, so that dlt takes it as it is."""
    before = stored(landing)
    landing.sf.org.touch("Contact", 1)

    landing.extract()

    state = landing_state(landing)
    after = stored(landing)
    assert before.document["_state_version"] + 1 == state["_state_version"]
    assert generate_pipeline_state_version_hash(state) == state["_version_hash"]
    assert before.load_id < after.load_id
    for table in ("account", "contact"):
        assert before.states[table]["watermark"] < after.states[table]["watermark"]
    assert 0 == landing.loads


def test_dlt_continues_after_it(landing: Landing) -> None:
    """A new field, which dlt lands, after changes that SQL merged."""
    (contact,) = landing.sf.org.touch("Contact", 1, {"LastName": "Merged"})
    landing.extract()
    landing.sf.org.add_field("Contact", Field(name="Tier__c", type="string"))
    landing.sf.org.update("Contact", contact, {"Tier__c": "gold"})

    landing.extract()

    row = f"SELECT last_name, tier__c FROM salesforce.contact WHERE id = '{contact}'"
    assert [("Merged", "gold")] == landing.rows(row)
    assert 1 == landing.loads
    assert landing.pipeline.state["_state_version"] == landing_state(landing)["_state_version"]


@pytest.mark.parametrize(
    ("happens", "changes"),
    [
        (lambda org: org.add_field("Contact", Field(name="Tier__c", type="string")), {}),
        (lambda org: None, {"deleted": "remove"}),
        (lambda org: None, {"formula": "refresh", "formula_refresh_hours": 0.1}),
        (lambda org: org.change_type("Contact", "Title", "picklist"), {}),
    ],
)
def test_columns_and_staging_tables_are_dlts(
    landing: Landing, happens: Any, changes: dict[str, Any]
) -> None:
    """Rows whose table changes with them are loaded by dlt."""
    landing.sf.org.touch("Contact", 1)
    happens(landing.sf.org)

    landing.extract("Contact", **changes)

    assert 1 == landing.loads


def test_a_merge_that_fails_leaves_nothing_and_dlt_loads(landing: Landing) -> None:
    """The second object's table lacks a column; nothing of the first one is kept."""
    landing.rows("ALTER TABLE salesforce.contact RENAME title TO headline")
    before = stored(landing).load_id
    landing.sf.org.touch("Account", 1, {"Name": "Merged"})
    landing.sf.org.touch("Contact", 1, {"Title": "Captain"})
    landing.landing.refuses = True

    with pytest.raises(DltRefused):
        landing.extract()

    assert before == stored(landing).load_id
    assert before == landing.value("SELECT max(load_id) FROM salesforce._dlt_loads")
    assert 0 == landing.value("SELECT count(*) FROM salesforce.account WHERE name = 'Merged'")


def test_of_two_rows_of_an_id_in_one_answer_the_newest_lands(landing: Landing) -> None:
    """A record that changes while its query is read may be listed twice."""
    (contact,) = landing.sf.org.touch("Contact", 1, {"LastName": "Newer"})
    times = ("2030-01-02T00:00:00.000+0000", "2030-01-01T00:00:00.000+0000")
    records = [
        {"Id": contact, "LastName": name, "IsDeleted": False, "SystemModstamp": time}
        for name, time in zip(("Newer", "Older"), times, strict=True)
    ]
    body = {"totalSize": 2, "done": True, "records": records}
    landing.sf.faults.append(
        Fault(path="*/queryAll", contains="FROM+Contact", nth=1, status=200, body=body)
    )
    landing.landing.refuses = True
    landing.extract()
    rows = landing.rows(f"SELECT last_name FROM salesforce.contact WHERE id = '{contact}'")
    assert [("Newer",)] == [tuple(row) for row in rows]
