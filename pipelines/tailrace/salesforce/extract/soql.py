"""Queries and the windows of time that they read: closed below, open above."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

# The whole request line and its headers may be 16,384 bytes; this leaves room for both.
URL_BYTES_MAX = 14_000
# No org is older than Salesforce.
EPOCH = datetime(1999, 1, 1, tzinfo=UTC)
WINDOW_SECONDS_MIN = 2.0


@dataclass(frozen=True, slots=True)
class Window:
    """`low <= cursor < high`; without `low`, everything before `high`; without both, everything."""

    low: datetime | None
    high: datetime | None

    def halves(self, now: datetime) -> tuple[Window, Window] | None:
        """The window in two, the older first, or None when it is too small to be cut.

        >>> day = Window(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 3, tzinfo=UTC))
        >>> [half.low.day for half in day.halves(now=day.high)]
        [1, 2]
        """
        low = self.low or EPOCH
        span = (self.high or now) - low
        if span.total_seconds() < WINDOW_SECONDS_MIN:
            return None
        middle = (low + span / 2).replace(microsecond=0)
        return Window(self.low, middle), Window(middle, self.high)


def select(
    what: Sequence[str],
    object_name: str,
    *,
    cursor: str | None,
    window: Window,
    live_only: bool = False,
) -> str:
    """The query of a window. Neither ORDER BY nor LIMIT: both would turn PK chunking off."""
    where = _where(cursor, window)
    if live_only:
        where = [*where, "IsDeleted = false"]
    condition = f" WHERE {' AND '.join(where)}" if where else ""
    return f"SELECT {','.join(what)} FROM {object_name}{condition}"


def fits_url(soql: str) -> bool:
    """Whether a query is short enough for a GET."""
    return len(quote(soql)) <= URL_BYTES_MAX


def moment(value: datetime) -> str:
    """A datetime as SOQL, and `/updated` and `/deleted`, write it.

    >>> moment(datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC))
    '2026-01-02T03:04:05.678Z'
    """
    return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def whole_minute(value: datetime) -> datetime:
    """The minute that `/updated` and `/deleted` read a moment as."""
    return value.replace(second=0, microsecond=0)


def minutes(count: float) -> timedelta:
    """A span of minutes."""
    return timedelta(minutes=count)


def _where(cursor: str | None, window: Window) -> list[str]:
    bounds = []
    if cursor is not None and window.low is not None:
        bounds.append(f"{cursor} >= {moment(window.low)}")
    if cursor is not None and window.high is not None:
        bounds.append(f"{cursor} < {moment(window.high)}")
    return bounds
