"""What a model may do: tried with every function and every setting that an engine lists."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from warehouses.postgres_server import PostgresServer
from warehouses.stores import WAREHOUSES, Store, store_on

from tailrace.clock import SystemClock
from tailrace.errors import ModelDoesNotBind, NotAllowedInModel, WarehouseFailed
from tailrace.warehouse import sandbox
from tailrace.warehouse.connection import Warehouse
from tailrace.warehouse.driver_errors import without_values
from tailrace.warehouse.opening import open_warehouse
from tailrace.warehouse.postgres_sandbox import POSTGRES_STABLE, postgres_violations
from tailrace.warehouse.sandbox import TABLE_FUNCTIONS, duckdb_functions, duckdb_violations
from tailrace.warehouse.statements import QueryText

# What a run sets itself, at any time.
OPEN_SETTINGS = {
    *("memory_limit", "max_memory", "threads", "worker_threads", "max_vacuum_tasks"),
    *("streaming_buffer_size", "max_streaming_buffer_size", "preserve_insertion_order"),
    # Of the session, and out of a SELECT's reach.
    *("TimeZone", "schema", "search_path"),
}
PLACES = [
    "SELECT {} AS x FROM t",
    "SELECT a FROM t WHERE EXISTS (SELECT {})",
    "WITH c AS (SELECT list_transform(a, lambda x: {}) AS l FROM t) SELECT * FROM c",
    "SELECT sum(a) FILTER (WHERE {} IS NULL) FROM t GROUP BY ALL HAVING {} IS NULL",
    "SELECT if(a, {}, nullif({}, 1)) FROM t ORDER BY {}",
    "SELECT row_number() OVER (PARTITION BY {} ORDER BY a) FROM t QUALIFY {} = 1",
    "SELECT a, CASE WHEN a THEN {} END FROM t UNION ALL SELECT 1, {{'x': {}}}",
]
TABLE_PLACES = [
    "SELECT * FROM {}",
    "SELECT * FROM t, LATERAL {}",
    "SELECT * FROM t JOIN {} AS f ON TRUE",
    "SELECT (SELECT count(*) FROM {}) FROM t",
    "FROM {} SELECT 1",
    "WITH c AS MATERIALIZED (FROM {}) FROM c",
]


@pytest.fixture(scope="module")
def listed() -> list[tuple[str, str]]:
    return duckdb.connect().execute(
        "SELECT DISTINCT function_name, function_type FROM duckdb_functions()"
        " WHERE regexp_full_match(function_name, '[A-Za-z_]\\w*')"
    ).fetchall()  # fmt: skip


def refused_names(sql: str) -> set[str]:
    return {v.message.partition("(")[0] for v in duckdb_violations(sql)}


def test_every_function_that_duckdb_lists_is_decided_at_every_place(
    listed: list[tuple[str, str]],
) -> None:
    """A refused one is found wherever it stands; an allowed one nowhere."""
    names, allowed = duckdb_functions()
    for number, name in enumerate(sorted({n.lower() for n, _ in listed})):
        place = PLACES[number % len(PLACES)]
        sql = place.replace("{}", f'"{name}"(a)').replace("{{", "{").replace("}}", "}")
        assert ({name} if name not in allowed else set()) == refused_names(sql), sql
    assert {n.lower() for n, _ in listed} <= names


def test_every_table_function_that_duckdb_lists_is_decided_at_every_place(
    listed: list[tuple[str, str]],
) -> None:
    kinds = ("table", "table_macro", "pragma")
    for number, name in enumerate(sorted({n for n, kind in listed if kind in kinds})):
        sql = TABLE_PLACES[number % len(TABLE_PLACES)].format(f"\"{name}\"('x')")
        assert (set() if name in TABLE_FUNCTIONS else {name}) == refused_names(sql), sql


@pytest.mark.parametrize(
    "name",
    [
        *("read_text", "read_csv", "read_parquet", "glob", "sniff_csv", "duckdb_settings"),
        *("duckdb_secrets", "which_secret", "enable_logging", "query", "query_table"),
        *("json_execute_serialized_sql", "json_serialize_sql", "current_setting", "error"),
        *("getvariable", "parquet_metadata", "write_log", "nextval", "sleep_ms", "assert_true"),
        *("pg_sleep", "current_query", "version", "duckdb_logs_parsed", "get_block_size"),
    ],
)
def test_what_reads_the_machine_is_refused(name: str) -> None:
    assert name not in duckdb_functions()[1]


@pytest.mark.parametrize(
    "name",
    [
        *("now", "upper", "json_group_object", "list_transform", "arg_max", "histogram"),
        *("regexp_matches", "row_number", "split_part", "weighted_avg", "current_date"),
        *("json_extract", "strftime", "md5", "range", "generate_series", "unnest"),
    ],
)
def test_what_computes_from_its_arguments_is_allowed(name: str) -> None:
    assert name in duckdb_functions()[1]


def test_a_function_that_the_parser_replaces_is_allowed() -> None:
    """DuckDB 1.5 reads IF as CASE and does not list it."""
    assert not duckdb_violations("SELECT if(a > 1, 'x', 'y') FROM t")


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM (DESCRIBE t)",
        "SELECT * FROM (SHOW TABLES)",
        "SELECT * FROM (SUMMARIZE t)",
        "WITH c AS (DELETE FROM t RETURNING *) SELECT * FROM c",
        "SELECT current_schema FROM t",
        "WITH p AS (PIVOT t ON a USING sum(b)) SELECT * FROM p, read_text('x')",
        'WITH p AS (PIVOT t ON a USING sum(b)) SELECT "error"(a) FROM p',
    ],
)
def test_what_is_no_plain_select_is_refused(sql: str) -> None:
    assert duckdb_violations(sql)


def test_texts_that_are_parsed_together_are_refused_as_alone() -> None:
    texts = [
        "SELECT getenv('HOME') FROM t",
        "SELECT 'ü' AS x, read_text(a) FROM t",
        "SELECT a FROM",
        "SELECT a FROM t; SELECT b FROM t",
        "WITH p AS (PIVOT t ON a USING sum(b)) SELECT * FROM p",
        "SELECT a FROM t",
    ]
    alone = [_violations_of(text) for text in texts]
    sandbox.parse_together(texts)
    # None of these is parsed again.
    assert texts == list(sandbox._parsed)
    assert alone == [_violations_of(text) for text in texts]
    assert not sandbox._parsed
    assert [1, 1, 1, 0, 1, 0] == [len(violations) for violations in alone]


def _violations_of(text: str) -> tuple[sandbox.Violation, ...]:
    sandbox.duckdb_references.cache_clear()
    return duckdb_violations(text)


@pytest.mark.parametrize(
    ("sql", "problem"),
    [
        ("SELECT nosuch(a) FROM t", "no built-in function nosuch()"),
        ("SELECT lowr(a) FROM t", 'Did you mean "lower"?'),
        ("SELECT * FROM nosuch(1)", "no built-in function nosuch()"),
        ("SELECT * FROM histogram(t, a)", "histogram() is not allowed"),
        ("WITH p AS (PIVOT t ON a USING sum(b)) FROM p, histogram(t, a)", "list of its values"),
        ("WITH p AS (PIVOT t ON a USING sum(b)) SELECT nosuch(a) FROM p", "list of its values"),
        ("SELECT a FROM t WHERE b = :c", "DuckDB cannot parse the SQL"),
        ("SELECT upper(a) FROM t", "upper() is stored in the warehouse"),
        ("SELECT a FROM range(3)", "range() is stored in the warehouse"),
    ],
)
def test_only_listed_and_built_in_functions_are_called(sql: str, problem: str) -> None:
    stored = frozenset({"upper", "range"})
    messages = [violation.message for violation in duckdb_violations(sql, stored=lambda: stored)]
    assert [] != [message for message in messages if problem in message], messages


@pytest.fixture(scope="module", params=WAREHOUSES)
def store(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Store]:
    with store_on(request, tmp_path_factory.mktemp("store")) as store:
        yield store


ENABLE_LOGGING = "CALL enable_logging(storage = 'stdout')"


def test_the_engine_is_locked_before_a_model_is_described(store: Store, tmp_path: Path) -> None:
    """DuckDB opens no file and changes no setting but those of a run; our own work goes on."""
    with open_warehouse(store.project, clock=SystemClock()) as warehouse:
        if warehouse.dialect != "duckdb":
            pytest.skip("a server is not ours to lock")
        warehouse.describe(QueryText("SELECT 1 AS one"))
        for sql in (
            f"COPY (SELECT 1) TO '{tmp_path / 'out.csv'}'",
            f"SELECT * FROM read_text('{Path(__file__)}')",
            f"ATTACH '{tmp_path / 'other.duckdb'}'",
            "LOAD spatial",
            "INSTALL spatial",
            # DuckDB 1.5 allows this call, which is no SELECT and so never part of a model.
            *([] if duckdb.__version__.startswith("1.") else [ENABLE_LOGGING]),
        ):
            with pytest.raises(WarehouseFailed):
                warehouse.execute(sql)
        assert [] == list(tmp_path.iterdir())
        if duckdb.__version__.startswith("1."):
            return
        settings = warehouse.execute("SELECT name, value FROM duckdb_settings()")
        changed = {name for name, value in settings if can_set(warehouse, name, value)}
        assert changed <= OPEN_SETTINGS
        warehouse.execute("CHECKPOINT")
        warehouse.execute("CREATE TABLE spilled AS SELECT range AS i FROM range(1000)")
        warehouse.execute("DROP TABLE spilled")


def test_a_macro_of_the_warehouse_takes_no_built_in_name(store: Store) -> None:
    """A stored macro would run in place of the built-in function of its name."""
    with open_warehouse(store.project, clock=SystemClock()) as warehouse:
        if warehouse.dialect != "duckdb":
            pytest.skip("a server tells which functions are its own")
        warehouse.execute("CREATE OR REPLACE MACRO md5(x) AS 'shadowed'")
        try:
            with pytest.raises(ModelDoesNotBind, match=r"md5\(\) is stored in the warehouse"):
                warehouse.describe(QueryText("SELECT md5('a') AS digest"))
        finally:
            warehouse.execute("DROP MACRO md5")


def can_set(warehouse: Warehouse, name: str, value: str | None) -> bool:
    try:
        warehouse.execute(f"SET {name} = '{value or ''}'")
    except WarehouseFailed:
        return False
    return True


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1 AS one FROM {reader}",
        "SELECT 1 AS one WHERE EXISTS (SELECT * FROM {reader})",
    ],
)
def test_a_model_that_reads_the_machine_is_refused_before_it_is_bound(
    store: Store, sql: str
) -> None:
    with open_warehouse(store.project, clock=SystemClock()) as warehouse:
        readers = {"duckdb": "read_text('/etc/hostname')", "postgres": "pg_ls_dir('/etc')"}
        query = QueryText(sql.format(reader=readers[warehouse.dialect]))
        with pytest.raises(NotAllowedInModel, match=r"read_text|pg_ls_dir"):
            warehouse.describe(query)


def test_every_function_that_postgres_lists_is_decided(postgres_server: PostgresServer) -> None:
    """Immutable ones and those of one list are allowed; every volatile one is refused."""
    psycopg2 = pytest.importorskip("psycopg2")
    with psycopg2.connect(postgres_server.url()) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT proname, min(CASE provolatile WHEN 'i' THEN 2 WHEN 's' THEN 1 ELSE 0 END)"
            " FROM pg_proc GROUP BY 1"
        )
        listed = cursor.fetchall()
    for name, kind in listed:
        refused = bool(postgres_violations(f'SELECT "{name}"(a) FROM t', [(name.lower(), kind)]))
        pure = name in POSTGRES_STABLE or name == "pg_typeof"
        if kind == 0 or (kind == 1 and not pure):
            assert refused, name
        elif name in POSTGRES_STABLE:
            assert not refused, name
    connection.close()


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT pg_read_file('/etc/passwd')",
        "SELECT * FROM t, LATERAL pg_ls_dir(t.a)",
        "SELECT \"pg_read_file\"('x')",
        "SELECT pg_catalog.pg_read_file('x')",
        "SELECT U&\"\\0070g_read_file\"('x')",
        "SELECT * FROM dblink('x', 'SELECT 1') AS t(a int)",
        "SELECT lo_import('/etc/passwd')",
        "SELECT current_setting('x'), set_config('a', 'b', false)",
        "SELECT query_to_xml('SELECT 1', true, true, '')",
        "SELECT (t).pg_ls_dir FROM (SELECT '/etc'::text AS a) AS t",
        "WITH c AS (DELETE FROM t RETURNING *) SELECT * FROM c",
    ],
)
def test_postgres_refuses_by_name_what_reads_the_machine(sql: str) -> None:
    assert postgres_violations(sql, [])


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("type 'ann@example.com' of 5551234567", "type '…' of …"),
        ("no match for 'lower(INTEGER)' and 'Ann'' B'", "no match for 'lower(INTEGER)' and '…'"),
        ('column "email" \x1b]0;x\x07 missing', 'column "email"  ]0;x  missing'),
        ("x" * 600, "x" * 499 + "…"),
    ],
)
def test_a_message_of_the_engine_holds_no_value(message: str, shown: str) -> None:
    assert shown == without_values(message)
