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

# The variable with the folder of the programs, such as those of another version.
PROGRAMS = "POSTGRES_PROGRAMS"
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
    port: int = 5432

    def url(self, database: str = "postgres") -> str:
        """What dlt and psycopg2 connect with."""
        # The password is for dlt, which insists on one; the server asks for none.
        host = quote(str(self.folder), safe="")
        return f"postgresql://{self.user}:any@{host}:{self.port}/{database}"

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
    """A program of PostgreSQL: in the folder that is named, on the PATH, or of the newest version
    that the system has."""
    found = shutil.which(name, path=os.environ.get(PROGRAMS))
    if found:
        return Path(found)
    versions = sorted(
        Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: float(path.parts[4])
    )
    return versions[-1] if versions else None


def is_built_with(library: str) -> bool:
    """Whether the server has an optional library, such as `libssl` or `libxml2`."""
    program = binary("postgres")
    return program is not None and library.encode() in program.read_bytes()


def postgres_user() -> dict[str, Any]:
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


class PostgresCluster:
    """The files of a server in a folder, which can be started and stopped."""

    def __init__(self, folder: Path, program: Path, user: dict[str, Any]) -> None:
        self.folder = folder
        self._program = program
        # The server's own user may not read the folders of the tests.
        self.quiet: dict[str, Any] = {"cwd": folder, "stdin": subprocess.DEVNULL, **user}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, **settings: str) -> PostgresServer:
        """Start the server, with further settings."""
        listed = [f"--{name}={value}" for name, value in (SETTINGS | settings).items()]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, "-D", self.folder / "data", "-k", self.folder, *listed],
                stdout=log,
                stderr=log,
                **self.quiet,
            )
        server = PostgresServer(folder=self.folder, port=int(settings.get("port", 5432)))
        return _answering(server, self._process)

    def stop(self) -> None:
        """Stop the server. Clients that are still there do not keep it from stopping."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None


@contextmanager
def postgres_cluster() -> Iterator[PostgresCluster]:
    """Make a cluster, and take it away again with its server."""
    initdb, postgres = binary("initdb"), binary("postgres")
    if initdb is None or postgres is None:
        raise FileNotFoundError("PostgreSQL is not installed")
    user = postgres_user()
    # Not below pytest's own folder: only its owner may enter that one.
    folder = Path(tempfile.mkdtemp(prefix="tailrace-pg-"))
    if user:
        os.chown(folder, user["user"], user["group"])
    cluster = PostgresCluster(folder, postgres, user)
    try:
        made = [initdb, "-D", folder / "data", "-U", "tailrace", "-A", "trust", "-E", "UTF8"]
        subprocess.run(
            [*made, "--locale=C.UTF-8", "--no-sync"],
            check=True,
            capture_output=True,
            **cluster.quiet,
        )
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def postgres_running() -> Iterator[PostgresServer]:
    """A server of a new cluster."""
    with postgres_cluster() as cluster:
        yield cluster.start()


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
