"""The text of an alert: no personal value, no secret, no markup of a chat service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from tailrace.alerts.conditions import RECOVERED, SEVERITY, Change
from tailrace.config.project import ProjectConfig
from tailrace.dataclass import dataclass

# apprise's types of notifications; services show them as colors or severities.
Kind = Literal["failure", "warning", "success", "info"]

SUBJECTS_MAX = 20
REASON_CHARACTERS_MAX = 300


@dataclass(frozen=True, kw_only=True)
class Message:
    """A notification as apprise takes it."""

    title: str
    body: str
    kind: Kind


@dataclass(frozen=True, kw_only=True)
class Context:
    """What an alert says besides its changes: the verdict, the next step and a link."""

    sentence: str = ""
    next_step: str = ""
    link: str | None = None


def alert(
    project: ProjectConfig, changed: Sequence[Change], *, context: Context, still_open: int
) -> Message:
    """The message about changes.

    Args:
        project: The project; its folder and target name it.
        changed: At least one change.
        context: The rest of the text.
        still_open: The number of problems that the receiver knows of after this message.
    """
    counts = dict.fromkeys((*SEVERITY, RECOVERED), 0)
    for change in changed:
        counts[change.problem] += 1
    summary = ", ".join(f"{count} {problem}" for problem, count in counts.items() if count)
    ordered = sorted(changed, key=lambda change: (*SEVERITY, RECOVERED).index(change.problem))
    lines = [context.sentence, *(f"- {_line(change)}" for change in ordered[:SUBJECTS_MAX])]
    if len(ordered) > SUBJECTS_MAX:
        lines.append(f"- and {len(ordered) - SUBJECTS_MAX} more")
    if context.next_step:
        lines.append(f"Next: {context.next_step}")
    if context.link:
        lines.append(f"Report: {context.link}")
    return Message(
        title=f"Tailrace {name_of(project)}: {summary}",
        body="\n".join(_plain(line) for line in lines if line),
        kind=_kind(counts, still_open),
    )


def message_of_test(project: ProjectConfig) -> Message:
    """The message of `tailrace alerts test`."""
    return Message(
        title=f"Tailrace {name_of(project)}: test",
        body="This is a test: alerts of this project arrive here.",
        kind="info",
    )


def name_of(project: ProjectConfig) -> str:
    """The project's folder, with the target."""
    return f"{project.root.name} ({project.target})" if project.target else project.root.name


def link_of(project: ProjectConfig, report_url: str | None) -> str | None:
    """`report_url`; else the page of the run of GitHub Actions, or the job of GitLab CI."""
    environ: Mapping[str, str] = project.environ
    names = ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_RUN_ID")
    if report_url is None and all(environ.get(name) for name in names):
        server, repository, run = (environ[name] for name in names)
        return f"{server}/{repository}/actions/runs/{run}"
    return report_url or environ.get("CI_JOB_URL")


def _line(change: Change) -> str:
    if change.problem == RECOVERED:
        return f"{change.name} recovered (was {change.before})"
    reason = change.reason[:REASON_CHARACTERS_MAX]
    return f"{change.name} {'' if change.problem == 'failed' else 'is '}{change.problem}" + (
        f": {reason}" if reason else ""
    )


def _kind(counts: Mapping[str, int], still_open: int) -> Kind:
    if counts["broken"] or counts["failed"]:
        return "failure"
    if any(counts[problem] for problem in SEVERITY):
        return "warning"
    return "info" if still_open else "success"


def _plain(text: str) -> str:
    """One line without control characters and without the marks of mentions and links.

    >>> _plain("no such field <!channel>" + chr(10) + "x")
    'no such field (!channel) x'
    """
    words = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return words.replace("<", "(").replace(">", ")")
