"""Acknowledged against received: what Segment says afterwards of what a run sent.

An answer of 200 says that a batch was taken, not that its messages were kept. Where a token for the
Public API is configured, a run that lost something without a word does not end well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime

from tailrace.clock import Clock
from tailrace.config.settings import SegmentSettings
from tailrace.destinations.segment.delivery_overview import Overview, reconcile
from tailrace.errors import EventsMissing, TailraceError
from tailrace.run.delivery import Settled
from tailrace.run.notices import Remark


def compare(
    settled: Sequence[Settled],
    settings: Mapping[str, SegmentSettings],
    *,
    since: datetime,
    clock: Clock,
) -> tuple[list[Remark], list[TailraceError]]:
    """Ask each destination that can be asked, and say what does not add up."""
    sent: dict[str, Counter[tuple[str, str]]] = {}
    for each in settled:
        sent.setdefault(each.destination, Counter()).update(each.by_name)
    remarks: list[Remark] = []
    errors: list[TailraceError] = []
    for name, counts in sent.items():
        expected = {key: count for key, count in counts.items() if count > 0}
        if not expected or not settings[name].public_api_token:
            continue
        try:
            found = reconcile(
                settings[name],
                expected,
                since=since,
                clock=clock,
                wait_seconds_max=settings[name].overview_seconds_max,
            )
        except TailraceError as error:
            message = f"{name}: what was received could not be compared: {error.message}"
            remarks.append(Remark(message=message, hint=error.hint))
            continue
        remarks += _dropped(name, found)
        missing = found.missing(expected)
        if missing:
            errors.append(_missing(name, missing, sum(expected.values())))
    return remarks, errors


def _dropped(name: str, found: Overview) -> list[Remark]:
    """What was taken and then dropped; others may write to the same source."""
    return [
        Remark(
            message=f"{name}: Segment dropped {count:,} messages on ingest since this run "
            f"began: {reason}",
            hint="Look at the source's Delivery Overview in Segment.",
        )
        for reason, count in sorted(found.failed.items())
        if count
    ]


def _missing(name: str, missing: Mapping[tuple[str, str], int], sent: int) -> EventsMissing:
    called = [
        f"{count:,} {kind} {event}".rstrip() for (kind, event), count in sorted(missing.items())
    ]
    return EventsMissing(
        f"{name}: of {sent:,} acknowledged calls Segment has not received {', '.join(called)}",
        hint="Look at the source's Delivery Overview. If it shows them by now, all is well; if "
        "not, send the audience anew: tailrace reset AUDIENCE --send",
    )
