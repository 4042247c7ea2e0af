"""A delivery whose transitions are in the outbox, and the mapper of its messages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field
from datetime import datetime
from functools import partial
from typing import Any

from tailrace.audience.audience import Audience
from tailrace.dataclass import dataclass
from tailrace.destinations.protocol import (
    Described,
    DestinationType,
    MapperOptions,
    MessageMapper,
)
from tailrace.ledger.ledger import Ledger
from tailrace.ledger.tables import Shape
from tailrace.run.pages_together import PagesTogether, SmallDelivery


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What applies to every message of a project; see `MapperOptions`.

    `rules` are those of each destination type, by its name.
    """

    salt: str | None = None
    rules: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """An audience run to deliver: its transitions, mapping and planning time."""

    run_seq: int
    audience: Audience
    shape: Shape
    planned_at: datetime
    planned: int
    resumed: bool
    # How many members changed, if nothing of this outbox was read yet; else the ledger tells.
    changed: int | None = None
    written_at: datetime | None = None
    moves: Mapping[str, int] = field(default_factory=dict)
    finished: bool = False

    @property
    def destination(self) -> str:
        """The section of the configuration that it goes to."""
        return self.audience.destination_name

    @property
    def columns(self) -> int:
        """The columns of the outbox that are read, with the earlier values of changed members."""
        values = len(self.shape.columns)
        return len(self.shape.keys) + values + (0 if self.changed == 0 else values)


def mapper_of(
    ledger: Ledger,
    delivery: Delivery,
    *,
    kind: DestinationType,
    terms: Terms,
    described: Described | None = None,
) -> MessageMapper:
    """The mapper of a delivery's messages."""
    options = MapperOptions(
        namespace=ledger.namespace,
        planned_at=delivery.planned_at,
        salt=terms.salt,
        rules=terms.rules.get(kind.name),
        described=described or {},
    )
    return kind.mapper(delivery.audience, options)


def pages_of_small(
    ledger: Ledger,
    queue: Iterable[Delivery],
    *,
    kind: DestinationType,
    terms: Terms,
    ahead: bool = False,
) -> PagesTogether | None:
    """Renders the pages of small new deliveries together; None where each is rendered alone.

    With `ahead`, another thread renders the next ones. The caller closes it.
    """
    engine = ledger.warehouse.engine
    if not engine.writes_messages or engine.joins_pages:
        return None
    return PagesTogether(
        ledger,
        [
            SmallDelivery(
                sync_key=delivery.audience.ledger_key,
                run_seq=delivery.run_seq,
                shape=delivery.shape,
                planned=delivery.planned,
                has_changes=delivery.changed > 0,
                mapper=partial(mapper_of, ledger, delivery, kind=kind, terms=terms),
            )
            for delivery in queue
            if delivery.planned and delivery.changed is not None and not delivery.resumed
        ],
        beside=ledger.warehouse.another if ahead else None,
    )
