"""Azurite, the emulator of Azure Blob Storage, on loopback. It is a package of npm.

It takes seconds to start, so its tests run with `make test-engines`, which installs it.
"""

from __future__ import annotations

import base64
import email.utils
import hashlib
import hmac
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tailrace.config.settings import StateSettings
from tailrace.state.object_store import ObjectStore

STARTS_WITHIN_SECONDS = 120
CONTAINER = "tailrace"
# The account that every Azurite has, as its documentation says.
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
INSTALLED = Path(__file__).parents[2] / ".venv-azurite" / "node_modules" / ".bin" / "azurite-blob"


@dataclass(frozen=True, kw_only=True)
class AzureServer:
    """A running server with one container."""

    url: str

    def store(self, prefix: str) -> ObjectStore:
        """A prefix of the container as a store."""
        options = {"endpoint": self.url, "account_name": ACCOUNT, "account_key": KEY}
        return ObjectStore(f"az://{CONTAINER}/{prefix}", options, StateSettings(), allow_http=True)

    def environ(self, prefix: str) -> dict[str, str]:
        """The settings of a project whose state is below a prefix."""
        credentials = "TAILRACE__STATE__CREDENTIALS__"
        return {
            "TAILRACE__STATE_URL": f"az://{CONTAINER}/{prefix}",
            f"{credentials}ENDPOINT_URL": self.url,
            f"{credentials}AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT,
            f"{credentials}AZURE_STORAGE_ACCOUNT_KEY": KEY,
        }

    def create_container(self) -> None:
        """Create the container, with a request signed by the shared key."""
        headers = {"x-ms-date": email.utils.formatdate(usegmt=True), "x-ms-version": "2021-12-02"}
        named = "".join(f"{name}:{value}\n" for name, value in sorted(headers.items()))
        resource = f"/{ACCOUNT}/{ACCOUNT}/{CONTAINER}\nrestype:container"
        text = "PUT" + "\n" * 12 + named + resource
        digest = hmac.new(base64.b64decode(KEY), text.encode(), hashlib.sha256).digest()
        headers["Authorization"] = f"SharedKey {ACCOUNT}:{base64.b64encode(digest).decode()}"
        url = f"{self.url}/{CONTAINER}?restype=container"
        request = urllib.request.Request(url, method="PUT", headers=headers)
        with urllib.request.urlopen(request, timeout=30):
            pass


@contextmanager
def azure_running(folder: Path) -> Iterator[AzureServer]:
    """Start a server whose blobs are in memory."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    options = ("--inMemoryPersistence", "--disableTelemetry", "--blobPort", str(port))
    with (folder / "azurite.log").open("wb") as log:
        process = subprocess.Popen([INSTALLED, *options], stdout=log, stderr=log, cwd=folder)
    try:
        server = AzureServer(url=f"http://127.0.0.1:{port}/{ACCOUNT}")
        deadline = time.monotonic() + STARTS_WITHIN_SECONDS
        while True:
            try:
                server.create_container()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError((folder / "azurite.log").read_text()[-2_000:]) from None
                time.sleep(0.1)
        yield server
    finally:
        process.kill()
        process.wait(timeout=10)


@pytest.fixture
def azure_server(tmp_path: Path) -> Iterator[AzureServer]:
    """The emulator of Azure; the test is skipped where npm is not installed."""
    if not INSTALLED.exists():
        pytest.skip("azurite is not installed")
    with azure_running(tmp_path) as server:
        yield server
