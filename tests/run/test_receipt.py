"""A run whose messages were acknowledged and then lost does not end well."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from shop import PEOPLE, Shop

from tailrace.run.result import RunResult
from tailrace.testing import Fault, SegmentSimulator


@pytest.fixture
def segment() -> Iterator[SegmentSimulator]:
    with SegmentSimulator() as simulator:
        yield simulator


@pytest.fixture
def shop(tmp_path: Path, segment: SegmentSimulator) -> Shop:
    made = Shop(tmp_path / "shop", segment)
    made.audience(PEOPLE)
    made.environ |= {
        "DESTINATION__SEGMENT__PUBLIC_API_TOKEN": segment.public_token,
        "DESTINATION__SEGMENT__PUBLIC_API_HOST": segment.url,
        "DESTINATION__SEGMENT__SOURCE_ID": segment.source_id,
        "DESTINATION__SEGMENT__OVERVIEW_SECONDS_MAX": "0.1",
        "DESTINATION__SEGMENT__BATCH_EVENTS_MAX": "4",
        "DESTINATION__SEGMENT__RETRY_SECONDS_MAX": "0.1",
    }
    made.land([{"id": f"c{n}", "city": "Oslo"} for n in range(6)])
    return made


def warnings(done: RunResult) -> list[Any]:
    return [each["message"] for each in done.as_dict()["warnings"]]


def test_what_was_received_adds_up_in_silence(shop: Shop) -> None:
    done = shop.sync()
    assert (0, []) == (done.exit_code, warnings(done))


def test_what_was_acknowledged_and_never_arrived_is_exit_1(
    shop: Shop, segment: SegmentSimulator
) -> None:
    """Another server answers 200 in Segment's place; only Delivery Overview shows it."""
    segment.faults.append(Fault(path="/v1/batch", nth=2, status=200, body={"success": True}))
    done = shop.sync()
    assert (1, ["EventsMissing"]) == (
        done.exit_code,
        [each["error"] for each in done.as_dict()["errors"]],
    )
    assert "of 12 acknowledged messages" in done.errors[0].message
    assert "2 identify, 2 track Segment Entered" in done.errors[0].message
    assert 6 == done.audiences[0]["sent"]


def test_what_was_dropped_on_ingest_is_named(shop: Shop, segment: SegmentSimulator) -> None:
    dropped = {"data": {"dataset": [{"discardReason": "source_disabled", "total": 3}]}}
    segment.faults.append(Fault(path="*/failed-on-ingest", status=200, body=dropped))
    (warning,) = warnings(shop.sync())
    assert "dropped 3 messages on ingest since this run began: source_disabled" in warning


def test_a_rejected_row_is_not_waited_for(shop: Shop, segment: SegmentSimulator) -> None:
    """Of a row that Segment refuses, only what it took before counts."""
    segment.faults.append(
        Fault(path="/v1/batch", poison={"userId": "c1", "type": "track"}, status=400)
    )
    done = shop.sync()
    assert (4, 1) == (done.exit_code, done.audiences[0]["rejected"])
    assert [] == warnings(done)


def test_what_an_earlier_attempt_brought_counts(shop: Shop, segment: SegmentSimulator) -> None:
    """Taken, not acknowledged, and dropped as a repeat when it is sent again: it is there."""
    segment.faults.append(Fault(path="/v1/batch", nth=2, times=99, status=500, processed=True))
    assert 1 == shop.sync().exit_code
    segment.faults.clear()
    done = shop.sync()
    assert (0, []) == (done.exit_code, warnings(done))
    assert segment.inbox.counts["repeated"] > 0


def test_not_being_able_to_compare_is_a_warning(shop: Shop) -> None:
    shop.environ["DESTINATION__SEGMENT__PUBLIC_API_TOKEN"] = "expired"
    done = shop.sync()
    assert 0 == done.exit_code
    (warning,) = warnings(done)
    assert "could not be verified" in warning
    assert "expired" not in warning
