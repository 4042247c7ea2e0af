"""Writes a model in DuckDB's dialect for ClickHouse, as far as it is known to mean the same.

Constructs are not checked here: `tests/warehouses/clickhouse.yaml` lists those with other rows.
"""

from __future__ import annotations

from sqlglot import exp

from tailrace.models.types import ColumnTypes, annotate
from tailrace.warehouse.clickhouse import BOOLEAN, with_whole_times


def to_clickhouse(tree: exp.Query, columns: ColumnTypes | None) -> exp.Query:
    """The same SELECT with timestamps of microseconds, and truths that are not 0 and 1.

    ClickHouse computes AND, OR and comparisons as UInt8, which would be sent as a number.

    Args:
        tree: The SELECT in DuckDB's dialect, which is changed.
        columns: The columns of the landed tables; None offline.
    """
    annotate(tree, columns)
    for select in tree.find_all(exp.Select):
        for projection in list(select.expressions):
            value = projection.unalias()
            is_truth = value.type is not None and value.type.is_type(exp.DataType.Type.BOOLEAN)
            if is_truth and not isinstance(value, exp.Column):
                cast = exp.Cast(this=value.copy(), to=BOOLEAN.copy())
                named = exp.alias_(cast, projection.alias_or_name, quoted=True)
                projection.replace(named if projection.alias_or_name else cast)
    with_whole_times(tree)
    return tree
