"""Where a statement that alters a table is committed at once, the next run completes the rest.

On MariaDB, a server of the tests' own, and on the emulator of Snowflake. Each test leaves what a
process has left that died between two statements.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from warehouses.stores import ENGINES, Store, store_on
from warehouses.test_conformance import CONTACT, LIVE, PEOPLE, moved, staging

from tailrace.clock import SystemClock
from tailrace.config.installation import LEDGER_VERSION
from tailrace.errors import ModelError
from tailrace.ledger import maintenance
from tailrace.ledger.ledger import Ledger
from tailrace.testing import SegmentSimulator
from tailrace.warehouse.opening import open_warehouse
from tailrace.warehouse.statements import Column, TableName, script

COMMITTING = [param for param in ENGINES if param not in ("duckdb",)]
COMMITTING = [p for p in COMMITTING if getattr(p, "values", [""])[0] in ("mariadb", "snowflake")]
pytestmark = pytest.mark.skipif(not COMMITTING, reason="run by: make test-engines")


@pytest.fixture(params=COMMITTING)
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    with SegmentSimulator() as segment, store_on(request, tmp_path / "shop", segment) as store:
        store.audience(PEOPLE)
        staging(store, LIVE)
        store.script(CONTACT)
        yield store


def test_an_interrupted_retirement_leaves_no_member(shop: Store) -> None:
    """The audience is retired, and the table of its members is still there."""
    assert (0, 3, 0, 0, 3) == moved(shop.sync())
    with open_warehouse(shop.project, clock=SystemClock()) as warehouse:
        Ledger(warehouse, clock=SystemClock()).run("retire_runs", sync_key="people")
    shop.script("DELETE FROM salesforce.contact WHERE id = 'c3'")
    assert (0, 2, 0, 0, 2) == moved(shop.sync())
    assert (0, 0, 0, 0, 0) == moved(shop.sync())


def test_an_interrupted_rename_is_completed_by_the_same_command(shop: Store) -> None:
    """The tables have the new name, and the rows of the ledger the old one."""
    assert (0, 3, 0, 0, 3) == moved(shop.sync())
    with open_warehouse(shop.project, clock=SystemClock()) as warehouse:
        ledger = Ledger(warehouse, clock=SystemClock())
        ledger.runs.start("rename", suffix="test")
        tables = {
            "renamed": ledger.snapshot("people"),
            "named": TableName(None, "snapshot__persons"),
        }
        warehouse.run("ledger/rename_table", tables=tables)
    shop.forget_audience("people")
    shop.audience(PEOPLE, "persons")
    stopped = shop.sync()
    (error,) = stopped.errors
    assert isinstance(error, ModelError)
    assert "tailrace rename OLD persons" in str(error.hint)
    maintenance.rename(shop.project, "people", "persons", clock=SystemClock())
    assert (0, 0, 0, 0, 0) == moved(shop.sync())
    shop.script("DELETE FROM salesforce.contact WHERE id = 'c3'")
    assert (0, 0, 0, 1, 1) == moved(shop.sync())


def test_a_column_that_was_not_filled_changes_no_member(shop: Store) -> None:
    """It has the name of a column that is being filled, and the next run drops it."""
    assert (0, 3, 0, 0, 3) == moved(shop.sync())
    with open_warehouse(shop.project, clock=SystemClock()) as warehouse:
        snapshot = Ledger(warehouse, clock=SystemClock()).snapshot("people")
        (email,) = [c for c in warehouse.columns_of(snapshot) if c.name == "email"]
        warehouse.run(
            "ledger/add_column",
            tables={"altered": snapshot},
            column=Column("_new__town", email.type),
        )
    shop.audience(
        PEOPLE.replace("{email: email}", "{email: email, town: town}").replace(
            "SELECT id,", "SELECT id, city AS town,"
        )
    )
    assert (0, 0, 0, 0, 0) == moved(shop.sync())
    with open_warehouse(shop.project, clock=SystemClock()) as warehouse:
        names = {column.name for column in warehouse.columns_of(snapshot)}
        towns = warehouse.execute(f"SELECT town FROM {snapshot} ORDER BY id")
    assert "town" in names
    assert "_new__town" not in names
    assert [("Oslo",), ("Bergen",), (None,)] == towns


@pytest.mark.parametrize("version", [4, 6, 9])
def test_an_interrupted_upgrade_goes_on(shop: Store, version: int) -> None:
    """After each statement of a version of the ledger's tables."""
    with open_warehouse(shop.project, clock=SystemClock()) as warehouse:
        for done in range(1, 8):
            warehouse.create_dataset("tailrace")
            ledger = Ledger(warehouse, clock=SystemClock())
            for name in warehouse.tables_in("tailrace"):
                kind = "view" if name.startswith("v_") else "table"
                table = {"built": TableName("tailrace", name)}
                warehouse.run(f"models/drop_{kind}", tables=table)
            tables = ledger._created()
            for earlier in range(1, version):
                warehouse.run_script(f"ledger/version_{earlier}", tables=tables)
            now = SystemClock().now()
            ledger.run("install", namespace="one namespace", version=version - 1, now=now)
            ledger.run("insert_lock", now=now)
            texts = script(f"ledger/version_{version}", warehouse.dialect, tables=tables)
            for sql in texts[:done]:
                warehouse.execute(sql)
            again = Ledger(warehouse, clock=SystemClock())
            again.upgrade()
            assert LEDGER_VERSION == Ledger(warehouse, clock=SystemClock()).version
            assert [] == again.runs.recent(1)
            if done >= len(texts):
                break
