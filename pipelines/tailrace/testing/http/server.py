"""A real HTTP/1.1 server on 127.0.0.1 for the simulators: keep-alive, gzip, faults, a log.

One thread a connection. What is under `/_control/` belongs to the test, not to the service: it is
neither logged nor hit by faults.
"""

from __future__ import annotations

import json
import socket
import struct
import sys
import threading
import traceback
from collections.abc import Iterable, Mapping
from datetime import datetime
from email.utils import format_datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

from isal import igzip

from tailrace.clock import Clock, SystemClock
from tailrace.testing.http.faults import Fault, FaultScript
from tailrace.testing.http.messages import BadEncoding, Exchange, Request, Response

__all__ = ["BadEncoding", "Exchange", "Request", "Response", "Simulator", "SimulatorBroken"]

BODY_BYTES_MAX = 200_000_000
GZIP_BYTES_MIN = 512


class SimulatorBroken(AssertionError):
    """The simulator itself failed while it answered; the client is not to blame."""


class Simulator:
    """What both simulators are made of; a subclass says how the service answers.

    Override `answer`, and as needed `control`, `failure`, `events_of`, `expire_tokens`, `now`.
    """

    def __init__(
        self, *, port: int = 0, faults: Iterable[Fault] = (), clock: Clock | None = None
    ) -> None:
        self.clock: Clock = clock or SystemClock()
        self.faults = FaultScript(faults)
        self.requests: list[Exchange] = []
        self.crashes: list[str] = []
        self.closing = threading.Event()
        self._server = _Server(("127.0.0.1", port), self)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )

    def answer(self, request: Request) -> Response:
        """The service's answer to a request that no fault has touched."""
        raise NotImplementedError

    def control(self, request: Request) -> Response | None:
        """An answer to `/_control/…` beyond the shared ones; None = no such thing."""
        return None

    def failure(self, status: int, request: Request) -> Response:
        """The service's own words for a scripted status that brings no body."""
        return Response.of_json({"message": HTTPStatus(status).phrase}, status)

    def events_of(self, request: Request) -> Iterable[Mapping[str, Any]]:
        """The events in a request, for rules that name a poisoned one."""
        return ()

    def expire_tokens(self) -> None:
        """Forget every token that was handed out."""

    def now(self) -> datetime:
        """The time that the service believes in: its Date header and its data."""
        return self.clock.now()

    @property
    def port(self) -> int:
        """The port that the server really has."""
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """Where the server answers, without a trailing slash."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> Self:
        """Begin to serve, on a thread of its own."""
        self._thread.start()
        return self

    def close(self) -> None:
        """Stop serving and drop every connection."""
        if self.closing.is_set():
            return
        self.closing.set()
        if self._thread.is_alive():
            self._server.shutdown()
        self._server.drop_connections()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self.close()
        if self.crashes and kind is None:
            raise SimulatorBroken(self.crashes[0])

    def shared_control(self, request: Request) -> Response:
        """`/_control/requests`, `/_control/faults`, then the subclass's own."""
        name = request.path.removeprefix("/_control/")
        if name == "requests" and request.method == "GET":
            return Response.of_json([each.as_json() for each in list(self.requests)])
        if name == "requests" and request.method == "DELETE":
            self.requests.clear()
            return Response.of_json([])
        if name == "faults":
            return self._control_faults(request)
        found = self.control(request)
        return found or Response.of_json({"error": f"no control {request.method} {name}"}, 404)

    def _control_faults(self, request: Request) -> Response:
        if request.method == "DELETE":
            self.faults.clear()
        elif request.method == "POST":
            given = json.loads(request.content())
            try:
                rules = [Fault.from_json(each) for each in _listed(given)]
            except (TypeError, ValueError) as error:
                return Response.of_json({"error": str(error)}, 400)
            self.faults.extend(rules)
        return Response.of_json([rule.as_json() for rule in self.faults])


def _listed(given: Any) -> list[Any]:
    return given if isinstance(given, list) else [given]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], simulator: Simulator) -> None:
        self.simulator = simulator
        self._open: set[socket.socket] = set()
        self._open_lock = threading.Lock()
        super().__init__(address, _Handler)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        with self._open_lock:
            self._open.add(request)
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._open_lock:
                self._open.discard(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no news; anything else is a fault of the simulator."""
        if not isinstance(sys.exc_info()[1], OSError):
            self.simulator.crashes.append(traceback.format_exc())

    def drop_connections(self) -> None:
        with self._open_lock:
            sockets = list(self._open)
        for each in sockets:
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        """The simulator keeps its own log."""

    def handle_one_request(self) -> None:
        try:
            self.raw_requestline = self.rfile.readline(65_537)
            if not self.raw_requestline or self.server.simulator.closing.is_set():
                self.close_connection = True
                return
            if len(self.raw_requestline) > 65_536:
                self.requestline = self.request_version = self.command = ""
                self.send_error(HTTPStatus.REQUEST_URI_TOO_LONG)
                return
            if self.parse_request():
                self._exchange()
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    def _exchange(self) -> None:
        simulator = self.server.simulator
        request = self._read()
        if request.path.startswith("/_control/"):
            self._write(request, self._guarded(simulator.shared_control, request), None)
            return
        received_at = simulator.now()
        fault = simulator.faults.firing(request, lambda: simulator.events_of(request))
        response, cut = self._outcome(request, fault)
        simulator.requests.append(
            Exchange(
                request=request,
                status=response.status if response and cut != "after" else None,
                received_at=received_at,
                answer_bytes=len(response.body or response.gzipped or b"") if response else 0,
                fault=fault,
            )
        )
        self._write(request, response, cut)

    def _outcome(self, request: Request, fault: Fault | None) -> tuple[Response | None, str | None]:
        """The answer and where it is cut; no answer at all when nothing was done."""
        simulator = self.server.simulator
        if fault is None:
            return self._guarded(simulator.answer, request), None
        if fault.delay_seconds:
            simulator.closing.wait(fault.delay_seconds)
        if fault.expire_token:
            simulator.expire_tokens()
        if fault.cut == "before":
            return None, "before"
        response: Response | None = None
        if fault.status is None or fault.processed:
            response = self._guarded(simulator.answer, request)
        if fault.status is not None:
            response = _scripted(fault, simulator.failure(fault.status, request))
        elif response and fault.headers:
            response = _with_headers(response, fault.headers)
        return response, fault.cut

    def _guarded(self, answer: Any, request: Request) -> Response:
        try:
            response: Response = answer(request)
        except Exception:
            self.server.simulator.crashes.append(traceback.format_exc())
            return Response(status=500, body=traceback.format_exc().encode())
        return response

    def _read(self) -> Request:
        headers = {name.lower(): value for name, value in self.headers.items()}
        head_bytes = len(self.raw_requestline) + sum(
            len(name) + len(value) + 4 for name, value in self.headers.items()
        )
        parts = urlsplit(self.path)
        query = parse_qs(parts.query, keep_blank_values=True)
        return Request(
            method=self.command,
            target=self.path,
            path=unquote(parts.path),
            query={name: values[-1] for name, values in query.items()},
            headers=headers,
            body=self._read_body(headers),
            head_bytes=head_bytes,
        )

    def _read_body(self, headers: Mapping[str, str]) -> bytes:
        if "chunked" in headers.get("transfer-encoding", "").lower():
            return self._read_chunks()
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > BODY_BYTES_MAX:
            raise ConnectionError("no service takes a body of that length")
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            raise ConnectionError("the client hung up inside its body")
        return body

    def _read_chunks(self) -> bytes:
        chunks: list[bytes] = []
        while True:
            size = int(self.rfile.readline(1_024).split(b";")[0], 16)
            if size == 0:
                while self.rfile.readline(1_024) not in (b"\r\n", b"\n", b""):
                    continue
                return b"".join(chunks)
            chunks.append(self.rfile.read(size))
            self.rfile.readline(2)

    def _write(self, request: Request, response: Response | None, cut: str | None) -> None:
        if response is None or cut in ("before", "after"):
            self._hang_up()
            return
        body, headers = _encoded(request, response)
        phrase = _phrase(response.status)
        lines = [f"HTTP/1.1 {response.status} {phrase}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        lines.append(f"Date: {format_datetime(self.server.simulator.now(), usegmt=True)}")
        if response.status != 204:
            lines.append(f"Content-Length: {len(body)}")
        if self.close_connection:
            lines.append("Connection: close")
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
        if request.method == "HEAD":
            body = b""
        if cut == "middle":
            self.connection.sendall(head + body[: len(body) // 2])
            self._hang_up(gently=True)
        elif len(body) < 65_536:
            self.connection.sendall(head + body)
        else:
            self.connection.sendall(head)
            self.connection.sendall(body)

    def _hang_up(self, *, gently: bool = False) -> None:
        """Close the socket; a reset, unless what was sent is still to arrive."""
        self.close_connection = True
        if not gently:
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.connection.close()
        else:
            self.connection.shutdown(socket.SHUT_WR)


def _scripted(fault: Fault, own_words: Response) -> Response:
    """The answer that a rule asks for."""
    if fault.body is None:
        response = own_words
    elif isinstance(fault.body, bytes):
        response = Response(body=fault.body)
    elif isinstance(fault.body, str):
        response = Response(
            body=fault.body.encode(), headers={"Content-Type": "text/plain;charset=UTF-8"}
        )
    else:
        response = Response.of_json(fault.body)
    status = fault.status or response.status
    return Response(
        status=status, body=response.body, headers={**response.headers, **fault.headers}
    )


def _with_headers(response: Response, headers: Mapping[str, str]) -> Response:
    return Response(
        status=response.status,
        body=response.body,
        headers={**response.headers, **headers},
        gzipped=response.gzipped,
    )


def _encoded(request: Request, response: Response) -> tuple[bytes, dict[str, str]]:
    """The body as it travels, compressed when the client asked and it is worth it."""
    headers = dict(response.headers)
    accepted = "gzip" in request.headers.get("accept-encoding", "").lower()
    if accepted and response.gzipped is not None:
        return response.gzipped, {**headers, "Content-Encoding": "gzip"}
    if not accepted or len(response.body) < GZIP_BYTES_MIN:
        return response.body, headers
    headers["Content-Encoding"] = "gzip"
    return igzip.compress(response.body, 1), headers


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
