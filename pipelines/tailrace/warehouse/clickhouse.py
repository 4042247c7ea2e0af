"""Statements for ClickHouse, as far as it has them.

sqlglot writes timestamps as DateTime, which counts seconds: each row with a fraction of one would
differ from its snapshot at every run.
"""

from __future__ import annotations

import re

from sqlglot import exp

DIALECT = "clickhouse"
# Values that landed have microseconds, in UTC.
TIMESTAMP = exp.DataType.build("Nullable(DateTime64(6, 'UTC'))", dialect=DIALECT)
BOOLEAN = exp.DataType.build("Nullable(Bool)", dialect=DIALECT)
_TIMES = (exp.DataType.Type.TIMESTAMP, exp.DataType.Type.TIMESTAMPTZ)
_NULLABLE = re.compile(r"(?:Nullable|LowCardinality)\((.*)\)")


def with_whole_times(tree: exp.Expr) -> exp.Expr:
    """The tree with timestamps of microseconds."""
    for type_ in list(tree.find_all(exp.DataType)):
        if type_.is_type(*_TIMES):
            type_.replace(TIMESTAMP.copy())
    return tree


def inner_type(type_: str) -> str:
    """A type's name without what says that it may be NULL, or is stored by a dictionary.

    >>> inner_type("LowCardinality(Nullable(String))")
    'String'
    """
    while match := _NULLABLE.fullmatch(type_):
        type_ = match[1]
    return type_
