"""Snowflake, emulated by fakesnow: names, values, models, landing, and the messages of DuckDB."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
import sqlglot
from warehouse.test_statements import NASTY
from warehouses.snowflake_emulator import SnowflakeEmulator
from warehouses.stores import SnowflakeStore, Store, bodies_sent
from warehouses.test_conformance import SAME_SQL, main_job

from tailrace.clock import SystemClock
from tailrace.encoding.values import Encoder
from tailrace.errors import ModelDoesNotBind, StatementRefused
from tailrace.ledger.ledger import Ledger
from tailrace.models.column_types import column_types
from tailrace.models.compile import LANDED, bind
from tailrace.testing import SegmentSimulator
from tailrace.warehouse.connection import Warehouse
from tailrace.warehouse.opening import open_warehouse
from tailrace.warehouse.statements import Column, QueryText, TableName

pytestmark = [
    pytest.mark.snowflake,
    pytest.mark.skipif(
        importlib.util.find_spec("snowflake") is None, reason="run by: make test-engines"
    ),
]
NOW = datetime(2026, 11, 27, tzinfo=UTC)
ACCOUNTS = (
    "CREATE SCHEMA IF NOT EXISTS salesforce;"
    "CREATE TABLE salesforce.account "
    "(id TEXT, city TEXT, email TEXT, score DOUBLE, n INTEGER, day DATE);"
    "INSERT INTO salesforce.account VALUES "
    "('t1', ' Oslo', 'ada@example.com', 2.345, 3, '2026-01-31'),"
    "('t1', 'Oslo', 'ada@example.com', 2.345, 1, '2026-01-31'),"
    "('t2', 'Moss', 'bo@example.com', NULL, -3, '2024-02-29'),"
    "('t3', NULL, NULL, 9.5, NULL, NULL)"
)
CONTACTS = (
    "CREATE SCHEMA IF NOT EXISTS salesforce;"
    "CREATE TABLE salesforce.contact "
    "(id TEXT, email TEXT, city TEXT, score DOUBLE, is_deleted BOOLEAN);"
    "INSERT INTO salesforce.contact VALUES ('c1', 'a@example.com', 'Oslo', 1.5, FALSE),"
    "('c2', 'b@example.com', 'Bergen', 'NaN', FALSE), ('c3', NULL, NULL, NULL, FALSE)"
)
# What a model may write in DuckDB's dialect, of the constructs that every warehouse is asked.
TRANSLATED = 21


@pytest.fixture
def warehouse(snowflake_emulator: SnowflakeEmulator, tmp_path: Path) -> Iterator[Warehouse]:
    store = SnowflakeStore(tmp_path, url=snowflake_emulator.database())
    with open_warehouse(store.project, clock=SystemClock()) as opened:
        yield opened


def test_a_text_comes_back_as_it_was_bound(warehouse: Warehouse) -> None:
    ledger = Ledger(warehouse, clock=SystemClock())
    ledger.install("one namespace")
    for number, text in enumerate(NASTY):
        ledger.run("bind_receiver", destination=str(number), fingerprint=text, now=NOW)
    assert {str(n): text for n, text in enumerate(NASTY)} == dict(ledger.run("receivers"))


def test_types_of_a_query_and_of_its_table_have_one_name(warehouse: Warehouse) -> None:
    """Else the plan would change the type of the column in each run."""
    columns = (
        "1 AS a, 'x' AS b, 1.25 AS c, CAST(1 AS FLOAT) AS d, TRUE AS e, CURRENT_DATE() AS f, "
        "CAST('2026-01-01' AS TIMESTAMP_TZ) AS g, CAST('2026-01-01' AS TIMESTAMP_NTZ) AS h, "
        "CAST('10:00:00' AS TIME) AS i, PARSE_JSON('[1]') AS j"
    )
    query = QueryText(f"SELECT {columns}")
    warehouse.execute(f"CREATE TABLE typed AS SELECT {columns}")
    described = warehouse.describe(query)
    assert described == warehouse.columns_of(TableName("tailrace", "typed"))
    assert Column("c", "NUMBER(38,2)") in described
    (row,) = warehouse.execute("SELECT * FROM typed")
    assert [1] == row[-1]


def test_a_null_is_a_null_of_every_type(warehouse: Warehouse) -> None:
    types = ("VARCHAR", "INT", "FLOAT", "DATE", "TIMESTAMP_NTZ", "TIMESTAMP_TZ", "TIME", "VARIANT")
    nulls = ", ".join(f"CAST(NULL AS {type_}) AS c{n}" for n, type_ in enumerate(types))
    assert [(None,) * len(types)] == warehouse.execute(f"SELECT {nulls}")


def test_a_retyped_column_keeps_its_values(warehouse: Warehouse) -> None:
    table = TableName("tailrace", "members")
    warehouse.execute("CREATE TABLE members AS SELECT 'a' AS id, '12.5' AS score")
    wanted = Column("score", "NUMBER(38,2)")
    warehouse.run("ledger/retype_column", tables={"altered": table}, column=wanted)
    assert (Column("id", "TEXT"), wanted) == warehouse.columns_of(table)
    assert [("a", Decimal("12.50"))] == warehouse.execute("SELECT * FROM members")


def test_another_dataset_does_not_hide_the_temporary_tables(warehouse: Warehouse) -> None:
    """Snowflake makes a new schema the session's own."""
    warehouse.execute("CREATE TEMPORARY TABLE kept AS SELECT 1 AS a")
    warehouse.create_dataset("models_of_today")
    assert [("TAILRACE",)] == warehouse.execute("SELECT CURRENT_SCHEMA()")
    assert [(1,)] == warehouse.execute("SELECT a FROM kept")


def test_an_interrupted_installation_is_begun_again(warehouse: Warehouse) -> None:
    """Each statement that creates a table is committed, so the first run may leave some."""
    warehouse.execute("CREATE TABLE runs (a INT)")
    warehouse.execute("CREATE VIEW v_members AS SELECT 1 AS a")
    Ledger(warehouse, clock=SystemClock()).install("one namespace")
    again = Ledger(warehouse, clock=SystemClock())
    assert (True, "one namespace") == (again.installed, again.namespace)
    assert len(warehouse.columns_of(TableName("tailrace", "runs"))) > 10


def test_an_error_says_what_is_wrong_without_values(warehouse: Warehouse) -> None:
    with pytest.raises(StatementRefused) as refused:
        warehouse.execute("SELECT missing FROM nowhere WHERE email = 'ada@example.com'")
    assert "NOWHERE" in refused.value.message
    assert "ada" not in refused.value.message


def test_models_give_the_rows_of_duckdb_or_are_refused(warehouse: Warehouse) -> None:
    """No construct of DuckDB's dialect gives other rows than in DuckDB."""
    for text in sqlglot.transpile(ACCOUNTS, read="duckdb", write="snowflake"):
        warehouse.execute(text)
    translated = 0
    for sql, expected in SAME_SQL.items():
        model = (
            f"SELECT id, {sql} AS x FROM {LANDED}.account AS t "
            "QUALIFY ROW_NUMBER() OVER (PARTITION BY id ORDER BY n) = 1"
        )
        try:
            query = bind(
                model,
                dataset="salesforce",
                now=NOW,
                dialect="snowflake",
                columns=column_types(warehouse),
            )
        except ModelDoesNotBind:
            continue
        translated += 1
        rows = [value for _, value in sorted(warehouse.execute(query.sql))]
        assert expected == json.loads(Encoder().dumps(rows)), sql
    assert translated >= TRANSLATED


def test_snowflake_sends_what_duckdb_sends(
    tmp_path: Path, snowflake_emulator: SnowflakeEmulator
) -> None:
    """The same bytes under the same ids."""
    bodies = []
    for url in (None, snowflake_emulator.database()):
        with SegmentSimulator() as segment:
            folder = tmp_path / ("snowflake" if url else "duckdb")
            shop = SnowflakeStore(folder, segment, url=url) if url else Store(folder, segment)
            bodies.append(bodies_sent(shop, segment, CONTACTS))
    assert bodies[0] == bodies[1]
    assert 9 == len(bodies[0])


# Some hundred statements, of which each takes a tenth of a second or more beside other work.
@pytest.mark.timeout(900)
def test_the_main_job_on_snowflake_sends_what_duckdb_sends(
    tmp_path: Path, snowflake_emulator: SnowflakeEmulator
) -> None:
    """Salesforce to Segment by the models of a new project; dlt stages and copies the objects."""
    here = main_job("duckdb", tmp_path / "duckdb", None)
    there = main_job("snowflake", tmp_path / "snowflake", snowflake_emulator.database())
    assert here == there
    assert all(len(day[1]) > 20 for day in here)
