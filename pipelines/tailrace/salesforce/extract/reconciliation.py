"""What a window of changes cannot show: deletions, stale formulas, new fields, rows that vanished.

Each is read into a side table of its own, which is applied to the landed table after the load.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from tailrace.config.settings import Deleted
from tailrace.errors import SalesforceFault
from tailrace.salesforce.client import Api
from tailrace.salesforce.describe import SObject
from tailrace.salesforce.extract.extractor import ObjectReader, Reading
from tailrace.salesforce.extract.replication import deletions, parse_moment
from tailrace.salesforce.extract.table_layout import Landed, Layout

FORMULAS_AT, RECONCILED_AT, DEFINED_AT = "formulas_at", "reconciled_at", "defined_at"
UNSETTLED = "unsettled"
# Describe tells neither descriptions nor classifications; asking for them costs a call.
DEFINITIONS_DAYS = 7


@dataclass(frozen=True, kw_only=True)
class Upkeep:
    """What was read beside the window.

    Attributes:
        deleted: Ids in Salesforce's log of deletions, with when.
        fresh: Every row's id with the columns that are read anew.
        ids: Every id that Salesforce still has.
    """

    deleted: tuple[tuple[str, datetime], ...] = ()
    fresh: Reading | None = None
    ids: Reading | None = None


def fresh_table(table: str) -> str:
    """The side table of columns that were read anew."""
    return f"_fresh_{table}"


def ids_table(table: str) -> str:
    """The side table of the ids that Salesforce has."""
    return f"_ids_{table}"


def look_after(
    reader: ObjectReader, reading: Reading, state: Mapping[str, Any], *, reconcile: bool
) -> Upkeep:
    """Read beside a window what it cannot show; an object read whole needs little of it."""
    sobject, layout = reading.sobject, reading.layout
    low, high = reading.window.low, reading.window.high
    if reading.first:
        return Upkeep()
    if sobject.cursor is None:
        # All rows were read: what is landed and was not among them has vanished.
        side = Layout.of(_columns_of(layout, set()), ids_table(layout.table))
        return Upkeep(ids=replace(reading, layout=side))
    if low is None or high is None:
        return Upkeep()
    deleted = deletions(reader.api, sobject, low, high)
    fresh = ids = None
    names = stale_fields(reader, sobject, state, high)
    if names:
        fresh = reader.read_side(reading, _columns_of(layout, names), fresh_table(layout.table))
    days = reader.settings.reconcile_days
    if reconcile or deleted.purged or _is_due(state.get(RECONCILED_AT), days, high, hours=24):
        columns = _columns_of(layout, {sobject.cursor})
        ids = reader.read_side(reading, columns, ids_table(layout.table))
    return Upkeep(deleted=deleted.rows, fresh=fresh, ids=ids)


def definitions(
    api: Api, sobject: SObject, state: Mapping[str, Any]
) -> Sequence[Mapping[str, Any]] | None:
    """What an administrator wrote about the fields; None if it is not time to ask again."""
    now = api.server_time or api.clock.now()
    known = set(sobject.names) <= set(state.get("fields") or ())
    if known and not _is_due(state.get(DEFINED_AT), DEFINITIONS_DAYS, now, hours=24):
        return None
    query = (
        "SELECT QualifiedApiName,Description,ComplianceGroup,SecurityClassification"
        f" FROM FieldDefinition WHERE EntityDefinition.QualifiedApiName = '{sobject.name}'"
    )
    try:
        found: list[Mapping[str, Any]] = api.get("tooling/query", q=query)["records"]
        return found
    except SalesforceFault:
        # A user who may not see the setup still sees the rows.
        return None


def stale_fields(
    reader: ObjectReader, sobject: SObject, state: Mapping[str, Any], now: datetime
) -> set[str]:
    """Fields whose landed values may be old although their rows did not change.

    Formulas change with what they speak of. And a field that was not read last time, because it
    is new, was hidden or was left out, has no values yet in the rows that stay as they are.
    """
    known = state.get("fields")
    names = set(sobject.names) - set(known) if known is not None else set()
    if sobject.formula == "refresh":
        hours = reader.settings.formula_refresh_hours or 0.0
        if _is_due(state.get(FORMULAS_AT), hours, now, hours=1):
            names |= {each.name for each in sobject.formulas}
    return names


def remember_upkeep(
    state: MutableMapping[str, Any], reading: Reading, upkeep: Upkeep, *, deleted: Deleted
) -> None:
    """Put into the state what is to be applied after the load, and when it was read."""
    now = (reading.window.high or reading.read_at).isoformat()
    formulas = {each.name for each in reading.sobject.formulas}
    fresh = {each.name for each in upkeep.fresh.layout.fields} if upkeep.fresh else set()
    if reading.whole or (formulas and formulas <= fresh):
        state[FORMULAS_AT] = now
    if reading.whole or upkeep.ids:
        state[RECONCILED_AT] = now
    unsettled: dict[str, Any] = {}
    if deleted == "remove" and state.get("deleted", "flag") == "flag" and not reading.first:
        unsettled["flagged"] = True
    state["deleted"] = deleted
    if any(each.note is not None for each in reading.layout.fields):
        state[DEFINED_AT] = now
    if upkeep.deleted:
        unsettled["deleted"] = True
    if upkeep.fresh:
        unsettled["fresh"] = [each.column for each in upkeep.fresh.layout.columns[1:]]
    if upkeep.ids:
        cursor = [each.column for each in upkeep.ids.layout.columns[1:]]
        unsettled["ids"] = {"cursor": cursor, "before": now, "rows": upkeep.ids.rows}
    if unsettled:
        state[UNSETTLED] = unsettled
    else:
        state.pop(UNSETTLED, None)


def _columns_of(layout: Layout, names: set[str]) -> tuple[Landed, ...]:
    """The columns of some fields, the id first."""
    found = [each for each in layout.columns if each.field and each.field.name in {*names, "Id"}]
    return tuple(sorted(found, key=lambda each: bool(each.field and each.field.name != "Id")))


def _is_due(last: object, every: float | None, now: datetime, *, hours: float) -> bool:
    if every is None:
        return False
    return not last or now - parse_moment(str(last)) >= timedelta(hours=every * hours)
