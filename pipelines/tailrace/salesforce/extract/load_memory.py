"""Limits DuckDB's memory during a first load, so that it does not grow with the number of rows.

An embedded DuckDB keeps the blocks that it writes in memory until it comes near its limit. During a
load that only inserts, the limit is what the insert needs; merges keep the usual limit. While the
ids of the loaded rows are counted, those that do not fit the limit are written to disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

from tailrace.errors import MemoryShort
from tailrace.salesforce.extract.extracted_object import ExtractedObject
from tailrace.salesforce.extract.landing import Landing
from tailrace.warehouse.connection import ROW_GROUP_ROWS
from tailrace.warehouse.driver_errors import NO_MEMORY
from tailrace.warehouse.engines import engine_of
from tailrace.warehouse.memory import Limits, limited
from tailrace.warehouse.statements import statement

T = TypeVar("T")

# What DuckDB holds of a row group before it writes it.
ROW_GROUP_FACTOR = 1.1
OTHER_BYTES = 24 << 20
# Files that are loaded at the same time, one thread each: more threads would not compress a file
# faster, and would hold more row groups.
LOADS_MAX = 2
MERGED_ROWS_MAX = 100_000
COUNTING = Limits("64MiB", threads=1)


@contextmanager
def bounded_memory(pipeline: Any, objects: Iterable[ExtractedObject]) -> Iterator[bool]:
    """Limit DuckDB's memory for a load; yields whether it did."""
    wanted = bytes_needed(list(objects))
    if wanted is None:
        yield False
        return
    with pipeline.sql_client() as client:
        if not engine_of(str(client.capabilities.sqlglot_dialect)).embedded:
            yield False
            return
        limits = Limits(f"{(OTHER_BYTES + LOADS_MAX * wanted) >> 20}MiB", threads=1)
        with limited(partial(_run, client), limits):
            yield True


def bytes_needed(objects: list[ExtractedObject]) -> int | None:
    """Bytes that one thread needs for the widest rows of a load; None if the load merges rows."""
    merged = sum(extracted.rows for extracted in objects if not extracted.first)
    widest = max(
        (extracted.parquet.row_bytes for extracted in objects if extracted.first), default=0.0
    )
    if not widest or merged > MERGED_ROWS_MAX:
        return None
    return int(ROW_GROUP_ROWS * widest * ROW_GROUP_FACTOR)


def run_counting(run: Callable[[], T], landing: Landing) -> T:
    """Run a statement that counts ids, with a low limit if DuckDB is in this process."""
    if landing.merges_files:
        try:
            with limited(landing.run, COUNTING):
                return run()
        except Exception as error:
            # dlt raises the driver's error, and a warehouse's session its own.
            if not isinstance(error, MemoryShort) and not is_out_of_memory(error):
                raise
    return run()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether DuckDB ran out of the memory that it may use."""
    return NO_MEMORY.search(repr(error)) is not None


def _run(client: Any, name: str, /, **values: Any) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] | None = client.execute_sql(statement(name, "duckdb", **values))
    return rows or []
