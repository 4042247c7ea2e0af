"""Killed at every statement that writes and at every request, a run is finished by the next one."""

from __future__ import annotations

import os
import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from fork_server import ForkServer
from shop import PEOPLE, Shop
from simulation.receiver import Profile, profiles
from simulation.victim import LIVE, LIVE_SAVING_BESIDE, LIVE_SIDE_BY_SIDE, copy_state

from tailrace.testing.http.faults import Fault
from tailrace.testing.http.messages import Request
from tailrace.testing.segment.simulator import SegmentSimulator

BATCH_EVENTS = "4"
KILLED = -signal.SIGKILL
# A run writes more often than this.
DEATHS_MIN = 15
PREPARED, DEATHS = "prepared", "deaths"
# A limit for a hang, not a promise about speed.
pytestmark = pytest.mark.timeout(1_500)
REQUESTS_MAX = 20
# A thread that plans beside the run's own runs at least so many statements.
DEATHS_BESIDE_MAX = 7
# A thread that saves beside it has committed one plan by this statement, and not the next one.
DEATH_AFTER_A_COMMIT = 8


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
# One scenario dies at each statement. Most statements of the others are the same ones, and these
# die at every so many, or with `--all-deaths` at each.
STEPS = {_first_delivery: 2, _everything_moves: 1, _new_column_and_definition: 3}


class Scene:
    """A scenario prepared once; each death starts from a copy of its warehouse."""

    def __init__(self, folder: Path, server: ForkServer, scenario: Callable[[Shop], None]) -> None:
        self.folder, self.server = folder, server
        with SegmentSimulator() as segment:
            shop = Shop(folder, segment)
            shop.audience(PEOPLE)
            scenario(shop)
            self.before = list(segment.events)
        # The victim's simulator has another port: it takes over as the same receiver.
        with shop.connection() as connection:
            connection.execute("DELETE FROM tailrace.receivers")
        copy_state(folder, folder / PREPARED)

    def rewind(self, state: str = PREPARED) -> None:
        """The warehouse and the project's state as they were before the run, or at a death."""
        shutil.rmtree(self.folder / ".tailrace")
        (self.folder / "warehouse.duckdb.wal").unlink(missing_ok=True)
        copy_state(self.folder / state, self.folder)

    def run(self, segment: SegmentSimulator, *, deaths: Path | None = None) -> int:
        """One run, in a process of its own: its exit code, or -9 if it was killed."""
        where = (str(self.folder), segment.url, segment.write_key, BATCH_EVENTS)
        return self.server.call(LIVE, *where, deaths and str(deaths), cwd=self.folder)

    def deaths(self, segment: SegmentSimulator) -> tuple[int, list[tuple[int, bytes]]]:
        """Run once, with a copy of the state in the folder of each death's number.

        Returns:
            The number of deaths, and the requests, each with the last death before it.
        """
        folder, arrived = self.folder / DEATHS, list[tuple[int, bytes]]()
        folder.mkdir()

        def note(request: Request) -> bool:
            arrived.append((len(list(folder.iterdir())), request.content()))
            return False

        segment.faults.append(Fault(path="/v1/batch", when=note))
        assert self.run(segment, deaths=folder) == 0
        segment.faults.clear()
        return len(list(folder.iterdir())), arrived

    def check(self, segment: SegmentSimulator, control: set[str], death: str) -> None:
        """Every id of the undisturbed run arrived, and no other; the ledger adds up."""
        assert {event["messageId"] for event in segment.events} == control, death
        assert segment.inbox.clashes == [], death
        with Shop(self.folder, segment).connection() as connection:
            gaps = connection.execute(
                "SELECT sync_key FROM tailrace.audience_runs "
                "WHERE phase <> 'done' OR entered + changed + exited <> sent + rejected"
            ).fetchall()
            members = connection.execute(
                "SELECT id FROM tailrace.snapshot__people WHERE NOT _gone"
            ).fetchall()
        assert gaps == [], death
        held = _held(profiles([*self.before, *segment.events]))
        assert {key for (key,) in members} == held, death


def _held(known: dict[str, Profile]) -> set[str]:
    return {user for user, profile in known.items() if profile.member}


def _undisturbed(scene: Scene, segment: SegmentSimulator) -> set[str]:
    scene.rewind()
    assert scene.run(segment) == 0
    ids = {event["messageId"] for event in segment.events}
    segment.inbox.clear()
    return ids


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_killed_at_every_statement(
    scenario: Callable[[Shop], None],
    tmp_path: Path,
    fork_server: ForkServer,
    request: pytest.FixtureRequest,
) -> None:
    """Whatever statement is the last, the next run sends what is missing under the same ids."""
    scene = Scene(tmp_path, fork_server, scenario)
    with SegmentSimulator() as segment:
        deaths, arrived = scene.deaths(segment)
        control = {event["messageId"] for event in segment.events}
        assert deaths > DEATHS_MIN
        assert {number for number, _ in arrived} - {0, deaths}, "no batch between two deaths"
        step = 1 if request.config.getoption("--all-deaths") else STEPS[scenario]
        for death in range(1, deaths + 1, step):
            scene.rewind(f"{DEATHS}/{death}")
            segment.inbox.clear()
            for body in [body for number, body in arrived if number < death]:
                requests.post(f"{segment.url}/v1/batch", data=body, timeout=60).raise_for_status()
            assert scene.run(segment) == 0
            scene.check(segment, control, f"death {death}")


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("cut", ["before", "after"])
def test_killed_at_every_request(
    scenario: Callable[[Shop], None], cut: str, tmp_path: Path, fork_server: ForkServer
) -> None:
    """Whether Segment had taken the batch or not, it has all of them in the end, each once."""
    scene = Scene(tmp_path, fork_server, scenario)
    with SegmentSimulator() as segment:
        control = _undisturbed(scene, segment)

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
            ended = scene.run(segment)
            segment.faults.clear()
            if ended == 0 and cut == "before":
                break
            assert scene.run(segment) == 0
            scene.check(segment, control, f"at request {request}, {cut}")
            segment.inbox.clear()
            if ended == 0:
                break


def test_killed_while_audiences_are_planned_and_saved_side_by_side(
    tmp_path: Path, fork_server: ForkServer
) -> None:
    """Nothing is sent yet: the next run sends the same messages, and each of them."""
    chance = random.Random(20261127)

    def several(shop: Shop) -> None:
        shop.land([])
        shop.sync()
        for number in range(3):
            name = f"people_{number}"
            shop.audience(PEOPLE.replace("audience: people", f"audience: {name}"), name)
        shop.land(_people(5))

    scene = Scene(tmp_path, fork_server, several)
    with SegmentSimulator() as segment:
        control = _undisturbed(scene, segment)
        environ = {
            "DESTINATION__SEGMENT__HOST": segment.url,
            "DESTINATION__SEGMENT__WRITE_KEY": segment.write_key,
            "TAILRACE__FIRST_RUN_MEMBERS_MAX": "0",
        }
        for live, death in [
            *((LIVE_SIDE_BY_SIDE, n) for n in chance.sample(range(1, DEATHS_BESIDE_MAX), 2)),
            (LIVE_SAVING_BESIDE, DEATH_AFTER_A_COMMIT),
        ]:
            scene.rewind()
            died = (live, str(tmp_path), environ, death)
            assert KILLED == fork_server.call(*died, cwd=tmp_path)
            assert scene.run(segment) == 0
            assert control == {event["messageId"] for event in segment.events}, death
            assert len(control) == len(segment.events)
            segment.inbox.clear()


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
