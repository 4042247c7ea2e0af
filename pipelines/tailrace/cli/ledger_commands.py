"""The commands that look after the ledger: what was delivered, to whom, and what of it failed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import click

from tailrace.cli import commands
from tailrace.cli.commands import Choosing, Result, Selection
from tailrace.cli.options import (
    Options,
    age,
    allowing,
    common,
    decided,
    resending,
    selection,
    watched,
)

# As people write a moment, and as `--json` prints one.
TIMES = (
    *("%Y-%m-%d", "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S"),
    *("%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M:%S.%f%z"),
)


@click.command()
@common
@click.argument("audience")
@click.option(
    "--at",
    type=click.DateTime(TIMES),
    metavar="TIME",
    help="Who was a member then, by key; UTC where it says no zone.",
)
def history(options: Options, audience: str, at: datetime | None) -> Result:
    """Show an audience's size over time, or who was in it at a moment."""
    moment = at.replace(tzinfo=UTC) if at is not None and at.tzinfo is None else at
    return commands.history(options.project_dir, options.target, audience, moment)


@click.command()
@common
@click.argument("person")
@click.option("--show-values", is_flag=True, help="Do not mask what was sent.")
def trace(options: Options, person: str, show_values: bool) -> Result:
    """Show a person's way through all audiences, by key, userId or anonymousId."""
    return commands.trace(options.project_dir, options.target, person, show_values=show_values)


@click.command()
@common
def rejected(options: Options) -> Result:
    """List what was refused, by reason."""
    return commands.rejected(options.project_dir, options.target)


@click.command()
@common
@selection
@allowing
@resending
def retry(
    options: Options, chosen: Selection, allow: tuple[tuple[str, str], ...], resend: bool
) -> Result:
    """Send again what was rejected, and nothing else."""
    choices = Choosing(intent="retry", allow=allow)
    return _sync_with("retry", choices, options, chosen, resend=resend)


@click.command()
@common
@click.argument("audience")
@click.option(
    "--send/--no-send",
    default=None,
    callback=decided,
    help="Send every member anew, or take the result as it is.",
)
@allowing
@resending
def reset(
    options: Options, audience: str, send: bool, allow: tuple[tuple[str, str], ...], resend: bool
) -> Result:
    """Forget what was sent of AUDIENCE."""
    choices = Choosing(intent="resend" if send else "accept", allow=allow)
    return _sync_with("reset", choices, options, Selection(select=(audience,)), resend=resend)


@click.command()
@common
@click.argument("audience")
@resending
def retire(options: Options, audience: str, resend: bool) -> Result:
    """Send everybody's exit from AUDIENCE once, and close its ledger.

    Where its file stays, the next run starts it anew.
    """
    with watched(options) as progress:
        return commands.retire(
            options.project_dir, options.target, audience, resend=resend, progress=progress
        )


@click.command()
@common
@click.argument("audience")
@click.option(
    "--to",
    "destination",
    required=True,
    metavar="DESTINATION",
    help="A section [destination.DESTINATION] with a write key.",
)
@click.option("--history", is_flag=True, help="All that was ever sent, with the times of then.")
@resending
def replay(
    options: Options, audience: str, destination: str, history: bool, resend: bool
) -> Result:
    """Bring a new destination up with AUDIENCE, from the ledger: its members as entering."""
    with watched(options) as progress:
        return commands.replay(
            options.project_dir,
            options.target,
            audience,
            destination,
            history=history,
            resend=resend,
            progress=progress,
        )


@click.command()
@common
@click.argument("old_name", metavar="OLD")
@click.argument("new_name", metavar="NEW")
def rename(options: Options, old_name: str, new_name: str) -> Result:
    """Carry an audience's ledger over, so that nobody enters or exits."""
    return commands.rename(options.project_dir, options.target, old_name, new_name)


@click.command()
@common
@click.option(
    "--older-than",
    required=True,
    callback=age,
    metavar="AGE",
    help="How long ago it was settled, as 30d or 12h.",
)
def purge(options: Options, older_than: timedelta) -> Result:
    """Forget what was settled longer ago; who left in the last 24 hours is kept."""
    return commands.purge(options.project_dir, options.target, older_than)


def _sync_with(
    name: str, choices: Choosing, options: Options, chosen: Selection, *, resend: bool
) -> Result:
    with watched(options) as progress:
        return commands.deliver(
            name,
            options.project_dir,
            options.target,
            chosen,
            choices,
            progress=progress,
            resend=resend,
        )


# In the order in which `tailrace --help` lists them.
COMMANDS = (history, trace, rejected, retry, reset, replay, retire, rename, purge)
