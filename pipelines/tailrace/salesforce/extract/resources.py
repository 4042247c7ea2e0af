"""The dlt resources of an extract: one for each object, with its staging tables."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dlt
import pyarrow as pa
import pyarrow.parquet as pq
from dlt.extract import DltResource
from dlt.extract.items import DataItemWithMeta

from tailrace.config.settings import SalesforceSettings
from tailrace.errors import (
    ConfigurationError,
    OtherOrg,
    TableNameTaken,
    TailraceError,
    Unreachable,
)
from tailrace.salesforce.answers import readable_answers
from tailrace.salesforce.client import Api
from tailrace.salesforce.describe import (
    ARROW_OF_KIND,
    SObject,
    describe_object,
    read_describe,
)
from tailrace.salesforce.extract.extracted_object import ExtractedObject, record_state
from tailrace.salesforce.extract.extractor import ObjectExtractor
from tailrace.salesforce.extract.reconciliation import (
    Reconciliation,
    definitions,
    read_reconciliation,
    record_reconciliation,
)
from tailrace.salesforce.extract.staging import DELETIONS, QUARANTINE

log = logging.getLogger(__name__)

# Errors that end the extract: no further object could be read.
FATAL_ERRORS = (ConfigurationError, Unreachable)
ORG_ID, DRIFT, HAD_ROWS = "org_id", "drift", "had_rows"
# The id is the primary key of its object's resource, so dlt makes it NOT NULL in staging tables.
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


class ExtractContext:
    """The resources of one run, and the result of each object.

    Attributes:
        before_replacing: Called before tables are loaded from the start.
        reconcile: Objects of which all ids are compared.
        reread: Objects that are read as if they had no watermark.
        full_refresh: All tables are dropped and loaded again.
        had_rows: Tables that have had rows which were not deleted.
        extracted, errors: What became of each object, by its API name.
        refusals: Why Salesforce refused the log of deletions, by the object's API name.
    """

    def __init__(
        self,
        api: Api,
        settings: SalesforceSettings,
        *,
        folder: Path,
        continue_on_error: bool,
        progress: Callable[[str, int], None] | None = None,
    ) -> None:
        self.api = api
        self.before_replacing: Callable[[Sequence[tuple[str, str]]], None] | None = None
        self.settings = settings
        self.extractor = ObjectExtractor(
            api, settings, folder, leave_out=continue_on_error, progress=progress
        )
        self.continue_on_error = continue_on_error
        self.reconcile: frozenset[str] = frozenset()
        self.reread: frozenset[str] = frozenset()
        self.full_refresh = False
        self.had_rows: frozenset[str] = frozenset()
        self.described: dict[str, SObject] = {}
        self.extracted: dict[str, ExtractedObject] = {}
        self.errors: dict[str, TailraceError] = {}
        self.refusals: dict[str, str] = {}

    def describe(self, name: str) -> SObject:
        """The object as it lands; asked of Salesforce once.

        Raises:
            UnknownObject: There is no such object, or this user may not see it.
            UnknownField: The settings name a field that does not exist.
        """
        if name not in self.described:
            described = describe_object(self.api, name)
            self.described[name] = read_describe(
                described, self.settings.of(name), formula=self.settings.formula
            )
        return self.described[name]

    def fail(self, name: str, error: TailraceError) -> None:
        """Record the failure of an object; its message names the object."""
        if not re.search(rf"\b{re.escape(name)}\b", error.message):
            error.message = f"{name}: {error.message}"
        self.errors[name] = error

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
        source_state = dlt.current.source_state()
        started = self.api.clock.monotonic()
        try:
            org_id = self.api.org_id()
            check_org(source_state, org_id, is_full_refresh=self.full_refresh)
            check_table_name(state, name, table)
            extracted, reconciliation = self.read(name, state, schema)
        except FATAL_ERRORS:
            raise
        except TailraceError as error:
            if not self.continue_on_error:
                raise
            self.fail(name, error)
            return
        extracted.seconds = round(self.api.clock.monotonic() - started, 3)
        self.extracted[name] = extracted
        if reconciliation.refusal is not None:
            self.refusals[name] = reconciliation.refusal
        # First, because dlt copies the hints of the landed table, with those that only merges know.
        is_known = table in schema.tables
        yield from self._staged(extracted, reconciliation, table)
        yield from self._landed(extracted, is_known=is_known)
        if org_id is not None:
            source_state[ORG_ID] = org_id
        record_state(state, extracted)
        self._record_drift(state, extracted, table)
        record_reconciliation(state, extracted, reconciliation, deleted=self.settings.deleted)

    def read(
        self, name: str, state: Mapping[str, Any], schema: dlt.Schema
    ) -> tuple[ExtractedObject, Reconciliation]:
        """Read an object's window, and what its window cannot show.

        Raises:
            TailraceError: It could not be read completely.
        """
        with readable_answers(name):
            sobject = self.describe(name)
            with ThreadPoolExecutor(1) as worker:
                asked = worker.submit(definitions, self.api, sobject, state)
                extracted = self.extractor.extract(
                    sobject,
                    self._state_to_read_by(name, state),
                    schema.tables.get(schema.naming.normalize_path(name)),
                    normalize=schema.naming.normalize_path,
                )
                field_definitions = asked.result()
            if field_definitions is not None:
                extracted.layout = extracted.layout.defined(field_definitions)
            reconciliation = read_reconciliation(
                self.extractor, extracted, state, reconcile=name in self.reconcile
            )
        return extracted, reconciliation

    def _state_to_read_by(self, name: str, state: Mapping[str, Any]) -> Mapping[str, Any]:
        """The state of an object, without its watermark when all of it is to be read again."""
        if name not in self.reread:
            return state
        return {key: value for key, value in state.items() if key != "watermark"}

    def _record_drift(
        self, state: MutableMapping[str, Any], extracted: ExtractedObject, table: str
    ) -> None:
        drift = {
            change.column: {"field": change.field, "was": change.was, "now": change.now}
            for change in extracted.layout.drift
            if change.changes_values
        }
        for key, value in ((DRIFT, drift), (HAD_ROWS, table in self.had_rows)):
            if value:
                state[key] = value
            elif key == DRIFT:
                state.pop(key, None)

    def _landed(self, extracted: ExtractedObject, *, is_known: bool) -> Iterator[DataItemWithMeta]:
        layout = extracted.layout
        hints = dlt.mark.make_hints(
            # A first load has no rows to merge with.
            write_disposition="replace" if extracted.first else "merge",
            columns=layout.hints(
                remove_deleted=self.settings.deleted == "remove",
                cursor=None if extracted.first else extracted.sobject.cursor,
            ),
        )
        for path, rows in extracted.files:
            if self.continue_on_error:
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


def check_org(
    source_state: Mapping[str, Any], org_id: str | None, *, is_full_refresh: bool
) -> None:
    """Refuse to mix rows of two orgs: a refreshed sandbox keeps its address and gets a new id.

    Raises:
        OtherOrg: The landed rows come from another org than the one that is logged in to.
    """
    landed = source_state.get(ORG_ID)
    if is_full_refresh or not landed or org_id is None or str(landed)[:15] == org_id[:15]:
        return
    raise OtherOrg(
        f"The landed rows come from the Salesforce org {landed}, and this login is for the org"
        f" {org_id}: a refreshed sandbox, or another address",
        hint="To replace all landed rows by those of this org, run: tailrace extract"
        " --full-refresh. To keep them, set another dataset under [tailrace], or log in to the"
        " former org.",
    )


def check_table_name(state: Mapping[str, Any], name: str, table: str) -> None:
    """Refuse an object whose table belongs to another object.

    Raises:
        TableNameTaken: Both objects have the same name in the warehouse.
    """
    owner = str(state.get("object") or name)
    if owner.lower() != name.lower():
        raise table_name_taken(owner, name, table)


def table_name_taken(owner: str, name: str, table: str) -> TableNameTaken:
    """The error for two objects whose names become the same table."""
    return TableNameTaken(
        f"{owner} and {name} would both land in the table {table}",
        hint=f"Take one of them out of objects under [sources.salesforce]: {owner} or {name}."
        " To land both, extract one of them into another dataset.",
    )
