"""Small deliveries that end soon after one another are saved together."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from shop import PEOPLE, Shop

from tailrace.clock import SystemClock
from tailrace.run import delivery
from tailrace.testing import Fault, SegmentSimulator

AUDIENCES = 5
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
