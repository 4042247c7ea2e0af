"""Nodes by their types are those that a walk of the tree finds, in its order."""

from __future__ import annotations

import pytest
from sqlglot import exp

from tailrace.models.nodes import Nodes
from tailrace.models.parse import read_select

QUERIES = (
    "SELECT id, max(score) AS best FROM people GROUP BY id ORDER BY id LIMIT 3",
    "WITH p AS (SELECT * FROM (SELECT id FROM a UNION ALL SELECT id FROM b) AS u) "
    "SELECT p.id, row_number() OVER (ORDER BY p.id), list(x ORDER BY y), now() FROM p JOIN c "
    "ON c.id = p.id AND c.name IN (SELECT name FROM d WHERE day = CAST('today' AS DATE))",
    "FROM people",
)
TYPES: tuple[tuple[type[exp.Expr], ...], ...] = (
    (exp.Table,),
    (exp.Func,),
    (exp.Func, exp.Window, exp.Limit, exp.Select),
    (exp.Query,),
    (exp.Condition, exp.Expression),
    (exp.Pivot,),
)


@pytest.mark.parametrize("sql", QUERIES)
@pytest.mark.parametrize("types", TYPES, ids=str)
def test_they_are_the_nodes_of_a_walk(sql: str, types: tuple[type[exp.Expr], ...]) -> None:
    query = read_select(sql)
    walked = list(query.find_all(*types))
    found = Nodes(query).of(*types)
    assert [id(node) for node in walked] == [id(node) for node in found]
    assert bool(walked) == Nodes(query).has(*types)
