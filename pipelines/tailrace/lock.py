"""One run at a time: a lease on the ledger, kept alive by a heartbeat.

On embedded DuckDB the file itself has one owner, so that whoever can write the lease may; on a
shared warehouse the lease is taken by a conditional update, and a dead owner on the same machine
is replaced at once, another's when its lease has run out.
"""

from __future__ import annotations

import os
import platform
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from tailrace.clock import Clock
from tailrace.errors import LockHeld
from tailrace.ledger import Ledger

BEATS_PER_LEASE = 4


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
    beating = threading.Event()
    thread = _start_beating(ledger, owner=owner, clock=clock, ended=beating)
    try:
        yield
    finally:
        beating.set()
        if thread is not None:
            thread.join(timeout=5)
        release(ledger, owner=owner, clock=clock)


def take(ledger: Ledger, *, owner: str, run_id: str, clock: Clock) -> None:
    """Take the lease once, without waiting."""
    lease_seconds = ledger.warehouse.project.settings.lock_lease_seconds
    now = clock.now()
    held = look(ledger)
    if not held.is_dead(now=now, single_writer=ledger.warehouse.dialect == "duckdb"):
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
    """Let the next run in."""
    ledger.warehouse.run(
        "ledger/take_lock",
        tables=ledger.tables,
        owner="",
        host="",
        process=0,
        run_id="",
        expires_at=clock.now(),
        expected=owner,
    )


def _start_beating(
    ledger: Ledger, *, owner: str, clock: Clock, ended: threading.Event
) -> threading.Thread | None:
    """Renew the lease over a connection of its own, since the run's may be busy for minutes."""
    if ledger.warehouse.dialect == "duckdb":
        return None
    lease_seconds = ledger.warehouse.project.settings.lock_lease_seconds
    beside = ledger.warehouse.another()

    def beat() -> None:
        try:
            while not ended.wait(lease_seconds / BEATS_PER_LEASE):
                expires_at = clock.now() + timedelta(seconds=lease_seconds)
                beside.run(
                    "ledger/beat_lock", tables=ledger.tables, owner=owner, expires_at=expires_at
                )
        finally:
            beside.client.close_connection()

    thread = threading.Thread(target=beat, name="tailrace-lock", daemon=True)
    thread.start()
    return thread


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
