"""Finds where a model takes rows in an order that leaves some of them equal.

An engine may take such rows in another order each time, so that a row number, a place in a list or
the rows that a LIMIT keeps may change although no data did.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from sqlglot import exp

# Window functions whose result depends on the order of rows that tie.
IN_ORDER = (
    *(exp.RowNumber, exp.Lag, exp.Lead, exp.Ntile),
    *(exp.FirstValue, exp.LastValue, exp.NthValue),
)
# Aggregates that take their rows in the order of an ORDER BY inside their brackets.
_ORDERED_AGGREGATES = (exp.ArrayAgg, exp.GroupConcat, exp.First, exp.Last)


def windowed(node: exp.Window) -> exp.Expr:
    """The function of a window, without IGNORE NULLS."""
    inner: exp.Expr = node.this
    return inner.this if isinstance(inner, exp.IgnoreNulls | exp.RespectNulls) else inner


def window_order(node: exp.Window) -> exp.Expr | None:
    """The ORDER BY of a window, also if it is that of a window with a name."""
    named = _named_window(node)
    order = node.args.get("order") or (named.args.get("order") if named else None)
    return order if isinstance(order, exp.Expr) else None


def tie(node: exp.Expr, unique: Collection[str], key: Sequence[str]) -> str | None:
    """What takes rows that may tie, such as `ntile()`; None if the order leaves none equal.

    Args:
        node: A part of a SELECT.
        unique: The names of columns that differ in each row of their table or group.
        key: The audience's key.
    """
    if isinstance(node, exp.Window) and isinstance(windowed(node), IN_ORDER):
        function, order, named = windowed(node), window_order(node), _named_window(node)
        parts = [*_parts(node), *(_parts(named) if named else [])]
        if order is None or not isinstance(function, exp.Func):
            return None
        if _is_of_its_order(function, order):
            return None
        leaves_ties = _leaves_ties(order, parts, node.find_ancestor(exp.Select), unique, key)
        return f"{function.sql_name().lower()}()" if leaves_ties else None
    if isinstance(node, _ORDERED_AGGREGATES) and isinstance(node.this, exp.Order):
        ordered = node.this
        if ordered.this in _expressions(ordered):
            return None
        # The rows of one group: by what they are grouped, they do not differ.
        leaves_ties = _leaves_ties(ordered, [], None, unique, key)
        return "ORDER BY in the brackets" if leaves_ties else None
    query = node.parent
    if isinstance(node, exp.Limit | exp.Fetch) and isinstance(query, exp.Query):
        options = node.args.get("limit_options")
        if options is not None and options.args.get("with_ties"):
            return None
        return "LIMIT" if _query_leaves_ties(query, [], unique, key) else None
    if isinstance(node, exp.Distinct) and node.args.get("on") and isinstance(query, exp.Select):
        on = [*node.args["on"].find_all(exp.Column)]
        return "DISTINCT ON" if _query_leaves_ties(query, on, unique, key) else None
    return None


def _query_leaves_ties(
    query: exp.Query, parts: Sequence[exp.Expr], unique: Collection[str], key: Sequence[str]
) -> bool:
    """Whether the ORDER BY of a query leaves rows equal that differ in a column of the result."""
    order = query.args.get("order")
    if order is None:
        return False
    select = query if isinstance(query, exp.Select) else None
    if select is not None and select.args.get("group") is None and _is_one_row(select):
        return False
    ordered = _resolved(_expressions(order), query.selects)
    given = [item.unalias() for item in query.selects]
    if given and all(item in ordered for item in given):
        return False
    return _leaves_ties(ordered, parts, select, unique, key)


def _is_one_row(select: exp.Select) -> bool:
    return any(
        aggregate.find_ancestor(exp.Window) is None
        for item in select.selects
        for aggregate in item.find_all(exp.AggFunc)
    )


def _leaves_ties(
    order: exp.Expr | Sequence[exp.Expr],
    parts: Sequence[exp.Expr],
    select: exp.Select | None,
    unique: Collection[str],
    key: Sequence[str],
) -> bool:
    ordered = _expressions(order) if isinstance(order, exp.Expr) else order
    sorted_by = _column_names(ordered)
    by = sorted_by | _column_names(parts)
    group = select.args.get("group") if select else None
    grouped = _column_names(group.expressions) if group else set()
    composite = len(key) > 1 and set(key) <= by
    takes_all = any(
        isinstance(item, exp.Star) or (isinstance(item, exp.Var) and item.name.upper() == "ALL")
        for item in ordered
    )
    return not (
        sorted_by & {*unique, *(key if len(key) == 1 else ())}
        or composite
        or (grouped and grouped <= by)
        or takes_all
    )


def _is_of_its_order(function: exp.Expr, order: exp.Expr) -> bool:
    """Whether a function gives a value by which its rows are ordered: rows that tie have it."""
    takes_value = isinstance(function, exp.FirstValue | exp.LastValue)
    return takes_value and function.this in _expressions(order)


def _named_window(node: exp.Window) -> exp.Window | None:
    """The window of the WINDOW clause that `OVER name` names."""
    select = node.find_ancestor(exp.Select)
    if select is None or not node.alias:
        return None
    for window in select.args.get("windows") or ():
        if window.name.lower() == node.alias.lower():
            return window if isinstance(window, exp.Window) else None
    return None


def _parts(node: exp.Window) -> list[exp.Expr]:
    return list(node.args.get("partition_by") or ())


def _resolved(ordered: Sequence[exp.Expr], selects: Sequence[exp.Expr]) -> list[exp.Expr]:
    """What a query is ordered by, with the columns that numbers and aliases stand for."""
    by_alias = {item.alias.lower(): item.unalias() for item in selects if item.alias}
    resolved = [*ordered]
    for item in ordered:
        if isinstance(item, exp.Literal) and item.is_int and 0 < int(item.name) <= len(selects):
            resolved.append(selects[int(item.name) - 1].unalias())
        elif isinstance(item, exp.Column) and item.name.lower() in by_alias:
            resolved.append(by_alias[item.name.lower()])
    return resolved


def _expressions(order: exp.Expr) -> list[exp.Expr]:
    return [item.this if isinstance(item, exp.Ordered) else item for item in order.expressions]


def _column_names(nodes: Iterable[exp.Expr]) -> set[str]:
    return {column.name.lower() for node in nodes for column in node.find_all(exp.Column)}
