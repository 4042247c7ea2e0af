"""Answers questions about the ledger while a run has the DuckDB file open.

DuckDB lets one process open a file, so `status`, `history`, `trace` and `rejected` could not look
at a run that sends for an hour. The run answers them itself: a thread listens on 127.0.0.1 and runs
the same functions in a second session, which reads what the run has committed. It answers one
request at a time, to callers that have the token of the endpoint's file.
"""

from __future__ import annotations

import hmac
import json
import logging
import secrets
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from typing import Any

from tailrace.clock import Clock
from tailrace.config.project import ProjectConfig, load_project
from tailrace.dataclass import dataclass
from tailrace.errors import ReadStopped, TailraceError
from tailrace.ledger.runs import Run
from tailrace.warehouse.connection import Warehouse
from tailrace.warehouse.endpoint_file import EndpointAddress, published
from tailrace.warehouse.memory import MemoryLimit

log = logging.getLogger(__name__)

# The functions that may be asked for, by name. Each takes an open warehouse, the clock and the
# arguments of the request, and returns an object for JSON.
Reads = Mapping[str, Callable[..., dict[str, Any]]]
NO_READS: Reads = {}

LOOPBACK = "127.0.0.1"
REQUEST_BYTES_MAX = 65_536
ANSWER_BYTES_MAX = 64_000_000
READ_SECONDS_MAX = 10.0
SOCKET_SECONDS_MAX = 5.0
CONNECTION_SECONDS_MAX = 30.0
POLL_SECONDS = 0.1
TOKEN_BYTES = 32


@contextmanager
def serve_reads(
    warehouse: Warehouse, reads: Reads, *, run: Run, memory_limit: MemoryLimit, clock: Clock
) -> Iterator[None]:
    """Answer reads about an open warehouse until the block ends.

    Nothing is served where other processes can read the warehouse themselves.

    Args:
        warehouse: The run's session.
        reads: The functions that may be asked for.
        run: The run, which each answer names.
        memory_limit: The run's memory limit, raised a little for the length of a read.
        clock: The time source of the functions.
    """
    if not (reads and warehouse.engine.single_writer):
        yield
        return
    with ExitStack() as stack:
        beside = warehouse.beside()
        stack.callback(beside.close)
        reader = _Reader(
            beside=beside, reads=reads, run=run, memory_limit=memory_limit, clock=clock
        )
        try:
            server = stack.enter_context(_Server(reader))
        except OSError as error:
            # A machine without a free loopback port runs as it did before.
            log.info("Reads are not answered during this run: %s", error.strerror)
            yield
            return
        thread = threading.Thread(target=server.serve, name="tailrace-reads", daemon=True)
        thread.start()
        stack.callback(_stop, server, thread, beside)
        address = EndpointAddress.of_this_process(server.port, server.token, run_id=run.id)
        stack.enter_context(published(warehouse.project, address))
        yield


def _stop(server: _Server, thread: threading.Thread, beside: Warehouse) -> None:
    """End the server's thread without waiting for answers that are still in progress."""
    server.close_soon()
    beside.interrupt()
    thread.join()


@dataclass(frozen=True, kw_only=True)
class _Reader:
    """Runs the named functions in the session beside the run's."""

    beside: Warehouse
    reads: Reads
    run: Run
    memory_limit: MemoryLimit
    clock: Clock

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to a request: the function's result, or the error that it raised."""
        name = str(request.get("read"))[:50]
        if name not in self.reads:
            raise ReadStopped(f"This run has no function {name!r} to read with")
        warehouse = self.beside.with_project(self._project(request))
        arguments = {str(key): value for key, value in request.get("arguments", {}).items()}
        expired = threading.Event()

        def expire() -> None:
            expired.set()
            warehouse.interrupt()

        timer = threading.Timer(READ_SECONDS_MAX, expire)
        timer.daemon = True
        timer.start()
        try:
            with self.memory_limit.reading(self.beside):
                return {"data": self.reads[name](warehouse, clock=self.clock, **arguments)}
        except TailraceError as error:
            stopped = ReadStopped(f"The answer took more than {READ_SECONDS_MAX:.0f} seconds")
            return {"error": (stopped if expired.is_set() else error).as_dict()}
        finally:
            timer.cancel()

    def _project(self, request: Mapping[str, Any]) -> ProjectConfig:
        """The project as the caller has configured it: another target reads other datasets."""
        project = self.beside.project
        target = request.get("target")
        if target != project.target:
            project = load_project(project.root, target=target, environ=project.environ)
        datasets = request["datasets"]
        settings = replace(
            project.settings,
            dataset=str(datasets["dataset"]),
            ledger_dataset=str(datasets["ledger_dataset"]),
            model_dataset=str(datasets["model_dataset"]),
        )
        return replace(project, settings=settings)


class _Server(socketserver.TCPServer):
    """One request at a time, on a port that the system chooses."""

    request_queue_size = 16
    # The longest that `handle_request` waits for a caller.
    timeout = POLL_SECONDS

    def __init__(self, reader: _Reader) -> None:
        super().__init__((LOOPBACK, 0), _Handler)
        self.reader = reader
        self.port = int(self.server_address[1])
        self.token = secrets.token_hex(TOKEN_BYTES)
        self._closing = threading.Event()
        self._connection: socket.socket | None = None

    def serve(self) -> None:
        """Handle one request after the other until the server closes."""
        while not self._closing.is_set():
            self.handle_request()

    def close_soon(self) -> None:
        """Hang up on the caller, if there is one, and take no other."""
        self._closing.set()
        _hang_up(self._connection)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Handle one request, for no longer than a bound."""
        self._connection = request
        timer = threading.Timer(CONNECTION_SECONDS_MAX, _hang_up, (request,))
        timer.daemon = True
        timer.start()
        try:
            super().process_request(request, client_address)
        finally:
            timer.cancel()
            self._connection = None

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that hangs up does not concern the run."""
        log.debug("A read was not answered", exc_info=True)


def _hang_up(connection: socket.socket | None) -> None:
    if connection is not None:
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = SOCKET_SECONDS_MAX
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Answer a read."""
        self.close_connection = True
        status = self._refused()
        if status:
            self._send(status, {})
            return
        try:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            answer = self.server.reader.answer(request)
        except TailraceError as error:
            answer = {"error": error.as_dict()}
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            self._send(400, {})
            return
        run = self.server.reader.run
        self._send(200, {"run_id": run.id, "command": run.command, **answer})

    def _refused(self) -> int:
        """The status for a request that is not read; 0 for one that is.

        A web page that this machine's browser shows has neither the token nor the right Host.
        """
        if self.headers.get("Host") != f"{LOOPBACK}:{self.server.port}":
            return 403
        if self.headers.get("Origin") is not None:
            return 403
        given = self.headers.get("Authorization", "").encode("utf-8", "replace")
        if not hmac.compare_digest(given, f"Bearer {self.server.token}".encode()):
            return 401
        if self.path != "/read":
            return 404
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()):
            return 411
        return 413 if int(length) > REQUEST_BYTES_MAX else 0

    def _send(self, status: int, answer: Mapping[str, Any]) -> None:
        body = json.dumps(answer, default=str).encode()
        if len(body) > ANSWER_BYTES_MAX:
            stopped = ReadStopped(f"The answer has more than {ANSWER_BYTES_MAX:,} bytes")
            body = json.dumps({"error": stopped.as_dict()}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not logged: their headers hold the token."""
