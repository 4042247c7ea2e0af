"""A bucket of Google Cloud Storage on loopback: the requests of its XML API that obstore sends.

It follows https://cloud.google.com/storage/docs/xml-api/reference-headers: a write with
`x-goog-if-generation-match` succeeds only on that generation, 0 means that there is no object, and
otherwise the answer is 412. No emulator of a package registry has that: they have the JSON API.
"""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from itertools import count
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

import pytest

from tailrace.config.settings import StateSettings
from tailrace.state.object_store import ObjectStore

BUCKET = "tailrace"
MODIFIED = "Fri, 27 Nov 2026 00:00:00 GMT"


class _Object(NamedTuple):
    body: bytes
    generation: int

    def headers(self) -> dict[str, str]:
        return {
            "ETag": f'"{self.generation:x}"',
            "x-goog-generation": str(self.generation),
            "Last-Modified": MODIFIED,
        }


class GcsServer(http.server.ThreadingHTTPServer):
    """One bucket."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.objects: dict[str, _Object] = {}
        self.generations = count(1)
        self.lock = threading.Lock()
        self.key_file = folder / "service-account.json"
        key = {"gcs_base_url": self.url, "disable_oauth": True, "client_email": ""}
        self.key_file.write_text(json.dumps({**key, "private_key": "", "private_key_id": ""}))

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that was killed."""

    def store(self, prefix: str) -> ObjectStore:
        """A prefix of the bucket as a store."""
        url = f"gs://{BUCKET}/{prefix}"
        options = {"service_account": str(self.key_file)}
        return ObjectStore(url, options, StateSettings(), allow_http=True)

    def environ(self, prefix: str) -> dict[str, str]:
        """The settings of a project whose state is below a prefix."""
        credentials = "TAILRACE__STATE__CREDENTIALS__"
        return {
            "TAILRACE__STATE_URL": f"gs://{BUCKET}/{prefix}",
            f"{credentials}ENDPOINT_URL": self.url,
            f"{credentials}SERVICE_ACCOUNT_FILE": str(self.key_file),
        }


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: GcsServer

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        name = self._name()
        if not name:
            self._list()
            return
        stored = self.server.objects.get(name)
        if stored is None:
            self._answer(HTTPStatus.NOT_FOUND)
        else:
            self._answer(HTTPStatus.OK, stored.body, stored.headers())

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        expected = self.headers.get("x-goog-if-generation-match")
        with self.server.lock:
            stored = self.server.objects.get(self._name())
            generation = stored.generation if stored else 0
            if expected is not None and int(expected) != generation:
                self._answer(HTTPStatus.PRECONDITION_FAILED)
                return
            written = _Object(body, next(self.server.generations))
            self.server.objects[self._name()] = written
        self._answer(HTTPStatus.OK, headers=written.headers())

    def do_DELETE(self) -> None:
        with self.server.lock:
            removed = self.server.objects.pop(self._name(), None)
        self._answer(HTTPStatus.NO_CONTENT if removed else HTTPStatus.NOT_FOUND)

    def _name(self) -> str:
        _, _, name = unquote(urlsplit(self.path).path).removeprefix("/").partition("/")
        return name

    def _list(self) -> None:
        prefix = parse_qs(urlsplit(self.path).query).get("prefix", [""])[0]
        contents = "".join(
            f"<Contents><Key>{escape(name)}</Key><Size>{len(stored.body)}</Size>"
            f"<LastModified>2026-11-27T00:00:00.000Z</LastModified>"
            f"<ETag>{stored.generation:x}</ETag></Contents>"
            for name, stored in sorted(self.server.objects.items())
            if name.startswith(prefix)
        )
        text = f"<ListBucketResult><Name>{BUCKET}</Name>{contents}</ListBucketResult>"
        self._answer(HTTPStatus.OK, text.encode(), {"Content-Type": "application/xml"})

    def _answer(
        self, status: HTTPStatus, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def gcs_running(folder: Path) -> Iterator[GcsServer]:
    """A server on a free port."""
    with GcsServer(folder) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def gcs_server(tmp_path: Path) -> Iterator[GcsServer]:
    """A bucket of Google Cloud Storage."""
    with gcs_running(tmp_path) as server:
        yield server
