"""An HTTP/1.1 server on 127.0.0.1 with keep-alive, gzip, fault rules and a request log.

Each connection has a thread. Paths under `/_control/` belong to the test, not to the simulated
service: they are not logged, and faults do not apply to them.
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
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

from tailrace.clock import Clock, SystemClock
from tailrace.testing.http.bodies import UNEXPECTED_BODIES
from tailrace.testing.http.faults import Fault, FaultScript
from tailrace.testing.http.messages import BadEncoding, Request, Response
from tailrace.testing.http.request_log import Exchange
from tailrace.testing.http.wire import Outgoing, outgoing

__all__ = ["BadEncoding", "Exchange", "Request", "Response", "Simulator", "SimulatorBroken"]

BODY_BYTES_MAX = 200_000_000


class SimulatorBroken(AssertionError):
    """The simulator raised an exception while it answered; the client is not at fault."""


class Simulator:
    """Base class of the simulators.

    A subclass overrides `answer`, and where needed `control`, `failure`, `events_of`,
    `expire_tokens` and `now`.
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
        """The service's answer to a request to which no fault applies."""
        raise NotImplementedError

    def control(self, request: Request) -> Response | None:
        """The answer to a control call of this simulator; None if there is no such call."""
        return None

    def failure(self, status: int, request: Request) -> Response:
        """The service's own answer for a scripted status without a body."""
        return Response.of_json({"message": HTTPStatus(status).phrase}, status)

    def events_of(self, request: Request) -> Iterable[Mapping[str, Any]]:
        """The events in a request, for rules with `poison`."""
        return ()

    def expire_tokens(self) -> None:
        """Expire every access token."""

    def now(self) -> datetime:
        """The service's time, used for the Date header and its data."""
        return self.clock.now()

    @property
    def port(self) -> int:
        """The port that the server listens on."""
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """The base URL, without a trailing slash."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> Self:
        """Start to serve on a background thread."""
        self._thread.start()
        return self

    def close(self) -> None:
        """Stop serving and close every connection."""
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
        """Answer `/_control/requests` and `/_control/faults`, else ask the subclass."""
        name = request.path.removeprefix("/_control/")
        if name == "requests" and request.method == "GET":
            return Response.of_json([entry.as_json() for entry in list(self.requests)])
        if name == "requests" and request.method == "DELETE":
            self.requests.clear()
            return Response.of_json([])
        if name == "faults":
            return self._control_faults(request)
        answer = self.control(request)
        message = f"No control call {request.method} {request.path}"
        return answer or Response.of_json({"error": message}, 404)

    def _control_faults(self, request: Request) -> Response:
        if request.method == "DELETE":
            self.faults.clear()
        elif request.method == "POST":
            try:
                rules = [Fault.from_json(rule) for rule in _listed(json.loads(request.content()))]
            except (TypeError, ValueError) as error:
                return Response.of_json({"error": str(error)}, 400)
            self.faults.extend(rules)
        return Response.of_json([rule.as_json() for rule in self.faults])


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


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
        """Ignore a client that hangs up; record any other exception as a crash."""
        if not isinstance(sys.exc_info()[1], OSError):
            self.simulator.crashes.append(traceback.format_exc())

    def drop_connections(self) -> None:
        with self._open_lock:
            sockets = list(self._open)
        for connection in sockets:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing: the simulator keeps its own log."""

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
            self._write(request, self._guarded(simulator.shared_control, request))
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
        self._write(request, response, fault, cut)

    def _outcome(self, request: Request, fault: Fault | None) -> tuple[Response | None, str | None]:
        """The answer, and where it is cut; no answer if the request was not handled."""
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
        scripted = fault.status is not None or fault.unexpected_body is not None
        if not scripted or fault.processed:
            response = self._guarded(simulator.answer, request)
        if scripted:
            response = _scripted(fault, simulator.failure(fault.status or 200, request))
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
            raise ConnectionError(f"The body is longer than {BODY_BYTES_MAX} bytes")
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            raise ConnectionError("The client hung up before the end of its body")
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

    def _write(
        self,
        request: Request,
        response: Response | None,
        fault: Fault | None = None,
        cut: str | None = None,
    ) -> None:
        if response is None or cut in ("before", "after"):
            self._hang_up()
            return
        message = outgoing(
            request, response, fault, now=self.server.simulator.now(), closing=self.close_connection
        )
        if message.endless or cut == "middle":
            self.close_connection = True
        if message.endless:
            self._repeat(message)
        elif message.drip_seconds:
            self._drip(message)
        elif cut == "middle":
            self.connection.sendall(message.head + message.body[: len(message.body) // 2])
            self._hang_up(reset=False)
        elif len(message.body) < 65_536:
            self.connection.sendall(message.head + message.body)
        else:
            self.connection.sendall(message.head)
            self.connection.sendall(message.body)

    def _drip(self, message: Outgoing) -> None:
        """Send the body byte by byte."""
        self.connection.sendall(message.head)
        for index in range(len(message.body)):
            self.connection.sendall(message.body[index : index + 1])
            if self.server.simulator.closing.wait(message.drip_seconds):
                self.close_connection = True
                return

    def _repeat(self, message: Outgoing) -> None:
        """Send the body as chunks again and again, until either side closes the connection."""
        self.connection.sendall(message.head)
        body = message.body or b" "
        piece = body * max(1, 65_536 // len(body))
        chunk = f"{len(piece):x}\r\n".encode() + piece + b"\r\n"
        while not self.server.simulator.closing.wait(message.drip_seconds):
            self.connection.sendall(chunk)

    def _hang_up(self, *, reset: bool = True) -> None:
        """Close the connection; without a reset, data already sent still arrives."""
        self.close_connection = True
        if reset:
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.connection.close()
        else:
            self.connection.shutdown(socket.SHUT_WR)


def _scripted(fault: Fault, default: Response) -> Response:
    """The answer that a rule specifies."""
    if fault.unexpected_body is not None:
        content_type, body = UNEXPECTED_BODIES[fault.unexpected_body]
        response = Response(body=body, headers={"Content-Type": content_type})
    elif fault.body is None:
        response = default
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
