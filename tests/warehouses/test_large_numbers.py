"""Numbers of runs and of changes that 32 bits cannot hold, and gaps between them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from fork_server import ForkServer
from simulation.victim import LIVE_WITH
from warehouses.failing_runs import IDS, landed, tracked
from warehouses.stores import ENGINES, Store, store_on

from tailrace.testing.http.faults import Fault
from tailrace.testing.segment.simulator import SegmentSimulator

# An identify and a track of each of two members.
BATCH_EVENTS = 4
# Added to the numbers of two changes each. The first two become the last number that is signed with
# 32 bits and the one after it, the next two those without a sign. No run could read over the gap.
MOVED = "CASE WHEN {0} <= 2 THEN 2147483646 WHEN {0} <= 4 THEN 4294967292 ELSE 5000000000000 END"
RUNS_BEFORE = 2**32 - 2
NUMBERED_BY_RUN = ("runs", "audience_runs", "acks", "generations", "outbox__people")


@pytest.fixture(params=ENGINES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    with SegmentSimulator() as segment, store_on(request, tmp_path / "shop", segment) as store:
        store.environ["DESTINATION__SEGMENT__BATCH_EVENTS_MAX"] = str(BATCH_EVENTS)
        store.environ["DESTINATION__SEGMENT__REQUESTS_IN_FLIGHT_MAX"] = "1"
        yield landed(store)


def test_a_killed_run_is_resumed_beyond_32_bits(store: Store, fork_server: ForkServer) -> None:
    """Each message is sent once, and numbers that no change has are not read."""
    segment = store.segment
    assert segment is not None

    def kill(_: object) -> bool:
        os.kill(int((store.root / "victim.pid").read_text()), signal.SIGKILL)
        return True

    segment.faults.append(Fault(path="/v1/batch", contains='"c3"', when=kill, cut="before"))
    died = fork_server.call(LIVE_WITH, str(store.root), store.environ, None, cwd=store.root)
    assert -signal.SIGKILL == died
    segment.faults.clear()
    store.script(
        # The first batch, whether or not the run had the time to save it.
        "DELETE FROM tailrace.acks; INSERT INTO tailrace.acks SELECT run_seq, sync_key, 1, 2, 4,"
        "planned_at FROM tailrace.audience_runs;"
        f"UPDATE tailrace.acks SET first_seq = first_seq + {MOVED.format('first_seq')},"
        f"last_seq = last_seq + {MOVED.format('last_seq')};"
        f"UPDATE tailrace.outbox__people SET seq = seq + {MOVED.format('seq')}"
    )
    for table in NUMBERED_BY_RUN:
        store.script(f"UPDATE tailrace.{table} SET run_seq = run_seq + {RUNS_BEFORE}")
    (waiting,) = store.plan().unfinished.values()
    assert len(IDS) - 2 == waiting
    assert 0 == store.sync().exit_code
    assert IDS == tracked(store)
    store.script("UPDATE salesforce.contact SET score = 2")
    (changed,) = store.sync().audiences
    assert (len(IDS), len(IDS)) == (changed["changed"], changed["sent"])
    assert [(RUNS_BEFORE + 3,)] == store.query("SELECT MAX(run_seq) FROM tailrace.runs")
    assert [(RUNS_BEFORE + 3, len(IDS))] == store.query(
        "SELECT _v, COUNT(*) FROM tailrace.snapshot__people GROUP BY _v"
    )
    # An identify and a track of each member, and a track of the change.
    sent = [event["messageId"] for event in segment.events]
    assert 3 * len(IDS) == len(sent) == len({*sent})
