"""A copied DuckDB file is a second sender: the next run warns where that can be noticed."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from shop import PEOPLE, Shop

from tailrace.testing import SegmentSimulator

ROWS = [{"id": f"c{n}", "email": f"c{n}@shop.example", "city": "Bonn"} for n in range(3)]


@pytest.fixture
def segment() -> Iterator[SegmentSimulator]:
    with SegmentSimulator() as simulator:
        yield simulator


@pytest.fixture
def shop(tmp_path: Path, segment: SegmentSimulator) -> Shop:
    shop = Shop(tmp_path / "shop", segment)
    shop.audience(PEOPLE)
    shop.land(ROWS)
    return shop


def other_project(shop: Shop, segment: SegmentSimulator, name: str) -> Shop:
    """A project of the same audience in another folder, without a warehouse."""
    other = Shop(shop.root.parent / name, segment)
    other.audience(PEOPLE)
    return other


def warnings(shop: Shop) -> list[str]:
    """The warnings of a run that say that its file may be a copy."""
    result = shop.sync()
    assert result.exit_code == 0
    copied = [
        entry for entry in result.as_dict()["warnings"] if "warehouse.duckdb" in entry["message"]
    ]
    assert all("--target NAME" in entry["hint"] for entry in copied)
    return [entry["message"] for entry in copied]


def test_a_file_that_stays_or_is_renamed_causes_no_warning(
    shop: Shop, segment: SegmentSimulator
) -> None:
    assert [warnings(shop) for _ in range(4)] == [[], [], [], []]
    moved = other_project(shop, segment, "moved")
    shop.file.rename(moved.file)
    assert warnings(moved) == []


def test_a_copy_beside_its_original_causes_one_warning(
    shop: Shop, segment: SegmentSimulator
) -> None:
    assert warnings(shop) == []
    copy = other_project(shop, segment, "copy")
    shutil.copy(shop.file, copy.file)
    assert warnings(copy) == [
        f"warehouse.duckdb is a copy of {shop.file.resolve()}, and a copied file is a second sender"
    ]
    assert warnings(copy) == []
    # The original cannot know of it.
    assert warnings(shop) == []


def test_a_file_without_the_last_run_causes_a_warning(
    shop: Shop, segment: SegmentSimulator
) -> None:
    assert warnings(shop) == []
    backup = shutil.copy(shop.file, shop.root / "backup.duckdb")
    assert warnings(shop) == []
    (last,) = shop.query("SELECT run_id FROM tailrace.runs ORDER BY run_seq DESC LIMIT 1")
    shutil.copy(backup, shop.file)
    # An older file has fewer runs; a copy that was used elsewhere has others of the same number.
    (message,) = warnings(shop)
    assert f"does not have this project's last run, {last[0]}" in message
    assert warnings(shop) == []

    elsewhere = other_project(shop, segment, "elsewhere")
    shutil.copy(shop.file, elsewhere.file)
    warnings(elsewhere)
    warnings(shop)
    shutil.copy(elsewhere.file, shop.file)
    (message,) = warnings(shop)
    assert "used elsewhere" in message


def test_a_ledger_that_was_started_again_causes_no_warning(shop: Shop) -> None:
    assert [warnings(shop) for _ in range(2)] == [[], []]
    shop.file.unlink()
    shop.land(ROWS)
    assert warnings(shop) == []


def test_another_machine_causes_a_warning_after_three_runs_on_one(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder `.tailrace/` is not on the other machine."""

    def run_on(host: str) -> list[str]:
        shutil.rmtree(shop.root / ".tailrace", ignore_errors=True)
        monkeypatch.setattr(platform, "node", lambda: host)
        return warnings(shop)

    # Throw-away machines have another name for each run.
    assert [run_on(f"runner-{n}") for n in range(5)] == [[]] * 5
    assert [run_on("server-a") for _ in range(3)] == [[]] * 3
    (message,) = run_on("server-b")
    assert "is on server-b, and its last 3 runs were on server-a" in message
    assert run_on("server-b") == []


@pytest.mark.parametrize("text", ["", "[]", '{"ledger": 1}', "[" * 4_000])
def test_an_unreadable_record_is_ignored(shop: Shop, text: str) -> None:
    assert warnings(shop) == []
    (record,) = (shop.root / ".tailrace").glob("generation-*.json")
    record.write_text(text)
    assert warnings(shop) == []
