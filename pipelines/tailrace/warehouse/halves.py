"""Fills a temporary table from a large join by two processes of a PostgreSQL server.

PostgreSQL fills a table by one process. It may compute the query of a function by several, though
no full join among them, unless they share a table in memory (since version 16), which in a
container may be too small. So the rows of both sides are halved by a hash of their key, a UNION ALL
of two joins gives the result, and each is computed by a process of its own.

Both halves run the query of a model, so they only take its place where the server estimates that
they take less time.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from tailrace.dataclass import dataclass
from tailrace.warehouse.statements import (
    Bound,
    Column,
    QueryText,
    TableName,
    UnionAll,
    created_table,
    query,
    statement,
)

log = logging.getLogger(__name__)

# A join with a smaller table takes some tenths of a second; to plan it twice, a hundredth.
TABLE_BYTES_MIN = 32 * 1024 * 1024
# What the halves may cost of the whole, as the server estimates it.
COST_SHARE_MAX = 0.9
# Types whose values are equal exactly if their texts are.
_EQUAL_AS_TEXT = frozenset({"text", "character varying", "uuid", "smallint", "integer", "bigint"})
# The two tables that a statement joins by the columns of the list `keys`, of one type in both.
_JOINED: Mapping[str, tuple[str, str]] = {"plan/transitions": ("model", "snapshot")}


class Server(Protocol):
    """What is used of an open warehouse."""

    dialect: str

    def run(self, name: str, /, **bindings: Any) -> list[tuple[Any, ...]]: ...
    def execute(self, sql: str, name: str = ...) -> list[tuple[Any, ...]]: ...


@dataclass(frozen=True, kw_only=True)
class Halves:
    """The rows of a statement that fills a temporary table, as a UNION ALL of two joins.

    Attributes:
        filled: The temporary table.
        query: The query of its rows.
    """

    filled: TableName
    query: str

    def or_whole(self, server: Server, name: str, whole: str) -> str:
        """The statement that fills the table: by halves, or the whole as it is.

        The server estimates what both take; nothing is computed yet.

        Raises:
            WarehouseFailed: The server cannot plan one of them.
        """
        costs = statement("halves/costs", server.dialect, one=whole, other=self.query)
        ((of_whole, of_halves),) = server.execute(costs, name)
        log.debug("%s costs %.0f, by halves %.0f", name, of_whole, of_halves)
        if of_halves > COST_SHARE_MAX * of_whole:
            return whole
        tables = {"filled": self.filled}
        return statement("halves/fill", server.dialect, tables=tables, query=self.query)


def halves_of(server: Server, name: str, bindings: Mapping[str, Any]) -> Halves | None:
    """The halves of a statement that fills a table from a join; None for other statements.

    The functions that it needs are created in the session.

    Args:
        server: The open warehouse.
        name: The statement.
        bindings: What it is bound to.
    """
    tables: Mapping[str, Bound] = bindings.get("tables") or {}
    columns: Mapping[str, Sequence[Column]] = bindings.get("columns") or {}
    joined = {table: tables[table] for table in _JOINED.get(name, ()) if table in tables}
    key = next((column for column in columns.get("keys", ()) if _halves(column)), None)
    filled = tables.get(created_table(name, server.dialect) or "")
    large = [bound for bound in joined.values() if isinstance(bound, TableName)]
    if key is None or not isinstance(filled, TableName) or not _is_worthwhile(server, large):
        return None
    server.run("halves/create_cost")
    server.run("halves/create_rows")
    selects = [
        QueryText(
            statement(
                name,
                server.dialect,
                part="query",
                **{**bindings, "tables": {**tables, **_half_of(half, joined, key, server)}},
            )
        )
        for half in ("half", "other_half")
    ]
    return Halves(filled=filled, query=UnionAll(selects).text())


def _halves(column: Column) -> bool:
    return column.type.partition("(")[0].lower() in _EQUAL_AS_TEXT


def _is_worthwhile(server: Server, tables: Sequence[TableName]) -> bool:
    return any(
        server.run(
            "halves/is_worthwhile",
            dataset=table.dataset,
            table=table.name,
            bytes_min=TABLE_BYTES_MIN,
        )
        for table in tables
    )


def _half_of(
    half: str, joined: Mapping[str, Bound], key: Column, server: Server
) -> dict[str, Bound]:
    return {
        table: query(f"halves/{half}", server.dialect, tables={"halved": bound}, column=key)
        for table, bound in joined.items()
        if isinstance(bound, TableName | QueryText)
    }
