"""What the tests share: a clean environment, a project folder, the command as a subprocess."""

from __future__ import annotations

import gc
import logging
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest
from fork_server import ForkServer, WarmServer
from hypothesis import settings

ROOT = Path(__file__).parents[1]

# A slow machine is not a failure.
settings.register_profile("tailrace", deadline=None)
settings.load_profile("tailrace")

pytest_plugins = [
    "warehouses.postgres_server",
    "warehouses.snowflake_emulator",
    "warehouses.spark_server",
    "warehouses.mariadb_server",
    "warehouses.desk",
    "state.s3_server",
    "state.gcs_server",
    "state.azure_server",
]

# Names that a developer's shell may hold and that would change what a test sees.
LEAKING_PREFIXES = ("SOURCES__", "DESTINATION__", "TAILRACE", "WORKSPACE__", "RUNTIME__", "DLT_")
LEAKING_NAMES = ("CI", "NO_COLOR", "FORCE_COLOR", "COLUMNS", "HTTP_PROXY", "HTTPS_PROXY")

# What may differ between versions of the engine runs again on the oldest one that is supported:
# its functions, settings and files, each statement of a plan, and the main job. Of other files
# only the tests with the mark run again, as of those that start no DuckDB.
OLDER_DUCKDB_TESTS = re.compile(
    r"warehouse/test_(?!cloud_dialects|parse_cache|partitions|postgres|spark|statements)"
    r"|warehouses/test_(?!mariadb|postgres|snowflake|spark|story_postgres)"
    r"|ledger/test_(ledger|upgrade)|plan/test_(golden_plans|diff)"
    r"|cli/test_demo|models/test_same_rows|segment/test_times_out_of_range"
)
OLDER_DUCKDB_MARK = "pytest.mark.older_duckdb"


class Command(Protocol):
    """Runs `tailrace` with arguments, in a process of its own."""

    def __call__(
        self, *arguments: str, cwd: Path | None = None, **environ: str
    ) -> subprocess.CompletedProcess[str]: ...


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seeds", type=int, default=30, help="how many random histories to play")
    parser.addoption("--kills", type=int, default=20, help="how often to kill a large run")
    parser.addoption("--write-back-rows", type=int, default=450, help="how many rows to write back")
    parser.addoption("--write-back-deaths", type=int, default=4, help="how often to kill that run")
    parser.addoption("--fuzz-inputs", type=int, default=160, help="how many inputs to break")
    parser.addoption("--state-kills", type=int, default=8, help="how many operations to die at")
    parser.addoption("--watch-cycles", type=int, default=24, help="how many cycles to watch for")
    parser.addoption("--watch-kills", type=int, default=2, help="how often to kill a watch")
    parser.addoption("--races", type=int, default=4, help="how many pairs of runs to race")
    parser.addoption(
        "--all-deaths", action="store_true", help="kill at each statement in each scenario"
    )
    parser.addoption("--all-plans", action="store_true", help="each golden plan on Spark")
    parser.addoption("--engines", action="store_true", help="what needs more than the environment")
    parser.addoption("--write-docs", action="store_true", help="write real output to the documents")
    parser.addoption("--write-screenshots", action="store_true", help="write the page's goldens")
    parser.addoption("--duckdb-version", help="fail unless this DuckDB is the one imported")
    parser.addoption(
        "--statements", type=int, default=300, help="how many statements to generate per dialect"
    )


WARM_SERVER = pytest.StashKey[WarmServer]()


def pytest_configure(config: pytest.Config) -> None:
    # A shell starts background jobs with Ctrl-C ignored, and commands would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    wanted = config.getoption("--duckdb-version")
    if wanted:
        import duckdb

        if not duckdb.__version__.startswith(wanted):
            raise pytest.UsageError(f"DuckDB is {duckdb.__version__}, not {wanted}")
    if not hasattr(config, "workerinput"):
        config.stash[WARM_SERVER] = WarmServer(_clean(RUNTIME__DLTHUB_TELEMETRY="false"))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """All workers of pytest-xdist share one server."""
    node.workerinput["fork_server"] = node.config.stash[WARM_SERVER].address


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """On an older DuckDB, a file without a test for it is not even read."""
    if not config.getoption("--duckdb-version") or collection_path.suffix != ".py":
        return None
    runs = OLDER_DUCKDB_TESTS.search(collection_path.as_posix())
    return None if runs or OLDER_DUCKDB_MARK in collection_path.read_text() else True


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--engines"):
        items[:] = [item for item in items if item.get_closest_marker("engines") is None]
    for item in items:
        if OLDER_DUCKDB_TESTS.search(item.path.relative_to(ROOT).as_posix()):
            item.add_marker(pytest.mark.older_duckdb)
    # The longest tests first: at the end, one worker would run them and the others wait.
    items.sort(key=lambda item: "simulation" not in item.path.parts)


def pytest_collection_finish() -> None:
    """The garbage collector does not visit again what stays to the end: modules and tests."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure(config: pytest.Config) -> None:
    gc.unfreeze()
    if WARM_SERVER in config.stash:
        config.stash[WARM_SERVER].close()


def _leaks(name: str) -> bool:
    return name.startswith(LEAKING_PREFIXES) or name in LEAKING_NAMES


def _clean(**more: str) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not _leaks(name)} | more


@pytest.fixture(autouse=True)
def clean_environ(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the developer's shell reaches a test."""
    for name in filter(_leaks, list(os.environ)):
        monkeypatch.delenv(name)
    monkeypatch.setenv("RUNTIME__DLTHUB_TELEMETRY", "false")


@pytest.fixture(autouse=True)
def own_logging() -> Iterator[None]:
    """A command run inside of a test sets up logging; the next test finds it as it was."""
    logger = logging.getLogger("tailrace")
    before = (logger.handlers, logger.propagate, logger.level)
    yield
    logger.handlers, logger.propagate, level = before
    logger.setLevel(level)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A new project, as `tailrace init` makes it."""
    from tailrace.cli.commands.init import scaffold

    return scaffold(tmp_path / "shop").root


@pytest.fixture(scope="session")
def fork_server(pytestconfig: pytest.Config) -> Iterator[ForkServer]:
    """Forks warm processes; see `fork_server.py`."""
    worker = getattr(pytestconfig, "workerinput", None)
    server = ForkServer(
        worker["fork_server"] if worker else pytestconfig.stash[WARM_SERVER].address
    )
    yield server
    server.close()


@pytest.fixture
def command(tmp_path: Path, fork_server: ForkServer) -> Command:
    """The command line in a process of its own, in an otherwise clean environment."""

    def run(
        *arguments: str, cwd: Path | None = None, **environ: str
    ) -> subprocess.CompletedProcess[str]:
        return fork_server.run(
            list(arguments),
            cwd=cwd or tmp_path,
            environ=_clean(**environ),
            timeout_seconds=120,
        )

    return run
