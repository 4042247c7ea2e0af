"""Killed at any statement on a MariaDB server, a run is finished by the next one.

A statement that creates or alters a table commits the open transaction there, so that a death may
leave any part of an installation, of a new column or of a plan's tables.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fork_server import ForkServer
from shop import PEOPLE
from simulation.test_crashes import (
    KILLED,
    _everything_moves,
    _first_delivery,
    _new_column_and_definition,
    _people,
)
from simulation.test_spark_crashes import SEED
from simulation.test_spark_crashes import Scene as ServerScene
from simulation.victim import LIVE_ON_MARIADB
from warehouses import mariadb_server as servers
from warehouses.mariadb_server import MariadbServer
from warehouses.stores import MariadbStore, Store

from tailrace.testing.segment.simulator import SegmentSimulator

pytestmark = [
    pytest.mark.engines,
    pytest.mark.skipif(not servers.is_installed(), reason="run by: make test-engines"),
    pytest.mark.timeout(1_500),
]
DEATHS = 6


def _no_ledger(shop: Store) -> None:
    """The run that dies creates the tables of the ledger."""
    shop.land(_people(5))


class Scene(ServerScene):
    """The same with the databases of a server, which are copied."""

    def __init__(
        self,
        folder: Path,
        server: ForkServer,
        databases: MariadbServer,
        scenario: Callable[[Store], None],
    ) -> None:
        self.folder, self.server, self.databases = folder, server, databases
        databases.clear()
        with SegmentSimulator() as segment:
            shop = self.shop(segment)
            shop.audience(PEOPLE)
            scenario(shop)
            self.before = list(segment.events)
        if scenario is not _no_ledger:
            shop.script("DELETE FROM tailrace.receivers")
        databases.keep()

    def rewind(self) -> None:
        self.databases.restore()

    def shop(self, segment: SegmentSimulator) -> MariadbStore:
        return MariadbStore(self.folder, segment, url=self.databases.url)

    def run(
        self,
        segment: SegmentSimulator,
        *,
        die_before: int | None = None,
        delay_seconds: float | None = None,
    ) -> int:
        assert delay_seconds is None, "the server ends a statement of a lost connection"
        where = (str(self.folder), segment.url, segment.write_key)
        return self.server.call(LIVE_ON_MARIADB, *where, die_before, cwd=self.folder)


@pytest.fixture(params=[_no_ledger, _first_delivery, _everything_moves, _new_column_and_definition])
def scene(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    fork_server: ForkServer,
    mariadb_server: MariadbServer,
) -> Iterator[Scene]:
    yield Scene(tmp_path, fork_server, mariadb_server, request.param)
    mariadb_server.forget()


def test_killed_at_any_statement(scene: Scene, request: pytest.FixtureRequest) -> None:
    """With `--all-deaths` at each; otherwise at some of them, the same ones in each run."""
    with SegmentSimulator() as segment:
        steps, control = scene.steps(segment)
        every = range(1, steps + 1)
        assert steps > DEATHS
        sample = random.Random(SEED).sample(every, DEATHS)
        for death in every if request.config.getoption("--all-deaths") else sorted(sample):
            scene.rewind()
            assert scene.run(segment, die_before=death) == KILLED, death
            assert scene.run(segment) == 0, death
            scene.check(segment, control, f"death {death} of {steps}")
            segment.inbox.clear()
