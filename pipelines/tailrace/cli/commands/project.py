"""The commands about the project itself: start it, check it, list what it has."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from tailrace.cli.help import Command, examples
from tailrace.cli.options import Answer, Options, Selection, common, selection
from tailrace.results import Result


@click.command(cls=Command, epilog=examples("init shop"))
@common
@click.argument("directory", type=click.Path(path_type=Path), default=Path(), metavar="[DIR]")
def init(_: Options, directory: Path) -> Result:
    """Create a project in DIR without overwriting files."""
    from tailrace.cli.commands.init import scaffold

    done = scaffold(directory)
    data = {"project": str(done.root), "created": [*done.created], "kept": [*done.kept]}
    return Result(command="init", data=data)


@click.command(cls=Command)
@common
@click.option(
    "--report",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write a page about the three runs to FILE.",
)
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Add the settings of a TOML FILE, such as another warehouse. Its database must be empty.",
)
@click.option(
    "--received",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    metavar="FILE",
    help="Write what each receiver got to FILE, to compare two demos.",
)
def demo(
    options: Options, report: Path | None, config: Path | None, received: Path | None
) -> Answer:
    """Run a demo against local simulators, no account needed.

    It runs the main job three times, over two simulated days, and takes about 20 seconds.
    """
    from tailrace.cli.commands.demo import story
    from tailrace.cli.output import text

    chapters = []
    click.echo("Starting Salesforce, Segment and a webhook on this machine ...\n", err=True)
    for chapter in story(report, config=config, received=received):
        details = {
            "title": chapter.title,
            "who": chapter.who,
            "example": chapter.example,
            "element": chapter.element,
        }
        chapters.append(chapter.result | {"command": "demo"} | details)
        if not options.as_json:
            text.show(chapters[-1], sys.stdout, plain=options.plain)
    code = max(chapter["exit_code"] for chapter in chapters)
    errors = [entry for chapter in chapters for entry in chapter["errors"]]
    data: dict[str, object] = {"runs": chapters}
    text_at_end = ""
    if report is not None:
        data["report"] = str(report.resolve())
        text_at_end = f"Report: {data['report']}\n"
    output = Result(command="demo", exit_code=code, data=data).as_dict()
    shown = None if options.as_json else text_at_end
    return Answer(options, output | {"errors": errors}, text=shown)


@click.command(cls=Command)
@common
def doctor(options: Options) -> Result:
    """Check the installation, configuration and connections."""
    from tailrace.cli.commands.doctor import examine, exit_code
    from tailrace.clock import SystemClock

    checks = examine(options.project_dir, options.target, clock=SystemClock())
    data = {"checks": [check.as_dict() for check in checks]}
    return Result(command="doctor", exit_code=exit_code(checks), data=data)


@click.command(cls=Command, epilog=examples("validate", "validate -s vip_contacts --json"))
@common
@selection
def validate(options: Options, chosen: Selection) -> Result:
    """Check the configuration, models and audiences, offline."""
    return options.project().validate(select=chosen.select, exclude=chosen.exclude)


@click.command(cls=Command, epilog=examples("test", "test -s vip_contacts"))
@common
@selection
def test(options: Options, chosen: Selection) -> Result:
    """Run the tests of models (NAME.test.yml), offline."""
    return options.project().test(select=chosen.select, exclude=chosen.exclude)


@click.command(cls=Command, epilog=examples("ls -s object:Contact", "ls -s +vip_contacts"))
@common
@selection
@click.option(
    "--manifest",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Also write the fingerprints of all models to FILE, for --select state:modified.",
)
def ls(options: Options, chosen: Selection, manifest: Path | None) -> Result:
    """List models with their columns and dependencies."""
    return options.project().ls(select=chosen.select, exclude=chosen.exclude, manifest=manifest)


@click.command(
    "tracking-plan", cls=Command, epilog=examples("tracking-plan --out tracking_plan.yaml")
)
@common
@selection
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write to FILE. If saved as tracking_plan.yaml, it is enforced on every run.",
)
def tracking_plan(options: Options, chosen: Selection, out: Path | None) -> Answer:
    """Draft a tracking plan for Segment Protocols."""
    result = options.project().tracking_plan(select=chosen.select, exclude=chosen.exclude, out=out)
    shown = None if options.as_json or out is not None else str(result.data["yaml"])
    return Answer(options, result.as_dict(), text=shown, errors=result.errors)


# In the order in which `tailrace --help` lists them.
COMMANDS = (init, demo, doctor, validate, test, ls, tracking_plan)
