"""The clock that the engine reads, and the text form of its datetimes.

Nothing else in the package reads the time, so that a test can pass a clock of its own.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """The time functions that the engine uses."""

    def now(self) -> datetime:
        """The wall clock, with its zone (UTC)."""
        ...

    def monotonic(self) -> float:
        """Seconds that never run backwards."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait; returns early only by an exception."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        return datetime.now(tz=UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


def format_utc(value: datetime) -> str:
    """A datetime as ISO 8601 in UTC with microseconds.

    A naive datetime is read as UTC, which is what Salesforce and the warehouse return.

    >>> format_utc(datetime(2026, 11, 22, 5, tzinfo=UTC))
    '2026-11-22T05:00:00.000000Z'
    """
    if value.tzinfo is not None:
        value = value.astimezone(UTC).replace(tzinfo=None)
    return f"{value.isoformat(timespec='microseconds')}Z"


def parse_utc(text: str) -> datetime:
    """An ISO 8601 text as a datetime in UTC; a text without a zone is read as UTC.

    >>> parse_utc("2026-01-02T03:04:05.000+0000").isoformat()
    '2026-01-02T03:04:05+00:00'

    Raises:
        ValueError: The text is not an ISO 8601 date or datetime.
    """
    parsed = datetime.fromisoformat(text)
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).astimezone(UTC)
