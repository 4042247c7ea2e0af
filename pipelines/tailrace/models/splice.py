"""Replaces parts of an author's SQL by their places in the text, and keeps every other character.

sqlglot reads the text (tokens and places); it does not write it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlglot import exp
from sqlglot.tokenizer_core import TokenType

from tailrace.models.determinism import CLOCK_FORMATS, CLOCKS
from tailrace.models.parse import tokens_of
from tailrace.warehouse.sandbox import duckdb_references

# The dialects whose text is kept where the warehouse speaks them too.
SPLICED = frozenset({"duckdb", "postgres", "snowflake", "mariadb"})
# Clocks that stand without brackets, and the types of their values.
_BARE_CLOCKS: Mapping[str, str] = {
    "current_timestamp": "TIMESTAMPTZ",
    "current_date": "DATE",
    "current_time": "TIMETZ",
    "localtimestamp": "TIMESTAMP",
    "localtime": "TIME",
}
_CALLED_CLOCKS: Mapping[str, str] = {
    **CLOCKS,
    **_BARE_CLOCKS,
    "get_current_time": "TIMETZ",
}


@dataclass(frozen=True, slots=True)
class Edit:
    """Characters `start` to `end` (exclusive) of a text, and what replaces them."""

    start: int
    end: int
    text: str


def edited(text: str, edits: Iterable[Edit]) -> str:
    """The text with all edits made; they must not overlap."""
    parts, at = [], 0
    for edit in sorted(edits, key=lambda edit: edit.start):
        parts += [text[at : edit.start], edit.text]
        at = edit.end
    return "".join((*parts, text[at:]))


def without_semicolon(text: str, dialect: str) -> str:
    """The text without white space around it and without the semicolons at its end.

    >>> without_semicolon(" SELECT ';' AS a; ; ", "duckdb")
    "SELECT ';' AS a"
    >>> without_semicolon(" SELECT 1 ", "duckdb")
    'SELECT 1'
    """
    if ";" not in text:
        return text.strip()
    edits = []
    for token in reversed(tokens_of(text, dialect)):
        if token.token_type is not TokenType.SEMICOLON:
            break
        edits.append(Edit(token.start, token.end + 1, ""))
    return edited(text, edits).strip()


def with_clauses(text: str, clauses: Mapping[str, str], *, dialect: str) -> str:
    """The SELECT with more WITH clauses before its own."""
    if not clauses:
        return text
    listed = ",\n".join(f"{name} AS (\n{clause}\n)" for name, clause in clauses.items())
    tokens = tokens_of(text, dialect)
    if tokens[0].token_type is not TokenType.WITH:
        return edited(text, [Edit(tokens[0].start, tokens[0].start, f"WITH {listed}\n")])
    recursive = tokens[1].token_type is TokenType.RECURSIVE
    end = tokens[1 if recursive else 0].end + 1
    return edited(text, [Edit(end, end, f" {listed},\n")])


def clock_edits(text: str, now: datetime, *, dialect: str) -> list[Edit]:
    """Every clock in a text, replaced by this time in UTC."""
    moment = now.replace(tzinfo=UTC) if now.tzinfo is None else now.astimezone(UTC)
    tokens = tokens_of(text, dialect)
    return list(_clock_edits(text, tokens, moment))


def _clock_edits(text: str, tokens: Sequence[Any], moment: datetime) -> Iterator[Edit]:
    for place, token in enumerate(tokens):
        name = text[token.start : token.end + 1].lower()
        if token.token_type is TokenType.STRING:
            continue
        if place and tokens[place - 1].token_type in (TokenType.DOT, TokenType.ALIAS):
            continue
        closing = _closing(tokens, place + 1)
        if closing is None:
            if name in _BARE_CLOCKS and not _is_qualifier(tokens, place):
                yield Edit(token.start, token.end + 1, _frozen(_BARE_CLOCKS[name], moment))
        elif name.strip('"') in _CALLED_CLOCKS and closing - place <= 3:
            kind = _CALLED_CLOCKS[name.strip('"')]
            digits = text[tokens[place + 1].end + 1 : tokens[closing].start].strip()
            if digits and name not in _BARE_CLOCKS:
                continue
            value = _frozen(kind, moment, digits=digits)
            yield Edit(token.start, tokens[closing].end + 1, value)
        elif name == "age" and not _has_comma(tokens, place + 1, closing):
            # age(x) counts from the beginning of today.
            start = tokens[place + 1].end + 1
            day = moment.strftime(CLOCK_FORMATS["DATE"])
            yield Edit(start, start, f"CAST('{day}' AS TIMESTAMP), ")


def _frozen(kind: str, moment: datetime, *, digits: str = "") -> str:
    suffix = f"({digits})" if digits else ""
    return f"CAST('{moment.strftime(CLOCK_FORMATS[kind])}' AS {kind}{suffix})"


def _closing(tokens: Sequence[Any], opening: int) -> int | None:
    """The place of the bracket that closes the one at `opening`; None if there is none."""
    if opening >= len(tokens) or tokens[opening].token_type is not TokenType.L_PAREN:
        return None
    depth = 0
    for place in range(opening, len(tokens)):
        kind = tokens[place].token_type
        depth += (kind is TokenType.L_PAREN) - (kind is TokenType.R_PAREN)
        if depth == 0:
            return place if place > opening else None
    return None


def _has_comma(tokens: Sequence[Any], opening: int, closing: int) -> bool:
    depth = 0
    for token in tokens[opening:closing]:
        opens = token.token_type in (TokenType.L_PAREN, TokenType.L_BRACKET, TokenType.L_BRACE)
        closes = token.token_type in (TokenType.R_PAREN, TokenType.R_BRACKET, TokenType.R_BRACE)
        depth += opens - closes
        if token.token_type is TokenType.COMMA and depth == 1:
            return True
    return False


def _is_qualifier(tokens: Sequence[Any], place: int) -> bool:
    return place + 1 < len(tokens) and tokens[place + 1].token_type is TokenType.DOT


def qualifier_edits(text: str, query: exp.Query, *, schema: str, dialect: str) -> list[Edit]:
    """`salesforce.contact.email` without the schema, whose dataset may have another name."""
    tokens = tokens_of(text, dialect)
    places = {token.start: number for number, token in enumerate(tokens)}
    starts: list[int] = []
    if query.meta.get("opaque"):
        for reference in duckdb_references(text) or ():
            if reference.kind == "column" and len(reference.path) > 2:
                starts += [reference.offset] if reference.path[0] == schema else []
    else:
        for column in query.find_all(exp.Column):
            db = column.args.get("db")
            if db is not None and db.name.lower() == schema and "start" in db.meta:
                starts.append(int(db.meta["start"]))
    return [
        Edit(start, tokens[places[start] + 2].start, "") for start in set(starts) if start in places
    ]
