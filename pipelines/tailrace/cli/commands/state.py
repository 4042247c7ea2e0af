"""Commands about the state in `state_url`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tailrace.cli.help import SubGroup, examples
from tailrace.cli.options import Options, common, confirm, confirming

if TYPE_CHECKING:
    from tailrace.results import Result


@click.group(cls=SubGroup)
def state() -> None:
    """Show and maintain the state in state_url."""


@state.command()
@common
def show(options: Options) -> Result:
    """Show the generation, size and lease of the state."""
    return options.project().state()


@state.command()
@common
@click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation.")
def unlock(options: Options, yes: bool) -> Result:
    """Release the lease of a run that is dead.

    A run that is still active stops before its next batch. No message is lost, and none is sent
    with another messageId.
    """
    project = options.project()
    lease = project.state().data.get("lease")
    if lease and lease["held"]:
        holder = f"process {lease['process']} on {lease['host']}"
        confirm(options, f"This releases the lease of {holder}.", yes=yes)
    return project.unlock_state()


@state.command(epilog=examples("state push", "state push backup.duckdb --dry-run"))
@common
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False))
@confirming
def push(options: Options, file: Path | None, yes: bool, dry_run: bool) -> Result:
    """Write a DuckDB FILE to state_url, to begin or to restore.

    Without FILE, it is this machine's copy of the state, or else the configured DuckDB file.
    """
    project = options.project()
    planned = project.push_state(file, dry_run=True)
    if dry_run:
        return planned
    replaced = planned.data["replaces_generation"]
    if replaced is not None:
        name = Path(planned.data["file"]).name
        confirm(options, f"This replaces generation {replaced} of the state by {name}.", yes=yes)
    return project.push_state(file)


@state.command(epilog=examples("state pull backup.duckdb"))
@common
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def pull(options: Options, file: Path) -> Result:
    """Write a copy of the state to FILE.

    It is a DuckDB file: a backup, or a copy to query.
    """
    return options.project().pull_state(file)


COMMANDS = (state,)
