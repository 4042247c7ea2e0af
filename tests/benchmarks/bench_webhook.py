"""`tailrace sync` to a webhook receiver on this machine, against a bare client.

The whole command is timed, from its start to its exit: plan, outbox, requests, ledger. The bare
client is this file as a script: it reads the same rows from DuckDB, and posts the same elements in
requests of the same size with as many in flight, from its first row to its last answer.
`TAILRACE_BENCH_PEOPLE` gives another number of rows. The second figure is at 20 ms from the
receiver, where the pace is that of the requests in flight and no more that of the processor.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import orjson
import requests
from figure import Figure, quick

from tailrace.destinations.webhook.settings import WebhookSettings

PEOPLE = int(os.environ.get("TAILRACE_BENCH_PEOPLE", "10_000" if quick() else "200_000"))
TRIES = 1 if quick() else 2
LATENCY_SECONDS = 0.020
SETTINGS = WebhookSettings()
COLUMNS = ("id", "name", "email", "city", "score", "seen")
CONFIG = '[sources.salesforce]\nobjects = ["Contact"]\n[tailrace]\nfirst_run_members_max = 0\n'
AUDIENCE = f"""/* ---
audience: people
key: id
webhook: {{}}
--- */
SELECT {", ".join(COLUMNS)} FROM salesforce.contact
"""
CONTACTS = """
CREATE TABLE salesforce.contact AS
SELECT
  'c' || i AS id,
  'Person ' || (i * 7919 % 1000003) AS name,
  CASE WHEN i % 10 = 0 THEN NULL ELSE 'p' || (i * 31 % 999983) || '@example.com' END AS email,
  ['Oslo', 'Tromsø', 'Bergen', 'Zürich', '東京'][1 + i % 5] AS city,
  (i * 17 % 100000) / 7.0::DOUBLE AS score,
  TIMESTAMP '2026-01-01' + INTERVAL (i % 1000000) SECOND AS seen
FROM range($1) AS r(i)
"""


def figures() -> Iterator[Figure]:
    """Elements per second of the command, against the bare client's."""
    with tempfile.TemporaryDirectory() as folder:
        project = made(Path(folder) / "shop")
        for name, latency_seconds in (("", 0.0), ("_at_20_ms", LATENCY_SECONDS)):
            ours, bare = (
                min(measured(way, project, latency_seconds) for _ in range(TRIES))
                for way in (synced, posted)
            )
            yield Figure(
                name=f"webhook{name}_against_bare_client",
                figure=PEOPLE / ours,
                against=PEOPLE / bare,
                goal=0.7,
                unit="elements/s",
                more_is_better=True,
            )


def measured(way: Any, project: Path, latency_seconds: float) -> float:
    """The seconds that a way needs, with a receiver of its own."""
    with receiver() as service:
        if latency_seconds:
            fault = json.dumps({"delay_seconds": latency_seconds}).encode()
            control = f"{service['url']}/_control/faults"
            urllib.request.urlopen(urllib.request.Request(control, data=fault)).close()
        return float(way(project, service["url"]))


@contextmanager
def receiver() -> Iterator[Mapping[str, str]]:
    """A simulated receiver in a process of its own."""
    command = [sys.executable, "-m", "tailrace.testing", "webhook"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stdin is not None
        yield json.loads(process.stdout.readline())
        process.stdin.close()


def made(folder: Path) -> Path:
    """A project with contacts that were never delivered."""
    (folder / ".dlt").mkdir(parents=True)
    (folder / "models" / "audiences").mkdir(parents=True)
    (folder / ".dlt" / "config.toml").write_text(CONFIG)
    (folder / "models" / "audiences" / "people.sql").write_text(AUDIENCE)
    config = {"storage_compatibility_version": "v1.5.0"}
    with duckdb.connect(str(folder / "landed.duckdb"), config=config) as connection:
        connection.execute("CREATE SCHEMA salesforce")
        connection.execute(CONTACTS, [PEOPLE])
    return folder


def synced(project: Path, url: str) -> float:
    """The command, from its start to its exit, on a warehouse that has delivered nothing yet."""
    for left in project.glob("warehouse.duckdb*"):
        left.unlink()
    shutil.copy(project / "landed.duckdb", project / "warehouse.duckdb")
    environ = os.environ | {
        "DESTINATION__WEBHOOK__URL": url,
        "DESTINATION__WEBHOOK__REQUESTS_PER_SECOND_MAX": "0",
    }
    command = [sys.executable, "-m", "tailrace", "sync", "--json", "--project-dir", str(project)]
    started = time.perf_counter()
    done = subprocess.run(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    seconds = time.perf_counter() - started
    result = json.loads(done.stdout)
    assert PEOPLE == result["destinations"]["webhook"]["calls"], result["errors"]
    return seconds


def posted(project: Path, url: str) -> float:
    """The bare client, from its first row to its last answer."""
    command = [sys.executable, __file__, url, str(project / "landed.duckdb")]
    ran = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    return float(ran.stdout)


def bare_client(url: str, database: str) -> float:
    """Post all rows; the seconds that it took."""
    session = requests.Session()
    session.trust_env = False
    headers = {"Content-Type": "application/json"}

    def post(rows: list[tuple[Any, ...]]) -> None:
        elements = [
            {
                "id": f"e-{row[0]}",
                "op": "entered",
                "audience": "people",
                "key": row[0],
                "at": "2026-11-22T05:00:00Z",
                "values": dict(zip(COLUMNS, row, strict=True)),
            }
            for row in rows
        ]
        session.post(url, data=orjson.dumps(elements), headers=headers).raise_for_status()

    with (
        duckdb.connect(database, read_only=True) as connection,
        ThreadPoolExecutor(SETTINGS.requests_in_flight_max) as pool,
    ):
        started = time.perf_counter()
        cursor = connection.execute(f"SELECT {', '.join(COLUMNS)} FROM salesforce.contact")
        waiting = []
        while rows := cursor.fetchmany(SETTINGS.batch_rows_max):
            waiting.append(pool.submit(post, rows))
        for answer in waiting:
            answer.result()
        return time.perf_counter() - started


if __name__ == "__main__":
    print(bare_client(*sys.argv[1:]))
