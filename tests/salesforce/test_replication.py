"""What `/updated` and `/deleted` say, and what they refuse to say."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from salesforce_landing import QuickClock

from tailrace.config.settings import ObjectSettings, SalesforceCredentials, SalesforceSettings
from tailrace.salesforce.client import Api
from tailrace.salesforce.describe import SObject, read_describe
from tailrace.salesforce.extract.replication import LATE_COMMIT, find_cutoff, find_deletions
from tailrace.testing import Fault, SalesforceSimulator
from tailrace.testing.org.catalog import CONTACT
from tailrace.testing.org.org import START

HIGH = START + timedelta(days=3, seconds=37)


@pytest.fixture
def sf() -> Iterator[SalesforceSimulator]:
    with SalesforceSimulator() as simulator:
        simulator.org.set_now(HIGH)
        yield simulator


@pytest.fixture
def api(sf: SalesforceSimulator) -> Api:
    given = SalesforceCredentials(
        instance_url=sf.url, client_id=sf.client_id, client_secret=sf.client_secret
    )
    return Api(given, SalesforceSettings(), clock=QuickClock())


def contact(**changes: Any) -> SObject:
    """Contact as it is described, with some things changed."""
    described = {**CONTACT.describe("64.0"), **changes}
    return read_describe(described, ObjectSettings(), formula="land")


def refusal(path: str, code: str, **rule: Any) -> Fault:
    """A refusal of a replication call."""
    body = [{"errorCode": code, "message": "no"}]
    return Fault(path=path, status=400, body=body, **rule)


def spans(sf: SalesforceSimulator) -> list[timedelta]:
    """How long the spans were that were asked for."""
    asked = [each.request.query for each in sf.requests if "start" in each.request.query]
    return [
        datetime.fromisoformat(each["end"]) - datetime.fromisoformat(each["start"])
        for each in asked
    ]


def test_the_high_watermark_counts_changed_rows(sf: SalesforceSimulator, api: Api) -> None:
    """One call tells how far the window is complete, and about how many rows it has."""
    sf.org.touch("Contact", 12)
    sf.org.advance(minutes=5)
    high = sf.org.now()

    found = find_cutoff(api, contact(), START + timedelta(hours=1), high)

    assert (12, high.replace(second=0, microsecond=0)) == (found.changed, found.high_watermark)


def test_an_open_transaction_holds_the_high_watermark_back(
    sf: SalesforceSimulator, api: Api
) -> None:
    """Even behind the window's start."""
    sf.org.hold_back(START)

    assert START == find_cutoff(api, contact(), HIGH - timedelta(hours=1), HIGH).high_watermark


def test_a_window_within_one_minute_is_asked_for_as_one(sf: SalesforceSimulator, api: Api) -> None:
    """Salesforce ignores seconds and refuses empty spans."""
    found = find_cutoff(api, contact(), HIGH - timedelta(seconds=5), HIGH)

    assert found.high_watermark <= HIGH
    assert [timedelta(minutes=1)] == spans(sf)


@pytest.mark.parametrize("low", [None, START - timedelta(days=60)])
def test_a_long_window_is_not_listed(
    sf: SalesforceSimulator, api: Api, low: datetime | None
) -> None:
    """Only what runs at the moment matters then; `/updated` reaches back thirty days."""
    found = find_cutoff(api, contact(), low, HIGH)

    assert (None, [timedelta(hours=1)]) == (found.changed, spans(sf))


def test_too_many_ids_for_one_answer(sf: SalesforceSimulator, api: Api) -> None:
    """600,000 are the limit: the last hour tells as much about what runs at the moment."""
    sf.faults.append(refusal("*/updated/", "EXCEEDED_ID_LIMIT", nth=1))

    found = find_cutoff(api, contact(), HIGH - timedelta(days=2), HIGH)

    assert (None, HIGH.replace(second=0)) == (found.changed, found.high_watermark)
    assert [timedelta(days=2), timedelta(hours=1)] == [round_(each) for each in spans(sf)]


def test_without_an_answer_the_windows_overlap(sf: SalesforceSimulator, api: Api) -> None:
    """By as long as a transaction may run."""
    sf.faults.append(refusal("*/updated/", "INVALID_REPLICATION_DATE"))

    assert HIGH - LATE_COMMIT == find_cutoff(api, contact(), START, HIGH).high_watermark
    assert (
        HIGH - LATE_COMMIT
        == find_cutoff(api, contact(replicateable=False), START, HIGH).high_watermark
    )


def test_too_many_deletions_for_one_answer(sf: SalesforceSimulator, api: Api) -> None:
    """The span is halved until the answers fit."""
    gone = sf.org.rows("Contact").ids()[:4]
    for each in gone:
        sf.org.delete("Contact", each)
    sf.org.advance(minutes=5)
    sf.faults.append(refusal("*/deleted/", "EXCEEDED_ID_LIMIT", times=2))

    found = find_deletions(api, contact(), START, sf.org.now())

    assert (set(gone), False) == ({each for each, _ in found.rows}, found.purged)
    assert len(spans(sf)) == 5


def test_a_log_that_does_not_reach_back(sf: SalesforceSimulator, api: Api) -> None:
    """Whether it says so, refuses the date, or the window is older than any log."""
    sf.org.purge_delete_log("Contact", HIGH - timedelta(hours=1))
    assert find_deletions(api, contact(), START, HIGH).purged
    assert not find_deletions(api, contact(), HIGH - timedelta(minutes=30), HIGH).purged
    assert find_deletions(api, contact(), HIGH - timedelta(days=40), HIGH).purged
    assert max(spans(sf)) <= timedelta(days=15)

    sf.faults.append(refusal("*/deleted/", "INVALID_REPLICATION_DATE"))
    assert find_deletions(api, contact(), HIGH - timedelta(minutes=30), HIGH).purged


@pytest.mark.parametrize(
    "rule",
    [
        {"status": 400, "body": [{"errorCode": "INSUFFICIENT_ACCESS", "message": "no"}]},
        {"status": 200, "body": "<html></html>"},
        {"status": 200, "body": {"deletedRecords": [{"id": None}]}},
    ],
)
def test_a_refusal_asks_for_a_comparison_of_all_ids(
    sf: SalesforceSimulator, api: Api, rule: dict[str, Any]
) -> None:
    """Deletions that are not listed are found by their missing ids."""
    sf.faults.append(Fault(path="*/deleted/", **rule))

    deletions = find_deletions(api, contact(), START, HIGH)

    assert ((), True) == (deletions.rows, deletions.purged)
    assert deletions.refusal


def test_objects_whose_log_is_wrong_or_absent(sf: SalesforceSimulator, api: Api) -> None:
    """Salesforce tells of currencies that were only deactivated as deleted."""
    assert () == find_deletions(api, contact(name="CurrencyType"), START, HIGH).rows
    assert () == find_deletions(api, contact(replicateable=False), START, HIGH).rows
    assert [] == spans(sf)


def round_(span: timedelta) -> timedelta:
    """To whole minutes."""
    return timedelta(minutes=round(span.total_seconds() / 60))
