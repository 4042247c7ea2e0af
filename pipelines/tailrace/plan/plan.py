"""The plan: what a run would do for each audience, as values.

A plan is printed, reviewed and saved. `planner` makes it; `outbox.enqueue` saves its transitions,
which wait in temporary tables of the warehouse session.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import field
from datetime import datetime
from typing import Any, Literal

from tailrace.audience.audience import Audience
from tailrace.audience.blocks import DEFAULT_TYPE
from tailrace.dataclass import dataclass
from tailrace.destinations.batching import REQUEST_OVERHEAD_BYTES
from tailrace.destinations.protocol import DestinationSettings
from tailrace.destinations.registry import destination_type
from tailrace.errors import TailraceError
from tailrace.ledger.audiences import Delivered
from tailrace.ledger.tables import Shape
from tailrace.models.determinism import ModelWarning
from tailrace.plan.diff import Diff
from tailrace.plan.guards import Guard
from tailrace.plan.policy import ResolvedPolicy
from tailrace.plan.preview import PreviewRow
from tailrace.warehouse.statements import Binding

Status = Literal["ok", "unchanged", "held", "failed"]


@dataclass(frozen=True, kw_only=True)
class AudiencePlan:
    """What a run would do for one audience. Counts are members, except `calls`, which are messages
    by type.

    `inputs` is a fingerprint of everything that the plan was computed from; None if it cannot be
    compared with a later one. `skipped` says why the model was not run. `refused` counts the rows
    that the destination would refuse, by reason. `scan_rows` is about how many rows of tables the
    model reads; None if the engine cannot say it, or was not asked.
    """

    audience: Audience
    model: Binding = field(repr=False)
    shape: Shape
    diff: Diff
    definition: str = field(repr=False)
    fingerprint: str
    delivered: Delivered | None = field(repr=False)
    policy: ResolvedPolicy = field(default_factory=ResolvedPolicy)
    guards: tuple[Guard, ...] = ()
    entered: int = 0
    changed: int = 0
    exited: int = 0
    by_reason: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    calls: Mapping[str, int] = field(default_factory=dict)
    batch_messages_max: int | None = None
    new_users: int = 0
    bytes_per_call: float = 0.0
    rejected_before: int = 0
    suppressed: int = 0
    refused: Mapping[str, int] = field(default_factory=dict)
    api_calls: int | None = None
    samples: tuple[Mapping[str, str], ...] = ()
    rows: tuple[PreviewRow, ...] = ()
    digest: str = ""
    inputs: str | None = field(default=None, repr=False)
    skipped: str = ""
    scan_rows: int | None = None

    @property
    def ledger_key(self) -> str:
        return self.audience.ledger_key

    @property
    def destination(self) -> str:
        """The section of the configuration that its messages go to."""
        return self.audience.destination_name

    @property
    def planned(self) -> int:
        """The number of transitions."""
        return self.entered + self.changed + self.exited

    @property
    def is_finished(self) -> bool:
        """Whether nothing is to be delivered: no transition, and none to be resolved."""
        return not self.planned and not self.diff.rejections and not self.diff.unconfirmed

    @property
    def status(self) -> Status:
        if any(guard.held for guard in self.guards):
            return "held"
        return "ok" if self.planned else "unchanged"

    def funnel(self) -> dict[str, int]:
        """What became of the model's rows; the ledger keeps it for each run.

        `rows` are all rows of the model, and each of them counts in at most one of the others:
        `null_keys` and `duplicate_keys` are quarantined, `suppressed` lacks consent, `without_id`
        changes and cannot be sent, `shared_message_ids` changes and has the messageId of another
        row. `silent` are changes, exits included, that are recorded without being sent.
        """
        diff = self.diff
        identified = bool(self.audience.user_id or self.audience.anonymous_id)
        return {
            "rows": diff.rows_seen + self.suppressed,
            "null_keys": diff.null_keys,
            "duplicate_keys": diff.quarantined - diff.shared_message_ids - diff.null_keys,
            "suppressed": self.suppressed,
            "without_id": sum(
                group.members
                for group in diff.groups
                if identified and group.send and not group.has_id and group.facts.op != "exited"
            ),
            "shared_message_ids": diff.shared_message_ids,
            "silent": sum(group.members for group in diff.groups if not group.send),
        }

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
        """One entry of `audiences` in a `--json` result; keys are masked."""
        held = self.planned if self.status == "held" else 0
        schema_change = self.diff.schema_change
        return {
            "audience": self.audience.name,
            "destination": self.destination,
            "status": self.status,
            "size_before": self.diff.size_before,
            "size_after": self.diff.size_after,
            "entered": self.entered,
            "changed": self.changed,
            "exited": self.exited,
            "sent": 0,
            "rejected": 0,
            "refused": sum(self.refused.values()),
            "refused_by_reason": dict(self.refused),
            "current": self.diff.current,
            "held": held,
            "quarantined": self.diff.quarantined,
            "by_reason": {reason: dict(ops) for reason, ops in self.by_reason.items()},
            "guards": [guard.as_dict() for guard in self.guards],
            "calls": dict(self.calls),
            "new_users": self.new_users,
            "rejected_before": self.rejected_before,
            "definition_changed": self.definition_changed,
            "mapping_changed": self.mapping_changed,
            "choices": self.policy.as_dict(),
            "new_columns": [column.name for column in schema_change.added],
            "dropped_columns": [column.name for column in schema_change.dropped],
            "retyped_columns": [column.name for column in schema_change.retyped],
            "unconverted": self.diff.unconverted,
            "samples": [dict(sample) for sample in self.samples],
            "rows": [row.as_dict() for row in self.rows],
            "skipped": self.skipped,
            "scan_rows": self.scan_rows,
        }


@dataclass(frozen=True, kw_only=True)
class BuildResult:
    """The models that a run built as tables, and why others could not be built, by name."""

    tables: frozenset[str] = frozenset()
    errors: Mapping[str, TailraceError] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class AudienceFailure:
    """An audience that cannot be planned, and why."""

    audience: Audience
    error: TailraceError

    def as_dict(self) -> dict[str, Any]:
        """Its entry of `audiences` in a `--json` result."""
        counts = ("size_before", "size_after", "entered", "changed", "exited", "sent", "rejected")
        return {
            "audience": self.audience.name,
            "destination": self.audience.destination_name,
            "status": "failed",
            **dict.fromkeys(counts, 0),
            "refused": 0,
            "refused_by_reason": {},
            "current": 0,
            "held": 0,
            "quarantined": 0,
            "by_reason": {},
            "guards": [],
            "calls": dict.fromkeys(
                destination_type(self.audience.destination_type).message_kinds, 0
            ),
            "new_users": 0,
            "rejected_before": 0,
            "definition_changed": False,
            "mapping_changed": False,
            "choices": ResolvedPolicy().as_dict(),
            "new_columns": [],
            "dropped_columns": [],
            "retyped_columns": [],
            "unconverted": 0,
            "samples": [],
            "rows": [],
            "skipped": "",
            "scan_rows": None,
        }


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run would do, for every selected audience.

    `failures` are audiences that cannot be planned; the others do not depend on them.
    `model_errors` are errors of models that no audience has to read. `warnings` are about the
    models of the selected audiences, such as a window without an order.

    `unfinished` maps audiences to the members that an interrupted run left in the outbox: the next
    run sends them first.
    """

    planned_at: datetime
    run_seq: int
    audiences: tuple[AudiencePlan, ...]
    failures: tuple[AudienceFailure, ...] = ()
    model_errors: tuple[TailraceError, ...] = ()
    warnings: tuple[ModelWarning, ...] = ()
    orphans: tuple[str, ...] = ()
    unfinished: Mapping[str, int] = field(default_factory=dict)
    salesforce_calls: int = 0
    new_users: int = 0
    destinations: Mapping[str, DestinationSettings] = field(default_factory=dict)

    @property
    def pending(self) -> bool:
        """Whether a run would send or record anything."""
        return bool(self.unfinished) or any(audience.planned for audience in self.audiences)

    @property
    def errors(self) -> tuple[TailraceError, ...]:
        """Why audiences and models failed, each error once."""
        raised = (*(failure.error for failure in self.failures), *self.model_errors)
        unique = {
            (error.file, error.line, error.message): error
            for several in raised
            for error in several.flattened()
        }
        return tuple(unique.values())

    @property
    def failure_exit_code(self) -> int:
        """1 if an audience failed and others did not; what the errors say if all failed; else 0."""
        if not self.errors:
            return 0
        return 1 if self.audiences else min(error.exit_code for error in self.errors)

    @property
    def exit_code(self) -> int:
        if self.errors:
            return self.failure_exit_code
        return 3 if any(audience.status == "held" for audience in self.audiences) else 0

    def totals(self) -> dict[str, Any]:
        """Messages, batches and seconds of the destinations of the default type together.

        Destinations are sent to in parallel: the time is that of the slowest.
        """
        default = [t for t in self.by_destination().values() if t["type"] == DEFAULT_TYPE]
        return {
            "calls": sum(total["calls"] for total in default),
            "batches": sum(total["batches"] for total in default),
            "seconds": max((total["seconds"] for total in default), default=0.0),
            "new_users": self.new_users,
        }

    def by_destination(self) -> dict[str, dict[str, Any]]:
        """Messages, batches and seconds to send them, of the audiences that are not held."""
        totals: dict[str, dict[str, Any]] = {}
        for plan in self.audiences:
            start: dict[str, Any] = {
                "type": plan.audience.destination_type,
                "calls": 0,
                "batches": 0,
            }
            total = totals.setdefault(plan.destination, start)
            if plan.status == "ok":
                if plan.api_calls is not None:
                    total["api_calls"] = total.get("api_calls", 0) + plan.api_calls
                total["calls"] += sum(plan.calls.values())
                total["batches"] += self._batches(plan)
        for name, total in totals.items():
            total["seconds"] = round(self._seconds(name, total["calls"], total["batches"]), 1)
        return totals

    def _seconds(self, destination: str, messages: int, requests: int) -> float:
        """The least time that the rates of a destination allow."""
        if destination not in self.destinations:
            return 0.0
        limits = self.destinations[destination].send_limits()
        counts = (
            (messages, limits.messages_per_second_max),
            (requests, limits.requests_per_second_max),
        )
        return max((count / rate for count, rate in counts if rate), default=0.0)

    def _batches(self, audience: AudiencePlan) -> int:
        """Requests for the messages of an audience, by their mean number a member and mean size."""
        calls = sum(audience.calls.values())
        if not calls:
            return 0
        settings = self.destinations.get(audience.destination)
        kind = destination_type(audience.audience.destination_type)
        limits = (settings.send_limits() if settings else kind.default_limits()).batch
        bytes_max = limits.bytes_max - REQUEST_OVERHEAD_BYTES
        fitting = min(limits.messages_max, int(bytes_max // (audience.bytes_per_call + 1)))
        if audience.batch_messages_max is not None:
            fitting = min(fitting, audience.batch_messages_max)
        # The messages of a member are never split over two requests.
        per_member = max(1, math.ceil(calls / max(audience.planned, 1)))
        return math.ceil(calls / max(fitting - fitting % per_member, per_member))

    def as_dict(self) -> dict[str, Any]:
        """The object that `tailrace plan --json` prints."""
        return {
            "audiences": [
                *(audience.as_dict() for audience in self.audiences),
                *(failure.as_dict() for failure in self.failures),
            ],
            DEFAULT_TYPE: self.totals(),
            "destinations": self.by_destination(),
            "salesforce": {"calls": self.salesforce_calls},
            "orphans": list(self.orphans),
            "unfinished": [
                {"audience": name, "members": members} for name, members in self.unfinished.items()
            ],
            "errors": [error.as_dict() for error in self.errors],
        }
