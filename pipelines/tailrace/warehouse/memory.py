"""The memory limit of an embedded DuckDB during a run.

DuckDB keeps every block that it read or wrote until its limit is near. A delivery reads each page
once, and a first plan has no members to join with, so those cached blocks are never used again and
only grow with the audience.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from tailrace.errors import MemoryShort, WarehouseFailed
from tailrace.warehouse.connection import Warehouse

log = logging.getLogger(__name__)

T = TypeVar("T")

# Enough to write two million members with ten columns without a loss of speed.
LOW_MEGABYTES = 56
# Each thread that writes keeps a row group in memory.
LOW_THREADS = 2
# Additional memory while another session reads during the run.
READ_MEGABYTES = 64


# Runs a statement of `sql/` by its name, with its values: `Warehouse.run` or the like.
Run = Callable[..., Sequence[tuple[Any, ...]]]


@dataclass(frozen=True)
class Limits:
    """DuckDB's limits of a session: the memory as DuckDB writes it, like `56MiB`, and threads."""

    memory: str
    threads: int


def read_limits(run: Run) -> Limits:
    """The limits of an embedded DuckDB."""
    ((memory, threads),) = run("landing/get_memory_limit")
    return Limits(str(memory), int(threads))


def set_limits(run: Run, limits: Limits) -> None:
    """Set the limits of an embedded DuckDB, the threads first: each holds memory of its own."""
    run("landing/set_threads", threads=limits.threads)
    run("landing/set_memory_limit", memory_limit=limits.memory)


@contextmanager
def limited(run: Run, limits: Limits) -> Iterator[None]:
    """Other limits inside the block; the limits that it had before are set again at its end."""
    before = read_limits(run)
    set_limits(run, limits)
    try:
        yield
    finally:
        set_limits(run, before)


class MemoryLimit:
    """Sets the session's memory limit. It has no effect on warehouses other than DuckDB."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse
        self._is_low = False
        self._allowed: Limits | None = None
        self._reads = False
        # A reader's thread changes the limit too.
        self._lock = threading.Lock()

    @contextmanager
    def reading(self, beside: Warehouse) -> Iterator[None]:
        """Raise the limit while another thread reads in a second session."""
        self._set_reads(beside, reads=True)
        try:
            yield
        finally:
            self._set_reads(beside, reads=False)

    @contextmanager
    def low_memory(self) -> Iterator[None]:
        """Lower the limit until the block ends."""
        before = self._is_low
        self._set(low=True)
        try:
            yield
        finally:
            self._set(low=before)

    def run_low_memory(self, step: Callable[[], T]) -> T:
        """Run a step with the low limit, and again with the full one if that was too low.

        A step that fails must leave nothing behind, so that it can be repeated.
        """
        before = self._is_low
        try:
            with self.low_memory():
                return step()
        except MemoryShort as error:
            if self._allowed is None:
                raise
            log.info("%s; again with %s", error.message, self._allowed.memory)
            self._set(low=False)
            return step()
        finally:
            self._set(low=before)

    def release(self) -> bool:
        """Return to the full limit; whether it was lower before."""
        was_low = self._is_low
        self._set(low=False)
        return was_low and not self._is_low

    def _set(self, *, low: bool) -> None:
        with self._lock:
            if not self._warehouse.engine.embedded or low == self._is_low:
                return
            if self._allowed is None:
                self._allowed = read_limits(self._warehouse.run)
            limits = self._allowed
            if low:
                limits = Limits(self._low_limit(), min(limits.threads, LOW_THREADS))
            try:
                set_limits(self._warehouse.run, limits)
            except WarehouseFailed as error:
                # Memory in use exceeds the new limit, so the limit stays.
                log.info("%s; memory stays as it is", error.message)
                return
            self._is_low = low

    def _set_reads(self, beside: Warehouse, *, reads: bool) -> None:
        with self._lock:
            self._reads = reads
            if not self._is_low:
                return
            try:
                beside.run("landing/set_memory_limit", memory_limit=self._low_limit())
            except WarehouseFailed as error:
                log.info("%s; memory stays as it is", error.message)

    def _low_limit(self) -> str:
        return f"{LOW_MEGABYTES + (READ_MEGABYTES if self._reads else 0)}MiB"
