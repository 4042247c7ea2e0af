"""`tailrace sync` to a webhook receiver on this machine, against a bare client.

Both are timed as whole processes, from their start to their exit. The command plans, writes its
outbox and its ledger, and posts. The bare client is this file as a script: it reads the same rows
from DuckDB, and posts the same elements in requests of the same size with as many in flight; its
ids and times are as long as the command's, so that the receiver reads as many bytes.
`TAILRACE_BENCH_PEOPLE` gives another number of rows. The second figure is at 20 ms from the
receiver, where the pace is that of the requests in flight and no more that of the processor.

A quick run delivers two smaller audiences and computes the seconds of the full number: what a way
takes before its first request is in both. One try of each is too few to judge the ratio, which is
near its goal. It leaves out the second figure.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import duckdb
import orjson
import requests
from contacts_shop import control, made, simulator, sync
from figure import Figure, extrapolated, left_out, quick

from tailrace.destinations.webhook.settings import WebhookSettings

PEOPLE = int(os.environ.get("TAILRACE_BENCH_PEOPLE", "200_000"))
# The two audiences of a quick run.
QUICK_PEOPLE = (20_000, 80_000)
TRIES = 1 if quick() else 3
LATENCY_SECONDS = 0.020
SETTINGS = WebhookSettings()
# Times as the command writes them.
TIMES = orjson.OPT_NAIVE_UTC | orjson.OPT_UTC_Z
NAME = "webhook_against_bare_client"
NAME_FAR = "webhook_at_20_ms_against_bare_client"
Service = Mapping[str, str]
Way = Callable[[Path, str], float]
COLUMNS = ("id", "name", "email", "city", "score", "seen")
AUDIENCE = f"""/* ---
audience: people
key: id
webhook: {{}}
--- */
SELECT {", ".join(COLUMNS)} FROM salesforce.contact
"""


def figures() -> Iterator[Figure]:
    """Elements per second of the command, against the bare client's."""
    seconds = _quick_seconds if quick() else _seconds
    with tempfile.TemporaryDirectory() as folder, simulator("webhook") as service:
        for name, ours, bare in seconds(Path(folder), service):
            yield Figure(
                name=name,
                figure=PEOPLE / ours,
                against=PEOPLE / bare,
                goal=0.7,
                unit="elements/s",
                more_is_better=True,
                full_run_only="one try of small audiences is too few so near its goal",
            )


def _seconds(folder: Path, service: Service) -> Iterator[tuple[str, float, float]]:
    """Each figure with the seconds of the command and of the bare client."""
    project = made(folder / "shop", PEOPLE, AUDIENCE)
    yield NAME, *quickest(project, service, tries=TRIES)
    control(service, "faults", {"delay_seconds": LATENCY_SECONDS})
    # A try takes ten seconds, and one is enough.
    yield NAME_FAR, *quickest(project, service, tries=1)


def _quick_seconds(folder: Path, service: Service) -> Iterator[tuple[str, float, float]]:
    """The same near the receiver, from two small audiences."""
    few, many = (
        [(people, seconds) for seconds in quickest(project, service, tries=TRIES)]
        for people in QUICK_PEOPLE
        for project in [made(folder / str(people), people, AUDIENCE)]
    )
    ours, bare = (extrapolated(*points, PEOPLE) for points in zip(few, many, strict=True))
    yield NAME, ours, bare
    left_out(NAME_FAR, reason="waiting takes its time")


def quickest(project: Path, service: Service, *, tries: int) -> tuple[float, float]:
    """The seconds of the quickest try of the command and of the bare client, taken in turn."""
    taken = [[measured(way, project, service) for way in (synced, posted)] for _ in range(tries)]
    ours, bare = (min(seconds) for seconds in zip(*taken, strict=True))
    return ours, bare


def measured(way: Way, project: Path, service: Service) -> float:
    """The seconds that a way needs, with a receiver that has nothing yet."""
    control(service, "deliveries", method="DELETE")
    return way(project, service["url"])


def synced(project: Path, url: str) -> float:
    """The command, on a warehouse that has delivered nothing yet."""
    ran = sync(
        project,
        {"DESTINATION__WEBHOOK__URL": url, "DESTINATION__WEBHOOK__REQUESTS_PER_SECOND_MAX": "0"},
    )
    sent = ran.result["destinations"]["webhook"]["calls"]
    assert sent and sent == ran.result["audiences"][0]["sent"], ran.result["errors"]
    return ran.seconds


def posted(project: Path, url: str) -> float:
    """The bare client, from its start to its exit."""
    command = [sys.executable, __file__, url, str(project / "landed.duckdb")]
    started = time.perf_counter()
    subprocess.run(command, check=True)
    return time.perf_counter() - started


def bare_client(url: str, database: str) -> None:
    """Post all rows."""
    session = requests.Session()
    session.trust_env = False
    headers = {"Content-Type": "application/json"}

    def post(rows: list[tuple[Any, ...]]) -> None:
        elements = [
            {
                "id": f"tr1-{place:040x}",
                "op": "entered",
                "audience": "people",
                "key": row[0],
                "at": "2026-11-22T05:00:00.000000Z",
                "values": dict(zip(COLUMNS, row, strict=True)),
            }
            for place, row in enumerate(rows)
        ]
        session.post(
            url, data=orjson.dumps(elements, option=TIMES), headers=headers
        ).raise_for_status()

    with (
        duckdb.connect(database, read_only=True) as connection,
        ThreadPoolExecutor(SETTINGS.requests_in_flight_max) as pool,
    ):
        cursor = connection.execute(f"SELECT {', '.join(COLUMNS)} FROM salesforce.contact")
        waiting = []
        while rows := cursor.fetchmany(SETTINGS.batch_rows_max):
            waiting.append(pool.submit(post, rows))
        for answer in waiting:
            answer.result()


if __name__ == "__main__":
    bare_client(*sys.argv[1:])
