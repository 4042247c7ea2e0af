"""A first load is flat in memory, and never fails for want of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from salesforce_landing import Landing, landing_of

from tailrace.salesforce.extract import load, load_memory

LIMITS = "SELECT current_setting('memory_limit'), current_setting('threads')"


@pytest.fixture
def landing(tmp_path: Path) -> Iterator[Landing]:
    with landing_of(tmp_path) as each:
        yield each


def test_the_limits_of_the_warehouse_are_as_before(landing: Landing) -> None:
    """They are bounded for the load alone."""
    landing.connection.execute("SET memory_limit = '2GiB'")
    landing.connection.execute("SET threads = 3")

    landing.extract()

    assert [("2.0 GiB", 3)] == landing.rows(LIMITS)


def test_a_limit_that_was_too_small_is_lifted(
    landing: Landing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that need more than was reckoned land all the same."""
    landing.sf.org.add_mass("Contact", 20_000)
    monkeypatch.setattr(load_memory, "OTHER_BYTES", 1 << 20)
    monkeypatch.setattr(load_memory, "ROW_GROUP_FACTOR", 0.001)
    errors: list[bool] = []

    def spy(error: BaseException) -> bool:
        errors.append(load_memory.is_out_of_memory(error))
        return errors[-1]

    monkeypatch.setattr(load, "is_out_of_memory", spy)

    assert 20_200 == landing.one("Contact", api="bulk").rows

    assert [True] == errors
    assert 20_200 == landing.value("SELECT count(DISTINCT id) FROM salesforce.contact")


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
