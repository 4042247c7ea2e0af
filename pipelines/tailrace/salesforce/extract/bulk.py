"""Bulk API 2.0 query jobs: started, waited for, and read by several pages at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from tempfile import SpooledTemporaryFile
from typing import IO, TYPE_CHECKING, Any

from tailrace.dataclass import dataclass
from tailrace.errors import SalesforceFault, ServiceFailed, TailraceError
from tailrace.salesforce.answers import (
    IncompleteAnswer,
    as_count,
    as_mapping,
    as_text,
    parse_count,
    unreadable,
)
from tailrace.salesforce.client import Api
from tailrace.salesforce.faults import code_of_failed_job

if TYPE_CHECKING:
    import requests

    from tailrace.salesforce.bounded_http import DecompressedBody

POLL_SECONDS = (0.05, 0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
# A larger page goes to a temporary file: several are in flight, and memory that they took would
# stay with the process.
PAGE_MEMORY_BYTES_MAX = 1 << 20
PARALLEL_RESULTS_API_VERSION_MIN = 58.0
# A list of pages, or a chain of locators, that is longer than this has no end.
PAGES_MAX = 100_000
EMPTY_PAGES_MAX = 3
NO_CONTENT = 204
FINAL_STATES = ("Failed", "Aborted")


class PagesIncomplete(Exception):
    """The pages of a job hold another number of rows than the job says, or their list is broken."""


@dataclass()
class ResultPage:
    """A page as it came over the wire.

    Attributes:
        rows: The number of rows that Salesforce reports for it; None when it reports none.
        next: The locator of the page after it, or None at the end.
    """

    body: IO[bytes]
    gzipped: bool
    rows: int | None
    next: str | None
    bytes_max: int

    def open(self) -> DecompressedBody:
        """The bytes of the CSV, from the start."""
        from tailrace.salesforce.bounded_http import DecompressedBody

        self.body.seek(0)
        return DecompressedBody(self.body, gzipped=self.gzipped, bytes_max=self.bytes_max)


class QueryJob:
    """One query job, from its start to its last page.

    Attributes:
        rows: `numberRecordsProcessed` of the complete job; None when Salesforce does not say.
    """

    def __init__(self, api: Api, soql: str) -> None:
        self.api = api
        self.soql = soql
        self.id = ""
        self.rows: int | None = None

    def run(self) -> None:
        """Start the job and wait until its results are ready.

        Raises:
            SalesforceFault: Salesforce refuses the job, or the job failed. The code of a failed job
                is the one at the start of its message, or `Failed`.
            ServiceFailed: The job takes longer than `job_seconds_max`.
        """
        job = as_mapping(
            self.api.post(
                "jobs/query",
                {
                    "operation": "queryAll",
                    "query": self.soql,
                    "contentType": "CSV",
                    "columnDelimiter": "COMMA",
                    "lineEnding": "LF",
                },
            ),
            "a new job",
        )
        self.id = as_text(job.get("id"), "id of a new job")
        try:
            self._wait()
        except BaseException:
            self.abort()
            raise

    def abort(self) -> None:
        """Ask Salesforce to stop a job whose results are not needed; never fails."""
        if self.id:
            with suppress(TailraceError):
                self.api.patch(f"jobs/query/{self.id}", {"state": "Aborted"})

    @property
    def has_parallel_pages(self) -> bool:
        """Whether the pages may be requested at the same time."""
        settings = self.api.settings
        several = self.rows is None or self.rows > settings.page_rows_max
        return (
            several
            and settings.pages_in_flight_max > 1
            and float(settings.api_version) >= PARALLEL_RESULTS_API_VERSION_MIN
        )

    def parallel_pages(self, land: Callable[[ResultPage], int]) -> Iterator[int]:
        """Download the listed pages, several at a time, and hand each to `land` on a worker thread.

        Yields the rows of each page, as `land` returns them.

        Raises:
            PagesIncomplete: The pages do not add up to the rows of the job.
        """
        limit = self.api.settings.pages_in_flight_max
        pool = ThreadPoolExecutor(limit, thread_name_prefix="tailrace-page")
        waiting: set[Future[tuple[str | None, int]]] = set()
        rows = 0
        try:
            for path, params in self._listed_pages():
                waiting.add(pool.submit(self._page, path, params, land))
                while len(waiting) >= limit:
                    done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                    for page in done:
                        rows += page.result()[1]
                        yield page.result()[1]
            while waiting:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for page in done:
                    rows += page.result()[1]
                    yield page.result()[1]
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
        self._check(rows)

    def chained_pages(self, land: Callable[[ResultPage], int]) -> Iterator[int]:
        """Download page after page by their locators, and hand each to `land`.

        A page that breaks off is requested again at its locator, and only that page.

        Raises:
            PagesIncomplete: The pages do not add up to the rows of the job, or do not end.
        """
        rows = empty_pages = 0
        locator: str | None = ""
        seen: set[str] = set()
        while locator is not None:
            params: dict[str, Any] = {"maxRecords": self.api.settings.page_rows_max}
            if locator:
                params["locator"] = locator
            following, page_rows = self._page(f"jobs/query/{self.id}/results", params, land)
            rows += page_rows
            empty_pages += not page_rows
            yield page_rows
            if following is not None and (
                following in seen or empty_pages > EMPTY_PAGES_MAX or len(seen) >= PAGES_MAX
            ):
                raise PagesIncomplete("the locators of a job's pages do not end")
            if following is not None and self.rows is not None and rows > self.rows:
                break
            seen.add(following or "")
            locator = following
        self._check(rows)

    def _check(self, rows: int) -> None:
        if self.rows is not None and rows != self.rows:
            raise PagesIncomplete(f"a job says {self.rows:,} rows, and its pages have {rows:,}")

    def _listed_pages(self) -> Iterator[tuple[str, dict[str, str]]]:
        """The addresses of the pages, as `/resultPages` lists them, five at a time."""
        path: str | None = f"jobs/query/{self.id}/resultPages"
        params: dict[str, Any] = {}
        seen: set[tuple[str, str]] = set()
        while path is not None:
            try:
                answer = as_mapping(self.api.get(path, **params), "/resultPages")
            except ServiceFailed as failure:
                # The pages can still be read one after the other.
                message = f"the list of a job's pages cannot be read: {failure.message}"
                raise PagesIncomplete(message) from None
            for link in _links_in(answer):
                page_path, page_params = self.api.resolve(link, path)
                address = (page_path, str(sorted(page_params.items())))
                if address in seen or len(seen) >= PAGES_MAX:
                    raise PagesIncomplete("the list of a job's pages repeats itself")
                seen.add(address)
                yield page_path, page_params
            # The documentation writes this key in both ways.
            following = answer.get("nextRecordsUrl") or answer.get("nextRecordUrl")
            if answer.get("done", True) or not following:
                return
            path, params = self.api.resolve(as_text(following, "nextRecordsUrl"), path)
            address = (path, str(sorted(params.items())))
            if address in seen:
                raise PagesIncomplete("the list of a job's pages repeats itself")
            seen.add(address)

    def _page(
        self, path: str, params: dict[str, Any], land: Callable[[ResultPage], int]
    ) -> tuple[str | None, int]:
        """Download a page and land it; returns the locator of the next one, and the rows."""
        with SpooledTemporaryFile(max_size=PAGE_MEMORY_BYTES_MAX) as body:

            def into(response: requests.Response) -> tuple[str | None, int]:
                if response.status_code == NO_CONTENT:
                    if self.rows == 0:
                        return None, 0
                    raise IncompleteAnswer("a page is empty (HTTP 204)")
                page = self._downloaded(response, body)
                return page.next, land(page)

            for _ in range(self.api.settings.attempts_max):
                try:
                    result: tuple[str | None, int] = self.api.read(path, into, **params)
                    return result
                except SalesforceFault as fault:
                    # The results may be ready later than the state says.
                    if fault.code != "JOB_NOT_COMPLETE":
                        raise
                    self._wait()
            raise ServiceFailed("A query job is complete, but its results are not ready")

    def _downloaded(self, response: requests.Response, body: IO[bytes]) -> ResultPage:
        """Copy an answer, still compressed: its connection is free before its values are parsed."""
        if response.headers.get("Content-Type", "").lower().startswith("text/html"):
            raise IncompleteAnswer("a page is HTML, not CSV")
        settings, clock = self.api.settings, self.api.clock
        deadline = clock.monotonic() + settings.answer_seconds_max
        body.seek(0)
        body.truncate()
        from tailrace.salesforce.bounded_http import read_body

        for piece in read_body(
            response,
            bytes_max=settings.answer_bytes_max,
            seconds_left=lambda: deadline - clock.monotonic(),
            decode=False,
        ):
            body.write(piece)
        locator = response.headers.get("Sforce-Locator")
        return ResultPage(
            body=body,
            gzipped=response.headers.get("Content-Encoding", "").lower() == "gzip",
            rows=parse_count(response.headers.get("Sforce-NumberOfRecords")),
            next=None if locator in (None, "", "null") else locator,
            bytes_max=settings.answer_bytes_max,
        )

    def _wait(self) -> None:
        clock, limit = self.api.clock, self.api.settings.job_seconds_max
        deadline = clock.monotonic() + limit
        poll = 0
        while True:
            clock.sleep(POLL_SECONDS[min(poll, len(POLL_SECONDS) - 1)])
            poll += 1
            job = as_mapping(self.api.get(f"jobs/query/{self.id}"), "a job")
            state = as_text(job.get("state"), "state of a job")
            if state == "JobComplete":
                rows = job.get("numberRecordsProcessed")
                self.rows = None if rows is None else as_count(rows, "numberRecordsProcessed")
                return
            if state in FINAL_STATES:
                self.id = ""
                message = str(job.get("errorMessage") or state)[:300]
                code = code_of_failed_job(message) or state
                raise SalesforceFault(f"The query job failed: {message}", code=code)
            if clock.monotonic() > deadline or self.api.closing.is_set():
                raise ServiceFailed(
                    f"A query job took longer than {limit:g} seconds",
                    hint="Raise job_seconds_max under [sources.salesforce], or try again later.",
                )


def _links_in(answer: Mapping[str, Any]) -> Iterator[str]:
    """The links of a list of pages: documented as `resultPages[].resultUrl`.

    Orgs are reported to answer `resultChunks[].resultLink` instead
    (https://github.com/msrivastav13/node-sf-bulk2/issues/35).
    """
    pages = answer.get("resultPages")
    if pages is None:
        pages = answer.get("resultChunks")
    if not isinstance(pages, list):
        raise unreadable("the list of a job's pages", "a list", pages)
    for page in pages:
        entry = as_mapping(page, "a page of a job")
        yield as_text(entry.get("resultUrl") or entry.get("resultLink"), "resultUrl")
