"""MariaDB, a server of the tests' own: names, values, models, and the messages of DuckDB."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest
from shop import PEOPLE
from warehouse.test_statements import NASTY
from warehouses import mariadb_server as server
from warehouses.mariadb_server import MariadbServer
from warehouses.stores import MariadbStore, Store, bodies_sent
from warehouses.test_conformance import SAME_SQL, main_job

from tailrace.clock import SystemClock
from tailrace.encoding.values import Encoder
from tailrace.errors import (
    ConfigurationError,
    InvalidConfigValue,
    ModelDoesNotBind,
    StatementRefused,
    TailraceError,
    WarehouseUnavailable,
)
from tailrace.ledger.ledger import Ledger
from tailrace.models.column_types import column_types
from tailrace.models.compile import LANDED, bind
from tailrace.testing import SegmentSimulator
from tailrace.warehouse.connection import Warehouse
from tailrace.warehouse.opening import open_warehouse
from tailrace.warehouse.statements import Column, QueryText, TableName

pytestmark = [
    pytest.mark.engines,
    pytest.mark.skipif(not server.is_installed(), reason="run by: make test-engines"),
]
NOW = datetime(2026, 11, 27, tzinfo=UTC)
ACCOUNTS = (
    "CREATE SCHEMA salesforce;"
    "CREATE TABLE salesforce.account "
    "(id TEXT, city TEXT, email TEXT, score DOUBLE, n INTEGER, day DATE);"
    "INSERT INTO salesforce.account VALUES "
    "('t1', ' Oslo', 'ada@example.com', 2.345, 3, '2026-01-31'),"
    "('t1', 'Oslo', 'ada@example.com', 2.345, 1, '2026-01-31'),"
    "('t2', 'Moss', 'bo@example.com', NULL, -3, '2024-02-29'),"
    "('t3', NULL, NULL, 9.5, NULL, NULL)"
)
# What a model may write in DuckDB's dialect, of the constructs that every warehouse is asked.
TRANSLATED = 37


@pytest.fixture
def store(mariadb_server: MariadbServer, tmp_path: Path) -> MariadbStore:
    mariadb_server.clear()
    return MariadbStore(tmp_path, url=mariadb_server.url)


@pytest.fixture
def warehouse(store: MariadbStore) -> Iterator[Warehouse]:
    with open_warehouse(store.project, clock=SystemClock()) as opened:
        yield opened


def test_models_give_the_rows_of_duckdb_or_are_refused(store: MariadbStore) -> None:
    """No construct of DuckDB's dialect gives other rows than in DuckDB."""
    store.script(ACCOUNTS)
    translated = 0
    with open_warehouse(store.project, clock=SystemClock()) as warehouse:
        for sql, expected in SAME_SQL.items():
            model = (
                f"SELECT id, {sql} AS x FROM {LANDED}.account AS t "
                "QUALIFY ROW_NUMBER() OVER (PARTITION BY id ORDER BY n) = 1"
            )
            try:
                query = bound(model, warehouse)
            except ModelDoesNotBind:
                continue
            translated += 1
            rows = [value for _, value in sorted(warehouse.execute(query.sql))]
            assert expected == json.loads(Encoder().dumps(Encoder().encode(rows))), sql
    assert translated >= TRANSLATED


def bound(model: str, warehouse: Warehouse) -> QueryText:
    return bind(
        model,
        dataset="salesforce",
        now=NOW,
        dialect="mariadb",
        columns=column_types(warehouse),
    )


NUMBERS = ["2.5", "0.5", "-2.5", "1.005", "0.125", "2.345", "-0.125", "1234567.885", "0.1", "7"]


@pytest.mark.parametrize(
    "sql",
    [
        *("ROUND(x)", "ROUND(x, 2)", "ROUND(x, 1)", "CAST(x AS DECIMAL(18, 2))"),
        *("CAST(x AS DECIMAL(9, 0))", "CAST(ROUND(x * 10) AS BIGINT)", "x / 3"),
        *(
            "GREATEST(x, NULLIF(x, 7), 1)",
            "LEAST(x, 0.5)",
            "x > 1 AND x < 3",
            "CAST(x > 1 AS VARCHAR)",
        ),
    ],
)
def test_a_number_is_computed_as_in_duckdb(sql: str, store: MariadbStore) -> None:
    """DuckDB rounds half away from zero, and a DOUBLE by its value; MariaDB does neither."""
    values = ", ".join(f"('{n:02}', {text})" for n, text in enumerate(NUMBERS))
    table = "CREATE TABLE salesforce.account (id TEXT, x DOUBLE)"
    filled = f"INSERT INTO salesforce.account VALUES {values}"
    store.script(f"CREATE SCHEMA salesforce; {table}; {filled}")
    here = duckdb.connect()
    here.execute("CREATE SCHEMA salesforce")
    here.execute(table)
    here.execute(filled)
    expected = here.sql(f"SELECT {sql} FROM salesforce.account ORDER BY id").fetchall()
    with open_warehouse(store.project, clock=SystemClock()) as warehouse:
        query = bound(f"SELECT id, {sql} AS x FROM {LANDED}.account", warehouse)
        rows = [(value,) for _, value in sorted(warehouse.execute(query.sql))]
    assert expected == rows


def test_keys_differ_by_capitals_and_spaces_at_the_end(
    mariadb_server: MariadbServer, tmp_path: Path
) -> None:
    """The server compares without both by default."""
    mariadb_server.clear()
    with SegmentSimulator() as segment:
        shop = MariadbStore(tmp_path, segment, url=mariadb_server.url)
        shop.audience(PEOPLE)
        shop.script(CONTACTS)
        shop.script("DELETE FROM salesforce.contact")
        shop.script(
            "INSERT INTO salesforce.contact VALUES ('c', '', 'a', 1, FALSE), "
            "('C', '', 'a', 1, FALSE), ('c ', '', 'a', 1, FALSE), ('ç', '', 'a', 1, FALSE), "
            "('c\t', '', 'a', 1, FALSE)"
        )
        first = shop.sync()
        assert (0, 5) == (first.exit_code, first.audiences[0]["entered"])
        shop.script("UPDATE salesforce.contact SET city = 'A' WHERE id = 'c'")
        shop.script("UPDATE salesforce.contact SET city = 'a ' WHERE id = 'C'")
        second = shop.sync()
        assert (0, 2) == (second.exit_code, second.audiences[0]["changed"])


def test_a_source_that_ignores_capitals_is_refused(store: MariadbStore) -> None:
    with open_warehouse(store.project, clock=SystemClock()) as warehouse:
        warehouse.execute("CREATE DATABASE crm COLLATE utf8mb4_general_ci")
        warehouse.execute("CREATE TABLE crm.people (id VARCHAR(18))")
        with pytest.raises(ModelDoesNotBind, match="utf8mb4_general_ci"):
            warehouse.describe(QueryText("SELECT id FROM crm.people"))


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT CAST('no number' AS SIGNED)",
        "SELECT 'a' + 1",
        "SELECT CAST('2026-02-30' AS DATE)",
        "SELECT 1 / 0",
        "SELECT CAST(123456 AS DECIMAL(4, 2))",
        "SELECT GROUP_CONCAT(REPEAT('x', 999) SEPARATOR '') FROM (SELECT 1 UNION SELECT 2) AS t",
    ],
)
def test_a_value_that_the_server_would_replace_is_an_error(warehouse: Warehouse, sql: str) -> None:
    """It warns and goes on with 0, NULL, the nearest number or the first bytes."""
    warehouse.execute("SET SESSION group_concat_max_len = 1024")
    with pytest.raises(StatementRefused) as refused:
        warehouse.execute(sql)
    assert "no number" not in refused.value.message


def test_types_of_a_query_and_of_its_table_have_one_name(warehouse: Warehouse) -> None:
    """Else the plan would change the type of the column in each run."""
    columns = (
        "1 AS a, 'x' AS b, 1.25 AS c, CAST(1 AS DOUBLE) AS d, CAST(1 = 1 AS UNSIGNED) AS e, "
        "CURRENT_DATE AS f, CURRENT_TIMESTAMP AS g, CAST('10:00:00' AS TIME) AS h, "
        "CAST('[1]' AS CHAR) COLLATE utf8mb4_bin AS i, CAST(NULL AS CHAR) AS j"
    )
    warehouse.execute(f"CREATE TABLE typed AS SELECT {columns}")
    described = warehouse.describe(QueryText(f"SELECT {columns}"))
    assert described == warehouse.columns_of(TableName("tailrace", "typed"))
    assert Column("e", "BOOLEAN") in described
    # The texts were one character long.
    warehouse.execute("UPDATE typed SET b = 'longer', j = 'longer'")
    ((*_, e, _, g, h, _, _),) = warehouse.execute("SELECT * FROM typed")
    assert e is True
    assert g.tzinfo is UTC
    assert "10:00:00" == h.isoformat()


def test_an_update_reads_the_row_of_before(warehouse: Warehouse) -> None:
    """MariaDB assigns one column after the other by default."""
    warehouse.execute("CREATE TABLE swapped AS SELECT 1 AS a, 2 AS b")
    warehouse.execute("UPDATE swapped SET a = b, b = a")
    assert [(2, 1)] == warehouse.execute("SELECT * FROM swapped")


def test_a_text_comes_back_as_it_was_bound(warehouse: Warehouse) -> None:
    ledger = Ledger(warehouse, clock=SystemClock())
    ledger.install("one namespace")
    for number, text in enumerate(NASTY):
        ledger.run("bind_receiver", destination=str(number), fingerprint=text, now=NOW)
    assert {str(n): text for n, text in enumerate(NASTY)} == dict(ledger.run("receivers"))


def test_a_retyped_column_keeps_its_values(warehouse: Warehouse) -> None:
    table = TableName("tailrace", "members")
    warehouse.execute("CREATE TABLE members AS SELECT 'a' AS id, '12.5' AS score")
    wanted = Column("score", "DECIMAL(9,2)")
    warehouse.run("ledger/retype_column", tables={"altered": table}, column=wanted)
    assert (Column("id", "LONGTEXT"), wanted) == warehouse.columns_of(table)
    assert [("a", Decimal("12.50"))] == warehouse.execute("SELECT * FROM members")


def test_columns_that_were_read_again_are_written(warehouse: Warehouse) -> None:
    """MariaDB has no MERGE."""
    warehouse.execute(
        "CREATE TABLE contact AS SELECT '1' AS id, 1 AS a, 'x' AS b UNION SELECT '2', NULL, 'y'"
    )
    warehouse.execute(
        "CREATE TABLE fresh AS SELECT '2' AS id, 5 AS a UNION ALL SELECT '2', 5 UNION SELECT '3', 6"
    )
    tables = {
        name: TableName("tailrace", table)
        for name, table in (("landed", "contact"), ("fresh", "fresh"))
    }
    columns = {"keys": [Column("id")], "columns": [Column("a")]}
    warehouse.run("landing/apply_fresh", tables=tables, columns=columns)
    rows = warehouse.execute("SELECT id, a, b FROM contact ORDER BY id")
    assert [("1", 1, "x"), ("2", 5, "y")] == rows


def test_an_interrupted_installation_is_begun_again(warehouse: Warehouse) -> None:
    """Each statement that creates a table is committed, so the first run may leave some."""
    warehouse.execute("CREATE TABLE runs (a INT)")
    warehouse.execute("CREATE VIEW v_members AS SELECT 1 AS a")
    Ledger(warehouse, clock=SystemClock()).install("one namespace")
    again = Ledger(warehouse, clock=SystemClock())
    assert (True, "one namespace") == (again.installed, again.namespace)
    assert len(warehouse.columns_of(TableName("tailrace", "runs"))) > 10


def test_a_document_is_sent_as_one_and_compared_by_its_content(
    mariadb_server: MariadbServer, tmp_path: Path
) -> None:
    mariadb_server.clear()
    with SegmentSimulator() as segment:
        shop = MariadbStore(tmp_path, segment, url=mariadb_server.url)
        shop.audience(
            "/* ---\nkey: id\nuser_id: id\ntrack: {properties: {doc: doc}}\n--- */\n"
            "SELECT id, doc FROM salesforce.contact"
        )
        shop.script("CREATE SCHEMA salesforce; CREATE TABLE salesforce.contact (id TEXT, doc JSON)")
        shop.script("INSERT INTO salesforce.contact VALUES ('c1', '{\"a\": [1, null], \"b\": 2}')")
        assert 0 == shop.sync().exit_code
        (event,) = segment.events
        assert {"a": [1, None], "b": 2} == event["properties"]["doc"]
        shop.script('UPDATE salesforce.contact SET doc = \'{"b":2,"a":[1,null]}\'')
        assert 0 == shop.sync().audiences[0]["changed"]
        shop.script('UPDATE salesforce.contact SET doc = \'{"b":3,"a":[1,null]}\'')
        assert 1 == shop.sync().audiences[0]["changed"]


@pytest.mark.parametrize(
    ("url", "error", "message"),
    [
        ("mariadb://tailrace:wrong@127.0.0.1:{port}", ConfigurationError, "cannot be opened"),
        ("mariadb://tailrace:wrong@127.0.0.1:1", WarehouseUnavailable, "cannot be opened"),
        ("postgresql://tailrace:wrong@127.0.0.1:1", InvalidConfigValue, "no MariaDB server"),
    ],
)
def test_an_unusable_server_is_named_without_the_password(
    mariadb_server: MariadbServer,
    tmp_path: Path,
    url: str,
    error: type[TailraceError],
    message: str,
) -> None:
    store = MariadbStore(tmp_path, url=url.format(port=mariadb_server.port))
    with (
        pytest.raises(error, match=message) as raised,
        open_warehouse(store.project, clock=SystemClock()),
    ):
        pass
    assert raised.value.hint
    assert "wrong" not in f"{raised.value.message}{raised.value.hint}"


CONTACTS = (
    "CREATE SCHEMA salesforce;"
    "CREATE TABLE salesforce.contact "
    "(id TEXT, email TEXT, city TEXT, score DOUBLE, is_deleted BOOLEAN);"
    "INSERT INTO salesforce.contact VALUES ('c1', 'a@example.com', 'Oslo', 1.5, FALSE),"
    "('c2', 'b@example.com', 'Bergen', NULL, FALSE), ('c3', NULL, NULL, NULL, FALSE)"
)


def test_mariadb_sends_what_duckdb_sends(tmp_path: Path, mariadb_server: MariadbServer) -> None:
    """The same bytes under the same ids."""
    mariadb_server.clear()
    bodies = []
    for url in (None, mariadb_server.url):
        with SegmentSimulator() as segment:
            folder = tmp_path / ("mariadb" if url else "duckdb")
            shop = MariadbStore(folder, segment, url=url) if url else Store(folder, segment)
            bodies.append(bodies_sent(shop, segment, CONTACTS))
    assert bodies[0] == bodies[1]
    assert 9 == len(bodies[0])


def test_the_main_job_on_mariadb_sends_what_duckdb_sends(
    tmp_path: Path, mariadb_server: MariadbServer
) -> None:
    """Salesforce to Segment by the models of a new project; dlt inserts the objects."""
    mariadb_server.clear()
    here = main_job("duckdb", tmp_path / "duckdb", None)
    there = main_job("mariadb", tmp_path / "mariadb", mariadb_server.url)
    assert here == there
    assert all(len(day[1]) > 20 for day in here)
