"""The commands that show what the runs did as a page."""

from __future__ import annotations

import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tailrace.cli.help import Command, examples
from tailrace.cli.options import Answer, Options, common
from tailrace.cli.output import json
from tailrace.errors import PortTaken, TailraceError
from tailrace.results import Result

if TYPE_CHECKING:
    from tailrace.project import Project


@click.command(cls=Command, epilog=examples("report --out report.html", "report --plan plan.json"))
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


@click.command(cls=Command)
@common
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=0,
    metavar="PORT",
    help="Port of 127.0.0.1 (default: a free one).",
)
def ui(options: Options, port: int) -> Answer:
    """Serve the page on this machine until Ctrl+C.

    It also shows a run as it sends, and searches for one person.

    It prints an address with a random token, reads only, and ends with Ctrl+C.
    """
    from tailrace.reporting.page.server import PageServer

    project = options.project()
    try:
        server = PageServer(project.config, clock=project.clock, port=port)
    except OSError as error:
        raise PortTaken(f"Port {port} of 127.0.0.1 cannot be used: {error.strerror}") from error
    output = Result(command="ui", data={"url": server.url}).as_dict()
    text = f"{server.url}\n"
    click.echo(json.render(output) if options.as_json else text, nl=options.as_json)
    sys.stdout.flush()
    if not (options.as_json or options.quiet):
        click.echo("The address is for you alone. Stop with Ctrl+C.", err=True)
    with server, suppress(KeyboardInterrupt):
        server.serve_forever()
    return Answer(options, output, text="")


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
COMMANDS = (report, ui)
