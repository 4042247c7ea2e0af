"""Unexpected answers: none of them acknowledges a batch, delays it for ever or breaks the run."""

from __future__ import annotations

import json
import random
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tailrace.clock import SystemClock
from tailrace.config.settings import SegmentSettings
from tailrace.destinations.http import Answer
from tailrace.destinations.messages import Message
from tailrace.destinations.outcome import SendOutcome
from tailrace.destinations.segment.http import SegmentClient
from tailrace.destinations.segment.responses import answer_outcome
from tailrace.errors import ServiceFailed, TailraceError
from tailrace.testing import Fault, SegmentSimulator
from tailrace.testing.http.bodies import UNEXPECTED_BODIES
from tailrace.testing.segment.named_faults import named_fault

MESSAGES = [Message("track", "m1", b'{"type":"track","messageId":"m1"}')]
# The bodies that are known to mean yes; `spaces` and `empty` have only their status.
YES_BODIES = {"empty", "spaces", "json_object", "json_string", "json_true"}
FATAL_BODIES = {"html", "html_with_bom", "html_as_json"}
FUZZ_CASES = 1_500


@pytest.fixture(scope="module")
def simulator() -> Iterator[SegmentSimulator]:
    with SegmentSimulator() as simulator:
        yield simulator


@pytest.fixture
def segment(simulator: SegmentSimulator) -> SegmentSimulator:
    simulator.faults.clear()
    return simulator


def client(segment: SegmentSimulator, **settings: Any) -> SegmentClient:
    values = {"host": segment.url, "write_key": segment.write_key, **settings}
    return SegmentClient(SegmentSettings(**values), clock=SystemClock())


def send(segment: SegmentSimulator, **settings: Any) -> SendOutcome:
    connection = client(segment, **settings)
    try:
        return connection.send(MESSAGES, retries=0)
    finally:
        connection.close()


@pytest.mark.parametrize("name", UNEXPECTED_BODIES)
def test_only_a_known_yes_acknowledges(segment: SegmentSimulator, name: str) -> None:
    """Every other body under a 200 is retried as unconfirmed, refused, or ends the delivery."""
    segment.faults.append(named_fault(name))
    outcome = send(segment)
    if name in YES_BODIES:
        assert "accepted" == outcome.outcome
    elif name in FATAL_BODIES:
        assert ("fatal", ServiceFailed) == (outcome.outcome, type(outcome.error))
    elif name == "json_failure":
        assert "refused" == outcome.outcome
    else:
        assert ("retry", True) == (outcome.outcome, outcome.unconfirmed)
        assert "unreadable" in outcome.reason


@pytest.mark.parametrize(
    ("fault", "settings"),
    [
        pytest.param(
            named_fault("byte_per_second", drip_seconds=0.05),
            {"answer_seconds_max": 0.3},
            id="slow",
        ),
        pytest.param(named_fault("endless_body", body={}, status=200), {}, id="endless"),
        pytest.param(named_fault("inflating_body", inflated_bytes=5_000_000), {}, id="inflating"),
        pytest.param(named_fault("lost_answer"), {}, id="lost"),
    ],
)
def test_an_answer_that_does_not_end_is_unconfirmed(
    segment: SegmentSimulator, fault: Fault, settings: dict[str, Any]
) -> None:
    """The read timeout between two bytes would never end the slow one: its deadline does."""
    segment.faults.append(fault)
    outcome = send(segment, timeout_seconds=20.0, **settings)
    assert ("retry", True) == (outcome.outcome, outcome.unconfirmed)


def test_early_hints_are_not_the_answer(segment: SegmentSimulator) -> None:
    """A 103 is skipped, and the final answer decides."""
    segment.faults.append(named_fault("early_hints"))
    assert "accepted" == send(segment).outcome
    segment.faults.clear()
    segment.faults.append(named_fault("early_hints", status=503))
    assert ("retry", 503) == ((outcome := send(segment)).outcome, outcome.status)


def test_a_host_without_gzip_is_named_and_gets_plain_bodies(segment: SegmentSimulator) -> None:
    """A 400 about gzip rejects no row; with `compress = false` the body is plain JSON."""
    segment.faults.append(named_fault("gzip_refused"))
    outcome = send(segment)
    assert ("fatal", ServiceFailed) == (outcome.outcome, type(outcome.error))
    assert outcome.error is not None and "compress = false" in outcome.error.hint
    assert "accepted" == send(segment, compress=False).outcome
    request = segment.requests[-1].request
    assert "content-encoding" not in request.headers
    assert "m1" == json.loads(request.body)["batch"][0]["messageId"]


@pytest.mark.parametrize("status", [200, 302, 400, 404, 503])
def test_control_characters_of_an_answer_are_not_shown(
    segment: SegmentSimulator, status: int
) -> None:
    """Terminal escapes and line breaks for CI commands become spaces."""
    text = "a\x1b]0;title\x07\r\n::error::b\u202e"
    headers = {"Location": "https://a.example.com\x1b[2J/"} if status == 302 else {}
    segment.faults.append(Fault(status=status, body={"error": text}, headers=headers))
    outcome = send(segment)
    shown = outcome.reason + (outcome.error.message if outcome.error else "")
    assert shown
    assert shown.isprintable()


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (302, {"Location": "http://[x"}, b""),
        (400, {}, b'{"error":' + b"[" * 300 + b"]" * 300 + b"}"),
        (200, {}, b'{"error":' + b"[" * 300 + b"]" * 300 + b"}"),
        (429, {"Retry-After": "\u00b2", "X-RateLimit-Reset": "1_0"}, b""),
        (200, {"Content-Type": "\xff"}, b'\xff{"success": true}'),
    ],
)
def test_an_answer_that_parsers_refuse_is_an_outcome(
    segment: SegmentSimulator, status: int, headers: dict[str, str], body: bytes
) -> None:
    """A URL without a closing bracket, JSON beyond the depth of its writer, odd numbers."""
    answer = Answer(status=status, reason="", headers=headers, content=body)
    outcome = answer_outcome(answer, client(segment))
    assert "accepted" != outcome.outcome


@pytest.mark.parametrize(
    ("body", "accepted"),
    [
        ({"success": True, "message": "2 events queued"}, True),
        ({"status": "ok"}, True),
        ({"status": "error", "message": "OK"}, False),
        ({"success": True, "status": "failed"}, False),
        ({"ok": True, "errors": []}, True),
        ({"ok": True, "errors": ["m1"]}, False),
        ({"success": "true"}, True),
        ({"success": "no"}, False),
        ({"success": 1}, False),
        ({"id": 7}, False),
    ],
)
def test_a_contradiction_is_no_yes(
    segment: SegmentSimulator, body: dict[str, Any], accepted: bool
) -> None:
    content = json.dumps(body).encode()
    answer = Answer(status=200, reason="OK", headers={}, content=content)
    assert accepted == (answer_outcome(answer, client(segment)).outcome == "accepted")


def random_document(source: random.Random, depth: int = 0) -> Any:
    """Any JSON, often with the keys that answers have, never with a yes."""
    kind = source.randrange(9 if depth < 4 else 6)
    if kind < 6:
        return [None, False, -1, 10**30, "no\x1b[31m", "\u202e" * 50][kind]
    if kind == 6:
        return [random_document(source, depth + 1) for _ in range(source.randrange(1, 4))]
    keys = ("success", "ok", "status", "message", "error", "errors", "code", "x")
    return {key: random_document(source, depth + 1) for key in source.sample(keys, 3)}


def random_body(source: random.Random) -> bytes:
    """A body that is not a known yes: bytes, JSON, or a yes that is cut, wrapped or denied."""
    yes = source.choice([b'{"success": true}', b'{"ok":true}', b'{"status":"ok"}'])
    return source.choice(
        [
            lambda: b"%" + source.randbytes(source.randrange(40)),
            lambda: json.dumps(random_document(source)).encode(),
            lambda: b"\xef\xbb\xbf" + json.dumps(random_document(source)).encode(),
            lambda: yes[: source.randrange(1, len(yes))],
            lambda: b"[" + yes + b"]",
            lambda: yes + yes,
            lambda: yes[:-1] + b',"error":' + json.dumps([random_document(source)]).encode() + b"}",
            lambda: b'{"x":' + b"[" * 900 + yes + b"]" * 900 + b"}",
            lambda: b"<" + yes,
        ]
    )()


HEADER_VALUES = ["", "soon", "nan", "-1", "1e400", "Wed, 99 Foo 2020", "http://[", "//", "\x1b[2J"]


def test_no_answer_is_an_internal_error_or_an_unknown_yes(segment: SegmentSimulator) -> None:
    """Random answers, seeded: each is an outcome, and only a yes acknowledges."""
    source = random.Random(20260)
    connection = client(segment)
    statuses = [200, 200, 200, 201, 206, 302, 400, 401, 404, 408, 413, 415, 429, 500, 503, 599]
    names = ["Retry-After", "X-RateLimit-Reset", "Location", "Date", "Content-Type"]
    for number in range(FUZZ_CASES):
        answer = Answer(
            status=source.choice(statuses),
            reason=source.choice(["", "OK", "\x1b]0;x\x07"]),
            headers={name: source.choice(HEADER_VALUES) for name in source.sample(names, 2)},
            content=random_body(source),
            whole=source.random() < 0.9,
        )
        outcome = answer_outcome(answer, connection)
        assert "accepted" != outcome.outcome, (number, answer)
        assert outcome.error is None or isinstance(outcome.error, TailraceError), number
        assert outcome.reason.isprintable(), number
        # A 2xx that is neither a no nor a page may have been accepted.
        if 200 <= answer.status < 300 and outcome.outcome == "retry":
            assert outcome.unconfirmed, number


@contextmanager
def raw_server(content: bytes) -> Iterator[str]:
    """A server that reads one request per connection and answers with these bytes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_serve, args=(listener, content), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def _serve(listener: socket.socket, content: bytes) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection:
            received = b""
            while not received.endswith(b"}"):
                received += connection.recv(65_536)
            connection.sendall(content)


OK = b"HTTP/1.1 200 OK\r\n"
YES = b'{"success": true}'


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x00\xff" * 50, id="no HTTP"),
        pytest.param(b"HTTP/1.1 abc OK\r\n\r\n" + YES, id="no status"),
        pytest.param(b"HTTP/1.1 99999 OK\r\n\r\n" + YES, id="impossible status"),
        pytest.param(OK + b"Content-Length: 17, 18\r\n\r\n" + YES, id="two lengths"),
        pytest.param(OK + b"Content-Length: 99\r\n\r\n" + YES, id="too short"),
        pytest.param(OK + b"X: " + b"x" * 70_000 + b"\r\n\r\n" + YES, id="long header"),
        pytest.param(OK + b"X: y\r\n" * 200 + b"\r\n" + YES, id="many headers"),
        pytest.param(OK + b"Content-Encoding: gzip\r\n\r\n" + YES, id="not gzip"),
        pytest.param(OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n" + YES, id="not chunked"),
        pytest.param(
            b"HTTP/1.1 103 Early Hints\r\n\r\n" * 30 + OK + b"\r\n" + YES, id="only hints"
        ),
    ],
)
def test_broken_http_is_unconfirmed(content: bytes) -> None:
    """What is not HTTP, or breaks off, may have been accepted, and blames no setting."""
    with raw_server(content) as url:
        settings = SegmentSettings(host=url, write_key="k", compress=False, timeout_seconds=10.0)
        connection = SegmentClient(settings, clock=SystemClock())
        outcome = connection.send(MESSAGES, retries=0)
        connection.close()
    assert ("retry", True) == (outcome.outcome, outcome.unconfirmed)
