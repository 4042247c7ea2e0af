"""The memory limit of an embedded DuckDB during a run.

DuckDB keeps every block that it read or wrote until its limit is near. A delivery reads each page
once, and a first plan has no members to join with, so those cached blocks are never used again and
only grow with the audience.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from math import ceil
from typing import Any, TypeVar

from tailrace.dataclass import dataclass
from tailrace.errors import MemoryShort, WarehouseFailed
from tailrace.warehouse.connection import Warehouse

log = logging.getLogger(__name__)

T = TypeVar("T")

# To plan and to save a first delivery. With half of it, both take a tenth longer, because blocks
# of the transitions are written and read once more. The process then needs less than when it sends.
LOW_MEGABYTES = 96
# To read the outbox, and to record what was delivered: lower than for a plan, because Python holds
# messages and requests. With half of it a checkpoint of wide rows fails, and DuckDB has to be
# opened again after that.
SENDING_MEGABYTES = 36
RECORDING_MEGABYTES = 40
# A thread holds a block of 256 KiB of each column that it reads or writes, and there are two.
COLUMN_MEGABYTES = 0.5
# How many times as much is set where a low limit is too low: the plan of a first delivery keeps
# some 11 bytes of each row in memory.
RAISED = 4
# Rows of a vector, and what the marks of its deleted rows take until the transaction ends: one row
# in each vector of ten million rows takes 100 MB (DuckDB 2.0).
VECTOR_ROWS = 2_048
MARKS_BYTES = 20_480
# A key and its row in a hash table.
KEY_BYTES = 64
# Each thread that writes keeps a row group in memory.
LOW_THREADS = 2
# Additional memory while another session reads during the run.
READ_MEGABYTES = 64


_MEBIBYTES = {"KiB": 2**-10, "MiB": 1.0, "GiB": 2.0**10, "TiB": 2.0**20, "PiB": 2.0**30}
# Runs a statement of `sql/` by its name, with its values: `Warehouse.run` or the like.
Run = Callable[..., Sequence[tuple[Any, ...]]]


@dataclass(frozen=True)
class Limits:
    """DuckDB's limits of a session: the memory as DuckDB writes it, like `56MiB`, and threads.

    Where `threads` is None, their number stays. With a DuckLake, DuckDB 1.5 waits for ever if it
    changes while another session, such as that of the lock's heartbeat, runs a statement: it waits
    for its threads, one of which waits for the other session, which waits for the same change.
    """

    memory: str
    threads: int | None


def read_limits(run: Run) -> Limits:
    """The limits of an embedded DuckDB."""
    ((memory, threads, has_lake),) = run("landing/get_memory_limit")
    return Limits(str(memory), None if has_lake else int(threads))


def set_limits(run: Run, limits: Limits) -> None:
    """Set the limits of an embedded DuckDB, the threads first: each holds memory of its own."""
    if limits.threads is not None:
        run("landing/set_threads", threads=limits.threads)
    run("landing/set_memory_limit", memory_limit=limits.memory)


@contextmanager
def limited(run: Run, limits: Limits) -> Iterator[None]:
    """Other limits inside the block; the limits that it had before are set again at its end."""
    before = read_limits(run)
    set_limits(run, limits if before.threads is not None else replace(limits, threads=None))
    try:
        yield
    finally:
        set_limits(run, before)


def sending_megabytes(columns: int) -> int:
    """The limit while rows with so many columns are read from the outbox and sent."""
    return ceil(SENDING_MEGABYTES + columns * COLUMN_MEGABYTES)


def recording_megabytes(columns: int, *, deleting_megabytes: float = 0) -> int:
    """The limit while delivered rows with so many columns are recorded.

    Args:
        columns: Of the rows that are inserted.
        deleting_megabytes: As of `deleting_megabytes`, for the rows that they replace.
    """
    return ceil(RECORDING_MEGABYTES + columns * COLUMN_MEGABYTES + deleting_megabytes)


def deleting_megabytes(deleted: int, rows: int) -> float:
    """What a DELETE of so many keys needs in a table with so many rows.

    A row in each vector may be deleted, and the keys are a hash table.
    """
    if not rows:
        return 0
    marked_vectors = min(deleted, ceil(rows / VECTOR_ROWS))
    return (marked_vectors * MARKS_BYTES + deleted * KEY_BYTES) / 2**20


def mebibytes(memory: str) -> float:
    """A limit as DuckDB writes it.

    >>> mebibytes("1.5 GiB"), mebibytes("512 bytes") < 1
    (1536.0, True)
    """
    number, unit = memory.split()
    return float(number) * _MEBIBYTES.get(unit, 0)


def give_back_memory() -> None:
    """Return the C library's free memory to the system; glibc keeps it for each ended thread."""
    # Only deliveries need it.
    import ctypes

    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


class MemoryLimit:
    """Sets the session's memory limit. It has no effect on warehouses other than DuckDB."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse
        # The low limit that is in force; None while all that is allowed is.
        self._low_megabytes: int | None = None
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
    def low_memory(self, megabytes: int = LOW_MEGABYTES) -> Iterator[None]:
        """Lower the limit until the block ends."""
        before = self._low_megabytes
        self._set(megabytes)
        try:
            yield
        finally:
            self._set(before)

    def run_low_memory(self, step: Callable[[], T], megabytes: int = LOW_MEGABYTES) -> T:
        """Run a step with a low limit; if it is too low, again with more, up to what is allowed.

        A step that fails must leave nothing behind, so that it can be repeated.
        """
        before = self._low_megabytes
        short: MemoryShort | None = None
        try:
            while True:
                self._set(megabytes)
                try:
                    return step()
                except MemoryShort as error:
                    if self._low_megabytes is None:
                        raise
                    log.info("%s; again with more", error.message)
                    short, megabytes = short or error, self._low_megabytes * RAISED
                except WarehouseFailed as again:
                    if short is None:
                        raise
                    # DuckDB 2.0 keeps the marks of a DELETE that had too little memory, though it
                    # was rolled back: the same DELETE conflicts with them until it is opened again.
                    raise short from again
        finally:
            self._set(before)

    def release(self) -> bool:
        """Return to the full limit; whether it was lower before."""
        was_low = self._low_megabytes is not None
        self._set(None)
        return was_low and self._low_megabytes is None

    def _set(self, low_megabytes: int | None) -> None:
        """Set a low limit, or the first higher one that is above the memory in use."""
        with self._lock:
            if not self._warehouse.engine.embedded or low_megabytes == self._low_megabytes:
                return
            if self._allowed is None:
                self._allowed = read_limits(self._warehouse.run)
            allowed, megabytes = self._allowed, low_megabytes
            while megabytes is not None and megabytes < mebibytes(allowed.memory):
                threads = None if allowed.threads is None else min(allowed.threads, LOW_THREADS)
                if self._is_set(Limits(self._low_limit(megabytes), threads)):
                    self._low_megabytes = megabytes
                    return
                megabytes *= RAISED
            if self._is_set(allowed):
                self._low_megabytes = None

    def _is_set(self, limits: Limits) -> bool:
        try:
            set_limits(self._warehouse.run, limits)
        except WarehouseFailed as error:
            log.info("%s; not set: %s", error.message, limits.memory)
            return False
        return True

    def _set_reads(self, beside: Warehouse, *, reads: bool) -> None:
        with self._lock:
            self._reads = reads
            if self._low_megabytes is None:
                return
            try:
                memory = self._low_limit(self._low_megabytes)
                beside.run("landing/set_memory_limit", memory_limit=memory)
            except WarehouseFailed as error:
                log.info("%s; memory stays as it is", error.message)

    def _low_limit(self, megabytes: int) -> str:
        return f"{megabytes + (READ_MEGABYTES if self._reads else 0)}MiB"
