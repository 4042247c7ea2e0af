"""What a destination knows of a plan's rows without a call: refusals, and records that are current.

The warehouse finds the rows that may be refused, and the mapper of the run decides about them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from tailrace.audience.audience import Audience
from tailrace.destinations.messages import Message, Refusal, Transition
from tailrace.destinations.protocol import Described, MessageMapper, TransitionFacts
from tailrace.destinations.registry import destination_type
from tailrace.destinations.row_checks import (
    CURRENT_LISTS,
    KEY_LISTS,
    SUSPECT_LISTS,
    UNIQUE_LISTS,
    CreatedRecords,
    LandedRecords,
    RowChecks,
)
from tailrace.encoding.values import unchanged
from tailrace.ledger.ledger import Ledger
from tailrace.ledger.outbox import transition_reader
from tailrace.ledger.tables import Shape
from tailrace.models.loader import landed_name
from tailrace.plan.diff import Diff, DiffRequest
from tailrace.warehouse.statements import Binding, Column, TableName

PAGE_ROWS = 50_000


def with_marks(request: DiffRequest, described: Described) -> DiffRequest:
    """The request of a diff with the marks of `mark`."""
    checks = _row_checks(request, described)
    if checks is None:
        return request
    return replace(
        request,
        mark_rows=lambda ledger, transitions: mark(
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
    table = _landed_table(ledger, landed, audience, CURRENT_LISTS)
    if table is None:
        return 0
    lists = {name: _landed(name, landed.lists.get(name, ())) for name in CURRENT_LISTS}
    tables = {"transitions": transitions, "landed": table}
    ((before,),) = warehouse.run("plan/count_sent", tables=tables)
    if before:
        warehouse.run("plan/mark_current", tables=tables, columns={"keys": keys, **lists})
    ((after,),) = warehouse.run("plan/count_sent", tables=tables)
    return int(before) - int(after)


class Refused(NamedTuple):
    """The rows of a plan that a run would refuse.

    Attributes:
        by_reason: How many rows, by reason.
        unsent: The messages that the run does not send because of them, by kind.
    """

    by_reason: Mapping[str, int]
    unsent: Mapping[str, int]


def refusals(
    ledger: Ledger,
    request: DiffRequest,
    result: Diff,
    mapper: MessageMapper,
    described: Described,
) -> Refused:
    """The rows of a plan that the run would refuse."""
    checks = _row_checks(request, described)
    if checks is None or not result.groups:
        return Refused({}, Counter())
    lists = {name: checks.suspects.get(name, ()) for name in SUSPECT_LISTS}
    counts: Counter[str] = Counter()
    unsent: Counter[str] = Counter()
    suspects = _mapped(ledger, request, result, mapper, "suspects", lists, every=checks.every_row)
    for transition, _, refused in suspects:
        for refusal in refused:
            counts[f"{refusal.path} {refusal.rule}"] += 1
            unsent.update(mapper.message_counts(_facts(request.audience, transition)))
    if checks.created is not None:
        counts += _refused_creations(ledger, request, result, mapper, checks.created)
    return Refused(dict(sorted(counts.items())), unsent)


def _facts(audience: Audience, transition: Transition) -> TransitionFacts:
    """What the plan has counted the messages of a transition by."""
    identity = audience.identity_column or ""
    old, new = transition.old, transition.new
    return TransitionFacts(
        op=transition.op,
        reason=transition.reason,
        changed=frozenset(audience.column_groups),
        moved=bool(old) and not unchanged(old.get(identity), new.get(identity)),
        stays=transition.stays,
    )


def _refused_creations(
    ledger: Ledger,
    request: DiffRequest,
    result: Diff,
    mapper: MessageMapper,
    created: CreatedRecords,
) -> Counter[str]:
    """Rows that the receiver will refuse because they create a record, by reason.

    They are sent: the record may have been created since the object was extracted.
    """
    table = _landed_table(ledger, created.landed, request.audience, KEY_LISTS)
    if table is None:
        return Counter()
    lists = {name: _landed(name, created.landed.lists.get(name, ())) for name in KEY_LISTS}
    reasons = (
        created.refusal(message)
        for _, messages, _ in _mapped(
            ledger, request, result, mapper, "creating", lists, landed=table
        )
        for message in messages[-1:]
    )
    return Counter(reason for reason in reasons if reason)


def _mapped(
    ledger: Ledger,
    request: DiffRequest,
    result: Diff,
    mapper: MessageMapper,
    statement: str,
    lists: Mapping[str, Sequence[Column]],
    *,
    landed: TableName | None = None,
    every: bool = False,
) -> Iterator[tuple[Transition, Sequence[Message], Sequence[Refusal]]]:
    """Each transition that a statement selects, with its messages and refusals."""
    read = transition_reader(request.shape)
    tables: dict[str, Binding] = {"transitions": result.transitions}
    if landed is not None:
        tables["landed"] = landed
    offset = 0
    while True:
        rows = ledger.warehouse.run(
            f"plan/{statement}",
            tables=tables,
            columns={**request.shape.lists, **lists},
            every=every,
            rows_max=PAGE_ROWS,
            skipped=offset,
        )
        for row in rows:
            transition, _ = read(row)
            messages, refused, _ = mapper.messages(transition)
            yield transition, messages, refused[:1]
        if len(rows) < PAGE_ROWS:
            return
        offset += PAGE_ROWS


def _landed_table(
    ledger: Ledger, landed: LandedRecords, audience: Audience, names: Sequence[str]
) -> TableName | None:
    """The object's landed table; None if it lacks a column, or is older than the last delivery."""
    table = TableName(ledger.warehouse.project.settings.dataset, landed_name(landed.object))
    existing = {column.name for column in ledger.warehouse.columns_of(table)}
    wanted = {
        column.name if name.startswith("constant_") else column.pair
        for name in names
        for column in _landed(name, landed.lists.get(name, ()))
    }
    if not {"is_deleted", *wanted} <= existing:
        return None
    if not ledger.extracts.covers_deliveries(landed.object, audience.destination_name):
        return None
    return table


def _landed(name: str, columns: Sequence[Column]) -> tuple[Column, ...]:
    """The columns with the names that the object's fields have in the landed table."""
    if name.startswith("constant_"):
        return tuple(column._replace(name=landed_name(column.name)) for column in columns)
    return tuple(column._replace(pair=landed_name(column.pair)) for column in columns)


def _row_checks(request: DiffRequest, described: Described) -> RowChecks | None:
    """What the destination knows of the rows without a call."""
    audience, shape = request.audience, request.shape
    kind = destination_type(audience.destination_type)
    return kind.row_checks(audience, described, (*shape.keys, *shape.columns))
