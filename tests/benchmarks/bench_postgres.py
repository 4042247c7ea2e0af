"""A plan and an outbox on PostgreSQL, against what the same rows cost as text.

One million members of twelve columns by default, of which 1 % each were added, changed and removed;
`TAILRACE_BENCH_ROWS` says another number. The server is one of the benchmark's own, with the
defaults of PostgreSQL except for shared_buffers.
"""

from __future__ import annotations

import gc
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from bench_outbox import mapper_of, planned, settle
from bench_plan import AUDIENCE, COLUMNS, CONFIG
from figure import Figure, quick

sys.path.insert(0, str(Path(__file__).parents[1]))

from warehouses.postgres_server import postgres_cluster

from tailrace.clock import SystemClock
from tailrace.config.project import load_project
from tailrace.destinations.message_columns import MemberColumns
from tailrace.destinations.messages import MemberMessages
from tailrace.ledger.ledger import Ledger
from tailrace.models.loader import Models, read_models
from tailrace.plan.plan import AudiencePlan
from tailrace.plan.planner import Planner
from tailrace.plan.policy import PlanOptions
from tailrace.run.dispatch import COLLECTED_AFTER
from tailrace.run.member_messages import OutboxMessages
from tailrace.run.planned_delivery import Delivery
from tailrace.warehouse.connection import Warehouse
from tailrace.warehouse.opening import open_warehouse

ROWS = int(os.environ.get("TAILRACE_BENCH_ROWS", "50_000" if quick() else "1_000_000"))
TRIES = 1 if quick() else 3
DIFF_SHARE_MAX = 0.7
TRANSITIONS_PER_SECOND = 100_000
# The i-th person of `bench_plan`, in PostgreSQL's words.
PERSON = """
SELECT
  'c' || i AS id,
  'Person ' || (i * 7919 % 1000003) || CASE WHEN i % 100 = 7 THEN '{again}' ELSE '' END AS name,
  CASE WHEN i % 10 = 0 THEN NULL ELSE 'p' || (i * 31 % 999983) || '@example.com' END AS email,
  (ARRAY['Oslo', 'Tromsø', 'Bergen', 'Zürich', '東京'])[1 + i % 5] AS city,
  CASE WHEN i % 3 = 0 THEN NULL ELSE 'note ' || (i % 1000) END AS note,
  CAST(CASE WHEN i % 7 = 0 THEN NULL ELSE i % 90 END AS INTEGER) AS age,
  (i * 17 % 100000) / 7.0::DOUBLE PRECISION AS score,
  CAST((i * 13 % 10000000) / 100.0 AS DECIMAL(18, 2)) AS amount,
  i % 2 = 0 AS active,
  DATE '1950-01-01' + CAST(i % 20000 AS INTEGER) AS born,
  TIMESTAMP '2026-01-01' + (i % 1000000) * INTERVAL '1 second' AS seen,
  ARRAY['a' || i % 10, 'b' || i % 7] AS tags
FROM generate_series({first}::BIGINT, {last}::BIGINT - 1) AS r(i)
"""


def figures() -> Iterator[Figure]:
    """The figures, each measured in this run."""
    # As a run has it: see `dispatch`.
    gc.set_threshold(COLLECTED_AFTER)
    with tempfile.TemporaryDirectory() as folder, postgres_cluster() as cluster:
        server = cluster.start(shared_buffers="512MB")
        root = Path(folder)
        (root / ".dlt").mkdir()
        (root / "models" / "audiences").mkdir(parents=True)
        (root / ".dlt" / "config.toml").write_text(CONFIG + 'warehouse = "postgres"\n')
        (root / ".dlt" / "secrets.toml").write_text(
            f'[destination.postgres]\ncredentials = "{server.url()}"\n'
        )
        (root / "models" / "audiences" / "people.sql").write_text(AUDIENCE)
        with open_warehouse(load_project(root), clock=SystemClock()) as warehouse:
            yield from of_warehouse(warehouse)


def of_warehouse(warehouse: Warehouse) -> Iterator[Figure]:
    ledger = Ledger(warehouse, clock=SystemClock())
    delivery = populate(ledger)
    yield Figure(
        name="postgres: transitions out of a first delivery",
        figure=ROWS / median(lambda: transitions_out(ledger, delivery)),
        against=TRANSITIONS_PER_SECOND,
        goal=1.0,
        unit="transitions/s",
        more_is_better=True,
    )
    settle(ledger, delivery)
    land(warehouse, again=" again", last=ROWS + ROWS // 100, without=3)
    warehouse.execute("ANALYZE")
    as_text = median(lambda: scan_as_text(warehouse))
    models = read_models(warehouse.project.models_folder)
    yield Figure(
        name="postgres: plan against a scan of both tables as text",
        figure=median(lambda: plan(ledger, models)),
        against=as_text,
        goal=DIFF_SHARE_MAX,
    )


def populate(ledger: Ledger) -> Delivery:
    """Yesterday's people, planned and saved."""
    ledger.warehouse.create_dataset("salesforce")
    ledger.install("bench")
    land(ledger.warehouse, again="", last=ROWS)
    ledger.warehouse.execute("ANALYZE")
    return planned(ledger)


def land(warehouse: Warehouse, *, again: str, last: int, without: int | None = None) -> None:
    people = PERSON.format(again=again, first=0, last=last)
    gone = "" if without is None else f" WHERE i % 100 <> {without} OR i >= {ROWS}"
    warehouse.execute("DROP TABLE IF EXISTS salesforce.contact")
    warehouse.execute(f"CREATE TABLE salesforce.contact AS {people}{gone}")


def scan_as_text(warehouse: Warehouse) -> None:
    """All rows of both tables to this process, as the text of COPY: the least that a tool pays
    that compares outside of the server."""

    class Sink:
        def write(self, text: bytes) -> int:
            return len(text)

    with warehouse.session.native.cursor() as cursor:
        for table in ("salesforce.contact", "tailrace.snapshot__people"):
            cursor.copy_expert(f"COPY (SELECT {', '.join(COLUMNS)} FROM {table}) TO STDOUT", Sink())


def plan(ledger: Ledger, models: Models) -> AudiencePlan:
    planner = Planner(
        ledger,
        models,
        options=PlanOptions(),
        destinations=None,
        now=ledger.clock.now(),
    )
    (made,) = planner.plan(models.audiences()).audiences
    assert made.planned > 2 * ROWS // 100
    return made


def transitions_out(ledger: Ledger, delivery: Delivery) -> None:
    """Read every transition of a run with its messages, as a delivery takes them."""
    messages = OutboxMessages(
        ledger,
        mapper_of(ledger, delivery),
        run_seq=delivery.run_seq,
        shape=delivery.shape,
        planned=delivery.planned,
        refuse=lambda transition, refusal: None,
    )
    assert sum(len(list_of_members(page)) for page in messages.pages()) == ROWS


def list_of_members(page: Iterable[MemberMessages]) -> Sequence[MemberMessages]:
    """A page of columns as it is, and any other page as a list."""
    return page if isinstance(page, MemberColumns) else list(page)


def median(measured: Callable[[], object]) -> float:
    """The median of a few measurements, in seconds."""
    taken = []
    for _ in range(TRIES):
        started = time.perf_counter()
        measured()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)
