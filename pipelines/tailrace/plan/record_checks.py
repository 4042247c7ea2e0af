"""What a destination knows of a plan's rows without a call: refusals, and records that are current.

The warehouse finds the rows that may be refused, and the mapper of the run decides about them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from tailrace.audience.audience import Audience
from tailrace.destinations.protocol import Described, MessageMapper
from tailrace.destinations.registry import destination_type
from tailrace.destinations.row_checks import (
    CURRENT_LISTS,
    SUSPECT_LISTS,
    UNIQUE_LISTS,
    LandedRecords,
    RowChecks,
)
from tailrace.ledger.ledger import Ledger
from tailrace.ledger.outbox import transition_reader
from tailrace.ledger.tables import Shape
from tailrace.models.loader import landed_name
from tailrace.plan.diff import Diff, DiffRequest
from tailrace.warehouse.statements import Binding, Column, TableName

PAGE_ROWS = 50_000


def with_marks(ledger: Ledger, request: DiffRequest, described: Described) -> DiffRequest:
    """The request of a diff with the marks of `mark`."""
    checks = _row_checks(request, described)
    if checks is None:
        return request
    return replace(
        request,
        mark_rows=lambda transitions: mark(
            ledger,
            request.audience,
            checks,
            model=request.model,
            shape=request.shape,
            transitions=transitions,
        ),
    )


def mark(
    ledger: Ledger,
    audience: Audience,
    checks: RowChecks,
    *,
    model: Binding,
    shape: Shape,
    transitions: TableName,
) -> int:
    """Mark rows that write another row's record, and those that the receiver has already.

    Returns:
        How many rows the receiver has already. They are recorded without being sent.
    """
    if checks.unique:
        lists = {name: checks.unique.get(name, ()) for name in UNIQUE_LISTS}
        ledger.warehouse.run(
            "plan/mark_shared",
            tables={"transitions": transitions, "model": model},
            columns={"keys": shape.keys, **lists},
        )
    if checks.landed is None:
        return 0
    return mark_current(ledger, audience, checks.landed, keys=shape.keys, transitions=transitions)


def mark_current(
    ledger: Ledger,
    audience: Audience,
    landed: LandedRecords,
    *,
    keys: Sequence[Column],
    transitions: TableName,
) -> int:
    """Record without sending what the landed records have already; returns how many rows.

    A landed record says nothing about a write that is newer than its extract.
    """
    warehouse = ledger.warehouse
    table = TableName(warehouse.project.settings.dataset, landed_name(landed.object))
    existing = {column.name for column in warehouse.columns_of(table)}
    lists = {name: _landed(name, landed.lists.get(name, ())) for name in CURRENT_LISTS}
    wanted = {
        column.name if name.startswith("constant_") else column.pair
        for name, columns in lists.items()
        for column in columns
    }
    if not {"is_deleted", *wanted} <= existing:
        return 0
    if not ledger.extracts.covers_deliveries(landed.object, audience.destination_name):
        return 0
    tables = {"transitions": transitions, "landed": table}
    ((before,),) = warehouse.run("plan/count_sent", tables=tables)
    if before:
        warehouse.run("plan/mark_current", tables=tables, columns={"keys": keys, **lists})
    ((after,),) = warehouse.run("plan/count_sent", tables=tables)
    return int(before) - int(after)


def refusals(
    ledger: Ledger,
    request: DiffRequest,
    result: Diff,
    mapper: MessageMapper,
    described: Described,
) -> Mapping[str, int]:
    """How many rows of a plan the run would refuse, by reason."""
    checks = _row_checks(request, described)
    if checks is None or not result.groups:
        return {}
    shape, transitions = request.shape, result.transitions
    lists = {
        **shape.lists,
        **{name: checks.suspects.get(name, ()) for name in SUSPECT_LISTS},
    }
    read = transition_reader(shape)
    counts: Counter[str] = Counter()
    offset = 0
    while True:
        rows = ledger.warehouse.run(
            "plan/suspects",
            tables={"transitions": transitions},
            columns=lists,
            every=checks.every_row,
            rows_max=PAGE_ROWS,
            skipped=offset,
        )
        for row in rows:
            _, refused, _ = mapper.messages(read(row)[0])
            if refused:
                counts[f"{refused[0].path} {refused[0].rule}"] += 1
        if len(rows) < PAGE_ROWS:
            return dict(sorted(counts.items()))
        offset += PAGE_ROWS


def _landed(name: str, columns: Sequence[Column]) -> tuple[Column, ...]:
    """The columns with the names that the object's fields have in the landed table."""
    if name.startswith("constant_"):
        return tuple(replace(column, name=landed_name(column.name)) for column in columns)
    return tuple(replace(column, pair=landed_name(column.pair)) for column in columns)


def _row_checks(request: DiffRequest, described: Described) -> RowChecks | None:
    """What the destination knows of the rows without a call."""
    audience, shape = request.audience, request.shape
    kind = destination_type(audience.destination_type)
    return kind.row_checks(audience, described, (*shape.keys, *shape.columns))
