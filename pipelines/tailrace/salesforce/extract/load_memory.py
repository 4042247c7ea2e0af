"""Keeps a first load flat in memory, whatever the number of its rows.

An embedded DuckDB keeps every block that it writes in its buffers until a limit is near. For the
time of a load that only inserts, the limit is what the insert itself needs; merges keep theirs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from tailrace.salesforce.extract.extractor import Reading
from tailrace.warehouse.connection import NO_MEMORY, ROW_GROUP_ROWS
from tailrace.warehouse.engines import engine_of
from tailrace.warehouse.statements import statement

# What DuckDB holds of a row group before it writes it.
ROW_GROUP_FACTOR = 1.1
BESIDE_BYTES = 24 << 20
# Files that are loaded at the same time. Each gets one thread, as more would not compress a file's
# rows any quicker, and hold more row groups.
LOADS_MAX = 2
MERGED_ROWS_MAX = 100_000


@contextmanager
def bounded_memory(pipeline: Any, readings: Iterable[Reading]) -> Iterator[bool]:
    """Bound DuckDB's memory for a load; tells whether it did."""
    wanted = bytes_needed(list(readings))
    if wanted is None:
        yield False
        return
    with pipeline.sql_client() as client:
        if not engine_of(str(client.capabilities.sqlglot_dialect)).embedded:
            yield False
            return
        ((before, threads),) = client.execute_sql(statement("landing/get_memory_limit", "duckdb"))
        _set(client, memory_limit=f"{(BESIDE_BYTES + LOADS_MAX * wanted) >> 20}MiB", threads=1)
        try:
            yield True
        finally:
            _set(client, memory_limit=str(before), threads=int(threads))


def bytes_needed(readings: list[Reading]) -> int | None:
    """What one thread needs for the widest rows of a load; None if it does more than insert."""
    merged = sum(each.rows for each in readings if not each.first)
    widest = max((each.landed.row_bytes for each in readings if each.first), default=0.0)
    if not widest or merged > MERGED_ROWS_MAX:
        return None
    return int(ROW_GROUP_ROWS * widest * ROW_GROUP_FACTOR)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether DuckDB found its limit too small after all."""
    return NO_MEMORY.search(repr(error)) is not None


def _set(client: Any, *, memory_limit: str, threads: int) -> None:
    client.execute_sql(statement("landing/set_threads", "duckdb", threads=threads))
    limit = statement("landing/set_memory_limit", "duckdb", memory_limit=memory_limit)
    client.execute_sql(limit)
