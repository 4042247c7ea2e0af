"""`tailrace sync` to a simulated Segment on this machine, against the official library's client.

The whole command is timed, from its start to its exit: plan, outbox, requests, ledger. The library
is timed from its first event to its last answer. The settings are the usual ones, without the
throttle. 200,000 people who enter by default, and 2,000,000 for the memory;
`TAILRACE_BENCH_PEOPLE` and `TAILRACE_BENCH_PEOPLE_MANY` say other numbers.
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
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
from delivery_ways import COLUMNS
from figure import Figure, quick

from tailrace.config.settings import SegmentSettings

PEOPLE = int(os.environ.get("TAILRACE_BENCH_PEOPLE", "30_000" if quick() else "200_000"))
FEW_PEOPLE = 30_000 if quick() else 100_000
MANY_PEOPLE = int(
    os.environ.get("TAILRACE_BENCH_PEOPLE_MANY", "60_000" if quick() else "2_000_000")
)
# Of the library's client a part is enough: its pace does not change.
LIBRARY_EVENTS = 5_000 if quick() else 20_000
LIBRARY_EVENTS_WHEN_FAR = 1_500 if quick() else 4_000
# The ceiling holds its messages in memory; its pace does not change either.
CEILING_EVENTS = 500_000
LATENCY_SECONDS = 0.080
TRIES = 1 if quick() else 2
SCRIPT = Path(__file__).parent / "delivery_ways.py"
SETTINGS = SegmentSettings(write_key="")

CONFIG = '[sources.salesforce]\nobjects = ["Contact"]\n[tailrace]\nfirst_run_members_max = 0\n'
AUDIENCE = f"""/* ---
audience: people
key: id
user_id: id
track:
  properties: {{{", ".join(f"{name}: {name}" for name in COLUMNS)}}}
--- */
SELECT id, {", ".join(COLUMNS)} FROM salesforce.contact
"""
# Messages of some 440 bytes.
CONTACTS = """
CREATE TABLE salesforce.contact AS
SELECT
  'c' || i AS id,
  'Person ' || (i * 7919 % 1000003) AS name,
  CASE WHEN i % 10 = 0 THEN NULL ELSE 'p' || (i * 31 % 999983) || '@example.com' END AS email,
  ['Oslo', 'Tromsø', 'Bergen', 'Zürich', '東京'][1 + i % 5] AS city,
  CASE WHEN i % 3 = 0 THEN NULL ELSE 'note ' || (i % 1000) END AS note,
  CAST(CASE WHEN i % 7 = 0 THEN NULL ELSE i % 90 END AS INTEGER) AS age,
  (i * 17 % 100000) / 7.0::DOUBLE AS score,
  CAST((i * 13 % 10000000) / 100.0 AS DECIMAL(18, 2)) AS amount,
  i % 2 = 0 AS active,
  DATE '1950-01-01' + CAST(i % 20000 AS INTEGER) AS born,
  TIMESTAMP '2026-01-01' + INTERVAL (i % 1000000) SECOND AS seen
FROM range($1) AS r(i)
"""


class Measured(NamedTuple):
    """What one process did; `fill` is the mean of its batches' bytes."""

    events: int
    seconds: float
    cpu_seconds: float
    megabytes: float = 0.0
    fill: float = 0.0


def figures() -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        yield from _figures_of(made(Path(folder) / "shop", PEOPLE))
    with tempfile.TemporaryDirectory() as folder, source() as service:
        few = synced(made(Path(folder) / "few", FEW_PEOPLE), service)
        project = made(Path(folder) / "many", MANY_PEOPLE)
        many = synced(project, service)
        limit_of_many = went("ceiling", service, project, min(MANY_PEOPLE, CEILING_EVENTS))
    yield against("delivery_of_many_against_ceiling", many, limit_of_many, goal=0.5)
    yield Figure(name="delivery_memory", figure=many.megabytes, against=300, goal=1.0, unit="MB")
    yield Figure(
        name="delivery_memory_of_many",
        figure=many.megabytes,
        against=few.megabytes,
        goal=1.10,
        unit="MB",
    )


def _figures_of(project: Path) -> Iterator[Figure]:
    """The figures of one project, near the receiver and far from it."""
    with source() as service:
        ours = quickest(lambda: synced(project, service))
        theirs = quickest(lambda: went("library", service, project, LIBRARY_EVENTS))
        limit = quickest(lambda: went("ceiling", service, project, PEOPLE))
    yield against("delivery_against_library", ours, theirs, goal=15)
    yield against("delivery_against_library_by_cpu", ours, theirs, goal=2, by_cpu=True)
    yield against("delivery_against_ceiling", ours, limit, goal=0.2)
    yield Figure(
        name="delivery_batch_fill",
        figure=ours.fill,
        against=SETTINGS.batch_bytes_max,
        goal=0.9,
        unit="bytes",
        more_is_better=True,
    )
    with source(LATENCY_SECONDS) as service:
        ours = quickest(lambda: synced(project, service))
        theirs = quickest(lambda: went("library", service, project, LIBRARY_EVENTS_WHEN_FAR))
    yield against("delivery_at_80_ms_against_library", ours, theirs, goal=25)


def against(
    name: str, ours: Measured, theirs: Measured, *, goal: float, by_cpu: bool = False
) -> Figure:
    """Events a second of two ways, of the clock or of the processor."""
    rates = [
        each.events / (each.cpu_seconds if by_cpu else each.seconds) for each in (ours, theirs)
    ]
    return Figure(
        name=name,
        figure=rates[0],
        against=rates[1],
        goal=goal,
        unit="events/s",
        more_is_better=True,
    )


def quickest(measure: Any) -> Measured:
    """The quickest of a few tries."""
    tries: list[Measured] = [measure() for _ in range(TRIES)]
    return min(tries, key=lambda each: each.seconds)


@contextmanager
def source(latency_seconds: float = 0.0) -> Iterator[Mapping[str, str]]:
    """A simulated source in a process of its own, that counts and reads nothing."""
    command = [sys.executable, "-m", "tailrace.testing", "segment", "--loose", "--forget"]
    command += ["--latency", str(latency_seconds)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stdin is not None
        yield json.loads(process.stdout.readline())
        process.stdin.close()


def made(folder: Path, people: int) -> Path:
    """A project with this number of contacts that were never delivered."""
    (folder / ".dlt").mkdir(parents=True)
    (folder / "models" / "audiences").mkdir(parents=True)
    (folder / ".dlt" / "config.toml").write_text(CONFIG)
    (folder / "models" / "audiences" / "people.sql").write_text(AUDIENCE)
    config = {"storage_compatibility_version": "v1.5.0"}
    with duckdb.connect(str(folder / "landed.duckdb"), config=config) as connection:
        connection.execute("CREATE SCHEMA salesforce")
        connection.execute(CONTACTS, [people])
    return folder


def synced(project: Path, service: Mapping[str, str]) -> Measured:
    """The command, from its start to its exit, on a warehouse that has delivered nothing yet."""
    for left in project.glob("warehouse.duckdb*"):
        left.unlink()
    shutil.copy(project / "landed.duckdb", project / "warehouse.duckdb")
    environ = os.environ | {
        "DESTINATION__SEGMENT__HOST": service["url"],
        "DESTINATION__SEGMENT__WRITE_KEY": service["write_key"],
        "DESTINATION__SEGMENT__EVENTS_PER_SECOND_MAX": "0",
    }
    before = counts(service)
    command = [sys.executable, "-m", "tailrace", "sync", "--json", "--project-dir", str(project)]
    started = time.perf_counter()
    with subprocess.Popen(
        command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        result = json.loads(process.stdout.read())
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - started
    after = counts(service)
    events, batches, sent = (after[n] - before[n] for n in ("received", "batches", "bytes"))
    assert process.returncode == 0 and events == result["segment"]["calls"], result["errors"]
    return Measured(
        events=events,
        seconds=seconds,
        cpu_seconds=used.ru_utime + used.ru_stime,
        # Linux tells kilobytes, macOS bytes.
        megabytes=used.ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10),
        fill=sent / batches,
    )


def went(way: str, service: Mapping[str, str], project: Path, events: int) -> Measured:
    """Another way, over as many connections."""
    before = counts(service)
    command = [sys.executable, str(SCRIPT), way, service["url"], service["write_key"]]
    command += [str(project / "landed.duckdb"), str(events), str(SETTINGS.requests_in_flight_max)]
    ran = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    arrived = counts(service)["received"] - before["received"]
    assert arrived == events, f"{way} lost {events - arrived} events"
    return Measured(events=events, **json.loads(ran.stdout))


def counts(service: Mapping[str, str]) -> dict[str, Any]:
    """What the simulator has counted."""
    with urllib.request.urlopen(f"{service['url']}/_control/stats") as response:
        found: dict[str, Any] = json.load(response)
    return found
