"""The documents say what is so, and their commands exist."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import click
import pytest

import tailrace as package
from tailrace.cli.app import EXIT_CODES
from tailrace.cli.app import tailrace as group
from tailrace.config.settings import SegmentSettings

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "DELIVERY.md")
# Those whose lines name the tests that hold them.
PROVEN_DOCUMENTS = ("DELIVERY.md", "EXTRACT.md")


def named_in(text: str, program: str) -> set[str]:
    """The second words of `program …` in code spans and code blocks."""
    code = "\n".join(
        re.findall(r"```sh\n(.*?)```", text, re.DOTALL) + re.findall(r"`([^`\n]+)`", text)
    )
    return set(re.findall(rf"(?:^|\s){program} ([a-z][a-z-]*)", code))


def test_every_command_is_in_the_readme_and_the_readme_names_no_other() -> None:
    assert set(group.commands) == named_in(README, "tailrace")


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_recipe_that_a_document_names_exists(document: str) -> None:
    makefile = (ROOT / "Makefile").read_text()
    recipes = set(re.findall(r"^([a-z][a-z0-9.-]*):", makefile, re.MULTILINE))
    assert named_in((ROOT / document).read_text(), "make") <= recipes


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_to_a_file_leads_somewhere(document: str) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / document).read_text())
    assert [] == [link for link in links if not (ROOT / link).exists()]


@pytest.mark.parametrize("document", PROVEN_DOCUMENTS)
def test_every_test_that_a_document_names_exists(document: str) -> None:
    """As `test_file` or `test_file::test_name`, with its folder where it is in one."""
    text = (ROOT / document).read_text(encoding="utf-8")
    named = re.findall(r"`((?:[a-z_]+/)*test_\w+)(?:\.py)?(?:::(test_\w+))?[^`\n]*`", text)
    assert len(named) > 10
    for file, test in named:
        code = (ROOT / "tests" / f"{file}.py").read_text(encoding="utf-8")
        assert not test or f"def {test}(" in code, f"{file} has no {test}"


def test_every_line_of_a_failure_names_its_test() -> None:
    lines = (ROOT / "DELIVERY.md").read_text(encoding="utf-8").splitlines()
    start = next(at for at, line in enumerate(lines) if line.startswith("| failure |"))
    rows = [line for line in lines[start + 2 :] if line.startswith("|")]
    failures = [row for row in rows if row.count("|") == 6]
    assert [] == [row for row in failures if "::test_" not in row.split("|")[5]]
    assert len(failures) > 20


@pytest.mark.parametrize("document", ["README.md", "DELIVERY.md"])
def test_every_command_and_option_that_a_document_names_exists(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    known = {
        option
        for command in group.commands.values()
        for parameter in command.params
        if isinstance(parameter, click.Option)
        for option in (*parameter.opts, *parameter.secondary_opts)
    }
    spans = " ".join(re.findall(r"`([^`\n]+)`", text))
    assert set() == set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", spans)) - known
    assert set() == named_in(text, "tailrace") - set(group.commands)


def test_the_settings_of_the_delivery_are_these() -> None:
    """Name and default of each setting in DELIVERY.md's table are the engine's own."""
    text = (ROOT / "DELIVERY.md").read_text(encoding="utf-8")
    told = dict(re.findall(r"^\| `([a-z_]+)` \| ([\d,]+) \|", text, re.MULTILINE))
    settings = SegmentSettings(write_key="")
    assert len(told) > 5
    assert told == {name: f"{getattr(settings, name):,.0f}" for name in told}


def test_every_command_and_option_has_its_help() -> None:
    silent = [name for name, command in group.commands.items() if not command.help]
    silent += [
        f"{name} {parameter.name}"
        for name, command in group.commands.items()
        for parameter in command.params
        if isinstance(parameter, click.Option) and not parameter.hidden and not parameter.help
    ]
    assert [] == silent


def test_help_and_readme_have_the_same_exit_codes() -> None:
    in_help = re.findall(r"^  (\d+) ", EXIT_CODES, re.MULTILINE)
    in_readme = re.findall(r"^\| (\d+)(?:, \d+)? \|", README, re.MULTILINE)
    assert in_help == in_readme


def test_the_readme_s_audience_is_valid(project: Path) -> None:
    from tailrace.models.loader import read_models

    sql = re.search(r"```sql\n(.*?)```", README, re.DOTALL)
    assert sql
    (project / "models" / "audiences" / "vip_contacts.sql").write_text(sql[1])
    audience = read_models(project / "models").by_name["vip_contacts"].audience
    assert audience is not None
    assert ("contact_id",) == audience.key


def modules() -> list[str]:
    """Every module of the package but its two programs."""
    found = pkgutil.walk_packages(package.__path__, "tailrace.")
    return [each.name for each in found if not each.name.endswith("__main__")]


@pytest.mark.parametrize("name", modules())
def test_the_examples_in_docstrings_are_true(name: str) -> None:
    assert 0 == doctest.testmod(importlib.import_module(name)).failed
