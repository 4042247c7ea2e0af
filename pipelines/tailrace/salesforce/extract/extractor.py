"""One object read whole: its window, by REST or in bulk, into Parquet files.

Nothing of an object is handed on before all of it was read, so a failure in the middle leaves
the warehouse and the watermark as they were.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from threading import BoundedSemaphore
from typing import Any, Literal

import pyarrow as pa

from tailrace.config.settings import SalesforceSettings
from tailrace.errors import ExtractIncomplete, SalesforceFault
from tailrace.salesforce.client import Api, BrokenOff
from tailrace.salesforce.describe import SObject
from tailrace.salesforce.extract import rest
from tailrace.salesforce.extract.arrow_parsing import BadCell, Page, WideRow
from tailrace.salesforce.extract.bulk import BulkRefused, Download, QueryJob, QueryTimedOut
from tailrace.salesforce.extract.replication import Horizon, horizon, parse_moment
from tailrace.salesforce.extract.rest import TooManyRows
from tailrace.salesforce.extract.soql import Window, fits_url, select
from tailrace.salesforce.extract.table_layout import Landed, LandedFiles, Layout, lay_out

ApiName = Literal["rest", "bulk"]
# Parsing is bound by the processor: more pages at once would only hold more memory.
PAGES_PARSED_MAX = 2
FIELDS_LOST_MAX = 20
# Many formulas: REST has less time for them.
TOO_MUCH_FOR_REST = frozenset({"QUERY_TOO_COMPLICATED"})
# From here on it pays to stop reading by REST and to start a bulk job.
REST_ROWS_FACTOR = 10
BROKEN_JOB = ("InternalServerError", "UNKNOWN_EXCEPTION", "SERVER_UNAVAILABLE")
NO_SUCH_COLUMN = re.compile(r"No such column '(\w+)'")


@dataclass(kw_only=True)
class Reading:
    """An object as it was read.

    Attributes:
        watermark: Where the next window begins; None when the object has no cursor.
        whole: All rows of the object were read.
        first: Nothing of it has landed before.
    """

    sobject: SObject
    layout: Layout
    api: ApiName
    window: Window
    watermark: datetime | None
    read_at: datetime
    whole: bool
    first: bool
    landed: LandedFiles
    bad: list[BadCell] = field(default_factory=list)

    @property
    def rows(self) -> int:
        return self.landed.rows

    @property
    def files(self) -> list[tuple[Path, int]]:
        """The Parquet files with their rows."""
        return self.landed.listed()


class ObjectReader:
    """Reads objects into a folder. One for all objects of a run."""

    def __init__(
        self,
        api: Api,
        settings: SalesforceSettings,
        folder: Path,
        *,
        progress: Callable[[str, int], None] | None = None,
    ) -> None:
        self.api = api
        self.settings = settings
        self.folder = folder
        self.progress = progress or (lambda name, rows: None)
        self._parsing = BoundedSemaphore(PAGES_PARSED_MAX)
        self._file_numbers = count(1)

    def read(
        self,
        sobject: SObject,
        state: Mapping[str, Any],
        stored: Mapping[str, Any] | None,
        *,
        normalize: Callable[[str], str],
    ) -> Reading:
        """Read what changed since the watermark in `state`, or everything when there is none.

        Args:
            state: What `remember` put there last time.
            stored: dlt's schema of the landed table, if there is one.
            normalize: From API names to those of columns.

        Raises:
            TailraceError: The object could not be read whole.
        """
        if not sobject.queryable:
            raise ExtractIncomplete(f"{sobject.name} cannot be queried")
        for _ in range(FIELDS_LOST_MAX):
            try:
                layout = lay_out(sobject, stored, normalize=normalize)
                return self._read(sobject, state, layout)
            except SalesforceFault as fault:
                # A field can go between describe and query; without it the rest is still there.
                lost = NO_SUCH_COLUMN.search(fault.message)
                if lost is None or lost[1].lower() not in (n.lower() for n in sobject.names):
                    raise
                sobject = sobject.without(lost[1])
        raise ExtractIncomplete(f"{sobject.name} keeps losing fields while it is read")

    def _read(self, sobject: SObject, state: Mapping[str, Any], layout: Layout) -> Reading:
        low = low_of(sobject, state)
        now = (self.api.server_time or self.api.clock.now()) + timedelta(seconds=1)
        if sobject.cursor is None:
            ahead = Horizon(high=now, next_low=now, changed=None)
            window = Window(None, None)
        else:
            ahead = horizon(self.api, sobject, low, now)
            window = Window(low, ahead.high)
        reading = Reading(
            sobject=sobject,
            layout=layout,
            api="rest",
            window=window,
            watermark=None if sobject.cursor is None else ahead.next_low,
            read_at=now,
            whole=low is None,
            first="fields" not in state,
            landed=LandedFiles(self._paths(layout)),
        )
        reading.api = self._choose(reading, ahead.changed)
        self._read_window(reading, window)
        return reading

    def read_side(self, main: Reading, columns: tuple[Landed, ...], table: str) -> Reading:
        """Read some columns of every row of an object, into files of a side table."""
        layout = Layout.of(columns, table)
        # Not a closed window: a row that changed since is still one that is there.
        window = Window(None, None)
        landed = LandedFiles(self._paths(layout))
        side = replace(main, layout=layout, window=window, whole=True, landed=landed, bad=[])
        side.api = self._choose(side, None)
        self._read_window(side, window)
        return side

    def _choose(self, reading: Reading, changed: int | None) -> ApiName:
        """The API for a reading: what the settings say, else what its number of rows says."""
        wanted = self.settings.of(reading.sobject.name).api or self.settings.api
        if wanted != "auto":
            return wanted
        if not fits_url(self._query(reading, reading.window)):
            return "bulk"
        if changed is None:
            try:
                changed = rest.count(self.api, self._query(reading, reading.window, "count()"))
            except SalesforceFault as fault:
                # Too many rows to count in time are too many for REST.
                if "QUERY_TIMEOUT" not in fault.code:
                    raise
                return "bulk"
        return "bulk" if changed >= self.settings.bulk_rows_min else "rest"

    def _read_window(self, reading: Reading, window: Window) -> None:
        """Read a window; one that takes Salesforce too long is read in halves."""
        try:
            self._read_by_api(reading, window)
        except QueryTimedOut as timeout:
            # Nothing of the window was taken: a job times out before its first page is there,
            # and the pages of a REST query are taken together.
            halves = window.halves(reading.read_at)
            if halves is None:
                raise ExtractIncomplete(
                    f"{reading.sobject.name}: Salesforce takes too long even for the smallest"
                    f" window ({timeout})"
                ) from None
            for half in halves:
                self._read_window(reading, half)

    def _read_by_api(self, reading: Reading, window: Window) -> None:
        if reading.api == "rest":
            wanted = self.settings.of(reading.sobject.name).api or self.settings.api
            most = REST_ROWS_FACTOR * self.settings.bulk_rows_min if wanted == "auto" else None
            try:
                return self._read_rest(reading, window, rows_max=most)
            except TooManyRows:
                # What was counted before were the rows of whole minutes, without deleted ones.
                reading.api = "bulk"
            except SalesforceFault as fault:
                if wanted == "rest" or fault.code not in TOO_MUCH_FOR_REST:
                    raise
                reading.api = "bulk"
        try:
            self._read_bulk(reading, window)
        except BulkRefused:
            reading.api = "rest"
            self._read_rest(reading, window, rows_max=None)

    def _read_bulk(self, reading: Reading, window: Window) -> None:
        job = self._job(self._query(reading, window))
        for rows, bad in job.pages(lambda page: self._land(reading, page)):
            reading.bad.extend(bad)
            self.progress(reading.sobject.name, rows)

    def _job(self, soql: str) -> QueryJob:
        """A job that is complete; one that Salesforce itself broke is started once again."""
        job = QueryJob(self.api, soql)
        try:
            job.run()
        except SalesforceFault as fault:
            if fault.code != "Failed" or not any(each in fault.message for each in BROKEN_JOB):
                raise
            job = QueryJob(self.api, soql)
            job.run()
        return job

    def _read_rest(self, reading: Reading, window: Window, *, rows_max: int | None) -> None:
        soql = self._query(reading, window)
        bad: list[BadCell] = []
        batches = rest.pages(self.api, soql, reading.layout.fields, bad, rows_max=rows_max)
        try:
            reading.landed.take(self._told(reading, batches))
        except SalesforceFault as fault:
            if "QUERY_TIMEOUT" in fault.code:
                raise QueryTimedOut(fault.message) from None
            raise
        reading.bad.extend(bad)

    def _land(self, reading: Reading, download: Download) -> tuple[int, list[BadCell]]:
        """Take a downloaded page: typed if all its cells fit, else tolerantly."""
        page = Page(open=download.open, fields=reading.layout.fields)
        told = download.rows
        with self._parsing:
            try:
                try:
                    rows = reading.landed.take(self._whole(reading, page.typed(), told))
                except (pa.ArrowInvalid, WideRow):
                    rows = reading.landed.take(self._whole(reading, page.tolerant(), told))
            except pa.ArrowInvalid as error:
                raise BrokenOff(f"a page is not CSV: {type(error).__name__}") from None
        return rows, page.bad

    def _whole(
        self, reading: Reading, batches: Iterator[pa.RecordBatch], told: int | None
    ) -> Iterator[pa.RecordBatch]:
        """The batches as they lie in the table; all of them, or BrokenOff."""
        rows = 0
        for batch in batches:
            rows += batch.num_rows
            yield reading.layout.arrange(batch)
        if told is not None and told != rows:
            raise BrokenOff("a page has another number of rows than told")

    def _query(self, reading: Reading, window: Window, *what: str) -> str:
        sobject = reading.sobject
        return select(
            what or [each.name for each in reading.layout.fields],
            sobject.name,
            cursor=sobject.cursor,
            window=window,
            # What is removed on deletion need not come at all when everything is read.
            live_only=reading.whole and sobject.has_deleted and self.settings.deleted == "remove",
        )

    def _paths(self, layout: Layout) -> Callable[[], Path]:
        return lambda: self.folder / f"{layout.table}-{next(self._file_numbers)}.parquet"

    def _told(
        self, reading: Reading, batches: Iterator[pa.RecordBatch]
    ) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            self.progress(reading.sobject.name, batch.num_rows)
            yield reading.layout.arrange(batch)


def low_of(sobject: SObject, state: Mapping[str, Any]) -> datetime | None:
    """Where the window begins: the watermark, if it was one of the same cursor."""
    if state.get("watermark") and state.get("cursor") == sobject.cursor:
        return parse_moment(str(state["watermark"]))
    return None


def remember(state: MutableMapping[str, Any], reading: Reading) -> None:
    """Put into the state what the next extract needs to know."""
    state["cursor"] = reading.sobject.cursor
    state["fields"] = sorted(reading.sobject.names)
    if reading.watermark is not None:
        state["watermark"] = reading.watermark.isoformat()
