"""Facts about a DuckDB file hold until any process writes to it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest

from tailrace.warehouse.file_facts import FileFacts

pytestmark = pytest.mark.older_duckdb


class Process:
    """A process that opens the file to write, and keeps a fact of it."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "warehouse.duckdb"
        self.facts = FileFacts(folder, self.file)

    @contextmanager
    def opened(self) -> Iterator[duckdb.DuckDBPyConnection]:
        self.facts.before_opening()
        with duckdb.connect(str(self.file)) as connection:
            self.facts.opened()
            yield connection
            if self.facts.are_kept:
                connection.execute("CHECKPOINT")
                self.facts.closing()
        self.facts.closed()

    def known(self) -> object:
        with self.opened():
            return self.facts.get("rows")


@pytest.fixture
def process(tmp_path: Path) -> Process:
    """The file after a process that kept a fact of it."""
    process = Process(tmp_path)
    with process.opened() as connection:
        connection.execute("CREATE TABLE contact AS SELECT 1 AS id")
        process.facts.keep("rows", {"contact": 1})
    return process


def write(process: Process, sql: str) -> None:
    with duckdb.connect(str(process.file)) as connection:
        connection.execute(sql)


def test_a_fact_holds_until_a_process_keeps_no_facts(process: Process) -> None:
    for _ in range(2):
        with process.opened() as connection:
            assert {"contact": 1} == process.facts.get("rows")
            connection.execute("CREATE OR REPLACE TABLE own_record AS SELECT now() AS time")
            process.facts.keep("rows", process.facts.get("rows"))
    with process.opened() as connection:
        connection.execute("INSERT INTO contact VALUES (2)")
        process.facts.forget()
    assert process.known() is None


def test_a_fact_holds_after_a_process_that_only_reads(process: Process) -> None:
    with duckdb.connect(str(process.file), read_only=True) as connection:
        connection.execute("FROM contact")
    assert {"contact": 1} == process.known()


def kill_with_a_log(process: Process) -> None:
    """End a process by force after a commit, so that its rows are in DuckDB's log."""
    code = (
        "import duckdb, os, sys\n"
        "connection = duckdb.connect(sys.argv[1])\n"
        "connection.execute('INSERT INTO contact VALUES (2)')\n"
        "os._exit(0)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(process.file)], check=True)


def restore(process: Process) -> None:
    """Put another file of the same size in its place, with the times of the original."""
    status = process.file.stat()
    copy = process.file.with_suffix(".backup")
    shutil.copy2(process.file, copy)
    write(process, "UPDATE contact SET id = 2")
    process.file.write_bytes(copy.read_bytes())
    os.utime(process.file, ns=(status.st_atime_ns, status.st_mtime_ns))


def replace(process: Process) -> None:
    copy = process.file.with_suffix(".copy")
    shutil.copy2(process.file, copy)
    copy.replace(process.file)


def damage(process: Process) -> None:
    (record,) = process.file.parent.glob("facts-*.json")
    record.write_text(record.read_text().replace('"contact":1', '"contact":2'))


CHANGES: Mapping[str, Callable[[Process], object]] = {
    "a row": lambda p: write(p, "UPDATE contact SET id = 2"),
    "a table": lambda p: write(p, "CREATE TABLE other AS SELECT 1 AS id"),
    "a log": kill_with_a_log,
    "an older file in its place": restore,
    "a copy in its place": replace,
    "a file that was removed": lambda p: p.file.unlink(),
    "a damaged record": damage,
    "a record that is gone": lambda p: next(p.file.parent.glob("facts-*.json")).unlink(),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_fact_does_not_hold_after_a_change(
    process: Process, change: Callable[[Process], object]
) -> None:
    change(process)
    assert process.known() is None


def test_a_fact_does_not_hold_with_another_duckdb(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tailrace.warehouse.driver import driver

    monkeypatch.setattr(driver(), "__version__", "99.0.0")
    assert process.known() is None


def test_a_write_before_the_file_is_open_is_noticed(process: Process) -> None:
    process.facts.before_opening()
    write(process, "INSERT INTO contact VALUES (2)")
    process.facts.opened()
    assert process.facts.get("rows") is None


def test_a_write_after_the_file_is_closed_is_noticed(process: Process) -> None:
    """Another process is quicker than the record of this one."""
    with duckdb.connect(str(process.file)) as connection:
        connection.execute("CREATE TABLE own_record AS SELECT 1 AS n; CHECKPOINT")
        process.facts.keep("rows", {"contact": 1})
        process.facts.closing()
    write(process, "INSERT INTO contact VALUES (2)")
    process.facts.closed()
    assert process.known() is None
