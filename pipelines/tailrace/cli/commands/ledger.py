"""The commands that read the ledger and maintain it."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tailrace.cli import completion
from tailrace.cli.help import Command, examples
from tailrace.cli.options import (
    Answer,
    Options,
    Selection,
    age,
    audience_argument,
    common,
    confirm,
    confirming,
    point_in_time,
    selection,
)

if TYPE_CHECKING:
    from tailrace.results import Result

REJECTED_ROWS_MAX = 20


@click.command(
    cls=Command, epilog=examples("status", "status 2026-11-22T05:00:00Z-1a2b", "status --check")
)
@common
@click.argument("run_id", required=False, metavar="[RUN]")
@click.option(
    "--check",
    is_flag=True,
    help="Exit with 1 if an audience is late (no success within late_hours), failed, held or "
    "stopped by a file with errors.",
)
@click.option(
    "--openmetrics",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Also write the figures to FILE in the OpenMetrics text format.",
)
def status(options: Options, run_id: str | None, check: bool, openmetrics: Path | None) -> Result:
    """Show the latest runs and the audiences, or one RUN."""
    if run_id and (check or openmetrics):
        option = "--check" if check else "--openmetrics"
        raise click.UsageError(f"{option} is about the latest runs: leave RUN out.")
    result = options.project().status(run_id, check=check)
    if openmetrics is not None:
        from tailrace.cli.output.export import write_text
        from tailrace.reporting.openmetrics import openmetrics as rendered

        write_text(openmetrics, rendered(result.data))
    return result


@click.command(
    cls=Command,
    epilog=examples("history vip_contacts", "history vip_contacts --at 2026-11-22T05:00"),
)
@common
@audience_argument
@click.option(
    "--at",
    callback=point_in_time,
    metavar="TIME",
    help="List the members at TIME (UTC unless a zone is given), e.g. 2026-11-22T05:00.",
)
def history(options: Options, audience: str, at: datetime | None) -> Result:
    """Show AUDIENCE's size over time, or its members at TIME."""
    return options.project().history(audience, at=at)


@click.command(cls=Command, epilog=examples("trace 003Hs0000000001IAA --show-values"))
@common
@click.argument("person")
@click.option("--show-values", is_flag=True, help="Show values as they were sent, not masked.")
def trace(options: Options, person: str, show_values: bool) -> Result:
    """Show a person's membership and delivery history.

    PERSON is a key, userId or anonymousId.
    """
    return options.project().trace(person, show_values=show_values)


@click.command(
    cls=Command, epilog=examples("rejected -s vip_contacts", "rejected --export rejected.csv")
)
@common
@selection
@click.option("--show-values", is_flag=True, help="Show keys as they are, not masked.")
@click.option(
    "--export",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write all rejected rows to FILE (.csv, else JSON Lines).",
)
def rejected(options: Options, chosen: Selection, show_values: bool, export: Path | None) -> Answer:
    """List rejected rows with their rule, path and key."""
    project = options.project()
    result = project.rejected(
        select=chosen.select,
        exclude=chosen.exclude,
        show_values=show_values,
        rows_max=REJECTED_ROWS_MAX if export is None else None,
    )
    output = result.as_dict()
    if export is not None:
        from tailrace.cli.output.export import write_rows

        output |= {"file": str(export), "exported": write_rows(export, output["rows"])}
    return Answer(options, output)


@click.command(cls=Command, epilog=examples("rename vip_contacts top_contacts"))
@common
@click.argument("old_name", metavar="OLD")
@click.argument("new_name", metavar="NEW", shell_complete=completion.audiences)
def rename(options: Options, old_name: str, new_name: str) -> Result:
    """Move an audience's ledger to another name.

    Write the new name in the model's header first. No member enters or exits.
    """
    return options.project().rename(old_name, new_name)


@click.command(cls=Command, epilog=examples("purge --older-than 30d --dry-run"))
@common
@click.option(
    "--older-than",
    required=True,
    callback=age,
    metavar="AGE",
    help="Age of the completed deliveries, e.g. 30d or 12h.",
)
@confirming
def purge(options: Options, older_than: timedelta, yes: bool, dry_run: bool) -> Result:
    """Delete records of deliveries older than AGE.

    Members who left in the last 24 hours are kept.
    """
    project = options.project()
    if not dry_run and not yes:
        counts = project.purge(older_than, dry_run=True).data["forgotten"]
        confirm(options, f"This deletes {sum(counts.values()):,} records.", yes=yes)
    return project.purge(older_than, dry_run=dry_run)


# In the order in which `tailrace --help` lists them.
COMMANDS = (status, history, trace, rejected, rename, purge)
