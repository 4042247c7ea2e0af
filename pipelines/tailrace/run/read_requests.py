"""Answers one request of a caller that reads beside a run: HTTP, and the functions behind it.

The listening thread of `read_endpoint` imports this for the first caller, so that a run without
callers imports no HTTP server.
"""

from __future__ import annotations

import hmac
import json
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from typing import Any, NamedTuple

from tailrace.clock import Clock
from tailrace.config.project import ProjectConfig, load_project
from tailrace.dataclass import dataclass
from tailrace.errors import ReadStopped, TailraceError
from tailrace.ledger.runs import Run
from tailrace.warehouse.connection import Warehouse
from tailrace.warehouse.endpoint_file import LOOPBACK, EndpointAddress
from tailrace.warehouse.memory import MemoryLimit

REQUEST_BYTES_MAX = 65_536
ANSWER_BYTES_MAX = 64_000_000
READ_SECONDS_MAX = 10.0
SOCKET_SECONDS_MAX = 5.0


def answer_request(connection: socket.socket, reader: Reader, address: EndpointAddress) -> None:
    """Read a request from a connection and send the answer.

    Args:
        connection: The caller's, which stays open.
        reader: The functions.
        address: The address that the caller has to know, with its token.
    """
    served: Any = _Served(reader, address)
    _Handler(connection, connection.getpeername(), served)
    with suppress(OSError):
        connection.shutdown(socket.SHUT_WR)


@dataclass(frozen=True, kw_only=True)
class Reader:
    """Runs the named functions in the session beside the run's."""

    beside: Warehouse
    reads: Mapping[str, Callable[..., dict[str, Any]]]
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


class _Served(NamedTuple):
    """What a request is answered with."""

    reader: Reader
    address: EndpointAddress


class _Handler(BaseHTTPRequestHandler):
    server: _Served  # type: ignore[assignment]
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
        if self.headers.get("Host") != f"{LOOPBACK}:{self.server.address.port}":
            return 403
        if self.headers.get("Origin") is not None:
            return 403
        given = self.headers.get("Authorization", "").encode("utf-8", "replace")
        if not hmac.compare_digest(given, f"Bearer {self.server.address.token}".encode()):
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
