"""Queries of which an engine computes only the columns that are read."""

from __future__ import annotations

import pytest

from tailrace.models.projection import selects_from_one_table


@pytest.mark.parametrize(
    ("sql", "is_one"),
    [
        ("SELECT id FROM s.t WHERE city IN ('a', 'b')", True),
        ("WITH m AS (SELECT * FROM s.t) SELECT id FROM m", True),
        ("SELECT id FROM (SELECT id, UPPER(city) AS c FROM s.t) AS m", True),
        ("SELECT t.id FROM s.t AS t JOIN s.u AS u ON u.id = t.id", False),
        ("SELECT id FROM s.t WHERE id IN (SELECT id FROM s.u)", False),
        ("SELECT id, MAX(city) AS c FROM s.t GROUP BY id", False),
        ("SELECT DISTINCT id FROM s.t", False),
        ("SELECT id, ROW_NUMBER() OVER (ORDER BY id) AS n FROM s.t", False),
        ("SELECT id FROM s.t UNION ALL SELECT id FROM s.t", False),
        ("SELECT UNNEST(ids) AS id FROM s.t", False),
        ("SELECT id FROM s.t LIMIT 3", False),
        ("FROM s.t SELECT FROM", False),
    ],
)
def test_columns_of_one_table_can_be_read_alone(sql: str, is_one: bool) -> None:
    assert is_one == selects_from_one_table(sql, "duckdb")
