"""Reads values out of JSON answers, and says what is wrong when they have another shape."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import orjson

from tailrace.errors import AnswerUnreadable

log = logging.getLogger(__name__)

INTEGER_MAX = 2**53
# What Python and the parsers raise for a value of another shape.
SHAPE_ERRORS = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RecursionError,
    NotImplementedError,
)


class IncompleteAnswer(Exception):
    """Something of an answer is missing, or it does not fit what its headers say."""


def _shape_errors() -> tuple[type[BaseException], ...]:
    """The errors of values of another shape, with those of pyarrow once it is imported."""
    arrow = sys.modules.get("pyarrow.lib")
    return SHAPE_ERRORS if arrow is None else (*SHAPE_ERRORS, arrow.ArrowException)


@contextmanager
def readable_answers(about: str) -> Iterator[None]:
    """Report an answer of an unforeseen shape as the service's failure.

    Shapes are checked where answers are read. What such a check overlooks is still not a defect of
    Tailrace, and not the end of the other objects.

    Args:
        about: What is asked about, such as an object.

    Raises:
        AnswerUnreadable: An answer has another shape than the code expects.
    """
    try:
        yield
    except _shape_errors() as error:
        log.debug("%s: an answer cannot be read", about, exc_info=True)
        raise AnswerUnreadable(
            f"{about}: an answer of Salesforce cannot be read ({type(error).__name__})"
        ) from error


def parse_json(body: bytes, what: str) -> Any:
    """The JSON of a body.

    Args:
        what: What was asked for, for the message.

    Raises:
        AnswerUnreadable: The body is not JSON, for example an HTML page.
    """
    try:
        return orjson.loads(body)
    except ValueError:
        start = body[:200].lstrip().lower()
        kind = "an empty answer" if not start else "something that is not JSON"
        if start.startswith(b"<"):
            kind = "an HTML or XML page"
        raise AnswerUnreadable(f"Salesforce answered {what} with {kind}") from None


def as_mapping(value: Any, what: str) -> Mapping[str, Any]:
    """The value as a JSON object.

    Raises:
        AnswerUnreadable: It is something else; the same holds for the other functions here.
    """
    if isinstance(value, Mapping):
        return value
    raise unreadable(what, "an object", value)


def as_records(value: Any, what: str) -> Sequence[Mapping[str, Any]]:
    """The value as a list of JSON objects."""
    if isinstance(value, list) and all(isinstance(entry, Mapping) for entry in value):
        return value
    raise unreadable(what, "a list of objects", value)


def as_text(value: Any, what: str) -> str:
    """The value as a text that is not empty."""
    if isinstance(value, str) and value:
        return value
    raise unreadable(what, "a text", value)


def as_count(value: Any, what: str) -> int:
    """The value as a whole number of at least zero."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= INTEGER_MAX:
        return value
    raise unreadable(what, "a count", value)


def as_flag(value: Any, what: str) -> bool:
    """The value as true or false."""
    if isinstance(value, bool):
        return value
    raise unreadable(what, "true or false", value)


def as_timestamp(value: Any, what: str) -> datetime:
    """The value as a datetime in UTC."""
    try:
        return parse_timestamp(as_text(value, what))
    except (ValueError, OverflowError):
        raise unreadable(what, "a date and time", value) from None


def parse_timestamp(text: str) -> datetime:
    """A datetime as Salesforce writes it, with `+0000` or `Z` at its end.

    >>> parse_timestamp("2026-01-02T03:04:05.000+0000").isoformat()
    '2026-01-02T03:04:05+00:00'
    """
    parsed = datetime.fromisoformat(text)
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).astimezone(UTC)


def parse_count(text: str | None) -> int | None:
    """A count out of a header, or None when it is missing or is not a number.

    >>> parse_count("200"), parse_count("²"), parse_count(None)
    (200, None, None)
    """
    text = (text or "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 15 else None


def unreadable(what: str, expected: str, value: Any) -> AnswerUnreadable:
    """The error for a value of another kind; the value itself is not shown."""
    kinds = {dict: "an object", list: "a list", str: "a text", type(None): "nothing"}
    kind = kinds.get(type(value), f"a {type(value).__name__}")
    return AnswerUnreadable(
        f"Salesforce's answer is not as documented: {what} is {kind}, not {expected}"
    )
