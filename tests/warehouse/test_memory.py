"""A run's memory does not grow with the audience."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from shop import PEOPLE, Shop

from tailrace.clock import SystemClock
from tailrace.errors import MemoryShort, StatementRefused
from tailrace.run import delivery
from tailrace.testing.segment.simulator import SegmentSimulator
from tailrace.warehouse.connection import Warehouse
from tailrace.warehouse.memory import (
    LOW_MEGABYTES,
    LOW_THREADS,
    RAISED,
    MemoryLimit,
    deleting_megabytes,
    recording_megabytes,
    sending_megabytes,
)
from tailrace.warehouse.opening import open_warehouse

# A list is held whole: no disk helps.
HELD_ITEMS = 12_000_000
HELD_WHOLE = f"SELECT LEN(LIST(i)) FROM RANGE({HELD_ITEMS}) AS r(i)"
SETTINGS = "SELECT CURRENT_SETTING('memory_limit'), CURRENT_SETTING('threads')"


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[Warehouse]:
    with open_warehouse(Shop(tmp_path / "shop").project, clock=SystemClock()) as opened:
        yield opened


def gibibytes(warehouse: Warehouse) -> float:
    number, unit = limits(warehouse)[0].split()
    assert unit == "GiB"
    return float(number)


def limits(warehouse: Warehouse) -> tuple[str, int]:
    ((memory, threads),) = warehouse.execute(SETTINGS)
    return memory, threads


def test_few_for_a_while(warehouse: Warehouse) -> None:
    """Inside, little memory and few threads; afterwards as before, whatever happened."""
    before = gibibytes(warehouse)
    memory_limit = MemoryLimit(warehouse)
    with memory_limit.low_memory():
        inside = limits(warehouse)
        with memory_limit.low_memory():
            assert inside == limits(warehouse)
        assert inside == limits(warehouse)
    assert before == pytest.approx(gibibytes(warehouse), abs=0.2)
    assert (f"{LOW_MEGABYTES}.0 MiB", LOW_THREADS) == (inside[0], max(LOW_THREADS, inside[1]))
    with pytest.raises(StatementRefused), memory_limit.low_memory():
        warehouse.execute("SELECT none")
    assert before == pytest.approx(gibibytes(warehouse), abs=0.2)


def test_limits_lie_in_each_other(warehouse: Warehouse) -> None:
    """The limit of a step holds inside it only, and grows with the columns that it reads."""
    assert sending_megabytes(10) < sending_megabytes(100) < recording_megabytes(100)
    memory_limit = MemoryLimit(warehouse)
    with memory_limit.low_memory(20):
        outside = limits(warehouse)[0]
        inside = memory_limit.run_low_memory(lambda: limits(warehouse)[0], megabytes=40)
        assert ["20.0 MiB", "40.0 MiB", "20.0 MiB"] == [outside, inside, limits(warehouse)[0]]
        assert memory_limit.release()
        assert gibibytes(warehouse) > 0
        assert not memory_limit.release()


def test_a_step_that_needs_more_gets_it(warehouse: Warehouse) -> None:
    """What does not fit is done again with more, up to what is allowed; then as before."""
    warehouse.run("landing/set_memory_limit", memory_limit="1GiB")
    memory_limit = MemoryLimit(warehouse)
    seen: list[str] = []

    def step() -> int:
        seen.append(limits(warehouse)[0])
        ((length,),) = warehouse.execute(HELD_WHOLE)
        return int(length)

    def too_large() -> None:
        seen.append(limits(warehouse)[0])
        raise MemoryShort("too little memory")

    tried = [f"{LOW_MEGABYTES * RAISED**n}.0 MiB" for n in range(2)] + ["1.0 GiB"]
    with memory_limit.low_memory():
        assert HELD_ITEMS == memory_limit.run_low_memory(step)
        assert 1 < len(seen) < len(tried)
        assert tried[: len(seen)] == seen
        assert tried[0] == limits(warehouse)[0]
        seen.clear()
        with pytest.raises(MemoryShort):
            memory_limit.run_low_memory(too_large)
        assert tried == seen


def test_no_limit_is_above_what_is_allowed(warehouse: Warehouse) -> None:
    """With a small `memory_share_max`, a low limit is that share."""
    warehouse.run("landing/set_memory_limit", memory_limit="100MiB")
    memory_limit = MemoryLimit(warehouse)
    with memory_limit.low_memory(90):
        assert "90.0 MiB" == limits(warehouse)[0]
        with memory_limit.low_memory(110):
            assert "100.0 MiB" == limits(warehouse)[0]


def test_another_failure_is_no_reason_to_try_again(warehouse: Warehouse) -> None:
    """A statement that is refused is refused once."""
    seen = []

    def step() -> None:
        seen.append(limits(warehouse)[0])
        warehouse.execute("SELECT none")

    with pytest.raises(StatementRefused):
        MemoryLimit(warehouse).run_low_memory(step)
    assert [f"{LOW_MEGABYTES}.0 MiB"] == seen


def test_members_of_a_large_snapshot_are_replaced_at_once(warehouse: Warehouse) -> None:
    """DuckDB marks deleted rows in memory; after a shortage it conflicts with its own marks."""
    rows, deleted = 6_000_000, 6_000
    warehouse.execute(f"CREATE TABLE members AS SELECT range AS id FROM range({rows})")
    warehouse.run("warehouse/checkpoint")
    tried: list[int] = []

    def replace(remainder: int) -> None:
        tried.append(remainder)
        with warehouse.transaction():
            warehouse.execute(f"DELETE FROM members WHERE id % {rows // deleted} = {remainder}")

    needed = deleting_megabytes(deleted, rows)
    assert 0 == deleting_megabytes(deleted, 0) < deleting_megabytes(10, rows) < 1 < needed < 64
    megabytes = recording_megabytes(1, deleting_megabytes=needed)
    MemoryLimit(warehouse).run_low_memory(partial(replace, 1), megabytes=megabytes)
    assert [1] == tried
    if warehouse.engine_version.startswith("duckdb v1."):
        # It does not count the marks as memory.
        return
    warehouse.run("warehouse/checkpoint")
    with pytest.raises(MemoryShort):
        MemoryLimit(warehouse).run_low_memory(partial(replace, 2), megabytes=recording_megabytes(1))
    assert [1, 2, 2] == tried


def test_a_run_delivers_in_little_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A first plan, the outbox, what is sent and the advance; a later plan has all memory."""
    seen: dict[str, set[str]] = {}
    run = Warehouse.run

    def watched(self: Warehouse, name: str, /, **bindings: object) -> list[tuple[object, ...]]:
        if not name.startswith("landing/"):
            seen.setdefault(name, set()).add(limits(self)[0])
        return run(self, name, **bindings)  # type: ignore[arg-type]

    monkeypatch.setattr(Warehouse, "run", watched)
    # A plan of one member is a large one here.
    monkeypatch.setattr(delivery, "SAVED_TOGETHER_MEMBERS_MAX", 0)
    few = {f"{LOW_MEGABYTES}.0 MiB"}
    with SegmentSimulator() as segment:
        shop = Shop(tmp_path / "shop", segment)
        shop.audience(PEOPLE)
        for city in ("Oslo", "Bergen"):
            seen.clear()
            shop.land([{"id": "c1", "email": "a@example.com", "city": city}])
            assert 0 == shop.sync().exit_code
            enqueued = next(name for name in seen if name.startswith("outbox/enqueue"))
            assert few == seen[enqueued]
            # What the outbox has does not stay in memory while it is sent.
            names = [enqueued, "warehouse/drop_temporary", "ledger/acknowledge"]
            assert names == [name for name in seen if name in names]
            # A key and three mapped columns, whose earlier values are read if a member changed.
            columns = 4 if city == "Oslo" else 7
            recorded = {
                f"{recording_megabytes(columns, deleting_megabytes=deleting_megabytes(1, 1))}.0 MiB"
            }
            assert recorded == seen["ledger/insert_delivered_members"]
            assert recorded | {f"{sending_megabytes(columns)}.0 MiB"} >= seen["ledger/acknowledge"]
            planned = next(name for name in seen if name.endswith("transitions"))
            assert (city == "Oslo") == (few == seen[planned])
