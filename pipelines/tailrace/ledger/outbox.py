"""The outbox: transitions that are saved before the first request leaves, and read in seq order.

The next run delivers what a crashed run left in it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Any

from tailrace.audience.audience import Audience
from tailrace.dataclass import dataclass
from tailrace.destinations.messages import Transition
from tailrace.encoding.values import OUT_OF_RANGE, json_value
from tailrace.errors import LedgerGap, MemoryShort
from tailrace.ledger.ledger import Ledger
from tailrace.ledger.tables import Shape
from tailrace.warehouse.connection import Warehouse
from tailrace.warehouse.statements import Binding, Column, TableName, query, unions

PAGE_ROWS_MAX = 10_000
# Bytes of messages per page. The size of the previous page gives the number of rows.
PAGE_BYTES_MAX = 4_000_000
FIRST_PAGE_ROWS = 2_000
# Larger plans are sorted only where the order matters: a sort holds whole rows in memory.
SORTED_ROWS_MAX = 1_000
# The position of the first key in a row of transitions.
_FIRST_KEY = 8
_DATE = re.compile("DATE", re.IGNORECASE)
# DuckDB's name; PostgreSQL's types are in lower case.
_JSON = re.compile(r"JSON(\[\])*")
_TIMESTAMP = re.compile(r"TIMESTAMP[\w ()]*$", re.IGNORECASE)

Reader = Callable[[Sequence[Any]], tuple[Transition, bool]]


@dataclass(frozen=True, kw_only=True)
class PlannedTransitions:
    """The transitions of an audience's plan, in a temporary table.

    `planned` is their number; None counts them. `changed` is how many of them are changes; None if
    that is not known.
    """

    audience: Audience
    transitions: TableName
    shape: Shape
    planned: int | None = None
    changed: int | None = None


def enqueue(ledger: Ledger, run_seq: int, plans: Sequence[PlannedTransitions]) -> None:
    """Save the transitions of plans, those of each numbered from 1. Called inside a transaction.

    Raises:
        LedgerGap: The engine saved another number of rows. The transaction is rolled back.
    """
    planned = {plan.audience.ledger_key: _insert(ledger, run_seq, plan) for plan in plans}
    for sync_key, saved in _saved(ledger, run_seq, list(planned)).items():
        if saved != planned[sync_key]:
            raise LedgerGap(f"{sync_key}: {planned[sync_key]} planned, {saved} saved")


def _saved(ledger: Ledger, run_seq: int, sync_keys: Sequence[str]) -> dict[str, int]:
    """How many transitions of a run each outbox has."""
    counts = [
        query(
            "outbox/count_run",
            ledger.warehouse.dialect,
            tables={"outbox": ledger.outbox(sync_key)},
            run=run_seq,
            sync_key=sync_key,
        )
        for sync_key in sync_keys
    ]
    return {
        str(sync_key): int(saved)
        for union in unions(counts)
        for sync_key, saved in ledger.warehouse.run(
            "outbox/counts_of_run", tables={"each_count": union}
        )
    }


def _insert(ledger: Ledger, run_seq: int, plan: PlannedTransitions) -> int:
    """Save the transitions of a plan, and return their number.

    In a large plan the users with several transitions come first, and only these are sorted.
    """
    warehouse, audience, shape = ledger.warehouse, plan.audience, plan.shape
    transitions, planned = plan.transitions, plan.planned
    outbox = ledger.outbox(audience.ledger_key)
    lists = _lists(plan, skips_previous=plan.changed == 0 and warehouse.engine.embedded)
    identity, sort_columns = lists["identity"], lists["sort_columns"]
    distinct = "enqueue_distinct_sorted" if sort_columns else "enqueue_distinct"

    def number(how: str, moved: Binding, after: int = 0) -> None:
        tables = {"outbox": outbox, "transitions": moved}
        warehouse.run(f"outbox/{how}", tables=tables, columns=lists, run=run_seq, after=after)

    def count(counted: Binding) -> int:
        return int(warehouse.run("warehouse/count_rows", tables={"counted": counted})[0][0])

    def bound(name: str, **tables: Binding) -> Binding:
        tables["transitions"] = transitions
        return query(f"outbox/{name}", warehouse.dialect, tables=tables, columns=lists)

    if planned is None:
        planned = count(transitions)
    if planned <= SORTED_ROWS_MAX:
        number("enqueue", transitions)
    elif not identity or identity == shape.keys:
        number(distinct, transitions)
    else:
        users = bound("shared_users")
        several = bound("of_shared_users", users=users)
        first = count(several)
        # DuckDB may lose rows that follow an empty INSERT in the same transaction.
        if first:
            number("enqueue", several)
        if first < planned:
            number(distinct, bound("of_single_users", users=users), after=first)
    if planned > PAGE_ROWS_MAX and warehouse.engine.reads_by_index:
        _index(warehouse, outbox)
    return planned


def _lists(plan: PlannedTransitions, *, skips_previous: bool) -> dict[str, tuple[Column, ...]]:
    """The column lists of the statements that save a plan.

    Args:
        plan: The plan.
        skips_previous: The columns of previous values keep their default, which is NULL.
    """
    audience, shape = plan.audience, plan.shape
    stored = {column.name: column for column in (*shape.keys, *shape.columns)}
    identity = stored.get(audience.identity_column or "")
    return {
        "keys": shape.keys,
        "columns": shape.columns,
        "previous": () if skips_previous else shape.columns,
        "identity": (identity,) if identity else (),
        "sort_columns": tuple(stored[name] for name in audience.sort_columns if name in stored),
    }


def _index(warehouse: Warehouse, outbox: TableName) -> None:
    """Create the index of an outbox of several pages, unless it has one.

    Without it, each page would read the whole table. An index of existing rows costs less than one
    that grows with each row.
    """
    ((indexes,),) = warehouse.run("outbox/count_indexes", dataset=outbox.dataset, table=outbox.name)
    if not indexes:
        warehouse.run("outbox/create_index", tables={"outbox": outbox})


def shape_of_outbox(ledger: Ledger, audience: Audience) -> Shape:
    """The columns that an audience's outbox was written with, by the mapping recorded then."""
    types = {
        c.name: c.type for c in ledger.warehouse.columns_of(ledger.outbox(audience.ledger_key))
    }
    mapped = tuple(name for name in audience.mapped_columns if name not in audience.key)
    return Shape(
        keys=tuple(Column(name, types[name]) for name in audience.key),
        columns=tuple(Column(name, types[name]) for name in mapped if name in types),
    )


def pending_transitions(
    ledger: Ledger, run_seq: int, audience: Audience, *, shape: Shape
) -> Iterator[tuple[Transition, bool]]:
    """The transitions without an outcome, in order, each with whether it is to be sent."""
    changes = has_changes(ledger, run_seq, audience)
    unread = ledger.deliveries.open_ranges(run_seq, audience.ledger_key)
    for first, last in pages(unread, rows=PageRows()):
        yield from page(
            ledger, run_seq, audience, shape=shape, changes=changes, first=first, last=last
        )


class PageRows:
    """The number of rows of the next page, so that wide rows do not fill the memory.

    A page that arrives in batches of `batch_rows` holds one batch at a time. If a batch fits, the
    page may have `rows_max` rows.
    """

    def __init__(self, rows_max: int | None = None, *, batch_rows: int | None = None) -> None:
        self._rows_max = self._engines_max = rows_max or PAGE_ROWS_MAX
        self._batch_rows = batch_rows or self._rows_max
        self.now = self._rows_max if batch_rows else min(FIRST_PAGE_ROWS, self._rows_max)

    def learn(self, rows: int, messages_bytes: int) -> None:
        """Adapt to a page of `rows` rows whose messages had `messages_bytes` bytes."""
        fitting = PAGE_BYTES_MAX * rows // max(messages_bytes, 1)
        wanted = self._rows_max if fitting >= self._batch_rows else max(1, fitting)
        self._engines_max = min(self._rows_max, 2 * self._engines_max)
        self.now = min(wanted, self._engines_max)

    def shrink(self, rows: int) -> bool:
        """Shrink after a page of `rows` rows ran out of memory. False if it cannot be shorter."""
        self.now = self._engines_max = max(1, min(rows, self._batch_rows) // 4)
        return rows > 1


def pages(unread: Iterable[tuple[int, int]], *, rows: PageRows) -> Iterator[tuple[int, int]]:
    """The ranges of seq, cut into pages, so that no cursor stays open during acknowledgements."""
    for first, last in unread:
        while first <= last:
            end = min(last, first + rows.now - 1)
            yield first, end
            first = end + 1


def has_changes(ledger: Ledger, run_seq: int, audience: Audience) -> bool:
    """Whether a run has `changed` transitions, which need the previous values."""
    tables = {"outbox": ledger.outbox(audience.ledger_key)}
    ((changes,),) = ledger.warehouse.run("outbox/has_changed", tables=tables, run=run_seq)
    return bool(changes)


def page(
    ledger: Ledger,
    run_seq: int,
    audience: Audience,
    *,
    shape: Shape,
    changes: bool,
    first: int,
    last: int,
    only: Collection[int] | None = None,
) -> Iterator[tuple[Transition, bool]]:
    """The transitions of a run from one number to another, in the form of `pending_transitions`.

    With `only`, just the transitions with these seqs are fetched.
    """
    lists, ordered = _page_lists(shape, changes=changes)
    try:
        rows = ledger.warehouse.run(
            "outbox/page",
            tables={"outbox": ledger.outbox(audience.ledger_key)},
            columns=lists,
            run=run_seq,
            first_seq=first,
            last_seq=last,
            every=only is None,
            seqs=f",{','.join(map(str, only or ()))},",
        )
    except MemoryShort:
        if first == last:
            raise
        half = (first + last) // 2
        read = partial(page, ledger, run_seq, audience, shape=shape, changes=changes, only=only)
        yield from chain(read(first=first, last=half), read(first=half + 1, last=last))
        return
    read_row = transition_reader(ordered)
    for row in rows:
        transition, send = read_row(_with_out_of_range(row))
        if OUT_OF_RANGE in transition.key:
            # The key identifies the row; only a message cannot have the time.
            key = tuple(row[_FIRST_KEY : _FIRST_KEY + len(shape.keys)])
            transition = transition._replace(key=key)
        yield transition, send


def _page_lists(shape: Shape, *, changes: bool) -> tuple[dict[str, Sequence[Column]], Shape]:
    """The column lists of `outbox/page`, and the shape in the order in which it returns them.

    The label of a date or timestamp is its position in the row.
    """
    dates = [column for column in shape.columns if _DATE.fullmatch(column.type)]
    timestamps = [column for column in shape.columns if _TIMESTAMP.match(column.type)]
    others = [column for column in shape.columns if column not in (*dates, *timestamps)]
    ordered = Shape(keys=shape.keys, columns=(*others, *dates, *timestamps))
    keys = [
        Column(column.name, column.type, f"{_FIRST_KEY + index},")
        for index, column in enumerate(shape.keys)
    ]
    lists: dict[str, Sequence[Column]] = {
        "keys": shape.keys,
        "key_dates": [column for column in keys if _DATE.fullmatch(column.type)],
        "key_timestamps": [column for column in keys if _TIMESTAMP.match(column.type)],
    }
    position = _FIRST_KEY + len(shape.keys)
    for prefix in ("", "old_"):
        for name, columns in (("columns", others), ("dates", dates), ("timestamps", timestamps)):
            # In a first delivery all old values are NULL, so they are not read.
            read = columns if changes or not prefix else []
            lists[prefix + name] = [
                Column(column.name, column.type, f"{position + index},")
                for index, column in enumerate(read)
            ]
            position += len(read)
    return lists, ordered


def _with_out_of_range(row: Sequence[Any]) -> Sequence[Any]:
    """A row of `outbox/page` without its last column, which lists positions of `OUT_OF_RANGE`."""
    *values, positions = row
    for position in (positions or "").split(",")[:-1]:
        values[int(position)] = OUT_OF_RANGE
    return values


def transition_reader(shape: Shape) -> Reader:
    """How a row of `outbox/page` becomes a transition and whether it is to be sent.

    Columns of DuckDB's type JSON become JSON values, as psycopg2 returns those of PostgreSQL. Keys
    stay text: they are part of the messageIds.
    """
    json_columns = [column.name for column in shape.columns if _JSON.fullmatch(column.type)]
    keys = [column.name for column in shape.keys]
    names = [*keys, *(column.name for column in shape.columns)]
    first_old = _FIRST_KEY + len(names)
    after_keys = _FIRST_KEY + len(keys)

    def read(row: Sequence[Any]) -> tuple[Transition, bool]:
        seq, op, reason, base_v, blind, send, stays, at = row[:_FIRST_KEY]
        key = tuple(row[_FIRST_KEY:after_keys])
        new = dict(zip(names, row[_FIRST_KEY:first_old], strict=True))
        old: dict[str, Any] = {}
        if op == "changed" and not blind:
            old = dict(zip(names, (*key, *row[first_old:]), strict=True))
        for name in json_columns:
            for values in (new, old) if old else (new,):
                values[name] = json_value(values[name])
        return Transition(seq, op, reason, base_v, key, new, old, bool(stays), at), send

    return read
