"""Machines that share one ledger on a server: runs at the same moment, some of them killed."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fork_server import ForkServer
from shop import PEOPLE
from warehouses.failing_runs import MEMBERS, landed
from warehouses.racer import RACE
from warehouses.stores import MARIADB, MariadbStore, PostgresStore, Store

from tailrace.errors import LockHeld
from tailrace.testing import SegmentSimulator

SERVERS = [pytest.param("postgres", marks=pytest.mark.postgres), *MARIADB]
KILLED = -9
# Deaths are spread over a run that takes this long when it delivers a few members.
RUN_SECONDS = 0.8


class Machines:
    """Project folders of several machines with the same models, database and receiver."""

    def __init__(self, folder: Path, segment: SegmentSimulator, server: ForkServer) -> None:
        self.folder = folder
        self.segment = segment
        self.server = server
        self.stores: list[Store] = []
        self.scores: list[int] = []

    def start_with(self, kind: type[MariadbStore] | type[PostgresStore], url: str) -> None:
        """Three folders with one database, in which the contacts have landed."""
        self.stores = [
            kind(self.folder / name, self.segment, url=url) for name in ("one", "two", "three")
        ]
        landed(self.stores[0])
        for store in self.stores:
            store.audience(PEOPLE)

    def change(self) -> None:
        """Give all members a new score, which is a `changed` event of each."""
        self.scores.append(len(self.scores) + 2)
        self.stores[0].script(f"UPDATE salesforce.contact SET score = {self.scores[-1]}")

    def race(self, *kill_after: float | None) -> list[dict[str, Any]]:
        """Run as many machines at once as there are arguments."""
        entries = [
            {"root": str(store.root), "environ": store.environ, "kill_after": after}
            for store, after in zip(self.stores, kill_after, strict=False)
        ]
        (self.folder / "race.json").write_text(json.dumps(entries))
        assert 0 == self.server.call(RACE, str(self.folder), cwd=self.folder)
        ended: list[dict[str, Any]] = json.loads((self.folder / "ended.json").read_text())
        return ended

    def tracked(self) -> Counter[tuple[str, float]]:
        """How often each member's score arrived, in messages with different ids."""
        events = [event for event in self.segment.inbox.delivered if event["type"] == "track"]
        return Counter((event["userId"], event["properties"]["score"]) for event in events)


@pytest.fixture(params=SERVERS)
def machines(
    request: pytest.FixtureRequest, tmp_path: Path, fork_server: ForkServer
) -> Iterator[Machines]:
    with SegmentSimulator() as segment:
        machines = Machines(tmp_path, segment, fork_server)
        if request.param == "postgres":
            machines.start_with(PostgresStore, request.getfixturevalue("postgres_database"))
        else:
            server = request.getfixturevalue("mariadb_server")
            server.clear()
            machines.start_with(MariadbStore, server.url)
        yield machines


def test_of_several_runs_one_delivers(machines: Machines, request: pytest.FixtureRequest) -> None:
    """Also of the first ones, which create the ledger. The others send nothing and exit with 75."""
    for number in range(request.config.getoption("--races")):
        before = machines.segment.stats()["batches"]
        machines.change()
        ended = machines.race(None, None, None)
        assert {result["code"] for result in ended} <= {0, LockHeld.exit_code}
        # Where the machine is busy, all of them may run one after the other.
        assert {r["requests"] for r in ended if r["code"] == LockHeld.exit_code} <= {0}
        delivering = [result for result in ended if result["requests"]]
        assert 1 == len(delivering), (number, ended)
        sent = machines.segment.stats()["batches"] - before
        assert delivering[0]["requests"] == sent
    assert {1} == set(machines.tracked().values())
    assert MEMBERS * len(machines.scores) == len(machines.tracked())


def test_runs_that_are_killed_lose_nothing(
    machines: Machines, request: pytest.FixtureRequest
) -> None:
    """Whichever machine dies, a later run delivers each change once, under the same ids."""
    chance = random.Random(20261127)
    assert 0 == machines.stores[0].sync().exit_code
    for _ in range(request.config.getoption("--races")):
        machines.change()
        first, second = (chance.uniform(0, RUN_SECONDS) for _ in range(2))
        ended = machines.race(first, second, None)
        assert {r["code"] for r in ended} <= {0, LockHeld.exit_code, KILLED}, ended
        # The dead run's lock is free at once on this machine.
        assert 0 == machines.stores[0].sync().exit_code
    tracked = machines.tracked()
    assert {1} == set(tracked.values())
    assert [] == machines.segment.inbox.clashes
    last = {f"c{n}": machines.scores[-1] for n in range(1, MEMBERS + 1)}
    assert last == dict(sorted(tracked))
    owners = machines.stores[0].query("SELECT owner FROM tailrace.lock")
    assert [("",)] == owners
