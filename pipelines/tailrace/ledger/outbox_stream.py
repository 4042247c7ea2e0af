"""The messages that a warehouse wrote, stretch by stretch of the outbox, in order and read ahead.

A stretch is what one statement reads. To begin so long a statement takes as long as some ten
thousand rows, so a stretch has as many rows as a few row groups; it comes in pieces, and only some
of these are held, however slow the sending is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import takewhile
from typing import TYPE_CHECKING

from tailrace.errors import MemoryShort
from tailrace.ledger.outbox import PageRows
from tailrace.warehouse.connection import ROW_GROUP_ROWS

if TYPE_CHECKING:
    import pyarrow as pa

STRETCH_ROWS_MAX = 4 * ROW_GROUP_ROWS
PIECE_ROWS = 2_048
# How many pieces are read while one is worked on.
PIECES_AHEAD = 4

# Reads what the outbox has from one number to another.
Read = Callable[[int, int], Iterator["pa.RecordBatch"]]


def in_order(read: Read, ranges: Iterable[tuple[int, int]]) -> Generator[pa.RecordBatch]:
    """The rows of the ranges by their number, which is the first column.

    They are stored in that order, but for row groups of which a second thread wrote a later one
    earlier. Where such a one stands first, the stretch is read again up to it.
    """
    rows = PageRows(STRETCH_ROWS_MAX, piece_rows=PIECE_ROWS)
    for first, last in ranges:
        until = last
        while first <= last:
            end = min(until, first + rows.now - 1)
            until = last
            try:
                for piece, seqs in map(_sorted, read(first, end)):
                    following = _following(seqs, first)
                    if following:
                        yield piece.slice(0, following)
                        first += following
                    rows.learn(len(piece), piece.nbytes)
                    if following < len(seqs):
                        until = seqs[following] - 1
                        break
                    if rows.now < PIECE_ROWS:
                        break
                else:
                    first = end + 1
            except MemoryShort:
                if not rows.shrink(end - first + 1):
                    raise


def _sorted(piece: pa.RecordBatch) -> tuple[pa.RecordBatch, list[int]]:
    seqs = piece.column(0).to_pylist()
    if seqs == sorted(seqs):
        return piece, seqs
    piece = piece.sort_by(piece.schema.names[0])
    return piece, piece.column(0).to_pylist()


def _following(seqs: Sequence[int], first: int) -> int:
    """How many of the sorted numbers follow on from the first one.

    >>> _following([3, 4, 5, 9], 3), _following([4, 5], 3)
    (3, 0)
    """
    if seqs[0] == first and seqs[-1] == first + len(seqs) - 1:
        return len(seqs)
    return sum(1 for _ in takewhile(lambda at: seqs[at] == first + at, range(len(seqs))))


def read_ahead(pieces: Generator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The pieces, read on a thread of its own while the one before is worked on."""
    with ThreadPoolExecutor(1, thread_name_prefix="outbox") as beside:
        waiting: deque[Future[pa.RecordBatch | None]] = deque()
        try:
            while True:
                while len(waiting) <= PIECES_AHEAD:
                    waiting.append(beside.submit(next, pieces, None))
                piece = waiting.popleft().result()
                if piece is None:
                    return
                yield piece
        finally:
            for each in waiting:
                each.cancel()
            # What it has open was opened by that thread.
            beside.submit(pieces.close)
