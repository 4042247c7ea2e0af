"""Shops on every warehouse: the same project, tables and questions, whatever engine holds them.

A test writes SQL in DuckDB's dialect; on another engine it is translated, as models are.
"""

from __future__ import annotations

import importlib.util
import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg2
import pytest
import sqlglot
from shop import CONFIG, PEOPLE, Shop
from sqlglot import exp
from warehouses import mariadb_server
from warehouses.mariadb_server import MariadbServer
from warehouses.postgres_server import PostgresServer
from warehouses.snowflake_emulator import SnowflakeEmulator
from warehouses.spark_server import HAS_CONNECT, IS_INSTALLED

from tailrace.clock import SystemClock
from tailrace.ledger.ledger import Ledger
from tailrace.testing.segment.simulator import SegmentSimulator
from tailrace.warehouse.connection import Warehouse
from tailrace.warehouse.ducklake import installed_extension
from tailrace.warehouse.opening import open_warehouse

WAREHOUSES = [
    "duckdb",
    pytest.param("postgres", marks=pytest.mark.postgres),
]
# The tests of this folder run on further engines, where they are installed: `make test-engines`.
DUCKLAKE = []
if installed_extension("ducklake"):
    DUCKLAKE.append(pytest.param("ducklake", marks=pytest.mark.ducklake))
LOCAL_ENGINES = [*WAREHOUSES, *DUCKLAKE]
if importlib.util.find_spec("snowflake") is not None:
    LOCAL_ENGINES.append(pytest.param("snowflake", marks=pytest.mark.snowflake))
SPARK = [pytest.param("spark", marks=pytest.mark.spark)] if IS_INSTALLED else []
SPARK_CONNECT = [pytest.param("spark-connect", marks=pytest.mark.spark)] if HAS_CONNECT else []
MARIADB = (
    [pytest.param("mariadb", marks=pytest.mark.engines)] if mariadb_server.is_installed() else []
)
ENGINES = [*LOCAL_ENGINES, *MARIADB, *SPARK, *SPARK_CONNECT]
SPARK_SERVERS = {"spark": "spark_server", "spark-connect": "spark_connect_server"}


class Store(Shop):
    """A shop whose warehouse takes SQL in DuckDB's dialect."""

    dialect = "duckdb"
    # Types that the engine does not have, and words of DuckDB that it refuses in models.
    absent_types: frozenset[str] = frozenset()
    refused: tuple[str, ...] = ()

    def script(self, sql: str) -> None:
        """Run statements, each committed."""
        with self._cursor() as cursor:
            for each in sqlglot.transpile(sql, read="duckdb", write=self.dialect):
                cursor.execute(each)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with self._cursor() as cursor:
            (text,) = sqlglot.transpile(sql, read="duckdb", write=self.dialect)
            cursor.execute(text)
            return [tuple(row) for row in cursor.fetchall()]

    @contextmanager
    def _cursor(self) -> Iterator[Any]:
        with self.connection() as connection:
            yield connection


class LakeStore(Store):
    """The same in a DuckLake, whose catalog is in a file or in PostgreSQL."""

    def __init__(
        self, root: Path, segment: SegmentSimulator | None = None, *, catalog: str | None = None
    ) -> None:
        super().__init__(root, segment)
        config = CONFIG.replace('warehouse = "duckdb"', 'warehouse = "ducklake"')
        (root / ".dlt" / "config.toml").write_text(config)
        if catalog is not None:
            (root / ".dlt" / "secrets.toml").write_text(
                f'[destination.ducklake.credentials]\ncatalog = "{catalog}"\nstorage = "lake"\n'
            )

    @contextmanager
    def connection(self) -> Iterator[Any]:
        with self._cursor() as cursor:
            yield cursor

    @contextmanager
    def _cursor(self) -> Iterator[Any]:
        with open_warehouse(self.project, clock=SystemClock()) as warehouse:
            yield warehouse.session.native


class SparkStore(Store):
    """The same in Delta tables, written by a Spark SQL server."""

    dialect = "spark"
    absent_types = frozenset({"TIME"})
    # The last one is a subquery that the server cannot plan.
    refused = ("DAYNAME(", " AS JSON)", "STRING_AGG(", "GROUP BY ALL", "other.n <= t.n")

    def __init__(
        self, root: Path, segment: SegmentSimulator | None = None, *, uri: str, storage: str = ""
    ) -> None:
        super().__init__(root, segment)
        config = CONFIG.replace('warehouse = "duckdb"', 'warehouse = "spark"').replace(
            '[destination.duckdb]\ncredentials = "warehouse.duckdb"',
            f'[destination.spark]\nuri = "{uri}"\nstorage = "{storage or root / "lake"}"',
        )
        (root / ".dlt" / "config.toml").write_text(config)

    def script(self, sql: str) -> None:
        with self.connection() as connection:
            connection.execute(sql)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with self.connection() as connection:
            return connection.execute(sql)

    @contextmanager
    def connection(self) -> Iterator[Any]:
        with open_warehouse(self.project, clock=SystemClock()) as warehouse:
            yield DuckdbWords(warehouse)


class DuckdbWords:
    """A warehouse that takes SQL in DuckDB's dialect, with values for its question marks."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse

    def execute(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = []
        for tree in sqlglot.parse(sql, read="duckdb"):
            if tree is not None:
                for mark, value in zip(list(tree.find_all(exp.Placeholder)), values, strict=True):
                    mark.replace(exp.convert(value))
                rows = self._warehouse.execute(tree.sql(self._warehouse.dialect))
        return rows


class PostgresStore(Store):
    """The same on a database of a PostgreSQL server."""

    dialect = "postgres"

    def __init__(self, root: Path, segment: SegmentSimulator | None = None, *, url: str) -> None:
        super().__init__(root, segment)
        self.url = url
        config = CONFIG.replace('warehouse = "duckdb"', 'warehouse = "postgres"')
        (root / ".dlt" / "config.toml").write_text(config)
        (root / ".dlt" / "secrets.toml").write_text(
            f'[destination.postgres]\ncredentials = "{url}"\n'
        )

    @contextmanager
    def _cursor(self) -> Iterator[Any]:
        connection = psycopg2.connect(self.url)
        connection.autocommit = True
        try:
            with connection.cursor() as cursor:
                cursor.execute("SET TimeZone = 'UTC'")
                yield cursor
        finally:
            connection.close()


class SnowflakeStore(Store):
    """The same in a database of an emulator of Snowflake."""

    dialect = "snowflake"
    refused = (
        *(
            "ROUND(",
            " / ",
            " // ",
            " % ",
            "CAST(n ",
            "DATE_TRUNC(",
            "EXTRACT(",
            "DATE_DIFF(",
            "ILIKE",
            "SUBSTRING(",
        ),
        *("CONCAT_WS(", "GREATEST(", "REGEXP_", "DAYNAME(", " AS JSON)", "{'City'", "ARG_MAX("),
        "STRING_AGG(",
    )

    def __init__(self, root: Path, segment: SegmentSimulator | None = None, *, url: str) -> None:
        super().__init__(root, segment)
        config = CONFIG.replace('warehouse = "duckdb"', 'warehouse = "snowflake"')
        (root / ".dlt" / "config.toml").write_text(config)
        (root / ".dlt" / "secrets.toml").write_text(
            f'[destination.snowflake]\ncredentials = "{url}"\n'
        )

    def script(self, sql: str) -> None:
        with open_warehouse(self.project, clock=SystemClock()) as warehouse:
            for text in sqlglot.transpile(sql, read="duckdb", write=self.dialect):
                warehouse.execute(text)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with open_warehouse(self.project, clock=SystemClock()) as warehouse:
            (text,) = sqlglot.transpile(sql, read="duckdb", write=self.dialect)
            return warehouse.execute(text)


class MariadbStore(Store):
    """The same on a MariaDB server, whose databases are the datasets of one store at a time."""

    dialect = "mariadb"
    absent_types = frozenset({"TEXT[]", "UUID"})
    refused = ("GROUP BY ALL", " AS JSON)", "{'City'", "ARG_MAX(")

    def __init__(self, root: Path, segment: SegmentSimulator | None = None, *, url: str) -> None:
        super().__init__(root, segment)
        config = CONFIG.replace('warehouse = "duckdb"', 'warehouse = "mariadb"')
        (root / ".dlt" / "config.toml").write_text(config)
        (root / ".dlt" / "secrets.toml").write_text(
            f'[destination.mariadb]\ncredentials = "{url}"\n'
        )

    def script(self, sql: str) -> None:
        with self.connection() as connection:
            connection.execute(sql)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with self.connection() as connection:
            return connection.execute(sql)

    @contextmanager
    def connection(self) -> Iterator[Any]:
        with open_warehouse(self.project, clock=SystemClock()) as warehouse:
            yield MariadbWords(warehouse)


class MariadbWords(DuckdbWords):
    """The same on MariaDB, where a schema is a database with a collation."""

    def execute(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = []
        for tree in sqlglot.parse(sql, read="duckdb"):
            if isinstance(tree, exp.Create) and tree.kind == "SCHEMA":
                self._warehouse.create_dataset(tree.this.db)
            elif tree is not None:
                rows = super().execute(_finite(tree).sql("duckdb"), values)
        return rows


def _finite(tree: exp.Expr) -> exp.Expr:
    """The statement with NULL for the numbers that MariaDB does not have."""
    for text in list(tree.find_all(exp.Literal)):
        if text.is_string and text.this in ("NaN", "Infinity", "-Infinity"):
            text.replace(exp.null())
    return tree


@contextmanager
def store_on(
    request: pytest.FixtureRequest, root: Path, segment: SegmentSimulator | None = None
) -> Iterator[Store]:
    """The store of the warehouse that a fixture is parametrised with, on a database of its own."""
    if request.param == "duckdb":
        yield Store(root, segment)
        return
    if request.param == "ducklake":
        yield LakeStore(root, segment)
        return
    if request.param == "snowflake":
        emulator: SnowflakeEmulator = request.getfixturevalue("snowflake_emulator")
        yield SnowflakeStore(root, segment, url=emulator.database())
        return
    if request.param == "mariadb":
        maria: MariadbServer = request.getfixturevalue("mariadb_server")
        maria.clear()
        yield MariadbStore(root, segment, url=maria.url)
        return
    if request.param in SPARK_SERVERS:
        uri = request.getfixturevalue(SPARK_SERVERS[request.param])
        yield SparkStore(root, segment, uri=uri)
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    name = f"store_{os.getpid()}_{time.monotonic_ns()}"
    server.execute(f"CREATE DATABASE {name}")
    yield PostgresStore(root, segment, url=server.url(name))
    server.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def bodies_sent(shop: Store, segment: SegmentSimulator, contacts: str) -> list[str]:
    """What Segment receives of three contacts on two days, without the times, in a fixed order."""
    shop.audience(PEOPLE)
    with open_warehouse(shop.project, clock=shop.clock) as opened:
        Ledger(opened, clock=shop.clock).install("one namespace")
    shop.script(contacts)
    assert 0 == shop.sync().exit_code
    shop.script("DELETE FROM salesforce.contact WHERE id = 'c1'")
    shop.script("UPDATE salesforce.contact SET city = 'Hamar' WHERE id = 'c2'")
    assert 0 == shop.sync().exit_code
    events = [
        {name: value for name, value in event.items() if name != "timestamp"}
        for event in segment.events
    ]
    return sorted(json.dumps(event, sort_keys=True) for event in events)


def check_tables_in_a_bucket(shop: Store, segment: SegmentSimulator) -> None:
    """Two runs of a shop whose tables are in a bucket: one delivery, and no table on this disk."""
    rows = [{"id": f"c{number}", "email": f"{number}@example.com"} for number in range(40)]
    shop.audience(PEOPLE)
    shop.land(rows)
    assert 0 == shop.sync().exit_code
    assert len(rows) == len({event["userId"] for event in segment.events})
    before = len(segment.events)
    assert 0 == shop.sync().exit_code
    assert before == len(segment.events)
    assert not list(shop.root.rglob("*.parquet"))
