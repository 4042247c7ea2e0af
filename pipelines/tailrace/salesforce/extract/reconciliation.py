"""Reads what a window of changes cannot show: deletions, formulas, new fields, vanished rows.

Each is read into a staging table, which is applied to the landed table after the load.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from tailrace.config.settings import Deleted
from tailrace.dataclass import dataclass
from tailrace.errors import ServiceFailed
from tailrace.salesforce.answers import as_mapping, as_records, parse_timestamp
from tailrace.salesforce.client import Api
from tailrace.salesforce.describe import SObject
from tailrace.salesforce.extract.extracted_object import ExtractedObject
from tailrace.salesforce.extract.extractor import ObjectExtractor
from tailrace.salesforce.extract.replication import find_deletions
from tailrace.salesforce.extract.table_layout import ColumnLayout, TableLayout

FORMULAS_AT, RECONCILED_AT, DEFINED_AT = "formulas_at", "reconciled_at", "defined_at"
# The keys of the pipeline's state, in the warehouse of every project, keep their first names.
PENDING = "unsettled"
PENDING_FRESH, PENDING_IDS, PENDING_DELETED = "fresh", "ids", "deleted"
PENDING_FLAGGED, PENDING_UNIQUE = "flagged", "unique"
# Describe has neither descriptions nor classifications; asking for them costs a call.
DEFINITIONS_DAYS = 7


@dataclass(frozen=True, kw_only=True)
class Reconciliation:
    """What was read beside the window.

    Attributes:
        deleted: Ids in Salesforce's log of deletions, with the time of the deletion.
        refreshed: Every row's id with the columns that are read again.
        ids: Every id that Salesforce still has.
        refusal: Why Salesforce refused its log of deletions; all ids were compared instead.
    """

    deleted: tuple[tuple[str, datetime], ...] = ()
    refreshed: ExtractedObject | None = None
    ids: ExtractedObject | None = None
    refusal: str | None = None


def refreshed_table(table: str) -> str:
    """The staging table of columns that were read again."""
    return f"_fresh_{table}"


def ids_table(table: str) -> str:
    """The staging table of the ids that Salesforce has."""
    return f"_ids_{table}"


def duplicates_table(table: str) -> str:
    """The staging table of rows whose id landed more than once."""
    return f"_duplicates_{table}"


def read_reconciliation(
    extractor: ObjectExtractor,
    extracted: ExtractedObject,
    state: Mapping[str, Any],
    *,
    reconcile: bool,
) -> Reconciliation:
    """Read what the window of an object cannot show; an object that was read whole needs little."""
    sobject, layout = extracted.sobject, extracted.layout
    start, end = extracted.window.start, extracted.window.end
    if extracted.first:
        return Reconciliation()
    if sobject.cursor is None:
        # All rows were read, so landed rows that were not among them have vanished.
        staged = TableLayout.of(_columns_of(layout, set()), ids_table(layout.table))
        return Reconciliation(ids=replace(extracted, layout=staged))
    if start is None or end is None:
        return Reconciliation()
    deletions = find_deletions(extractor.api, sobject, start, end)
    refreshed = ids = None
    names = stale_fields(extractor, sobject, state, end)
    if names:
        columns = _columns_of(layout, names)
        refreshed = extractor.extract_columns(extracted, columns, refreshed_table(layout.table))
    days = extractor.settings.reconcile_days
    if reconcile or deletions.purged or _is_due(state.get(RECONCILED_AT), days, end, hours=24):
        columns = _columns_of(layout, {sobject.cursor})
        ids = extractor.extract_columns(extracted, columns, ids_table(layout.table))
    return Reconciliation(
        deleted=deletions.rows, refreshed=refreshed, ids=ids, refusal=deletions.refusal
    )


def needs_definitions(api: Api, sobject: SObject, state: Mapping[str, Any]) -> bool:
    """Whether the fields' descriptions and data classifications are to be asked for."""
    now = api.server_time or api.clock.now()
    all_known = set(sobject.names) <= set(state.get("fields") or ())
    return not all_known or _is_due(state.get(DEFINED_AT), DEFINITIONS_DAYS, now, hours=24)


def definitions(api: Api, sobject: SObject) -> Sequence[Mapping[str, Any]] | None:
    """The fields' descriptions and data classifications; None if the user may not see them."""
    query = (
        "SELECT QualifiedApiName,Description,ComplianceGroup,SecurityClassification"
        f" FROM FieldDefinition WHERE EntityDefinition.QualifiedApiName = '{sobject.name}'"
    )
    try:
        answer = as_mapping(api.get("tooling/query", q=query), "a tooling query")
        return as_records(answer.get("records"), "records")
    except ServiceFailed:
        # Rows can be read without the permission to see the setup.
        return None


def stale_fields(
    extractor: ObjectExtractor, sobject: SObject, state: Mapping[str, Any], now: datetime
) -> set[str]:
    """Fields whose landed values may be outdated although their rows did not change.

    Formulas change with the records that they refer to. And a field that was not read last time,
    because it is new, was hidden or was left out, has no values in rows that did not change.
    """
    known = state.get("fields")
    names = set(sobject.names) - set(known) if known is not None else set()
    if sobject.formula == "refresh":
        hours = extractor.settings.formula_refresh_hours or 0.0
        if _is_due(state.get(FORMULAS_AT), hours, now, hours=1):
            names |= {field.name for field in sobject.formulas}
    return names


def record_reconciliation(
    state: MutableMapping[str, Any],
    extracted: ExtractedObject,
    reconciliation: Reconciliation,
    *,
    deleted: Deleted,
) -> None:
    """Put into the state what is to be applied after the load, and when it was read."""
    now = (extracted.window.end or extracted.read_at).isoformat()
    refreshed, ids = reconciliation.refreshed, reconciliation.ids
    formulas = {field.name for field in extracted.sobject.formulas}
    refreshed_fields = {field.name for field in refreshed.layout.fields} if refreshed else set()
    if extracted.whole or (formulas and formulas <= refreshed_fields):
        state[FORMULAS_AT] = now
    if extracted.whole or ids:
        state[RECONCILED_AT] = now
    pending: dict[str, Any] = {}
    if deleted == "remove" and state.get("deleted", "flag") == "flag" and not extracted.first:
        pending[PENDING_FLAGGED] = True
    state["deleted"] = deleted
    if any(field.note is not None for field in extracted.layout.fields):
        state[DEFINED_AT] = now
    if extracted.first and extracted.rows:
        # A first load only inserts, so an id that came twice is there twice.
        cursor = extracted.sobject.cursor
        columns = _columns_of(extracted.layout, {cursor} if cursor else set())
        pending[PENDING_UNIQUE] = [column.column for column in columns[1:]]
    if reconciliation.deleted:
        pending[PENDING_DELETED] = True
    if refreshed:
        pending[PENDING_FRESH] = [column.column for column in refreshed.layout.columns[1:]]
    if ids:
        columns_of_ids = [column.column for column in ids.layout.columns[1:]]
        pending[PENDING_IDS] = {"cursor": columns_of_ids, "before": now, "rows": ids.rows}
    if pending:
        state[PENDING] = pending
    else:
        state.pop(PENDING, None)


def _columns_of(layout: TableLayout, names: set[str]) -> tuple[ColumnLayout, ...]:
    """The columns of some fields, the id first."""
    chosen = [
        column for column in layout.columns if column.field and column.field.name in {*names, "Id"}
    ]
    return tuple(
        sorted(chosen, key=lambda column: bool(column.field and column.field.name != "Id"))
    )


def _is_due(last: object, every: float | None, now: datetime, *, hours: float) -> bool:
    if every is None:
        return False
    return not last or now - parse_timestamp(str(last)) >= timedelta(hours=every * hours)
