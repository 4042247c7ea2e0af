"""A run that dies at any operation of the store or after any batch, and the run after it."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from state.machines import DyingStore, Killed, Machine, SteppedClock

from tailrace.state.folder import FolderStore
from tailrace.testing import SegmentSimulator

BEFORE = ["Oslo"] * 6
AFTER = ["Oslo", "Bergen", "Bergen", "Oslo", "Bergen", "Oslo", "Oslo", "Molde", "Molde", "Molde"]
LEASE_SECONDS = 60.0


class World:
    """A store with one delivered run, two machines, and the messages that a second run sends."""

    def __init__(self, folder: Path, segment: SegmentSimulator) -> None:
        self.folder = folder
        self.segment = segment
        self.clock = SteppedClock()
        self.store_folder = folder / "store"
        self.machine("first").run_with(BEFORE)
        shutil.copytree(self.store_folder, folder / "prepared")
        self.segment.inbox.clear()
        counting = DyingStore(FolderStore(self.store_folder))
        self.machine("whole").run_with(AFTER, counting)
        self.operations = counting.calls
        self.expected = segment.inbox.ids()

    def machine(self, name: str) -> Machine:
        """A machine that was never used."""
        shutil.rmtree(self.folder / name, ignore_errors=True)
        return Machine(
            self.folder / name, self.store_folder.as_uri(), self.segment, clock=self.clock
        )

    def rewind(self) -> None:
        """The store as it was before the second run, and a receiver without messages."""
        shutil.rmtree(self.store_folder)
        shutil.copytree(self.folder / "prepared", self.store_folder)
        self.segment.inbox.clear()

    def finish(self) -> None:
        """A run on another machine, after the lease of the dead one ran out."""
        self.clock.sleep(LEASE_SECONDS)
        done = self.machine("other").run_with(AFTER)
        assert 0 == done.exit_code, done.errors
        assert self.expected == self.segment.inbox.ids()
        assert [] == self.segment.inbox.clashes
        # Nothing of a dead run stays in the store.
        parts = {path.name for path in (self.store_folder / "parts").iterdir()}
        manifest = (self.store_folder / "manifest.json").read_text()
        assert all(name in manifest for name in parts)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with SegmentSimulator() as segment:
        yield World(tmp_path_factory.mktemp("kills"), segment)


def test_a_run_that_dies_at_an_operation_of_the_store_is_finished(
    world: World, request: pytest.FixtureRequest
) -> None:
    """Nothing is lost, and no message gets another id."""
    moments = [(number, after) for number in range(1, world.operations + 1) for after in (0, 1)]
    kills = request.config.getoption("--state-kills")
    chosen = random.Random(20261127).sample(moments, min(kills, len(moments)))
    for number, after in chosen:
        world.rewind()
        dying = DyingStore(FolderStore(world.store_folder), die_at=number, after=bool(after))
        with pytest.raises(Killed):
            world.machine("victim").run_with(AFTER, dying)
        world.finish()


@pytest.mark.parametrize("batch", [1, 2])
def test_a_run_that_dies_while_it_sends_is_finished(world: World, batch: int) -> None:
    world.rewind()
    dying = DyingStore(FolderStore(world.store_folder))
    saved = 0

    def progress(name: str, done: int, planned: int) -> None:
        nonlocal saved
        if not name.startswith("send "):
            return
        saved += 1
        if saved == batch:
            dying.kill()
            raise Killed

    # A quick run may acknowledge everything before it reports a second time.
    with suppress(Killed):
        world.machine("victim").run_with(AFTER, dying, progress=progress)
    assert 1 <= saved <= batch
    assert world.segment.inbox.ids()
    world.finish()


def test_a_dead_run_stored_its_plan_before_its_first_request(world: World) -> None:
    """While nothing was stored, nothing was sent."""
    world.rewind()
    manifest = (world.store_folder / "manifest.json").read_bytes()
    sent_before_stored = []

    def look(number: int) -> None:
        if (world.store_folder / "manifest.json").read_bytes() == manifest:
            sent_before_stored.append(len(world.segment.inbox.ids()))

    watching = DyingStore(FolderStore(world.store_folder), before=look)
    world.machine("victim").run_with(AFTER, watching)
    assert sent_before_stored
    assert {0} == set(sent_before_stored)
