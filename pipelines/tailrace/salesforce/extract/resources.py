"""The dlt resources of an extract: one an object, with its side tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq

from tailrace.config.project import did_you_mean
from tailrace.config.settings import SalesforceSettings
from tailrace.errors import (
    ConfigurationError,
    SalesforceFault,
    TailraceError,
    UnknownObject,
    Unreachable,
)
from tailrace.salesforce.client import Api
from tailrace.salesforce.describe import ARROW_OF_KIND, SObject, read_describe
from tailrace.salesforce.extract.extractor import ObjectReader, Reading, remember
from tailrace.salesforce.extract.reconciliation import (
    Upkeep,
    definitions,
    look_after,
    remember_upkeep,
)
from tailrace.salesforce.extract.staging import DELETIONS, QUARANTINE

# Imported after project, which switches dlt's telemetry off.
import dlt  # isort: skip
from dlt.extract import DltResource  # isort: skip
from dlt.extract.items import DataItemWithMeta  # isort: skip

# One of these says that nothing further can be read, whatever the object.
FOR_ALL = (ConfigurationError, Unreachable)
# The id of a row is the primary key of its object's resource, and so never NULL in a side table.
ID = pa.field("id", pa.string(), nullable=False)
DELETIONS_SCHEMA = pa.schema(
    [("object", pa.string()), ID, ("deleted_at", ARROW_OF_KIND["timestamp"])]
)
DELETIONS_HINTS = dlt.mark.make_hints(table_name=DELETIONS, write_disposition="append")
QUARANTINE_SCHEMA = pa.schema(
    [
        ("object", pa.string()),
        ID,
        ("field", pa.string()),
        ("expected", pa.string()),
        ("value_class", pa.string()),
        ("seen_at", ARROW_OF_KIND["timestamp"]),
    ]
)
QUARANTINE_HINTS = dlt.mark.make_hints(table_name=QUARANTINE, write_disposition="append")


class Extraction:
    """The resources of one run, and what became of each object."""

    def __init__(
        self,
        api: Api,
        settings: SalesforceSettings,
        *,
        folder: Path,
        keep_going: bool,
        progress: Callable[[str, int], None] | None = None,
        before_replacing: Callable[[Sequence[tuple[str, str]]], None] | None = None,
    ) -> None:
        self.api = api
        self.before_replacing = before_replacing
        self.settings = settings
        self.reader = ObjectReader(api, settings, folder, progress=progress)
        self.keep_going = keep_going
        self.reconcile: frozenset[str] = frozenset()
        self.reread: frozenset[str] = frozenset()
        self.described: dict[str, SObject] = {}
        self.readings: dict[str, Reading] = {}
        self.errors: dict[str, TailraceError] = {}

    def describe(self, name: str) -> SObject:
        """The object as it lands; asked of Salesforce once.

        Raises:
            UnknownObject: There is none, or this user may not see it.
            UnknownField: The settings name a field that is not there.
        """
        if name not in self.described:
            described = describe(self.api, name)
            self.described[name] = read_describe(
                described, self.settings.of(name), formula=self.settings.formula
            )
        return self.described[name]

    def resource(self, name: str, normalize: Callable[[str], str]) -> DltResource:
        """The dlt resource of one object."""
        table = normalize(name)

        @dlt.resource(
            name=table, primary_key=normalize("Id"), write_disposition="merge", parallelized=True
        )
        def rows() -> Iterator[Any]:
            yield from self._items(name, table)

        return rows

    def _items(self, name: str, table: str) -> Iterator[Any]:
        schema = dlt.current.source_schema()
        state = dlt.current.resource_state(table)
        try:
            sobject = self.describe(name)
            with ThreadPoolExecutor(1) as beside:
                asked = beside.submit(definitions, self.api, sobject, state)
                reading = self.reader.read(
                    sobject,
                    self._known(name, state),
                    schema.tables.get(table),
                    normalize=schema.naming.normalize_path,
                )
                told = asked.result()
            if told is not None:
                reading.layout = reading.layout.defined(told)
            upkeep = look_after(self.reader, reading, state, reconcile=name in self.reconcile)
        except FOR_ALL:
            raise
        except TailraceError as error:
            if not self.keep_going:
                raise
            self.errors[name] = error
            return
        self.readings[name] = reading
        yield from self._landed(reading, known=table in schema.tables)
        yield from self._beside(reading, upkeep, table)
        remember(state, reading)
        remember_upkeep(state, reading, upkeep, deleted=self.settings.deleted)

    def _known(self, name: str, state: Mapping[str, Any]) -> Mapping[str, Any]:
        """The state of an object, without its watermark when all of it is to be read again."""
        if name not in self.reread:
            return state
        return {key: value for key, value in state.items() if key != "watermark"}

    def _landed(self, reading: Reading, *, known: bool) -> Iterator[DataItemWithMeta]:
        hints = dlt.mark.make_hints(
            # Nothing is there to merge with on the first load.
            write_disposition="replace" if reading.first else "merge",
            columns=reading.layout.hints(remove_deleted=self.settings.deleted == "remove"),
        )
        for path, rows in reading.files:
            if self.keep_going:
                yield dlt.mark.with_file_import(str(path), "parquet", rows, hints=hints)
            else:
                # A table instead of a file, so that the steps which a user adds can see it.
                yield dlt.mark.with_hints(pq.read_table(path), hints)
        if not reading.files and (not known or reading.layout.new or reading.first):
            yield dlt.mark.with_hints(reading.layout.schema.empty_table(), hints)

    def _beside(self, reading: Reading, upkeep: Upkeep, table: str) -> Iterator[DataItemWithMeta]:
        """The side tables: read anew, ids, deletions, and the cells that did not fit."""
        for side in (upkeep.fresh, upkeep.ids):
            if side is None:
                continue
            hints = dlt.mark.make_hints(
                table_name=side.layout.table,
                write_disposition="replace",
                columns=side.layout.hints(remove_deleted=False),
            )
            yield dlt.mark.with_hints(side.layout.schema.empty_table(), hints, True)
            for path, _ in side.files:
                rows = pq.read_table(path, columns=side.layout.schema.names)
                yield dlt.mark.with_hints(rows, hints, True)
        if upkeep.deleted:
            deleted = [
                {"object": table, "id": each, "deleted_at": at} for each, at in upkeep.deleted
            ]
            yield dlt.mark.with_hints(
                pa.Table.from_pylist(deleted, schema=DELETIONS_SCHEMA), DELETIONS_HINTS, True
            )
        bad = [*reading.bad, *(upkeep.fresh.bad if upkeep.fresh else ())]
        if bad:
            cells = [
                {
                    "object": table,
                    "id": each.id,
                    "field": each.field,
                    "expected": each.expected,
                    "value_class": each.value_class,
                    "seen_at": reading.read_at,
                }
                for each in bad
            ]
            yield dlt.mark.with_hints(
                pa.Table.from_pylist(cells, schema=QUARANTINE_SCHEMA), QUARANTINE_HINTS, True
            )


def describe(api: Api, name: str) -> Mapping[str, Any]:
    """Salesforce's describe of an object.

    Raises:
        UnknownObject: There is none, or this user may not see it.
    """
    try:
        path = f"sobjects/{quote(name, safe='')}/describe"
        return dict(api.salesforce.restful(path) or {})
    except SalesforceFault as fault:
        if fault.code not in ("NOT_FOUND", "404", "INVALID_TYPE"):
            raise
    known = [str(each["name"]) for each in api.get("sobjects")["sobjects"]]
    raise UnknownObject(
        f"Salesforce has no object {name} that this user may see.{did_you_mean(name, known)}",
        hint="Correct objects under [sources.salesforce], or give the user access to the object.",
    )
