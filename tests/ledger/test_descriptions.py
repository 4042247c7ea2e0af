"""Describes and ingest jobs in the ledger."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from shop import Shop

from tailrace.clock import SystemClock
from tailrace.ledger.jobs import WriteJob
from tailrace.ledger.ledger import Ledger
from tailrace.salesforce.describe import compact_describe
from tailrace.warehouse.opening import open_warehouse


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    shop = Shop(Path(tmp_path_factory.mktemp("shop")))
    clock = SystemClock()
    with open_warehouse(shop.project, clock=clock) as warehouse:
        ledger = Ledger(warehouse, clock=clock)
        assert ledger.descriptions.all() == {}
        ledger.install("0" * 32)
        yield ledger


def test_a_describe_is_replaced_when_it_changed(ledger: Ledger) -> None:
    field: dict[str, Any] = {
        "name": "Tier__c",
        "type": "picklist",
        "nillable": True,
        "createable": False,
        "picklistValues": [
            {"value": "a", "active": True, "label": "A"},
            {"value": "b", "active": 0},
        ],
        "soapType": "xsd:string",
    }
    described = compact_describe({"name": "Contact", "createable": True, "fields": [field]})
    kept = {"name": "Tier__c", "type": "picklist", "nillable": True}
    assert described["fields"] == [{**kept, "picklistValues": [{"value": "a"}]}]
    ledger.descriptions.save({"Contact": described, "Lead": {"name": "Lead"}})
    ledger.descriptions.save({"Contact": {**described, "label": "Person"}})
    stored = ledger.descriptions.all()
    assert set(stored) == {"contact", "lead"}
    assert stored["contact"] == {**described, "label": "Person"}


def test_a_job_is_open_until_its_results_are_read(ledger: Ledger) -> None:
    first, second = WriteJob("750A", 1, 10, 9), WriteJob("750B", 11, 20, 10)
    ledger.jobs.save(3, "vips", first)
    ledger.jobs.save(3, "vips", second)
    ledger.jobs.save(4, "vips", WriteJob("750C", 1, 1, 1))
    assert ledger.jobs.unfinished(3, "vips") == [first, second]
    ledger.jobs.finish("750A", state="done")
    assert ledger.jobs.unfinished(3, "vips") == [second]
    assert ledger.jobs.unfinished(3, "others") == []
