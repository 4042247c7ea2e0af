"""A plan on a Sail cluster with two workers against one worker, and its messages against DuckDB's.

Ten million members of twelve columns by default, of which 1 % each were added, changed and removed;
`TAILRACE_BENCH_ROWS` says another number. The workers of a Sail cluster on one machine are threads
of one process, so each gets a core by binding the process to as many cores as it has workers. All
other settings are the same for both. `make` installs the server; the machine needs two cores.
"""

from __future__ import annotations

import gzip
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import duckdb
from bench_outbox import planned, settle
from bench_plan import AUDIENCE, COLUMNS, CONFIG, PERSON
from figure import Figure, quick

sys.path.insert(0, str(Path(__file__).parents[2] / ".venv-spark"))
sys.path.insert(0, str(Path(__file__).parents[1]))

from warehouses.spark_server import IS_INSTALLED, running_server

from tailrace.clock import SystemClock
from tailrace.config.project import ProjectConfig, load_project
from tailrace.ledger.ledger import Ledger
from tailrace.models.loader import read_models
from tailrace.plan.planner import Planner
from tailrace.plan.policy import PlanOptions
from tailrace.run import job
from tailrace.warehouse.connection import Warehouse
from tailrace.warehouse.opening import open_warehouse

PACKAGES = Path(__file__).parents[2] / ".venv-spark"
ROWS = int(os.environ.get("TAILRACE_BENCH_ROWS", "100_000" if quick() else "10_000_000"))
ROUNDS = 1 if quick() else 2
TRIES = 2 if quick() else 3
SPEED_UP_MIN = 1.4
LANDED_FILE_ROWS = 1_000_000
PARALLELISM = 4
# docs/how-to/spark.md names the reason of each.
CLUSTER = {
    "SAIL_MODE": "local-cluster",
    "SAIL_EXECUTION__DEFAULT_PARALLELISM": str(PARALLELISM),
    "SAIL_CLUSTER__SHUFFLE_BACKEND__FLIGHT__COMPRESSION": "none",
    "SAIL_PARQUET__MAX_ROW_GROUP_SIZE": "131072",
}
TODAY = "2026-11-27T12:00:00+00:00"
TYPES = {
    "age": "INTEGER",
    "score": "DOUBLE",
    "amount": "DECIMAL(18, 2)",
    "active": "BOOLEAN",
    "born": "DATE",
    "seen": "TIMESTAMP_NTZ",
    "tags": "ARRAY<STRING>",
}


class StoppedClock(SystemClock):
    """A clock whose date stands still, so that both engines write the same timestamps."""

    def now(self) -> datetime:
        return datetime.fromisoformat(TODAY).astimezone(UTC)


def figures() -> Iterator[Figure]:
    """The figures, each measured in this run."""
    if not IS_INSTALLED or len(os.sched_getaffinity(0)) < 2:
        print("spark: needs two cores, and: make .venv-spark/ready", file=sys.stderr)
        return
    with tempfile.TemporaryDirectory() as folder:
        lake, file = Path(folder, "spark"), Path(folder, "duckdb")
        with cluster(2) as uri, opened(lake_project(lake, uri)) as warehouse:
            populate(warehouse)
        one, two = plan_seconds(lake)
        yield Figure(
            name="spark: plan with one worker against two, a core for each worker",
            figure=one,
            against=two,
            goal=SPEED_UP_MIN,
            more_is_better=True,
        )
        with opened(project(file, 'warehouse = "duckdb"\n')) as warehouse:
            populate(warehouse)
        expected = sent_by(load_project(file))
        with cluster(2) as uri:
            arrived = sent_by(lake_project(lake, uri))
        yield Figure(
            name="spark: messages with the bytes of DuckDB's",
            figure=sum(left == right for left, right in zip(arrived, expected, strict=False)),
            against=max(len(arrived), len(expected)),
            goal=1.0,
            unit="messages",
            more_is_better=True,
        )


@contextmanager
def cluster(workers: int) -> Iterator[str]:
    """The URI of a Sail cluster with so many workers, on as many cores."""
    cores = os.sched_getaffinity(0)
    # A process inherits the cores of the one that starts it.
    os.sched_setaffinity(0, sorted(cores)[:workers])
    environ = {
        **CLUSTER,
        "SAIL_CLUSTER__WORKER_MAX_COUNT": str(workers),
        "PYTHONPATH": os.pathsep.join([str(PACKAGES), os.environ.get("PYTHONPATH", "")]),
    }
    with running_server(workers=workers, environ=environ) as uri:
        os.sched_setaffinity(0, cores)
        yield uri


def project(root: Path, config: str) -> ProjectConfig:
    (root / ".dlt").mkdir(parents=True, exist_ok=True)
    (root / "models" / "audiences").mkdir(parents=True, exist_ok=True)
    (root / ".dlt" / "config.toml").write_text(CONFIG + config)
    audience = AUDIENCE.replace("track:\n", "track:\n  changed: Person Changed\n")
    (root / "models" / "audiences" / "people.sql").write_text(audience)
    return load_project(root)


def lake_project(root: Path, uri: str) -> ProjectConfig:
    return project(
        root,
        f'warehouse = "spark"\n[destination.spark]\nuri = "{uri}"\nstorage = "{root / "lake"}"\n',
    )


@contextmanager
def opened(of: ProjectConfig) -> Iterator[Warehouse]:
    with open_warehouse(of, clock=StoppedClock()) as warehouse:
        yield warehouse


def populate(warehouse: Warehouse) -> None:
    """Yesterday's people as members, and today's people as landed rows."""
    ledger = Ledger(warehouse, clock=StoppedClock())
    warehouse.create_dataset("salesforce")
    ledger.install("bench")
    land(warehouse, again="", last=1)
    settle(ledger, planned(ledger))
    land(warehouse, again="", last=ROWS)
    names = ", ".join(COLUMNS)
    warehouse.execute(
        f"INSERT INTO tailrace.snapshot__people ({names}, _v, _since, _gone) SELECT {names}, 1, "
        f"CAST('{TODAY}' AS TIMESTAMP), FALSE FROM salesforce.contact WHERE id <> 'c0'"
    )
    land(warehouse, again=" again", last=ROWS + ROWS // 100, without=3)


def land(warehouse: Warehouse, *, again: str, last: int, without: int | None = None) -> None:
    """Replace the landed rows; on Spark by Parquet files, as a run lands them."""
    gone = "" if without is None else f" WHERE i % 100 <> {without} OR i >= {ROWS}"
    if warehouse.dialect == "duckdb":
        people = PERSON.format(again=again, first=0, last=last)
        warehouse.execute(f"CREATE OR REPLACE TABLE salesforce.contact AS {people}{gone}")
        return
    columns = ", ".join(f"{name} {TYPES.get(name, 'STRING')}" for name in COLUMNS)
    warehouse.execute("DROP TABLE IF EXISTS salesforce.contact")
    warehouse.execute(f"CREATE TABLE salesforce.contact ({columns})")
    with tempfile.TemporaryDirectory() as folder, duckdb.connect() as generator:
        for first in range(0, last, LANDED_FILE_ROWS):
            rows = PERSON.format(again=again, first=first, last=min(last, first + LANDED_FILE_ROWS))
            file = Path(folder, f"people-{first}.parquet")
            generator.execute(f"COPY ({rows}{gone}) TO '{file}' (FORMAT parquet)")
            warehouse.session.load_parquet(file, "salesforce.contact")
            file.unlink()


def plan_seconds(lake: Path) -> tuple[float, float]:
    """The median seconds of a plan with one worker and with two, measured in turns."""
    taken: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(ROUNDS):
        for workers, seconds in taken.items():
            with cluster(workers) as uri, opened(lake_project(lake, uri)) as warehouse:
                plan(warehouse)
                seconds += [plan(warehouse) for _ in range(TRIES)]
            print(f"spark: {ROWS:,} rows, workers {workers}: {seconds} s", file=sys.stderr)
    return statistics.median(taken[1]), statistics.median(taken[2])


def plan(warehouse: Warehouse) -> float:
    """The seconds of a whole plan: rows, keys, transitions, reasons, counts, samples."""
    ledger = Ledger(warehouse, clock=StoppedClock())
    models = read_models(warehouse.project.models_folder)
    started = time.perf_counter()
    planner = Planner(
        ledger, models, options=PlanOptions(), destinations=None, now=ledger.clock.now()
    )
    (audience,) = planner.plan(models.audiences()).audiences
    taken = time.perf_counter() - started
    assert audience.planned == ROWS // 100 * 3, audience.planned
    return taken


def sent_by(of: ProjectConfig) -> Sequence[str]:
    """The messages of a run as they arrived, in the order of their texts."""
    with receiver() as (url, bodies):
        environ = {
            **os.environ,
            "DESTINATION__SEGMENT__HOST": url,
            "DESTINATION__SEGMENT__WRITE_KEY": "bench",
            "DESTINATION__SEGMENT__EVENTS_PER_SECOND_MAX": "0",
        }
        result = job.sync(load_project(of.root, environ=environ), clock=StoppedClock())
    assert result.exit_code == 0, [error.message for error in result.errors]
    return sorted(message for body in bodies for message in messages_of(body))


def messages_of(body: bytes) -> Iterator[str]:
    """The text of each message in a request, byte for byte."""
    text = body.decode()
    decoder = json.JSONDecoder()
    start = text.index('"batch":[') + len('"batch":[')
    while text[start] != "]":
        start += text[start] == ","
        _, end = decoder.raw_decode(text, start)
        yield text[start:end]
        start = end


@contextmanager
def receiver() -> Iterator[tuple[str, list[bytes]]]:
    """A server that accepts each request, and the bodies of the requests."""
    bodies: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            is_packed = self.headers.get("Content-Encoding") == "gzip"
            bodies.append(gzip.decompress(body) if is_packed else body)
            answer = b'{"success":true}'
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", bodies
        server.shutdown()
        thread.join()
