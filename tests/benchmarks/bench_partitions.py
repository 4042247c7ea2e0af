"""What a query of one month reads of a DuckLake with partitions, against one without.

A million rows of two years, in pages of 100,000 rows in no order of their dates, as an extract
writes them. Counted are the files that have rows of the month, which the lake reads, and all rows
of these files. The ratio is the same on each machine: with 24 months, a 24th of the rows.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from figure import Figure, quick

sys.path.insert(0, str(Path(__file__).parents[2] / ".venv-duckdb-1.5"))
sys.path.insert(0, str(Path(__file__).parents[1]))

import duckdb
from warehouses.stores import LakeStore

from tailrace.clock import SystemClock
from tailrace.warehouse.ducklake import installed_extension
from tailrace.warehouse.opening import open_warehouse

PAGES = 10
PAGE_ROWS = 10_000 if quick() else 100_000
TABLE = "CREATE TABLE s.task (id TEXT, created_date TIMESTAMPTZ, subject TEXT, who_id TEXT)"
PARTITIONS = "ALTER TABLE s.task SET PARTITIONED BY (year(created_date), month(created_date))"
PAGE = (
    "INSERT INTO s.task SELECT 't' || i, TIMESTAMPTZ '2025-01-01 00:00:00+00'"
    " + INTERVAL (hash(i) % 63072000) SECOND, 'Call ' || i, 'c' || (i % 5000)"
    " FROM range({first}, {last}) AS r(i)"
)
MONTH = (
    "SELECT DISTINCT filename FROM s.task"
    " WHERE created_date >= TIMESTAMPTZ '2026-03-01 00:00:00+00'"
    " AND created_date < TIMESTAMPTZ '2026-04-01 00:00:00+00'"
)
# Months have 28 to 31 days.
SHARE_MAX = 0.05


def figures() -> Iterator[Figure]:
    """Rows and files that are read, if the packages of a DuckLake are installed."""
    if installed_extension("ducklake") is None:
        print("No figures of partitions: run make .venv-duckdb-1.5/ready", flush=True)
        return
    (rows, files), (all_rows, all_files) = (read_of_a_month(has) for has in (True, False))
    yield Figure(
        name="partitions: rows of the files that a query of one month of 24 reads",
        figure=rows,
        against=all_rows,
        goal=SHARE_MAX,
        unit="rows",
    )
    yield Figure(
        name="partitions: files that it reads",
        figure=files,
        against=all_files,
        goal=None,
        unit="files",
    )


def read_of_a_month(has_partitions: bool) -> tuple[int, int]:
    """The rows and the number of the files with rows of a month."""
    with tempfile.TemporaryDirectory() as folder:
        project = LakeStore(Path(folder)).project
        with open_warehouse(project, clock=SystemClock()) as warehouse:
            warehouse.execute("CREATE SCHEMA s")
            warehouse.execute(TABLE)
            if has_partitions:
                warehouse.execute(PARTITIONS)
            for page in range(PAGES):
                first, last = page * PAGE_ROWS, (page + 1) * PAGE_ROWS
                warehouse.execute(PAGE.format(first=first, last=last))
            files = [str(name) for (name,) in warehouse.execute(MONTH)]
        counted = duckdb.sql(
            "SELECT num_rows FROM parquet_file_metadata($files)", params={"files": files}
        )
        return sum(int(rows) for (rows,) in counted.fetchall()), len(files)
