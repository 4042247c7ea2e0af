"""How the cost of a command grows with the number of audiences, in processor seconds.

Each command is a process of its own, from its start to its exit, on one DuckDB file with 20,000
contacts. Prints the table of all commands and numbers of audiences to stderr, then the ratios that
have a goal. `TAILRACE_BENCH_AUDIENCES` (default 200) is the largest number.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import duckdb
from bench_delivery import LATENCY_SECONDS, source
from figure import Figure, left_out, quick

CONTACTS = 20_000
AUDIENCES_MAX = int(os.environ.get("TAILRACE_BENCH_AUDIENCES", "12" if quick() else "200"))
CHANGED_AUDIENCES = max(AUDIENCES_MAX // 20, 1)
MEMBERS_OF_SMALL = 100
# Wall seconds at `LATENCY_SECONDS` against those without. One request after the other: 200 small
# audiences take 3 times as long.
FAR_GOAL = 1.5
TRIES = 1 if quick() else 3
CONFIG = """
[sources.salesforce]
objects = ["Contact"]

[tailrace]
first_run_members_max = 0
"""
AUDIENCE = """/* ---
audience: {name}
key: id
user_id: id
track:
  changed: Person Changed
  properties: {{city: city, score: score}}
identify:
  traits: {{email: email}}
  membership_trait: {name}
guards: {{max_exited: null}}
--- */
SELECT id, email, city, score FROM salesforce.contact WHERE {condition}
"""


class Cost(NamedTuple):
    """The processor and wall seconds of one process."""

    cpu_seconds: float
    seconds: float


class ProjectConfig:
    """A project with a number of audiences over the same contacts."""

    def __init__(self, root: Path, conditions: Sequence[str], segment: Mapping[str, str]) -> None:
        self.root = root
        self.environ = os.environ | {
            "DESTINATION__SEGMENT__HOST": segment["url"],
            "DESTINATION__SEGMENT__WRITE_KEY": segment["write_key"],
            "DESTINATION__SEGMENT__EVENTS_PER_SECOND_MAX": "0",
        }
        models = root / "models" / "audiences"
        models.mkdir(parents=True)
        (root / ".dlt").mkdir()
        (root / ".dlt" / "config.toml").write_text(CONFIG)
        for number, condition in enumerate(conditions):
            name = f"people_{number:03}"
            (models / f"{name}.sql").write_text(AUDIENCE.format(name=name, condition=condition))
        self.execute("CREATE SCHEMA salesforce")
        self.execute(
            "CREATE TABLE salesforce.contact AS SELECT 'c' || i AS id, "
            "'p' || i || '@example.com' AS email, 'Oslo' AS city, (i % 97)::DOUBLE AS score, "
            f"i % {AUDIENCES_MAX} AS part, i AS number FROM range({CONTACTS}) AS r(i)"
        )

    def execute(self, sql: str) -> None:
        config = {"storage_compatibility_version": "v1.5.0"}
        with duckdb.connect(str(self.root / "warehouse.duckdb"), config=config) as connection:
            connection.execute(sql)

    def run(self, *arguments: str) -> Cost:
        """The cost of `tailrace` with arguments, which must succeed."""
        command = [sys.executable, "-m", "tailrace", *arguments, "--json"]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        started = time.perf_counter()
        process = subprocess.run(
            command, cwd=self.root, env=self.environ, capture_output=True, text=True, check=False
        )
        seconds = time.perf_counter() - started
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert process.returncode == 0, process.stdout[-2000:] + process.stderr[-2000:]
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return Cost(cpu, seconds)


def story(root: Path, audiences: int, segment: Mapping[str, str]) -> dict[str, Cost]:
    """The cost of each command for a number of audiences that hold a part of the contacts each."""
    conditions = [f"part = {number}" for number in range(audiences)]
    project = ProjectConfig(root, conditions, segment)
    # No goal depends on the first two.
    before = {} if quick() else {"validate": project.run("validate"), "plan": project.run("plan")}
    costs = before | {
        "first sync": project.run("sync"),
        # The first of them also keeps what the next ones do not compute again.
        "unchanged sync": _median(project, "sync"),
        "plan again": _median(project, "plan"),
    }
    project.execute(
        f"UPDATE salesforce.contact SET score = score + 1 WHERE part < {CHANGED_AUDIENCES} "
        "AND number % 7 = 0"
    )
    costs["few changed"] = project.run("sync")
    return costs


def _median(project: ProjectConfig, command: str) -> Cost:
    """The cost of a command that changes nothing, by the median of a few tries."""
    tries = sorted(project.run(command) for _ in range(TRIES))
    return tries[TRIES // 2]


def figures() -> Iterator[Figure]:
    """The ratios that have a goal, each measured in this run."""
    counts = [1] if quick() else [1, 10, 50]
    with tempfile.TemporaryDirectory() as folder, source() as segment:
        stories = {
            count: story(Path(folder) / f"of-{count}", count, segment)
            for count in [*counts, AUDIENCES_MAX]
        }
        first_syncs = [] if quick() else list(_first_syncs(Path(folder), segment))
    show(stories)
    many, one = stories[AUDIENCES_MAX], stories[1]
    for command in ("unchanged sync", "plan again"):
        yield ratio(f"growth: {command} of {AUDIENCES_MAX}", many[command], one[command], goal=2)
    yield ratio(
        f"growth: sync of {AUDIENCES_MAX}, {CHANGED_AUDIENCES} changed",
        many["few changed"],
        one["unchanged sync"],
        goal=4,
    )
    if quick():
        left_out("growth: first sync of small audiences", reason="a dozen are not many")
    yield from first_syncs


def _first_syncs(folder: Path, segment: Mapping[str, str]) -> Iterator[Figure]:
    """The first sync of many small audiences, against one large audience and by wall seconds."""
    one_large = ProjectConfig(folder / "large", ["true"], segment).run("sync")
    small = [f"number < {CONTACTS} AND part = {n}" for n in range(AUDIENCES_MAX)]
    many_small = ProjectConfig(folder / "small", small, segment).run("sync")
    many_far = first_sync_when_far(folder / "far", small)
    name = f"growth: first sync of {AUDIENCES_MAX} small"
    yield ratio(name, many_small, one_large, goal=8)
    yield Figure(
        name=f"{name}, wall by processor",
        figure=many_small.seconds,
        against=many_small.cpu_seconds,
        goal=0.65,
    )
    yield Figure(
        name=f"{name}, at {LATENCY_SECONDS * 1_000:.0f} ms against without latency, wall",
        figure=many_far.seconds,
        against=many_small.seconds,
        goal=FAR_GOAL,
    )


def first_sync_when_far(root: Path, conditions: Sequence[str]) -> Cost:
    """A first sync to a receiver that takes its time for each answer, as over the internet."""
    with source(LATENCY_SECONDS) as segment:
        return ProjectConfig(root, conditions, segment).run("sync")


def ratio(name: str, cost: Cost, against: Cost, *, goal: float) -> Figure:
    """The processor seconds of one command against those of another."""
    return Figure(name=name, figure=cost.cpu_seconds, against=against.cpu_seconds, goal=goal)


def show(stories: Mapping[int, Mapping[str, Cost]]) -> None:
    """Print the table of processor seconds to stderr."""
    commands = list(next(iter(stories.values())))
    rows = [["audiences", *commands]]
    for count, costs in stories.items():
        rows.append([str(count), *(f"{costs[name].cpu_seconds:.2f}" for name in commands)])
    for row in rows:
        print(" | ".join(cell.rjust(14) for cell in row), file=sys.stderr)


if __name__ == "__main__":
    print(json.dumps([str(figure) for figure in figures()], indent=1))
