"""The command line: parse, one call, print. Nothing here knows how anything is done.

This is the only module that imports click, and it imports nothing else that takes time: what a
command needs is imported when it runs.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import click

from tailrace import __version__, commands
from tailrace.commands import Result, Selection
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
        seen = click.get_current_context().find_root().obj
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


@tailrace.command()
@common
@click.argument("directory", type=click.Path(path_type=Path), default=Path(), metavar="[DIR]")
def init(_: Options, directory: Path) -> Result:
    """Start a project in DIR. Never overwrites a file."""
    return commands.init(directory)


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


def main() -> NoReturn:
    """The `tailrace` command."""
    signal.signal(signal.SIGTERM, _terminate)
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
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


def _json(result: Result) -> str:
    import json

    return json.dumps(result, indent=2, default=str)


def _complain(result: Result) -> None:
    from tailrace import logs

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
