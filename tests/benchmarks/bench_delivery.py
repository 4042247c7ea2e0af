"""`tailrace sync` to a simulated Segment on this machine, against the official library's client.

The whole command is timed, from its start to its exit: plan, outbox, requests, ledger. The library
is timed from its first event to its last answer. The settings are the usual ones, without the
throttle. 200,000 people who enter by default, and 2,000,000 for the memory;
`TAILRACE_BENCH_PEOPLE` and `TAILRACE_BENCH_PEOPLE_MANY` say other numbers.

A quick run delivers two smaller audiences, and computes from both what a command costs before its
first event and what each event costs. Its figures are those of the full numbers of people; those of
2,000,000 people are not judged.

The goal without latency is 4 times the library. The ceiling, which has no warehouse, no ledger and
no stable ids, is itself some 15 times as quick as the library here, so that the issue's share of it
(0.2 at 200,000 events) is 3 times. 25 times is the goal where the network takes its time.

`delivery_ceiling_encode`, `_compress` and `_post` are the processor seconds of the ceiling by step:
a quarter is the encoder and an eighth the compressor, so that most of the limit is HTTP. What a run
adds to it is DuckDB's work: to plan, to save the outbox, to render and to record the members.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

from contacts_shop import control, made, simulator, sync
from delivery_ways import COLUMNS
from figure import Figure, quick
from figure import extrapolated as seconds_at

from tailrace.config.settings import SegmentSettings

PEOPLE = int(os.environ.get("TAILRACE_BENCH_PEOPLE", "200_000"))
# Enough to fill DuckDB's cache of outbox blocks, whose limit does not depend on the audience.
# 100,000 people do not fill it, which says nothing of larger audiences. Measured: 222 MB for
# 100,000, 263 for 500,000, 260 for 2,000,000 and 267 for 4,000,000 people.
FEW_PEOPLE = 500_000
MANY_PEOPLE = int(os.environ.get("TAILRACE_BENCH_PEOPLE_MANY", "2_000_000"))
# The two audiences of a quick run.
QUICK_PEOPLE = (20_000, 120_000)
# Of the library's client a part is enough: its pace does not change.
LIBRARY_EVENTS = 5_000 if quick() else 20_000
LIBRARY_EVENTS_WHEN_FAR = 1_500 if quick() else 4_000
# The ceiling holds its messages in memory; its pace does not change either.
CEILING_EVENTS = 120_000 if quick() else 500_000
LATENCY_SECONDS = 0.080
TRIES = 2
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
    """What one process did; `fill` is the mean of its batches' bytes, `steps` seconds by step."""

    events: int
    seconds: float
    cpu_seconds: float
    megabytes: float = 0.0
    fill: float = 0.0
    steps: Mapping[str, float] | None = None


def figures() -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        if quick():
            yield from _quick_figures(Path(folder))
            return
        yield from _figures_of(made(Path(folder) / "shop", PEOPLE, AUDIENCE))
    with tempfile.TemporaryDirectory() as folder, source() as service:
        few = synced(made(Path(folder) / "few", FEW_PEOPLE, AUDIENCE), service)
        project = made(Path(folder) / "many", MANY_PEOPLE, AUDIENCE)
        ceiling_events = min(MANY_PEOPLE, CEILING_EVENTS)
        many, limit_of_many = quickest_in_turn(
            lambda: synced(project, service),
            lambda: went("ceiling", service, project, ceiling_events),
        )
    yield from _of_many(few, many, limit_of_many)


def _figures_of(project: Path) -> Iterator[Figure]:
    """The figures of one project, near the receiver and far from it."""
    with source() as service:
        ours = quickest(lambda: synced(project, service))
        theirs = quickest(lambda: went("library", service, project, LIBRARY_EVENTS))
        limit = quickest(lambda: went("ceiling", service, project, PEOPLE))
    yield from _near(ours, theirs, limit)
    with source(LATENCY_SECONDS) as service:
        ours = quickest(lambda: synced(project, service))
        theirs = quickest(lambda: went("library", service, project, LIBRARY_EVENTS_WHEN_FAR))
    yield _far(ours, theirs)


def _quick_figures(folder: Path) -> Iterator[Figure]:
    """The same figures, from two small audiences."""
    projects = [made(folder / str(people), people, AUDIENCE) for people in QUICK_PEOPLE]
    with source() as service:
        small, large = (quickest(lambda p=p: synced(p, service)) for p in projects)
        theirs = went("library", service, projects[0], LIBRARY_EVENTS)
        limit = went("ceiling", service, projects[1], CEILING_EVENTS)
    yield from _near(extrapolated(small, large, PEOPLE), theirs, limit)
    yield from _of_many(small, extrapolated(small, large, MANY_PEOPLE), limit)
    with source(LATENCY_SECONDS) as service:
        # The fixed costs are those near the receiver.
        large = synced(projects[1], service)
        theirs = went("library", service, projects[0], LIBRARY_EVENTS_WHEN_FAR)
    yield _far(extrapolated(small, large, PEOPLE), theirs)


def extrapolated(small: Measured, large: Measured, events: int) -> Measured:
    """What a larger audience would take: a command's fixed costs, and those of each event."""
    return large._replace(
        events=events,
        seconds=seconds_at((small.events, small.seconds), (large.events, large.seconds), events),
        cpu_seconds=seconds_at(
            (small.events, small.cpu_seconds), (large.events, large.cpu_seconds), events
        ),
    )


def _near(ours: Measured, theirs: Measured, limit: Measured) -> Iterator[Figure]:
    yield replace(
        against("delivery_against_library", ours, theirs, goal=4),
        full_run_only="it is near its goal, and the next figure is the same by processor time",
    )
    yield against("delivery_against_library_by_cpu", ours, theirs, goal=2, by_cpu=True)
    yield against("delivery_against_ceiling", ours, limit, goal=0.2)
    yield against("delivery_ceiling_against_library", limit, theirs, goal=None)
    for step, seconds in (limit.steps or {}).items():
        yield Figure(
            name=f"delivery_ceiling_{step}",
            figure=seconds,
            against=sum((limit.steps or {}).values()),
            goal=None,
        )
    yield Figure(
        name="delivery_batch_fill",
        figure=ours.fill,
        against=SETTINGS.batch_bytes_max,
        goal=0.9,
        unit="bytes",
        more_is_better=True,
    )


def _far(ours: Measured, theirs: Measured) -> Figure:
    return against("delivery_at_80_ms_against_library", ours, theirs, goal=25)


def _of_many(few: Measured, many: Measured, limit: Measured) -> Iterator[Figure]:
    many_rate = against("delivery_of_many_against_ceiling", many, limit, goal=0.5)
    yield replace(many_rate, full_run_only="120,000 people do not foretell 2,000,000 so exactly")
    yield Figure(
        name="delivery_memory",
        figure=many.megabytes,
        against=300,
        goal=1.0,
        unit="MB",
        full_run_only="the memory of a small audience says nothing of 2,000,000 people",
    )
    yield Figure(
        name="delivery_memory_of_many",
        figure=many.megabytes,
        against=few.megabytes,
        goal=1.10,
        unit="MB",
        full_run_only="the memory of a small audience says nothing of 2,000,000 people",
    )


def against(
    name: str, ours: Measured, theirs: Measured, *, goal: float | None, by_cpu: bool = False
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


def quickest(measure: Callable[[], Measured]) -> Measured:
    """The quickest of a few tries."""
    return min((measure() for _ in range(TRIES)), key=attrgetter("seconds"))


def quickest_in_turn(
    ours: Callable[[], Measured], limit: Callable[[], Measured]
) -> tuple[Measured, Measured]:
    """The quickest try of each side.

    They take turns: the pace of a machine drifts within a minute, and the tries of one side last
    half of that. Both sides have the same number of tries, so that turns favour neither.
    """
    ours_tries, limit_tries = zip(*[(ours(), limit()) for _ in range(TRIES)], strict=True)
    by_seconds = attrgetter("seconds")
    return min(ours_tries, key=by_seconds), min(limit_tries, key=by_seconds)


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
