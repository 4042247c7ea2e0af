"""The commands that show what the runs did as a page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tailrace.cli.options import Options, common
from tailrace.errors import TailraceError

if TYPE_CHECKING:
    from tailrace.project import Project
    from tailrace.results import Result


@click.command()
@common
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write to FILE (default: tailrace-report.html).",
)
@click.option(
    "--plan",
    "plan_file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    metavar="FILE",
    help="Also show what the next run would do, from a saved plan.",
)
def report(options: Options, out: Path | None, plan_file: Path | None) -> Result:
    """Write a page about the runs and audiences to an HTML file."""
    return options.project().report(out, plan_file=plan_file)


def with_report(project: Project, result: Result, out: Path | None) -> Result:
    """A run's result after its report is written, if one is asked for.

    A report that fails makes a successful run exit with 1, since a later step may need the file.
    """
    if out is None:
        return result
    try:
        written = project.report(out)
    except TailraceError as error:
        errors = (*result.errors, error)
        return replace(result, exit_code=result.exit_code or 1, errors=errors)
    return replace(result, data={**result.data, "report": written.data["file"]})


# In the order in which `tailrace --help` lists them.
COMMANDS = (report,)
