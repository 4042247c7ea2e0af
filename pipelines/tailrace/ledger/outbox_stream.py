"""Stream rendered messages from the outbox in seq order, with read-ahead.

One statement reads up to `STATEMENT_ROWS_MAX` rows, a few row groups, because starting it costs as
much as reading ten thousand rows. Its result arrives in record batches of `BATCH_ROWS` rows. At
most `BATCHES_AHEAD` of them are held in memory, however slow the sending is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import takewhile
from queue import SimpleQueue
from typing import TYPE_CHECKING, TypeVar

from tailrace.errors import MemoryShort
from tailrace.ledger.outbox import PageRows
from tailrace.warehouse.connection import ROW_GROUP_ROWS

if TYPE_CHECKING:
    import pyarrow as pa

STATEMENT_ROWS_MAX = 4 * ROW_GROUP_ROWS
BATCH_ROWS = 2_048
# Record batches that are read while one is processed.
BATCHES_AHEAD = 4

T = TypeVar("T")
Source = TypeVar("Source")
# Reads the rows of the outbox between two seqs, both included.
Read = Callable[[int, int], Iterator["pa.RecordBatch"]]


def stream_in_order(read: Read, ranges: Iterable[tuple[int, int]]) -> Generator[pa.RecordBatch]:
    """The rows of the ranges in the order of their seq, which is the first column.

    They are stored in that order, except that a second thread may have written a later row group
    first. If a batch starts with such a row group, the range before it is read by a new statement.
    """
    rows = PageRows(STATEMENT_ROWS_MAX, batch_rows=BATCH_ROWS)
    for first, last in ranges:
        until = last
        while first <= last:
            end = min(until, first + rows.now - 1)
            until = last
            try:
                for batch, seqs in map(_sorted, read(first, end)):
                    following = _following(seqs, first)
                    if following:
                        yield batch.slice(0, following)
                        first += following
                    rows.learn(len(batch), batch.nbytes)
                    if following < len(seqs):
                        until = seqs[following] - 1
                        break
                    if rows.now < BATCH_ROWS:
                        break
                else:
                    first = end + 1
            except MemoryShort:
                if not rows.shrink(end - first + 1):
                    raise


def _sorted(batch: pa.RecordBatch) -> tuple[pa.RecordBatch, list[int]]:
    seqs = batch.column(0).to_pylist()
    if seqs == sorted(seqs):
        return batch, seqs
    batch = batch.sort_by(batch.schema.names[0])
    return batch, batch.column(0).to_pylist()


def _following(seqs: Sequence[int], first: int) -> int:
    """The number of sorted seqs that continue from `first` without a gap.

    >>> _following([3, 4, 5, 9], 3), _following([4, 5], 3)
    (3, 0)
    """
    if seqs[0] == first and seqs[-1] == first + len(seqs) - 1:
        return len(seqs)
    return sum(1 for _ in takewhile(lambda at: seqs[at] == first + at, range(len(seqs))))


def read_ahead(batches: Generator[T]) -> Iterator[T]:
    """The batches, read on another thread while an earlier one is processed."""
    with ThreadPoolExecutor(1, thread_name_prefix="outbox") as reader:
        waiting: deque[Future[T | None]] = deque()
        try:
            while True:
                while len(waiting) <= BATCHES_AHEAD:
                    waiting.append(reader.submit(next, batches, None))
                batch = waiting.popleft().result()
                if batch is None:
                    return
                yield batch
        finally:
            for future in waiting:
                future.cancel()
            # The cursor must be closed on the thread that opened it.
            reader.submit(batches.close)


def read_side_by_side(
    read: Callable[[Source, tuple[int, int]], T],
    sources: Sequence[Source],
    pages: Iterable[tuple[int, int]],
) -> Generator[T]:
    """What `read` gives of each page of seqs, in their order, while earlier ones are processed.

    Args:
        read: Reads a page from a source, on another thread.
        sources: Each reads one page at a time.
        pages: The pages, each of which is taken when its turn to be read has come.
    """
    free: SimpleQueue[Source] = SimpleQueue()
    for source in sources:
        free.put(source)

    def read_page(page: tuple[int, int]) -> T:
        source = free.get()
        try:
            return read(source, page)
        finally:
            free.put(source)

    with ThreadPoolExecutor(len(sources), thread_name_prefix="outbox") as readers:
        waiting: deque[Future[T]] = deque()
        try:
            for page in pages:
                waiting.append(readers.submit(read_page, page))
                if len(waiting) > BATCHES_AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
