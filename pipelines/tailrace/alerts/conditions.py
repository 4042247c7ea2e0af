"""The problems of audiences and runs, and which of them a receiver has not been alerted of.

A subject is an audience at a destination, by its sync key, or a scheduled command as a whole, as
`command:NAME`. A subject has one problem at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tailrace.audience.audience import ledger_key
from tailrace.config.settings import AlertSettings
from tailrace.errors import TailraceError
from tailrace.reporting.status import problems

Entry = Mapping[str, Any]

RECOVERED = "recovered"
# The most severe first. What a run has found is not replaced by a lesser problem between runs.
SEVERITY = ("failed", "held", "late", "rejected")
# A run is reported as a whole only if a schedule starts it; each also does what it names.
SCHEDULED: Mapping[str, tuple[str, ...]] = {
    "run": ("run", "extract", "sync"),
    "extract": ("extract",),
    "sync": ("sync",),
}


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One problem of a subject; `reason` has no personal value."""

    subject: str
    name: str
    problem: str
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What is known about the subjects now.

    Attributes:
        problems: The problem of each subject that has one, as the run found it.
        healthy: The subjects that the run found without a problem.
        suspected: Problems of other subjects, such as late ones. They count if they are more severe
            than what was alerted.
    """

    problems: tuple[Problem, ...] = ()
    healthy: Mapping[str, str] = field(default_factory=dict)
    suspected: tuple[Problem, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Change:
    """A subject whose problem is another one than the receiver was alerted of.

    `problem` is `recovered` at the end of a problem; `before` is None at its beginning.
    """

    subject: str
    name: str
    problem: str
    before: str | None = None
    reason: str = ""

    def as_dict(self) -> dict[str, str | None]:
        """One entry of `alerts.sent` in a `--json` result."""
        return {
            "subject": self.subject,
            "name": self.name,
            "problem": self.problem,
            "before": self.before,
        }


def changes(
    findings: Findings, alerted: Mapping[str, str], settings: AlertSettings
) -> tuple[Change, ...]:
    """What a receiver is to be alerted of.

    Args:
        findings: What is known now.
        alerted: The problem that it was last alerted of, by subject.
        settings: Problems that `on` leaves out are not alerted. The end of a problem is always a
            change, since it has to be recorded.
    """
    changed = []
    for found in findings.problems:
        before = alerted.get(found.subject)
        if found.problem in settings.on and found.problem != before:
            changed.append(_change(found, before))
    for found in findings.suspected:
        before = alerted.get(found.subject)
        if found.problem in settings.on and _more_severe(found.problem, before):
            changed.append(_change(found, before))
    for subject, name in findings.healthy.items():
        if subject in alerted:
            changed.append(
                Change(subject=subject, name=name, problem=RECOVERED, before=alerted[subject])
            )
    return tuple(changed)


def findings_of_run(
    command: str,
    *,
    status: Entry,
    audiences: Sequence[Entry],
    exit_code: int,
    errors: Sequence[TailraceError],
    settings: AlertSettings,
    now: datetime,
) -> Findings:
    """What a run found about its audiences and itself, and the other audiences that are late.

    Args:
        command: The command of the run.
        status: The result of `status` after the run.
        audiences: The audiences in the result of the run.
        exit_code: Its exit code.
        errors: Its errors.
        settings: What counts as rejected or late.
        now: The time to compare with.
    """
    found: list[Problem] = []
    healthy: dict[str, str] = {}
    for entry in audiences:
        subject = ledger_key(str(entry["audience"]), str(entry["destination"]))
        problem = _problem(entry, settings)
        if problem is None:
            healthy[subject] = _name(entry)
        else:
            found.append(_of_audience(entry, problem))
    if exit_code in (1, 2):
        found += of_command(command, errors)
    elif command in SCHEDULED:
        healthy |= {f"command:{name}": f"tailrace {name}" for name in SCHEDULED[command]}
    known = {problem.subject for problem in found} | set(healthy)
    others = findings_of_status(status, settings, now).suspected
    return Findings(
        problems=tuple(found),
        healthy=healthy,
        suspected=tuple(problem for problem in others if problem.subject not in known),
    )


def findings_of_status(status: Entry, settings: AlertSettings, now: datetime) -> Findings:
    """The audiences that are late, held or failed by the ledger. A run finds who has recovered."""
    suspected = []
    rows = {(row["audience"], row["destination"]): row for row in status["audiences"]}
    for entry in problems(status, late_hours=settings.late_hours, now=now):
        row = rows.get((entry["audience"], entry["destination"]))
        if row is not None:
            # The message begins with the name and the problem.
            reason = str(entry["message"]).partition(": ")[2]
            suspected.append(_of_audience(row, str(entry["problem"]), reason))
    return Findings(suspected=tuple(suspected))


def of_command(command: str, errors: Sequence[TailraceError]) -> tuple[Problem, ...]:
    """The failure of a scheduled command as a whole."""
    if command not in SCHEDULED:
        return ()
    problem = Problem(
        subject=f"command:{command}",
        name=f"tailrace {command}",
        problem="failed",
        reason="; ".join(error.message for error in errors),
    )
    return (problem,)


def open_problems(alerted: Mapping[str, str], changed: Iterable[Change]) -> dict[str, str]:
    """The problems that a receiver knows of after it was alerted of changes."""
    known = dict(alerted)
    for change in changed:
        if change.problem == RECOVERED:
            known.pop(change.subject, None)
        else:
            known[change.subject] = change.problem
    return known


def _problem(entry: Entry, settings: AlertSettings) -> str | None:
    """The problem of an audience in the result of a run."""
    if entry["status"] in ("failed", "held"):
        return str(entry["status"])
    rejected = int(entry["rejected"])
    members = rejected + int(entry["size_after"] or 0)
    return "rejected" if rejected and rejected >= settings.rejected_share_min * members else None


def _of_audience(entry: Entry, problem: str, reason: str = "") -> Problem:
    if problem == "held":
        reason = "; ".join(_held_by(guard) for guard in entry["guards"] if guard["held"])
    elif problem == "rejected":
        reason = f"{int(entry['rejected']):,} rejected, {int(entry['size_after'] or 0):,} members"
    subject = ledger_key(str(entry["audience"]), str(entry["destination"]))
    return Problem(subject=subject, name=_name(entry), problem=problem, reason=reason)


def _held_by(guard: Entry) -> str:
    seen = f"{guard['seen']:,} seen, {guard['limit']:,} allowed"
    return f"{guard['name']}: {guard.get('message') or seen}"


def _name(entry: Entry) -> str:
    name, destination = str(entry["audience"]), str(entry["destination"])
    return name if destination == "segment" else f"{name} → {destination}"


def _change(found: Problem, before: str | None) -> Change:
    return Change(
        subject=found.subject,
        name=found.name,
        problem=found.problem,
        before=before,
        reason=found.reason,
    )


def _more_severe(problem: str, before: str | None) -> bool:
    return before is None or SEVERITY.index(problem) < SEVERITY.index(before)
