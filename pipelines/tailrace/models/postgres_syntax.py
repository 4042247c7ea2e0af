"""Rules for clauses and comparisons of a model that is translated to PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping

from sqlglot import exp

from tailrace.models.translation import (
    Operands,
    Refusal,
    Rule,
    by_bytes,
    construct_name,
)
from tailrace.models.types import (
    DECIMALS,
    DOUBLES,
    INTEGERS,
    TEXTS,
    SqlType,
    kind_of,
)


def _select(node: exp.Expr, types: Operands) -> exp.Expr:
    for clause in ("laterals", "pivots", "sample", "windows", "operation_modifiers", "match"):
        if node.args.get(clause) and clause != "windows":
            raise Refusal(clause.upper(), node)
    group = node.args.get("group")
    if group is not None and group.args.get("all"):
        # GROUP BY ALL: by every column of the SELECT that aggregates nothing.
        plain = [
            exp.Literal.number(place)
            for place, column in enumerate(node.expressions, 1)
            if not _aggregates(column)
        ]
        node.set("group", exp.Group(expressions=plain) if plain else None)
    return node


def _aggregates(node: exp.Expr) -> bool:
    # A window is not an aggregate of the group, and a subquery aggregates for itself.
    inside = node.walk(prune=lambda child: isinstance(child, exp.Window | exp.Query))
    return any(isinstance(child, exp.AggFunc) for child in inside)


def _join(node: exp.Expr, types: Operands) -> exp.Expr:
    words = [str(node.args.get(key) or "").upper() for key in ("method", "side", "kind")]
    if words[0] or words[2] in ("SEMI", "ANTI", "POSITIONAL", "ASOF"):
        raise Refusal(f"{' '.join(word for word in words if word)} JOIN", node)
    return node


def _set_operation(node: exp.Expr, types: Operands) -> exp.Expr:
    if node.args.get("by_name") or node.args.get("side") or node.args.get("kind"):
        raise Refusal("A set operation BY NAME", node)
    return node


def _star(node: exp.Expr, types: Operands) -> exp.Expr:
    for key in ("except_", "except", "replace", "rename", "ilike"):
        if node.args.get(key):
            raise Refusal(f"* {key.strip('_').upper()}", node)
    return node


def _limit(node: exp.Expr, types: Operands) -> exp.Expr:
    count = node.args.get("expression") or node.args.get("count")
    if not isinstance(count, exp.Literal) or not count.is_int or node.args.get("limit_options"):
        raise Refusal("LIMIT of something else than a number", node)
    return node


def _cte(node: exp.Expr, types: Operands) -> exp.Expr:
    if node.args.get("key_expressions"):
        raise Refusal("WITH … USING KEY", node)
    return node


def _ordered(node: exp.Expr, types: Operands) -> exp.Expr:
    ordered = node.this
    # A number is a place in the SELECT list, and a name may be an alias.
    if isinstance(ordered, exp.Literal):
        return _ordered_place(node, types)
    if types.is_text(_meant(ordered), "The order"):
        if isinstance(ordered, exp.Column) and _is_alias(ordered):
            ordered = _meant(ordered).copy()
        node.set("this", by_bytes(ordered))
    return node


def _ordered_place(node: exp.Expr, types: Operands) -> exp.Expr:
    select = node.find_ancestor(exp.Query)
    place = int(node.this.name) if node.this.is_int else 0
    if isinstance(select, exp.Select) and 0 < place <= len(select.expressions):
        column = select.expressions[place - 1].unalias()
        if not column.is_star and not types.is_text(column, "The order"):
            return node
        if not column.is_star and not select.args.get("distinct"):
            node.set("this", by_bytes(column.copy()))
            return node
    raise Refusal("ORDER BY a number", node, hint="Order by the expression itself.")


def _is_alias(column: exp.Column) -> bool:
    return _meant(column) is not column


def _meant(node: exp.Expr) -> exp.Expr:
    """What ORDER BY sorts by: for the alias of a column of the SELECT, its expression."""
    select = node.find_ancestor(exp.Select)
    order = node.find_ancestor(exp.Order)
    if select is None or order is None or order.parent is not select:
        return node
    meant = node
    if isinstance(node, exp.Column) and not node.table:
        for column in select.expressions:
            if isinstance(column, exp.Alias) and column.alias.lower() == node.name.lower():
                meant = column.this
    return meant


def _comparison(node: exp.Expr, types: Operands) -> exp.Expr:
    if types.is_text(node.this, "A comparison") or types.is_text(node.expression, "A comparison"):
        node.set("this", by_bytes(node.this))
    return node


def _between(node: exp.Expr, types: Operands) -> exp.Expr:
    if node.args.get("symmetric"):
        raise Refusal("BETWEEN SYMMETRIC", node)
    operands = (node.this, node.args["low"], node.args["high"])
    are_text = [types.is_text(operand, "BETWEEN") for operand in operands]
    if any(are_text):
        node.set("this", by_bytes(node.this))
    return node


def _equality(node: exp.Expr, types: Operands) -> exp.Expr:
    for operand in (node.this, node.expression):
        if kind_of(operand) in (SqlType.JSON, SqlType.JSONB, SqlType.STRUCT, SqlType.MAP):
            raise Refusal("A comparison of nested values", node)
        if isinstance(operand, exp.Any | exp.All) and not isinstance(operand.this, exp.Query):
            raise Refusal("ANY or ALL of a list", node)
    return node


def _nullif(node: exp.Expr, types: Operands) -> exp.Expr:
    """The result has the type of the first operand, unless PostgreSQL has to widen it."""
    first, second = kind_of(node.this), kind_of(node.expression)
    order = (INTEGERS, DECIMALS, DOUBLES)
    ranks = [next((r for r, kinds in enumerate(order) if k in kinds), 0) for k in (first, second)]
    if ranks[1] > ranks[0]:
        raise Refusal("nullif() of a number with one of a wider type", node)
    return _equality(node, types)


def _membership(node: exp.Expr, types: Operands) -> exp.Expr:
    if node.args.get("unnest") or node.args.get("field"):
        raise Refusal("IN a list", node)
    return _equality_operand(node)


def _equality_operand(node: exp.Expr) -> exp.Expr:
    if kind_of(node.this) in (SqlType.JSON, SqlType.JSONB, SqlType.STRUCT, SqlType.MAP):
        raise Refusal("A comparison of nested values", node)
    return node


def _like(node: exp.Expr, types: Operands) -> exp.Expr:
    """DuckDB's LIKE has no escape character unless one is given."""
    types.require(node.this, "LIKE", TEXTS, like="VARCHAR")
    types.require(node.expression, "LIKE", TEXTS, like="VARCHAR")
    if isinstance(node.parent, exp.Escape):
        return node
    pattern = node.expression
    if isinstance(pattern, exp.Literal) and "\\" not in pattern.name:
        return node
    return exp.Escape(this=node.copy(), expression=exp.Literal.string(""))


def _escape(node: exp.Expr, types: Operands) -> exp.Expr:
    if not isinstance(node.expression, exp.Literal) or len(node.expression.name) > 1:
        raise Refusal("ESCAPE", node)
    return node


def _window(node: exp.Expr, types: Operands) -> exp.Expr:
    function = node.this
    if isinstance(function, exp.Filter):
        function = function.this
    if isinstance(function, exp.IgnoreNulls | exp.RespectNulls):
        raise Refusal("IGNORE NULLS", node)
    if not isinstance(function, _WINDOWED):
        raise Refusal(f"{construct_name(function)} OVER", node)
    return node


_WINDOWED = (
    *(exp.RowNumber, exp.Rank, exp.DenseRank, exp.Lag, exp.Lead, exp.FirstValue, exp.LastValue),
    *(exp.NthValue, exp.Ntile, exp.PercentRank, exp.CumeDist),
    *(exp.Count, exp.Sum, exp.Min, exp.Max, exp.Avg),
)


def _tuple(node: exp.Expr, types: Operands) -> exp.Expr:
    lists = (exp.Values, exp.GroupingSets, exp.Rollup, exp.Cube, exp.Group)
    is_distinct_on = isinstance(node.parent, exp.Distinct) and node.arg_key == "on"
    if not isinstance(node.parent, lists) and not is_distinct_on:
        raise Refusal("A row of several values", node)
    return node


def _distinct(node: exp.Expr, types: Operands) -> exp.Expr:
    return node


# Clauses and comparisons.
SYNTAX_RULES: Mapping[type[exp.Expr], Rule] = {
    exp.Between: _between,
    exp.CTE: _cte,
    exp.Distinct: _distinct,
    exp.EQ: _equality,
    exp.Escape: _escape,
    exp.Except: _set_operation,
    exp.GT: _comparison,
    exp.GTE: _comparison,
    exp.In: _membership,
    exp.Intersect: _set_operation,
    exp.Join: _join,
    exp.LT: _comparison,
    exp.LTE: _comparison,
    exp.ILike: _like,
    exp.Like: _like,
    exp.Limit: _limit,
    exp.NEQ: _equality,
    exp.NullSafeEQ: _equality,
    exp.NullSafeNEQ: _equality,
    exp.Nullif: _nullif,
    exp.Ordered: _ordered,
    exp.Select: _select,
    exp.Star: _star,
    exp.Tuple: _tuple,
    exp.Union: _set_operation,
    exp.Window: _window,
}
