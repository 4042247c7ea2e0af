"""Translates a model in DuckDB's dialect to MariaDB, or refuses it.

sqlglot writes some constructs with another meaning: a date plus a number is a number in MariaDB,
`ROUND` takes the even neighbour, `GREATEST` is NULL beside a NULL, and `->>` does not exist. So
only the constructs that are listed here are translated; `tests/warehouses/test_mariadb.py` compares
their rows with DuckDB's on a server. Other models are written in MariaDB's dialect.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from sqlglot import exp

from tailrace.models.patterns import portable_pattern
from tailrace.models.translation import Operands, Refusal, apply_rules, construct_name
from tailrace.models.types import (
    BOOLEANS,
    DATES,
    DECIMALS,
    DOUBLES,
    INSTANTS,
    INTEGERS,
    NUMBERS,
    TEXTS,
    TIMESTAMPS,
    ColumnTypes,
    SqlType,
    annotate,
    kind_of,
)

MARIADB_HINT = (
    "Write it with other functions, or write the model in MariaDB's dialect and put "
    "dialect: mariadb into its header."
)
MOMENTS = TIMESTAMPS | INSTANTS
EXTRACTED = frozenset({"YEAR", "QUARTER", "MONTH", "DAY", "HOUR", "MINUTE", "SECOND"})
ADDED = frozenset({"YEAR", "MONTH", "WEEK", "DAY", "HOUR", "MINUTE", "SECOND"})
_JOIN_SIDES = ("", "LEFT", "RIGHT")
_JOIN_KINDS = ("", "INNER", "CROSS", "OUTER")
# How MariaDB writes the start of a unit of time.
_TRUNCATED: Mapping[str, str] = {
    "YEAR": "%Y-01-01 00:00:00",
    "MONTH": "%Y-%m-01 00:00:00",
    "DAY": "%Y-%m-%d 00:00:00",
    "HOUR": "%Y-%m-%d %H:00:00",
    "MINUTE": "%Y-%m-%d %H:%i:00",
}

Rule = Callable[[exp.Expr, Operands], exp.Expr]


def translated_for_mariadb(
    tree: exp.Query, columns: ColumnTypes | None, *, check: Callable[..., object]
) -> exp.Query:
    """The same SELECT for MariaDB; the tree is changed.

    Args:
        tree: The SELECT in DuckDB's dialect.
        columns: The columns of the landed tables; None offline.
        check: Checks the types of operands, as for PostgreSQL, and raises Refusal.

    Raises:
        Refusal: A construct may have another meaning.
    """
    types = Operands(strict=columns is not None)
    try:
        check(tree.copy(), columns)
        annotate(tree, columns)
        return apply_rules(tree, RULES, types, same=SAME)
    except Refusal as refusal:
        raise refusal.with_hint(MARIADB_HINT) from None


def _call(name: str, *operands: exp.Expr) -> exp.Expr:
    return exp.Anonymous(this=name, expressions=[operand.copy() for operand in operands])


def _bare(node: exp.Expr) -> exp.Expr:
    """An operand that stands beside an operator."""
    return node.copy() if isinstance(node, exp.Column | exp.Func | exp.Literal) else exp.paren(node)


def _select(node: exp.Expr, types: Operands) -> exp.Expr:
    """No expression but a column has the type of a boolean column; as a number it is marked."""
    distinct = node.args.get("distinct")
    if distinct is not None and distinct.args.get("on"):
        raise Refusal("DISTINCT ON", node)
    if isinstance(node.parent, exp.Exists | exp.In):
        return node
    for projection in node.expressions:
        value = projection.this if isinstance(projection, exp.Alias) else projection
        if kind_of(value) in BOOLEANS:
            alias = projection.alias_or_name
            marked = exp.cast(value.copy(), "BOOLEAN")
            projection.replace(exp.alias_(marked, alias, quoted=True) if alias else marked)
    return node


def _join(node: exp.Expr, types: Operands) -> exp.Expr:
    side, kind, method = (node.text(part).upper() for part in ("side", "kind", "method"))
    if side not in _JOIN_SIDES or kind not in _JOIN_KINDS or method:
        words = " ".join(word for word in (method, side, kind) if word)
        raise Refusal(f"{words} JOIN", node)
    return node


def _star(node: exp.Expr, types: Operands) -> exp.Expr:
    if any(node.args.get(key) for key in ("except_", "replace", "rename", "ilike")):
        raise Refusal("* with EXCLUDE, REPLACE or RENAME", node)
    return node


def _group(node: exp.Expr, types: Operands) -> exp.Expr:
    if any(value for key, value in node.args.items() if key != "expressions"):
        raise Refusal("GROUP BY of ALL or of several groups", node)
    return node


def _column(node: exp.Expr, types: Operands) -> exp.Expr:
    kind = kind_of(node)
    if kind is not None and kind.name.startswith("U") and kind is not SqlType.UNKNOWN:
        raise Refusal(f"A column of type {kind.value}", node)
    return node


def _plus(node: exp.Expr, types: Operands) -> exp.Expr:
    """MariaDB reads a date beside a number as a number."""
    left, right = node.this, node.expression
    one, other = kind_of(left), kind_of(right)
    if isinstance(right, exp.Interval):
        if one in DATES:
            node.set("this", exp.cast(left.copy(), "TIMESTAMP"))
        elif one not in MOMENTS and (one is not None or types.strict):
            raise Refusal("An interval beside a value of another type than a time", node)
        return node
    if one in DATES and other in INTEGERS:
        name = "DATE_ADD" if isinstance(node, exp.Add) else "DATE_SUB"
        days = exp.Interval(this=_bare(right), unit=exp.var("DAY"))
        return _call(name, left, days)
    if one in DATES and other in DATES and isinstance(node, exp.Sub):
        return _typed(_call("DATEDIFF", left, right), "BIGINT")
    if None in (one, other) and not types.strict:
        return node
    for operand, kind in ((left, one), (right, other)):
        if kind not in NUMBERS and kind is not SqlType.NULL:
            raise Refusal("A sum or a difference of other values than numbers", operand)
    return node


def _interval(node: exp.Expr, types: Operands) -> exp.Expr:
    if not isinstance(node.this, exp.Literal) or node.text("unit").upper() not in ADDED:
        raise Refusal("An interval of something else than a number and a unit", node)
    return node


def _quotient(node: exp.Expr, types: Operands) -> exp.Expr:
    """A quotient is a DOUBLE in DuckDB. By zero it fails, as in PostgreSQL."""
    types.require(node.this, "A division", NUMBERS, like="DOUBLE")
    divided = exp.cast(node.this.copy(), "DOUBLE")
    return exp.Div(this=divided, expression=node.expression.copy())


def _whole_quotient(node: exp.Expr, types: Operands) -> exp.Expr:
    for operand in (node.this, node.expression):
        types.require(operand, "A whole quotient", INTEGERS, like="BIGINT")
    return node


def _cast(node: exp.Expr, types: Operands) -> exp.Expr:
    value, target = node.this, node.args["to"].this
    source = kind_of(value)
    if isinstance(value, exp.Null) or source is SqlType.NULL:
        return node
    if source is None and not types.strict:
        return node
    if target in TEXTS and source in BOOLEANS:
        named = exp.Case().when(value.copy(), exp.Literal.string("true"))
        return named.when(exp.not_(exp.paren(value.copy())), exp.Literal.string("false"))
    if isinstance(value, exp.Literal) and target in DATES | MOMENTS:
        return node
    rounded = isinstance(value, exp.Round) and not value.args.get("decimals")
    if target in INTEGERS and (rounded or node.meta.get("rounded")):
        return node
    if target in DECIMALS and source in DOUBLES and len(node.args["to"].expressions) == 2:
        return _exact(value, node.args["to"])
    if any(target in family and source in allowed for family, allowed in _CASTS.items()):
        return node
    shown = "an unknown type" if source is None else f"type {source.value}"
    raise Refusal(f"CAST of {shown} to {node.args['to'].sql('duckdb')}", node)


# What may be cast to a type, by the kinds of both. Texts that are no number make the run fail.
_CASTS: Mapping[frozenset[exp.DType], frozenset[exp.DType]] = {
    TEXTS: TEXTS | INTEGERS | DECIMALS | DATES,
    INTEGERS: INTEGERS | TEXTS | BOOLEANS,
    DECIMALS: INTEGERS | DECIMALS,
    DOUBLES: INTEGERS | DECIMALS | DOUBLES | TEXTS,
    DATES: DATES | MOMENTS,
    MOMENTS: DATES | MOMENTS,
    BOOLEANS: BOOLEANS,
}


def _round(node: exp.Expr, types: Operands) -> exp.Expr:
    """Half away from zero, as DuckDB rounds; MariaDB does so with exact numbers only."""
    value, decimals = node.this, node.args.get("decimals")
    if decimals is not None and not (isinstance(decimals, exp.Literal) and decimals.is_int):
        raise Refusal("round() to a computed place", node)
    types.require(value, "round()", NUMBERS, like="DOUBLE")
    if kind_of(value) not in DOUBLES:
        # Offline, the model is translated again when the types are known.
        return node
    if isinstance(node.parent, exp.Cast):
        node.parent.meta["rounded"] = True
    if decimals is None:
        return exp.paren(_whole(value, 0))
    places = int(decimals.name)
    scale = exp.Literal.number(f"1e{places}")
    return exp.paren(exp.Div(this=_whole(value, places), expression=scale))


def _whole(value: exp.Expr, places: int) -> exp.Expr:
    """A DOUBLE times a power of ten, rounded half away from zero as DuckDB does."""
    size = _call("ABS", value)
    if places:
        size = exp.paren(exp.Mul(this=size, expression=exp.Literal.number(f"1e{places}")))
    below = _call("FLOOR", size)
    fraction = exp.Sub(this=size.copy(), expression=below.copy())
    up = exp.paren(exp.GTE(this=fraction, expression=exp.Literal.number("0.5")))
    sum_ = exp.paren(exp.Add(this=below, expression=up))
    return exp.Mul(this=_call("SIGN", value), expression=sum_)


def _exact(value: exp.Expr, target: exp.DataType) -> exp.Expr:
    """A DOUBLE as an exact number; MariaDB would round its shortest text instead."""
    precision, places = (int(size.name) for size in target.expressions)
    whole = exp.cast(_whole(value, places), f"DECIMAL({precision}, 0)")
    unit = exp.Literal.number(f"0.{'0' * (places - 1)}1" if places else "1")
    return exp.cast(exp.Mul(this=whole, expression=unit), target.copy())


def _average(node: exp.Expr, types: Operands) -> exp.Expr:
    """An average of exact numbers has four more places only."""
    types.require(node.this, "avg()", NUMBERS, like="DOUBLE")
    return exp.Avg(this=exp.cast(node.this.copy(), "DOUBLE"))


def _furthest(node: exp.Expr, types: Operands) -> exp.Expr:
    """The greatest or least value beside NULLs, which DuckDB leaves out."""
    values = [node.this, *node.expressions]
    given = [value for value in values if not isinstance(value, exp.Null)]
    kinds = {kind_of(value) for value in given} - {SqlType.NULL}
    if None in kinds and types.strict:
        raise Refusal(f"{construct_name(node)} of an unknown type", node)
    families = (TEXTS, NUMBERS, DATES, MOMENTS)
    if not any(kinds - {None} <= family for family in families):
        raise Refusal(f"{construct_name(node)} of two types", node)
    name = "GREATEST" if isinstance(node, exp.Greatest) else "LEAST"
    filled = [
        exp.Coalesce(this=value.copy(), expressions=[v.copy() for v in _turned(values, place)])
        for place, value in enumerate(values)
    ]
    return _call(name, *filled) if len(values) > 1 else node.this.copy()


def _turned(values: Sequence[exp.Expr], place: int) -> Sequence[exp.Expr]:
    return [*values[place + 1 :], *values[:place]]


def _of_text(node: exp.Expr, types: Operands) -> exp.Expr:
    types.require(node.this, construct_name(node), TEXTS, like="VARCHAR")
    return node


def _only_plain(node: exp.Expr, types: Operands) -> exp.Expr:
    """A function with one argument; its further ones differ."""
    if any(value for name, value in node.args.items() if name != "this"):
        raise Refusal(f"{construct_name(node)} with options", node)
    return _of_text(node, types)


def _joined(node: exp.Expr, types: Operands) -> exp.Expr:
    operands = [node.this, node.expression] if isinstance(node, exp.DPipe) else node.expressions
    for operand in operands:
        types.require(
            operand, construct_name(node), TEXTS, INTEGERS, DECIMALS, DATES, like="VARCHAR"
        )
    return node


def _like(node: exp.Expr, types: Operands) -> exp.Expr:
    pattern = node.expression
    if not isinstance(pattern, exp.Literal) or "\\" in pattern.name:
        raise Refusal("LIKE with a pattern that is computed or has a backslash", node)
    return _of_text(node, types)


def _starts(node: exp.Expr, types: Operands) -> exp.Expr:
    return _edge(node, "LEFT", types)


def _ends(node: exp.Expr, types: Operands) -> exp.Expr:
    return _edge(node, "RIGHT", types)


def _edge(node: exp.Expr, side: str, types: Operands) -> exp.Expr:
    _of_text(node, types)
    part = node.expression
    edge = _call(side, node.this, _call("CHAR_LENGTH", part))
    return _truth(exp.EQ(this=edge, expression=_bare(part)))


def _contains(node: exp.Expr, types: Operands) -> exp.Expr:
    _of_text(node, types)
    place = _call("LOCATE", node.expression, node.this)
    return _truth(exp.GT(this=place, expression=exp.Literal.number(0)))


def _truth(node: exp.Expr) -> exp.Expr:
    return _typed(exp.paren(node), "BOOLEAN")


def _typed(node: exp.Expr, type_: str) -> exp.Expr:
    node.type = exp.DataType.build(type_)
    return node


def _split_part(node: exp.Expr, types: Operands) -> exp.Expr:
    """An empty text where there are fewer parts; MariaDB has the last one."""
    _of_text(node, types)
    delimiter, index = node.args["delimiter"], node.args["part_index"]
    if not isinstance(delimiter, exp.Literal) or not delimiter.name:
        raise Refusal("split_part() with a computed or empty delimiter", node)
    if not isinstance(index, exp.Literal) or not index.is_int or int(index.name) < 1:
        raise Refusal("split_part() without a place from 1 on", node)
    text, place = node.this, int(index.name)
    without = _call("REPLACE", text, delimiter, exp.Literal.string(""))
    lost = exp.Sub(this=_call("CHAR_LENGTH", text), expression=_call("CHAR_LENGTH", without))
    enough = exp.GTE(this=lost, expression=exp.Literal.number((place - 1) * len(delimiter.name)))
    until = _call("SUBSTRING_INDEX", text, delimiter, index)
    part = _call("SUBSTRING_INDEX", until, delimiter, exp.Literal.number(-1))
    missing = exp.Is(this=text.copy(), expression=exp.null())
    return exp.Case().when(missing, exp.null()).when(enough, part).else_(exp.Literal.string(""))


def _substring(node: exp.Expr, types: Operands) -> exp.Expr:
    _of_text(node, types)
    for key, least in (("start", 1), ("length", 0)):
        bound = node.args.get(key)
        if bound is not None and not (
            isinstance(bound, exp.Literal) and bound.is_int and int(bound.name) >= least
        ):
            raise Refusal("substring() with a place that may be 0 or negative", node)
    return node


def _part_of_text(node: exp.Expr, types: Operands) -> exp.Expr:
    _of_text(node, types)
    if not isinstance(node.expression, exp.Literal):
        raise Refusal(f"{construct_name(node)} with a length that is computed", node)
    return node


def _matches(node: exp.Expr, types: Operands) -> exp.Expr:
    _of_text(node, types)
    pattern = _pattern(node, node.expression)
    if node.args.get("flag"):
        raise Refusal("A regular expression with options", node)
    return _typed(exp.RegexpLike(this=node.this.copy(), expression=pattern), "BOOLEAN")


def _pattern(node: exp.Expr, pattern: exp.Expr | None) -> exp.Expr:
    """A pattern in ASCII that means the same to PCRE; its end of the text is the very end."""
    text = pattern.name if isinstance(pattern, exp.Literal) else ""
    inner = text.removesuffix("$")
    if not text or portable_pattern(text) != text or "[^" in text or "$" in inner:
        raise Refusal("A regular expression", node)
    return exp.Literal.string(f"{inner}\\z" if inner != text else text)


def _replaced(node: exp.Expr, types: Operands) -> exp.Expr:
    """Without the option, DuckDB replaces the first match only."""
    _of_text(node, types)
    pattern, replacement = node.expression, node.args.get("replacement")
    if node.text("modifiers") != "g":
        raise Refusal("regexp_replace() without 'g'", node)
    if not isinstance(replacement, exp.Literal) or set(replacement.name) & set("\\$"):
        raise Refusal("regexp_replace() with a computed replacement, or with groups", node)
    return _call("REGEXP_REPLACE", node.this, _pattern(node, pattern), replacement)


def _truncated(node: exp.Expr, types: Operands) -> exp.Expr:
    types.require(node.this, "date_trunc()", DATES, MOMENTS, like="TIMESTAMP")
    format_ = _TRUNCATED.get(node.text("unit").upper())
    if format_ is None:
        raise Refusal(f"date_trunc() to {node.text('unit').lower()}", node)
    start = _call("DATE_FORMAT", node.this, exp.Literal.string(format_))
    return exp.cast(start, "TIMESTAMP")


def _extracted(node: exp.Expr, types: Operands) -> exp.Expr:
    if node.name.upper() not in EXTRACTED:
        raise Refusal(f"EXTRACT of {node.name.lower()}", node)
    types.require(node.expression, "EXTRACT", DATES, MOMENTS, like="TIMESTAMP")
    return node


def _days_between(node: exp.Expr, types: Operands) -> exp.Expr:
    """Other units are counted by their boundaries in DuckDB."""
    if node.text("unit").upper() != "DAY":
        raise Refusal("date_diff() of another unit than days", node)
    for operand in (node.this, node.expression):
        types.require(operand, "date_diff()", DATES, MOMENTS, like="DATE")
    return _typed(_call("DATEDIFF", node.this, node.expression), "BIGINT")


def _named_day(node: exp.Expr, types: Operands) -> exp.Expr:
    types.require(node.this, construct_name(node), DATES, MOMENTS, like="DATE")
    return node


def _neighbour(node: exp.Expr, types: Operands) -> exp.Expr:
    if node.args.get("default") is not None:
        raise Refusal(f"{construct_name(node)} with a default", node)
    return node


def _aggregated(node: exp.Expr, types: Operands) -> exp.Expr:
    if isinstance(node.find_ancestor(exp.Window, exp.Select), exp.Window):
        raise Refusal(f"{construct_name(node)} over a window", node)
    if node.find(exp.Distinct):
        raise Refusal(f"{construct_name(node)} of DISTINCT values", node)
    if not isinstance(node.args.get("separator"), exp.Literal):
        raise Refusal(f"{construct_name(node)} with a computed separator", node)
    types.require(_operand(node), construct_name(node), TEXTS, like="VARCHAR")
    return node


def _operand(node: exp.Expr) -> exp.Expr:
    operand: exp.Expr = node.this.this if isinstance(node.this, exp.Order) else node.this
    return operand


def _numbers(node: exp.Expr, types: Operands) -> exp.Expr:
    operand = node.this.expressions[0] if isinstance(node.this, exp.Distinct) else node.this
    types.require(operand, construct_name(node), NUMBERS, like="DOUBLE")
    return node


def _compared(node: exp.Expr, types: Operands) -> exp.Expr:
    """MariaDB compares a text and a number as numbers, and a boolean as one too."""
    kinds = {kind_of(node.this), kind_of(node.expression)} - {None, SqlType.NULL}
    literal = isinstance(node.this, exp.Literal) or isinstance(node.expression, exp.Literal)
    families = (TEXTS, NUMBERS, DATES | MOMENTS, BOOLEANS, frozenset({SqlType.TIME}))
    if any(kinds <= family for family in families):
        return node
    if literal and kinds & (DATES | MOMENTS) and kinds & TEXTS:
        return node
    raise Refusal("A comparison of two types", node)


def _greatest_of_rows(node: exp.Expr, types: Operands) -> exp.Expr:
    types.require(node.this, construct_name(node), TEXTS, NUMBERS, DATES, MOMENTS, like="VARCHAR")
    return node


# Constructs that mean the same, as sqlglot writes them.
SAME: frozenset[type[exp.Expr]] = frozenset(
    {
        *(exp.Subquery, exp.From, exp.Where, exp.Having, exp.Qualify, exp.Order, exp.Ordered),
        *(exp.Limit, exp.Offset, exp.With, exp.CTE, exp.Table, exp.TableAlias, exp.Alias),
        *(exp.Literal, exp.Boolean, exp.Null, exp.Paren, exp.And, exp.Or, exp.Not, exp.Is),
        *(exp.Case, exp.If, exp.Coalesce, exp.Nullif, exp.Exists, exp.Between, exp.In),
        *(exp.Mul, exp.Neg, exp.Mod, exp.Union, exp.Except, exp.Intersect, exp.Distinct),
        *(exp.Window, exp.WindowSpec, exp.Filter, exp.Count, exp.RowNumber, exp.Rank),
        *(exp.DenseRank, exp.Ntile, exp.PercentRank, exp.CumeDist, exp.FirstValue, exp.LastValue),
        *(exp.CurrentDate, exp.CurrentTimestamp, exp.Tuple, exp.Values),
    }
)
RULES: Mapping[type[exp.Expr], Rule] = {
    **dict.fromkeys(
        (exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.NullSafeEQ, exp.NullSafeNEQ),
        _compared,
    ),
    **dict.fromkeys((exp.Add, exp.Sub), _plus),
    **dict.fromkeys((exp.DPipe, exp.Concat, exp.ConcatWs), _joined),
    **dict.fromkeys((exp.Greatest, exp.Least), _furthest),
    **dict.fromkeys((exp.Lag, exp.Lead), _neighbour),
    **dict.fromkeys((exp.Left, exp.Right), _part_of_text),
    **dict.fromkeys((exp.Like, exp.ILike), _like),
    **dict.fromkeys(
        (exp.Lower, exp.Upper, exp.Length, exp.Replace, exp.MD5, exp.SHA2, exp.StrPosition),
        _of_text,
    ),
    **dict.fromkeys((exp.Max, exp.Min), _greatest_of_rows),
    **dict.fromkeys((exp.Sum, exp.Abs), _numbers),
    **dict.fromkeys((exp.TimestampTrunc, exp.DateTrunc), _truncated),
    **dict.fromkeys((exp.Dayname, exp.Year, exp.Month, exp.Day), _named_day),
    exp.Avg: _average,
    exp.Cast: _cast,
    exp.Column: _column,
    exp.Contains: _contains,
    exp.DateDiff: _days_between,
    exp.Div: _quotient,
    exp.EndsWith: _ends,
    exp.Extract: _extracted,
    exp.Group: _group,
    exp.GroupConcat: _aggregated,
    exp.IntDiv: _whole_quotient,
    exp.Interval: _interval,
    exp.Join: _join,
    exp.RegexpLike: _matches,
    exp.RegexpReplace: _replaced,
    exp.Round: _round,
    exp.Select: _select,
    exp.SplitPart: _split_part,
    exp.Star: _star,
    exp.StartsWith: _starts,
    exp.Substring: _substring,
    exp.Trim: _only_plain,
}
