"""What is bound into the engine's SQL: tables, queries, rows and values, and how they are written.

DuckDB and PostgreSQL write names, texts and times alike, by rules that do not change; other
dialects and other values are written by sqlglot, which is imported then only.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any, NamedTuple

from tailrace.clock import format_utc
from tailrace.dataclass import dataclass
from tailrace.errors import StatementInvalid

# The dialects that double the quote inside a name or a text, and know no other escape there.
_QUOTES_DOUBLED = frozenset({"duckdb", "postgres"})
# The most queries that one statement unites.
UNITED_QUERIES_MAX = 100


class Column(NamedTuple):
    """A column of a table or of a query: its name in lower case and its type as SQL.

    `label` replaces `'_LABEL'` in the same expression, and `pair` the column `_PAIR`.
    """

    name: str
    type: str = "VARCHAR"
    label: str = ""
    pair: str = ""


@dataclass(frozen=True)
class ValueColumn:
    """A column that a statement reads in the place of a value."""

    name: str


@dataclass(frozen=True)
class TableName:
    """A table in a dataset; without one, a temporary table of the session."""

    dataset: str | None
    name: str

    def __str__(self) -> str:
        return f"{self.dataset}.{self.name}" if self.dataset else self.name


@dataclass(frozen=True)
class QueryText:
    """A SELECT in the dialect of the warehouse, bound as a table."""

    sql: str

    @property
    def wrapped(self) -> str:
        """The text as it runs. The line break ends a comment at the end of it."""
        return f"({self.sql}\n)"


@dataclass(frozen=True)
class Rows:
    """Values bound as a table: at least one row, in the order of the column names.

    A statement casts each column, since one that is NULL in all rows has no type.
    """

    names: tuple[str, ...]
    rows: Sequence[Sequence[Any]]

    def text(self, dialect: str) -> str:
        """The rows as a SELECT."""
        if dialect not in _QUOTES_DOUBLED:
            from sqlglot import exp

            values = exp.values([tuple(map(_node, row)) for row in self.rows], "v", self.names)
            return exp.select("*").from_(values, copy=False).sql(dialect=dialect, copy=False)
        rows = ", ".join(
            f"({', '.join(literal_text(value, dialect) for value in row)})" for row in self.rows
        )
        names = ", ".join(identifier_text(name, dialect) for name in self.names)
        return f"SELECT * FROM (VALUES {rows}) AS v({names})"


Binding = TableName | QueryText


@dataclass(frozen=True)
class UnionAll:
    """Queries of this package, none of them a model, that are bound as one table."""

    queries: Sequence[QueryText]

    def text(self) -> str:
        """The queries as one SELECT."""
        return " UNION ALL ".join(query.wrapped for query in self.queries)


def unions(queries: Sequence[QueryText]) -> Iterator[UnionAll]:
    """Queries with the same columns, as unions of up to UNITED_QUERIES_MAX."""
    for start in range(0, len(queries), UNITED_QUERIES_MAX):
        yield UnionAll(queries[start : start + UNITED_QUERIES_MAX])


Bound = Binding | Rows | UnionAll


def binding_text(binding: Bound, dialect: str) -> str:
    """A table's name, or a query in brackets."""
    if isinstance(binding, TableName):
        return _table_text(binding, dialect)
    if isinstance(binding, QueryText):
        return binding.wrapped
    return f"({binding.text(dialect) if isinstance(binding, Rows) else binding.text()})"


@lru_cache(maxsize=1024)
def _table_text(table: TableName, dialect: str) -> str:
    parts = [table.dataset, table.name] if table.dataset else [table.name]
    return ".".join(identifier_text(part, dialect) for part in parts)


def identifier_text(name: str, dialect: str) -> str:
    """A name in quotes."""
    if dialect in _QUOTES_DOUBLED:
        return f'"{_doubled(name, chr(34))}"'
    from sqlglot import exp

    from tailrace.warehouse.names import stored_name

    return exp.to_identifier(stored_name(name, dialect), quoted=True).sql(dialect=dialect)


def literal_text(value: Any, dialect: str) -> str:
    """A Python value as a literal, which is never parsed as SQL.

    Raises:
        StatementInvalid: Values of its type cannot be bound.
    """
    if isinstance(value, ValueColumn):
        return identifier_text(value.name, dialect)
    if dialect in _QUOTES_DOUBLED:
        if isinstance(value, str):
            return f"'{_doubled(value, chr(39))}'"
        if value is None:
            return "NULL"
        if isinstance(value, bool):
            return "TRUE" if value else "FALSE"
        if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
            return _number_text(repr(value))
        if isinstance(value, datetime):
            return f"CAST('{format_utc(value)}' AS TIMESTAMPTZ)"
    node = _node(value)
    if dialect == "clickhouse":
        from tailrace.warehouse.clickhouse import with_whole_times

        node = with_whole_times(node)
    return _number_text(str(node.sql(dialect=dialect, copy=False)))


def _number_text(text: str) -> str:
    # A minus in front of a negative number would begin a comment.
    return f"({text})" if text.startswith("-") else text


def _doubled(text: str, quote: str) -> str:
    return text.replace(quote, quote * 2)


def _node(value: Any) -> Any:
    from sqlglot import exp

    if isinstance(value, datetime):
        return exp.cast(exp.Literal.string(format_utc(value)), "TIMESTAMPTZ", dialect="duckdb")
    if value is None or isinstance(value, bool | int | float | str | Decimal):
        return exp.convert(value)
    raise StatementInvalid(f"a {type(value).__name__} cannot be bound as a literal")
