"""Named faults of the Segment simulator, and the optional check of the write key."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import pytest
import requests

from tailrace.testing import SegmentSimulator
from tailrace.testing.http.bodies import UNEXPECTED_BODIES
from tailrace.testing.segment.named_faults import SEGMENT_FAULTS, named_fault


@pytest.fixture
def segment() -> Iterator[SegmentSimulator]:
    with SegmentSimulator(write_key_check=True) as simulator:
        yield simulator


def post(
    segment: SegmentSimulator, key: str = "sandbox-write-key", packed: bool = False
) -> requests.Response:
    message = {"type": "track", "userId": "u", "event": "E", "messageId": "m"}
    sent_at = datetime.now(UTC).isoformat()
    body = json.dumps({"batch": [message], "sentAt": sent_at, "writeKey": key}).encode()
    headers = {"Content-Type": "application/json"}
    if packed:
        body = gzip.compress(body)
        headers["Content-Encoding"] = "gzip"
    return requests.post(f"{segment.url}/v1/batch", data=body, headers=headers, timeout=9)


def test_check_of_the_write_key(segment: SegmentSimulator) -> None:
    """With the check a wrong key is 401; without it the batch is discarded behind a 200."""
    assert post(segment, "wrong").status_code == 401
    assert segment.discards == []
    segment.write_key_check = False
    assert post(segment, "wrong").status_code == 200
    assert [discard.reason for discard in segment.discards] == ["unknown_write_key"]
    assert post(segment).json() == {"success": True}


@pytest.mark.parametrize("name", list(UNEXPECTED_BODIES))
def test_a_200_that_is_no_yes(segment: SegmentSimulator, name: str) -> None:
    """The answer is 200 with a body that says nothing about the batch, which was not taken."""
    segment.faults.append(named_fault(name, times=1))
    answer = post(segment)
    assert (answer.status_code, answer.content) == (200, UNEXPECTED_BODIES[name][1])
    assert segment.events == []
    assert post(segment).json() == {"success": True}


def test_gzip_refused(segment: SegmentSimulator) -> None:
    """A compressed request is 400, the same request without compression is taken."""
    segment.faults.append(named_fault("gzip_refused"))
    assert post(segment, packed=True).status_code == 400
    assert post(segment).status_code == 200


@pytest.mark.parametrize(("name", "days"), [("date_ahead", 3), ("date_behind", -3)])
def test_date_header(segment: SegmentSimulator, name: str, days: int) -> None:
    """The Date header is days off; the batch is taken."""
    segment.faults.append(named_fault(name))
    answer = post(segment)
    date = parsedate_to_datetime(answer.headers["Date"])
    assert round((date - datetime.now(UTC)).total_seconds() / 86_400) == days
    assert len(segment.events) == 1


def test_early_hints_and_a_slow_answer(segment: SegmentSimulator) -> None:
    """An answer byte by byte is the usual yes; http.client takes an interim 103 for the answer."""
    segment.faults.append(named_fault("byte_per_second", drip_seconds=0.001, times=1))
    assert post(segment).json() == {"success": True}
    segment.faults.append(named_fault("early_hints"))
    assert post(segment).status_code in (103, 200)
    assert segment.received[-1]["messageId"] == "m"


@pytest.mark.parametrize(
    ("name", "status"), [("rate_limited", 429), ("unavailable", 503), ("too_large", 413)]
)
def test_refusals_by_control_call(segment: SegmentSimulator, name: str, status: int) -> None:
    """A test in another process adds a named fault; an unknown name is refused."""
    control = f"{segment.url}/_control/named_fault"
    assert requests.post(control, json={"name": name, "times": 1}).status_code == 200
    answer = post(segment)
    assert answer.status_code == status
    assert ("Retry-After" in answer.headers) == (name == "rate_limited")
    assert post(segment).status_code == 200
    assert requests.post(control, json={"name": "x"}).status_code == 400
    assert requests.post(control, json={"name": name, "time": 1}).status_code == 400
    assert name in SEGMENT_FAULTS
