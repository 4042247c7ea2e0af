"""The options that commands share, and what a command returns to be printed."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tailrace.cli import completion
from tailrace.cli.output.json import Output, add_details, crash, failure
from tailrace.dataclass import dataclass
from tailrace.errors import TailraceError

if TYPE_CHECKING:
    from tailrace.plan.policy import PlanOptions
    from tailrace.project import Project
    from tailrace.results import Result

AGE_UNITS = {"d": timedelta(days=1), "h": timedelta(hours=1)}
AGE_DAYS_MAX = 36_500
# As people write a time, and as `--json` prints one.
TIMES = (
    *("%Y-%m-%d", "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S"),
    *("%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M:%S.%f%z"),
    *("%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M%z", "%Y-%m-%d %H:%M:%S%z", "%Y-%m-%dT%H:%M:%S.%f"),
)


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options that every command has; `state` is that of commands with a selection."""

    project_dir: Path | None
    target: str | None
    as_json: bool
    plain: bool
    quiet: bool = False
    debug: bool = False
    state: Path | None = None

    def project(self) -> Project:
        """The project that the command is about.

        Raises:
            ConfigurationError: There is none, or its configuration is wrong.
        """
        from tailrace.project import Project

        return Project.load(self.project_dir, target=self.target, state=self.state)


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The models that a command is about."""

    select: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answer:
    """The result of a command, and its text if that is not a table.

    `errors` are those whose details `--debug` shows.
    """

    options: Options
    output: Output
    text: str | None = None
    errors: tuple[TailraceError, ...] = ()


_COMMON_OPTIONS = (
    click.option(
        "-t",
        "--target",
        metavar="NAME",
        help="Use the settings of .dlt/NAME.*.toml.",
        shell_complete=completion.targets,
    ),
    click.option("--json", "as_json", is_flag=True, help="Print one JSON object."),
    click.option(
        "--log-format",
        type=click.Choice(["text", "json", "github"]),
        default="text",
        show_default=True,
        help="Log format on stderr; github annotates files in GitHub Actions.",
    ),
    click.option("-q", "--quiet", is_flag=True, help="Log warnings and errors only."),
    click.option(
        "--project-dir",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="Project directory (default: this one or the nearest above it).",
    ),
    click.option(
        "--debug",
        is_flag=True,
        envvar="TAILRACE_DEBUG",
        help="Show tracebacks, and log what the libraries log.",
    ),
    click.option("--plain", envvar=["NO_COLOR", "CI"], hidden=True),
)
# Some commands have an option of this name for their own values.
_SHOW_VALUES = click.option(
    "--show-values",
    is_flag=True,
    help="With --debug: show what the warehouse said, which may hold personal values.",
)


def common(body: Callable[..., Result | Answer]) -> Callable[..., Answer]:
    """Give a command the common options and pass them to it as one value.

    An error of the command becomes its answer, so that it is printed as the options say.
    """
    has_own_values = any(p.name == "show_values" for p in getattr(body, "__click_params__", ()))

    @wraps(body)
    def command(
        target: str | None,
        as_json: bool,
        log_format: str,
        quiet: bool,
        project_dir: Path | None,
        debug: bool,
        plain: str | None,
        **values: Any,
    ) -> Answer:
        from tailrace.cli.output import logs

        logs.set_up(log_format, quiet=quiet, debug=debug)
        options = Options(
            project_dir=project_dir,
            target=target,
            as_json=as_json or values.get("shape") == "json",
            plain=(plain or "").lower() not in ("", "0", "false"),
            quiet=quiet,
            debug=debug,
        )
        name = str(click.get_current_context().info_name)
        show_values = values["show_values"] if has_own_values else values.pop("show_values")
        try:
            result = body(options, **values)
        except TailraceError as error:
            output = failure(name, error)
            text = None if options.as_json else ""
            if values.get("shape") == "markdown" and not options.as_json:
                from tailrace.cli.output.markdown import markdown_of_failure

                text = markdown_of_failure(output, target)
            result = Answer(options, output, text=text, errors=(error,))
        except (click.ClickException, click.Abort, BrokenPipeError):
            raise
        except Exception as error:
            if debug:
                traceback.print_exc()
            return Answer(options, crash(name, error), text=None if options.as_json else "")
        if not isinstance(result, Answer):
            result = Answer(options, result.as_dict(), errors=result.errors)
        if debug:
            add_details(result.output, result.errors, show_values=bool(show_values))
        return result

    decorated: Callable[..., Answer] = command
    for option in reversed((*_COMMON_OPTIONS, *(() if has_own_values else (_SHOW_VALUES,)))):
        decorated = option(decorated)
    return decorated


def selection(body: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command `--select`, `--exclude` and `--state`."""
    return _selection(
        "Select by name, glob, tag:, object:, path:, owner:, state:modified or result:failed; "
        "+NAME adds what it reads, NAME+ what reads it. Repeatable.",
        completion.models,
    )(body)


def object_selection(body: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command `--select` and `--exclude` for Salesforce objects."""
    return _selection(
        "Select objects (Contact), or models for the objects they read. Repeatable.",
        completion.objects,
    )(body)


def _selection(
    text: str, completer: completion.Completer
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def decorate(body: Callable[..., Any]) -> Callable[..., Any]:
        @click.option(
            "-s",
            "--select",
            multiple=True,
            metavar="PATTERN",
            help=text,
            shell_complete=completer,
        )
        @click.option(
            "--exclude",
            multiple=True,
            metavar="PATTERN",
            help="Exclude what matches. Repeatable.",
            shell_complete=completer,
        )
        @click.option(
            "--state",
            type=click.Path(path_type=Path, dir_okay=False),
            metavar="FILE",
            help="For state:modified: a manifest written by ls --manifest FILE.",
        )
        @wraps(body)
        def command(
            options: Options,
            *args: Any,
            select: tuple[str, ...],
            exclude: tuple[str, ...],
            state: Path | None,
            **values: Any,
        ) -> Any:
            chosen = Selection(select=select, exclude=exclude)
            return body(replace(options, state=state), *args, chosen, **values)

        return command

    return decorate


def audience_argument(body: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the argument AUDIENCE, completed from the project's audiences."""
    return click.argument("audience", shell_complete=completion.audiences)(body)


def allowing(body: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command `--allow`."""
    return click.option(
        "--allow",
        multiple=True,
        metavar="AUDIENCE:GUARD",
        callback=_allowed,
        shell_complete=completion.guards,
        help="Override a guard for this run, e.g. vip:max_exited. Repeatable.",
    )(body)


def planning(body: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of a plan, and pass them to it as one value."""

    @allowing
    @click.option(
        "--on-definition-change",
        type=click.Choice(["send", "hold", "accept", "rebaseline"]),
        help="When a model's SQL changed: send, hold, or accept (record without sending). "
        "Overrides the header; default: send. Older word for accept: rebaseline.",
    )
    @click.option(
        "--on-mapping-change",
        type=click.Choice(["send", "hold", "accept", "absorb"]),
        help="When the mapping changed: send all members again, hold, or accept (apply to future "
        "changes only). Overrides the header; default: accept. Older word: absorb.",
    )
    @click.option(
        "--on-new-column",
        type=click.Choice(["send", "hold", "accept", "absorb"]),
        help="When a column is mapped for the first time: send, hold, or accept (record without "
        "sending). Overrides the header; default: accept. Older word: absorb.",
    )
    @click.option(
        "--no-skip",
        is_flag=True,
        help="Run every model, even if its tables, SQL and mapping have not changed.",
    )
    @wraps(body)
    def command(
        *args: Any,
        allow: tuple[tuple[str, str], ...],
        no_skip: bool,
        on_definition_change: str | None,
        on_mapping_change: str | None,
        on_new_column: str | None,
        **values: Any,
    ) -> Any:
        from tailrace.plan.policy import PlanOptions

        plan_options: PlanOptions = PlanOptions(
            allow=frozenset(allow),
            on_definition_change=on_definition_change,
            on_mapping_change=on_mapping_change,
            on_new_column=on_new_column,
            skip_unchanged=not no_skip,
        )
        return body(*args, plan_options, **values)

    return command


def resending(body: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command `--resend`."""
    return click.option(
        "--resend",
        is_flag=True,
        help="Re-send pending messages older than resend_hours_max; may create duplicates.",
    )(body)


def recording_results(body: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command `--run-results`."""
    return click.option(
        "--run-results",
        "results_file",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        help="Write the result to FILE as JSON, also if the command fails.",
    )(body)


def confirming(body: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command `--yes` and `--dry-run`."""
    yes = click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation.")
    dry_run = click.option("--dry-run", is_flag=True, help="Only say what the command would do.")
    return yes(dry_run(body))


def confirm(options: Options, question: str, *, yes: bool) -> None:
    """Ask before a command that cannot be undone.

    Raises:
        click.UsageError: There is no terminal to ask on, and no `--yes`.
        click.Abort: The answer is no.
    """
    if yes:
        return
    if options.as_json or not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise click.UsageError(f"{question} Add --yes to continue, or --dry-run to see the effect.")
    click.confirm(f"{question} Continue?", abort=True, err=True)


def _allowed(
    _context: click.Context, _option: click.Parameter, given: tuple[str, ...]
) -> tuple[tuple[str, ...], ...]:
    pairs = tuple(tuple(pair.split(":")) for pair in given)
    if any(len(pair) != 2 or not all(pair) for pair in pairs):
        raise click.BadParameter("write AUDIENCE:GUARD, e.g. vip_contacts:max_exited")
    return pairs


def age(_context: click.Context, _option: click.Parameter, given: str) -> timedelta:
    """`30d` or `12h` as a length of time."""
    number, unit = given[:-1], given[-1:]
    if not (number.isascii() and number.isdigit()) or unit not in AGE_UNITS:
        raise click.BadParameter("write a number of days or hours, e.g. 30d or 12h")
    if len(number) > 7 or int(number) * AGE_UNITS[unit] > timedelta(days=AGE_DAYS_MAX):
        raise click.BadParameter(f"write at most {AGE_DAYS_MAX}d")
    return int(number) * AGE_UNITS[unit]


def point_in_time(
    _context: click.Context, _option: click.Parameter, given: str | None
) -> datetime | None:
    """A date or a time of ISO 8601; UTC unless it has a zone."""
    if given is None:
        return None
    for pattern in TIMES:
        try:
            value = datetime.strptime(given.strip(), pattern)
            return (value if value.tzinfo else value.replace(tzinfo=UTC)).astimezone(UTC)
        except (ValueError, OverflowError):
            continue
    raise click.BadParameter(
        "write a date or a time, e.g. 2026-11-22, 2026-11-22T05:00 or 2026-11-22T05:00:00+01:00"
    )


@contextmanager
def progress_line(options: Options) -> Iterator[Callable[[str, int, int], None]]:
    """Show progress on a terminal while the work goes on."""
    from tailrace.cli.output.progress import ProgressLine

    line = ProgressLine(sys.stderr, plain=options.plain or options.quiet)
    try:
        yield line
    finally:
        line.clear()
