"""A request over a connection that is already open, and its answer.

requests and urllib3 take ten times as long for a small request as writing and reading its bytes.
The session opens each connection, with its checks, TLS and errors; the next requests over it have
the session's bytes, and end with its answers and its exceptions.
"""

from __future__ import annotations

import http.client
import io
import re
import socket
import ssl
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import requests
from requests.structures import CaseInsensitiveDict
from urllib3 import HTTPHeaderDict, HTTPResponse
from urllib3.connection import HTTPConnection
from urllib3.exceptions import InvalidHeader

from tailrace.clock import SystemClock

# Interim answers (RFC 9110, 15.2), such as 103 Early Hints, before the final one.
INTERIM_ANSWERS_MAX = 16
# A line break in a value, with the spaces after it: RFC 9112, 5.2.
_FOLD = re.compile(r"\r?\n[ \t]*")
# Headers of answers that are left to urllib3 and requests.
_DECODED = frozenset({"transfer-encoding", "content-encoding", "set-cookie"})


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete HTTP answer. `whole` is False if its body was larger than the limit."""

    status: int
    reason: str
    headers: Mapping[str, str]
    content: bytes
    whole: bool = True

    @property
    def text(self) -> str:
        """The body as UTF-8, without a byte order mark."""
        return self.content.decode("utf-8-sig", "replace")


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenRequest:
    """A request that is sent as it is.

    Attributes:
        head: The request line and the headers, with the empty line after them.
        timeout_seconds: Time to wait for the next bytes.
        answer_seconds_max: Time from the last byte of the request to that of the answer.
        bytes_max: Most bytes of the answer's body; the connection is closed if it has more.
    """

    method: str
    head: bytes
    body: bytes
    timeout_seconds: float | None
    answer_seconds_max: float
    bytes_max: int


def request_head(
    method: str,
    target: str,
    host: str,
    port: int | None,
    headers: Iterable[tuple[str, str | bytes]],
) -> bytes:
    """The head of a request, in the order and the bytes of http.client.

    Args:
        target: The path with its query, quoted.
        host: The host without brackets.
        port: None for the default port.
        headers: Without `Host`. They have no line breaks.

    >>> request_head("PUT", "/a", "::1", 8080, [("X-Team", b"green")])
    b'PUT /a HTTP/1.1\\r\\nHost: [::1]:8080\\r\\nX-Team: green\\r\\n\\r\\n'
    """
    encoded = host.encode("ascii" if host.isascii() else "idna")
    if b":" in encoded:
        encoded = b"[" + encoded + b"]"
    if port is not None:
        encoded += b":%d" % port
    lines = [f"{method} {target} HTTP/1.1".encode("ascii"), b"Host: " + encoded]
    for name, value in headers:
        text = value if isinstance(value, bytes) else value.encode("latin-1")
        lines.append(name.encode("ascii") + b": " + text)
    return b"\r\n".join(lines) + b"\r\n\r\n"


def answer_over(
    connection: HTTPConnection, request: OpenRequest, decode: Callable[[HTTPResponse], Answer]
) -> Answer:
    """Send a request over an open connection and read its answer.

    The connection is open afterwards if another request may follow.

    Args:
        decode: Reads an answer that is encoded, of unknown length, or sets a cookie.

    Raises:
        requests.RequestException: There is no answer, or it breaks off.
    """
    may_follow = False
    try:
        response = _sent(connection.sock, request)
        if response.length is not None and _is_usual(response.headers.items()):
            answer = _answer(response, request.bytes_max)
        else:
            answer = decode(_as_urllib3(response, request))
        may_follow = answer.whole and response.isclosed() and not response.will_close
        return answer
    finally:
        if not may_follow:
            connection.close()


def _is_usual(headers: Sequence[tuple[str, str]]) -> bool:
    """Whether the headers mean what they say: no header is repeated, folded, or for urllib3."""
    names = {name.lower() for name, _ in headers}
    folded = any("\r" in value or "\n" in value for _, value in headers)
    return len(names) == len(headers) and _DECODED.isdisjoint(names) and not folded


def _sent(sock: socket.socket, request: OpenRequest) -> TimedResponse:
    """The head of the answer."""
    try:
        sock.settimeout(request.timeout_seconds)
        # A server may refuse a request before it has read all of it.
        with suppress(BrokenPipeError):
            sock.sendall(request.head + request.body)
        response = TimedResponse(
            sock, method=request.method, answer_seconds_max=request.answer_seconds_max
        )
        response.begin()
    except TimeoutError:
        raise requests.ReadTimeout("timed out") from None
    except (OSError, http.client.HTTPException) as error:
        raise requests.ConnectionError(error) from error
    return response


def _answer(response: TimedResponse, bytes_max: int) -> Answer:
    """The answer whose body has a known length."""
    size = min(response.length or 0, bytes_max + 1)
    try:
        content = response.read(size)
    except (TimeoutError, ssl.SSLError) as error:
        raise requests.ConnectionError(error) from error
    except (OSError, http.client.HTTPException) as error:
        raise requests.exceptions.ChunkedEncodingError(error) from error
    if len(content) < size:
        raise requests.exceptions.ChunkedEncodingError("the body is shorter than its length")
    if not response.length:
        response.close()
    return Answer(
        status=response.status,
        reason=response.reason or "",
        headers=CaseInsensitiveDict(response.headers.items()),
        content=content[:bytes_max],
        whole=size <= bytes_max,
    )


def _as_urllib3(response: TimedResponse, request: OpenRequest) -> HTTPResponse:
    try:
        return HTTPResponse(
            body=response,
            headers=HTTPHeaderDict(
                (name, _FOLD.sub(" ", value)) for name, value in response.headers.items()
            ),
            status=response.status,
            version=response.version,
            reason=response.reason,
            preload_content=False,
            original_response=response,
            request_method=request.method,
        )
    except InvalidHeader as error:
        raise requests.exceptions.InvalidHeader(error) from error


class TimedResponse(http.client.HTTPResponse):
    """A response that has to be complete by a deadline, and that skips interim answers.

    http.client skips `100 Continue` alone; a 103 would be taken for the final answer.
    """

    def __init__(
        self, sock: socket.socket, *args: Any, answer_seconds_max: float, **more: Any
    ) -> None:
        super().__init__(sock, *args, **more)
        deadline = SystemClock().monotonic() + answer_seconds_max
        reader: Any = io.BufferedReader(_TimedReader(sock, self.fp, deadline))
        self.fp = reader
        self._interim_answers = 0

    def _read_status(self) -> tuple[str, int, str]:
        while True:
            version, status, reason = super()._read_status()  # type: ignore[misc]
            if status in (http.client.CONTINUE, http.client.SWITCHING_PROTOCOLS) or status >= 200:
                return version, status, reason
            self._interim_answers += 1
            if self._interim_answers > INTERIM_ANSWERS_MAX:
                raise http.client.HTTPException("too many interim answers")
            http.client.parse_headers(self.fp)


class _TimedReader(io.RawIOBase):
    """Reads a socket; each read may take as long as the socket's timeout and the deadline allow."""

    def __init__(self, sock: socket.socket, file: Any, deadline: float) -> None:
        self._sock = sock
        # http.client's own file keeps the socket open until it is closed.
        self._file = file
        self._deadline = deadline
        self._clock = SystemClock()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self._deadline - self._clock.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        timeout = self._sock.gettimeout()
        if timeout is None or left < timeout:
            self._sock.settimeout(left)
        try:
            return self._sock.recv_into(buffer)
        finally:
            self._sock.settimeout(timeout)

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()
