"""The lease: one holder, renewed while it lives, free after its end."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from state.machines import SteppedClock

from tailrace.errors import LeaseLost, LockHeld, StateDamaged
from tailrace.state import lease as lease_module
from tailrace.state.folder import FolderStore
from tailrace.state.lease import LEASE, HeldLease, Lease, read_lease, unlock
from tailrace.state.store import StoreConflict

SECONDS = 60.0


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock()


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


def holder(store: FolderStore, clock: SteppedClock, **environ: str) -> HeldLease:
    return HeldLease(store, clock=clock, lease_seconds=SECONDS, environ=environ)


def take(store: FolderStore, owner: str) -> None:
    """Write a lease of another owner between two renewals."""
    while True:
        stored = store.get(LEASE)
        assert stored is not None
        taken = replace(Lease.from_bytes(stored.body), owner=owner, nonce="1")
        try:
            store.replace(LEASE, taken.to_bytes(), stored.version)
        except StoreConflict:
            continue
        return


def test_a_second_run_is_refused_and_the_holder_is_named(
    store: FolderStore, clock: SteppedClock
) -> None:
    first = holder(store, clock, GITHUB_RUN_ID="77", GITHUB_REPOSITORY="acme/shop")
    first.acquire(wait_seconds_max=0)
    with pytest.raises(LockHeld, match=r"https://github.com/acme/shop/actions/runs/77, until"):
        holder(store, clock).acquire(wait_seconds_max=0)
    first.require()
    first.release()
    second = holder(store, clock)
    second.acquire(wait_seconds_max=0)
    second.release()


def test_a_second_run_waits_for_the_lease(store: FolderStore, clock: SteppedClock) -> None:
    """The wait moves this clock, and the first run does not renew meanwhile."""
    first, second = holder(store, clock), holder(store, clock)
    first.acquire(wait_seconds_max=0)
    second.acquire(wait_seconds_max=SECONDS + 1)
    assert clock.monotonic() >= SECONDS
    with pytest.raises(LeaseLost, match="could not be renewed in time"):
        first.require()
    first.release()
    second.require()
    second.release()


def test_a_lease_that_was_taken_is_lost_at_the_next_renewal(
    store: FolderStore, clock: SteppedClock
) -> None:
    first = HeldLease(store, clock=clock, lease_seconds=0.04, environ={})
    first.acquire(wait_seconds_max=0)
    woken = []
    first.on_loss = lambda: woken.append(True)
    take(store, "another")
    assert first._thread is not None
    first._thread.join(timeout=10)
    assert woken
    with pytest.raises(LeaseLost, match="taken by process"):
        first.require()
    first.release()
    # The release of the lost lease left the other one alone.
    held = read_lease(store)
    assert held is not None
    assert "another" == held.owner


def test_the_lease_of_a_dead_process_of_this_machine_is_free(
    store: FolderStore, clock: SteppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process id of another machine or container says nothing."""
    alive = holder(store, clock)
    alive.acquire(wait_seconds_max=0)
    held = read_lease(store)
    assert held is not None
    dead = replace(held, process=2**22 + 1)
    assert not held.is_free(clock.now())
    assert dead.is_free(clock.now())
    assert not replace(dead, processes="another boot pid:[1]").is_free(clock.now())
    monkeypatch.setattr(lease_module, "BOOT_ID", Path("/nonexistent"))
    assert not dead.is_free(clock.now())
    alive.release()


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"\xff", b'{"owner": 1}'])
def test_a_damaged_lease_is_an_error_that_unlock_repairs(
    store: FolderStore, clock: SteppedClock, body: bytes
) -> None:
    store.put(LEASE, body)
    with pytest.raises(StateDamaged) as raised:
        holder(store, clock).acquire(wait_seconds_max=0)
    assert "tailrace state unlock" in raised.value.hint
    unlock(store, clock=clock)
    later = holder(store, clock)
    later.acquire(wait_seconds_max=0)
    later.release()


def test_no_two_versions_of_a_lease_have_the_same_content() -> None:
    """Object stores whose version is a checksum would take them for one."""
    one, two = (Lease(owner="x", expires_at="2026-11-27T09:00:00Z") for _ in range(2))
    assert one.to_bytes() != two.to_bytes()
    assert one == Lease.from_bytes(one.to_bytes())
    assert {"owner", "expires_at", "nonce"} <= set(json.loads(one.to_bytes()))
