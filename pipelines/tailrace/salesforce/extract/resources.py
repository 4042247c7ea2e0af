"""The dlt resources of an extract: one for each object, with its staging tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import dlt
import pyarrow as pa
import pyarrow.parquet as pq
from dlt.extract import DltResource
from dlt.extract.items import DataItemWithMeta

from tailrace.config.partitions import require_partitions
from tailrace.errors import TailraceError
from tailrace.salesforce.describe import arrow_type
from tailrace.salesforce.extract.context import (
    FATAL_ERRORS,
    ORG_ID,
    ExtractContext,
    check_org,
    check_table_name,
)
from tailrace.salesforce.extract.extracted_object import ExtractedObject
from tailrace.salesforce.extract.reconciliation import Reconciliation
from tailrace.salesforce.extract.staging import DELETIONS, QUARANTINE

# The id is the primary key of its object's resource, so dlt makes it NOT NULL in staging tables.
ID = pa.field("id", pa.string(), nullable=False)
DELETIONS_SCHEMA = pa.schema([("object", pa.string()), ID, ("deleted_at", arrow_type("timestamp"))])
DELETIONS_HINTS = dlt.mark.make_hints(table_name=DELETIONS, write_disposition="append")
QUARANTINE_SCHEMA = pa.schema(
    [
        ("object", pa.string()),
        ID,
        ("field", pa.string()),
        ("expected", pa.string()),
        ("value_class", pa.string()),
        ("seen_at", arrow_type("timestamp")),
    ]
)
QUARANTINE_HINTS = dlt.mark.make_hints(table_name=QUARANTINE, write_disposition="append")


class Resources:
    """The dlt resources of the objects of one run."""

    def __init__(self, context: ExtractContext) -> None:
        self.context = context

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
        context = self.context
        schema = dlt.current.source_schema()
        state = dlt.current.resource_state(table)
        source_state = dlt.current.source_state()
        try:
            org_id = context.api.org_id()
            check_org(source_state, org_id, is_full_refresh=context.full_refresh)
            check_table_name(state, name, table)
            engine = context.engine or _engine()
            if context.settings.of(name).partition_by is not None:
                require_partitions(name, engine)
        except FATAL_ERRORS:
            raise
        except TailraceError as error:
            if not context.continue_on_error:
                raise
            context.fail(name, error)
            return
        read = context.ahead.pop(name, None) or context.read_completely(
            name,
            state,
            schema.tables.get(schema.naming.normalize_path(name)),
            schema.naming.normalize_path,
        )
        if read is None:
            return
        extracted, reconciliation = read
        # First, because dlt copies the hints of the landed table, with those that only merges know.
        is_known = table in schema.tables
        yield from self._staged(extracted, reconciliation, table)
        yield from self._landed(extracted, is_known=is_known, engine=engine)
        if org_id is not None:
            source_state[ORG_ID] = org_id
        context.record(state, extracted, reconciliation)

    def _landed(
        self, extracted: ExtractedObject, *, is_known: bool, engine: str
    ) -> Iterator[DataItemWithMeta]:
        layout = extracted.layout
        hints = dlt.mark.make_hints(
            # A first load has no rows to merge with.
            write_disposition="replace" if extracted.first else "merge",
            columns=layout.hints(
                remove_deleted=self.context.settings.deleted == "remove",
                cursor=None if extracted.first else extracted.sobject.cursor,
                engine=engine,
            ),
            additional_table_hints=layout.table_hints(engine),
        )
        for path, rows in extracted.files:
            if self.context.continue_on_error:
                yield dlt.mark.with_file_import(str(path), "parquet", rows, hints=hints)
            else:
                # Steps that a user adds to the resource can read a table, but not a file.
                yield dlt.mark.with_hints(pq.read_table(path), hints)
        if not extracted.files and (not is_known or layout.new or extracted.first):
            yield dlt.mark.with_hints(layout.schema.empty_table(), hints)

    def _staged(
        self, extracted: ExtractedObject, reconciliation: Reconciliation, table: str
    ) -> Iterator[DataItemWithMeta]:
        """The staging tables: refreshed columns, ids, deletions, and rejected values."""
        for staged in (reconciliation.refreshed, reconciliation.ids):
            if staged is None:
                continue
            hints = dlt.mark.make_hints(
                table_name=staged.layout.table,
                write_disposition="replace",
                columns=staged.layout.hints(remove_deleted=False),
            )
            yield dlt.mark.with_hints(staged.layout.schema.empty_table(), hints, True)
            for path, _ in staged.files:
                rows = pq.read_table(path, columns=staged.layout.schema.names)
                yield dlt.mark.with_hints(rows, hints, True)
        if reconciliation.deleted:
            deletions = [
                {"object": table, "id": record_id, "deleted_at": deleted_at}
                for record_id, deleted_at in reconciliation.deleted
            ]
            yield dlt.mark.with_hints(
                pa.Table.from_pylist(deletions, schema=DELETIONS_SCHEMA), DELETIONS_HINTS, True
            )
        refreshed = reconciliation.refreshed
        rejected = [
            {
                "object": table,
                "id": value.id,
                "field": value.field,
                "expected": value.expected,
                "value_class": value.value_class,
                "seen_at": extracted.read_at,
            }
            for value in (*extracted.rejected, *(refreshed.rejected if refreshed else ()))
        ]
        if rejected:
            yield dlt.mark.with_hints(
                pa.Table.from_pylist(rejected, schema=QUARANTINE_SCHEMA), QUARANTINE_HINTS, True
            )


def _engine() -> str:
    """The engine of the pipeline that the resource runs in."""
    destination = dlt.current.pipeline().destination
    assert destination is not None
    return str(destination.capabilities().sqlglot_dialect)
