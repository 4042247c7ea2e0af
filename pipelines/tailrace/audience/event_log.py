"""Event models: a SELECT whose rows are events, each sent once and never taken back.

An event model is an audience whose rows only enter. Its key is remembered while a row may still be
read: rows older than `keep` are not read, and their keys are forgotten.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from tailrace.audience.yaml import Header
from tailrace.clock import format_utc
from tailrace.dataclass import dataclass
from tailrace.errors import HeaderInvalid

DEFAULT_SINCE = "7d"
DEFAULT_KEEP = "90d"
SINCE_HINT = "Write since: all, none, a duration such as 7d or 12h, or a date such as 2026-01-31."
_DURATION = re.compile(r"(\d{1,5})([dhm])")
_UNITS = {"d": "days", "h": "hours", "m": "minutes"}
_BEGINNING = datetime(1000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class EventLog:
    """How the rows of an event model become events.

    Attributes:
        timestamp: The column with the time of the event.
        event_column: The column with the event's name; None if all have one name.
        since: How far back the first run sends, as it was written.
        keep_seconds: How long a key is remembered, and how far back rows are read.
        from_at: The time that `since` meant at the first run, in UTC; None before it. Rows before
            it are never sent.
    """

    timestamp: str
    event_column: str | None = None
    since: str = DEFAULT_SINCE
    keep_seconds: int
    from_at: str | None = None

    def started_at(self, now: datetime) -> str:
        """`from_at`, or what it is if the first run is now."""
        if self.from_at is not None:
            return self.from_at
        return format_utc(_first(self.since, now))

    def reads_from(self, now: datetime) -> datetime:
        """The time before which no row is read."""
        return max(_parsed(self.started_at(now)), self.forgets_before(now))

    def forgets_before(self, now: datetime) -> datetime:
        """The time before which keys are forgotten."""
        return now - timedelta(seconds=self.keep_seconds)


def event_log(header: Header, values: Mapping[str, Any]) -> EventLog:
    """The log of a header that its JSON Schema accepts.

    Raises:
        HeaderInvalid: A duration or a date cannot be read.
    """
    event = values["event"]
    keep = parse_duration(str(values.get("keep", DEFAULT_KEEP)))
    if not keep:
        raise HeaderInvalid(
            "keep must be a duration",
            hint="Write for example: keep: 90d",
            file=header.file,
            line=header.line(("keep",)),
        )
    since = str(values.get("since", DEFAULT_SINCE))
    try:
        _first(since, datetime(2000, 1, 1, tzinfo=UTC))
    except ValueError:
        raise HeaderInvalid(
            f"since is {since}", hint=SINCE_HINT, file=header.file, line=header.line(("since",))
        ) from None
    return EventLog(
        timestamp=values["timestamp"].lower(),
        event_column=None if isinstance(event, str) else event["column"].lower(),
        since=since,
        keep_seconds=int(keep.total_seconds()),
    )


def log_references(log: EventLog) -> Iterator[tuple[str, str]]:
    """The places in the header that name a column."""
    yield "timestamp", log.timestamp
    if log.event_column is not None:
        yield "event.column", log.event_column


def _first(since: str, now: datetime) -> datetime:
    """The time from which the first run sends.

    Raises:
        ValueError: It is neither `all`, `none`, a duration nor a date.
    """
    if since == "all":
        return _BEGINNING
    if since == "none":
        return now
    duration = parse_duration(since)
    if duration is not None:
        return now - duration
    return _parsed(since)


def parse_duration(text: str) -> timedelta | None:
    """A duration in whole days, hours or minutes, such as `90d`; None if it is something else."""
    match = _DURATION.fullmatch(text)
    return timedelta(**{_UNITS[match[2]]: int(match[1])}) if match else None


def _parsed(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)
