"""A run of 50,000 rows is killed at random moments, again and again, until it comes to its end."""

from __future__ import annotations

import os
import random
import shutil
import signal
import threading
import time
from pathlib import Path

import pytest
from fork_server import ForkServer
from shop import PEOPLE, Shop
from simulation.victim import LIVE

from tailrace.testing import Fault, SegmentSimulator

KILLED = -signal.SIGKILL
ROWS = 50_000
BATCH_EVENTS = "500"
# Deaths come early enough that several of them fall into one delivery.
REACH = 0.5
TRACK_ONLY = PEOPLE.partition("identify:")[0] + (
    "--- */\nSELECT id, email, city, score FROM salesforce.contact\n"
)


class Victim:
    """A project whose runs are processes that can be killed."""

    def __init__(self, root: Path, segment: SegmentSimulator, server: ForkServer) -> None:
        self.segment = segment
        self.server = server
        self.shop = Shop(root, segment)
        self.shop.audience(TRACK_ONLY)
        self.shop.land([])
        # The installation's namespace is a part of every id: each trial starts after it is made.
        self.shop.sync()
        self.pid_file = root / "victim.pid"

    def land(self, rows: int) -> None:
        """So many people, in a file that every trial starts from."""
        with self.shop.connection() as con:
            con.execute(
                "INSERT INTO salesforce.contact SELECT 'c' || n, 'c' || n || '@example.com', "
                f"'City ' || n % 100, n / 7.0, FALSE FROM range({rows}) AS t(n)"
            )
        shutil.copy(self.shop.file, self.shop.root / "prepared.duckdb")

    def rewind(self) -> None:
        """The warehouse as it was before the first run, and a receiver without users."""
        Path(f"{self.shop.file}.wal").unlink(missing_ok=True)
        shutil.copy(self.shop.root / "prepared.duckdb", self.shop.file)
        self.segment.inbox.clear()

    def run(self, *, die_after: float | None) -> int:
        """One run's exit code, or -9 when so many seconds were over before."""
        self.pid_file.unlink(missing_ok=True)
        ended = threading.Event()
        killer = threading.Thread(target=self._kill, args=(die_after, ended))
        if die_after is not None:
            killer.start()
        where = (str(self.shop.root), self.segment.url, self.segment.write_key)
        code = self.server.call(LIVE, *where, BATCH_EVENTS, None, cwd=self.shop.root)
        ended.set()
        if die_after is not None:
            killer.join()
        return code

    def undisturbed(self) -> float:
        """The seconds of a run that is not killed."""
        self.rewind()
        started = time.monotonic()
        assert 0 == self.run(die_after=None)
        return time.monotonic() - started

    def _kill(self, after: float, ended: threading.Event) -> None:
        while not self.pid_file.exists() or not self.pid_file.read_text():
            time.sleep(0.001)
        if not ended.wait(after):
            os.kill(int(self.pid_file.read_text()), signal.SIGKILL)

    def gaps(self) -> list[tuple[object, ...]]:
        """Delivered audience runs whose numbers do not add up, and those that are not finished."""
        return self.shop.query(
            "SELECT * FROM tailrace.audience_runs "
            "WHERE phase <> 'done' OR entered + changed + exited <> sent + rejected"
        )


def test_nothing_is_lost_whenever_a_run_is_killed(
    tmp_path: Path, request: pytest.FixtureRequest, fork_server: ForkServer
) -> None:
    """Every message of an undisturbed run arrives, none else, and repetitions are identical."""
    chance = random.Random(20261122)
    left = request.config.getoption("--kills")
    with SegmentSimulator(keep=False) as segment:
        victim = Victim(tmp_path / "shop", segment, fork_server)
        victim.land(ROWS)
        whole_run = min(victim.undisturbed() for _ in range(2))
        expected = segment.inbox.ids()
        assert ROWS == len(expected)
        while left:
            victim.rewind()
            ended = KILLED
            while ended == KILLED:
                moment = chance.uniform(0.0, REACH * whole_run) if left else None
                ended = victim.run(die_after=moment)
                left -= ended == KILLED
            assert 0 == ended
            assert expected == segment.inbox.ids()
            assert [] == segment.inbox.clashes
            assert [] == victim.gaps()
            ((live,),) = victim.shop.query(
                "SELECT count(*) FROM tailrace.snapshot__people WHERE NOT _gone"
            )
            assert ROWS == live


def test_one_poison_row_among_100_000_costs_one_row(
    tmp_path: Path, fork_server: ForkServer
) -> None:
    """Its batch is split until it stands alone; all others arrive."""
    with SegmentSimulator(keep=False) as segment:
        victim = Victim(tmp_path / "shop", segment, fork_server)
        victim.land(100_000)
        segment.faults.append(Fault(path="/v1/batch", poison={"userId": "c77777"}, status=400))
        done = victim.shop.sync()
        assert (4, 99_999, 1) == (
            done.exit_code,
            done.audiences[0]["sent"],
            done.audiences[0]["rejected"],
        )
        assert 99_999 == segment.stats()["delivered"]
        # A batch of some 1,700 is halved eleven times, each half sent once.
        assert segment.stats()["batches"] < 120
        segment.faults.clear()
        assert 0 == victim.shop.sync().exit_code
        assert 100_000 == segment.stats()["delivered"]
