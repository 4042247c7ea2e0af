"""A MariaDB server of the tests' own, on loopback with an empty data folder, gone when they end."""

from __future__ import annotations

import getpass
import importlib.util
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from warehouses.spark_server import free_port

STARTS_WITHIN_SECONDS = 60.0
STOPS_WITHIN_SECONDS = 60.0
# The start of the names of copies.
KEPT = "kept_"
OWN = ("information_schema", "mysql", "performance_schema", "sys")
# Its own defaults, where they are the worst for this: texts that are compared without capitals.
OPTIONS = (
    *("--no-defaults", "--bind-address=127.0.0.1", "--skip-name-resolve", "--skip-log-bin"),
    *("--character-set-server=utf8mb4", "--collation-server=utf8mb4_general_ci"),
    *("--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=64M"),
)
# The server reads one statement a line.
USER = (
    "CREATE USER IF NOT EXISTS 'tailrace'@'127.0.0.1' IDENTIFIED BY 'a:secret/1';\n"
    "GRANT ALL ON *.* TO 'tailrace'@'127.0.0.1' WITH GRANT OPTION;\n"
)


def is_installed() -> bool:
    """Whether the server, its installer and the packages are there."""
    modules = ("pymysql", "sqlalchemy")
    return (
        shutil.which("mariadbd") is not None
        and shutil.which("mariadb-install-db") is not None
        and all(importlib.util.find_spec(name) is not None for name in modules)
    )


class MariadbServer:
    """A server with its files in a folder, which can be stopped and started."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"mariadb://tailrace:a%3Asecret%2F1@127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        self._views: list[str] = []

    def start(self) -> None:
        """Start the server on the port that it had before."""
        socket = _socket(self.folder, self.port)
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *("mariadbd", *OPTIONS, f"--datadir={self.folder / 'data'}"),
                    *(f"--socket={socket}", f"--port={self.port}", f"--user={getpass.getuser()}"),
                    f"--init-file={self.folder / 'user.sql'}",
                ],
                stdout=log,
                stderr=log,
            )
        _wait_for(self._process, self)

    def stop(self) -> None:
        """Stop the server. It ends the connections."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=STOPS_WITHIN_SECONDS)
            self._process = None

    def connection(self) -> Any:
        import pymysql

        return pymysql.connect(
            host="127.0.0.1",
            port=self.port,
            user="tailrace",
            password="a:secret/1",
            autocommit=True,
        )

    def execute(self, *statements: str) -> list[tuple[Any, ...]]:
        """Run statements in a session of their own; the rows of the last one."""
        rows: list[tuple[Any, ...]] = []
        with self.connection() as connection, connection.cursor() as cursor:
            for sql in statements:
                cursor.execute(sql)
                rows = list(cursor.fetchall())
        return rows

    def clear(self) -> None:
        """Drop the databases of the tests before."""
        self.execute(*(f"DROP DATABASE `{name}`" for name in self._databases(kept=False)))

    def _databases(self, *, kept: bool) -> list[str]:
        names = [str(name) for (name,) in self.execute("SHOW DATABASES")]
        return [name for name in names if name not in OWN and name.startswith(KEPT) == kept]

    def keep(self) -> None:
        """Copy all databases, to be restored before each death of a test."""
        self.forget()
        self._views = self._copy({name: f"{KEPT}{name}" for name in self._databases(kept=False)})

    def restore(self) -> None:
        """The databases as they were kept."""
        self.clear()
        kept = self._databases(kept=True)
        self._copy({name: name.removeprefix(KEPT) for name in kept})
        self.execute("SELECT 1", *self._views)

    def forget(self) -> None:
        """Drop the copies."""
        self.execute(
            "SELECT 1", *(f"DROP DATABASE `{name}`" for name in self._databases(kept=True))
        )

    def _copy(self, databases: dict[str, str]) -> list[str]:
        """Copy tables with their rows and indexes; the statements that create the views."""
        statements, views = [], []
        for source, copy in databases.items():
            ((created, *_),) = [self.execute(f"SHOW CREATE DATABASE `{source}`")[0][1:]]
            statements.append(str(created).replace(f"`{source}`", f"`{copy}`", 1))
            for name, kind in self.execute(f"SHOW FULL TABLES FROM `{source}`"):
                if kind == "VIEW":
                    views.append(str(self.execute(f"SHOW CREATE VIEW `{source}`.`{name}`")[0][1]))
                    continue
                statements.append(f"CREATE TABLE `{copy}`.`{name}` LIKE `{source}`.`{name}`")
                statements.append(
                    f"INSERT INTO `{copy}`.`{name}` SELECT * FROM `{source}`.`{name}`"
                )
        self.execute("SELECT 1", *statements)
        return views


@contextmanager
def mariadb_running(folder: Path) -> Iterator[MariadbServer]:
    """A server whose files are in an empty folder."""
    (folder / "user.sql").write_text(USER)
    installed = ["mariadb-install-db", "--no-defaults", f"--datadir={folder / 'data'}"]
    subprocess.run(
        [*installed, f"--user={getpass.getuser()}", "--skip-test-db"],
        check=True,
        capture_output=True,
    )
    server = MariadbServer(folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def mariadb_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariadbServer]:
    """The server, started once for a session of tests."""
    if not is_installed():
        pytest.skip("run by: make test-engines")
    with mariadb_running(tmp_path_factory.mktemp("mariadb")) as server:
        yield server


def _socket(folder: Path, port: int) -> Path:
    """A short path, since that of a socket has at most 107 bytes."""
    return Path("/tmp") / f"tailrace-{folder.parent.name[-20:]}-{port}.sock"


def _wait_for(process: subprocess.Popen[bytes], server: MariadbServer) -> None:
    import pymysql

    deadline = time.monotonic() + STARTS_WITHIN_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            server.connection().close()
            return
        except pymysql.err.OperationalError:
            # It listens before it has read the file with the user.
            time.sleep(0.05)
    pytest.fail(f"MariaDB did not start: {(server.folder / 'log').read_text()[-2000:]}")
