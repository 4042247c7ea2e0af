"""Makes the plan of a project's audiences over an open ledger.

Planning reads the ledger and writes nothing to it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from datetime import datetime
from functools import cached_property, partial
from itertools import count, groupby
from typing import Any

from tailrace.audience.audience import Audience
from tailrace.destinations.protocol import Described, DestinationSettings
from tailrace.destinations.registry import destination_type
from tailrace.errors import (
    ModelError,
    SeveralModelErrors,
    TailraceError,
)
from tailrace.ledger.audiences import Delivered
from tailrace.ledger.ledger import Ledger
from tailrace.ledger.tables import Shape
from tailrace.models.determinism import ModelWarning
from tailrace.models.loader import Model, Models, check_columns
from tailrace.plan import kept_models, record_checks, stats
from tailrace.plan.audience_planner import (
    FAULTS_OF_ONE,
    AudiencePlanner,
    DueAudience,
    RequestedPlan,
)
from tailrace.plan.bound_models import BoundModels
from tailrace.plan.diff import Diff, DiffRequest
from tailrace.plan.event_window import with_start
from tailrace.plan.faults import located
from tailrace.plan.guards import Guard, GuardInput, judge, judge_first_run
from tailrace.plan.inputs import Inputs
from tailrace.plan.kept_models import KeptModels
from tailrace.plan.plan import AudienceFailure, AudiencePlan, BuildResult, Plan
from tailrace.plan.policy import PlanOptions, ResolvedPolicy
from tailrace.plan.recorded import Definitions, Recorded
from tailrace.plan.side_by_side import (
    SESSIONS_MIN,
    large_tables,
    may_plan_side_by_side,
    plan_side_by_side,
    sharing_plan_tables,
)
from tailrace.plan.snapshot_schema import check_keys, check_names, shape_of
from tailrace.plan.sources import SourceStates
from tailrace.plan.upstream import Upstream
from tailrace.warehouse.memory import MemoryLimit
from tailrace.warehouse.statements import TableName, query


def syncs_of(models: Iterable[Model]) -> Iterator[tuple[Model, Audience]]:
    """The audiences of models, once for each destination."""
    for model in models:
        for audience in model.audience.syncs() if model.audience else ():
            yield model, audience


class Planner:
    """Makes plans of one project's audiences, over an open ledger.

    Args:
        ledger: The open ledger.
        models: All models of the project.
        options: What the command line says about the plan.
        destinations: The settings of each destination, for batches and rates.
        now: The time of the plan, which models see as the clock.
        run_seq: The run that makes the plan; without one, the plan is for the next run.
        build: What this run has built of the models.
        memory_limit: The memory limit of the session, which a first plan lowers.
        rules: The project's rules by destination type, which may reject a message that the plan
            shows.
        progress: Called before each audience, with how many are planned and how many there are.
        estimates_requests: Whether messages are built to estimate the number of requests. A run
            counts its requests.
    """

    def __init__(
        self,
        ledger: Ledger,
        models: Models,
        *,
        options: PlanOptions,
        destinations: Mapping[str, DestinationSettings] | None,
        now: datetime,
        run_seq: int | None = None,
        build: BuildResult | None = None,
        memory_limit: MemoryLimit | None = None,
        rules: Mapping[str, Any] | None = None,
        progress: Callable[[str, int, int], None] | None = None,
        estimates_requests: bool = True,
    ) -> None:
        self.ledger = ledger
        self.warehouse = ledger.warehouse
        self.models = models
        self.options = options
        self.destinations = destinations
        self.now = now
        self.run_seq = ledger.runs.next_seq() if run_seq is None else run_seq
        self.build = build or BuildResult()
        self.memory_limit = memory_limit
        self.rules = rules or {}
        self.progress = progress
        self.estimates_requests = estimates_requests
        self._recorded = Recorded(ledger)
        self._definitions = Definitions(models, dialect=self.warehouse.dialect)
        self.bound_models = BoundModels(self.warehouse, models, now=now)
        self._upstream = Upstream(
            ledger,
            models,
            sources=SourceStates(self.warehouse, models, now=now),
            recorded=self._recorded,
            definitions=self._definitions,
        )
        # The hash of each table that the plan has looked at; None where there is no cheap one.
        self.table_hashes: Mapping[TableName, str | None] = {}

    def plan(self, selected: Sequence[Model], *, without: Collection[str] = ()) -> Plan:
        """The plan of the selected audiences, one for each of their destinations.

        Args:
            selected: Their models.
            without: Ledger keys of audiences to leave out, which wait for an earlier delivery.

        An audience whose model does not bind, or fails on a row, is one of the plan's `failures`;
        the others are planned.
        """
        failures, model_errors = self._failed()
        due: list[DueAudience] = []
        skipped: list[AudiencePlan] = []
        inputs = self._inputs(selected)
        self.table_hashes = inputs.hashes
        kept = self._kept_models(selected, inputs)
        make = partial(self._request, inputs=inputs, kept=kept)
        for model, audience in syncs_of(selected):
            if audience.ledger_key in without:
                continue
            try:
                without_running = self._unbound(model, audience)
                without_running = without_running or self._unchanged(model, audience, inputs)
            except ModelError as error:
                self._add_failure(failures, model, audience, error)
                continue
            if without_running is not None:
                skipped.append(without_running)
            else:
                due.append(DueAudience(model=model, audience=audience, make=make))
        planned = self._guard_first_run(self._plan_all(due, failures, inputs))
        if kept is not None:
            kept.save()
        scans = self._scans(due, inputs)
        audiences = skipped + [replace(p, scan_rows=scans.get(p.ledger_key)) for p in planned]
        return Plan(
            planned_at=self.now,
            run_seq=self.run_seq,
            audiences=tuple(audiences),
            failures=tuple(failures.values()),
            model_errors=(*self.build.errors.values(), *model_errors),
            new_users=stats.count_new_users(self.ledger, audiences, recorded=self._recorded),
            warnings=self._warnings(selected),
            orphans=stats.orphans(
                self.ledger,
                self._recorded,
                in_files={audience.ledger_key for _, audience in syncs_of(self.models.audiences())},
                broken=self.models.broken,
            ),
            unfinished=stats.unfinished(self.ledger),
            salesforce_calls=self.ledger.extracts.last_salesforce_calls(),
            destinations=self.destinations or {},
        )

    def _scans(self, audiences: Sequence[DueAudience], inputs: Inputs) -> dict[str, int | None]:
        """About how many rows the model of each audience reads, if the plan says it."""
        if not self.options.counts_scans:
            return {}
        return {due.ledger_key: inputs.rows_read(due.model) for due in audiences}

    def _inputs(self, selected: Sequence[Model]) -> Inputs:
        self._recorded.expect(audience.ledger_key for _, audience in syncs_of(selected))
        return Inputs(
            self.ledger,
            self.models,
            selected,
            recorded=self._recorded,
            definitions=self._definitions,
            now=self.now,
        )

    def _failed(self) -> tuple[dict[str, AudienceFailure], list[TailraceError]]:
        """The selected audiences whose files cannot be used, and the errors of other such files."""
        failures: dict[str, AudienceFailure] = {}
        others: list[TailraceError] = []
        for broken in self.models.failed:
            error = (
                broken.errors[0] if len(broken.errors) == 1 else SeveralModelErrors(broken.errors)
            )
            for audience in broken.audience.syncs() if broken.audience else ():
                failures[audience.ledger_key] = AudienceFailure(audience=audience, error=error)
            if broken.audience is None:
                others.append(error)
        return failures, others

    def _warnings(self, selected: Sequence[Model]) -> tuple[ModelWarning, ...]:
        """What may surprise in the selected models and in those that they read, each once."""
        names = {
            name: None
            for model in selected
            for name in (*self.models.under(model.name), model.name)
        }
        return tuple(warning for name in names for warning in self.models.by_name[name].warnings)

    def _unchanged(self, model: Model, audience: Audience, inputs: Inputs) -> AudiencePlan | None:
        """The plan of an audience whose inputs are those of its last delivery; else None.

        Its model is not run: the same rows would come of it.
        """
        if not self.options.skip_unchanged or self.options.digests:
            return None
        if self.options.intent != "changes":
            return None
        key = audience.ledger_key
        delivered = inputs.unchanged_since(model, audience)
        if (
            delivered is None
            or delivered.rejected
            or self._recorded.unresolved_counts(key) != (0, 0)
        ):
            return None
        plan = self._without_running(model, audience, delivered)
        return None if plan.status == "held" else replace(plan, skipped="inputs unchanged")

    def _unbound(self, model: Model, audience: Audience) -> AudiencePlan | None:
        """The held plan of an audience whose SQL cannot run for want of a table or a column."""
        if "upstream" in self.options.allowed(audience.name):
            return None
        if not self._upstream.prevents_running(model, audience):
            return None
        delivered = self._recorded.delivered(audience.ledger_key)
        return self._without_running(model, audience, delivered)

    def _without_running(
        self,
        model: Model,
        audience: Audience,
        delivered: Delivered | None,
    ) -> AudiencePlan:
        """A plan without changes, whose guards are those that need no row of the model."""
        key = audience.ledger_key
        size = self._recorded.size(key) if delivered else 0
        text = self._definitions.text(model.name)
        guard_input = GuardInput(
            size_before=size,
            size_after=size,
            entered=0,
            changed=0,
            exited=0,
            quarantined=0,
            upstream=self._upstream.reasons(model, audience),
            upstream_is_declared=not self._upstream.reasons_of_objects(model, audience),
        )
        return AudiencePlan(
            audience=audience,
            model=self.ledger.snapshot(key),
            shape=Shape(keys=(), columns=()),
            diff=Diff(
                transitions=self.ledger.snapshot(key),
                rows_seen=delivered.rows_seen if delivered else 0,
                fingerprint=delivered.model_fingerprint if delivered else None,
                size_before=size,
                size_after=size,
                quarantined=0,
                unchanged=True,
            ),
            definition=delivered.definition if delivered else text,
            fingerprint=delivered.definition_fingerprint
            if delivered
            else self._definitions.fingerprint(model.name, None),
            delivered=delivered,
            policy=self._policy(audience),
            guards=judge(audience, guard_input, allowed=frozenset()),
            calls=dict.fromkeys(destination_type(audience.destination_type).message_kinds, 0),
            digest="nothing",
        )

    def _plan_all(
        self,
        audiences: Sequence[DueAudience],
        failures: dict[str, AudienceFailure],
        inputs: Inputs,
    ) -> tuple[AudiencePlan, ...]:
        """The plans of the audiences; those that fail are added to `failures`."""
        begun = count()

        def begin(requested: RequestedPlan) -> None:
            if self.progress is not None:
                self.progress(requested.ledger_key, next(begun), len(audiences))

        beside = self._fit_side_by_side(audiences, inputs)
        with sharing_plan_tables(self.warehouse) if beside else nullcontext():
            outcomes = plan_side_by_side(
                self.ledger,
                beside,
                planner=self._audience_planner,
                memory_limit=self.memory_limit,
                begin=begin,
            )
            # These are all bound before the first one runs, so that an error is reported early.
            alone = [due.request for due in audiences if due.ledger_key not in outcomes]
            for requested in self._in_memory(r for r in alone if isinstance(r, RequestedPlan)):
                begin(requested)
                try:
                    outcomes[requested.ledger_key] = self._plan_in_memory(requested)
                except FAULTS_OF_ONE as error:
                    outcomes[requested.ledger_key] = error
                    if self.warehouse.engine.loses_sessions and len(outcomes) > 1:
                        # The transitions of the audiences before are lost with the session.
                        (due,) = (d for d in audiences if d.ledger_key == requested.ledger_key)
                        self._add_failure(failures, due.model, requested.request.audience, error)
                        others = [other for other in audiences if other is not due]
                        return self._plan_all(others, failures, inputs)
        plans = []
        for due in audiences:
            outcome = outcomes.get(due.ledger_key, due.request)
            if isinstance(outcome, AudiencePlan):
                plans.append(outcome)
            elif isinstance(outcome, TailraceError):
                self._add_failure(failures, due.model, due.audience, outcome)
        return tuple(plans)

    def _add_failure(
        self,
        failures: dict[str, AudienceFailure],
        model: Model,
        audience: Audience,
        error: TailraceError,
    ) -> None:
        fault = located(self.warehouse, self.models, model, error, now=self.now)
        failures[audience.ledger_key] = AudienceFailure(audience=audience, error=fault)

    def _fit_side_by_side(
        self, audiences: Sequence[DueAudience], inputs: Inputs
    ) -> Sequence[DueAudience]:
        """The audiences that may be planned at the same time; empty if there is one at most."""
        if not may_plan_side_by_side(self.warehouse) or len(audiences) < SESSIONS_MIN:
            return ()
        large = large_tables(self.warehouse)
        fit = [
            due
            for due in audiences
            if large.isdisjoint(inputs.tables_read(due.model))
            and self.ledger.snapshot(due.ledger_key) not in large
        ]
        return fit if len(fit) >= SESSIONS_MIN else ()

    def _in_memory(self, requests: Iterable[RequestedPlan]) -> Iterator[RequestedPlan]:
        """The requests; while first plans follow each other, the memory limit stays lowered."""
        for is_first, together in groupby(requests, key=lambda r: not r.request.delivered):
            lowered = self.memory_limit.low_memory() if self.memory_limit and is_first else None
            with lowered or nullcontext():
                yield from together

    def _guard_first_run(self, audiences: tuple[AudiencePlan, ...]) -> tuple[AudiencePlan, ...]:
        """Add the guard on a first run to the audiences that would send."""
        limit = self.warehouse.project.settings.first_run_members_max
        sending = {plan.ledger_key: plan.planned for plan in audiences if any(plan.calls.values())}
        members = sum(sending.values())
        if not limit or members <= limit or self.ledger.ever_delivered():
            return audiences
        return tuple(
            replace(plan, guards=(*plan.guards, self._first_run_guard(plan, members, limit)))
            if plan.ledger_key in sending
            else plan
            for plan in audiences
        )

    def _first_run_guard(self, plan: AudiencePlan, members: int, limit: int) -> Guard:
        allowed = self.options.allowed(plan.audience.name)
        return judge_first_run(plan.audience, members, limit=limit, allowed=allowed)

    def retirement(self, audience: Audience, delivered: Delivered) -> AudiencePlan:
        """An exit of every member, from what the ledger alone has recorded."""
        snapshot = self.ledger.snapshot(audience.ledger_key)
        shape = shape_of(
            self.warehouse.columns_of(snapshot),
            key=audience.key,
            mapped=audience.mapped_columns,
            file=audience.file,
        )
        no_rows = query(
            "plan/no_rows",
            self.warehouse.dialect,
            tables={"snapshot": snapshot},
            columns=shape.lists,
        )
        request = DiffRequest(
            audience=audience,
            model=no_rows,
            shape=shape,
            delivered=delivered,
            edited=True,
            earlier=None,
            upstream=(),
            now=self.now,
            run_seq=self.run_seq,
            intent="retire",
        )
        requested = RequestedPlan(
            request=request,
            text=delivered.definition,
            fingerprint=delivered.definition_fingerprint,
        )
        return self._audience_planner.plan(self.ledger, requested)

    def _kept_models(self, selected: Sequence[Model], inputs: Inputs) -> KeptModels | None:
        """What earlier commands have kept of models; None where each model is to be read."""
        if not self.options.skip_unchanged or self.build.tables:
            return None
        if len(selected) < kept_models.MODELS_MIN:
            return None
        dataset = self.warehouse.project.settings.dataset
        return KeptModels(self.warehouse, self.models, partial(inputs.columns_in, dataset))

    def _request(
        self, model: Model, audience: Audience, *, inputs: Inputs, kept: KeptModels | None
    ) -> RequestedPlan:
        # Before the model runs: a write in between is then noticed by the next run.
        inputs_fingerprint = inputs.fingerprint(model, audience)
        text = self._definitions.text(model.name)
        delivered = self._recorded.delivered(audience.ledger_key)
        audience = with_start(audience, delivered, now=self.now)
        # Tables that this run built are read instead of inlined; the recorded text inlines all.
        run_text = text
        if self.build.tables:
            run_text = self.bound_models.compiled(model.name, tables_built=self.build.tables)
        bound, columns = self.bound_models.described(model, audience, run_text, kept=kept)
        check_columns(model, [column.name for column in columns])
        audience = audience.with_columns([column.name for column in columns])
        shape = shape_of(
            columns, key=audience.key, mapped=audience.mapped_columns, file=audience.file
        )
        check_names(audience, shape, name_bytes_max=self.warehouse.name_bytes_max)
        check_keys(audience, shape, without_equality=self.warehouse.engine.without_equality)
        fingerprint = self._definitions.fingerprint(model.name, delivered)
        edited = delivered is not None and delivered.definition_fingerprint != fingerprint
        remapped = delivered is not None and (
            delivered.mapping_fingerprint != audience.mapping_fingerprint
        )
        request = DiffRequest(
            audience=audience,
            model=bound,
            shape=shape,
            delivered=delivered,
            edited=edited,
            earlier=self.bound_models.earlier(delivered) if edited and delivered else None,
            upstream=self._upstream.reasons(model, audience),
            upstream_is_declared=not self._upstream.reasons_of_objects(model, audience),
            now=self.now,
            run_seq=self.run_seq,
            remapped=remapped,
            policy=self._policy(audience),
            intent=self.options.intent,
            regardless_of_consent=self.bound_models.bind(run_text, replace(audience, consent=None))
            if audience.suppress_when
            else None,
        )
        destination_type(audience.destination_type).check_header(audience, self._described)
        request = record_checks.with_marks(request, self._described)
        return RequestedPlan(
            request=request, text=text, fingerprint=fingerprint, inputs=inputs_fingerprint
        )

    def _policy(self, audience: Audience) -> ResolvedPolicy:
        """The actions for an audience; a reset ignores the header's mapping and new-column ones."""
        if audience.log is not None:
            # An event that was sent is not sent again, whatever its mapping is today.
            return ResolvedPolicy()
        if self.options.intent in ("changes", "retry"):
            return self.options.resolve(audience)
        return self.options.resolve(replace(audience, on_mapping_change=None, on_new_column=None))

    def _plan_in_memory(self, requested: RequestedPlan) -> AudiencePlan:
        """The plan; a first one, which may be of any size, runs with the memory limit lowered."""
        plan = partial(self._audience_planner.plan, self.ledger, requested)
        if self.memory_limit is None or requested.request.delivered is not None:
            return plan()
        return self.memory_limit.run_low_memory(plan)

    @cached_property
    def _audience_planner(self) -> AudiencePlanner:
        return AudiencePlanner(
            recorded=self._recorded,
            options=self.options,
            destinations=self.destinations,
            described=self._described,
            now=self.now,
            rules=self.rules,
            estimates_requests=self.estimates_requests,
        )

    @cached_property
    def _described(self) -> Described:
        return self.ledger.descriptions.all()
