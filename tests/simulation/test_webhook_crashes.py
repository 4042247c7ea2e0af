"""Killed at statements and requests, a delivery to a webhook is finished by the next run."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fork_server import ForkServer
from simulation.victim import LIVE_WITH
from webhook_shop import SECRET, WebhookShop

from tailrace.testing.http.faults import Fault
from tailrace.testing.webhook import WebhookReceiver

KILLED = -signal.SIGKILL
DEATHS_MAX, REQUESTS_MAX = 100, 10
# 1 kills before every statement that writes.
STEP = int(os.environ.get("TAILRACE_WEBHOOK_DEATHS_STEP", "4"))
MEMBERS = {"c1": "Oslo", "c2": "Bergen", "c3": "Bergen", "c4": "Oslo", "c5": "Oslo"}
pytestmark = pytest.mark.timeout(1_500)


class Scene:
    """Members who enter, change and leave; each death starts from a copy of the warehouse."""

    def __init__(self, folder: Path, server: ForkServer, receiver: WebhookReceiver) -> None:
        self.folder, self.server, self.receiver = folder, server, receiver
        self.shop = WebhookShop(folder, receiver.url, batch_rows_max=2)
        self.shop.header()
        self.shop.people([row(n) for n in range(4)])
        assert 0 == self.shop.sync().exit_code
        self.shop.people([row(int(name[1:]), city) for name, city in MEMBERS.items()])
        shutil.copy(self.shop.file, folder / "prepared.duckdb")
        self.rewind()
        assert 0 == self.run()
        # What an undisturbed run sends, by id.
        self.expected = {element["id"]: timeless(element) for element in receiver.elements}

    def rewind(self) -> None:
        """The warehouse as it was before the run that dies, and a receiver without elements."""
        (self.folder / "warehouse.duckdb.wal").unlink(missing_ok=True)
        shutil.copy(self.folder / "prepared.duckdb", self.shop.file)
        self.receiver.deliveries.clear()
        self.receiver.faults.clear()

    def run(self, *, die_before: int | None = None) -> int:
        """One run, in a process of its own: its exit code, or -9 if it was killed."""
        return self.server.call(
            LIVE_WITH, str(self.folder), self.shop.environ, die_before, cwd=self.folder
        )

    def check(self, death: str) -> None:
        """Every element of the undisturbed run arrived, and no other; the ledger adds up."""
        elements = self.receiver.elements
        assert self.expected == {e["id"]: timeless(e) for e in elements}, death
        # A repetition is the same element, with its time.
        assert len({str(element) for element in elements}) == len(self.expected), death
        assert [] == self.shop.query(
            "SELECT sync_key FROM tailrace.audience_runs "
            "WHERE phase <> 'done' OR entered + changed + exited <> sent + rejected"
        ), death
        members = "SELECT id, city FROM tailrace.snapshot__people__webhook WHERE NOT _gone"
        assert set(MEMBERS.items()) == set(self.shop.query(members)), death


@pytest.fixture
def scene(tmp_path: Path, fork_server: ForkServer) -> Iterator[Scene]:
    with WebhookReceiver(secrets=[SECRET]) as receiver:
        yield Scene(tmp_path, fork_server, receiver)


def row(number: int, city: str = "Oslo") -> dict[str, Any]:
    return {"id": f"c{number}", "email": f"c{number}@example.com", "city": city}


def timeless(element: dict[str, Any]) -> dict[str, Any]:
    """An element without the time of its plan, which differs between two plans."""
    return {name: value for name, value in element.items() if name != "at"}


def test_killed_before_statements(scene: Scene) -> None:
    for death in range(1, DEATHS_MAX, STEP):
        scene.rewind()
        ended = scene.run(die_before=death)
        assert ended in (KILLED, 0)
        if ended == 0:
            assert death > 15
            break
        assert 0 == scene.run()
        scene.check(f"before statement {death}")


@pytest.mark.parametrize("cut", ["before", "after"])
def test_killed_at_every_request(scene: Scene, cut: Any) -> None:
    """The request was not taken, or was taken without an answer."""
    killed = 0
    for number in range(1, REQUESTS_MAX):
        scene.rewind()
        scene.receiver.faults.append(Fault(nth=number, when=kills(scene, number), cut=cut))
        ended = scene.run()
        scene.receiver.faults.clear()
        assert 0 == scene.run()
        scene.check(f"at request {number}, {cut}")
        if ended == 0:
            break
        killed += 1
    assert killed >= 3


def kills(scene: Scene, number: int) -> Any:
    """A predicate that kills the run at its n-th request."""
    seen = 0

    def watch(_: object) -> bool:
        nonlocal seen
        seen += 1
        if seen == number:
            os.kill(int((scene.folder / "victim.pid").read_text()), signal.SIGKILL)
        return True

    return watch
