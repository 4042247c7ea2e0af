"""When the verdicts of a delivery are saved: many of them in one transaction."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from webhook_shop import WebhookShop

from tailrace.clock import SystemClock
from tailrace.run import delivery
from tailrace.testing.http.faults import Fault
from tailrace.testing.webhook import WebhookReceiver

ROWS_A_REQUEST, REQUESTS = 20, 25


class StandingClock(SystemClock):
    """Its monotonic seconds pass only when a test adds some; its time of day is real."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    with WebhookReceiver() as simulator:
        yield simulator


@pytest.fixture
def clock() -> StandingClock:
    return StandingClock()


@pytest.fixture
def shop(tmp_path: Path, receiver: WebhookReceiver, clock: StandingClock) -> WebhookShop:
    shop = WebhookShop(tmp_path, receiver.url, batch_rows_max=ROWS_A_REQUEST)
    shop.clock = clock
    shop.header()
    shop.people([{"id": f"c{n:03}", "city": "Oslo"} for n in range(ROWS_A_REQUEST * REQUESTS)])
    return shop


def saves(shop: WebhookShop) -> list[tuple[int, int]]:
    """The transactions that saved acknowledgements: the ranges that each wrote, and their rows."""
    return shop.query(
        "SELECT COUNT(*), SUM(last_seq - first_seq + 1) FROM tailrace.acks GROUP BY acked_at "
        "ORDER BY acked_at"
    )


def test_requests_that_end_within_the_limits_are_saved_once(
    shop: WebhookShop, receiver: WebhookReceiver
) -> None:
    """The sender waits for the receiver many times, and no time passes: one transaction."""
    assert 0 == shop.sync().exit_code
    assert len(receiver.deliveries) == REQUESTS
    assert saves(shop) == [(1, ROWS_A_REQUEST * REQUESTS)]


def test_verdicts_are_saved_when_enough_members_have_one(
    shop: WebhookShop, receiver: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the time, so that a crash at a fast receiver repeats a bounded number."""
    monkeypatch.setattr(delivery, "UNSAVED_MEMBERS_MAX", 5 * ROWS_A_REQUEST)
    assert 0 == shop.sync().exit_code
    sizes = [members for _, members in saves(shop)]
    assert sum(sizes) == ROWS_A_REQUEST * REQUESTS
    assert max(sizes) == 5 * ROWS_A_REQUEST


def test_verdicts_are_saved_when_enough_time_passed(
    shop: WebhookShop, receiver: WebhookReceiver, clock: StandingClock
) -> None:
    """The limit passes with each request; not all requests are prepared before the first ends."""

    def pass_time(_request: object) -> bool:
        clock.seconds += delivery.UNSAVED_SECONDS_MAX
        return False

    receiver.faults.append(Fault(when=pass_time, status=500))
    shop.set(requests_in_flight_max=1)
    assert 0 == shop.sync().exit_code
    assert len(receiver.deliveries) == REQUESTS
    sizes = [members for _, members in saves(shop)]
    assert sum(sizes) == ROWS_A_REQUEST * REQUESTS
    assert len(sizes) > 1
