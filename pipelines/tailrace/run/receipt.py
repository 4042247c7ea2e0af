"""Compares the acknowledged messages with those that the destination reports as received.

An acknowledgement means that a batch was accepted, not that its messages were kept. If the receiver
can be asked what it kept, a run fails if its messages are missing there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime

from tailrace.clock import Clock
from tailrace.config.project import ProjectConfig
from tailrace.destinations.protocol import DestinationSettings, Receipt
from tailrace.destinations.registry import type_of
from tailrace.errors import EventsMissing, TailraceError
from tailrace.run.delivery import DeliveryResult
from tailrace.run.notices import Notice


def verify_receipt(
    results: Sequence[DeliveryResult],
    settings: Mapping[str, DestinationSettings],
    *,
    project: ProjectConfig,
    since: datetime,
    clock: Clock,
) -> tuple[list[Notice], list[TailraceError]]:
    """Query each destination that supports it. Returns the warnings and the errors."""
    sent: dict[str, Counter[tuple[str, str]]] = {}
    for result in results:
        sent.setdefault(result.destination, Counter()).update(result.by_name)
    notices: list[Notice] = []
    errors: list[TailraceError] = []
    for destination, counts in sent.items():
        expected = {name: count for name, count in counts.items() if count > 0}
        kind = type_of(project, destination)
        if not expected or not kind.can_verify_receipt(settings[destination]):
            continue
        try:
            receipt = kind.verify_receipt(settings[destination], expected, since=since, clock=clock)
        except TailraceError as error:
            message = f"{destination}: the receipt could not be verified: {error.message}"
            notices.append(Notice(message=message, hint=error.hint))
            continue
        notices += _dropped(destination, kind.label, receipt)
        if receipt.missing:
            errors.append(_missing(destination, kind.label, receipt, sum(expected.values())))
    return notices, errors


def _dropped(destination: str, label: str, receipt: Receipt) -> list[Notice]:
    """Messages that were acknowledged and then dropped; may include those of other senders."""
    return [
        Notice(
            message=f"{destination}: {label} dropped {count:,} messages on ingest since this run "
            f"began: {reason}",
            hint=f"See {receipt.place}.",
        )
        for reason, count in sorted(receipt.dropped.items())
        if count
    ]


def _missing(destination: str, label: str, receipt: Receipt, sent: int) -> EventsMissing:
    messages = [
        f"{count:,} {kind} {event}".rstrip()
        for (kind, event), count in sorted(receipt.missing.items())
    ]
    return EventsMissing(
        f"{destination}: of {sent:,} acknowledged messages, {label} has not received "
        f"{', '.join(messages)}",
        hint=f"See {receipt.place}. If it still does not show them, send the "
        "audience again: tailrace reset AUDIENCE --send",
    )
