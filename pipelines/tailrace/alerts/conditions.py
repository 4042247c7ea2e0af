"""The problems of audiences and runs, and which of them a receiver has not been alerted of.

A subject is an audience at a destination, by its sync key, a scheduled command as a whole, as
`command:NAME`, a file of the project, as `file:PATH`, or the state in `state_url`, as `state`. A
subject has one problem at a time. What a broken file stops is a problem of the file only.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import field
from datetime import datetime
from typing import Any

from tailrace.audience.ledger_keys import ledger_key
from tailrace.config.settings import AlertSettings
from tailrace.dataclass import dataclass
from tailrace.errors import TailraceError
from tailrace.reporting.status import problems
from tailrace.run.broken_files import is_of_file
from tailrace.run.result import RunResult

Entry = Mapping[str, Any]

RECOVERED = "recovered"
# The most severe first. What a run has found is not replaced by a lesser problem between runs.
SEVERITY = ("broken", "failed", "held", "late", "rejected")
FILE_PREFIX = "file:"
# The state in `state_url`; whether it could be stored is known after the end of the run.
STATE = "state"
# How many audiences the problem of a file names.
STOPPED_NAMES_MAX = 5
# A command is reported as a whole only if a schedule starts it. Each also does what it names, and
# reads the ledger as `status --check` does.
SCHEDULED: Mapping[str, tuple[str, ...]] = {
    "run": ("run", "extract", "sync", "status"),
    "extract": ("extract", "status"),
    "sync": ("sync", "status"),
    "status": ("status",),
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
        is_usable: Whether a file that was broken is not broken any more.
    """

    problems: tuple[Problem, ...] = ()
    healthy: Mapping[str, str] = field(default_factory=dict)
    suspected: tuple[Problem, ...] = ()
    is_usable: Callable[[str], bool] = lambda file: False


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
    found_subjects = {found.subject for found in findings.problems}
    corrected = {
        subject: file
        for subject in alerted
        if (file := subject.removeprefix(FILE_PREFIX)) != subject
        and subject not in found_subjects
        and findings.is_usable(file)
    }
    for subject, name in {**findings.healthy, **corrected}.items():
        if subject in alerted:
            changed.append(
                Change(subject=subject, name=name, problem=RECOVERED, before=alerted[subject])
            )
    return tuple(changed)


def findings_of_run(
    result: RunResult,
    *,
    status: Entry,
    settings: AlertSettings,
    now: datetime,
    is_usable: Callable[[str], bool] = lambda file: False,
) -> Findings:
    """What a run found about its audiences, its files and itself, and which others are late.

    Args:
        result: The result of the run.
        status: The result of `status` after the run.
        settings: What counts as rejected or late.
        now: The time to compare with.
        is_usable: As of `Findings`.
    """
    found: list[Problem] = []
    healthy: dict[str, str] = {}
    stopped = {
        failure.audience.ledger_key: failure
        for failure in result.failures
        if any(is_of_file(error) for error in failure.error.flattened())
    }
    for entry in result.audiences:
        subject = ledger_key(str(entry["audience"]), str(entry["destination"]))
        problem = _problem(entry, settings)
        if problem is None:
            healthy[subject] = _name(entry)
        elif subject not in stopped:
            found.append(_of_audience(entry, problem))
    is_failed = any(problem.problem == "failed" for problem in found)
    errors = [entry for error in result.errors for entry in error.flattened()]
    of_files = [error for error in errors if is_of_file(error)]
    others = [error for error in errors if not is_of_file(error)]
    found += _of_files(
        {
            "audiences": [
                failure.audience.name
                for failure in stopped.values()
                if any(one is error for one in failure.error.flattened())
            ],
            **error.as_dict(),
        }
        for error in of_files
    )
    if result.exit_code in (1, 2) and (others or is_failed or not of_files):
        found += _of_command(result.command, others)
    elif result.command in SCHEDULED:
        healthy |= healthy_commands(result.command)
    known = {problem.subject for problem in found} | set(healthy) | set(stopped)
    suspected = findings_of_status(status, settings, now).suspected
    return Findings(
        problems=tuple(found),
        healthy=healthy,
        suspected=tuple(problem for problem in suspected if problem.subject not in known),
        is_usable=is_usable,
    )


def findings_of_status(status: Entry, settings: AlertSettings, now: datetime) -> Findings:
    """The files that are broken, and the audiences that are late, held or failed by the ledger.

    Which audiences have recovered is found by a run; `status --check` itself has.
    """
    suspected = []
    rows = {(row["audience"], row["destination"]): row for row in status["audiences"]}
    for entry in problems(status, late_hours=settings.late_hours, now=now):
        row = rows.get((entry["audience"], entry["destination"]))
        if row is not None:
            # The message begins with the name and the problem.
            reason = str(entry["message"]).partition(": ")[2]
            suspected.append(_of_audience(row, str(entry["problem"]), reason))
    broken = status.get("broken", ())
    names = {entry["file"] for entry in broken}
    return Findings(
        problems=tuple(_of_files(broken)),
        healthy=healthy_commands("status"),
        suspected=tuple(suspected),
        is_usable=lambda file: file not in names,
    )


def healthy_commands(command: str) -> dict[str, str]:
    """The subjects that are healthy after a scheduled command has succeeded, with their names."""
    return {f"command:{name}": f"tailrace {name}" for name in SCHEDULED[command]}


def findings_of_errors(command: str, errors: Sequence[TailraceError]) -> Findings:
    """The problems of a command that failed before its run began: broken files, or its own."""
    others = [error for error in errors if not is_of_file(error)]
    return Findings(
        problems=(
            *_of_files(
                {"audiences": [], **error.as_dict()} for error in errors if is_of_file(error)
            ),
            *(_of_command(command, others) if others else ()),
        )
    )


def findings_of_state(error: TailraceError | None) -> Findings:
    """Whether the state could be stored after a run."""
    if error is None:
        return Findings(healthy={STATE: "the state"})
    problem = Problem(subject=STATE, name="the state", problem="failed", reason=error.message)
    return Findings(problems=(problem,))


def _of_command(command: str, errors: Sequence[TailraceError]) -> tuple[Problem, ...]:
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


def _of_files(errors: Iterable[Entry]) -> list[Problem]:
    """A problem for each file that is broken, from the entries of `broken` in a status."""
    by_file: dict[str, list[Entry]] = {}
    for error in errors:
        by_file.setdefault(str(error["file"] or ""), []).append(error)
    return [
        Problem(
            subject=FILE_PREFIX + file,
            name=file or "The project",
            problem="broken",
            reason=_broken_by(entries),
        )
        for file, entries in by_file.items()
    ]


def _broken_by(errors: Sequence[Entry]) -> str:
    first = errors[0]
    line = f"line {first['line']}: " if first["line"] else ""
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    stopped = _listed({str(name) for error in errors for name in error["audiences"]})
    stops = f"; it stops {stopped}" if stopped else ""
    return f"{line}{str(first['message']).removesuffix('.')}{more}{stops}"


def _listed(names: Collection[str]) -> str:
    shown = sorted(names)[:STOPPED_NAMES_MAX]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


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
