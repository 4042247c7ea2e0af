"""Commands about the destinations of a project."""

from __future__ import annotations

import click

from tailrace.cli import commands
from tailrace.cli.commands import Result
from tailrace.cli.options import Options, common


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def destinations() -> None:
    """Manage the destinations that the ledger was delivered to."""


@destinations.command()
@common
@click.argument("destination", metavar="NAME")
def rebind(options: Options, destination: str) -> Result:
    """Accept the rotated credential of [destination.NAME] as the same receiver."""
    return commands.rebind(options.project_dir, options.target, destination)
