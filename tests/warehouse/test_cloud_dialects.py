"""What the engine's SQL still needs on warehouses that no test can start, and on MariaDB.

sqlglot renders every statement for them without an error, also what they do not have.
`cloud_dialects.yaml` lists these constructs with their statements, so that a new one is noticed and
one that gets a form of its own is crossed out. `--write-docs` writes the file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlglot
import yaml
from sqlglot import exp
from warehouse.test_statements import (
    NAMES,
    NASTY,
    OF_DUCKDB_ONLY,
    OF_POSTGRES_ONLY,
    bindings,
    written,
)

from tailrace.warehouse.names import RESERVED
from tailrace.warehouse.sql_files import VALUE_MARK
from tailrace.warehouse.statements import Column, QueryText, TableName, script, statement

KNOWN = Path(__file__).with_name("cloud_dialects.yaml")
# They run where the engine is DuckDB in this process, or PostgreSQL (`warehouse/engines.py`).
OF_ONE_ENGINE = {
    *OF_DUCKDB_ONLY,
    *OF_POSTGRES_ONLY,
    "halves/costs",
    "halves/fill",
    "halves/half",
    "halves/is_worthwhile",
    "halves/other_half",
    "landing/get_memory_limit",
    "model_tests/create_given",
    "models/definitions",
    "outbox/count_indexes",
    "outbox/create_index",
    "outbox/job_page",
    "outbox/rendered_page",
    "plan/column_versions",
    "plan/row_versions",
    "warehouse/allow_folder",
    "warehouse/begin_model",
    "warehouse/current_database",
    "warehouse/definitions",
    "warehouse/end_model",
    "warehouse/idle_limits",
    "warehouse/large_tables",
    "warehouse/lock_name",
    "warehouse/only_reads",
    "warehouse/session_number",
    "warehouse/stored_functions",
    "warehouse/unlock_name",
    "warehouse/view_tree",
}
LOCK = {"tables": {"lock": TableName("tailrace", "lock")}, "now": datetime(2026, 1, 1, tzinfo=UTC)}
Finder = Callable[[exp.Expr], object]


def replaces(tree: exp.Expr) -> object:
    return isinstance(tree, exp.Create) and tree.args.get("replace")


def updates_from(tree: exp.Expr) -> object:
    return isinstance(tree, exp.Update) and tree.args.get("from_")


def has(*kinds: type[exp.Expr]) -> Finder:
    return lambda tree: tree.find(*kinds)


# What each dialect lacks, by the manuals of the services and facts measured with sqlglot 30.
LACKS: Mapping[str, Mapping[str, Finder]] = {
    "snowflake": {},
    "bigquery": {},
    "databricks": {
        "CREATE TEMPORARY TABLE": has(exp.TemporaryProperty),
        "UPDATE FROM": updates_from,
    },
    "redshift": {
        "CREATE OR REPLACE TABLE": replaces,
        "IS DISTINCT FROM": has(exp.NullSafeNEQ, exp.NullSafeEQ),
    },
    "clickhouse": {
        "MERGE": has(exp.Merge),
        "UPDATE FROM": updates_from,
        # NaN is distinct from itself there.
        "IS DISTINCT FROM": has(exp.NullSafeNEQ, exp.NullSafeEQ),
    },
    # DuckDB's SQL; the service writes its checkpoints and keeps its settings itself.
    "motherduck": {"CHECKPOINT": has(exp.Command)},
    # It runs in tests; the session handles CREATE TABLE AS.
    "mariadb": {
        "FULL JOIN": lambda tree: any(join.side == "FULL" for join in tree.find_all(exp.Join)),
        "MERGE": has(exp.Merge),
        "UPDATE FROM": updates_from,
    },
}
# Where a warehouse has the dialect of another one.
DIALECTS = {"motherduck": "duckdb"}
RENDERED = [name for name in LACKS if name not in DIALECTS]


def texts(name: str, dialect: str) -> tuple[str, ...]:
    values = bindings(name, dialect)
    if len(written(name, dialect)) > 1:
        return tuple(script(name, dialect, **values))
    return (statement(name, dialect, column=Column("note"), **values),)


def gaps(warehouse: str) -> dict[str, list[str]]:
    """The statements that contain what a warehouse lacks, by construct."""
    dialect = DIALECTS.get(warehouse, warehouse)
    found: dict[str, list[str]] = {}
    for name in sorted({*NAMES} - OF_ONE_ENGINE):
        constructs: set[str] = set()
        for text in texts(name, dialect):
            tree = sqlglot.parse_one(text, read=dialect)
            constructs |= {label for label, finds in LACKS[warehouse].items() if finds(tree)}
            # A function that sqlglot does not know is one that it did not translate.
            calls = tree.find_all(exp.Anonymous)
            constructs |= {f"{call.name.upper()}()" for call in calls}
        for construct in constructs:
            found.setdefault(construct, []).append(name)
    return dict(sorted(found.items()))


def test_what_cloud_dialects_lack_is_known(pytestconfig: pytest.Config) -> None:
    found = {dialect: gaps(dialect) for dialect in LACKS}
    if pytestconfig.getoption("--write-docs"):
        KNOWN.write_text(yaml.safe_dump(found, sort_keys=False, width=99), encoding="utf-8")
    assert yaml.safe_load(KNOWN.read_text(encoding="utf-8")) == found


def test_what_runs_elsewhere_is_a_statement() -> None:
    assert {*NAMES} >= OF_ONE_ENGINE


def is_truth(tree: exp.Expr) -> bool:
    return isinstance(tree, exp.Is) and isinstance(tree.expression, exp.Boolean)


def test_no_statement_asks_whether_a_value_is_true() -> None:
    """sqlglot writes `x IS NOT TRUE` as `NOT x` for Snowflake, which is NULL where x is."""
    assert "NOT x" == sqlglot.transpile("x IS NOT TRUE", read="duckdb", write="snowflake")[0]
    for name in {*NAMES} - OF_ONE_ENGINE:
        for tree in written(name, "snowflake"):
            assert not [node for node in tree.walk() if is_truth(node)], name


@pytest.mark.parametrize("dialect", [*RENDERED, "duckdb", "postgres"])
@pytest.mark.parametrize("text", NASTY)
def test_a_bound_text_is_that_text_in_every_dialect(dialect: str, text: str) -> None:
    sql = statement("ledger/release_lock", dialect, **{**LOCK, "owner": text})
    texts = [node.this for node in sqlglot.parse_one(sql, read=dialect).find_all(exp.Literal)]
    assert text in texts
    assert VALUE_MARK not in sql


def test_snowflake_reserves_no_unquoted_name() -> None:
    """DuckDB takes `sample` as the name of a column; Snowflake does in quotes only."""
    assert "SAMPLE" in RESERVED["snowflake"]
    for name in sorted({*NAMES} - OF_ONE_ENGINE):
        for text in texts(name, "snowflake"):
            for node in sqlglot.parse_one(text, read="snowflake").find_all(exp.Identifier):
                assert node.quoted or node.name.upper() not in RESERVED["snowflake"], name


def test_snowflake_has_quoted_names_in_upper_case() -> None:
    """dlt creates them so; in lower case, they would be the names of other tables."""
    lists = {"keys": [Column("id", "TEXT")], "columns": [Column("score", "NUMBER(38,2)")]}
    tables = {"snapshot": TableName("tailrace", "people"), "model": QueryText("SELECT 1")}
    created = statement("ledger/create_snapshot", "snowflake", tables=tables, columns=lists)
    assert created.startswith('CREATE TABLE "TAILRACE"."PEOPLE" AS SELECT CAST(tr__m."ID" AS')
    assert 'CAST(tr__m."SCORE" AS DECIMAL(38, 2)) AS "SCORE"' in created
    for name in sorted({*NAMES} - OF_ONE_ENGINE):
        for text in texts(name, "snowflake"):
            for node in sqlglot.parse_one(text, read="snowflake").find_all(exp.Identifier):
                assert not node.quoted or node.name == node.name.upper(), name


@pytest.mark.parametrize("dialect", RENDERED)
def test_names_keep_their_case(dialect: str) -> None:
    """Tables and columns are quoted as they are stored, where a service would change their case."""
    tree = sqlglot.parse_one(
        statement("ledger/read_lock", dialect, **bindings("ledger/read_lock", dialect)),
        read=dialect,
    )
    tables = list(tree.find_all(exp.Table))
    assert tables and all(table.this.args["quoted"] for table in tables)
