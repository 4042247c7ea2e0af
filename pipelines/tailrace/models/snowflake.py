"""Translates a model in DuckDB's dialect to Snowflake, or refuses it.

sqlglot writes some constructs with another meaning, such as `x IS NOT TRUE` as `NOT x`, or a
regular expression that must match the whole text. So only the constructs that are listed here are
translated; `tests/warehouses/test_snowflake.py` compares their rows with DuckDB's, on an
emulator of Snowflake. Other models are written in Snowflake's dialect.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sqlglot import exp

from tailrace.models.translation import Refusal, apply_rules, construct_name
from tailrace.models.types import (
    BOOLEANS,
    DATES,
    DECIMALS,
    DOUBLES,
    INTEGERS,
    TEXTS,
    TIMESTAMPS,
    ColumnTypes,
    annotate,
    kind_of,
)

SNOWFLAKE_HINT = (
    "Write it with other functions, or write the model in Snowflake's dialect and put "
    "dialect: snowflake into its header."
)

# Constructs that mean the same, as sqlglot writes them.
SAME_IN_SNOWFLAKE: frozenset[type[exp.Expr]] = frozenset(
    {
        *(exp.Subquery, exp.From, exp.Where, exp.Having, exp.Qualify, exp.Group, exp.Order),
        *(exp.Limit, exp.Offset, exp.With, exp.CTE, exp.Table, exp.TableAlias, exp.Alias),
        *(exp.Column, exp.Star, exp.Literal, exp.Boolean, exp.Null, exp.Paren, exp.Ordered),
        *(exp.And, exp.Or, exp.Not, exp.Case, exp.If, exp.Coalesce, exp.Nullif, exp.Exists),
        *(exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.NullSafeEQ, exp.NullSafeNEQ),
        *(exp.Between, exp.In, exp.Mul, exp.Neg, exp.Mod, exp.DPipe, exp.Like),
        *(exp.Union, exp.Except, exp.Intersect, exp.Window, exp.WindowSpec, exp.Filter),
        *(exp.Count, exp.Sum, exp.Min, exp.Max, exp.RowNumber, exp.Rank, exp.DenseRank),
        *(exp.Lag, exp.Lead, exp.Upper, exp.Lower, exp.Replace, exp.Length, exp.StartsWith),
        *(exp.EndsWith, exp.Contains, exp.SplitPart, exp.MD5, exp.SHA2),
        *(exp.CurrentDate, exp.CurrentTimestamp),
    }
)
# What may be cast to a type, by the kinds of both.
_CASTS: Mapping[frozenset[exp.DType], tuple[frozenset[exp.DType], ...]] = {
    TEXTS: (TEXTS, INTEGERS, DATES, BOOLEANS),
    INTEGERS: (INTEGERS,),
    DECIMALS: (INTEGERS, DECIMALS, DOUBLES),
    DOUBLES: (INTEGERS, DECIMALS, DOUBLES),
    DATES: (DATES, TIMESTAMPS),
    TIMESTAMPS: (DATES, TIMESTAMPS),
    BOOLEANS: (BOOLEANS,),
}
_JOINS = ("", "INNER", "CROSS", "OUTER")


def translated_for_snowflake(
    tree: exp.Query, columns: ColumnTypes | None, *, check: Callable[..., object]
) -> exp.Query:
    """The same SELECT for Snowflake; the tree is changed.

    Args:
        tree: The SELECT in DuckDB's dialect.
        columns: The columns of the landed tables; None offline.
        check: Checks the types of operands, as for PostgreSQL, and raises Refusal.

    Raises:
        Refusal: A construct may have another meaning.
    """
    try:
        check(tree.copy(), columns)
        annotate(tree, columns)
        return apply_rules(tree, _RULES, same=SAME_IN_SNOWFLAKE)
    except Refusal as refusal:
        raise refusal.with_hint(SNOWFLAKE_HINT) from None


def _is(node: exp.Expr) -> exp.Expr:
    truth = node.expression
    if not isinstance(truth, exp.Boolean):
        return node
    value = exp.Coalesce(this=node.this.copy(), expressions=[exp.convert(not truth.this)])
    return value if truth.this else exp.paren(exp.not_(value))


def _select(node: exp.Expr) -> exp.Expr:
    distinct = node.args.get("distinct")
    if distinct is not None and distinct.args.get("on"):
        raise Refusal("DISTINCT ON", node)
    return node


def _join(node: exp.Expr) -> exp.Expr:
    kind = node.text("kind").upper()
    if kind not in _JOINS or node.text("method"):
        raise Refusal(f"{kind or node.text('method').upper()} JOIN", node)
    return node


def _cast(node: exp.Expr) -> exp.Expr:
    type_ = node.args["to"]
    target, kind = type_.this, kind_of(node.this)
    for family, sources in _CASTS.items():
        if target in family:
            if kind in (None, exp.DType.NULL) or any(kind in source for source in sources):
                return node
            # A text that is written out is a value whose meaning is seen here.
            if isinstance(node.this, exp.Literal) and target in DATES | TIMESTAMPS:
                return node
            raise Refusal(f"CAST of type {kind.value} to {target.value}", node)
    if isinstance(node.this, exp.Literal | exp.Null):
        return node
    raise Refusal(f"CAST to {type_.sql('duckdb')}", node)


def _plus(node: exp.Expr) -> exp.Expr:
    """A date and an interval are a timestamp in DuckDB, and may be a date in Snowflake."""
    if isinstance(node.expression, exp.Interval) and kind_of(node.this) in DATES:
        node.set("this", exp.cast(node.this.copy(), exp.DType.TIMESTAMPNTZ))
    return node


def _only_plain(node: exp.Expr) -> exp.Expr:
    """A function with one argument; its further ones differ."""
    if any(value for name, value in node.args.items() if name != "this"):
        raise Refusal(f"{construct_name(node)} with options", node)
    return node


def _same(node: exp.Expr) -> exp.Expr:
    return node


_RULES: Mapping[type[exp.Expr], Callable[[exp.Expr], exp.Expr]] = {
    exp.Is: _is,
    exp.Select: _select,
    exp.Distinct: _same,
    exp.Join: _join,
    exp.Cast: _cast,
    exp.Add: _plus,
    exp.Sub: _plus,
    exp.Interval: _same,
    exp.Trim: _only_plain,
}
