"""The plain requests of an extract without news, by Python's own HTTP client.

`requests` and simple-salesforce take longer to import than an extract takes that finds nothing new.
This transport takes a plain answer only: HTTP 200, within the limits, JSON. For everything else it
returns None, and `client` repeats the request in the full session, which retries, renews the token
and reports what is wrong. It is not used with a proxy.
"""

from __future__ import annotations

import base64
import ssl
import threading
import zlib
from collections.abc import Mapping
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPMessage, HTTPResponse, HTTPSConnection
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import certifi

from tailrace.clock import Clock
from tailrace.config.project import certificates, has_proxy
from tailrace.config.settings import SalesforceCredentials, SalesforceSettings
from tailrace.errors import AnswerUnreadable
from tailrace.salesforce.answers import parse_json
from tailrace.salesforce.auth import Token, token_of

CHUNK_BYTES = 1 << 17
CONNECT_SECONDS_MAX = 10.0
BODY_BYTES_MAX = 64_000_000
GZIP_WINDOW_BITS = 31
TOKEN_PATH = "/services/oauth2/token"
# How often answers that take too long are looked for.
WATCH_SECONDS = 1.0


class Answer(NamedTuple):
    """The headers of an answer, and its JSON."""

    headers: HTTPMessage
    content: Any


class PlainTransport:
    """Connections to one org, one per thread."""

    def __init__(self, settings: SalesforceSettings, *, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._local = threading.local()
        self._lock = threading.Lock()
        self._connections: list[HTTPConnection] = []
        # The connections that wait for an answer, with the time at which they give up.
        self._deadlines: dict[HTTPConnection, float] = {}
        self._closed = threading.Event()
        self._watcher: threading.Thread | None = None
        self._certificates: ssl.SSLContext | None = None

    @classmethod
    def of(cls, settings: SalesforceSettings, *, clock: Clock) -> PlainTransport | None:
        """The transport, or None where `requests` would take a proxy."""
        return None if has_proxy() else cls(settings, clock=clock)

    def close(self) -> None:
        """Close all connections."""
        self._closed.set()
        if self._watcher is not None:
            self._watcher.join()
        with self._lock:
            for connection in self._connections:
                connection.close()

    def log_in(self, credentials: SalesforceCredentials) -> Token | None:
        """A token for client credentials."""
        pair = f"{credentials.client_id}:{credentials.client_secret}"
        headers = {
            "Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}",
            "Content-Type": "application/x-www-form-urlencoded",
        }
        host = credentials.instance_url.rstrip("/")
        body = b"grant_type=client_credentials"
        answer = self._request("POST", host, TOKEN_PATH, headers, body=body)
        content = None if answer is None else answer.content
        if not isinstance(content, Mapping):
            return None
        value, instance = content.get("access_token"), content.get("instance_url")
        if not (isinstance(value, str) and value and isinstance(instance, str)):
            return None
        return token_of(host, value, urlsplit(instance).netloc, content)

    def get(self, host: str, target: str, token: str) -> Answer | None:
        """The answer to a GET.

        Args:
            host: The URL of the org.
            target: The path, with its query string.
            token: The access token.
        """
        headers = {"Authorization": f"Bearer {token}", "Accept-Encoding": "gzip"}
        return self._request("GET", host, target, headers)

    def _request(
        self,
        method: str,
        host: str,
        target: str,
        headers: Mapping[str, str],
        *,
        body: bytes | None = None,
    ) -> Answer | None:
        headers = {"User-Agent": "tailrace", "Accept": "*/*", **headers}
        # A server may close a connection that was idle, so a used one is replaced once.
        for is_new in (False, True):
            connection = self._connection(host, is_new=is_new)
            was_used = connection.sock is not None
            deadline = self._clock.monotonic() + self._settings.answer_seconds_max
            with self._lock:
                self._deadlines[connection] = deadline
            try:
                if not was_used:
                    connection.connect()
                    opened: Any = connection.sock
                    opened.settimeout(self._settings.timeout_seconds)
                connection.request(method, target, body, headers)
                response = connection.getresponse()
            except (OSError, HTTPException, ValueError) as error:
                connection.close()
                if was_used and isinstance(error, ConnectionError):
                    continue
                return None
            else:
                answer = self._read(response, deadline)
                if answer is None:
                    connection.close()
                return answer
            finally:
                with self._lock:
                    self._deadlines.pop(connection, None)
        return None

    def _read(self, response: HTTPResponse, deadline: float) -> Answer | None:
        """The answer if it is plain and complete."""
        if response.status != 200:
            return None
        limit = min(BODY_BYTES_MAX, self._settings.answer_bytes_max)
        pieces, size = [], 0
        try:
            while piece := response.read1(CHUNK_BYTES):
                pieces.append(piece)
                size += len(piece)
                if size > limit or self._clock.monotonic() > deadline:
                    return None
            if response.length:
                return None
            # The connection stays open for the next request.
            response.close()
            body = b"".join(pieces)
            if response.headers.get("Content-Encoding", "").lower() == "gzip":
                inflating = zlib.decompressobj(GZIP_WINDOW_BITS)
                body = inflating.decompress(body, limit)
                if not inflating.eof or inflating.unused_data:
                    return None
            return Answer(response.headers, parse_json(body, ""))
        except (OSError, HTTPException, ValueError, zlib.error, AnswerUnreadable):
            return None

    def _connection(self, host: str, *, is_new: bool) -> HTTPConnection:
        connection: HTTPConnection | None = getattr(self._local, "connection", None)
        if connection is not None and not is_new and self._local.host == host:
            return connection
        parts = urlsplit(host)
        timeout = min(CONNECT_SECONDS_MAX, self._settings.timeout_seconds)
        if parts.scheme == "https":
            context = self._trusted()
            connection = HTTPSConnection(parts.netloc, timeout=timeout, context=context)
        else:
            connection = HTTPConnection(parts.netloc, timeout=timeout)
        with self._lock:
            self._connections.append(connection)
            if self._watcher is None:
                self._watcher = threading.Thread(
                    target=self._watch, name="tailrace-answers", daemon=True
                )
                self._watcher.start()
        self._local.connection, self._local.host = connection, host
        return connection

    def _trusted(self) -> ssl.SSLContext:
        """The certificates that `requests` trusts."""
        with self._lock:
            if self._certificates is None:
                bundle = Path(certificates() or certifi.where())
                file, folder = (None, bundle) if bundle.is_dir() else (bundle, None)
                self._certificates = ssl.create_default_context(cafile=file, capath=folder)
            return self._certificates

    def _watch(self) -> None:
        """Cut the connections whose answer takes too long, also while its head arrives."""
        while not self._closed.wait(WATCH_SECONDS):
            now = self._clock.monotonic()
            with self._lock:
                late = [c for c, deadline in self._deadlines.items() if deadline < now]
            for connection in late:
                with suppress(OSError, AttributeError):
                    connection.sock.shutdown(2)
