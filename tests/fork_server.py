"""Runs `tailrace`, or a function of a test, in processes forked from one that is warm already.

A test that runs the command needs a process of its own: its own folder, environment, streams and
exit code. Most of the time of such a process goes into imports and into parsing the engine's SQL,
so both are done once for all test workers, in a server process without threads. It forks for each
worker that connects, and these processes fork for each request. What a command imports, and how it
starts, is tested with plain processes in `cli/test_app.py`.
"""

from __future__ import annotations

import gc
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from importlib import import_module
from pathlib import Path
from typing import IO, NoReturn

COMMAND_LINE = "tailrace.cli.app:main"
# What many commands import and the runs that warm up the server do not.
IMPORTED_FIRST = (
    "dlt.common.libs.pyarrow",
    "dlt.destinations.impl.duckdb.duck",
    "dlt.sources.helpers.requests",
    "pendulum.locales.en.locale",
    "rich.table",
    "simple_salesforce",
    "tailrace.cli.app",
    "tailrace.cli.commands.doctor",
    "tailrace.cli.output.json",
    "tailrace.cli.output.logs",
    "tailrace.cli.output.progress",
    "tailrace.cli.output.text",
    "tailrace.ledger.maintenance",
    "tailrace.project",
    "tailrace.reporting.explain",
    "tailrace.reporting.history",
    "tailrace.reporting.selection",
    "tailrace.run.replay",
    "tailrace.salesforce.extract.source",
)


class WarmServer:
    """The server process, which listens from now on and gets warm when a worker connects.

    Args:
        environ: The environment in which it gets warm.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self.address = str(Path(self._folder.name) / "fork-server")
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(self.address)
            listening.listen()
            number = listening.fileno()
            command = [sys.executable, __file__, str(number)]
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                env=environ,
                pass_fds=[number],
            )

    def close(self) -> None:
        """End the server, which ends when its input does."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)
        self._folder.cleanup()


class ForkServer:
    """A worker's connection to the server, from when it is first used; one request at a time.

    Args:
        address: The path of the server's socket.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._connection: IO[str] | None = None
        self._one_at_a_time = threading.Lock()

    def run(
        self, arguments: list[str], *, cwd: Path, environ: Mapping[str, str], timeout_seconds: float
    ) -> subprocess.CompletedProcess[str]:
        """Run a command line to its end.

        Raises:
            subprocess.TimeoutExpired: It took too long, and was killed.
        """
        return self._request(
            COMMAND_LINE, [], arguments, cwd=cwd, environ=environ, timeout_seconds=timeout_seconds
        )

    def call(
        self, function: str, *parameters: str | int | None, cwd: Path, timeout_seconds: float = 120
    ) -> int:
        """Call `module:function` in a process of its own, and return how the process ended.

        Returns:
            What the function returned, as the exit code; a negative number is a signal.

        Raises:
            subprocess.TimeoutExpired: It took too long, and was killed.
        """
        done = self._request(
            function,
            list(parameters),
            [],
            cwd=cwd,
            environ=os.environ,
            timeout_seconds=timeout_seconds,
        )
        sys.stderr.write(done.stderr)
        return done.returncode

    def _request(
        self,
        function: str,
        parameters: list[str | int | None],
        arguments: list[str],
        *,
        cwd: Path,
        environ: Mapping[str, str],
        timeout_seconds: float,
    ) -> subprocess.CompletedProcess[str]:
        with tempfile.TemporaryDirectory() as folder:
            out, err = Path(folder) / "out", Path(folder) / "err"
            request = {
                "function": function,
                "parameters": parameters,
                "arguments": arguments,
                "cwd": str(cwd),
                "environ": dict(environ),
                "out": str(out),
                "err": str(err),
                "timeout_seconds": timeout_seconds,
            }
            with self._one_at_a_time:
                code = int(self._ask(json.dumps(request)))
            stdout, stderr = out.read_text(), err.read_text()
        command = ["tailrace", *arguments]
        if code == TIMED_OUT:
            raise subprocess.TimeoutExpired(command, timeout_seconds, stdout, stderr)
        return subprocess.CompletedProcess(command, code, stdout, stderr)

    def _ask(self, line: str) -> str:
        if self._connection is None:
            with socket.socket(socket.AF_UNIX) as connected:
                connected.connect(self._address)
                self._connection = connected.makefile("rw")
        self._connection.write(line + "\n")
        self._connection.flush()
        answer = self._connection.readline()
        assert answer, "the fork server has died"
        return answer

    def close(self) -> None:
        """End the process that forks for this worker."""
        if self._connection is not None:
            self._connection.close()


# No exit code of a process has this value.
TIMED_OUT = 1_000


def warm_up() -> None:
    """Import what a run imports and fill the caches that it fills, then end every thread.

    A small audience and those of a new project are delivered to a simulator, members enter, change
    and leave, the engine's other statements are parsed, and DuckDB's functions are listed. No
    connection stays open: DuckDB's threads do not survive a fork.
    """
    from shop import PEOPLE, Shop

    from tailrace.cli.commands.init import scaffold
    from tailrace.project import Project
    from tailrace.testing import SalesforceSimulator, SegmentSimulator
    from tailrace.warehouse import rendering, sandbox
    from tailrace.warehouse.sql_files import all_statements

    for name in IMPORTED_FIRST:
        import_module(name)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        salesforce = stack.enter_context(SalesforceSimulator())
        segment = stack.enter_context(SegmentSimulator())
        shop = Shop(folder / "people", segment)
        shop.audience(PEOPLE)
        shop.land([{"id": key, "email": f"{key}@example.com"} for key in ("c1", "c2")])
        shop.sync()
        shop.land([{"id": "c2", "city": "Oslo"}, {"id": "c3", "city": "Oslo"}])
        shop.sync()
        environ = shop.environ | {
            "SOURCES__SALESFORCE__CREDENTIALS__INSTANCE_URL": salesforce.url,
            "SOURCES__SALESFORCE__CREDENTIALS__CLIENT_ID": salesforce.client_id,
            "SOURCES__SALESFORCE__CREDENTIALS__CLIENT_SECRET": salesforce.client_secret,
        }
        done = Project.load(scaffold(folder / "starter").root, environ=environ).run()
        assert done.exit_code == 0
    for name in all_statements():
        rendering.parsed(name, "duckdb")
    sandbox.duckdb_functions()
    sandbox._engine().close()
    sandbox._engine.cache_clear()
    assert [threading.main_thread()] == threading.enumerate()
    # The garbage collector would write to every object, and so copy it for each fork.
    gc.collect()
    gc.freeze()


def serve(listening: socket.socket, test_run: IO[bytes]) -> None:
    """Fork for each worker that connects, until the test run ends and with it the input."""
    waiting, is_warm = selectors.DefaultSelector(), False
    waiting.register(listening, selectors.EVENT_READ)
    waiting.register(test_run, selectors.EVENT_READ)
    while test_run not in {key.fileobj for key, _ in waiting.select()}:
        connection, _ = listening.accept()
        if not is_warm:
            warm_up()
            is_warm = True
        if os.fork() == 0:
            listening.close()
            _serve_worker(connection)
        connection.close()


def _serve_worker(connection: socket.socket) -> NoReturn:
    """Fork for each line, and answer with the exit code."""
    with suppress(BrokenPipeError), connection.makefile("rw") as lines:
        for line in lines:
            print(_run(json.loads(line)), file=lines, flush=True)
    os._exit(0)


def _run(request: dict[str, object]) -> int:
    child = os.fork()
    if child == 0:
        _become(request)
    timeout_seconds = float(str(request["timeout_seconds"]))
    expired = []

    def kill(*_: object) -> None:
        expired.append(True)
        os.kill(child, signal.SIGKILL)

    signal.signal(signal.SIGALRM, kill)
    signal.setitimer(signal.ITIMER_REAL, timeout_seconds)
    try:
        _, status = os.waitpid(child, 0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return TIMED_OUT if expired else os.waitstatus_to_exitcode(status)


def _become(request: dict[str, object]) -> None:
    """Be the requested process: its folder, environment and streams, then its exit code."""
    code = 70
    try:
        environ = request["environ"]
        assert isinstance(environ, dict)
        os.chdir(str(request["cwd"]))
        os.environ.clear()
        os.environ.update(environ)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for descriptor, name in ((1, "out"), (2, "err")):
            file = os.open(str(request[name]), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(file, descriptor)
        sys.stdin = os.fdopen(0, "r", closefd=False)
        sys.stdout = os.fdopen(1, "w", closefd=False)
        sys.stderr = os.fdopen(2, "w", closefd=False)
        arguments, parameters = request["arguments"], request["parameters"]
        assert isinstance(arguments, list) and isinstance(parameters, list)
        sys.argv = ["tailrace", *arguments]
        module, _, function = str(request["function"]).partition(":")
        try:
            code = int(getattr(import_module(module), function)(*parameters) or 0)
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        with suppress(Exception):
            sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])), sys.stdin.buffer)
    # Without the reports of extension modules about what is still alive.
    os._exit(0)
