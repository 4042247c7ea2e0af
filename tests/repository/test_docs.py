"""The documents name what exists: commands, options, recipes, files, tests, settings."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
import tomllib
from pathlib import Path

import click
import pytest
from repository import references
from repository.documents import ROOT, documents, name_of

import tailrace as package
from tailrace.cli.app import tailrace as group

ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
GUARANTEES = ROOT / "docs" / "guarantees.md"
CONTRIBUTORS = [ROOT / name for name in ("ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md")]
DOCUMENTS = [*documents(), *CONTRIBUTORS]
PAGES = [*DOCUMENTS, *sorted((ROOT / "docs" / "reference").glob("*.md"))]
EXAMPLES = sorted((ROOT / "docs" / "examples").glob("*.yml"))


def code_of(text: str) -> str:
    """The code spans and code blocks of a document, one a line."""
    blocks = re.findall(r"^ *```[^\n]*\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)
    return "\n".join(blocks + re.findall(r"`([^`\n]+)`", text))


def named_in(text: str, program: str) -> set[str]:
    """The second words of `program …` in a text."""
    return set(re.findall(rf"(?:^|[\s/]){program} ([a-z][a-z-]*)(?=\s|$)", text, re.MULTILINE))


@pytest.mark.parametrize("name", references.pages())
def test_a_reference_says_what_the_code_says(name: str) -> None:
    expected = references.pages()[name]()
    committed = (references.FOLDER / name).read_text(encoding="utf-8")
    assert expected == committed, f"docs/reference/{name} is out of date: run `make docs`"


def test_no_reference_is_left_over() -> None:
    assert set(references.pages()) == {path.name for path in references.FOLDER.iterdir()}


def test_every_setting_is_described_where_it_is_defined() -> None:
    assert [] == references.undescribed_settings()


def test_every_column_of_the_ledger_is_described() -> None:
    assert [] == references.undescribed_columns(), f"edit {references.LEDGER_COLUMNS.name}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_recipe_that_a_document_names_exists(document: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    recipes = set(re.findall(r"^([a-z][a-z0-9.-]*):", makefile, re.MULTILINE))
    assert named_in(code_of(document.read_text(encoding="utf-8")), "make") <= recipes


@pytest.mark.parametrize("document", PAGES, ids=name_of)
def test_every_link_leads_to_a_file_and_a_heading(document: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)", document.read_text())
    missing = [path for path, _ in links if not (document.parent / path).exists()]
    missing += [
        f"{path}#{anchor}"
        for path, anchor in links
        if anchor and anchor not in headings(document.parent / path if path else document)
    ]
    assert [] == missing


def headings(document: Path) -> set[str]:
    """The anchors of a document's headings."""
    titles = re.findall(r"^#+ (.+)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_every_page_is_linked_from_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    pages = [path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md")]
    unlinked = [page.as_posix() for page in pages if f"({page.as_posix()})" not in index]
    assert ["README.md"] == unlinked


@pytest.mark.parametrize("document", [*DOCUMENTS, *EXAMPLES], ids=name_of)
def test_every_command_and_option_that_a_document_names_exists(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    code = text if document.suffix == ".yml" else code_of(text)
    assert set() == named_in(code, "tailrace") - set(group.commands)
    options = {
        option
        for command in references.all_commands().values()
        for parameter in command.params
        if isinstance(parameter, click.Option)
        for option in (*parameter.opts, *parameter.secondary_opts)
    }
    commands = re.findall(r"(?:^|[\s/])tailrace ([a-z][a-z-]* .*)$", code, re.MULTILINE)
    spans = re.findall(r"^(--[a-z][a-z-]+.*)$", code, re.MULTILINE)
    used = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", " ".join(commands + spans)))
    assert set() == used - options - {"--write-docs"}


def test_every_guarantee_names_tests_that_exist() -> None:
    """By the id of its line, as `folder/file::name` under tests/."""
    text = GUARANTEES.read_text(encoding="utf-8")
    lines, _, tests = text.partition("\n## Tests\n")
    row = re.compile(r"^\| ([A-Z]\d+) \|(.*)\|$", re.MULTILINE)
    proofs = dict(row.findall(tests))
    assert [name for name, _ in row.findall(lines)] == list(proofs)
    assert len(proofs) > 50
    missing = [
        f"{name}: {file}::{test}"
        for name, named in proofs.items()
        for file, test in re.findall(r"`([\w/]+)::(\w+)`", named) or [("nothing", "named")]
        if f"def {test}(" not in _code(file)
    ]
    assert [] == missing


def _code(file: str) -> str:
    path = ROOT / "tests" / f"{file}.py"
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def test_every_command_and_option_has_its_help() -> None:
    commands = references.all_commands()
    silent = [name for name, command in commands.items() if not command.help]
    silent += [
        f"{name} {parameter.name}"
        for name, command in commands.items()
        for parameter in command.params
        if isinstance(parameter, click.Option) and not parameter.hidden and not parameter.help
    ]
    assert [] == silent


def modules() -> list[str]:
    """Every module of the package but its two programs."""
    walked = pkgutil.walk_packages(package.__path__, "tailrace.")
    return [module.name for module in walked if not module.name.endswith("__main__")]


@pytest.mark.parametrize("name", modules())
def test_the_examples_in_docstrings_are_true(name: str) -> None:
    assert 0 == doctest.testmod(importlib.import_module(name)).failed


def test_the_layers_in_the_architecture_are_those_of_the_import_contract() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    layers = contracts["tool"]["importlinter"]["contracts"][0]["layers"]
    drawn = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \| ", ARCHITECTURE, re.MULTILINE)
    expected = [set(layer.split(" | ")) for layer in layers if layer != "__main__"]
    assert expected == [set(re.findall(r"\w+", row)) for row in drawn]


def test_every_file_that_the_architecture_names_exists() -> None:
    package = ROOT / "pipelines" / "tailrace"
    named = re.findall(r"`([\w/]+/\w+\.(?:py|sql))`", ARCHITECTURE)
    assert len(named) > 20
    missing = [n for n in named if not (package / n).is_file() and not (ROOT / n).is_file()]
    assert [] == missing
