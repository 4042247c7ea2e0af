"""How the time of a plan grows with rows, churn, columns and audiences; DuckDB, then PostgreSQL.

Prints one line a point to stderr. The figures are seconds of a plan for each million rows at the
largest size, against the same at the smallest: 1.0 is a plan that grows with its rows.
`TAILRACE_BENCH_SIZES` (default `100000,1000000`) says the sizes, and `TAILRACE_BENCH_WAREHOUSES`
(default `duckdb,postgres`) the warehouses. With `TAILRACE_BENCH_THREADS`, such as `1,2,4`, only the
sizes are measured, and on DuckDB each of them with these numbers of threads: a table of 50 million
rows is landed and delivered once, and planned for each number. docs/explanation/scale.md shows one
run.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from figure import Figure, quick

sys.path.insert(0, str(Path(__file__).parents[1]))

from warehouses.postgres_server import postgres_cluster

from tailrace.clock import SystemClock
from tailrace.config.project import load_project
from tailrace.ledger.deliveries import AckRange, Finished
from tailrace.ledger.ledger import Ledger
from tailrace.models.loader import read_models
from tailrace.plan.planner import Planner
from tailrace.plan.policy import PlanOptions
from tailrace.run.delivery import save_plan
from tailrace.warehouse.connection import Warehouse
from tailrace.warehouse.opening import open_warehouse

SIZES = tuple(
    map(
        int,
        os.environ.get(
            "TAILRACE_BENCH_SIZES", "20000,60000" if quick() else "100000,1000000"
        ).split(","),
    )
)
WAREHOUSES = os.environ.get("TAILRACE_BENCH_WAREHOUSES", "duckdb,postgres").split(",")
# Numbers of threads of DuckDB; none stands for its default, the cores of the machine.
THREADS = tuple(map(int, filter(None, os.environ.get("TAILRACE_BENCH_THREADS", "").split(","))))
GROWTH_MAX = 1.5
CONFIG = """[sources.salesforce]
objects = ["Contact"]
[tailrace]
first_run_members_max = 0
warehouse = "{warehouse}"
"""
AUDIENCE = """/* ---
audience: {name}
key: id
user_id: id
track:
  changed: Person Changed
  properties: {{{properties}}}
guards: {{max_exited: null}}
--- */
SELECT id, {columns} FROM salesforce.contact
"""


class Point(NamedTuple):
    """One measurement: rows of the table, changed rows in a hundred, columns and audiences."""

    rows: int
    churn: int = 1
    columns: int = 10
    audiences: int = 1


def points() -> list[Point]:
    """All sizes, and the smallest one with more churn, columns and audiences."""
    first = Point(SIZES[0])
    if THREADS:
        return list(map(Point, SIZES))
    return [
        *map(Point, SIZES),
        first._replace(churn=10),
        first._replace(churn=50),
        first._replace(columns=40),
        first._replace(audiences=4),
        first._replace(audiences=16),
    ]


def figures() -> Iterator[Figure]:
    """The growth of a plan on each warehouse."""
    for warehouse in WAREHOUSES:
        measured = {point: seconds(warehouse, point) for point in points()}
        smallest, largest = Point(SIZES[0]), Point(SIZES[-1])
        yield Figure(
            name=f"{warehouse}: plan of {largest.rows:,} rows, each million, against "
            f"{smallest.rows:,}",
            figure=measured[largest] / largest.rows * 1e6,
            against=measured[smallest] / smallest.rows * 1e6,
            goal=GROWTH_MAX,
        )


def seconds(kind: str, point: Point) -> float:
    """Seconds of planning all audiences after a part of their members has changed.

    With several numbers of threads, those of the last one.
    """
    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (root / ".dlt").mkdir()
        (root / "models" / "audiences").mkdir(parents=True)
        (root / ".dlt" / "config.toml").write_text(CONFIG.format(warehouse=kind))
        if kind == "postgres":
            server = stack.enter_context(postgres_cluster()).start(shared_buffers="512MB")
            (root / ".dlt" / "secrets.toml").write_text(
                f'[destination.postgres]\ncredentials = "{server.url()}"\n'
            )
        columns = [f"c{number}" for number in range(point.columns)]
        for number in range(point.audiences):
            name = f"people_{number}"
            (root / "models" / "audiences" / f"{name}.sql").write_text(
                AUDIENCE.format(
                    name=name,
                    properties=", ".join(f"{column}: {column}" for column in columns),
                    columns=", ".join(columns),
                )
            )
        warehouse = stack.enter_context(open_warehouse(load_project(root), clock=SystemClock()))
        ledger = Ledger(warehouse, clock=SystemClock())
        warehouse.create_dataset("salesforce")
        ledger.install("bench")
        land(warehouse, point, columns)
        plan(ledger, deliver=True)
        warehouse.execute(
            f"UPDATE salesforce.contact SET c0 = 'changed' WHERE n % 100 < {point.churn}"
        )
        taken = 0.0
        for threads in (THREADS if kind == "duckdb" else ()) or (None,):
            if threads is not None:
                warehouse.execute(f"SET threads = {threads}")
            taken = plan(ledger)
            said = "" if threads is None else f", {threads} threads"
            print(f"{kind} {point}{said}: {taken:.2f} s", file=sys.stderr, flush=True)
    return taken


def land(warehouse: Warehouse, point: Point, columns: list[str]) -> None:
    """A table of texts, a third of them repeated in many rows."""
    values = ", ".join(
        f"CONCAT('value ', (n * {7 + 2 * place}) % {1000 if place % 3 else 1_000_003}) AS {column}"
        for place, column in enumerate(columns)
    )
    warehouse.execute(
        f"CREATE TABLE salesforce.contact AS SELECT CONCAT('c', n) AS id, n, {values} "
        f"FROM generate_series(1, {point.rows}) AS t(n)"
    )


def plan(ledger: Ledger, *, deliver: bool = False) -> float:
    """Plan all audiences; with `deliver`, as a run whose changes are all acknowledged."""
    models = read_models(ledger.warehouse.project.models_folder)
    run = ledger.runs.start("bench", suffix="0000") if deliver else None
    started = time.perf_counter()
    planner = Planner(
        ledger,
        models,
        options=PlanOptions(),
        destinations=None,
        now=ledger.clock.now(),
        **({"run_seq": run.seq} if run else {}),
    )
    planned = planner.plan(models.audiences())
    taken = time.perf_counter() - started
    assert all(audience.planned for audience in planned.audiences), planned.failed
    for audience in planned.audiences if run else ():
        delivery = save_plan(ledger, run, audience, options=PlanOptions())
        sync_key, last = delivery.audience.ledger_key, delivery.planned
        ledger.deliveries.acknowledge([AckRange(delivery.run_seq, sync_key, 1, last, calls=last)])
        ledger.deliveries.advance([Finished(delivery.run_seq, sync_key, delivery.shape, last)])
    return taken
