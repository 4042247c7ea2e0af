"""Schema evolution of an audience's snapshot and outbox.

Both tables follow the columns that the mapping names. A column that appears, disappears or changes
its type does not make every member "changed": it is added and backfilled, dropped, or converted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from tailrace.audience.audience import Audience
from tailrace.dataclass import dataclass
from tailrace.errors import KeyTypeChanged, ModelError, UnknownColumn
from tailrace.ledger.ledger import Ledger
from tailrace.ledger.tables import Shape
from tailrace.warehouse.connection import Warehouse
from tailrace.warehouse.statements import ALIAS_PREFIX, Binding, Column, TableName

# Runs one statement.
_Step = Callable[[], object]

# The prefix of a column that is being filled.
FILLED = "_new__"
# The longest prefix of a table that is named after an audience.
TABLE_PREFIX = "transitions__"
# Columns that the snapshot, the outbox and the statements over them have beside the audience's.
RESERVED_COLUMNS = frozenset(
    {
        "run_seq",
        "seq",
        "op",
        "reason",
        "base_v",
        "_blind",
        "_send",
        "_stays",
        "_user",
        "_at",
        "_since",
        "_v",
        "_gone",
    }
    | {"_acked_at", "_distance", "_epoch", "_evidence", "_h", "_p", "_place", "_rid", "_times"}
    # DuckDB's name for a row's number.
    | {"_was_member", "rowid"}
)


@dataclass(frozen=True, kw_only=True)
class SchemaChange:
    """How the snapshot's columns differ from the columns that the model gives."""

    added: tuple[Column, ...] = ()
    dropped: tuple[Column, ...] = ()
    retyped: tuple[Column, ...] = ()


def shape_of(
    model_columns: Sequence[Column], *, key: Sequence[str], mapped: Sequence[str], file: str | None
) -> Shape:
    """The audience's columns with the types that the model gives them today.

    Raises:
        UnknownColumn: The model has no such column.
        ModelError: A column has a reserved name.
    """
    by_name = {column.name: column for column in model_columns}
    for name in (*key, *mapped):
        if name not in by_name:
            raise UnknownColumn(f'The SELECT has no column "{name}"', file=file)
        if name in RESERVED_COLUMNS or name.startswith(("old__", ALIAS_PREFIX)):
            raise ModelError(
                f'Column name "{name}" is reserved',
                hint=f"Rename the column in the SELECT: {name} AS …",
                file=file,
            )
    return Shape(
        keys=tuple(by_name[name] for name in key),
        columns=tuple(by_name[name] for name in mapped if name not in key),
    )


def check_names(audience: Audience, shape: Shape, *, name_bytes_max: int) -> None:
    """Refuse names that the warehouse would truncate, so that two names cannot collide.

    Raises:
        ModelError: The audience's name, or a column's, is too long with its prefix.
    """
    prefixed = [(TABLE_PREFIX, audience.ledger_key, "The audience's name")]
    prefixed += [("old__", column.name, "The column's name") for column in shape.columns]
    for prefix, name, what in prefixed:
        if len(f"{prefix}{name}".encode()) > name_bytes_max:
            raise ModelError(
                f'{what} "{name}" is too long for the warehouse',
                hint=f"At most {name_bytes_max - len(prefix)} bytes fit.",
                file=audience.file,
            )


def check_keys(audience: Audience, shape: Shape, *, without_equality: str | None) -> None:
    """Refuse a key or an id of a type whose values the engine cannot compare.

    Args:
        without_equality: The engine's pattern of the types that it cannot compare.

    Raises:
        ModelError: The engine has no equality for the type, such as json, or one of areas.
    """
    if without_equality is None:
        return
    compared = {
        *audience.key,
        audience.user_id,
        audience.anonymous_id,
        audience.identity_column,
        audience.message_id_column,
        *audience.sort_columns,
    }
    for column in (*shape.keys, *shape.columns):
        if column.name not in compared:
            continue
        if re.fullmatch(without_equality, column.type, re.IGNORECASE):
            role = "Key column" if column.name in audience.key else "The id column"
            raise ModelError(
                f'{role} "{column.name}" has type {column.type}, whose values the warehouse '
                "cannot compare",
                hint=f"Cast it in the SELECT: {column.name}::text AS {column.name}",
                file=audience.file,
            )


def has_keys(table_columns: Sequence[Column], keys: Sequence[Column]) -> bool:
    """Whether a table has these columns with these types."""
    return set(keys) <= set(table_columns)


def require_no_rename(ledger: Ledger, audience: Audience, snapshot: TableName) -> None:
    """Refuse to drop a table that an interrupted rename has moved to an audience's name.

    Raises:
        ModelError: The rename has to be completed.
    """
    if not ledger.warehouse.engine.commits_tables:
        return
    ((members,),) = ledger.warehouse.run("warehouse/count_rows", tables={"counted": snapshot})
    if members and ledger.runs.has_interrupted("rename"):
        raise ModelError(
            f"An interrupted rename has left the members of {audience.name}",
            hint=f"Complete it with the same command: tailrace rename OLD {audience.name}",
            file=audience.file,
        )


def schema_change(
    table_columns: Sequence[Column], shape: Shape, *, audience: Audience, keys: Sequence[str]
) -> SchemaChange:
    """What has to change for a snapshot with these columns and keys to hold the shape.

    Raises:
        KeyTypeChanged: The delivered members have another key, or one of another type.
    """
    hint = f"Send every member again with: tailrace reset {audience.name} --send"
    if set(keys) != set(audience.key):
        was, is_ = ", ".join(keys), ", ".join(audience.key)
        message = f"The key changed from {was} to {is_}"
        raise KeyTypeChanged(message, hint=hint, file=audience.file)
    types = {column.name: column.type for column in table_columns}
    for key in shape.keys:
        if types.get(key.name) != key.type:
            raise KeyTypeChanged(
                f'The type of key column "{key.name}" changed from '
                f"{types.get(key.name)} to {key.type}",
                hint=f"Cast it back. {hint}",
                file=audience.file,
            )
    wanted = {column.name for column in (*shape.keys, *shape.columns)}
    return SchemaChange(
        added=tuple(c for c in shape.columns if c.name not in types),
        retyped=tuple(c for c in shape.columns if types.get(c.name, c.type) != c.type),
        dropped=tuple(
            c for c in table_columns if c.name not in wanted and c.name not in RESERVED_COLUMNS
        ),
    )


@dataclass(frozen=True, kw_only=True)
class Alignment:
    """The shape that an audience's tables need.

    Columns in `reset_columns` lose their recorded values, which are not what the receiver has. With
    `backfill` a new column gets the members' values of today. With `restart` the whole audience is
    dropped first.
    """

    audience: Audience
    model: Binding
    shape: Shape
    reset_columns: frozenset[str] = frozenset()
    backfill: bool = False
    restart: bool = False


def align(ledger: Ledger, alignments: Sequence[Alignment]) -> None:
    """Create the audiences' tables, or alter them to their shapes, in one transaction."""
    existing = ledger.warehouse.columns_in(ledger.dataset)
    steps = [step for alignment in alignments for step in _steps(ledger, alignment, existing)]
    if not steps:
        return
    keys = [alignment.audience.ledger_key for alignment in alignments if alignment.restart]
    created = [
        alignment.audience
        for alignment in alignments
        if alignment.restart or ledger.snapshot(alignment.audience.ledger_key).name not in existing
    ]
    with ledger.warehouse.transaction():
        if keys:
            ledger.views.release(keys)
        for step in steps:
            step()
        if created:
            ledger.views.replace(planned=created)


def _steps(
    ledger: Ledger, alignment: Alignment, existing: Mapping[str, Sequence[Column]]
) -> Iterator[_Step]:
    """The statements that align an audience's tables, to be run in this order."""
    run, shape, sync_key = ledger.warehouse.run, alignment.shape, alignment.audience.ledger_key
    snapshot, outbox = ledger.snapshot(sync_key), ledger.outbox(sync_key)
    snapshot_columns, outbox_columns = existing.get(snapshot.name), existing.get(outbox.name)
    if alignment.restart:
        yield partial(run, "ledger/drop_table", tables={"dropped": snapshot})
        snapshot_columns = None
    # The outbox remains after an audience is retired; a new audience of the same name may have
    # another key.
    if alignment.restart or not has_keys(outbox_columns or shape.keys, shape.keys):
        yield partial(run, "ledger/drop_table", tables={"dropped": outbox})
        yield partial(run, "ledger/delete_unconfirmed", tables=ledger.tables, sync_key=sync_key)
        outbox_columns = None
    created: dict[str, Any] = {"columns": shape.lists}
    if snapshot_columns:
        yield from _snapshot_steps(ledger, alignment, snapshot, snapshot_columns)
    else:
        tables = {"snapshot": snapshot, "model": alignment.model}
        yield partial(run, "ledger/create_snapshot", tables=tables, **created)
    if outbox_columns:
        yield from _outbox_steps(ledger.warehouse, outbox, shape, outbox_columns)
    else:
        tables = {"outbox": outbox, "model": alignment.model}
        yield partial(run, "ledger/create_outbox", tables=tables, **created)


def _snapshot_steps(
    ledger: Ledger, alignment: Alignment, snapshot: TableName, columns: Sequence[Column]
) -> Iterator[_Step]:
    audience, shape = alignment.audience, alignment.shape
    alter, retype = partial(_alter, ledger.warehouse), partial(_retype, ledger.warehouse)
    change = schema_change(columns, shape, audience=audience, keys=audience.key)
    reset = tuple(column for column in shape.columns if column.name in alignment.reset_columns)
    for column in (*change.dropped, *reset):
        yield partial(alter, "drop", snapshot, column)
    for column in change.retyped:
        if column not in reset:
            yield partial(retype, snapshot, column)
    for column in (*change.added, *reset):
        # Where no transaction adds a column, it has another name until it is filled. A later run
        # drops what an interrupted one has left.
        is_renamed = alignment.backfill and ledger.warehouse.engine.commits_tables
        added = Column(f"{FILLED}{column.name}", column.type) if is_renamed else column
        yield partial(alter, "add", snapshot, added)
        if alignment.backfill:
            yield partial(
                ledger.warehouse.run,
                "ledger/backfill",
                tables={"snapshot": snapshot, "model": alignment.model},
                columns={"keys": shape.keys},
                column=added._replace(pair=column.name),
            )
        if is_renamed:
            yield partial(alter, "rename", snapshot, added._replace(pair=column.name))


def _outbox_steps(
    warehouse: Warehouse, outbox: TableName, shape: Shape, columns: Sequence[Column]
) -> Iterator[_Step]:
    """Columns of earlier mappings remain; only columns that today's transitions need are changed.

    A column whose recorded values cannot be cast to its type of today is dropped and added.
    """
    alter = partial(_alter, warehouse)
    types = {column.name: column.type for column in columns}
    for column in shape.columns:
        for wanted in (column, Column(f"old__{column.name}", column.type)):
            if wanted.name not in types:
                yield partial(alter, "add", outbox, wanted)
            elif types[wanted.name] == wanted.type:
                continue
            elif is_castable(warehouse, outbox, wanted):
                yield partial(_retype, warehouse, outbox, wanted)
            else:
                yield partial(alter, "drop", outbox, wanted)
                yield partial(alter, "add", outbox, wanted)


def is_castable(warehouse: Warehouse, table: Binding, column: Column) -> bool:
    """Whether every value of the column can be cast to the new type."""
    return warehouse.attempt("ledger/count_uncastable", tables={"altered": table}, column=column)


def _alter(warehouse: Warehouse, verb: str, table: TableName, column: Column) -> None:
    warehouse.run(f"ledger/{verb}_column", tables={"altered": table}, column=column)


def _retype(warehouse: Warehouse, table: TableName, column: Column) -> None:
    if not warehouse.engine.only_widens_types:
        _alter(warehouse, "retype", table, column)
        return
    copied = warehouse.temporary("retyped")
    warehouse.drop_temporary(copied)
    tables = {"altered": table, "copied": copied}
    warehouse.run("ledger/copy_retyped", tables=tables, column=column)
    warehouse.run("ledger/drop_table", tables={"dropped": table})
    warehouse.run("ledger/create_of_copy", tables=tables)
    warehouse.drop_temporary(copied)
