"""Landed tables with partitions: the same rows as without, in files of their own."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from salesforce_landing import Landing as DuckdbLanding
from salesforce_landing import QuickClock, landing_of
from warehouses.stores import DUCKLAKE, SPARK, Store, store_on

from tailrace.clock import SystemClock
from tailrace.config.settings import ObjectSettings
from tailrace.errors import PartitionsChanged
from tailrace.salesforce.extract.extraction import ExtractResult, extract
from tailrace.salesforce.extract.landing import WarehouseLanding
from tailrace.testing.org.describe import Field as SimulatedField
from tailrace.warehouse.connection import Warehouse
from tailrace.warehouse.opening import open_warehouse

OBJECTS = ("Opportunity",)
# A DuckLake keeps up to ten new rows in its catalog.
CHANGES_MIN = 11
PARTITION = re.compile(r"(?:year=(\d+)/month=(\d+)|tr__partition=(\d+)-(\d+))/")
ROWS = "SELECT id, name, close_date, is_deleted, stage_name FROM salesforce.opportunity ORDER BY id"


class Lands:
    """A warehouse with a table that has partitions, beside a DuckDB file whose table has none."""

    def __init__(self, store: Store, duckdb: DuckdbLanding) -> None:
        self.store = store
        self.duckdb = duckdb
        self.sf = duckdb.sf
        duckdb.settings = replace(duckdb.settings, objects=OBJECTS)

    def extract(
        self, partition_by: str | None = "month(CloseDate)", **options: Any
    ) -> ExtractResult:
        """Extract into both."""
        self.duckdb.extract()
        of_object = ObjectSettings(partition_by=partition_by)
        with self.opened() as warehouse:
            return extract(
                WarehouseLanding(warehouse),
                replace(self.duckdb.settings, per_object={"Opportunity": of_object}),
                self.duckdb.credentials,
                clock=QuickClock(),
                **options,
            )

    def opened(self) -> Any:
        return open_warehouse(self.store.project, clock=SystemClock())

    def rows(self, sql: str = ROWS) -> list[tuple[Any, ...]]:
        with self.opened() as warehouse:
            return rows_in(warehouse, sql)

    def check(self) -> None:
        """Both have the same rows."""
        assert self.rows() == self.duckdb.rows(ROWS.replace("salesforce.", ""))

    def files(self) -> dict[Path, str]:
        """The data files of the table, each with its month."""
        found = {}
        for file in self.store.root.rglob("*.parquet"):
            match = PARTITION.search(str(file))
            if match is not None and "opportunity" in str(file):
                year, month = match[1] or match[3], int(match[2] or match[4])
                found[file] = f"{year}-{month:02}"
        return found


def rows_in(warehouse: Warehouse, sql: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in warehouse.session.execute(sql) or ()]


@pytest.fixture(params=[*DUCKLAKE, *SPARK])
def lands(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lands]:
    (tmp_path / "duckdb").mkdir()
    with store_on(request, tmp_path / "shop") as store, landing_of(tmp_path / "duckdb") as duckdb:
        yield Lands(store, duckdb)


def test_rows_move_between_partitions_and_land_once(lands: Lands) -> None:
    """Changes, deletions and a new column; an extract writes to the partitions of its rows only."""
    lands.extract()
    lands.check()
    org = lands.sf.org
    months = sorted(set(lands.files().values()))
    assert months == sorted({f"{row[2]:%Y-%m}" for row in lands.rows()})

    before = lands.files()
    ((month, _),) = Counter(f"{row[2]:%Y-%m}" for row in lands.rows()).most_common(1)
    chosen = [row for row in lands.rows() if f"{row[2]:%Y-%m}" == month]
    assert len(chosen) >= CHANGES_MIN
    org.advance(hours=1)
    for row in chosen:
        org.update("Opportunity", row[0], {"NextStep": "Call"})
    lands.extract()
    lands.check()
    written = {month for file, month in lands.files().items() if file not in before}
    assert {month} == written

    moved, emptied, removed = (row[0] for row in chosen[:3])
    org.advance(hours=1)
    org.update("Opportunity", moved, {"CloseDate": date(2031, 5, 17)})
    org.silently("Opportunity", emptied, {"CloseDate": None})
    org.update("Opportunity", emptied, {"NextStep": "Wait"})
    org.purge("Opportunity", removed)
    org.add_field("Opportunity", SimulatedField(name="Later__c", type="string"))
    org.insert("Opportunity", {"Name": "New", "StageName": "Won", "CloseDate": date(2032, 2, 29)})
    lands.extract()
    lands.check()
    ids = [row[0] for row in lands.rows()]
    assert len(ids) == len(set(ids))
    assert [(None,)] == lands.rows(
        f"SELECT later__c FROM salesforce.opportunity WHERE id = '{moved}'"
    )


def test_a_query_reads_the_partitions_that_it_names(lands: Lands) -> None:
    """A month is read although the files of all other months are gone."""
    lands.extract()
    of_month = Counter(f"{row[2]:%Y-%m}" for row in lands.rows())
    month = sorted(of_month)[1]
    first = date.fromisoformat(f"{month}-01")
    after = (first + timedelta(days=31)).replace(day=1)
    for file, kept in lands.files().items():
        if kept != month:
            file.unlink()
    sql = "SELECT name FROM salesforce.opportunity"
    of_one = f"{sql} WHERE close_date >= DATE '{first}' AND close_date < DATE '{after}'"
    assert of_month[month] == len(lands.rows(of_one))
    with pytest.raises(Exception, match=r"(?i)no such file|not found|cannot open"):
        lands.rows(sql)


def test_an_update_moves_a_row_into_its_partition(lands: Lands) -> None:
    """As the refresh of a formula does."""
    lands.extract()
    before = lands.rows()
    changed = {row[0]: date(2033, 3, 1) for row in before[:CHANGES_MIN]}
    listed = ", ".join(f"'{row_id}'" for row_id in changed)
    with lands.opened() as warehouse:
        rows_in(
            warehouse,
            "UPDATE salesforce.opportunity SET close_date = DATE '2033-03-01' "
            f"WHERE id IN ({listed})",
        )
    assert "2033-03" in lands.files().values()
    expected = [(*row[:2], changed.get(row[0], row[2]), *row[3:]) for row in before]
    assert expected == lands.rows()
    in_month = "SELECT count(*) FROM salesforce.opportunity WHERE close_date = DATE '2033-03-01'"
    assert [(len(changed),)] == lands.rows(in_month)


def test_other_partitions_need_a_full_refresh(lands: Lands) -> None:
    lands.extract(partition_by=None)
    with pytest.raises(PartitionsChanged, match="without partitions, and is configured") as added:
        lands.extract()
    assert "tailrace extract --full-refresh -s Opportunity" in (added.value.hint or "")
    assert {} == lands.files()
    lands.extract(full_refresh=True)
    lands.check()
    assert lands.files()
    with pytest.raises(PartitionsChanged, match=r"by month\(CloseDate\), and is .* by year"):
        lands.extract("year(CloseDate)")
    lands.extract()
    lands.check()
