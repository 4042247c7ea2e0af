"""Rules for numbers, casts, JSON, lists and structs that are translated to PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from sqlglot import exp

from tailrace.models.translation import (
    INTERVAL_UNITS,
    SAME_TEXT,
    Operands,
    Refusal,
    Rule,
    construct_name,
)
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
    SqlType,
    kind_of,
)


def _plus(node: exp.Expr, types: Operands) -> exp.Expr:
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
            frozenset({SqlType.INTERVAL}),
            like="DOUBLE",
        )
    if kind_of(node.this) in INSTANTS and isinstance(node.expression, exp.Interval):
        return node
    return node


def _times(node: exp.Expr, types: Operands) -> exp.Expr:
    for operand in (node.this, node.expression):
        types.require(operand, "*", NUMBERS, like="DOUBLE")
    return node


def _negative(node: exp.Expr, types: Operands) -> exp.Expr:
    types.require(node.this, "-", NUMBERS, like="DOUBLE")
    return node


def _division(node: exp.Expr, types: Operands) -> exp.Expr:
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
    def check(node: exp.Expr, types: Operands) -> exp.Expr:
        for operand in (node.this, node.expression):
            types.require(operand, what, INTEGERS, like="BIGINT")
        return node

    return check


def _joined_text(node: exp.Expr, types: Operands) -> exp.Expr:
    parts = [node.this, node.expression] if isinstance(node, exp.DPipe) else node.expressions
    for part in parts:
        types.require(part, "Text", *SAME_TEXT, like="DECIMAL(18, 2)")
    # PostgreSQL writes a boolean in text as t, and has || for other types.
    for part in parts:
        if kind_of(part) not in (*TEXTS, None):
            part.replace(exp.cast(part.copy(), "TEXT"))
    return node


def _literal(node: exp.Expr, types: Operands) -> exp.Expr:
    if not node.is_string and "e" in node.name.lower():
        # DuckDB reads it as a double, PostgreSQL as an exact number.
        return exp.cast(node.copy(), "DOUBLE")
    if node.is_string and "\0" in node.name:
        raise Refusal("A text with a NUL character", node)
    return node


def _interval(node: exp.Expr, types: Operands) -> exp.Expr:
    unit = str(node.args.get("unit") or "").upper().rstrip("S")
    amount = node.this
    number = amount.name if isinstance(amount, exp.Literal) else ""
    if unit not in INTERVAL_UNITS or not number.lstrip("-").isdigit():
        hint = "Write a whole number and a unit, such as: INTERVAL 3 MONTH"
        raise Refusal("INTERVAL of something else than a number and a unit", node, hint=hint)
    return node


def _element(node: exp.Expr, types: Operands) -> exp.Expr:
    index = node.expressions[0] if len(node.expressions) == 1 else None
    # sqlglot counts from 0 here, and writes what PostgreSQL counts from 1.
    if not isinstance(index, exp.Literal) or not index.is_int or int(index.name) < 0:
        raise Refusal("An element of a list other than [1], [2], …", node)
    kind = kind_of(node.this)
    if (
        kind is not SqlType.LIST
        and kind is not SqlType.ARRAY
        and (kind is not None or types.strict)
    ):
        raise Refusal("[] of something else than a list", node)
    return node


_CASTS: Mapping[exp.DType, tuple[frozenset[exp.DType], ...]] = {
    **dict.fromkeys(
        (SqlType.SMALLINT, SqlType.INT, SqlType.BIGINT),
        (INTEGERS, DECIMALS, DOUBLES, BOOLEANS, TEXTS),
    ),
    SqlType.DECIMAL: (INTEGERS, DECIMALS, TEXTS),
    SqlType.DOUBLE: (NUMBERS, TEXTS),
    SqlType.BOOLEAN: (BOOLEANS, INTEGERS, TEXTS),
    SqlType.DATE: (DATES, TIMESTAMPS, INSTANTS, TEXTS),
    SqlType.TIMESTAMPNTZ: (DATES, TIMESTAMPS, INSTANTS),
    SqlType.TIMESTAMP: (DATES, TIMESTAMPS, INSTANTS),
    SqlType.TIMESTAMPTZ: (DATES, TIMESTAMPS, INSTANTS, TEXTS),
    SqlType.TEXT: SAME_TEXT,
    SqlType.VARCHAR: SAME_TEXT,
    SqlType.TIME: (frozenset({SqlType.TIME}), TEXTS),
    SqlType.UUID: (frozenset({SqlType.UUID}), TEXTS),
}


def _cast(node: exp.Expr, types: Operands) -> exp.Expr:
    to = node.args["to"]
    kind = to.this
    if to.is_type("json"):
        # PostgreSQL's json equals nothing, not even itself.
        types.require(
            node.this,
            "CAST to JSON",
            TEXTS,
            frozenset({SqlType.JSON, SqlType.JSONB}),
            like="VARCHAR",
        )
        return exp.cast(node.this.copy(), "JSONB", dialect="postgres")
    name = to.sql("duckdb")
    if kind not in _CASTS:
        raise Refusal(f"CAST to {name}", node)
    if kind in (SqlType.TIMESTAMP, SqlType.TIMESTAMPNTZ) and isinstance(node.this, exp.Literal):
        # A clock of the run, and other literals without a zone.
        if not _has_zone(node.this.name):
            return node
        raise Refusal("TIMESTAMP of a text with a zone", node, hint="Write TIMESTAMPTZ '…'.")
    like = "TIMESTAMPTZ" if kind in (SqlType.TIMESTAMP, SqlType.TIMESTAMPNTZ) else "VARCHAR"
    if kind in (SqlType.TEXT, SqlType.VARCHAR):
        like = "DECIMAL(18, 2)"
    if kind is SqlType.DECIMAL and kind_of(node.this) in DOUBLES:
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


def _round(node: exp.Expr, types: Operands) -> exp.Expr:
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


def _whole(node: exp.Expr, types: Operands) -> exp.Expr:
    if node.args.get("decimals") is not None or node.args.get("to") is not None:
        raise Refusal(f"{construct_name(node)} with a second argument", node)
    types.require(node.this, construct_name(node), DECIMALS, DOUBLES, INTEGERS, like="DOUBLE")
    return node


def _absolute(node: exp.Expr, types: Operands) -> exp.Expr:
    types.require(node.this, "abs()", NUMBERS, like="DOUBLE")
    return node


def _json_value(node: exp.Expr, types: Operands) -> exp.Expr:
    """`->`: the part as binary JSON, since landed documents are binary."""
    call = exp.Anonymous(this="JSONB_EXTRACT_PATH", expressions=_json_path(node, types))
    call.type = exp.DataType.build("JSON")
    return call


def _json_text(node: exp.Expr, types: Operands) -> exp.Expr:
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


def _json_path(node: exp.Expr, types: Operands) -> list[exp.Expr]:
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
    types.require(
        node.this, "-> and ->>", frozenset({SqlType.JSON, SqlType.JSONB}), TEXTS, like="JSON"
    )
    document = exp.cast(node.this.copy(), "JSONB", dialect="postgres")
    return [document, *(exp.Literal.string(key) for key in keys)]


def _struct(node: exp.Expr, types: Operands) -> exp.Expr:
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
            frozenset({SqlType.JSON, SqlType.JSONB, SqlType.STRUCT}),
            like="VARCHAR",
        )
        parts += [exp.Literal.string(field.this.name), field.expression.copy()]
    call = exp.Anonymous(this="JSONB_BUILD_OBJECT", expressions=parts)
    call.type = exp.DataType.build("STRUCT")
    return call


def _array(node: exp.Expr, types: Operands) -> exp.Expr:
    kinds = {kind_of(item) for item in node.expressions} - {SqlType.NULL}
    if not node.expressions or len(kinds) > 1 or kinds - _LISTED - {None}:
        raise Refusal("A list that is empty or mixes types", node)
    return node


_LISTED = frozenset(TEXTS | INTEGERS | DATES | BOOLEANS)


# Numbers, casts, JSON, lists and structs.
VALUE_RULES: Mapping[type[exp.Expr], Rule] = {
    exp.Abs: _absolute,
    exp.Add: _plus,
    exp.Array: _array,
    exp.Bracket: _element,
    exp.Cast: _cast,
    exp.Ceil: _whole,
    exp.Concat: _joined_text,
    exp.ConcatWs: _joined_text,
    exp.DPipe: _joined_text,
    exp.Div: _division,
    exp.Floor: _whole,
    exp.IntDiv: _integers("//"),
    exp.Interval: _interval,
    exp.JSONExtract: _json_value,
    exp.JSONExtractScalar: _json_text,
    exp.Literal: _literal,
    exp.Mod: _integers("%"),
    exp.Mul: _times,
    exp.Neg: _negative,
    exp.Round: _round,
    exp.Struct: _struct,
    exp.Sub: _plus,
}
