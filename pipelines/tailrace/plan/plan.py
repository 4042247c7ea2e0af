"""The plan: what a run would do, as one object that is printed, reviewed, and then carried out.

Making a plan reads the ledger and writes nothing to it; the transitions wait in temporary tables
of the session, and `outbox.enqueue` writes exactly those down.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

from tailrace.audience.audience import DEFAULT_DESTINATION, Audience
from tailrace.config.settings import SegmentSettings
from tailrace.destinations.segment.mapper import Mapper
from tailrace.errors import ModelDoesNotBind, UserError
from tailrace.ledger.ledger import Delivered, Ledger, Shape
from tailrace.models.loader import Model, Models, bind, check_columns, definition, fingerprint
from tailrace.plan import new_users, stats
from tailrace.plan.diff import Diff, Question, blind_spots, diff
from tailrace.plan.guards import Guard, Seen, judge
from tailrace.plan.policy import Choices, Decided
from tailrace.plan.snapshot_schema import check_names, shape_of
from tailrace.warehouse.memory import Buffers
from tailrace.warehouse.statements import Binding, Column, query

Status = Literal["ok", "unchanged", "held", "failed"]


@dataclass(frozen=True, kw_only=True)
class AudiencePlan:
    """What a run would do for one audience; counts are members unless they say calls."""

    audience: Audience
    model: Binding = field(repr=False)
    shape: Shape
    diff: Diff
    definition: str = field(repr=False)
    fingerprint: str
    delivered: Delivered | None = field(repr=False)
    decided: Decided = field(default_factory=Decided)
    guards: tuple[Guard, ...] = ()
    entered: int = 0
    changed: int = 0
    exited: int = 0
    by_reason: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    calls: Mapping[str, int] = field(default_factory=dict)
    new_users: int = 0
    bytes_per_call: float = 0.0
    rejected_before: int = 0
    samples: tuple[Mapping[str, str], ...] = ()
    digest: str = ""

    @property
    def name(self) -> str:
        return self.audience.name

    @property
    def destination(self) -> str:
        """The section of the configuration that its calls go to."""
        return self.audience.destination or DEFAULT_DESTINATION

    @property
    def planned(self) -> int:
        """How many members would move."""
        return self.entered + self.changed + self.exited

    @property
    def status(self) -> Status:
        if any(guard.held for guard in self.guards):
            return "held"
        return "ok" if self.planned else "unchanged"

    @property
    def definition_changed(self) -> bool:
        return self.delivered is not None and (
            self.delivered.definition_fingerprint != self.fingerprint
        )

    @property
    def mapping_changed(self) -> bool:
        return (
            self.delivered is not None
            and not self.audience.retiring
            and (self.delivered.mapping_fingerprint != self.audience.mapping_fingerprint)
        )

    def as_dict(self) -> dict[str, Any]:
        held = self.planned if self.status == "held" else 0
        return {
            "audience": self.audience.title,
            "destination": self.destination,
            "status": self.status,
            "size_before": self.diff.size_before,
            "size_after": self.diff.size_after,
            "entered": self.entered,
            "changed": self.changed,
            "exited": self.exited,
            "sent": 0,
            "rejected": 0,
            "held": held,
            "quarantined": self.diff.quarantined,
            "by_reason": {reason: dict(ops) for reason, ops in self.by_reason.items()},
            "guards": [guard.as_dict() for guard in self.guards],
            "calls": dict(self.calls),
            "new_users": self.new_users,
            "rejected_before": self.rejected_before,
            "definition_changed": self.definition_changed,
            "mapping_changed": self.mapping_changed,
            "choices": self.decided.as_dict(),
            "new_columns": [column.name for column in self.diff.alteration.added],
            "dropped_columns": [column.name for column in self.diff.alteration.dropped],
            "retyped_columns": [column.name for column in self.diff.alteration.retyped],
            "samples": [dict(sample) for sample in self.samples],
        }


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run would do, for every selected audience."""

    planned_at: datetime
    run_seq: int
    audiences: tuple[AudiencePlan, ...]
    orphans: tuple[str, ...] = ()
    # What earlier runs left behind, in members: the next run sends it before anything else.
    unfinished: Mapping[str, int] = field(default_factory=dict)
    salesforce_calls: int = 0
    new_users: int = 0
    segments: Mapping[str, SegmentSettings] = field(default_factory=dict)

    @property
    def pending(self) -> bool:
        """Whether carrying it out would move anything."""
        return bool(self.unfinished) or any(each.planned for each in self.audiences)

    @property
    def exit_code(self) -> int:
        return 3 if any(each.status == "held" for each in self.audiences) else 0

    def segment(self) -> dict[str, Any]:
        """Calls, batches and the time to drain them, of the audiences that are not held.

        Destinations are sent to side by side: the time is that of the slowest.
        """
        sending = [each for each in self.audiences if each.status == "ok"]
        calls: Counter[str] = Counter()
        for each in sending:
            calls[each.destination] += sum(each.calls.values())
        rates = {name: s.events_per_second_max for name, s in self.segments.items()}
        seconds = [n / rates[name] for name, n in calls.items() if rates.get(name)]
        return {
            "calls": calls.total(),
            "batches": sum(self._batches(each) for each in sending),
            "seconds": round(max(seconds, default=0.0), 1),
            "new_users": self.new_users,
        }

    def _batches(self, audience: AudiencePlan) -> int:
        limits = self.segments.get(audience.destination) or SegmentSettings(write_key="")
        calls = sum(audience.calls.values())
        size = calls * (audience.bytes_per_call + 1)
        by_size = math.ceil(size / limits.batch_bytes_max)
        return max(math.ceil(calls / limits.batch_events_max), by_size)

    def as_dict(self) -> dict[str, Any]:
        return {
            "audiences": [each.as_dict() for each in self.audiences],
            "segment": self.segment(),
            "salesforce": {"calls": self.salesforce_calls},
            "orphans": list(self.orphans),
            "unfinished": [
                {"audience": name, "members": members} for name, members in self.unfinished.items()
            ],
        }


def lanes_of(models: Iterable[Model]) -> Iterator[tuple[Model, Audience]]:
    """The audiences of models, once for each destination."""
    for model in models:
        for lane in model.audience.lanes() if model.audience else ():
            yield model, lane


class Planner:
    """Makes plans of one project's audiences, over an open ledger."""

    def __init__(
        self,
        ledger: Ledger,
        models: Models,
        *,
        choices: Choices,
        segment: Mapping[str, SegmentSettings] | None,
        now: datetime,
        run_seq: int | None = None,
        tables_built: frozenset[str] = frozenset(),
        buffers: Buffers | None = None,
    ) -> None:
        self.ledger = ledger
        self.warehouse = ledger.warehouse
        self.models = models
        self.choices = choices
        self.segment = segment
        self.now = now
        # A plan outside of a run speaks of the run that would be the next one.
        self.run_seq = ledger.next_run_seq() if run_seq is None else run_seq
        self.tables_built = tables_built
        self.buffers = buffers

    def plan(self, selected: Sequence[Model], *, without: Collection[str] = ()) -> Plan:
        """The plan of the selected audiences, each for each of its destinations.

        Args:
            selected: Their models.
            without: What the ledger calls those that cannot be planned before something is settled.

        Raises:
            ModelDoesNotBind: A model names a table or a column that the warehouse does not have.
            UnknownColumn: A header names a column that its SELECT does not give.
        """
        run_seq = self.run_seq
        # All of them are bound before the first is run: a mistake is told before any work.
        asked = [
            self._question(model, audience, run_seq)
            for model, audience in lanes_of(selected)
            if audience.name not in without
        ]
        audiences = tuple(self._sparingly(ask, text) for ask, text in asked)
        return Plan(
            planned_at=self.now,
            run_seq=run_seq,
            audiences=audiences,
            new_users=new_users.count(self.ledger, audiences),
            orphans=self._orphans(),
            unfinished=stats.unfinished(self.ledger),
            salesforce_calls=self.ledger.last_salesforce_calls(),
            segments=self.segment or {},
        )

    def columns_of(self, model: Model) -> tuple[Column, ...]:
        """The columns that an audience's model gives today.

        Raises:
            ModelDoesNotBind: The warehouse cannot run it.
        """
        assert model.audience is not None
        return self._describe(
            self._bound(definition(self.models, model.name), model.audience), model
        )

    def bound(self, model: Model, audience: Audience) -> tuple[Binding, Binding]:
        """The audience's rows of today: all of its SELECT's, and those whom consent lets in."""
        text = definition(self.models, model.name)
        unasked = replace(audience, consent=None)
        return self._bound(text, unasked), self._bound(text, audience)

    def retirement(self, audience: Audience, delivered: Delivered) -> AudiencePlan:
        """Everybody's exit from an audience, by what the ledger alone knows of it."""
        snapshot = self.ledger.snapshot(audience.name)
        shape = shape_of(
            self.warehouse.columns_of(snapshot),
            key=audience.key,
            mapped=audience.mapped_columns,
            file=audience.file,
        )
        nobody = query(
            "plan/nobody_left",
            self.warehouse.dialect,
            tables={"snapshot": snapshot},
            columns=shape.lists,
        )
        question = Question(
            audience=audience,
            model=nobody,
            shape=shape,
            delivered=delivered,
            edited=True,
            earlier=None,
            upstream=(),
            now=self.now,
            run_seq=self.run_seq,
            intent="retire",
        )
        return self._plan(question, delivered.definition)

    def _orphans(self) -> tuple[str, ...]:
        """Audiences with members in the ledger and no file."""
        known = {audience.name for _, audience in lanes_of(self.models.audiences())}
        # What was only ever held has told nobody, and has nobody to send an exit of.
        rows = [(str(row["lane"]), row["status"]) for row in self.ledger.standing()]
        alive = {lane for lane, now in rows if now != "held" or self.ledger.last_delivered(lane)}
        return tuple(sorted(alive - known))

    def _question(self, model: Model, audience: Audience, run_seq: int) -> tuple[Question, str]:
        text = definition(self.models, model.name)
        # Tables that this run has built are read; the recorded text stays whole all the same.
        run_by = definition(self.models, model.name, tables_built=self.tables_built)
        bound = self._bound(run_by, audience)
        columns = self._describe(bound, model)
        check_columns(model, [column.name for column in columns])
        shape = shape_of(
            columns, key=audience.key, mapped=audience.mapped_columns, file=audience.file
        )
        check_names(audience, shape, name_bytes_max=self.warehouse.name_bytes_max)
        delivered = self.ledger.last_delivered(audience.name)
        edited = delivered is not None and delivered.definition_fingerprint != fingerprint(text)
        remapped = delivered is not None and (
            delivered.mapping_fingerprint != audience.mapping_fingerprint
        )
        question = Question(
            audience=audience,
            model=bound,
            shape=shape,
            delivered=delivered,
            edited=edited,
            earlier=self._earlier(delivered) if edited and delivered else None,
            upstream=self._upstream(model),
            now=self.now,
            run_seq=run_seq,
            remapped=remapped,
            decided=self._decided(audience),
            intent=self.choices.intent,
        )
        return question, text

    def _decided(self, audience: Audience) -> Decided:
        """Whoever is told everything anew, or nothing, is not asked about a part of it."""
        if self.choices.intent in ("usual", "retry"):
            return self.choices.decide(audience)
        return self.choices.decide(replace(audience, on_mapping_change=None, on_new_column=None))

    def _bound(self, text: str, audience: Audience) -> Binding:
        bound = bind(
            text,
            dataset=self.warehouse.project.settings.dataset,
            now=self.now,
            dialect=self.warehouse.dialect,
            model_dataset=self.warehouse.project.settings.model_dataset,
            file=audience.file,
        )
        if audience.suppress_when is None:
            return bound
        return query(
            "plan/members_only",
            self.warehouse.dialect,
            tables={"model": bound},
            column=Column(audience.suppress_when),
        )

    def _earlier(self, delivered: Delivered) -> Binding | None:
        """The definition that was delivered, bound to today's data; none if it reads what is
        gone, and nobody can say what it would give today."""
        was = Audience.from_mapping(delivered.mapping)
        try:
            earlier = self._bound(delivered.definition, was)
            self.warehouse.describe(earlier)
        except UserError:
            return None
        return earlier

    def _describe(self, bound: Binding, model: Model) -> tuple[Column, ...]:
        try:
            return self.warehouse.describe(bound)
        except ModelDoesNotBind as error:
            landed = self.warehouse.tables_in(self.warehouse.project.settings.dataset)
            missing = sorted(set(self.models.objects_read(model.name)) - landed)
            if not missing:
                raise ModelDoesNotBind(error.message, hint=error.hint, file=model.file) from None
            raise not_landed(model, missing[0]) from None

    def _upstream(self, model: Model) -> tuple[str, ...]:
        """Why the objects that the audience reads cannot be trusted today, one line each."""
        extracted = self.ledger.last_extracts()
        reasons = []
        for table in self.models.objects_read(model.name):
            last = extracted.get(table)
            if last is not None and not last.complete:
                reasons.append(f"{last.object} is incomplete ({last.error or 'unknown'})")
            elif last is not None and last.empty:
                reasons.append(f"{last.object} came back empty")
        return tuple(reasons)

    def _sparingly(self, ask: Question, text: str) -> AudiencePlan:
        """The plan; in little memory where it is a first one, which may be of any size."""
        if self.buffers is None or ask.delivered is not None:
            return self._plan(ask, text)
        return self.buffers.sparing(lambda: self._plan(ask, text))

    def _plan(self, ask: Question, text: str) -> AudiencePlan:
        found = diff(self.ledger, ask)
        counts = stats.counts(found)
        seen = Seen(
            size_before=found.size_before,
            size_after=found.size_after,
            entered=counts["entered"],
            changed=counts["changed"],
            exited=counts["exited"],
            quarantined=found.quarantined,
            on_hold=stats.on_hold(ask, found),
            upstream=ask.upstream,
        )
        allowed = self.choices.allowed(ask.audience.title)
        mapper = Mapper(
            ask.audience, namespace=self.ledger.namespace or "plan", planned_at=self.now
        )
        return AudiencePlan(
            audience=ask.audience,
            model=ask.model,
            shape=ask.shape,
            diff=found,
            definition=text,
            fingerprint=fingerprint(text),
            delivered=ask.delivered,
            decided=ask.decided,
            guards=() if ask.intent == "retire" else judge(ask.audience, seen, allowed=allowed),
            **counts,
            by_reason=stats.by_reason(found),
            calls=stats.calls(found, mapper),
            new_users=sum(group.members for group in found.groups if group.is_new),
            bytes_per_call=stats.bytes_per_call(self.warehouse, ask.shape, found, mapper),
            rejected_before=found.rejections,
            samples=stats.samples(self.warehouse, ask.shape, found),
            digest=self._digest(ask, found) if self.choices.digests else "",
        )

    def _digest(self, ask: Question, found: Diff) -> str:
        """One value for all transitions, by which a reviewed plan is recognised."""
        if not found.groups:
            return "nothing"
        ((rows, value),) = self.warehouse.run(
            "plan/digest",
            tables={"transitions": found.transitions},
            columns={**ask.shape.lists, **blind_spots((*ask.shape.keys, *ask.shape.columns))},
        )
        return f"{rows} {value}"


def not_landed(model: Model, table: str) -> ModelDoesNotBind:
    """What to say of a model that reads an object which was never extracted."""
    return ModelDoesNotBind(
        f"{model.name} reads salesforce.{table}, which has not landed",
        hint="Add the object to [sources.salesforce] objects, then: tailrace extract",
        file=model.file,
    )
