"""What is written reads back equal, by requests and by jobs, and nothing else has changed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from salesforce_org import Org, served_org

from tailrace.destinations.salesforce.jobs import IngestJobs
from tailrace.destinations.salesforce.values import ValueRefused, is_null, json_of
from tailrace.testing import SalesforceSimulator

FIELDS = {
    "Plan_Tier__c": "tier",
    "Health__c": "health",
    "Next_Offer__c": "offer",
    "Renewal_Date__c": "renewal",
    "Scored_At__c": "scored",
}
STAMPS = frozenset({"SystemModstamp", "LastModifiedDate", "LastModifiedById"})
texts = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=20)
moments = st.datetimes(datetime(1700, 1, 2), datetime(3999, 12, 30))
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "Plan_Tier__c": st.sampled_from(["gold", "silver", "bronze", None, ""]),
    "Health__c": st.none()
    | st.floats(-999, 999)
    | st.integers(-999, 999)
    | st.decimals(-999, 999, places=3)
    | st.just(math.nan),
    "Next_Offer__c": st.none() | texts | st.integers() | st.booleans(),
    "Renewal_Date__c": st.none() | st.dates(date(1700, 1, 1), date(4000, 12, 31)) | moments,
    "Scored_At__c": st.none()
    | moments
    | moments.map(lambda at: at.replace(tzinfo=UTC))
    | st.dates(date(1700, 1, 2), date(4000, 12, 30)),
}
# A field that a row does not mention is left as it is.
ROWS = st.lists(st.fixed_dictionaries({}, optional=VALUES).filter(bool), min_size=1, max_size=8)


@pytest.fixture(scope="module")
def simulator() -> Iterator[SalesforceSimulator]:
    with served_org() as running:
        yield running


def as_stored(field: str, value: Any) -> Any:
    """What the org holds after a value was written."""
    if is_null(value):
        return None
    if field == "Health__c":
        exact = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
        return float(exact.quantize(Decimal("0.1"), ROUND_HALF_UP))
    if field == "Renewal_Date__c":
        return value.date() if isinstance(value, datetime) else value
    if field == "Scored_At__c":
        at = value if isinstance(value, datetime) else datetime(*value.timetuple()[:3])
        at = at.replace(tzinfo=None)
        return at - timedelta(microseconds=at.microsecond % 1_000)
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if field == "Plan_Tier__c" else str(value)


@pytest.mark.parametrize("api", ["rest", "bulk"])
def test_what_is_written_reads_back_equal(
    simulator: SalesforceSimulator, tmp_path: Path, api: str
) -> None:
    org = Org(simulator, fields=FIELDS)
    jobs = IngestJobs(
        org.api,
        org.write_back,
        described=org.described,
        parents={},
        clock=org.clock,
        seconds_max=60.0,
    )

    @given(rows=ROWS)
    @settings(
        max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    def check(rows: list[dict[str, Any]]) -> None:
        keys = [f"c-{place:04d}" for place in range(1, len(rows) + 1)]
        before = {key: dict(org.record(key)) for key in keys}
        records = [{"Crm_Key__c": key, **encoded(row)} for key, row in zip(keys, rows, strict=True)]
        if api == "rest":
            assert org.write("upsert", *records) == [""] * len(records)
        else:
            file = jobs.new_file(tmp_path / "job.csv")
            for message in org.messages("upsert", records):
                assert file.key(message) is None or file.add(message)
            file.close()
            job_id = jobs.create()
            jobs.upload(job_id, file.path)
            jobs.wait(job_id)
            results = list(jobs.results(job_id, tmp_path / "results.csv"))
            assert [result.outcome for result in results] == ["written"] * file.rows
        for key, row, record in zip(keys, rows, records, strict=True):
            if api == "bulk" and "#N/A" in record.values():
                continue
            after = org.record(key)
            assert {name: after[name] for name in row} == {
                name: as_stored(name, value) for name, value in row.items()
            }
            unmapped = set(after) - set(row) - STAMPS
            assert {name: after[name] for name in unmapped} == {
                name: before[key].get(name) for name in unmapped
            }

    def encoded(row: dict[str, Any]) -> dict[str, Any]:
        return {name: json_of(value, org.described.find(name)) for name, value in row.items()}

    check()


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("Next_Offer__c", "x" * 41, "is longer than 40 characters"),
        ("Next_Offer__c", "😀" * 21, "is longer than 40 characters"),
        ("Next_Offer__c", ["a"], "is a list, which only a multi-select picklist can hold"),
        ("Next_Offer__c", {"a": 1}, "is an object, which no field can hold"),
        ("Plan_Tier__c", "Gold", "is not a value of the restricted picklist"),
        ("Health__c", 1000, "has more than 3 digits before the decimal point"),
        ("Health__c", 999.96, "has more than 3 digits before the decimal point"),
        ("Health__c", 1e29, "has more than 3 digits before the decimal point"),
        ("Health__c", "many", "is not a number"),
        ("Health__c", True, "is not a number"),
        ("Is_VIP__c", "perhaps", "is not true or false"),
        ("Renewal_Date__c", date(1699, 12, 31), "is outside of the years 1700 to 4000"),
        ("Renewal_Date__c", "soon", "is not a date"),
        ("Scored_At__c", datetime(4001, 1, 1), "is outside of the years 1700 to 4000"),
        ("Scored_At__c", 12, "is not a date"),
    ],
)
def test_values_that_a_field_cannot_take(
    simulator: SalesforceSimulator, field: str, value: Any, reason: str
) -> None:
    """They are refused before a request is made, and the reason has no value in it."""
    described = Org(simulator).described
    with pytest.raises(ValueRefused) as caught:
        json_of(value, described.find(field))
    assert str(caught.value) == reason
