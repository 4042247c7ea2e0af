"""Which rows of an event model are read: those since its first run, and not older than `keep`."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from tailrace.audience.audience import Audience
from tailrace.audience.event_log import EventLog
from tailrace.ledger.audiences import Delivered
from tailrace.warehouse.statements import Binding, Column, query


def with_start(audience: Audience, delivered: Delivered | None, *, now: datetime) -> Audience:
    """An event model with the time from which it sends: that of its first run, or now."""
    log = audience.log
    if log is None:
        return audience
    before = Audience.from_mapping(delivered.mapping).log if delivered else None
    return replace(audience, log=replace(log, from_at=(before or log).started_at(now)))


def events_since(model: Binding, log: EventLog, now: datetime, *, dialect: str) -> Binding:
    """The rows of an event model that a run reads at a time."""
    return query(
        "plan/events_since",
        dialect,
        tables={"model": model},
        column=Column(log.timestamp),
        since=log.reads_from(now),
    )
