"""Extracts one object completely: a window of its rows, by REST or in bulk, into Parquet files.

The rows of every query and job are counted and compared with the number that Salesforce reports.
Rows that do not add up are discarded, and requested again in another way. An object is handed on
only when all of it was read, so a failure leaves the warehouse and the watermark as they were.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from functools import partial
from itertools import count
from pathlib import Path
from threading import BoundedSemaphore
from typing import Any

from tailrace.config.settings import SalesforceSettings
from tailrace.errors import AnswerUnreadable, ExtractIncomplete, QuotaSpent, SalesforceFault
from tailrace.salesforce.answers import IncompleteAnswer
from tailrace.salesforce.arrow import pa
from tailrace.salesforce.client import Api
from tailrace.salesforce.describe import SObject, describe_object, read_describe
from tailrace.salesforce.extract import rest
from tailrace.salesforce.extract.arrow_parsing import CsvPage, RejectedValue, WideRow
from tailrace.salesforce.extract.bulk import PagesIncomplete, QueryJob, ResultPage
from tailrace.salesforce.extract.extracted_object import (
    ApiName,
    ExtractedObject,
    window_start,
)
from tailrace.salesforce.extract.parquet_writer import ParquetFiles
from tailrace.salesforce.extract.replication import Cutoff, find_cutoff
from tailrace.salesforce.extract.rest import QueryIncomplete, TooManyRows
from tailrace.salesforce.extract.soql import Window, fits_url, select
from tailrace.salesforce.extract.table_layout import ColumnLayout, TableLayout, lay_out_table
from tailrace.salesforce.faults import FIELD_CODES, is_bulk_limit, is_too_large, named

# Parsing is bound by the processor, so more pages at once would only take more memory.
PAGES_PARSED_MAX = 2
LOST_FIELDS_ROUNDS_MAX = 20
# REST has less time for many formulas than the Bulk API has.
TOO_MUCH_FOR_REST = frozenset({"QUERY_TOO_COMPLICATED"})
# From this multiple of bulk_rows_min on, a bulk job is worth it although REST has begun.
REST_ROWS_FACTOR = 10
REST_PAGE_ROWS = 2_000
QUERY_STARTS_MAX = 3
JOBS_A_WINDOW_MAX = 2
WINDOWS_MAX = 2_000
UNSTABLE_JOB_CODES = frozenset(
    {"Failed", "Aborted", "InternalServerError", "UNKNOWN_EXCEPTION", "SERVER_UNAVAILABLE"}
)


class QueryTooLarge(Exception):
    """Salesforce cannot answer the query as a whole; smaller pieces of it may work."""


class RowsIncomplete(Exception):
    """The rows did not add up, in any way that one API offers."""


class ObjectExtractor:
    """Extracts objects into a folder. One for all objects of a run.

    With `leave_out`, a field whose type no longer fits its column is not read, and the others are.
    """

    def __init__(
        self,
        api: Api,
        settings: SalesforceSettings,
        folder: Path,
        *,
        leave_out: bool = False,
        progress: Callable[[str, int, int], None] | None = None,
    ) -> None:
        self.api = api
        self.settings = settings
        self.folder = folder
        self.leave_out = leave_out
        self.progress = progress or (lambda name, rows, expected: None)
        self._parsing = BoundedSemaphore(PAGES_PARSED_MAX)
        self._file_numbers = count(1)

    def extract(
        self,
        sobject: SObject,
        state: Mapping[str, Any],
        stored: Mapping[str, Any] | None,
        *,
        normalize: Callable[[str], str],
    ) -> ExtractedObject:
        """Extract what changed since the watermark in `state`, or everything without one.

        Args:
            state: The state that `record_state` wrote last time.
            stored: dlt's schema of the landed table, if there is one.
            normalize: From API names to those of columns.

        Raises:
            TailraceError: The object could not be read completely.
        """
        if not sobject.queryable:
            raise ExtractIncomplete(
                f"{sobject.name} cannot be queried",
                hint=f"Take {sobject.name} out of objects under [sources.salesforce].",
            )
        for _ in range(LOST_FIELDS_ROUNDS_MAX):
            try:
                layout = lay_out_table(
                    sobject, stored, normalize=normalize, leave_out=self.leave_out
                )
                return self._extract(_without(sobject, layout.left_out), state, layout)
            except SalesforceFault as fault:
                if fault.code not in FIELD_CODES:
                    raise named(fault, sobject.name) from None
                sobject = self._without_lost_fields(sobject, fault)
        raise ExtractIncomplete(f"{sobject.name} keeps losing fields while it is read")

    def extract_columns(
        self, main: ExtractedObject, columns: tuple[ColumnLayout, ...], table: str
    ) -> ExtractedObject:
        """Extract some columns of every row of an object, into files of a staging table."""
        layout = TableLayout.of(columns, table)
        # The window is not closed: a row that changed since then still exists.
        staged = replace(
            main,
            layout=layout,
            window=Window(None, None),
            whole=True,
            parquet=ParquetFiles(self._paths(layout)),
            changed=None,
            windows=0,
            rejected=[],
        )
        staged.api = self._choose(staged)
        self._read_window(staged, staged.window)
        return staged

    def _extract(
        self, sobject: SObject, state: Mapping[str, Any], layout: TableLayout
    ) -> ExtractedObject:
        start = window_start(sobject, state)
        now = (self.api.server_time or self.api.clock.now()) + timedelta(seconds=1)
        if sobject.cursor is None:
            cutoff = Cutoff(end=now, high_watermark=now, changed=None)
            window = Window(None, None)
        else:
            cutoff = find_cutoff(self.api, sobject, start, now)
            window = Window(start, cutoff.end)
        extracted = ExtractedObject(
            sobject=sobject,
            layout=layout,
            api="rest",
            window=window,
            watermark=None if sobject.cursor is None else cutoff.high_watermark,
            read_at=now,
            whole=start is None,
            first="fields" not in state,
            parquet=ParquetFiles(self._paths(layout)),
            changed=cutoff.changed,
        )
        extracted.api = self._choose(extracted)
        self._read_window(extracted, window)
        return extracted

    def _without_lost_fields(self, sobject: SObject, fault: SalesforceFault) -> SObject:
        """The object without fields that went between describe and query.

        The error's text depends on the user's language, so describe decides. Where it still shows
        all fields, those that the text names are left out.
        """
        described = describe_object(self.api, sobject.name)
        settings = replace(self.settings.of(sobject.name), fields=None, exclude=())
        visible = read_describe(described, settings, formula=self.settings.formula).visible
        lost = set(sobject.names) - visible
        if not lost:
            words = {word.lower() for word in re.findall(r"\w+", fault.message)}
            lost = {name for name in sobject.names if name.lower() in words and name != "Id"}
        if not lost:
            raise named(fault, sobject.name)
        return _without(sobject, lost)

    def _wanted(self, extracted: ExtractedObject) -> str:
        return self.settings.of(extracted.sobject.name).api or self.settings.api

    def _choose(self, extracted: ExtractedObject) -> ApiName:
        """The API to begin with: as configured, else by the number of rows."""
        wanted = self._wanted(extracted)
        if wanted != "auto":
            return "rest" if wanted == "rest" else "bulk"
        if not fits_url(self._query(extracted, extracted.window)):
            return "bulk"
        if extracted.changed is None:
            try:
                query = self._query(extracted, extracted.window, "count()")
                extracted.changed = rest.count(self.api, query)
            except SalesforceFault as fault:
                # Some objects refuse to be counted. REST switches to a bulk job by itself when
                # the first page reports many rows.
                return "bulk" if is_too_large(fault) else "rest"
            except AnswerUnreadable:
                return "rest"
        return "bulk" if extracted.changed >= self.settings.bulk_rows_min else "rest"

    def _read_window(self, extracted: ExtractedObject, window: Window) -> None:
        """Read a window; one that is too large for Salesforce is read in halves."""
        extracted.windows += 1
        try:
            self._read_by_api(extracted, window)
        except QueryTooLarge as failure:
            halves = self._halves(extracted, window)
            if halves is None or extracted.windows > WINDOWS_MAX:
                raise ExtractIncomplete(
                    f"{extracted.sobject.name}: Salesforce cannot answer even the smallest query"
                    f" ({failure})"
                ) from None
            for half in halves:
                self._read_window(extracted, half)

    def _halves(self, extracted: ExtractedObject, window: Window) -> tuple[Window, Window] | None:
        """The window in two: by time, else by ids."""
        halves = None
        if extracted.sobject.cursor is not None and window.id_start is window.id_end is None:
            # Of a window without bounds the halves get one, and together still cover everything.
            halves = window.halves(extracted.read_at)
        if halves is None:
            name = extracted.sobject.name
            first, last = (rest.edge_id(self.api, name, is_last=end) for end in (False, True))
            halves = window.id_halves(first, last)
        return halves

    def _read_by_api(self, extracted: ExtractedObject, window: Window) -> None:
        """Read a window by one API, and by the other one where the first cannot."""
        name, wanted = extracted.sobject.name, self._wanted(extracted)
        problems: list[str] = []
        apis = ["rest", "bulk"] if extracted.api == "rest" else ["bulk", "rest"]
        for api in apis:
            extracted.api = "rest" if api == "rest" else "bulk"
            is_fallback = bool(problems)
            try:
                if api == "bulk":
                    return self._read_bulk(extracted, window)
                rows_max = None
                if wanted == "auto" and not is_fallback:
                    rows_max = REST_ROWS_FACTOR * self.settings.bulk_rows_min
                return self._read_rest(extracted, window, rows_max=rows_max)
            except TooManyRows:
                # The count was of whole minutes, or without deleted rows. REST reads all of them
                # only when the Bulk API cannot.
                apis.append("rest")
            except RowsIncomplete as failure:
                problems.append(str(failure))
            except SalesforceFault as fault:
                if is_too_large(fault):
                    raise QueryTooLarge(fault.message) from None
                if is_fallback or not self._may_work_otherwise(fault, api, wanted):
                    raise
                problems.append(fault.message)
                if api == "bulk" and is_bulk_limit(fault):
                    self._check_rest_budget(extracted, fault)
        raise ExtractIncomplete(
            f"{name}: not all rows came: {'; '.join(dict.fromkeys(problems))}",
            hint="Nothing of this object was landed, and its watermark stays. Run the same command"
            " again; if it lasts, ask Salesforce support about these jobs and queries.",
        )

    def _may_work_otherwise(self, fault: SalesforceFault, api: str, wanted: str) -> bool:
        """Whether the other API may answer what this one refused."""
        if fault.code in FIELD_CODES:
            return False
        if api == "rest":
            return wanted != "rest" and fault.code in TOO_MUCH_FOR_REST
        # A status of 4xx: the Bulk API refuses the query. No status: the job failed.
        return 400 <= fault.status < 500 or (not fault.status and wanted == "auto")

    def _check_rest_budget(self, extracted: ExtractedObject, fault: SalesforceFault) -> None:
        """Refuse to read by REST what the budget of API calls does not allow."""
        left = self.api.calls_left()
        calls = (extracted.changed or 0) // REST_PAGE_ROWS + 1
        if left is not None and calls > left:
            raise QuotaSpent(
                f"{extracted.sobject.name}: {fault.message}. REST would take {calls:,} API calls,"
                f" and {left:,} are left",
                hint=self.api.when_to_try_again(),
            )

    def _read_bulk(self, extracted: ExtractedObject, window: Window) -> None:
        """Read a window by a job: its listed pages, else page after page, else by another job."""
        problem = ""
        for number in range(JOBS_A_WINDOW_MAX):
            job = self._job(self._query(extracted, window))
            ways = [job.chained_pages]
            if number == 0 and job.has_parallel_pages:
                ways.insert(0, job.parallel_pages)
            for pages in ways:
                files = extracted.parquet.sibling()
                rejected: list[RejectedValue] = []
                try:
                    land = partial(self._land, extracted, files, rejected)
                    for rows in pages(land):
                        self.progress(extracted.sobject.name, rows, extracted.changed or 0)
                except (PagesIncomplete, AnswerUnreadable) as failure:
                    files.discard()
                    problem = str(failure)
                except SalesforceFault as fault:
                    files.discard()
                    if not 400 <= fault.status < 500:
                        raise
                    problem = fault.message
                except BaseException:
                    files.discard()
                    raise
                else:
                    extracted.parquet.adopt(files)
                    extracted.rejected.extend(rejected)
                    return
        raise RowsIncomplete(problem)

    def _job(self, soql: str) -> QueryJob:
        """A complete job; one that Salesforce itself broke is started once again."""
        job = QueryJob(self.api, soql)
        try:
            job.run()
        except SalesforceFault as fault:
            if fault.status or is_too_large(fault) or fault.code not in UNSTABLE_JOB_CODES:
                raise
            job = QueryJob(self.api, soql)
            job.run()
        return job

    def _read_rest(
        self, extracted: ExtractedObject, window: Window, *, rows_max: int | None
    ) -> None:
        """Read a window by a query; one whose rows do not add up is started again."""
        soql = self._query(extracted, window)
        problem = ""
        for _ in range(QUERY_STARTS_MAX):
            files = extracted.parquet.sibling()
            rejected: list[RejectedValue] = []
            fields = extracted.layout.fields
            batches = rest.pages(self.api, soql, fields, rejected, rows_max=rows_max)
            try:
                files.take(self._with_progress(extracted, batches))
            except QueryIncomplete as failure:
                files.discard()
                problem = str(failure)
            except pa.ArrowInvalid:
                files.discard()
                problem = "a query has rows without an id"
            except BaseException:
                files.discard()
                raise
            else:
                extracted.parquet.adopt(files)
                extracted.rejected.extend(rejected)
                return
        raise RowsIncomplete(problem)

    def _land(
        self,
        extracted: ExtractedObject,
        files: ParquetFiles,
        rejected: list[RejectedValue],
        downloaded: ResultPage,
    ) -> int:
        """Parse a downloaded page: with its types if all values fit, else leniently."""
        page = CsvPage(open=downloaded.open, fields=extracted.layout.fields)
        expected = downloaded.rows
        with self._parsing:
            try:
                try:
                    rows = files.take(self._complete(extracted, page.typed(), expected))
                except (pa.ArrowInvalid, WideRow):
                    rows = files.take(self._complete(extracted, page.lenient(), expected))
            except pa.ArrowInvalid as error:
                raise IncompleteAnswer(f"a page is not CSV: {type(error).__name__}") from None
        rejected.extend(page.rejected)
        return rows

    def _complete(
        self, extracted: ExtractedObject, batches: Iterator[pa.RecordBatch], expected: int | None
    ) -> Iterator[pa.RecordBatch]:
        """The batches in the table's layout.

        Raises:
            IncompleteAnswer: There are more or fewer rows than expected.
        """
        rows = 0
        for batch in batches:
            rows += batch.num_rows
            yield extracted.layout.arrange(batch)
        if expected is not None and expected != rows:
            raise IncompleteAnswer("a page has another number of rows than its header says")

    def _query(self, extracted: ExtractedObject, window: Window, *what: str) -> str:
        sobject = extracted.sobject
        removes_deleted = sobject.has_deleted and self.settings.deleted == "remove"
        return select(
            what or [field.name for field in extracted.layout.fields],
            sobject.name,
            cursor=sobject.cursor,
            window=window,
            # When everything is read, deleted rows that would be removed are not needed.
            live_only=extracted.whole and removes_deleted,
        )

    def _paths(self, layout: TableLayout) -> Callable[[], Path]:
        return lambda: self.folder / f"{layout.table}-{next(self._file_numbers)}.parquet"

    def _with_progress(
        self, extracted: ExtractedObject, batches: Iterator[pa.RecordBatch]
    ) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            self.progress(extracted.sobject.name, batch.num_rows, extracted.changed or 0)
            yield extracted.layout.arrange(batch)


def _without(sobject: SObject, names: Iterable[str]) -> SObject:
    for name in names:
        sobject = sobject.without(name)
    return sobject
