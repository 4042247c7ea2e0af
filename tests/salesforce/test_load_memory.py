"""A first load is flat in memory, and never fails for want of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from salesforce_landing import Landing, landing_of

from tailrace.errors import MemoryShort, WarehouseFailed
from tailrace.salesforce.extract import load, load_memory
from tailrace.salesforce.extract.landing import PipelineLanding
from tailrace.warehouse.memory import Limits

LIMITS = "SELECT current_setting('memory_limit'), current_setting('threads')"


@pytest.fixture
def landing(tmp_path: Path) -> Iterator[Landing]:
    with landing_of(tmp_path) as each:
        yield each


@pytest.fixture
def counted_with(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The memory limits under which the ids of a table were counted."""
    run = PipelineLanding.run
    limits: list[str] = []

    def spy(self: PipelineLanding, name: str, /, **bindings: Any) -> list[tuple[Any, ...]]:
        if name == "landing/count_duplicates":
            ((memory, *_),) = run(self, "landing/get_memory_limit")
            limits.append(memory)
        return run(self, name, **bindings)

    monkeypatch.setattr(PipelineLanding, "run", spy)
    return limits


def test_the_limits_of_the_warehouse_are_as_before(
    landing: Landing, counted_with: list[str]
) -> None:
    """They are bounded for the load, and while its ids are counted, of which DuckDB holds all."""
    landing.connection.execute("SET memory_limit = '2GiB'")
    landing.connection.execute("SET threads = 3")

    landing.extract("Contact")

    assert ["64.0 MiB"] == counted_with
    assert [("2.0 GiB", 3)] == landing.rows(LIMITS)


def test_a_limit_that_was_too_small_is_lifted(
    landing: Landing, monkeypatch: pytest.MonkeyPatch, counted_with: list[str]
) -> None:
    """Rows that need more than was reckoned land all the same."""
    landing.sf.org.add_mass("Contact", 20_000)
    monkeypatch.setattr(load_memory, "OTHER_BYTES", 1 << 20)
    monkeypatch.setattr(load_memory, "ROW_GROUP_FACTOR", 0.001)
    monkeypatch.setattr(load_memory, "COUNTING", Limits("3MiB", threads=1))
    landing.connection.execute("SET memory_limit = '2GiB'")
    errors: list[bool] = []
    is_out_of_memory = load_memory.is_out_of_memory

    def spy(error: BaseException) -> bool:
        errors.append(is_out_of_memory(error))
        return errors[-1]

    monkeypatch.setattr(load, "is_out_of_memory", spy)
    monkeypatch.setattr(load_memory, "is_out_of_memory", spy)

    assert 20_200 == landing.one("Contact", api="bulk").rows

    assert [True, True] == errors
    assert ["3.0 MiB", "2.0 GiB"] == counted_with
    assert 20_200 == landing.value("SELECT count(DISTINCT id) FROM salesforce.contact")


@pytest.mark.parametrize(
    ("error", "tries"),
    [
        (MemoryShort("landing/count_duplicates"), 2),
        (duckdb.OutOfMemoryException("Out of Memory Error: could not allocate"), 2),
        (WarehouseFailed("landing/count_duplicates"), 1),
    ],
)
def test_only_a_count_without_enough_memory_is_repeated(
    landing: Landing, error: Exception, tries: int
) -> None:
    counts: list[str] = []

    def count() -> int:
        counts.append(landing.value("SELECT current_setting('memory_limit')"))
        if len(counts) == 1:
            raise error
        return 7

    landing.connection.execute("SET memory_limit = '2GiB'")
    if tries == 1:
        with pytest.raises(type(error)):
            load_memory.run_counting(count, landing.landing)
    else:
        assert 7 == load_memory.run_counting(count, landing.landing)
    assert ["64.0 MiB", "2.0 GiB"][:tries] == counts
    assert "2.0 GiB" == landing.value("SELECT current_setting('memory_limit')")


def test_a_load_that_merges_keeps_the_warehouses_memory(landing: Landing) -> None:
    """Joins need more than inserts."""
    landing.one("Contact")
    landing.sf.org.advance_day()
    facts = landing.one("Contact")

    assert facts.rows > 0
    assert load_memory.bytes_needed([]) is None


def test_a_large_first_load_lands_in_files_side_by_side(landing: Landing) -> None:
    """Rows of several files are one table, none twice and none missing."""
    landing.sf.org.add_mass("Contact", 130_000)

    facts = landing.one("Contact", api="bulk")

    assert 130_200 == facts.rows
    assert 130_200 == landing.value("SELECT count(DISTINCT id) FROM salesforce.contact")


def test_what_the_destination_can_do_is_asked_as_before_afterwards(landing: Landing) -> None:
    """It is remembered for one extract alone."""
    landing.one("Contact")

    assert "capabilities" not in vars(landing.pipeline.destination)
