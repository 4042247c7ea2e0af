"""Bulk jobs: the CSV, the calls, and the result of each row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from salesforce_org import Org, forget_writes, served_org

from tailrace.destinations.ingest import JobResult, JobState
from tailrace.destinations.salesforce.describe import WritableObject
from tailrace.destinations.salesforce.jobs import IngestJobs
from tailrace.errors import ServiceFailed
from tailrace.salesforce.describe import compact_describe, describe_object
from tailrace.testing import Fault, JobFault, SalesforceSimulator
from tailrace.testing.salesforce.write_settings import RowFault

FIELDS = {
    "LastName": "name",
    "Next_Offer__c": "offer",
    "Health__c": "health",
    "Is_VIP__c": "vip",
    "Account.Crm_Key__c": "account_key",
}


@pytest.fixture(scope="module")
def served() -> Iterator[SalesforceSimulator]:
    with served_org(polls=2) as running:
        yield running


@pytest.fixture
def simulator(served: SalesforceSimulator) -> Iterator[SalesforceSimulator]:
    yield served
    forget_writes(served)


class Bulk:
    """The jobs of one audience, and a folder for their files."""

    def __init__(
        self, simulator: SalesforceSimulator, folder: Path, *, bytes_max: int = 10**8, **block: Any
    ) -> None:
        self.org = Org(simulator, **{"fields": FIELDS, **block})
        account = WritableObject.of(compact_describe(describe_object(self.org.api, "Account")))
        self.folder = folder
        self.jobs = IngestJobs(
            self.org.api,
            self.org.write_back,
            described=self.org.described,
            parents={"account": account},
            clock=self.org.clock,
            seconds_max=60.0,
            file_bytes_max=bytes_max,
        )
        simulator.requests.clear()

    def send(self, *records: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
        """Outcome and reason of each row, by its key."""
        job_id = self.jobs.create()
        self.jobs.upload(job_id, self.file(*records))
        self.jobs.wait(job_id)
        return self.results(job_id)

    def file(self, *records: Mapping[str, Any], kind: str = "upsert") -> Path:
        file = self.jobs.new_file(self.folder / "job.csv")
        for message in self.org.messages(kind, records):
            if file.key(message) is not None:
                assert file.add(message)
        file.close()
        return file.path

    def results(self, job_id: str) -> dict[str, tuple[str, str]]:
        rows = list(self.jobs.results(job_id, self.folder / "results.csv"))
        assert len({row.key for row in rows}) == len(rows)
        return {row.key: (row.outcome, row.reason) for row in rows}


def test_the_csv(simulator: SalesforceSimulator, tmp_path: Path) -> None:
    """Null is #N/A, a missing key is an empty cell, and texts may have any character."""
    bulk = Bulk(simulator, tmp_path)
    path = bulk.file(
        {"Crm_Key__c": "c-0001", "LastName": 'O"Hara, x\ny', "Next_Offer__c": None},
        {"Crm_Key__c": "c-0002", "Health__c": 1.5, "Is_VIP__c": True,
         "Account": {"Crm_Key__c": "a-0001"}},
        {"Crm_Key__c": "c-0003", "AccountId": None, "LastName": " ä "},
    )  # fmt: skip
    assert path.read_text().split("\n", 1) == [
        "Crm_Key__c,Account.Crm_Key__c,Health__c,Is_VIP__c,LastName,Next_Offer__c",
        'c-0001,,,,"O""Hara, x\ny",#N/A\nc-0002,a-0001,1.5,true,,\nc-0003,#N/A,,, ä ,\n',
    ]


def test_each_row_has_its_result(simulator: SalesforceSimulator, tmp_path: Path) -> None:
    """JobComplete with refused rows is normal: all result files are read."""
    bulk = Bulk(simulator, tmp_path)
    before = bulk.org.record("c-0003")
    results = bulk.send(
        {"Crm_Key__c": "C-0001", "LastName": "Ada", "Next_Offer__c": None},
        {"Crm_Key__c": "c-0002", "Next_Offer__c": "x" * 41},
        {"Crm_Key__c": "c-0003", "Health__c": 7.25, "AccountId": None},
        {"Crm_Key__c": "new-1", "LastName": "Grace"},
        {"Crm_Key__c": "new-2"},
    )
    assert results == {
        "c-0001": ("written", ""),
        "c-0002": ("refused", "STRING_TOO_LONG"),
        "c-0003": ("written", ""),
        "new-1": ("written", ""),
        "new-2": ("refused", "REQUIRED_FIELD_MISSING"),
    }
    after = bulk.org.record("c-0003")
    assert (after["AccountId"], after["LastName"]) == (None, before["LastName"])
    assert len(bulk.org.requests()) == 9, "create, upload, close, 3 polls, 3 results"
    assert {write.client for write in simulator.writer.writes} == {"tailrace"}


def test_updates_by_an_external_id(simulator: SalesforceSimulator, tmp_path: Path) -> None:
    """No record is created, the key is not written, and a later run reads the same results."""
    bulk = Bulk(simulator, tmp_path, mode="update")
    records = [
        {"Crm_Key__c": "C-0031", "Health__c": 3.5},
        {"Crm_Key__c": "nobody", "Health__c": 4},
        {"Crm_Key__c": "c-0032", "Next_Offer__c": "x" * 41},
        {"Crm_Key__c": "c-0033", "Next_Offer__c": None},
    ]
    job_id = bulk.jobs.create()
    bulk.jobs.upload(job_id, bulk.file(*records, kind="update"))
    bulk.jobs.wait(job_id)
    expected = {
        "c-0031": ("written", ""),
        "c-0032": ("refused", "STRING_TOO_LONG"),
        "c-0033": ("written", ""),
    }
    assert bulk.results(job_id) == {"nobody": ("refused", "NO_RECORD"), **expected}
    assert (bulk.org.record("c-0031")["Crm_Key__c"], bulk.org.record("c-0031")["Health__c"]) == (
        "c-0031",
        3.5,
    )
    assert [method for method, _ in bulk.org.requests()].count("GET") == 1 + 3 + 3
    assert {file.name for file in tmp_path.iterdir()} == {"job.csv", "results.csv"}
    later = Bulk(simulator, tmp_path, mode="update")
    assert later.results(job_id) == expected


def test_locked_rows_stay_open(simulator: SalesforceSimulator, tmp_path: Path) -> None:
    """A later request may write them, so that they are not refused."""
    bulk = Bulk(simulator, tmp_path)
    simulator.writer.row_faults.append(
        RowFault(code="UNABLE_TO_LOCK_ROW", message="unable to obtain: access", times=1)
    )
    results = bulk.send({"Crm_Key__c": "c-0001", "Health__c": 1}, {"Crm_Key__c": "c-0002"})
    assert results["c-0001"] == ("unprocessed", "UNABLE_TO_LOCK_ROW")


def test_a_job_that_fails_halfway(simulator: SalesforceSimulator, tmp_path: Path) -> None:
    """The rows before the failure have results; the others are unprocessed."""
    bulk = Bulk(simulator, tmp_path)
    simulator.ingest.faults.append(JobFault(after_rows=1, message="InternalServerError : x"))
    rows = ({"Crm_Key__c": "c-0001", "Health__c": 1}, {"Crm_Key__c": "c-0002", "Health__c": 1})
    assert bulk.send(*rows) == {"c-0001": ("written", ""), "c-0002": ("unprocessed", "")}


def test_result_files_without_rows(simulator: SalesforceSimulator, tmp_path: Path) -> None:
    simulator.writer.settings.empty_results = "no_content"
    bulk = Bulk(simulator, tmp_path)
    results = bulk.send({"Crm_Key__c": "c-0001", "Health__c": 1})
    assert results == {"c-0001": ("written", "")}


def test_a_result_file_that_breaks_off(simulator: SalesforceSimulator, tmp_path: Path) -> None:
    """It is read again from its start."""
    bulk = Bulk(simulator, tmp_path)
    simulator.faults.append(Fault(path="*/successfulResults/", nth=1, cut="middle"))
    rows = [{"Crm_Key__c": f"c-{n:04d}", "Health__c": 1} for n in range(1, 200)]
    assert set(bulk.send(*rows).values()) == {("written", "")}


def test_a_text_that_means_null(simulator: SalesforceSimulator, tmp_path: Path) -> None:
    """The CSV has no way to write the text #N/A, so that its row is left to a request."""
    bulk = Bulk(simulator, tmp_path)
    file = bulk.jobs.new_file(tmp_path / "job.csv")
    (message,) = bulk.org.messages("upsert", [{"Crm_Key__c": "c-0001", "Next_Offer__c": "#N/A"}])
    assert file.key(message) is None
    (other,) = bulk.org.messages("delete", [{"Crm_Key__c": "c-0001"}])
    assert file.key(other) is None


def test_a_full_file(simulator: SalesforceSimulator, tmp_path: Path) -> None:
    bulk = Bulk(simulator, tmp_path, bytes_max=200)
    file = bulk.jobs.new_file(tmp_path / "job.csv")
    rows = [{"Crm_Key__c": f"c-{n:04d}", "LastName": "x" * 50} for n in range(5)]
    taken = [file.add(message) for message in bulk.org.messages("upsert", rows)]
    file.close()
    assert taken == [True, True, True, False, False]
    assert file.path.stat().st_size < 300


def test_states(simulator: SalesforceSimulator, tmp_path: Path) -> None:
    bulk = Bulk(simulator, tmp_path)
    job_id = bulk.jobs.create()
    assert bulk.jobs.state(job_id) == JobState(state="open")
    bulk.jobs.delete(job_id)
    assert bulk.jobs.state(job_id) == JobState(state="gone")
    bulk.jobs.delete(job_id)


def test_a_job_that_never_ends(simulator: SalesforceSimulator, tmp_path: Path) -> None:
    bulk = Bulk(simulator, tmp_path)
    job_id = bulk.jobs.create()
    simulator.bulk.settings.polls = 10**9
    ticks = iter(range(0, 10_000, 10))
    bulk.org.clock.monotonic = lambda: float(next(ticks))  # type: ignore[method-assign]
    try:
        bulk.jobs.upload(job_id, bulk.file({"Crm_Key__c": "c-0001", "Health__c": 1}))
        with pytest.raises(ServiceFailed, match="job_seconds_max"):
            bulk.jobs.wait(job_id)
    finally:
        simulator.bulk.settings.polls = 2


def test_keys_as_they_are_stored(simulator: SalesforceSimulator, tmp_path: Path) -> None:
    """Updates by Id match results by the first 15 characters."""
    bulk = Bulk(simulator, tmp_path, match={"Id": "contact_id"}, mode="update")
    record_id = bulk.org.record("c-0005")["Id"]
    job_id = bulk.jobs.create()
    path = bulk.file({"Id": record_id, "Health__c": 5}, kind="update")
    bulk.jobs.upload(job_id, path)
    bulk.jobs.wait(job_id)
    results = list(bulk.jobs.results(job_id, tmp_path / "results.csv"))
    assert results == [JobResult(key=record_id[:15], outcome="written")]
