"""Requests that skip the session's merging have its bytes, its checks and its cookies."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
import requests

from tailrace.destinations.http import exchange, new_session

HEADERS = {"User-Agent": "tests", "X-Team": "gr\xfcn".encode("latin-1"), "content-type": b"a/b"}


class Listener(HTTPServer):
    """Records the line, the headers in their order, and the body of each request."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: list[tuple[bytes, list[tuple[str, str]], bytes]] = []
        self.cookie = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/a b?c=\xe9"


class Handler(BaseHTTPRequestHandler):
    server: Listener

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.seen.append((self.raw_requestline, self.headers.items(), body))
        self.send_response(200)
        if self.server.cookie:
            self.send_header("Set-Cookie", self.server.cookie)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"[]")

    def log_message(self, *_: Any) -> None:
        return


@pytest.fixture
def listener() -> Iterator[Listener]:
    with Listener() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def post(session: requests.Session, listener: Listener, **more: Any) -> None:
    options = {"data": b"[1]", "headers": HEADERS, "timeout": 5, "verify": True, "proxies": {}}
    answer = exchange(session, "POST", listener.url, **{**options, **more})
    assert (answer.status, answer.content) == (200, b"[]")


def test_the_bytes_are_those_of_the_session(listener: Listener) -> None:
    with new_session(in_flight_max=1, answer_seconds_max=5) as session:
        post(session, listener)
        # With an option of the session, `requests` builds the request.
        post(session, listener, hooks=None)
    direct, by_session = listener.seen
    assert direct == by_session


def test_cookies_are_returned(listener: Listener) -> None:
    """A load balancer may choose the server by one."""
    listener.cookie = "server=7; Path=/"
    with new_session(in_flight_max=1, answer_seconds_max=5) as session:
        post(session, listener)
        post(session, listener)
    cookies = [dict(headers).get("Cookie") for _, headers, _ in listener.seen]
    assert cookies == [None, "server=7"]


def test_a_login_in_the_url_becomes_a_header(listener: Listener) -> None:
    url = listener.url.replace("//", "//ann:secret@")
    with new_session(in_flight_max=1, answer_seconds_max=5) as session:
        exchange(session, "POST", url, data=b"[1]", headers=HEADERS, timeout=5)
    assert dict(listener.seen[0][1])["Authorization"] == "Basic YW5uOnNlY3JldA=="


def test_a_header_with_a_line_break_is_refused(listener: Listener) -> None:
    headers = {**HEADERS, "X-Team": b"a\r\nX-Other: b"}
    with (
        new_session(in_flight_max=1, answer_seconds_max=5) as session,
        pytest.raises(requests.exceptions.InvalidHeader),
    ):
        post(session, listener, headers=headers)
    assert listener.seen == []
