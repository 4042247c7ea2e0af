"""What sqlglot leaves in DuckDB's words is said in PostgreSQL's, or refused by name.

That the rows are the same is proven by `warehouses/test_conformance.py`.
"""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tailrace.errors import ModelDoesNotBind
from tailrace.models.compile import bind

NOW = datetime(2026, 11, 22, 5, tzinfo=UTC)


def written(sql: str, dialect: str = "postgres") -> str:
    tree = bind(sql, dataset="salesforce", now=NOW, dialect=dialect, file="models/x.sql")
    return tree.sql(dialect)


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("ROUND(a, 2)", "ROUND(CAST(a AS DECIMAL), 2)"),
        ("ROUND(a)", "ROUND(a)"),
        ("ROUND(ROUND(a, 2), 1)", "ROUND(CAST(ROUND(CAST(a AS DECIMAL), 2) AS DECIMAL), 1)"),
        ("NOT CONTAINS(a, 'x')", "NOT (POSITION('x' IN a) > 0)"),
        ("ENDS_WITH(a, b)", "(RIGHT(a, LENGTH(b)) = b)"),
        ("a ~ 'x|y'", "a ~ '^(?:x|y)$'"),
        ("MAKE_DATE(y, 1, 2)", "MAKE_DATE(y, 1, 2)"),
        ("CAST(a AS JSON)", "CAST(a AS JSONB)"),
        ("{'K': a, 'l': {'m': 1}}", "JSONB_BUILD_OBJECT('K', a, 'l', JSONB_BUILD_OBJECT('m', 1))"),
        ("a ->> 'b'", "JSON_EXTRACT_PATH_TEXT(CAST(a AS JSON), 'b')"),
        ("a -> 'b'", "CAST(JSON_EXTRACT_PATH(CAST(a AS JSON), 'b') AS JSONB)"),
    ],
)
def test_a_function_is_said_in_the_other_engine_s_words(sql: str, expected: str) -> None:
    """Also inside of another one; to DuckDB it stays what it is."""
    assert f"SELECT {expected} AS x FROM t" == written(f"SELECT {sql} AS x FROM t")
    assert "POSITION" not in written(f"SELECT {sql} AS x FROM t", "duckdb")


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT a, b, COUNT(*) AS n FROM t GROUP BY ALL", "GROUP BY 1, 2"),
        ("SELECT MAX(b) AS b, a FROM t GROUP BY ALL", "GROUP BY 2"),
        ("SELECT a || 'x' AS a, SUM(b) + 1 AS b FROM t GROUP BY ALL", "GROUP BY 1"),
        ("SELECT a, (SELECT MAX(c) FROM u) AS c, SUM(b) AS b FROM t GROUP BY ALL", "GROUP BY 1, 2"),
        ("SELECT x.a FROM (SELECT a, COUNT(*) AS n FROM t GROUP BY ALL) AS x", "GROUP BY 1)"),
    ],
)
def test_grouping_by_all_is_grouping_by_what_is_no_aggregate(sql: str, expected: str) -> None:
    assert expected in written(sql)
    assert "GROUP BY ALL" in written(sql, "duckdb")


def test_grouping_by_all_of_nothing_is_no_grouping() -> None:
    assert "GROUP BY" not in written("SELECT COUNT(*) AS n FROM t GROUP BY ALL")


@pytest.mark.parametrize(
    ("sql", "what"),
    [
        ("TRY_CAST(a AS INTEGER)", "TRY_CAST"),
        ("FORMAT('{}', a)", "format() with {}"),
        ("PRINTF('%d', a)", "printf()"),
        ("HASH(a)", "hash()"),
        ("ROW(a, 1)", "row()"),
        ("a GLOB 'x*'", "GLOB"),
        ("ARG_MAX(a, b, 3)", "arg_max() of several"),
        ("REGEXP_FULL_MATCH(a, 'x', 'i')", "regexp_full_match() with options"),
    ],
)
def test_what_would_fail_later_or_mean_something_else_is_refused(sql: str, what: str) -> None:
    """By name and file, before anything runs; DuckDB takes it."""
    with pytest.raises(ModelDoesNotBind) as raised:
        written(f"SELECT a, {sql} AS x FROM t")
    assert f"{what} has no counterpart in postgres" == raised.value.message
    assert ("models/x.sql", 2) == (raised.value.file, raised.value.exit_code)
    assert written(f"SELECT {sql} AS x FROM t", "duckdb")
