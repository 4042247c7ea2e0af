"""Answers questions about the ledger while a run has the DuckDB file open.

DuckDB lets one process open a file, so `status`, `history`, `trace` and `rejected` could not look
at a run that sends for an hour. The run answers them itself: a thread listens on 127.0.0.1 and runs
the same functions in a second session, which reads what the run has committed. It answers one
request at a time, to callers that have the token of the endpoint's file.
"""

from __future__ import annotations

import logging
import secrets
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from tailrace.clock import Clock
from tailrace.ledger.runs import Run
from tailrace.warehouse.connection import Warehouse
from tailrace.warehouse.endpoint_file import LOOPBACK, EndpointAddress, published
from tailrace.warehouse.memory import MemoryLimit

log = logging.getLogger(__name__)

# The functions that may be asked for, by name. Each takes an open warehouse, the clock and the
# arguments of the request, and returns an object for JSON.
Reads = Mapping[str, Callable[..., dict[str, Any]]]
NO_READS: Reads = {}

CALLERS_WAITING_MAX = 16
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
        try:
            listening = stack.enter_context(
                socket.create_server((LOOPBACK, 0), backlog=CALLERS_WAITING_MAX)
            )
        except OSError as error:
            # A machine without a free loopback port runs as it did before.
            log.info("Reads are not answered during this run: %s", error.strerror)
            yield
            return
        beside = warehouse.beside()
        stack.callback(beside.close)
        address = EndpointAddress.of_this_process(
            listening.getsockname()[1], secrets.token_hex(TOKEN_BYTES), run_id=run.id
        )

        def answer(connection: socket.socket) -> None:
            from tailrace.run.read_requests import Reader, answer_request

            reader = Reader(
                beside=beside, reads=reads, run=run, memory_limit=memory_limit, clock=clock
            )
            answer_request(connection, reader, address)

        server = _Server(listening, answer)
        thread = threading.Thread(target=server.serve, name="tailrace-reads", daemon=True)
        thread.start()
        stack.callback(_stop, server, thread, beside)
        stack.enter_context(published(warehouse.project, address))
        yield


def _stop(server: _Server, thread: threading.Thread, beside: Warehouse) -> None:
    """End the server's thread without waiting for answers that are still in progress."""
    server.close_soon()
    beside.interrupt()
    thread.join()


class _Server:
    """Accepts one caller at a time, until it closes.

    Args:
        listening: The socket that callers connect to.
        answer: Answers the request of a caller.
    """

    def __init__(self, listening: socket.socket, answer: Callable[[socket.socket], None]) -> None:
        self._listening = listening
        # How long a server that closes waits for callers where closing its socket does not wake it.
        listening.settimeout(POLL_SECONDS)
        self._answer = answer
        self._closing = threading.Event()
        self._connection: socket.socket | None = None

    def serve(self) -> None:
        """Answer one caller after the other until the server closes."""
        while not self._closing.is_set():
            try:
                connection, _ = self._listening.accept()
            except TimeoutError:
                continue
            except OSError:
                # The caller is gone, or the process has too many files open.
                self._closing.wait(POLL_SECONDS)
                continue
            with connection:
                self._serve(connection)

    def close_soon(self) -> None:
        """Hang up on the caller, if there is one, and take no other."""
        self._closing.set()
        _hang_up(self._connection)
        _hang_up(self._listening)

    def _serve(self, connection: socket.socket) -> None:
        """Answer a caller, for no longer than a bound."""
        self._connection = connection
        timer = threading.Timer(CONNECTION_SECONDS_MAX, _hang_up, (connection,))
        timer.daemon = True
        timer.start()
        try:
            self._answer(connection)
        except Exception:
            # A caller that hangs up does not concern the run.
            log.debug("A read was not answered", exc_info=True)
        finally:
            timer.cancel()
            self._connection = None


def _hang_up(connection: socket.socket | None) -> None:
    if connection is not None:
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
