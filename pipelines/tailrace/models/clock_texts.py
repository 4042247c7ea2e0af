"""Texts that PostgreSQL reads as the time at which a statement runs, such as 'today'.

PostgreSQL reads them so wherever a text becomes a time: in a cast, and also without one, where the
text stands beside a date (`born < 'today'`). As a value of a text column it stays a text. So what
it means follows from the types beside it; where they are not known, the model is refused.

Source: PostgreSQL's manual, "Date/Time Types", section "Special Values".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import datetime

import sqlglot
from sqlglot import exp
from sqlglot.tokenizer_core import TokenType

from tailrace.models.determinism import CLOCK_WORD, frozen_text, may_be_clock
from tailrace.models.parse import read_select
from tailrace.models.splice import Edit, edited
from tailrace.models.translation import Refusal
from tailrace.models.types import TEXTS, ColumnTypes, SqlType, annotate, kind_of

# The dialects of engines that read them.
READ_CLOCK_TEXTS = frozenset({"postgres", "redshift"})
_HINT = (
    "Write CAST({0} AS DATE) or CAST({0} AS TIMESTAMP) for the time of the run, or "
    "CAST({0} AS TEXT) for the text itself."
)
# What a text is replaced by in the copy that is parsed, since a literal has no place in a tree.
_MARK = "the text at token "
_TEXT_TOKENS = frozenset(
    {
        *(TokenType.STRING, TokenType.BYTE_STRING, TokenType.HEREDOC_STRING),
        *(TokenType.UNICODE_STRING, TokenType.NATIONAL_STRING, TokenType.RAW_STRING),
    }
)
_TIME_TYPE = re.compile(r"DATE|TIME|TS(TZ)?(MULTI)?RANGE")
# Expressions whose value is one of their operands, which have one type.
_CHOICES = (exp.Coalesce, exp.Greatest, exp.Least, exp.Nullif, exp.Case, exp.Array)
_WRAPPERS = (exp.Paren, exp.Any, exp.All)
_OF_TEXTS = (
    *(exp.Like, exp.ILike, exp.SimilarTo, exp.RegexpLike, exp.RegexpILike, exp.DPipe, exp.Concat),
    *(exp.ConcatWs, exp.Lower, exp.Upper, exp.Initcap, exp.Trim, exp.Length, exp.StrPosition),
    *(exp.Replace, exp.Left, exp.Right, exp.Substring, exp.SplitPart, exp.Split, exp.StartsWith),
    *(exp.Format, exp.RegexpReplace, exp.GroupConcat, exp.MD5, exp.Pad, exp.Reverse, exp.Repeat),
    *(exp.Escape, exp.JSONExtract, exp.JSONExtractScalar, exp.JSONObject, exp.Translate),
)
# Those whose result is a text that may be cast.
_TO_TEXT = (exp.DPipe, exp.Concat, exp.Lower, exp.Upper, exp.Initcap, exp.Trim)
_OF_TIMES = (
    *(exp.TimestampTrunc, exp.DateTrunc, exp.Extract, exp.Date, exp.DateBin, exp.AtTimeZone),
    *(exp.GenerateSeries, exp.Overlaps),
)
_NAMED_OF_TIMES = frozenset({"age", "date", "date_part", "isfinite", "time", "timezone"})
_NAMED_OF_TEXTS = frozenset(
    {
        *("format", "btrim", "ltrim", "rtrim", "json_build_object", "jsonb_build_object"),
        *("json_build_array", "jsonb_build_array", "quote_literal", "similarity", "to_tsvector"),
    }
)
# What sqlglot gives no type, or another one.
_TIMES = (exp.TimestampTrunc, exp.DateTrunc, exp.Date, exp.DateBin, exp.AtTimeZone)
_NAMED_TIMES = frozenset({"date", "make_date", "make_time", "make_timestamp", "make_timestamptz"})


def clock_text_edits(text: str, now: datetime, *, columns: ColumnTypes | None) -> list[Edit]:
    """The texts in a SELECT of PostgreSQL that are a clock, replaced by this time.

    Args:
        text: The SELECT, in PostgreSQL's dialect.
        now: The time in UTC.
        columns: The columns of the tables that it reads; None offline.

    Raises:
        Refusal: A text may be a clock or not.
    """
    marked = {
        f"{_MARK}{place}": token
        for place, token in enumerate(sqlglot.tokenize(text, read="postgres"))
        if token.token_type in _TEXT_TOKENS and CLOCK_WORD.search(token.text)
    }
    if not marked:
        return []
    marks = [Edit(token.start, token.end + 1, f"'{mark}'") for mark, token in marked.items()]
    tree = read_select(edited(text, marks), dialect="postgres")
    annotate(tree, columns, dialect="postgres")
    literals = []
    for literal in tree.find_all(exp.Literal):
        token = marked.get(literal.name) if literal.is_string else None
        if token is not None:
            literal.set("this", token.text)
            literals.append((literal, token))
    return [
        Edit(token.start, token.end + 1, exp.Literal.string(frozen_text(token.text, now)).sql())
        for literal, token in literals
        if _is_clock(literal, is_strict=columns is not None)
    ]


def freeze_clock_texts(tree: exp.Query, now: datetime, *, columns: ColumnTypes | None) -> None:
    """Replace the texts that are a clock in a tree that is translated to PostgreSQL.

    Raises:
        Refusal: A text may be a clock or not.
    """
    literals = [
        literal
        for literal in tree.find_all(exp.Literal)
        if literal.is_string and CLOCK_WORD.search(literal.name)
    ]
    if literals:
        annotate(tree, columns)
    for literal in literals:
        if _is_clock(literal, is_strict=columns is not None):
            literal.set("this", frozen_text(literal.name, now))


def _is_clock(literal: exp.Expr, *, is_strict: bool) -> bool:
    """Whether a text is read as a time; if that is not known, it is refused once types are."""
    becomes_time = _becomes_time(literal, is_text=False)
    if becomes_time is None and is_strict and may_be_clock(literal.name):
        shown = literal.sql("postgres")
        raise Refusal(f"The text {shown}", literal, hint=_HINT.format(shown))
    return bool(becomes_time)


def _becomes_time(value: exp.Expr, *, is_text: bool) -> bool | None:
    """Whether a value becomes a time in what surrounds it; None if that is not known.

    Args:
        value: An expression whose value is the text.
        is_text: Its type is text, so that only a cast makes it a time.
    """
    parent = value.parent
    if isinstance(parent, exp.Cast):
        return _is_time_type(parent.to) or _becomes_time(parent, is_text=True)
    if isinstance(parent, _WRAPPERS):
        return _becomes_time(parent, is_text=is_text)
    if isinstance(parent, exp.If):
        return _becomes_time_in_case(value, parent, is_text=is_text)
    if isinstance(parent, _CHOICES):
        return _becomes_time_as_choice(value, parent, is_text=is_text)
    if isinstance(parent, _TO_TEXT):
        return _becomes_time(parent, is_text=True)
    if parent is None or isinstance(parent, exp.Alias | exp.Query | exp.Values | exp.Tuple):
        return _becomes_time_as_column(value, is_text=is_text)
    if is_text or isinstance(parent, _OF_TEXTS):
        return False
    if isinstance(parent, _OF_TIMES):
        return True
    if isinstance(parent, exp.Binary | exp.Between | exp.In):
        return _is_beside_time(value, _operands(parent, value))
    if isinstance(parent, exp.Anonymous):
        name = parent.name.lower()
        if name in _NAMED_OF_TIMES:
            return True
        return False if name in _NAMED_OF_TEXTS else None
    return None if isinstance(parent, exp.Func) else False


def _becomes_time_in_case(value: exp.Expr, branch: exp.If, *, is_text: bool) -> bool | None:
    """Of a value of CASE, or of one that CASE compares with its operand."""
    case = branch.parent
    if not isinstance(case, exp.Case):
        return None
    if branch.this is value:
        return False if is_text or case.this is None else _is_beside_time(value, [case.this])
    return _becomes_time_as_choice(value, case, is_text=is_text)


def _becomes_time_as_choice(value: exp.Expr, choice: exp.Expr, *, is_text: bool) -> bool | None:
    """Of an operand that an expression may return: by its other operands, or by its parent."""
    beside = False if is_text else _is_beside_time(value, _operands(choice, value))
    return beside if beside is not False else _becomes_time(choice, is_text=is_text)


def _becomes_time_as_column(value: exp.Expr, *, is_text: bool) -> bool | None:
    """Of a column of a SELECT or of VALUES: it may be cast by its name, or beside other rows."""
    parent = value.parent
    if isinstance(parent, exp.Tuple) and not isinstance(parent.parent, exp.Values):
        if isinstance(parent.parent, exp.Overlaps):
            return True
        return False if is_text else None
    column = parent if isinstance(parent, exp.Alias) else value
    rows = column.parent
    if not isinstance(rows, exp.Select | exp.Tuple) or column.arg_key != "expressions":
        return False
    place = rows.expressions.index(column)
    if _is_cast_by_name(column, place, of=rows):
        return True
    if is_text:
        return False
    whole: exp.Expr = rows
    while isinstance(whole.parent, exp.SetOperation | exp.Values):
        whole = whole.parent
    others = [row for row in whole.find_all(exp.Select, exp.Tuple) if row is not rows]
    beside = [row.expressions[place].unalias() for row in others if len(row.expressions) > place]
    return _is_beside_time(value, beside) if whole is not rows else False


def _is_cast_by_name(column: exp.Expr, place: int, *, of: exp.Expr) -> bool:
    """Whether a column of this name is cast to a time anywhere in the SELECT."""
    around = of.find_ancestor(exp.CTE, exp.Subquery, exp.Values)
    alias = around.args.get("alias") if around is not None else None
    names = alias.args.get("columns") if isinstance(alias, exp.TableAlias) else None
    name = column.alias_or_name or f"column{place + 1}"
    if names and len(names) > place:
        name = names[place].name
    return any(
        isinstance(cast.this, exp.Column)
        and cast.this.name.lower() == name.lower()
        and _is_time_type(cast.to)
        for cast in column.root().find_all(exp.Cast)
    )


def _operands(parent: exp.Expr, value: exp.Expr) -> list[exp.Expr]:
    """The operands of an expression that get one type with a value among them."""
    if isinstance(parent, exp.Case):
        branches = [branch.args["true"] for branch in parent.args["ifs"]]
        default = parent.args.get("default")
        operands: Sequence[exp.Expr] = [*branches, *([default] if default else [])]
    elif isinstance(parent, exp.In) and parent.args.get("query"):
        operands = parent.args["query"].this.selects[:1]
    else:
        operands = list(parent.iter_expressions())
    return [operand for operand in operands if operand is not value]


def _is_beside_time(value: exp.Expr, operands: Sequence[exp.Expr]) -> bool | None:
    kinds = list(_kinds(operands))
    if True in kinds:
        return True
    return None if None in kinds and False not in kinds else False


def _kinds(operands: Sequence[exp.Expr]) -> Iterator[bool | None]:
    """Whether each operand is a time; nothing of a literal and of NULL, which take any type."""
    for operand in operands:
        inner = operand
        while isinstance(inner, _WRAPPERS):
            inner = inner.this
        if isinstance(inner, exp.Array):
            yield from _kinds(inner.expressions)
        elif not isinstance(inner, exp.Null) and not (
            isinstance(inner, exp.Literal) and inner.is_string
        ):
            type_ = inner.to if isinstance(inner, exp.Cast) else inner.type
            is_named = isinstance(inner, exp.Anonymous) and inner.name.lower() in _NAMED_TIMES
            is_time = isinstance(type_, exp.DataType) and _is_time_type(type_)
            if is_time or is_named or isinstance(inner, _TIMES):
                yield True
            elif isinstance(inner, exp.Interval):
                continue
            else:
                yield False if kind_of(inner) in (*TEXTS, *_PLAIN) else None


_PLAIN = frozenset(SqlType) - TEXTS - {SqlType.UNKNOWN, SqlType.USERDEFINED, SqlType.NULL}


def _is_time_type(type_: exp.DataType) -> bool:
    """Whether a type is one of times, or of lists or ranges of them."""
    if type_.this in (SqlType.ARRAY, SqlType.LIST):
        return any(_is_time_type(inner) for inner in type_.expressions)
    name = type_.this.value if isinstance(type_.this, SqlType) else str(type_.this)
    return _TIME_TYPE.match(name) is not None
