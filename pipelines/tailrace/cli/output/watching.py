"""`run --watch` on the command line: its durations, the log of its runs, and its text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from tailrace.cli.output.summary import counted
from tailrace.cli.output.table import to_second

if TYPE_CHECKING:
    from tailrace.results import Result

Output = Mapping[str, Any]

DURATION_UNITS = {
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
}
DURATION_DAYS_MAX = 366
WATCH_SECONDS_MIN, WATCH_SECONDS_MAX = 1, 86_400


def duration(
    _context: click.Context, _option: click.Parameter, given: str | None
) -> timedelta | None:
    """`90s`, `15m`, `2h` or `1d` as a length of time."""
    if given is None:
        return None
    match = re.fullmatch(r"([0-9]{1,9})([smhd])", given.strip())
    if match is None or not int(match[1]):
        raise click.BadParameter("write a number with its unit, e.g. 90s, 15m, 2h or 1d")
    length = int(match[1]) * DURATION_UNITS[match[2]]
    if length > timedelta(days=DURATION_DAYS_MAX):
        raise click.BadParameter(f"write at most {DURATION_DAYS_MAX}d")
    return length


def log_run(result: Result) -> None:
    """Log what a run of a process that goes on has to say besides its phases."""
    from tailrace.cli.output import logs

    output = result.as_dict()
    logs.log_entries(output.get("warnings", ()), logs.WARNING)
    logs.log_entries(output["errors"])
    held = [
        {
            "message": f"{name} is held by "
            + ", ".join(guard.name for guard in audience.guards if guard.held),
            "hint": f"See why with: tailrace plan --show 5 --select {audience.audience}",
        }
        for name, audience in result.audiences.items()
        if audience.status == "held"
    ]
    logs.log_entries(held, logs.WARNING)


def watch_lines(result: Output) -> Iterable[str]:
    """The cycles of a process that has ended."""
    watch = result["watch"]
    runs = watch["cycles"] - watch["idle_cycles"]
    failed = f", {watch['failed_cycles']:,} failed" if watch["failed_cycles"] else ""
    yield (
        f"Watched for {counted(watch['cycles'], 'cycle')}: {watch['idle_cycles']:,} without news, "
        f"{counted(runs, 'run')}{failed}."
    )


def watching_lines(watch: Output | None) -> Iterable[str]:
    """The process that watches now, in the result of `status`."""
    if not watch or not watch["active"]:
        return
    last = (
        f", the last one at {to_second(watch['last_cycle_at'])}" if watch["last_cycle_at"] else ""
    )
    yield (
        f"{watch['watch_id']} watches every {watch['every_seconds']:g} s (process "
        f"{watch['process']} on {watch['host']}, since {to_second(watch['started_at'])}): "
        f"{counted(watch['cycles'], 'cycle')}, {watch['idle_cycles']:,} without news, "
        f"{watch['failed_cycles']:,} failed{last}."
    )
