"""The server that the simulators share: keep-alive, gzip, faults, the log, control calls."""

from __future__ import annotations

import gzip
import json
import socket
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import pytest
import requests

from tailrace.testing import Fault
from tailrace.testing.http.bodies import UNEXPECTED_BODIES
from tailrace.testing.http.server import Request, Response, Simulator, SimulatorBroken


class Echo(Simulator):
    """Answers with the request."""

    expired = 0

    def answer(self, request: Request) -> Response:
        if request.path == "/broken":
            raise RuntimeError("a mistake of the simulator")
        return Response.of_json({"method": request.method, "body": request.content().decode()})

    def expire_tokens(self) -> None:
        self.expired += 1


@pytest.fixture
def echo() -> Iterator[Echo]:
    with Echo() as server:
        yield server


def test_keeps_the_connection_and_logs_each_request(echo: Echo) -> None:
    """Two requests of one session travel on one connection, and both are in the log."""
    with requests.Session() as session:
        first = session.get(f"{echo.url}/a?x=1", stream=True)
        port = first.raw.connection.sock.getsockname()[1]
        assert first.json()["method"] == "GET"
        second = session.post(f"{echo.url}/b", data=b"hello", stream=True)
        assert second.raw.connection.sock.getsockname()[1] == port
        assert second.json() == {"method": "POST", "body": "hello"}
    assert [each.request.path for each in echo.requests] == ["/a", "/b"]
    assert echo.requests[0].request.query == {"x": "1"}
    assert echo.requests[1].status == 200


def test_small_answers_are_sent_at_once(echo: Echo) -> None:
    """Nagle's algorithm is off, so that a small answer does not wait for an acknowledgement."""
    no_delay: list[int] = []
    original = echo.answer

    def answer(request: Request) -> Response:
        connection = next(iter(echo._server._open))
        no_delay.append(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        return original(request)

    echo.answer = answer  # type: ignore[method-assign]
    requests.get(f"{echo.url}/a")
    assert no_delay[0] != 0


def test_gzip_both_ways(echo: Echo) -> None:
    """A gzipped request is read, and a long answer is gzipped only for a client that asks."""
    body = gzip.compress(b"word " * 1000)
    asked = requests.post(f"{echo.url}/a", data=body, headers={"Content-Encoding": "gzip"})
    assert asked.headers["Content-Encoding"] == "gzip"
    assert asked.json()["body"] == "word " * 1000
    plain = requests.post(
        f"{echo.url}/a", data=b"word " * 1000, headers={"Accept-Encoding": "identity"}
    )
    assert "Content-Encoding" not in plain.headers
    assert asked.json() == plain.json()


def test_chunked_body(echo: Echo) -> None:
    """A body of unknown length arrives whole."""
    answer = requests.post(f"{echo.url}/a", data=iter([b"one ", b"two"]))
    assert answer.json()["body"] == "one two"


def test_fault_counts_only_what_it_watches(echo: Echo) -> None:
    """nth and times count matching requests; the others pass untouched."""
    echo.faults.append(Fault(path="/v1/*", method="post", nth=2, times=2, status=503))
    statuses = [requests.post(f"{echo.url}/v1/batch", data=b"x").status_code for _ in range(5)]
    requests.get(f"{echo.url}/v1/batch")
    assert statuses == [200, 503, 503, 200, 200]
    assert [each.fault.status if each.fault else None for each in echo.requests[:2]] == [None, 503]


@pytest.mark.parametrize(("cut", "processed"), [("before", False), ("after", True)])
def test_cut_connection(echo: Echo, cut: str, processed: bool) -> None:
    """A cut leaves the client without an answer, whether or not the work was done."""
    echo.faults.append(Fault(path="/x", cut=cut, times=1))  # type: ignore[arg-type]
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{echo.url}/x")
    assert requests.get(f"{echo.url}/x").ok
    assert processed == (echo.requests[0].answer_bytes > 0)
    assert echo.requests[0].status is None


def test_cut_in_the_middle_of_an_answer(echo: Echo) -> None:
    """A download that breaks off is an error to a client that reads its Content-Length."""
    echo.faults.append(Fault(path="/x", cut="middle"))
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        requests.post(f"{echo.url}/x", data=b"word " * 5000)


def test_scripted_answers(echo: Echo) -> None:
    """A rule brings its own body and headers, waits, and may expire the tokens."""
    echo.faults.append(
        Fault(
            path="/x",
            status=429,
            body={"why": "slow down"},
            headers={"Retry-After": "3"},
            delay_seconds=0.01,
            expire_token=True,
        )
    )
    answer = requests.get(f"{echo.url}/x")
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "3")
    assert answer.json() == {"why": "slow down"}
    assert echo.expired == 1


def test_contains_and_poison_choose_the_request(echo: Echo) -> None:
    """A rule can look into the request: its text, or its events."""
    echo.events_of = lambda request: [{"userId": "u1", "traits": {"a": 1}}]  # type: ignore
    echo.faults.append(Fault(contains="needle", status=418))
    echo.faults.append(Fault(poison={"traits.a": 2}, status=500))
    echo.faults.append(Fault(poison={"traits.a": 1, "userId": "u1"}, status=400))
    assert requests.post(f"{echo.url}/", data=b"hay needle hay").status_code == 418
    assert requests.post(f"{echo.url}/", data=b"hay").status_code == 400


def test_control_calls(echo: Echo) -> None:
    """Another process can add faults and read the log; these calls are not logged."""
    control = f"{echo.url}/_control"
    assert requests.post(f"{control}/faults", json={"pth": "/x"}).status_code == 400
    rules = requests.post(f"{control}/faults", json=[{"path": "/x", "status": 500}]).json()
    assert rules == [{"path": "/x", "status": 500}]
    assert requests.get(f"{echo.url}/x").status_code == 500
    log = requests.get(f"{control}/requests").json()
    assert [(each["path"], each["status"]) for each in log] == [("/x", 500)]
    requests.delete(f"{control}/faults")
    assert requests.get(f"{echo.url}/x").status_code == 200
    assert requests.get(f"{control}/nonsense").status_code == 404


def test_a_mistake_of_the_simulator_is_loud() -> None:
    """When the simulator itself fails, leaving its block raises."""
    with pytest.raises(SimulatorBroken, match="a mistake of the simulator"), Echo() as server:
        assert requests.get(f"{server.url}/broken").status_code == 500


def _raw(echo: Echo, path: str = "/x") -> bytes:
    """The whole answer as bytes, interim responses included."""
    with socket.create_connection(("127.0.0.1", echo.port)) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        parts = []
        while part := connection.recv(65_536):
            parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize("name", list(UNEXPECTED_BODIES))
def test_unexpected_body(echo: Echo, name: str) -> None:
    """A 200 can carry any of the listed bodies, byte by byte as listed."""
    echo.faults.append(Fault.from_json({"unexpected_body": name}))
    answer = requests.get(f"{echo.url}/x")
    content_type, body = UNEXPECTED_BODIES[name]
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, content_type)
    assert answer.content == body
    assert echo.requests[0].as_json()["fault"] == {"unexpected_body": name}


def test_unknown_options_of_a_fault_are_refused() -> None:
    """A misspelt option is an error, not a fault that never fires."""
    with pytest.raises(ValueError, match="unexpected_body must be one of html"):
        Fault(unexpected_body="htm")
    with pytest.raises(ValueError, match="Unknown fault option drip; options: body"):
        Fault.from_json({"drip": 1})
    with pytest.raises(ValueError, match="gzip_members must be at least 1"):
        Fault(gzip_members=0)


def test_an_answer_without_content_leaves_the_connection_usable(echo: Echo) -> None:
    """A 204 has no body and no length; the next answer on the connection is read correctly."""
    echo.faults.append(Fault(status=204, times=1))
    with requests.Session() as session:
        empty = session.get(f"{echo.url}/x")
        assert (empty.status_code, empty.content) == (204, b"")
        assert "Content-Length" not in empty.headers
        assert session.get(f"{echo.url}/x").json()["method"] == "GET"


def test_compressed_in_several_members(echo: Echo) -> None:
    """A gzip body may consist of several members, which a naive decoder cuts after the first."""
    echo.faults.append(Fault(gzip_members=3))
    body = b"word " * 1_000
    with requests.post(f"{echo.url}/x", data=body, stream=True) as answer:
        packed = answer.raw.read(decode_content=False)
    assert json.loads(gzip.decompress(packed))["body"] == body.decode()
    first = zlib.decompressobj(wbits=31)
    first.decompress(packed)
    assert first.unused_data[:2] == b"\x1f\x8b"


def test_a_small_answer_that_inflates(echo: Echo) -> None:
    """A short compressed body may decompress to a very long one."""
    echo.faults.append(Fault(inflated_bytes=3_000_001))
    with requests.get(f"{echo.url}/x", stream=True) as answer:
        packed = answer.raw.read(decode_content=False)
    assert len(packed) < 30_000
    plain = zlib.decompress(packed, wbits=31)
    assert len(plain) > 3_000_000
    assert json.loads(plain)["method"] == "GET"


def test_a_body_sent_byte_by_byte(echo: Echo) -> None:
    """With `drip_seconds` each byte is written by itself, and the body arrives whole."""
    echo.faults.append(Fault(status=200, body="slow", drip_seconds=0.001))
    assert requests.get(f"{echo.url}/x").text == "slow"


def test_a_body_without_end(echo: Echo) -> None:
    """An endless body goes on until the client hangs up."""
    echo.faults.append(Fault(status=200, body="more ", endless=True))
    with requests.get(f"{echo.url}/x", stream=True) as answer:
        assert answer.headers["Transfer-Encoding"] == "chunked"
        received = 0
        while received < 1_000_000:
            received += len(answer.raw.read(65_536))


def test_early_hints_and_a_shifted_date(echo: Echo) -> None:
    """An interim response comes first; the Date header may be wrong by days."""
    echo.faults.append(Fault(early_hints=True, date_offset_seconds=-3 * 86_400))
    answer = _raw(echo)
    assert answer.startswith(b"HTTP/1.1 103 Early Hints\r\n")
    assert b"\r\n\r\nHTTP/1.1 200 OK\r\n" in answer
    date = parsedate_to_datetime(answer.split(b"Date: ")[1].split(b"\r\n")[0].decode())
    assert 2.9 < (datetime.now(UTC) - date).total_seconds() / 86_400 < 3.1
