"""Translates a model in DuckDB's dialect to PostgreSQL or Spark SQL, or refuses it.

sqlglot writes most constructs as they are, whether or not the other engine means the same by them.
So a construct is translated only if it is listed here: those that mean the same are in `SAME`, and
each of the others has a rule that replaces it, checks its operands, or both. Everything else is
refused by name. `tests/models/test_dialects.py` compares the rows of both engines.

What a rule must know of types comes from the landed tables (see `types`). Without them, offline, an
operand of an unknown type is accepted: the model is checked again when it is bound.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from sqlglot import exp

from tailrace.models.clickhouse import to_clickhouse
from tailrace.models.mariadb import translated_for_mariadb
from tailrace.models.postgres_functions import FUNCTION_RULES
from tailrace.models.postgres_syntax import SYNTAX_RULES
from tailrace.models.postgres_values import VALUE_RULES
from tailrace.models.snowflake import translated_for_snowflake
from tailrace.models.spark import to_spark
from tailrace.models.translation import (
    Operands,
    Refusal,
    Rule,
    apply_rules,
    unportable,
)
from tailrace.models.types import (
    ColumnTypes,
    annotate,
)


def transpile(
    tree: exp.Query, dialect: str, *, columns: ColumnTypes | None = None, file: str | None = None
) -> exp.Query:
    """The same SELECT in words that the dialect has.

    Args:
        tree: The SELECT in DuckDB's dialect.
        dialect: The warehouse's dialect. PostgreSQL, Snowflake, Spark and MariaDB have rules,
            and ClickHouse has some; for another dialect the tree is returned as it is.
        columns: The columns of the landed tables; None offline.
        file: The model's file, for errors.

    Raises:
        ModelDoesNotBind: A construct has no counterpart, or may have another meaning.
    """
    translate = TRANSLATORS.get(dialect)
    if translate is None:
        return tree
    try:
        return translate(tree, columns)
    except Refusal as refusal:
        raise unportable(refusal, dialect, file=file) from None


def translated(tree: exp.Query, columns: ColumnTypes | None) -> exp.Query:
    """The same SELECT for PostgreSQL; the tree is changed.

    Raises:
        Refusal: A construct has no counterpart, or may have another meaning.
    """
    annotate(tree, columns)
    types = Operands(strict=columns is not None)
    return apply_rules(tree, RULES, types, same=SAME, functions_known=True)


# Constructs that mean the same in both engines, with operands of any type.
SAME: frozenset[type[exp.Expr]] = frozenset(
    {
        *(exp.Subquery, exp.From, exp.Where, exp.Having, exp.Qualify, exp.Group, exp.Order),
        *(exp.Offset, exp.With, exp.Table, exp.TableAlias, exp.Alias, exp.Column, exp.Boolean),
        *(exp.Null, exp.Paren, exp.And, exp.Or, exp.Not, exp.Is, exp.Case, exp.If, exp.Coalesce),
        *(exp.Exists, exp.Count, exp.Filter, exp.WindowSpec, exp.LogicalAnd, exp.LogicalOr),
        *(exp.Rollup, exp.Cube, exp.GroupingSets, exp.Grouping),
        *(exp.RowNumber, exp.Rank, exp.DenseRank, exp.Lag, exp.Lead, exp.FirstValue),
        *(exp.LastValue, exp.NthValue, exp.Ntile, exp.PercentRank, exp.CumeDist),
        *(exp.JSONPath, exp.JSONPathRoot, exp.JSONPathKey, exp.PropertyEQ, exp.Values),
        *(exp.CurrentDate, exp.CurrentTimestamp),
    }
)


RULES: Mapping[type[exp.Expr], Rule] = {**SYNTAX_RULES, **VALUE_RULES, **FUNCTION_RULES}

# The translation of a SELECT to each dialect that has rules.
TRANSLATORS: Mapping[str, Callable[[exp.Query, ColumnTypes | None], exp.Query]] = {
    "postgres": translated,
    "mariadb": partial(translated_for_mariadb, check=translated),
    "snowflake": partial(translated_for_snowflake, check=translated),
    "spark": to_spark,
    "clickhouse": to_clickhouse,
}
