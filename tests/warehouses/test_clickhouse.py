"""What ClickHouse does with the engine's statements and with models, in its own engine: chdb.

ClickHouse has no transactions, and no UPDATE or DELETE that reads another table, so the ledger
cannot be there. `clickhouse.yaml` lists what it refuses, and what it takes and answers with
other rows than DuckDB; `--write-docs` writes the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
import yaml
from models.dialect_statements import ROWS, corpus
from models.test_dialects import as_sent
from repository.test_starter_project import LANDED, MEMBERS, MODELS, landed, members
from warehouse.test_cloud_dialects import NAMES, OF_ONE_ENGINE, texts
from warehouses.clickhouse_engine import DIALECT, IS_INSTALLED, Clickhouse, ClickhouseError

from tailrace.config.partitions import UNITS
from tailrace.errors import ModelError
from tailrace.models.compile import bind
from tailrace.models.loader import read_models
from tailrace.warehouse.partitions import table_hints
from tailrace.warehouse.statements import Column, TableName, statement

pytestmark = [
    pytest.mark.clickhouse,
    pytest.mark.skipif(not IS_INSTALLED, reason="run by: make test-engines"),
]
KNOWN = Path(__file__).with_name("clickhouse.yaml")
NOW = datetime(2026, 11, 22, 5, 0, 0, 123456, tzinfo=UTC)
STARTED = NOW - timedelta(days=1)


@pytest.fixture(scope="module")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clickhouse]:
    engine = Clickhouse(tmp_path_factory.mktemp("clickhouse"))
    yield engine
    engine.close()


def check_known(config: pytest.Config, section: str, found: Any) -> None:
    """Compare what was found with the file, or write it there."""
    known = yaml.safe_load(KNOWN.read_text(encoding="utf-8")) if KNOWN.exists() else {}
    if config.getoption("--write-docs"):
        known[section] = found
        KNOWN.write_text(yaml.safe_dump(known, sort_keys=True, width=99), encoding="utf-8")
    assert known[section] == found


def test_statements_that_its_parser_refuses_are_known(
    clickhouse: Clickhouse, pytestconfig: pytest.Config
) -> None:
    """sqlglot reads all of them; ClickHouse's own parser does not."""
    refused = []
    for name in sorted({*NAMES} - OF_ONE_ENGINE):
        try:
            for text in texts(name, DIALECT):
                clickhouse.parse(text)
        except ClickhouseError as error:
            assert "SYNTAX_ERROR" in str(error)
            refused.append(name)
    check_known(pytestconfig, "refused_statements", refused)


# Values of a column, among which are those that engines take for equal or for different.
VALUES: dict[str, tuple[pa.DataType, str, list[Any]]] = {
    "name": (pa.string(), "String", ["", " ", "a", "A", "é", "\\N", "a\0", None]),
    "ok": (pa.bool_(), "Bool", [True, False, None]),
    "big": (pa.int64(), "Int64", [0, -1, 2**63 - 1, -(2**63), None]),
    "score": (
        pa.float64(),
        "Float64",
        [0.0, 0.1, 1e300, float("nan"), float("inf"), float("-inf"), None],
    ),
    "amount": (
        pa.decimal128(18, 2),
        "Decimal(18, 2)",
        [Decimal("0.00"), Decimal("0.01"), Decimal("9" * 16 + ".99"), None],
    ),
    "born": (pa.date32(), "Date32", [date(1970, 1, 1), date(1900, 1, 1), date(2299, 12, 31), None]),
    "seen": (
        pa.timestamp("us", tz="UTC"),
        "DateTime64(6, 'UTC')",
        [NOW, NOW + timedelta(microseconds=1), datetime(1969, 12, 31, tzinfo=UTC), None],
    ),
}
KEPT = {"_v": "Int64", "_since": "DateTime64(6, 'UTC')", "_gone": "Bool"}


def equal_as_sent(one: Any, other: Any) -> bool:
    """NaN and infinity are sent as null, as a missing value is."""
    values = [None if repr(value) in ("nan", "inf", "-inf") else value for value in (one, other)]
    return values[0] == values[1]


@pytest.mark.parametrize("name", VALUES)
def test_the_diff_finds_each_change_and_no_other(clickhouse: Clickhouse, name: str) -> None:
    """Every pair of values; a member who enters, one who exits, and one who comes back."""
    arrow, type_, pool = VALUES[name]
    columns = [Column(name, f"Nullable({type_})")]
    types = {"id": "Nullable(String)", name: f"Nullable({type_})"}
    pairs = {f"{i}-{j}": (one, other) for i, one in enumerate(pool) for j, other in enumerate(pool)}
    today = {**{key: new for key, (_, new) in pairs.items()}, "new": pool[0], "back": pool[0]}
    before = {**{key: old for key, (old, _) in pairs.items()}, "back": pool[1], "out": pool[1]}
    clickhouse.table(
        "t.model", types, pa.table({"id": [*today], name: pa.array([*today.values()], arrow)})
    )
    snapshot = {
        "id": [*before],
        name: pa.array([*before.values()], arrow),
        "_v": [3] * len(before),
        "_since": pa.array([STARTED] * len(before), pa.timestamp("us", tz="UTC")),
        "_gone": [key == "back" for key in before],
    }
    clickhouse.table("t.snapshot", {**types, **KEPT}, pa.table(snapshot))
    empty = ("new_columns", "accepted_columns", "unsent_columns", "resend_columns")
    clickhouse.run("DROP TEMPORARY TABLE IF EXISTS transitions")
    clickhouse.run(
        statement(
            "plan/transitions",
            DIALECT,
            tables={"model": TableName("t", "model"), "snapshot": TableName("t", "snapshot")},
            columns={
                **{list_: [] for list_ in empty},
                "keys": [Column("id", "Nullable(String)")],
                "recorded_columns": columns,
                "compared": columns,
            },
            reason="data",
            first_version=1,
            now=NOW,
        )
    )
    changed = {key for key, (old, new) in pairs.items() if not equal_as_sent(old, new)}
    expected = {
        **{key: ("changed", 3, STARTED, today[key], before[key]) for key in changed},
        "new": ("entered", 1, NOW, pool[0], None),
        "back": ("entered", 3, NOW, pool[0], None),
        "out": ("exited", 3, NOW, pool[1], None),
    }
    found = clickhouse.run(
        f"SELECT id, op, base_v, _since, {name}, old__{name} FROM transitions ORDER BY id"
    )
    # NaN is equal to nothing, and its text is.
    assert repr(sorted((key, *row) for key, row in expected.items())) == repr(
        [(*row[:3], row[3].astimezone(UTC), *map(in_utc, row[4:])) for row in found]
    )


def in_utc(value: Any) -> Any:
    return value.astimezone(UTC) if isinstance(value, datetime) else value


@pytest.mark.parametrize("unit", UNITS)
def test_a_query_reads_the_partitions_that_it_names(clickhouse: Clickhouse, unit: str) -> None:
    """As dlt creates a landed table: one part for each partition, and few of them are read."""
    hints = table_hints(DIALECT, "created", "timestamp", unit)
    nullable = hints["x-clickhouse-settings"]["allow_nullable_key"]
    clickhouse.run("CREATE DATABASE IF NOT EXISTS t")
    clickhouse.run("DROP TABLE IF EXISTS t.task")
    clickhouse.run(
        "CREATE TABLE t.task (id String, created Nullable(DateTime64(6, 'UTC'))) "
        f"ENGINE = MergeTree ORDER BY tuple() PARTITION BY {hints['x-clickhouse-partition']} "
        f"SETTINGS allow_nullable_key = {int(nullable)}"
    )
    clickhouse.run(
        "INSERT INTO t.task VALUES ('a', '2025-12-31 23:59:59.999'), ('b', '2026-01-01 00:00:00'), "
        "('c', '2026-02-01 00:00:00'), ('d', NULL)"
    )
    plan = clickhouse.run(
        "EXPLAIN indexes = 1 SELECT id FROM t.task WHERE created >= '2026-01-01 00:00:00' "
        "AND created < '2026-02-01 00:00:00'"
    )
    text = "\n".join(row[0] for row in plan)
    assert "Parts: 1/" in text, text


CONTACT = "FROM salesforce.contact"
# What audiences are made of beside expressions: joins, names, sets and NULLs in them.
JOINED = [
    f"SELECT a.id, b.note {CONTACT} AS a LEFT JOIN salesforce.contact AS b ON a.name = b.email",
    f"SELECT id, x, y FROM (SELECT id, n AS x {CONTACT} WHERE n > 0) AS a "
    f"FULL JOIN (SELECT id, n AS y {CONTACT} WHERE n < 3) AS b USING (id)",
    f"SELECT a.id {CONTACT} AS a JOIN salesforce.contact AS b "
    "ON a.name IS NOT DISTINCT FROM b.name AND a.id = b.id",
    f"SELECT id {CONTACT} WHERE name NOT IN (SELECT note {CONTACT})",
    f"SELECT id {CONTACT} WHERE NOT EXISTS "
    f"(SELECT 1 {CONTACT} AS other WHERE other.name = contact.email)",
    f"SELECT lower(name) AS name {CONTACT} WHERE name = 'Anna'",
    f"SELECT name {CONTACT} UNION SELECT name {CONTACT}",
    f"SELECT ID, NAME {CONTACT}",
    f"SELECT sum(n) AS total, max(name) AS last {CONTACT} WHERE FALSE",
    f"SELECT id, name || '' AS text, CASE WHEN active THEN 'x' END AS mark {CONTACT}",
    f"SELECT id, row_number() OVER (ORDER BY n NULLS LAST, id) AS place {CONTACT}",
    f"SELECT id {CONTACT} ORDER BY n DESC, id LIMIT 2",
]


@pytest.fixture(scope="module")
def duck() -> duckdb.DuckDBPyConnection:
    """The table of the corpus in DuckDB."""
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'; CREATE SCHEMA salesforce")
    columns = ", ".join(f"{name} {column[0]}" for name, column in ROWS.items())
    connection.execute(f"CREATE TABLE salesforce.contact ({columns})")
    for row in zip(*(column[2] for column in ROWS.values()), strict=True):
        connection.execute(f"INSERT INTO salesforce.contact VALUES ({', '.join(row)})")
    return connection


def test_models_that_sqlglot_does_not_translate_are_known(
    clickhouse: Clickhouse, duck: duckdb.DuckDBPyConnection, pytestconfig: pytest.Config
) -> None:
    """Each construct of the corpus in the words that sqlglot gives ClickHouse: the rows of DuckDB,
    refused, or other rows without an error."""
    clickhouse.copy(duck, "salesforce.contact")
    same, refused, other = 0, 0, []
    for sql in (*corpus(), *JOINED):
        try:
            expected = as_sent(duck.execute(sql).fetchall())
        except duckdb.Error:
            continue
        try:
            text = bind(sql, dataset="salesforce", now=NOW, dialect=DIALECT).sql
            is_same = expected == as_sent(clickhouse.run(text))
        except (ClickhouseError, ModelError):
            refused += 1
            continue
        except UnicodeDecodeError:
            # Texts are bytes there: half a character is one.
            is_same = False
        if is_same:
            same += 1
        else:
            other.append(sql)
    assert same > 300
    check_known(pytestconfig, "models_with_other_rows", other)
    check_known(pytestconfig, "models_refused", refused)


def test_an_integer_overflows_without_an_error(
    clickhouse: Clickhouse, duck: duckdb.DuckDBPyConnection
) -> None:
    """DuckDB refuses the statement; ClickHouse goes on at the other end of the numbers."""
    sql = "SELECT CAST(9223372036854775807 AS BIGINT) + 1 AS v"
    with pytest.raises(duckdb.OutOfRangeException):
        duck.execute(sql)
    assert [(-(2**63),)] == clickhouse.run(
        bind(sql, dataset="salesforce", now=NOW, dialect=DIALECT).sql
    )


@pytest.mark.parametrize("name", MEMBERS)
def test_the_starter_s_models_give_the_members_of_duckdb(clickhouse: Clickhouse, name: str) -> None:
    connection = duckdb.connect()
    connection.execute(";".join(landed()))
    for table in LANDED:
        clickhouse.copy(connection, f"salesforce.{table}")
    models = read_models(MODELS)
    found = members(models, name, NOW, clickhouse.run, dialect=DIALECT)
    expected = members(models, name, NOW, lambda sql: connection.execute(sql).fetchall())
    assert len(expected) == len(MEMBERS[name])
    assert as_sent([tuple(row.values()) for row in expected]) == as_sent(
        [tuple(row.values()) for row in found]
    )
