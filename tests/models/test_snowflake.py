"""A model in DuckDB's dialect on Snowflake: the same rows, or an error that names the construct."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlglot
from sqlglot import exp

from tailrace.errors import ModelDoesNotBind
from tailrace.models.compile import bind, compiled_sql
from tailrace.models.loader import read_models
from tailrace.models.transpile import transpile

NOW = datetime(2026, 11, 27, tzinfo=UTC)
ROOT = Path(__file__).parents[2]


def translated(sql: str) -> str:
    tree = sqlglot.parse_one(f"SELECT {sql} AS x FROM salesforce.contact AS c", read="duckdb")
    assert isinstance(tree, exp.Query)
    text = transpile(tree, "snowflake").sql("snowflake")
    return text.removeprefix("SELECT ").removesuffix(" AS x FROM salesforce.contact AS c")


@pytest.mark.parametrize(
    ("written", "runs"),
    [
        ("a IS NOT TRUE", "NOT COALESCE(a, FALSE)"),
        ("a IS TRUE", "COALESCE(a, FALSE)"),
        ("a IS FALSE", "(NOT COALESCE(a, TRUE))"),
        ("(a AND b) IS NOT FALSE", "NOT (NOT COALESCE((a AND b), TRUE))"),
        ("a IS NULL", "a IS NULL"),
        (
            "DATE '2026-01-31' + INTERVAL 1 MONTH",
            "CAST(CAST('2026-01-31' AS DATE) AS TIMESTAMPNTZ) + INTERVAL '1 MONTH'",
        ),
        ("SUM(n) FILTER (WHERE a)", "SUM(IFF(a, n, NULL))"),
    ],
)
def test_a_construct_is_written_so_that_it_means_the_same(written: str, runs: str) -> None:
    assert runs == translated(written)


@pytest.mark.parametrize(
    "written",
    [
        "n // 2",
        "n / 2",
        "CONCAT_WS(' ', a, b)",
        "CONCAT(a, b)",
        "REGEXP_MATCHES(a, 'x')",
        "DAYNAME(d)",
        "{'a': a}",
        "GREATEST(a, b)",
        "CAST(1.5 + 1 AS INTEGER)",
        "CAST(CAST(a AS DOUBLE) AS VARCHAR)",
        "TRIM(a, 'x')",
        "some_function(a)",
        "AVG(n)",
    ],
)
def test_what_may_mean_something_else_is_refused(written: str) -> None:
    with pytest.raises(ModelDoesNotBind, match="snowflake") as refused:
        translated(written)
    assert refused.value.hint


@pytest.mark.parametrize("join", ["SEMI JOIN", "ANTI JOIN"])
def test_a_join_of_duckdb_alone_is_refused(join: str) -> None:
    text = f"SELECT c.id FROM salesforce.contact AS c {join} salesforce.account AS a USING (id)"
    tree = sqlglot.parse_one(text, read="duckdb")
    assert isinstance(tree, exp.Query)
    with pytest.raises(ModelDoesNotBind):
        transpile(tree, "snowflake")


def test_the_models_of_a_new_project_are_translated() -> None:
    models = read_models(ROOT / "models")
    assert len(models.by_name) >= 11
    for name in models.by_name:
        text = compiled_sql(models, name, dialect="snowflake")
        sql = bind(text, dataset="salesforce", now=NOW, dialect="snowflake").sql
        assert "IS NOT TRUE" not in sql
        tables = list(sqlglot.parse_one(sql, read="snowflake").find_all(exp.Table))
        assert {"SALESFORCE"} == {table.db for table in tables if table.db}


def test_a_model_in_snowflakes_words_runs_as_it_is(tmp_path: Path) -> None:
    """Its text is kept, also where DuckDB has no word for it; names are those of dlt."""
    (tmp_path / "staging").mkdir(parents=True)
    (tmp_path / "audiences").mkdir()
    header = "/* ---\ndialect: snowflake\n--- */\n"
    (tmp_path / "staging" / "people.sql").write_text(
        f"{header}SELECT id, IFF(REGEXP_LIKE(email, '.*@.*'), 'yes', 'no') AS has_email\n"
        "FROM salesforce.contact"
    )
    (tmp_path / "audiences" / "some.sql").write_text(
        "/* ---\ndialect: snowflake\nkey: id\nuser_id: id\n"
        "track: {properties: {has_email: has_email}}\n--- */\n"
        "SELECT people.id, people.has_email FROM people WHERE people.id > 'a'"
    )
    models = read_models(tmp_path)
    text = compiled_sql(models, "some", dialect="snowflake")
    sql = bind(text, dataset="landed", now=NOW, dialect="snowflake").sql
    assert "IFF(REGEXP_LIKE(email, '.*@.*'), 'yes', 'no')" in sql
    assert 'FROM "LANDED"."CONTACT"' in sql
    assert 'AS "PEOPLE"' in sql
