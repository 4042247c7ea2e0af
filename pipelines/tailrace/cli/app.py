"""The `tailrace` command: its group, and how an answer or an error is printed.

Nothing here or in `options` imports what takes time: the engine is imported when a command runs.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

import click

from tailrace import __version__
from tailrace.cli import completion
from tailrace.cli.help import LazyGroup
from tailrace.cli.options import Answer
from tailrace.cli.output import json
from tailrace.cli.output.json import Output
from tailrace.cli.output.streams import discard_output, prepare_streams
from tailrace.errors import TailraceError, UserError

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


# The commands in the order of a first use, and the modules that define them. A command line imports
# the module of its command only.
_MODULES = {
    name: f"tailrace.cli.commands.{module}"
    for module, names in (
        ("project", "init demo doctor validate test ls tracking-plan"),
        ("delivery", "extract plan sync run"),
        ("ledger", "status history trace rejected"),
        ("page", "report ui"),
        ("delivery", "retry reset replay retire"),
        ("ledger", "rename purge"),
        ("destinations", "destinations"),
        ("state", "state"),
        ("alerts", "alerts"),
        ("deploy", "deploy"),
        ("dbt", "dbt"),
    )
    for name in names.split()
}


class Terminated(KeyboardInterrupt):
    """The process was asked to stop by SIGTERM.

    Attributes:
        is_received: It was, also where another exception has replaced this one.
    """

    is_received = False


@click.group(
    cls=LazyGroup,
    modules=_MODULES,
    epilog=EXIT_CODES,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="tailrace")
@click.option(
    "--project-dir",
    type=click.Path(path_type=Path),
    metavar="DIR",
    envvar="TAILRACE_PROJECT_DIR",
    show_envvar=True,
    help="Project directory (default: this one or the nearest above it).",
)
@click.option(
    "-t",
    "--target",
    metavar="NAME",
    help="Use the settings of .dlt/NAME.*.toml.",
    shell_complete=completion.targets,
)
@click.pass_context
def tailrace(context: click.Context, project_dir: Path | None, target: str | None) -> None:
    """Reverse ETL as code: SQL audiences from Salesforce to Segment, planned and acknowledged.

    Shell completion: eval "$(_TAILRACE_COMPLETE=bash_source tailrace)"
    """
    _require_current_folder()
    # The options of the same name at a command win over these.
    defaults = {"project_dir": project_dir, "target": target}
    given = {name: value for name, value in defaults.items() if value is not None}
    context.default_map = dict.fromkeys(_MODULES, given)
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def _require_current_folder() -> None:
    """Refuse to start in a folder that was removed: DuckDB ends the process there."""
    try:
        Path().absolute()
    except FileNotFoundError:
        raise UserError(
            "The current folder does not exist any more", hint="Change to another one: cd /"
        ) from None


def main() -> NoReturn:
    """Run the command line of this process and exit with its code."""
    prepare_streams()
    signal.signal(signal.SIGTERM, _terminate)
    code = answer(sys.argv[1:])
    if all(
        thread.daemon for thread in threading.enumerate() if thread is not threading.main_thread()
    ):
        _leave(code)
    sys.exit(code)


def _leave(code: int) -> NoReturn:
    """End the process without taking its objects apart, one by one: its memory goes at once.

    What is registered for the end of the process runs before.
    """
    try:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):
        # Python reports it, and ends with a code of its own.
        sys.exit(code)
    os._exit(code)


def answer(arguments: Sequence[str]) -> int:
    """Run a command line, print its answer and return its exit code. No exception leaves it."""
    name = next((word for word in arguments if word in _MODULES), "tailrace")
    try:
        returned = tailrace.main([*arguments], prog_name="tailrace", standalone_mode=False)
        return _print(returned) if isinstance(returned, Answer) else int(returned or 0)
    except click.UsageError as error:
        known = error.ctx.command_path if error.ctx else "tailrace"
        output = json.usage_error(name, error.format_message(), f"See: {known} --help")
    except (click.Abort, KeyboardInterrupt) as stop:
        return _stopped(stop)
    except BrokenPipeError:
        # The reader has gone before the command was done.
        discard_output()
        return 1
    except TailraceError as error:
        output = json.failure(name, error)
    except Exception as error:
        output = json.crash(name, error)
    # The arguments could not be parsed, so they are searched for the output that they ask for.
    if "--json" in arguments or "--format=json" in arguments:
        try:
            click.echo(json.render(output))
        except OSError:
            discard_output()
    _log(output, log_format=_log_format(arguments))
    return int(output["exit_code"])


def _log_format(arguments: Sequence[str]) -> str:
    for option, value in zip(["", *arguments], [*arguments, ""], strict=True):
        for log_format in ("json", "github"):
            if value == f"--log-format={log_format}" or (option, value) == (
                "--log-format",
                log_format,
            ):
                return log_format
    return "text"


def _print(answer: Answer) -> int:
    code = int(answer.output["exit_code"])
    try:
        _write(answer)
        sys.stdout.flush()
    except BrokenPipeError:
        # A reader such as `head` needs no more; the command has done its work.
        discard_output()
    except OSError as error:
        discard_output()
        raise TailraceError(
            f"The command ended with exit code {code}, and its output cannot be written: "
            f"{error.strerror}",
            hint="Make room where the output goes. What runs did is shown by: tailrace status",
        ) from None
    _log(answer.output)
    return code


def _write(answer: Answer) -> None:
    if answer.text is not None:
        click.echo(answer.text, nl=False)
    elif answer.options.as_json:
        click.echo(json.render(answer.output))
    else:
        from tailrace.cli.output import text

        text.show(answer.output, sys.stdout, plain=answer.options.plain)


def _log(output: Output, *, log_format: str | None = None) -> None:
    """Log the warnings and errors of a result; with a format, for a command that did not start."""
    from tailrace.cli.output import logs

    if log_format is not None:
        logs.set_up(log_format)
    logs.log_entries(output.get("warnings", ()), logs.WARNING)
    logs.log_entries(output["errors"])


def _stopped(stop: BaseException) -> int:
    if isinstance(stop, click.Abort) and stop.__cause__ is None and stop.__context__ is None:
        click.echo("Nothing was done.", err=True)
        return 1
    terminated = isinstance(stop, Terminated) or isinstance(stop.__cause__, Terminated)
    if terminated or Terminated.is_received:
        word, code = "Terminated", 143
    else:
        word, code = "Interrupted", 130
    click.echo(
        f"{word}. Acknowledged messages are recorded; the next run sends the rest.", err=True
    )
    return code


def _terminate(_number: int, _frame: FrameType | None) -> None:
    Terminated.is_received = True
    raise Terminated
