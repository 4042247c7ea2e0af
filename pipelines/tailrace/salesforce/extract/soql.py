"""SOQL queries, and the windows of time and ranges of ids that they read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

from tailrace.dataclass import dataclass

# Salesforce limits the request line and the headers together to 16,384 bytes.
URL_BYTES_MAX = 14_000
# Salesforce was founded in 1999, so no row is older.
EPOCH = datetime(1999, 1, 1, tzinfo=UTC)
WINDOW_SECONDS_MIN = 2.0
# A record id is a key prefix of three characters and twelve digits of base 62, which sort as ASCII.
# The three characters behind them are a checksum.
ID_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
ID_PREFIX_LENGTH, ID_LENGTH = 3, 15


@dataclass(frozen=True)
class Window:
    """`start <= cursor < end` and `id_start <= Id < id_end`; None leaves a side open."""

    start: datetime | None
    end: datetime | None
    id_start: str | None = None
    id_end: str | None = None

    def halves(self, now: datetime) -> tuple[Window, Window] | None:
        """The two halves by time, the older first, or None when the window is too small to cut.

        >>> day = Window(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 3, tzinfo=UTC))
        >>> [half.start.day for half in day.halves(now=day.end)]
        [1, 2]
        """
        start = self.start or EPOCH
        span = (self.end or now) - start
        if span.total_seconds() < WINDOW_SECONDS_MIN:
            return None
        middle = (start + span / 2).replace(microsecond=0)
        return replace(self, end=middle), replace(self, start=middle)

    def id_halves(self, first_id: str, last_id: str) -> tuple[Window, Window] | None:
        """The two halves by id, or None when the range holds one id only.

        The outer bounds stay open, so the halves cover every id of the window, whatever the
        bounds given.

        Args:
            first_id, last_id: The smallest and the largest id of the object.
        """
        middle = middle_id(self.id_start or first_id, self.id_end or last_id)
        if middle is None:
            return None
        return replace(self, id_end=middle), replace(self, id_start=middle)


def middle_id(first: str, last: str) -> str | None:
    """An id between two ids of 15 or 18 characters, or None when there is none.

    >>> middle_id("003000000000001", "003000000000009")
    '003000000000005'
    >>> middle_id("003000000000001", "003000000000002") is None
    True
    """
    low, high = _id_number(first), _id_number(last)
    if low is None or high is None or high - low < 2:
        return None
    number, digits = (low + high) // 2, ""
    for _ in range(ID_LENGTH - ID_PREFIX_LENGTH):
        number, digit = divmod(number, len(ID_DIGITS))
        digits = ID_DIGITS[digit] + digits
    return first[:ID_PREFIX_LENGTH] + digits


def _id_number(record_id: str) -> int | None:
    digits = record_id[ID_PREFIX_LENGTH:ID_LENGTH]
    if len(digits) < ID_LENGTH - ID_PREFIX_LENGTH or not set(digits) <= set(ID_DIGITS):
        return None
    number = 0
    for digit in digits:
        number = number * len(ID_DIGITS) + ID_DIGITS.index(digit)
    return number


def select(
    what: Sequence[str],
    object_name: str,
    *,
    cursor: str | None,
    window: Window,
    live_only: bool = False,
) -> str:
    """The query of a window, without ORDER BY and LIMIT: either would turn PK chunking off."""
    conditions = _conditions(cursor, window)
    if live_only:
        conditions = [*conditions, "IsDeleted = false"]
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    return f"SELECT {','.join(what)} FROM {object_name}{where}"


def fits_url(soql: str) -> bool:
    """Whether a query is short enough for a GET."""
    # A byte is quoted as three at most.
    return 3 * len(soql.encode()) <= URL_BYTES_MAX or len(quote(soql)) <= URL_BYTES_MAX


def format_timestamp(value: datetime) -> str:
    """A datetime as SOQL, `/updated` and `/deleted` write it.

    >>> format_timestamp(datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC))
    '2026-01-02T03:04:05.678Z'
    """
    return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def whole_minute(value: datetime) -> datetime:
    """The minute that `/updated` and `/deleted` round a datetime down to."""
    return value.replace(second=0, microsecond=0)


def minutes(count: float) -> timedelta:
    """A span of minutes."""
    return timedelta(minutes=count)


def _conditions(cursor: str | None, window: Window) -> list[str]:
    conditions = []
    if cursor is not None and window.start is not None:
        conditions.append(f"{cursor} >= {format_timestamp(window.start)}")
    if cursor is not None and window.end is not None:
        conditions.append(f"{cursor} < {format_timestamp(window.end)}")
    if window.id_start is not None:
        conditions.append(f"Id >= '{window.id_start}'")
    if window.id_end is not None:
        conditions.append(f"Id < '{window.id_end}'")
    return conditions
