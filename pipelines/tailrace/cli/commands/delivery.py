"""The commands that extract, plan and send."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tailrace.cli import completion
from tailrace.cli.commands.page import with_report
from tailrace.cli.help import Command, examples
from tailrace.cli.options import (
    Answer,
    Options,
    Selection,
    allowing,
    audience_argument,
    common,
    confirm,
    confirming,
    object_selection,
    planning,
    progress_line,
    recording_results,
    resending,
    selection,
)
from tailrace.cli.output.watching import WATCH_SECONDS_MAX, WATCH_SECONDS_MIN, duration, log_run
from tailrace.cli.run_results import recording
from tailrace.errors import LockHeld

if TYPE_CHECKING:
    from tailrace.plan.policy import PlanOptions
    from tailrace.results import Result

CHANGES_PENDING = 5
SHOW_ROWS_MAX = 100


@click.command(
    cls=Command,
    epilog=examples(
        "extract", "extract -s Contact -s Account", "extract --full-refresh -s Contact"
    ),
)
@common
@object_selection
@click.option("--reconcile", is_flag=True, help="Also detect hard deletes by comparing IDs.")
@click.option("--full-refresh", is_flag=True, help="Drop the objects' tables and reload them.")
@click.option(
    "--afresh", "older_name", is_flag=True, hidden=True, help="Older name of --full-refresh."
)
@confirming
def extract(
    options: Options,
    chosen: Selection,
    reconcile: bool,
    full_refresh: bool,
    older_name: bool,
    yes: bool,
    dry_run: bool,
) -> Result:
    """Load Salesforce objects into the warehouse."""
    project = options.project()
    full_refresh = full_refresh or older_name
    preview = project.extract(select=chosen.select, exclude=chosen.exclude, dry_run=True)
    if dry_run:
        return replace(preview, data={**preview.data, "full_refresh": full_refresh})
    if full_refresh:
        names = ", ".join(preview.data["would_load"])
        confirm(options, f"This drops the tables of {names} and reloads them.", yes=yes)
    with progress_line(options) as progress:
        return project.extract(
            select=chosen.select,
            exclude=chosen.exclude,
            reconcile=reconcile,
            full_refresh=full_refresh,
            progress=progress,
        )


@click.command(
    cls=Command, epilog=examples("plan", "plan -s vip_contacts --show 5", "plan --out plan.json")
)
@common
@selection
@planning
@click.option(
    "--format",
    "shape",
    type=click.Choice(["text", "json", "markdown"]),
    default="text",
    show_default=True,
    help="Output format; markdown is for a comment on a pull request.",
)
@click.option("--detailed-exitcode", is_flag=True, help="Exit with 5 when changes are pending.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the plan to FILE, for `sync --plan FILE`.",
)
@click.option(
    "--show",
    "show_rows_max",
    type=click.IntRange(0, SHOW_ROWS_MAX),
    default=0,
    metavar="N",
    help="Show N members of each audience and operation, with their messages; masked.",
)
@click.option("--show-values", is_flag=True, help="With --show: show values, not masked.")
@click.option("--wait", is_flag=True, help="Wait for a run that has the DuckDB file open.")
def plan(
    options: Options,
    chosen: Selection,
    plan_options: PlanOptions,
    shape: str,
    detailed_exitcode: bool,
    out: Path | None,
    show_rows_max: int,
    show_values: bool,
    wait: bool,
) -> Answer:
    """Show who would enter, change and exit, and why."""
    if show_values and not (show_rows_max or options.debug):
        raise click.UsageError("--show-values needs --show N.")
    plan_options = replace(plan_options, show_rows_max=show_rows_max, show_values=show_values)
    try:
        result = options.project().plan(
            select=chosen.select,
            exclude=chosen.exclude,
            options=plan_options,
            out=out,
            wait=wait,
        )
    except LockHeld as error:
        if wait:
            raise
        raise LockHeld(error.message, hint="Wait for it with: tailrace plan --wait") from None
    if detailed_exitcode and result.exit_code == 0 and result.pending:
        result = replace(result, exit_code=CHANGES_PENDING)
    output = result.as_dict()
    if shape == "markdown" and not options.as_json:
        from tailrace.cli.output.markdown import markdown

        return Answer(options, output, markdown(output, options.target), errors=result.errors)
    return Answer(options, output, errors=result.errors)


@click.command(cls=Command, epilog=examples("sync", "sync -s tag:daily", "sync --plan plan.json"))
@common
@selection
@planning
@click.option(
    "--plan",
    "plan_file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    metavar="FILE",
    help="Apply a saved plan; fails if anything has changed.",
)
@resending
@recording_results
def sync(
    options: Options,
    chosen: Selection,
    plan_options: PlanOptions,
    plan_file: Path | None,
    resend: bool,
    results_file: Path | None,
) -> Result:
    """Plan and deliver the loaded data, without extracting."""
    if plan_file is not None and (chosen, plan_options) != (Selection(), type(plan_options)()):
        raise click.UsageError("--plan uses the selection and the options of the saved plan.")
    with recording(options, "sync", results_file) as record, progress_line(options) as progress:
        result = options.project().sync(
            select=chosen.select,
            exclude=chosen.exclude,
            options=plan_options,
            plan_file=plan_file,
            resend=resend,
            progress=progress,
        )
        return record(result)


@click.command(
    cls=Command,
    epilog=examples("run", "run --exclude vip_contacts", "run --allow vip_contacts:max_exited"),
)
@common
@selection
@planning
@resending
@recording_results
@click.option(
    "--report",
    "report_file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write a page about the runs and audiences to FILE when the run has ended.",
)
@click.option(
    "--watch",
    "watch_seconds",
    type=click.IntRange(WATCH_SECONDS_MIN, WATCH_SECONDS_MAX),
    metavar="SECONDS",
    help="Run again every SECONDS where Salesforce has news, until a signal or --for.",
)
@click.option(
    "--for",
    "watch_duration",
    metavar="DURATION",
    callback=duration,
    help="With --watch: how long, e.g. 90s, 15m, 2h or 1d.",
)
def run(
    options: Options,
    chosen: Selection,
    plan_options: PlanOptions,
    resend: bool,
    results_file: Path | None,
    report_file: Path | None,
    watch_seconds: int | None,
    watch_duration: timedelta | None,
) -> Result:
    """Extract, then sync: the main job."""
    if watch_duration is not None and watch_seconds is None:
        raise click.UsageError("--for needs --watch SECONDS.")
    with recording(options, "run", results_file) as record:
        project = options.project()
        with progress_line(options) as progress:
            if watch_seconds is not None:
                result = project.watch(
                    timedelta(seconds=watch_seconds),
                    duration=watch_duration,
                    select=chosen.select,
                    exclude=chosen.exclude,
                    options=plan_options,
                    resend=resend,
                    progress=progress,
                    on_run=log_run,
                )
            else:
                result = project.run(
                    select=chosen.select,
                    exclude=chosen.exclude,
                    options=plan_options,
                    resend=resend,
                    progress=progress,
                )
        return record(with_report(project, result, report_file))


@click.command(cls=Command, epilog=examples("retry", "retry -s vip_contacts"))
@common
@selection
@allowing
@resending
def retry(
    options: Options, chosen: Selection, allow: tuple[tuple[str, str], ...], resend: bool
) -> Result:
    """Send rejected rows again, and nothing else."""
    with progress_line(options) as progress:
        return options.project().retry(
            select=chosen.select,
            exclude=chosen.exclude,
            allow=allow,
            resend=resend,
            progress=progress,
        )


@click.command(
    cls=Command,
    epilog=examples("reset vip_contacts --send --dry-run", "reset vip_contacts --no-send"),
)
@common
@audience_argument
@click.option(
    "--send/--no-send",
    default=None,
    help="Send every member again, or mark all as delivered without sending.",
)
@allowing
@resending
@confirming
def reset(
    options: Options,
    audience: str,
    send: bool | None,
    allow: tuple[tuple[str, str], ...],
    resend: bool,
    yes: bool,
    dry_run: bool,
) -> Result:
    """Reset AUDIENCE's delivery state."""
    if send is None:
        raise click.UsageError(
            "Add --send to send every member again, or --no-send to mark all as delivered."
        )
    project = options.project()
    if dry_run:
        return project.reset(audience, send=send, allow=allow, dry_run=True)
    if send and not yes:
        preview = project.reset(audience, send=True, allow=allow, dry_run=True)
        members = sum(entry.entered + entry.changed for entry in preview.audiences.values())
        confirm(options, f"This sends {members:,} members of {audience} again.", yes=yes)
    with progress_line(options) as progress:
        return project.reset(audience, send=send, allow=allow, resend=resend, progress=progress)


@click.command(
    cls=Command,
    epilog=examples(
        "replay vip_contacts --to segment_eu", "replay vip_contacts --to segment_eu --history"
    ),
)
@common
@audience_argument
@click.option(
    "--to",
    "destination",
    required=True,
    metavar="DESTINATION",
    shell_complete=completion.destinations,
    help="The section [destination.DESTINATION] to send to.",
)
@click.option("--history", is_flag=True, help="Replay the full history with original timestamps.")
@resending
@confirming
def replay(
    options: Options,
    audience: str,
    destination: str,
    history: bool,
    resend: bool,
    yes: bool,
    dry_run: bool,
) -> Result:
    """Send AUDIENCE to a destination that is new or lost its data."""
    project = options.project()
    if dry_run:
        return project.replay(audience, destination, history=history, dry_run=True)
    if not (yes or history):
        preview = project.replay(audience, destination, dry_run=True).data
        if preview["delivered_before"]:
            members = f"{preview['would_enter']:,} members of {audience}"
            confirm(options, f"This sends {members} to {destination} again.", yes=yes)
    with progress_line(options) as progress:
        return project.replay(
            audience, destination, history=history, resend=resend, progress=progress
        )


@click.command(cls=Command, epilog=examples("retire vip_contacts --dry-run", "retire vip_contacts"))
@common
@audience_argument
@resending
@confirming
def retire(options: Options, audience: str, resend: bool, yes: bool, dry_run: bool) -> Result:
    """Send an exit for each member of AUDIENCE and close it.

    Delete the model file first, or the next run re-enters everyone.
    """
    project = options.project()
    preview = project.retire(audience, dry_run=True)
    if dry_run:
        return preview
    exits = preview.data["would_exit"]
    remains = "".join(f" {w['file']}: {w['message']}." for w in preview.warnings)
    question = f"This sends {exits:,} exits of {audience} and stops tracking it.{remains}"
    confirm(options, question, yes=yes)
    with progress_line(options) as progress:
        return project.retire(audience, resend=resend, progress=progress)


# In the order in which `tailrace --help` lists them.
COMMANDS = (extract, plan, sync, run, retry, reset, replay, retire)
