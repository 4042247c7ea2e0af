"""The order of the modules is a contract, and the contract has teeth."""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

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


@pytest.mark.parametrize(
    ("contract", "module", "line"),
    [
        ("layers", "ledger/ledger", "from tailrace.run import job"),
        ("layers", "salesforce/client", "from tailrace.models import loader"),
        ("layers", "a_package_without_a_row/__init__", ""),
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
