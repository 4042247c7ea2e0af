"""A disk that is full, wherever a run meets it: nothing is lost, and the error says so."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

from shop import PEOPLE, Shop

from tailrace.run.job import COMPACTED_RUNS
from tailrace.testing.segment.simulator import SegmentSimulator

ROWS = 10_000
LAND = f"""
CREATE SCHEMA salesforce;
CREATE TABLE salesforce.contact AS
SELECT 'c' || i AS id, 'p' || i || '@example.com' AS email, MD5(CAST(i AS TEXT)) AS city,
  CAST(i AS DOUBLE) AS score, FALSE AS is_deleted
FROM RANGE({ROWS}) AS r(i);
CHECKPOINT
"""


def test_a_run_without_room_fails_and_the_next_one_finishes(tmp_path: Path) -> None:
    """Nothing is sent before the plan is saved, and nothing is sent again after it."""
    with SegmentSimulator() as segment:
        shop = Shop(tmp_path / "shop", segment)
        shop.audience(PEOPLE)
        with shop.connection() as connection:
            connection.execute(LAND)
        landed_bytes = shop.file.stat().st_size
        seen = []
        for room_bytes in (0, 1_000_000, None):
            limit = None if room_bytes is None else landed_bytes + room_bytes
            ran = sync(shop, limit)
            seen.append((ran.returncode, len(segment.inbox.ids())))
            if limit is not None:
                assert "no space is left for the warehouse\n  Make room" in ran.stderr
                assert "Not finished: see the errors. The next run sends the rest." in ran.stdout
        assert [(1, 0), (1, 2 * ROWS), (0, 2 * ROWS)] == seen
        assert [] == segment.inbox.clashes
        assert [(ROWS,)] == shop.query("SELECT count(*) FROM tailrace.snapshot__people")


def sync(shop: Shop, file_bytes_max: int | None) -> subprocess.CompletedProcess[str]:
    """The command; no file that it writes grows over a limit."""

    def limit() -> None:
        if file_bytes_max is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes_max, file_bytes_max))

    return subprocess.run(
        [sys.executable, "-m", "tailrace", "sync", "--project-dir", str(shop.root)],
        env=os.environ | shop.environ,
        preexec_fn=limit,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_the_rows_of_many_small_runs_are_written_together(tmp_path: Path) -> None:
    """DuckDB gives each run's rows a block of 256 KiB in each table, until a run compacts them."""
    groups = "SELECT COUNT(DISTINCT row_group_id) FROM pragma_storage_info('tailrace.runs')"
    with SegmentSimulator() as segment:
        shop = Shop(tmp_path / "shop", segment)
        shop.audience(PEOPLE)
        shop.land([{"id": "c1", "city": "Oslo"}])
        for _ in range(3):
            shop.sync()
        assert [(3,)] == shop.query(groups)
        shop.query(f"UPDATE tailrace.runs SET run_seq = {COMPACTED_RUNS - 1} WHERE run_seq = 3")
        shop.sync()
        assert [(COMPACTED_RUNS,)] == shop.query("SELECT MAX(run_seq) FROM tailrace.runs")
        assert [(1,)] == shop.query(groups)
