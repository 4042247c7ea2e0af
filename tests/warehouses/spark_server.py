"""A Spark SQL server of the tests' own: Sail on loopback, with two workers, gone when they end."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

STARTS_WITHIN_SECONDS = 60
IS_INSTALLED = all(
    importlib.util.find_spec(name) is not None for name in ("pysail", "adbc_driver_flightsql")
)
HAS_CONNECT = IS_INSTALLED and importlib.util.find_spec("pyspark") is not None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def running_server(
    *, workers: int, environ: dict[str, str] | None = None, scheme: str = "grpc"
) -> Iterator[str]:
    """The URI of a server with so many workers: of Flight SQL, or of Spark Connect (`sc`)."""
    port = free_port()
    kind = "spark" if scheme == "sc" else "flight"
    mode = {
        "SAIL_MODE": "local-cluster" if workers > 1 else "local",
        "SAIL_CLUSTER__WORKER_INITIAL_COUNT": str(workers),
    }
    server = subprocess.Popen(
        [sys.executable, "-m", "pysail", kind, "server", "--port", str(port)],
        env={**os.environ, "RUST_LOG": "error", **mode, **(environ or {})},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + STARTS_WITHIN_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                if server.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        yield f"{scheme}://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


@pytest.fixture(scope="session")
def spark_server() -> Iterator[str]:
    """The URI of a Sail cluster with two workers."""
    if not IS_INSTALLED:
        pytest.skip("run by: make test-engines")
    with running_server(workers=2) as uri:
        yield uri


@pytest.fixture(scope="session")
def spark_connect_server() -> Iterator[str]:
    """The same, reached by Spark Connect."""
    if not HAS_CONNECT:
        pytest.skip("run by: make test-engines")
    with running_server(workers=2, scheme="sc") as uri:
        yield uri
