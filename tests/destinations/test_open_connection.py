"""A request over an open connection has the session's bytes, and ends with its answer or error."""

from __future__ import annotations

import socket
import threading
import zlib
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
import requests

from tailrace.destinations.http import Session, exception_outcome, exchange, new_session
from tailrace.destinations.open_connection import Answer
from tailrace.destinations.outcome import SendOutcome

OK = b"HTTP/1.1 200 OK\r\n"
FIRST = OK + b"Content-Length: 2\r\n\r\n[]"
ANSWER_BYTES_MAX = 50_000
GZIP = zlib.compressobj(wbits=31)
ZIPPED = GZIP.compress(b'{"a":1}') + GZIP.flush()
ANSWERS = {
    "length": OK + b"X-A: 1\r\nDate: x\r\nContent-Length: 7\r\n\r\n" + b'{"a":1}',
    "no body": OK + b"content-length: 0\r\n\r\n",
    "204": b"HTTP/1.1 204 No Content\r\n\r\n",
    "no reason": b"HTTP/1.1 500\r\nContent-Length: 1\r\n\r\nx",
    "header twice": OK + b"X-A: 1\r\nx-a: 2\r\nContent-Length: 1\r\n\r\nx",
    "folded header": OK + b"X-A: 1\r\n 2\r\nContent-Length: 1\r\n\r\nx",
    "header in Latin-1": OK + b"X-A: gr\xfcn\r\nContent-Length: 1\r\n\r\nx",
    "chunked": OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\n[1,\r\n2\r\n2]\r\n0\r\n\r\n",
    "chunked, ends early": OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\n[1",
    "chunked, no size": OK + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n[1",
    "gzip": OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(ZIPPED) + ZIPPED,
    "no gzip": OK + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
    "until the end": OK + b"\r\nabc",
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc",
    "to be closed": OK + b"Connection: close\r\nContent-Length: 3\r\n\r\nabc",
    "interim": b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK + b"Content-Length: 1\r\n\r\nx",
    "too large": OK + b"Content-Length: 60000\r\n\r\n" + 60_000 * b"x",
    "too large, chunked": OK + b"Transfer-Encoding: chunked\r\n\r\nea60\r\n" + 60_000 * b"x",
    "ends early": OK + b"Content-Length: 9\r\n\r\nabc",
    "head ends early": OK + b"Content-Len",
    "nothing": b"",
    "no HTTP": b"SSH-2.0-OpenSSH_9.6\r\n",
    "two lengths": OK + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "a length that is none": OK + b"Content-Length: x\r\n\r\nabc",
    "too many headers": OK + 150 * b"X-A: 1\r\n" + b"\r\n",
}


class Listener:
    """Answers the first request of each connection plainly, and closes it after the second."""

    def __init__(self, answer: bytes = FIRST) -> None:
        self.answer = answer
        self.requests: list[bytes] = []
        self.connections = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._socket.accept()
            self.connections += 1
            # A client may close a connection before it has read all of an answer.
            with suppress(OSError), connection, connection.makefile("rb") as file:
                for answer in (FIRST, self.answer):
                    request = _request(file)
                    if not request:
                        break
                    self.requests.append(request)
                    connection.sendall(answer)
            if not self.requests:
                return

    def close(self) -> None:
        self.requests = []
        # A connection without a request ends the thread.
        socket.create_connection(self._socket.getsockname()).close()
        self._thread.join()
        self._socket.close()


def _request(file: Any) -> bytes:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        line = file.readline()
        if not line:
            return b""
        head += line
    length = head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]
    return head + file.read(int(length))


@pytest.fixture
def listener() -> Iterator[Listener]:
    running = Listener()
    yield running
    running.close()


def post(session: Session, url: str, **more: Any) -> Answer | SendOutcome:
    headers = {"Content-Type": "a/b", "X-Team": "gr\xfcn".encode("latin-1")}
    options: dict[str, Any] = {"timeout": 5, "verify": True, "proxies": {}}
    try:
        return exchange(
            session,
            "POST",
            url,
            bytes_max=ANSWER_BYTES_MAX,
            data=b"[1]",
            headers=headers,
            **options,
            **more,
        )
    except requests.RequestException as error:
        return exception_outcome(error, "host", address_key="url")


def second(url: str, **more: Any) -> Answer | SendOutcome:
    """What the second request over a connection gives."""
    with new_session(in_flight_max=1, answer_seconds_max=5) as session:
        post(session, url)
        return post(session, url, **more)


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_the_answer_is_that_of_the_session(listener: Listener, answer: bytes) -> None:
    listener.answer = answer
    direct = second(listener.url)
    # With an option of the session, requests sends it.
    assert direct == second(listener.url, hooks=None)


@pytest.mark.parametrize("path", ["", "/", "/a b?c=\xe9#d", "/%c3%a9?q=[1]|{2}", "//a/../b", "/?"])
def test_the_bytes_are_those_of_the_session(listener: Listener, path: str) -> None:
    second(listener.url + path)
    second(listener.url + path, hooks=None)
    assert len(set(listener.requests)) == 1
    assert len(listener.requests) == 4


def test_a_connection_is_kept_for_the_next_request() -> None:
    """The listener closes a connection after its second request, and the session opens another."""
    running = Listener()
    with new_session(in_flight_max=1, answer_seconds_max=5) as session:
        answers = [post(session, running.url) for _ in range(4)]
    assert {answer.status for answer in answers} == {200}
    assert running.connections == 2
    running.close()
