"""Killed at any statement on a Spark server, a run is finished by the next one.

Delta has transactions of one table only, so that a death may leave any part of a transaction in
the tables. The next run must find none of it.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from fork_server import ForkServer
from shop import PEOPLE
from simulation.receiver import profiles
from simulation.test_crashes import _everything_moves, _held, _new_column_and_definition
from warehouses.spark_server import IS_INSTALLED
from warehouses.stores import SparkStore, Store

from tailrace.testing.segment.simulator import SegmentSimulator

pytestmark = [
    pytest.mark.spark,
    pytest.mark.skipif(not IS_INSTALLED, reason="run by: make test-engines"),
    pytest.mark.timeout(1_500),
]
LIVE = "simulation.victim:live_on_spark"
KILLED = -signal.SIGKILL
SEED = 20_261_127
DEATHS = 3
# About what a statement takes.
STATEMENT_SECONDS = 0.1


class Scene:
    """A scenario prepared once; each death starts from a copy of its storage."""

    def __init__(self, folder: Path, server: ForkServer, uri: str, scenario: object) -> None:
        self.folder, self.server, self.uri = folder, server, uri
        self.copies = 0
        self.storage = folder / "lake"
        with SegmentSimulator() as segment:
            shop = SparkStore(folder, segment, uri=uri)
            shop.audience(PEOPLE)
            scenario(shop)
            self.before = list(segment.events)
        shop.script("DELETE FROM tailrace.receivers")

    def rewind(self) -> None:
        """The tables before the run that dies, in a new folder: a server may remember a folder."""
        self.copies += 1
        self.storage = self.folder / f"lake{self.copies}"
        shutil.copytree(self.folder / "lake", self.storage)

    def run(
        self,
        segment: SegmentSimulator,
        *,
        die_before: int | None = None,
        delay_seconds: float | None = None,
    ) -> int:
        """One run, in a process of its own: its exit code, or -9 if it was killed."""
        where = (str(self.folder), segment.url, segment.write_key, str(self.storage))
        return self.server.call(LIVE, *where, die_before, delay_seconds, cwd=self.folder)

    def steps(self, segment: SegmentSimulator) -> tuple[int, set[str]]:
        """How many steps an undisturbed run has, and the ids of its messages."""
        self.rewind()
        assert self.run(segment, die_before=0) == 0
        ids = {event["messageId"] for event in segment.events}
        segment.inbox.clear()
        return int((self.folder / "steps").read_text()), ids

    def shop(self, segment: SegmentSimulator) -> Store:
        """The shop on the tables of this death."""
        return SparkStore(self.folder, segment, uri=self.uri, storage=str(self.storage))

    def check(self, segment: SegmentSimulator, control: set[str], death: str) -> None:
        """Every id of the undisturbed run arrived, and no other; the ledger adds up."""
        assert {event["messageId"] for event in segment.events} == control, death
        assert segment.inbox.clashes == [], death
        shop = self.shop(segment)
        gaps = shop.query(
            "SELECT sync_key FROM tailrace.audience_runs "
            "WHERE phase <> 'done' OR entered + changed + exited <> sent + rejected"
        )
        assert gaps == [], death
        live = shop.query("SELECT id FROM tailrace.snapshot__people WHERE NOT _gone")
        held = _held(profiles([*self.before, *segment.events]))
        assert {key for (key,) in live} == held, death
        assert len(live) == len(held), death


@pytest.fixture(params=[_everything_moves, _new_column_and_definition])
def scene(
    request: pytest.FixtureRequest, tmp_path: Path, fork_server: ForkServer, spark_server: str
) -> Iterator[Scene]:
    return Scene(tmp_path, fork_server, spark_server, request.param)


def test_killed_at_any_step(scene: Scene) -> None:
    """Before a statement that writes, between it and the commit, and before the commit."""
    deaths = int(os.environ.get("TAILRACE_TEST_DEATHS", DEATHS))
    with SegmentSimulator() as segment:
        steps, control = scene.steps(segment)
        assert steps > DEATHS
        every = range(1, steps + 1)
        for death in sorted(random.Random(SEED).sample(every, min(deaths, steps))):
            scene.rewind()
            assert scene.run(segment, die_before=death) == KILLED, death
            assert scene.run(segment) == 0, death
            scene.check(segment, control, f"death {death} of {steps}")
            segment.inbox.clear()


def test_killed_while_the_server_runs_a_statement(scene: Scene) -> None:
    """The server may end the statement after the next run has begun, which then fails at most."""
    deaths = int(os.environ.get("TAILRACE_TEST_DEATHS", DEATHS))
    with SegmentSimulator() as segment:
        steps, control = scene.steps(segment)
        seeded = random.Random(SEED + 1)
        for death in sorted(seeded.sample(range(1, steps + 1), min(deaths, steps))):
            delay_seconds = seeded.uniform(0.0, STATEMENT_SECONDS)
            scene.rewind()
            # The last steps may be over before the process is killed.
            died = scene.run(segment, die_before=death, delay_seconds=delay_seconds)
            assert died in (KILLED, 0), death
            again = scene.run(segment)
            assert again in (0, 1), death
            if again:
                assert scene.run(segment) == 0, death
            scene.check(segment, control, f"{delay_seconds} s into death {death} of {steps}")
            segment.inbox.clear()
