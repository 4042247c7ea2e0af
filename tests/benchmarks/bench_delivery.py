"""`tailrace sync` to a simulated Segment on this machine, against the official library's client.

The whole command is timed, from its start to its exit: plan, outbox, requests, ledger. The library
is timed from its first event to its last answer. The settings are the usual ones, without the
throttle. 200,000 people who enter by default, and 2,000,000 for the memory;
`TAILRACE_BENCH_PEOPLE` and `TAILRACE_BENCH_PEOPLE_MANY` say other numbers.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

from contacts_shop import control, made, simulator, sync
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

AUDIENCE = f"""/* ---
audience: people
key: id
user_id: id
track:
  properties: {{{", ".join(f"{name}: {name}" for name in COLUMNS)}}}
--- */
SELECT id, {", ".join(COLUMNS)} FROM salesforce.contact
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
        yield from _figures_of(made(Path(folder) / "shop", PEOPLE, AUDIENCE))
    with tempfile.TemporaryDirectory() as folder, source() as service:
        few = synced(made(Path(folder) / "few", FEW_PEOPLE, AUDIENCE), service)
        project = made(Path(folder) / "many", MANY_PEOPLE, AUDIENCE)
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


def source(latency_seconds: float = 0.0) -> AbstractContextManager[Mapping[str, str]]:
    """A simulated source that counts and reads nothing."""
    return simulator("segment", "--loose", "--forget", "--latency", str(latency_seconds))


def synced(project: Path, service: Mapping[str, str]) -> Measured:
    """The command, on a warehouse that has delivered nothing yet."""
    before = control(service, "stats")
    ran = sync(
        project,
        {
            "DESTINATION__SEGMENT__HOST": service["url"],
            "DESTINATION__SEGMENT__WRITE_KEY": service["write_key"],
            "DESTINATION__SEGMENT__EVENTS_PER_SECOND_MAX": "0",
        },
    )
    after = control(service, "stats")
    events, batches, sent = (after[n] - before[n] for n in ("received", "batches", "bytes"))
    assert ran.exit_code == 0 and events == ran.result["segment"]["calls"], ran.result["errors"]
    return Measured(events, ran.seconds, ran.cpu_seconds, ran.megabytes, fill=sent / batches)


def went(way: str, service: Mapping[str, str], project: Path, events: int) -> Measured:
    """Another way, over as many connections."""
    before = control(service, "stats")
    command = [sys.executable, str(SCRIPT), way, service["url"], service["write_key"]]
    command += [str(project / "landed.duckdb"), str(events), str(SETTINGS.requests_in_flight_max)]
    ran = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    arrived = control(service, "stats")["received"] - before["received"]
    assert arrived == events, f"{way} lost {events - arrived} events"
    return Measured(events=events, **json.loads(ran.stdout))
