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
from tailrace.cli import EXIT_CODES
from tailrace.cli import tailrace as group

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md")


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


def test_every_option_that_the_readme_names_exists() -> None:
    known = {
        option
        for command in group.commands.values()
        for parameter in command.params
        if isinstance(parameter, click.Option)
        for option in (*parameter.opts, *parameter.secondary_opts)
    }
    spans = " ".join(re.findall(r"`([^`\n]+)`", README))
    assert set() == set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", spans)) - known


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
    from tailrace.models import read_models

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
