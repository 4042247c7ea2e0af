"""Two runs on two machines begin at the same time, and some are killed; nothing is lost."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from state.azure_server import AzureServer
from state.gcs_server import GcsServer
from state.s3_server import S3Server

from tailrace.testing import SegmentSimulator

RACER = Path(__file__).with_name("racer.py")
PLACES = ("Oslo", "Bergen", "Molde")
MEMBERS_MAX = 24
KILLED_SHARE = 0.35


class Races:
    """A store, machines that race for it, and a receiver that is checked."""

    def __init__(
        self,
        folder: Path,
        url: str,
        environ: dict[str, str],
        segment: SegmentSimulator,
        process: subprocess.Popen[str],
    ) -> None:
        self.chance = random.Random(20261127)
        self.folder = folder
        self.url = url
        self.environ = environ
        self.segment = segment
        self.process = process
        self.cities: list[str] = []
        self.whole_seconds = 0.0
        self.results: list[dict[str, Any]] = []

    def entry(self, name: str, kill_after: float | None = None) -> dict[str, Any]:
        """A run of a machine; half of the machines are new."""
        if self.chance.random() < 0.5:
            shutil.rmtree(self.folder / name, ignore_errors=True)
        return {
            "root": str(self.folder / name),
            "url": self.url,
            "host": self.segment.url,
            "key": self.segment.write_key,
            "environ": self.environ,
            "cities": self.cities,
            "kill_after": kill_after,
        }

    def start(self, *entries: dict[str, Any]) -> list[dict[str, Any]]:
        """Let runs race, and return their results."""
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps(entries) + "\n")
        stdin.flush()
        results: list[dict[str, Any]] = json.loads(stdout.readline())
        self.results += results
        return results

    def move(self) -> None:
        """Change the source."""
        size = self.chance.randrange(MEMBERS_MAX + 1)
        self.cities = [self.chance.choice(PLACES) for _ in range(size)]

    def finish(self) -> None:
        """A run that is alone. It delivers what is left."""
        started = time.monotonic()
        assert [0] == [result["code"] for result in self.start(self.entry("alone"))]
        self.whole_seconds = time.monotonic() - started
        assert {f"c{n}": city for n, city in enumerate(self.cities)} == self.received()

    def play(self) -> None:
        """One race of two runs. A run that loses sends nothing."""
        self.move()
        before = self.segment.stats()["batches"]
        kills = [
            self.chance.uniform(0.0, self.whole_seconds)
            if self.chance.random() < KILLED_SHARE
            else None
            for _ in range(2)
        ]
        entries = [self.entry(name, kill) for name, kill in zip("ab", kills, strict=True)]
        results = self.start(*entries)
        codes = sorted(result["code"] for result in results)
        assert set(codes) <= {-9, 0, 75}, (codes, entries)
        assert {0} >= {result["requests"] for result in results if result["code"] == 75}
        if -9 not in codes:
            requests = sum(result["requests"] for result in results)
            assert requests == self.segment.stats()["batches"] - before

    def received(self) -> dict[str, str]:
        """The members that the receiver holds.

        Each event must follow from the one before it, so that nothing arrived twice under two ids.
        """
        members: dict[str, str] = {}
        for event in self.segment.events:
            user, city = event["userId"], event["properties"]["city"]
            if event["event"] == "Segment Entered":
                assert user not in members
                members[user] = city
            elif event["event"] == "Segment Exited":
                del members[user]
            else:
                assert members[user] != city
                members[user] = city
        assert [] == self.segment.inbox.clashes
        return members


@contextmanager
def racing(folder: Path, url: str, environ: dict[str, str]) -> Iterator[Races]:
    paths = os.pathsep.join([str(RACER.parents[1]), os.environ.get("PYTHONPATH", "")])
    with (
        SegmentSimulator() as segment,
        subprocess.Popen(
            [sys.executable, str(RACER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": paths},
        ) as process,
    ):
        try:
            races = Races(folder, url, environ, segment, process)
            races.move()
            races.finish()
            races.finish()
            yield races
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(timeout=60)


SERVERS = {"s3": "s3_server", "gcs": "gcs_server", "azure": "azure_server"}
EMULATED = [pytest.param(kind, marks=pytest.mark.engines) for kind in ("gcs", "azure")]


@pytest.mark.parametrize("kind", ["folder", "s3", *EMULATED])
def test_of_two_runs_one_delivers(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Whatever is killed, a later run brings the receiver to what the source holds."""
    url, environ = (tmp_path / "store").as_uri(), {}
    if kind in SERVERS:
        server: S3Server | GcsServer | AzureServer = request.getfixturevalue(SERVERS[kind])
        environ = server.environ("races")
        url = environ["TAILRACE__STATE_URL"]
    count = request.config.getoption("--races")
    with racing(tmp_path, url, environ) as races:
        for number in range(1, count + 1):
            races.play()
            if number % 5 == 0:
                races.finish()
        races.finish()
        codes = [result["code"] for result in races.results]
        print(kind, {code: codes.count(code) for code in set(codes)})
