"""The options that commands share, and what a command hands back to be shown."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import wraps
from pathlib import Path
from typing import Any

import click

from tailrace.cli.commands import Choosing, Result, Selection

AGE_UNITS = {"d": timedelta(days=1), "h": timedelta(hours=1)}


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
        from tailrace.cli import logs

        logs.set_up(log_format)
        seen = seen_by()
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


def allowing(body: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the leave to let a guard pass."""
    return click.option(
        "--allow",
        multiple=True,
        metavar="AUDIENCE:GUARD",
        callback=_allowed,
        help="Let one guard of one audience pass this once, as vip:max_exited. Repeatable.",
    )(body)


def choosing(body: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command what decides about a plan."""

    @allowing
    @click.option(
        "--on-definition-change",
        type=click.Choice(["send", "hold", "accept", "rebaseline"]),
        help="What to do when a model's SQL changed: send, hold, or accept (record without "
        "sending). Overrides the header; default: send. Older word for accept: rebaseline.",
    )
    @click.option(
        "--on-mapping-change",
        type=click.Choice(["send", "hold", "accept", "absorb"]),
        help="What to do when the mapping changed: send all members again, hold, or accept (apply "
        "to future changes only). Overrides the header; default: accept. Older word: absorb.",
    )
    @click.option(
        "--on-new-column",
        type=click.Choice(["send", "hold", "accept", "absorb"]),
        help="What to do when a column is mapped for the first time: send, hold, or accept (record "
        "without sending). Overrides the header; default: accept. Older word: absorb.",
    )
    @wraps(body)
    def command(
        *args: Any,
        allow: tuple[tuple[str, str], ...],
        on_definition_change: str | None,
        on_mapping_change: str | None,
        on_new_column: str | None,
        **values: Any,
    ) -> Any:
        choices = Choosing(
            allow=allow,
            on_definition_change=on_definition_change,
            on_mapping_change=on_mapping_change,
            on_new_column=on_new_column,
        )
        return body(*args, choices, **values)

    return command


def resending(body: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the leave to finish what was left behind long ago."""
    return click.option(
        "--resend",
        is_flag=True,
        help="Finish what an old run left behind, although Segment may get some of it twice.",
    )(body)


def _allowed(
    _context: click.Context, _option: click.Parameter, given: tuple[str, ...]
) -> tuple[tuple[str, ...], ...]:
    pairs = tuple(tuple(each.split(":")) for each in given)
    if any(len(pair) != 2 or not all(pair) for pair in pairs):
        raise click.BadParameter("write AUDIENCE:GUARD, as vip_contacts:max_exited")
    return pairs


def age(_context: click.Context, _option: click.Parameter, given: str) -> timedelta:
    """`30d` or `12h` as a length of time."""
    number, unit = given[:-1], given[-1:]
    if not number.isdigit() or unit not in AGE_UNITS:
        raise click.BadParameter("write a number of days or hours, as 30d or 12h")
    return int(number) * AGE_UNITS[unit]


def decided(_context: click.Context, _option: click.Parameter, given: bool | None) -> bool:
    """Insist on one of two flags: neither is harmless enough to be the default."""
    if given is None:
        raise click.UsageError("Say --send or --no-send.")
    return given


@contextmanager
def watched(options: Options) -> Iterator[Callable[[str, int, int], None]]:
    """Show progress on a terminal while the work goes on."""
    from tailrace.cli.progress import ProgressLine

    line = ProgressLine(sys.stderr, plain=options.plain)
    try:
        yield line
    finally:
        line.clear()


def seen_by() -> Seen:
    """What is known of how the command that runs wants to fail."""
    seen: Seen = click.get_current_context().find_root().obj
    return seen
