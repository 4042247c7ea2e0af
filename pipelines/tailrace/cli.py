"""The command line: parse, one call, print. Nothing here knows how anything is done.

This is the only module that imports click, and it imports nothing else that takes time: what a
command needs is imported when it runs.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import click

from tailrace import __version__, commands
from tailrace.commands import Choosing, Result, Selection
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


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options that every command has."""

    project_dir: Path
    target: str | None
    as_json: bool
    plain: bool


@dataclass(frozen=True)
class Answered:
    """A command that came to its end."""

    options: Options
    result: Result
    text: str | None = None


@dataclass
class Seen:
    """What the arguments say about telling of a failure, as far as they have been read."""

    as_json: bool
    debug: bool


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


def common(body: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the common options, and hand them to it as one value."""

    @click.option("-t", "--target", metavar="NAME", help="Use the settings of .dlt/NAME.*.toml.")
    @click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
    @click.option(
        "--log-format",
        type=click.Choice(["text", "json"]),
        default="text",
        show_default=True,
        help="How to talk on stderr.",
    )
    @click.option(
        "--project-dir",
        type=click.Path(path_type=Path),
        default=Path(),
        metavar="DIR",
        help="Where the project is, if not here.",
    )
    @click.option(
        "--debug", is_flag=True, envvar="TAILRACE_DEBUG", help="Show the traceback of a crash."
    )
    @click.option("--plain", envvar=["NO_COLOR", "CI"], hidden=True)
    @wraps(body)
    def command(
        target: str | None,
        as_json: bool,
        log_format: str,
        project_dir: Path,
        debug: bool,
        plain: str | None,
        **values: Any,
    ) -> Answered:
        from tailrace import logs

        logs.set_up(log_format)
        seen = _seen()
        seen.as_json, seen.debug = as_json, debug
        quiet = (plain or "").lower() not in ("", "0", "false")
        options = Options(project_dir=project_dir, target=target, as_json=as_json, plain=quiet)
        made = body(options, **values)
        return made if isinstance(made, Answered) else Answered(options, made)

    return command


def selection(body: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command `--select` and `--exclude`."""

    @click.option(
        "-s",
        "--select",
        multiple=True,
        metavar="WHAT",
        help="Only these: a name, a glob, tag:x or object:Contact. Repeatable.",
    )
    @click.option("--exclude", multiple=True, metavar="WHAT", help="All but these. Repeatable.")
    @wraps(body)
    def command(
        *args: Any, select: tuple[str, ...], exclude: tuple[str, ...], **values: Any
    ) -> Any:
        return body(*args, Selection(select=select, exclude=exclude), **values)

    return command


def choosing(body: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command what decides about a plan."""

    @click.option(
        "--allow",
        multiple=True,
        metavar="AUDIENCE:GUARD",
        callback=_allowed,
        help="Let one guard of one audience pass this once, as vip:max_exited. Repeatable.",
    )
    @click.option(
        "--on-new-column",
        type=click.Choice(["absorb", "send"]),
        default="absorb",
        show_default=True,
        help="A column that is mapped for the first time: take it as it is, or send it.",
    )
    @click.option(
        "--on-mapping-change",
        type=click.Choice(["absorb", "send"]),
        default="absorb",
        show_default=True,
        help="A header that maps otherwise: for what moves from now on, or for all members.",
    )
    @wraps(body)
    def command(
        *args: Any,
        allow: tuple[tuple[str, str], ...],
        on_new_column: str,
        on_mapping_change: str,
        **values: Any,
    ) -> Any:
        choices = Choosing(
            allow=allow, on_new_column=on_new_column, on_mapping_change=on_mapping_change
        )
        return body(*args, choices, **values)

    return command


def _allowed(
    _context: click.Context, _option: click.Parameter, given: tuple[str, ...]
) -> tuple[tuple[str, ...], ...]:
    pairs = tuple(tuple(each.split(":")) for each in given)
    if any(len(pair) != 2 or not all(pair) for pair in pairs):
        raise click.BadParameter("write AUDIENCE:GUARD, as vip_contacts:max_exited")
    return pairs


@contextmanager
def watched(options: Options) -> Iterator[Callable[[str, int, int], None]]:
    """Show progress on a terminal while the work goes on."""
    from tailrace.console import ProgressLine

    line = ProgressLine(sys.stderr, plain=options.plain)
    try:
        yield line
    finally:
        line.clear()


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
    from tailrace import console

    chapters = []
    click.echo("Starting a Salesforce org and a Segment source on this machine ...\n", err=True)
    for chapter in commands.demo():
        chapters.append(chapter)
        if not options.as_json:
            console.show(chapter, sys.stdout, plain=options.plain)
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


@tailrace.command()
@common
@selection
@click.option("--reconcile", is_flag=True, help="Also look for rows that vanished unseen.")
def extract(options: Options, chosen: Selection, reconcile: bool) -> Result:
    """Land Salesforce objects in the warehouse."""
    with watched(options) as progress:
        return commands.extract(
            options.project_dir, options.target, chosen, reconcile=reconcile, progress=progress
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
    _seen().as_json |= shape == "json"
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
        from tailrace import console

        return Answered(options, made, console.markdown(made, options.target))
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
def sync(options: Options, chosen: Selection, choices: Choosing, plan_file: Path | None) -> Result:
    """Plan, send and advance, on what has landed."""
    with watched(options) as progress:
        return commands.deliver(
            "sync",
            options.project_dir,
            options.target,
            chosen,
            choices,
            progress=progress,
            plan_file=None if plan_file is None else plan_file.absolute(),
        )


@tailrace.command()
@common
@selection
@choosing
def run(options: Options, chosen: Selection, choices: Choosing) -> Result:
    """Extract, then sync: the main job."""
    with watched(options) as progress:
        return commands.deliver(
            "run", options.project_dir, options.target, chosen, choices, progress=progress
        )


@tailrace.command()
@common
def status(options: Options) -> Result:
    """Show the last runs, sizes, rejected and held counts."""
    return commands.status(options.project_dir, options.target)


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
    from tailrace import console

    if made.text is not None:
        click.echo(made.text, nl=False)
    elif made.options.as_json:
        click.echo(_json(made.result))
    else:
        console.show(made.result, sys.stdout, plain=made.options.plain)
    sys.stdout.flush()
    _complain(made.result)
    return int(made.result["exit_code"])


def _seen() -> Seen:
    seen: Seen = click.get_current_context().find_root().obj
    return seen


def _json(result: Result) -> str:
    import json

    return json.dumps(result, indent=2, default=str)


def _complain(result: Result) -> None:
    from tailrace import logs

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
