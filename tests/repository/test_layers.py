"""The order of the modules is a contract, and the contract has teeth."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sysconfig
from functools import cache
from pathlib import Path

import pytest

from tailrace.warehouse.engines import ENGINES

ROOT = Path(__file__).parents[2]
LINTER = Path(sysconfig.get_path("scripts")) / "lint-imports"


def checked(root: Path, *contracts: str) -> subprocess.CompletedProcess[str]:
    """Check the contracts on the package below a folder."""
    chosen = [argument for each in contracts for argument in ("--contract", each)]
    return subprocess.run(
        [LINTER, "--no-logo", "--no-cache", "--config", ROOT / "pyproject.toml", *chosen],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root / "pipelines")},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_dependencies_point_down_and_each_library_has_its_door() -> None:
    done = checked(ROOT)
    assert done.returncode == 0, done.stdout


def engines_named(source: str) -> list[str]:
    """The names of engines among the texts of a module."""
    texts = (node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant))
    return [text for text in texts if text in {*ENGINES, "bigquery", "clickhouse", "databricks"}]


def test_the_stages_above_the_warehouse_name_no_engine() -> None:
    """What engines do differently is in the table of `warehouse/engines` and in `sql/`."""
    package = ROOT / "pipelines" / "tailrace"
    stages = ("plan", "ledger", "destinations", "encoding", "run")
    files = [file for stage in stages for file in sorted((package / stage).rglob("*.py"))]
    named = {str(file): engines_named(file.read_text(encoding="utf-8")) for file in files}
    assert len(files) > 100
    assert {} == {file: names for file, names in named.items() if names}
    assert ["postgres"] == engines_named('if warehouse.dialect == "postgres":\n    pass')


@pytest.mark.parametrize(
    ("contract", "module", "line"),
    [
        ("layers", "ledger/ledger", "from tailrace.run import job"),
        ("layers", "salesforce/client", "from tailrace.models import loader"),
        ("layers", "a_package_without_a_row/__init__", ""),
        ("cycles", "config/settings", "def late() -> None:\n    import tailrace.config.project"),
        (
            "cycles",
            "destinations/segment/templates",
            "if TYPE_CHECKING:\n    from tailrace.destinations.segment.mapper import Mapper",
        ),
        ("sandbox", "run/job", "import tailrace.testing"),
        ("terminal", "run/result", "import click"),
        ("terminal", "reporting/history", "from rich.table import Table"),
        ("warehouse", "ledger/ledger", "import dlt"),
        ("warehouse", "plan/plan", "import duckdb"),
        ("sqlglot", "plan/plan", "from sqlglot import exp"),
        ("services", "run/job", "import segment.analytics"),
    ],
)
def test_a_planted_import_breaks_its_contract(
    contract: str, module: str, line: str, tmp_path: Path
) -> None:
    shutil.copytree(ROOT / "pipelines" / "tailrace", tmp_path / "pipelines" / "tailrace")
    planted = tmp_path / "pipelines" / "tailrace" / f"{module}.py"
    planted.parent.mkdir(exist_ok=True)
    with planted.open("a") as file:
        file.write(f"\n{line}\n")
    done = checked(tmp_path, contract)
    assert done.returncode == 1, done.stdout
    assert module.partition("/")[0] in done.stdout


def packages() -> list[Path]:
    """Every package below the top one, as its `__init__.py`."""
    return sorted((ROOT / "pipelines" / "tailrace").glob("*/**/__init__.py"))


def package_name(init: Path) -> str:
    return ".".join(init.parent.relative_to(ROOT / "pipelines").parts)


@pytest.mark.parametrize("init", packages(), ids=package_name)
def test_a_package_says_in_one_sentence_what_it_is_for(init: Path) -> None:
    docstring = ast.get_docstring(ast.parse(init.read_text(encoding="utf-8"))) or ""
    first, _, _ = docstring.partition("\n")
    assert first.endswith("."), docstring
    assert 1 == first.count(". ") + 1, "one sentence"


@pytest.mark.parametrize("init", packages(), ids=package_name)
def test_a_package_exports_only_what_others_import(init: Path) -> None:
    """A name in `__all__` is imported from the package by the product, the tests or the docs.

    The simulators are for users, who import what they need.
    """
    if package_name(init).startswith("tailrace.testing"):
        return
    tree = ast.parse(init.read_text(encoding="utf-8"))
    exported = {
        element.value
        for node in tree.body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__"
        for element in getattr(node.value, "elts", [])
        if isinstance(element, ast.Constant)
    }
    assert exported <= imported_from(package_name(init))


@cache
def imported_from(package: str) -> set[str]:
    """The names that any module or document imports from a package."""
    names: set[str] = set()
    for folder, pattern in (("pipelines", "*.py"), ("tests", "*.py"), ("docs", "*.md")):
        for path in (ROOT / folder).rglob(pattern):
            text = path.read_text(encoding="utf-8")
            for found in re.findall(rf"from {re.escape(package)} import ([^\n(]+|\([^)]*\))", text):
                names |= set(re.findall(r"\w+", found))
    return names


CORE = ("plan", "ledger", "run")
# A message kind or a header key of one type, read from an audience.
OF_ONE_TYPE = re.compile(r"audience\.(?:track|identify|group|consent|payload|block)\b")


def core_files() -> list[Path]:
    """The modules and statements that work for every destination."""
    package = ROOT / "pipelines" / "tailrace"
    modules = [path for name in CORE for path in (package / name).glob("*.py")]
    modules += [path for path in (package / "destinations").glob("*.py") if path.stem != "registry"]
    statements = [*(ROOT / "sql" / "plan").glob("*.sql"), *(ROOT / "sql" / "ledger").glob("*.sql")]
    return sorted([*modules, *statements, ROOT / "sql" / "outbox.sql", ROOT / "sql" / "replay.sql"])


def names_of_destinations(text: str) -> list[str]:
    """What a text says about a single destination type; Salesforce is also the source."""
    imports = re.findall(r"tailrace\.destinations\.(?:segment|salesforce|webhook)\b.*", text)
    names = re.findall(r"(?i)\b(?:segment|webhook)\b", text)
    return [*imports, *names, *OF_ONE_TYPE.findall(text)]


@pytest.mark.parametrize("path", core_files(), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_the_core_names_no_destination(path: Path) -> None:
    assert [] == names_of_destinations(path.read_text(encoding="utf-8"))


def test_a_name_of_a_destination_is_found() -> None:
    planted = "from tailrace.destinations.webhook.http import send\naudience.track.timestamp\n"
    assert 4 == len(names_of_destinations(planted + "if kind == 'segment':"))
