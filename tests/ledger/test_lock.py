"""One run at a time: who holds the lock, who may take it over, and what a run does that lost it."""

from __future__ import annotations

import platform
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from warehouses.desk import Desk, desk_at
from warehouses.stores import WAREHOUSES, Store, store_on

from tailrace.clock import SystemClock
from tailrace.errors import LockHeld
from tailrace.ledger.ledger import Ledger
from tailrace.ledger.lock import Lease, acquire, lock, read_lock

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
OF_NOBODY = 2**22 + 7


class StandingClock(SystemClock):
    """A clock that is put to a time by hand."""

    def __init__(self, at: datetime = NOON) -> None:
        self.at = at

    def now(self) -> datetime:
        return self.at


@pytest.fixture(scope="module", params=WAREHOUSES)
def store(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Store]:
    with store_on(request, tmp_path_factory.mktemp("store")) as store:
        yield store


@pytest.fixture(scope="module", params=WAREHOUSES[1:])
def shared_store(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Store]:
    """A warehouse that several machines may write to at the same time."""
    with store_on(request, tmp_path_factory.mktemp("shared")) as store:
        yield store


@pytest.fixture
def desk(store: Store) -> Iterator[Desk]:
    with _unlocked(store) as desk:
        yield desk


@pytest.fixture
def shared(shared_store: Store) -> Iterator[Desk]:
    with _unlocked(shared_store) as desk:
        yield desk


@contextmanager
def _unlocked(store: Store) -> Iterator[Desk]:
    """An open ledger with a free lock."""
    with desk_at(store) as desk:
        desk.clear()
        desk.warehouse.execute("UPDATE tailrace.lock SET owner = '', expires_at = '2020-01-01'")
        yield desk


def held(ledger: Ledger, **values: Any) -> None:
    """Another owner has the lock."""
    ledger.warehouse.run(
        "ledger/take_lock",
        tables=ledger.tables,
        **{
            "owner": "somebody",
            "host": "elsewhere",
            "process": OF_NOBODY,
            "run_id": "run-77",
            "expires_at": NOON + timedelta(seconds=60),
            "expected": read_lock(ledger).owner,
            "expected_until": read_lock(ledger).expires_at,
            **values,
        },
    )


def test_a_lock_is_held_for_a_run_and_given_back(desk: Desk) -> None:
    """With who, where, and until when; also where the run ends badly."""
    with pytest.raises(ZeroDivisionError):  # noqa: SIM117
        with lock(desk.ledger, owner="me", run_id="run-1", clock=StandingClock()):
            mine = read_lock(desk.ledger)
            assert ("me", platform.node(), "run-1") == (mine.owner, mine.host, mine.run_id)
            assert NOON + timedelta(seconds=60) == mine.expires_at.astimezone(UTC)
            raise ZeroDivisionError
    assert "" == read_lock(desk.ledger).owner


def test_a_living_owner_elsewhere_keeps_the_lock(shared: Desk) -> None:
    """The other run is named, and its lock is as it was."""
    held(shared.ledger)
    with (
        pytest.raises(
            LockHeld, match=r"run-77 on elsewhere \(process \d+\), until 12:01:00"
        ) as raised,
        lock(shared.ledger, owner="me", run_id="run-1", clock=StandingClock()),
    ):
        pass
    assert 75 == raised.value.exit_code
    assert "somebody" == read_lock(shared.ledger).owner


def test_an_owner_elsewhere_is_replaced_when_the_lease_has_run_out(shared: Desk) -> None:
    """Not a moment before."""
    clock = StandingClock(NOON + timedelta(seconds=59.9))
    held(shared.ledger)
    with pytest.raises(LockHeld):
        acquire(shared.ledger, owner="me", run_id="run-1", clock=clock)
    clock.at = NOON + timedelta(seconds=60)
    acquire(shared.ledger, owner="me", run_id="run-1", clock=clock)
    assert "me" == read_lock(shared.ledger).owner


def test_a_dead_owner_on_this_machine_is_replaced_at_once(shared: Desk) -> None:
    """A process that lives keeps the lock, one that is gone does not."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    held(shared.ledger, host=platform.node(), process=process.pid)
    with pytest.raises(LockHeld):
        acquire(shared.ledger, owner="me", run_id="run-1", clock=StandingClock())
    process.communicate(b"\n")
    acquire(shared.ledger, owner="me", run_id="run-1", clock=StandingClock())
    assert "me" == read_lock(shared.ledger).owner


def test_a_process_with_the_embedded_file_open_gets_the_lock() -> None:
    """The lock of a killed run in a DuckDB file blocks no other run."""
    lease = Lease(
        owner="somebody",
        host="elsewhere",
        process=1,
        run_id="x",
        expires_at=NOON + timedelta(days=1),
    )
    assert lease.is_dead(now=NOON, one_writer=True)
    assert not lease.is_dead(now=NOON, one_writer=False)


def test_an_owner_that_moved_meanwhile_is_not_replaced(shared: Desk) -> None:
    """Between reading and taking the lock, it was renewed or taken by another owner."""
    ledger = shared.ledger
    held(ledger)
    seen = read_lock(ledger)
    ledger.warehouse.run(
        "ledger/renew_lock",
        tables=ledger.tables,
        owner="somebody",
        expires_at=NOON + timedelta(seconds=75),
    )
    held(ledger, owner="me", expected="somebody", expected_until=seen.expires_at)
    assert "somebody" == read_lock(ledger).owner


def test_of_many_that_try_at_once_one_gets_the_lock(shared: Desk) -> None:
    """The others are told that it is held."""
    outcomes: list[str] = []

    def attempt(name: str, ledger: Ledger) -> None:
        try:
            acquire(ledger, owner=name, run_id=name, clock=SystemClock())
            outcomes.append(name)
        except LockHeld:
            outcomes.append("held")

    beside = [shared.warehouse.another() for _ in range(4)]
    ledgers = [Ledger(each, clock=SystemClock()) for each in beside]
    threads = [
        threading.Thread(target=attempt, args=(f"run-{n}", ledger))
        for n, ledger in enumerate(ledgers)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for each in beside:
        each.close()
    (winner,) = [outcome for outcome in outcomes if outcome != "held"]
    assert winner == read_lock(shared.ledger).owner


def test_a_lock_beats_as_long_as_its_run_lives(shared: Desk) -> None:
    """Over a connection of its own, while the run's own one is busy in a transaction."""
    shared.store.environ["TAILRACE__LOCK_LEASE_SECONDS"] = "0.2"
    try:
        with desk_at(shared.store) as desk:
            with lock(desk.ledger, owner="me", run_id="run-1", clock=SystemClock()):
                taken = read_lock(shared.ledger)
                deadline = time.monotonic() + 10
                while read_lock(shared.ledger).expires_at < taken.expires_at + timedelta(
                    seconds=0.3
                ):
                    assert time.monotonic() < deadline
                    time.sleep(0.02)
                assert "me" == read_lock(shared.ledger).owner
            assert [] == [each for each in threading.enumerate() if each.name == "tailrace-lock"]
    finally:
        del shared.store.environ["TAILRACE__LOCK_LEASE_SECONDS"]


def test_a_run_that_lost_its_lock_writes_nothing_more(shared: Desk) -> None:
    """It slept through its lease, another took over, and its next transaction does not begin."""
    with (
        lock(shared.ledger, owner="me", run_id="run-1", clock=StandingClock()),
        pytest.raises(LockHeld, match="run-2 took the lock"),
    ):
        with shared.warehouse.transaction():
            shared.warehouse.execute("UPDATE tailrace.lock SET process = 1")
        held(shared.ledger, owner="another", run_id="run-2", expires_at=NOON + timedelta(days=1))
        with shared.warehouse.transaction():
            shared.warehouse.execute("UPDATE tailrace.lock SET process = 2")
    left = read_lock(shared.ledger)
    assert ("another", OF_NOBODY) == (left.owner, left.process)


def test_a_transaction_keeps_the_lock_until_its_end(shared: Desk) -> None:
    """A process that wants to take the lock waits for it, and then finds the lease renewed."""
    beside = shared.warehouse.another()
    other = Ledger(beside, clock=SystemClock())
    seen: list[str] = []

    def take_over() -> None:
        late = StandingClock(NOON + timedelta(hours=1))
        try:
            acquire(other, owner="another", run_id="run-2", clock=late)
        except LockHeld:
            seen.append("held")

    clock = StandingClock()
    with lock(shared.ledger, owner="me", run_id="run-1", clock=clock):
        shared.warehouse.execute("UPDATE tailrace.lock SET host = 'elsewhere'")
        clock.at = NOON + timedelta(seconds=30)
        with shared.warehouse.transaction():
            thread = threading.Thread(target=take_over)
            thread.start()
            thread.join(timeout=0.3)
            assert thread.is_alive(), "the other one waits for the end of the transaction"
        thread.join(timeout=10)
    beside.close()
    assert ["held"] == seen


def test_a_lock_that_cannot_be_given_back_hides_no_error(shared: Desk) -> None:
    """The sessions are ended: the run says why it failed, and a new one gives the lock back."""
    store = shared.store
    with pytest.raises(ZeroDivisionError), desk_at(store) as desk:  # noqa: SIM117
        with lock(desk.ledger, owner="me", run_id="run-1", clock=StandingClock()):
            shared.script(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            raise ZeroDivisionError
    assert "" == read_lock(shared.ledger).owner
