"""A desk: an open warehouse with a ledger, on which a test plans and acknowledges deliveries.

The test decides what the destination answers, so that a whole history of an audience takes
milliseconds and each outcome of a delivery can be tested.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import sqlglot
from warehouses.stores import WAREHOUSES, Store, store_on

from tailrace.clock import SystemClock
from tailrace.destinations.messages import Transition
from tailrace.destinations.registry import ProjectTypes
from tailrace.ledger.deliveries import AckRange, Advanced, Finished
from tailrace.ledger.ledger import Ledger
from tailrace.ledger.outbox import pending_transitions
from tailrace.ledger.runs import Run
from tailrace.ledger.tables import VIEWS
from tailrace.models.loader import Models, read_models
from tailrace.plan.plan import AudiencePlan
from tailrace.plan.planner import Planner
from tailrace.plan.policy import PlanOptions
from tailrace.run.delivery import save_plan
from tailrace.run.planned_delivery import Delivery
from tailrace.warehouse.connection import Warehouse
from tailrace.warehouse.opening import open_warehouse

NOBODY: Collection[str] = frozenset()
RETYPED = re.compile(r"ALTER TABLE (\S+) ALTER COLUMN (\S+) SET DATA TYPE (\w+(?:\([\d, ]+\))?)")


class Desk:
    """One open warehouse. `now` is when its plans are made, where a test wants to say so."""

    def __init__(self, store: Store, warehouse: Warehouse) -> None:
        self.store = store
        self.warehouse = warehouse
        self.clock = SystemClock()
        self.now: datetime | None = None
        self.ledger = self._installed()

    def _installed(self) -> Ledger:
        ledger = Ledger(self.warehouse, clock=self.clock)
        ledger.install("a namespace")
        return ledger

    def clear(self) -> None:
        """Start again: no table, no model, an empty ledger."""
        self.warehouse.execute("DROP SCHEMA IF EXISTS salesforce CASCADE")
        self.warehouse.execute("CREATE SCHEMA salesforce")
        if self.ledger.installed:
            # Nothing may hold the tables of members.
            self.ledger.views.release(self.ledger.audiences.sync_keys())
        for table in self.warehouse.tables_in("tailrace"):
            if table in VIEWS:
                continue
            if "__" in table:
                self.warehouse.execute(f"DROP TABLE tailrace.{table}")
            elif table not in ("installation", "lock"):
                self.warehouse.execute(f"DELETE FROM tailrace.{table}")
        for file in self.store.project.models_folder.rglob("*.*"):
            file.unlink()
        self.now = None

    def script(self, sql: str) -> None:
        """Run statements, each committed."""
        for each in sqlglot.transpile(sql, read="duckdb", write=self.warehouse.dialect):
            if each:
                for sql in self._possible(each):
                    self.warehouse.execute(sql)

    def _possible(self, sql: str) -> list[str]:
        """A statement, or what stands for it on an engine that only widens types."""
        retyped = RETYPED.match(sql) if self.warehouse.engine.only_widens_types else None
        if retyped is None:
            return [sql]
        table, column, type_ = retyped.groups()
        return [
            f"CREATE TEMPORARY TABLE again AS SELECT * REPLACE (CAST({column} AS {type_}) "
            f"AS {column}) FROM {table}",
            f"DROP TABLE {table}",
            f"CREATE TABLE {table} AS SELECT * FROM temp.again",
            "DROP TABLE temp.again",
        ]

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        (text,) = sqlglot.transpile(sql, read="duckdb", write=self.warehouse.dialect)
        return self.warehouse.execute(text)

    def models(self) -> Models:
        project = self.store.project
        # The objects are not configured: a test may land any table.
        return read_models(project.models_folder, types=ProjectTypes(project))

    def plan(
        self, name: str = "people", *, options: PlanOptions | None = None, run: Run | None = None
    ) -> AudiencePlan:
        """The plan of one audience, as `tailrace plan` makes it, or a run."""
        planner = Planner(
            self.ledger,
            models := self.models(),
            options=options or PlanOptions(),
            destinations=None,
            now=self.now or self.clock.now(),
            run_seq=run.seq if run else None,
        )
        plan = planner.plan([models.by_name[name]])
        for failure in plan.failures:
            raise failure.error
        (audience,) = plan.audiences
        return audience

    def save_plan(
        self, name: str = "people", *, options: PlanOptions | None = None
    ) -> tuple[AudiencePlan, Delivery]:
        """A run's plan, committed and not delivered."""
        run = self.start_run()
        planned = self.plan(name, options=options, run=run)
        return planned, save_plan(self.ledger, run, planned, options=options or PlanOptions())

    def start_run(self) -> Run:
        return self.ledger.runs.start("sync", suffix="test")

    def transitions(self, delivery: Delivery) -> list[tuple[Transition, bool]]:
        """What waits in the outbox, with whether it is to be sent."""
        return list(
            pending_transitions(
                self.ledger,
                delivery.run_seq,
                delivery.audience,
                shape=delivery.shape,
            )
        )

    def settle(
        self,
        delivery: Delivery,
        *,
        rejected: Collection[str] = NOBODY,
        unconfirmed: Collection[str] = NOBODY,
    ) -> None:
        """Accept all transitions but these; `unconfirmed` ones may have arrived earlier."""
        refused = {}
        for transition, _ in self.transitions(delivery):
            key = " ".join(map(str, transition.key))
            if key in rejected or key in unconfirmed:
                refused[transition.seq] = {
                    "kind": "track",
                    "reason": "refused",
                    "path": "",
                    "status": 400,
                    "attempts": 1,
                    "unconfirmed": key in unconfirmed,
                }
        self.ledger.deliveries.reject(delivery.run_seq, delivery.audience.ledger_key, refused)
        self.acknowledge(delivery, 1, delivery.planned)
        self.advance(delivery)

    def advance(self, delivery: Delivery) -> Advanced:
        """Apply a delivery whose outcomes are saved to the snapshot."""
        with self.warehouse.transaction():
            (advanced,) = self.ledger.deliveries.advance(
                [
                    Finished(
                        delivery.run_seq,
                        delivery.audience.ledger_key,
                        delivery.shape,
                        delivery.planned,
                    )
                ]
            )
        return advanced

    def acknowledge(self, delivery: Delivery, first: int, last: int) -> None:
        """Save the outcome of a range of the outbox."""
        if last >= first:
            sync_key = delivery.audience.ledger_key
            acked = AckRange(delivery.run_seq, sync_key, first, last, calls=last - first + 1)
            self.ledger.deliveries.acknowledge([acked])

    def deliver(self, name: str = "people", **options: Any) -> AudiencePlan:
        """A whole run: plan, write down, settle. What is held stays where it is."""
        plan_options = options.pop("options", None)
        planned, delivery = self.save_plan(name, options=plan_options)
        if planned.status != "held":
            self.settle(delivery, **options)
        return planned


@contextmanager
def desk_at(store: Store) -> Iterator[Desk]:
    """A desk over a store, with its warehouse open until the end."""
    with open_warehouse(store.project, clock=SystemClock()) as warehouse:
        yield Desk(store, warehouse)


@contextmanager
def desk_on(request: pytest.FixtureRequest, root: Path) -> Iterator[Desk]:
    """A desk on the warehouse that a fixture is parametrised with."""
    with store_on(request, root) as store, desk_at(store) as desk:
        yield desk


@pytest.fixture(scope="module", params=WAREHOUSES)
def open_desk(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Desk]:
    """One desk a module and warehouse; a test that needs an empty one clears it first."""
    with desk_on(request, tmp_path_factory.mktemp("desk")) as desk:
        yield desk


@pytest.fixture(scope="module", params=WAREHOUSES[:1])
def duckdb_desk(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Desk]:
    """The same on DuckDB alone, for what no other engine has."""
    with desk_on(request, tmp_path_factory.mktemp("duckdb-desk")) as desk:
        yield desk
