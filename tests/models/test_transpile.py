"""A model in DuckDB's dialect is written in PostgreSQL's words, or refused by name.

`test_dialects.py` compares the rows of both engines.
"""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
import sqlglot
from sqlglot import exp

from tailrace.errors import ModelDoesNotBind
from tailrace.models.compile import bind
from tailrace.models.transpile import transpile

NOW = datetime(2026, 11, 22, 5, tzinfo=UTC)
TYPES = {
    name: exp.DataType.build(kind, dialect="postgres")
    for name, kind in {
        "a": "text",
        "b": "text",
        "n": "integer",
        "x": "double precision",
        "p": "numeric(18, 2)",
        "d": "date",
        "ts": "timestamp",
        "tz": "timestamptz",
        "j": "jsonb",
        "l": "text[]",
    }.items()
}


def written(sql: str, dialect: str = "postgres") -> str:
    bound = bind(
        sql,
        dataset="salesforce",
        now=NOW,
        dialect=dialect,
        file="models/x.sql",
        columns=(lambda schema, table: TYPES) if "salesforce." in sql else None,
    )
    return bound.sql


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("ROUND(p, 2)", "ROUND(p, 2)"),
        ("ROUND(n)", "(n)"),
        ("NOT CONTAINS(a, 'x')", "NOT (POSITION('x' IN a) > 0)"),
        ("ENDS_WITH(a, b)", "(RIGHT(a, LENGTH(b)) = b)"),
        ("REGEXP_FULL_MATCH(a, 'x|y')", "a ~ '^(?:x|y)$'"),
        ("REGEXP_MATCHES(a, '^\\d.$')", "a ~ '^[0-9][^\\n]$'"),
        ("MAKE_DATE(n, 1, 2)", "MAKE_DATE(CAST(n AS INT), CAST(1 AS INT), CAST(2 AS INT))"),
        ("CAST(a AS JSON)", "CAST(a AS JSONB)"),
        ("{'K': a, 'l': {'m': 1}}", "JSONB_BUILD_OBJECT('K', a, 'l', JSONB_BUILD_OBJECT('m', 1))"),
        ("j -> 'b'", "JSONB_EXTRACT_PATH(CAST(j AS JSONB), 'b')"),
        ("MIN(a)", 'MIN(a COLLATE "C")'),
        ("a < b", 'a COLLATE "C" < b'),
        ("n < 2", "n < 2"),
        ("a LIKE 'x\\_'", "a LIKE 'x\\_' ESCAPE ''"),
        ("a LIKE 'x_'", "a LIKE 'x_'"),
        ("n / 2", "(CAST(n AS DOUBLE PRECISION) / CAST(2 AS DOUBLE PRECISION))"),
        ("STRFTIME(d, '%d. %m')", """TO_CHAR(CAST(d AS TIMESTAMP), 'DD". "MM')"""),
        ("DAYOFWEEK(d)", "CAST(EXTRACT(DOW FROM d) AS BIGINT)"),
        ("1e3", "CAST(1e3 AS DOUBLE PRECISION)"),
        ("a || n", "a || CAST(n AS TEXT)"),
        ("l[1]", "l[1]"),
        ("DATE_DIFF('day', d, ts)", "CAST((CAST(ts AS DATE) - CAST(d AS DATE)) AS BIGINT)"),
    ],
)
def test_a_construct_is_written_in_the_other_engine_s_words(sql: str, expected: str) -> None:
    """Also inside of another one; to DuckDB it stays what it is."""
    given = written(f"SELECT {sql} AS x FROM salesforce.t")
    assert f'SELECT {expected} AS x FROM "salesforce"."t" AS "t"' == given
    nested = written(f"SELECT CASE WHEN {sql} IS NULL THEN 1 END AS x FROM salesforce.t")
    assert f"CASE WHEN {expected} IS NULL THEN 1 END" in nested
    assert sql.upper() in written(f"SELECT {sql} AS x FROM salesforce.t", "duckdb").upper()


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
    ("sql", "message"),
    [
        ("TRY_CAST(a AS INTEGER)", "TRY_CAST has no counterpart"),
        ("FORMAT('{}', a)", "format() with {} has no counterpart"),
        ("PRINTF('%d', a)", "printf() has no counterpart"),
        ("HASH(a)", "hash() has no counterpart"),
        ("a GLOB 'x*'", "GLOB has no counterpart"),
        ("ARG_MAX(a, b, 3)", "arg_max() of several has no counterpart"),
        ("REGEXP_FULL_MATCH(a, 'x', 'i')", "regexp_full_match() with options has no counterpart"),
        ("REGEXP_MATCHES(a, 'x', 'i')", "regexp_matches() with options has no counterpart"),
        ("REGEXP_MATCHES(a, '\\bx')", "The pattern of regexp_matches() may mean"),
        ("REGEXP_MATCHES(a, b)", "The pattern of regexp_matches() may mean"),
        ("STRFTIME(d, '%U')", "The format of strftime() may mean"),
        ("SUBSTR(a, -2)", "substring() with a position that may be 0 or negative may mean"),
        ("SUBSTR(a, n)", "substring() with a position that may be 0 or negative may mean"),
        ("l[-1]", "An element of a list other than [1], [2], … may mean"),
        ("l || NULL", "Text of type"),
        ("a || x", "Text of type DOUBLE may mean"),
        ("CAST(x AS VARCHAR)", "CAST to TEXT of type DOUBLE may mean"),
        ("EPOCH(ts)", "time_to_unix() has no counterpart"),
        ("EXTRACT(second FROM ts)", "The part second of a time may mean"),
        ("DATE_DIFF('hour', ts, ts)", "date_diff() in hours may mean"),
        ("LIST_SORT(l)", "sort_array() has no counterpart"),
        ("STDDEV(x)", "stddev() has no counterpart"),
        ("x ^ 2", "pow"),
        ("(n, p) IN ((1, 2))", "A row of several values may mean"),
    ],
)
def test_what_may_mean_something_else_is_refused_by_name(sql: str, message: str) -> None:
    """With the file, before anything runs; DuckDB takes it."""
    with pytest.raises(ModelDoesNotBind) as raised:
        written(f"SELECT a, {sql} AS x FROM salesforce.t")
    assert message.lower() in raised.value.message.lower()
    assert raised.value.message.endswith("in postgres") and raised.value.hint
    assert ("models/x.sql", 2) == (raised.value.file, raised.value.exit_code)
    assert written(f"SELECT {sql} AS x FROM salesforce.t", "duckdb")


@pytest.mark.parametrize("dialect", ["postgres", "snowflake", "spark", "mariadb"])
def test_null_may_be_cast_beside_columns_of_known_types(dialect: str) -> None:
    """The optimizer calls NULL unknown as soon as a table's columns are known."""
    tree = sqlglot.parse_one("SELECT id, CAST(NULL AS VARCHAR) AS note FROM s.t", read="duckdb")
    assert isinstance(tree, exp.Query)
    known = {"id": exp.DataType.build("TEXT")}
    written = transpile(tree, dialect, columns=lambda dataset, table: known).sql(dialect)
    assert "CAST(NULL AS " in written
