"""The rejected members: counts by reason, and the rows with the rule, the path and the key."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

from tailrace.audience.audience import Audience
from tailrace.clock import Clock, format_utc
from tailrace.config.project import ProjectConfig
from tailrace.encoding.transforms import mask_sample
from tailrace.ledger import maintenance
from tailrace.ledger.audiences import no_such_audience
from tailrace.ledger.ledger import Ledger
from tailrace.warehouse.connection import Warehouse
from tailrace.warehouse.opening import open_to_read
from tailrace.warehouse.statements import Column


def rejected(
    source: ProjectConfig | Warehouse,
    *,
    clock: Clock,
    select: Sequence[str] = (),
    exclude: Sequence[str] = (),
    show_values: bool = False,
    rows_max: int | None = None,
) -> dict[str, Any]:
    """The unresolved rejections of the selected audiences.

    Returns:
        `rejected` has one entry for each audience, message kind and reason, with its count.
        `rows` has the rejected messages with the key of their member, the latest first; keys are
        masked unless `show_values`.

    Raises:
        NothingSelected: A pattern names no audience of the ledger.
        NothingLanded: There is no warehouse yet.
    """
    with open_to_read(source, clock=clock) as warehouse:
        ledger = Ledger(warehouse, clock=clock)
        entries = maintenance.rejected_by_reason(ledger)
        if select:
            names = _selected(ledger, select)
            entries = [entry for entry in entries if entry["audience"] in names]
        if exclude:
            names = _selected(ledger, exclude)
            entries = [entry for entry in entries if entry["audience"] not in names]
        rows: list[dict[str, Any]] = []
        for name in dict.fromkeys(str(entry["audience"]) for entry in entries):
            left = None if rows_max is None else rows_max - len(rows)
            if left is None or left > 0:
                rows += _rows(ledger, name, show_values=show_values, rows_max=left)
        return {"rejected": entries, "rows": rows}


def _selected(ledger: Ledger, patterns: Sequence[str]) -> set[str]:
    """The ledger keys of the audiences that match."""
    statuses = ledger.audiences.statuses()
    selected: set[str] = set()
    for pattern in patterns:
        matches = {
            str(row["sync"])
            for row in statuses
            if fnmatchcase(str(row["audience"]), pattern) or fnmatchcase(str(row["sync"]), pattern)
        }
        if not matches:
            raise no_such_audience(pattern, statuses)
        selected |= matches
    return selected


def _rows(
    ledger: Ledger, audience: str, *, show_values: bool, rows_max: int | None
) -> list[dict[str, Any]]:
    recorded = ledger.audiences.last_delivered(audience)
    mappings = [recorded.mapping] if recorded else []
    mappings += [run.mapping for run in ledger.deliveries.pending() if run.sync_key == audience]
    if not mappings:
        return []
    key = Audience.from_mapping(mappings[0]).key
    columns = {
        column.name: column for column in ledger.warehouse.columns_of(ledger.outbox(audience))
    }
    keys: list[Column] = [columns[name] for name in key if name in columns]
    if len(keys) != len(key):
        return []
    rows = ledger.warehouse.run(
        "reporting/rejected_rows",
        tables={**ledger.tables, "outbox": ledger.outbox(audience)},
        columns={"keys": keys},
        sync_key=audience,
        rows_max=2**31 - 1 if rows_max is None else rows_max,
    )
    entries = []
    for row in rows:
        op, kind, reason, path, status, attempts, message_id, first_seen, last_seen, *values = row
        shown = [str(value) if show_values else mask_sample(value) for value in values]
        entries.append(
            {
                "audience": audience,
                "key": dict(zip((column.name for column in keys), shown, strict=True)),
                "op": op,
                "kind": kind,
                "reason": reason,
                "path": path,
                "status": status,
                "attempts": attempts,
                "message_id": message_id,
                "first_seen": format_utc(first_seen),
                "last_seen": format_utc(last_seen),
            }
        )
    return entries
