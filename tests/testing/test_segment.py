"""The simulated Segment refuses, drops and keeps what the documents of the real one say."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
import requests

from tailrace.clock import SystemClock, format_utc
from tailrace.testing import Fault, SegmentSimulator
from tailrace.testing.http.clocks import HurriedClock
from tailrace.testing.segment.ingest_rules import BATCH_EVENTS_MAX, BODY_BYTES_MAX, EVENT_BYTES_MAX


@pytest.fixture
def segment() -> Iterator[SegmentSimulator]:
    with SegmentSimulator() as simulator:
        yield simulator


def track(number: int = 1, **more: Any) -> dict[str, Any]:
    return {
        "type": "track",
        "userId": f"u{number}",
        "event": "Segment Entered",
        "messageId": f"m{number}",
        **more,
    }


def post(
    segment: SegmentSimulator,
    batch: Any,
    *,
    key: str | None = None,
    path: str = "/v1/batch",
    **envelope: Any,
) -> requests.Response:
    body = {
        "batch": batch,
        "sentAt": format_utc(segment.now()),
        "writeKey": key or segment.write_key,
        **envelope,
    }
    return requests.post(segment.url + path, json=body)


def raw(segment: SegmentSimulator, body: bytes, **headers: str) -> requests.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return requests.post(f"{segment.url}/v1/batch", data=body, headers=named)


def test_takes_a_batch_and_keeps_its_order(segment: SegmentSimulator) -> None:
    """What is accepted is there, parsed, in order, once an id."""
    assert post(segment, [track(1), track(2)]).json() == {"success": True}
    post(segment, [track(2), track(3)])
    assert ["m1", "m2", "m3"] == [event["messageId"] for event in segment.events]
    assert ["m1", "m2", "m2", "m3"] == [event["messageId"] for event in segment.received]
    assert ([], []) == (segment.inbox.clashes, segment.inbox.complaints)


def test_single_calls(segment: SegmentSimulator) -> None:
    """`/v1/track` and its siblings take one message; the path is its type."""
    body = {"userId": "u", "event": "E", "messageId": "m", "sentAt": format_utc(segment.now())}
    requests.post(f"{segment.url}/v1/track", json=body, auth=(segment.write_key, ""))
    assert [("track", "E")] == [(event["type"], event["event"]) for event in segment.events]
    assert requests.post(f"{segment.url}/v1/tracks", json=body).status_code == 404


@pytest.mark.parametrize("where", ["header", "body"])
def test_the_key_is_read_from_header_or_body(segment: SegmentSimulator, where: str) -> None:
    """Basic credentials, or `writeKey`; the header wins."""
    batch = [track()]
    if where == "header":
        body = {"batch": batch, "sentAt": format_utc(segment.now()), "writeKey": "wrong"}
        requests.post(f"{segment.url}/v1/batch", json=body, auth=(segment.write_key, ""))
    else:
        post(segment, batch)
    assert len(segment.events) == 1


@pytest.mark.parametrize(
    ("key", "reason"), [("nobody", "unknown_write_key"), ("abroad", "wrong_region")]
)
def test_a_wrong_key_is_answered_with_success(key: str, reason: str) -> None:
    """The tracking API does not say that it knows no such key: 200, and nothing arrives."""
    with SegmentSimulator(foreign_keys=["abroad"]) as segment:
        assert post(segment, [track()], key=key).json() == {"success": True}
        assert [] == segment.events
        assert [reason] == [each.reason for each in segment.discards]


@pytest.mark.parametrize(
    "body",
    [
        b'{"batch":[{"type":"track","userId":"u","event":"E","properties":{"x":NaN}}]}',
        b'{"batch":[{"a":1}',
        b'["batch"]',
        b'{"batch":{"a":1}}',
        b'{"batch":[1]}',
        b"\xff\xfe",
    ],
)
def test_json_is_strict(segment: SegmentSimulator, body: bytes) -> None:
    """A bare NaN, or anything else that is not JSON, costs the whole batch."""
    assert raw(segment, body).status_code == 400
    assert [] == segment.received


def test_gzip_that_is_none(segment: SegmentSimulator) -> None:
    """A body that is not what its Content-Encoding says is refused."""
    assert raw(segment, b"{}", Content_Encoding="gzip").status_code == 400
    half = gzip.compress(b"{}" * 1000)[:20]
    assert raw(segment, half, Content_Encoding="gzip").status_code == 400


def test_size_limits_are_on_the_uncompressed_body(segment: SegmentSimulator) -> None:
    """500 KB a request, less than 32 KB an event; both count before gzip."""

    def body(size: int) -> bytes:
        filler = ",".join(json.dumps(track(n, properties={"x": "y" * 30_000})) for n in range(16))
        text = (
            '{"batch":[' + filler + '],"sentAt":"' + format_utc(segment.now()) + '","writeKey":"k"}'
        )
        return gzip.compress(text.ljust(size).encode())

    answers = [raw(segment, body(BODY_BYTES_MAX + n), Content_Encoding="gzip") for n in (0, 1)]
    assert [200, 400] == [answer.status_code for answer in answers]
    empty = len(json.dumps(track(properties={"x": ""}), separators=(",", ":")))
    for size, status in ((EVENT_BYTES_MAX - 1, 200), (EVENT_BYTES_MAX, 400)):
        event = track(properties={"x": "y" * (size - empty)})
        assert post(segment, [event]).status_code == status


def test_too_many_events_are_answered_with_success(segment: SegmentSimulator) -> None:
    """2,500 events are taken; 2,501 get a 200, and none of them arrives."""
    post(segment, [track(n) for n in range(BATCH_EVENTS_MAX)])
    assert post(segment, [track(n) for n in range(5000, 7501)]).status_code == 200
    assert len(segment.events) == BATCH_EVENTS_MAX
    assert {"batch_over_2500_events"} == {each.reason for each in segment.discards}
    assert len(segment.discards) == 2_501


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"userId": None}, "no_user_anon_id"),
        ({"userId": 7}, "id_not_string"),
        ({"userId": ""}, "id_not_string"),
        ({"event": None}, "event_not_defined"),
        ({"event": 5}, "event_not_string"),
        ({"properties": [1]}, "properties_not_object"),
        ({"type": "identify", "traits": "x"}, "traits_not_object"),
        ({"type": "page", "name": 1}, "name_not_string"),
        ({"type": "page", "category": 1}, "category_not_string"),
        ({"type": "group"}, "id_required"),
        ({"type": "group", "groupId": 9}, "id_not_string"),
        ({"type": "trek"}, "invalid_type"),
        ({"messageId": "m" * 100}, "message_id_too_long"),
        (
            {"event": "Segment Consent Preference Updated"},
            "consent_categorypreferences_should_exist",
        ),
        (
            {
                "event": "Segment Consent Preference Updated",
                "context": {"consent": {"categoryPreferences": {"ads": "yes"}}},
            },
            "consent_categorypreferences_fields_should_be_bool",
        ),
    ],
)
def test_ingest_rules_drop_one_message_in_silence(
    segment: SegmentSimulator, change: dict[str, Any], rule: str
) -> None:
    """A broken rule costs its message, not the batch, and the client is told nothing."""
    assert post(segment, [track(1), {**track(2), **change}]).json() == {"success": True}
    assert [rule] == [each.reason for each in segment.discards]
    assert ["m1"] == [event["messageId"] for event in segment.events]


def test_repetitions_are_dropped_for_a_day_and_must_be_equal() -> None:
    """An id counts once in 24 hours; another content under it is a clash."""
    clock = HurriedClock()
    with SegmentSimulator(clock=clock) as segment:
        post(segment, [track(1, sentAt="a")])
        post(segment, [track(1, sentAt="b")])
        assert (1, []) == (len(segment.events), segment.inbox.clashes)
        post(segment, [track(1, properties={"other": 1})])
        assert (1, ["m1"]) == (len(segment.events), segment.inbox.clashes)
        clock.sleep(25 * 3600)
        post(segment, [track(1)])
        assert len(segment.events) == 2


def test_complains_about_what_shifts_time(segment: SegmentSimulator) -> None:
    """A frozen or zoneless sentAt moves every timestamp, and is noted."""
    post(segment, [track(1)], sentAt=format_utc(segment.now() - timedelta(hours=1)))
    post(segment, [track(2)], sentAt="2026-11-22T05:00:00")
    assert len(segment.inbox.complaints) == 2


def test_the_context_of_a_batch_is_merged_into_each_message(segment: SegmentSimulator) -> None:
    """`context` and `integrations` of the batch stand under those of its items."""
    own = track(1, context={"active": True})
    post(segment, [own], context={"active": False, "ip": "::1"}, integrations={"All": False})
    assert {"active": True, "ip": "::1"} == segment.events[0]["context"]
    assert {"All": False} == segment.events[0]["integrations"]


def test_poison_costs_the_batch(segment: SegmentSimulator) -> None:
    """Whatever batch holds the poisoned event is refused, with words that are no JSON."""
    segment.faults.append(Fault(poison={"userId": "u2"}, status=400))
    answer = post(segment, [track(1), track(2)])
    assert (400, "Bad Request   ") == (answer.status_code, answer.text)
    assert post(segment, [track(1)]).status_code == 200
    assert ["m1"] == [event["messageId"] for event in segment.events]


@pytest.mark.parametrize(("cut", "arrives"), [("before", 0), ("after", 1)])
def test_a_cut_connection_may_have_delivered(
    segment: SegmentSimulator, cut: Any, arrives: int
) -> None:
    """Only the position of the cut says whether the batch was taken; the client cannot know."""
    segment.faults.append(Fault(path="/v1/batch", cut=cut))
    with pytest.raises(requests.ConnectionError):
        post(segment, [track()])
    assert arrives == len(segment.events)


def test_a_failure_may_have_delivered(segment: SegmentSimulator) -> None:
    """A 500 that comes after the work was done."""
    segment.faults.append(Fault(status=500, processed=True, times=1))
    assert post(segment, [track()]).status_code == 500
    assert len(segment.events) == 1


def test_settings_of_a_source() -> None:
    """The one place that knows a wrong key, and the region of a right one."""
    with SegmentSimulator(foreign_keys=["abroad"]) as segment:
        door = f"{segment.url}/v1/projects"
        told = requests.get(f"{door}/{segment.write_key}/settings").json()
        assert told["integrations"]["Segment.io"]["apiHost"] == "api.segment.io/v1"
        told = requests.get(f"{door}/abroad/settings").json()
        assert told["integrations"]["Segment.io"]["apiHost"] == "events.eu1.segmentapis.com/v1"
        assert requests.get(f"{door}/nobody/settings").status_code == 404


@pytest.fixture(scope="module")
def guarded() -> Iterator[SegmentSimulator]:
    with SegmentSimulator(oauth=True) as simulator:
        yield simulator


def ask_for_token(segment: SegmentSimulator, **claims: Any) -> requests.Response:
    assert segment.authorization
    now = int(SystemClock().now().timestamp())
    app = segment.authorization
    assertion = jwt.encode(
        {
            "iss": app.client_id,
            "sub": app.client_id,
            "aud": segment.url,
            "iat": now - 5,
            "exp": now + 55,
            "jti": str(time.monotonic_ns()),
            **claims,
        },
        app.client_key,
        algorithm="RS256",
        headers={"kid": app.key_id},
    )
    form = {
        "grant_type": "client_credentials",
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": assertion,
        "scope": "tracking_api:write",
    }
    return requests.post(f"{segment.url}/token", data=form)


def test_oauth_hands_out_tokens_and_asks_for_them(guarded: SegmentSimulator) -> None:
    """Without a living token a source with OAuth answers 401, whatever the write key is."""
    assert post(guarded, [track()]).status_code == 401
    answer = ask_for_token(guarded)
    assert answer.json()["token_type"] == "Bearer"
    bearer = {"Authorization": f"Bearer {answer.json()['access_token']}"}
    body = {"batch": [track()], "sentAt": format_utc(guarded.now()), "writeKey": guarded.write_key}
    assert requests.post(f"{guarded.url}/v1/batch", json=body, headers=bearer).ok
    guarded.expire_tokens()
    answer = requests.post(f"{guarded.url}/v1/batch", json=body, headers=bearer)
    assert answer.status_code == 401


@pytest.mark.parametrize(
    ("claims", "status"),
    [
        ({"aud": "https://oauth2.segment.io"}, 401),
        ({"sub": "somebody"}, 401),
        ({"exp": 1}, 400),
        ({"exp": 9_999_999_999}, 400),
        ({"iat": 9_999_999_990, "exp": 9_999_999_999}, 400),
        ({"jti": "other"}, 200),
    ],
)
def test_oauth_reads_the_assertion(
    guarded: SegmentSimulator, claims: dict[str, Any], status: int
) -> None:
    """Audience, application and lifetime are all looked at."""
    assert ask_for_token(guarded, **claims).status_code == status


def test_oauth_takes_an_assertion_once(guarded: SegmentSimulator) -> None:
    """An intercepted assertion cannot be used again."""
    assert [200, 400] == [ask_for_token(guarded, jti="same").status_code for _ in range(2)]


def test_delivery_overview_counts_what_became_of_the_messages(segment: SegmentSimulator) -> None:
    """Received and failed on ingest, by event name and by reason."""
    post(segment, [track(1), track(2), track(3, userId=None)])
    query = {
        "sourceId": segment.source_id,
        "startTime": "2026-11-22T00:00:00Z",
        "endTime": "2026-11-23T00:00:00Z",
        "granularity": "HOUR",
        "groupBy.0": "eventName",
    }
    door = f"{segment.url}/delivery-overview"
    headers = {"Authorization": f"Bearer {segment.public_token}"}
    got = requests.get(f"{door}/successfully-received", params=query, headers=headers).json()
    assert got["data"]["total"] == 2
    assert ("Segment Entered", 2) == (
        got["data"]["dataset"][0]["eventName"],
        got["data"]["dataset"][0]["total"],
    )
    query["groupBy.0"] = "discardReason"
    got = requests.get(f"{door}/failed-on-ingest", params=query, headers=headers).json()
    assert ["no_user_anon_id"] == [each["discardReason"] for each in got["data"]["dataset"]]
    assert requests.get(f"{door}/successfully-received", params=query).status_code == 401


def test_control_door(segment: SegmentSimulator) -> None:
    """Another process reads what arrived, and makes it forget."""
    post(segment, [track(1), track(1), track(2, userId=None)])
    door = f"{segment.url}/_control"
    assert ["m1"] == [event["messageId"] for event in requests.get(f"{door}/events").json()]
    assert len(requests.get(f"{door}/received").json()) == 3
    assert ["no_user_anon_id"] == [e["reason"] for e in requests.get(f"{door}/discards").json()]
    stats = requests.get(f"{door}/stats").json()
    assert (3, 1, 1, 1) == tuple(
        stats[name] for name in ("received", "delivered", "discarded", "repeated")
    )
    requests.delete(f"{door}/events")
    assert [] == requests.get(f"{door}/events").json()


def test_the_record_outlives_its_reader(tmp_path: Path) -> None:
    """Each message that was taken is in the file when the answer arrives, one JSON a line."""
    record = tmp_path / "events.jsonl"
    with SegmentSimulator(record=record) as segment:
        post(segment, [track(1), track(2)])
        lines = record.read_text().splitlines()
        assert ["m1", "m2"] == [json.loads(line)["messageId"] for line in lines]
        post(segment, [track(2)])
    assert len(record.read_text().splitlines()) == 3


def test_counts_without_reading() -> None:
    """Not strict: nothing is parsed or kept, events and bytes are counted."""
    with SegmentSimulator(strict=False) as segment:
        body = b'{"batch":[{"messageId":"a"},{"messageId":"b"}]}'
        raw(segment, gzip.compress(body), Content_Encoding="gzip")
        stats = segment.stats()
        assert (2, len(body), []) == (stats["received"], stats["bytes"], segment.requests)


def test_many_senders_lose_nothing(segment: SegmentSimulator) -> None:
    """Eight connections at once: every message is there once."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: post(segment, [track(n * 50 + i) for i in range(50)]), range(24)))
    assert {f"m{n}" for n in range(1200)} == segment.inbox.ids()
    assert len(segment.events) == 1200


def test_serves_as_a_process_of_its_own(tmp_path: Path) -> None:
    """`python -m tailrace.testing segment` says where it is, and takes batches."""
    record = tmp_path / "events.jsonl"
    arguments = ["segment", "--write-key", "k1", "--record", str(record)]
    process = subprocess.Popen(
        [sys.executable, "-m", "tailrace.testing", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout
        told = json.loads(process.stdout.readline())
        assert told["write_key"] == "k1"
        body = {"batch": [track()], "sentAt": format_utc(SystemClock().now()), "writeKey": "k1"}
        assert requests.post(f"{told['url']}/v1/batch", json=body).ok
        assert json.loads(record.read_text())["messageId"] == "m1"
    finally:
        process.terminate()
        assert process.wait(10) in (0, -15, 143)
