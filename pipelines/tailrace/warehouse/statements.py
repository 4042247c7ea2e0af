"""Binds tables, columns and values into the engine's SQL, as syntax-tree nodes.

A statement is written once, in DuckDB's dialect, in a file of `sql/` (see `sql_files`). It has
three kinds of placeholders:

* A table name is replaced by the table, the query or the rows bound to it: `FROM model AS m`.
* `:name` is replaced by a literal.
* Column lists are as long as the audience makes them. `EACH_COLUMN(keys, c._)` stands for one
  expression a column of the list `keys`, with `_` as the column and `_TYPE` as its type; in a
  SELECT each keeps the column's name, after an optional prefix: `EACH_COLUMN(columns, s._, old__)`.
  `EVERY_COLUMN(keys, c._ = p._)` joins by AND, `ANY_COLUMN(…)` by OR. A column that was given a
  prefix is `old___`; `_PAIR` is another column that goes with the column, and `'_LABEL'` a text.
  In an INSERT's column list a bare `keys` stands for its columns, and `old__columns` for the
  prefixed ones.
  `AS_SENT(c._)` is the value as JSON can carry it (see `as_sent`): NaN and infinity are NULL.
  `DIFFERS(c._, p._)` is the condition that two values differ when they are sent.
  `AS_STORED(m._)` is the value in a query that creates a table with the column.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tailrace.errors import StatementInvalid
from tailrace.warehouse.bindings import (
    Binding,
    Bound,
    Column,
    QueryText,
    Rows,
    TableName,
    UnionAll,
    binding_text,
    literal_text,
    unions,
)
from tailrace.warehouse.sql_files import ALIAS_PREFIX, VALUE_MARK, Part
from tailrace.warehouse.templates import ColumnLists, facts_of, pieces_of

__all__ = [
    "ALIAS_PREFIX",
    "Binding",
    "Bound",
    "Column",
    "Part",
    "QueryText",
    "Rows",
    "TableName",
    "UnionAll",
    "created_table",
    "creates_temporary_table",
    "query",
    "runs_query",
    "runs_read_only",
    "script",
    "statement",
    "unions",
]


def statement(
    name: str,
    dialect: str,
    /,
    *,
    tables: Mapping[str, Bound] | None = None,
    columns: Mapping[str, Sequence[Column]] | None = None,
    column: Column | None = None,
    part: Part | None = None,
    **values: Any,
) -> str:
    """The statement `subject/name` of `sql/`, bound and rendered for a dialect.

    `part` is the part or form of a statement that creates a table; None is the whole.

    Raises:
        StatementInvalid: The name has several statements, or a placeholder is not bound.
    """
    number = facts_of(name, dialect).statements
    if number != 1:
        raise StatementInvalid(f"{name} holds {number} statements, not one")
    return _bound(name, dialect, 0, tables or {}, columns or {}, values, column=column, part=part)


def query(
    name: str,
    dialect: str,
    /,
    *,
    tables: Mapping[str, Binding] | None = None,
    columns: Mapping[str, Sequence[Column]] | None = None,
    column: Column | None = None,
    **values: Any,
) -> QueryText:
    """The SELECT `subject/name` of `sql/`, bound, for use as a table of another statement."""
    if not facts_of(name, dialect).is_query:
        raise StatementInvalid(f"{name} is not a SELECT")
    return QueryText(
        statement(name, dialect, tables=tables, columns=columns, column=column, **values)
    )


def script(
    name: str,
    dialect: str,
    /,
    *,
    tables: Mapping[str, Bound] | None = None,
    columns: Mapping[str, Sequence[Column]] | None = None,
    **values: Any,
) -> tuple[str, ...]:
    """The statements under `subject/name` in `sql/`, each bound and rendered for a dialect."""
    return tuple(
        _bound(name, dialect, number, tables or {}, columns or {}, values)
        for number in range(facts_of(name, dialect).statements)
    )


def created_table(name: str, dialect: str) -> str | None:
    """The placeholder of the temporary table that the statement `subject/name` creates."""
    return facts_of(name, dialect).temporary


def creates_temporary_table(name: str, dialect: str) -> bool:
    """Whether the statement `subject/name` creates a temporary table from a SELECT."""
    return facts_of(name, dialect).temporary is not None


def runs_read_only(name: str, dialect: str) -> bool:
    """Whether the statement `subject/name` only reads, or writes to temporary tables only."""
    facts = facts_of(name, dialect)
    if facts.is_create:
        return facts.temporary is not None
    return facts.is_query or not name.startswith("ledger/")


def is_query(name: str, dialect: str) -> bool:
    """Whether the statement `subject/name` only reads."""
    return facts_of(name, dialect).is_query


def runs_query(name: str, dialect: str, tables: Mapping[str, Bound] | None) -> bool:
    """Whether a query is bound to a table of the statement `subject/name`."""
    queries = [table for table, bound in (tables or {}).items() if isinstance(bound, QueryText)]
    return bool(queries) and not facts_of(name, dialect).names.isdisjoint(queries)


def _bound(
    name: str,
    dialect: str,
    number: int,
    tables: Mapping[str, Bound],
    columns: Mapping[str, Sequence[Column]],
    values: Mapping[str, Any],
    *,
    column: Column | None = None,
    part: Part | None = None,
) -> str:
    """One statement with its gaps filled. Bindings that it does not name are left out.

    A value that has the name of a label, such as `entered_text_0`, takes its place.
    """
    named = facts_of(name, dialect).names
    bound = {table: binding for table, binding in tables.items() if table in named}
    lists = {list_: tuple(of) for list_, of in columns.items() if list_ in named}
    opened, labels = _open_labels(lists)
    pieces = pieces_of(
        name, dialect, number, tables=frozenset(bound), columns=opened, column=column, part=part
    )
    return "".join(_filled(name, dialect, pieces, bound, {**labels, **values}))


def _open_labels(lists: Mapping[str, tuple[Column, ...]]) -> tuple[ColumnLists, dict[str, str]]:
    """The column lists with a marker for each label, and the labels by the names in the markers."""
    labels = {
        f"{name}_{place}": column.label
        for name, columns in lists.items()
        for place, column in enumerate(columns)
        if column.label
    }
    opened = tuple(
        (
            name,
            tuple(
                column._replace(label=f"{VALUE_MARK}{name}_{place}{VALUE_MARK}")
                if column.label
                else column
                for place, column in enumerate(columns)
            ),
        )
        for name, columns in lists.items()
    )
    return opened, labels


def _filled(
    name: str,
    dialect: str,
    pieces: Sequence[str | None],
    tables: Mapping[str, Bound],
    values: Mapping[str, Any],
) -> Iterator[str]:
    for place, piece in enumerate(pieces):
        if piece is None:
            continue
        if place % 3 == 0:
            yield piece
        elif place % 3 == 2:
            yield binding_text(tables[piece], dialect)
        elif piece not in values:
            raise StatementInvalid(f"{name} needs a value for :{piece}")
        else:
            yield literal_text(values[piece], dialect)
