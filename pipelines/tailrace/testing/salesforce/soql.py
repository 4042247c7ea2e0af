"""A strict parser for a subset of SOQL.

`SELECT fields | count() FROM object [WHERE …] [ORDER BY …] [LIMIT n] [OFFSET n]`. Valid SOQL
outside the subset raises `NotPlayed`, so that it is never answered wrongly.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

SOQL_CHARS_MAX = 100_000

_TOKEN = re.compile(
    r"""(?P<space>\s+)
    |(?P<datetime>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,3})?(?:Z|[+-]\d\d:\d\d)(?![\w:.]))
    |(?P<date>\d{4}-\d\d-\d\d(?![\w:-]))
    |(?P<number>[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?(?![\w:.]))
    |(?P<string>'(?:[^'\\]|\\.)*')
    |(?P<name>[A-Za-z][\w.]*)
    |(?P<mark><=|>=|!=|<>|[=<>(),:])
    |(?P<bad>.)""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f", "'": "'", '"': '"', "\\": "\\"}
_KEYWORDS = frozenset(
    (
        *("select", "from", "where", "and", "or", "not", "in", "like", "order", "by", "group"),
        *("having", "limit", "offset", "asc", "desc", "nulls", "with", "using", "for"),
        *("null", "true", "false"),
    )
)


class SoqlError(Exception):
    """A query that Salesforce refuses, with its error code and message."""

    def __init__(self, code: str, message: str, text: str = "", at: int | None = None) -> None:
        self.code = code
        self.message = message if at is None else _pointed(text, at) + message
        super().__init__(self.message)


class NotPlayed(Exception):
    """SOQL that Salesforce accepts and this simulator does not support."""


@dataclass(frozen=True)
class Literal:
    """A value in a query, with the kind of its notation."""

    kind: str
    value: Any


@dataclass(frozen=True)
class Compare:
    """`field op literal`; `IN` and `NOT IN` carry a list."""

    field: str
    op: str
    literals: tuple[Literal, ...]
    at: int


@dataclass(frozen=True)
class Junction:
    """Conditions joined by `and` or `or`, or one condition negated by `not`."""

    op: str
    parts: tuple[Condition, ...]


Condition = Compare | Junction


@dataclass(frozen=True)
class Order:
    """One term of ORDER BY."""

    field: str
    at: int
    descending: bool = False
    nulls_last: bool = False


@dataclass(frozen=True, kw_only=True)
class Query:
    """A parsed query, not checked against its object."""

    text: str
    fields: tuple[tuple[str, int], ...]
    sobject: str
    sobject_at: int
    count: bool = False
    where: Condition | None = None
    order: tuple[Order, ...] = ()
    limit: int | None = None
    offset: int | None = None
    aggregates: bool = False
    group_by: bool = False


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    at: int

    @property
    def word(self) -> str:
        return self.text.lower() if self.kind == "name" else self.text


def parse(text: str, *, now: datetime) -> Query:
    """Parse a query; raises SoqlError or NotPlayed. `now` is the time for TODAY and the like."""
    if len(text) > SOQL_CHARS_MAX:
        raise SoqlError("MALFORMED_QUERY", f"SOQL statements cannot exceed {SOQL_CHARS_MAX} chars")
    if not text.strip():
        raise SoqlError("MALFORMED_QUERY", "unexpected token: '<EOF>'", text, 0)
    return _Parser(text, now).query()


def compares(condition: Condition | None) -> Iterator[Compare]:
    """Every comparison in a condition."""
    if isinstance(condition, Compare):
        yield condition
    elif condition is not None:
        for part in condition.parts:
            yield from compares(part)


class _Parser:
    def __init__(self, text: str, now: datetime) -> None:
        self.text = text
        self.now = now
        self.tokens = list(_tokens(text))
        self.position = 0

    def query(self) -> Query:
        self.expect("select")
        fields, count, aggregates = self.fields()
        self.expect("from")
        sobject = self.name()
        self.refuse_unplayed()
        where = self.condition() if self.accept("where") else None
        group_by = self.group()
        order = self.orders() if self.accept("order") else ()
        limit = self.whole() if self.accept("limit") else None
        offset = self.whole() if self.accept("offset") else None
        rest = self.peek()
        if rest.word in ("for", "all", "with"):
            raise NotPlayed(f"{rest.text} …")
        if rest.kind != "end":
            raise self.unexpected(rest)
        return Query(
            text=self.text,
            fields=tuple((token.text, token.at) for token in fields),
            sobject=sobject.text,
            sobject_at=sobject.at,
            count=count,
            where=where,
            order=order,
            limit=limit,
            offset=offset,
            aggregates=aggregates,
            group_by=group_by,
        )

    def refuse_unplayed(self) -> None:
        token = self.peek()
        if token.word in ("using", "with"):
            raise NotPlayed(f"{token.text} …")
        if token.word == ",":
            raise NotPlayed("several objects in FROM")
        if token.kind == "name" and token.word not in _KEYWORDS and token.word != "all":
            following = self.tokens[self.position + 1]
            if following.word in ("where", "order", "limit"):
                raise NotPlayed("an alias in FROM")

    def fields(self) -> tuple[list[_Token], bool, bool]:
        """The selected fields; whether it is `count()`; whether it aggregates otherwise."""
        fields: list[_Token] = []
        aggregates = False
        while True:
            if self.peek().word == "(":
                raise NotPlayed("a subquery in SELECT")
            token = self.name()
            if self.accept("("):
                if token.word == "fields":
                    raise NotPlayed("FIELDS()")
                if token.word == "count" and self.accept(")") and not fields:
                    return [], True, True
                self.name()
                self.expect(")")
                aggregates = True
            else:
                fields.append(token)
            if not self.accept(","):
                return fields, False, aggregates

    def group(self) -> bool:
        if not self.accept("group"):
            return False
        self.expect("by")
        self.name()
        while self.accept(","):
            self.name()
        return True

    def orders(self) -> tuple[Order, ...]:
        self.expect("by")
        orders = [self.order()]
        while self.accept(","):
            orders.append(self.order())
        return tuple(orders)

    def order(self) -> Order:
        token = self.name()
        descending = bool(self.accept("desc"))
        if not descending:
            self.accept("asc")
        nulls_last = False
        if self.accept("nulls"):
            nulls_last = self.peek().word == "last"
            if not nulls_last and self.peek().word != "first":
                raise self.unexpected(self.peek())
            self.position += 1
        return Order(token.text, token.at, descending, nulls_last)

    def condition(self) -> Condition:
        """Salesforce takes `a AND b OR c` only with brackets that say which comes first."""
        parts = [self.term()]
        op = self.peek().word
        if op not in ("and", "or"):
            return parts[0]
        while self.accept(op):
            parts.append(self.term())
        if self.peek().word in ("and", "or"):
            raise self.unexpected(self.peek())
        return Junction(op, tuple(parts))

    def term(self) -> Condition:
        if self.accept("not"):
            return Junction("not", (self.term(),))
        if self.accept("("):
            inside = self.condition()
            self.expect(")")
            return inside
        return self.comparison()

    def comparison(self) -> Compare:
        field = self.name()
        token = self.next()
        if token.word == "not":
            self.expect("in")
            return Compare(field.text, "not in", self.listed(), field.at)
        if token.word == "in":
            return Compare(field.text, "in", self.listed(), field.at)
        if token.word in ("includes", "excludes"):
            raise NotPlayed(token.text)
        if token.word == "like":
            return Compare(field.text, "like", (self.literal(),), field.at)
        if token.kind != "mark" or token.text in "(),:":
            raise self.unexpected(token)
        op = "!=" if token.text == "<>" else token.text
        return Compare(field.text, op, (self.literal(),), field.at)

    def listed(self) -> tuple[Literal, ...]:
        self.expect("(")
        if self.peek().word == "select":
            raise NotPlayed("a subquery in WHERE")
        literals = [self.literal()]
        while self.accept(","):
            literals.append(self.literal())
        self.expect(")")
        return tuple(literals)

    def literal(self) -> Literal:
        token = self.next()
        if token.kind == "string":
            return Literal("string", self.unescaped(token))
        if token.kind == "number":
            return Literal("number", float(token.text))
        if token.kind == "date":
            return Literal("date", self.calendar(token, date.fromisoformat))
        if token.kind == "datetime":
            moment = self.calendar(token, datetime.fromisoformat)
            return Literal("datetime", moment.astimezone(UTC).replace(tzinfo=None))
        if token.word in ("true", "false"):
            return Literal("boolean", token.word == "true")
        if token.word == "null":
            return Literal("null", None)
        if token.kind == "name":
            return self.date_literal(token)
        raise self.unexpected(token)

    def calendar(self, token: _Token, read: Any) -> Any:
        try:
            return read(token.text)
        except ValueError:
            raise self.unexpected(token) from None

    def date_literal(self, token: _Token) -> Literal:
        today = self.now.date()
        if token.word == "today":
            return Literal("days", (today, today + timedelta(days=1)))
        if token.word == "yesterday":
            return Literal("days", (today - timedelta(days=1), today))
        if token.word == "last_n_days":
            self.expect(":")
            days = self.whole()
            return Literal("days", (today - timedelta(days=days), today + timedelta(days=1)))
        if token.word.startswith(("last_", "next_", "this_", "n_", "tomorrow")):
            raise NotPlayed(token.text)
        raise self.unexpected(token)

    def unescaped(self, token: _Token) -> str:
        def one(match: re.Match[str]) -> str:
            sign = match.group(1)
            if sign in "_%":
                return match.group(0)
            if sign not in _ESCAPES:
                raise SoqlError(
                    "MALFORMED_QUERY",
                    f"Illegal string literal: Invalid string literal {token.text}. Illegal"
                    f" character sequence '\\{sign}' in string literal.",
                )
            return _ESCAPES[sign]

        return re.sub(r"\\(.)", one, token.text[1:-1], flags=re.DOTALL)

    def whole(self) -> int:
        token = self.next()
        if token.kind != "number" or not token.text.isdecimal():
            raise self.unexpected(token)
        return int(token.text)

    def name(self) -> _Token:
        token = self.next()
        if token.kind != "name" or token.word in _KEYWORDS:
            raise self.unexpected(token)
        return token

    def expect(self, word: str) -> None:
        if not self.accept(word):
            raise self.unexpected(self.peek())

    def accept(self, word: str) -> bool:
        if self.peek().word != word:
            return False
        self.position += 1
        return True

    def peek(self) -> _Token:
        return self.tokens[self.position]

    def next(self) -> _Token:
        token = self.tokens[self.position]
        self.position = min(self.position + 1, len(self.tokens) - 1)
        return token

    def unexpected(self, token: _Token) -> SoqlError:
        said = "<EOF>" if token.kind == "end" else token.text
        return SoqlError("MALFORMED_QUERY", f"unexpected token: '{said}'", self.text, token.at)


def _tokens(text: str) -> Iterator[_Token]:
    for match in _TOKEN.finditer(text):
        kind = str(match.lastgroup)
        if kind == "bad":
            said = match.group()
            raise SoqlError("MALFORMED_QUERY", f"unexpected token: '{said}'", text, match.start())
        if kind != "space":
            yield _Token(kind, match.group(), match.start())
    yield _Token("end", "", len(text))


def _pointed(text: str, at: int) -> str:
    """The piece of the query around the mistake, with a caret under it, as Salesforce prints it."""
    before = text[:at]
    row = before.count("\n") + 1
    column = at - (before.rfind("\n") + 1) + 1
    start = max(0, at - 40)
    piece = text[start : at + 40].replace("\n", " ")
    return f"\n{piece}\n{' ' * (at - start)}^\nERROR at Row:{row}:Column:{column}\n"
