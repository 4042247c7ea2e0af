"""Never a lost row: windows, late commits, broken downloads, jobs that time out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from salesforce_landing import Landing, landing_of

from tailrace.config.settings import ObjectSettings
from tailrace.errors import ExtractIncomplete, SalesforceFault, ServiceFailed
from tailrace.testing import Fault
from tailrace.testing.http.messages import Request
from tailrace.testing.org.describe import Field
from tailrace.testing.salesforce.bulk import JobFault

import dlt  # isort: skip

COUNT = "SELECT count(*), count(DISTINCT id) FROM salesforce.contact"


@pytest.fixture
def landing(tmp_path: Path) -> Iterator[Landing]:
    with landing_of(tmp_path) as each:
        yield each


def jobs(landing: Landing) -> list[str]:
    """The queries of the bulk jobs so far."""
    return [job.query for job in landing.sf.bulk.jobs.values()]


def small_pages(landing: Landing, rows: int) -> dict[str, Any]:
    """Settings and a service with small bulk pages."""
    landing.sf.bulk.settings.page_rows = rows
    return {"api": "bulk", "page_rows_max": rows}


def test_windows_are_closed_below_and_open_above(landing: Landing) -> None:
    """No ORDER BY and no LIMIT, which would turn PK chunking off."""
    landing.one("Contact", api="bulk")
    landing.sf.org.advance_day()
    landing.one("Contact", api="bulk")

    first, second = jobs(landing)
    assert re.search(r" FROM Contact WHERE SystemModstamp < 2026-11-20T\S+Z$", first)
    assert re.search(r" WHERE SystemModstamp >= 2\S+Z AND SystemModstamp < 2\S+Z$", second)
    assert all(job.operation == "queryAll" for job in landing.sf.bulk.jobs.values())


@pytest.mark.parametrize(
    ("name", "cursor"), [("Contact", "SystemModstamp"), ("AccountHistory", "CreatedDate")]
)
def test_the_best_cursor_that_can_be_filtered_by(landing: Landing, name: str, cursor: str) -> None:
    """An object without SystemModstamp is read by the next best."""
    assert landing.one(name, api="bulk").complete

    assert f"WHERE {cursor} <" in jobs(landing)[0]


def test_a_cursor_that_cannot_be_filtered_by_is_not_taken(landing: Landing) -> None:
    """Describe says which."""
    landing.sf.org.change_type("Contact", "SystemModstamp", "datetime", filterable=False)

    assert landing.one("Contact", api="bulk").complete

    assert "WHERE LastModifiedDate <" in jobs(landing)[0]


def test_the_watermark_of_another_cursor_is_not_used(landing: Landing) -> None:
    """A row may be stamped by the new cursor before the watermark of the old one."""
    org = landing.sf.org
    landing.one("Contact", api="bulk")
    org.change_type("Contact", "SystemModstamp", "datetime", filterable=False)
    missed = landing.value("SELECT min(id) FROM salesforce.contact")
    landing.connection.execute("DELETE FROM salesforce.contact WHERE id = ?", [missed])

    landing.one("Contact", api="bulk")
    org.advance_day()
    landing.one("Contact", api="bulk")

    _, changed, next_one = jobs(landing)
    assert re.search(r" WHERE LastModifiedDate < \S+Z$", changed)
    assert [(1,)] == landing.rows(f"SELECT count(*) FROM salesforce.contact WHERE id = '{missed}'")
    assert re.search(r" WHERE LastModifiedDate >= \S+Z AND LastModifiedDate < \S+Z$", next_one)


def test_a_change_of_this_very_second_lands(landing: Landing) -> None:
    """The window ends after the second that Salesforce's clock shows."""
    new = landing.sf.org.insert("Contact", {"LastName": "Sudden"})

    landing.one("Contact")

    assert [(new,)] == landing.rows("SELECT id FROM salesforce.contact WHERE last_name = 'Sudden'")


def test_a_late_commit_is_not_lost(landing: Landing) -> None:
    """A row stamped before the last window's end and committed after it lands next time."""
    org = landing.sf.org
    landing.one("Contact")
    org.advance(hours=1)
    transaction = org.begin()
    late = transaction.insert("Contact", {"LastName": "Late"})
    org.advance(minutes=9)
    assert org.now() - landing.one("Contact").watermark > timedelta(minutes=8)
    transaction.commit()
    org.advance(hours=1)

    landing.one("Contact")

    assert [("Late",)] == landing.rows(
        f"SELECT last_name FROM salesforce.contact WHERE id = '{late}'"
    )


def test_the_high_watermark_is_read_before_the_rows(landing: Landing) -> None:
    """A transaction that ends between the two would be missed the other way round."""
    landing.one("Contact")

    paths = [path.rsplit("/v64.0/", 1)[-1] for path in landing.paths()]
    assert paths.index("sobjects/Contact/updated/") < paths.index("queryAll")


def test_without_replication_the_windows_overlap(landing: Landing) -> None:
    """An object that `/updated` does not know is read again for as long as a commit may take."""
    facts = landing.one("CaseStatus")

    assert facts.window_end is not None and facts.watermark is not None
    assert timedelta(minutes=10) == facts.window_end - facts.watermark
    assert landing.one("CaseStatus").complete


def test_overlapping_windows_merge(landing: Landing) -> None:
    """Rows that are read twice are there once."""
    landing.one("Contact")
    landing.sf.org.hold_back(landing.sf.org.now() - timedelta(days=400))
    landing.sf.org.advance(days=1)
    landing.one("Contact")

    assert landing.one("Contact").rows > 0
    assert (200, 200) == landing.rows(COUNT)[0]


@pytest.mark.parametrize("fault", ["cut", "status"])
def test_the_watermark_stays_when_the_reading_breaks_off(landing: Landing, fault: str) -> None:
    """Nothing of a half-read object lands; the next extract reads the window again."""
    rule: dict[str, Any] = {"cut": "middle"} if fault == "cut" else {"status": 503}
    settings = small_pages(landing, 40)
    landing.sf.faults.append(Fault(path="*/results", nth=3, times=100, **rule))

    (facts,) = landing.extract("Contact", attempts_max=2, **settings).objects
    assert (False, True) == (facts.complete, isinstance(facts.error, ServiceFailed))
    assert [] == landing.rows("SELECT * FROM duckdb_tables() WHERE table_name = 'contact'")

    landing.sf.faults.clear()
    assert (200, 200) == (landing.one("Contact", **settings).rows, landing.rows(COUNT)[0][0])


def test_one_objects_failure_does_not_stop_the_others(landing: Landing) -> None:
    """What is whole lands, what is not says why."""
    landing.sf.faults.append(Fault(path="*/queryAll", contains="FROM+Account", status=503))

    account, contact = landing.extract("Account", "Contact", attempts_max=2).objects

    assert (False, 0, True) == (account.complete, account.rows, account.error is not None)
    assert (True, 200, None) == (contact.complete, contact.rows, contact.error)


@pytest.mark.parametrize("in_flight", [1, 5])
def test_a_broken_page_is_asked_for_again_at_its_locator(landing: Landing, in_flight: int) -> None:
    """Only that page is: the job and the other pages stand."""
    settings = small_pages(landing, 40)
    landing.sf.faults.append(Fault(path="*/results", nth=3, times=2, cut="middle"))

    facts = landing.one("Contact", pages_in_flight_max=in_flight, **settings)

    assert (200, (200, 200)) == (facts.rows, landing.rows(COUNT)[0])
    results = [each.request for each in landing.sf.requests if each.request.path[-8:] == "/results"]
    assert (1, 5 + 2) == (len(jobs(landing)), len(results))


@pytest.mark.parametrize("header", ["every", "first"])
@pytest.mark.parametrize("in_flight", [1, 5])
def test_pages_with_and_without_a_header_line(
    landing: Landing, header: str, in_flight: int
) -> None:
    """Later pages have one, or not: no row is taken for a header, and no header for a row."""
    landing.sf.bulk.settings.header = header

    landing.one("Contact", pages_in_flight_max=in_flight, **small_pages(landing, 30))

    assert (200, 200) == landing.rows(COUNT)[0]


def test_pages_beyond_the_first_five(landing: Landing) -> None:
    """The addresses of pages come five at a time."""
    landing.one("Contact", **small_pages(landing, 7))

    assert (200, 200) == landing.rows(COUNT)[0]
    listings = [path for path in landing.paths() if path.endswith("/resultPages")]
    assert -(-200 // 7) // 5 + 1 == len(listings)


def test_several_pages_are_in_flight(landing: Landing) -> None:
    """All are asked for, compressed, before the first one has come."""
    pages = small_pages(landing, 50)
    landing.sf.faults.append(Fault(path="*/results", delay_seconds=0.4))

    assert 200 == landing.one("Contact", pages_in_flight_max=4, **pages).rows

    results = [e for e in landing.sf.requests if e.request.path.endswith("/results")]
    assert ["gzip"] * 4 == [each.request.headers["accept-encoding"] for each in results]
    asked = [each.received_at for each in results]
    assert max(asked) - min(asked) < timedelta(seconds=0.4)


def test_objects_are_read_in_parallel(landing: Landing) -> None:
    """Each is counted before the first one's rows have come."""
    names = ("Account", "Contact", "Lead")
    landing.sf.faults.append(Fault(path="*/queryAll", delay_seconds=0.4))

    assert all(each.complete for each in landing.extract(*names).objects)

    queries = [e.request.query.get("q", "") for e in landing.sf.requests]
    kinds = ["count()" in each for each in queries if "FROM" in each and "FieldDef" not in each]
    assert [True] * 3 + [False] * 3 == kinds


def test_an_old_api_version_reads_page_by_page(landing: Landing) -> None:
    """Parallel results came with version 58."""
    facts = landing.one("Contact", api_version="57.0", **small_pages(landing, 40))

    assert (200, True) == (facts.rows, facts.complete)
    assert not [path for path in landing.paths() if path.endswith("/resultPages")]


def test_a_query_timeout_halves_the_window(landing: Landing) -> None:
    """As often as it takes; every row lands once."""
    landing.sf.bulk.settings.rows_max = 60

    facts = landing.one("Contact", api="bulk")

    assert (200, True, (200, 200)) == (facts.rows, facts.complete, landing.rows(COUNT)[0])
    assert len(jobs(landing)) > 4


def test_a_query_timeout_of_rest_halves_the_window(landing: Landing) -> None:
    """REST times out too, with a status that is otherwise retried."""
    body = [
        {"message": "Your query request was running for too long.", "errorCode": "QUERY_TIMEOUT"}
    ]
    landing.sf.faults.append(Fault(path="*/queryAll", nth=1, times=3, status=500, body=body))

    facts = landing.one("Contact", api="rest")

    assert (200, True, (200, 200)) == (facts.rows, facts.complete, landing.rows(COUNT)[0])


def test_a_window_that_cannot_be_halved_further(landing: Landing) -> None:
    """An object that always times out is reported, not tried for ever."""
    landing.sf.bulk.faults.append(JobFault(contains="FROM Contact", times=None))

    (facts,) = landing.extract("Contact", api="bulk").objects

    assert isinstance(facts.error, ExtractIncomplete) and "too long" in facts.error.message


def test_a_job_that_fails_otherwise(landing: Landing) -> None:
    """Salesforce's words are told."""
    landing.sf.bulk.faults.append(JobFault(contains="FROM Contact", message="BadLuck: 42"))

    (facts,) = landing.extract("Contact", api="bulk").objects

    assert facts.error is not None and "BadLuck: 42" in facts.error.message


def test_a_job_that_salesforce_broke_is_started_once_again(landing: Landing) -> None:
    """Once, and not for ever."""
    broken = JobFault(contains="FROM Contact", message="InternalServerError: Error ID 42")
    landing.sf.bulk.faults.append(broken)

    assert landing.one("Contact", api="bulk").complete

    assert ["Failed", "JobComplete"] == [job.state for job in landing.sf.bulk.jobs.values()]


@pytest.mark.parametrize("in_flight", [1, 5])
def test_results_that_lag_behind_the_state(landing: Landing, in_flight: int) -> None:
    """412 for a job that is complete: asked for again a moment later."""
    settings = small_pages(landing, 40)
    landing.sf.faults.append(Fault(path="*/results", nth=2, times=2, status=412))

    facts = landing.one("Contact", pages_in_flight_max=in_flight, **settings)

    assert (True, (200, 200)) == (facts.complete, landing.rows(COUNT)[0])


def is_poll(request: Request) -> bool:
    """Whether a request asks for the state of a job."""
    return request.method == "GET" and bool(re.search(r"/jobs/query/\w+$", request.path))


def test_pages_that_are_not_csv(landing: Landing) -> None:
    """They are requested again, by another job, and then the object is read by REST."""
    rule = {"Sforce-NumberOfRecords": "200", "Content-Type": "text/csv"}
    body = '"Id","LastName"\n"003A","one","too many"\n'
    landing.sf.faults.append(Fault(path="*/results", status=200, body=body, headers=rule))

    facts = landing.one("Contact", api="bulk", attempts_max=2)

    assert ("rest", 200, (200, 200)) == (facts.api, facts.rows, landing.rows(COUNT)[0])
    assert 2 == len(jobs(landing))


def test_an_object_that_cannot_be_described_does_not_stop_the_others(landing: Landing) -> None:
    """The service stumbled over one of them."""
    landing.sf.faults.append(Fault(path="*/Account/describe", status=503))

    account, contact = landing.extract("Account", "Contact", attempts_max=2).objects

    assert (False, True) == (account.complete, isinstance(account.error, ServiceFailed))
    assert contact.complete


def test_a_job_that_takes_too_long_is_aborted(landing: Landing) -> None:
    """`job_seconds_max` is a limit, and the results of that job are not needed any more."""
    landing.sf.bulk.settings.job_seconds = 3600

    (facts,) = landing.extract("Contact", api="bulk", job_seconds_max=0.02).objects

    assert facts.error is not None and "job_seconds_max" in facts.error.hint
    assert ["Aborted"] == [job.state for job in landing.sf.bulk.jobs.values()]


def test_polls_begin_early_and_back_off(landing: Landing) -> None:
    """Each poll is an API call."""
    landing.sf.bulk.settings.polls = 7

    landing.one("Contact", api="bulk")

    assert [0.05, 0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0] == landing.clock.slept


def test_what_bulk_refuses_is_read_by_rest(landing: Landing) -> None:
    """The refusal says so, not a list of ours."""
    facts = landing.one("CaseStatus", api="bulk")

    assert ("rest", True) == (facts.api, facts.complete) and facts.rows > 0


def test_the_api_is_chosen_by_the_number_of_rows(landing: Landing) -> None:
    """Few by REST, many in bulk; a later window by its own number."""
    assert "bulk" == landing.one("Contact", bulk_rows_min=200).api
    assert "rest" == landing.one("Account", bulk_rows_min=200).api
    landing.sf.org.advance_day()
    assert "rest" == landing.one("Contact", bulk_rows_min=200).api


def test_more_rows_than_expected_go_bulk_after_all(landing: Landing) -> None:
    """Rows changed in the running minute were not counted before."""
    landing.one("Contact")
    landing.sf.org.advance(hours=1)
    landing.sf.org.touch("Contact", 150)

    facts = landing.one("Contact", bulk_rows_min=10)

    assert ("bulk", 150) == (facts.api, facts.rows)


def test_an_object_of_hundreds_of_fields(landing: Landing) -> None:
    """Its query does not fit a URL, so it goes in the body of a bulk job."""
    for number in range(400):
        field = Field(name=f"A_rather_long_name_of_a_field_{number:03d}__c", type="string")
        landing.sf.org.add_field("Contact", field)

    facts = landing.one("Contact")

    assert ("bulk", 200) == (facts.api, facts.rows)
    columns = landing.value("SELECT count(*) FROM (DESCRIBE salesforce.contact)")
    assert columns > 440


@pytest.mark.parametrize(("name", "api"), [("CaseStatus", "bulk"), ("Contact", "rest")])
def test_a_long_select_that_is_not_for_bulk_goes_in_a_body_too(
    landing: Landing, name: str, api: str
) -> None:
    """A composite call has no URL that could be too long; its pages follow as always."""
    for number in range(400):
        field = Field(name=f"A_rather_long_name_of_a_field_{number:03d}__c", type="string")
        landing.sf.org.add_field(name, field)
    if name == "Contact":
        landing.sf.org.add_mass(name, 1_100)

    facts = landing.one(name, api=api)

    assert ("rest", True) == (facts.api, facts.complete)
    rows = landing.value(f"SELECT count(DISTINCT id) FROM salesforce.{facts.table}")
    assert facts.rows == rows > (1_000 if name == "Contact" else 0)
    paths = [each.removeprefix("/services/data/v64.0/") for each in landing.paths()]
    assert 1 == paths.count("composite")
    assert (facts.rows - 1) // 500 == sum(each.startswith("query/") for each in paths)


def test_a_composite_call_that_stumbles_is_made_again(landing: Landing) -> None:
    """What is refused within an answer that is a success is still a refusal."""
    told = [{"errorCode": "SERVER_UNAVAILABLE", "message": "busy"}]
    inner = {"body": told, "httpHeaders": {}, "httpStatusCode": 503, "referenceId": "rows"}
    long_url = Fault(path="*/queryAll", contains="LastName", status=414, body="<html></html>")
    stumbles = Fault(path="*/composite", status=200, body={"compositeResponse": [inner]}, times=2)
    landing.sf.faults.append(long_url)
    landing.sf.faults.append(stumbles)

    assert 200 == landing.one("Contact").rows

    refused = [{"errorCode": "INSUFFICIENT_ACCESS", "message": "no"}]
    answer = {"compositeResponse": [{**inner, "body": refused, "httpStatusCode": 403}]}
    landing.sf.faults.append(Fault(path="*/composite", status=200, body=answer))
    landing.sf.org.advance(minutes=5)
    with pytest.raises(SalesforceFault, match="INSUFFICIENT_ACCESS"):
        landing.one("Contact")


def test_what_is_too_complicated_for_rest_goes_bulk(landing: Landing) -> None:
    """Many formulas are one way to get there."""
    body = [{"errorCode": "QUERY_TOO_COMPLICATED", "message": "too much"}]
    landing.sf.faults.append(
        Fault(path="*/queryAll", contains="LastName", status=400, body=body, times=1)
    )

    facts = landing.one("Contact")

    assert ("bulk", True) == (facts.api, facts.complete)


def test_a_full_refresh_is_all_or_nothing(landing: Landing) -> None:
    """A table is not dropped for rows that then do not come."""
    landing.extract("Account", "Contact")
    landing.sf.faults.append(Fault(path="*/queryAll", contains="FROM+Contact", status=503))

    with pytest.raises(ServiceFailed):
        landing.extract("Account", "Contact", full_refresh=True, attempts_max=2)

    assert (200, 200) == landing.rows(COUNT)[0]
    landing.sf.faults.clear()
    assert [60, 200] == [
        o.rows for o in landing.extract("Account", "Contact", full_refresh=True).objects
    ]


def test_what_a_dead_load_left_is_read_again(
    landing: Landing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The watermarks in the warehouse are the only ones."""
    landing.one("Contact")
    landing.sf.org.advance(hours=1)
    (one,) = landing.sf.org.rows("Contact").ids()[:1]
    landing.sf.org.update("Contact", one, {"LastName": "Survivor"})
    with monkeypatch.context() as patch:
        patch.setattr(dlt.Pipeline, "load", lambda *_, **__: (_ for _ in ()).throw(OSError("dead")))
        with pytest.raises(OSError, match="dead"):
            landing.extract("Contact")
    landing.sf.org.advance(hours=1)

    facts = landing.one("Contact")

    assert facts.rows >= 1
    assert [("Survivor",)] == landing.rows(
        f"SELECT last_name FROM salesforce.contact WHERE id = '{one}'"
    )


def test_a_field_that_goes_between_describe_and_query(landing: Landing) -> None:
    """The rest of the object lands, and the field is named."""
    answers = iter([True])
    landing.sf.faults.append(
        Fault(
            path="*/queryAll",
            status=400,
            body=[
                {
                    "errorCode": "INVALID_FIELD",
                    "message": "No such column 'Visits__c' on entity 'Contact'.",
                }
            ],
            when=lambda request: "Visits__c" in request.target and next(answers, True),
        )
    )

    facts = landing.one("Contact", api="rest")

    assert (200, True) == (facts.rows, facts.complete)
    names = {
        row[0] for row in landing.rows("SELECT column_name FROM (DESCRIBE salesforce.contact)")
    }
    assert "visits__c" not in names


def test_an_object_that_needs_a_filter_says_so(landing: Landing) -> None:
    """Salesforce's reason is in the error, and the other objects land."""
    link, account = landing.extract("ContentDocumentLink", "Account").objects

    assert link.error is not None and "filter" in link.error.message
    assert account.complete


def test_a_type_that_widens_lands_in_its_column(landing: Landing) -> None:
    """Whole numbers fit a column of doubles, and everything fits text."""
    landing.one("Contact")
    org = landing.sf.org
    org.change_type("Contact", "Visits__c", "int")
    org.change_type("Contact", "Title", "int")
    org.advance(hours=1)
    (one,) = org.rows("Contact").ids()[:1]
    org.update("Contact", one, {"Visits__c": 12, "Title": 7})

    assert landing.one("Contact").complete

    assert [(12.0, "7")] == landing.rows(
        f"SELECT visits__c, title FROM salesforce.contact WHERE id = '{one}'"
    )


def test_a_field_whose_type_does_not_fit_is_left_out(landing: Landing) -> None:
    """The others land. It lands again when its type fits, or with a full refresh."""
    landing.one("Contact")
    org = landing.sf.org
    one, two = org.rows("Contact").ids()[:2]
    rows = f"SELECT visits__c, title FROM salesforce.contact WHERE id IN ('{one}', '{two}')"
    before = landing.rows(rows)
    org.change_type("Contact", "Visits__c", "string")
    org.advance(hours=1)
    org.update("Contact", one, {"Visits__c": "many", "Title": "Chief"})

    result = landing.extract("Contact")

    (facts,) = result.objects
    assert (None, True, ()) == (facts.error, facts.complete, facts.vanished_fields)
    assert [("Visits__c", "string", True)] == [(d.field, d.now, d.is_left_out) for d in facts.drift]
    assert "tailrace extract --full-refresh -s Contact" in "".join(result.warnings)
    assert {(None, "Chief"), before[1]} == set(landing.rows(rows))

    again = landing.extract("Contact").objects[0]
    assert ["Visits__c"] == [drift.field for drift in again.drift]

    org.change_type("Contact", "Visits__c", "double")
    org.update("Contact", one, {"Visits__c": 12.5})
    landing.one("Contact")
    assert {(12.5, "Chief"), before[1]} == set(landing.rows(rows))

    org.change_type("Contact", "Visits__c", "string")
    again = landing.extract("Contact", full_refresh=True).objects[0]
    assert (200, True, ()) == (again.rows, again.complete, again.drift)
    assert "VARCHAR" == landing.value("SELECT typeof(visits__c) FROM salesforce.contact LIMIT 1")


def test_bad_cells_are_quarantined(landing: Landing) -> None:
    """They are NULL in their row and listed by id, field and class; the page lands."""
    lines = [
        "Id,IsDeleted,SystemModstamp,MasterRecordId,LastName,Visits__c,Preferred_Time__c",
        '"003A","false","2026-01-01T00:00:00.000Z","","NA","seven","10:22:00.000Z"',
        '"003B","false","2026-01-01T00:00:00.000Z","","null","7.0",""',
    ]
    page = {"Sforce-NumberOfRecords": "2", "Sforce-Locator": "null", "Content-Type": "text/csv"}
    landing.sf.faults.append(
        Fault(path="*/results", status=200, body="\n".join(lines), headers=page)
    )
    job = {"id": "750", "state": "JobComplete", "numberRecordsProcessed": 2}
    landing.sf.faults.append(Fault(when=is_poll, status=200, body=job))
    fields = ("LastName", "Visits__c", "Preferred_Time__c")

    facts = landing.one(
        "Contact",
        api="bulk",
        page_rows_max=300,
        per_object={"Contact": ObjectSettings(fields=fields)},
    )

    assert (2, 1) == (facts.rows, facts.quarantined)
    listed = landing.rows(
        "SELECT object, id, field, expected, value_class FROM salesforce._quarantine"
    )
    assert [("contact", "003A", "Visits__c", "double", "text")] == listed
    assert [("NA", None, "10:22:00"), ("null", 7.0, None)] == landing.rows(
        "SELECT last_name, visits__c, preferred_time__c::VARCHAR"
        " FROM salesforce.contact ORDER BY id"
    )
