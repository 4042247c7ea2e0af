"""A PostgreSQL server of the tests' own: one cluster a test process, gone when it ends.

Its files live in a temporary folder and it listens on a socket there, so that it needs no port
and any number of test processes run side by side. The server refuses to run as root; then its
binaries run as another user.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

STARTS_WITHIN_SECONDS = 60
# Nothing here has to survive a power cut, and a test is quicker for it.
SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "40",
    "shared_buffers": "32MB",
    "timezone": "America/Sao_Paulo",
}


@dataclass(frozen=True, kw_only=True)
class PostgresServer:
    """A running server, reached through the socket in its folder."""

    folder: Path
    user: str = "tailrace"

    def url(self, database: str = "postgres") -> str:
        """What dlt and psycopg2 connect with."""
        # The password is for dlt, which insists on one; the server asks for none.
        return f"postgresql://{self.user}:any@{quote(str(self.folder), safe='')}/{database}"

    def execute(self, sql: str, database: str = "postgres") -> None:
        """Run one statement outside of any transaction."""
        import psycopg2

        connection = psycopg2.connect(self.url(database))
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(sql)
        finally:
            connection.close()


def binary(name: str) -> Path | None:
    """A program of PostgreSQL: on the PATH, or of the newest version that the system has."""
    found = shutil.which(name)
    if found:
        return Path(found)
    versions = sorted(
        Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: float(path.parts[4])
    )
    return versions[-1] if versions else None


def _as_another_user() -> dict[str, Any]:
    """For root: how to start a program as somebody who may run a server."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    raise RuntimeError("root may not run a PostgreSQL server, and there is no other user")


@contextmanager
def postgres_running() -> Iterator[PostgresServer]:
    """Make a cluster, start its server, and take both away again."""
    initdb, postgres = binary("initdb"), binary("postgres")
    if initdb is None or postgres is None:
        raise FileNotFoundError("PostgreSQL is not installed")
    somebody = _as_another_user()
    # Not below pytest's own folder: only its owner may enter that one.
    folder = Path(tempfile.mkdtemp(prefix="tailrace-pg-"))
    if somebody:
        os.chown(folder, somebody["user"], somebody["group"])
    quiet: dict[str, Any] = {"cwd": folder, "stdin": subprocess.DEVNULL, **somebody}
    try:
        made = [initdb, "-D", folder / "data", "-U", "tailrace", "-A", "trust", "-E", "UTF8"]
        subprocess.run(
            [*made, "--locale=C.UTF-8", "--no-sync"], check=True, capture_output=True, **quiet
        )
        settings = [f"--{name}={value}" for name, value in SETTINGS.items()]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [postgres, "-D", folder / "data", "-k", folder, *settings],
                stdout=log,
                stderr=log,
                **quiet,
            )
        try:
            yield _answering(PostgresServer(folder=folder), process)
        finally:
            # Clients that are still there do not keep it from stopping.
            process.send_signal(signal.SIGINT)
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _answering(server: PostgresServer, process: subprocess.Popen[bytes]) -> PostgresServer:
    import psycopg2

    for _ in range(STARTS_WITHIN_SECONDS * 20):
        if process.poll() is not None:
            raise RuntimeError((server.folder / "log").read_text())
        try:
            server.execute("SELECT 1")
            return server
        except psycopg2.OperationalError:
            time.sleep(0.05)
    raise TimeoutError((server.folder / "log").read_text())


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A server for this test process; tests are skipped where PostgreSQL is not installed."""
    if binary("initdb") is None:
        pytest.skip("PostgreSQL is not installed")
    with postgres_running() as server:
        yield server


@pytest.fixture
def postgres_database(postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of a new, empty database."""
    name = f"test_{os.getpid()}_{time.monotonic_ns()}"
    postgres_server.execute(f"CREATE DATABASE {name}")
    yield postgres_server.url(name)
    postgres_server.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
