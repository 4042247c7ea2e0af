"""The names that tables have at a Spark SQL server for one session.

The server's own catalog is not used: Sail keeps it in memory, and all its clients share it. Each
folder that a session reads or writes gets a name of the session's own.
"""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import sqlglot
from sqlglot import exp

from tailrace.warehouse.spark.arrow_types import spark_type
from tailrace.warehouse.spark.catalog import (
    Columns,
    DeltaTable,
    Name,
    OuterTable,
    Partition,
    Relation,
    View,
)
from tailrace.warehouse.spark.errors import OperationalError, SparkError, refusal_of
from tailrace.warehouse.spark.location import TableFiles
from tailrace.warehouse.spark.rewriting import (
    DIALECT,
    PARTITION_COLUMN,
    with_all_columns,
    with_epoch_seconds,
    without_is_true,
)
from tailrace.warehouse.spark.server import SparkServer

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)

# The schema of tables that only this session has.
TEMPORARY = "temp"
# The schema of the server in which the folders of tables have names.
SERVER_SCHEMA = "default"
WRITES = (exp.Insert, exp.Update, exp.Delete, exp.Merge)
# Sail 0.7 takes a column for a constant if its least and greatest values are equal. The statistics
# leave NaN out, so that it reads another value than was written.
WITHOUT_STATISTICS = "'delta.dataSkippingNumIndexedCols' = '0'"
# Dates have no NaN. Statistics count milliseconds, and so does Salesforce.
STATISTICS_OF = "delta.dataSkippingStatsColumns"


class ServerTables:
    """The tables of a session at its server.

    Attributes:
        token: A text that no other session has.
        temporary: The tables that only this session has.
    """

    def __init__(
        self,
        server: SparkServer,
        files: TableFiles,
        *,
        find: Callable[[Name], Relation | None],
    ) -> None:
        """
        Args:
            find: Returns the table or view of a name, or None.
        """
        self._server = server
        self._files = files
        self._find = find
        self.token = secrets.token_hex(4)
        self.temporary: dict[Name, DeltaTable] = {}
        self._registered: dict[str, str] = {}
        self._created = 0

    def run(self, text: str) -> pa.Table:
        """Run a statement in the server's words and names."""
        return self._server.run(text)

    def close(self) -> None:
        """Drop the names, delete the temporary tables, and close the connection."""
        with suppress(Exception):
            for name in self._registered.values():
                self.run(f"DROP TABLE IF EXISTS {SERVER_SCHEMA}.{name}")
        self._files.delete([table.folder for table in self.temporary.values()])
        self._server.close()

    # Tables

    def name_of(self, table: DeltaTable | OuterTable) -> str:
        """The server's name of a table's folder."""
        url = table.url if isinstance(table, OuterTable) else self._files.url(table.folder)
        name = self._registered.get(url)
        if name is None:
            name = self._next_name()
            location = exp.Literal.string(url).sql(DIALECT)
            self.run(f"CREATE TABLE {SERVER_SCHEMA}.{name} USING delta LOCATION {location}")
            self._registered[url] = name
        return f"{SERVER_SCHEMA}.{name}"

    def outer_table(self, url: str) -> OuterTable | None:
        """The table of another program in a folder; None if there is none that can be read.

        Raises:
            OperationalError: The server cannot be reached.
        """
        table = OuterTable(url, ())
        try:
            rows = self.run(f"SELECT * FROM {self.name_of(table)} LIMIT 0")
        except OperationalError:
            raise
        except SparkError as error:
            log.warning("A table of another program cannot be read: %s", type(error).__name__)
            return None
        columns = tuple((field.name, spark_type(field.type)) for field in rows.schema)
        return OuterTable(url, columns) if columns else None

    def _next_name(self) -> str:
        self._created += 1
        return f"t_{self.token}_{self._created}"

    def created(
        self,
        name: Name,
        columns: Columns,
        query: exp.Query | None,
        partition: Partition | None = None,
    ) -> DeltaTable:
        """Create a table in a folder of its own, and fill it.

        Its columns are declared: a table that is created from a query takes over that a constant
        is never NULL, and then refuses NULLs.
        """
        server_name = self._next_name()
        folder = f"{name[0]}/{_safe(name[1])}-{self.token}-{self._created}"
        if name[0] == TEMPORARY:
            folder = f"_tailrace/{folder}"
        listed = ", ".join(f"{quoted(column)} {type_}" for column, type_ in columns)
        url = self._files.url(folder)
        location = exp.Literal.string(url).sql(DIALECT)
        target = f"{SERVER_SCHEMA}.{server_name}"
        layout, statistics = "", WITHOUT_STATISTICS
        if partition is not None:
            listed += f", {PARTITION_COLUMN} STRING"
            layout = f"PARTITIONED BY ({PARTITION_COLUMN}) "
            # By these the server skips files: a query names the column, and not the partition.
            statistics = f"'{STATISTICS_OF}' = '{partition.column}'"
        try:
            self.run(
                f"CREATE TABLE {target} ({listed}) USING delta LOCATION {location} {layout}"
                f"TBLPROPERTIES ({statistics})"
            )
            self._registered[url] = server_name
            table = DeltaTable(folder, 0, columns, partition)
            if query is not None:
                self.run(f"INSERT INTO {target} {self.inserted(query, table, ())}")
        except Exception:
            self._files.delete([folder])
            raise
        return replace(table, version=self._files.version(folder))

    def drop_temporary(self, name: Name) -> None:
        """Drop a temporary table, if there is one of the name."""
        dropped = self.temporary.pop(name, None)
        if dropped is not None:
            self._files.delete([dropped.folder])

    # Statements with the server's names

    def inserted(self, source: exp.Expr, table: DeltaTable, given: Sequence[str]) -> str:
        """The rows that an INSERT writes, for all columns of the table."""
        rows = with_all_columns(source, table.columns, given, table.partition)
        return str(self.resolved(rows).sql(DIALECT))

    def columns_of(self, query: exp.Query) -> Columns:
        """The columns of a query with their types."""
        rows = exp.Subquery(this=self.resolved(query), alias=_alias("q"))
        table = self.run(exp.select("*").from_(rows).limit(0).sql(DIALECT))
        return tuple((field.name, spark_type(field.type)) for field in table.schema)

    def resolved(self, tree: exp.Expr) -> Any:
        """The statement with the server's names of the tables, and the queries of views."""
        resolved = without_is_true(with_epoch_seconds(tree.copy()))
        own = {cte.alias.lower() for cte in resolved.find_all(exp.CTE)}
        for node in list(resolved.find_all(exp.Table)):
            if not isinstance(node.this, exp.Identifier):
                continue
            if not node.db and node.name.lower() in own:
                continue
            replaced = self._relation(node)
            if node is resolved:
                resolved = replaced
            else:
                node.replace(replaced)
        return resolved

    def _relation(self, node: exp.Table) -> exp.Expr:
        alias = _alias(node.alias_or_name)
        if node.args.get("alias") and node.args["alias"].args.get("columns"):
            alias = node.args["alias"].copy()
        name = (node.db or TEMPORARY, node.name)
        relation = self._find(name)
        if relation is None:
            raise refusal_of(
                f"[TABLE_OR_VIEW_NOT_FOUND] {node.db + '.' if node.db else ''}{node.name}"
            )
        if isinstance(relation, View):
            query = self.resolved(sqlglot.parse_one(relation.query, read=DIALECT))
            return exp.Subquery(this=query, alias=alias)
        table = exp.to_table(self.name_of(relation), dialect=DIALECT)
        is_written = node.arg_key == "this" and isinstance(node.parent, WRITES)
        if isinstance(relation, DeltaTable) and name[0] != TEMPORARY and not is_written:
            # A statement of a process that died may still end, and write a version of its own.
            table.set(
                "version",
                exp.Version(
                    this="VERSION", kind="AS OF", expression=exp.Literal.number(relation.version)
                ),
            )
            rows = exp.select("*")
            if relation.partition is not None:
                rows = exp.select(*(exp.column(name, quoted=True) for name, _ in relation.columns))
            return exp.Subquery(this=rows.from_(table), alias=alias)
        table.set("alias", alias)
        return table


def quoted(name: str) -> str:
    """A name as SQL."""
    return exp.to_identifier(name, quoted=True).sql(DIALECT)


def _alias(name: str) -> exp.TableAlias:
    return exp.TableAlias(this=exp.to_identifier(name, quoted=True))


def _safe(name: str) -> str:
    return re.sub(r"\W", "_", name, flags=re.ASCII)[:80]
