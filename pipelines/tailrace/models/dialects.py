"""Checks a model in another dialect than the warehouse's before sqlglot translates it.

A construct passes only if it is listed: it means the same in both dialects, or sqlglot translates
it and the corpus in `tests/models/test_dialects.py` shows the same rows on both engines. Everything
else is refused by name. What sqlglot's syntax tree does not keep is found among the tokens.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

import sqlglot
from sqlglot import exp
from sqlglot.errors import TokenError

from tailrace.models.patterns import portable_pattern
from tailrace.models.translation import INTERVAL_UNITS, PARTS, Refusal, construct_name
from tailrace.models.transpile import SAME
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

_SAME_TEXT = TEXTS | INTEGERS | DECIMALS | DATES | TIMESTAMPS | INSTANTS | BOOLEANS
_PLAIN_INTERVAL = re.compile(r"-?\d+(\s+(year|month|week|day|hour|minute|second)s?)?", re.I)
_PLAIN_PATH = re.compile(r"\w+|\$(\.\w+)+")
_PATH_FUNCTIONS = frozenset(
    {"json_extract", "json_extract_path", "json_extract_path_text", "json_extract_string"}
)
_TYPE_WORDS = frozenset({"DATE", "TIME", "TIMESTAMP", "TIMESTAMPTZ", "INTERVAL", "JSON", "UUID"})
_EXTRACTED = frozenset({"YEAR", "QUARTER", "MONTH", "WEEK", "DAY", "DOW", "ISODOW", "DOY"})
_CASTS = frozenset(
    {
        *(
            SqlType.SMALLINT,
            SqlType.INT,
            SqlType.BIGINT,
            SqlType.DECIMAL,
            SqlType.DOUBLE,
            SqlType.BOOLEAN,
        ),
        *(SqlType.DATE, SqlType.TIMESTAMPTZ, SqlType.TEXT, SqlType.VARCHAR),
    }
)
Check = Callable[[exp.Expr, bool], None]


def refuse_tokens(text: str, dialect: str) -> None:
    """Refuse what sqlglot reads into its tree with another meaning, or without a part of it.

    Raises:
        Refusal: With the place of the token as `line` in the node's meta.
    """
    try:
        tokens = sqlglot.tokenize(text, read=dialect)
    except TokenError:
        return
    for place, token in enumerate(tokens):
        what = hint = ""
        written = text[token.start : token.end + 1]
        following = tokens[place + 1] if place + 1 < len(tokens) else None
        if written[:1] in "eExX" and written[1:2] == "'":
            what, hint = "A text with a prefix such as E'…'", "Write the character itself."
        elif dialect == "duckdb" and token.text in ("~", "!~", "~~~", "!~~", "^@", "@>", "<@"):
            what = f"The operator {token.text}"
            hint = "Use regexp_matches(), contains() or starts_with(), which say what is meant."
        elif dialect == "duckdb" and token.text in ("->", "->>") and following is not None:
            path = text[following.start : following.end + 1]
            if path.startswith("'") and not _PLAIN_PATH.fullmatch(path.strip("'")):
                what = f"The path {path}"
                hint = "Read one key after the other, such as: doc -> 'a' ->> 'b'"
        elif dialect == "duckdb" and token.text.lower() in _PATH_FUNCTIONS:
            what, hint = f"{token.text.lower()}()", "Use the operators -> and ->>."
        elif dialect == "postgres" and token.text.lower() in ("date_part", "datepart"):
            what, hint = "date_part()", "Use EXTRACT, such as: EXTRACT(year FROM x)"
        elif written.startswith("'") and following is not None and following.text == "::":
            if place and tokens[place - 1].text.upper() in _TYPE_WORDS:
                what, hint = "A cast of a literal with a type", "Put the literal into brackets."
        elif token.text.upper() == "INTERVAL" and following is not None:
            amount = text[following.start : following.end + 1]
            if amount.startswith("'") and not _PLAIN_INTERVAL.fullmatch(amount.strip("'")):
                what = f"INTERVAL {amount}"
                hint = "Write a whole number and a unit, such as: INTERVAL 3 MONTH"
        elif token.text.upper() == "IGNORE" and following and following.text.upper() == "NULLS":
            what = "IGNORE NULLS"
        if what:
            node = exp.Var(this=written)
            node.meta["line"] = text.count("\n", 0, token.start) + 1
            raise Refusal(what, node, hint=hint or _HINT)


def refuse_constructs(
    tree: exp.Query,
    dialect: str,
    *,
    columns: ColumnTypes | None,
    models: Mapping[str, Mapping[str, exp.DataType]],
) -> dict[str, exp.DataType]:
    """Refuse each construct of a model in another dialect that may mean something else in DuckDB.

    Args:
        tree: The author's SELECT.
        dialect: Its dialect.
        columns: The columns of the landed tables; None offline.
        models: The types of the columns of models that it reads.

    Returns:
        The types of the SELECT's columns.

    Raises:
        Refusal: With the node.
    """
    copy = tree.copy()
    types = annotate(copy, columns, dialect=dialect, models=models)
    checks = {**_CHECKS, **(_POSTGRES_CHECKS if dialect == "postgres" else {})}
    for node in copy.walk():
        if type(node) in SAME or isinstance(node, PARTS):
            continue
        check = checks.get(type(node))
        if check is None:
            raise Refusal(construct_name(node), node, hint=_HINT)
        check(node, columns is not None)
    return types


_HINT = "Write the model in the warehouse's own dialect, or with other functions."


def _require(node: exp.Expr, what: str, kinds: frozenset[exp.DType], *, strict: bool) -> None:
    kind = kind_of(node)
    if kind in kinds or kind is SqlType.NULL or (kind is None and not strict):
        return
    name = "an unknown type" if kind is None else f"type {kind.value}"
    raise Refusal(f"{what} of {name}", node, hint=_HINT)


def _accept(node: exp.Expr, strict: bool) -> None:
    return


def _select(node: exp.Expr, strict: bool) -> None:
    for clause in ("laterals", "pivots", "sample", "match", "connect", "into", "hint"):
        if node.args.get(clause):
            raise Refusal(clause.upper(), node, hint=_HINT)


def _join(node: exp.Expr, strict: bool) -> None:
    words = [str(node.args.get(key) or "").upper() for key in ("method", "side", "kind")]
    if words[0] or words[2] not in ("", "INNER", "OUTER", "CROSS"):
        raise Refusal(f"{' '.join(word for word in words if word)} JOIN", node, hint=_HINT)


def _limit(node: exp.Expr, strict: bool) -> None:
    count = node.args.get("expression") or node.args.get("count")
    if not isinstance(count, exp.Literal) or not count.is_int or node.args.get("limit_options"):
        raise Refusal("LIMIT of something else than a number", node, hint=_HINT)


def _star(node: exp.Expr, strict: bool) -> None:
    if any(node.args.get(key) for key in ("except_", "except", "replace", "rename", "ilike")):
        raise Refusal("* with EXCEPT, REPLACE or RENAME", node, hint=_HINT)


def _arithmetic(node: exp.Expr, strict: bool) -> None:
    kinds = NUMBERS | DATES | TIMESTAMPS | INSTANTS | frozenset({SqlType.INTERVAL})
    for operand in (node.this, node.expression):
        if not isinstance(operand, exp.Interval):
            _require(operand, "Arithmetic", kinds, strict=strict)
    dates = [kind_of(operand) in DATES for operand in (node.this, node.expression)]
    if any(dates) and not all(dates) and not node.find(exp.Interval):
        others = {kind_of(operand) for operand in (node.this, node.expression)} - DATES
        if others - INTEGERS - {None}:
            raise Refusal("Arithmetic with a date", node, hint=_HINT)


def _numbers(node: exp.Expr, strict: bool) -> None:
    operands = [node.this, node.expression] if isinstance(node, exp.Binary) else [node.this]
    for operand in operands:
        _require(operand, construct_name(node), NUMBERS, strict=strict)


def _division(node: exp.Expr, strict: bool) -> None:
    """Only of types that are known: PostgreSQL divides whole numbers to whole numbers."""
    for operand in (node.this, node.expression):
        _require(operand, "A division", DOUBLES, strict=True)


def _nullif(node: exp.Expr, strict: bool) -> None:
    operands = {kind_of(node.this), kind_of(node.expression)} - {None, SqlType.NULL}
    if operands - TEXTS and len(operands) > 1:
        raise Refusal("nullif() of two types", node, hint=_HINT)


def _like(node: exp.Expr, strict: bool) -> None:
    pattern = node.expression
    if not isinstance(pattern, exp.Literal) or "\\" in pattern.name:
        raise Refusal("LIKE with a pattern that is computed or has a backslash", node, hint=_HINT)


def _texts(node: exp.Expr, strict: bool) -> None:
    parts = [node.this, node.expression] if isinstance(node, exp.DPipe) else node.expressions
    # PostgreSQL writes a boolean as t here, and as true in a cast.
    for part in parts:
        _require(part, "Text", _SAME_TEXT - BOOLEANS, strict=strict)


def _of_text(node: exp.Expr, strict: bool) -> None:
    _require(node.this, construct_name(node), TEXTS, strict=strict)


def _edge(node: exp.Expr, strict: bool) -> None:
    _of_text(node, strict)
    if not isinstance(node.expression, exp.Literal):
        raise Refusal(f"{construct_name(node)} with a length that is computed", node, hint=_HINT)


def _substring(node: exp.Expr, strict: bool) -> None:
    _of_text(node, strict)
    for key, least in (("start", 1), ("length", 0)):
        bound = node.args.get(key)
        if bound is not None and not (
            isinstance(bound, exp.Literal) and bound.is_int and int(bound.name) >= least
        ):
            what = "substring() with a position that may be 0 or negative"
            raise Refusal(what, node, hint=_HINT)


def _split_part(node: exp.Expr, strict: bool) -> None:
    _of_text(node, strict)
    delimiter, index = node.args.get("delimiter"), node.args.get("part_index")
    is_plain = isinstance(delimiter, exp.Literal) and bool(delimiter.name)
    if not is_plain or not isinstance(index, exp.Literal) or not index.name.isdigit():
        what = "split_part() without a literal text and a place from 1 on"
        raise Refusal(what, node, hint=_HINT)


def _cast(node: exp.Expr, strict: bool) -> None:
    to = node.args["to"]
    kind = to.this
    literal = isinstance(node.this, exp.Literal)
    plain = kind in (SqlType.TIMESTAMP, SqlType.TIMESTAMPNTZ) and literal
    has_zone = plain and any(mark in node.this.name[10:] for mark in "+-Zz")
    if has_zone or (kind not in _CASTS and not plain):
        raise Refusal(f"CAST to {to.sql()}", node, hint=_HINT)
    if kind is SqlType.DECIMAL and len(to.expressions) != 2:
        hint = "Give it a precision and a scale, such as DECIMAL(18, 2)."
        raise Refusal("A number without precision and scale", node, hint=hint)
    if kind in TEXTS:
        if to.expressions:
            raise Refusal("A text type with a length", node, hint="Use left(…, n).")
        _require(node.this, "CAST to text", _SAME_TEXT, strict=strict)
    if kind in NUMBERS:
        _require(node.this, "CAST to a number", NUMBERS | TEXTS | BOOLEANS, strict=strict)
    if kind in DATES | INSTANTS:
        moments = DATES | TIMESTAMPS | INSTANTS
        # A text may be read as another day: 01/02/2026.
        allowed = moments | TEXTS if literal and _ISO_DATE.match(node.this.name) else moments
        _require(node.this, "CAST to a date or time", allowed, strict=strict)


_ISO_DATE = re.compile(r"\d{4}-\d{2}-\d{2}([ T]|$)")


def _interval(node: exp.Expr, strict: bool) -> None:
    unit = str(node.args.get("unit") or "").upper().rstrip("S")
    amount = node.this.name if isinstance(node.this, exp.Literal) else ""
    if unit not in INTERVAL_UNITS or not amount.lstrip("-").isdigit():
        hint = "Write a whole number and a unit, such as: INTERVAL '3 months'"
        raise Refusal("INTERVAL of something else than a number and a unit", node, hint=hint)


def _extract(node: exp.Expr, strict: bool) -> None:
    if node.this.name.upper() not in _EXTRACTED:
        raise Refusal(f"The part {node.this.name.lower()} of a time", node, hint=_HINT)
    _require(node.expression, "EXTRACT", DATES | TIMESTAMPS | INSTANTS, strict=strict)


def _date_trunc(node: exp.Expr, strict: bool) -> None:
    unit = str(node.args.get("unit") or "").upper().strip("'")
    if unit not in INTERVAL_UNITS | {"QUARTER"}:
        raise Refusal(f"date_trunc() to {unit.lower()}", node, hint=_HINT)
    _require(node.this, "date_trunc()", TIMESTAMPS | INSTANTS, strict=strict)


def _round(node: exp.Expr, strict: bool) -> None:
    decimals = node.args.get("decimals")
    if decimals is not None and not (isinstance(decimals, exp.Literal) and decimals.is_int):
        raise Refusal("round() to something else than a number of places", node, hint=_HINT)
    _require(node.this, "round()", DECIMALS, strict=strict)


def _average(node: exp.Expr, strict: bool) -> None:
    _require(node.this, "avg()", DOUBLES, strict=strict)


def _no_distinct(node: exp.Expr, strict: bool) -> None:
    if node.find(exp.Distinct):
        raise Refusal(f"{construct_name(node)} of DISTINCT values", node, hint=_HINT)


def _pattern(node: exp.Expr, strict: bool) -> None:
    pattern = node.expression
    text = pattern.name if isinstance(pattern, exp.Literal) else ""
    if not text or portable_pattern(text) != text or "[^" in text or node.args.get("flag"):
        raise Refusal("A regular expression", node, hint=_HINT)


def _window(node: exp.Expr, strict: bool) -> None:
    function = node.this.this if isinstance(node.this, exp.Filter) else node.this
    if not isinstance(function, exp.Func) or isinstance(function, exp.Anonymous):
        raise Refusal("A window function", node, hint=_HINT)


def _anonymous(node: exp.Expr, strict: bool) -> None:
    if node.name.lower() not in ("now", "transaction_timestamp", "make_date"):
        raise Refusal(f"{node.name.lower()}()", node, hint=_HINT)


def _literal(node: exp.Expr, strict: bool) -> None:
    if not node.is_string and "e" in node.name.lower():
        raise Refusal("A number with an exponent", node, hint="Write it in digits.")


def _plain(
    names: tuple[type[exp.Expr], ...], check: Check
) -> Iterable[tuple[type[exp.Expr], Check]]:
    return ((name, check) for name in names)


# What dialects have in common. Functions that treat NULL or empty texts differently are left out.
_CHECKS: Mapping[type[exp.Expr], Check] = {
    **dict(
        _plain(
            (
                *(exp.EQ, exp.NEQ, exp.LT, exp.LTE, exp.GT, exp.GTE, exp.NullSafeEQ),
                *(exp.NullSafeNEQ, exp.In, exp.Between, exp.Ordered, exp.CTE),
                *(exp.Union, exp.Except, exp.Intersect, exp.Max, exp.Min, exp.Distinct),
            ),
            _accept,
        )
    ),
    **dict(_plain((exp.Add, exp.Sub), _arithmetic)),
    **dict(_plain((exp.Mul, exp.Neg, exp.Abs, exp.Sum), _numbers)),
    **dict(_plain((exp.Lower, exp.Upper, exp.Replace), _of_text)),
    exp.Anonymous: _anonymous,
    exp.Cast: _cast,
    exp.Div: _division,
    exp.Join: _join,
    exp.Limit: _limit,
    exp.Like: _like,
    exp.Literal: _literal,
    exp.Nullif: _nullif,
    exp.Select: _select,
    exp.Star: _star,
    exp.Window: _window,
}
_POSTGRES_CHECKS: Mapping[type[exp.Expr], Check] = {
    **dict(_plain((exp.Length, exp.Trim, exp.MD5, exp.StartsWith, exp.StrPosition), _of_text)),
    **dict(_plain((exp.Left, exp.Right), _edge)),
    **dict(_plain((exp.ArrayAgg, exp.GroupConcat), _no_distinct)),
    **dict(_plain((exp.Concat, exp.ConcatWs, exp.DPipe), _texts)),
    **dict(_plain((exp.Greatest, exp.Least), _accept)),
    **dict(_plain((exp.Ceil, exp.Floor), _numbers)),
    **dict(_plain((exp.TimestampTrunc, exp.DateTrunc), _date_trunc)),
    exp.Avg: _average,
    exp.Extract: _extract,
    exp.ILike: _like,
    exp.Interval: _interval,
    exp.RegexpLike: _pattern,
    exp.Round: _round,
    exp.SplitPart: _split_part,
    exp.Substring: _substring,
}
