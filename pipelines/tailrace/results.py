"""What a run came to, in the shape that `--json` prints and the terminal draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from tailrace.clock import iso
from tailrace.delivery import Settled
from tailrace.errors import TailraceError
from tailrace.plan import Plan

if TYPE_CHECKING:
    from tailrace.salesforce import ObjectFacts


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """A finished run. `exit_code` follows one order: 1 before 3 before 4 before 0."""

    run_id: str
    command: str
    exit_code: int
    audiences: tuple[Mapping[str, Any], ...] = ()
    segment: Mapping[str, Any] = field(default_factory=dict)
    objects: tuple[Mapping[str, Any], ...] = ()
    salesforce: Mapping[str, Any] = field(default_factory=dict)
    orphans: tuple[str, ...] = ()
    errors: tuple[TailraceError, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        return {
            "run_id": self.run_id,
            "audiences": [dict(each) for each in self.audiences],
            "segment": dict(self.segment),
            "objects": [dict(each) for each in self.objects],
            "salesforce": dict(self.salesforce),
            "orphans": list(self.orphans),
            "errors": [entry.as_dict() for each in self.errors for entry in each.flattened()],
        }


@dataclass(frozen=True, kw_only=True)
class Progressing:
    """A run's result in the making."""

    run_id: str
    command: str
    plan: Plan | None = None
    settled: tuple[Settled, ...] = ()
    objects: tuple[Mapping[str, Any], ...] = ()
    salesforce: Mapping[str, Any] = field(default_factory=dict)
    errors: tuple[TailraceError, ...] = ()
    empty_objects: bool = False

    def with_settled(self, settled: Settled) -> Progressing:
        return replace(self, settled=(*self.settled, settled))

    def with_errors(self, errors: Sequence[TailraceError]) -> Progressing:
        return replace(self, errors=(*self.errors, *errors))

    def result(self) -> RunResult:
        """The result as it stands: what was planned and not settled has failed."""
        audiences = _audiences(self.plan, self.settled)
        return RunResult(
            run_id=self.run_id,
            command=self.command,
            exit_code=self._exit_code(audiences),
            audiences=audiences,
            segment=_segment(self.plan, self.settled),
            objects=self.objects,
            salesforce=self.salesforce,
            orphans=self.plan.orphans if self.plan else (),
            errors=self.errors,
        )

    def _exit_code(self, audiences: Sequence[Mapping[str, Any]]) -> int:
        codes = {error.exit_code for error in self.errors}
        if 2 in codes:
            return 2
        statuses = {each["status"] for each in audiences}
        if codes or "failed" in statuses:
            return 1
        if "held" in statuses or self.empty_objects:
            return 3
        return 4 if any(each["rejected"] for each in audiences) else 0


def _audiences(plan: Plan | None, settled: Sequence[Settled]) -> tuple[Mapping[str, Any], ...]:
    """The plan's audiences with what became of them, and those that only a resume touched."""
    fresh = {each.audience: each for each in settled if not each.resumed}
    finished = {each.audience: each for each in settled if each.resumed}
    audiences: list[dict[str, Any]] = []
    for each in plan.audiences if plan else ():
        entry = each.as_dict()
        done = fresh.get(each.name)
        if done is not None:
            entry |= {"sent": done.sent, "rejected": done.rejected}
        elif each.status != "held":
            entry["status"] = "failed"
        audiences.append(entry)
    for entry in audiences:
        done = finished.pop(entry["audience"], None)
        entry["resumed"] = done.sent + done.rejected if done else 0
        if done is not None:
            entry["sent"] += done.sent
    for name, done in finished.items():
        audiences.append(_resumed_only(name, done))
    return tuple(audiences)


def _resumed_only(name: str, done: Settled) -> dict[str, Any]:
    zero = dict.fromkeys(("size_before", "size_after", "entered", "changed", "exited"), 0)
    return {
        "audience": name,
        "status": "ok",
        **zero,
        "sent": done.sent,
        "rejected": done.rejected,
        "held": 0,
        "quarantined": 0,
        "by_reason": {},
        "guards": [],
        "resumed": done.sent + done.rejected,
    }


def _segment(plan: Plan | None, settled: Sequence[Settled]) -> dict[str, Any]:
    planned = plan.segment() if plan else {"batches": 0, "seconds": 0.0}
    return {**planned, "calls": sum(each.calls for each in settled)}


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
        "api": facts.api,
        "watermark": iso(facts.watermark) if facts.watermark else None,
    }
