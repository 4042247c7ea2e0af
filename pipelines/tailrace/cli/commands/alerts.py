"""Commands about alerts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tailrace.cli.help import SubGroup
from tailrace.cli.options import Options, common

if TYPE_CHECKING:
    from tailrace.results import Result


@click.group(cls=SubGroup)
def alerts() -> None:
    """Test the receivers of alerts."""


@alerts.command()
@common
def test(options: Options) -> Result:
    """Send a test message to each receiver of alerts."""
    return options.project().test_alerts()


COMMANDS = (alerts,)
