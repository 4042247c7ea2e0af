"""The shared server of the simulators: keep-alive, gzip, faults, the log, the control door."""

from __future__ import annotations

import gzip
import time
from collections.abc import Iterator

import pytest
import requests

from tailrace.testing import Fault
from tailrace.testing.http.server import Request, Response, Simulator, SimulatorBroken


class Echo(Simulator):
    """Answers with what it was sent."""

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


def test_small_answers_do_not_wait_for_nagle(echo: Echo) -> None:
    """Fifty small requests take far less than fifty delayed acknowledgements of 40 ms."""
    with requests.Session() as session:
        started = time.monotonic()
        for _ in range(50):
            session.post(f"{echo.url}/a", data=b"x")
        assert time.monotonic() - started < 1.5


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
            delay_seconds=0.05,
            expire_token=True,
        )
    )
    started = time.monotonic()
    answer = requests.get(f"{echo.url}/x")
    assert time.monotonic() - started >= 0.05
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


def test_control_door(echo: Echo) -> None:
    """Another process can add faults and read the log; neither shows up in the log."""
    door = f"{echo.url}/_control"
    assert requests.post(f"{door}/faults", json={"pth": "/x"}).status_code == 400
    rules = requests.post(f"{door}/faults", json=[{"path": "/x", "status": 500}]).json()
    assert rules == [{"path": "/x", "status": 500}]
    assert requests.get(f"{echo.url}/x").status_code == 500
    log = requests.get(f"{door}/requests").json()
    assert [(each["path"], each["status"]) for each in log] == [("/x", 500)]
    requests.delete(f"{door}/faults")
    assert requests.get(f"{echo.url}/x").status_code == 200
    assert requests.get(f"{door}/nonsense").status_code == 404


def test_a_mistake_of_the_simulator_is_loud() -> None:
    """When the simulator itself fails, leaving its block raises."""
    with pytest.raises(SimulatorBroken, match="a mistake of the simulator"), Echo() as server:
        assert requests.get(f"{server.url}/broken").status_code == 500
