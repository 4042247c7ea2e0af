"""One run at a time: a lease on the ledger, kept alive by a heartbeat.

On embedded DuckDB the file itself has one owner, so that whoever can write the lease may; on a
shared warehouse the lease is taken by a conditional update, and a dead owner on the same machine
is replaced at once, another's when its lease has run out.
"""

from __future__ import annotations

import logging
import os
import platform
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from tailrace.clock import Clock
from tailrace.errors import LockHeld, WarehouseFailed
from tailrace.ledger.ledger import Ledger
from tailrace.warehouse.connection import Warehouse

log = logging.getLogger(__name__)

BEATS_PER_LEASE = 4
ENDS_WITHIN_SECONDS = 5


@dataclass(frozen=True, kw_only=True)
class Lease:
    """Who holds the lock."""

    owner: str
    host: str
    process: int
    run_id: str
    expires_at: datetime

    def is_dead(self, *, now: datetime, single_writer: bool) -> bool:
        """Whether the owner can be replaced."""
        if not self.owner or single_writer or self.expires_at <= now:
            return True
        return self.host == platform.node() and not _is_alive(self.process)


@contextmanager
def lock(ledger: Ledger, *, owner: str, run_id: str, clock: Clock) -> Iterator[None]:
    """Hold the ledger for the length of a run.

    Raises:
        LockHeld: A living owner has it.
    """
    take(ledger, owner=owner, run_id=run_id, clock=clock)
    try:
        if ledger.warehouse.engine.embedded:
            yield
            return
        with _beating(ledger, owner=owner, clock=clock):
            # Nothing is written by a run that slept through its lease and lost it.
            ledger.warehouse.insist = partial(insist, ledger, owner=owner, clock=clock)
            yield
    finally:
        ledger.warehouse.insist = None
        release(ledger, owner=owner, clock=clock)


def take(ledger: Ledger, *, owner: str, run_id: str, clock: Clock) -> None:
    """Take the lease once, without waiting."""
    lease_seconds = ledger.warehouse.project.settings.lock_lease_seconds
    now = clock.now()
    held = look(ledger)
    if not held.is_dead(now=now, single_writer=ledger.warehouse.engine.embedded):
        raise LockHeld(
            f"Another run holds the lock: {held.run_id} on {held.host} (process {held.process}), "
            f"until {held.expires_at:%H:%M:%S}"
        )
    ledger.warehouse.run(
        "ledger/take_lock",
        tables=ledger.tables,
        owner=owner,
        host=platform.node(),
        process=os.getpid(),
        run_id=run_id,
        expires_at=now + timedelta(seconds=lease_seconds),
        expected=held.owner,
        expected_until=held.expires_at,
    )
    if look(ledger).owner != owner:
        raise LockHeld("Another run took the lock at the same moment")


def look(ledger: Ledger) -> Lease:
    """The lease as it stands."""
    ((owner, host, process, run_id, expires_at),) = ledger.warehouse.run(
        "ledger/look_at_lock", tables=ledger.tables
    )
    return Lease(owner=owner, host=host, process=process, run_id=run_id, expires_at=expires_at)


def release(ledger: Ledger, *, owner: str, clock: Clock) -> None:
    """Let the next run in. Where the warehouse is gone, the lease runs out by itself."""
    try:
        ledger.warehouse.run(
            "ledger/release_lock", tables=ledger.tables, owner=owner, now=clock.now()
        )
    except WarehouseFailed as error:
        log.warning("The lock could not be released: %s", error.message)


def insist(ledger: Ledger, *, owner: str, clock: Clock) -> None:
    """Renew the lease as the first step of a transaction: nobody takes it before the last one.

    Raises:
        LockHeld: Somebody already did.
    """
    _beat(ledger.warehouse, ledger, owner=owner, clock=clock)
    holder = look(ledger)
    if holder.owner != owner:
        by = holder.run_id or "another run"
        raise LockHeld(f"The lease ran out, and {by} took the lock over")


def _beat(warehouse: Warehouse, ledger: Ledger, *, owner: str, clock: Clock) -> None:
    lease_seconds = warehouse.project.settings.lock_lease_seconds
    expires_at = clock.now() + timedelta(seconds=lease_seconds)
    warehouse.run("ledger/beat_lock", tables=ledger.tables, owner=owner, expires_at=expires_at)


@contextmanager
def _beating(ledger: Ledger, *, owner: str, clock: Clock) -> Iterator[None]:
    """Renew the lease over a connection of its own, since the run's may be busy for minutes."""
    beside = ledger.warehouse.another()
    pause_seconds = beside.project.settings.lock_lease_seconds / BEATS_PER_LEASE
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(pause_seconds):
            try:
                _beat(beside, ledger, owner=owner, clock=clock)
            except WarehouseFailed as error:
                # The next beat may get through; if none does, the run loses the lock and is told.
                log.warning("The lock could not be renewed: %s", error.message)

    thread = threading.Thread(target=beat, name="tailrace-lock", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(timeout=ENDS_WITHIN_SECONDS)
        beside.client.close_connection()


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
