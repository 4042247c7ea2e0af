"""A lock that another machine takes from a run, which was suspended for longer than its lease."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import sqlglot
from warehouses.failing_runs import IDS, before, errors_of, landed, tracked
from warehouses.stores import LOCAL_ENGINES, MARIADB, Store, store_on

from tailrace.clock import SystemClock
from tailrace.run import job
from tailrace.testing import SalesforceSimulator
from tailrace.testing.segment.simulator import SegmentSimulator
from tailrace.warehouse.connection import Warehouse
from tailrace.warehouse.opening import open_warehouse

# A DuckDB file and Delta tables are open in one process to write. A run on another warehouse could
# lose its lock.
SHARED = [*LOCAL_ENGINES[1:], *MARIADB]
TAKE = (
    "UPDATE tailrace.lock SET owner = 'another', host = 'elsewhere', run_id = 'run-2', "
    "expires_at = TIMESTAMPTZ '2999-01-01 00:00:00+00'"
)
GIVE_BACK = "UPDATE tailrace.lock SET owner = '', expires_at = TIMESTAMPTZ '2001-01-01 00:00:00+00'"
# A plan is saved; its outcome is saved, and advances the snapshot; the run ends.
TRANSACTIONS = 3


@pytest.fixture(params=SHARED)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    with SegmentSimulator() as segment, store_on(request, tmp_path / "shop", segment) as store:
        yield store


def taken_before_transaction(number: int) -> AbstractContextManager[None]:
    """Another machine takes the lock right before the n-th transaction of a run checks it."""

    def take(warehouse: Warehouse) -> None:
        other = warehouse.another()
        (taken,) = sqlglot.transpile(TAKE, read="duckdb", write=warehouse.dialect)
        other.execute(taken)
        other.close()

    return before("ledger/renew_lock", take, nth=number)


def check_stops(run: Callable[[], Any]) -> None:
    code, errors = errors_of(run)
    assert 75 == code
    assert ["LockHeld: The lease ran out, and run-2 took the lock"] == [
        f"{type(error).__name__}: {error.message}" for error in errors
    ]


def test_a_run_writes_nothing_after_it_lost_the_lock(store: Store) -> None:
    """It exits with 75 wherever it is, and the next run sends what is missing, each once."""
    landed(store)
    for number in range(1, TRANSACTIONS + 1):
        with taken_before_transaction(number):
            check_stops(store.sync)
        store.script(GIVE_BACK)
    done = store.sync()
    assert (0, len(IDS)) == (done.exit_code, done.audiences[0]["resumed"])
    assert IDS == tracked(store)
    assert [(len(IDS),)] == store.query("SELECT COUNT(*) FROM tailrace.snapshot__people")


def test_an_extract_loads_nothing_after_it_lost_the_lock(store: Store) -> None:
    """The rows that it has read are older than what the other run may have landed."""
    with SalesforceSimulator() as salesforce:
        store.environ |= {
            "SOURCES__SALESFORCE__OBJECTS": "Account",
            "SOURCES__SALESFORCE__CREDENTIALS__INSTANCE_URL": salesforce.url,
            "SOURCES__SALESFORCE__CREDENTIALS__CLIENT_ID": salesforce.client_id,
            "SOURCES__SALESFORCE__CREDENTIALS__CLIENT_SECRET": salesforce.client_secret,
        }

        def extract() -> Any:
            return job.extract(store.project, clock=SystemClock())

        with taken_before_transaction(1):
            check_stops(extract)
        with open_warehouse(store.project, clock=SystemClock()) as warehouse:
            assert "account" not in warehouse.tables_in("salesforce")
        store.script(GIVE_BACK)
        assert 0 == extract().exit_code
        assert store.query("SELECT COUNT(*) FROM salesforce.account") > [(0,)]
