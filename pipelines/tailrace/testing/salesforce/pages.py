"""A cache of rendered pages of generated rows, for benchmarks."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence

from tailrace.testing.salesforce.select import Piece, Result

HELD_BYTES_MAX = 512_000_000


class Pages:
    """Pages by content key; the least recently used are dropped first."""

    def __init__(self, held_bytes_max: int = HELD_BYTES_MAX) -> None:
        self.held_bytes_max = held_bytes_max
        self._held: OrderedDict[Hashable, bytes] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, key: Hashable | None, render: Callable[[], bytes]) -> bytes:
        """The page of a key, rendered if it is not cached; None = render without caching."""
        if key is None:
            return render()
        with self._lock:
            page = self._held.get(key)
            if page is not None:
                self._held.move_to_end(key)
                return page
        page = render()
        with self._lock:
            self._held[key] = page
            self._bytes += len(page)
            while self._bytes > self.held_bytes_max:
                _, dropped = self._held.popitem(last=False)
                self._bytes -= len(dropped)
        return page


def page_key(result: Result, pieces: Sequence[Piece], *rest: Hashable) -> Hashable | None:
    """The content key of a page; None if its rows may change."""
    if not pieces or any(piece.part.key is None for piece in pieces):
        return None
    names = tuple(field.name for field in result.fields)
    spans = tuple((piece.part.key, piece.offset, piece.rows) for piece in pieces)
    return (names, spans, *rest)
