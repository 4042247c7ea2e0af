"""Bulk API 2.0 ingest: one CSV file, one job, three result files.

Wire formats: "Bulk API 2.0 Ingest" in the Bulk API guide. An empty cell leaves a field as it is,
`#N/A` clears it. Results are in no order and hold rows as they are stored, so that they are matched
with the uploaded rows by the external id (or Id) alone.
"""

from __future__ import annotations

import csv
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import orjson
import requests

from tailrace.clock import Clock
from tailrace.destinations.ingest import JobResult, JobState, LineTemplates
from tailrace.destinations.messages import Message
from tailrace.destinations.salesforce.codes import action_for_row, split_job_error
from tailrace.destinations.salesforce.describe import NUMBER_TYPES, WritableField, WritableObject
from tailrace.destinations.salesforce.header import WriteBack
from tailrace.destinations.salesforce.job_ids import JobIds
from tailrace.destinations.salesforce.job_lines import csv_line, line_templates
from tailrace.destinations.salesforce.records import Records, fold, headers_of, read_record
from tailrace.destinations.salesforce.rules import Target, target
from tailrace.destinations.salesforce.values import NULL_CELL, cell_of
from tailrace.errors import AnswerUnreadable, SalesforceFault, ServiceFailed
from tailrace.salesforce.answers import as_mapping, as_text, parse_json
from tailrace.salesforce.bounded_http import read_body
from tailrace.salesforce.client import Api
from tailrace.salesforce.faults import BULK_LIMIT_CODES
from tailrace.warehouse.statements import Column

log = logging.getLogger(__name__)

# 150 MB after base64, which is how Salesforce counts an upload.
FILE_BYTES_MAX = 100_000_000
ROWS_MAX = 1_000_000
POLL_SECONDS_FIRST = 1.0
POLL_SECONDS_MAX = 30.0
UPLOAD_SECONDS_MAX = 600.0
# Attempts of a call that hands over a job; until it is closed, no row of it is processed.
ATTEMPTS_MAX = 4
RESULT_FILES = ("failedResults/", "unprocessedrecords/", "successfulResults/")
_DONE = frozenset({"JobComplete", "Failed", "Aborted"})
# The org takes no job of this object today, or not at all.
_NO_JOBS = BULK_LIMIT_CODES | {"INVALIDJOB", "FEATURENOTENABLED", "INVALIDENTITY"}
_GONE = frozenset({"NOT_FOUND", "404", "INVALID_ID_FIELD"})


class JobFile:
    """The CSV of one job, on disk. Implements `protocol.JobFile`.

    Args:
        columns: The name of each CSV column by the keys of a record that fill it.
    """

    def __init__(
        self,
        path: Path,
        *,
        columns: Mapping[tuple[str, ...], str],
        key_path: tuple[str, ...],
        key_of: Callable[[Any], str],
        kinds: frozenset[str],
        bytes_max: int,
    ) -> None:
        self.path = path
        self.rows = 0
        self._columns = columns
        self._names = list(dict.fromkeys(columns.values()))
        self._key_path = key_path
        self._key_of = key_of
        self._kinds = kinds
        self._bytes_max = bytes_max
        self._bytes = 0
        self._parsed: tuple[Message | None, dict[str, Any]] = (None, {})
        self._file = path.open("wb")
        self._file.write(csv_line(self._names))

    def key(self, message: Message) -> str | None:
        """The key of a record that this file can hold; None for any other."""
        if message.kind not in self._kinds:
            return None
        record = self._record(message)
        if NULL_CELL in record.values() or {NULL_CELL} & _parent_keys(record):
            # In a CSV file this text would clear the field.
            return None
        return self._key_of(record[self._key_path[0]])

    def keys(self, texts: Sequence[str | None]) -> list[str]:
        """The keys of rendered lines, by the texts of their key columns."""
        key_of = self._key_of
        return [key_of(text) if text is not None else "" for text in texts]

    def add(self, message: Message) -> bool:
        """Add a record; False if the file is full without it."""
        cells = self._cells(self._record(message))
        return self.add_lines([csv_line([cells.get(name, "") for name in self._names])])

    def add_lines(self, lines: Sequence[bytes]) -> bool:
        """Add rendered lines; False, and none of them, if the file is full without them."""
        text = b"".join(lines)
        is_full = self._bytes + len(text) > self._bytes_max or self.rows + len(lines) > ROWS_MAX
        if is_full and (self.rows or len(lines) > 1):
            return False
        self._file.write(text)
        self._bytes += len(text)
        self.rows += len(lines)
        return True

    def close(self) -> None:
        """End the file, so that it can be uploaded."""
        self._file.close()

    def delete(self) -> None:
        """Remove the file: it holds personal values."""
        self._file.close()
        self.path.unlink(missing_ok=True)

    def _record(self, message: Message) -> dict[str, Any]:
        """The record of a message; `key` and `add` ask for the same one in turn."""
        if self._parsed[0] is not message:
            self._parsed = (message, read_record(message.body))
        return self._parsed[1]

    def _cells(self, record: Mapping[str, Any]) -> dict[str, str]:
        cells: dict[str, str] = {}
        for name, value in record.items():
            if name == "attributes":
                continue
            if isinstance(value, dict):
                ((inner, value),) = value.items()
                cells[self._columns[name, inner]] = cell_of(value)
            else:
                cells[self._columns[(name,)]] = cell_of(value)
        return cells


class IngestJobs:
    """The ingest jobs of one audience. Implements `protocol.IngestJobs`."""

    def __init__(
        self,
        api: Api,
        write_back: WriteBack,
        *,
        described: WritableObject,
        parents: Mapping[str, WritableObject],
        clock: Clock,
        seconds_max: float,
        file_bytes_max: int = FILE_BYTES_MAX,
    ) -> None:
        self._api = api
        self._write_back = write_back
        self._object = described.name
        self._described = described
        self._parents = parents
        self._clock = clock
        self._seconds_max = seconds_max
        self._file_bytes_max = file_bytes_max
        key = described.find(write_back.match_field or "")
        assert key is not None
        self._key = key
        written = {**write_back.fields, **write_back.exit_fields}
        targets = [target(name, described, parents) for name in written]
        self._columns = {(key.name,): key.name, **_columns(targets)}
        # Updates by an external id: the file gets the ids before the upload.
        self._ids: JobIds | None = None
        # The column that result files are matched by.
        self._result_key = key
        if write_back.by_id:
            self._kinds = frozenset({"update", "clear", "set"})
        else:
            self._kinds = frozenset({write_back.mode})
        if write_back.mode == "update" and not write_back.by_id:
            self._ids = JobIds(Records(api, write_back, object_name=described.name), key)
            self._result_key = WritableField(name="Id", type="id")
        headers = headers_of(write_back)
        self._headers = {name: headers[name] for name in ("Sforce-Call-Options", "Content-Type")}

    def line_templates(
        self, columns: Sequence[Column], *, keys: Sequence[Column], changes: bool
    ) -> LineTemplates | None:
        """The lines as templates for the warehouse; None if rows are added one by one."""
        return line_templates(
            self._write_back,
            self._described,
            self._parents,
            file_columns=list(dict.fromkeys(self._columns.values())),
            columns=columns,
            keys=keys,
            changes=changes,
        )

    def new_file(self, path: Path) -> JobFile:
        """An empty file for a job."""
        return JobFile(
            path,
            columns=self._columns,
            key_path=(self._key.name,),
            key_of=key_function(self._key),
            kinds=self._kinds,
            bytes_max=self._file_bytes_max,
        )

    def create(self) -> str | None:
        """Create a job; returns its id, or None if requests have to send the rows.

        Raises:
            SalesforceFault: The org has no more batches today, or the object takes no jobs, and
                the header asks for the Bulk API.
        """
        body: dict[str, Any] = {
            "object": self._object,
            "operation": self._write_back.mode,
            "contentType": "CSV",
            "lineEnding": "LF",
            "columnDelimiter": "COMMA",
        }
        if self._write_back.mode == "upsert":
            body["externalIdFieldName"] = self._key.name
        try:
            # A job that was created twice has no rows, and ends by itself.
            answer = self._call("POST", "jobs/ingest", body, attempts_max=ATTEMPTS_MAX)
        except SalesforceFault as fault:
            if self._write_back.api == "bulk" or fault.code not in _NO_JOBS:
                raise
            log.warning("%s: no Bulk job (%s); rows go by requests", self._object, fault.code)
            return None
        return as_text(answer.get("id"), "the id of an ingest job")

    def upload(self, job_id: str, file: Path) -> None:
        """Upload the CSV and close the job, so that Salesforce starts to process it."""
        if self._ids is None:
            self._upload(job_id, file)
            return
        with_ids = file.with_suffix(".ids.csv")
        try:
            self._ids.write(file, with_ids)
            self._upload(job_id, with_ids)
        finally:
            with_ids.unlink(missing_ok=True)

    def _upload(self, job_id: str, file: Path) -> None:
        with file.open("rb") as content:
            self._api.write(
                "PUT",
                f"jobs/ingest/{job_id}/batches",
                body=content,
                headers={**self._headers, "Content-Type": "text/csv"},
                timeout=UPLOAD_SECONDS_MAX,
                attempts_max=ATTEMPTS_MAX,
            )
        ended = {"state": "UploadComplete"}
        self._call("PATCH", f"jobs/ingest/{job_id}", ended, attempts_max=ATTEMPTS_MAX)

    def state(self, job_id: str) -> JobState:
        """What became of a job; `gone` if Salesforce does not know it."""
        try:
            answer = as_mapping(self._api.get(f"jobs/ingest/{job_id}"), "an ingest job")
        except SalesforceFault as fault:
            if fault.code in _GONE:
                return JobState(state="gone")
            raise
        state = as_text(answer.get("state"), "the state of an ingest job")
        return JobState(
            state="open" if state == "Open" else "done" if state in _DONE else "running",
            failed=state == "Failed",
            message=str(answer.get("errorMessage") or ""),
        )

    def wait(self, job_id: str) -> JobState:
        """Wait until a job is done.

        Raises:
            ServiceFailed: It takes longer than `job_seconds_max`.
        """
        started = self._clock.monotonic()
        pause = POLL_SECONDS_FIRST
        while (state := self.state(job_id)).state == "running":
            if self._clock.monotonic() - started > self._seconds_max:
                raise ServiceFailed(
                    f"A Bulk job has not ended in {self._seconds_max:,.0f} s (job_seconds_max)",
                    hint="Nothing is lost: the next run asks for its results.",
                )
            self._clock.sleep(pause)
            pause = min(2 * pause, POLL_SECONDS_MAX)
        return state

    def results(self, job_id: str, file: Path) -> Iterator[JobResult]:
        """The result of each row, out of all three files; a row may be in none of them.

        Args:
            file: Where each result file is stored while it is read.
        """
        if self._ids is not None:
            yield from self._ids.refused()
        for name in RESULT_FILES:
            self._api.read(f"jobs/ingest/{job_id}/{name}", lambda answer: _store(answer, file))
            with file.open(encoding="utf-8-sig", newline="") as rows:
                results = self._read(name, rows)
                yield from self._ids.with_keys(results) if self._ids is not None else results

    def delete(self, job_id: str) -> None:
        """Remove a job with its rows, aborted if it has not ended; one that is gone is fine."""
        try:
            if self.state(job_id).state in ("open", "running"):
                self._call("PATCH", f"jobs/ingest/{job_id}", {"state": "Aborted"})
            self._api.write("DELETE", f"jobs/ingest/{job_id}", headers=self._headers)
        except SalesforceFault as fault:
            if fault.code not in _GONE:
                raise

    def discard(self, job_id: str) -> None:
        """Remove a job that has ended; its rows would stay in the org for seven days."""
        try:
            self._api.write("DELETE", f"jobs/ingest/{job_id}", headers=self._headers)
        except ServiceFailed:
            # Salesforce removes it by itself.
            return

    def _read(self, name: str, file: IO[str]) -> Iterator[JobResult]:
        reader = csv.reader(file)
        header = next(reader, [])
        if not header:
            return
        if self._result_key.name not in header:
            raise AnswerUnreadable(
                f"A result file of a Bulk job has no column {self._result_key.name}"
            )
        place = header.index(self._result_key.name)
        key_of = key_function(self._result_key)
        error_at = header.index("sf__Error") if "sf__Error" in header else None
        for row in reader:
            if len(row) != len(header):
                raise AnswerUnreadable("A result file of a Bulk job has a row of another length")
            key = key_of(row[place])
            if name == "unprocessedrecords/":
                yield JobResult(key, "unprocessed")
            elif error_at is None:
                yield JobResult(key, "written")
            else:
                code, message = split_job_error(row[error_at])
                again = action_for_row(code, message) != "row"
                yield JobResult(key=key, outcome="unprocessed" if again else "refused", reason=code)

    def _call(
        self, method: str, path: str, body: Mapping[str, Any], *, attempts_max: int = 1
    ) -> Mapping[str, Any]:
        response = self._api.write(
            method,
            path,
            body=orjson.dumps(body),
            headers=self._headers,
            attempts_max=attempts_max,
        )
        return as_mapping(parse_json(response.content, f"{method} {path}"), "an ingest job")


def key_function(field: WritableField) -> Callable[[Any], str]:
    """The function from a key to its form in comparisons with result files.

    Those hold keys as they are stored.
    """
    if field.type in ("id", "reference"):
        return lambda value: str(value)[:15]
    if field.type in NUMBER_TYPES:
        return lambda value: fold(
            float(value) if isinstance(value, str) else value, case_sensitive=True
        )
    if field.case_sensitive:
        return str
    return lambda value: str(value).lower()


def _parent_keys(record: Mapping[str, Any]) -> set[Any]:
    """The external ids of the parents that a record refers to."""
    return {key for value in record.values() if isinstance(value, dict) for key in value.values()}


def _columns(targets: list[Target]) -> dict[tuple[str, ...], str]:
    """The CSV column of each path of a record, cleared lookups included."""
    columns: dict[tuple[str, ...], str] = {}
    for one in targets:
        columns[one.path] = one.name
        columns.setdefault((one.cleared_as,), one.name)
    return columns


def _store(response: requests.Response, path: Path) -> None:
    """Write a body to a file; a repeated answer replaces it."""
    with path.open("wb") as file:
        for piece in read_body(response, bytes_max=10 * FILE_BYTES_MAX, seconds_left=lambda: 1.0):
            file.write(piece)
