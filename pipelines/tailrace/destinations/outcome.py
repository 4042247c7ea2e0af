"""The result of one request, for every destination, and the text of a service made safe to show."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Literal

from tailrace.errors import TailraceError

REASON_CHARACTERS_MAX = 160

Outcome = Literal["accepted", "refused", "retry", "fatal"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectedMessage:
    """A message that was refused in a request that was accepted otherwise."""

    index: int
    reason: str
    status: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SendOutcome:
    """The result of one request.

    Attributes:
        outcome: `accepted`; `refused` (a part of the batch may be accepted alone); `retry` later;
            or `fatal`, with the `error` that ends the delivery.
        rejected: The messages that an accepted request did not include.
        unconfirmed: The batch may have been accepted although the answer does not say so.
        wait_seconds: The pause that the service asks all requests to make.
        overloaded: The service receives more than it can handle.
        contacted: An HTTP server was reached.
    """

    outcome: Outcome
    status: int | None = None
    reason: str = ""
    rejected: tuple[RejectedMessage, ...] = ()
    unconfirmed: bool = False
    wait_seconds: float | None = None
    overloaded: bool = False
    contacted: bool = True
    error: TailraceError | None = None


def fatal(error: TailraceError, status: int | None = None) -> SendOutcome:
    """The outcome that ends a delivery with an error."""
    return SendOutcome(outcome="fatal", status=status, reason=error.message, error=error)


def describe_response(status: int | None, reason: str) -> str:
    """The status and the reason, as far as there are any.

    >>> describe_response(429, ""), describe_response(400, "Bad Request")
    ('429', '400: Bad Request')
    """
    return ": ".join(str(part) for part in (status, reason) if part)


def safe_text(text: str, *, characters_max: int = REASON_CHARACTERS_MAX) -> str:
    r"""A service's text without control characters, on one line, cut to a length.

    Terminal escapes, line breaks and invisible formatting characters become spaces.

    >>> safe_text("a\x1b]0;title\x07b\r\n::error::c\u202e")
    'a ]0;title b ::error::c'
    """
    # Longer than the result: several characters may become one space.
    start = text[: 8 * characters_max]
    visible = "".join(
        " " if unicodedata.category(letter).startswith(("C", "Z")) else letter for letter in start
    )
    return " ".join(visible.split())[:characters_max]


def without_values(text: str) -> str:
    """A message with everything that is quoted, long numbers and addresses removed.

    >>> without_values('Bad "ada@example.com" in ada@example.com, phone 491701234567')
    'Bad … in …, phone …'
    """
    text = safe_text(text, characters_max=2_000)
    text = re.sub(r"\"[^\"]*\"|'[^']*'|\S+@[\w.-]+|\S*\d{4,}\S*", "…", text)
    return safe_text(text)
