"""One way to bring people's events to Segment, in a process of its own: prints seconds as JSON.

`python delivery_ways.py WAY HOST WRITE_KEY WAREHOUSE EVENTS IN_FLIGHT`: wall and processor seconds
from the first event to the last answer. What comes before, such as reading the rows, is not
counted. Of the ceiling it also prints the seconds of each step by itself, on one thread.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import duckdb
import orjson
import requests
from isal import igzip
from requests.adapters import HTTPAdapter
from segment.analytics.client import Client

EVENT = "Segment Entered"
COLUMNS = (
    "name",
    "email",
    "city",
    "note",
    "age",
    "score",
    "amount",
    "active",
    "born",
    "seen",
)
PAGE_ROWS = 10_000
BATCH_BYTES_MAX = 490_000
BATCH_EVENTS_MAX = 2_500
GZIP_LEVEL = 1


class Source(NamedTuple):
    """Where the events go, and where the people are."""

    host: str
    write_key: str
    warehouse: str
    events: int
    in_flight: int

    def people(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """User id and properties, row by row."""
        query = f"SELECT id, {', '.join(COLUMNS)} FROM salesforce.contact LIMIT {self.events}"
        with duckdb.connect(self.warehouse, read_only=True) as connection:
            rows = connection.execute(query)
            while page := rows.fetchmany(PAGE_ROWS):
                for user, *values in page:
                    yield user, dict(zip(COLUMNS, values, strict=True))


class Way(NamedTuple):
    """Sends the events. `steps` repeats its work without a network: processor seconds by step."""

    send: Callable[[], None]
    steps: Callable[[], dict[str, float]] = dict


def library(source: Source) -> Way:
    """The official client as it comes, without loss: wait while its queue is full, then flush."""
    logging.getLogger("segment").setLevel(logging.CRITICAL)
    failures: list[Exception] = []
    client = Client(
        source.write_key,
        host=source.host,
        on_error=lambda error, batch: failures.append(error),
    )
    people = list(source.people())

    def send() -> None:
        for user, properties in people:
            while client.queue.full():
                time.sleep(0.001)
            sent, _ = client.track(user, EVENT, properties)
            assert sent
        client.flush()
        assert not failures, failures[0]

    return Way(send)


def ceiling(source: Source) -> Way:
    """Encode, compress and post messages that are in memory already: no warehouse, no ledger."""
    messages = [
        {
            "messageId": f"tr1-{place:040x}",
            "timestamp": "2026-11-22T05:00:00.000000Z",
            "userId": user,
            "event": EVENT,
            "integrations": {"Salesforce": False},
            "type": "track",
            "properties": {**properties, "amount": float(properties["amount"])},
        }
        for place, (user, properties) in enumerate(source.people())
    ]
    session = requests.Session()
    session.trust_env = False
    session.mount("http://", HTTPAdapter(pool_maxsize=source.in_flight))
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    tail = b'],"writeKey":' + json.dumps(source.write_key).encode() + b"}"

    def compress(bodies: list[bytes]) -> bytes:
        return igzip.compress(b'{"batch":[' + b",".join(bodies) + tail, GZIP_LEVEL)

    def post(bodies: list[bytes]) -> None:
        body = compress(bodies)
        session.post(f"{source.host}/v1/batch", data=body, headers=headers).raise_for_status()

    def send() -> None:
        with ThreadPoolExecutor(source.in_flight) as pool:
            list(pool.map(post, filled(map(orjson.dumps, messages))))

    def steps() -> dict[str, float]:
        compressed, started = 0.0, time.process_time()
        for bodies in filled(map(orjson.dumps, messages)):
            before = time.process_time()
            compress(bodies)
            compressed += time.process_time() - before
        return {"encode": time.process_time() - started - compressed, "compress": compressed}

    return Way(send, steps)


def filled(bodies: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Batches as full as they may be."""
    batch: list[bytes] = []
    size = 0
    for body in bodies:
        if size + len(body) + 1 > BATCH_BYTES_MAX or len(batch) >= BATCH_EVENTS_MAX:
            yield batch
            batch, size = [], 0
        batch.append(body)
        size += len(body) + 1
    yield batch


WAYS = {"library": library, "ceiling": ceiling}


def main(way: str, host: str, write_key: str, warehouse: str, events: str, in_flight: str) -> None:
    """Measure one way."""
    chosen = WAYS[way](Source(host, write_key, warehouse, int(events), int(in_flight)))
    wall, processor = time.perf_counter(), time.process_time()
    chosen.send()
    seconds, cpu_seconds = time.perf_counter() - wall, time.process_time() - processor
    steps = chosen.steps()
    if steps:
        steps["post"] = max(0.0, cpu_seconds - sum(steps.values()))
    print(json.dumps({"seconds": seconds, "cpu_seconds": cpu_seconds, "steps": steps}))


if __name__ == "__main__":
    main(*sys.argv[1:])
