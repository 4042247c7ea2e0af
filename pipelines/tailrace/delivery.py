"""From a plan to an acknowledged audience: written down, sent, settled, advanced.

The caller's thread is the only one that writes to the ledger; the sender's verdicts come to it
as they are known.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tailrace.audiences import Audience
from tailrace.batches import Acknowledged, Envelope, Rejected, Verdict
from tailrace.calls import Mapper, Refusal
from tailrace.ledger import Ledger, Run, Shape
from tailrace.members import align
from tailrace.outbox import enqueue, shape_of_outbox, unsettled
from tailrace.plan import AudiencePlan, Choices
from tailrace.segment import Segment

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """An audience run to be settled: how many transitions, by which mapping, as of when."""

    run_seq: int
    audience: Audience
    shape: Shape
    planned_at: datetime
    planned: int
    resumed: bool


@dataclass(frozen=True, kw_only=True)
class Settled:
    """What became of an audience run, in members; `calls` counts calls."""

    audience: str
    run_seq: int
    sent: int
    rejected: int
    calls: int
    resumed: bool


def write_down(ledger: Ledger, run: Run, plan: AudiencePlan, *, choices: Choices) -> Delivery:
    """Commit an audience's plan: its outbox and its row in the ledger, in one transaction."""
    held = plan.status == "held"
    definition, fingerprint = plan.definition, plan.fingerprint
    if choices.intent == "retry" and plan.delivered is not None:
        # The rest of the audience still stands for the definition it was delivered by.
        definition, fingerprint = plan.delivered.definition, plan.delivered.definition_fingerprint
    whole = choices.intent != "retry" and not plan.diff.quarantined
    if not held:
        align(
            ledger,
            plan.audience,
            plan.model,
            plan.shape,
            lost=plan.diff.lost,
            backfill=choices.on_new_column == "absorb",
            restart=plan.diff.restart,
        )
    with ledger.warehouse.transaction():
        if plan.planned and not held:
            enqueue(
                ledger,
                run.seq,
                plan.audience,
                transitions=plan.diff.transitions,
                shape=plan.shape,
            )
        ledger.record_audience_run(
            run,
            plan.name,
            phase="held" if held else "delivering",
            definition=definition,
            definition_fingerprint=fingerprint,
            mapping=json.dumps(plan.audience.mapping(), sort_keys=True),
            mapping_fingerprint=plan.audience.mapping_fingerprint,
            model_fingerprint=plan.diff.fingerprint if whole else None,
            planned_at=run.started_at,
            finished_at=ledger.clock.now() if held else None,
            rows_seen=plan.diff.rows_seen,
            size_before=plan.diff.size_before,
            size_after=plan.diff.size_after,
            entered=plan.entered,
            changed=plan.changed,
            exited=plan.exited,
            quarantined=plan.diff.quarantined,
            held=plan.planned if held else 0,
            by_reason=json.dumps(plan.by_reason),
            guards=json.dumps([guard.as_dict() for guard in plan.guards]),
        )
    return Delivery(
        run_seq=run.seq,
        audience=plan.audience,
        shape=plan.shape,
        planned_at=run.started_at,
        planned=plan.planned,
        resumed=False,
    )


def left_behind(ledger: Ledger) -> list[Delivery]:
    """The audience runs that died before they were settled, with the mapping of their time."""
    found = []
    for each in ledger.unsettled():
        audience = Audience.from_mapping(each.mapping)
        found.append(
            Delivery(
                run_seq=each.run_seq,
                audience=audience,
                shape=shape_of_outbox(ledger, audience),
                planned_at=each.planned_at,
                planned=each.planned,
                resumed=True,
            )
        )
    return found


def deliver(
    ledger: Ledger,
    segment: Segment,
    delivery: Delivery,
    *,
    salt: str | None = None,
    progress: Progress | None = None,
) -> Settled:
    """Send what is not settled yet, then move the snapshot.

    Raises:
        DeliveryIncomplete: Not everything could be sent; what was acknowledged is written down,
            and the next run goes on from there.
    """
    if delivery.planned:
        _Delivering(ledger, segment, delivery, salt=salt, progress=progress).run()
    sent, rejected = ledger.advance(
        delivery.run_seq, delivery.audience.name, delivery.shape, planned=delivery.planned
    )
    ranges = ledger.acknowledged(delivery.run_seq, delivery.audience.name)
    return Settled(
        audience=delivery.audience.name,
        run_seq=delivery.run_seq,
        sent=sent,
        rejected=rejected,
        calls=sum(calls for _, _, calls in ranges),
        resumed=delivery.resumed,
    )


class _Delivering:
    """One audience's way through the sender."""

    def __init__(
        self,
        ledger: Ledger,
        segment: Segment,
        delivery: Delivery,
        *,
        salt: str | None,
        progress: Progress | None,
    ) -> None:
        self.ledger = ledger
        self.segment = segment
        self.delivery = delivery
        self.progress = progress
        self.name = delivery.audience.name
        self.settled = 0
        self.rejected: dict[int, dict[str, Any]] = {}
        self.mapper = Mapper(
            delivery.audience,
            namespace=ledger.namespace,
            planned_at=delivery.planned_at,
            salt=salt,
        )

    def run(self) -> None:
        batches = self.segment.batches(self._envelopes())
        for verdict in self.segment.deliver(batches):
            self._write(verdict)

    def _envelopes(self) -> Iterator[Envelope]:
        transitions = unsettled(
            self.ledger,
            self.delivery.run_seq,
            self.delivery.audience,
            shape=self.delivery.shape,
            planned=self.delivery.planned,
        )
        for transition, send in transitions:
            calls, refusals, user = self.mapper.calls(transition) if send else ([], [], "")
            if refusals:
                self._refuse(transition.seq, refusals[0])
            yield Envelope(seq=transition.seq, user=user, calls=tuple(calls))

    def _refuse(self, seq: int, refusal: Refusal) -> None:
        self.rejected[seq] = {
            "kind": refusal.kind,
            "reason": f"{refusal.rule} at {refusal.path}" if refusal.path else refusal.rule,
            "status": None,
            "attempts": 0,
            "message_id": refusal.message_id,
            "doubtful": False,
        }

    def _write(self, verdict: Verdict) -> None:
        if isinstance(verdict, Rejected):
            self.rejected[verdict.seq] = {
                "kind": verdict.kind,
                "reason": verdict.reason,
                "status": verdict.status,
                "attempts": verdict.attempts,
                "message_id": verdict.message_id,
                # Who died may have sent this before, and nobody was told.
                "doubtful": verdict.doubtful or self.delivery.resumed,
            }
            return
        self._acknowledge(verdict)
        self.settled += verdict.last_seq - verdict.first_seq + 1
        if self.progress is not None:
            self.progress(self.name, self.settled, self.delivery.planned)

    def _acknowledge(self, verdict: Acknowledged) -> None:
        """A range and what was refused in it become known together, or not at all."""
        within = [s for s in self.rejected if verdict.first_seq <= s <= verdict.last_seq]
        with self.ledger.warehouse.transaction():
            for seq in within:
                self.ledger.reject(
                    self.delivery.run_seq,
                    self.name,
                    seq=seq,
                    payload=None,
                    **self.rejected.pop(seq),
                )
            self.ledger.acknowledge(
                self.delivery.run_seq,
                self.name,
                first_seq=verdict.first_seq,
                last_seq=verdict.last_seq,
                calls=verdict.events,
            )
