"""Makes the plan of a project's audiences over an open ledger.

Planning reads the ledger and writes nothing to it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from tailrace.audience.audience import Audience
from tailrace.config.settings import SegmentSettings
from tailrace.destinations.segment.mapper import Mapper
from tailrace.errors import ModelDoesNotBind, UserError
from tailrace.ledger.ledger import Delivered, Ledger
from tailrace.models.loader import Model, Models, bind, check_columns, definition, fingerprint
from tailrace.plan import stats
from tailrace.plan.diff import Diff, DiffRequest, diff, hash_complements
from tailrace.plan.guards import Guard, GuardInput, judge, judge_first_run
from tailrace.plan.plan import AudiencePlan, Plan
from tailrace.plan.policy import PlanOptions, ResolvedPolicy
from tailrace.plan.snapshot_schema import check_names, shape_of
from tailrace.warehouse.memory import Buffers
from tailrace.warehouse.statements import Binding, Column, query


def lanes_of(models: Iterable[Model]) -> Iterator[tuple[Model, Audience]]:
    """The audiences of models, once for each destination."""
    for model in models:
        for lane in model.audience.syncs() if model.audience else ():
            yield model, lane


class Planner:
    """Makes plans of one project's audiences, over an open ledger.

    Args:
        ledger: The open ledger.
        models: All models of the project.
        options: What the command line says about the plan.
        segment: The settings of each destination, for batches and rates.
        now: The time of the plan, which models see as the clock.
        run_seq: The run that makes the plan; without one, the plan is for the next run.
        tables_built: Models that this run has built as tables.
        buffers: The memory limit of the session, which a first plan lowers.
    """

    def __init__(
        self,
        ledger: Ledger,
        models: Models,
        *,
        options: PlanOptions,
        segment: Mapping[str, SegmentSettings] | None,
        now: datetime,
        run_seq: int | None = None,
        tables_built: frozenset[str] = frozenset(),
        buffers: Buffers | None = None,
    ) -> None:
        self.ledger = ledger
        self.warehouse = ledger.warehouse
        self.models = models
        self.options = options
        self.segment = segment
        self.now = now
        self.run_seq = ledger.next_run_seq() if run_seq is None else run_seq
        self.tables_built = tables_built
        self.buffers = buffers

    def plan(self, selected: Sequence[Model], *, without: Collection[str] = ()) -> Plan:
        """The plan of the selected audiences, one for each of their destinations.

        Args:
            selected: Their models.
            without: Ledger keys of audiences to leave out, which wait for an earlier delivery.

        Raises:
            ModelDoesNotBind: A model names a table or a column that the warehouse does not have.
            UnknownColumn: A header names a column that its SELECT does not give.
        """
        # All models are bound before the first one runs, so that an error is reported early.
        requests = [
            self._request(model, audience)
            for model, audience in lanes_of(selected)
            if audience.ledger_key not in without
        ]
        audiences = self._guard_first_run(
            tuple(self._plan_in_memory(request, text) for request, text in requests)
        )
        return Plan(
            planned_at=self.now,
            run_seq=self.run_seq,
            audiences=audiences,
            new_users=stats.count_new_users(self.ledger, audiences),
            orphans=self._orphans(),
            unfinished=stats.unfinished(self.ledger),
            salesforce_calls=self.ledger.last_salesforce_calls(),
            segments=self.segment or {},
        )

    def _guard_first_run(self, audiences: tuple[AudiencePlan, ...]) -> tuple[AudiencePlan, ...]:
        """Add the guard on a first run to the audiences that would send."""
        limit = self.warehouse.project.settings.first_run_members_max
        sending = {plan.name: plan.planned for plan in audiences if any(plan.calls.values())}
        members = sum(sending.values())
        if not limit or members <= limit or self.ledger.ever_delivered():
            return audiences
        return tuple(
            replace(plan, guards=(*plan.guards, self._first_run_guard(plan, members, limit)))
            if plan.name in sending
            else plan
            for plan in audiences
        )

    def _first_run_guard(self, plan: AudiencePlan, members: int, limit: int) -> Guard:
        allowed = "first_run" in self.options.allowed(plan.audience.name)
        return judge_first_run(members, limit=limit, allowed=allowed)

    def columns_of(self, model: Model) -> tuple[Column, ...]:
        """The columns that an audience's model gives today.

        Raises:
            ModelDoesNotBind: The warehouse cannot bind it.
        """
        assert model.audience is not None
        return self._describe(
            self._bound(definition(self.models, model.name), model.audience), model
        )

    def bound(self, model: Model, audience: Audience) -> tuple[Binding, Binding]:
        """The audience's rows of today: all rows of its SELECT, and those that consent lets in."""
        text = definition(self.models, model.name)
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
        return self._plan(request, delivered.definition)

    def _orphans(self) -> tuple[str, ...]:
        """Audiences with members in the ledger and no file."""
        in_files = {audience.ledger_key for _, audience in lanes_of(self.models.audiences())}
        # An audience that was always held sent nothing, so it has no exits.
        rows = [(str(row["lane"]), row["status"]) for row in self.ledger.standing()]
        delivered = {
            lane for lane, status in rows if status != "held" or self.ledger.last_delivered(lane)
        }
        return tuple(sorted(delivered - in_files))

    def _request(self, model: Model, audience: Audience) -> tuple[DiffRequest, str]:
        text = definition(self.models, model.name)
        # Tables that this run built are read instead of inlined; the recorded text inlines all.
        run_text = definition(self.models, model.name, tables_built=self.tables_built)
        bound = self._bound(run_text, audience)
        columns = self._describe(bound, model)
        check_columns(model, [column.name for column in columns])
        shape = shape_of(
            columns, key=audience.key, mapped=audience.mapped_columns, file=audience.file
        )
        check_names(audience, shape, name_bytes_max=self.warehouse.name_bytes_max)
        delivered = self.ledger.last_delivered(audience.ledger_key)
        edited = delivered is not None and delivered.definition_fingerprint != fingerprint(text)
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
            upstream=self._upstream(model),
            now=self.now,
            run_seq=self.run_seq,
            remapped=remapped,
            policy=self._policy(audience),
            intent=self.options.intent,
        )
        return request, text

    def _policy(self, audience: Audience) -> ResolvedPolicy:
        """The actions for an audience; a reset ignores the header's mapping and new-column ones."""
        if self.options.intent in ("changes", "retry"):
            return self.options.resolve(audience)
        return self.options.resolve(replace(audience, on_mapping_change=None, on_new_column=None))

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
        """The delivered definition, bound to today's data; None if it no longer binds."""
        mapping = Audience.from_mapping(delivered.mapping)
        try:
            earlier = self._bound(delivered.definition, mapping)
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
        """Why the objects that the audience reads are incomplete today, one line each."""
        extracts = self.ledger.last_extracts()
        reasons = []
        for table in self.models.objects_read(model.name):
            extract = extracts.get(table)
            if extract is not None and not extract.complete:
                reasons.append(f"{extract.object} is incomplete ({extract.error or 'unknown'})")
            elif extract is not None and extract.empty:
                reasons.append(f"{extract.object} came back empty")
        return tuple(reasons)

    def _plan_in_memory(self, request: DiffRequest, text: str) -> AudiencePlan:
        """The plan; a first one, which may be of any size, runs with the memory limit lowered."""
        if self.buffers is None or request.delivered is not None:
            return self._plan(request, text)
        return self.buffers.sparing(lambda: self._plan(request, text))

    def _plan(self, request: DiffRequest, text: str) -> AudiencePlan:
        result = diff(self.ledger, request)
        counts = stats.counts(result)
        guard_input = GuardInput(
            size_before=result.size_before,
            size_after=result.size_after,
            entered=counts["entered"],
            changed=counts["changed"],
            exited=counts["exited"],
            quarantined=result.quarantined,
            bad_keys=stats.bad_keys(result),
            on_hold=stats.on_hold(request, result),
            upstream=request.upstream,
        )
        allowed = self.options.allowed(request.audience.name)
        mapper = Mapper(
            request.audience, namespace=self.ledger.namespace or "plan", planned_at=self.now
        )
        retires = request.intent == "retire"
        return AudiencePlan(
            audience=request.audience,
            model=request.model,
            shape=request.shape,
            diff=result,
            definition=text,
            fingerprint=fingerprint(text),
            delivered=request.delivered,
            policy=request.policy,
            guards=() if retires else judge(request.audience, guard_input, allowed=allowed),
            **counts,
            by_reason=stats.by_reason(result),
            calls=stats.calls(result, mapper),
            new_users=sum(group.members for group in result.groups if group.is_new),
            bytes_per_call=stats.bytes_per_call(self.warehouse, request.shape, result, mapper),
            rejected_before=result.rejections,
            samples=stats.samples(self.warehouse, request.shape, result),
            digest=self._digest(request, result) if self.options.digests else "",
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


def not_landed(model: Model, table: str) -> ModelDoesNotBind:
    """The error for a model that reads an object which was never extracted."""
    return ModelDoesNotBind(
        f"{model.name} reads salesforce.{table}, which has not landed",
        hint="Add the object to [sources.salesforce] objects, then: tailrace extract",
        file=model.file,
    )
