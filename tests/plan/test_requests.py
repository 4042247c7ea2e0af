"""The plan states the requests that Segment receives, and the time that the rate limit takes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from shop import PEOPLE, Shop

from tailrace.testing.http.clocks import HurriedClock
from tailrace.testing.segment.simulator import SegmentSimulator

EVENTS = """/* ---
key: id
user_id: id
track: {properties: {city: city}}
--- */
SELECT id, city FROM salesforce.contact
"""


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with SegmentSimulator() as segment:
        shop = Shop(tmp_path, segment, clock=HurriedClock())
        # The limits of a project that sets none.
        del shop.environ["DESTINATION__SEGMENT__EVENTS_PER_SECOND_MAX"]
        yield shop


def fill(shop: Shop, rows: int) -> None:
    shop.land([{"id": "c0", "city": "Oslo"}])
    with shop.connection() as connection:
        connection.execute(
            "INSERT INTO salesforce.contact (id, city, email, is_deleted)"
            f" SELECT 'c' || n, 'Oslo', 'a@example.com', FALSE FROM range(1, {rows}) AS t (n)"
        )


@pytest.mark.parametrize(
    ("text", "rows", "settings", "requests"),
    [
        # By default a request holds the messages of one second: 1,000 and not 2,500.
        (EVENTS, 2_500, {}, 3),
        (EVENTS, 30, {"EVENTS_PER_SECOND_MAX": "7"}, 5),
        # Two messages for each member, which are never split: 6 fit, and not 7.
        (PEOPLE, 20, {"EVENTS_PER_SECOND_MAX": "7"}, 7),
        (PEOPLE, 5, {"EVENTS_PER_SECOND_MAX": "1"}, 5),
        (EVENTS, 30, {"EVENTS_PER_SECOND_MAX": "0", "BATCH_EVENTS_MAX": "10"}, 3),
        # 60 messages of some 300 bytes.
        (EVENTS, 60, {"BATCH_BYTES_MAX": "5000"}, None),
    ],
)
def test_the_planned_requests_are_those_that_segment_receives(
    shop: Shop, text: str, rows: int, settings: dict[str, str], requests: int | None
) -> None:
    shop.environ |= {f"DESTINATION__SEGMENT__{name}": value for name, value in settings.items()}
    shop.audience(text)
    fill(shop, rows)
    planned = shop.plan().totals()
    sent = shop.sync()
    assert shop.segment is not None
    received = sum(exchange.request.path == "/v1/batch" for exchange in shop.segment.requests)
    assert requests in (None, received)
    result = sent.as_dict()["segment"]
    assert (received, received) == (result["batches"], result["requests"])
    assert (received, result["calls"]) == (planned["batches"], planned["calls"])


def test_a_plan_without_a_write_key_uses_the_configured_rate(shop: Shop) -> None:
    del shop.environ["DESTINATION__SEGMENT__WRITE_KEY"]
    shop.environ["DESTINATION__SEGMENT__EVENTS_PER_SECOND_MAX"] = "10"
    shop.audience(EVENTS)
    fill(shop, 50)
    planned = shop.plan().totals()
    assert (50, 5, 5.0) == (planned["calls"], planned["batches"], planned["seconds"])
