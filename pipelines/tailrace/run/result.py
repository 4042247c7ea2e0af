"""The result of a run, in the shape that `--json` prints and the terminal shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field, replace
from typing import TYPE_CHECKING, Any

from tailrace.audience.blocks import DEFAULT_TYPE
from tailrace.clock import format_utc
from tailrace.dataclass import dataclass
from tailrace.errors import LeaseLost, TailraceError
from tailrace.run.notices import Notice

if TYPE_CHECKING:
    from tailrace.audience.audience import Audience
    from tailrace.plan.plan import AudienceFailure, Plan
    from tailrace.run.delivery import DeliveryResult
    from tailrace.salesforce.extract.facts import ObjectFacts


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """A finished run. `exit_code` is the first of 2, 75, 1, 3, 4, 0 that applies; 3 means held."""

    run_id: str
    command: str
    exit_code: int
    audiences: tuple[Mapping[str, Any], ...] = ()
    totals: Mapping[str, Any] = field(default_factory=dict)
    destinations: Mapping[str, Any] = field(default_factory=dict)
    objects: tuple[Mapping[str, Any], ...] = ()
    salesforce: Mapping[str, Any] = field(default_factory=dict)
    orphans: tuple[str, ...] = ()
    notices: tuple[Notice, ...] = ()
    errors: tuple[TailraceError, ...] = ()
    # Where `state_url` keeps the DuckDB file; empty without it.
    state: Mapping[str, Any] = field(default_factory=dict)
    # The audiences that could not be planned; `audiences` has an entry for each of them.
    failures: tuple[AudienceFailure, ...] = ()
    # What the receivers of `[tailrace.alerts]` were alerted of; None without receivers.
    alerts: Mapping[str, Any] | None = None

    def with_state(self, state: Mapping[str, Any], error: TailraceError | None) -> RunResult:
        """The result with the stored state, and with the error that kept it from being stored."""
        if error is None:
            return replace(self, state=state)
        exit_code = 2 if self.exit_code == 2 else error.exit_code
        return replace(self, state=state, errors=(*self.errors, error), exit_code=exit_code)

    def as_dict(self) -> dict[str, Any]:
        state = {"state": dict(self.state)} if self.state else {}
        alerts = {"alerts": dict(self.alerts)} if self.alerts is not None else {}
        return {
            "run_id": self.run_id,
            "audiences": [dict(audience) for audience in self.audiences],
            DEFAULT_TYPE: dict(self.totals),
            "destinations": dict(self.destinations),
            "objects": [dict(entry) for entry in self.objects],
            "salesforce": dict(self.salesforce),
            "orphans": list(self.orphans),
            **state,
            **alerts,
            "warnings": [notice.as_dict() for notice in self.notices],
            "errors": [entry.as_dict() for error in self.errors for entry in error.flattened()],
        }


@dataclass(frozen=True, kw_only=True)
class Progressing:
    """The result of a run that is still active."""

    run_id: str
    command: str
    plan: Plan | None = None
    # The audiences, totals, destinations and orphans of an earlier run that this one equals.
    unchanged: Mapping[str, Any] | None = None
    deliveries: tuple[DeliveryResult, ...] = ()
    objects: tuple[Mapping[str, Any], ...] = ()
    salesforce: Mapping[str, Any] = field(default_factory=dict)
    blocked: tuple[Audience, ...] = ()
    notices: tuple[Notice, ...] = ()
    errors: tuple[TailraceError, ...] = ()

    def with_delivery(self, delivery: DeliveryResult) -> Progressing:
        return replace(self, deliveries=(*self.deliveries, delivery)).with_notices(delivery.notices)

    def with_notices(self, notices: Iterable[Notice]) -> Progressing:
        return replace(self, notices=(*self.notices, *notices))

    def with_errors(self, errors: Sequence[TailraceError]) -> Progressing:
        return replace(self, errors=(*self.errors, *errors))

    def result(self) -> RunResult:
        """The result so far: audiences that were planned and not delivered have failed."""
        if self.unchanged is not None:
            return RunResult(
                run_id=self.run_id,
                command=self.command,
                exit_code=self._exit_code(self.unchanged["audiences"]),
                audiences=tuple(self.unchanged["audiences"]),
                totals=self.unchanged["totals"],
                destinations=self.unchanged["destinations"],
                objects=self.objects,
                salesforce=self.salesforce,
                orphans=tuple(self.unchanged["orphans"]),
                notices=self.notices,
                errors=self.errors,
            )
        audiences = (
            *_audiences(self.plan, self.deliveries),
            *(_not_planned(audience) for audience in self.blocked),
            *(
                _not_planned(failure.audience)
                for failure in (self.plan.failures if self.plan else ())
            ),
        )
        return RunResult(
            run_id=self.run_id,
            command=self.command,
            exit_code=self._exit_code(audiences),
            audiences=audiences,
            totals=_totals(self.plan, self.deliveries),
            destinations=_by_destination(self.plan, self.deliveries),
            objects=self.objects,
            salesforce=self.salesforce,
            orphans=self.plan.orphans if self.plan else (),
            notices=self.notices,
            errors=(*self.errors, *(self.plan.errors if self.plan else ())),
            failures=self.plan.failures if self.plan else (),
        )

    def _exit_code(self, audiences: Sequence[Mapping[str, Any]]) -> int:
        codes = {error.exit_code for error in self.errors}
        if self.plan is not None and self.plan.failure_exit_code:
            codes.add(self.plan.failure_exit_code)
        for code in (2, LeaseLost.exit_code):
            if code in codes:
                return code
        statuses = {audience["status"] for audience in audiences}
        if codes or "failed" in statuses:
            return 1
        if "held" in statuses:
            return 3
        return 4 if any(audience["rejected"] for audience in audiences) else 0


def _audiences(
    plan: Plan | None, deliveries: Sequence[DeliveryResult]
) -> tuple[Mapping[str, Any], ...]:
    """The plan's audiences with their deliveries, and audiences that were only resumed."""
    fresh = {delivery.sync_key: delivery for delivery in deliveries if not delivery.resumed}
    finished: dict[str, list[DeliveryResult]] = {}
    for delivery in deliveries:
        if delivery.resumed or plan is None:
            finished.setdefault(delivery.sync_key, []).append(delivery)
    audiences: list[dict[str, Any]] = []
    for planned in plan.audiences if plan else ():
        entry = planned.as_dict()
        done = fresh.get(planned.ledger_key)
        if done is not None:
            entry |= {"sent": done.sent, "rejected": done.rejected}
            if done.size_after is not None:
                entry["size_after"] = done.size_after
        elif planned.status != "held" and not planned.skipped:
            entry["status"] = "failed"
        before = finished.pop(planned.ledger_key, [])
        entry["resumed"] = sum(delivery.sent + delivery.rejected for delivery in before)
        entry["sent"] += sum(delivery.sent for delivery in before)
        audiences.append(entry)
    return (*audiences, *(_resumed_only(done) for done in finished.values()))


def _resumed_only(deliveries: Sequence[DeliveryResult]) -> dict[str, Any]:
    sent = sum(delivery.sent for delivery in deliveries)
    rejected = sum(delivery.rejected for delivery in deliveries)
    resumed = sum(delivery.sent + delivery.rejected for delivery in deliveries if delivery.resumed)
    entry: dict[str, Any] = {"status": "ok", "sent": sent, "rejected": rejected, "resumed": resumed}
    for delivery in deliveries:
        for op, count in delivery.moves.items():
            entry[op] = entry.get(op, 0) + count
    if deliveries[0].moves:
        entry["size_after"] = entry["entered"] - entry["exited"]
    return _unchanged(deliveries[0].audience, deliveries[0].destination) | entry


def _not_planned(audience: Audience) -> dict[str, Any]:
    destination = audience.destination_name
    return _unchanged(audience.name, destination) | {"status": "failed"}


def _unchanged(audience: str, destination: str) -> dict[str, Any]:
    counts = ("size_before", "size_after", "entered", "changed", "exited", "sent", "rejected")
    return {
        "audience": audience,
        "destination": destination,
        "status": "unchanged",
        **dict.fromkeys(counts, 0),
        "held": 0,
        "quarantined": 0,
        "by_reason": {},
        "guards": [],
        "resumed": 0,
    }


def _totals(plan: Plan | None, deliveries: Sequence[DeliveryResult]) -> dict[str, Any]:
    """The plan's totals, with the numbers of messages and requests that were really sent."""
    planned = plan.totals() if plan else {"seconds": 0.0}
    return planned | _sent([d for d in deliveries if d.destination_type == DEFAULT_TYPE])


def _by_destination(
    plan: Plan | None, deliveries: Sequence[DeliveryResult]
) -> dict[str, dict[str, Any]]:
    """The same for each destination."""
    totals = plan.by_destination() if plan else {}
    for delivery in deliveries:
        totals.setdefault(delivery.destination, {"type": delivery.destination_type, "seconds": 0.0})
    return {
        name: total | _sent([d for d in deliveries if d.destination == name])
        for name, total in totals.items()
    }


def _sent(deliveries: Sequence[DeliveryResult]) -> dict[str, int]:
    used = [result.api_calls for result in deliveries if result.api_calls is not None]
    return {
        **({"api_calls": sum(used)} if used else {}),
        "calls": sum(result.calls for result in deliveries),
        "batches": sum(result.batches for result in deliveries),
        "requests": sum(result.requests for result in deliveries),
    }


def object_entry(facts: ObjectFacts) -> dict[str, Any]:
    """One extracted object in a result."""
    return {
        "object": facts.object,
        "table": facts.table,
        "rows": facts.rows,
        "complete": facts.complete,
        "empty": facts.empty,
        "quarantined": facts.quarantined,
        "vanished_fields": list(facts.vanished_fields),
        "new_fields": list(facts.new_fields),
        "retyped_fields": list(facts.retyped_fields),
        "api": facts.api,
        "watermark": format_utc(facts.watermark) if facts.watermark else None,
    }
