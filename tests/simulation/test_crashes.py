"""Killed at every statement and at every request, a run is finished by the next one."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from shop import PEOPLE, Shop
from simulation.receiver import Profile, profiles

from tailrace.testing.http.faults import Fault
from tailrace.testing.segment.simulator import SegmentSimulator

VICTIM = Path(__file__).with_name("victim.py")
STATEMENTS_MAX = 400
# Each statement costs two runs; a limit for a hang, not a promise about speed.
pytestmark = pytest.mark.timeout(1_500)
REQUESTS_MAX = 20


def _people(count: int, city: str = "Oslo", first: int = 0) -> list[dict[str, Any]]:
    return [
        {"id": f"c{n}", "email": f"c{n}@example.com", "city": city} for n in range(first, count)
    ]


def _first_delivery(shop: Shop) -> None:
    shop.land([])
    shop.sync()
    shop.land(_people(5))


def _everything_moves(shop: Shop) -> None:
    shop.land(_people(5))
    shop.sync()
    shop.land([*_people(2), *_people(4, "Bergen", 2), *_people(7, "Tromsø", 5)])


def _new_column_and_definition(shop: Shop) -> None:
    shop.land(_people(5))
    shop.sync()
    edited = PEOPLE.replace("score: score}", "score: score, again: upper_city}")
    edited = edited.replace("score FROM", "score, upper(city) AS upper_city FROM")
    shop.audience(edited + " AND id <> 'c0'")
    shop.land([*_people(4), *_people(6, "Bergen", 4)])


SCENARIOS = [_first_delivery, _everything_moves, _new_column_and_definition]


class Scene:
    """A scenario prepared once; each death starts from a copy of its warehouse."""

    def __init__(self, folder: Path, scenario: Callable[[Shop], None]) -> None:
        self.folder = folder
        with SegmentSimulator() as segment:
            shop = Shop(folder, segment)
            shop.audience(PEOPLE)
            scenario(shop)
            self.before = list(segment.events)
        # The victim's simulator has another port: it takes over as the same receiver.
        with shop.connection() as connection:
            connection.execute("DELETE FROM tailrace.receivers")
        shutil.copy(shop.file, folder / "prepared.duckdb")

    def rewind(self) -> None:
        """The warehouse as it was before the run that dies."""
        wal = self.folder / "warehouse.duckdb.wal"
        wal.unlink(missing_ok=True)
        shutil.copy(self.folder / "prepared.duckdb", self.folder / "warehouse.duckdb")

    @contextmanager
    def process(self, segment: SegmentSimulator) -> Iterator[Callable[[str], str]]:
        """The victim, as a function from a line to its answer."""
        where = (str(self.folder), segment.url, segment.write_key)
        command = [sys.executable, str(VICTIM), *where, "4"]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            stdin, stdout = process.stdin, process.stdout

            def ask(line: str) -> str:
                stdin.write(line + "\n")
                stdin.flush()
                return stdout.readline().strip()

            try:
                yield ask
            finally:
                stdin.close()
                process.wait(timeout=30)

    def check(self, segment: SegmentSimulator, control: set[str], death: str) -> None:
        """Every id of the undisturbed run arrived, and no other; the ledger adds up."""
        assert {event["messageId"] for event in segment.events} == control, death
        assert segment.inbox.clashes == [], death
        shop = Shop(self.folder, segment)
        gaps = shop.query(
            "SELECT sync_key FROM tailrace.audience_runs "
            "WHERE phase <> 'done' OR entered + changed + exited <> sent + rejected"
        )
        assert gaps == [], death
        live = shop.query("SELECT id FROM tailrace.snapshot__people WHERE NOT _gone")
        held = _held(profiles([*self.before, *segment.events]))
        assert {key for (key,) in live} == held, death


def _held(known: dict[str, Profile]) -> set[str]:
    return {user for user, profile in known.items() if profile.member}


def _undisturbed(scene: Scene, ask: Callable[[str], str], segment: SegmentSimulator) -> set[str]:
    scene.rewind()
    assert ask("run") == "exit 0"
    ids = {event["messageId"] for event in segment.events}
    segment.inbox.clear()
    return ids


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_killed_at_every_statement(scenario: Callable[[Shop], None], tmp_path: Path) -> None:
    """Whatever statement is the last, the next run sends what is missing under the same ids."""
    scene = Scene(tmp_path, scenario)
    with SegmentSimulator() as segment, scene.process(segment) as ask:
        control = _undisturbed(scene, ask, segment)
        for statement in range(1, STATEMENTS_MAX):
            scene.rewind()
            ended = ask(f"statement {statement}")
            if ended != "killed":
                assert ended == "exit 0"
                break
            assert ask("run") == "exit 0"
            scene.check(segment, control, f"before statement {statement}")
            segment.inbox.clear()
        else:
            pytest.fail("the run has more statements than the test is ready for")


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("cut", ["before", "after"])
def test_killed_at_every_request(
    scenario: Callable[[Shop], None], cut: str, tmp_path: Path
) -> None:
    """Whether Segment had taken the batch or not, it has all of them in the end, each once."""
    scene = Scene(tmp_path, scenario)
    with SegmentSimulator() as segment, scene.process(segment) as ask:
        control = _undisturbed(scene, ask, segment)

        def kill(_: object) -> bool:
            os.kill(int((tmp_path / "victim.pid").read_text()), signal.SIGKILL)
            return True

        for request in range(1, REQUESTS_MAX):
            scene.rewind()
            segment.faults.clear()
            if cut == "before":
                counted = Fault(
                    path="/v1/batch", nth=request, when=_on(request, kill), cut="before"
                )
                segment.faults.append(counted)
            else:
                segment.faults.append(Fault(path="/v1/batch", nth=request, cut="after", times=99))
            ended = ask("run")
            segment.faults.clear()
            if ended == "exit 0" and cut == "before":
                break
            assert ask("run") == "exit 0"
            scene.check(segment, control, f"at request {request}, {cut}")
            segment.inbox.clear()
            if ended == "exit 0":
                break


def _on(number: int, act: Callable[[object], bool]) -> Callable[[object], bool]:
    """A predicate that acts on its n-th call and is true from the first."""
    seen = 0

    def watch(request: object) -> bool:
        nonlocal seen
        seen += 1
        if seen == number:
            act(request)
        return True

    return watch
