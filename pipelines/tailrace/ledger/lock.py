"""The run lock: a lease in the ledger that a heartbeat renews, so that only one run is active.

DuckDB lets one process open the file, so a process that can write may take the lease. On a shared
warehouse the lease is taken by a conditional update. A dead owner on the same machine is replaced
at once, an owner on another machine when its lease has expired.
"""

from __future__ import annotations

import logging
import os
import platform
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial

from tailrace.clock import Clock
from tailrace.dataclass import dataclass
from tailrace.errors import LockHeld, WarehouseFailed, hint_about
from tailrace.ledger.ledger import Ledger
from tailrace.warehouse.connection import Warehouse

log = logging.getLogger(__name__)

BEATS_PER_LEASE = 4
ENDS_WITHIN_SECONDS = 5


@dataclass(frozen=True, kw_only=True)
class Lease:
    """The holder of the lock and the end of its lease."""

    owner: str
    host: str
    process: int
    run_id: str
    expires_at: datetime

    def is_dead(self, *, now: datetime, one_writer: bool) -> bool:
        """Whether another owner may take the lock."""
        if not self.owner or one_writer or self.expires_at <= now:
            return True
        return self.host == platform.node() and not _is_alive(self.process)


@contextmanager
def lock(ledger: Ledger, *, owner: str, run_id: str, clock: Clock) -> Iterator[None]:
    """Hold the ledger for the length of a run.

    Raises:
        LockHeld: Another active run holds it.
    """
    acquire(ledger, owner=owner, run_id=run_id, clock=clock)
    try:
        if ledger.warehouse.engine.has_one_writer:
            yield
            return
        # A run that lost its lease while it was suspended must not write.
        require = partial(require_lock, ledger, owner=owner, clock=clock)
        with (
            _heartbeat(ledger, owner=owner, clock=clock),
            ledger.warehouse.check_transactions(require),
        ):
            yield
    finally:
        release(ledger, owner=owner, clock=clock)


def acquire(ledger: Ledger, *, owner: str, run_id: str, clock: Clock) -> None:
    """Take the lease once, without waiting."""
    lease_seconds = ledger.warehouse.project.settings.lock_lease_seconds
    now = clock.now()
    held = read_lock(ledger)
    is_free = held.owner == owner or held.is_dead(
        now=now, one_writer=ledger.warehouse.engine.has_one_writer
    )
    if not is_free:
        raise LockHeld(
            f"Another run holds the lock: {held.run_id} on {held.host} (process {held.process}), "
            f"until {held.expires_at:%H:%M:%S}",
            hint=hint_about(held.run_id),
        )
    try:
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
    except WarehouseFailed:
        if not ledger.warehouse.engine.detects_conflicts:
            raise
        raise LockHeld("Another run took the lock at the same moment") from None
    if ledger.warehouse.engine.has_one_writer:
        return
    if read_lock(ledger).owner != owner:
        raise LockHeld("Another run took the lock at the same moment")


def read_lock(ledger: Ledger) -> Lease:
    """The current lease."""
    ((owner, host, process, run_id, expires_at),) = ledger.warehouse.run(
        "ledger/read_lock", tables=ledger.tables
    )
    return Lease(owner=owner, host=host, process=process, run_id=run_id, expires_at=expires_at)


def release(ledger: Ledger, *, owner: str, clock: Clock) -> None:
    """Release the lock. If the warehouse cannot be reached, the lease expires.

    A connection that was lost is open again after the statement that failed, so it is tried twice.
    """
    for is_last in (False, True):
        try:
            ledger.warehouse.run(
                "ledger/release_lock", tables=ledger.tables, owner=owner, now=clock.now()
            )
            return
        except WarehouseFailed as error:
            if is_last or ledger.warehouse.engine.embedded:
                log.warning("The lock could not be released: %s", error.message)
                return


def require_lock(ledger: Ledger, *, owner: str, clock: Clock) -> None:
    """Renew the lease as the first step of a transaction, so that it cannot be taken meanwhile.

    Raises:
        LockHeld: Another run took the lock.
    """
    _renew(ledger.warehouse, ledger, owner=owner, clock=clock)
    holder = read_lock(ledger)
    if holder.owner != owner:
        by = holder.run_id or "another run"
        raise LockHeld(f"The lease ran out, and {by} took the lock")


def _renew(warehouse: Warehouse, ledger: Ledger, *, owner: str, clock: Clock) -> None:
    lease_seconds = warehouse.project.settings.lock_lease_seconds
    expires_at = clock.now() + timedelta(seconds=lease_seconds)
    warehouse.run("ledger/renew_lock", tables=ledger.tables, owner=owner, expires_at=expires_at)


@contextmanager
def _heartbeat(ledger: Ledger, *, owner: str, clock: Clock) -> Iterator[None]:
    """Renew the lease over a second connection, because a statement of the run may take minutes."""
    connection = ledger.warehouse.another()
    pause_seconds = connection.project.settings.lock_lease_seconds / BEATS_PER_LEASE
    ended = threading.Event()

    def renew_until_ended() -> None:
        while not ended.wait(pause_seconds):
            try:
                with ledger.warehouse.outside_transactions() as may_renew:
                    # A transaction that is open has renewed it itself.
                    if may_renew:
                        _renew(connection, ledger, owner=owner, clock=clock)
            except WarehouseFailed as error:
                # The next renewal may succeed. If none does, the next transaction raises LockHeld.
                log.warning("The lock could not be renewed: %s", error.message)

    thread = threading.Thread(target=renew_until_ended, name="tailrace-lock", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(timeout=ENDS_WITHIN_SECONDS)
        connection.close()


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
