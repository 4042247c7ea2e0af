"""Alerts from machines that are thrown away: what was alerted is kept beside the state."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from alerts.alert_receivers import Receiver, receiving
from state.machines import TRACK_ONLY, Machine, SteppedClock, land

from tailrace.alerts.conditions import RECOVERED
from tailrace.alerts.observer import AlertObserver
from tailrace.alerts.receivers import keep_record
from tailrace.alerts.record import NAME, AlertRecord
from tailrace.errors import MissingCredential, StateNotSaved, TailraceError
from tailrace.project import Project
from tailrace.run.job import Job, open_and_carry_out, prepare
from tailrace.run.result import RunResult
from tailrace.state.folder import FolderStore
from tailrace.state.manifest import MANIFEST
from tailrace.testing import SegmentSimulator

WRITE_KEY = "DESTINATION__SEGMENT__WRITE_KEY"


class Runners:
    """New machines, each with an empty folder, that share one store and one receiver."""

    def __init__(self, folder: Path, segment: SegmentSimulator, receiver: Receiver) -> None:
        self.store = FolderStore(folder / "store")
        self.receiver = receiver
        self._folder = folder
        self._segment = segment
        self._clock = SteppedClock()
        self._count = 0

    def new(self) -> Machine:
        self._count += 1
        folder = self._folder / str(self._count)
        machine = Machine(folder, self.store.url, self._segment, clock=self._clock)
        machine.environ["TAILRACE__ALERTS__URLS"] = self.receiver.url
        return machine

    def api(self, machine: Machine) -> Project:
        return Project(machine.project, clock=self._clock)

    def run(self, members: int, *, store: FolderStore | None = None) -> RunResult:
        """A run on a new machine, with a guard that holds two exits."""
        machine = self.new()
        sql = TRACK_ONLY.replace("key: id", "key: id\nguards: {max_exited: 1}")
        machine.audience(sql)
        return open_and_carry_out(
            machine.project,
            prepare(machine.project, Job(command="sync")),
            clock=self._clock,
            store=store,
            before=lambda warehouse: land(warehouse, ["Oslo"] * members),
            observers=(AlertObserver(machine.project, "sync", clock=self._clock),),
        )

    def fail(self) -> None:
        """A run on a new machine without the write key."""
        machine = self.new()
        del machine.environ[WRITE_KEY]
        with pytest.raises(MissingCredential):
            self.api(machine).sync()

    def alerted(self) -> list[list[str]]:
        """What each alert since the last look says of each subject."""
        messages = [body["message"].splitlines() for body in self.receiver.bodies]
        self.receiver.taken.clear()
        return [
            [line[2:].partition(":")[0] for line in message if line.startswith("- ")]
            for message in messages
        ]


class FullStore(FolderStore):
    """A store that takes no manifest any more."""

    def replace(self, name: str, body: bytes, expected: str | None) -> str:
        if name == MANIFEST:
            raise StateNotSaved("The store is full")
        return super().replace(name, body, expected)


@pytest.fixture
def runners(tmp_path: Path) -> Iterator[Runners]:
    with SegmentSimulator() as segment, receiving() as receiver:
        yield Runners(tmp_path, segment, receiver)


def test_a_failure_before_there_is_a_ledger_is_alerted_once(runners: Runners) -> None:
    """Each run is on a machine of its own; the first success recovers it once."""
    for _ in range(2):
        runners.fail()
    assert [["tailrace sync failed"]] == runners.alerted()
    record = runners.store.get(NAME)
    assert record is not None
    assert b'{"command:sync": "failed"}' in record.body
    assert b"127.0.0.1" not in record.body
    assert 0 == runners.run(4).exit_code
    assert [["tailrace sync recovered (was failed)"]] == runners.alerted()
    record = runners.store.get(NAME)
    assert record is not None
    assert {} == json.loads(record.body)["alerted"]


def test_what_a_ledger_recorded_that_was_not_stored_is_not_alerted_again(runners: Runners) -> None:
    """A failure that begins and an audience that recovers: the stored ledger knows of neither."""
    runners.run(4)
    assert 3 == runners.run(1).exit_code
    assert [["people is held"]] == runners.alerted()
    done = runners.run(4, store=FullStore(runners.store.folder))
    assert 1 == done.exit_code
    assert [["people recovered (was held)"], ["the state failed"]] == runners.alerted()
    assert 0 == runners.run(4).exit_code
    assert [["the state recovered (was failed)"]] == runners.alerted()


@pytest.mark.parametrize("problem", ["held", RECOVERED])
def test_what_is_kept_of_a_ledger_is_newer_than_the_stored_one(
    runners: Runners, problem: str
) -> None:
    project = runners.new().project
    url = project.alerts().urls[0]
    keep_record(project, {url: {"people": problem}})
    assert {"people": problem} == AlertRecord(runners.new().project).open([url])[url]


def test_two_machines_that_record_at_once_keep_both_problems(runners: Runners) -> None:
    """The second write is refused, read again and repeated with its own changes."""
    project = runners.new().project
    first, second = AlertRecord(project), AlertRecord(project)
    first.save({"u": {"a": "failed", "b": "late"}, "v": {"a": "failed"}})
    second.save({"u": {"c": "held"}, "v": {}})
    third = AlertRecord(runners.new().project)
    assert {"u": {"a": "failed", "b": "late", "c": "held"}, "v": {"a": "failed"}} == third.open(
        "uv"
    )
    first.save({"u": {"b": "late"}, "v": {}})
    assert {"u": {"b": "late", "c": "held"}, "v": {}} == AlertRecord(project).open("uv")


def test_a_store_that_cannot_be_reached_leaves_the_record_on_this_machine(
    runners: Runners, tmp_path: Path
) -> None:
    """It moves to the store with the next write."""
    machine = runners.new()
    url = machine.environ["TAILRACE__STATE_URL"]
    (tmp_path / "no-folder").write_text("")
    machine.environ["TAILRACE__STATE_URL"] = (tmp_path / "no-folder" / "store").as_uri()
    AlertRecord(machine.project).save({"u": {"a": "failed"}})
    machine.environ["TAILRACE__STATE_URL"] = url
    record = AlertRecord(machine.project)
    assert {"u": {"a": "failed"}} == record.open("u")
    record.save({"u": {"a": "failed", "b": "late"}})
    assert not (machine.project.state_folder / NAME).exists()
    elsewhere = AlertRecord(runners.new().project)
    assert {"u": {"a": "failed", "b": "late"}} == elsewhere.open("u")


def test_a_check_that_cannot_read_the_ledger_is_alerted_once(runners: Runners) -> None:
    """By `status --check`, which also finds its end."""
    runners.run(4)
    manifest = runners.store.get(MANIFEST)
    assert manifest is not None
    runners.store.put(MANIFEST, b"{}")
    for _ in range(2):
        with pytest.raises(TailraceError):
            runners.api(runners.new()).status(check=True)
    assert [["tailrace status failed"]] == runners.alerted()
    runners.store.put(MANIFEST, manifest.body)
    assert 0 == runners.api(runners.new()).status(check=True).exit_code
    assert [["tailrace status recovered (was failed)"]] == runners.alerted()
