"""Writes the page of a project as one HTML file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from tailrace.clock import Clock
from tailrace.config.project import ProjectConfig
from tailrace.destinations.registry import project_models
from tailrace.errors import ReportNotWritten, TailraceError
from tailrace.models.loader import Models
from tailrace.reporting.page.assemble import page_facts, read_saved_plan
from tailrace.reporting.page.facts import PageFacts
from tailrace.reporting.page.render import render_report
from tailrace.reporting.reads import read

DEFAULT_FILE = "tailrace-report.html"


def project_facts(
    project: ProjectConfig, *, clock: Clock, plan_file: Path | str | None = None
) -> PageFacts:
    """The facts of a project's page, read from its warehouse or from the run that has it open.

    Raises:
        NothingLanded: There is no warehouse yet.
        LockHeld: Another process has the DuckDB file open and does not answer.
        PlanUnreadable: `plan_file` is not a saved plan.
    """
    plan = None if plan_file is None else read_saved_plan(Path(plan_file))
    raw = read(project, "ledger_facts", clock=clock)
    return page_facts(
        raw,
        models_if_readable(project),
        project=project.root.name,
        target=project.target,
        now=clock.now(),
        plan=plan,
    )


def models_if_readable(project: ProjectConfig) -> Models:
    """The project's models; none where they cannot be read, which `validate` reports."""
    try:
        return project_models(project)
    except TailraceError:
        return Models(by_name={})


def write_report(
    project: ProjectConfig,
    *,
    clock: Clock,
    out: Path | str | None = None,
    plan_file: Path | str | None = None,
) -> dict[str, Any]:
    """Write the page; an earlier file of the same name is replaced at once.

    Args:
        project: The project.
        clock: The time source.
        out: The file (default: DEFAULT_FILE in the working directory).
        plan_file: A saved plan to show.

    Returns:
        `file`, its path, and `bytes`, its size.

    Raises:
        ReportNotWritten: The folder cannot be written to.
        TailraceError: As of `project_facts`.
    """
    html = render_report(project_facts(project, clock=clock, plan_file=plan_file)).encode()
    file = Path(out or DEFAULT_FILE).resolve()
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        draft.write_bytes(html)
        draft.replace(file)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise ReportNotWritten(
            f"The report cannot be written to {file}: {error.strerror}"
        ) from error
    return {"file": str(file), "bytes": len(html)}
