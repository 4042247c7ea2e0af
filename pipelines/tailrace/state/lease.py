"""The lease of the state: one run at a time may write, and it renews its lease while it lives.

A lease that ran out may be taken by another run. The lease saves work; what keeps the state correct
is the conditional write of the manifest, which fails for every run but one.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import secrets
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from tailrace.clock import Clock, format_utc, parse_utc
from tailrace.dataclass import dataclass
from tailrace.errors import LeaseLost, LockHeld, StateDamaged, TryAgain, hint_about
from tailrace.state.store import Store, StoreConflict, replace_surely

log = logging.getLogger(__name__)

LEASE = "lease.json"
FORMAT = 1
BEATS_PER_LEASE = 4
ENDS_WITHIN_SECONDS = 5.0
# The pause between two attempts to take a lease that another run holds.
PAUSE_SECONDS = 1.0
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
PROCESS_NAMESPACE = Path("/proc/self/ns/pid")


@dataclass(frozen=True, kw_only=True)
class Lease:
    """Who may write the state, and until when.

    Attributes:
        owner: Random, one for each holder; empty if the lease was released.
        host: The machine's name.
        processes: Tells apart the sets of processes in which process ids are unique.
        process: The process id.
        run_url: The page of the CI job, if there is one.
        taken_at: When the holder took it.
        expires_at: When another run may take it.
        nonce: Random, so that no two versions have the same content.
        run_id: The name of a run that keeps the lease for long; empty for the others.
    """

    owner: str
    host: str = ""
    processes: str = ""
    process: int = 0
    run_url: str = ""
    taken_at: str = ""
    expires_at: str = ""
    nonce: str = field(default_factory=lambda: secrets.token_hex(8))
    run_id: str = ""

    def to_bytes(self) -> bytes:
        return json.dumps({"format": FORMAT, **asdict(self)}).encode()

    @classmethod
    def from_bytes(cls, body: bytes) -> Lease:
        """
        Raises:
            StateDamaged: The object is not a lease.
        """
        try:
            entry = json.loads(body)
            # Leases of older versions have no run_id.
            entry.setdefault("run_id", "")
            lease = cls(**{name: entry[name] for name in cls.__dataclass_fields__})
            parse_utc(lease.expires_at)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise StateDamaged(
                f"{LEASE} in the store of the state cannot be read",
                hint="Release it with: tailrace state unlock",
            ) from None
        return lease

    def is_free(self, now: datetime) -> bool:
        """Whether another run may take it: released, run out, or its process on this machine died.

        A process id says something only about processes of the same machine and container.
        """
        if not self.owner or parse_utc(self.expires_at) <= now:
            return True
        here = _processes()
        return bool(here) and self.processes == here and not _is_alive(self.process)

    def holder(self) -> str:
        """The holder in words."""
        page = "".join(f", {name}" for name in (self.run_id, self.run_url) if name)
        until = parse_utc(self.expires_at)
        return f"process {self.process} on {self.host}{page}, until {until:%Y-%m-%d %H:%M:%S} UTC"

    def as_dict(self, now: datetime) -> dict[str, Any]:
        """The lease in a `--json` result."""
        return {
            "held": not self.is_free(now),
            "host": self.host,
            "process": self.process,
            "run_url": self.run_url or None,
            "taken_at": self.taken_at,
            "expires_at": self.expires_at,
        }


def read_lease(store: Store) -> Lease | None:
    """The lease in the store; None if no run ever took it."""
    stored = store.get(LEASE)
    return Lease.from_bytes(stored.body) if stored is not None else None


def unlock(store: Store, *, clock: Clock) -> Lease | None:
    """Release the lease of another run, which then stops before its next batch.

    Returns:
        The lease as it was; None if there was none to release.

    Raises:
        LockHeld: The holder renewed it, or another run took it, at the same moment.
    """
    stored = store.get(LEASE)
    if stored is None:
        return None
    try:
        lease = Lease.from_bytes(stored.body)
    except StateDamaged:
        lease = Lease(owner="unknown", expires_at=format_utc(clock.now()))
    if not lease.owner:
        return None
    try:
        released = _released(lease, clock.now())
        replace_surely(store, LEASE, released.to_bytes(), stored.version, clock=clock)
    except StoreConflict:
        raise LockHeld("The lease was renewed or taken at the same moment") from None
    return lease


class HeldLease:
    """The lease while this run holds it. A thread renews it."""

    def __init__(
        self,
        store: Store,
        *,
        clock: Clock,
        lease_seconds: float,
        environ: Mapping[str, str],
        run_id: str = "",
    ) -> None:
        self._store = store
        self._clock = clock
        self._seconds = lease_seconds
        self._environ = environ
        self._run_id = run_id
        self._lease = Lease(owner="")
        self._version = ""
        self._valid_until = 0.0
        self._lost: str | None = None
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        # Called when the lease is lost, to wake a run that waits for answers.
        self.on_loss: Callable[[], None] = lambda: None

    def acquire(self, *, wait_seconds_max: float) -> None:
        """Take the lease, and begin to renew it.

        Raises:
            LockHeld: Another run holds it, also after the wait.
        """
        deadline = self._clock.monotonic() + wait_seconds_max
        waits = False
        while not self._take():
            held = read_lease(self._store)
            holder = held.holder() if held is not None and held.owner else "another run"
            if self._clock.monotonic() >= deadline:
                raise LockHeld(
                    f"Another run holds the lease of {self._store.url}: {holder}",
                    hint=f"{hint_about(held.run_id if held is not None else '')} If that run is "
                    "dead: tailrace state unlock",
                )
            if not waits:
                log.info("waiting for the lease of %s: %s", self._store.url, holder)
                waits = True
            self._clock.sleep(PAUSE_SECONDS)
        self._thread = threading.Thread(target=self._renew, name="tailrace-lease", daemon=True)
        self._thread.start()

    def require(self) -> None:
        """Check that this run still holds the lease; asks no store.

        Raises:
            LeaseLost: It was taken, or could not be renewed in time.
        """
        if self._lost is None and self._clock.monotonic() >= self._valid_until:
            self._lost = "it could not be renewed in time"
        if self._lost is not None:
            raise LeaseLost(
                f"The lease of {self._store.url} was lost: {self._lost}",
                hint="Nothing is lost: the next run sends the rest, with the same messageIds.",
            )

    def release(self) -> None:
        """End the renewals and release the lease. If that fails, it runs out."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join(timeout=ENDS_WITHIN_SECONDS)
        if self._lost is not None or not self._version:
            return
        released = _released(self._lease, self._clock.now())
        try:
            self._store.replace(LEASE, released.to_bytes(), self._version)
        except (TryAgain, StoreConflict) as error:
            log.warning("The lease of %s could not be released: %s", self._store.url, error)

    def _take(self) -> bool:
        stored = self._store.get(LEASE)
        now = self._clock.now()
        if stored is not None and not Lease.from_bytes(stored.body).is_free(now):
            return False
        self._lease = Lease(
            owner=secrets.token_hex(8),
            host=platform.node(),
            processes=_processes(),
            process=os.getpid(),
            run_url=_run_url(self._environ),
            taken_at=format_utc(now),
            run_id=self._run_id,
        )
        try:
            self._write(stored.version if stored is not None else None)
        except StoreConflict:
            return False
        return True

    def _write(self, expected: str | None) -> None:
        started = self._clock.monotonic()
        expires_at = format_utc(self._clock.now() + timedelta(seconds=self._seconds))
        lease = replace(self._lease, expires_at=expires_at, nonce=secrets.token_hex(8))
        self._version = replace_surely(
            self._store, LEASE, lease.to_bytes(), expected, clock=self._clock
        )
        self._lease = lease
        self._valid_until = started + self._seconds

    def _renew(self) -> None:
        while not self._ended.wait(self._seconds / BEATS_PER_LEASE):
            try:
                self._write(self._version)
            except StoreConflict:
                self._lost = self._taker()
                self.on_loss()
                return
            except TryAgain as error:
                # The next renewal may succeed. If none does, `require` raises in time.
                log.warning("The lease of %s was not renewed: %s", self._store.url, error)

    def _taker(self) -> str:
        with suppress(TryAgain):
            other = read_lease(self._store)
            if other is not None and other.owner:
                return f"taken by {other.holder()}"
        return "it was released by `tailrace state unlock`"


def _released(lease: Lease, now: datetime) -> Lease:
    return replace(lease, owner="", expires_at=format_utc(now), nonce=secrets.token_hex(8))


def _processes() -> str:
    """Names the boot of this machine and the namespace of its process ids; empty if unknown."""
    try:
        boot = BOOT_ID.read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink(PROCESS_NAMESPACE)}"
    except OSError:
        return ""


def _run_url(environ: Mapping[str, str]) -> str:
    """The page of the CI job that runs this process."""
    if "GITHUB_RUN_ID" in environ:
        server = environ.get("GITHUB_SERVER_URL", "https://github.com")
        return (
            f"{server}/{environ.get('GITHUB_REPOSITORY', '')}/actions/runs/"
            f"{environ['GITHUB_RUN_ID']}"
        )
    return environ.get("CI_JOB_URL", "")


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
