"""`tailrace deploy`: workflows that run a project on a schedule and plan its pull requests."""

from __future__ import annotations

import click

from tailrace.cli.help import SubGroup
from tailrace.cli.options import Options, common
from tailrace.results import Result


@click.group(cls=SubGroup)
def deploy() -> None:
    """Write workflows that run the project on a schedule."""


@deploy.command("github-actions")
@common
@click.option("--force", is_flag=True, help="Overwrite workflows that Tailrace has not written.")
@click.option("--dry-run", is_flag=True, help="Only show what would be written.")
def github_actions(options: Options, force: bool, dry_run: bool) -> Result:
    """Write workflows for GitHub Actions.

    One runs the project on a schedule, the other plans each pull request and comments on it.

    Also lists the secrets and variables that the repository needs, with the commands that set them.
    """
    return options.project().deploy(force=force, dry_run=dry_run)


COMMANDS = (deploy,)
