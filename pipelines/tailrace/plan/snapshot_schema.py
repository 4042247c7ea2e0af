"""Schema evolution of an audience's snapshot and outbox.

Both tables follow the columns that the mapping names. A column that appears, disappears or changes
its type does not make every member "changed": it is added and backfilled, dropped, or converted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tailrace.audience.audience import Audience
from tailrace.errors import KeyTypeChanged, ModelError, UnknownColumn
from tailrace.ledger.ledger import Ledger
from tailrace.ledger.tables import Shape
from tailrace.warehouse.connection import Warehouse
from tailrace.warehouse.statements import ALIAS_PREFIX, Binding, Column, TableName

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


def has_keys(table_columns: Sequence[Column], keys: Sequence[Column]) -> bool:
    """Whether a table has these columns with these types."""
    return set(keys) <= set(table_columns)


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


def align(
    ledger: Ledger,
    audience: Audience,
    model: Binding,
    shape: Shape,
    *,
    reset_columns: frozenset[str],
    backfill: bool,
    restart: bool = False,
) -> None:
    """Create the audience's tables, or alter them to the shape, in one transaction.

    Columns in `reset_columns` lose their recorded values, which are not what the receiver has.
    With `restart` the whole audience is dropped first.
    """
    warehouse = ledger.warehouse
    outbox = ledger.outbox(audience.ledger_key)
    # The outbox remains after an audience is retired; a new audience of the same name may have
    # another key.
    foreign = not has_keys(warehouse.columns_of(outbox) or shape.keys, shape.keys)
    stale = () if restart or foreign else _stale(warehouse, outbox, shape)
    with warehouse.transaction():
        if restart:
            warehouse.run(
                "ledger/drop_table", tables={"dropped": ledger.snapshot(audience.ledger_key)}
            )
        if restart or foreign:
            warehouse.run("ledger/drop_table", tables={"dropped": outbox})
            warehouse.run(
                "ledger/delete_unconfirmed", tables=ledger.tables, sync_key=audience.ledger_key
            )
        _align_snapshot(
            ledger, audience, model, shape, reset_columns=reset_columns, backfill=backfill
        )
        for column in stale:
            _alter(warehouse, "drop", outbox, column)
        _align_outbox(warehouse, outbox, shape)


def _align_snapshot(
    ledger: Ledger,
    audience: Audience,
    model: Binding,
    shape: Shape,
    *,
    reset_columns: frozenset[str],
    backfill: bool,
) -> None:
    warehouse = ledger.warehouse
    existing = warehouse.tables_in(ledger.dataset)
    snapshot, outbox = ledger.snapshot(audience.ledger_key), ledger.outbox(audience.ledger_key)
    for name, table in (("snapshot", snapshot), ("outbox", outbox)):
        if table.name not in existing:
            warehouse.run(
                f"ledger/create_{name}", tables={name: table, "model": model}, columns=shape.lists
            )
    snapshot_columns = warehouse.columns_of(snapshot)
    change = schema_change(snapshot_columns, shape, audience=audience, keys=audience.key)
    reset = tuple(column for column in shape.columns if column.name in reset_columns)
    for column in (*change.dropped, *reset):
        _alter(warehouse, "drop", snapshot, column)
    for column in change.retyped:
        if column not in reset:
            _alter(warehouse, "retype", snapshot, column)
    for column in (*change.added, *reset):
        _alter(warehouse, "add", snapshot, column)
        if backfill:
            warehouse.run(
                "ledger/backfill",
                tables={"snapshot": snapshot, "model": model},
                columns={"keys": shape.keys},
                column=column,
            )


def _stale(warehouse: Warehouse, outbox: TableName, shape: Shape) -> Sequence[Column]:
    """Columns of the outbox whose recorded values cannot be cast to the type of the shape."""
    types = {column.name: column.type for column in warehouse.columns_of(outbox)}
    return [
        wanted
        for column in shape.columns
        for wanted in (column, Column(f"old__{column.name}", column.type))
        if types.get(wanted.name, wanted.type) != wanted.type
        and not is_castable(warehouse, outbox, wanted)
    ]


def _align_outbox(warehouse: Warehouse, outbox: TableName, shape: Shape) -> None:
    # Columns of earlier mappings remain; only columns that today's transitions need are changed.
    types = {column.name: column.type for column in warehouse.columns_of(outbox)}
    for column in shape.columns:
        for wanted in (column, Column(f"old__{column.name}", column.type)):
            if wanted.name not in types:
                _alter(warehouse, "add", outbox, wanted)
            elif types[wanted.name] != wanted.type:
                _alter(warehouse, "retype", outbox, wanted)


def is_castable(warehouse: Warehouse, table: Binding, column: Column) -> bool:
    """Whether every value of the column can be cast to the new type."""
    return warehouse.attempt("ledger/count_uncastable", tables={"altered": table}, column=column)


def _alter(warehouse: Warehouse, verb: str, table: TableName, column: Column) -> None:
    warehouse.run(f"ledger/{verb}_column", tables={"altered": table}, column=column)
