"""Makes the plan of a project's audiences over an open ledger.

Planning reads the ledger and writes nothing to it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from datetime import datetime
from functools import cached_property
from itertools import groupby
from typing import Any

from tailrace.audience.audience import Audience
from tailrace.destinations.protocol import (
    Described,
    DestinationSettings,
    MapperOptions,
    MessageMapper,
)
from tailrace.destinations.registry import destination_type
from tailrace.errors import (
    MemoryShort,
    ModelDoesNotBind,
    ModelError,
    NotAllowedInModel,
    SeveralModelErrors,
    StatementRefused,
    TailraceError,
    UserError,
)
from tailrace.ledger.audiences import Delivered
from tailrace.ledger.ledger import Ledger
from tailrace.ledger.tables import Shape
from tailrace.models.column_types import column_types
from tailrace.models.compile import bind, compiled_sql
from tailrace.models.determinism import ModelWarning
from tailrace.models.loader import Model, Models, check_columns
from tailrace.models.types import ColumnTypes
from tailrace.plan import record_checks, stats
from tailrace.plan.diff import Diff, DiffRequest, diff
from tailrace.plan.event_window import events_since, with_start
from tailrace.plan.faults import located, runs
from tailrace.plan.guards import Guard, GuardInput, judge, judge_first_run
from tailrace.plan.inputs import Inputs
from tailrace.plan.plan import AudienceFailure, AudiencePlan, BuildResult, Plan
from tailrace.plan.policy import PlanOptions, ResolvedPolicy
from tailrace.plan.preview import PreviewRow, preview
from tailrace.plan.recorded import Definitions, Recorded
from tailrace.plan.row_hash import hash_complements
from tailrace.plan.snapshot_schema import check_keys, check_names, shape_of
from tailrace.plan.sources import SourceStates
from tailrace.plan.upstream import Upstream
from tailrace.warehouse.memory import MemoryLimit
from tailrace.warehouse.statements import Binding, Column, TableName, query

# An audience's model, what is to be compared, and the compiled text of the model.
_Request = tuple[Model, DiffRequest, str]


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
        self._upstream = Upstream(
            ledger,
            models,
            sources=SourceStates(self.warehouse, models, now=now),
            recorded=self._recorded,
            definitions=self._definitions,
        )
        # The hash of each table that the plan has looked at; None where there is no cheap one.
        self.table_hashes: Mapping[TableName, str | None] = {}
        # The fingerprint of each compiled text.
        self._fingerprints: dict[str, str] = {}

    def plan(self, selected: Sequence[Model], *, without: Collection[str] = ()) -> Plan:
        """The plan of the selected audiences, one for each of their destinations.

        Args:
            selected: Their models.
            without: Ledger keys of audiences to leave out, which wait for an earlier delivery.

        An audience whose model does not bind, or fails on a row, is one of the plan's `failures`;
        the others are planned.
        """
        failures, model_errors = self._failed()
        requests, skipped = [], []
        inputs = self._inputs(selected)
        self.table_hashes = inputs.hashes
        fingerprints: dict[str, str | None] = {}
        # All models are bound before the first one runs, so that an error is reported early.
        for model, audience in syncs_of(selected):
            if audience.ledger_key in without:
                continue
            try:
                without_running = self._unbound(model, audience)
                without_running = without_running or self._unchanged(model, audience, inputs)
                if without_running is not None:
                    skipped.append(without_running)
                    continue
                # Before the model runs: a write in between is then noticed by the next run.
                fingerprints[audience.ledger_key] = inputs.fingerprint(model, audience)
                requests.append((model, *self._request(model, audience)))
            except ModelError as error:
                fault = located(self.warehouse, self.models, model, error, now=self.now)
                failures[audience.ledger_key] = AudienceFailure(audience=audience, error=fault)
        planned = self._guard_first_run(self._plan_all(requests, failures))
        audiences = (
            *skipped,
            *(replace(plan, inputs=fingerprints[plan.ledger_key]) for plan in planned),
        )
        return Plan(
            planned_at=self.now,
            run_seq=self.run_seq,
            audiences=audiences,
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

    def _inputs(self, selected: Sequence[Model]) -> Inputs:
        self._recorded.expect(audience.ledger_key for _, audience in syncs_of(selected))
        return Inputs(
            self.ledger,
            self.models,
            selected,
            recorded=self._recorded,
            definitions=self._definitions,
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
        requests: Sequence[_Request],
        failures: dict[str, AudienceFailure],
    ) -> tuple[AudiencePlan, ...]:
        """The plans of the requests; those that fail are added to `failures`."""
        plans = []
        for place, (model, request, text) in enumerate(self._in_memory(requests)):
            if self.progress is not None:
                self.progress(request.audience.ledger_key, place, len(requests))
            try:
                plans.append(self._plan_in_memory(request, text))
            except (ModelError, StatementRefused, MemoryShort) as error:
                fault = located(self.warehouse, self.models, model, error, now=self.now)
                audience = request.audience
                failures[audience.ledger_key] = AudienceFailure(audience=audience, error=fault)
                if self.warehouse.engine.loses_sessions and plans:
                    # The transitions of the audiences before are lost with the session.
                    others = [*requests[:place], *requests[place + 1 :]]
                    return self._plan_all(others, failures)
        return tuple(plans)

    def _in_memory(self, requests: Sequence[_Request]) -> Iterator[_Request]:
        """The requests; while first plans follow each other, the memory limit stays lowered."""
        for is_first, together in groupby(requests, key=lambda request: not request[1].delivered):
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

    def columns_of(self, model: Model) -> tuple[Column, ...]:
        """The columns that an audience's model gives today.

        Raises:
            ModelDoesNotBind: The warehouse cannot bind it.
        """
        assert model.audience is not None
        return self._describe(self._bound(self._compiled(model.name), model.audience), model)

    def bound(self, model: Model, audience: Audience) -> tuple[Binding, Binding]:
        """The audience's rows of today: all rows of its SELECT, and those that consent lets in."""
        text = self._compiled(model.name)
        regardless_of_consent = replace(audience, consent=None)
        return self._bound(text, regardless_of_consent), self._bound(text, audience)

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
        self._fingerprints[delivered.definition] = delivered.definition_fingerprint
        return self._plan(request, delivered.definition)

    def _request(self, model: Model, audience: Audience) -> tuple[DiffRequest, str]:
        text = self._definitions.text(model.name)
        delivered = self._recorded.delivered(audience.ledger_key)
        audience = with_start(audience, delivered, now=self.now)
        # Tables that this run built are read instead of inlined; the recorded text inlines all.
        run_text = text
        if self.build.tables:
            run_text = self._compiled(model.name, tables_built=self.build.tables)
        bound = self._bound(run_text, audience)
        columns = self._describe(bound, model)
        check_columns(model, [column.name for column in columns])
        audience = audience.with_columns([column.name for column in columns])
        shape = shape_of(
            columns, key=audience.key, mapped=audience.mapped_columns, file=audience.file
        )
        check_names(audience, shape, name_bytes_max=self.warehouse.name_bytes_max)
        check_keys(audience, shape, dialect=self.warehouse.dialect)
        fingerprint = self._definitions.fingerprint(model.name, delivered)
        self._fingerprints[text] = fingerprint
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
            earlier=self._earlier(delivered) if edited and delivered else None,
            upstream=self._upstream.reasons(model, audience),
            upstream_is_declared=not self._upstream.reasons_of_objects(model, audience),
            now=self.now,
            run_seq=self.run_seq,
            remapped=remapped,
            policy=self._policy(audience),
            intent=self.options.intent,
            regardless_of_consent=self._bound(run_text, replace(audience, consent=None))
            if audience.suppress_when
            else None,
        )
        destination_type(audience.destination_type).check_header(audience, self._described)
        request = record_checks.with_marks(self.ledger, request, self._described)
        return request, text

    def _policy(self, audience: Audience) -> ResolvedPolicy:
        """The actions for an audience; a reset ignores the header's mapping and new-column ones."""
        if audience.log is not None:
            # An event that was sent is not sent again, whatever its mapping is today.
            return ResolvedPolicy()
        if self.options.intent in ("changes", "retry"):
            return self.options.resolve(audience)
        return self.options.resolve(replace(audience, on_mapping_change=None, on_new_column=None))

    def _bound(self, text: str, audience: Audience) -> Binding:
        bound: Binding = bind(
            text,
            dataset=self.warehouse.project.settings.dataset,
            now=self.now,
            dialect=self.warehouse.dialect,
            model_dataset=self.warehouse.project.settings.model_dataset,
            file=audience.file,
            columns=self._types,
        )
        if audience.log is not None:
            bound = events_since(bound, audience.log, self.now, dialect=self.warehouse.dialect)
        if audience.suppress_when is None:
            return bound
        return query(
            "plan/members_only",
            self.warehouse.dialect,
            tables={"model": bound},
            column=Column(audience.suppress_when),
        )

    def _earlier(self, delivered: Delivered) -> Binding | None:
        """The delivered definition, bound to today's data; None if it no longer runs."""
        mapping = Audience.from_mapping(delivered.mapping)
        try:
            earlier = self._bound(delivered.definition, mapping)
            columns = self.warehouse.describe(earlier)
        except UserError:
            return None
        return earlier if runs(self.warehouse, earlier, columns) else None

    def _compiled(self, name: str, *, tables_built: Collection[str] = ()) -> str:
        dialect = self.warehouse.dialect
        return compiled_sql(
            self.models, name, tables_built=tables_built, dialect=dialect, columns=self._types
        )

    @cached_property
    def _types(self) -> ColumnTypes:
        return column_types(self.warehouse)

    def _describe(self, bound: Binding, model: Model) -> tuple[Column, ...]:
        try:
            return self.warehouse.describe(bound)
        except (ModelDoesNotBind, NotAllowedInModel) as error:
            raise located(self.warehouse, self.models, model, error, now=self.now) from None

    def _plan_in_memory(self, request: DiffRequest, text: str) -> AudiencePlan:
        """The plan; a first one, which may be of any size, runs with the memory limit lowered."""
        if self.memory_limit is None or request.delivered is not None:
            return self._plan(request, text)
        return self.memory_limit.run_low_memory(lambda: self._plan(request, text))

    def _plan(self, request: DiffRequest, text: str) -> AudiencePlan:
        result = diff(self.ledger, request, recorded=self._recorded)
        counts = stats.counts(result)
        guard_input = GuardInput(
            size_before=result.size_before,
            size_after=result.size_after,
            entered=counts["entered"],
            changed=counts["changed"],
            exited=counts["exited"],
            quarantined=result.quarantined,
            bad_keys=stats.bad_keys(result),
            shared_message_ids=result.shared_message_ids,
            shared_message_id_keys=tuple(map(stats.masked_key, result.shared_message_id_keys)),
            on_hold=stats.on_hold(request, result),
            upstream=request.upstream,
            upstream_is_declared=request.upstream_is_declared,
        )
        allowed = self.options.allowed(request.audience.name)
        mapper = self._mapper(request.audience)
        messages = stats.calls(result, mapper)
        retires = request.intent == "retire"
        return AudiencePlan(
            audience=request.audience,
            model=request.model,
            shape=request.shape,
            diff=result,
            definition=text,
            fingerprint=self._fingerprints[text],
            delivered=request.delivered,
            policy=request.policy,
            guards=() if retires else judge(request.audience, guard_input, allowed=allowed),
            entered=counts["entered"],
            changed=counts["changed"],
            exited=counts["exited"],
            by_reason=stats.by_reason(result),
            calls=messages,
            api_calls=destination_type(request.audience.destination_type).api_calls(
                request.audience,
                messages,
                (self.destinations or {}).get(request.audience.destination_name),
            ),
            new_users=sum(group.members for group in result.groups if group.is_new)
            if request.audience.counts_users
            else 0,
            batch_messages_max=mapper.batch_messages_max,
            bytes_per_call=stats.bytes_per_call(self.warehouse, request.shape, result, mapper)
            if self._needs_sizes(request.audience)
            else 0.0,
            rejected_before=result.rejections,
            suppressed=self._suppressed(request, result),
            refused=record_checks.refusals(self.ledger, request, result, mapper, self._described),
            samples=stats.samples(self.warehouse, request.shape, result),
            rows=self._preview(request, result),
            digest=self._digest(request, result) if self.options.digests else "",
        )

    def _needs_sizes(self, audience: Audience) -> bool:
        """Whether the plan needs the size of messages: the time of a run may follow from it."""
        settings = (self.destinations or {}).get(audience.destination_name)
        limit = settings.send_limits().requests_per_second_max if settings else None
        return self.estimates_requests or bool(limit)

    @cached_property
    def _described(self) -> Described:
        return self.ledger.descriptions.all()

    def _suppressed(self, request: DiffRequest, result: Diff) -> int:
        """How many of the model's rows consent keeps out."""
        if request.regardless_of_consent is None:
            return 0
        tables = {"model": request.regardless_of_consent}
        ((rows,),) = self.warehouse.run("plan/rows", tables=tables)
        return int(rows) - result.rows_seen

    def _mapper(self, audience: Audience) -> MessageMapper:
        options = MapperOptions(
            namespace=self.ledger.namespace or "plan",
            planned_at=self.now,
            salt=self.warehouse.project.settings.salt,
            rules=self.rules.get(audience.destination_type),
            described=self._described,
        )
        return destination_type(audience.destination_type).mapper(audience, options)

    def _preview(self, request: DiffRequest, result: Diff) -> tuple[PreviewRow, ...]:
        """The transitions that `--show` asks for, with the messages that a run would send."""
        return preview(
            self.warehouse,
            request.shape,
            result,
            self._mapper(request.audience),
            rows_max=self.options.show_rows_max,
            show_values=self.options.show_values,
        )

    def _digest(self, request: DiffRequest, result: Diff) -> str:
        """One value for all transitions, by which a saved plan is compared with a new one."""
        if not result.groups:
            return "nothing"
        shape = request.shape
        ((rows, value),) = self.warehouse.run(
            "plan/digest",
            tables={"transitions": result.transitions},
            columns={**shape.lists, **hash_complements((*shape.keys, *shape.columns))},
        )
        return f"{rows} {value}"
