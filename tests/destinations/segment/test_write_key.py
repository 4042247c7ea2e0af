"""The write key is checked before the first event, because the API accepts a wrong one."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from tailrace.config.settings import SegmentSettings
from tailrace.destinations.http import new_session
from tailrace.destinations.segment.write_key import (
    check_write_key,
    refuse_other_region,
    settings_host,
)
from tailrace.errors import CredentialRefused, InvalidConfigValue, Unreachable
from tailrace.testing import Fault, SegmentSimulator
from tailrace.testing.http.clocks import HurriedClock

CLOCK = HurriedClock()
SESSION = new_session(in_flight_max=1, answer_seconds_max=60)


@pytest.fixture
def segment() -> Iterator[SegmentSimulator]:
    with SegmentSimulator() as simulator:
        yield simulator


def settings(segment: SegmentSimulator, **more: Any) -> SegmentSettings:
    values = {"write_key": segment.write_key, "settings_host": segment.url, **more}
    return SegmentSettings(host=segment.url, **values)


def test_a_known_key(segment: SegmentSimulator) -> None:
    """One GET, as Segment's own destination does it, and no event."""
    check_write_key(settings(segment), clock=CLOCK, session=SESSION)
    assert [f"/v1/projects/{segment.write_key}/settings"] == [
        each.request.path for each in segment.requests
    ]


def test_an_unknown_key(segment: SegmentSimulator) -> None:
    """The message names the setting, not the key."""
    with pytest.raises(CredentialRefused) as caught:
        check_write_key(settings(segment, write_key="wrong-key"), clock=CLOCK, session=SESSION)
    assert "wrong-key" not in caught.value.message + caught.value.hint
    assert "write_key" in caught.value.hint


@pytest.mark.parametrize("key", ["", "  ", "schlüssel"])
def test_what_cannot_be_a_key(key: str) -> None:
    """An empty key is found without a request, for any host."""
    with pytest.raises(CredentialRefused):
        check_write_key(
            SegmentSettings(write_key=key, host="https://x.invalid"), clock=CLOCK, session=SESSION
        )


@pytest.mark.parametrize(
    ("more", "host"),
    [
        ({}, "https://cdn.segment.com"),
        ({"host": "https://events.eu1.segmentapis.com"}, "https://cdn.segment.com"),
        ({"host": "https://collector.example.com"}, None),
        (
            {"host": "https://collector.example.com", "settings_host": "https://c.example.com/"},
            "https://c.example.com",
        ),
        ({"check_write_key": False}, None),
        ({"check_write_key": False, "settings_host": "https://c.example.com"}, None),
    ],
)
def test_where_is_asked(more: dict[str, Any], host: str | None) -> None:
    """Segment's own hosts are checked; others are when somewhere to ask is configured."""
    assert host == settings_host(SegmentSettings(write_key="k", **more))


def test_a_failing_answer_is_asked_again(segment: SegmentSimulator) -> None:
    """Two failures are borne, a third is reported; the key is not in the message."""
    segment.faults.append(Fault(status=503, times=2))
    check_write_key(settings(segment), clock=CLOCK, session=SESSION)
    assert len(segment.requests) == 3
    segment.faults.append(Fault(status=500))
    with pytest.raises(Unreachable, match="500") as caught:
        check_write_key(settings(segment), clock=CLOCK, session=SESSION)
    assert "check_write_key = false" in caught.value.hint


def test_no_server_to_ask(segment: SegmentSimulator, caplog: pytest.LogCaptureFixture) -> None:
    """An unreachable host is not a wrong key; neither message nor log nor cause holds the key."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{probe.getsockname()[1]}"
    with caplog.at_level(logging.DEBUG), pytest.raises(Unreachable) as caught:
        check_write_key(settings(segment, settings_host=nobody), clock=CLOCK, session=SESSION)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    assert "(connection refused)" in caught.value.message
    assert segment.write_key not in caught.value.message + caplog.text


@pytest.mark.parametrize("body", ["<html>log in</html>", "[]", ""])
def test_a_page_is_no_source(segment: SegmentSimulator, body: str) -> None:
    """A proxy's page with status 200 does not make a key good."""
    segment.faults.append(Fault(status=200, body=body))
    with pytest.raises(Unreachable, match="settings"):
        check_write_key(settings(segment), clock=CLOCK, session=SESSION)


def test_a_redirect_is_no_source(segment: SegmentSimulator) -> None:
    """Nor does a redirect, wherever it leads."""
    segment.faults.append(Fault(path="/v1/*", status=302, headers={"Location": "/login"}))
    with pytest.raises(Unreachable):
        check_write_key(settings(segment), clock=CLOCK, session=SESSION)


def test_a_key_of_the_other_region() -> None:
    """Segment drops such events in silence; the source's settings tell where it lives."""
    european = {"integrations": {"Segment.io": {"apiHost": "events.eu1.segmentapis.com/v1"}}}
    with pytest.raises(InvalidConfigValue) as caught:
        refuse_other_region("https://api.segment.io", european)
    assert 'host = "https://events.eu1.segmentapis.com"' in caught.value.hint
    refuse_other_region("https://events.eu1.segmentapis.com", european)
    refuse_other_region("https://collector.example.com", european)
    for strange in ({}, {"integrations": []}, {"integrations": {"Segment.io": {"apiHost": None}}}):
        refuse_other_region("https://api.segment.io", strange)


def test_the_key_is_quoted_into_the_url(segment: SegmentSimulator) -> None:
    """A key with a slash does not become another path."""
    with pytest.raises(CredentialRefused):
        check_write_key(
            replace(settings(segment), write_key="../x?y"), clock=CLOCK, session=SESSION
        )
    assert segment.requests[0].request.target == "/v1/projects/..%2Fx%3Fy/settings"
