"""HTTP answers with a limit: in bytes, on the wire and decompressed, and in seconds.

The timeout of `requests` limits the pause between two pieces of an answer. A service that sends
one byte a second, or never ends, needs limits on the whole.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from threading import Timer
from typing import IO, Any

import requests
import urllib3
from isal import isal_zlib
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from tailrace.config.urls import is_loopback
from tailrace.errors import AnswerBeyondLimit, Unreachable
from tailrace.salesforce.answers import IncompleteAnswer

CHUNK_BYTES = 1 << 17
CONNECTIONS_MAX = 32
GZIP_WINDOW_BITS = 31

ZLIB_ERRORS: tuple[Any, ...] = (isal_zlib.error,)

NO_ANSWER_IN_TIME = "no answer in time"
CONNECTION_REFUSED = "connection refused"
HOST_UNKNOWN = "the host name is not known"
NOT_CONNECTED = "no connection in time"
TLS_FAILED = "the TLS certificate or handshake failed"
PROXY_FAILED = "the proxy does not connect"
NEVER_CONNECTED = frozenset(
    {CONNECTION_REFUSED, HOST_UNKNOWN, NOT_CONNECTED, TLS_FAILED, PROXY_FAILED}
)


def connection_problem(error: BaseException) -> str:
    """What went wrong with a connection, in words for a user."""
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return NOT_CONNECTED
    if isinstance(error, requests.exceptions.SSLError):
        return TLS_FAILED
    if isinstance(error, requests.exceptions.ProxyError):
        return PROXY_FAILED
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        if isinstance(cause, ConnectionRefusedError):
            return CONNECTION_REFUSED
        if isinstance(cause, (socket.gaierror, urllib3.exceptions.NameResolutionError)):
            return HOST_UNKNOWN
        nested = (getattr(cause, "reason", None), *getattr(cause, "args", ()))
        following = [entry for entry in nested if isinstance(entry, BaseException)]
        cause = following[0] if following else cause.__cause__ or cause.__context__
    if isinstance(error, (requests.Timeout, TimeoutError)):
        return NO_ANSWER_IN_TIME
    return "the connection was cut"


def unreachable(host: str, problem: str) -> Unreachable:
    """The error for a Salesforce org that cannot be reached."""
    hint = "Check sources.salesforce.credentials.instance_url and the network."
    if problem == PROXY_FAILED:
        hint = "Check the proxy that HTTPS_PROXY names, or list the host in NO_PROXY."
    elif problem == TLS_FAILED:
        hint = "Behind a proxy with its own authority, set REQUESTS_CA_BUNDLE to its file."
    return Unreachable(f"Salesforce cannot be reached at {host}: {problem}", hint=hint)


def bounded_adapter(seconds_max: float) -> HTTPAdapter:
    """An adapter whose connections give up when the head of an answer takes too long."""

    def connection(base: type[Any]) -> type[Any]:
        class Bounded(base):  # type: ignore[misc]
            def getresponse(self) -> Any:
                timer = Timer(seconds_max, _shut_down, [self.sock])
                timer.daemon = True
                timer.start()
                try:
                    return super().getresponse()
                finally:
                    timer.cancel()

        return Bounded

    def pool(base: type[Any], connection_class: type[Any]) -> type[Any]:
        return type("Bounded", (base,), {"ConnectionCls": connection_class})

    pools = {
        "http": pool(HTTPConnectionPool, connection(HTTPConnection)),
        "https": pool(HTTPSConnectionPool, connection(HTTPSConnection)),
    }
    return _BoundedAdapter(pools)


class _BoundedAdapter(HTTPAdapter):
    def __init__(self, pools: dict[str, type[Any]]) -> None:
        self._pools = pools
        super().__init__(pool_maxsize=CONNECTIONS_MAX)

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def send(self, request: requests.PreparedRequest, *arguments: Any, **options: Any) -> Any:
        # A proxy from the environment cannot reach this machine's own ports.
        if is_loopback(request.url or ""):
            options["proxies"] = {}
        return super().send(request, *arguments, **options)

    def proxy_manager_for(self, proxy: Any, **options: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **options)
        manager.pool_classes_by_scheme = self._pools
        return manager


def _shut_down(connection: socket.socket | None) -> None:
    with suppress(OSError, AttributeError):
        assert connection is not None
        connection.shutdown(socket.SHUT_RDWR)


def read_body(
    response: requests.Response,
    *,
    bytes_max: int,
    seconds_left: Callable[[], float],
    decode: bool = True,
) -> Iterator[bytes]:
    """The body in pieces.

    Args:
        decode: Whether to decompress; `bytes_max` counts what is yielded.

    Raises:
        AnswerBeyondLimit: The body is larger than `bytes_max`, or does not end in time.
    """
    size = 0
    while True:
        piece = response.raw.read1(CHUNK_BYTES, decode_content=decode)
        if not piece:
            return
        size += len(piece)
        if size > bytes_max:
            raise AnswerBeyondLimit(
                f"An answer of Salesforce is larger than {bytes_max:,} bytes (answer_bytes_max)"
            )
        if seconds_left() <= 0:
            raise AnswerBeyondLimit(
                "An answer of Salesforce did not end in time (answer_seconds_max)"
            )
        yield piece


class DecompressedBody:
    """A file of gzip members, or of plain bytes, read as one stream of plain bytes.

    Raises, while reading:
        IncompleteAnswer: A gzip member has no end, or what follows it is not a member.
        AnswerBeyondLimit: There are more than `bytes_max` bytes.
    """

    def __init__(self, body: IO[bytes], *, gzipped: bool, bytes_max: int) -> None:
        self._body = body
        self._bytes_max = bytes_max
        self._size = 0
        self._decompressor = _decompressor() if gzipped else None

    def read(self, size: int = -1, /) -> bytes:
        """Up to `size` bytes, empty at the end; everything when `size` is negative."""
        if size < 0:
            return b"".join(iter(lambda: self.read(CHUNK_BYTES), b""))
        piece = self._body.read(size) if self._decompressor is None else self._decompressed(size)
        self._size += len(piece)
        if self._size > self._bytes_max:
            raise AnswerBeyondLimit(
                f"A page of Salesforce is larger than {self._bytes_max:,} bytes (answer_bytes_max)"
            )
        return piece

    def _decompressed(self, size: int) -> bytes:
        while True:
            assert self._decompressor is not None
            if self._decompressor.eof:
                following = self._decompressor.unused_data or self._body.read(CHUNK_BYTES)
                # Some servers pad the end with zeros.
                following = following.lstrip(b"\0")
                if not following:
                    return b""
                self._decompressor = _decompressor()
            else:
                following = self._decompressor.unconsumed_tail or self._body.read(CHUNK_BYTES)
                if not following:
                    raise IncompleteAnswer("a compressed page has no end")
            try:
                piece = self._decompressor.decompress(following, size)
            except ZLIB_ERRORS:
                raise IncompleteAnswer("a compressed page cannot be decompressed") from None
            if piece:
                return bytes(piece)


def _decompressor() -> Any:
    return isal_zlib.decompressobj(GZIP_WINDOW_BITS)
