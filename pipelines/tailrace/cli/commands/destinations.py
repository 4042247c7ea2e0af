"""Commands about the destinations of a project."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tailrace.cli import completion
from tailrace.cli.help import SubGroup, examples
from tailrace.cli.options import Options, common

if TYPE_CHECKING:
    from tailrace.results import Result


@click.group(cls=SubGroup)
def destinations() -> None:
    """Manage the destinations that the ledger was delivered to."""


@destinations.command(epilog=examples("destinations rebind segment"))
@common
@click.argument("destination", metavar="NAME", shell_complete=completion.destinations)
def rebind(options: Options, destination: str) -> Result:
    """Accept the rotated credential of [destination.NAME].

    The receiver must be the same as before: nothing is sent to it again.
    """
    return options.project().rebind(destination)


@destinations.command(epilog=examples("destinations resume crm"))
@common
@click.argument("destination", metavar="NAME", shell_complete=completion.destinations)
def resume(options: Options, destination: str) -> Result:
    """Send to [destination.NAME] again after a 410 Gone."""
    return options.project().resume(destination)


COMMANDS = (destinations,)
