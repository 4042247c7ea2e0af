"""Small deliveries that end soon after one another are saved together."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from shop import PEOPLE, Shop

from tailrace.audience.audience import Audience
from tailrace.clock import SystemClock
from tailrace.destinations.rate_limiter import FIRST_WINDOW
from tailrace.destinations.segment.http import SegmentClient
from tailrace.ledger.tables import Shape
from tailrace.run import delivery
from tailrace.run.delivery import DeliveryResult
from tailrace.run.in_flight import ResultsInOrder
from tailrace.run.planned_delivery import Delivery
from tailrace.testing import Fault, SegmentSimulator
from tailrace.testing.http.messages import Request
from tailrace.warehouse.statements import Column

AUDIENCES = 5
# So long a request waits for others; a limit for a hang.
MEETING_SECONDS_MAX = 60
# What is recorded of a delivery, besides its members and their messages.
BOOKKEEPING = (
    "ledger/save_audience_runs",
    "ledger/acknowledge",
    "ledger/acknowledged_of_runs",
    "ledger/count_rejections",
    "ledger/finish_audience_runs",
)
# What a first delivery asks and writes of all audiences at once.
FOR_ALL = ("plan/add_new_users", "outbox/counts_of_run", "ledger/replace_members")


class StoppedClock(SystemClock):
    """A clock on which no time passes between two deliveries."""

    def monotonic(self) -> float:
        return 0.0


class SlowClock(SystemClock):
    """A clock on which a second passes each time it is read."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def monotonic(self) -> float:
        self.seconds += 1
        return self.seconds


@pytest.fixture
def segment() -> Iterator[SegmentSimulator]:
    with SegmentSimulator() as simulator:
        yield simulator


def shop_of(root: Path, segment: SegmentSimulator, clock: SystemClock) -> Shop:
    shop = Shop(root, segment, clock=clock)
    for number in range(AUDIENCES):
        shop.audience(
            PEOPLE.replace("audience: people", f"audience: part_{number}"), f"part_{number}"
        )
    shop.land([{"id": f"c{n}", "email": f"c{n}@example.com", "city": "Oslo"} for n in range(3)])
    return shop


def statements(caplog: pytest.LogCaptureFixture) -> Counter[str]:
    messages = [record.getMessage() for record in caplog.records]
    return Counter(
        text.removeprefix("statement ") for text in messages if text.startswith("statement ")
    )


def statuses(shop: Shop) -> dict[str, str]:
    rows: list[Any] = shop.query("SELECT sync_key, phase FROM tailrace.audience_runs ORDER BY 1")
    return {str(key): str(phase) for key, phase in rows}


def test_their_bookkeeping_is_one_statement_each(
    tmp_path: Path, segment: SegmentSimulator, caplog: pytest.LogCaptureFixture
) -> None:
    shop = shop_of(tmp_path / "shop", segment, StoppedClock())
    caplog.set_level(logging.DEBUG, logger="tailrace.warehouse.connection")
    done = shop.sync()
    assert 0 == done.exit_code
    assert {3} == {entry["sent"] for entry in done.audiences}
    counted = statements(caplog)
    assert dict.fromkeys(BOOKKEEPING, 1) == {name: counted[name] for name in BOOKKEEPING}
    # A new outbox is read without asking the ledger for what was acknowledged before.
    assert 0 == counted["ledger/acknowledged"] == counted["outbox/has_changed"]
    assert dict.fromkeys(FOR_ALL, 1) == {name: counted[name] for name in FOR_ALL}


def test_plans_that_are_saved_alone_replace_the_view_of_all_members_once(
    tmp_path: Path,
    segment: SegmentSimulator,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(delivery, "SAVED_TOGETHER_MEMBERS_MAX", 3)
    shop = shop_of(tmp_path / "shop", segment, StoppedClock())
    caplog.set_level(logging.DEBUG, logger="tailrace.warehouse.connection")
    assert 0 == shop.sync().exit_code
    counted = statements(caplog)
    assert AUDIENCES == counted["ledger/save_audience_runs"] == counted["ledger/create_outbox"]
    assert 1 == counted["ledger/replace_members"]
    assert [(3 * AUDIENCES,)] == shop.query("SELECT COUNT(*) FROM tailrace.v_members")


def test_a_delivery_that_ended_long_ago_does_not_wait_for_others(
    tmp_path: Path, segment: SegmentSimulator, caplog: pytest.LogCaptureFixture
) -> None:
    shop = shop_of(tmp_path / "shop", segment, SlowClock())
    caplog.set_level(logging.DEBUG, logger="tailrace.warehouse.connection")
    assert 0 == shop.sync().exit_code
    assert AUDIENCES == statements(caplog)["ledger/finish_audience_runs"]


def test_what_ended_before_a_failure_is_saved(tmp_path: Path, segment: SegmentSimulator) -> None:
    shop = shop_of(tmp_path / "shop", segment, StoppedClock())
    segment.faults.append(Fault(path="/v1/batch", nth=3, times=99, status=401))
    failed = shop.sync()
    assert 2 == failed.exit_code
    assert ["done", "done", *["delivering"] * (AUDIENCES - 2)] == list(statuses(shop).values())
    assert [3, 3, 0, 0, 0] == [entry["sent"] for entry in failed.audiences]


def shop_of_strangers(root: Path, segment: SegmentSimulator, clock: SystemClock) -> Shop:
    """A shop whose audiences have one member each, none of them in two."""
    shop = shop_of(root, segment, clock)
    for number in range(AUDIENCES):
        model = PEOPLE.replace("audience: people", f"audience: part_{number}")
        shop.audience(model.replace("NOT is_deleted", f"id = 'c{number}'"), f"part_{number}")
    shop.land([{"id": f"c{n}", "email": f"c{n}@example.com"} for n in range(AUDIENCES)])
    return shop


def batches(segment: SegmentSimulator) -> int:
    return sum(exchange.request.path == "/v1/batch" for exchange in segment.requests)


def test_requests_of_several_audiences_are_open_at_the_same_time(
    tmp_path: Path, segment: SegmentSimulator
) -> None:
    shop = shop_of_strangers(tmp_path / "shop", segment, StoppedClock())
    together = threading.Barrier(FIRST_WINDOW)

    def until_all_are_open(_: object) -> bool:
        with suppress(threading.BrokenBarrierError):
            together.wait(MEETING_SECONDS_MAX)
        return False

    segment.faults.append(Fault(path="/v1/batch", times=FIRST_WINDOW, when=until_all_are_open))
    # The last audience has no others to meet.
    shop.forget_audience(f"part_{AUDIENCES - 1}")
    done = shop.sync()
    assert 0 == done.exit_code
    assert not together.broken
    assert [1] * FIRST_WINDOW == [entry["sent"] for entry in done.audiences]


def test_messages_of_a_user_keep_the_order_of_the_audiences(
    tmp_path: Path, segment: SegmentSimulator
) -> None:
    """Although the first request is the slowest one."""
    shop = shop_of(tmp_path / "shop", segment, StoppedClock())
    segment.faults.append(Fault(path="/v1/batch", nth=1, delay_seconds=0.3))
    assert 0 == shop.sync().exit_code
    tracked = [event for event in segment.events if event["type"] == "track"]
    names = [event["properties"]["audience_key"] for event in tracked if event["userId"] == "c0"]
    assert [f"part_{number}" for number in range(AUDIENCES)] == names


def test_audiences_before_one_that_fails_are_delivered(
    tmp_path: Path, segment: SegmentSimulator
) -> None:
    """The answers of those behind it are saved, so that nothing is sent twice."""
    shop = shop_of_strangers(tmp_path / "shop", segment, StoppedClock())
    has_failed = threading.Event()

    def is_the_third(request: Request) -> bool:
        if b"c2@" in request.content():
            has_failed.set()
            return True
        return not has_failed.wait(MEETING_SECONDS_MAX)

    segment.faults.append(Fault(path="/v1/batch", when=is_the_third, status=401))
    failed = shop.sync()
    assert 2 == failed.exit_code
    assert ["done", "done", "delivering"] == list(statuses(shop).values())[:3]
    assert [1, 1, 0] == [entry["sent"] for entry in failed.audiences][:3]
    segment.faults.clear()
    before = batches(segment)
    accepted = {event["userId"] for event in segment.events}
    assert 0 == shop.sync().exit_code
    assert ["done"] * AUDIENCES == list(statuses(shop).values())
    assert AUDIENCES - len(accepted) == batches(segment) - before
    assert {f"c{n}" for n in range(AUDIENCES)} == {event["userId"] for event in segment.events}


def test_an_interrupt_saves_the_answers_of_all_open_requests(
    tmp_path: Path, segment: SegmentSimulator
) -> None:
    shop = shop_of_strangers(tmp_path / "shop", segment, SlowClock())

    stopped: list[str] = []

    def stop(name: str, _done: int, _total: int) -> None:
        if name.startswith("send") and not stopped:
            stopped.append(name)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        shop.sync(progress=stop)
    sent = batches(segment)
    assert 0 == shop.sync().exit_code
    assert AUDIENCES == batches(segment) >= sent > 0
    assert ["done"] * AUDIENCES == list(statuses(shop).values())


def test_a_header_is_checked_once_a_run(
    tmp_path: Path, segment: SegmentSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before its plan is saved; not again before its messages are sent."""
    shop = shop_of(tmp_path / "shop", segment, StoppedClock())
    prepare, checked = SegmentClient.prepare, Counter[str]()

    def counted(self: SegmentClient, audience: Audience, stored: Any) -> Any:
        checked[audience.name] += 1
        return prepare(self, audience, stored)

    monkeypatch.setattr(SegmentClient, "prepare", counted)
    assert 0 == shop.sync().exit_code
    assert {f"part_{number}": 1 for number in range(AUDIENCES)} == checked


def test_results_are_given_out_in_the_order_of_the_deliveries() -> None:
    deliveries = [delivery_of(name) for name in "abcd"]
    results = [DeliveryResult.of_nothing(planned) for planned in deliveries]
    ordered = ResultsInOrder(deliveries)
    first, second, _, fourth = results
    assert [] == list(ordered.add(second))
    assert [first, second] == list(ordered.add(first))
    assert [] == list(ordered.add(fourth))
    assert [fourth] == list(ordered.rest())


def delivery_of(name: str) -> Delivery:
    return Delivery(
        run_seq=1,
        audience=Audience.from_mapping({"name": name, "key": ["id"], "user_id": "id"}),
        shape=Shape(keys=(Column("id", "VARCHAR"),), columns=()),
        planned_at=datetime(2026, 1, 1, tzinfo=UTC),
        planned=1,
        resumed=False,
    )
