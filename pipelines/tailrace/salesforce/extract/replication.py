"""Salesforce's replication calls: up to when a window is complete, and which rows were deleted."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from tailrace.dataclass import dataclass
from tailrace.errors import AnswerUnreadable, SalesforceFault, ServiceFailed
from tailrace.salesforce.answers import (
    as_mapping,
    as_records,
    as_text,
    as_timestamp,
    parse_timestamp,
)
from tailrace.salesforce.client import Api
from tailrace.salesforce.describe import SObject
from tailrace.salesforce.extract.soql import format_timestamp, whole_minute

log = logging.getLogger(__name__)

# A transaction takes ten minutes at most, and its rows carry the time at which it began.
LATE_COMMIT = timedelta(minutes=10)
UPDATED_SPAN_MAX = timedelta(days=29)
UPDATED_SPAN_SHORT = timedelta(hours=1)
DELETED_SPAN_MAX = timedelta(days=15)
DELETED_SPAN_MIN = timedelta(minutes=1)
# Salesforce lists currencies that were only deactivated as deleted.
DELETED_NOT_TRUSTED = frozenset({"CurrencyType"})


@dataclass(frozen=True, kw_only=True)
class Cutoff:
    """Up to when the rows of a window are complete.

    Attributes:
        end: The end of the window: Salesforce's clock, rounded up.
        high_watermark: The start of the next window, so that it includes late commits.
        changed: About how many rows changed in the window, when Salesforce said so.
    """

    end: datetime
    high_watermark: datetime
    changed: int | None


@dataclass(frozen=True, kw_only=True)
class Deletions:
    """Ids that were deleted, with the time of the deletion.

    Attributes:
        purged: The log does not cover the whole window, so there may be more deletions.
        refusal: Why Salesforce did not answer, if it did not.
    """

    rows: tuple[tuple[str, datetime], ...]
    purged: bool
    refusal: str | None = None


def find_cutoff(api: Api, sobject: SObject, start: datetime | None, end: datetime) -> Cutoff:
    """Ask `/updated` for `latestDateCovered`.

    This has to happen before the query: a transaction that commits between the two calls would
    be missed otherwise.
    """
    fallback = Cutoff(end=end, high_watermark=end - LATE_COMMIT, changed=None)
    if not sobject.replicateable:
        return fallback
    end_minute = whole_minute(end)
    starts = [end_minute - UPDATED_SPAN_SHORT]
    if start is not None and end_minute - start < UPDATED_SPAN_MAX:
        starts.insert(0, min(whole_minute(start), end_minute - timedelta(minutes=1)))
    for span_start in starts:
        try:
            answer = as_mapping(
                api.get(
                    f"sobjects/{sobject.name}/updated/",
                    start=format_timestamp(span_start),
                    end=format_timestamp(end_minute),
                ),
                "/updated",
            )
            covered = as_timestamp(answer.get("latestDateCovered"), "latestDateCovered")
        except (SalesforceFault, AnswerUnreadable):
            # More ids than Salesforce lists, or a date that it refuses: a shorter span has the
            # same latestDateCovered.
            continue
        ids = answer.get("ids")
        counts_window = span_start is starts[0] and len(starts) > 1 and isinstance(ids, list)
        return Cutoff(
            end=end,
            high_watermark=min(covered, end),
            changed=len(ids) if counts_window and isinstance(ids, list) else None,
        )
    return fallback


def find_deletions(api: Api, sobject: SObject, start: datetime, end: datetime) -> Deletions:
    """The ids in Salesforce's log of deletions between two datetimes.

    A refusal is not an error: the caller compares all ids instead.
    """
    if not sobject.replicateable or sobject.name in DELETED_NOT_TRUSTED:
        return Deletions(rows=(), purged=False)
    end = whole_minute(end)
    log_start = max(whole_minute(start), end - DELETED_SPAN_MAX + timedelta(minutes=2))
    purged = log_start > start + timedelta(minutes=1)
    log_start = min(log_start, end - DELETED_SPAN_MIN)
    rows: list[tuple[str, datetime]] = []
    try:
        for answer in _deleted(api, sobject, log_start, end):
            earliest = answer.get("earliestDateAvailable")
            if earliest is not None:
                purged |= as_timestamp(earliest, "earliestDateAvailable") > log_start
            rows += [
                (
                    as_text(record.get("id"), "id of a deleted record"),
                    as_timestamp(record.get("deletedDate"), "deletedDate"),
                )
                for record in as_records(answer.get("deletedRecords"), "deletedRecords")
            ]
    except (SalesforceFault, AnswerUnreadable) as fault:
        if getattr(fault, "code", "") == "INVALID_REPLICATION_DATE":
            return Deletions(rows=(), purged=True)
        log.info("%s: /deleted was refused: %s", sobject.name, fault.message)
        return Deletions(rows=(), purged=True, refusal=fault.message)
    return Deletions(rows=tuple(dict.fromkeys(rows)), purged=purged)


def _deleted(
    api: Api, sobject: SObject, start: datetime, end: datetime
) -> Iterator[Mapping[str, Any]]:
    try:
        yield as_mapping(
            api.get(
                f"sobjects/{sobject.name}/deleted/",
                start=format_timestamp(start),
                end=format_timestamp(end),
            ),
            "/deleted",
        )
    except ServiceFailed as fault:
        middle = whole_minute(start + (end - start) / 2)
        if getattr(fault, "code", "") != "EXCEEDED_ID_LIMIT" or not start < middle < end:
            raise
        yield from _deleted(api, sobject, start, middle)
        yield from _deleted(api, sobject, middle, end)


__all__ = ["Cutoff", "Deletions", "find_cutoff", "find_deletions", "parse_timestamp"]
