"""How an object's rows lie in the warehouse: names, types, order, and Parquet files of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tailrace.errors import FieldTypeChanged
from tailrace.salesforce.describe import ARROW_OF_KIND, Field, Kind, SObject

FIELD_HINT = "x-salesforce-field"
TYPE_HINT = "x-salesforce-type"
DEFINED = ("description", "x-salesforce-compliance", "x-salesforce-sensitivity")
HARD_DELETED = "_hard_deleted"
ROW_GROUP_ROWS = 50_000
ROW_GROUP_BYTES = 32 << 20
PAGE_HELD_BYTES_MAX = 64 << 20
# A row group of DuckDB: files of exactly that many rows are compressed side by side as they load.
FILE_ROWS = 122_880

# What lands in a column of another kind without loss.
_WIDENS: dict[tuple[Kind, Kind], Kind] = {("double", "bigint"): "double"}


@dataclass(frozen=True, kw_only=True)
class Landed:
    """One column of the landed table; `field` is None when Salesforce no longer has it.

    Attributes:
        known: dlt's hints of the column so far.
    """

    column: str
    kind: Kind
    field: Field | None
    constant: bool | None = None
    known: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A landed table: its columns in their order, whatever Salesforce shows today.

    Attributes:
        fields: The fields to ask for, as the columns want them.
        vanished: Fields that have a column and that describe no longer shows.
        new: Fields that get a column now, in a table that exists.
        retyped: Fields whose type in Salesforce has changed, with both types.
    """

    table: str
    columns: tuple[Landed, ...]
    fields: tuple[Field, ...]
    vanished: tuple[str, ...]
    new: tuple[str, ...]
    retyped: tuple[str, ...] = ()

    @classmethod
    def of(cls, columns: tuple[Landed, ...], table: str) -> Layout:
        """The layout of a side table with some of a landed table's columns."""
        fields = tuple(each.field for each in columns if each.field is not None)
        return cls(table=table, columns=columns, fields=fields, vanished=(), new=())

    def defined(self, definitions: Iterable[Mapping[str, Any]]) -> Layout:
        """The layout with what Salesforce's field definitions say."""
        found = {str(each["QualifiedApiName"]): each for each in definitions}
        fields = {each.name: each.defined(found.get(each.name, {})) for each in self.fields}
        return replace(
            self,
            fields=tuple(fields.values()),
            columns=tuple(
                replace(each, field=fields[each.field.name]) if each.field else each
                for each in self.columns
            ),
        )

    @cached_property
    def schema(self) -> pa.Schema:
        return pa.schema(
            [
                pa.field(each.column, ARROW_OF_KIND[each.kind], nullable=not _is_id(each))
                for each in self.columns
            ]
        )

    def arrange(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """A batch of fields as a batch of the table."""
        arrays = []
        for each in self.columns:
            if each.field is not None and each.constant is None:
                arrays.append(batch.column(each.field.name))
            elif each.constant is None:
                arrays.append(pa.nulls(batch.num_rows, ARROW_OF_KIND[each.kind]))
            else:
                arrays.append(pa.repeat(pa.scalar(each.constant, pa.bool_()), batch.num_rows))
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)

    def hints(self, *, remove_deleted: bool) -> dict[str, dict[str, Any]]:
        """dlt's column hints: types, what each field is called and means in Salesforce."""
        return {each.column: _hint(each, remove_deleted) for each in self.columns}


def lay_out(
    sobject: SObject, stored: Mapping[str, Any] | None, *, normalize: Callable[[str], str]
) -> Layout:
    """The layout of an object's table, given the columns that it already has.

    Raises:
        FieldTypeChanged: A field's type no longer fits its column.
    """
    columns = dict((stored or {}).get("columns") or {})
    named = {str(hint[FIELD_HINT]): each for each, hint in columns.items() if FIELD_HINT in hint}
    landed: dict[str, Landed] = {}
    fields, new, retyped = [], [], []
    for each in sobject.fields:
        column = named.get(each.name)
        if column is None:
            column = _free_name(each.name, {*columns, *landed}, normalize)
            new.append(each.name)
        elif "data_type" in columns[column]:
            was = columns[column].get(TYPE_HINT, each.type)
            if was != each.type:
                retyped.append(f"{each.name} (was {was}, is {each.type})")
            each = replace(each, kind=_fitting(sobject.name, each, columns[column]["data_type"]))
        fields.append(each)
        landed[column] = Landed(
            column=column, kind=each.kind, field=each, known=columns.get(column, {})
        )
    for column, kind, constant in _own_columns(sobject, normalize):
        landed.setdefault(column, Landed(column=column, kind=kind, field=None, constant=constant))
    for column, hint in columns.items():
        if column not in landed and FIELD_HINT in hint:
            landed[column] = Landed(column=column, kind=hint["data_type"], field=None)
    order = [each for each in columns if each in landed]
    order += [each for each in landed if each not in columns]
    return Layout(
        table=normalize(sobject.name),
        columns=tuple(landed[each] for each in order),
        fields=tuple(fields),
        vanished=tuple(sorted(name for name in named if name not in sobject.visible)),
        new=tuple(new) if named else (),
        retyped=tuple(retyped),
    )


class ParquetFile:
    """One Parquet file that grows by batches; small batches are held until they fill a row group.

    Safe to use from several threads.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = 0
        self._lock = Lock()
        self._held: list[pa.RecordBatch] = []
        self._held_rows = 0
        self._held_bytes = 0
        self._writer: pq.ParquetWriter | None = None

    def write(self, batches: Sequence[pa.RecordBatch], size: int) -> None:
        """Add batches of one schema, `size` bytes in all; held until they fill a row group."""
        with self._lock:
            for batch in batches:
                self.rows += batch.num_rows
                self._held_rows += batch.num_rows
                self._held.append(batch)
                if self._held_rows >= ROW_GROUP_ROWS:
                    self._flush()
            # Of what was flushed in between some is counted again: a group may be smaller.
            self._held_bytes += size
            if self._held_bytes >= ROW_GROUP_BYTES:
                self._flush()

    def close(self) -> None:
        """Finish the file; without rows there is none."""
        with self._lock:
            self._flush()
            if self._writer is not None:
                self._writer.close()
                self._writer = None

    def _flush(self) -> None:
        held = [each for each in self._held if each.num_rows]
        self._held, self._held_rows, self._held_bytes = [], 0, 0
        if not held:
            return
        table = pa.Table.from_batches(held)
        if self._writer is None:
            # Dictionaries and statistics cost more to write than the one read of the file gains.
            self._writer = pq.ParquetWriter(
                self.path,
                table.schema,
                compression="snappy",
                use_dictionary=False,
                write_statistics=False,
            )
        self._writer.write_table(table, row_group_size=table.num_rows)


class LandedFiles:
    """The files of one object: pages are put together, as one large insert costs half of many.

    A page is taken whole or not at all. One that is too large to be held goes to its own file.
    """

    def __init__(self, new_path: Callable[[], Path]) -> None:
        self._new_path = new_path
        self._lock = Lock()
        self._open: ParquetFile | None = None
        self._done: list[ParquetFile] = []
        self._bytes = 0

    @property
    def row_bytes(self) -> float:
        """How many bytes a row has in memory, on average."""
        rows = self.rows
        return self._bytes / rows if rows else 0.0

    @property
    def rows(self) -> int:
        return sum(rows for _, rows in self.listed())

    def listed(self) -> list[tuple[Path, int]]:
        """The files with their rows, closed."""
        with self._lock:
            self._close()
            return [(each.path, each.rows) for each in self._done if each.rows]

    def take(self, batches: Iterable[pa.RecordBatch]) -> int:
        """Read a page to its end and keep it; returns its rows."""
        held: list[pa.RecordBatch] = []
        held_bytes = page_bytes = 0
        own: ParquetFile | None = None
        for batch in batches:
            held.append(batch)
            held_bytes += batch.nbytes
            page_bytes += batch.nbytes
            if held_bytes >= PAGE_HELD_BYTES_MAX:
                own = own or ParquetFile(self._new_path())
                own.write(held, held_bytes)
                held, held_bytes = [], 0
        if own is not None:
            own.write(held, held_bytes)
            own.close()
            with self._lock:
                self._bytes += page_bytes
                self._done.append(own)
            return own.rows
        with self._lock:
            self._bytes += page_bytes
            for batch in held:
                self._append(batch)
        return sum(each.num_rows for each in held)

    def _append(self, batch: pa.RecordBatch) -> None:
        while batch.num_rows:
            self._open = self._open or ParquetFile(self._new_path())
            part = batch.slice(0, FILE_ROWS - self._open.rows)
            self._open.write([part], part.nbytes)
            batch = batch.slice(part.num_rows)
            if self._open.rows >= FILE_ROWS:
                self._close()

    def _close(self) -> None:
        if self._open is not None:
            self._open.close()
            self._done.append(self._open)
            self._open = None
            # Between pages little is held; what the last ones took need not stay with the process.
            pa.default_memory_pool().release_unused()


def _is_id(landed: Landed) -> bool:
    return landed.field is not None and landed.field.name == "Id"


def _hint(landed: Landed, remove_deleted: bool) -> dict[str, Any]:
    hint: dict[str, Any] = {
        "name": landed.column,
        "data_type": landed.kind,
        "nullable": not _is_id(landed),
    }
    shown = landed.field
    if shown is None:
        if landed.column == HARD_DELETED:
            hint["description"] = "Gone from Salesforce, and from its recycle bin"
        return hint
    hint |= {
        "description": shown.description,
        FIELD_HINT: shown.name,
        TYPE_HINT: shown.type,
        "x-salesforce-calculated": shown.calculated,
        "x-salesforce-compliance": shown.compliance,
        "x-salesforce-sensitivity": shown.sensitivity,
    }
    if shown.note is None:
        # Not asked for this time: what is known stays.
        hint |= {key: landed.known[key] for key in DEFINED if key in landed.known}
    if shown.name == "IsDeleted":
        hint["hard_delete"] = remove_deleted
    return hint


def _own_columns(sobject: SObject, normalize: Callable[[str], str]) -> list[tuple[str, Kind, bool]]:
    """Columns that every landed table has, so that `WHERE NOT is_deleted` works on each."""
    own: list[tuple[str, Kind, bool]] = [(HARD_DELETED, "bool", False)]
    if not sobject.has_deleted:
        own.insert(0, (normalize("IsDeleted"), "bool", False))
    return own


def _fitting(object_name: str, field: Field, stored: Kind) -> Kind:
    if field.kind == stored or stored == "text":
        return stored
    widened = _WIDENS.get((stored, field.kind))
    if widened:
        return widened
    raise FieldTypeChanged(
        f"{object_name}.{field.name} is now {field.type} in Salesforce and landed as {stored}",
        hint=f"Land the object anew (tailrace extract --afresh -s object:{object_name}), or leave"
        f" the field out under [sources.salesforce.object.{object_name}]:"
        f' exclude = ["{field.name}"].',
    )


def _free_name(name: str, taken: set[str], normalize: Callable[[str], str]) -> str:
    """The normalized name; another when a second field of the object normalizes to the same."""
    column = normalize(name)
    candidates = [column, normalize(name.lower())]
    candidates += [f"{column}_{number}" for number in range(2, 100)]
    return next(each for each in candidates if each not in taken)
