"""MotherDuck: DuckDB's dialect on a server that several machines write to.

A file stands for the service, so this proves the statements of the ledger and its lock alone.
"""

from __future__ import annotations

from pathlib import Path

import dlt
import pytest
from shop import Shop

from tailrace.clock import SystemClock
from tailrace.errors import LockHeld
from tailrace.ledger.ledger import Ledger
from tailrace.ledger.lock import lock
from tailrace.warehouse.connection import Warehouse
from tailrace.warehouse.session import DltSession

CLOCK = SystemClock()


def test_a_second_machine_does_not_take_the_lock_of_a_living_run(tmp_path: Path) -> None:
    """As it would where one process has the file of the same dialect."""
    project = Shop(tmp_path).project
    destination = dlt.destinations.duckdb(str(tmp_path / "service.duckdb"))
    session = DltSession(destination, project.settings.dataset, "motherduck")
    one = Warehouse(project, session)
    other = Warehouse(project, session.another())
    try:
        assert ("duckdb", False, False) == (
            one.dialect,
            other.engine.has_one_writer,
            other.engine.embedded,
        )
        ledger = Ledger(one, clock=CLOCK)
        ledger.install("one namespace")
        with (
            lock(ledger, owner="one", run_id="run-1", clock=CLOCK),
            pytest.raises(LockHeld, match="run-1"),
            lock(Ledger(other, clock=CLOCK), owner="other", run_id="run-2", clock=CLOCK),
        ):
            pass
    finally:
        other.close()
        one.close()
