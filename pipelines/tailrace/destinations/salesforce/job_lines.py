"""The lines of a job's CSV file, out of cells or as templates that the warehouse fills in.

Both ways write the same bytes: `outbox/job_page` for rows whose values it can write as their
records have them, and `WriteMapper.messages` with `JobFile.add` for the others.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence

from tailrace.destinations.ingest import LineTemplates
from tailrace.destinations.row_checks import SUSPECT_LISTS
from tailrace.destinations.salesforce.describe import (
    NUMBER_TYPES,
    WHOLE_TYPES,
    WritableField,
    WritableObject,
)
from tailrace.destinations.salesforce.header import FieldSource, WriteBack
from tailrace.destinations.salesforce.row_checks import is_whole, row_checks
from tailrace.destinations.salesforce.rules import Target, target
from tailrace.destinations.salesforce.values import NULL_CELL, ValueRefused, cell_of, json_of
from tailrace.warehouse.statements import Column

# A cell with one of these is quoted. Readers take a carriage return for the end of a row.
_QUOTED = re.compile('[,"\n\r]')
CELL_LISTS = ("text_cells", "plain_cells", "double_cells", "midnight_cells", "moment_cells")
_MOMENTS = re.compile(r"TIMESTAMP( WITH TIME ZONE)?")
_DECIMALS = re.compile(r"DECIMAL\(\d+,\d+\)")


def csv_line(cells: Sequence[str]) -> bytes:
    r"""A line of CSV in UTF-8.

    >>> csv_line(["a", "", 'b "c", d']), csv_line(["a\rb"])
    (b'a,,"b ""c"", d"\n', b'"a\rb"\n')
    """
    return (",".join(map(_quoted, cells)) + "\n").encode()


def _quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"' if _QUOTED.search(cell) else cell


def line_templates(
    write_back: WriteBack,
    described: WritableObject,
    parents: Mapping[str, WritableObject],
    *,
    file_columns: Sequence[str],
    columns: Sequence[Column],
    keys: Sequence[Column],
    changes: bool,
) -> LineTemplates | None:
    """The templates of an audience's lines; None if its rows have to be added one by one.

    Args:
        parents: Described objects by name in lower case.
        file_columns: The columns of the file in their order.
        columns: The columns of the outbox without its keys.
        keys: The audience's key.
        changes: The run has changes, for which the old values are read too.
    """
    objects = {**parents, described.name.lower(): described}
    stored = [*keys, *columns]
    checks = row_checks(write_back, objects, stored)
    if checks is None or checks.every_row:
        return None
    types = {column.name: column for column in stored}
    cells = _Cells(types)
    match = {name: FieldSource(column=column) for name, column in write_back.match.items()}
    sources = {**match, **write_back.fields}
    by_file_column = {
        (resolved := target(name, described, parents)).name: (resolved, source)
        for name, source in sources.items()
    }
    if not all(
        cells.add(*by_file_column[name]) if name in by_file_column else cells.add_text("")
        for name in file_columns
    ):
        return None
    (key_column,) = write_back.match.values()
    return LineTemplates(
        statement="outbox/job_page",
        lists={
            **{name: checks.suspects.get(name, ()) for name in SUSPECT_LISTS},
            **cells.lists(),
            **_compared(write_back, columns, changes=changes),
            "key_column": (Column("key", "VARCHAR", pair=key_column),),
        },
        values={"line_end": cells.end()},
    )


def _compared(
    write_back: WriteBack, columns: Sequence[Column], *, changes: bool
) -> dict[str, tuple[Column, ...]]:
    """The columns with an old value that decide whether a record changed; a key never changes."""
    matched = set(write_back.match.values())
    values = set(write_back.value_columns)
    read = columns if changes else ()
    return {
        "matched": tuple(column for column in read if column.name in matched),
        "compared": tuple(column for column in read if column.name in values),
    }


class _Cells:
    """The cells of a line: the columns, grouped by their encoding, and the text between them.

    Args:
        types: The columns of the outbox by name.
    """

    def __init__(self, types: Mapping[str, Column]) -> None:
        self._types = types
        self._lists: dict[str, list[Column]] = defaultdict(list)
        self._ordered: list[Column] = []
        self._before = ""
        self._separator = ""

    def add(self, resolved: Target, source: FieldSource) -> bool:
        """Add the cell of a field; False if the warehouse cannot write it."""
        if source.column is None:
            return self._add_constant(resolved, source)
        column = self._types.get(source.column)
        name = None if column is None else _cell_list(resolved.field, column.type)
        if column is None or name is None:
            return False
        null = "" if source.keep else NULL_CELL
        cell = f"cell {len(self._ordered)}"
        self._lists[name].append(Column(cell, column.type, null, pair=column.name))
        self._ordered.append(Column(cell, "VARCHAR", self._before + self._separator))
        self._before, self._separator = "", ","
        return True

    def add_text(self, cell: str) -> bool:
        """Add a cell that is the same in each line."""
        self._before += self._separator + _quoted(cell)
        self._separator = ","
        return True

    def _add_constant(self, resolved: Target, source: FieldSource) -> bool:
        try:
            value = json_of(source.value, resolved.field)
        except ValueRefused:
            return False
        holder = resolved.lookup or resolved.field
        if value is None and holder is not None:
            optional = holder.type != "boolean" and (holder.nillable or holder.defaulted)
            return optional and self.add_text(NULL_CELL)
        cell = cell_of(value)
        # This text itself would clear the field.
        return (value is None or cell != NULL_CELL) and self.add_text(cell)

    def lists(self) -> dict[str, tuple[Column, ...]]:
        """The cells grouped by their encoding, and all cells in the order of the line."""
        lists = {name: tuple(self._lists[name]) for name in CELL_LISTS}
        return {**lists, "cells": tuple(self._ordered)}

    def end(self) -> str:
        """The text after the last cell."""
        return self._before + "\n"


def _cell_list(field: WritableField | None, column_type: str) -> str | None:
    """The list of `outbox/job_page` that writes a column's values for a field; None if none does.

    `values` says how each type of field is written.
    """
    plain = is_whole(column_type)
    if field is None or field.is_text:
        if column_type == "VARCHAR":
            return "text_cells"
        return "plain_cells" if plain or (field and column_type == "BOOLEAN") else None
    if field.type in NUMBER_TYPES and column_type in ("DOUBLE", "FLOAT"):
        return "double_cells"
    if field.type in NUMBER_TYPES | WHOLE_TYPES:
        exact = plain or (field.type in NUMBER_TYPES and _DECIMALS.fullmatch(column_type))
        return "plain_cells" if exact else None
    if field.type == "datetime" and _MOMENTS.fullmatch(column_type):
        return "moment_cells"
    if field.type in ("date", "datetime") and column_type == "DATE":
        return "plain_cells" if field.type == "date" else "midnight_cells"
    return "plain_cells" if (field.type, column_type) == ("boolean", "BOOLEAN") else None
