"""The tables of an audience's members follow the columns that its mapping names.

A column that appears, goes or changes its type never makes every member "changed": it is added
and filled in silently, dropped, or converted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tailrace.audience.audience import Audience
from tailrace.errors import KeyTypeChanged, ModelError, UnknownColumn
from tailrace.ledger.ledger import Ledger, Shape
from tailrace.warehouse.connection import Warehouse
from tailrace.warehouse.statements import ALIAS_PREFIX, Binding, Column, TableName

# The longest of what stands before an audience's name in the name of a table.
TABLE_PREFIX = "transitions__"
# Columns of ours beside the audience's in the snapshot and the outbox.
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
    # What DuckDB calls a row's own number.
    | {"_was_member", "rowid"}
)


@dataclass(frozen=True, kw_only=True)
class Alteration:
    """What the snapshot's columns are today against what the model gives."""

    added: tuple[Column, ...] = ()
    dropped: tuple[Column, ...] = ()
    retyped: tuple[Column, ...] = ()


def shape_of(
    model_columns: Sequence[Column], *, key: Sequence[str], mapped: Sequence[str], file: str | None
) -> Shape:
    """The audience's columns with the types that the model gives them today.

    Raises:
        UnknownColumn: The model has no such column.
        ModelError: A column has a name that the ledger keeps for itself.
    """
    by_name = {column.name: column for column in model_columns}
    for name in (*key, *mapped):
        if name not in by_name:
            raise UnknownColumn(f'The SELECT has no column "{name}"', file=file)
        if name in RESERVED_COLUMNS or name.startswith(("old__", ALIAS_PREFIX)):
            raise ModelError(
                f'The ledger keeps the column name "{name}" for itself',
                hint=f"Give the column another name in the SELECT: {name} AS …",
                file=file,
            )
    return Shape(
        keys=tuple(by_name[name] for name in key),
        columns=tuple(by_name[name] for name in mapped if name not in key),
    )


def check_names(audience: Audience, shape: Shape, *, name_bytes_max: int) -> None:
    """Refuse names that the warehouse would cut, so that two of them might become one.

    Raises:
        ModelError: The audience's name, or a column's, is too long with what is put before it.
    """
    made = [(TABLE_PREFIX, audience.name, "The audience's name")]
    made += [("old__", column.name, "The column's name") for column in shape.columns]
    for prefix, name, what in made:
        if len(f"{prefix}{name}".encode()) > name_bytes_max:
            raise ModelError(
                f'{what} "{name}" is too long for the warehouse',
                hint=f"At most {name_bytes_max - len(prefix)} bytes fit.",
                file=audience.file,
            )


def has_keys(found: Sequence[Column], keys: Sequence[Column]) -> bool:
    """Whether a table has these columns with these types."""
    return set(keys) <= set(found)


def alteration(
    found: Sequence[Column], shape: Shape, *, audience: Audience, keys: Sequence[str]
) -> Alteration:
    """What it takes to make a snapshot with the columns `found` and these keys hold the shape.

    Raises:
        KeyTypeChanged: The members that were delivered have another key, or one of another type.
    """
    hint = f"Start the audience anew with: tailrace reset {audience.title}"
    if set(keys) != set(audience.key):
        was, is_ = ", ".join(keys), ", ".join(audience.key)
        raise KeyTypeChanged(f"The key is {is_} today and was {was}", hint=hint, file=audience.file)
    types = {column.name: column.type for column in found}
    for key in shape.keys:
        if types.get(key.name) != key.type:
            raise KeyTypeChanged(
                f'The key column "{key.name}" is {key.type} today and was {types.get(key.name)}',
                hint=f"Cast it back. {hint}",
                file=audience.file,
            )
    wanted = {column.name for column in (*shape.keys, *shape.columns)}
    return Alteration(
        added=tuple(c for c in shape.columns if c.name not in types),
        retyped=tuple(c for c in shape.columns if types.get(c.name, c.type) != c.type),
        dropped=tuple(c for c in found if c.name not in wanted and c.name not in RESERVED_COLUMNS),
    )


def align(
    ledger: Ledger,
    audience: Audience,
    model: Binding,
    shape: Shape,
    *,
    lost: frozenset[str],
    backfill: bool,
    restart: bool = False,
) -> None:
    """Create the audience's tables, or alter them to the shape, in one transaction.

    A column in `lost` holds values that are of no use: it starts anew; so does the whole audience
    with `restart`.
    """
    warehouse = ledger.warehouse
    outbox = ledger.outbox(audience.name)
    # The outbox outlives an audience that was retired; one of the same name may have another key.
    foreign = not has_keys(warehouse.columns_of(outbox) or shape.keys, shape.keys)
    stale = () if restart or foreign else _stale(warehouse, outbox, shape)
    with warehouse.transaction():
        if restart:
            warehouse.run("ledger/drop_table", tables={"dropped": ledger.snapshot(audience.name)})
        if restart or foreign:
            warehouse.run("ledger/drop_table", tables={"dropped": outbox})
            warehouse.run("ledger/forget_doubts", tables=ledger.tables, audience=audience.name)
        _align_snapshot(ledger, audience, model, shape, lost=lost, backfill=backfill)
        for column in stale:
            _alter(warehouse, "drop", outbox, column)
        _align_outbox(warehouse, outbox, shape)


def _align_snapshot(
    ledger: Ledger,
    audience: Audience,
    model: Binding,
    shape: Shape,
    *,
    lost: frozenset[str],
    backfill: bool,
) -> None:
    warehouse = ledger.warehouse
    existing = warehouse.tables_in(ledger.dataset)
    snapshot, outbox = ledger.snapshot(audience.name), ledger.outbox(audience.name)
    for name, table in (("snapshot", snapshot), ("outbox", outbox)):
        if table.name not in existing:
            warehouse.run(
                f"ledger/create_{name}", tables={name: table, "model": model}, columns=shape.lists
            )
    found = warehouse.columns_of(snapshot)
    change = alteration(found, shape, audience=audience, keys=audience.key)
    anew = tuple(column for column in shape.columns if column.name in lost)
    for column in (*change.dropped, *anew):
        _alter(warehouse, "drop", snapshot, column)
    for column in change.retyped:
        if column not in anew:
            _alter(warehouse, "retype", snapshot, column)
    for column in (*change.added, *anew):
        _alter(warehouse, "add", snapshot, column)
        if backfill:
            warehouse.run(
                "ledger/backfill",
                tables={"snapshot": snapshot, "model": model},
                columns={"keys": shape.keys},
                column=column,
            )


def _stale(warehouse: Warehouse, outbox: TableName, shape: Shape) -> Sequence[Column]:
    """Columns of the outbox whose past values cannot have the type that the shape gives them."""
    types = {column.name: column.type for column in warehouse.columns_of(outbox)}
    return [
        wanted
        for column in shape.columns
        for wanted in (column, Column(f"old__{column.name}", column.type))
        if types.get(wanted.name, wanted.type) != wanted.type
        and not is_castable(warehouse, outbox, wanted)
    ]


def _align_outbox(warehouse: Warehouse, outbox: TableName, shape: Shape) -> None:
    # What an earlier mapping planned stays; only what today's transitions need is changed.
    types = {column.name: column.type for column in warehouse.columns_of(outbox)}
    for column in shape.columns:
        for wanted in (column, Column(f"old__{column.name}", column.type)):
            if wanted.name not in types:
                _alter(warehouse, "add", outbox, wanted)
            elif types[wanted.name] != wanted.type:
                _alter(warehouse, "retype", outbox, wanted)


def is_castable(warehouse: Warehouse, table: Binding, column: Column) -> bool:
    """Whether every value of the column can have the new type."""
    return warehouse.attempt("ledger/count_uncastable", tables={"altered": table}, column=column)


def _alter(warehouse: Warehouse, verb: str, table: TableName, column: Column) -> None:
    warehouse.run(f"ledger/{verb}_column", tables={"altered": table}, column=column)
