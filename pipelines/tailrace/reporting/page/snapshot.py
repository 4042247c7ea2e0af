"""What the live page shows, read from the warehouse as seldom as it changes.

Nothing is read while the DuckDB file stays as it is and no run is active. While a run sends, the
facts are read again every few seconds, from the run itself and beside the requests: a page shows
what was read last, and how old it is.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any, Generic, TypeVar

from tailrace.clock import Clock
from tailrace.config.project import ProjectConfig
from tailrace.dataclass import dataclass
from tailrace.errors import LockHeld, ReadStopped, TailraceError
from tailrace.reporting.page.facts import PageFacts
from tailrace.reporting.page.report import project_facts
from tailrace.reporting.reads import read
from tailrace.warehouse.endpoint_file import find_endpoint

log = logging.getLogger(__name__)

FACTS_SECONDS_MAX = 3.0
STATUS_SECONDS_MAX = 0.8
# A warehouse on a server shows no sign of a change, so it is asked again after this time.
SERVER_SECONDS_MAX = 5.0

T = TypeVar("T")
# The time of the last change and the size of a file.
Signature = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Reading(Generic[T]):
    """A value with the time of its reading.

    Attributes:
        value: What was read.
        read_at: When it was read, or found to be unchanged.
        late: Why it could not be read again since then, or an empty text.
    """

    value: T
    read_at: datetime
    late: str = ""


class Snapshot:
    """The facts and the status of a project, shared by the threads of a server."""

    def __init__(self, project: ProjectConfig, *, clock: Clock) -> None:
        self.project = project
        self.clock = clock
        self._facts: _Kept[PageFacts] = _Kept(
            self, lambda: project_facts(project, clock=clock), FACTS_SECONDS_MAX
        )
        self._status: _Kept[dict[str, Any]] = _Kept(
            self, lambda: read(project, "status", clock=clock), STATUS_SECONDS_MAX
        )

    def facts(self) -> Reading[PageFacts]:
        """The facts of the page.

        Raises:
            TailraceError: They cannot be read, and never were.
        """
        return self._facts.get()

    def status(self) -> Reading[dict[str, Any]]:
        """The result of `status`, which a run that sends answers quickly.

        Raises:
            TailraceError: As of `facts`.
        """
        return self._status.get()

    def person(self, person: str, *, show_values: bool) -> dict[str, Any]:
        """One person, read now: the result of `trace`."""
        return read(self.project, "trace", clock=self.clock, person=person, show_values=show_values)

    def signature(self) -> Signature | None:
        """What changes with the warehouse; None where a run is active or nothing shows it."""
        if self.project.settings.warehouse != "duckdb" or find_endpoint(self.project):
            return None
        try:
            status = self.project.duckdb_file.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size


class _Kept(Generic[T]):
    """A value that is read again when it may have changed."""

    def __init__(self, snapshot: Snapshot, load: Callable[[], T], seconds_max: float) -> None:
        self._snapshot = snapshot
        self._load = load
        self._seconds_max = seconds_max
        if snapshot.project.settings.warehouse != "duckdb":
            self._seconds_max = max(seconds_max, SERVER_SECONDS_MAX)
        self._lock = threading.Lock()
        self._reading: Reading[T] | None = None
        self._signature: Signature | None = None
        self._loaded_at = 0.0
        self._loading = False

    def get(self) -> Reading[T]:
        """The value. While a run is active, one that is read again meanwhile."""
        with self._lock:
            signature, clock = self._snapshot.signature(), self._snapshot.clock
            if self._reading is None or signature not in (None, self._signature):
                self._reading = self._read_again()
                self._signature = signature
            elif signature is not None:
                self._reading = replace(self._reading, read_at=clock.now(), late="")
            elif clock.monotonic() - self._loaded_at >= self._seconds_max and not self._loading:
                self._loading = True
                threading.Thread(target=self._refresh, daemon=True).start()
            return self._reading

    def _refresh(self) -> None:
        """Read again beside the requests, which a busy run would let wait."""
        try:
            reading = self._read_again()
        except TailraceError as error:
            log.debug("The page could not be read again: %s", error.message)
            reading = None
        with self._lock:
            self._loading = False
            if reading is not None:
                self._reading, self._signature = reading, None

    def _read_again(self) -> Reading[T]:
        clock = self._snapshot.clock
        started = clock.now()
        self._loaded_at = clock.monotonic()
        try:
            return Reading(value=self._load(), read_at=started)
        except (LockHeld, ReadStopped) as error:
            if self._reading is None:
                raise
            return replace(self._reading, late=error.message)
