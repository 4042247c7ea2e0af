"""Deliver the plan of an audience: save it, send it, advance the snapshot.

The caller's thread is the only one that writes to the ledger; the sender's verdicts come to it
as they are known.
"""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from typing import Any

from tailrace.audience.audience import Audience
from tailrace.dataclass import dataclass
from tailrace.destinations.batching import Acknowledged, Batch, Rejected, Verdict
from tailrace.destinations.messages import Refusal, Transition
from tailrace.destinations.protocol import Described, DestinationType
from tailrace.destinations.sender import DRAIN_SECONDS_MAX, Flow, Sender
from tailrace.encoding.masking import Masker
from tailrace.errors import ModelError, TailraceError
from tailrace.ledger.deliveries import AckRange, Advanced, Finished
from tailrace.ledger.ledger import Ledger
from tailrace.ledger.outbox import PlannedTransitions, enqueue, shape_of_outbox
from tailrace.ledger.runs import Run
from tailrace.plan.plan import AudiencePlan
from tailrace.plan.policy import PlanOptions
from tailrace.run import notices
from tailrace.run.job_delivery import InBackground, JobDelivery
from tailrace.run.member_messages import OutboxMessages
from tailrace.run.member_tables import align_tables
from tailrace.run.notices import Notice
from tailrace.run.pages_together import PagesTogether
from tailrace.run.phases import Progress
from tailrace.run.planned_delivery import Delivery, Terms, mapper_of

# A verdict is saved with those that follow it, after this time, or with so many members. A commit
# takes as long as building several batches; what is not saved yet is what a crash sends again.
UNSAVED_SECONDS_MAX = 0.5
UNSAVED_MEMBERS_MAX = 50_000
# Members of the plans that are saved in one transaction: the engine keeps their rows in memory
# until the commit.
SAVED_TOGETHER_MEMBERS_MAX = 10_000


@dataclass(frozen=True, kw_only=True)
class DeliveryResult:
    """The result of an audience run, in members.

    `calls` counts the acknowledged messages, `batches` and `requests` what this run sent for them;
    retries and bisecting make more requests than batches.
    """

    sync_key: str
    audience: str
    destination: str
    destination_type: str
    run_seq: int
    sent: int
    rejected: int
    calls: int
    resumed: bool
    batches: int = 0
    requests: int = 0
    # Calls out of the receiver's daily budget; None without one.
    api_calls: int | None = None
    # Set if a member was rejected: the size then differs from the planned one.
    size_after: int | None = None
    moves: Mapping[str, int] = field(default_factory=dict)
    notices: tuple[Notice, ...] = ()
    by_name: Mapping[tuple[str, str], int] = field(default_factory=dict)

    @classmethod
    def of_nothing(cls, delivery: Delivery) -> DeliveryResult:
        """The result of a delivery without transitions."""
        return cls(
            sync_key=delivery.audience.ledger_key,
            audience=delivery.audience.name,
            destination=delivery.destination,
            destination_type=delivery.audience.destination_type,
            run_seq=delivery.run_seq,
            sent=0,
            rejected=0,
            calls=0,
            resumed=False,
        )


def save_plan(ledger: Ledger, run: Run, plan: AudiencePlan, *, options: PlanOptions) -> Delivery:
    """Commit an audience's plan; see `save_plans`."""
    (delivery,) = save_plans(ledger, run, [plan], options=options)
    return delivery


def save_plans(
    ledger: Ledger,
    run: Run,
    plans: Sequence[AudiencePlan],
    *,
    options: PlanOptions,
    are_aligned: bool = False,
) -> list[Delivery]:
    """Commit plans: the outbox of each and its row in the ledger, all in one transaction.

    Their tables are created or altered before it, in a transaction of their own, unless they
    `are_aligned`.
    """
    if not are_aligned:
        align_tables(ledger, plans)
    sent = [
        PlannedTransitions(
            audience=plan.audience,
            transitions=plan.diff.transitions,
            shape=plan.shape,
            planned=plan.planned,
            changed=plan.changed,
        )
        for plan in plans
        if plan.planned and plan.status != "held"
    ]
    with ledger.warehouse.transaction():
        enqueue(ledger, run.seq, sent)
        ledger.audiences.save(run, [_audience_run(ledger, run, plan, options) for plan in plans])
        comparable = [p for p in plans if p.status != "held" and _is_whole(p, options)]
        ledger.audiences.save_inputs(run, {plan.ledger_key: plan.inputs for plan in comparable})
    for plan in plans:
        if plan.planned > SAVED_TOGETHER_MEMBERS_MAX:
            # The outbox has them; the table would fill the engine's memory during the delivery.
            ledger.warehouse.drop_temporary(plan.diff.transitions)
    return [_delivery(run, plan) for plan in plans]


def saved_together(plans: Iterable[AudiencePlan]) -> Iterator[list[AudiencePlan]]:
    """Group plans that may share a transaction; a large one has its own."""
    group: list[AudiencePlan] = []
    members = 0
    for plan in plans:
        members += plan.planned
        if group and members > SAVED_TOGETHER_MEMBERS_MAX:
            yield group
            group, members = [], plan.planned
        group.append(plan)
    if group:
        yield group


def _audience_run(
    ledger: Ledger, run: Run, plan: AudiencePlan, options: PlanOptions
) -> dict[str, Any]:
    """The row of a plan in the ledger."""
    held, finished = plan.status == "held", _is_finished(plan)
    definition, fingerprint = _recorded_definition(plan, options)
    return {
        "sync_key": plan.ledger_key,
        "name": plan.audience.name,
        "destination": plan.destination,
        "phase": "held" if held else "done" if finished else "delivering",
        "definition": definition,
        "definition_fingerprint": fingerprint,
        "mapping": json.dumps(plan.audience.mapping(), sort_keys=True),
        "mapping_fingerprint": plan.audience.mapping_fingerprint,
        "model_fingerprint": plan.diff.fingerprint if _is_whole(plan, options) else None,
        "planned_at": run.started_at,
        "finished_at": ledger.clock.now() if held or finished else None,
        "rows_seen": plan.diff.rows_seen,
        "size_before": plan.diff.size_before,
        "size_after": plan.diff.size_after,
        "entered": plan.entered,
        "changed": plan.changed,
        "exited": plan.exited,
        "quarantined": plan.diff.quarantined,
        "held": plan.planned if held else 0,
        "by_reason": json.dumps(plan.by_reason),
        "guards": json.dumps([guard.as_dict() for guard in plan.guards]),
        "funnel": json.dumps(plan.funnel()),
    }


def _is_finished(plan: AudiencePlan) -> bool:
    return plan.status != "held" and plan.is_finished


def _delivery(run: Run, plan: AudiencePlan) -> Delivery:
    return Delivery(
        run_seq=run.seq,
        audience=plan.audience,
        shape=plan.shape,
        planned_at=run.started_at,
        planned=plan.planned,
        resumed=False,
        changed=plan.changed,
        finished=_is_finished(plan),
    )


def _is_whole(plan: AudiencePlan, options: PlanOptions) -> bool:
    """Whether a plan covers all rows of its model, so that a later run may compare with it."""
    return options.intent != "retry" and not plan.diff.quarantined


def _recorded_definition(plan: AudiencePlan, options: PlanOptions) -> tuple[str, str]:
    """The definition that a plan is recorded with, and its fingerprint."""
    if options.intent == "retry" and plan.delivered is not None:
        # Only the rejected members are sent; the others were delivered by the earlier definition.
        return plan.delivered.definition, plan.delivered.definition_fingerprint
    return plan.definition, plan.fingerprint


def unfinished_deliveries(ledger: Ledger) -> list[Delivery]:
    """The audience runs that crashed before their delivery ended, with their recorded mapping."""
    deliveries = []
    for pending in ledger.deliveries.pending():
        audience = Audience.from_mapping(pending.mapping)
        deliveries.append(
            Delivery(
                run_seq=pending.run_seq,
                audience=audience,
                shape=shape_of_outbox(ledger, audience),
                planned_at=pending.planned_at,
                planned=pending.planned,
                resumed=True,
                written_at=pending.written_at,
            )
        )
    return deliveries


class AudienceDelivery:
    """Sends one audience run and saves its verdicts."""

    def __init__(
        self,
        ledger: Ledger,
        sender: Sender,
        delivery: Delivery,
        *,
        kind: DestinationType,
        terms: Terms,
        in_background: InBackground,
        described: Described | None = None,
        by_name: bool = False,
        progress: Progress | None = None,
        together: PagesTogether | None = None,
    ) -> None:
        self.ledger = ledger
        self.sender = sender
        self.delivery = delivery
        self.progress = progress
        self.sync_key = delivery.audience.ledger_key
        self.delivered = 0
        self.batches = 0
        self.requests = 0
        self.answered: list[Acknowledged] = []
        self.notices: list[Notice] = []
        self._unsaved_since = ledger.clock.monotonic()
        self._unsaved_members = 0
        self.rejected: dict[int, dict[str, Any]] = {}
        self.masker = Masker(delivery.audience)
        self.names = Names() if by_name else None
        self.flow: Flow | None = None
        self.ended_at = self._unsaved_since
        self._in_background = in_background
        self._calls_before = sender.connection.api_calls
        self._api_calls: int | None = None
        self.mapper = mapper_of(ledger, delivery, kind=kind, terms=terms, described=described)
        self._members = OutboxMessages(
            ledger,
            self.mapper,
            run_seq=delivery.run_seq,
            shape=delivery.shape,
            planned=delivery.planned,
            changed=delivery.changed,
            refuse=self._refuse,
            together=together,
        )

    def steps(self) -> Iterator[bool]:
        """Send the pending transitions: True for each step, False where it would have to wait.

        After a failure it may be called again; it continues after the acknowledged transitions.

        Raises:
            DeliveryIncomplete: Some transitions could not be sent. Acknowledgements are saved, and
                the next run continues after them.
        """
        if not self.delivery.planned:
            self._end()
            return
        yield from self._send_jobs()
        batches = self.sender.batches_of_pages(
            self._members.pages(), messages_max=self.mapper.batch_messages_max
        )
        self.flow = self.sender.flow(
            self.names.of_batches(batches) if self.names else batches,
            own_time=self.mapper.sends_own_time,
        )
        try:
            for verdict in self.flow:
                if verdict is not None:
                    self._take(verdict)
                if self._is_due():
                    self._save_verdicts()
                yield verdict is not None
        except TailraceError:
            self._save_verdicts()
            raise
        finally:
            self.flow.cancel()
        self._end()
        if self.delivery.planned > SAVED_TOGETHER_MEMBERS_MAX:
            # Those of a smaller delivery are saved by `advance`, which follows soon.
            self._save_verdicts()

    def _end(self) -> None:
        self.ended_at = self.ledger.clock.monotonic()
        used = self.sender.connection.api_calls
        self._api_calls = None if used is None else used - (self._calls_before or 0)

    def _send_jobs(self) -> Iterator[bool]:
        """Deliver the transitions that go as ingest jobs, and finish those of a crashed run."""
        delivery = self.delivery
        jobs = self.sender.connection.jobs(delivery.audience, delivery.planned)
        if jobs is None:
            return
        yield from JobDelivery(
            self.ledger,
            jobs,
            run_seq=delivery.run_seq,
            sync_key=self.sync_key,
            folder=self.ledger.warehouse.project.state_folder / "jobs",
            members=self._members,
            take=self._take,
            save=self._save_verdicts,
        ).steps(self._in_background)

    def reject_pending(self, refused: ModelError) -> None:
        """Reject what a crashed run left, because its header is not accepted any more.

        The next plan has these rows again, with the header as it is then. Their outcome is unknown:
        the crashed run may have sent some of them.
        """
        delivery = self.delivery
        audience = delivery.audience
        for job in self.ledger.jobs.unfinished(delivery.run_seq, self.sync_key):
            self.ledger.jobs.finish(job.job_id, state="failed")
        for first, last in self.ledger.deliveries.open_ranges(delivery.run_seq, self.sync_key):
            self.answered.append(Acknowledged(first, last, 0, 0))
            for seq in range(first, last + 1):
                self.rejected[seq] = {
                    "kind": self.mapper.message_kinds[-1],
                    "reason": "header_refused",
                    "path": "",
                    "status": None,
                    "attempts": 0,
                    "unconfirmed": True,
                }
        message = f"{audience.name}: pending changes are planned again, because {refused.message}"
        self.notices.append(Notice(message=message, audience=audience.name))
        self._end()

    @property
    def finished(self) -> Finished:
        """The audience run, whose transitions all have an outcome."""
        delivery = self.delivery
        return Finished(delivery.run_seq, self.sync_key, delivery.shape, delivery.planned)

    @property
    def all_started(self) -> bool:
        """Whether every batch is in flight or has its verdict."""
        return self.flow is not None and self.flow.all_started

    def fail(self, error: TailraceError) -> None:
        """Send no other batch, and raise an error after the answers of the open requests."""
        if self.flow is not None:
            self.flow.fail(error)

    def end(self) -> None:
        """Send no other batch."""
        if self.flow is not None:
            self.flow.end()

    def drain(self, seconds_max: float = DRAIN_SECONDS_MAX) -> bool:
        """On interrupt, persist the verdicts that still arrive; whether all of them came.

        Args:
            seconds_max: How long to wait for each.
        """
        for verdict in self.flow.drain(seconds_max) if self.flow else ():
            self._take(verdict)
        self._save_verdicts()
        return self.flow is None or self.flow.is_answered

    def advance(self) -> DeliveryResult:
        """Save the last verdicts and apply the delivered transitions to the snapshot."""
        (result,) = advance_together([self])
        return result

    def result(self, advanced: Advanced) -> DeliveryResult:
        """The result, after the snapshot was advanced."""
        delivery = self.delivery
        return DeliveryResult(
            sync_key=self.sync_key,
            audience=delivery.audience.name,
            destination=delivery.destination,
            destination_type=delivery.audience.destination_type,
            run_seq=delivery.run_seq,
            sent=advanced.sent,
            rejected=advanced.rejected,
            calls=advanced.calls,
            resumed=delivery.resumed,
            batches=self.batches,
            requests=self.requests,
            api_calls=self._api_calls,
            size_after=advanced.size_after,
            moves=delivery.moves,
            notices=(*self.notices, *notices.of_mapping(self.mapper)),
            by_name=self.names.acknowledged if self.names else {},
        )

    def _refuse(self, transition: Transition, refusal: Refusal) -> None:
        self.rejected[transition.seq] = {
            "kind": refusal.kind,
            "reason": refusal.rule,
            "path": refusal.path,
            "status": None,
            "attempts": 0,
            "message_id": refusal.message_id,
            "payload": self.masker.message(refusal.body)
            if refusal.body
            else self.masker.row(refusal.kind, transition.new),
            "unconfirmed": False,
        }

    def _take(self, verdict: Verdict) -> None:
        if self.names is not None:
            self.names.count(verdict)
        if isinstance(verdict, Rejected):
            self.rejected[verdict.seq] = {
                "kind": verdict.kind,
                "reason": verdict.reason,
                "path": "",
                "status": verdict.status,
                "attempts": verdict.attempts,
                "message_id": verdict.message_id,
                "payload": self.masker.message(verdict.body) if verdict.body else None,
                # The crashed run may already have sent this.
                "unconfirmed": verdict.unconfirmed or self.delivery.resumed,
            }
            return
        if not self.answered:
            self._unsaved_since = self.ledger.clock.monotonic()
        self.answered.append(verdict)
        self._unsaved_members += verdict.last_seq - verdict.first_seq + 1
        self.batches += verdict.requests > 0
        self.requests += verdict.requests

    def _is_due(self) -> bool:
        """Whether the verdicts that arrived are saved now; see `UNSAVED_SECONDS_MAX`."""
        if not self.answered:
            return False
        unsaved_seconds = self.ledger.clock.monotonic() - self._unsaved_since
        return (
            unsaved_seconds >= UNSAVED_SECONDS_MAX or self._unsaved_members >= UNSAVED_MEMBERS_MAX
        )

    def _save_verdicts(self) -> None:
        """Save acknowledged ranges and their rejections in one transaction."""
        if not self.answered:
            return
        with self.ledger.warehouse.transaction():
            self.ledger.deliveries.acknowledge(self.unwritten_ranges())
            self.write_rejections()
        self.forget_verdicts()

    def unwritten_ranges(self) -> list[AckRange]:
        """The acknowledged ranges that are not saved yet."""
        return [
            AckRange(self.delivery.run_seq, self.sync_key, first, last, calls)
            for first, last, calls in joined(self.answered)
        ]

    def write_rejections(self) -> None:
        """Write the rejections in these ranges, inside the transaction that saves the ranges."""
        rejections = {seq: self.rejected[seq] for seq in self._refused()}
        self.ledger.deliveries.reject(self.delivery.run_seq, self.sync_key, rejections)

    def _refused(self) -> list[int]:
        """The rejected transitions in the ranges that are not saved yet."""
        rejected = sorted(self.rejected)
        refused: list[int] = []
        for first, last, _ in joined(self.answered) if rejected else ():
            refused += rejected[bisect_left(rejected, first) : bisect_right(rejected, last)]
        return refused

    def forget_verdicts(self) -> None:
        """Forget the verdicts, which are committed."""
        if not self.answered:
            return
        for seq in self._refused():
            del self.rejected[seq]
        self.delivered += sum(ack.last_seq - ack.first_seq + 1 for ack in self.answered)
        self.answered.clear()
        self._unsaved_members = 0
        if self.progress is not None:
            self.progress(self.sync_key, self.delivered, self.delivery.planned)


def advance_together(deliveries: Sequence[AudienceDelivery]) -> list[DeliveryResult]:
    """Save the last verdicts of deliveries that ended, and advance their snapshots.

    All of it is one transaction. The deliveries are of different syncs.
    """
    ledger = deliveries[0].ledger
    try:
        with ledger.warehouse.transaction():
            ledger.deliveries.acknowledge(
                [part for delivering in deliveries for part in delivering.unwritten_ranges()]
            )
            for delivering in deliveries:
                delivering.write_rejections()
            advanced = ledger.deliveries.advance([delivering.finished for delivering in deliveries])
    except TailraceError:
        for delivering in deliveries:
            delivering.drain()
        raise
    for delivering in deliveries:
        delivering.forget_verdicts()
    return [
        delivering.result(applied) for delivering, applied in zip(deliveries, advanced, strict=True)
    ]


def joined(answered: Sequence[Acknowledged]) -> Iterator[tuple[int, int, int]]:
    """First number, last number and calls of the ranges; adjacent ranges are merged."""
    first = last = calls = 0
    for ack in sorted(answered, key=lambda ack: ack.first_seq):
        if last and ack.first_seq != last + 1:
            yield first, last, calls
            last = 0
        if not last:
            first, calls = ack.first_seq, 0
        last, calls = ack.last_seq, calls + ack.messages
    if last:
        yield first, last, calls


class Names:
    """Counts acknowledged calls by type and event, as Delivery Overview does."""

    def __init__(self) -> None:
        self.acknowledged: Counter[tuple[str, str]] = Counter()
        self._under_way: dict[int, Batch] = {}

    def of_batches(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """Yield the batches and keep each one until its verdict."""
        self._under_way.clear()
        for batch in batches:
            self._under_way[batch.first_seq] = batch
            yield batch

    def count(self, verdict: Verdict) -> None:
        """Count the messages that a verdict accepts."""
        if isinstance(verdict, Acknowledged):
            batch = self._under_way.pop(verdict.first_seq)
            for member in batch.members:
                self.acknowledged.update(
                    (message.kind, message.event) for message in member.messages
                )
            return
        (batch,) = (b for b in self._under_way.values() if b.first_seq <= verdict.seq <= b.last_seq)
        (row,) = (member for member in batch.members if member.seq == verdict.seq)
        ids = [message.message_id for message in row.messages]
        # The messages before the refused one were accepted, those after it were not sent.
        lost = row.messages[ids.index(verdict.message_id) :]
        self.acknowledged.subtract((message.kind, message.event) for message in lost)
