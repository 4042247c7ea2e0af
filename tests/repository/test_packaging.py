"""What is built is what was tested: one package, everything inside, nothing of anybody's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tailrace import __version__
from tailrace.cli.commands import init

ROOT = Path(__file__).parents[2]


def run(*command: object, cwd: Path = ROOT, env: dict[str, str] | None = None) -> str:
    """Run a program that must succeed, and return what it printed."""
    arguments = [str(each) for each in command]
    done = subprocess.run(arguments, cwd=cwd, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `tailrace` of a new environment that has the wheel, and our packages for the rest."""
    venv = tmp_path_factory.mktemp("installed") / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", venv)
    python = venv / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--quiet")
    run(*pip, "--no-deps", "--no-index", wheel)
    # A path in a .pth file brings the packages along, and no checkout that is installed there.
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return venv / "bin" / "tailrace"


def names(wheel: Path) -> set[str]:
    return set(zipfile.ZipFile(wheel).namelist())


def test_a_wheel_holds_one_package(wheel: Path) -> None:
    assert {"tailrace", f"tailrace-{__version__}.dist-info"} == {
        name.partition("/")[0] for name in names(wheel)
    }


def test_a_wheel_holds_every_statement_and_the_starter_project(wheel: Path) -> None:
    expected = {
        f"tailrace/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / "sql").rglob("*.sql")
    } | {
        f"tailrace/starter/{path.relative_to(ROOT).as_posix()}"
        for path in [*(ROOT / "models").rglob("*.sql"), ROOT / ".dlt" / "config.toml"]
    }
    assert set() == expected - names(wheel)


def test_nothing_that_is_built_is_named_secret(wheel: Path, tmp_path: Path) -> None:
    run(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", tmp_path)
    with tarfile.open(next(tmp_path.glob("*.tar.gz"))) as archive:
        source = set(archive.getnames())
    assert [] == [name for name in names(wheel) | source if "secret" in name.lower()]
    assert f"tailrace-{__version__}/Makefile" in source


def test_the_installed_command_works_beside_folders_named_like_ours(
    installed: Path, tmp_path: Path
) -> None:
    for decoy in ("pipelines", "models", "sql", "tests"):
        (tmp_path / decoy).mkdir()
        (tmp_path / decoy / "__init__.py").write_text("raise RuntimeError('a decoy')\n")
    made = json.loads(run(installed, "init", "shop", "--json", cwd=tmp_path))
    assert {name for name, _ in init.starter()} == set(made["created"])
    run(installed, "validate", cwd=tmp_path / "shop")
    where = run(
        installed.parent / "python", "-c", "import tailrace; print(tailrace.__file__)", cwd=tmp_path
    )
    assert Path(where).is_relative_to(installed.parents[1])


def test_the_installed_command_does_the_main_job(installed: Path, tmp_path: Path) -> None:
    """From an empty folder, against two services that it knows by configuration only."""
    with sandbox(installed, "salesforce") as salesforce, sandbox(installed, "segment") as segment:
        credentials = "SOURCES__SALESFORCE__CREDENTIALS__"
        environ = os.environ | {
            f"{credentials}INSTANCE_URL": salesforce["url"],
            f"{credentials}CLIENT_ID": salesforce["client_id"],
            f"{credentials}CLIENT_SECRET": salesforce["client_secret"],
            "DESTINATION__SEGMENT__HOST": segment["url"],
            "DESTINATION__SEGMENT__WRITE_KEY": segment["write_key"],
        }
        run(installed, "init", "shop", cwd=tmp_path)
        shop = tmp_path / "shop"
        done = json.loads(run(installed, "run", "--json", cwd=shop, env=environ))
        assert done["segment"]["calls"] > 0
        again = json.loads(run(installed, "run", "--json", cwd=shop, env=environ))
        assert 0 == again["segment"]["calls"]
        told = json.loads(run(installed, "status", "--json", cwd=shop, env=environ))
        sizes = {each["audience"]: each["size_after"] for each in done["audiences"]}
        assert sizes == {each["audience"]: each["size_after"] for each in told["audiences"]}


@contextmanager
def sandbox(installed: Path, kind: str) -> Iterator[dict[str, str]]:
    """A simulator as a process of its own; what it says of itself."""
    with subprocess.Popen(
        [installed.parent / "python", "-m", "tailrace.testing", kind, "--port", "0"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline())
        finally:
            process.terminate()


def test_the_example_of_secrets_is_the_one_that_init_writes() -> None:
    assert init.SECRETS_EXAMPLE == (ROOT / ".dlt" / "secrets.toml.example").read_text()


def test_the_lock_holds_hashes_only() -> None:
    for name in ("constraints.txt", "constraints-duckdb-1.5.txt"):
        for line in (ROOT / name).read_text().splitlines():
            assert line.startswith(("#", "    --hash=sha256:")) or "==" in line
            assert "://" not in line


def test_the_version_is_written_once_for_people_and_once_for_tools() -> None:
    assert f'version = "{__version__}"' in (ROOT / "pyproject.toml").read_text()
