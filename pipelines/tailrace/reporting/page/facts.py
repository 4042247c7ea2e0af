"""What the page shows, as frozen values: no markup, no database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime
from typing import Any, NamedTuple

from tailrace.dataclass import dataclass
from tailrace.reporting.verdict import Verdict

REASONS = ("initial", "data", "definition", "mapping", "upstream")


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """One run: its outcome, its seconds by phase, and what it changed over all audiences.

    `outcome` is ok, held, rejected, failed, running or crashed.
    """

    run_id: str
    command: str
    outcome: str
    started_at: datetime
    finished_at: datetime | None
    exit_code: int | None
    error: str | None
    salesforce_calls: int
    latency_p50_seconds: float | None = None
    latency_p95_seconds: float | None = None
    phase_seconds: Mapping[str, float] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    entered: int = 0
    changed: int = 0
    exited: int = 0
    sent: int = 0
    rejected: int = 0
    held: int = 0
    calls: int = 0

    @property
    def seconds(self) -> float | None:
        """From start to finish; None while the run has not finished."""
        if self.finished_at is None:
            return None
        return (self.finished_at - self.started_at).total_seconds()


@dataclass(frozen=True, kw_only=True)
class Drop:
    """Rows or members that do not reach a step of the funnel, and why.

    `command` is what to type to see or to change it. A negative `count` joins at the step, as the
    exits do, which are no rows of the model.
    """

    reason: str
    count: int
    command: str = ""


@dataclass(frozen=True, kw_only=True)
class FunnelStep:
    """How many rows or members reach a step; `count` plus all drops is the count before it."""

    name: str
    meaning: str
    count: int
    drops: tuple[Drop, ...] = ()


@dataclass(frozen=True, kw_only=True)
class GuardFacts:
    """A guard in the last run: what it counted, its limit, and whether it held the audience."""

    name: str
    seen: int
    limit: int
    held: bool
    allowed: bool
    message: str


class AudienceRunFacts(NamedTuple):
    """One run of one audience at one destination. A page has thousands of them.

    `changes_by_reason` are the numbers of changes for each reason, `changes` their sum, and
    `by_reason` divides them by operation.
    """

    run_seq: int
    run_id: str
    at: datetime
    status: str
    size: int
    entered: int
    changed: int
    exited: int
    sent: int
    rejected: int
    held: int
    quarantined: int
    calls: int
    by_reason: Mapping[str, Mapping[str, int]]
    changes_by_reason: Mapping[str, int]
    changes: int

    @property
    def is_initial(self) -> bool:
        """Whether the run sent a first result, beside which later runs would not be visible.

        Members of the first result that are rejected keep the reason in later runs.
        """
        return self.changes_by_reason.get("initial", 0) * 2 > self.changes


@dataclass(frozen=True, kw_only=True)
class RejectionFacts:
    """Rejected changes with the same reason."""

    audience: str
    kind: str
    reason: str
    path: str
    status: int | None
    count: int
    attempts: int
    first_seen: datetime
    last_seen: datetime
    sample: str
    command: str


@dataclass(frozen=True, kw_only=True)
class CallFacts:
    """One message of the last run, masked."""

    op: str
    reason: str
    kind: str
    message_id: str
    outcome: str
    body: str


@dataclass(frozen=True, kw_only=True)
class DefinitionChange:
    """A change of the SQL: what it is compared with, and both as a unified diff."""

    title: str
    diff: str


@dataclass(frozen=True, kw_only=True)
class LineageEdge:
    """A Salesforce field, the model's column that is computed from it, and where that is sent.

    `source` is empty for a column that no landed field reaches, and `target` for one that is not
    sent.
    """

    source: str
    column: str
    target: str
    personal: bool


@dataclass(frozen=True, kw_only=True)
class AudienceFacts:
    """One audience at one destination, with its runs from the oldest to the newest."""

    name: str
    destination: str
    anchor: str
    status: str
    file: str | None
    description: str
    owner: str
    tags: tuple[str, ...]
    last_success: datetime | None
    runs: tuple[AudienceRunFacts, ...]
    guards: tuple[GuardFacts, ...]
    exit_margin: str
    rejected: int
    funnel: tuple[FunnelStep, ...]
    funnel_run: str
    definition: str
    definition_change: DefinitionChange | None
    header: tuple[tuple[str, str], ...]
    calls: tuple[CallFacts, ...]
    lineage: tuple[LineageEdge, ...]
    filters: tuple[str, ...]

    @property
    def title(self) -> str:
        """The name, with the destination if that is not `segment`."""
        if self.destination == "segment":
            return self.name
        return f"{self.name} → {self.destination}"

    @property
    def last(self) -> AudienceRunFacts | None:
        """The newest run."""
        return self.runs[-1] if self.runs else None


@dataclass(frozen=True, kw_only=True)
class ObjectFacts:
    """The last extract of one Salesforce object, and the rows of its table now."""

    object: str
    rows: int
    seconds: float | None
    live: int
    deleted: int
    quarantined: int
    vanished_fields: tuple[str, ...]
    condition: str
    finished_at: datetime


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What was used of something that is limited or billed; `limit` is None if it has none."""

    name: str
    used: int
    limit: int | None
    note: str


@dataclass(frozen=True, kw_only=True)
class PlannedFacts:
    """What the next run would do for one audience, from a saved plan."""

    audience: str
    destination: str
    status: str
    size_before: int
    size_after: int
    entered: int
    changed: int
    exited: int
    why: str


@dataclass(frozen=True, kw_only=True)
class SavedPlan:
    """A saved plan: when it was made, and its audiences."""

    planned_at: datetime
    command: str
    audiences: tuple[PlannedFacts, ...]


@dataclass(frozen=True, kw_only=True)
class PageFacts:
    """Everything on the page. `written_at` is the clock's time."""

    project: str
    target: str | None
    written_at: datetime
    read_from_run: str | None
    verdict: Verdict
    runs: tuple[RunFacts, ...]
    audiences: tuple[AudienceFacts, ...]
    rejections: tuple[RejectionFacts, ...]
    objects: tuple[ObjectFacts, ...]
    budgets: tuple[Budget, ...]
    sending: tuple[Mapping[str, Any], ...]
    plan: SavedPlan | None = None
