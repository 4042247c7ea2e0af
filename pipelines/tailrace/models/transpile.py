"""Translates a model in DuckDB's dialect to PostgreSQL, or refuses it.

sqlglot writes most constructs as they are, whether or not the other engine means the same by them.
So a construct is translated only if it is listed here: those that mean the same are in `SAME`, and
each of the others has a rule that replaces it, checks its operands, or both. Everything else is
refused by name. `tests/models/test_dialects.py` compares the rows of both engines.

What a rule must know of types comes from the landed tables (see `types`). Without them, offline, an
operand of an unknown type is accepted: the model is checked again when it is bound.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal

from sqlglot import exp
from sqlglot.errors import SqlglotError

from tailrace.errors import ModelDoesNotBind
from tailrace.models.patterns import date_format, portable_pattern
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
    Kind,
    annotate,
    kind_of,
)

HINT = (
    "Write it with other functions, or write the model in PostgreSQL's dialect and put "
    "dialect: postgres into its header."
)
_TYPE_HINT = "Cast it, such as: CAST({} AS {})"


class Refusal(Exception):
    """A construct that is not translated: what it is, the node, and what to write instead."""

    def __init__(self, what: str, node: exp.Expr, *, hint: str = HINT, known: bool = False) -> None:
        super().__init__(what)
        self.what = what
        self.node = node
        self.hint = hint
        # It has no counterpart at all, rather than another meaning.
        self.known = known

    def message(self, target: str) -> str:
        problem = "has no counterpart" if self.known else "may mean something else"
        return f"{self.what} {problem} in {target}"


class _Types:
    """What is known of the operands: strictly once the landed tables are known, else loosely."""

    def __init__(self, *, strict: bool) -> None:
        self.strict = strict

    def require(self, node: exp.Expr, what: str, *kinds: frozenset[exp.DType], like: str) -> None:
        """Refuse an operand that is not of one of these types."""
        kind = kind_of(node)
        if kind is Kind.NULL or any(kind in each for each in kinds):
            return
        if kind is None and not self.strict:
            return
        name = "an unknown type" if kind is None else f"type {kind.value}"
        shown = construct_text(node)
        operand = shown if len(shown) <= 40 else "x"
        raise Refusal(f"{what} of {name}", node, hint=_TYPE_HINT.format(operand, like))

    def is_text(self, node: exp.Expr, what: str) -> bool:
        """Whether a value that is ordered is text. PostgreSQL orders text by its collation."""
        kind = kind_of(node)
        if kind in (None, Kind.NULL):
            if kind is None and self.strict:
                raise Refusal(
                    f"{what} of an unknown type",
                    node,
                    hint=_TYPE_HINT.format(construct_text(node)[:40], "VARCHAR"),
                )
            return False
        if kind in TEXTS:
            return True
        if kind in NUMBERS | DATES | TIMESTAMPS | INSTANTS | BOOLEANS or kind in _ORDERED_ALIKE:
            return False
        assert kind is not None
        raise Refusal(f"{what} of type {kind.value}", node)


_ORDERED_ALIKE = frozenset({Kind.TIME, Kind.UUID, Kind.INTERVAL})
Rule = Callable[[exp.Expr, _Types], exp.Expr]
# Types whose texts are the same in both engines.
_SAME_TEXT = (TEXTS, INTEGERS, DECIMALS, DATES, TIMESTAMPS, INSTANTS, BOOLEANS)


def transpile(
    tree: exp.Query, dialect: str, *, columns: ColumnTypes | None = None, file: str | None = None
) -> exp.Query:
    """The same SELECT in words that the dialect has.

    Args:
        tree: The SELECT in DuckDB's dialect.
        dialect: The warehouse's dialect. Only PostgreSQL has rules; for another dialect the tree is
            returned as it is.
        columns: The columns of the landed tables; None offline.
        file: The model's file, for errors.

    Raises:
        ModelDoesNotBind: A construct has no counterpart, or may have another meaning.
    """
    if dialect != "postgres":
        return tree
    try:
        return translated(tree, columns)
    except Refusal as refusal:
        raise unportable(refusal, dialect, file=file) from None


def unportable(
    refusal: Refusal, target: str, *, file: str | None, line: int | None = None
) -> ModelDoesNotBind:
    """The error for a construct that is not translated. It remembers the construct's text."""
    error = ModelDoesNotBind(refusal.message(target), hint=refusal.hint, file=file, line=line)
    error.construct = construct_text(refusal.node)
    return error


def construct_text(node: exp.Expr) -> str:
    """The text by which a construct is found again in an author's tree."""
    try:
        return node.sql("duckdb").lower()
    except (SqlglotError, ValueError, TypeError, AttributeError, LookupError):
        # sqlglot parses some constructs that it cannot write.
        return repr(node).lower()


def translated(tree: exp.Query, columns: ColumnTypes | None) -> exp.Query:
    """The same SELECT for PostgreSQL; the tree is changed.

    Raises:
        Refusal: A construct has no counterpart, or may have another meaning.
    """
    annotate(tree, columns)
    types = _Types(strict=columns is not None)
    # The innermost first, so that what a rule takes over is translated by then.
    for node in reversed(list(tree.walk())):
        if type(node) in SAME or isinstance(node, PARTS):
            continue
        rule = RULES.get(type(node))
        if rule is None:
            raise Refusal(_name(node), node, known=isinstance(node, exp.Func))
        replaced = rule(node, types)
        if replaced is not node:
            replaced.type = replaced.type or node.type
            node.replace(replaced)
    return tree


def _name(node: exp.Expr) -> str:
    if isinstance(node, exp.Anonymous):
        return f"{node.name.lower()}()"
    if isinstance(node, exp.Func):
        return f"{node.sql_name().lower()}()"
    return type(node).__name__.upper()


# Statements and clauses


def _select(node: exp.Expr, types: _Types) -> exp.Expr:
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
    # A window is no aggregate of the group, and a subquery aggregates for itself.
    inside = node.walk(prune=lambda child: isinstance(child, exp.Window | exp.Query))
    return any(isinstance(child, exp.AggFunc) for child in inside)


def _join(node: exp.Expr, types: _Types) -> exp.Expr:
    words = [str(node.args.get(key) or "").upper() for key in ("method", "side", "kind")]
    if words[0] or words[2] in ("SEMI", "ANTI", "POSITIONAL", "ASOF"):
        raise Refusal(f"{' '.join(word for word in words if word)} JOIN", node)
    return node


def _set_operation(node: exp.Expr, types: _Types) -> exp.Expr:
    if node.args.get("by_name") or node.args.get("side") or node.args.get("kind"):
        raise Refusal("A set operation BY NAME", node)
    return node


def _star(node: exp.Expr, types: _Types) -> exp.Expr:
    for key in ("except_", "except", "replace", "rename", "ilike"):
        if node.args.get(key):
            raise Refusal(f"* {key.strip('_').upper()}", node)
    return node


def _limit(node: exp.Expr, types: _Types) -> exp.Expr:
    count = node.args.get("expression") or node.args.get("count")
    if not isinstance(count, exp.Literal) or not count.is_int or node.args.get("limit_options"):
        raise Refusal("LIMIT of something else than a number", node)
    return node


def _cte(node: exp.Expr, types: _Types) -> exp.Expr:
    if node.args.get("key_expressions"):
        raise Refusal("WITH … USING KEY", node)
    return node


def _ordered(node: exp.Expr, types: _Types) -> exp.Expr:
    ordered = node.this
    # A number is a place in the SELECT list, and a name may be an alias.
    if isinstance(ordered, exp.Literal):
        return _ordered_place(node, types)
    if types.is_text(_meant(ordered), "The order"):
        if isinstance(ordered, exp.Column) and _is_alias(ordered):
            ordered = _meant(ordered).copy()
        node.set("this", _by_bytes(ordered))
    return node


def _ordered_place(node: exp.Expr, types: _Types) -> exp.Expr:
    select = node.find_ancestor(exp.Query)
    place = int(node.this.name) if node.this.is_int else 0
    if isinstance(select, exp.Select) and 0 < place <= len(select.expressions):
        column = select.expressions[place - 1].unalias()
        if not column.is_star and not types.is_text(column, "The order"):
            return node
        if not column.is_star and not select.args.get("distinct"):
            node.set("this", _by_bytes(column.copy()))
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


def _by_bytes(node: exp.Expr) -> exp.Expr:
    """Text in the order of its bytes, which is DuckDB's order."""
    operand = node if isinstance(node, exp.Column | exp.Func | exp.Paren) else exp.paren(node)
    collated = exp.Collate(this=operand, expression=exp.to_identifier("C", quoted=True))
    collated.type = node.type
    return collated


# Operators


def _comparison(node: exp.Expr, types: _Types) -> exp.Expr:
    if types.is_text(node.this, "A comparison") or types.is_text(node.expression, "A comparison"):
        node.set("this", _by_bytes(node.this))
    return node


def _between(node: exp.Expr, types: _Types) -> exp.Expr:
    if node.args.get("symmetric"):
        raise Refusal("BETWEEN SYMMETRIC", node)
    operands = (node.this, node.args["low"], node.args["high"])
    are_text = [types.is_text(operand, "BETWEEN") for operand in operands]
    if any(are_text):
        node.set("this", _by_bytes(node.this))
    return node


def _equality(node: exp.Expr, types: _Types) -> exp.Expr:
    for operand in (node.this, node.expression):
        if kind_of(operand) in (Kind.JSON, Kind.JSONB, Kind.STRUCT, Kind.MAP):
            raise Refusal("A comparison of nested values", node)
        if isinstance(operand, exp.Any | exp.All) and not isinstance(operand.this, exp.Query):
            raise Refusal("ANY or ALL of a list", node)
    return node


def _nullif(node: exp.Expr, types: _Types) -> exp.Expr:
    """The result has the type of the first operand, unless PostgreSQL has to widen it."""
    first, second = kind_of(node.this), kind_of(node.expression)
    order = (INTEGERS, DECIMALS, DOUBLES)
    ranks = [next((r for r, kinds in enumerate(order) if k in kinds), 0) for k in (first, second)]
    if ranks[1] > ranks[0]:
        raise Refusal("nullif() of a number with one of a wider type", node)
    return _equality(node, types)


def _membership(node: exp.Expr, types: _Types) -> exp.Expr:
    if node.args.get("unnest") or node.args.get("field"):
        raise Refusal("IN a list", node)
    return _equality_operand(node)


def _equality_operand(node: exp.Expr) -> exp.Expr:
    if kind_of(node.this) in (Kind.JSON, Kind.JSONB, Kind.STRUCT, Kind.MAP):
        raise Refusal("A comparison of nested values", node)
    return node


def _plus(node: exp.Expr, types: _Types) -> exp.Expr:
    for operand in (node.this, node.expression):
        if isinstance(operand, exp.Interval):
            continue
        types.require(
            operand,
            "+ or -",
            NUMBERS,
            DATES,
            TIMESTAMPS,
            INSTANTS,
            frozenset({Kind.INTERVAL}),
            like="DOUBLE",
        )
    if kind_of(node.this) in INSTANTS and isinstance(node.expression, exp.Interval):
        return node
    return node


def _times(node: exp.Expr, types: _Types) -> exp.Expr:
    for operand in (node.this, node.expression):
        types.require(operand, "*", NUMBERS, like="DOUBLE")
    return node


def _negative(node: exp.Expr, types: _Types) -> exp.Expr:
    types.require(node.this, "-", NUMBERS, like="DOUBLE")
    return node


def _division(node: exp.Expr, types: _Types) -> exp.Expr:
    """DuckDB divides in doubles, and a double by zero is infinite or NaN."""
    for operand in (node.this, node.expression):
        types.require(operand, "/", NUMBERS, like="DOUBLE")
    divisor = node.expression
    literal = divisor.this if isinstance(divisor, exp.Paren) else divisor
    is_number = isinstance(literal, exp.Literal) and float(literal.name or 0) != 0
    top, bottom = (exp.cast(operand.copy(), "DOUBLE") for operand in (node.this, divisor))
    quotient = exp.Div(this=top, expression=bottom, typed=True, safe=False)
    quotient.type = exp.DataType.build("DOUBLE")
    if is_number:
        return exp.paren(quotient)
    if isinstance(divisor, exp.Nullif) and divisor.expression.sql() == "0":
        return exp.paren(quotient)
    zero = exp.EQ(this=bottom.copy(), expression=exp.Literal.number(0))
    # The sign of a zero counts: 1 / -0.0 is negative infinity.
    negative = exp.EQ(this=exp.cast(bottom.copy(), "TEXT"), expression=exp.Literal.string("-0"))
    by_sign = exp.Mul(
        this=exp.Anonymous(this="SIGN", expressions=[top.copy()]),
        expression=exp.Case().when(negative, _double("-Infinity")).else_(_double("Infinity")),
    )
    of_zero = (
        exp.Case()
        .when(exp.EQ(this=top.copy(), expression=exp.Literal.number(0)), _double("NaN"))
        .else_(by_sign)
    )
    return exp.paren(exp.Case().when(zero, of_zero).else_(quotient))


def _double(text: str) -> exp.Expr:
    return exp.cast(exp.Literal.string(text), "DOUBLE")


def _integers(what: str) -> Rule:
    def check(node: exp.Expr, types: _Types) -> exp.Expr:
        for operand in (node.this, node.expression):
            types.require(operand, what, INTEGERS, like="BIGINT")
        return node

    return check


def _joined_text(node: exp.Expr, types: _Types) -> exp.Expr:
    parts = [node.this, node.expression] if isinstance(node, exp.DPipe) else node.expressions
    for part in parts:
        types.require(part, "Text", *_SAME_TEXT, like="DECIMAL(18, 2)")
    # PostgreSQL writes a boolean in text as t, and has || for other types.
    for part in parts:
        if kind_of(part) not in (*TEXTS, None):
            part.replace(exp.cast(part.copy(), "TEXT"))
    return node


def _like(node: exp.Expr, types: _Types) -> exp.Expr:
    """DuckDB's LIKE has no escape character unless one is given."""
    types.require(node.this, "LIKE", TEXTS, like="VARCHAR")
    types.require(node.expression, "LIKE", TEXTS, like="VARCHAR")
    if isinstance(node.parent, exp.Escape):
        return node
    pattern = node.expression
    if isinstance(pattern, exp.Literal) and "\\" not in pattern.name:
        return node
    return exp.Escape(this=node.copy(), expression=exp.Literal.string(""))


def _escape(node: exp.Expr, types: _Types) -> exp.Expr:
    if not isinstance(node.expression, exp.Literal) or len(node.expression.name) > 1:
        raise Refusal("ESCAPE", node)
    return node


def _literal(node: exp.Expr, types: _Types) -> exp.Expr:
    if not node.is_string and "e" in node.name.lower():
        # DuckDB reads it as a double, PostgreSQL as an exact number.
        return exp.cast(node.copy(), "DOUBLE")
    if node.is_string and "\0" in node.name:
        raise Refusal("A text with a NUL character", node)
    return node


def _interval(node: exp.Expr, types: _Types) -> exp.Expr:
    unit = str(node.args.get("unit") or "").upper().rstrip("S")
    amount = node.this
    number = amount.name if isinstance(amount, exp.Literal) else ""
    if unit not in _INTERVAL_UNITS or not number.lstrip("-").isdigit():
        hint = "Write a whole number and a unit, such as: INTERVAL 3 MONTH"
        raise Refusal("INTERVAL of something else than a number and a unit", node, hint=hint)
    return node


_INTERVAL_UNITS = frozenset({"YEAR", "MONTH", "WEEK", "DAY", "HOUR", "MINUTE", "SECOND"})


def _element(node: exp.Expr, types: _Types) -> exp.Expr:
    index = node.expressions[0] if len(node.expressions) == 1 else None
    # sqlglot counts from 0 here, and writes what PostgreSQL counts from 1.
    if not isinstance(index, exp.Literal) or not index.is_int or int(index.name) < 0:
        raise Refusal("An element of a list other than [1], [2], …", node)
    kind = kind_of(node.this)
    if kind is not Kind.LIST and kind is not Kind.ARRAY and (kind is not None or types.strict):
        raise Refusal("[] of something else than a list", node)
    return node


# Casts

_CASTS: Mapping[exp.DType, tuple[frozenset[exp.DType], ...]] = {
    **dict.fromkeys(
        (Kind.SMALLINT, Kind.INT, Kind.BIGINT), (INTEGERS, DECIMALS, DOUBLES, BOOLEANS, TEXTS)
    ),
    Kind.DECIMAL: (INTEGERS, DECIMALS, TEXTS),
    Kind.DOUBLE: (NUMBERS, TEXTS),
    Kind.BOOLEAN: (BOOLEANS, INTEGERS, TEXTS),
    Kind.DATE: (DATES, TIMESTAMPS, INSTANTS, TEXTS),
    Kind.TIMESTAMPNTZ: (DATES, TIMESTAMPS, INSTANTS),
    Kind.TIMESTAMP: (DATES, TIMESTAMPS, INSTANTS),
    Kind.TIMESTAMPTZ: (DATES, TIMESTAMPS, INSTANTS, TEXTS),
    Kind.TEXT: _SAME_TEXT,
    Kind.VARCHAR: _SAME_TEXT,
    Kind.TIME: (frozenset({Kind.TIME}), TEXTS),
    Kind.UUID: (frozenset({Kind.UUID}), TEXTS),
}


def _cast(node: exp.Expr, types: _Types) -> exp.Expr:
    to = node.args["to"]
    kind = to.this
    if to.is_type("json"):
        # PostgreSQL's json equals nothing, not even itself.
        types.require(
            node.this, "CAST to JSON", TEXTS, frozenset({Kind.JSON, Kind.JSONB}), like="VARCHAR"
        )
        return exp.cast(node.this.copy(), "JSONB", dialect="postgres")
    name = to.sql("duckdb")
    if kind not in _CASTS:
        raise Refusal(f"CAST to {name}", node)
    if kind in (Kind.TIMESTAMP, Kind.TIMESTAMPNTZ) and isinstance(node.this, exp.Literal):
        # A clock of the run, and other literals without a zone.
        if not _has_zone(node.this.name):
            return node
        raise Refusal("TIMESTAMP of a text with a zone", node, hint="Write TIMESTAMPTZ '…'.")
    like = "TIMESTAMPTZ" if kind in (Kind.TIMESTAMP, Kind.TIMESTAMPNTZ) else "VARCHAR"
    if kind in (Kind.TEXT, Kind.VARCHAR):
        like = "DECIMAL(18, 2)"
    if kind is Kind.DECIMAL and kind_of(node.this) in DOUBLES:
        return _decimal_of_double(node)
    types.require(node.this, f"CAST to {name}", *_CASTS[kind], like=like)
    return node


def _decimal_of_double(node: exp.Expr) -> exp.Expr:
    """DuckDB scales the double and rounds it half away from zero; PostgreSQL would round the
    decimal number of its first 15 digits."""
    to = node.args["to"]
    sizes = [int(size.name) for size in to.expressions]
    if len(sizes) != 2 or sizes[0] > _BIGINT_DIGITS:
        hint = f"Use at most {_BIGINT_DIGITS} digits, such as DECIMAL(18, 2)."
        raise Refusal(f"CAST of a double to {to.sql('duckdb')}", node, hint=hint)
    scale = exp.cast(exp.Literal.number(10 ** sizes[1]), "DOUBLE")
    scaled = exp.paren(exp.Mul(this=exp.paren(node.this.copy()), expression=scale))
    whole = exp.cast(exp.paren(_half_away(scaled)), "BIGINT")
    unit = exp.Literal.number(format(Decimal(1).scaleb(-sizes[1]), "f"))
    return exp.cast(exp.paren(exp.Mul(this=whole, expression=unit)), to.copy())


_BIGINT_DIGITS = 18


def _has_zone(text: str) -> bool:
    return any(mark in text[10:] for mark in ("+", "-", "Z", "z"))


# Functions


def _ordered_arguments(node: exp.Expr, types: _Types) -> exp.Expr:
    operands = [node.this, *node.expressions]
    are_text = [types.is_text(operand, _name(node)) for operand in operands]
    if any(are_text):
        node.set("this", _by_bytes(node.this))
    return node


def _extreme(node: exp.Expr, types: _Types) -> exp.Expr:
    if node.expressions:
        raise Refusal(f"{_name(node)} of several", node)
    if types.is_text(node.this, _name(node)):
        node.set("this", _by_bytes(node.this))
    return node


def _of_text(node: exp.Expr, types: _Types) -> exp.Expr:
    for operand in (node.this, *(node.args.get(key) for key in ("expression", "replacement"))):
        if isinstance(operand, exp.Expr):
            types.require(operand, _name(node), TEXTS, like="VARCHAR")
    return node


def _round(node: exp.Expr, types: _Types) -> exp.Expr:
    decimals = node.args.get("decimals")
    if decimals is not None and not (isinstance(decimals, exp.Literal) and decimals.is_int):
        raise Refusal("round() to something else than a number of places", node)
    types.require(node.this, "round()", NUMBERS, like="DECIMAL(18, 4)")
    kind = kind_of(node.this)
    if kind in INTEGERS and (decimals is None or int(decimals.name) >= 0):
        return exp.paren(node.this.copy())
    if kind in DECIMALS or kind is None:
        return node
    if kind not in DOUBLES:
        raise Refusal("round() of whole numbers to tens", node)
    # DuckDB rounds a scaled double half away from zero; PostgreSQL rounds doubles half to even.
    scale = exp.cast(exp.Literal.number(10 ** int(decimals.name) if decimals else 1), "DOUBLE")
    value = node.this
    scaled = exp.paren(exp.Mul(this=exp.paren(value.copy()), expression=scale))
    rounded = _half_away(scaled)
    result = exp.Div(this=exp.paren(rounded), expression=scale.copy(), typed=True, safe=False)
    infinite = exp.cast(exp.Literal.string("Infinity"), "DOUBLE")
    is_finite = exp.LT(this=exp.Abs(this=value.copy()), expression=infinite)
    return exp.paren(exp.Case().when(is_finite, result).else_(value.copy()))


def _half_away(scaled: exp.Expr) -> exp.Expr:
    """A double rounded to a whole number, halves away from zero."""
    whole = exp.Anonymous(this="TRUNC", expressions=[scaled.copy()])
    fraction = exp.Abs(this=exp.Sub(this=scaled.copy(), expression=whole.copy()))
    half = exp.Literal.number("0.5")
    away = exp.Add(
        this=whole.copy(), expression=exp.Anonymous(this="SIGN", expressions=[scaled.copy()])
    )
    return exp.Case().when(exp.GTE(this=fraction, expression=half), away).else_(whole)


def _whole(node: exp.Expr, types: _Types) -> exp.Expr:
    if node.args.get("decimals") is not None or node.args.get("to") is not None:
        raise Refusal(f"{_name(node)} with a second argument", node)
    types.require(node.this, _name(node), DECIMALS, DOUBLES, INTEGERS, like="DOUBLE")
    return node


def _absolute(node: exp.Expr, types: _Types) -> exp.Expr:
    types.require(node.this, "abs()", NUMBERS, like="DOUBLE")
    return node


def _substring(node: exp.Expr, types: _Types) -> exp.Expr:
    types.require(node.this, "substring()", TEXTS, like="VARCHAR")
    for key, least in (("start", 1), ("length", 0)):
        bound = node.args.get(key)
        if bound is None:
            continue
        if not isinstance(bound, exp.Literal) or not bound.is_int or int(bound.name) < least:
            hint = "Use left() and right(), or a literal position from 1 on."
            raise Refusal("substring() with a position that may be 0 or negative", node, hint=hint)
    return node


def _edge(node: exp.Expr, types: _Types) -> exp.Expr:
    types.require(node.this, _name(node), TEXTS, like="VARCHAR")
    if not isinstance(node.expression, exp.Literal):
        raise Refusal(f"{_name(node)} with a length that is computed", node)
    return node


def _split_part(node: exp.Expr, types: _Types) -> exp.Expr:
    delimiter, index = node.args.get("delimiter"), node.args.get("part_index")
    is_plain = isinstance(delimiter, exp.Literal) and delimiter.is_string and delimiter.name
    is_place = isinstance(index, exp.Literal) and index.is_int and int(index.name) > 0
    if not is_plain or not is_place:
        raise Refusal("split_part() without a literal text and a place from 1 on", node)
    types.require(node.this, "split_part()", TEXTS, like="VARCHAR")
    return node


def _contains(node: exp.Expr, types: _Types) -> exp.Expr:
    types.require(node.this, "contains()", TEXTS, like="VARCHAR")
    place = exp.StrPosition(this=node.this.copy(), substr=node.expression.copy())
    return exp.paren(exp.GT(this=place, expression=exp.Literal.number(0)))


def _position(node: exp.Expr, types: _Types) -> exp.Expr:
    if node.args.get("position") is not None or node.args.get("occurrence") is not None:
        raise Refusal("instr() with a start", node)
    types.require(node.this, "position()", TEXTS, like="VARCHAR")
    return node


def _ends_with(node: exp.Expr, types: _Types) -> exp.Expr:
    types.require(node.this, "ends_with()", TEXTS, like="VARCHAR")
    end = exp.Right(this=node.this.copy(), expression=exp.Length(this=node.expression.copy()))
    return exp.paren(exp.EQ(this=end, expression=node.expression.copy()))


def _trim(node: exp.Expr, types: _Types) -> exp.Expr:
    types.require(node.this, "trim()", TEXTS, like="VARCHAR")
    return node


def _pattern(node: exp.Expr, what: str, *, extracts: bool = False) -> str:
    pattern = node.expression
    literal = pattern.name if isinstance(pattern, exp.Literal) else ""
    written = portable_pattern(literal, extracts=extracts) if literal else None
    if written is None:
        hint = (
            "Use a literal pattern of plain characters, classes such as [a-z], \\d, \\w and \\s, "
            "^, $, and *, +, ? or {n}; or write the model with dialect: postgres."
        )
        raise Refusal(f"The pattern of {what}", node, hint=hint)
    return written


def _matches(node: exp.Expr, types: _Types) -> exp.Expr:
    if node.args.get("flag") is not None:
        hint = "Match lower(x) against a pattern in lower case."
        raise Refusal("regexp_matches() with options", node, hint=hint, known=True)
    types.require(node.this, "regexp_matches()", TEXTS, like="VARCHAR")
    pattern = exp.Literal.string(_pattern(node, "regexp_matches()"))
    return exp.RegexpLike(this=node.this.copy(), expression=pattern)


def _full_match(node: exp.Expr, types: _Types) -> exp.Expr:
    if node.args.get("options") is not None:
        raise Refusal("regexp_full_match() with options", node, known=True)
    types.require(node.this, "regexp_full_match()", TEXTS, like="VARCHAR")
    whole = exp.Literal.string(f"^(?:{_pattern(node, 'regexp_full_match()')})$")
    return exp.RegexpLike(this=node.this.copy(), expression=whole)


def _regexp_replace(node: exp.Expr, types: _Types) -> exp.Expr:
    modifiers = node.args.get("modifiers")
    replacement = node.args.get("replacement")
    plain = isinstance(replacement, exp.Literal) and "\\" not in replacement.name
    if (modifiers is not None and modifiers.name != "g") or not plain:
        raise Refusal("regexp_replace() with an option other than 'g', or with groups", node)
    types.require(node.this, "regexp_replace()", TEXTS, like="VARCHAR")
    pattern = _pattern(node, "regexp_replace()", extracts=True)
    if modifiers is not None and _may_match_nothing(pattern):
        raise Refusal("regexp_replace() of a pattern that matches an empty text", node)
    node.set("expression", exp.Literal.string(pattern))
    return node


def _may_match_nothing(pattern: str) -> bool:
    return any(sign in pattern for sign in ("*", "?", "{0", "^", "$"))


def _date_text(node: exp.Expr, types: _Types) -> exp.Expr:
    text = node.args.get("format")
    if not isinstance(text, exp.Literal):
        raise Refusal("strftime() with a format that is no literal", node)
    # sqlglot keeps the format in Python's words.
    written = date_format(text.name)
    if written is None:
        raise Refusal("The format of strftime()", node)
    types.require(node.this, "strftime()", DATES, TIMESTAMPS, like="TIMESTAMP")
    return exp.Anonymous(
        this="TO_CHAR",
        expressions=[exp.cast(node.this.copy(), "TIMESTAMP"), exp.Literal.string(written)],
    )


def _day_name(node: exp.Expr, types: _Types) -> exp.Expr:
    types.require(node.this, "dayname()", DATES, TIMESTAMPS, INSTANTS, like="DATE")
    return exp.Anonymous(
        this="TO_CHAR", expressions=[node.this.copy(), exp.Literal.string("FMDay")]
    )


def _month_name(node: exp.Expr, types: _Types) -> exp.Expr:
    types.require(node.this, "monthname()", DATES, TIMESTAMPS, INSTANTS, like="DATE")
    return exp.Anonymous(
        this="TO_CHAR", expressions=[node.this.copy(), exp.Literal.string("FMMonth")]
    )


_PARTS = {
    **{name: name for name in ("year", "quarter", "month", "week", "day", "hour", "minute")},
    **{name: name for name in ("dow", "isodow", "doy", "isoyear")},
    "weekday": "dow",
    "dayofweek": "dow",
    "dayofmonth": "day",
    "dayofyear": "doy",
}
_TIME_PARTS = frozenset({"hour", "minute"})


def _extracted(part: str, value: exp.Expr, node: exp.Expr, types: _Types) -> exp.Expr:
    field = _PARTS.get(part.lower())
    if field is None:
        hint = f"Parts that are translated: {', '.join(sorted(set(_PARTS.values())))}."
        raise Refusal(f"The part {part.lower()} of a time", node, hint=hint)
    clocks = (TIMESTAMPS, INSTANTS) if field in _TIME_PARTS else (DATES, TIMESTAMPS, INSTANTS)
    types.require(value, f"The part {field}", *clocks, like="TIMESTAMP")
    extracted = exp.Extract(this=exp.var(field.upper()), expression=value.copy())
    result = exp.cast(extracted, "BIGINT")
    result.type = exp.DataType.build("BIGINT")
    return result


def _extract(node: exp.Expr, types: _Types) -> exp.Expr:
    return _extracted(node.this.name, node.expression, node, types)


def _part(name: str) -> Rule:
    return lambda node, types: _extracted(name, node.this, node, types)


def _date_trunc(node: exp.Expr, types: _Types) -> exp.Expr:
    unit = str(node.args.get("unit") or "").upper().strip("'")
    if unit not in _TRUNCATED:
        raise Refusal(f"date_trunc() to {unit.lower()}", node)
    types.require(node.this, "date_trunc()", DATES, TIMESTAMPS, INSTANTS, like="TIMESTAMP")
    kind = kind_of(node.this)
    value = node.this.copy()
    if kind in DATES:
        # Of a date PostgreSQL makes a timestamp with a time zone.
        value = exp.cast(value, "TIMESTAMP")
    call = exp.Anonymous(this="DATE_TRUNC", expressions=[exp.Literal.string(unit.lower()), value])
    call.type = exp.DataType.build("TIMESTAMPTZ" if kind in INSTANTS else "TIMESTAMP")
    return call


_TRUNCATED = _INTERVAL_UNITS | {"QUARTER"}


def _date_difference(node: exp.Expr, types: _Types) -> exp.Expr:
    """DuckDB counts the boundaries between two times, not whole units."""
    unit = str(node.args.get("unit") or "").upper().strip("'").rstrip("S")
    for operand in (node.this, node.expression):
        types.require(operand, "date_diff()", DATES, TIMESTAMPS, INSTANTS, like="DATE")
    end, start = (exp.cast(operand.copy(), "DATE") for operand in (node.this, node.expression))

    def part(name: str, value: exp.Expr) -> exp.Expr:
        whole = exp.Extract(this=exp.var(name), expression=value.copy())
        return exp.cast(whole, "BIGINT")

    def months(value: exp.Expr) -> exp.Expr:
        year = exp.Mul(this=part("YEAR", value), expression=exp.Literal.number(12))
        return exp.paren(exp.Add(this=year, expression=part("MONTH", value)))

    if unit == "DAY":
        result: exp.Expr = exp.cast(exp.paren(exp.Sub(this=end, expression=start)), "BIGINT")
    elif unit == "MONTH":
        result = exp.paren(exp.Sub(this=months(end), expression=months(start)))
    elif unit == "YEAR":
        result = exp.paren(exp.Sub(this=part("YEAR", end), expression=part("YEAR", start)))
    else:
        hint = "Count days, months or years, or subtract the times."
        raise Refusal(f"date_diff() in {unit.lower()}s", node, hint=hint)
    result.type = exp.DataType.build("BIGINT")
    return result


def _date_of_parts(node: exp.Expr, types: _Types) -> exp.Expr:
    parts = [node.args.get(part) for part in ("year", "month", "day")]
    given = [part for part in parts if part is not None]
    if len(given) != len(parts):
        raise Refusal("make_date() of fewer than three parts", node, known=True)
    for part in given:
        types.require(part, "make_date()", INTEGERS, like="INTEGER")
    whole = [exp.cast(part.copy(), "INTEGER") for part in given]
    return exp.Anonymous(this="MAKE_DATE", expressions=whole)


def _last_day(node: exp.Expr, types: _Types) -> exp.Expr:
    types.require(node.this, "last_day()", DATES, TIMESTAMPS, like="DATE")
    return node


def _at_time_zone(node: exp.Expr, types: _Types) -> exp.Expr:
    if not isinstance(node.args["zone"], exp.Literal) or "/" not in node.args["zone"].name + "/":
        raise Refusal("AT TIME ZONE of something else than a literal", node)
    if node.args["zone"].name != "UTC" and "/" not in node.args["zone"].name:
        hint = "Name a zone such as 'Europe/Berlin' or 'UTC'."
        raise Refusal("AT TIME ZONE with an abbreviation", node, hint=hint)
    types.require(node.this, "AT TIME ZONE", TIMESTAMPS, INSTANTS, like="TIMESTAMPTZ")
    return node


def _sum(node: exp.Expr, types: _Types) -> exp.Expr:
    argument = node.this.expressions[0] if isinstance(node.this, exp.Distinct) else node.this
    types.require(argument, "sum()", NUMBERS, like="DECIMAL(18, 2)")
    return node


def _count_if(node: exp.Expr, types: _Types) -> exp.Expr:
    hint = "Write count(*) FILTER (WHERE …)."
    raise Refusal("count_if(), which is NULL if every value is NULL,", node, hint=hint)


def _average(node: exp.Expr, types: _Types) -> exp.Expr:
    """DuckDB's average is a double; PostgreSQL's average of exact numbers is exact."""
    if isinstance(node.this, exp.Distinct):
        raise Refusal("avg() of DISTINCT values", node)
    types.require(node.this, "avg()", NUMBERS, like="DOUBLE")
    kind = kind_of(node.this)
    if kind in DOUBLES or kind is None:
        return node
    if isinstance(node.parent, exp.Window | exp.Filter):
        hint = "Write sum(…) / count(…), each with the same FILTER or OVER."
        raise Refusal("avg() of exact numbers with FILTER or OVER", node, hint=hint)
    known = node.this.to if isinstance(node.this, exp.Cast) else node.this.type
    sized = isinstance(node.this, exp.Column | exp.Cast) and known and known.expressions
    if kind in DECIMALS and not (sized and len(known.expressions) == 2):
        hint = "Cast it, such as: avg(CAST(x AS DECIMAL(18, 2)))"
        raise Refusal("avg() of an exact number of unknown scale", node, hint=hint)
    scale = int(known.expressions[1].name) if kind in DECIMALS and known else 0
    factor = exp.cast(exp.Literal.number(10**scale), "DOUBLE")
    total = exp.paren(
        exp.Mul(this=exp.Sum(this=node.this.copy()), expression=exp.Literal.number(10**scale))
    )
    count = exp.cast(exp.Count(this=node.this.copy()), "DOUBLE")
    divisor = exp.paren(exp.Mul(this=count, expression=factor))
    some = exp.Nullif(this=divisor, expression=exp.Literal.number(0))
    return exp.paren(
        exp.Div(this=exp.cast(total, "DOUBLE"), expression=some, typed=True, safe=False)
    )


def _string_list(node: exp.Expr, types: _Types) -> exp.Expr:
    ordered = node.this
    argument = ordered.this if isinstance(ordered, exp.Order) else ordered
    if isinstance(argument, exp.Distinct):
        raise Refusal("string_agg() of DISTINCT values", node)
    types.require(argument, "string_agg()", TEXTS, like="VARCHAR")
    return node


def _array_list(node: exp.Expr, types: _Types) -> exp.Expr:
    if node.find(exp.Distinct):
        raise Refusal("list() of DISTINCT values", node)
    return node


def _pick(name: str, *, largest: bool) -> Rule:
    """arg_max and arg_min: the first of a list in the order of what is compared."""

    def picked(node: exp.Expr, types: _Types) -> exp.Expr:
        if node.args.get("count") is not None or isinstance(node.parent, exp.Filter | exp.Window):
            raise Refusal(f"{name}() of several", node, known=True)
        value, by = node.this, node.expression
        key = _by_bytes(by.copy()) if types.is_text(by, f"{name}()") else by.copy()
        order = exp.Order(
            this=value.copy(),
            expressions=[exp.Ordered(this=key, desc=largest, nulls_first=False)],
        )
        known = exp.and_(value.copy().is_(exp.null()).not_(), by.copy().is_(exp.null()).not_())
        listed = exp.Filter(this=exp.ArrayAgg(this=order), expression=exp.Where(this=known))
        return exp.Bracket(this=exp.paren(listed), expressions=[exp.Literal.number(1)], offset=1)

    return picked


def _window(node: exp.Expr, types: _Types) -> exp.Expr:
    function = node.this
    if isinstance(function, exp.Filter):
        function = function.this
    if isinstance(function, exp.IgnoreNulls | exp.RespectNulls):
        raise Refusal("IGNORE NULLS", node)
    if not isinstance(function, _WINDOWED):
        raise Refusal(f"{_name(function)} OVER", node)
    return node


_WINDOWED = (
    *(exp.RowNumber, exp.Rank, exp.DenseRank, exp.Lag, exp.Lead, exp.FirstValue, exp.LastValue),
    *(exp.NthValue, exp.Ntile, exp.PercentRank, exp.CumeDist),
    *(exp.Count, exp.Sum, exp.Min, exp.Max, exp.Avg),
)


def _tuple(node: exp.Expr, types: _Types) -> exp.Expr:
    lists = (exp.Values, exp.GroupingSets, exp.Rollup, exp.Cube, exp.Group)
    is_distinct_on = isinstance(node.parent, exp.Distinct) and node.arg_key == "on"
    if not isinstance(node.parent, lists) and not is_distinct_on:
        raise Refusal("A row of several values", node)
    return node


def _distinct(node: exp.Expr, types: _Types) -> exp.Expr:
    return node


def _sha256(node: exp.Expr, types: _Types) -> exp.Expr:
    length = node.args.get("length")
    if length is None or length.name != "256":
        raise Refusal("A digest other than sha256()", node)
    types.require(node.this, "sha256()", TEXTS, like="VARCHAR")
    text = exp.func("CONVERT_TO", exp.cast(node.this.copy(), "TEXT"), exp.Literal.string("UTF8"))
    digest = exp.Anonymous(this="SHA256", expressions=[text])
    return exp.Anonymous(this="ENCODE", expressions=[digest, exp.Literal.string("hex")])


# JSON


def _json_value(node: exp.Expr, types: _Types) -> exp.Expr:
    """`->`: the part as binary JSON, since landed documents are binary."""
    call = exp.Anonymous(this="JSONB_EXTRACT_PATH", expressions=_json_path(node, types))
    call.type = exp.DataType.build("JSON")
    return call


def _json_text(node: exp.Expr, types: _Types) -> exp.Expr:
    """`->>`: the text of a part. Where the engines would write other texts, the statement fails:
    for objects, lists, and numbers that are not plain."""
    value = exp.Anonymous(this="JSONB_EXTRACT_PATH", expressions=_json_path(node, types))
    text = exp.Anonymous(
        this="JSONB_EXTRACT_PATH_TEXT", expressions=[part.copy() for part in value.expressions]
    )
    kind = exp.Anonymous(this="JSONB_TYPEOF", expressions=[value.copy()])
    plain = exp.RegexpLike(this=text.copy(), expression=exp.Literal.string(_PLAIN_NUMBER))
    is_number = exp.EQ(this=kind.copy(), expression=exp.Literal.string("number"))
    nested = exp.In(
        this=kind.copy(), expressions=[exp.Literal.string("object"), exp.Literal.string("array")]
    )
    # A cast that always fails: the message names the type of the part.
    failing = exp.cast(exp.cast(kind.copy(), "INTEGER"), "TEXT")
    whole = (
        exp.Case().when(exp.or_(nested, exp.and_(is_number, exp.not_(plain))), failing).else_(text)
    )
    result = exp.paren(whole)
    result.type = exp.DataType.build("TEXT")
    return result


_PLAIN_NUMBER = r"^-?(0|[1-9][0-9]{0,9})(\.[0-9]{0,4}[1-9])?$"


def _json_path(node: exp.Expr, types: _Types) -> list[exp.Expr]:
    path = node.expression
    parts = path.expressions if isinstance(path, exp.JSONPath) else None
    if parts is None or not all(
        isinstance(part, exp.JSONPathRoot)
        or (isinstance(part, exp.JSONPathKey) and isinstance(part.this, str))
        for part in parts
    ):
        hint = "Read one key after the other, such as: doc -> 'a' ->> 'b'"
        raise Refusal("A path in a JSON document other than keys", node, hint=hint)
    keys = [part.this for part in parts if isinstance(part, exp.JSONPathKey)]
    types.require(node.this, "-> and ->>", frozenset({Kind.JSON, Kind.JSONB}), TEXTS, like="JSON")
    document = exp.cast(node.this.copy(), "JSONB", dialect="postgres")
    return [document, *(exp.Literal.string(key) for key in keys)]


def _struct(node: exp.Expr, types: _Types) -> exp.Expr:
    # Both become the same object of a message.
    parts: list[exp.Expr] = []
    for field in node.expressions:
        if not isinstance(field, exp.PropertyEQ):
            raise Refusal("A struct without names", node, known=True)
        types.require(
            field.expression,
            "A struct's field",
            TEXTS,
            INTEGERS,
            BOOLEANS,
            frozenset({Kind.JSON, Kind.JSONB, Kind.STRUCT}),
            like="VARCHAR",
        )
        parts += [exp.Literal.string(field.this.name), field.expression.copy()]
    call = exp.Anonymous(this="JSONB_BUILD_OBJECT", expressions=parts)
    call.type = exp.DataType.build("STRUCT")
    return call


def _array(node: exp.Expr, types: _Types) -> exp.Expr:
    kinds = {kind_of(item) for item in node.expressions} - {Kind.NULL}
    if not node.expressions or len(kinds) > 1 or kinds - _LISTED - {None}:
        raise Refusal("A list that is empty or mixes types", node)
    return node


_LISTED = frozenset(TEXTS | INTEGERS | DATES | BOOLEANS)


def _format(node: exp.Expr, types: _Types) -> exp.Expr:
    # The other engine's format() takes %s, and leaves {} as it is.
    raise Refusal("format() with {}", node, known=True)


def _refused(what: str) -> Rule:
    def refuse(node: exp.Expr, types: _Types) -> exp.Expr:
        raise Refusal(what, node, known=True)

    return refuse


def _anonymous(node: exp.Expr, types: _Types) -> exp.Expr:
    name = node.name.lower()
    if name in ("date_part", "datepart") and len(node.expressions) == 2:
        part, value = node.expressions
        if isinstance(part, exp.Literal):
            return _extracted(part.name, value, node, types)
    if name in ("now", "today", "get_current_timestamp", "transaction_timestamp"):
        return node
    raise Refusal(f"{name}()", node, known=True)


# Parts of other constructs, which say what they mean.
PARTS = (exp.Identifier, exp.DataType, exp.DataTypeParam, exp.Var)
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
RULES: Mapping[type[exp.Expr], Rule] = {
    exp.Abs: _absolute,
    exp.Add: _plus,
    exp.Anonymous: _anonymous,
    exp.ArgMax: _pick("arg_max", largest=True),
    exp.ArgMin: _pick("arg_min", largest=False),
    exp.Array: _array,
    exp.ArrayAgg: _array_list,
    exp.AtTimeZone: _at_time_zone,
    exp.Avg: _average,
    exp.Between: _between,
    exp.Bracket: _element,
    exp.CTE: _cte,
    exp.Cast: _cast,
    exp.Ceil: _whole,
    exp.Concat: _joined_text,
    exp.ConcatWs: _joined_text,
    exp.Contains: _contains,
    exp.CountIf: _count_if,
    exp.DPipe: _joined_text,
    exp.DateDiff: _date_difference,
    exp.DateFromParts: _date_of_parts,
    exp.DateTrunc: _date_trunc,
    exp.Day: _part("day"),
    exp.DayOfMonth: _part("day"),
    exp.DayOfWeek: _part("dow"),
    exp.DayOfYear: _part("doy"),
    exp.Dayname: _day_name,
    exp.Distinct: _distinct,
    exp.Div: _division,
    exp.EQ: _equality,
    exp.EndsWith: _ends_with,
    exp.Escape: _escape,
    exp.Except: _set_operation,
    exp.Extract: _extract,
    exp.Floor: _whole,
    exp.Format: _format,
    exp.GT: _comparison,
    exp.GTE: _comparison,
    exp.Glob: _refused("GLOB"),
    exp.Greatest: _ordered_arguments,
    exp.GroupConcat: _string_list,
    exp.Hour: _part("hour"),
    exp.In: _membership,
    exp.IntDiv: _integers("//"),
    exp.Intersect: _set_operation,
    exp.Interval: _interval,
    exp.JSONExtract: _json_value,
    exp.JSONExtractScalar: _json_text,
    exp.Join: _join,
    exp.LT: _comparison,
    exp.LTE: _comparison,
    exp.LastDay: _last_day,
    exp.Least: _ordered_arguments,
    exp.Left: _edge,
    exp.Length: _of_text,
    exp.ILike: _like,
    exp.Like: _like,
    exp.Limit: _limit,
    exp.Literal: _literal,
    exp.Lower: _of_text,
    exp.MD5: _of_text,
    exp.Max: _extreme,
    exp.Min: _extreme,
    exp.Minute: _part("minute"),
    exp.Mod: _integers("%"),
    exp.Month: _part("month"),
    exp.Monthname: _month_name,
    exp.Mul: _times,
    exp.NEQ: _equality,
    exp.Neg: _negative,
    exp.NullSafeEQ: _equality,
    exp.NullSafeNEQ: _equality,
    exp.Nullif: _nullif,
    exp.Ordered: _ordered,
    exp.Quarter: _part("quarter"),
    exp.RegexpFullMatch: _full_match,
    exp.RegexpLike: _matches,
    exp.RegexpReplace: _regexp_replace,
    exp.Replace: _of_text,
    exp.Right: _edge,
    exp.Round: _round,
    exp.SHA2: _sha256,
    exp.Select: _select,
    exp.SplitPart: _split_part,
    exp.Star: _star,
    exp.StartsWith: _of_text,
    exp.StrPosition: _position,
    exp.Struct: _struct,
    exp.Sub: _plus,
    exp.Substring: _substring,
    exp.Sum: _sum,
    exp.TimeToStr: _date_text,
    exp.TimestampTrunc: _date_trunc,
    exp.Trim: _trim,
    exp.TryCast: _refused("TRY_CAST"),
    exp.Tuple: _tuple,
    exp.Union: _set_operation,
    exp.Upper: _of_text,
    exp.Week: _part("week"),
    exp.WeekOfYear: _part("week"),
    exp.Window: _window,
    exp.Year: _part("year"),
}
