"""Translates a model in DuckDB's dialect to Spark SQL, or refuses it.

sqlglot writes most constructs as they are, also those that mean something else: Spark cuts the
fraction off in a cast, a date plus an interval is a date, and DATE_DIFF counts whole months. What
is listed here gave the same values in DuckDB and in Sail; everything else is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from sqlglot import exp

from tailrace.models.determinism import CLOCKS
from tailrace.models.translation import Refusal, apply_rules, construct_name
from tailrace.models.types import (
    BOOLEANS,
    DATES,
    DECIMALS,
    DOUBLES,
    INSTANTS,
    INTEGERS,
    TEXTS,
    TIMESTAMPS,
    ColumnTypes,
    SqlType,
    annotate,
    kind_of,
)

HINT = "Write it with other functions, or compute it before the rows land."
# The types whose texts are equal. A DOUBLE has other digits, and an instant another zone.
SAME_TEXT = TEXTS | INTEGERS | DECIMALS | DATES | TIMESTAMPS | BOOLEANS
EXTRACTED = frozenset({"YEAR", "QUARTER", "MONTH", "DAY", "EPOCH"})


Rule = Callable[[exp.Expr, bool], exp.Expr]


def to_spark(tree: exp.Query, columns: ColumnTypes | None) -> exp.Query:
    """The same SELECT for Spark; the tree is changed.

    Args:
        tree: The SELECT in DuckDB's dialect.
        columns: The columns of the landed tables; None offline.

    Raises:
        Refusal: A construct has no counterpart, or may have another meaning.
    """
    annotate(tree, columns)
    try:
        return apply_rules(tree, RULES, columns is not None, same=SAME)
    except Refusal as refusal:
        raise refusal.with_hint(HINT) from None


def _refused(what: str, node: exp.Expr) -> Refusal:
    return Refusal(what, node, hint=HINT)


def _plus(node: exp.Expr, strict: bool) -> exp.Expr:
    """A date plus an interval is a timestamp in DuckDB."""
    if not isinstance(node.expression, exp.Interval):
        if isinstance(node.this, exp.Interval):
            raise _refused("An interval before the date", node)
        return node
    kind = kind_of(node.this)
    if kind in DATES:
        changed = node.copy()
        changed.set("this", exp.cast(exp.paren(node.this.copy()), "TIMESTAMP", dialect="duckdb"))
        return changed
    if kind in TIMESTAMPS | INSTANTS or (kind is None and not strict):
        return node
    raise _refused("An interval added to a value of an unknown type", node)


def _cast(node: exp.Expr, strict: bool) -> exp.Expr:
    """A fraction is rounded in DuckDB and cut off in Spark."""
    source, target = kind_of(node.this), node.args["to"].this
    if source is None and not strict:
        return node
    is_rounded = isinstance(node.this, exp.Round) and not node.this.args.get("decimals")
    is_whole = source in INTEGERS | BOOLEANS | TEXTS | {SqlType.NULL}
    if target in INTEGERS and not (is_whole or is_rounded):
        raise _refused("A cast of a fraction to a whole number, without ROUND,", node)
    if target in TEXTS and source not in SAME_TEXT | {SqlType.NULL}:
        raise _refused("A cast of this type to text", node)
    known = TEXTS | INTEGERS | DECIMALS | DOUBLES | DATES | TIMESTAMPS | INSTANTS | BOOLEANS
    if target not in known:
        raise _refused(f"A cast to {node.args['to'].sql('duckdb')}", node)
    return node


def _divided(node: exp.Expr, strict: bool) -> exp.Expr:
    """A quotient of decimals is a DOUBLE in DuckDB."""
    if DECIMALS & {kind_of(node.this), kind_of(node.expression)}:
        raise _refused("A division of decimals", node)
    return node


def _days_between(node: exp.Expr, strict: bool) -> exp.Expr:
    """Other units are counted by their boundaries in DuckDB."""
    if node.text("unit").upper() != "DAY":
        raise _refused("date_diff() of another unit than days", node)
    return node


def _part_of_text(node: exp.Expr, strict: bool) -> exp.Expr:
    start = node.args.get("start")
    if isinstance(start, exp.Literal) and start.name != "0":
        return node
    if isinstance(start, exp.Neg) and isinstance(start.this, exp.Literal):
        return node
    raise _refused("substring() from a computed place", node)


def _extracted(node: exp.Expr, strict: bool) -> exp.Expr:
    if node.name.upper() not in EXTRACTED:
        raise _refused(f"EXTRACT of {node.name.lower()}", node)
    return node


def _replaced(node: exp.Expr, strict: bool) -> exp.Expr:
    """Without the option, DuckDB replaces the first match only."""
    if node.text("modifiers") != "g":
        raise _refused("regexp_replace() without 'g'", node)
    return node


def _length(node: exp.Expr, strict: bool) -> exp.Expr:
    kind = kind_of(node.this)
    if kind not in TEXTS and (kind is not None or strict):
        raise _refused("length() of another value than a text", node)
    return node


def _named(node: exp.Expr, strict: bool) -> exp.Expr:
    """A clock, which is replaced by the time of the run."""
    clock = CLOCKS.get(node.name.lower())
    if clock not in ("TIMESTAMPTZ", "TIMESTAMP", "DATE") or node.expressions:
        raise _refused(construct_name(node), node)
    return node


def _group(node: exp.Expr, strict: bool) -> exp.Expr:
    if node.args.get("all"):
        raise _refused("GROUP BY ALL", node)
    return node


# Doubles. Sail 0.7 takes a DOUBLE beside a DECIMAL for a DECIMAL, where DuckDB does the opposite:
# values change, and NaN ends the statement. It leaves out the NaN of a file whose statistics, which
# leave NaN out too, say that no row fits; it compares a computed value with no statistics.


def _compared(node: exp.Expr, strict: bool) -> exp.Expr:
    query = node.args.get("query")
    operands = [operand for operand in node.iter_expressions() if operand is not query]
    if isinstance(query, exp.Query):
        kinds = {kind_of(value.unalias()) for value in (node.this, *_columns(query))}
        if kinds & DOUBLES and kinds & DECIMALS:
            raise _refused("IN with doubles and decimals", node)
    _as_doubles(operands)
    for operand in operands:
        _computed(operand)
    return node


def _chosen(node: exp.Expr, strict: bool) -> exp.Expr:
    """Of several values, the result is one."""
    if isinstance(node, exp.Case):
        branches = node.args["ifs"]
        values = [branch.args["true"] for branch in branches]
        values += [node.args["default"]] if node.args.get("default") is not None else []
        if node.this is not None:
            _as_doubles([node.this, *(branch.this for branch in branches)])
    elif isinstance(node, exp.If):
        if isinstance(node.parent, exp.Case):
            return node
        values = [value for key in ("true", "false") if (value := node.args.get(key)) is not None]
    else:
        values = list(node.iter_expressions())
    if _as_doubles(values):
        node.type = exp.DataType.build("DOUBLE")
    return node


def _united(node: exp.Expr, strict: bool) -> exp.Expr:
    """The rows of several SELECTs have the types of all of them."""
    assert isinstance(node, exp.SetOperation)
    selects = [_columns(query) for query in (node.left, node.right)]
    if len({len(projections) for projections in selects}) == 1:
        for pair in zip(*selects, strict=True):
            _as_doubles([projection.unalias() for projection in pair])
    return node


def _ordered(node: exp.Expr, strict: bool) -> exp.Expr:
    """Sail ranks -0.0 before 0.0; a sum with 0 is never -0.0."""
    window = node.find_ancestor(exp.Window, exp.Select)
    if isinstance(window, exp.Window):
        _computed(node.this)
    return node


def _columns(query: exp.Expr) -> list[exp.Expr]:
    """What a SELECT returns, also one in brackets."""
    select = query.unnest()
    return select.selects if isinstance(select, exp.Query) else []


def _as_doubles(values: Sequence[exp.Expr]) -> bool:
    """Cast decimals beside a DOUBLE to DOUBLE; whether one of the values is a DOUBLE."""
    kinds = {kind_of(value) for value in values}
    if not kinds & DOUBLES:
        return False
    for value in values:
        is_text = isinstance(value, exp.Literal) and value.is_string
        if kind_of(value) in DECIMALS or is_text:
            value.replace(exp.cast(value.copy(), "DOUBLE", dialect="duckdb"))
    return True


def _computed(value: exp.Expr) -> None:
    """Make a DOUBLE of a table a computed value, in its place."""
    if kind_of(value) not in DOUBLES or isinstance(value, exp.Query):
        return
    if value.find(exp.Column) is None:
        return
    zero = exp.cast(exp.Literal.number(0), "DOUBLE", dialect="duckdb")
    computed = exp.paren(exp.Add(this=exp.paren(value.copy()), expression=zero), copy=False)
    computed.type = computed.this.type = exp.DataType.build("DOUBLE")
    value.replace(computed)


# A rule replaces a construct or refuses it; `strict` is whether the types of columns are known.
RULES: Mapping[type[exp.Expr], Rule] = {
    exp.Add: _plus,
    exp.Sub: _plus,
    exp.Cast: _cast,
    exp.Div: _divided,
    exp.DateDiff: _days_between,
    exp.Substring: _part_of_text,
    exp.Extract: _extracted,
    exp.RegexpReplace: _replaced,
    exp.Length: _length,
    exp.Group: _group,
    exp.Anonymous: _named,
    **dict.fromkeys(
        (
            *(exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.In, exp.Between),
            *(exp.NullSafeEQ, exp.NullSafeNEQ),
        ),
        _compared,
    ),
    **dict.fromkeys((exp.Coalesce, exp.Nullif, exp.Greatest, exp.Least, exp.Case, exp.If), _chosen),
    **dict.fromkeys((exp.Union, exp.Except, exp.Intersect), _united),
    exp.Ordered: _ordered,
}

# Constructs that mean the same in both engines.
SAME: frozenset[type[exp.Expr]] = frozenset(
    {
        *(exp.Select, exp.Subquery, exp.From, exp.Join, exp.Where, exp.Having, exp.Qualify),
        *(exp.Order, exp.Limit, exp.Offset, exp.With, exp.CTE, exp.Table),
        *(exp.TableAlias, exp.Alias, exp.Column, exp.Star),
        *(exp.Distinct, exp.Tuple, exp.Values),
        *(exp.Literal, exp.Boolean, exp.Null, exp.Paren, exp.And, exp.Or, exp.Not, exp.Is),
        *(exp.Exists, exp.Like, exp.ILike, exp.RegexpLike),
        *(exp.Mul, exp.IntDiv, exp.Mod, exp.Neg, exp.Abs, exp.Round, exp.Floor, exp.Ceil),
        *(exp.Pow, exp.Sqrt),
        *(exp.DPipe, exp.Concat, exp.ConcatWs, exp.Upper, exp.Lower, exp.Trim, exp.Left),
        *(exp.Right, exp.Replace, exp.StartsWith, exp.EndsWith, exp.Contains, exp.SplitPart),
        *(exp.StrPosition, exp.Reverse, exp.Pad, exp.Repeat, exp.MD5, exp.SHA2),
        *(exp.Year, exp.Month, exp.Day, exp.TimestampTrunc, exp.DateTrunc, exp.Interval),
        *(exp.CurrentDate, exp.CurrentTimestamp, exp.Localtimestamp),
        *(exp.Count, exp.Sum, exp.Avg, exp.Min, exp.Max, exp.Filter, exp.Window, exp.WindowSpec),
        *(exp.RowNumber, exp.Rank, exp.DenseRank, exp.Lag, exp.Lead, exp.FirstValue),
        *(exp.LastValue, exp.Struct, exp.PropertyEQ, exp.ArgMax, exp.ArgMin),
        *(exp.JSONPath, exp.JSONPathRoot, exp.JSONPathKey),
    }
)
