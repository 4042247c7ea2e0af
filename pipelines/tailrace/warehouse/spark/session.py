"""A session with a Spark SQL server whose tables are in one storage.

The server's own catalog is not used: Sail keeps it in memory, and all its clients share it. Names
are resolved here, by the catalog of the storage, and the server only knows each table's folder.
"""

from __future__ import annotations

import re
import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlglot
from sqlglot import exp

from tailrace.errors import WarehouseFailed
from tailrace.state.lease import HeldLease
from tailrace.warehouse.spark.arrow_types import VOID, spark_type
from tailrace.warehouse.spark.catalog import (
    CatalogFile,
    Columns,
    DeltaTable,
    Name,
    View,
)
from tailrace.warehouse.spark.errors import refusal_of
from tailrace.warehouse.spark.information import asks_information, information
from tailrace.warehouse.spark.location import TableFiles
from tailrace.warehouse.spark.rewriting import (
    DIALECT,
    altered_rows,
    is_empty,
    merge_of_delete,
    merge_of_update,
    remaining_rows,
    with_all_columns,
    with_casts,
    with_epoch_seconds,
    without_is_true,
)

if TYPE_CHECKING:
    import pyarrow as pa

# The schema of tables that only this session has.
TEMPORARY = "temp"
# The schema in which the server reads files by their paths.
FILES = "parquet"
INFORMATION_COLUMNS = {
    "schemata": ("schema_name",),
    "tables": ("table_schema", "table_name", "table_type"),
    "columns": (
        *("table_schema", "table_name", "column_name", "data_type"),
        *("ordinal_position", "is_nullable"),
    ),
    "routines": ("routine_name",),
}
# The schema of the server in which the folders of tables have names.
SERVER_SCHEMA = "default"
# Sail 0.7 takes a column for a constant if its least and greatest values are equal. The statistics
# leave NaN out, so that it reads another value than was written.
WITHOUT_STATISTICS = "'delta.dataSkippingNumIndexedCols' = '0'"
# A log of more commits is replaced by a new table, which also deletes the files of old versions.
COMMITS_MAX = 60
NAME_BYTES_MAX = 200


class SparkSession:
    """One connection; see `tailrace.warehouse.session.Session`."""

    dialect = DIALECT
    engine = "spark"
    name_bytes_max = NAME_BYTES_MAX

    def __init__(
        self,
        connection: Any,
        files: TableFiles,
        catalog_file: CatalogFile,
        *,
        lease: HeldLease | None,
        connect: Callable[[], Any],
        destination: Callable[[SparkSession], Any],
    ) -> None:
        self._connection = connection
        self._connect = connect
        self._destination = destination
        self._files = files
        self._file = catalog_file
        # Without a lease the session reads the committed versions only.
        self._lease = lease
        self._token = secrets.token_hex(4)
        self._committed = catalog_file.read()
        self._catalog = self._committed.copy()
        self._temporary: dict[Name, DeltaTable] = {}
        self._registered: dict[str, str] = {}
        self._created = 0
        # dlt loads in a thread of its own.
        self._one_at_a_time = threading.RLock()
        self.in_transaction = False

    # The protocol of sessions

    @property
    def native(self) -> _Native:
        return _Native(self)

    def execute(self, sql: str) -> Sequence[Sequence[Any]] | None:
        table = self.fetch(sql)
        if table is None:
            return None
        columns = [column.to_pylist() for column in table.columns]
        return list(zip(*columns, strict=True)) if columns else []

    @contextmanager
    def transaction(self) -> Iterator[None]:
        self.in_transaction = True
        try:
            yield
            self._commit()
        except Exception:
            self.rollback()
            raise
        finally:
            self.in_transaction = False

    def rollback(self) -> None:
        if self._lease is None:
            return
        self.in_transaction = False
        self._catalog = self._committed.copy()
        self._repair()

    def create_dataset(self, name: str) -> None:
        self.execute(f"CREATE SCHEMA IF NOT EXISTS `{name}`")

    def another(self) -> SparkSession:
        return SparkSession(
            self._connect(),
            self._files,
            self._file_again(),
            lease=None,
            connect=self._connect,
            destination=self._destination,
        )

    def destination(self, *, is_locked: bool) -> Any:
        return self._destination(self)

    def close(self) -> None:
        with suppress(Exception):
            for name in self._registered.values():
                self._run(f"DROP TABLE IF EXISTS {SERVER_SCHEMA}.{name}")
        self._files.delete([table.folder for table in self._temporary.values()])
        self._connection.close()

    def _file_again(self) -> CatalogFile:
        return CatalogFile(self._files.store, clock=self._file.clock)

    # Statements

    def fetch(self, sql: str) -> pa.Table | None:
        """Run a statement and return its rows; None if it has none."""
        with self._one_at_a_time:
            return self._fetch(sql)

    def _fetch(self, sql: str) -> pa.Table | None:
        tree = sqlglot.parse_one(sql, read=DIALECT)
        if isinstance(tree, exp.Query):
            if asks_information(tree):
                return self._from_catalog(tree)
            if self._lease is None and not self.in_transaction:
                self._committed = self._catalog = self._file.read()
            return self._run(self._resolved(tree).sql(DIALECT))
        if isinstance(tree, exp.Describe):
            return self._describe(tree)
        if isinstance(tree, exp.Command | exp.Set):
            tree = self._reparsed(sql, tree)
        if isinstance(tree, exp.Set):
            # The server has no settings of a session; it reads and writes times in UTC.
            return None
        self._change(tree)
        if not self.in_transaction:
            self._commit()
        return None

    def _reparsed(self, sql: str, tree: exp.Expr) -> exp.Expr:
        # sqlglot reads some ALTERs of Spark as text only.
        if sql.lstrip().upper().startswith("ALTER"):
            return sqlglot.parse_one(sql.replace("`", '"'), read="postgres")
        return tree

    def _change(self, tree: exp.Expr) -> None:
        if self._lease is None and not _is_temporary(tree):
            raise WarehouseFailed("The warehouse is opened to read, and a statement writes")
        if isinstance(tree, exp.Create):
            self._create(tree)
        elif isinstance(tree, exp.Drop):
            self._drop(tree)
        elif isinstance(tree, exp.Alter):
            self._alter(tree)
        elif isinstance(tree, exp.Insert | exp.Update | exp.Delete | exp.Merge):
            self._write(tree)
        else:
            raise WarehouseFailed(f"The warehouse has no statement {tree.key.upper()}")

    def _write(self, tree: exp.Insert | exp.Update | exp.Delete | exp.Merge) -> None:
        name = _name_of(_target(tree))
        table = self._table(name)
        if isinstance(tree, exp.Update):
            tree = with_casts(tree, table.columns)
        if isinstance(tree, exp.Insert):
            given = (
                [part.name for part in tree.this.expressions]
                if isinstance(tree.this, exp.Schema)
                else []
            )
            rows = self._inserted(tree.expression, table.columns, given)
            text = f"INSERT INTO {self._server_name(table)} {rows}"
        elif isinstance(tree, exp.Update) and tree.args.get("from_"):
            text = self._resolved(merge_of_update(tree)).sql(DIALECT)
        elif isinstance(tree, exp.Delete) and tree.find(exp.Query, exp.Func):
            merge = merge_of_delete(tree)
            if merge is not None:
                text = self._resolved(merge).sql(DIALECT)
            else:
                rows = self._resolved(remaining_rows(tree)).sql(DIALECT)
                text = f"INSERT OVERWRITE {self._server_name(table)} {rows}"
        else:
            text = self._resolved(tree).sql(DIALECT)
        self._run(text)
        self._written(name, table)

    def _written(self, name: Name, table: DeltaTable) -> None:
        """Record the version that a statement wrote."""
        version = self._files.version(table.folder)
        if version not in (table.version, table.version + 1):
            raise WarehouseFailed(
                f"Another process has written to {name[0]}.{name[1]}",
                hint="Nothing is lost: run the same command again.",
            )
        if name[0] == TEMPORARY:
            self._temporary[name] = DeltaTable(table.folder, version, table.columns)
        else:
            self._catalog.at_version(name, version)

    def _create(self, tree: exp.Create) -> None:
        target = _target(tree)
        if tree.kind in ("SCHEMA", "DATABASE"):
            self._catalog.schemas |= {target.db or target.name}
            return
        is_temporary = tree.find(exp.TemporaryProperty) is not None
        name = _name_of(target)
        exists = self._find(name) is not None
        if exists and tree.args.get("exists"):
            return
        if exists and not tree.args.get("replace"):
            raise WarehouseFailed(f"{name[0]}.{name[1]} exists already")
        if tree.kind == "VIEW" and not is_temporary:
            columns = self._columns_of(tree.expression)
            self._catalog.with_relation(name, View(tree.expression.sql(DIALECT), columns))
            return
        if isinstance(tree.this, exp.Schema):
            definitions = [
                part for part in tree.this.expressions if isinstance(part, exp.ColumnDef)
            ]
            columns = tuple((part.name, part.args["kind"].sql(DIALECT)) for part in definitions)
            self._new_table(name, columns, None)
            return
        self._create_as(name, tree.expression)

    def _create_as(self, name: Name, query: exp.Query) -> None:
        columns = tuple(
            (column, "STRING" if type_ == VOID else type_)
            for column, type_ in self._columns_of(query)
        )
        self._new_table(name, columns, None if is_empty(query) else query)

    def _new_table(self, name: Name, columns: Columns, query: exp.Query | None) -> None:
        """Create a table in a folder of its own, and fill it.

        Its columns are declared: a table that is created from a query takes over that a constant
        is never NULL, and then refuses NULLs.
        """
        self._created += 1
        folder = f"{name[0]}/{_safe(name[1])}-{self._token}-{self._created}"
        if name[0] == TEMPORARY:
            folder = f"_tailrace/{folder}"
        server_name = f"t_{self._token}_{self._created}"
        listed = ", ".join(f"{_quoted(column)} {type_}" for column, type_ in columns)
        location = exp.Literal.string(self._files.url(folder)).sql(DIALECT)
        target = f"{SERVER_SCHEMA}.{server_name}"
        try:
            self._run(
                f"CREATE TABLE {target} ({listed}) USING delta LOCATION {location} "
                f"TBLPROPERTIES ({WITHOUT_STATISTICS})"
            )
            self._registered[folder] = server_name
            if query is not None:
                self._run(f"INSERT INTO {target} {self._inserted(query, columns, ())}")
        except Exception:
            self._files.delete([folder])
            raise
        table = DeltaTable(folder, self._files.version(folder), columns)
        if name[0] == TEMPORARY:
            self._drop_temporary(name)
            self._temporary[name] = table
            return
        self._catalog.without(name)
        self._catalog.with_relation(name, table)

    def _inserted(self, source: exp.Expr, columns: Columns, given: Sequence[str]) -> str:
        """The rows that an INSERT writes, for all columns of the table."""
        return str(self._resolved(with_all_columns(source, columns, given)).sql(DIALECT))

    def _drop_temporary(self, name: Name) -> None:
        dropped = self._temporary.pop(name, None)
        if dropped is not None:
            self._files.delete([dropped.folder])

    def _drop(self, tree: exp.Drop) -> None:
        target = _target(tree)
        if tree.kind in ("SCHEMA", "DATABASE"):
            schema = target.db or target.name
            for name in [name for name in self._catalog.relations if name[0] == schema]:
                self._catalog.without(name)
            self._catalog.schemas -= {schema}
            return
        name = _name_of(target)
        if self._find(name) is None:
            if tree.args.get("exists"):
                return
            raise WarehouseFailed(f"There is no {name[0]}.{name[1]}")
        if name[0] == TEMPORARY:
            self._drop_temporary(name)
        else:
            self._catalog.without(name)

    def _alter(self, tree: exp.Alter) -> None:
        name = _name_of(tree.this)
        table = self._table(name)
        for action in tree.args["actions"]:
            if isinstance(action, exp.AlterRename):
                renamed = (action.this.db or name[0], action.this.name)
                self._catalog.relations = {
                    key: value for key, value in self._catalog.relations.items() if key != name
                }
                self._catalog.with_relation(renamed, table)
                return
            self._create_as(name, altered_rows(table.columns, tree.this, action))

    # Names

    def _find(self, name: Name) -> DeltaTable | View | None:
        if name[0] == TEMPORARY:
            return self._temporary.get(name)
        return self._catalog.relations.get(name)

    def _table(self, name: Name) -> DeltaTable:
        found = self._find(name)
        if not isinstance(found, DeltaTable):
            raise refusal_of(f"[TABLE_OR_VIEW_NOT_FOUND] {name[0]}.{name[1]}")
        return found

    def _server_name(self, table: DeltaTable) -> str:
        """The server's name of a table's folder."""
        name = self._registered.get(table.folder)
        if name is None:
            self._created += 1
            name = f"t_{self._token}_{self._created}"
            location = exp.Literal.string(self._files.url(table.folder)).sql(DIALECT)
            self._run(f"CREATE TABLE {SERVER_SCHEMA}.{name} USING delta LOCATION {location}")
            self._registered[table.folder] = name
        return f"{SERVER_SCHEMA}.{name}"

    def _resolved(self, tree: exp.Expr) -> Any:
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
        found = self._find(name)
        if found is None:
            raise refusal_of(
                f"[TABLE_OR_VIEW_NOT_FOUND] {node.db + '.' if node.db else ''}{node.name}"
            )
        if isinstance(found, View):
            query = self._resolved(sqlglot.parse_one(found.query, read=DIALECT))
            return exp.Subquery(this=query, alias=alias)
        server_name = self._server_name(found)
        table = exp.to_table(server_name, dialect=DIALECT)
        if self._lease is None and name[0] != TEMPORARY:
            table.set(
                "version",
                exp.Version(
                    this="VERSION", kind="AS OF", expression=exp.Literal.number(found.version)
                ),
            )
            return exp.Subquery(this=exp.select("*").from_(table), alias=alias)
        table.set("alias", alias)
        return table

    def _from_catalog(self, tree: exp.Query) -> pa.Table:
        if self._lease is None:
            self._committed = self._catalog = self._file.read()
        relations = {**self._catalog.relations, **self._temporary}
        return information(tree, self._catalog.schemas, relations)

    def _columns_of(self, query: exp.Query) -> Columns:
        """The columns of a query with their types."""
        rows = exp.Subquery(this=self._resolved(query), alias=_alias("q"))
        table = self._run(exp.select("*").from_(rows).limit(0).sql(DIALECT))
        return tuple((field.name, spark_type(field.type)) for field in table.schema)

    def _describe(self, tree: exp.Describe) -> pa.Table:
        import pyarrow as pa

        columns = self._columns_of(tree.this)
        names, types = [name for name, _ in columns], [type_ for _, type_ in columns]
        return pa.table({"column_name": pa.array(names, pa.string()), "type": types})

    def load_parquet(self, file: Path, table: str) -> None:
        """Insert the rows of a local Parquet file into a table, by the names of its columns.

        Args:
            file: The file, which is put into the storage for the server, and deleted after it.
            table: The table's name as SQL.
        """
        import pyarrow.parquet as pq

        columns = [field.name for field in pq.read_schema(file)]
        target = exp.to_table(table, dialect=DIALECT)
        stored = f"_tailrace/files/{self._token}-{file.name}"
        listed = ", ".join(_quoted(column) for column in columns)
        rows = sqlglot.parse_one(
            f"SELECT {listed} FROM {FILES}.{_quoted(self._files.url(stored))}", read=DIALECT
        )
        with self._one_at_a_time:
            self._files.store.put(stored, file.read_bytes())
            try:
                name = _name_of(target)
                found = self._table(name)
                whole = with_all_columns(rows, found.columns, columns).sql(DIALECT)
                self._run(f"INSERT INTO {self._server_name(found)} {whole}")
                self._written(name, found)
                if not self.in_transaction:
                    self._commit()
            finally:
                self._files.store.delete([stored])

    # Commits

    def commit(self) -> None:
        """Commit the transaction before its block ends."""
        self._commit()

    def _commit(self) -> None:
        if self._lease is None or self._catalog == self._committed:
            return
        self._lease.require()
        self._file.commit(self._catalog)
        self._committed = self._catalog.copy()

    def start(self) -> None:
        """Undo what a process that died left, and delete the files that no table has."""
        self._repair()
        if self._catalog.unused:
            self._files.delete(self._catalog.unused)
            self._catalog.unused = ()
            self._commit()

    def _repair(self) -> None:
        """Restore each table whose newest version was not committed."""
        for name, table in self._committed.tables().items():
            if self._files.version(table.folder) == table.version:
                continue
            server_name = self._server_name(table)
            self._run(
                f"INSERT OVERWRITE {server_name} "
                f"SELECT * FROM {server_name} VERSION AS OF {table.version}"
            )
            self._catalog.at_version(name, self._files.version(table.folder))
        self._commit()

    def shorten_logs(self) -> None:
        """Write the tables with many commits again, with few files and an empty log."""
        for name, table in self._catalog.tables().items():
            if table.version >= COMMITS_MAX:
                query = exp.select("*").from_(exp.table_(name[1], db=name[0], quoted=True))
                self._create_as(name, query)
        self._commit()

    # The server

    def _run(self, text: str) -> pa.Table:
        try:
            with self._connection.cursor() as cursor:
                cursor.execute(text)
                return cursor.fetch_arrow_table()
        except Exception as error:
            raise refusal_of(str(error), error) from None


class _Native:
    """The session as far as a driver's connection is used directly."""

    def __init__(self, session: SparkSession) -> None:
        self._session = session
        self._rows: Sequence[Sequence[Any]] = ()

    @property
    def autocommit(self) -> bool:
        return not self._session.in_transaction

    def execute(self, sql: str) -> _Native:
        self._rows = self._session.execute(sql) or ()
        return self

    def fetchmany(self, rows_max: int) -> Sequence[Sequence[Any]]:
        return self._rows[:rows_max]


def _target(tree: exp.Expr) -> exp.Table:
    """The table that a statement writes to or drops."""
    (target,) = tree.args.get("tables") or (tree.this,)
    table = target.this if isinstance(target, exp.Schema) else target
    assert isinstance(table, exp.Table)
    return table


def _is_temporary(tree: exp.Expr) -> bool:
    """Whether a statement writes to a temporary table."""
    return _name_of(_target(tree))[0] == TEMPORARY


def _name_of(table: exp.Table) -> Name:
    return (table.db or TEMPORARY, table.name)


def _quoted(name: str) -> str:
    return exp.to_identifier(name, quoted=True).sql(DIALECT)


def _alias(name: str) -> exp.TableAlias:
    return exp.TableAlias(this=exp.to_identifier(name, quoted=True))


def _safe(name: str) -> str:
    return re.sub(r"\W", "_", name, flags=re.ASCII)[:80]
