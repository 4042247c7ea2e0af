"""fakesnow's server, which emulates Snowflake on DuckDB: a process with packages of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

# The folder of fakesnow's packages, whose versions are other ones than Tailrace's.
PACKAGES = "FAKESNOW_PACKAGES"
SERVER = Path(__file__).with_name("fakesnow_server.py")
STARTS_WITHIN_SECONDS = 60.0


class SnowflakeEmulator:
    """A server of the tests' own, with one database a store."""

    def __init__(self, port: int) -> None:
        self.port = port

    def database(self) -> str:
        """The credentials of a new database, which exists from the first connection on."""
        database = f"STORE_{time.monotonic_ns()}"
        query = f"host=localhost&port={self.port}&protocol=http"
        return f"snowflake://user:password@fakesnow/{database}?{query}"


@pytest.fixture(scope="session")
def snowflake_emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SnowflakeEmulator]:
    """The server, started once for a session of tests."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("fakesnow") / "log"
    environ = {**os.environ, "PYTHONPATH": os.environ[PACKAGES]}
    command = [sys.executable, str(SERVER), str(port)]
    with log.open("wb") as output:
        server = subprocess.Popen(command, stdout=output, stderr=output, env=environ)
        try:
            _wait_for(server, port, log)
            yield SnowflakeEmulator(port)
        finally:
            server.terminate()
            server.wait(timeout=STARTS_WITHIN_SECONDS)


def _wait_for(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + STARTS_WITHIN_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    pytest.fail(f"fakesnow did not start: {log.read_text()[-2000:]}")
