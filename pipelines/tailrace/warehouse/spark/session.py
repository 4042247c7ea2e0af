"""A session with a Spark SQL server whose tables are in one storage.

Names are resolved here, by the catalog of the storage, and the server only knows each table's
folder.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlglot
from sqlglot import exp

from tailrace.errors import WarehouseFailed
from tailrace.state.lease import HeldLease
from tailrace.warehouse.spark.arrow_types import VOID
from tailrace.warehouse.spark.catalog import (
    CatalogFile,
    Columns,
    DeltaTable,
    Name,
    OuterTable,
    Partition,
    Relation,
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
    partition_of,
    remaining_rows,
    with_all_columns,
    with_casts,
)
from tailrace.warehouse.spark.server import SparkServer
from tailrace.warehouse.spark.server_tables import TEMPORARY, ServerTables, quoted

if TYPE_CHECKING:
    import pyarrow as pa

# The schema in which the server reads files by their paths.
FILES = "parquet"
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
        server: SparkServer,
        files: TableFiles,
        catalog_file: CatalogFile,
        *,
        outer_tables: Mapping[Name, str],
        lease: HeldLease | None,
        connect: Callable[[], SparkServer],
        destination: Callable[[SparkSession], Any],
    ) -> None:
        self._connect = connect
        self._destination = destination
        self._files = files
        self._file = catalog_file
        # Without a lease the session reads the committed versions only.
        self._lease = lease
        self._committed = catalog_file.read()
        self._catalog = self._committed.copy()
        # The folders of tables that other programs write, and those that a statement has named.
        self._outer_urls = outer_tables
        self._outer: dict[Name, OuterTable | None] = {}
        self._tables = ServerTables(server, files, find=self._find)
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
            outer_tables=self._outer_urls,
            lease=None,
            connect=self._connect,
            destination=self._destination,
        )

    def destination(self, *, is_locked: bool) -> Any:
        return self._destination(self)

    def close(self) -> None:
        self._tables.close()

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
            return self._tables.run(self._tables.resolved(tree).sql(DIALECT))
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
            tree = with_casts(tree, table.columns, table.partition)
        if isinstance(tree, exp.Insert):
            given = (
                [part.name for part in tree.this.expressions]
                if isinstance(tree.this, exp.Schema)
                else []
            )
            rows = self._tables.inserted(tree.expression, table, given)
            text = f"INSERT INTO {self._tables.name_of(table)} {rows}"
        elif isinstance(tree, exp.Update) and tree.args.get("from_"):
            text = self._tables.resolved(merge_of_update(tree)).sql(DIALECT)
        elif isinstance(tree, exp.Delete) and tree.find(exp.Query, exp.Func):
            merge = merge_of_delete(tree)
            if merge is not None:
                text = self._tables.resolved(merge).sql(DIALECT)
            else:
                rows = self._tables.inserted(remaining_rows(tree), table, ())
                text = f"INSERT OVERWRITE {self._tables.name_of(table)} {rows}"
        else:
            text = self._tables.resolved(tree).sql(DIALECT)
        self._tables.run(text)
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
            self._tables.temporary[name] = DeltaTable(table.folder, version, table.columns)
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
            columns = self._tables.columns_of(tree.expression)
            self._catalog.with_relation(name, View(tree.expression.sql(DIALECT), columns))
            return
        if isinstance(tree.this, exp.Schema):
            definitions = [
                part for part in tree.this.expressions if isinstance(part, exp.ColumnDef)
            ]
            columns = tuple((part.name, part.args["kind"].sql(DIALECT)) for part in definitions)
            self._new_table(name, columns, None, partition_of(tree.args.get("properties")))
            return
        self._create_as(name, tree.expression)

    def _create_as(self, name: Name, query: exp.Query, partition: Partition | None = None) -> None:
        columns = tuple(
            (column, "STRING" if type_ == VOID else type_)
            for column, type_ in self._tables.columns_of(query)
        )
        self._new_table(name, columns, None if is_empty(query) else query, partition)

    def _new_table(
        self,
        name: Name,
        columns: Columns,
        query: exp.Query | None,
        partition: Partition | None = None,
    ) -> None:
        table = self._tables.created(name, columns, query, partition)
        if name[0] == TEMPORARY:
            self._tables.drop_temporary(name)
            self._tables.temporary[name] = table
            return
        self._catalog.without(name)
        self._catalog.with_relation(name, table)

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
            self._tables.drop_temporary(name)
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
            self._create_as(name, altered_rows(table.columns, tree.this, action), table.partition)

    # Names

    def _find(self, name: Name) -> Relation | None:
        if name[0] == TEMPORARY:
            return self._tables.temporary.get(name)
        return self._catalog.relations.get(name) or self._outer_table(name)

    def _outer_table(self, name: Name) -> OuterTable | None:
        """A table that another program writes; its columns are read once a session."""
        key = (name[0].lower(), name[1].lower())
        if key in self._outer_urls and key not in self._outer:
            self._outer[key] = self._tables.outer_table(self._outer_urls[key])
        return self._outer.get(key)

    def _table(self, name: Name) -> DeltaTable:
        found = self._find(name)
        if not isinstance(found, DeltaTable):
            raise refusal_of(f"[TABLE_OR_VIEW_NOT_FOUND] {name[0]}.{name[1]}")
        return found

    def _from_catalog(self, tree: exp.Query) -> pa.Table:
        if self._lease is None:
            self._committed = self._catalog = self._file.read()
        outer = {name: table for name in self._outer_urls if (table := self._outer_table(name))}
        schemas = self._catalog.schemas | {dataset for dataset, _ in outer}
        relations = {**outer, **self._catalog.relations, **self._tables.temporary}
        return information(tree, schemas, relations)

    def _describe(self, tree: exp.Describe) -> pa.Table:
        import pyarrow as pa

        columns = self._tables.columns_of(tree.this)
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
        stored = f"_tailrace/files/{self._tables.token}-{file.name}"
        listed = ", ".join(quoted(column) for column in columns)
        rows = sqlglot.parse_one(
            f"SELECT {listed} FROM {FILES}.{quoted(self._files.url(stored))}", read=DIALECT
        )
        with self._one_at_a_time:
            self._files.store.put(stored, file.read_bytes())
            try:
                name = _name_of(target)
                found = self._table(name)
                whole = with_all_columns(rows, found.columns, columns, found.partition)
                whole_text = whole.sql(DIALECT)
                self._tables.run(f"INSERT INTO {self._tables.name_of(found)} {whole_text}")
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
            server_name = self._tables.name_of(table)
            self._tables.run(
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
                self._create_as(name, query, table.partition)
        self._commit()


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
