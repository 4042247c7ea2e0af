"""Commands about the destinations of a project."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tailrace.cli.options import Options, common

if TYPE_CHECKING:
    from tailrace.results import Result


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.pass_context
def destinations(context: click.Context) -> None:
    """Manage the destinations that the ledger was delivered to."""
    # The options of the main group reach the commands of this one.
    context.default_map = dict.fromkeys(destinations.commands, context.default_map or {})


@destinations.command()
@common
@click.argument("destination", metavar="NAME")
def rebind(options: Options, destination: str) -> Result:
    """Accept the rotated credential of [destination.NAME] as the same receiver."""
    return options.project().rebind(destination)


@destinations.command()
@common
@click.argument("destination", metavar="NAME")
def resume(options: Options, destination: str) -> Result:
    """Send to [destination.NAME] again, which answered 410 Gone."""
    return options.project().resume(destination)


COMMANDS = (destinations,)
