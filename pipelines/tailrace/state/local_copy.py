"""The copy of the state on this machine: a DuckDB file, its lock, and which generation it is."""

from __future__ import annotations

import fcntl
import json
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from tailrace.clock import Clock
from tailrace.config.project import STATE_COPY_PREFIX, ProjectConfig
from tailrace.dataclass import dataclass
from tailrace.errors import LockHeld
from tailrace.state.manifest import Manifest
from tailrace.state.store import Store
from tailrace.state.transfer import Transferred, download

log = logging.getLogger(__name__)

PAUSE_SECONDS = 0.1
RECORD_FILE = "generation.json"
RECORD_BYTES_MAX = 4_096


@dataclass(frozen=True, kw_only=True)
class Record:
    """The generation of the copy, and how the file looked when it was that generation.

    `url` is the `state_url`, and `target` the target that was used with it.
    """

    generation: int
    write_id: str
    size: int
    modified_ns: int
    url: str = ""
    target: str | None = None


class LocalCopy:
    """The files in the project's `.tailrace/state-*/`; they may be deleted between runs."""

    def __init__(self, project: ProjectConfig, *, clock: Clock) -> None:
        self.file = project.duckdb_file
        self._project = project
        self._clock = clock
        self._record_file = self.file.parent / RECORD_FILE
        self._lock_file = self.file.parent / "lock"

    @contextmanager
    def locked(self, *, wait_seconds_max: float) -> Iterator[None]:
        """Have the copy for this process alone.

        Raises:
            LockHeld: Another process reads or writes it.
        """
        with self._flock(fcntl.LOCK_EX, wait_seconds_max):
            yield

    @contextmanager
    def shared(
        self, update: Callable[[], None], is_current: Callable[[], bool], *, wait_seconds_max: float
    ) -> Iterator[None]:
        """Read the copy beside other readers; it is updated first unless it is current.

        Raises:
            LockHeld: Another process of this machine writes it, or reads an older generation.
        """
        while True:
            with self._flock(fcntl.LOCK_SH, wait_seconds_max):
                if is_current():
                    yield
                    return
            with self._flock(fcntl.LOCK_EX, wait_seconds_max):
                update()

    def record(self) -> Record | None:
        """The record of the copy; None if there is none."""
        return _read_record(self._record_file)

    def elsewhere(self) -> Record | None:
        """The record of a copy that this target had from another `state_url`, the latest one."""
        url, target = str(self._project.settings.state_url), self._project.target
        records = [
            record
            for file in self.file.parent.parent.glob(f"{STATE_COPY_PREFIX}*/{RECORD_FILE}")
            if (record := _read_record(file)) is not None
            and record.target == target
            and record.url not in ("", url)
        ]
        return max(records, key=lambda record: record.modified_ns, default=None)

    def is_generation(self, manifest: Manifest) -> bool:
        """Whether the file is this generation, by its record and without reading it."""
        record = self.record()
        if record is None or record.write_id != manifest.write_id or self._log.exists():
            return False
        with suppress(OSError):
            status = self.file.stat()
            return (status.st_size, status.st_mtime_ns) == (record.size, record.modified_ns)
        return False

    def remember(self, manifest: Manifest) -> None:
        """Record that the file is this generation."""
        status = self.file.stat()
        record = Record(
            generation=manifest.generation,
            write_id=manifest.write_id,
            size=status.st_size,
            modified_ns=status.st_mtime_ns,
            url=str(self._project.settings.state_url),
            target=self._project.target,
        )
        self._record_file.write_text(json.dumps(asdict(record)), encoding="utf-8")

    def update(self, store: Store, manifest: Manifest, *, in_flight_max: int) -> Transferred:
        """Make the file this generation. Changes that were never stored are dropped.

        Raises:
            StateDamaged: As of `download`.
        """
        self._log.unlink(missing_ok=True)
        compare = self.file.exists() and self.file.stat().st_size > 0
        file = os.open(self.file, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            moved = download(store, manifest, file, compare=compare, in_flight_max=in_flight_max)
        finally:
            os.close(file)
        self.remember(manifest)
        return moved

    def discard(self) -> None:
        """Delete the file, which was never stored."""
        self._log.unlink(missing_ok=True)
        self.file.unlink(missing_ok=True)

    @property
    def _log(self) -> Path:
        """DuckDB's write-ahead log."""
        return self.file.with_name(f"{self.file.name}.wal")

    @contextmanager
    def _flock(self, kind: int, wait_seconds_max: float) -> Iterator[None]:
        self.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._lock_file, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            deadline = self._clock.monotonic() + wait_seconds_max
            while True:
                try:
                    fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if self._clock.monotonic() >= deadline:
                        raise LockHeld(
                            f"Another process of this machine has {self.file.name} open"
                        ) from None
                    self._clock.sleep(PAUSE_SECONDS)
            yield
        finally:
            os.close(descriptor)


def _read_record(path: Path) -> Record | None:
    with suppress(OSError, ValueError, TypeError, KeyError), path.open("rb") as file:
        return Record(**json.loads(file.read(RECORD_BYTES_MAX)))
    return None
