"""`tailrace dbt`: what a dbt project needs to know of the audiences that read its models."""

from __future__ import annotations

from pathlib import Path

import click

from tailrace.cli.help import SubGroup
from tailrace.cli.options import Answer, Options, Selection, common, selection


@click.group(cls=SubGroup)
def dbt() -> None:
    """Exchange lineage with a dbt project."""


@dbt.command()
@common
@selection
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write to FILE, such as models/exposures.yml of the dbt project.",
)
@click.option("--check", is_flag=True, help="Write nothing; exit with 1 if FILE differs.")
def exposures(options: Options, chosen: Selection, out: Path | None, check: bool) -> Answer:
    """Write audiences that read models of dbt as exposures."""
    if check and out is None:
        raise click.UsageError("--check compares a file: add --out FILE")
    result = options.project().dbt_exposures(
        select=chosen.select, exclude=chosen.exclude, out=out, check=check
    )
    text = str(result.data["yaml"])
    if out is not None:
        count = len(result.data["exposures"])
        verb = "written to" if result.data["changed"] else "as in"
        text = f"{count} exposure{'' if count == 1 else 's'} {verb} {result.data['file']}.\n"
    return Answer(options, result.as_dict(), text=None if options.as_json else text)


COMMANDS = (dbt,)
