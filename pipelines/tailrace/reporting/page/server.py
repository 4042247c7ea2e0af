"""The live page on 127.0.0.1: the facts of the report, one person, and a run while it sends.

It only reads. A request needs the random token of the address and the right Host, so that neither
another user's program nor a web page in the same browser gets an answer. Requests are not logged,
since the address of a search holds an id.
"""

from __future__ import annotations

import hmac
import json
import secrets
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from tailrace.clock import Clock, format_utc
from tailrace.config.project import ProjectConfig
from tailrace.dataclass import dataclass
from tailrace.errors import NothingLanded, TailraceError
from tailrace.reporting.page.facts import AudienceFacts, RunFacts
from tailrace.reporting.page.render import environment
from tailrace.reporting.page.snapshot import Snapshot

LOOPBACK = "127.0.0.1"
TOKEN_BYTES = 24
SOCKET_SECONDS_MAX = 30.0
EVENT_SECONDS = 1.0
# How long the end of the server waits for answers that are being read.
CLOSE_SECONDS_MAX = 2.0
SEARCH_CHARACTERS_MAX = 500
HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; img-src data:; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
}

Query = Mapping[str, str]


class NotFound(Exception):
    """There is no such page."""


@dataclass(frozen=True)
class Links:
    """The addresses of pages, below the token."""

    root: str

    def page(self, path: str, **query: str) -> str:
        """The address of a page by its name."""
        return f"{self.root}{path}" + (f"?{urlencode(query)}" if query else "")

    def audience(self, audience: AudienceFacts) -> str:
        """The page of an audience at its destination."""
        return self.page("audience", name=audience.name, destination=audience.destination)

    def run(self, run: RunFacts) -> str:
        """The page of a run."""
        return self.page("run", id=run.run_id)


class PageServer(ThreadingHTTPServer):
    """Serves the page of a project until `close` is called.

    >>> with PageServer(project, clock=SystemClock()) as server:  # doctest: +SKIP
    ...     print(server.url)
    """

    daemon_threads = True
    # Threads that follow a run end with the process, not before the server is closed.
    block_on_close = False

    def __init__(self, project: ProjectConfig, *, clock: Clock, port: int = 0) -> None:
        super().__init__((LOOPBACK, port), _Handler)
        self.token = secrets.token_urlsafe(TOKEN_BYTES)
        self.port = int(self.server_address[1])
        self.links = Links(f"/{self.token}/")
        self.snapshot = Snapshot(project, clock=clock)
        self.closing = threading.Event()
        self._answering: dict[threading.Thread, socket.socket] = {}

    @property
    def url(self) -> str:
        """The address to open, with the token."""
        return f"http://{LOOPBACK}:{self.port}{self.links.root}"

    def close(self) -> None:
        """Stop serving."""
        self.closing.set()
        self.shutdown()

    def server_close(self) -> None:
        """End the connections and their threads: DuckDB reports what a thread still holds."""
        self.closing.set()
        super().server_close()
        answering = list(self._answering.items())
        for _, connection in answering:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        clock = self.snapshot.clock
        until = clock.monotonic() + CLOSE_SECONDS_MAX
        for thread, _ in answering:
            thread.join(max(0.0, until - clock.monotonic()))

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer the requests of one connection."""
        thread = threading.current_thread()
        self._answering[thread] = request
        try:
            super().process_request_thread(request, client_address)
        finally:
            del self._answering[thread]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that hangs up is not an error."""

    def page(self, name: str, query: Query) -> str:
        """The HTML of a page.

        Raises:
            NotFound: There is no page, run or audience of this name.
            TailraceError: The warehouse cannot be read.
        """
        pages: dict[str, Callable[[Query], dict[str, Any]]] = {
            "": self._overview,
            "runs": self._overview,
            "audience": self._audience,
            "run": self._run,
            "person": self._person,
        }
        if name not in pages:
            raise NotFound
        template = environment().get_template(f"live_{name or 'overview'}.html")
        reading = self.snapshot.facts()
        context = {"page": reading.value, "reading": reading, "links": self.links, "here": name}
        return template.render(**context, **pages[name](query))

    def _overview(self, query: Query) -> dict[str, Any]:
        return {}

    def _audience(self, query: Query) -> dict[str, Any]:
        for audience in self.snapshot.facts().value.audiences:
            wanted = (query.get("name"), query.get("destination", audience.destination))
            if (audience.name, audience.destination) == wanted:
                return {"audience": audience}
        raise NotFound

    def _run(self, query: Query) -> dict[str, Any]:
        page = self.snapshot.facts().value
        for run in page.runs:
            if run.run_id == query.get("id"):
                rows = [
                    (audience, of_run)
                    for audience in page.audiences
                    for of_run in audience.runs
                    if of_run.run_id == run.run_id
                ]
                return {"run": run, "rows": rows}
        raise NotFound

    def _person(self, query: Query) -> dict[str, Any]:
        search = query.get("q", "").strip()[:SEARCH_CHARACTERS_MAX]
        values = query.get("values") == "1"
        found = self.snapshot.person(search, show_values=values) if search else None
        return {"search": search, "values": values, "found": found}

    def event(self) -> dict[str, Any]:
        """What a page that follows a run needs to know."""
        reading = self.snapshot.status()
        status = reading.value
        last = status["runs"][0] if status["runs"] else {}
        return {
            "read_at": format_utc(reading.read_at),
            "late": reading.late,
            "running": status["running"],
            "sending": status["sending"],
            # A page that shows an earlier state loads itself again.
            "state": f"{last.get('run_id', '')} {last.get('exit_code')}",
        }


class _Handler(BaseHTTPRequestHandler):
    server: PageServer
    timeout = SOCKET_SECONDS_MAX
    protocol_version = "HTTP/1.1"
    server_version = "Tailrace"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer with a page, or with events."""
        split = urlsplit(self.path)
        refused = self._refused(split.path)
        if refused:
            self._send(refused, "<!doctype html><title>Refused</title>Refused")
            return
        name = split.path.removeprefix(self.server.links.root)
        query = {key: values[-1] for key, values in parse_qs(split.query).items()}
        if name == "events":
            self._events()
            return
        try:
            self._send(200, self.server.page(name, query))
        except NotFound:
            self._send(404, self._problem("There is no such page.", "tailrace status"))
        except NothingLanded as error:
            self._send(200, self._problem(f"{error.message}.", "tailrace run"))
        except TailraceError as error:
            self._send(503, self._problem(f"{error.message}.", error.hint))

    do_HEAD = do_GET

    def __getattr__(self, name: str) -> Any:
        # Every other method is refused: the page writes nothing.
        if name.startswith("do_"):
            return self._not_allowed
        raise AttributeError(name)

    def _not_allowed(self) -> None:
        self.close_connection = True
        self._send(405, "<!doctype html><title>Refused</title>Only GET", allow="GET, HEAD")

    def _refused(self, path: str) -> int:
        """The status for a request that is not answered; 0 for one that is."""
        hosts = {f"{name}:{self.server.port}" for name in (LOOPBACK, "localhost")}
        if self.headers.get("Host") not in hosts:
            return 403
        if self.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
            return 403
        given = path.split("/", 2)[1] if path.count("/") >= 2 else ""
        if not hmac.compare_digest(given.encode(), self.server.token.encode()):
            return 403
        return 0

    def _problem(self, sentence: str, hint: str) -> str:
        template = environment().get_template("live_problem.html")
        return template.render(sentence=sentence, hint=hint, links=self.server.links, here="")

    def _send(self, status: int, text: str, **headers: str) -> None:
        body = text.encode()
        self.send_response(status)
        named = {name.title(): value for name, value in headers.items()}
        for name, value in {**HEADERS, **named}.items():
            self.send_header(name, value)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _events(self) -> None:
        """Server-sent events, one a second, until the browser or the server leaves."""
        self.close_connection = True
        self.send_response(200)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        while self.command != "HEAD" and not self.server.closing.wait(EVENT_SECONDS):
            try:
                event = self.server.event()
            except TailraceError as error:
                event = {"late": error.message}
            try:
                self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())
                self.wfile.flush()
            except OSError:
                return

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not logged: their address holds the token, and ids of people."""
