"""`AS_SENT`: a value as JSON can carry it, so that values which are equal when sent are equal.

NaN and infinity become NULL, also inside lists, structs and maps; so do dates and timestamps that
are infinite or outside of the years 1 to 9999. PostgreSQL's json, which has no equality, becomes
jsonb, and other types without an equality of their text become text. DuckDB's JSON, maps and
nanoseconds are compared in `plan/equal_values`, because no expression of the engine is exact.
"""

from __future__ import annotations

import re
from functools import lru_cache

from sqlglot import exp
from sqlglot.errors import SqlglotError

from tailrace.warehouse.clickhouse import inner_type

# Types with values that JSON has no number for.
_FLOATING = re.compile(r"(?i)DOUBLE( PRECISION)?|FLOAT[48]?|REAL")
_DECIMAL = re.compile(r"(?i)(NUMERIC|DECIMAL)(\([\d, ]+\))?")
_TIME = re.compile(r"(?i)DATE|TIMESTAMP(TZ|_S|_MS|_NS| WITH TIME ZONE| WITHOUT TIME ZONE)?")
_NANOSECONDS = re.compile(r"(?i)TIMESTAMP_NS")
_NESTED_FLOAT = re.compile(r"(?i)\b(DOUBLE|FLOAT|REAL)\b")
_NESTED = re.compile(r"\]$|^STRUCT\(|^MAP\(")
_POSTGRES_NUMBERS = re.compile(r"(double precision|real|numeric)(\([\d,]+\))?\[\]")
_POSTGRES_JSON = re.compile(r"json(b?)(\[\])*")
# What json may hold and jsonb may not: the NUL character, half a surrogate pair, a huge exponent.
_ONLY_IN_JSON = (
    r"\\u0000|\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])"
    r"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F]|[0-9][eE][+-]?[0-9]{4}"
)
# Without an equality operator, or with one that ignores differences, such as capitals or a shape's
# corners.
_POSTGRES_AS_TEXT = re.compile(r"(xml|citext|point|line|lseg|box|path|polygon|circle)(\[\])*")
_SNOWFLAKE_DOCUMENTS = ("VARIANT", "OBJECT", "ARRAY", "MAP")
_MARIADB_COLLATION = "utf8mb4_nopad_bin"
_NOT_FINITE = ("NaN", "Infinity", "-Infinity")


def as_sent(value: exp.Expr, type_: str, dialect: str) -> exp.Expr:
    """The expression of a value as JSON can carry it.

    Args:
        value: The value.
        type_: The engine's name of its type.
        dialect: The engine's dialect.
    """
    if dialect == "clickhouse":
        is_floating = inner_type(type_).startswith(("Float", "BFloat"))
        return _finite(value, exp.DataType.build(type_, dialect=dialect)) if is_floating else value
    if dialect == "mariadb":
        # It has neither NaN nor infinity. Documents are compared without their spaces and order.
        return _mariadb_document(value) if type_ == "JSON" else value
    if _FLOATING.fullmatch(type_):
        return _finite(value, exp.DataType.build(type_, dialect=dialect), dialect)
    if dialect == "snowflake" and type_ in _SNOWFLAKE_DOCUMENTS:
        return exp.Anonymous(this="TO_JSON", expressions=[value])
    if dialect in ("duckdb", "postgres") and _TIME.fullmatch(type_):
        return _within_years(value, exp.DataType.build(type_, dialect=dialect))
    if dialect == "postgres":
        return _in_postgres(value, type_)
    if dialect == "duckdb" and _NESTED.search(type_) and _NESTED_FLOAT.search(type_):
        parsed = _parsed(type_)
        return value if parsed is None else _nested(value, parsed, 0)
    return value


def differs_when_sent(one: exp.Expr, other: exp.Expr, type_: str, dialect: str) -> exp.Expr:
    """The condition that two values of a column differ as JSON can carry them.

    Where `AS_SENT` only leaves out values, it is computed for the few rows with different ones.
    """
    differs = exp.NullSafeNEQ(
        this=as_sent(one.copy(), type_, dialect), expression=as_sent(other.copy(), type_, dialect)
    )
    if any(pattern.fullmatch(type_) for pattern in (_FLOATING, _DECIMAL, _TIME)):
        return exp.paren(exp.and_(exp.NullSafeNEQ(this=one, expression=other), differs))
    return differs


def as_stored(value: exp.Expr, type_: str, dialect: str) -> exp.Expr:
    """The expression of a value in a query that creates a table, of which the column gets its type.

    Snowflake gives a text of an expression the length of the longest text that the expression can
    give today, and refuses longer ones later. So its types are named, without a length. MariaDB
    forgets that a value is a boolean where an expression chooses one.
    """
    if dialect not in ("snowflake", "mariadb"):
        return value
    return exp.cast(value, exp.DataType.build(type_, dialect=dialect))


def _finite(value: exp.Expr, type_: exp.DataType, dialect: str = "duckdb") -> exp.Expr:
    """NULL if it is NaN or infinite; the engines order NaN above infinity."""
    infinity = "inf" if dialect == "snowflake" else "Infinity"
    low, high = (exp.cast(exp.Literal.string(sign + infinity), type_.copy()) for sign in ("-", ""))
    finite = exp.and_(
        exp.GT(this=value.copy(), expression=low), exp.LT(this=value.copy(), expression=high)
    )
    return exp.Case().when(finite, value)


def _within_years(value: exp.Expr, type_: exp.DataType) -> exp.Expr:
    """NULL if it is infinite, before the year 1 or after 9999."""
    if _NANOSECONDS.fullmatch(type_.sql("duckdb")):
        # From 1677 to 2262 only, so that the years below cannot be written in this type.
        return _finite(value, type_)
    ends = ("0001-01-01", "10000-01-01")
    first, end = (exp.cast(exp.Literal.string(day), type_.copy()) for day in ends)
    inside = exp.and_(
        exp.GTE(this=value.copy(), expression=first), exp.LT(this=value.copy(), expression=end)
    )
    return exp.Case().when(inside, value)


def _in_postgres(value: exp.Expr, type_: str) -> exp.Expr:
    if _DECIMAL.fullmatch(type_):
        # Only NaN and, since PostgreSQL 14, infinity have no scale.
        scale = exp.Anonymous(this="SCALE", expressions=[value.copy()])
        return exp.Case().when(exp.not_(exp.Is(this=scale, expression=exp.null())), value)
    numbers = _POSTGRES_NUMBERS.fullmatch(type_)
    if numbers is not None:
        for text in _NOT_FINITE:
            number = exp.cast(exp.Literal.string(text), numbers[1], dialect="postgres")
            value = exp.Anonymous(this="ARRAY_REPLACE", expressions=[value, number, exp.null()])
        return value
    json = _POSTGRES_JSON.fullmatch(type_)
    if json is not None:
        parsed: exp.Expr = exp.Anonymous(this="TO_JSONB", expressions=[value.copy()])
        if not json[1]:
            # A document that jsonb cannot hold is compared as it is written.
            whole = exp.cast(value, "TEXT")
            is_text_only = exp.RegexpLike(
                this=whole.copy(), expression=exp.Literal.string(_ONLY_IN_JSON)
            )
            written = exp.Anonymous(this="TO_JSONB", expressions=[whole])
            parsed = exp.Case().when(is_text_only, written).else_(parsed)
        null = exp.cast(exp.Literal.string("null"), "JSONB")
        return exp.Nullif(this=parsed, expression=null)
    if _POSTGRES_AS_TEXT.fullmatch(type_):
        return exp.cast(value, "TEXT")
    return value


def _mariadb_document(value: exp.Expr) -> exp.Expr:
    normalized = exp.Anonymous(this="JSON_NORMALIZE", expressions=[value])
    normal = exp.Collate(this=normalized, expression=exp.to_identifier(_MARIADB_COLLATION))
    return exp.Nullif(this=normal, expression=exp.Literal.string("null"))


@lru_cache(maxsize=256)
def _parsed(type_: str) -> exp.DataType | None:
    try:
        return exp.DataType.build(type_, dialect="duckdb")
    except (SqlglotError, ValueError):
        # A type that sqlglot does not know is compared as it is.
        return None


def _nested(value: exp.Expr, type_: exp.DataType, depth: int) -> exp.Expr:
    """A value of DuckDB without NaN and infinity at any depth."""
    if not _NESTED_FLOAT.search(type_.sql("duckdb")):
        return value
    kind = exp.DataType.Type
    if type_.is_type(kind.DOUBLE, kind.FLOAT):
        return _finite(value, type_)
    item = exp.to_identifier(f"tr__item{depth}")
    if type_.is_type(kind.ARRAY, kind.LIST):
        body = _nested(exp.column(item.name), type_.expressions[0], depth + 1)
        return _transformed(value, item, body)
    if type_.is_type(kind.STRUCT):
        fields = [
            exp.PropertyEQ(
                this=exp.to_identifier(field.name, quoted=True),
                expression=_nested(_part(value, field.name), field.args["kind"], depth + 1),
            )
            for field in type_.expressions
        ]
        is_given = exp.not_(exp.Is(this=value.copy(), expression=exp.null()))
        return exp.Case().when(is_given, exp.Struct(expressions=fields))
    if type_.is_type(kind.MAP):
        entry = exp.column(item.name)
        fields = [
            exp.PropertyEQ(
                this=exp.to_identifier(name),
                expression=_nested(_part(entry, name), part, depth + 1),
            )
            for name, part in zip(("key", "value"), type_.expressions, strict=True)
        ]
        entries = exp.Anonymous(this="MAP_ENTRIES", expressions=[value.copy()])
        changed = _transformed(entries, item, exp.Struct(expressions=fields))
        return exp.Anonymous(this="MAP_FROM_ENTRIES", expressions=[changed])
    return value


def _part(value: exp.Expr, name: str) -> exp.Expr:
    parts = [value.copy(), exp.Literal.string(name)]
    return exp.Anonymous(this="STRUCT_EXTRACT", expressions=parts)


def _transformed(value: exp.Expr, item: exp.Identifier, body: exp.Expr) -> exp.Expr:
    function = exp.Lambda(this=body, expressions=[item], colon=True)
    return exp.Anonymous(this="LIST_TRANSFORM", expressions=[value.copy(), function])
