"""The page: seconds to write it for 40 audiences and 90 runs, its size, and how fast it answers
live while a run sends 200,000 messages."""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from figure import Figure, left_out, quick

sys.path.insert(0, str(Path(__file__).parents[1]))

from page_ledger import grow
from shop import PEOPLE, Shop

from tailrace.clock import SystemClock
from tailrace.project import Project
from tailrace.reporting.page.render import render_report
from tailrace.reporting.page.report import project_facts
from tailrace.reporting.page.server import PageServer
from tailrace.testing.segment.simulator import SegmentSimulator

WRITE_SECONDS_MAX = 0.5
BYTES_MAX = 1_000_000
ANSWER_SECONDS_MAX = 0.1
TRIES = 3
REQUESTS = 50 if quick() else 200
# Two messages of each.
MEMBERS = 100_000
# The run takes at least so long.
SENDING_SECONDS = 4 if quick() else 20


def figures() -> Iterator[Figure]:
    if quick():
        names = ("page_render", "page_report", "page_bytes")
        left_out(*names, reason="their goals are for 40 audiences and 90 runs")
    else:
        yield from _written()
    yield from _live()


def _written() -> Iterator[Figure]:
    """`page_render` renders and writes facts that are gathered; `page_report` is all of it."""
    with tempfile.TemporaryDirectory() as folder, SegmentSimulator() as segment:
        shop = Shop(Path(folder) / "shop", segment)
        grow(shop, audiences=40, runs=90)
        project, out = Project(shop.project), Path(folder) / "report.html"
        whole, render = [], []
        for _ in range(TRIES):
            started = time.process_time()
            project.report(out)
            whole.append(time.process_time() - started)
            facts = project_facts(shop.project, clock=shop.clock)
            started = time.process_time()
            out.write_text(render_report(facts), encoding="utf-8")
            render.append(time.process_time() - started)
        size = out.stat().st_size
    yield Figure(
        name="page_render",
        figure=min(render),
        against=WRITE_SECONDS_MAX,
        goal=1.0,
    )
    yield Figure(
        name="page_report",
        figure=min(whole),
        against=WRITE_SECONDS_MAX,
        goal=1.0,
    )
    yield Figure(
        name="page_bytes",
        figure=size / 1e6,
        against=BYTES_MAX / 1e6,
        goal=1.0,
        unit="MB",
    )


def _live() -> Iterator[Figure]:
    """The time of 95 % of the answers, for pages and for persons, while the run sends."""
    members = MEMBERS // 10 if quick() else MEMBERS
    with tempfile.TemporaryDirectory() as folder, SegmentSimulator() as segment:
        shop = Shop(Path(folder) / "shop", segment)
        rate = 2 * members // SENDING_SECONDS
        shop.environ["DESTINATION__SEGMENT__EVENTS_PER_SECOND_MAX"] = str(rate)
        shop.audience(PEOPLE)
        shop.land([])
        with shop.connection() as connection:
            connection.execute(
                "INSERT INTO salesforce.contact SELECT 'c' || i, 'c' || i || '@shop.example', "
                "'Bonn', i, FALSE FROM range(?) AS r(i)",
                [members],
            )
        seconds: dict[str, list[float]] = {"page": [], "person": []}
        with _serving(shop) as server, _sending(shop, segment) as process:
            for number in range(REQUESTS):
                if process.poll() is not None:
                    break
                name = "person" if number % 2 else "page"
                path = f"person?q=c{number * 97 % members}" if number % 2 else ""
                started = time.perf_counter()
                _get(server, server.links.root + path)
                seconds[name].append(time.perf_counter() - started)
                time.sleep(0.05)
    for name, durations in seconds.items():
        yield Figure(
            name=f"page_live_{name}",
            figure=sorted(durations)[int(len(durations) * 0.95)],
            against=ANSWER_SECONDS_MAX,
            goal=1.0,
        )


def _get(server: PageServer, path: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
        assert response.status == 200, response.status
    finally:
        connection.close()


@contextmanager
def _serving(shop: Shop) -> Iterator[PageServer]:
    with PageServer(shop.project, clock=SystemClock()) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.close()
            thread.join()


@contextmanager
def _sending(shop: Shop, segment: SegmentSimulator) -> Iterator[subprocess.Popen[bytes]]:
    """A `sync` in a process of its own, from the first message that arrives on.

    Nothing of this process reads the warehouse before: it could take the DuckDB file from the
    `sync`, which would end.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "tailrace", "sync", "--json"],
        cwd=shop.root,
        env={**os.environ, **shop.environ},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not segment.stats()["received"]:
            if process.poll() is not None:
                raise SystemExit(f"sync ended with exit code {process.returncode}")
            time.sleep(0.02)
        yield process
    finally:
        process.wait()
