"""What Salesforce's replication calls say: how far a window is complete, and what was deleted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from tailrace.errors import SalesforceFault
from tailrace.salesforce.client import Api
from tailrace.salesforce.describe import SObject
from tailrace.salesforce.extract.soql import moment, whole_minute

# The transaction that runs longest is a ten-minute one; its rows carry the time it began.
LATE_COMMIT = timedelta(minutes=10)
UPDATED_SPAN_MAX = timedelta(days=29)
UPDATED_SPAN_SHORT = timedelta(hours=1)
DELETED_SPAN_MAX = timedelta(days=15)
DELETED_SPAN_MIN = timedelta(minutes=1)
# Salesforce tells of currencies that were only deactivated as deleted.
DELETED_NOT_TRUSTED = frozenset({"CurrencyType"})


@dataclass(frozen=True, kw_only=True)
class Horizon:
    """How far the rows are complete that a window can see.

    Attributes:
        high: The end of the window: what Salesforce's clock says, rounded up.
        next_low: Where the next window must begin, so that no late commit is missed.
        changed: About how many rows changed in the window, when Salesforce said so.
    """

    high: datetime
    next_low: datetime
    changed: int | None


@dataclass(frozen=True, kw_only=True)
class Deletions:
    """Ids that were deleted, with when.

    Attributes:
        purged: The log no longer reaches back to the start of the window: there may be more.
    """

    rows: tuple[tuple[str, datetime], ...]
    purged: bool


def horizon(api: Api, sobject: SObject, low: datetime | None, high: datetime) -> Horizon:
    """Ask before the query runs: a transaction that ends between the two is then not missed."""
    fallback = Horizon(high=high, next_low=high - LATE_COMMIT, changed=None)
    if not sobject.replicateable:
        return fallback
    end = whole_minute(high)
    starts = [end - UPDATED_SPAN_SHORT]
    if low is not None and end - low < UPDATED_SPAN_MAX:
        starts.insert(0, min(whole_minute(low), end - timedelta(minutes=1)))
    for start in starts:
        try:
            answer = api.get(
                f"sobjects/{sobject.name}/updated/", start=moment(start), end=moment(end)
            )
        except SalesforceFault:
            # More ids than it can list, or a date it refuses: a shorter span says as much of
            # what runs at the moment.
            continue
        covered = parse_moment(str(answer["latestDateCovered"]))
        from_low = start is starts[0] and len(starts) > 1
        return Horizon(
            high=high,
            next_low=min(covered, high),
            changed=len(answer.get("ids") or ()) if from_low else None,
        )
    return fallback


def deletions(api: Api, sobject: SObject, low: datetime, high: datetime) -> Deletions:
    """The ids in Salesforce's log of deletions between two moments."""
    if not sobject.replicateable or sobject.name in DELETED_NOT_TRUSTED:
        return Deletions(rows=(), purged=False)
    end = whole_minute(high)
    start = max(whole_minute(low), end - DELETED_SPAN_MAX + timedelta(minutes=2))
    too_old = start > low + timedelta(minutes=1)
    start = min(start, end - DELETED_SPAN_MIN)
    rows: list[tuple[str, datetime]] = []
    purged = too_old
    try:
        answers = list(_deleted(api, sobject, start, end))
    except SalesforceFault as fault:
        if fault.code != "INVALID_REPLICATION_DATE":
            raise
        # The log does not reach back as far: only the ids themselves tell then.
        return Deletions(rows=(), purged=True)
    for answer in answers:
        earliest = answer.get("earliestDateAvailable")
        purged = purged or (earliest is not None and parse_moment(str(earliest)) > start)
        rows += [
            (str(each["id"]), parse_moment(str(each["deletedDate"])))
            for each in answer.get("deletedRecords") or ()
        ]
    return Deletions(rows=tuple(dict.fromkeys(rows)), purged=purged)


def _deleted(
    api: Api, sobject: SObject, start: datetime, end: datetime
) -> Iterator[dict[str, Any]]:
    try:
        yield api.get(f"sobjects/{sobject.name}/deleted/", start=moment(start), end=moment(end))
    except SalesforceFault as fault:
        middle = whole_minute(start + (end - start) / 2)
        if fault.code != "EXCEEDED_ID_LIMIT" or not start < middle < end:
            raise
        yield from _deleted(api, sobject, start, middle)
        yield from _deleted(api, sobject, middle, end)


def parse_moment(text: str) -> datetime:
    """A moment as Salesforce writes it, `+0000` or `Z` at its end.

    >>> parse_moment("2026-01-02T03:04:05.000+0000").isoformat()
    '2026-01-02T03:04:05+00:00'
    """
    found = datetime.fromisoformat(text)
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
