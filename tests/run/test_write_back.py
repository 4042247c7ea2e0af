"""Audiences that are written back to Salesforce, from the plan to the record."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from salesforce_org import SIZES
from write_back import HEADER, WriteBackShop

from tailrace.errors import ModelError
from tailrace.testing import BulkSettings, Fault, SalesforceSimulator
from tailrace.testing.org.editions import enable_write_back
from tailrace.testing.org.org import Org
from tailrace.testing.salesforce.write_settings import RowFault, WriteSettings

UPSERT = ("PATCH", "composite/sobjects/Contact/Crm_Key__c")
DESCRIBE = ("GET", "sobjects/Contact/describe")


@pytest.fixture(scope="module")
def served() -> Iterator[SalesforceSimulator]:
    org = Org(ticking=False, sizes=SIZES)
    enable_write_back(org)
    with SalesforceSimulator(org=org, bulk=BulkSettings(polls=0)) as running:
        yield running


@pytest.fixture
def shop(tmp_path: Path, served: SalesforceSimulator) -> Iterator[WriteBackShop]:
    shop = WriteBackShop(tmp_path / "shop", served)
    shop.header()
    served.requests.clear()
    yield shop
    served.writer.row_faults.clear()
    served.writer.writes.clear()
    served.writer.events.clear()
    served.faults.clear()
    served.ingest.jobs.clear()
    for name, value in vars(WriteSettings()).items():
        setattr(served.writer.settings, name, value)


def person(place: int, **values: Any) -> dict[str, Any]:
    return {"crm_key": f"c-{place:04d}", "tier": "gold", "health": 1.0, **values}


def test_members_become_records(shop: WriteBackShop) -> None:
    """The plan makes no call; the run writes in one; an unchanged run writes nothing."""
    shop.people([person(1), person(2, tier=None)])
    plan = shop.plan()
    assert plan.audiences[0].calls["upsert"] == 2
    assert shop.requests() == []
    result = shop.sync()
    assert (result.exit_code, result.errors) == (0, ())
    assert shop.requests() == [DESCRIBE, UPSERT]
    assert shop.record("c-0001")["Plan_Tier__c"] == "gold"
    assert shop.record("c-0002")["Plan_Tier__c"] is None
    assert shop.sync().exit_code == 0
    assert shop.requests() == []


def test_one_refused_row_is_sent_again_alone(shop: WriteBackShop) -> None:
    """It ends with exit 4 and its code; the next run repeats it and nothing else."""
    shop.people([person(1), person(2)])
    shop.simulator.writer.row_faults.append(
        RowFault(code="FIELD_CUSTOM_VALIDATION_EXCEPTION", message="no", times=1)
    )
    assert shop.sync().exit_code == 4
    assert shop.rejections() == [("FIELD_CUSTOM_VALIDATION_EXCEPTION", 1)]
    assert len(shop.simulator.writer.writes) == 1
    assert shop.sync().exit_code == 0
    assert len(shop.simulator.writer.writes) == 2
    assert shop.rejections() == []


@pytest.mark.parametrize(
    ("on_exit", "expected"),
    [
        ("leave", {"Plan_Tier__c": "gold", "Health__c": 1.0}),
        ("clear", {"Plan_Tier__c": None, "Health__c": None}),
        ("{set: {Plan_Tier__c: {value: bronze}}}", {"Plan_Tier__c": "bronze", "Health__c": 1.0}),
    ],
)
def test_exits(shop: WriteBackShop, on_exit: str, expected: dict[str, Any]) -> None:
    shop.header(f"{HEADER}on_exit: {on_exit}\n")
    shop.people([person(3), person(4)])
    assert shop.sync().exit_code == 0
    before = shop.record("c-0003")
    shop.people([person(4)])
    result = shop.sync()
    assert result.exit_code == 0
    after = shop.record("c-0003")
    assert {name: after[name] for name in expected} == expected
    stamps = {"SystemModstamp", "LastModifiedDate", "LastModifiedById", *expected}
    assert {name: after[name] for name in set(after) - stamps} == {
        name: before[name] for name in set(after) - stamps
    }


def test_an_exit_deletes_the_record(shop: WriteBackShop) -> None:
    """A record that is gone already is deleted as well."""
    shop.header(f"{HEADER}on_exit: delete\n")
    shop.people([person(290), person(291), person(292)])
    assert shop.sync().exit_code == 0
    org = shop.simulator.org
    org.delete("Contact", shop.record("c-0291")["Id"])
    shop.people([person(292)])
    assert shop.sync().exit_code == 0
    deleted = [row["Crm_Key__c"] for row in org.rows("Contact").records() if row.get("IsDeleted")]
    assert sorted(deleted) == ["c-0290", "c-0291"]


def test_a_member_that_is_now_another_record(shop: WriteBackShop) -> None:
    """The old record gets the exit, the new one the values."""
    shop.header(f"{HEADER}on_exit: clear\n")
    shop.people([person(5, id="m")])
    assert shop.sync().exit_code == 0
    shop.people([person(6, id="m", tier="silver")])
    assert shop.sync().exit_code == 0
    assert shop.record("c-0005")["Plan_Tier__c"] is None
    assert shop.record("c-0006")["Plan_Tier__c"] == "silver"


def test_a_cut_connection_is_retried(shop: WriteBackShop) -> None:
    shop.people([person(7)])
    shop.simulator.faults.append(Fault(path="*/composite/*", nth=1, cut="after"))
    assert shop.sync().exit_code == 0
    assert shop.requests() == [DESCRIBE, UPSERT, UPSERT]


def test_the_header_names_what_the_org_has_not(shop: WriteBackShop) -> None:
    """Exit 2 before the first row, with file and line."""
    shop.header(HEADER.replace("Health__c", "Helth__c"))
    shop.people([person(8)])
    result = shop.sync()
    (error,) = result.errors
    assert result.exit_code == 2
    assert "Contact has no field Helth__c" in error.message
    assert 'Did you mean "Health__c"?' in error.message
    assert (error.file, error.line) == ("models/audiences/people.sql", 7)
    assert shop.simulator.writer.writes == []


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ("object: Contact\nfields: {A__c: tier}", "match names no field"),
        ("object: Contact\nmatch: {Id: id}\nmode: upsert\nfields: {A__c: tier}", "mode: upsert"),
        ("object: X__e\nmatch: {Key__c: id}\nfields: {A__c: tier}", "platform event"),
        ("object: Contact\nmatch: {A__c: id}\nfields: {A__c: tier}", "identifies the record"),
        ("object: Contact\nmatch: {A__c: id}\nfields: {B__c: tier}\nmode: insert", "insert"),
        ("object: Contact\nmatch: {A__c: id}\nfields: {B__c: nowhere}", "nowhere"),
        ("object: Contact\nmatch: {A__c: id}\nfields: {B__c: tier, b__C: tier}", "one field"),
        (
            "object: Contact\nmatch: {A__c: id}\nmode: update\napi: bulk\nfields: {B__c: tier}",
            "bulk",
        ),
        ("object: Contact\nmatch: {A__c: id}\nfields: {B__c: tier}\non_exit: remove", "on_exit"),
    ],
)
def test_contradictions_in_the_header(shop: WriteBackShop, block: str, message: str) -> None:
    """They are found without a call."""
    shop.header(block)
    shop.people([person(8)])
    with pytest.raises(ModelError) as caught:
        shop.plan()
    assert message in caught.value.message
    assert caught.value.line


@pytest.mark.parametrize("count", [2_001])
def test_many_rows_go_as_a_job(shop: WriteBackShop, count: int) -> None:
    """Above 2,000 rows: one job. The rows that Salesforce refuses keep their codes."""
    shop.many(count)
    result = shop.sync()
    assert result.exit_code == 4
    assert [method for method, _ in shop.requests()] == [
        *("GET", "POST", "PUT", "PATCH", "GET"), *("GET", "GET", "GET"), "DELETE",
    ]  # fmt: skip
    codes = {reason for reason, _ in shop.rejections()}
    assert codes == {"REQUIRED_FIELD_MISSING"}, "contacts that do not exist have no LastName"
    assert shop.query("SELECT state FROM tailrace.write_jobs") == [("done",)]
