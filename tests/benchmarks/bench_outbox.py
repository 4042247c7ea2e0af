"""Transitions out of the warehouse as messages that are ready for the wire, without a network.

A first delivery and one in which everybody changed, with twelve columns in each event; against the
way over Python objects, which is the one of other warehouses, in the same run.
`TAILRACE_BENCH_ROWS` says how many members.
"""

from __future__ import annotations

import gc
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import orjson
from bench_plan import AUDIENCE, COLUMNS, CONFIG, PERSON
from figure import Figure, quick

from tailrace.clock import SystemClock
from tailrace.config.project import load_project
from tailrace.destinations.messages import Message
from tailrace.destinations.segment.mapper import Mapper
from tailrace.ledger.deliveries import AckRange, Finished
from tailrace.ledger.ledger import Ledger
from tailrace.ledger.outbox import pending_transitions
from tailrace.models.loader import read_models
from tailrace.plan.planner import Planner
from tailrace.plan.policy import PlanOptions
from tailrace.run.delivery import save_plan
from tailrace.run.dispatch import COLLECTED_AFTER
from tailrace.run.member_messages import OutboxMessages
from tailrace.run.planned_delivery import Delivery
from tailrace.warehouse.opening import open_warehouse

ROWS = int(os.environ.get("TAILRACE_BENCH_ROWS", "30_000" if quick() else "300_000"))
TRIES = 1 if quick() else 3
ENCODER_SHARE_MIN = 0.08
TIMES_OBJECTS_MIN = 2.5


def figures() -> Iterator[Figure]:
    """The figures, each measured in this run."""
    # As a run has it: see `dispatch`.
    gc.set_threshold(COLLECTED_AFTER)
    with tempfile.TemporaryDirectory() as folder:
        for name, ledger, delivery in deliveries(Path(folder)):
            ready = rate(lambda: ready_calls(ledger, delivery))  # noqa: B023
            encoder = encoder_rate()
            objects = rate(lambda: object_calls(ledger, delivery))  # noqa: B023
            yield Figure(
                name=f"{name} against orjson alone",
                figure=ready,
                against=encoder,
                goal=ENCODER_SHARE_MIN,
                unit="calls/s",
                more_is_better=True,
                full_run_only="DuckDB's threads need more rows",
            )
            yield Figure(
                name=f"{name} against objects",
                figure=ready,
                against=objects,
                goal=TIMES_OBJECTS_MIN,
                unit="calls/s",
                more_is_better=True,
            )


def deliveries(folder: Path) -> Iterator[tuple[str, Ledger, Delivery]]:
    """An outbox of people who entered, then one of the same people, changed."""
    (folder / ".dlt").mkdir()
    (folder / "models" / "audiences").mkdir(parents=True)
    (folder / ".dlt" / "config.toml").write_text(CONFIG)
    audience = AUDIENCE.replace("track:\n", "track:\n  changed: Person Changed\n")
    (folder / "models" / "audiences" / "people.sql").write_text(audience)
    land = "CREATE OR REPLACE TABLE salesforce.contact AS "
    with open_warehouse(load_project(folder), clock=SystemClock()) as warehouse:
        warehouse.create_dataset("salesforce")
        ledger = Ledger(warehouse, clock=SystemClock())
        ledger.install("bench")
        people = PERSON.format(again="", first=0, last=ROWS)
        changed = f"SELECT * REPLACE (score + 1 AS score, note || '!' AS note) FROM ({people})"
        for name, query in (("entered", people), ("changed", changed)):
            warehouse.execute(land + query)
            delivery = planned(ledger)
            yield name, ledger, delivery
            settle(ledger, delivery)


def planned(ledger: Ledger) -> Delivery:
    """A run's plan, written down."""
    models = read_models(ledger.warehouse.project.models_folder)
    options, run = PlanOptions(), ledger.runs.start("bench", suffix="0000")
    planner = Planner(
        ledger, models, options=options, destinations=None, now=ledger.clock.now(), run_seq=run.seq
    )
    (made,) = planner.plan(models.audiences()).audiences
    return save_plan(ledger, run, made, options=options)


def settle(ledger: Ledger, delivery: Delivery) -> None:
    last = delivery.planned
    ledger.deliveries.acknowledge([AckRange(delivery.run_seq, "people", 1, last, calls=last)])
    ledger.deliveries.advance([Finished(delivery.run_seq, "people", delivery.shape, last)])


def mapper_of(ledger: Ledger, delivery: Delivery) -> Mapper:
    return Mapper(delivery.audience, namespace=ledger.namespace, planned_at=delivery.planned_at)


def ready_calls(ledger: Ledger, delivery: Delivery) -> Iterator[Iterable[Message]]:
    """The calls of each transition as a delivery takes them."""
    for member in OutboxMessages(
        ledger,
        mapper_of(ledger, delivery),
        run_seq=delivery.run_seq,
        shape=delivery.shape,
        planned=delivery.planned,
        refuse=lambda moved, refusal: None,
    ):
        yield member.messages


def object_calls(ledger: Ledger, delivery: Delivery) -> Iterator[Iterable[Message]]:
    """The same calls, each row as Python values first."""
    mapper = mapper_of(ledger, delivery)
    for moved, _ in pending_transitions(
        ledger, delivery.run_seq, delivery.audience, shape=delivery.shape
    ):
        yield mapper.messages(moved)[0]


def encoder_rate() -> float:
    """Messages a second that orjson encodes from Python objects, as the limit of any encoder."""
    message = {
        "messageId": f"tr1-{0:040x}",
        "timestamp": "2026-11-22T05:00:00.000000Z",
        "userId": "c1234567",
        "event": "Segment Entered",
        "integrations": {"Salesforce": False},
        "type": "track",
        "properties": {name: f"value of {name}" for name in COLUMNS},
    }
    started = time.perf_counter()
    for _ in range(ROWS):
        orjson.dumps(message)
    return ROWS / (time.perf_counter() - started)


def rate(calls: Callable[[], Iterator[Iterable[Message]]]) -> float:
    """Calls a second, the median of a few times through the whole outbox.

    The time to the first call is that of starting a statement, whatever the number of rows.
    """
    rates = []
    for _ in range(TRIES):
        stream = calls()
        first = len(tuple(next(stream)))
        started, made = time.perf_counter(), 0
        for each in stream:
            made += len(tuple(each))
        assert first + made == ROWS
        rates.append(made / (time.perf_counter() - started))
    return statistics.median(rates)
