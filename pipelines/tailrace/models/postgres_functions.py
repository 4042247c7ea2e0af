"""Rules for functions and aggregates of a model that is translated to PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping

from sqlglot import exp

from tailrace.models.patterns import date_format, portable_pattern
from tailrace.models.translation import (
    INTERVAL_UNITS,
    Operands,
    Refusal,
    Rule,
    by_bytes,
    construct_name,
    no_counterpart,
)
from tailrace.models.types import (
    DATES,
    DECIMALS,
    DOUBLES,
    INSTANTS,
    INTEGERS,
    NUMBERS,
    TEXTS,
    TIMESTAMPS,
    kind_of,
)


def _ordered_arguments(node: exp.Expr, types: Operands) -> exp.Expr:
    operands = [node.this, *node.expressions]
    are_text = [types.is_text(operand, construct_name(node)) for operand in operands]
    if any(are_text):
        node.set("this", by_bytes(node.this))
    return node


def _extreme(node: exp.Expr, types: Operands) -> exp.Expr:
    if node.expressions:
        raise Refusal(f"{construct_name(node)} of several", node)
    if types.is_text(node.this, construct_name(node)):
        node.set("this", by_bytes(node.this))
    return node


def _of_text(node: exp.Expr, types: Operands) -> exp.Expr:
    for operand in (node.this, *(node.args.get(key) for key in ("expression", "replacement"))):
        if isinstance(operand, exp.Expr):
            types.require(operand, construct_name(node), TEXTS, like="VARCHAR")
    return node


def _substring(node: exp.Expr, types: Operands) -> exp.Expr:
    types.require(node.this, "substring()", TEXTS, like="VARCHAR")
    for key, least in (("start", 1), ("length", 0)):
        bound = node.args.get(key)
        if bound is None:
            continue
        if not isinstance(bound, exp.Literal) or not bound.is_int or int(bound.name) < least:
            hint = "Use left() and right(), or a literal position from 1 on."
            raise Refusal("substring() with a position that may be 0 or negative", node, hint=hint)
    return node


def _edge(node: exp.Expr, types: Operands) -> exp.Expr:
    types.require(node.this, construct_name(node), TEXTS, like="VARCHAR")
    if not isinstance(node.expression, exp.Literal):
        raise Refusal(f"{construct_name(node)} with a length that is computed", node)
    return node


def _split_part(node: exp.Expr, types: Operands) -> exp.Expr:
    delimiter, index = node.args.get("delimiter"), node.args.get("part_index")
    is_plain = isinstance(delimiter, exp.Literal) and delimiter.is_string and delimiter.name
    is_place = isinstance(index, exp.Literal) and index.is_int and int(index.name) > 0
    if not is_plain or not is_place:
        raise Refusal("split_part() without a literal text and a place from 1 on", node)
    types.require(node.this, "split_part()", TEXTS, like="VARCHAR")
    return node


def _contains(node: exp.Expr, types: Operands) -> exp.Expr:
    types.require(node.this, "contains()", TEXTS, like="VARCHAR")
    place = exp.StrPosition(this=node.this.copy(), substr=node.expression.copy())
    return exp.paren(exp.GT(this=place, expression=exp.Literal.number(0)))


def _position(node: exp.Expr, types: Operands) -> exp.Expr:
    if node.args.get("position") is not None or node.args.get("occurrence") is not None:
        raise Refusal("instr() with a start", node)
    types.require(node.this, "position()", TEXTS, like="VARCHAR")
    return node


def _ends_with(node: exp.Expr, types: Operands) -> exp.Expr:
    types.require(node.this, "ends_with()", TEXTS, like="VARCHAR")
    end = exp.Right(this=node.this.copy(), expression=exp.Length(this=node.expression.copy()))
    return exp.paren(exp.EQ(this=end, expression=node.expression.copy()))


def _trim(node: exp.Expr, types: Operands) -> exp.Expr:
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


def _matches(node: exp.Expr, types: Operands) -> exp.Expr:
    if node.args.get("flag") is not None:
        hint = "Match lower(x) against a pattern in lower case."
        raise Refusal("regexp_matches() with options", node, hint=hint, known=True)
    types.require(node.this, "regexp_matches()", TEXTS, like="VARCHAR")
    pattern = exp.Literal.string(_pattern(node, "regexp_matches()"))
    return exp.RegexpLike(this=node.this.copy(), expression=pattern)


def _full_match(node: exp.Expr, types: Operands) -> exp.Expr:
    if node.args.get("options") is not None:
        raise Refusal("regexp_full_match() with options", node, known=True)
    types.require(node.this, "regexp_full_match()", TEXTS, like="VARCHAR")
    whole = exp.Literal.string(f"^(?:{_pattern(node, 'regexp_full_match()')})$")
    return exp.RegexpLike(this=node.this.copy(), expression=whole)


def _regexp_replace(node: exp.Expr, types: Operands) -> exp.Expr:
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


def _date_text(node: exp.Expr, types: Operands) -> exp.Expr:
    text = node.args.get("format")
    if not isinstance(text, exp.Literal):
        raise Refusal("strftime() with a format that is not a literal", node)
    # sqlglot keeps the format in Python's words.
    written = date_format(text.name)
    if written is None:
        raise Refusal("The format of strftime()", node)
    types.require(node.this, "strftime()", DATES, TIMESTAMPS, like="TIMESTAMP")
    return exp.Anonymous(
        this="TO_CHAR",
        expressions=[exp.cast(node.this.copy(), "TIMESTAMP"), exp.Literal.string(written)],
    )


def _day_name(node: exp.Expr, types: Operands) -> exp.Expr:
    types.require(node.this, "dayname()", DATES, TIMESTAMPS, INSTANTS, like="DATE")
    return exp.Anonymous(
        this="TO_CHAR", expressions=[node.this.copy(), exp.Literal.string("FMDay")]
    )


def _month_name(node: exp.Expr, types: Operands) -> exp.Expr:
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


def _extracted(part: str, value: exp.Expr, node: exp.Expr, types: Operands) -> exp.Expr:
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


def _extract(node: exp.Expr, types: Operands) -> exp.Expr:
    return _extracted(node.this.name, node.expression, node, types)


def _part(name: str) -> Rule:
    return lambda node, types: _extracted(name, node.this, node, types)


def _date_trunc(node: exp.Expr, types: Operands) -> exp.Expr:
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


_TRUNCATED = INTERVAL_UNITS | {"QUARTER"}


def _date_difference(node: exp.Expr, types: Operands) -> exp.Expr:
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


def _date_of_parts(node: exp.Expr, types: Operands) -> exp.Expr:
    parts = [node.args.get(part) for part in ("year", "month", "day")]
    given = [part for part in parts if part is not None]
    if len(given) != len(parts):
        raise Refusal("make_date() of fewer than three parts", node, known=True)
    for part in given:
        types.require(part, "make_date()", INTEGERS, like="INTEGER")
    whole = [exp.cast(part.copy(), "INTEGER") for part in given]
    return exp.Anonymous(this="MAKE_DATE", expressions=whole)


def _last_day(node: exp.Expr, types: Operands) -> exp.Expr:
    types.require(node.this, "last_day()", DATES, TIMESTAMPS, like="DATE")
    return node


def _at_time_zone(node: exp.Expr, types: Operands) -> exp.Expr:
    if not isinstance(node.args["zone"], exp.Literal) or "/" not in node.args["zone"].name + "/":
        raise Refusal("AT TIME ZONE of something else than a literal", node)
    if node.args["zone"].name != "UTC" and "/" not in node.args["zone"].name:
        hint = "Name a zone such as 'Europe/Berlin' or 'UTC'."
        raise Refusal("AT TIME ZONE with an abbreviation", node, hint=hint)
    types.require(node.this, "AT TIME ZONE", TIMESTAMPS, INSTANTS, like="TIMESTAMPTZ")
    return node


def _sum(node: exp.Expr, types: Operands) -> exp.Expr:
    argument = node.this.expressions[0] if isinstance(node.this, exp.Distinct) else node.this
    types.require(argument, "sum()", NUMBERS, like="DECIMAL(18, 2)")
    return node


def _count_if(node: exp.Expr, types: Operands) -> exp.Expr:
    hint = "Write count(*) FILTER (WHERE …)."
    raise Refusal("count_if(), which is NULL if every value is NULL,", node, hint=hint)


def _average(node: exp.Expr, types: Operands) -> exp.Expr:
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


def _string_list(node: exp.Expr, types: Operands) -> exp.Expr:
    ordered = node.this
    argument = ordered.this if isinstance(ordered, exp.Order) else ordered
    if isinstance(argument, exp.Distinct):
        raise Refusal("string_agg() of DISTINCT values", node)
    types.require(argument, "string_agg()", TEXTS, like="VARCHAR")
    return node


def _array_list(node: exp.Expr, types: Operands) -> exp.Expr:
    if node.find(exp.Distinct):
        raise Refusal("list() of DISTINCT values", node)
    ordered = node.this
    types.refuse_list(ordered.this if isinstance(ordered, exp.Order) else ordered, "list()")
    return node


def _pick(name: str, *, largest: bool) -> Rule:
    """arg_max and arg_min: the first of a list in the order of what is compared."""

    def picked(node: exp.Expr, types: Operands) -> exp.Expr:
        if node.args.get("count") is not None or isinstance(node.parent, exp.Filter | exp.Window):
            raise Refusal(f"{name}() of several", node, known=True)
        value, by = node.this, node.expression
        types.refuse_list(value, f"{name}()")
        key = by_bytes(by.copy()) if types.is_text(by, f"{name}()") else by.copy()
        order = exp.Order(
            this=value.copy(),
            expressions=[exp.Ordered(this=key, desc=largest, nulls_first=False)],
        )
        known = exp.and_(value.copy().is_(exp.null()).not_(), by.copy().is_(exp.null()).not_())
        listed = exp.Filter(this=exp.ArrayAgg(this=order), expression=exp.Where(this=known))
        return exp.Bracket(this=exp.paren(listed), expressions=[exp.Literal.number(1)], offset=1)

    return picked


def _sha256(node: exp.Expr, types: Operands) -> exp.Expr:
    length = node.args.get("length")
    if length is None or length.name != "256":
        raise Refusal("A digest other than sha256()", node)
    types.require(node.this, "sha256()", TEXTS, like="VARCHAR")
    text = exp.func("CONVERT_TO", exp.cast(node.this.copy(), "TEXT"), exp.Literal.string("UTF8"))
    digest = exp.Anonymous(this="SHA256", expressions=[text])
    return exp.Anonymous(this="ENCODE", expressions=[digest, exp.Literal.string("hex")])


def _format(node: exp.Expr, types: Operands) -> exp.Expr:
    # The other engine's format() takes %s, and leaves {} as it is.
    raise Refusal("format() with {}", node, known=True)


def _anonymous(node: exp.Expr, types: Operands) -> exp.Expr:
    name = node.name.lower()
    if name in ("date_part", "datepart") and len(node.expressions) == 2:
        part, value = node.expressions
        if isinstance(part, exp.Literal):
            return _extracted(part.name, value, node, types)
    if name in ("now", "today", "get_current_timestamp", "transaction_timestamp"):
        return node
    raise Refusal(f"{name}()", node, known=True)


# Functions and aggregates.
FUNCTION_RULES: Mapping[type[exp.Expr], Rule] = {
    exp.Anonymous: _anonymous,
    exp.ArgMax: _pick("arg_max", largest=True),
    exp.ArgMin: _pick("arg_min", largest=False),
    exp.ArrayAgg: _array_list,
    exp.AtTimeZone: _at_time_zone,
    exp.Avg: _average,
    exp.Contains: _contains,
    exp.CountIf: _count_if,
    exp.DateDiff: _date_difference,
    exp.DateFromParts: _date_of_parts,
    exp.DateTrunc: _date_trunc,
    exp.Day: _part("day"),
    exp.DayOfMonth: _part("day"),
    exp.DayOfWeek: _part("dow"),
    exp.DayOfYear: _part("doy"),
    exp.Dayname: _day_name,
    exp.EndsWith: _ends_with,
    exp.Extract: _extract,
    exp.Format: _format,
    exp.Glob: no_counterpart("GLOB"),
    exp.Greatest: _ordered_arguments,
    exp.GroupConcat: _string_list,
    exp.Hour: _part("hour"),
    exp.LastDay: _last_day,
    exp.Least: _ordered_arguments,
    exp.Left: _edge,
    exp.Length: _of_text,
    exp.Lower: _of_text,
    exp.MD5: _of_text,
    exp.Max: _extreme,
    exp.Min: _extreme,
    exp.Minute: _part("minute"),
    exp.Month: _part("month"),
    exp.Monthname: _month_name,
    exp.Quarter: _part("quarter"),
    exp.RegexpFullMatch: _full_match,
    exp.RegexpLike: _matches,
    exp.RegexpReplace: _regexp_replace,
    exp.Replace: _of_text,
    exp.Right: _edge,
    exp.SHA2: _sha256,
    exp.SplitPart: _split_part,
    exp.StartsWith: _of_text,
    exp.StrPosition: _position,
    exp.Substring: _substring,
    exp.Sum: _sum,
    exp.TimeToStr: _date_text,
    exp.TimestampTrunc: _date_trunc,
    exp.Trim: _trim,
    exp.TryCast: no_counterpart("TRY_CAST"),
    exp.Upper: _of_text,
    exp.Week: _part("week"),
    exp.WeekOfYear: _part("week"),
    exp.Year: _part("year"),
}
