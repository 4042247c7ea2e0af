"""Commands about alerts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tailrace.cli.help import OrderedGroup
from tailrace.cli.options import Options, common

if TYPE_CHECKING:
    from tailrace.results import Result


@click.group(cls=OrderedGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.pass_context
def alerts(context: click.Context) -> None:
    """Test the receivers of alerts."""
    # The options of the main group reach the commands of this one.
    context.default_map = dict.fromkeys(alerts.commands, context.default_map or {})


@alerts.command()
@common
def test(options: Options) -> Result:
    """Send a test message to each receiver of alerts."""
    return options.project().test_alerts()


COMMANDS = (alerts,)
