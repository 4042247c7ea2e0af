"""How much of what it reads and writes an embedded DuckDB keeps in memory during a run.

It keeps every block until its limit is near, however often the block is used. A delivery reads
each page once and writes ranges, and a first plan has no members to join with: what they keep
serves nothing, and grows with the audience.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from tailrace.errors import MemoryShort, WarehouseFailed
from tailrace.warehouse.connection import Warehouse

log = logging.getLogger(__name__)

T = TypeVar("T")

# Enough to write two million members of ten columns at an unhindered pace.
LOW_MEGABYTES = 56
# A thread holds a row group of its own while it writes.
LOW_THREADS = 2
# What a reader beside the run may use on top of it.
READ_MEGABYTES = 64


class MemoryLimit:
    """The limit of the session's memory; on other warehouses than DuckDB nothing is done."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse
        self._is_low = False
        self._allowed: tuple[str, int] | None = None
        self._reads = False
        # A reader's thread changes the limit too.
        self._lock = threading.Lock()

    @contextmanager
    def reading(self, beside: Warehouse) -> Iterator[None]:
        """A little more memory while another thread reads in a session beside the run's."""
        self._set_reads(beside, reads=True)
        try:
            yield
        finally:
            self._set_reads(beside, reads=False)

    @contextmanager
    def low_memory(self) -> Iterator[None]:
        """Little memory, for what needs no more."""
        before = self._is_low
        self._set(low=True)
        try:
            yield
        finally:
            self._set(low=before)

    def run_low_memory(self, step: Callable[[], T]) -> T:
        """A step in little memory; again in all that is allowed, where that was too little.

        The step leaves nothing behind where it fails, so that it may be repeated.
        """
        before = self._is_low
        try:
            with self.low_memory():
                return step()
        except MemoryShort as error:
            if self._allowed is None:
                raise
            log.info("%s; again with %s", error.message, self._allowed[0])
            self._set(low=False)
            return step()
        finally:
            self._set(low=before)

    def release(self) -> bool:
        """All that is allowed from now on, where little was too little; whether that is more."""
        was_low = self._is_low
        self._set(low=False)
        return was_low and not self._is_low

    def _set(self, *, low: bool) -> None:
        with self._lock:
            if not self._warehouse.engine.embedded or low == self._is_low:
                return
            if self._allowed is None:
                ((limit, threads),) = self._warehouse.run("landing/get_memory_limit")
                self._allowed = (str(limit), int(threads))
            limit, threads = self._allowed
            if low:
                limit, threads = self._low_limit(), min(threads, LOW_THREADS)
            try:
                self._warehouse.run("landing/set_threads", threads=threads)
                self._warehouse.run("landing/set_memory_limit", memory_limit=limit)
            except WarehouseFailed as error:
                # What is in use does not fit: the run goes on with what it has.
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
