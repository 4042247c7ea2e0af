"""Bulk API 2.0 ingest jobs: upload a CSV, close the job, read three result files."""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from tailrace.testing.http.messages import Request, Response
from tailrace.testing.org.describe import Field, SObject
from tailrace.testing.org.generated_rows import checksum
from tailrace.testing.salesforce.bulk import JOB_DAYS_MAX, JobFault, json_body
from tailrace.testing.salesforce.refusals import Refused, not_found, wrong_method
from tailrace.testing.salesforce.render import DELIMITERS, LINE_ENDINGS, java_double
from tailrace.testing.salesforce.replication import stamp
from tailrace.testing.salesforce.write_settings import WriteOptions
from tailrace.testing.salesforce.write_values import NULL_MARK, RowRefused, from_csv
from tailrace.testing.salesforce.writer import OPERATIONS, Writer

INGEST_VERSION_MIN = 41.0
COLUMNS_MAX = 5_000
TRIGGER_ROWS = 200
_KEYS = (
    "object", "operation", "externalIdFieldName", "contentType", "lineEnding", "columnDelimiter",
    "assignmentRuleId",
)  # fmt: skip
_DONE = ("JobComplete", "Failed", "Aborted")
_RESULTS = ("successfulResults", "failedResults", "unprocessedrecords")
_LONE_LF = re.compile(rb"(?<!\r)\n")

Cells = dict[str, str]


@dataclass(kw_only=True)
class IngestJob:
    """One ingest job and its rows."""

    id: str
    version: str
    operation: str
    sobject: str
    key: str | None
    delimiter: str
    line_ending: str
    assignment_rule: str | None
    client: str | None
    created_at: datetime
    started: float = 0.0
    state: str = "Open"
    polls: int = 0
    fate: JobFault | None = None
    upload: bytes | None = None
    columns: list[str] = field(default_factory=list)
    successful: list[tuple[str, bool, Cells]] = field(default_factory=list)
    failed: list[tuple[str, str, Cells]] = field(default_factory=list)
    unprocessed: list[Cells] = field(default_factory=list)
    error: str | None = None
    batches: int = 0

    @property
    def rows(self) -> int:
        """Rows that were processed, successfully or not."""
        return len(self.successful) + len(self.failed)


class InvalidBatch(Exception):
    """An upload that fails the job before any row is processed."""


class Ingest:
    """All ingest jobs of an org.

    An upload is processed when the client closes the job; polls then see `UploadComplete`,
    `InProgress` and the final state, as often as the Bulk settings say.
    """

    def __init__(
        self,
        writer: Writer,
        *,
        polls: Callable[[], int],
        seconds: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        self.writer = writer
        self.jobs: dict[str, IngestJob] = {}
        self.faults: list[JobFault] = []
        self._struck: dict[int, int] = {}
        self._polls = polls
        self._seconds = seconds
        self._monotonic = monotonic
        self._numbers = itertools.count(1)

    def answer(self, request: Request, version: str, steps: list[str]) -> Response:
        """`/jobs/ingest/…`; `steps` is what follows."""
        if float(version) < INGEST_VERSION_MIN:
            raise not_found()
        if not steps:
            if request.method == "POST":
                return self._create(request, version)
            if request.method == "GET":
                jobs = [self._info(job) for job in self.jobs.values()]
                return Response.of_json({"done": True, "records": jobs, "nextRecordsUrl": None})
            raise wrong_method(request.method, "GET,HEAD,POST")
        job = self._find(steps[0])
        if len(steps) == 1:
            return self._one(request, job)
        if steps[1:] == ["batches"]:
            return self._upload(request, job)
        if len(steps) == 2 and steps[1] in _RESULTS:
            if request.method != "GET":
                raise wrong_method(request.method, "GET,HEAD")
            return self._results(job, steps[1])
        raise not_found()

    def batches_today(self) -> int:
        """Internal batches that count towards the day's limit."""
        since = self.writer.org.now() - timedelta(days=1)
        return sum(job.batches for job in self.jobs.values() if job.created_at >= since)

    def _create(self, request: Request, version: str) -> Response:
        body = json_body(request)
        unknown = [name for name in body if name not in _KEYS]
        if unknown:
            raise Refused(400, "JSON_PARSER_ERROR", f'Unrecognized field "{unknown[0]}"')
        operation = body.get("operation")
        if operation == "hardDelete":
            message = "hardDelete operation requires special user profile permission"
            raise Refused(400, "FEATURENOTENABLED", message)
        if operation not in OPERATIONS:
            raise Refused(400, "INVALIDJOB", f"Invalid job operation: {operation}")
        if body.get("contentType", "CSV") != "CSV":
            raise Refused(400, "INVALIDJOB", "contentType must be CSV")
        delimiter = body.get("columnDelimiter", "COMMA")
        line_ending = body.get("lineEnding", "LF")
        if delimiter not in DELIMITERS or line_ending not in LINE_ENDINGS:
            raise Refused(400, "INVALIDJOB", "columnDelimiter or lineEnding is not supported")
        rows = self.writer.org.find(str(body.get("object")))
        if rows is None:
            raise Refused(400, "INVALIDJOB", f"InvalidJob : object {body.get('object')} not found")
        key = self._key(rows.spec, body) if operation == "upsert" else None
        if self.batches_today() >= self.writer.settings.ingest_batches_max:
            raise Refused(400, "LIMIT_EXCEEDED", "DailyBulkApiBatches limit exceeded")
        number = f"750Hi{next(self._numbers):010d}"
        options = WriteOptions.of_headers(request.headers)
        job = IngestJob(
            id=number + checksum(number),
            version=version,
            operation=str(operation),
            sobject=rows.spec.name,
            key=key,
            delimiter=DELIMITERS[delimiter],
            line_ending=LINE_ENDINGS[line_ending],
            assignment_rule=body.get("assignmentRuleId"),
            client=options.client,
            created_at=self.writer.org.now(),
        )
        self.jobs[job.id] = job
        return Response.of_json(self._info(job))

    def _key(self, spec: SObject, body: Mapping[str, Any]) -> str:
        name = str(body.get("externalIdFieldName") or "")
        key = spec.find(name)
        if key is None or not (key.id_lookup):
            message = f"InvalidJob : Field name {name!r} is not an external id of {spec.name}"
            raise Refused(400, "INVALIDJOB", message)
        return key.name

    def _upload(self, request: Request, job: IngestJob) -> Response:
        if request.method != "PUT":
            raise wrong_method(request.method, "PUT")
        if request.content_type != "text/csv":
            message = f"Content-Type {request.content_type or '(none)'} is not text/csv"
            raise Refused(415, "UNSUPPORTED_MEDIA_TYPE", message)
        if job.state != "Open" or job.upload is not None:
            message = f"Found multiple contents for job: <{job.id}>, please 'Close' / 'Abort'"
            raise Refused(400, "INVALIDJOBSTATE", message)
        content = request.content()
        if len(content) > self.writer.settings.ingest_bytes_max:
            message = f"The upload exceeds {self.writer.settings.ingest_bytes_max} bytes"
            raise Refused(413, "EXCEEDED_MAX_SIZE_REQUEST", message)
        job.upload = content
        return Response(status=201)

    def _one(self, request: Request, job: IngestJob) -> Response:
        if request.method == "GET":
            self._poll(job)
            return Response.of_json(self._info(job, full=True))
        if request.method == "PATCH":
            state = json_body(request).get("state")
            if state == "Aborted" and job.state not in _DONE:
                job.state = "Aborted"
                job.upload = None
            elif state == "UploadComplete" and job.state == "Open":
                self._close(job)
            else:
                message = f"Job state cannot change from {job.state} to {state}"
                raise Refused(400, "INVALIDJOBSTATE", message)
            return Response.of_json(self._info(job))
        if request.method == "DELETE":
            if job.state not in _DONE:
                message = f"Deleting a job in state {job.state} is not allowed"
                raise Refused(400, "INVALIDJOBSTATE", message)
            del self.jobs[job.id]
            return Response(status=204)
        raise wrong_method(request.method, "DELETE,GET,HEAD,PATCH")

    def _close(self, job: IngestJob) -> None:
        """Process the upload; the client sees the outcome only after some polls."""
        job.state = "UploadComplete"
        job.started = self._monotonic()
        job.fate = self._fate(job)
        with self.writer.org.lock:
            try:
                self._process(job, self._parsed(job))
            except InvalidBatch as error:
                job.error = f"InvalidBatch : {error}"
        job.upload = None

    def _poll(self, job: IngestJob) -> None:
        if job.state in ("Open", *_DONE):
            return
        job.polls += 1
        ran = self._monotonic() - job.started
        if job.polls <= self._polls() or ran < self._seconds():
            job.state = "InProgress"
        elif job.fate is not None:
            job.state, job.error = job.fate.state, job.fate.message
        else:
            job.state = "Failed" if job.error else "JobComplete"

    def _fate(self, job: IngestJob) -> JobFault | None:
        for fault in self.faults:
            struck = self._struck.get(id(fault), 0)
            matches = fault.contains in f"{job.operation} {job.sobject}"
            if matches and (fault.times is None or struck < fault.times):
                self._struck[id(fault)] = struck + 1
                return fault
        return None

    def _parsed(self, job: IngestJob) -> list[list[str]]:
        """The rows of the upload.

        Raises:
            InvalidBatch: The upload is not CSV of the declared form, or has an unknown column.
        """
        data = job.upload or b""
        expected = job.line_ending.encode()
        broken = b"\r\n" in data if expected == b"\n" else bool(_LONE_LF.search(data))
        if broken and b'"' not in data:
            setting = "LF" if expected == b"\n" else "CRLF"
            message = "LineEnding is invalid on user data. Current LineEnding setting is"
            raise InvalidBatch(f"{message} {setting}")
        try:
            text = data.decode()
            reader = csv.reader(io.StringIO(text, newline=""), delimiter=job.delimiter, strict=True)
            job.columns = next(reader, [])
            rows = [row for row in reader if row]
        except (UnicodeDecodeError, csv.Error) as error:
            raise InvalidBatch(str(error)) from None
        if not job.columns or len(job.columns) > COLUMNS_MAX:
            raise InvalidBatch(f"The header must name 1 to {COLUMNS_MAX} columns")
        wrong = [row for row in rows if len(row) != len(job.columns)]
        if wrong:
            raise InvalidBatch(f"Row has {len(wrong[0])} cells, the header {len(job.columns)}")
        return rows

    def _process(self, job: IngestJob, rows: Sequence[list[str]]) -> None:
        readers = self._readers(job)
        options = WriteOptions(
            api="bulkapi",
            client=job.client,
            assign=job.assignment_rule is not None,
        )
        locked = self._locked_rows(job, rows)
        job.batches = -(-len(rows) // self.writer.settings.ingest_batch_rows)
        stop = len(rows) if job.fate is None else min(job.fate.after_rows, len(rows))
        spec = self.writer.spec(job.sobject)
        for start in range(0, stop, TRIGGER_ROWS):
            chunk = rows[start : min(start + TRIGGER_ROWS, stop)]
            for offset, row in enumerate(chunk):
                cells = dict(zip(job.columns, row, strict=True))
                try:
                    self.writer.check_trigger(spec, len(chunk))
                    if start + offset in locked:
                        message = "unable to obtain exclusive access to this record"
                        raise RowRefused("UNABLE_TO_LOCK_ROW", message)
                    self._write(job, spec, readers, cells, options)
                except RowRefused as refusal:
                    names = ",".join(refusal.fields)
                    error = f"{refusal.code}:{refusal.message}:{names} --"
                    job.failed.append(("", error, cells))
        job.unprocessed = [dict(zip(job.columns, row, strict=True)) for row in rows[stop:]]

    def _write(
        self,
        job: IngestJob,
        spec: SObject,
        readers: Mapping[str, tuple[Field, Callable[[str], Any]]],
        cells: Cells,
        options: WriteOptions,
    ) -> None:
        # An empty cell leaves the field as it is.
        texts = {name: text for name, text in cells.items() if text != ""}
        values = {readers[name][0].name: readers[name][1](text) for name, text in texts.items()}
        record_id = values.pop("Id", None)
        if job.operation == "insert":
            saved = self.writer.insert(spec, values, options)
        elif job.operation == "upsert" and job.key != "Id":
            key = self.writer.key_field(spec, str(job.key))
            saved = self.writer.upsert(spec, key, values.pop(key.name, None), values, options)
        elif record_id is None:
            raise RowRefused("MISSING_ARGUMENT", "Id not specified", "Id")
        elif job.operation == "delete":
            saved = self.writer.delete(spec, record_id, options)
        else:
            saved = self.writer.update(spec, record_id, values, options)
        shown = {
            name: _as_stored(readers[name][0], values.get(readers[name][0].name), text)
            for name, text in cells.items()
        }
        job.successful.append((saved.id, saved.created, shown))

    def _readers(self, job: IngestJob) -> dict[str, tuple[Field, Callable[[str], Any]]]:
        """Column -> its field, and how to read a cell."""
        spec = self.writer.spec(job.sobject)
        readers: dict[str, tuple[Field, Callable[[str], Any]]] = {}
        for name in job.columns:
            relationship, _, key = name.partition(".")
            field = spec.find_lookup(relationship) if key else spec.find(name)
            # The spelling of describe: a name in another case loses the job's results.
            if field is None or (not key and field.name != name):
                raise InvalidBatch(f"Field name not found : {name}")
            readers[name] = (field, self._reader(spec, field, key))
        return readers

    def _reader(self, spec: SObject, field: Field, key: str) -> Callable[[str], Any]:
        if not key:
            return lambda text: from_csv(field, text)
        return lambda text: (
            None if text == NULL_MARK else self.writer.parent_id(spec, field, key, text)
        )

    def _locked_rows(self, job: IngestJob, rows: Sequence[list[str]]) -> set[int]:
        """Rows whose parent is locked by another batch, if the org locks parents."""
        settings = self.writer.settings
        if not settings.lock_parents:
            return set()
        spec = self.writer.spec(job.sobject)
        lookups = [
            index
            for index, name in enumerate(job.columns)
            if (field := spec.find(name) or spec.find_lookup(name.partition(".")[0]))
            and field.type == "reference"
        ]
        last: dict[tuple[int, str], int] = {}
        locked: set[int] = set()
        for number, row in enumerate(rows):
            for index in lookups:
                before = last.get((index, row[index]), number - 1)
                apart = before != number - 1
                size = settings.ingest_batch_rows
                if row[index] and apart and before // size != number // size:
                    locked.add(number)
                last[index, row[index]] = number
        return locked

    def _results(self, job: IngestJob, kind: str) -> Response:
        if job.state not in _DONE:
            raise Refused(400, "INVALIDJOBSTATE", f"The job is {job.state}")
        if kind == "successfulResults":
            head = ["sf__Id", "sf__Created"]
            # Batches end in any order, so that results cannot be matched by position.
            lines = [
                [record_id, str(created).lower(), *cells.values()]
                for record_id, created, cells in reversed(job.successful)
            ]
        elif kind == "failedResults":
            head = ["sf__Id", "sf__Error"]
            lines = [[record_id, error, *cells.values()] for record_id, error, cells in job.failed]
        else:
            head = []
            lines = [list(cells.values()) for cells in job.unprocessed]
        if not lines and self.writer.settings.empty_results == "no_content":
            return Response(status=204)
        text = io.StringIO()
        writer = csv.writer(
            text,
            delimiter=job.delimiter,
            lineterminator=job.line_ending,
            quoting=csv.QUOTE_ALL,
        )
        writer.writerow([*head, *job.columns])
        writer.writerows(lines)
        return Response(body=text.getvalue().encode(), headers={"Content-Type": "text/csv"})

    def _find(self, job_id: str) -> IngestJob:
        job = self.jobs.get(job_id)
        age = self.writer.org.now() - job.created_at if job else timedelta()
        if job is None or age > timedelta(days=JOB_DAYS_MAX):
            raise not_found()
        return job

    def _info(self, job: IngestJob, *, full: bool = False) -> dict[str, Any]:
        info: dict[str, Any] = {
            "id": job.id,
            "operation": job.operation,
            "object": job.sobject,
            "createdById": self.writer.org.user_id(),
            "createdDate": stamp(job.created_at),
            "systemModstamp": stamp(job.created_at),
            "state": job.state,
            "concurrencyMode": "Parallel",
            "contentType": "CSV",
            "apiVersion": float(job.version),
            "contentUrl": f"services/data/v{job.version}/jobs/ingest/{job.id}/batches",
            "lineEnding": next(k for k, v in LINE_ENDINGS.items() if v == job.line_ending),
            "columnDelimiter": next(k for k, v in DELIMITERS.items() if v == job.delimiter),
        }
        if job.key:
            info["externalIdFieldName"] = job.key
        if job.assignment_rule:
            info["assignmentRuleId"] = job.assignment_rule
        if full:
            done = job.state in _DONE
            info |= {
                "jobType": "V2Ingest",
                "retries": 0,
                "totalProcessingTime": 12,
                "apiActiveProcessingTime": 10,
                "apexProcessingTime": 0,
                "numberRecordsProcessed": job.rows if done else 0,
                "numberRecordsFailed": len(job.failed) if done else 0,
            }
        if job.state == "Failed" and job.error:
            info["errorMessage"] = job.error
        return info


def _as_stored(field: Field, value: Any, text: str) -> str:
    """A cell of the results, in the form in which the org stores the value."""
    if isinstance(value, bool) or value is None:
        return text
    if isinstance(value, float):
        return java_double(value)
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%S.000Z")
    return text
