"""The columns of an object's table in the warehouse: names, types, order and hints for dlt."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

from tailrace.config.partitions import PartitionBy, key_of
from tailrace.dataclass import dataclass
from tailrace.errors import FieldTypeChanged, PartitionsChanged
from tailrace.salesforce.arrow import pa
from tailrace.salesforce.describe import ColumnKind, Field, SObject, arrow_type, kind_of_type
from tailrace.warehouse.partitions import column_hints, partitioned_column, table_hints

FIELD_HINT = "x-salesforce-field"
TYPE_HINT = "x-salesforce-type"
DEFINITION_HINTS = ("description", "x-salesforce-compliance", "x-salesforce-sensitivity")
HARD_DELETED = "_hard_deleted"

# Kinds that land in a column of another kind without loss.
_WIDENS: dict[tuple[ColumnKind, ColumnKind], ColumnKind] = {("double", "bigint"): "double"}


@dataclass(frozen=True, kw_only=True)
class ColumnLayout:
    """One column of the landed table.

    Attributes:
        field: None when Salesforce does not show the field any more, or for columns of our own.
        constant: The value of every row, for columns of our own.
        stored_hints: The hints that dlt's schema has of the column so far.
    """

    column: str
    kind: ColumnKind
    field: Field | None
    constant: bool | None = None
    stored_hints: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class FieldDrift:
    """A field that a landed column has, and that is not as it was.

    Attributes:
        field: The field's API name.
        column: The column's name.
        was, now: Salesforce's types; `now` is None when the field is not visible any more.
        is_left_out: The values do not fit the column, so that the field is not read.
    """

    field: str
    column: str
    was: str
    now: str | None
    is_left_out: bool = False

    @property
    def changes_values(self) -> bool:
        """Whether values look different now: the field vanished, or its type is of another kind."""
        return self.now is None or kind_of_type(self.was) != kind_of_type(self.now)

    def __str__(self) -> str:
        return self.field if self.now is None else f"{self.field} (was {self.was}, is {self.now})"


@dataclass(frozen=True, kw_only=True)
class TableLayout:
    """A landed table: its columns in their order, whatever Salesforce shows today.

    Attributes:
        fields: The fields to query, with the kinds of their columns.
        new: Fields that get a column now, in a table that exists.
        drift: Fields that vanished or changed their type since their column was made.
        partition_by: The partitions of the table, by a field with a column.
    """

    table: str
    columns: tuple[ColumnLayout, ...]
    fields: tuple[Field, ...]
    new: tuple[str, ...]
    drift: tuple[FieldDrift, ...] = ()
    partition_by: PartitionBy | None = None

    @classmethod
    def of(cls, columns: tuple[ColumnLayout, ...], table: str) -> TableLayout:
        """The layout of a staging table with some of a landed table's columns."""
        fields = tuple(column.field for column in columns if column.field is not None)
        return cls(table=table, columns=columns, fields=fields, new=())

    @property
    def vanished(self) -> tuple[str, ...]:
        """Fields that have a column and that describe does not show any more."""
        return tuple(sorted(drift.field for drift in self.drift if drift.now is None))

    @property
    def retyped(self) -> tuple[str, ...]:
        """Fields whose type in Salesforce has changed, with both types."""
        return tuple(str(drift) for drift in self.drift if drift.now is not None)

    @property
    def left_out(self) -> tuple[str, ...]:
        """Fields that are not read, because their values do not fit their columns any more."""
        return tuple(drift.field for drift in self.drift if drift.is_left_out)

    def defined(self, definitions: Iterable[Mapping[str, Any]]) -> TableLayout:
        """The layout with what Salesforce's field definitions say."""
        by_name = {str(entry.get("QualifiedApiName")): entry for entry in definitions}
        fields = {field.name: field.defined(by_name.get(field.name, {})) for field in self.fields}
        return replace(
            self,
            fields=tuple(fields.values()),
            columns=tuple(
                replace(column, field=fields[column.field.name]) if column.field else column
                for column in self.columns
            ),
        )

    @cached_property
    def schema(self) -> pa.Schema:
        return pa.schema(
            [
                pa.field(column.column, arrow_type(column.kind), nullable=not _is_id(column))
                for column in self.columns
            ]
        )

    def arrange(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """A batch of fields as a batch of the table.

        Raises:
            pa.ArrowInvalid: A row has no id.
        """
        arrays = []
        for column in self.columns:
            if column.field is not None and column.constant is None:
                values = batch.column(column.field.name)
                if _is_id(column) and values.null_count:
                    raise pa.ArrowInvalid("a row without an id")
                arrays.append(values)
            elif column.constant is None:
                arrays.append(pa.nulls(batch.num_rows, arrow_type(column.kind)))
            else:
                arrays.append(pa.repeat(pa.scalar(column.constant, pa.bool_()), batch.num_rows))
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)

    def hints(
        self, *, remove_deleted: bool, cursor: str | None = None, engine: str = "duckdb"
    ) -> dict[str, Any]:
        """dlt's column hints: types, and the field's name and meaning in Salesforce.

        Args:
            cursor: The field that says when a row changed: of two rows of an id, the newer stays.
            engine: The engine of the warehouse, for the hints of a partitioned table.
        """
        hints = {column.column: _hint(column, remove_deleted) for column in self.columns}
        for column in self.columns:
            if cursor is not None and column.field is not None and column.field.name == cursor:
                hints[column.column]["dedup_sort"] = "desc"
        partitioned = self._partitioned
        if self.partition_by is not None and partitioned is not None:
            hints[partitioned.column] |= column_hints(engine, self.partition_by.unit)
        return hints

    def table_hints(self, engine: str) -> dict[str, Any]:
        """dlt's hints of the table for its partitions."""
        column = self._partitioned
        if self.partition_by is None or column is None:
            return {}
        return table_hints(engine, column.column, column.kind, self.partition_by.unit)

    @property
    def _partitioned(self) -> ColumnLayout | None:
        """The column of the field that the table is partitioned by."""
        partition_by = self.partition_by
        if partition_by is None:
            return None
        fields = {column.field.name: column for column in self.columns if column.field}
        return fields[partition_by.field]


def lay_out_table(
    sobject: SObject,
    stored: Mapping[str, Any] | None,
    *,
    normalize: Callable[[str], str],
    leave_out: bool = False,
) -> TableLayout:
    """The layout of an object's table, given the columns that it already has.

    Args:
        stored: dlt's schema of the table, None before the first load.
        normalize: From API names to those of columns.
        leave_out: Do not read a field whose type no longer fits its column, as one that is not
            visible any more. Its changed rows have NULL there, and `drift` reports it.

    Raises:
        FieldTypeChanged: A field's type no longer fits its column, and it is not left out.
        PartitionsChanged: The table has other partitions than the object is configured with.
    """
    stored_columns = dict((stored or {}).get("columns") or {})
    column_of_field = _columns_by_field(stored_columns)
    _check_partitions(sobject, stored_columns)
    layout: dict[str, ColumnLayout] = {}
    fields, new = [], []
    drift = _vanished(sobject, stored_columns, column_of_field)
    for field in sobject.fields:
        column = column_of_field.get(field.name)
        if column is None:
            column = _free_name(field.name, {*stored_columns, *layout}, normalize)
            new.append(field.name)
        elif "data_type" in stored_columns[column]:
            kind, change = _change_of_type(field, stored_columns[column], column)
            drift += [change] if change else []
            if kind is None:
                if not leave_out or field.name in ("Id", sobject.cursor):
                    raise _type_changed(sobject.name, field, stored_columns[column]["data_type"])
                continue
            field = field if field.kind == kind else replace(field, kind=kind)
        fields.append(field)
        hints = stored_columns.get(column, {})
        layout[column] = ColumnLayout(
            column=column, kind=field.kind, field=field, stored_hints=hints
        )
    for column, kind, constant in _own_columns(sobject, normalize):
        own = ColumnLayout(column=column, kind=kind, field=None, constant=constant)
        layout.setdefault(column, own)
    for column, hint in stored_columns.items():
        if column not in layout and FIELD_HINT in hint:
            layout[column] = ColumnLayout(column=column, kind=hint["data_type"], field=None)
    order = [column for column in stored_columns if column in layout]
    order += [column for column in layout if column not in stored_columns]
    return TableLayout(
        table=normalize(sobject.name),
        columns=tuple(layout[column] for column in order),
        fields=tuple(fields),
        new=tuple(new) if column_of_field else (),
        drift=tuple(drift),
        partition_by=sobject.partition_by,
    )


def _columns_by_field(stored: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    return {str(hint[FIELD_HINT]): name for name, hint in stored.items() if FIELD_HINT in hint}


def _check_partitions(sobject: SObject, stored: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse to load into a table that was created with other partitions."""
    if not _columns_by_field(stored):
        return
    partitioned = partitioned_column(stored)
    landed: PartitionBy | None = None
    if partitioned is not None:
        column, unit = partitioned
        landed = PartitionBy(field=str(stored[column].get(FIELD_HINT, column)), unit=unit)
    configured = sobject.partition_by
    if landed == configured:
        return
    key = key_of(sobject.name)
    before = f'write partition_by = "{landed}"' if landed else "remove partition_by"
    raise PartitionsChanged(
        f"{sobject.name} has landed {_by(landed)}, and is configured to land {_by(configured)}",
        hint=f"Load it again with: tailrace extract --full-refresh -s {sobject.name}. Or {before}"
        f" under [{key.rpartition('.')[0]}].",
        key=key,
    )


def _by(partition_by: PartitionBy | None) -> str:
    return f"by {partition_by}" if partition_by else "without partitions"


def _change_of_type(
    field: Field, hint: Mapping[str, Any], column: str
) -> tuple[ColumnKind | None, FieldDrift | None]:
    """The type in which a field fits its column, None if it does not, and how it changed."""
    was = _type_before(hint) or field.type
    kind = _fitting(field, hint["data_type"])
    if was == field.type and kind is not None:
        return kind, None
    change = FieldDrift(field=field.name, column=column, was=was, now=field.type)
    return kind, replace(change, is_left_out=kind is None)


def _vanished(
    sobject: SObject, stored: Mapping[str, Any], column_of_field: Mapping[str, str]
) -> list[FieldDrift]:
    """The fields with a column that the user no longer sees."""
    return [
        FieldDrift(field=name, column=column, was=_type_before(stored[column]), now=None)
        for name, column in column_of_field.items()
        if name not in sobject.visible
    ]


def _type_before(hint: Mapping[str, Any]) -> str:
    """Salesforce's type of a field at the last load; empty for a column of an older version."""
    return str(hint.get(TYPE_HINT, ""))


def _is_id(column: ColumnLayout) -> bool:
    return column.field is not None and column.field.name == "Id"


def _hint(column: ColumnLayout, remove_deleted: bool) -> dict[str, Any]:
    hint: dict[str, Any] = {
        "name": column.column,
        "data_type": column.kind,
        "nullable": not _is_id(column),
    }
    field = column.field
    if field is None:
        if column.column == HARD_DELETED:
            hint["description"] = "Deleted in Salesforce, and from its recycle bin"
        return hint
    hint |= {
        "description": field.description,
        FIELD_HINT: field.name,
        TYPE_HINT: _type_hint(column, field),
        "x-salesforce-calculated": field.calculated,
        "x-salesforce-compliance": field.compliance,
        "x-salesforce-sensitivity": field.sensitivity,
    }
    if field.note is None:
        # The definitions were not asked for this time, so the stored ones stay.
        hint |= {
            key: column.stored_hints[key] for key in DEFINITION_HINTS if key in column.stored_hints
        }
    if field.name == "IsDeleted":
        hint["hard_delete"] = remove_deleted
    return hint


def _type_hint(column: ColumnLayout, field: Field) -> str:
    """The type to store: the old one while values of another kind land in the same column.

    So each extract reports the change until the object is loaded again.
    """
    was = str(column.stored_hints.get(TYPE_HINT, field.type))
    return field.type if kind_of_type(was) == kind_of_type(field.type) else was


def _own_columns(
    sobject: SObject, normalize: Callable[[str], str]
) -> list[tuple[str, ColumnKind, bool]]:
    """Columns that every landed table has, so that `WHERE NOT is_deleted` works on each."""
    own: list[tuple[str, ColumnKind, bool]] = [(HARD_DELETED, "bool", False)]
    if not sobject.has_deleted:
        own.insert(0, (normalize("IsDeleted"), "bool", False))
    return own


def _fitting(field: Field, stored: ColumnKind) -> ColumnKind | None:
    """The kind of a column that holds the field's values without loss; None if there is none."""
    if field.kind == stored or stored == "text":
        return stored
    return _WIDENS.get((stored, field.kind))


def _type_changed(object_name: str, field: Field, stored: ColumnKind) -> FieldTypeChanged:
    return FieldTypeChanged(
        f"{object_name}.{field.name} is now {field.type} in Salesforce and landed as {stored}",
        hint=f"Load the object again (tailrace extract --full-refresh -s {object_name}), or leave"
        f" the field out under [sources.salesforce.object.{object_name}]:"
        f' exclude = ["{field.name}"].',
    )


def _free_name(name: str, taken: set[str], normalize: Callable[[str], str]) -> str:
    """The normalized name; another when a second field of the object normalizes to the same."""
    column = normalize(name)
    candidates = [column, normalize(name.lower())]
    candidates += [f"{column}_{number}" for number in range(2, 100)]
    return next(candidate for candidate in candidates if candidate not in taken)
