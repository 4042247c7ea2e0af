"""Writes the rows of an object to Parquet files of a size that the warehouse loads well."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock

from tailrace.salesforce.arrow import pa, pq

GROUP_ROWS = 50_000
GROUP_BYTES = 32 << 20
PAGE_HELD_BYTES_MAX = 64 << 20
# DuckDB compresses files of exactly one row group of its own in parallel as they load.
FILE_ROWS = 122_880


class ParquetFile:
    """One Parquet file that grows by batches; small batches are held until they fill a row group.

    Safe to use from several threads.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = 0
        self._lock = Lock()
        self._held: list[pa.RecordBatch] = []
        self._held_rows = 0
        self._held_bytes = 0
        self._writer: pq.ParquetWriter | None = None

    def write(self, batches: Sequence[pa.RecordBatch], size: int) -> None:
        """Add batches of one schema, `size` bytes in all; held until they fill a row group."""
        with self._lock:
            for batch in batches:
                self.rows += batch.num_rows
                self._held_rows += batch.num_rows
                self._held.append(batch)
                if self._held_rows >= GROUP_ROWS:
                    self._flush()
            # Some of the flushed bytes are counted again, so a group may be smaller than allowed.
            self._held_bytes += size
            if self._held_bytes >= GROUP_BYTES:
                self._flush()

    def close(self) -> None:
        """Finish the file; without rows there is none."""
        with self._lock:
            self._flush()
            if self._writer is not None:
                self._writer.close()
                self._writer = None

    def _flush(self) -> None:
        held = [batch for batch in self._held if batch.num_rows]
        self._held, self._held_rows, self._held_bytes = [], 0, 0
        if not held:
            return
        table = pa.Table.from_batches(held)
        if self._writer is None:
            # The file is read once, so dictionaries and statistics cost more than they gain.
            self._writer = pq.ParquetWriter(
                self.path,
                table.schema,
                compression="snappy",
                use_dictionary=False,
                write_statistics=False,
            )
        self._writer.write_table(table, row_group_size=table.num_rows)


class ParquetFiles:
    """The files of one object. Pages are put together, since one large insert costs half of many.

    A page is taken whole or not at all. One that is too large to be held gets its own file.
    """

    def __init__(self, new_path: Callable[[], Path]) -> None:
        self._new_path = new_path
        self._lock = Lock()
        self._open: ParquetFile | None = None
        self._done: list[ParquetFile] = []
        self._bytes = 0

    @property
    def row_bytes(self) -> float:
        """How many bytes a row takes in memory, on average."""
        rows = self.rows
        return self._bytes / rows if rows else 0.0

    @property
    def rows(self) -> int:
        return sum(rows for _, rows in self.listed())

    def listed(self) -> list[tuple[Path, int]]:
        """The closed files with their rows."""
        with self._lock:
            self._close()
            return [(file.path, file.rows) for file in self._done if file.rows]

    def take(self, batches: Iterable[pa.RecordBatch]) -> int:
        """Read a page to its end and keep it; returns its rows."""
        held: list[pa.RecordBatch] = []
        held_bytes = page_bytes = 0
        own: ParquetFile | None = None
        for batch in batches:
            held.append(batch)
            held_bytes += batch.nbytes
            page_bytes += batch.nbytes
            if held_bytes >= PAGE_HELD_BYTES_MAX:
                own = own or ParquetFile(self._new_path())
                own.write(held, held_bytes)
                held, held_bytes = [], 0
        if own is not None:
            own.write(held, held_bytes)
            own.close()
            with self._lock:
                self._bytes += page_bytes
                self._done.append(own)
            return own.rows
        with self._lock:
            self._bytes += page_bytes
            for batch in held:
                self._append(batch)
        return sum(batch.num_rows for batch in held)

    def sibling(self) -> ParquetFiles:
        """Empty files in the same folder, for a read that may be discarded."""
        return ParquetFiles(self._new_path)

    def adopt(self, other: ParquetFiles) -> None:
        """Take over the files of another read."""
        listed = other.listed()
        with self._lock:
            self._bytes += other._bytes
            self._done += [file for file in other._done if file.rows]
        assert len(listed) <= len(self._done)

    def discard(self) -> None:
        """Delete the files, and forget their rows."""
        self.listed()
        with self._lock:
            for file in self._done:
                with suppress(OSError):
                    file.path.unlink(missing_ok=True)
            self._done, self._bytes = [], 0

    def _append(self, batch: pa.RecordBatch) -> None:
        while batch.num_rows:
            self._open = self._open or ParquetFile(self._new_path())
            part = batch.slice(0, FILE_ROWS - self._open.rows)
            self._open.write([part], part.nbytes)
            batch = batch.slice(part.num_rows)
            if self._open.rows >= FILE_ROWS:
                self._close()

    def _close(self) -> None:
        if self._open is not None:
            self._open.close()
            self._done.append(self._open)
            self._open = None
            # Little is held between pages; the memory of the last ones can go back to the system.
            pa.default_memory_pool().release_unused()
