"""The state of one command: take the lease, pull the DuckDB file, store it, release the lease.

A run stores the file before its first request leaves, so that what it sends is planned for every
machine, and once more at its end. Both writes expect the generation that the run began with or
wrote last; of two runs that began with the same generation, one is refused, and sends nothing.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from tailrace import __version__
from tailrace.clock import Clock, format_utc
from tailrace.config.installation import LEDGER_VERSION
from tailrace.config.project import ProjectConfig
from tailrace.dataclass import dataclass
from tailrace.errors import (
    LeaseLost,
    StateDamaged,
    StateNotSaved,
    StateUnknown,
    TailraceError,
    TryAgain,
)
from tailrace.state.lease import HeldLease, read_lease
from tailrace.state.local_copy import LocalCopy
from tailrace.state.manifest import (
    BLOCK_BYTES,
    MANIFEST,
    PART_BLOCKS,
    Engine,
    Manifest,
    new_write_id,
    read_manifest,
    storage_version_of,
)
from tailrace.state.store import Store, StoreConflict, replace_surely
from tailrace.state.stores import open_store
from tailrace.state.transfer import PartMissing, Transferred, sweep, upload

log = logging.getLogger(__name__)

# How often a pull begins again because a newer generation replaced the one that it reads.
PULLS_MAX = 3
# How long a reader waits for another reader of an older generation on this machine.
READER_WAIT_SECONDS_MAX = 10.0
HEADER_READ_BYTES = 64


@dataclass(frozen=True, kw_only=True)
class Opened:
    """What a command needs to open the state.

    Attributes:
        store: The store; None opens the one of `state_url`.
        part_bytes: The size of new parts.
        run_id: The name in the lease.
    """

    project: ProjectConfig
    clock: Clock
    engine: Engine
    store: Store | None = None
    part_bytes: int = PART_BLOCKS * BLOCK_BYTES
    run_id: str = ""


class StateSession:
    """The state while one command has the lease.

    Attributes:
        manifest: The generation that was pulled or stored last; None in an empty store.
        is_opened: Set when the DuckDB file was opened; without it nothing is stored at the end.
        generation_min: The least number of the next generation.
        transferred: What was uploaded so far.
    """

    def __init__(self, opened: Opened, store: Store, copy: LocalCopy, lease: HeldLease) -> None:
        self.manifest: Manifest | None = None
        self.is_opened = False
        self.generation_min = 1
        self.transferred = Transferred(0, 0)
        self.lease = lease
        self._opened = opened
        self._store = store
        self._copy = copy
        self._version: str | None = None
        self._file: int | None = None
        self.clock = opened.clock
        self._in_flight_max = opened.project.state().parts_in_flight_max

    def pull(self) -> None:
        """Make the local file the current generation.

        Raises:
            StateTooNew: As of `Manifest.require_readable`.
            StateUnknown: The store is empty, and this machine has a file that may belong to it.
            StateDamaged: A part is missing or damaged.
        """
        found = pull(self._opened, self._store, self._copy)
        if found is not None:
            self.manifest, self._version = found
        else:
            require_empty_start(self._opened.project, self._store, self._copy)

    def look(self) -> int | None:
        """Take the current generation as the one to replace, without pulling it.

        Returns:
            Its number; None if the store has none, or one that cannot be read.
        """
        stored = self._store.get(MANIFEST)
        if stored is None:
            return None
        self._version = stored.version
        with suppress(StateDamaged):
            self.manifest = Manifest.from_bytes(stored.body)
            return self.manifest.generation
        return None

    def save(self) -> None:
        """Store the file, which is complete and is not written meanwhile, as a new generation.

        Raises:
            LeaseLost: Another run took the lease or stored a generation.
            StateNotSaved: The store failed.
        """
        self.lease.require()
        try:
            saved = self._save()
        except TryAgain as error:
            raise StateNotSaved(
                f"The state could not be stored: {error.message}", hint=error.hint
            ) from None
        if saved is not None:
            self._sweep(saved)

    def close(self) -> None:
        """Close the file. DuckDB's own lock ends with it, so DuckDB must have closed it before."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def as_dict(self) -> dict[str, Any]:
        """The state in a result."""
        return {
            "url": self._store.url,
            "generation": self.manifest.generation if self.manifest is not None else 0,
            "bytes": self.manifest.size if self.manifest is not None else 0,
            "uploaded_parts": self.transferred.parts,
            "uploaded_bytes": self.transferred.stored,
        }

    def _save(self) -> Manifest | None:
        """Upload what changed and write the manifest; None if nothing changed."""
        started = self.clock.monotonic()
        previous = self.manifest.generation if self.manifest is not None else 0
        generation = max(previous + 1, self.generation_min)
        write_id = new_write_id()
        if self._file is None:
            self._file = os.open(self._copy.file, os.O_RDONLY)
        parts, moved = upload(
            self._store,
            self.manifest,
            self._file,
            generation=generation,
            write_id=write_id,
            part_bytes=self._opened.part_bytes,
            in_flight_max=self._in_flight_max,
        )
        if self.manifest is not None and parts == self.manifest.parts:
            self._copy.remember(self.manifest)
            return None
        manifest = Manifest(
            generation=generation,
            write_id=write_id,
            written_at=format_utc(self.clock.now()),
            tailrace_version=__version__,
            ledger_version=LEDGER_VERSION,
            duckdb_version=self._opened.engine.version,
            storage_version=storage_version_of(os.pread(self._file, HEADER_READ_BYTES, 0)),
            part_bytes=self._opened.part_bytes,
            parts=parts,
        )
        self.lease.require()
        try:
            self._version = replace_surely(
                self._store, MANIFEST, manifest.to_bytes(), self._version, clock=self.clock
            )
        except StoreConflict:
            raise LeaseLost(
                f"Another run stored a newer state in {self._store.url}",
                hint="Nothing is lost. Run the same command again.",
            ) from None
        self.manifest = manifest
        self.transferred = Transferred(*map(sum, zip(self.transferred, moved, strict=True)))
        self._copy.remember(manifest)
        log.info(
            "state: stored generation %d, %d of %d parts, %.1f MB, %.1f s",
            manifest.generation,
            moved.parts,
            len(parts),
            moved.stored / 1e6,
            self.clock.monotonic() - started,
        )
        return manifest

    def _sweep(self, manifest: Manifest) -> None:
        try:
            sweep(self._store, manifest)
        except TryAgain as error:
            # The next generation deletes them.
            log.warning("Replaced parts of the state could not be deleted: %s", error.message)


@contextmanager
def open_to_write(opened: Opened, *, wait_seconds_max: float) -> Iterator[StateSession]:
    """Hold the lease and the newest state for the length of the block, then store the file.

    After an exception the file is stored too, if that is possible: the block has recorded what it
    sent. An error of that is logged, since the exception says more.

    Raises:
        LockHeld: Another run holds the lease, or has the copy on this machine open.
        StateNotSaved: The block ended, and the file could not be stored.
    """
    store = opened.store or open_store(opened.project)
    copy = LocalCopy(opened.project, clock=opened.clock)
    with open_locked(opened, store, copy, wait_seconds_max=wait_seconds_max) as session:
        session.pull()
        try:
            yield session
        except BaseException:
            _save_after_failure(session)
            raise
        if session.is_opened:
            session.save()


@contextmanager
def open_locked(
    opened: Opened, store: Store, copy: LocalCopy, *, wait_seconds_max: float
) -> Iterator[StateSession]:
    """Hold the lease, and the local copy, for the length of the block.

    Raises:
        LockHeld: Another run holds one of them.
    """
    project, clock = opened.project, opened.clock
    with ExitStack() as stack:
        stack.enter_context(copy.locked(wait_seconds_max=wait_seconds_max))
        lease = HeldLease(
            store,
            clock=clock,
            lease_seconds=project.settings.lock_lease_seconds,
            environ=project.environ,
            run_id=opened.run_id,
        )
        lease.acquire(wait_seconds_max=wait_seconds_max)
        stack.callback(lease.release)
        session = StateSession(opened, store, copy, lease)
        stack.callback(session.close)
        yield session


def _save_after_failure(session: StateSession) -> None:
    if not session.is_opened:
        return
    try:
        session.save()
    except TailraceError as error:
        log.warning("%s", error.message)


@contextmanager
def open_to_read(
    opened: Opened, *, wait_seconds_max: float, refresh: bool = True
) -> Iterator[None]:
    """Have the newest state in the local file for the length of the block; needs no lease.

    Args:
        opened: The project and its engine.
        wait_seconds_max: How long to wait for another process of this machine.
        refresh: Otherwise the local file is read as it is, without a network.

    Raises:
        LockHeld: Another process of this machine writes the copy.
        StateUnknown: As of `StateSession.pull`.
    """
    project = opened.project
    copy = LocalCopy(project, clock=opened.clock)
    if not refresh:
        with copy.shared(lambda: None, lambda: True, wait_seconds_max=wait_seconds_max):
            yield
        return
    store = opened.store or open_store(project)
    found = read_manifest(store)
    if found is None:
        require_empty_start(project, store, copy)
    newest = [found[0] if found is not None else None]
    if newest[0] is not None:
        newest[0].require_readable(opened.engine)

    def update() -> None:
        pulled = pull(opened, store, copy)
        newest[0] = pulled[0] if pulled is not None else None

    def is_current() -> bool:
        return newest[0] is None or copy.is_generation(newest[0])

    wait = max(wait_seconds_max, READER_WAIT_SECONDS_MAX)
    with copy.shared(update, is_current, wait_seconds_max=wait):
        yield


def pull(opened: Opened, store: Store, copy: LocalCopy) -> tuple[Manifest, str] | None:
    """Make the local file the current generation; None if the store is empty.

    Called while this process has the local file for itself.

    Raises:
        StateTooNew: As of `Manifest.require_readable`.
        StateDamaged: A part is missing or damaged.
    """
    clock = opened.clock
    missing = ""
    previous = ""
    for _ in range(PULLS_MAX):
        found = read_manifest(store)
        if found is None or found[0].write_id == previous:
            break
        manifest, _ = found
        manifest.require_readable(opened.engine)
        if copy.is_generation(manifest):
            return found
        started = clock.monotonic()
        try:
            moved = copy.update(
                store, manifest, in_flight_max=opened.project.state().parts_in_flight_max
            )
        except PartMissing as error:
            missing, previous = str(error), manifest.write_id
            continue
        log.info(
            "state: pulled generation %d, %d of %d parts, %.1f MB, %.1f s",
            manifest.generation,
            moved.parts,
            len(manifest.parts),
            moved.stored / 1e6,
            clock.monotonic() - started,
        )
        return found
    if missing:
        raise StateDamaged(missing)
    return None


def require_empty_start(project: ProjectConfig, store: Store, copy: LocalCopy) -> None:
    """Refuse to begin with an empty store where this machine has a state that may belong to it.

    Raises:
        StateUnknown: It names the file, and both ways out.
    """
    record = copy.record()
    if record is not None and copy.file.exists():
        raise StateUnknown(
            f"{store.url} has no state, and this machine has a copy of its generation "
            f"{record.generation}: the state was deleted, or it is another store",
            hint="Is it another store? Correct state_url under [tailrace].\nWrite the copy to it "
            f"with: tailrace state push\nOr begin without a state: rm -r {copy.file.parent}",
        )
    configured = project.configured_duckdb_file
    if configured.exists():
        raise StateUnknown(
            f"{store.url} has no state yet, and this project has {configured.name}",
            hint=f"Write the file to it with: tailrace state push {configured.name}\n"
            f"Or begin without a state: rm {configured.name}",
        )
    moved = copy.elsewhere()
    if moved is not None:
        raise StateUnknown(
            f"{store.url} has no state yet, and this machine has a copy of generation "
            f"{moved.generation} from {moved.url}: state_url was changed, and a first run would "
            "send everyone again",
            hint="Is it the wrong store? Correct state_url under [tailrace].\nHas the state moved? "
            "With the former state_url, run: tailrace state pull FILE\nand with the new one: "
            "tailrace state push FILE\nOr begin without a state: rm -r "
            f"{copy.file.parent.parent}",
        )
    # A file without a record was never stored.
    copy.discard()


def describe(project: ProjectConfig, *, clock: Clock, store: Store | None = None) -> dict[str, Any]:
    """The lease and the generation in the store, for `status`, `doctor` and `state show`."""
    store = store or open_store(project)
    found = read_manifest(store)
    lease = read_lease(store)
    return {
        "url": store.url,
        **(found[0].as_dict() if found is not None else {"generation": 0, "bytes": 0}),
        "lease": lease.as_dict(clock.now()) if lease is not None and lease.owner else None,
    }
