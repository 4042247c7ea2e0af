"""Models on Spark: what means the same is translated, and everything else is refused by name."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import sqlglot
from sqlglot import exp

from tailrace.models.spark import to_spark
from tailrace.models.translation import Refusal

TYPES = {"city": "VARCHAR", "score": "DOUBLE", "n": "INTEGER", "day": "DATE", "price": "DECIMAL"}

# A computed value has no statistics, and is never -0.0.
SCORE = "((score) + CAST(0 AS DOUBLE))"


def columns_of(schema: str, table: str) -> Mapping[str, exp.DataType]:
    return {name: exp.DataType.build(type_, dialect="duckdb") for name, type_ in TYPES.items()}


def translated(expression: str) -> str:
    tree = sqlglot.parse_one(
        f"SELECT {expression} AS x FROM salesforce.contact AS c", read="duckdb"
    )
    assert isinstance(tree, exp.Query)
    (projection,) = to_spark(tree, columns_of).selects
    return projection.unalias().sql("spark")


@pytest.mark.parametrize(
    ("expression", "shown"),
    [
        ("CAST(score AS INTEGER)", "A cast of a fraction"),
        ("CAST(ROUND(score, 1) AS INTEGER)", "A cast of a fraction"),
        ("CAST(score AS VARCHAR)", "A cast of this type to text"),
        ("CAST(city AS JSON)", "A cast to JSON"),
        ("CAST(city AS TIME)", "A cast to TIME"),
        ("price / 3", "A division of decimals"),
        ("DATE_DIFF('month', day, DATE '2026-12-01')", "another unit than days"),
        ("SUBSTRING(city, 0, 2)", "substring() from a computed place"),
        ("SUBSTRING(city, n, 2)", "substring() from a computed place"),
        ("DAYNAME(day)", "dayname()"),
        ("HASH(city)", "hash()"),
        ("RANDOM()", "rand()"),
        ("REGEXP_REPLACE(city, 'a', 'b')", "regexp_replace() without 'g'"),
        ("LENGTH(n)", "length() of another value"),
        ("EXTRACT(week FROM day)", "EXTRACT of week"),
        ("some_function(city)", "some_function()"),
        ("[1, 2][1]", "array()"),
        ("score IN (SELECT price FROM salesforce.contact)", "IN with doubles and decimals"),
        ("INTERVAL 1 DAY + day", "An interval before the date"),
        ("(SELECT COUNT(*) FROM salesforce.contact GROUP BY ALL)", "GROUP BY ALL"),
    ],
)
def test_another_meaning_is_refused(expression: str, shown: str) -> None:
    with pytest.raises(Refusal) as refused:
        translated(expression)
    assert shown in refused.value.what
    assert refused.value.hint


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("now()", "NOW()"),
        ("day + INTERVAL 1 MONTH", "CAST((day) AS TIMESTAMP_NTZ) + INTERVAL '1' MONTH"),
        ("CAST(ROUND(score) AS INTEGER)", "CAST(ROUND(score) AS INT)"),
        ("CAST(n AS VARCHAR)", "CAST(n AS STRING)"),
        ("n // 2", "n DIV 2"),
        ("SUBSTRING(city, 2, 3)", "SUBSTRING(city, 2, 3)"),
        (
            "DATE_DIFF('day', day, DATE '2026-12-01')",
            "DATEDIFF(DAY, day, CAST('2026-12-01' AS DATE))",
        ),
        ("n > 2", "n > 2"),
        ("price > 2.5", "price > 2.5"),
        ("score > 2", f"{SCORE} > 2"),
        ("2 <= score", f"2 <= {SCORE}"),
        ("score = 1.5", f"{SCORE} = CAST(1.5 AS DOUBLE)"),
        ("score = 'NaN'", f"{SCORE} = CAST('NaN' AS DOUBLE)"),
        ("score = price", f"{SCORE} = CAST(price AS DOUBLE)"),
        ("NOT (-score) < 2", "NOT (((-score)) + CAST(0 AS DOUBLE)) < 2"),
        ("score IN (1, 1.5)", f"{SCORE} IN (1, CAST(1.5 AS DOUBLE))"),
        ("score BETWEEN n AND 2.5", f"{SCORE} BETWEEN n AND CAST(2.5 AS DOUBLE)"),
        ("score IS DISTINCT FROM 1", f"{SCORE} IS DISTINCT FROM 1"),
        (
            "score > (SELECT MAX(score) FROM salesforce.contact)",
            f"{SCORE} > (SELECT MAX(score) FROM salesforce.contact)",
        ),
        ("COALESCE(score, 0.5)", "COALESCE(score, CAST(0.5 AS DOUBLE))"),
        (
            "COALESCE(score, 0.5) > 1.5",
            "((COALESCE(score, CAST(0.5 AS DOUBLE))) + CAST(0 AS DOUBLE)) > CAST(1.5 AS DOUBLE)",
        ),
        ("GREATEST(price, score)", "GREATEST(CAST(price AS DOUBLE), score)"),
        (
            "CASE WHEN n = 1 THEN score ELSE 0.5 END",
            "CASE WHEN n = 1 THEN score ELSE CAST(0.5 AS DOUBLE) END",
        ),
        (
            "CASE WHEN n = 1 THEN 0.5 WHEN n = 2 THEN score END",
            "CASE WHEN n = 1 THEN CAST(0.5 AS DOUBLE) WHEN n = 2 THEN score END",
        ),
        ("CASE score WHEN 1.5 THEN 'a' END", "CASE score WHEN CAST(1.5 AS DOUBLE) THEN 'a' END"),
        ("RANK() OVER (ORDER BY score)", f"RANK() OVER (ORDER BY {SCORE} NULLS LAST)"),
    ],
)
def test_the_same_meaning_is_translated(expression: str, expected: str) -> None:
    assert translated(expression) == expected


def test_rows_of_several_queries_are_doubles_if_one_is() -> None:
    tree = sqlglot.parse_one(
        "SELECT score, n FROM salesforce.contact UNION ALL SELECT 0.5 AS half, 1", read="duckdb"
    )
    assert isinstance(tree, exp.Query)
    assert to_spark(tree, columns_of).sql("spark") == (
        "SELECT score, n FROM salesforce.contact UNION ALL SELECT CAST(0.5 AS DOUBLE) AS half, 1"
    )
