"""Landing contacts in DuckDB over loopback: our extract, plain dlt, and DuckDB's own CSV reader.

200,000 contacts of 29 fields by default; `TAILRACE_BENCH_CONTACTS` says another number. Each way
runs in a process of its own.

The memory of 2,000,000 (`TAILRACE_BENCH_CONTACTS_MANY`) is compared with that of a quarter of them.
500,000 are ten pages, of which five are in flight as they are with many; 200,000 are only four.

A quick run lands few contacts, and leaves out the figures of `FULL_RUN_ONLY`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from extract_ways import FIELDS, control
from figure import Figure, left_out, quick

ROWS = int(os.environ.get("TAILRACE_BENCH_CONTACTS", "200_000"))
MANY_ROWS = int(os.environ.get("TAILRACE_BENCH_CONTACTS_MANY", "2_000_000"))
QUICK_ROWS = 40_000
QUICK_SAMPLE_ROWS = 2_000
SAMPLE_ROWS = 10_000
DELTA_ROWS = SAMPLE_ROWS
SMALL_PAGE_ROWS = 10_000
MEGABYTES_MAX = 700
# A quick run judges one ratio, which is far from its goal.
TRIES = 1 if quick() else 3
FULL_RUN_ONLY = (
    "extract_against_read_csv",
    "extract_against_plain_dlt",
    "extract_memory",
    "extract_delta_against_dlt_default",
    "extract_memory_of_many",
    "extract_five_pages_in_flight",
)
SCRIPT = Path(__file__).parent / "extract_ways.py"


class Measured(NamedTuple):
    """What one process did."""

    seconds: float
    rows: int
    megabytes: float

    @property
    def rows_per_second(self) -> float:
        return self.rows / self.seconds


@contextmanager
def org(contacts: int, *, latency: float = 0.0, page_rows: int = 50_000) -> Iterator[str]:
    """A simulated org in a process of its own, its pages made before they are asked for."""
    command = [sys.executable, "-m", "tailrace.testing", "salesforce", "--polls", "0"]
    command += ["--contacts", str(contacts), "--latency", str(latency)]
    command += ["--page-rows", str(page_rows)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stdin is not None
        service = process.stdout.readline()
        control(
            json.loads(service),
            "warm",
            query=f"SELECT {','.join(FIELDS)} FROM Contact",
            operation="queryAll",
        )
        yield service
        process.stdin.close()


def measure(way: str, service: str, rows: int = 0, *, tries: int = TRIES) -> Measured:
    """The quickest of a few tries."""
    done = []
    for _ in range(tries):
        with tempfile.TemporaryDirectory() as folder:
            ran = subprocess.run(
                [sys.executable, SCRIPT, way, service, folder, str(rows)],
                check=True,
                capture_output=True,
                text=True,
            )
        done.append(Measured(**json.loads(ran.stdout.splitlines()[-1])))
    return min(done, key=lambda each: each.seconds)


def figures() -> Iterator[Figure]:
    """The figures; a quick run has those that it can measure."""
    yield from _quick_figures() if quick() else _full_figures()


def _quick_figures() -> Iterator[Figure]:
    """Few contacts, against dlt as it comes: one try of each, which is far from its goal."""
    with org(QUICK_ROWS) as service:
        ours = measure("tailrace", service)
        default = measure("plain_dlt_default", service, QUICK_SAMPLE_ROWS)
    yield speed("extract_against_dlt_default", ours, default, goal=15)
    left_out(*FULL_RUN_ONLY, reason="dlt is slow, and the others need many rows")


def _full_figures() -> Iterator[Figure]:
    with org(ROWS) as service:
        ours = measure("tailrace", service)
        limit = measure("read_csv", service)
        plain = measure("plain_dlt", service, tries=1)
        default = measure("plain_dlt_default", service, SAMPLE_ROWS, tries=1)
        changed = measure("delta", service, DELTA_ROWS)
    yield speed("extract_against_read_csv", ours, limit, goal=0.80)
    yield speed("extract_against_plain_dlt", ours, plain, goal=15)
    yield speed("extract_against_dlt_default", ours, default, goal=15)
    yield Figure(
        name="extract_memory", figure=ours.megabytes, against=MEGABYTES_MAX, goal=1.0, unit="MB"
    )
    # Both land the same number of rows.
    yield Figure(
        name="extract_delta_against_dlt_default",
        figure=changed.seconds,
        against=default.seconds,
        goal=0.15,
    )
    with org(MANY_ROWS // 4) as service:
        few = measure("tailrace", service)
    with org(MANY_ROWS) as service:
        many = measure("tailrace", service, tries=1)
    yield Figure(
        name="extract_memory_of_many",
        figure=many.megabytes,
        against=few.megabytes,
        goal=1.10,
        unit="MB",
    )
    with org(ROWS, latency=1.0, page_rows=SMALL_PAGE_ROWS) as service:
        five = measure("five_pages_in_flight", service, tries=1)
        one = measure("one_page_in_flight", service, tries=1)
    yield speed("extract_five_pages_in_flight", five, one, goal=3)


def speed(name: str, ours: Measured, theirs: Measured, *, goal: float) -> Figure:
    """Rows a second of two ways."""
    return Figure(
        name=name,
        figure=ours.rows_per_second,
        against=theirs.rows_per_second,
        goal=goal,
        unit="rows/s",
        more_is_better=True,
    )
