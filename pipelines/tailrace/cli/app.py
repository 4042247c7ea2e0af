"""The command line: parse, one call, print. Nothing here knows how anything is done.

It and `options` are the only ones that import click, and they import nothing else that takes time:
what a command needs is imported when it runs.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import NoReturn

import click

from tailrace import __version__
from tailrace.cli import commands, ledger_commands
from tailrace.cli.commands import Choosing, Result, Selection
from tailrace.cli.destination_commands import destinations
from tailrace.cli.options import (
    Answered,
    Options,
    Seen,
    choosing,
    common,
    resending,
    seen_by,
    selection,
    watched,
)
from tailrace.errors import TailraceError

EXIT_CODES = """\b
Exit codes:
  0    ok
  1    failed
  2    usage or configuration
  3    held by a guard
  4    finished, some rows rejected
  5    changes pending (only plan --detailed-exitcode)
  75   another run holds the lock
  130  interrupted (143: terminated)
"""


class Terminated(KeyboardInterrupt):
    """The process was asked to stop by SIGTERM."""


class InOrder(click.Group):
    """A group that lists its commands in the order in which a newcomer meets them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(
    cls=InOrder,
    epilog=EXIT_CODES,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="tailrace")
@click.pass_context
def tailrace(context: click.Context) -> None:
    """Reverse ETL as code: SQL audiences from Salesforce to Segment, planned and acknowledged."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@tailrace.command()
@common
@click.argument("directory", type=click.Path(path_type=Path), default=Path(), metavar="[DIR]")
def init(_: Options, directory: Path) -> Result:
    """Start a project in DIR. Never overwrites a file."""
    return commands.init(directory)


@tailrace.command()
@common
def demo(options: Options) -> Result | Answered:
    """Watch the whole job on simulators, over two days. Needs no account."""
    from tailrace.cli import text

    chapters = []
    click.echo("Starting a Salesforce org and a Segment source on this machine ...\n", err=True)
    for chapter in commands.demo():
        chapters.append(chapter)
        if not options.as_json:
            text.show(chapter, sys.stdout, plain=options.plain)
    code = max(each["exit_code"] for each in chapters)
    errors = [each for chapter in chapters for each in chapter["errors"]]
    made = commands.answer("demo", exit_code=code, runs=chapters, errors=errors)
    return made if options.as_json else Answered(options, made, text="")


@tailrace.command()
@common
def doctor(options: Options) -> Result:
    """Look at what is installed, configured and reachable."""
    return commands.doctor(options.project_dir, options.target)


@tailrace.command()
@common
@selection
def validate(options: Options, chosen: Selection) -> Result:
    """Check the configuration, models and audiences, offline."""
    return commands.validate(options.project_dir, options.target, chosen)


@tailrace.command()
@common
@selection
def ls(options: Options, chosen: Selection) -> Result:
    """List models and audiences with their columns and dependencies."""
    return commands.ls(options.project_dir, options.target, chosen)


@tailrace.command("tracking-plan")
@common
@selection
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write it there; tracking_plan.yaml in the project is enforced.",
)
def tracking_plan(options: Options, chosen: Selection, out: Path | None) -> Answered:
    """Draft a tracking plan of what the audiences send, as Segment Protocols takes it."""
    made = commands.tracking_plan(
        options.project_dir, options.target, chosen, out=None if out is None else out.absolute()
    )
    shown = None if options.as_json or out is not None else made["yaml"]
    return Answered(options, made, text=shown)


@tailrace.command()
@common
@selection
@click.option("--reconcile", is_flag=True, help="Also look for rows that vanished unseen.")
@click.option("--afresh", is_flag=True, help="Drop the objects' tables and land them anew.")
def extract(options: Options, chosen: Selection, reconcile: bool, afresh: bool) -> Result:
    """Land Salesforce objects in the warehouse."""
    with watched(options) as progress:
        return commands.extract(
            options.project_dir,
            options.target,
            chosen,
            reconcile=reconcile,
            afresh=afresh,
            progress=progress,
        )


@tailrace.command()
@common
@selection
@choosing
@click.option(
    "--format",
    "shape",
    type=click.Choice(["text", "json", "markdown"]),
    default="text",
    show_default=True,
    help="Markdown is for the comment on a pull request.",
)
@click.option("--detailed-exitcode", is_flag=True, help="Exit with 5 when changes are pending.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the plan there, for `sync --plan FILE`.",
)
def plan(
    options: Options,
    chosen: Selection,
    choices: Choosing,
    shape: str,
    detailed_exitcode: bool,
    out: Path | None,
) -> Answered:
    """Show who would enter, change and leave, and why. Sends nothing."""
    seen_by().as_json |= shape == "json"
    made = commands.plan(
        options.project_dir,
        options.target,
        chosen,
        choices,
        detailed_exitcode=detailed_exitcode,
        # The engine works inside the project's folder; the name was meant from here.
        out=None if out is None else out.absolute(),
    )
    if shape == "markdown" and not options.as_json:
        from tailrace.cli.markdown import markdown

        return Answered(options, made, markdown(made, options.target))
    return Answered(replace(options, as_json=options.as_json or shape == "json"), made)


@tailrace.command()
@common
@selection
@choosing
@click.option(
    "--plan",
    "plan_file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    metavar="FILE",
    help="Carry out exactly what was reviewed, or nothing.",
)
@resending
def sync(
    options: Options, chosen: Selection, choices: Choosing, plan_file: Path | None, resend: bool
) -> Result:
    """Plan, send and advance, on what has landed."""
    if plan_file is not None and (chosen, choices) != (Selection(), Choosing()):
        raise click.UsageError("--plan has its own selection and choices: those of the review.")
    with watched(options) as progress:
        return commands.deliver(
            "sync",
            options.project_dir,
            options.target,
            chosen,
            choices,
            progress=progress,
            plan_file=None if plan_file is None else plan_file.absolute(),
            resend=resend,
        )


@tailrace.command()
@common
@selection
@choosing
@resending
def run(options: Options, chosen: Selection, choices: Choosing, resend: bool) -> Result:
    """Extract, then sync: the main job."""
    with watched(options) as progress:
        return commands.deliver(
            "run",
            options.project_dir,
            options.target,
            chosen,
            choices,
            progress=progress,
            resend=resend,
        )


@tailrace.command()
@common
def status(options: Options) -> Result:
    """Show the last runs, sizes, rejected and held counts."""
    return commands.status(options.project_dir, options.target)


tailrace.add_command(destinations)
for _each in ledger_commands.COMMANDS:
    tailrace.add_command(_each)


def main() -> NoReturn:
    """The `tailrace` command."""
    signal.signal(signal.SIGTERM, _terminate)
    sys.exit(answer(sys.argv[1:]))


def answer(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; no exception leaves, no traceback is shown."""
    # Arguments that cannot be parsed still say how they want to hear of it.
    seen = Seen(as_json="--json" in arguments, debug="--debug" in arguments)
    name = next((each for each in arguments if each in tailrace.commands), "tailrace")
    try:
        made = tailrace.main([*arguments], prog_name="tailrace", obj=seen, standalone_mode=False)
        return _shown(made) if isinstance(made, Answered) else int(made or 0)
    except TailraceError as error:
        refused = commands.refusal(name, error)
    except click.UsageError as error:
        refused = _usage(name, error)
    except (click.Abort, KeyboardInterrupt) as stop:
        return _stopped(stop)
    except BrokenPipeError:
        # The reader of our output has gone; Python would complain again while closing it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if seen.debug:
            raise
        refused = commands.crash(name, error)
    if seen.as_json:
        click.echo(_json(refused))
    _complain(refused)
    return int(refused["exit_code"])


def _shown(made: Answered) -> int:
    from tailrace.cli import text

    if made.text is not None:
        click.echo(made.text, nl=False)
    elif made.options.as_json:
        click.echo(_json(made.result))
    else:
        text.show(made.result, sys.stdout, plain=made.options.plain)
    sys.stdout.flush()
    _complain(made.result)
    return int(made.result["exit_code"])


def _json(result: Result) -> str:
    import json

    return json.dumps(result, indent=2, default=str)


def _complain(result: Result) -> None:
    from tailrace.cli import logs

    logs.complain(result.get("warnings", ()), logs.WARNING)
    logs.complain(result["errors"])


def _usage(name: str, error: click.UsageError) -> Result:
    known = f"tailrace {name} --help" if name in tailrace.commands else "tailrace --help"
    entry = {"error": "UsageError", "message": error.format_message(), "hint": f"See: {known}"}
    return commands.answer(name, exit_code=2, errors=[entry])


def _stopped(stop: BaseException) -> int:
    terminated = isinstance(stop, Terminated) or isinstance(stop.__cause__, Terminated)
    word, code = ("Terminated", 143) if terminated else ("Interrupted", 130)
    said = f"{word}. What was acknowledged is recorded; the next run goes on from there."
    click.echo(said, err=True)
    return code


def _terminate(_number: int, _frame: FrameType | None) -> None:
    raise Terminated
