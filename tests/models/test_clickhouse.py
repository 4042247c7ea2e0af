"""Models in ClickHouse's words. `warehouses/test_clickhouse.py` runs them in its engine."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tailrace.errors import ModelDoesNotBind
from tailrace.models.compile import bind

NOW = datetime(2026, 11, 22, 5, 0, 0, 123456, tzinfo=UTC)


@pytest.mark.parametrize(
    ("sql", "written"),
    [
        (
            "SELECT CAST(at AS TIMESTAMPTZ) AS at FROM t",
            "SELECT CAST(at AS Nullable(DateTime64(6, 'UTC'))) AS at FROM t",
        ),
        ("SELECT a > 1 AS b, c FROM t", 'SELECT CAST(a > 1 AS Nullable(Bool)) AS "b", c FROM t'),
        (
            "SELECT b FROM (SELECT NOT a AS b FROM t) AS s WHERE b",
            'SELECT b FROM (SELECT CAST(NOT a AS Nullable(Bool)) AS "b" FROM t) AS s WHERE b',
        ),
    ],
)
def test_times_keep_their_fraction_and_truths_are_no_numbers(sql: str, written: str) -> None:
    assert written == bind(sql, dataset="salesforce", now=NOW, dialect="clickhouse").sql


def test_what_sqlglot_cannot_write_is_refused() -> None:
    sql = "SELECT doc -> '$..b' AS b FROM salesforce.contact"
    with pytest.raises(ModelDoesNotBind, match="has no counterpart in") as refused:
        bind(sql, dataset="salesforce", now=NOW, dialect="clickhouse", file="models/a.sql")
    assert "models/a.sql" == refused.value.file
    assert refused.value.hint
