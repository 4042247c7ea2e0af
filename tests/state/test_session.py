"""Commands of a project with a `state_url`: what they pull, store, refuse and send."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from state.machines import DyingStore, Machine, SteppedClock

from tailrace.cli.commands.doctor import examine
from tailrace.clock import SystemClock
from tailrace.config.project import load_project
from tailrace.errors import (
    LeaseLost,
    LockHeld,
    NothingLanded,
    StateDamaged,
    StateNotSaved,
    StateTooNew,
    StateUnknown,
    Unreachable,
)
from tailrace.project import Project
from tailrace.state.folder import FolderStore
from tailrace.state.lease import HeldLease, unlock
from tailrace.state.manifest import MANIFEST
from tailrace.testing import Fault, SegmentSimulator
from tailrace.testing.http.messages import Request

CITIES = ["Oslo"] * 6
MOVED = ["Bergen"] * 11


class World:
    """A store with one delivered run, which each test gets a copy of."""

    def __init__(self, folder: Path, segment: SegmentSimulator) -> None:
        self.folder = folder
        self.segment = segment
        self.clock = SteppedClock()
        self.store = FolderStore(folder / "store")

    def machine(self, name: str) -> Machine:
        return Machine(self.folder / name, self.store.url, self.segment, clock=self.clock)

    def api(self, machine: Machine) -> Project:
        return Project(machine.project, clock=self.clock)

    def rewrite(self, **changes: Any) -> None:
        """Change entries of the manifest."""
        stored = self.store.get(MANIFEST)
        assert stored is not None
        self.store.put(MANIFEST, json.dumps({**json.loads(stored.body), **changes}).encode())

    def generation(self) -> int:
        stored = self.store.get(MANIFEST)
        return int(json.loads(stored.body)["generation"]) if stored is not None else 0

    def requests(self) -> int:
        return int(self.segment.stats()["batches"])


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, SegmentSimulator]]:
    folder = tmp_path_factory.mktemp("prepared")
    with SegmentSimulator() as segment:
        World(folder, segment).machine("first").run_with(CITIES)
        yield folder / "store", segment


@pytest.fixture
def world(tmp_path: Path, prepared: tuple[Path, SegmentSimulator]) -> World:
    store, segment = prepared
    shutil.copytree(store, tmp_path / "store")
    segment.inbox.clear()
    return World(tmp_path, segment)


def test_a_new_machine_continues_where_the_last_one_ended(world: World) -> None:
    assert {0} == {sum((a.entered, a.exited)) for a in world.machine("a").plan().audiences}
    done = world.machine("a").run_with([*CITIES, "Molde"])
    assert (0, 1) == (done.exit_code, done.audiences[0]["entered"])
    # Stored before its first request, and once more with the acknowledgements.
    assert 4 == done.state["generation"] == world.generation()
    assert {"state", "run_id"} <= set(done.as_dict())
    done = world.machine("b").run_with([*CITIES, "Molde"])
    assert (0, 0) == (done.exit_code, done.audiences[0]["sent"])


def test_a_run_that_loses_the_race_sends_nothing(world: World) -> None:
    """Its lease was broken, and another run stored a state while it made its plan."""
    others: list[int] = []

    def interfere(number: int) -> None:
        if number == 6 and not others:
            unlock(world.store, clock=world.clock)
            others.append(world.machine("winner").run_with(MOVED).exit_code)
            others.append(world.requests())

    loser = DyingStore(world.store, before=interfere)
    done = world.machine("loser").run_with(["Molde"] * 9, loser)
    assert 0 == others[0]
    assert (75, [LeaseLost]) == (done.exit_code, [type(error) for error in done.errors])
    assert others[1] == world.requests()
    assert 4 == world.generation()


def test_a_run_that_loses_its_lease_stops_at_a_batch_boundary(world: World) -> None:
    many = ["Bergen"] * 240

    def run_out(_: Request) -> bool:
        world.clock.sleep(61)
        return False

    world.segment.faults.append(Fault(path="/v1/batch", when=run_out))
    done = world.machine("a").run_with(many)
    world.segment.faults.clear()
    assert (75, [LeaseLost]) == (done.exit_code, [type(error) for error in done.errors])
    assert 0 < world.requests() < 60
    assert 3 == world.generation()
    assert 0 == world.machine("b").run_with(many).exit_code
    assert 240 == len(world.segment.inbox.ids())
    assert [] == world.segment.inbox.clashes


class FailingStore(DyingStore):
    """A store that refuses to write the manifest from the n-th time on."""

    writes_left = 0

    def replace(self, name: str, body: bytes, expected: str | None) -> str:
        if name == MANIFEST:
            self.writes_left -= 1
            if self.writes_left < 0:
                raise Unreachable("the store is down")
        return super().replace(name, body, expected)


@pytest.mark.parametrize(("writes", "requests"), [(0, 0), (1, 3)])
def test_a_state_that_cannot_be_stored_is_never_a_success(
    world: World, writes: int, requests: int
) -> None:
    """Before the plan is stored nothing is sent; afterwards the next run sends the same ids."""
    store = FailingStore(world.store)
    store.writes_left = writes
    done = world.machine("a").run_with(MOVED, store)
    assert (1, [StateNotSaved]) == (done.exit_code, [type(error) for error in done.errors])
    assert "the store is down" in done.errors[0].message
    assert requests == world.requests()
    assert 0 == world.machine("b").run_with(MOVED).exit_code
    assert 11 == len(world.segment.inbox.ids())
    assert [] == world.segment.inbox.clashes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "in format 2"),
        ({"ledger_version": 999}, "ledger version 999"),
        ({"duckdb_version": "99.0.0", "storage_version": 9_999}, "storage version 9999"),
    ],
)
def test_a_newer_state_is_refused_before_it_is_downloaded(
    world: World, changes: dict[str, Any], message: str
) -> None:
    world.rewrite(**changes)
    shutil.rmtree(world.store.folder / "parts")
    machine = world.machine("a")
    for command in (machine.plan, lambda: machine.run_with(MOVED)):
        with pytest.raises(StateTooNew, match=message) as raised:
            command()
        assert (2, True) == (raised.value.exit_code, "pip install" in raised.value.hint)
    assert 0 == world.requests()


def test_a_file_of_a_newer_duckdb_in_an_older_format_is_read(world: World) -> None:
    world.rewrite(duckdb_version="99.0.0")
    assert world.machine("a").plan().audiences


def test_readers_need_no_lease(world: World) -> None:
    held = HeldLease(world.store, clock=world.clock, lease_seconds=60, environ={})
    held.acquire(wait_seconds_max=0)
    machine = world.machine("a")
    assert machine.plan().audiences
    assert world.api(machine).status().data["runs"]
    with pytest.raises(LockHeld, match="holds the lease") as raised:
        machine.run_with(MOVED)
    assert 75 == raised.value.exit_code
    assert "tailrace state unlock" in raised.value.hint
    held.release()
    assert 2 == world.generation()


def test_a_copy_that_is_current_is_not_pulled_again(world: World) -> None:
    machine = world.machine("a")
    machine.plan()
    shutil.rmtree(world.store.folder / "parts")
    assert machine.plan().audiences


@pytest.mark.parametrize("damage", ["cut", "other", "log"])
def test_a_copy_that_differs_is_made_whole(world: World, damage: str) -> None:
    """A run that died left a changed file, or a log that was never stored."""
    machine = world.machine("a")
    machine.plan()
    file = machine.file
    whole = file.read_bytes()
    if damage == "cut":
        file.write_bytes(whole[: len(whole) // 2])
    elif damage == "other":
        file.write_bytes(b"\0" * (len(whole) + 10))
    else:
        shutil.copyfile(file, file.with_name(f"{file.name}.wal"))
    assert {0} == {a.entered for a in machine.plan().audiences}
    assert whole == file.read_bytes()
    assert not file.with_name(f"{file.name}.wal").exists()


def test_a_part_that_is_lost_is_an_error_with_a_way_out(world: World) -> None:
    (some, *_) = sorted((world.store.folder / "parts").iterdir())
    some.unlink()
    with pytest.raises(StateDamaged, match="is missing") as raised:
        world.machine("a").plan()
    assert "tailrace state push" in raised.value.hint


def test_a_store_without_a_state_is_no_first_run_where_there_is_a_state(world: World) -> None:
    """The file of before `state_url`, and the copy of a state that was deleted."""
    machine = world.machine("a")
    machine.plan()
    (world.store.folder / MANIFEST).rename(world.folder / "kept.json")
    for command in (machine.plan, lambda: machine.run_with(MOVED)):
        with pytest.raises(StateUnknown, match="a copy of its generation 2"):
            command()
    new = world.machine("b")
    with pytest.raises(NothingLanded):
        new.plan()
    shutil.copyfile(machine.file, new.root / "warehouse.duckdb")
    for command in (new.plan, lambda: new.run_with(MOVED)):
        with pytest.raises(StateUnknown, match=r"this project has warehouse\.duckdb") as raised:
            command()
        assert "tailrace state push warehouse.duckdb" in raised.value.hint
    pushed = world.api(machine).push_state()
    assert 3 == pushed.data["generation"]
    assert {0} == {audience.entered for audience in new.plan().audiences}
    assert 0 == world.requests()


def test_another_state_url_is_no_first_run_where_there_is_a_state(world: World) -> None:
    """A misspelt prefix, or a store that the state was not moved to. Another target has its own."""
    machine = world.machine("a")
    machine.plan()
    former = machine.environ["TAILRACE__STATE_URL"]
    machine.environ["TAILRACE__STATE_URL"] = f"{former}-other"
    for command in (machine.plan, lambda: machine.run_with(MOVED)):
        with pytest.raises(StateUnknown, match=f"generation 2 from {former}: state_url") as raised:
            command()
        assert "tailrace state pull FILE" in raised.value.hint
    assert 0 == world.requests()
    config = machine.root / ".dlt" / "config.toml"
    (machine.root / ".dlt" / "dev.config.toml").write_text(config.read_text())
    dev = load_project(machine.root, target="dev", environ=machine.environ)
    with pytest.raises(NothingLanded):
        Project(dev, clock=world.clock).plan()
    backup = world.folder / "backup.duckdb"
    machine.environ["TAILRACE__STATE_URL"] = former
    world.api(machine).pull_state(backup)
    machine.environ["TAILRACE__STATE_URL"] = f"{former}-other"
    assert 1 == world.api(machine).push_state(backup).data["generation"]
    assert {0} == {audience.entered for audience in machine.plan().audiences}


def test_a_file_is_pushed_and_pulled(world: World, tmp_path: Path) -> None:
    machine = world.machine("a")
    api = world.api(machine)
    pulled = api.pull_state(tmp_path / "a" / ".." / "backup.duckdb")
    assert str(tmp_path / "backup.duckdb") == pulled.data["file"]
    with pytest.raises(NothingLanded, match="exists"):
        api.pull_state(tmp_path / "backup.duckdb")
    machine.run_with(MOVED)
    dry = api.push_state(tmp_path / "backup.duckdb", dry_run=True)
    assert (4, True) == (dry.data["replaces_generation"], dry.data["dry_run"])
    pushed = api.push_state(tmp_path / "backup.duckdb")
    assert (4, 5) == (pushed.data["replaced_generation"], pushed.data["generation"])
    # The backup knows six members in Oslo.
    moved = world.machine("b").run_with(MOVED)
    assert (5, 6) == (moved.audiences[0]["entered"], moved.audiences[0]["changed"])
    assert [] == world.segment.inbox.clashes


def test_status_doctor_and_show_name_generation_size_and_lease(world: World) -> None:
    machine = world.machine("a")
    held = HeldLease(world.store, clock=world.clock, lease_seconds=60, environ={})
    held.acquire(wait_seconds_max=0)
    shown = world.api(machine).state().data
    assert shown == world.api(machine).status().data["state"]
    assert (2, True) == (shown["generation"], shown["lease"]["held"])
    assert shown["bytes"] > shown["stored_bytes"] > 0
    config = machine.root / ".dlt" / "config.toml"
    config.write_text(
        config.read_text().replace("[tailrace]", f'[tailrace]\nstate_url = "{world.store.url}"')
    )
    checks = {check.check: check for check in examine(machine.root, None, clock=world.clock)}
    assert "generation 2" in checks["state"].found
    assert "tailrace state unlock" in checks["state lease"].hint
    released = world.api(machine).unlock_state().data["released"]
    assert released["process"] == shown["lease"]["process"]
    assert world.api(machine).unlock_state().data == {"released": None}
    assert world.api(machine).state().data["lease"] is None


def test_validate_uses_no_network(world: World) -> None:
    machine = world.machine("a")
    machine.plan()
    machine.environ["TAILRACE__STATE__CREDENTIALS__ENDPOINT_URL"] = "http://127.0.0.1:1"
    project = replace(machine.project, settings=replace(machine.project.settings))
    shutil.rmtree(world.store.folder)
    assert 0 == Project(project, clock=world.clock).validate().exit_code
    assert not world.store.folder.exists()


def test_the_file_is_stored_when_another_session_has_read(world: World) -> None:
    """DuckDB refuses a checkpoint while another session is in a transaction."""
    machine = world.machine("a")
    machine.clock = SystemClock()
    with machine.open() as warehouse:
        beside = warehouse.beside()
        beside.execute("BEGIN")
        beside.execute("SELECT count(*) FROM tailrace.runs")
        reading = threading.Timer(0.2, lambda: beside.execute("COMMIT"))
        reading.start()
        warehouse.execute("CREATE TABLE tailrace.note AS SELECT 42 AS answer")
        warehouse.save_state()
        with world.machine("b").open(read_only=True) as other:
            assert [(42,)] == other.execute("SELECT answer FROM tailrace.note")
        reading.join()
        beside.close()
