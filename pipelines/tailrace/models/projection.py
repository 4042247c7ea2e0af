"""Recognises SQL of which an engine computes only the columns that are read."""

from __future__ import annotations

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

# What has to be computed in whole for each column of its result.
_COMPUTED_IN_WHOLE = (
    *(exp.AggFunc, exp.Distinct, exp.Explode, exp.Limit, exp.SetOperation, exp.UDTF, exp.Window),
)


def selects_from_one_table(sql: str, dialect: str) -> bool:
    """Whether a query selects columns of one table, so that each of them can be read alone.

    A query with a join, an aggregate or the like takes about as long for one column as for all.

    >>> selects_from_one_table("SELECT id, UPPER(name) AS name FROM s.t WHERE age > 3", "duckdb")
    True
    >>> selects_from_one_table("SELECT id, MAX(age) AS age FROM s.t GROUP BY id", "duckdb")
    False
    """
    try:
        query = sqlglot.parse_one(sql, dialect=dialect)
    except SqlglotError:
        return False
    if query.find(*_COMPUTED_IN_WHOLE) is not None:
        return False
    named = {with_query.alias for with_query in query.find_all(exp.CTE)}
    tables = [table for table in query.find_all(exp.Table) if table.db or table.name not in named]
    return len(tables) == 1
