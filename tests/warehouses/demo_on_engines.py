"""The demo on several warehouses, with a diff of what the receivers got: `make demo-engines`.

DuckDB first, then PostgreSQL, MariaDB, a DuckLake and a Spark SQL cluster with two workers, each
with the lines of its how-to, on servers that are started for it. An engine whose packages or
programs are missing is named and left out. Exits with 1 if the receivers got another line from one.
"""

from __future__ import annotations

import difflib
import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from warehouses.mariadb_server import is_installed, mariadb_running
from warehouses.postgres_server import binary, postgres_cluster
from warehouses.spark_server import running_server

ROOT = Path(__file__).parents[2]
# Packages that are installed beside the environment, as in the Makefile.
DUCKDB_WITH_EXTENSIONS = ROOT / ".venv-duckdb-1.5"
SAIL = ROOT / ".venv-spark"
WORKERS = 2
LINES_SHOWN_MAX = 20
# A demo takes half a minute, and some minutes on a machine that does other work.
DEMO_SECONDS_MAX = 900


@contextmanager
def duckdb(folder: Path) -> Iterator[str]:
    """No line is changed."""
    yield ""


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """docs/how-to/postgresql.md"""
    with postgres_cluster() as cluster:
        server = cluster.start()
        yield (
            '[tailrace]\nwarehouse = "postgres"\n'
            f'[destination.postgres]\ncredentials = "{server.url()}"\n'
        )


@contextmanager
def mariadb(folder: Path) -> Iterator[str]:
    """docs/how-to/mariadb.md"""
    server_folder = folder / "mariadb"
    server_folder.mkdir()
    with mariadb_running(server_folder) as server:
        yield (
            '[tailrace]\nwarehouse = "mariadb"\n'
            f'[destination.mariadb]\ncredentials = "{server.url}"\n'
        )


@contextmanager
def ducklake(folder: Path) -> Iterator[str]:
    """docs/how-to/ducklake.md"""
    yield (
        '[tailrace]\nwarehouse = "ducklake"\n[destination.ducklake.credentials]\n'
        f'catalog = "duckdb:///{folder}/lake.ducklake"\nstorage = "file://{folder}/lake"\n'
    )


@contextmanager
def spark(folder: Path) -> Iterator[str]:
    """docs/how-to/spark.md"""
    with running_server(workers=WORKERS) as uri:
        yield (
            '[tailrace]\nwarehouse = "spark"\n'
            f'[destination.spark]\nuri = "{uri}"\nstorage = "file://{folder}/lake"\n'
        )


def missing(engine: str) -> str | None:
    """What an engine needs and is not there."""
    if engine == "postgres" and binary("initdb") is None:
        return "no PostgreSQL server is installed"
    if engine == "mariadb" and not is_installed():
        return "no MariaDB server is installed"
    if engine == "ducklake" and not DUCKDB_WITH_EXTENSIONS.is_dir():
        return f"run: make {DUCKDB_WITH_EXTENSIONS.name}/ready"
    if engine == "spark" and importlib.util.find_spec("pysail") is None:
        return f"run: make {SAIL.name}/ready"
    return None


def received(engine: str, settings: str, folder: Path) -> list[str]:
    """The lines that a demo with these settings writes."""
    config, lines = folder / "warehouse.toml", folder / "received.jsonl"
    config.write_text(settings)
    command = [sys.executable, "-m", "tailrace", "demo", "--quiet", "--received", str(lines)]
    packages = os.environ.get("PYTHONPATH", "")
    if engine == "ducklake":
        packages = str(DUCKDB_WITH_EXTENSIONS)
    subprocess.run(
        [*command, "--config", str(config)],
        env={**os.environ, "PYTHONPATH": packages},
        stdout=subprocess.DEVNULL,
        check=True,
        timeout=DEMO_SECONDS_MAX,
    )
    return lines.read_text(encoding="utf-8").splitlines()


ENGINES: dict[str, Callable[[Path], object]] = {
    "duckdb": duckdb,
    "postgres": postgres,
    "mariadb": mariadb,
    "ducklake": ducklake,
    "spark": spark,
}


def main(engines: list[str]) -> int:
    """Run the demos, and print what each differs in from DuckDB's."""
    expected: list[str] = []
    differs = False
    for engine in ["duckdb", *(name for name in engines if name != "duckdb")]:
        reason = missing(engine)
        if reason is not None:
            print(f"{engine}: left out, {reason}", flush=True)
            continue
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            settings = stack.enter_context(ENGINES[engine](folder))  # type: ignore[arg-type]
            lines = received(engine, settings, folder)
        expected = expected or lines
        diff = list(difflib.unified_diff(expected, lines, "duckdb", engine, lineterm="", n=0))
        differs |= bool(diff)
        outcome = "other than DuckDB's" if diff else "as DuckDB's"
        print(f"{engine}: {len(lines)} lines, {outcome}", flush=True)
        print("".join(f"  {line}\n" for line in diff[:LINES_SHOWN_MAX]), end="")
    return int(differs)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or list(ENGINES)))
