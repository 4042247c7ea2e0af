"""Bulk API 2.0 query jobs."""

from __future__ import annotations

import base64
import binascii
import gzip
import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from isal import igzip

from tailrace.testing.http.messages import Request, Response
from tailrace.testing.org.definitions import FIELD_DEFINITION
from tailrace.testing.org.generated_rows import checksum
from tailrace.testing.org.org import Org
from tailrace.testing.salesforce import soql
from tailrace.testing.salesforce.behavior import OrgBehavior
from tailrace.testing.salesforce.languages import localized_job_error
from tailrace.testing.salesforce.pages import Pages, page_key
from tailrace.testing.salesforce.refusals import Refused, not_found, not_played, wrong_method
from tailrace.testing.salesforce.render import DELIMITERS, LINE_ENDINGS, csv_header, csv_rows
from tailrace.testing.salesforce.replication import stamp
from tailrace.testing.salesforce.select import Result, check, repeated, select, too_many_rows

JOB_DAYS_MAX = 7
RESULT_PAGES_AT_ONCE = 5
QUERY_VERSION_MIN = 47.0
RESULT_PAGES_VERSION_MIN = 58.0
_KNOWN_KEYS = ("operation", "query", "contentType", "columnDelimiter", "lineEnding")
_DONE = ("JobComplete", "Failed", "Aborted")
# The prefix of the addresses in /resultPages, by `OrgBehavior.result_pages`.
_PAGE_ROOTS = {
    "documented": "/services/data/v{version}/",
    "absolute": "{host}/services/data/v{version}/",
    "chunks": "/",
    "chunks_relative": "",
}


@dataclass(kw_only=True)
class BulkSettings:
    """Options of Bulk jobs; they may change while the simulator runs.

    Args:
        page_rows: rows in a page if the client does not set `maxRecords`.
        polls: number of polls that find a job unfinished.
        job_seconds: minimum time that a job runs.
        header: column names on "every" page or on the "first" only.
        rows_max: query jobs with more rows fail with QUERY_TIMEOUT.
        jobs_max: query jobs in 24 hours.
    """

    page_rows: int = 50_000
    polls: int = 1
    job_seconds: float = 0.0
    header: str = "every"
    rows_max: int | None = None
    jobs_max: int = 10_000


@dataclass(frozen=True, kw_only=True)
class JobFault:
    """Jobs that end in another state than JobComplete.

    Args:
        contains: text in the query, or in "{operation} {object}" of an ingest job.
        message: the job's `errorMessage`.
        state: Failed or Aborted.
        times: how many jobs; None = all.
        after_rows: rows that an ingest job processes before; the others stay unprocessed.
    """

    contains: str = ""
    message: str = "QUERY_TIMEOUT: Your query request was running for too long."
    state: str = "Failed"
    times: int | None = 1
    after_rows: int = 0


@dataclass(kw_only=True)
class Job:
    """One query job."""

    id: str
    version: str
    operation: str
    query: str
    delimiter: str
    line_ending: str
    created_at: datetime
    started: float
    result: Result
    state: str = "UploadComplete"
    polls: int = 0
    error: str | None = None
    fate: JobFault | None = None
    pk_chunking: bool = True
    changed_at: datetime = field(default=datetime.min)


class Bulk:
    """The query jobs of an org."""

    def __init__(
        self,
        org: Org,
        settings: BulkSettings,
        pages: Pages,
        behavior: OrgBehavior,
        *,
        monotonic: Callable[[], float],
    ) -> None:
        self.org = org
        self.behavior = behavior
        self.settings = settings
        self.jobs: dict[str, Job] = {}
        self.faults: list[JobFault] = []
        self._struck: dict[int, int] = {}
        self._pages = pages
        self._monotonic = monotonic
        self._numbers = itertools.count(1)
        self._turns = itertools.count(1)

    def answer(self, request: Request, version: str, steps: list[str]) -> Response:
        """`/jobs/query/…`; `steps` is what follows."""
        if float(version) < QUERY_VERSION_MIN:
            raise not_found()
        if not steps:
            if request.method == "POST":
                return self._create(request, version)
            if request.method == "GET":
                return self._list()
            raise wrong_method(request.method, "GET,HEAD,POST")
        job = self._find(steps[0])
        if len(steps) == 1:
            return self._one(request, job)
        if len(steps) == 2 and steps[1] in ("results", "resultPages"):
            if request.method != "GET":
                raise wrong_method(request.method, "GET,HEAD")
            self._check_readable(job, version)
            return (
                self._results(request, job)
                if steps[1] == "results"
                else self._listed(request, job, version)
            )
        raise not_found()

    def warm(self, text: str, operation: str = "query") -> int:
        """Render the pages of a query in advance, for benchmarks."""
        result = self._select(text, operation)
        for offset in range(0, result.rows, self.settings.page_rows):
            rows = min(self.settings.page_rows, result.rows - offset)
            self._page(result, ",", "\n", offset, rows)
        return result.rows

    def created_today(self) -> int:
        """Number of jobs that count towards the limit of 24 hours."""
        since = self.org.now() - timedelta(days=1)
        return sum(job.created_at >= since for job in self.jobs.values())

    def _create(self, request: Request, version: str) -> Response:
        body = json_body(request)
        unknown = [name for name in body if name not in _KNOWN_KEYS]
        if unknown:
            raise Refused(400, "JSON_PARSER_ERROR", f'Unrecognized field "{unknown[0]}"')
        operation = body.get("operation")
        if operation not in ("query", "queryAll"):
            raise Refused(400, "INVALIDJOB", f"Invalid job operation: {operation}")
        if body.get("contentType", "CSV") != "CSV":
            raise Refused(400, "INVALIDJOB", "contentType must be CSV")
        delimiter = body.get("columnDelimiter", "COMMA")
        line_ending = body.get("lineEnding", "LF")
        if delimiter not in DELIMITERS or line_ending not in LINE_ENDINGS:
            raise Refused(400, "INVALIDJOB", "columnDelimiter or lineEnding is not supported")
        if self.created_today() >= self.settings.jobs_max:
            raise Refused(400, "LIMIT_EXCEEDED", "DailyBulkV2QueryJobs limit exceeded")
        text = str(body.get("query") or "")
        result = self._select(text, operation)
        number = f"750Hs{next(self._numbers):010d}"
        job = Job(
            id=number + checksum(number),
            version=version,
            operation=operation,
            query=text,
            delimiter=DELIMITERS[delimiter],
            line_ending=LINE_ENDINGS[line_ending],
            created_at=self.org.now(),
            started=self._monotonic(),
            result=result,
            fate=self._fate(text, result),
            pk_chunking=not result.query.order and result.query.limit is None,
        )
        self.jobs[job.id] = job
        return Response.of_json(self._info(job))

    def _select(self, text: str, operation: str) -> Result:
        """Run the query after checking what Bulk refuses and REST does not."""
        try:
            query = soql.parse(text, now=self.org.now())
            rows = self.org.find(query.sobject)
            virtual = query.sobject.lower() == FIELD_DEFINITION.name.lower()
            if virtual or (rows is not None and not rows.spec.bulk):
                message = f"Entity '{query.sobject}' is not supported by the Bulk API."
                raise Refused(400, "INVALIDENTITY", message)
            if query.count or query.aggregates or query.group_by:
                message = "Aggregate queries are not supported in Bulk Query"
                raise Refused(400, "FEATURENOTENABLED", message)
            if query.offset is not None:
                message = "OFFSET is not supported in Bulk Query"
                raise Refused(400, "FEATURENOTENABLED", message)
            fields = check(query, rows.spec if rows is not None else None)
            for field in fields:
                if field.type in ("address", "location"):
                    message = "Selecting compound data not supported in Bulk Query"
                    raise Refused(400, "FUNCTIONALITY_NOT_ENABLED", message)
                if field.type == "base64":
                    message = "Binary fields cannot be selected in Bulk Query"
                    raise Refused(400, "FUNCTIONALITY_NOT_ENABLED", message)
            assert rows is not None
            with self.org.lock:
                result = select(query, rows, deleted=operation == "queryAll")
        except soql.SoqlError as error:
            raise Refused(400, error.code, error.message) from None
        except soql.NotPlayed as error:
            raise not_played(str(error)) from None
        return repeated(result, self.behavior)

    def _fate(self, text: str, result: Result) -> JobFault | None:
        limit = self.settings.rows_max
        if limit is not None and result.rows > limit:
            message = "QUERY_TIMEOUT: Query was retried more than 15 times."
            return JobFault(message=message)
        too_many = too_many_rows(result, self.behavior)
        if too_many is not None:
            return JobFault(message=f"{self.behavior.query_rows_error}: {too_many}")
        for fault in self.faults:
            struck = self._struck.get(id(fault), 0)
            if fault.contains in text and (fault.times is None or struck < fault.times):
                self._struck[id(fault)] = struck + 1
                return fault
        return None

    def _list(self) -> Response:
        jobs = [self._info(job) for job in self.jobs.values()]
        return Response.of_json({"done": True, "records": jobs, "nextRecordsUrl": None})

    def _one(self, request: Request, job: Job) -> Response:
        if request.method == "GET":
            self._poll(job)
            return Response.of_json(self._info(job, full=True))
        if request.method == "PATCH":
            if json_body(request) != {"state": "Aborted"}:
                raise Refused(400, "INVALIDJOB", "Only state Aborted can be set")
            if job.state in _DONE:
                message = f"Aborting already {job.state} Job not allowed"
                raise Refused(400, "INVALIDJOBSTATE", message)
            job.state = "Aborted"
            return Response.of_json(self._info(job))
        if request.method == "DELETE":
            if job.state not in _DONE:
                message = f"Deleting a job in state {job.state} is not allowed"
                raise Refused(400, "INVALIDJOBSTATE", message)
            del self.jobs[job.id]
            return Response(status=204)
        raise wrong_method(request.method, "DELETE,GET,HEAD,PATCH")

    def _poll(self, job: Job) -> None:
        """Advance the state of the job by one poll."""
        if job.state in _DONE:
            return
        job.polls += 1
        ran = self._monotonic() - job.started
        if job.polls <= self.settings.polls or ran < self.settings.job_seconds:
            job.state = "InProgress"
        elif job.fate is not None:
            job.state, job.error = job.fate.state, job.fate.message
        else:
            job.state = "JobComplete"

    def _find(self, job_id: str) -> Job:
        job = self.jobs.get(job_id) or self.jobs.get(job_id + checksum(job_id[:15]))
        if job is None or self.org.now() - job.created_at > timedelta(days=JOB_DAYS_MAX):
            raise not_found()
        return job

    def _check_readable(self, job: Job, version: str) -> None:
        if version != job.version:
            message = f"The job was created with API version {job.version}, not {version}"
            raise Refused(409, "CONFLICT", message)
        if job.state in ("Failed", "Aborted"):
            raise Refused(400, "INVALIDJOBSTATE", f"The job is {job.state}; it has no results")
        if job.state != "JobComplete":
            raise Refused(412, "JOB_NOT_COMPLETE", f"The job is {job.state}, not JobComplete")

    def _results(self, request: Request, job: Job) -> Response:
        offset = _offset(job, request.query.get("locator"))
        rows = self.settings.page_rows
        if "maxRecords" in request.query:
            asked = request.query["maxRecords"]
            if not asked.isdecimal() or int(asked) < 1:
                raise Refused(400, "INVALID_ARGUMENT", f"maxRecords: {asked!r} is not a number")
            rows = int(asked)
        taken = min(rows, job.result.rows - offset)
        end = offset + taken
        gzipped = self._page(job.result, job.delimiter, job.line_ending, offset, taken)
        wants_gzip = "gzip" in request.headers.get("accept-encoding", "").lower()
        headers = {
            "Content-Type": "text/csv",
            "Sforce-Locator": self._following(job, offset, end),
            "Sforce-NumberOfRecords": str(taken + self.behavior.page_rows_offset),
        }
        if not self.behavior.page_rows_header:
            del headers["Sforce-NumberOfRecords"]
        return Response(
            body=b"" if wants_gzip else gzip.decompress(gzipped), gzipped=gzipped, headers=headers
        )

    def _following(self, job: Job, offset: int, end: int) -> str:
        """The locator of the next page; "null" on the last one."""
        pages_max = self.behavior.bulk_pages_max
        if pages_max is not None and end >= pages_max * self.settings.page_rows:
            return "null"
        if self.behavior.paging == "repeats":
            return _locator(job, offset)
        if end < job.result.rows:
            return _locator(job, end)
        if self.behavior.paging == "endless":
            return _locator(job, 0, turn=next(self._turns))
        return "null"

    def _page(
        self, result: Result, delimiter: str, line_ending: str, offset: int, rows: int
    ) -> bytes:
        """A page of CSV, compressed, with its header line if the page has one."""
        headed = offset == 0 or self.settings.header == "every"
        pieces = list(result.pieces(offset, rows))

        def render() -> bytes:
            parts = [csv_header(result.fields, delimiter, line_ending)] if headed else []
            parts += [csv_rows(result, piece, delimiter, line_ending) for piece in pieces]
            return bytes(igzip.compress(b"".join(parts), 1))

        key = page_key(result, pieces, "csv", delimiter, line_ending, headed)
        return self._pages.get(key, render)

    def _listed(self, request: Request, job: Job, version: str) -> Response:
        """Up to five addresses of pages."""
        if float(version) < RESULT_PAGES_VERSION_MIN:
            raise not_found()
        shape = self.behavior.result_pages
        if shape == "not_found":
            raise not_found()
        if shape == "bad_request":
            raise Refused(400, "FEATURENOTENABLED", "resultPages is not enabled in this org")
        start = _offset(job, request.query.get("locator"))
        offsets = list(range(start, max(job.result.rows, 1), self.settings.page_rows))
        now, later = offsets[:RESULT_PAGES_AT_ONCE], offsets[RESULT_PAGES_AT_ONCE:]
        listed_max = self.behavior.result_pages_listed_max
        listed_before = start // self.settings.page_rows
        if listed_max is not None and listed_before + len(now) >= listed_max:
            now, later = now[: max(listed_max - listed_before, 0)], []
        following = later[0] if later else None
        if self.behavior.paging == "repeats":
            following = start
        root = _PAGE_ROOTS[shape].format(
            host=f"http://{request.headers.get('host', '')}", version=version
        )
        pages = f"{root}jobs/query/{job.id}"
        links = [f"{pages}/results?locator={_locator(job, offset)}" for offset in now]
        chunks = shape.startswith("chunks")
        name, link = ("resultChunks", "resultLink") if chunks else ("resultPages", "resultUrl")
        more = f"{pages}/resultPages?locator={_locator(job, following or 0)}"
        return Response.of_json(
            {
                name: [{link: address} for address in links],
                "nextRecordsUrl": None if following is None else more,
                "done": following is None,
            }
        )

    def _info(self, job: Job, *, full: bool = False) -> dict[str, Any]:
        info: dict[str, Any] = {
            "id": job.id,
            "operation": job.operation,
            "object": job.result.spec.name,
            "createdById": self.org.user_id(),
            "createdDate": stamp(job.created_at),
            "systemModstamp": stamp(job.created_at),
            "state": job.state,
            "concurrencyMode": "Parallel",
            "contentType": "CSV",
            "apiVersion": float(job.version),
            "lineEnding": next(k for k, v in LINE_ENDINGS.items() if v == job.line_ending),
            "columnDelimiter": next(k for k, v in DELIMITERS.items() if v == job.delimiter),
        }
        if full:
            info |= {"jobType": "V2Query", "retries": 0, "totalProcessingTime": 12}
            info["isPkChunkingSupported"] = job.pk_chunking
            done = job.state == "JobComplete"
            rows = job.result.rows + self.behavior.job_rows_offset
            info["numberRecordsProcessed"] = rows if done else 0
        if job.error:
            info["errorMessage"] = localized_job_error(job.error, self.behavior.language)
        return info


def json_body(request: Request) -> dict[str, Any]:
    """The JSON object in the body of a request.

    Raises:
        Refused: The body is not a JSON object, or is sent as something else.
    """
    if request.content_type != "application/json":
        message = f"Content-Type {request.content_type or '(none)'} is not application/json"
        raise Refused(415, "UNSUPPORTED_MEDIA_TYPE", message)
    try:
        body = json.loads(request.content())
    except ValueError as error:
        raise Refused(400, "JSON_PARSER_ERROR", str(error)) from None
    if not isinstance(body, dict):
        raise Refused(400, "JSON_PARSER_ERROR", "The body must be an object")
    return body


def _locator(job: Job, offset: int, *, turn: int = 0) -> str:
    """An opaque text for an offset in a job's rows; `turn` gives the same page another text."""
    text = f"{job.id[5:15]}.{offset}" + (f".{turn}" if turn else "")
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _offset(job: Job, locator: str | None) -> int:
    if locator is None:
        return 0
    try:
        text = base64.urlsafe_b64decode(locator + "=" * (-len(locator) % 4)).decode("ascii")
        owner, offset, *_ = text.split(".")
        if owner == job.id[5:15] and 0 <= int(offset) <= job.result.rows:
            return int(offset)
    except (binascii.Error, ValueError):
        pass
    raise Refused(400, "INVALID_LOCATOR", f"The locator {locator!r} is not one of this job's")
