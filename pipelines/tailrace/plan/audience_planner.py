"""Makes the plan of one audience: its diff, and what the diff amounts to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cached_property
from typing import Any

from tailrace.audience.audience import Audience
from tailrace.dataclass import dataclass
from tailrace.destinations.protocol import (
    Described,
    DestinationSettings,
    MapperOptions,
    MessageMapper,
)
from tailrace.destinations.registry import destination_type
from tailrace.errors import MemoryShort, ModelError, StatementRefused, TailraceError
from tailrace.ledger.ledger import Ledger
from tailrace.models.loader import Model
from tailrace.plan import record_checks, stats
from tailrace.plan.diff import Diff, DiffRequest, diff_steps
from tailrace.plan.guards import GuardInput, judge
from tailrace.plan.plan import AudiencePlan
from tailrace.plan.policy import PlanOptions
from tailrace.plan.pooled_reads import Steps, run_alone, run_together
from tailrace.plan.preview import PreviewRow, preview
from tailrace.plan.recorded import Recorded
from tailrace.plan.row_hash import hash_complements
from tailrace.warehouse.statements import Binding, QueryText

# Errors that are about one audience; the others are planned all the same.
FAULTS_OF_ONE = (ModelError, StatementRefused, MemoryShort)


@dataclass(frozen=True, kw_only=True)
class RequestedPlan:
    """An audience whose plan is to be made.

    Attributes:
        request: What its diff compares.
        text: The compiled text of its model, as the ledger records it.
        fingerprint: The fingerprint of that text.
        inputs: The fingerprint of the rows that the model will read; None without one.
    """

    request: DiffRequest
    text: str
    fingerprint: str
    inputs: str | None = None

    @property
    def ledger_key(self) -> str:
        return self.request.audience.ledger_key


@dataclass(frozen=True, kw_only=True)
class DueAudience:
    """An audience that is to be planned, whose request is made when it is first needed.

    Attributes:
        model: Its model.
        audience: The audience.
        make: Makes the request.
    """

    model: Model
    audience: Audience
    make: Callable[[Model, Audience], RequestedPlan]

    @property
    def ledger_key(self) -> str:
        return self.audience.ledger_key

    @cached_property
    def request(self) -> RequestedPlan | ModelError:
        """The request, or why there is none."""
        try:
            return self.make(self.model, self.audience)
        except ModelError as error:
            return error


@dataclass(frozen=True, kw_only=True)
class AudiencePlanner:
    """Makes plans of single audiences, each in the session that it is given.

    Attributes:
        recorded: What the ledger has recorded.
        described: What receivers say of their objects.
        now: The time of the plan.

    The other attributes are those of `Planner`.
    """

    recorded: Recorded
    options: PlanOptions
    destinations: Mapping[str, DestinationSettings] | None
    described: Described
    now: datetime
    rules: Mapping[str, Any]
    estimates_requests: bool

    def plan(self, ledger: Ledger, requested: RequestedPlan) -> AudiencePlan:
        """The plan of an audience.

        Args:
            ledger: The open ledger. Its session gets the temporary tables of the plan.
            requested: The audience.

        Raises:
            ModelError: The members cannot be compared with those that were delivered.
            StatementRefused: The model fails on a row.
            MemoryShort: The warehouse has too little memory for it.
        """
        return run_alone(ledger.warehouse, self._steps(ledger, requested))

    def plan_together(
        self, ledger: Ledger, requests: Sequence[RequestedPlan]
    ) -> list[AudiencePlan | TailraceError]:
        """The plan of each audience, or its error; reads that several need are one statement."""
        steps = [self._steps(ledger, requested) for requested in requests]
        return run_together(ledger.warehouse, steps)

    def _steps(self, ledger: Ledger, requested: RequestedPlan) -> Steps[AudiencePlan]:
        request, warehouse = _with_copied_rows(ledger, requested.request), ledger.warehouse
        result = yield from diff_steps(ledger, request, recorded=self.recorded)
        samples = yield from stats.samples(request.shape, result)
        counts = stats.counts(result)
        allowed = self.options.allowed(request.audience.name)
        mapper = self._mapper(ledger, request.audience)
        refused = record_checks.refusals(ledger, request, result, mapper, self.described)
        messages = {
            kind: count - refused.unsent.get(kind, 0)
            for kind, count in stats.calls(result, mapper).items()
        }
        return AudiencePlan(
            audience=request.audience,
            model=request.model,
            shape=request.shape,
            diff=result,
            definition=requested.text,
            fingerprint=requested.fingerprint,
            delivered=request.delivered,
            inputs=requested.inputs,
            policy=request.policy,
            guards=()
            if request.intent == "retire"
            else judge(request.audience, _guard_input(request, result), allowed=allowed),
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
            bytes_per_call=stats.bytes_per_call(warehouse, request.shape, result, mapper)
            if self._needs_sizes(request.audience)
            else 0.0,
            rejected_before=result.rejections,
            suppressed=_suppressed(ledger, request, result),
            refused=refused.by_reason,
            samples=samples,
            rows=self._preview(ledger, request, result, mapper),
            digest=_digest(ledger, request, result) if self.options.digests else "",
        )

    def _needs_sizes(self, audience: Audience) -> bool:
        """Whether the plan needs the size of messages: the time of a run may follow from it."""
        settings = (self.destinations or {}).get(audience.destination_name)
        limit = settings.send_limits().requests_per_second_max if settings else None
        return self.estimates_requests or bool(limit)

    def _mapper(self, ledger: Ledger, audience: Audience) -> MessageMapper:
        options = MapperOptions(
            namespace=ledger.namespace or "plan",
            planned_at=self.now,
            salt=ledger.warehouse.project.settings.salt,
            rules=self.rules.get(audience.destination_type),
            described=self.described,
        )
        return destination_type(audience.destination_type).mapper(audience, options)

    def _preview(
        self, ledger: Ledger, request: DiffRequest, result: Diff, mapper: MessageMapper
    ) -> tuple[PreviewRow, ...]:
        """The transitions that `--show` asks for, with the messages that a run would send."""
        return preview(
            ledger.warehouse,
            request.shape,
            result,
            mapper,
            rows_max=self.options.show_rows_max,
            show_values=self.options.show_values,
        )


def _guard_input(request: DiffRequest, result: Diff) -> GuardInput:
    counts = stats.counts(result)
    return GuardInput(
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


def _with_copied_rows(ledger: Ledger, request: DiffRequest) -> DiffRequest:
    """The request over a copy of the model's rows, on an engine that needs one."""
    warehouse = ledger.warehouse
    if not warehouse.engine.copies_models or not isinstance(request.model, QueryText):
        return request
    copy = warehouse.temporary(f"model__{request.audience.ledger_key}")
    warehouse.drop_temporary(copy)
    tables: dict[str, Binding] = {"model_rows": copy, "model": request.model}
    warehouse.run("plan/copy_model", tables=tables, columns=request.shape.lists)
    return replace(request, model=copy)


def _suppressed(ledger: Ledger, request: DiffRequest, result: Diff) -> int:
    """How many of the model's rows consent keeps out."""
    if request.regardless_of_consent is None:
        return 0
    tables = {"model": request.regardless_of_consent}
    ((rows,),) = ledger.warehouse.run("plan/rows", tables=tables)
    return int(rows) - result.rows_seen


def _digest(ledger: Ledger, request: DiffRequest, result: Diff) -> str:
    """One value for all transitions, by which a saved plan is compared with a new one."""
    if not result.groups:
        return "nothing"
    shape = request.shape
    ((rows, value),) = ledger.warehouse.run(
        "plan/digest",
        tables={"transitions": result.transitions},
        columns={**shape.lists, **hash_complements((*shape.keys, *shape.columns))},
    )
    return f"{rows} {value}"
