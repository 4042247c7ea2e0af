"""The warehouse: sessions, transactions and types on every engine, and what a failure may say."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from dlt.common.configuration.exceptions import ConfigFieldMissingException
from dlt.common.configuration.specs.base_configuration import BaseConfiguration
from shop import Shop
from warehouses.desk import desk_at
from warehouses.postgres_server import PostgresServer
from warehouses.stores import WAREHOUSES, PostgresStore, Store, store_on

from tailrace.cli.commands.doctor import _warehouse
from tailrace.clock import SystemClock
from tailrace.errors import (
    ConfigurationError,
    LockHeld,
    MissingCredential,
    ModelDoesNotBind,
    NothingLanded,
    StatementRefused,
    TailraceError,
    WarehouseFailed,
    WarehouseUnavailable,
)
from tailrace.warehouse import opening
from tailrace.warehouse.connection import Warehouse
from tailrace.warehouse.opening import open_warehouse
from tailrace.warehouse.statements import Column, TableName, statement

TYPES = {
    "duckdb": [
        *("BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UBIGINT", "FLOAT"),
        *("DOUBLE", "DECIMAL(18,2)", "DECIMAL(38,0)", "VARCHAR", "BLOB", "UUID", "JSON", "BIT"),
        *("DATE", "TIME", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE", "TIMESTAMP_NS", "TIMESTAMP_S"),
        *("TIMESTAMP_MS", "TIME WITH TIME ZONE", "INTERVAL", "VARCHAR[]", "DOUBLE[][]"),
        *("INTEGER[3]", "STRUCT(city VARCHAR, zip INTEGER)", "MAP(VARCHAR, INTEGER[])"),
        *('STRUCT("a b" VARCHAR, "select" STRUCT(x INTEGER))[]', "ENUM('a', 'b c', 'it''s')"),
    ],
    "postgres": [
        *("boolean", "smallint", "integer", "bigint", "real", "double precision"),
        *("numeric", "numeric(18,2)", "numeric(38,0)", "text", "character varying"),
        *("character varying(255)", "character(3)", "bytea", "uuid", "jsonb", "json", "date"),
        *("time without time zone", "time with time zone", "timestamp without time zone"),
        *("timestamp(3) without time zone", "timestamp with time zone", "interval", "text[]"),
        *("double precision[]", "timestamp with time zone[]", "inet", "bit(4)"),
    ],
}


@pytest.fixture(scope="module", params=WAREHOUSES)
def store(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Store]:
    with store_on(request, tmp_path_factory.mktemp("store")) as store:
        yield store


@pytest.fixture
def warehouse(store: Store) -> Iterator[Warehouse]:
    """An open warehouse with the dataset `salesforce`, empty."""
    with open_warehouse(store.project, clock=SystemClock()) as warehouse:
        warehouse.execute("DROP SCHEMA IF EXISTS salesforce CASCADE")
        warehouse.execute("CREATE SCHEMA salesforce")
        yield warehouse


def contact(warehouse: Warehouse, columns: str = "id TEXT", *rows: str) -> TableName:
    warehouse.execute(f"CREATE TABLE salesforce.contact ({columns})")
    for row in rows:
        warehouse.execute(f"INSERT INTO salesforce.contact VALUES ({row})")
    return TableName("salesforce", "contact")


def ids(warehouse: Warehouse) -> list[str]:
    return [row[0] for row in warehouse.execute("SELECT id FROM salesforce.contact ORDER BY id")]


def test_a_type_is_named_as_it_is_written_in_sql(warehouse: Warehouse) -> None:
    """A column made with the type that a table is said to have has that type again."""
    types = TYPES[warehouse.dialect]
    columns = ", ".join(f"c{n} {type_}" for n, type_ in enumerate(types))
    found = warehouse.columns_of(contact(warehouse, columns))
    made = TableName("salesforce", "made")
    warehouse.execute("CREATE TABLE salesforce.made (id TEXT)")
    for column in found:
        warehouse.run("ledger/add_column", tables={"altered": made}, column=column)
    assert types == [column.type for column in found]
    assert found == warehouse.columns_of(made)[1:]


def test_columns_are_found_by_lower_case_names_in_their_order(warehouse: Warehouse) -> None:
    """Of a table that is not there, none."""
    table = contact(warehouse, "b INTEGER, a INTEGER, C INTEGER")
    assert ["b", "a", "c"] == [column.name for column in warehouse.columns_of(table)]
    assert () == warehouse.columns_of(TableName("salesforce", "nothing"))
    assert () == warehouse.columns_of(TableName("nowhere", "contact"))
    assert {"contact"} == warehouse.tables_in("salesforce")


def test_a_query_is_described_without_being_run(warehouse: Warehouse) -> None:
    """It would fail on its first row; and nothing is left of the description."""
    contact(warehouse, "id TEXT, n INTEGER", "'c1', 0")
    asked = bound(warehouse, "SELECT id, CAST(id AS INTEGER) AS m FROM salesforce.contact")
    assert ["id", "m"] == [column.name for column in warehouse.describe(asked)]
    assert {"contact"} == warehouse.tables_in("salesforce")
    assert len(warehouse.describe(asked)) == 2


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("SELECT nobody FROM salesforce.contact", "nobody"),
        ("SELECT id FROM salesforce.missing", "missing"),
        ("SELECT no_such_function(id) FROM salesforce.contact", "no_such_function"),
    ],
)
def test_a_query_that_does_not_bind_is_reported_in_the_engine_s_words(
    warehouse: Warehouse, sql: str, words: str
) -> None:
    """In one line, and the session goes on."""
    contact(warehouse)
    with pytest.raises(ModelDoesNotBind, match=words) as raised:
        warehouse.describe(bound(warehouse, sql))
    assert "\n" not in raised.value.message
    assert "warehouse/describe" not in raised.value.message
    assert [] == ids(warehouse)


def bound(warehouse: Warehouse, sql: str) -> object:
    from tailrace.models.compile import bind

    now = datetime(2026, 1, 1, tzinfo=UTC)
    return bind(sql, dataset="salesforce", now=now, dialect=warehouse.dialect)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT CAST(id AS INTEGER) FROM salesforce.contact",
        "SELECT CAST(id AS DATE) FROM salesforce.contact",
        "SELECT CAST(id AS UUID) FROM salesforce.contact",
        "INSERT INTO salesforce.contact VALUES (NULL)",
        "INSERT INTO salesforce.contact VALUES ('ada@example.com')",
    ],
)
def test_a_failure_never_tells_a_value(warehouse: Warehouse, sql: str) -> None:
    """An engine's message quotes the row, which may hold personal data."""
    contact(warehouse, "id TEXT PRIMARY KEY", "'ada@example.com'")
    with pytest.raises(StatementRefused if "CAST" in sql else WarehouseFailed) as raised:
        warehouse.execute(sql, "a/name")
    assert "ada" not in str(raised.value) + repr(raised.value.__cause__)
    assert raised.value.message.startswith("a/name: ")


def test_a_transaction_is_all_or_nothing(warehouse: Warehouse) -> None:
    """An error or a signal undoes it, and what comes after is not undone with it."""
    contact(warehouse)
    with warehouse.transaction():
        warehouse.execute("INSERT INTO salesforce.contact VALUES ('kept')")
    for interruption in (ValueError, KeyboardInterrupt):
        with pytest.raises(interruption), warehouse.transaction():
            warehouse.execute("INSERT INTO salesforce.contact VALUES ('undone')")
            raise interruption
        assert ["kept"] == ids(warehouse)
    warehouse.execute("INSERT INTO salesforce.contact VALUES ('later')")
    beside = warehouse.another()
    try:
        assert ["kept", "later"] == ids(beside)
    finally:
        beside.close()


def test_a_statement_that_fails_undoes_its_transaction(warehouse: Warehouse) -> None:
    """Nothing of it stays, and the next transaction is a new one."""
    contact(warehouse)
    with pytest.raises(WarehouseFailed), warehouse.transaction():
        warehouse.execute("INSERT INTO salesforce.contact VALUES ('undone')")
        warehouse.execute("SELECT nobody FROM salesforce.contact")
    with warehouse.transaction():
        warehouse.execute("INSERT INTO salesforce.contact VALUES ('kept')")
    assert ["kept"] == ids(warehouse)


def test_instants_are_in_utc_whatever_the_server_and_the_machine_think(
    warehouse: Warehouse,
) -> None:
    """Also after a statement that failed, which costs a session its settings on some engines."""
    said = "SELECT CAST(CAST('2026-03-29 01:30:00+00' AS TIMESTAMPTZ) AS TEXT)"
    before = warehouse.execute(said)
    with pytest.raises(WarehouseFailed):
        warehouse.execute("SELECT nobody FROM nowhere")
    assert before == warehouse.execute(said)
    assert before[0][0].startswith("2026-03-29 01:30:00+00")
    beside = warehouse.another()
    try:
        assert before == beside.execute(said)
    finally:
        beside.close()


def test_an_attempt_costs_the_session_nothing(warehouse: Warehouse) -> None:
    """Whether values can be cast is tried while temporary tables wait for their turn."""
    table = contact(warehouse, "id TEXT", "'17'", "NULL")
    kept = warehouse.temporary("kept")
    warehouse.execute(f"CREATE TEMPORARY TABLE {kept} AS SELECT 1 AS one")
    for type_, works in (("INTEGER", True), ("DATE", False), ("INTEGER", True)):
        tried = {"tables": {"altered": table}, "column": Column("id", type_)}
        assert works == warehouse.attempt("ledger/count_uncastable", **tried)
    assert [(1,)] == warehouse.execute(f"SELECT one FROM {kept}")


def test_a_warehouse_that_is_gone_refuses_nothing(store: Store) -> None:
    """A connection that broke says nothing about a model or a value: exit 1, and try again."""
    with open_warehouse(store.project, clock=SystemClock()) as warehouse:
        if warehouse.dialect == "postgres":
            store.script(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        else:
            warehouse.session.native.close()
        with pytest.raises(WarehouseFailed) as raised:
            warehouse.describe(bound(warehouse, "SELECT 1 AS id"))
    assert WarehouseFailed is type(raised.value)


def test_a_table_of_the_same_name_is_never_taken_for_a_temporary_one(warehouse: Warehouse) -> None:
    """Not read, not replaced, not dropped."""
    warehouse.execute("CREATE TABLE salesforce.tried__people AS SELECT 'mine' AS whose")
    ours = warehouse.temporary("tried__people")
    warehouse.drop_temporary(ours)
    assert () == warehouse.columns_of(ours)
    warehouse.execute(f"CREATE TEMPORARY TABLE {ours} AS SELECT 'ours' AS whose")
    assert [("ours",)] == warehouse.execute(f"SELECT whose FROM {ours}")
    warehouse.drop_temporary(ours)
    warehouse.drop_temporary(ours)
    assert [("mine",)] == warehouse.execute("SELECT whose FROM salesforce.tried__people")


@pytest.mark.parametrize(
    "value", ["it's", "100% %s %(x)s", "a\\b \\' \\x41", "Ünï 東京 🗼", "line\nbreak"]
)
def test_a_bound_text_arrives_as_it_is(warehouse: Warehouse, value: str) -> None:
    """Through rendering, through dlt, through the driver."""
    contact(warehouse)
    table = TableName("salesforce", "contact")
    values = statement(
        "ledger/install",
        warehouse.dialect,
        tables={"installation": table},
        namespace=value,
        version=1,
        now=datetime(2026, 1, 1, tzinfo=UTC),
    )
    warehouse.execute("ALTER TABLE salesforce.contact RENAME COLUMN id TO namespace")
    warehouse.execute("ALTER TABLE salesforce.contact ADD COLUMN version BIGINT")
    warehouse.execute("ALTER TABLE salesforce.contact ADD COLUMN created_at TIMESTAMPTZ")
    warehouse.execute(values)
    found = warehouse.execute("SELECT namespace, created_at FROM salesforce.contact")
    assert [(value, datetime(2026, 1, 1, tzinfo=UTC))] == found


def test_a_dataset_is_created_once(warehouse: Warehouse) -> None:
    warehouse.create_dataset("tailrace_models")
    warehouse.create_dataset("tailrace_models")
    assert frozenset() == warehouse.tables_in("tailrace_models")


# Opening


def test_a_file_that_another_process_has_open_is_said_to_be_held(tmp_path: Path) -> None:
    """With the process that has it, in a line, and not as an error of the engine."""
    shop = Shop(tmp_path)
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"import duckdb; c = duckdb.connect({str(shop.file)!r});"
            "print('open', flush=True); input()",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with holder:
        assert holder.stdout is not None
        assert "open\n" == holder.stdout.readline()
        with (
            pytest.raises(
                LockHeld, match=rf"has warehouse\.duckdb open \(held by PID {holder.pid}\)"
            ),
            open_warehouse(shop.project, clock=SystemClock()),
        ):
            pass
        holder.communicate("\n")


def test_what_only_reads_makes_no_file(tmp_path: Path) -> None:
    """There is nothing to plan before something has landed."""
    shop = Shop(tmp_path)
    opened = open_warehouse(shop.project, clock=SystemClock(), read_only=True)
    with pytest.raises(NothingLanded, match=r"no warehouse\.duckdb yet"), opened:
        pass
    assert not shop.file.exists()


@pytest.mark.parametrize(("deleted_of_10", "rewritten"), [(2, False), (5, True)])
def test_a_table_is_rewritten_only_if_many_rows_were_deleted(
    tmp_path: Path, deleted_of_10: int, rewritten: bool
) -> None:
    """A run that moves a few members leaves the table's other rows where they are on disk."""
    shop = Shop(tmp_path)
    with open_warehouse(shop.project, clock=SystemClock()) as warehouse:
        warehouse.execute("CREATE TABLE people AS SELECT i FROM range(300000) AS r(i)")
    with open_warehouse(shop.project, clock=SystemClock()) as warehouse:
        warehouse.execute(f"DELETE FROM people WHERE i % 10 < {deleted_of_10}")
    with open_warehouse(shop.project, clock=SystemClock(), read_only=True) as warehouse:
        ((_, _, stored),) = warehouse.run("warehouse/large_tables", rows_min=100_000)
    assert rewritten == (stored < 200_000)
    assert rewritten or stored == 300_000


def test_a_file_of_something_else_is_named(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.file.write_text("id,email\n1,ada@example.com\n" * 500)
    opened = open_warehouse(shop.project, clock=SystemClock())
    with (
        pytest.raises(ConfigurationError, match=r"warehouse\.duckdb cannot be opened") as raised,
        opened,
    ):
        pass
    assert "ada" not in str(raised.value)


@pytest.mark.parametrize(
    ("place", "hint"),
    [
        # No user, not even root, may create a file here.
        pytest.param(
            "/sys/warehouse.duckdb",
            "Give this user the right to write warehouse.duckdb and its folder.",
            marks=pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="Linux only"),
        ),
        (".dlt/config.toml/warehouse.duckdb", "Check credentials under [destination.duckdb]"),
        ("models", "Check credentials under [destination.duckdb]"),
    ],
)
def test_a_file_that_cannot_be_written_or_is_a_folder_is_the_users_error(
    tmp_path: Path, place: str, hint: str
) -> None:
    shop = Shop(tmp_path)
    shop.environ["DESTINATION__DUCKDB__CREDENTIALS"] = place
    opened = open_warehouse(shop.project, clock=SystemClock())
    with pytest.raises(ConfigurationError, match="cannot be opened") as raised, opened:
        pass
    assert raised.value.hint.startswith(hint)


def test_doctor_notices_that_the_folder_of_the_file_is_a_file(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.environ["DESTINATION__DUCKDB__CREDENTIALS"] = ".dlt/config.toml/new/warehouse.duckdb"
    (check,) = (c for c in _warehouse(shop.project, SystemClock()) if c.status != "ok")
    assert ("failed", 2) == (check.status, check.exit_code)


def settings(root: Path, warehouse: str, secrets: str = "") -> Shop:
    shop = Shop(root)
    config = root / ".dlt" / "config.toml"
    config.write_text(config.read_text().replace('"duckdb"', f'"{warehouse}"', 1))
    (root / ".dlt" / "secrets.toml").write_text(secrets)
    return shop


@pytest.mark.parametrize(
    ("warehouse", "secrets", "error", "message"),
    [
        ("postgrse", "", ConfigurationError, 'no warehouse "postgrse". Did you mean "postgres"?'),
        ("postgres", "", MissingCredential, "destination.postgres.credentials is missing or"),
        (
            "postgres",
            '[destination.postgres]\ncredentials = "postgresql://u:s3cret@127.0.0.1:1/d"\n',
            WarehouseUnavailable,
            'connection to server at "127.0.0.1", port 1 failed',
        ),
        (
            "postgres",
            '[destination.postgres]\ncredentials = "postgresql://u:s3c@ret@no.invalid/d"\n',
            WarehouseUnavailable,
            "cannot be opened: its host name cannot be resolved",
        ),
        (
            "postgres",
            '[destination.postgres]\ncredentials = "postgres:/s3cret"\n',
            ConfigurationError,
            "destination.postgres.credentials is not a connection string",
        ),
    ],
)
def test_a_warehouse_that_cannot_be_opened_is_reported_without_a_secret(
    tmp_path: Path, warehouse: str, secrets: str, error: type[TailraceError], message: str
) -> None:
    """What is wrong, and nothing of the credentials."""
    shop = settings(tmp_path, warehouse, secrets)
    with pytest.raises(error) as raised, open_warehouse(shop.project, clock=SystemClock()):
        pass
    assert message in raised.value.message
    assert "s3c" not in f"{raised.value!r} {raised.value.message} {raised.value.hint}"
    assert (1 if error is WarehouseUnavailable else 2) == raised.value.exit_code


@pytest.mark.parametrize(
    ("warehouse", "example"),
    [
        ("postgres", '"postgresql://user:password@host:5432/database"'),
        ("snowflake", '"snowflake://user:password@account/database?'),
        ("databricks", "https://dlthub.com/docs/dlt-ecosystem/destinations/databricks"),
    ],
)
def test_the_hint_for_missing_credentials_fits_the_warehouse(warehouse: str, example: str) -> None:
    missing = ConfigFieldMissingException(BaseConfiguration(), {"password": []})
    assert example in opening._cannot_connect(warehouse, missing).hint


def test_a_folder_without_write_permission_is_named(tmp_path: Path) -> None:
    """Not even root can write to this folder."""
    shop = settings(tmp_path, "duckdb")
    shop.environ["DESTINATION__DUCKDB__CREDENTIALS"] = "/sys/warehouse.duckdb"
    opened = open_warehouse(shop.project, clock=SystemClock())
    with pytest.raises(ConfigurationError) as raised, opened:
        pass
    assert "right to write warehouse.duckdb and its folder" in raised.value.hint


@pytest.mark.postgres
def test_credentials_come_from_where_the_project_says(
    tmp_path: Path, postgres_server: PostgresServer
) -> None:
    """Whole or key by key, from the environment, a target's own file or the project's."""
    url = postgres_server.url()
    wrong = '[destination.postgres]\ncredentials = "postgresql://u:p@127.0.0.1:1/wrong"\n'
    by_environment = settings(tmp_path / "environment", "postgres", wrong)
    by_environment.environ["DESTINATION__POSTGRES__CREDENTIALS"] = url
    by_key = settings(
        tmp_path / "key",
        "postgres",
        f'[destination.postgres.credentials]\nhost = "localhost"\ndatabase = "postgres"\n'
        f'username = "{postgres_server.user}"\nquery = {{ host = "{postgres_server.folder}" }}\n',
    )
    by_key.environ["DESTINATION__POSTGRES__CREDENTIALS__PASSWORD"] = "any"
    for shop in (by_environment, by_key):
        with open_warehouse(shop.project, clock=SystemClock()) as warehouse:
            assert "postgres PostgreSQL" in warehouse.engine_version


@pytest.mark.postgres
def test_a_target_has_its_own_warehouse(tmp_path: Path, postgres_server: PostgresServer) -> None:
    """The same project on DuckDB here and on PostgreSQL there, in one process."""
    from tailrace.config.project import load_project

    shop = Shop(tmp_path)
    (tmp_path / ".dlt" / "prod.config.toml").write_text('[tailrace]\nwarehouse = "postgres"\n')
    (tmp_path / ".dlt" / "prod.secrets.toml").write_text(
        f'[destination.postgres]\ncredentials = "{postgres_server.url()}"\n'
    )
    prod = load_project(tmp_path, target="prod", environ={})
    for project, dialect in (
        (shop.project, "duckdb"),
        (prod, "postgres"),
        (shop.project, "duckdb"),
    ):
        with open_warehouse(project, clock=SystemClock()) as warehouse:
            assert dialect == warehouse.dialect


@pytest.mark.postgres
def test_two_projects_in_one_process_have_their_own_databases(
    tmp_path: Path, postgres_server: PostgresServer, postgres_database: str
) -> None:
    """What dlt read in one folder does not serve in another."""
    one = PostgresStore(tmp_path / "one", url=postgres_server.url())
    two = PostgresStore(tmp_path / "two", url=postgres_database)
    names = []
    for store in (one, two):
        with open_warehouse(store.project, clock=SystemClock()) as warehouse:
            names += warehouse.execute("SELECT current_database()")
    assert names[0] == ("postgres",)
    assert names[1] != names[0]


def test_a_desk_is_cleared_for_the_next_case(store: Store) -> None:
    """What the tests stand on: no table and no run of one case is there in the next."""
    with desk_at(store) as desk:
        desk.clear()
        desk.start_run()
        desk.clear()
        assert [(0,)] == desk.query("SELECT COUNT(*) FROM tailrace.runs")


def test_a_signal_during_a_statement_is_no_defect(tmp_path: Path) -> None:
    """DuckDB replaces the exception of a signal's handler by a RuntimeError."""

    class Stopped(KeyboardInterrupt):
        pass

    def stop(*_: object) -> None:
        raise Stopped

    shop = Shop(tmp_path)
    # DuckDB may look for a signal at its end only, so it ends soon.
    slow = "SELECT SUM(a.range * b.range) FROM range(20000) AS a, range(20000) AS b"
    before = signal.signal(signal.SIGUSR1, stop)
    timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1))
    try:
        with open_warehouse(shop.project, clock=SystemClock()) as warehouse:
            with pytest.raises(KeyboardInterrupt) as raised:
                timer.start()
                warehouse.execute(slow)
            assert raised.type is KeyboardInterrupt
            assert [(1,)] == warehouse.execute("SELECT 1")
    finally:
        timer.cancel()
        signal.signal(signal.SIGUSR1, before)


def test_a_folder_where_duckdb_can_create_no_file_is_named(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    with (
        open_warehouse(shop.project, clock=SystemClock()) as warehouse,
        pytest.raises(WarehouseFailed, match="cannot be written to: Is a directory") as raised,
    ):
        # A folder of that name is in the way also for root, whom no permission stops.
        Path(f"{shop.project.duckdb_file}.wal").mkdir()
        warehouse.create_dataset("another")
    assert raised.value.hint == "Give this user the right to write the file and its folder."
