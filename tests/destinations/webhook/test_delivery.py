"""Audiences at a webhook: what arrives, what each answer means, and what a run leaves behind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook
from webhook_shop import SECRET, WebhookShop

from tailrace.errors import ReceiverGone, Unreachable
from tailrace.plan.policy import PlanOptions
from tailrace.run import job
from tailrace.testing.http.faults import Fault
from tailrace.testing.http.messages import Request
from tailrace.testing.webhook import WebhookReceiver

BODY = """
  send: [entered, changed, exited]
  body: {email: email, event: {value: vip}, profile: {score: score, tags: [city, {value: 1}]}}
"""


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    with WebhookReceiver(secrets=[SECRET]) as running:
        yield running


@pytest.fixture
def shop(tmp_path: Path, receiver: WebhookReceiver) -> WebhookShop:
    made = WebhookShop(tmp_path / "shop", receiver.url)
    made.header()
    return made


def people(count: int, **values: Any) -> list[dict[str, Any]]:
    return [
        {"id": f"c{n}", "email": f"c{n}@example.com", "city": "Oslo", "score": 1.5, **values}
        for n in range(count)
    ]


def test_members_enter_change_and_leave(shop: WebhookShop, receiver: WebhookReceiver) -> None:
    shop.people(people(3))
    first = shop.sync()
    assert 0 == first.exit_code
    assert {"calls": 3, "batches": 1, "requests": 1, "seconds": 0.0, "type": "webhook"} == (
        first.as_dict()["destinations"]["webhook"]
    )
    (delivery,) = receiver.deliveries
    element = delivery.elements[0]
    assert element | {"id": "", "at": ""} == {
        "id": "",
        "op": "entered",
        "audience": "people",
        "key": "c0",
        "at": "",
        "values": {"id": "c0", "email": "c0@example.com", "city": "Oslo", "score": 1.5},
    }
    shop.people([*people(1, city="Bergen"), people(2)[1]])
    shop.sync()
    exited, changed = receiver.elements[3:]
    assert ("exited", "c2", "Oslo") == (exited["op"], exited["key"], exited["values"]["city"])
    assert "previous" not in exited
    assert ("changed", "c0", {"city": "Oslo"}) == (
        *(changed[name] for name in ("op", "key")),
        changed["previous"],
    )
    assert 0 == shop.sync().as_dict()["destinations"]["webhook"]["requests"]
    assert 5 == len({element["id"] for element in receiver.elements})


def test_a_template_decides_what_an_element_has(
    shop: WebhookShop, receiver: WebhookReceiver
) -> None:
    shop.header(BODY)
    shop.people(people(1))
    shop.sync()
    shop.people(people(1, score=2.5, city="Bergen"))
    shop.sync()
    entered, changed = receiver.elements
    assert {"id", "op", "key", "email", "event", "profile"} == set(entered)
    assert {"score": 1.5, "tags": ["Oslo", 1]} == entered["profile"]
    assert {"profile": {"score": 1.5, "tags": ["Oslo", 1]}} == changed["previous"]
    assert "vip" == changed["event"]


def test_a_member_of_the_template_replaces_the_one_of_its_name(
    shop: WebhookShop, receiver: WebhookReceiver
) -> None:
    shop.header("{body: {id: email, op: {value: upsert}}}")
    shop.people(people(1))
    shop.sync()
    assert [{"key": "c0", "id": "c0@example.com", "op": "upsert"}] == receiver.elements


def test_operations_that_are_not_sent_are_recorded(
    shop: WebhookShop, receiver: WebhookReceiver
) -> None:
    shop.header("{send: [exited]}")
    shop.people(people(3))
    assert 0 == shop.plan().by_destination()["webhook"]["calls"]
    shop.sync()
    shop.people(people(1))
    assert 2 == shop.plan().by_destination()["webhook"]["calls"]
    shop.sync()
    assert ["exited", "exited"] == [element["op"] for element in receiver.elements]


@pytest.mark.parametrize(
    ("batch", "requests", "content_type"),
    [
        ("array", 2, "application/json"),
        ("single", 3, "application/json"),
        ("ndjson", 2, "application/x-ndjson"),
    ],
)
def test_each_format_holds_to_the_batch_limit(
    shop: WebhookShop, receiver: WebhookReceiver, batch: str, requests: int, content_type: str
) -> None:
    shop.header(f"{{batch: {batch}}}")
    shop.set(batch_rows_max=2)
    shop.people(people(3))
    assert requests == shop.plan().by_destination()["webhook"]["batches"]
    done = shop.sync()
    assert requests == done.as_dict()["destinations"]["webhook"]["requests"]
    assert {"c0", "c1", "c2"} == {element["key"] for element in receiver.elements}
    assert {content_type} == {request.content_type for request in requests_of(receiver)}
    shapes = {type(json.loads(request.body.split(b"\n")[0])) for request in requests_of(receiver)}
    assert shapes == {list if batch == "array" else dict}


def test_requests_are_signed_and_keep_their_id_over_retries(
    shop: WebhookShop, receiver: WebhookReceiver
) -> None:
    receiver.faults.append(Fault(status=503, nth=1))
    receiver.faults.append(Fault(cut="after", nth=2))
    shop.people(people(2))
    assert 0 == shop.sync().exit_code
    assert 2 == len(receiver.elements)
    requests = requests_of(receiver)
    assert 3 == len(requests)
    assert 1 == len({request.headers["webhook-id"] for request in requests})
    for request in requests:
        Webhook(SECRET).verify(request.body, dict(request.headers))


@pytest.mark.parametrize("processed", [False, True])
def test_a_server_that_fails_and_recovers_gets_the_same_ids(
    processed: bool,
    shop: WebhookShop,
    receiver: WebhookReceiver,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """HTTP 500 for longer than `retry_seconds_max`: the next run, or a retry, sends the request."""
    caplog.set_level("INFO")
    shop.people(people(3))
    shop.set(retry_seconds_max=0.1)
    receiver.faults.append(Fault(status=500, processed=processed))
    failed = shop.sync()
    (error,) = failed.errors
    assert (1, "failed") == (failed.exit_code, failed.audiences[0]["status"])
    assert "500" in error.message
    assert "run the same command again" in error.hint
    assert "retry_seconds_max under [destination.webhook]" in error.hint
    assert "500; retry in" in caplog.text.replace(": Internal Server Error", "")
    receiver.faults.clear()
    recovered = shop.sync(options=PlanOptions(intent="retry" if processed else "changes"))
    assert (0, 3) == (recovered.exit_code, recovered.as_dict()["audiences"][0]["sent"])
    last = receiver.deliveries[-1].elements
    assert 3 == len({element["id"] for element in receiver.elements}) == len(last)
    assert 1 == len({entry.request.headers["webhook-id"] for entry in receiver.requests})
    assert 0 == shop.sync().as_dict()["destinations"]["webhook"]["requests"]


def test_a_verdict_rejects_its_element_alone(shop: WebhookShop, receiver: WebhookReceiver) -> None:
    receiver.verdicts = "element"
    receiver.reject = lambda element: "no such plan" if element["key"] == "c1" else None
    shop.people(people(3))
    done = shop.sync()
    assert (4, 2, 1) == (done.exit_code, *sent_and_rejected(done))
    ((reason, kind),) = shop.query("SELECT reason, kind FROM tailrace.rejections")
    assert ("REJECTED: no such plan", "element") == (reason, kind)
    receiver.reject = None
    again = shop.sync()
    assert (0, 1, 0) == (again.exit_code, *sent_and_rejected(again))
    assert ["c0", "c2", "c1"] == [element["key"] for element in receiver.elements]


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_refused_request_is_bisected(
    shop: WebhookShop, receiver: WebhookReceiver, status: int
) -> None:
    receiver.reject = lambda element: "too long" if element["key"] == "c5" else None
    receiver.reject_status = status
    shop.people(people(8))
    done = shop.sync()
    assert (4, 7, 1) == (done.exit_code, *sent_and_rejected(done))
    assert {f"c{n}" for n in range(8)} - {"c5"} == {e["key"] for e in receiver.elements}


def test_verdicts_that_do_not_fit_acknowledge_nothing(
    shop: WebhookShop, receiver: WebhookReceiver
) -> None:
    receiver.faults.append(Fault(status=200, body=[{"success": True}], times=None))
    shop.people(people(3))
    done = shop.sync()
    assert 1 == done.exit_code
    assert "verdicts that do not fit" in done.errors[0].message
    receiver.faults.clear()
    assert 0 == shop.sync().exit_code
    assert 3 == len(receiver.elements)


@pytest.mark.parametrize("status", [401, 422, 500, 200])
def test_a_secret_that_the_receiver_repeats_is_not_shown(
    status: int,
    shop: WebhookShop,
    receiver: WebhookReceiver,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Not in an error, the log, a rejection or a message for people: whole, in parts, as JSON."""
    caplog.set_level("DEBUG")
    shop.set(
        url=f"{receiver.url}/T00/xoxb-0123456789abcdef?token=urlsesame/1",
        headers=json.dumps({"Authorization": "Bearer headersesame"}),
        retry_seconds_max=0.1,
    )
    text = f"no xoxb-0123456789abcdef urlsesame/1 headersesame {SECRET} " + "x" * 200
    verdict = [{"success": False, "error": text}]
    body: Any = verdict if status == 200 else {"error": text}
    receiver.faults.append(Fault(status=status, body=json.dumps(body).replace("/", "\\/")))
    shop.people(people(1))
    done = shop.sync()
    assert 0 != done.exit_code
    shown = [caplog.text, repr(done), repr(shop.query("SELECT * FROM tailrace.rejections"))]
    for secret in ("0123456789abcdef", "sesame", SECRET):
        assert not any(secret in place for place in shown), secret
    assert any("no *** *** ***" in place for place in shown)


def test_gone_stops_the_destination_until_it_is_resumed(
    shop: WebhookShop, receiver: WebhookReceiver
) -> None:
    receiver.faults.append(Fault(status=410, times=None))
    shop.people(people(3))
    stopped = shop.sync()
    assert 1 == stopped.exit_code
    assert isinstance(stopped.errors[0], ReceiverGone)
    receiver.faults.clear()
    asked = len(receiver.requests)
    again = shop.sync()
    assert 1 == again.exit_code
    assert "destinations resume webhook" in (again.errors[0].hint or "")
    assert asked == len(receiver.requests)
    assert job.resume(shop.project, "webhook", clock=shop.clock)["resumed"]
    done = shop.sync()
    assert (0, 3) == (done.exit_code, len(receiver.elements))


def test_a_redirect_is_not_followed(shop: WebhookShop, receiver: WebhookReceiver) -> None:
    with WebhookReceiver() as other:
        location = {"Location": other.url}
        receiver.faults.append(Fault(status=307, body="", headers=location, times=None))
        shop.people(people(1))
        done = shop.sync()
        assert 1 == done.exit_code
        assert "redirects to 127.0.0.1" in done.errors[0].message
        assert [] == other.requests


def test_https_at_a_port_without_tls_is_not_retried(
    shop: WebhookShop, receiver: WebhookReceiver
) -> None:
    shop.people(people(3))
    shop.set(url=receiver.url.replace("http:", "https:"), retry_seconds_max=900)
    done = shop.sync()
    (error,) = done.errors
    assert (1, Unreachable, []) == (done.exit_code, type(error), list(receiver.requests))
    assert "needs a port that takes TLS" in str(error.hint)


def test_an_element_above_the_limit_is_rejected_without_a_request(
    shop: WebhookShop, receiver: WebhookReceiver
) -> None:
    shop.set(batch_bytes_max=1_000)
    shop.people([*people(2), {"id": "long", "email": "x" * 2_000}])
    done = shop.sync()
    assert (4, 2, 1) == (done.exit_code, *sent_and_rejected(done))
    assert {"c0", "c1"} == {element["key"] for element in receiver.elements}


def requests_of(receiver: WebhookReceiver) -> list[Request]:
    return [exchange.request for exchange in receiver.requests]


def sent_and_rejected(done: Any) -> tuple[int, int]:
    (audience,) = done.audiences
    return audience["sent"], audience["rejected"]
