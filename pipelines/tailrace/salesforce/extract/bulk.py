"""Bulk API 2.0 query jobs: started, waited for, and read by several pages at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from tempfile import SpooledTemporaryFile
from typing import IO, Any
from urllib.parse import parse_qsl, urlsplit

import requests
from isal import isal_zlib

from tailrace.errors import SalesforceFault, ServiceFailed, TailraceError
from tailrace.salesforce.client import Api, BrokenOff

POLL_SECONDS = (0.05, 0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
# Beyond this a page being downloaded goes to a temporary file: several are in flight, and what
# they hold in memory would stay with the process.
PAGE_MEMORY_BYTES_MAX = 1 << 20
CHUNK_BYTES = 1 << 18
PARALLEL_RESULTS_API_VERSION_MIN = 58.0
NOT_FOR_BULK = (
    "INVALIDENTITY",
    "InvalidEntity",
    "not supported by the Bulk",
    "INVALID_TYPE_FOR_OPERATION",
    "FUNCTIONALITY_NOT_ENABLED",
    "FeatureNotEnabled",
)
TIMED_OUT = ("QUERY_TIMEOUT", "retried more than", "Retried more than", "timed out")


class QueryTimedOut(Exception):
    """The query takes Salesforce too long; a smaller window may not."""


class BulkRefused(Exception):
    """The object or the query is not for the Bulk API; REST may take it."""


@dataclass(slots=True)
class Download:
    """A page as it came over the wire.

    Attributes:
        rows: How many rows Salesforce says it has; None when it does not say.
        next: The locator of the page after it, or None at the end.
    """

    body: IO[bytes]
    gzipped: bool
    rows: int | None
    next: str | None

    def open(self) -> Inflated:
        """The bytes of the CSV, from the start."""
        self.body.seek(0)
        return Inflated(self.body, gzipped=self.gzipped)


class Inflated:
    """The bytes behind gzip, or the same bytes when there is none.

    Raises, while reading:
        BrokenOff: The gzip stream has no end.
    """

    def __init__(self, body: IO[bytes], *, gzipped: bool) -> None:
        self._body = body
        self._inflater = isal_zlib.decompressobj(31) if gzipped else None

    def read(self, size: int = -1, /) -> bytes:
        if self._inflater is None:
            return self._body.read(size)
        pieces: list[bytes] = []
        while not pieces or size < 0:
            raw = self._inflater.unconsumed_tail or self._body.read(CHUNK_BYTES)
            if not raw:
                pieces.append(self._inflater.flush())
                if not self._inflater.eof:
                    raise BrokenOff("a compressed page has no end")
                break
            piece = self._inflater.decompress(raw, max(size, 0))
            if piece:
                pieces.append(piece)
        return b"".join(pieces)


class QueryJob:
    """One query job, from its start to its last page."""

    def __init__(self, api: Api, soql: str) -> None:
        self.api = api
        self.soql = soql
        self.id = ""
        self.rows: int | None = None

    def run(self) -> None:
        """Start the job and wait until its results are there.

        Raises:
            QueryTimedOut: Salesforce gave up; try a smaller window.
            BulkRefused: Try REST.
            ServiceFailed: The job failed for another reason, or takes longer than allowed.
        """
        try:
            job = self.api.post(
                "jobs/query",
                {
                    "operation": "queryAll",
                    "query": self.soql,
                    "contentType": "CSV",
                    "columnDelimiter": "COMMA",
                    "lineEnding": "LF",
                },
            )
        except SalesforceFault as fault:
            raise _sorted_out(fault) from None
        self.id = str(job["id"])
        try:
            self._wait()
        except BaseException:
            self.abort()
            raise

    def abort(self) -> None:
        """Tell Salesforce to stop a job that nobody will read; never fails."""
        if self.id:
            with suppress(TailraceError):
                self.api.patch(f"jobs/query/{self.id}", {"state": "Aborted"})

    def pages(self, land: Callable[[Download], Any]) -> Iterator[Any]:
        """Download each page and hand it to `land` on a worker thread; yields what that returns.

        A page that breaks off is asked for again at its locator, and only that page.
        """
        settings = self.api.settings
        several = self.rows is None or self.rows > settings.page_rows_max
        if (
            several
            and settings.pages_in_flight_max > 1
            and float(settings.api_version) >= PARALLEL_RESULTS_API_VERSION_MIN
        ):
            yield from self._side_by_side(land)
            return
        locator: str | None = ""
        while locator is not None:
            params: dict[str, Any] = {"maxRecords": settings.page_rows_max}
            if locator:
                params["locator"] = locator
            locator, landed = self._page(f"jobs/query/{self.id}/results", params, land)
            yield landed

    def _side_by_side(self, land: Callable[[Download], Any]) -> Iterator[Any]:
        limit = self.api.settings.pages_in_flight_max
        pool = ThreadPoolExecutor(limit, thread_name_prefix="tailrace-page")
        waiting: set[Future[tuple[str | None, Any]]] = set()
        try:
            for url in self._result_urls():
                parts = urlsplit(url)
                params = dict(parse_qsl(parts.query))
                waiting.add(pool.submit(self._page, parts.path, params, land))
                while len(waiting) >= limit:
                    done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                    yield from (each.result()[1] for each in done)
            while waiting:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                yield from (each.result()[1] for each in done)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _result_urls(self) -> Iterator[str]:
        path: str | None = f"jobs/query/{self.id}/resultPages"
        params: dict[str, str] = {}
        while path:
            answer = self.api.get(path, **params)
            yield from (str(page["resultUrl"]) for page in answer.get("resultPages") or ())
            # The documentation writes this key in both ways.
            further = answer.get("nextRecordsUrl") or answer.get("nextRecordUrl")
            if answer.get("done", True) or not further:
                return
            parts = urlsplit(str(further))
            path, params = parts.path, dict(parse_qsl(parts.query))

    def _page(
        self, path: str, params: dict[str, Any], land: Callable[[Download], Any]
    ) -> tuple[str | None, Any]:
        with SpooledTemporaryFile(max_size=PAGE_MEMORY_BYTES_MAX) as body:

            def into(answer: requests.Response) -> tuple[str | None, Any]:
                download = _download(answer, body)
                return download.next, land(download)

            for _ in range(self.api.settings.attempts_max):
                try:
                    found: tuple[str | None, Any] = self.api.read(path, into, **params)
                    return found
                except SalesforceFault as fault:
                    # The results may lag behind the state.
                    if fault.code != "JOB_NOT_COMPLETE":
                        raise
                    self._wait()
            raise ServiceFailed("A query job is complete, and its results do not come")

    def _wait(self) -> None:
        clock = self.api.clock
        deadline = clock.monotonic() + self.api.settings.job_seconds_max
        for turn in range(1_000_000):
            clock.sleep(POLL_SECONDS[min(turn, len(POLL_SECONDS) - 1)])
            job = self.api.get(f"jobs/query/{self.id}")
            state = str(job.get("state"))
            if state == "JobComplete":
                rows = job.get("numberRecordsProcessed")
                self.rows = int(rows) if rows is not None else None
                return
            if state in ("Failed", "Aborted"):
                self.id = ""
                message = str(job.get("errorMessage") or state)
                raise _sorted_out(SalesforceFault(f"The query job failed: {message}", code=state))
            if clock.monotonic() > deadline or self.api.closing.is_set():
                raise ServiceFailed(
                    f"A query job took longer than {self.api.settings.job_seconds_max:g} seconds",
                    hint="Raise job_seconds_max under [sources.salesforce], or try again later.",
                )


def _download(answer: requests.Response, body: IO[bytes]) -> Download:
    """Copy an answer, still compressed: its connection is free before its cells are read."""
    body.seek(0)
    body.truncate()
    for chunk in answer.raw.stream(CHUNK_BYTES, decode_content=False):
        body.write(chunk)
    rows = answer.headers.get("Sforce-NumberOfRecords", "")
    locator = answer.headers.get("Sforce-Locator")
    return Download(
        body=body,
        gzipped=answer.headers.get("Content-Encoding", "").lower() == "gzip",
        rows=int(rows) if rows.isdigit() else None,
        next=None if locator in (None, "", "null") else locator,
    )


def _sorted_out(fault: SalesforceFault) -> Exception:
    """What a refused or failed job means for whoever started it."""
    text = f"{fault.code} {fault.message}"
    if any(mark in text for mark in TIMED_OUT):
        return QueryTimedOut(fault.message)
    if any(mark in text for mark in NOT_FOR_BULK):
        return BulkRefused(fault.message)
    return fault
