"""One way to land contacts, in a process of its own: prints seconds, rows and peak memory as JSON.

`python extract_ways.py WAY SIMULATOR FOLDER [ROWS]`, SIMULATOR being the line that it printed.
Imports are timed for no way: what dlt and sqlglot import at first use is imported here before.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"

import dlt
import duckdb
import requests
from simple_salesforce.api import Salesforce

from tailrace.clock import SystemClock
from tailrace.config.settings import (
    STANDARD_OBJECTS,
    ObjectSettings,
    SalesforceCredentials,
    SalesforceSettings,
)
from tailrace.salesforce.client import Api
from tailrace.salesforce.extract.extraction import extract
from tailrace.salesforce.extract.landing import PipelineLanding

for first_used in (
    "dlt.destinations.impl.duckdb.duck",
    "dlt.sources.helpers.requests",
    "sqlglot.dialects.duckdb",
):
    importlib.import_module(first_used)

# About thirty fields of every common type, as the mapped part of a real Contact has.
FIELDS = [
    "Id", "IsDeleted", "AccountId", "LastName", "FirstName", "Salutation", "Name", "MailingStreet",
    "MailingCity", "MailingState", "MailingPostalCode", "MailingCountry", "Phone", "MobilePhone",
    "Email", "Title", "Department", "LeadSource", "Birthdate", "OwnerId", "CreatedDate",
    "LastModifiedDate", "SystemModstamp", "HasOptedOutOfEmail", "DoNotCall", "ltv__c",
    "Engagement__c", "Visits__c", "Interests__c",
]  # fmt: skip
Given = dict[str, Any]


def settings(**changes: Any) -> SalesforceSettings:
    """Contacts with these fields only."""
    per_object = {"Contact": ObjectSettings(fields=tuple(FIELDS))}
    return SalesforceSettings(objects=("Contact",), per_object=per_object, **changes)


def credentials(given: Given) -> SalesforceCredentials:
    """As the simulator says."""
    names = ("client_id", "client_secret")
    return SalesforceCredentials(instance_url=given["url"], **{n: given[n] for n in names})


def pipeline(folder: Path) -> dlt.Pipeline:
    """Into a DuckDB file opened as the engine opens its own."""
    config = {"storage_compatibility_version": "v1.5.0", "preserve_insertion_order": False}
    return dlt.pipeline(
        "bench",
        pipelines_dir=str(folder / "pipelines"),
        destination=dlt.destinations.duckdb(
            duckdb.connect(str(folder / "bench.duckdb"), config=config)
        ),
        dataset_name="salesforce",
    )


def tailrace(given: Given, folder: Path, rows: int, **changes: Any) -> int:
    """Our own extract, the first one."""
    landing = PipelineLanding(pipeline(folder))
    done = extract(landing, settings(**changes), credentials(given), clock=SystemClock())
    (facts,) = done.objects
    assert facts.error is None, facts.error
    return facts.rows


def one_page_in_flight(given: Given, folder: Path, rows: int) -> int:
    """Our own, one small page after the other."""
    return tailrace(given, folder, rows, api="bulk", page_rows_max=10_000, pages_in_flight_max=1)


def five_pages_in_flight(given: Given, folder: Path, rows: int) -> int:
    """Our own, as many small pages at a time as Salesforce gives addresses of."""
    return tailrace(given, folder, rows, api="bulk", page_rows_max=10_000)


def delta(given: Given, folder: Path, rows: int) -> int:
    """Our own extract of what changed since the first one; timed alone."""
    arguments = (PipelineLanding(pipeline(folder)), settings(), credentials(given))
    extract(*arguments, clock=SystemClock())
    control(given, "touch", object="Contact", rows=rows)
    return timed(lambda: extract(*arguments, clock=SystemClock()).objects[0].rows)


class DltLanding(PipelineLanding):
    """Leaves every change to dlt."""

    @property
    def merges_files(self) -> bool:
        return False


def small_delta(
    given: Given, folder: Path, rows: int, landing: type[PipelineLanding] = PipelineLanding
) -> int:
    """A few changed rows in each of ten objects; their processor time alone.

    Both ways load one such delta before: a project keeps the SQL that it has rendered, and dlt's
    staging tables exist.
    """
    target = landing(pipeline(folder))
    arguments = (target, SalesforceSettings(), credentials(given))

    def touch() -> None:
        for name in STANDARD_OBJECTS:
            control(given, "touch", object=name, rows=rows // len(STANDARD_OBJECTS))

    for number in range(3):
        if number == 2:
            touch()
        extract(*arguments, clock=SystemClock())
        control(given, "advance", minutes=20)
    touch()

    def rows_landed() -> int:
        objects = extract(*arguments, clock=SystemClock()).objects
        return sum(facts.rows for facts in objects)

    # A run has one session open, and does not open one for each statement.
    with target.session():
        return timed(rows_landed, time.process_time)


def small_delta_by_dlt(given: Given, folder: Path, rows: int) -> int:
    """The same, loaded by dlt."""
    return small_delta(given, folder, rows, DltLanding)


def plain_dlt(given: Given, folder: Path, rows: int, file_format: str = "parquet") -> int:
    """The way of the textbooks: records of simple-salesforce as dictionaries through dlt."""
    api = Api(credentials(given), settings(), clock=SystemClock())
    token, _, _ = api.token()
    salesforce = Salesforce(
        session=_Loopback(given["url"]), session_id=token, instance_url=given["url"]
    )
    limit = f" LIMIT {rows}" if rows else ""

    @dlt.resource(name="contact", write_disposition="replace")
    def contacts() -> Any:
        for record in salesforce.query_all_iter(f"SELECT {','.join(FIELDS)} FROM Contact{limit}"):
            record.pop("attributes")
            yield record

    target = pipeline(folder)
    target.run(contacts(), loader_file_format=file_format)
    return count(target)


def plain_dlt_default(given: Given, folder: Path, rows: int) -> int:
    """The same in the format that dlt takes for DuckDB unless told otherwise."""
    return plain_dlt(given, folder, rows, file_format="insert_values")


def read_csv(given: Given, folder: Path, rows: int) -> int:
    """The limit: the same pages downloaded side by side, and DuckDB's own CSV reader."""
    api = Api(credentials(given), settings(), clock=SystemClock())
    job = api.post(
        "jobs/query",
        {"operation": "queryAll", "query": f"SELECT {','.join(FIELDS)} FROM Contact"},
    )
    while api.get(f"jobs/query/{job['id']}")["state"] != "JobComplete":
        time.sleep(0.02)
    urls: list[str] = []
    path = f"jobs/query/{job['id']}/resultPages"
    while path:
        answer = api.get(path)
        urls += [each["resultUrl"] for each in answer["resultPages"]]
        path = answer.get("nextRecordsUrl") or ""

    def fetch(numbered: tuple[int, str]) -> str:
        file = folder / f"page-{numbered[0]}.csv"
        file.write_bytes(api.read(numbered[1], lambda response: response.content))
        return str(file)

    with ThreadPoolExecutor(5) as pool:
        files = list(pool.map(fetch, enumerate(urls)))
    with duckdb.connect(str(folder / "limit.duckdb")) as connection:
        connection.execute("SET preserve_insertion_order = false")
        connection.execute("CREATE TABLE contact AS SELECT * FROM read_csv($1)", [files])
        (found,) = connection.execute("SELECT count(*) FROM contact").fetchone() or (0,)
    return int(found)


class _Loopback(requests.Session):
    """simple-salesforce knows https only."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url

    def request(self, method: Any, url: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        parts = urlsplit(str(url))
        query = f"?{parts.query}" if parts.query else ""
        return super().request(method, f"{self.url}{parts.path}{query}", **kwargs)


def control(given: Given, deed: str, **what: Any) -> None:
    """Steer the simulator."""
    requests.post(f"{given['url']}/_control/{deed}", json=what, timeout=600).raise_for_status()


def count(target: dlt.Pipeline) -> int:
    """How many contacts landed."""
    with target.sql_client() as client:
        return int(client.execute_sql("SELECT count(*) FROM contact")[0][0])


_seconds: list[float] = []


def timed(work: Callable[[], int], clock: Callable[[], float] = time.perf_counter) -> int:
    """Time a part of the work, instead of all of it."""
    start = clock()
    found = work()
    _seconds.append(clock() - start)
    return found


WAYS: dict[str, Callable[[Given, Path, int], int]] = {
    "tailrace": tailrace,
    "one_page_in_flight": one_page_in_flight,
    "five_pages_in_flight": five_pages_in_flight,
    "delta": delta,
    "small_delta": small_delta,
    "small_delta_by_dlt": small_delta_by_dlt,
    "plain_dlt": plain_dlt,
    "plain_dlt_default": plain_dlt_default,
    "read_csv": read_csv,
}


def main(way: str, simulator: str, folder: str, rows: str = "0") -> None:
    """Measure one way."""
    given = json.loads(simulator)
    start = time.perf_counter()
    landed = WAYS[way](given, Path(folder), int(rows))
    seconds = _seconds[0] if _seconds else time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux tells kilobytes, macOS bytes.
    megabytes = peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)
    print(json.dumps({"seconds": seconds, "rows": landed, "megabytes": megabytes}))


if __name__ == "__main__":
    main(*sys.argv[1:])
