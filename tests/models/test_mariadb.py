"""A model in DuckDB's dialect on MariaDB: the same rows, or an error that names the construct."""

from __future__ import annotations

from collections.abc import Mapping
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
TYPES = {
    "a": "TEXT",
    "b": "TEXT",
    "n": "BIGINT",
    "m": "BIGINT",
    "x": "DOUBLE",
    "d": "DATE",
    "e": "DATE",
    "t": "TIMESTAMP",
    "f": "BOOLEAN",
    "p": "DECIMAL(18, 2)",
    "doc": "JSON",
}


def types_of(schema: str, table: str) -> Mapping[str, exp.DataType]:
    return {name: exp.DataType.build(type_) for name, type_ in TYPES.items()}


def translated(sql: str, of: str = "SELECT {} AS c FROM salesforce.contact") -> str:
    tree = sqlglot.parse_one(of.format(sql), read="duckdb")
    assert isinstance(tree, exp.Query)
    text = transpile(tree, "mariadb", columns=types_of).sql("mariadb")
    return text.removeprefix("SELECT ").removesuffix(" FROM salesforce.contact")


@pytest.mark.parametrize(
    ("written", "runs"),
    [
        ("a", "a AS c"),
        ("f", "CAST(f AS UNSIGNED) AS `c`"),
        ("n = 1", "CAST(n = 1 AS UNSIGNED) AS `c`"),
        ("f IS NOT TRUE", "CAST(NOT f IS TRUE AS UNSIGNED) AS `c`"),
        ("a IS DISTINCT FROM b", "CAST(NOT a <=> b AS UNSIGNED) AS `c`"),
        ("a || b", "CONCAT(a, b) AS c"),
        ("CONCAT(a, b)", "CONCAT(COALESCE(a, ''), COALESCE(b, '')) AS c"),
        ("n / m", "CAST(n AS DOUBLE) / m AS c"),
        ("n // m", "n DIV m AS c"),
        ("d + 30", "DATE_ADD(d, INTERVAL 30 DAY) AS c"),
        ("d - e", "DATEDIFF(d, e) AS c"),
        ("d + INTERVAL 1 MONTH", "CAST(d AS DATETIME(6)) + INTERVAL '1' MONTH AS c"),
        ("GREATEST(n, m)", "GREATEST(COALESCE(n, m), COALESCE(m, n)) AS c"),
        ("AVG(n)", "AVG(CAST(n AS DOUBLE)) AS c"),
        ("SUM(n) FILTER (WHERE f)", "SUM(CASE WHEN f THEN n END) AS c"),
        ("COUNT(*) FILTER (WHERE f)", "COUNT(CASE WHEN f THEN 1 END) AS c"),
        ("COUNT(DISTINCT n) FILTER (WHERE f)", "COUNT(DISTINCT CASE WHEN f THEN n END) AS c"),
        ("CAST(f AS VARCHAR)", "CASE WHEN f THEN 'true' WHEN NOT (f) THEN 'false' END AS c"),
        ("REGEXP_MATCHES(a, '^x+$')", "CAST(a REGEXP '^x+\\\\z' AS UNSIGNED) AS `c`"),
        ("a LIKE '50%'", "CAST(a LIKE '50%' AS UNSIGNED) AS `c`"),
        ("ROUND(p, 1)", "ROUND(p, 1) AS c"),
        (
            "ROUND(x)",
            "(SIGN(x) * (FLOOR(ABS(x)) + (ABS(x) - FLOOR(ABS(x)) >= 0.5))) AS c",
        ),
    ],
)
def test_a_construct_is_written_so_that_it_means_the_same(written: str, runs: str) -> None:
    assert runs == translated(written)


@pytest.mark.parametrize(
    "written",
    [
        *("a = n", "a > n", "f = n", "n || x", "CONCAT_WS(' ', a, x)", "GREATEST(a, n)"),
        *("CAST(x AS VARCHAR)", "CAST(t AS VARCHAR)", "CAST(x AS BIGINT)", "CAST(a AS DATE)"),
        *("CAST(n AS BOOLEAN)", "CAST(a AS BOOLEAN)", "CAST(a AS UUID)", "a + n", "t - t", "a / n"),
        *("a LIKE b", "a LIKE '50\\%'", "SPLIT_PART(a, b, 1)", "SPLIT_PART(a, '@', -1)"),
        *("SUBSTRING(a, n, 2)", "SUBSTRING(a, -2)", "LEFT(a, n)", "TRIM(a, 'x')"),
        *("REGEXP_MATCHES(a, b)", "REGEXP_MATCHES(a, '(?i)x')", "REGEXP_REPLACE(a, 'x', 'y')"),
        *("REGEXP_REPLACE(a, '(x)', '\\1y', 'g')", "EXTRACT(week FROM d)", "DATE_TRUNC('week', d)"),
        *("DATE_DIFF('month', d, e)", "LAG(a, 1, 'none') OVER (ORDER BY n)", "doc ->> 'a'"),
        *("doc -> 'a'", "{'a': a}", "[a, b]", "ARG_MAX(a, n)", "STRING_AGG(DISTINCT a, ',')"),
        *("ROUND(x, n)", "REVERSE(a)", "some_function(a)", "LENGTH(n)", "MAX(f)", "n ** 2"),
    ],
)
def test_what_may_mean_something_else_is_refused(written: str) -> None:
    with pytest.raises(ModelDoesNotBind) as refused:
        translated(written)
    assert refused.value.hint
    assert "mariadb" in refused.value.message or "mariadb" in str(refused.value.hint)


@pytest.mark.parametrize(
    "model",
    [
        "SELECT c.a FROM salesforce.contact AS c FULL JOIN salesforce.account AS d USING (a)",
        "SELECT c.a FROM salesforce.contact AS c SEMI JOIN salesforce.account AS d USING (a)",
        "SELECT c.a FROM salesforce.contact AS c NATURAL JOIN salesforce.account AS d",
        "SELECT DISTINCT ON (a) a, b FROM salesforce.contact ORDER BY a, b",
        "SELECT a, COUNT(*) AS n FROM salesforce.contact GROUP BY ALL",
        "SELECT a, COUNT(*) AS n FROM salesforce.contact GROUP BY ROLLUP (a)",
        "SELECT * EXCLUDE (a) FROM salesforce.contact",
        "SELECT a FROM salesforce.contact USING SAMPLE 10",
    ],
)
def test_a_clause_of_duckdb_alone_is_refused(model: str) -> None:
    with pytest.raises(ModelDoesNotBind):
        translated("", of=model)


def test_a_boolean_is_marked_in_each_branch_and_subquery() -> None:
    """Else a union would make numbers of them."""
    model = (
        "SELECT n > 1 AS c FROM salesforce.contact UNION ALL SELECT f OR f FROM salesforce.contact"
    )
    assert 2 == translated("", of=model).count("AS UNSIGNED)")
    model = "SELECT q.c FROM (SELECT n > 1 AS c FROM salesforce.contact) AS q"
    assert 2 == translated("", of=model).count("AS UNSIGNED)")


def test_the_models_of_a_new_project_are_translated() -> None:
    models = read_models(ROOT / "models")
    assert len(models.by_name) >= 11
    for name in models.by_name:
        text = compiled_sql(models, name, dialect="mariadb")
        sql = bind(text, dataset="salesforce", now=NOW, dialect="mariadb").sql
        tree = sqlglot.parse_one(sql, read="mariadb")
        assert {"salesforce"} == {table.db for table in tree.find_all(exp.Table) if table.db}
        assert "||" not in sql


def test_a_model_in_mariadbs_words_runs_as_it_is(tmp_path: Path) -> None:
    """Also where DuckDB has no word for it."""
    (tmp_path / "audiences").mkdir()
    (tmp_path / "audiences" / "some.sql").write_text(
        "/* ---\ndialect: mariadb\nkey: id\nuser_id: id\n"
        "track: {properties: {domain: domain}}\n--- */\n"
        "SELECT id, SUBSTRING_INDEX(email, '@', -1) AS domain FROM salesforce.contact"
    )
    models = read_models(tmp_path)
    text = compiled_sql(models, "some", dialect="mariadb")
    sql = bind(text, dataset="landed", now=NOW, dialect="mariadb").sql
    assert "SUBSTRING_INDEX(email, '@', -1)" in sql
    assert "FROM `landed`.`contact`" in sql
