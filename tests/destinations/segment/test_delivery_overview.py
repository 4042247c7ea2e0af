"""What was acknowledged is compared with what Segment says it received."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import requests

from tailrace.clock import format_utc
from tailrace.config.settings import SegmentSettings
from tailrace.destinations.segment.delivery_overview import Overview, wait_for_overview
from tailrace.errors import CredentialRefused, MissingCredential, ServiceFailed, Unreachable
from tailrace.testing import Fault, SegmentSimulator
from tailrace.testing.http.clocks import HurriedClock

SENT = {("track", "Segment Entered"): 2, ("identify", ""): 1}


@pytest.fixture
def segment() -> Iterator[SegmentSimulator]:
    with SegmentSimulator(clock=HurriedClock()) as simulator:
        yield simulator


def settings(segment: SegmentSimulator, **more: Any) -> SegmentSettings:
    values = {"public_api_token": segment.public_token, "source_id": segment.source_id, **more}
    return SegmentSettings(
        host=segment.url, write_key=segment.write_key, public_api_host=segment.url, **values
    )


def post(segment: SegmentSimulator, *messages: dict[str, Any]) -> None:
    body = {
        "batch": [{"messageId": f"m{n}", **message} for n, message in enumerate(messages)],
        "sentAt": format_utc(segment.now()),
        "writeKey": segment.write_key,
    }
    requests.post(f"{segment.url}/v1/batch", json=body)


def everything(segment: SegmentSimulator) -> None:
    track = {"type": "track", "userId": "u", "event": "Segment Entered"}
    post(segment, {"type": "identify", "userId": "u"}, track, track)


def ask(segment: SegmentSimulator, **more: Any) -> Overview:
    since = segment.now() - timedelta(minutes=5)
    return wait_for_overview(settings(segment, **more), SENT, since=since, clock=segment.clock)


def test_everything_is_there(segment: SegmentSimulator) -> None:
    """Counts by type and name; the source is found by its write key when it is not configured."""
    everything(segment)
    found = ask(segment, source_id=None)
    assert (SENT, {}) == (found.received, found.failed)
    assert {} == found.missing(SENT)
    assert {} == found.missing({("track", "Segment Entered"): 1})


def test_what_was_dropped_is_named(segment: SegmentSimulator) -> None:
    """A message that was answered with 200 and dropped shows, with the rule that it broke."""
    track = {"type": "track", "userId": "u", "event": "Segment Entered"}
    post(segment, {"type": "identify", "userId": "u"}, track, {**track, "userId": None})
    found = ask(segment)
    assert {("track", "Segment Entered"): 1} == found.missing(SENT)
    assert {"no_user_anon_id": 1} == found.failed


def test_late_counts_are_waited_for(segment: SegmentSimulator) -> None:
    """The overview is half a minute behind; what is not there yet is asked for again."""
    segment.faults.append(
        Fault(path="*/successfully-received", status=200, body={"data": {"dataset": []}}, times=3)
    )
    everything(segment)
    assert {} == ask(segment).missing(SENT)
    assert 30 <= segment.clock.slept_seconds < 40  # type: ignore[attr-defined]


def test_the_wait_ends(segment: SegmentSimulator) -> None:
    """What never shows up is reported missing."""
    assert SENT == ask(segment).missing(SENT)
    assert segment.clock.slept_seconds <= 90  # type: ignore[attr-defined]


def test_a_long_run_is_counted_by_the_hour(segment: SegmentSimulator) -> None:
    """Minutes cover four hours at most."""
    everything(segment)
    since = segment.now() - timedelta(hours=9)
    wait_for_overview(settings(segment), SENT, since=since, clock=segment.clock)
    assert "HOUR" == segment.requests[-1].request.query["granularity"]
    assert ":00:00" in segment.requests[-1].request.query["startTime"]


def test_what_can_be_wrong(segment: SegmentSimulator) -> None:
    """No token, a wrong one, an unknown source, a page of a proxy, no server."""
    with pytest.raises(MissingCredential):
        ask(segment, public_api_token=None)
    with pytest.raises(CredentialRefused, match="token"):
        ask(segment, public_api_token="wrong")
    with pytest.raises(ServiceFailed, match="404"):
        ask(segment, source_id="unknown")
    stranger = replace(settings(segment, source_id=None), write_key="stranger")
    with pytest.raises(CredentialRefused, match="no source"):
        wait_for_overview(stranger, SENT, since=segment.now(), clock=segment.clock)
    segment.faults.append(Fault(status=200, body="<html>"))
    with pytest.raises(ServiceFailed, match="Public API"):
        ask(segment)
    segment.faults.clear()
    segment.faults.append(Fault(status=429, headers={"Retry-After": "2"}))
    with pytest.raises(ServiceFailed, match="429"):
        ask(segment)
    nobody = replace(settings(segment), public_api_host="http://127.0.0.1:1")
    with pytest.raises(Unreachable, match="connection refused"):
        wait_for_overview(nobody, SENT, since=segment.now(), clock=segment.clock)
