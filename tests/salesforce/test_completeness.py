"""What an extract calls complete equals the org: other shapes, wrong counts, lost cursors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from dlt.common.normalizers.naming.snake_case import NamingConvention
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from salesforce_landing import Landing, QuickClock, landing_of

from tailrace.config.settings import SalesforceCredentials, SalesforceSettings
from tailrace.errors import (
    ExtractIncomplete,
    QuotaSpent,
    ServiceFailed,
    TableNameTaken,
    TailraceError,
)
from tailrace.salesforce.client import Api
from tailrace.salesforce.describe import describe_object, read_describe
from tailrace.salesforce.extract.extractor import ObjectExtractor
from tailrace.testing import Fault, SalesforceSimulator
from tailrace.testing.org.describe import Field as SimulatedField
from tailrace.testing.org.describe import SObject as SimulatedObject
from tailrace.testing.org.describe import system_fields
from tailrace.testing.salesforce.bulk import JobFault
from tailrace.testing.salesforce.named_faults import named_fault

NORMALIZE = NamingConvention().normalize_path
COUNT = "SELECT count(*), count(DISTINCT id) FROM salesforce.contact"
SMALL_PAGES = {"api": "bulk", "page_rows_max": 40}


@pytest.fixture
def landing(tmp_path: Path) -> Iterator[Landing]:
    with landing_of(tmp_path) as landing:
        landing.sf.bulk.settings.page_rows = 40
        yield landing


@dataclass(frozen=True)
class Read:
    """What an object was extracted as, before it is loaded."""

    api: str
    rows: int
    ids: frozenset[str]
    names: frozenset[tuple[str, str | None]]


class Reader:
    """Extracts objects of a simulated org into files, without a warehouse."""

    def __init__(self, sf: SalesforceSimulator, folder: Path) -> None:
        self.sf = sf
        self.folder = folder

    def read(self, name: str = "Contact", **changes: Any) -> Read:
        """Extract all rows of an object."""
        credentials = SalesforceCredentials(
            instance_url=self.sf.url,
            client_id=self.sf.client_id,
            client_secret=self.sf.client_secret,
        )
        settings = SalesforceSettings(**changes)
        api = Api(credentials, settings, clock=QuickClock())
        extractor = ObjectExtractor(api, settings, self.folder)
        with closing(api):
            described = describe_object(api, name)
            sobject = read_describe(described, settings.of(name), formula="land")
            extracted = extractor.extract(sobject, {}, None, normalize=NORMALIZE)
        tables = [pq.read_table(path, columns=["id", "last_name"]) for path, _ in extracted.files]
        names = [tuple(row.values()) for table in tables for row in table.to_pylist()]
        return Read(
            api=extracted.api,
            rows=extracted.rows,
            ids=frozenset(row[0] for row in names),
            names=frozenset(names),
        )


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    with SalesforceSimulator() as sf:
        sf.bulk.settings.page_rows = 40
        yield Reader(sf, tmp_path)


def behave(of: Landing | Reader, **options: Any) -> None:
    """Let the org differ from the documented API."""
    for name, value in options.items():
        of.sf.behavior.change(name, value)


def jobs(of: Landing | Reader) -> int:
    return len(of.sf.bulk.jobs)


@pytest.mark.parametrize(
    "options",
    [
        {"result_pages": "chunks"},
        {"result_pages": "chunks_relative"},
        {"result_pages": "absolute"},
        {"result_pages": "not_found"},
        {"result_pages": "bad_request"},
        {"result_pages_listed_max": 2},
        {"result_pages_listed_max": 0},
        {"page_rows_header": False},
    ],
    ids=str,
)
def test_every_shape_of_result_pages_lands_all_rows(
    reader: Reader, options: dict[str, Any]
) -> None:
    behave(reader, **options)

    read = reader.read(**SMALL_PAGES)

    assert ("bulk", 200, 200) == (read.api, read.rows, len(read.ids))
    assert 1 == jobs(reader)


@pytest.mark.parametrize(
    "options",
    [
        {"bulk_pages_max": 2, "result_pages_listed_max": 2},
        {"job_rows_offset": 7},
        {"job_rows_offset": -7},
        {"page_rows_offset": 1},
    ],
    ids=str,
)
def test_a_job_whose_rows_do_not_add_up_is_replaced_by_a_query(
    reader: Reader, options: dict[str, Any]
) -> None:
    behave(reader, **options)

    read = reader.read(attempts_max=2, **SMALL_PAGES)

    assert ("rest", 200, 200) == (read.api, read.rows, len(read.ids))


@pytest.mark.parametrize("api", ["auto", "rest", "bulk"])
def test_rows_that_never_add_up_are_the_objects_error(landing: Landing, api: str) -> None:
    """Nothing lands, the watermark stays, and other objects land."""
    landing.one("Account")
    landing.sf.org.advance(hours=1)
    behave(landing, total_size_offset=5, job_rows_offset=5)

    (facts,) = landing.extract("Contact", api=api, page_rows_max=40).objects

    assert isinstance(facts.error, ExtractIncomplete)
    assert "Contact" in facts.error.message and not facts.complete and facts.watermark is None
    behave(landing, total_size_offset=0, job_rows_offset=0)
    assert 200 == landing.one("Contact").rows


def test_a_query_that_ends_early_is_read_by_a_job(reader: Reader) -> None:
    reader.sf.org.add_mass("Contact", 2_500)
    behave(reader, rest_pages_max=1)

    read = reader.read(api="rest")

    assert ("bulk", 2_700, 2_700) == (read.api, read.rows, len(read.ids))


@pytest.mark.parametrize("paging", ["repeats", "endless"])
@pytest.mark.parametrize("api", ["rest", "bulk"])
def test_pages_without_an_end_are_bounded(reader: Reader, paging: str, api: str) -> None:
    reader.sf.org.add_mass("Contact", 2_500)
    behave(reader, paging=paging, result_pages="not_found")

    with pytest.raises(ExtractIncomplete, match="Contact"):
        reader.read(api=api, page_rows_max=1_000)

    assert len(reader.sf.requests) < 80


@pytest.mark.parametrize("sessions", ["unauthorized", "invalid_locator"])
def test_a_query_starts_again_when_its_cursor_dies(landing: Landing, sessions: str) -> None:
    """A cursor belongs to a session; the token expires between two pages."""
    landing.sf.org.add_mass("Contact", 4_500)
    behave(landing, cursor_sessions=sessions)
    landing.sf.faults.append(Fault(path="*/query/*", nth=1, expire_token=True))

    contact, account = landing.extract("Contact", "Account", api="rest").objects

    assert (4_700, True) == (contact.rows, account.complete)
    assert (4_700, 4_700) == landing.rows(COUNT)[0]


def test_an_invalid_locator_that_lasts_is_one_objects_error(landing: Landing) -> None:
    landing.sf.org.add_mass("Contact", 2_500)
    landing.sf.faults.append(named_fault("invalid_query_locator"))
    landing.sf.faults.append(named_fault("bulk_refused"))

    contact, account = landing.extract("Contact", "Account", api="rest").objects

    assert contact.error is not None and account.complete
    assert 1 == contact.error.exit_code and "Contact" in contact.error.message


def test_a_list_of_pages_that_fails_for_good_is_replaced_by_locators(reader: Reader) -> None:
    reader.sf.faults.append(Fault(path="*/resultPages", status=500))

    read = reader.read(attempts_max=2, **SMALL_PAGES)

    assert ("bulk", 200, 200, 1) == (read.api, read.rows, len(read.ids), jobs(reader))


def test_an_empty_answer_to_results_is_requested_again(reader: Reader) -> None:
    reader.sf.faults.append(named_fault("results_no_content"))

    assert 200 == reader.read(**SMALL_PAGES).rows


@pytest.mark.parametrize("api", ["bulk", "rest"])
def test_answers_in_several_gzip_members(reader: Reader, api: str) -> None:
    reader.sf.faults.append(named_fault("gzip_members"))

    read = reader.read(api=api, page_rows_max=40)

    assert (api, 200, 200) == (read.api, read.rows, len(read.ids))


@pytest.mark.parametrize("code", ["QUERY_TIMEOUT", "OPERATION_TOO_LARGE"])
@pytest.mark.parametrize("api", ["bulk", "rest"])
def test_a_query_that_is_too_large_is_halved(reader: Reader, api: str, code: str) -> None:
    """By time, and by ids where many rows have the same timestamp."""
    behave(reader, query_rows_max=120, query_rows_error=code)
    reader.sf.org.touch("Contact", 150)

    read = reader.read(api=api)

    assert (200, 200) == (read.rows, len(read.ids))
    assert any(
        "Id >= "
        in (each.request.target + each.request.content().decode())
        .replace("+", " ")
        .replace("%3E%3D", ">=")
        for each in reader.sf.requests
    )


def test_an_object_without_a_cursor_is_halved_by_ids(reader: Reader) -> None:
    for name in ("SystemModstamp", "LastModifiedDate", "CreatedDate"):
        reader.sf.org.change_type("Contact", name, "datetime", filterable=False)
    behave(reader, query_rows_max=60)

    read = reader.read(api="rest")

    assert (200, 200) == (read.rows, len(read.ids))


def test_an_object_that_refuses_to_be_counted_lands(landing: Landing) -> None:
    body = [{"errorCode": "INVALID_TYPE_FOR_OPERATION", "message": "count() not supported"}]
    landing.sf.faults.append(Fault(path="*/queryAll", contains="count()", status=400, body=body))

    assert 200 == landing.one("Contact").rows
    assert "bulk" == landing.one("Account", bulk_rows_min=2).api


def test_an_object_that_neither_counts_nor_takes_jobs_is_read_by_rest(reader: Reader) -> None:
    body = [{"errorCode": "INVALID_TYPE_FOR_OPERATION", "message": "count() not supported"}]
    reader.sf.faults.append(Fault(path="*/queryAll", contains="count()", status=400, body=body))
    reader.sf.faults.append(named_fault("bulk_refused"))

    read = reader.read(bulk_rows_min=2)

    assert ("rest", 200, 200) == (read.api, read.rows, len(read.ids))


@pytest.mark.parametrize("api", ["bulk", "rest"])
def test_a_row_that_comes_twice_in_a_first_load_lands_once(landing: Landing, api: str) -> None:
    """The newest version of it stays, and the facts say so."""
    behave(landing, repeated_rows=30, repeated_rows_stale=True)

    result = landing.extract("Contact", api=api)

    (facts,) = result.objects
    assert (200, 30, (200, 200)) == (facts.rows, facts.duplicates, landing.rows(COUNT)[0])
    assert "30 rows twice" in "".join(result.warnings)
    newest = landing.sf.org.rows("Contact").records()
    stamps = {row["Id"]: row["SystemModstamp"] for row in newest}
    landed = dict(landing.rows("SELECT id, system_modstamp FROM salesforce.contact"))
    assert {key: value.timestamp() for key, value in stamps.items()} == {
        key: value.timestamp() for key, value in landed.items()
    }
    landing.sf.org.advance(hours=1)
    landing.sf.org.touch("Contact", 40)
    landing.one("Contact", api=api)
    assert (200, 200) == landing.rows(COUNT)[0]


def test_a_spent_limit_of_jobs_falls_back_to_rest_within_the_budget(landing: Landing) -> None:
    landing.sf.faults.append(named_fault("bulk_daily_limit"))

    assert ("rest", 200) == (
        (facts := landing.one("Contact", bulk_rows_min=10)).api,
        facts.rows,
    )

    landing.sf.org.add_mass("Lead", 30_000)
    (lead,) = landing.extract("Lead", bulk_rows_min=10, api_calls_max=12).objects
    assert isinstance(lead.error, QuotaSpent)
    assert "Lead" in lead.error.message and "12" not in lead.error.hint and lead.error.hint


def test_a_failed_job_without_a_known_code_is_read_by_rest(landing: Landing) -> None:
    landing.sf.bulk.faults.append(JobFault(contains="Contact", message="Ein Fehler", times=None))

    facts = landing.one("Contact", bulk_rows_min=10)

    assert ("rest", 200, 2) == (facts.api, facts.rows, jobs(landing))


def test_two_objects_of_one_table_name_are_refused_by_name(landing: Landing) -> None:
    for prefix, name in (("a01", "OrderLine__c"), ("a02", "Order_Line__c")):
        landing.sf.org.add_object(
            SimulatedObject(name=name, key_prefix=prefix, fields=(*system_fields(),))
        )

    with pytest.raises(TableNameTaken, match=r"OrderLine__c and Order_Line__c .*order_line__c"):
        landing.extract("Contact", "OrderLine__c", "Order_Line__c")

    landing.one("OrderLine__c")
    with pytest.raises(TableNameTaken, match="OrderLine__c and Order_Line__c"):
        landing.extract("Order_Line__c")


@pytest.mark.parametrize("api", ["rest", "bulk"])
def test_a_field_that_goes_in_another_language(reader: Reader, api: str) -> None:
    """The error's code and describe decide, not the English text."""
    behave(reader, language="de", stale_describes=1)
    reader.sf.org.add_field("Contact", SimulatedField(name="Gone__c", type="string"))
    reader.sf.org.hide_field("Contact", "Gone__c")

    assert 200 == reader.read(api=api).rows


@pytest.mark.parametrize(
    ("name", "settings_changed", "error"),
    [
        ("endless_body", {"answer_bytes_max": 300_000}, "answer_bytes_max"),
        ("inflating_body", {"answer_bytes_max": 300_000}, "answer_bytes_max"),
        ("byte_per_second", {"answer_seconds_max": 0.3}, "answer_seconds_max"),
    ],
)
@pytest.mark.parametrize("path", ["*/queryAll", "*/results"])
def test_an_answer_without_an_end_is_an_error(
    reader: Reader, name: str, settings_changed: dict[str, Any], error: str, path: str
) -> None:
    """Limited in bytes on the wire, in bytes when decompressed, and in seconds."""
    changes: dict[str, Any] = {}
    if name == "byte_per_second":
        changes["drip_seconds"] = 0.05
    if name == "inflating_body":
        changes["inflated_bytes"] = 5_000_000
    reader.sf.faults.append(named_fault(name, path=path, **changes))

    with pytest.raises(ServiceFailed) as caught:
        reader.read(api="bulk" if path == "*/results" else "rest", **settings_changed)

    assert error in caught.value.message + caught.value.hint
    assert 1 == sum(request.request.path.endswith(path[1:]) for request in reader.sf.requests)


SHAPES = st.fixed_dictionaries(
    {},
    optional={
        "result_pages": st.sampled_from(
            ["chunks", "chunks_relative", "absolute", "not_found", "bad_request"]
        ),
        "result_pages_listed_max": st.integers(0, 4),
        "bulk_pages_max": st.integers(1, 4),
        "rest_pages_max": st.integers(1, 2),
        "job_rows_offset": st.integers(-3, 3),
        "page_rows_offset": st.sampled_from([0, 0, 1]),
        "page_rows_header": st.booleans(),
        "total_size_offset": st.integers(-2, 2),
        "cursor_sessions": st.sampled_from(["any", "unauthorized", "invalid_locator"]),
        "paging": st.sampled_from(["ends", "ends", "repeats", "endless"]),
        "repeated_rows": st.sampled_from([0, 0, 5]),
        "query_rows_max": st.sampled_from([None, None, 150]),
    },
)
FAULTS = st.lists(
    st.builds(
        lambda path, nth, kind: Fault(path=path, nth=nth, **kind),
        st.sampled_from(
            ["*/results", "*/queryAll", "*/query/*", "*/resultPages", "*/jobs/query/*"]
        ),
        st.integers(1, 3),
        st.sampled_from(
            [
                {"cut": "middle"},
                {"cut": "before"},
                {"status": 204, "body": ""},
                {"status": 503},
                {"expire_token": True},
                {"unexpected_body": "html"},
                {"gzip_members": 2},
            ]
        ),
    ),
    max_size=3,
)


@settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(shapes=SHAPES, faults=FAULTS, api=st.sampled_from(["auto", "rest", "bulk"]))
def test_what_is_complete_equals_the_org(
    tmp_path: Path, shapes: dict[str, Any], faults: list[Fault], api: str
) -> None:
    """Shapes, cuts, wrong counts and new logins, mixed: all rows come, or an error."""
    with SalesforceSimulator() as sf:
        reader = Reader(sf, tmp_path)
        sf.bulk.settings.page_rows = 600
        sf.org.add_mass("Contact", 2_100)
        behave(reader, **shapes)
        sf.faults.extend(faults)
        held = frozenset((row["Id"], row["LastName"]) for row in sf.org.rows("Contact").records())
        try:
            read = reader.read(api=api, page_rows_max=600, attempts_max=3)
        except TailraceError as error:
            assert 1 == error.exit_code
            return
        assert held <= read.names
        assert 2_300 == len(read.ids)
        assert read.rows in (2_300, 2_300 + shapes.get("repeated_rows", 0))
