"""The webhook receiver: signatures, verdicts, limits and faults."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from tailrace.testing.webhook import WebhookReceiver
from tailrace.testing.webhook.receiver import WEBHOOK_FAULTS
from tailrace.testing.webhook.signature import secret_key, sign

SECRET = "whsec_" + base64.b64encode(b"a key of twenty-four bytes"[:24]).decode()
OTHER = "whsec_" + base64.b64encode(b"x" * 32).decode()
Start = Callable[..., WebhookReceiver]


@pytest.fixture
def start() -> Iterator[Start]:
    receivers: list[WebhookReceiver] = []

    def begin(**options: Any) -> WebhookReceiver:
        receivers.append(WebhookReceiver(**options).start())
        return receivers[-1]

    yield begin
    for receiver in receivers:
        receiver.close()


def post(
    receiver: WebhookReceiver, value: Any, message_id: str = "m-1", **more: str
) -> requests.Response:
    body = json.dumps(value).encode()
    now = int(time.time())
    headers = {
        "Content-Type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": str(now),
        "webhook-signature": sign(SECRET, message_id, now, body),
    }
    return requests.post(
        receiver.url + "/hook", data=body, headers=headers | more, allow_redirects=False, timeout=9
    )


def test_the_example_of_the_specification() -> None:
    """The signature of the published test vector."""
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    body = b'{"test": 2432232314}'
    message_id = "msg_p5jXN8AQM9LWM0D4loKWxJek"
    expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert sign(secret, message_id, 1614265330, body) == expected


@pytest.mark.parametrize(
    "secret", ["", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_!!", "whsec_YQ=="]
)
def test_a_secret_of_the_wrong_form(secret: str) -> None:
    """The receiver refuses to start with a secret that no sender can use."""
    with pytest.raises(ValueError, match="whsec_"):
        WebhookReceiver(secrets=[secret])
    with pytest.raises(ValueError, match="whsec_"):
        secret_key(secret)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"webhook-signature": "v1,AAAA"}, "No signature matches"),
        ({"webhook-signature": ""}, "Missing header webhook-signature"),
        ({"webhook-timestamp": "1614265330"}, "differs from the server's time"),
        ({"webhook-timestamp": "2026-11-27"}, "Unix time in seconds"),
        ({"webhook-id": "m-2"}, "No signature matches"),
    ],
)
def test_a_request_that_is_not_authentic(
    start: Start, changed: dict[str, str], message: str
) -> None:
    """A wrong or missing signature, an old timestamp and another id are 401."""
    receiver = start(secrets=[SECRET])
    answer = post(receiver, [1], **changed)
    assert answer.status_code == 401
    assert message in answer.json()["error"]
    assert receiver.deliveries == []


def test_several_signatures_and_secrets(start: Start) -> None:
    """While secrets are rotated, one valid signature among several is enough."""
    receiver = start(secrets=[OTHER, SECRET])
    body = json.dumps([1]).encode()
    now = int(time.time())
    both = f"v1,AAAA {sign(SECRET, 'm-1', now, body)}"
    moment = {"webhook-timestamp": str(now)}
    assert post(receiver, [1], **{"webhook-signature": both, **moment}).status_code == 200
    assert receiver.elements == [1]


def test_one_element_an_array_or_lines(start: Start) -> None:
    """A JSON object is one element, an array several, NDJSON one per line."""
    receiver = start(path="/hook")
    post(receiver, {"a": 1}, "m-1")
    post(receiver, [{"a": 2}, {"a": 3}], "m-2")
    lines = b'{"a": 4}\n{"a": 5}\n'
    kind = {"Content-Type": "application/x-ndjson"}
    assert requests.post(receiver.url + "/hook", data=lines, headers=kind).status_code == 200
    assert [element["a"] for element in receiver.elements] == [1, 2, 3, 4, 5]


def test_refused_requests(start: Start) -> None:
    """Unknown path, method, content type, headers, size, count and broken JSON."""
    receiver = start(path="/hook", headers={"X-Team": "growth"}, elements_max=2, body_bytes_max=99)
    team = {"X-Team": "growth"}
    assert requests.post(receiver.url + "/other").status_code == 404
    assert requests.get(receiver.url + "/hook").status_code == 405
    assert post(receiver, 1).status_code == 401
    assert post(receiver, [1, 2, 3], **team).status_code == 413
    assert post(receiver, "x" * 100, **team).status_code == 413
    plain = {**team, "Content-Type": "text/plain"}
    assert requests.post(receiver.url + "/hook", data=b"1", headers=plain).status_code == 415
    broken = {**team, "Content-Type": "application/json"}
    assert requests.post(receiver.url + "/hook", data=b"{", headers=broken).status_code == 400
    assert post(receiver, [1, 2], **team).status_code == 200


def test_a_verdict_for_each_element(start: Start) -> None:
    """With verdicts per element, the answer is in request order and only those are rejected."""
    receiver = start(verdicts="element", reject=lambda element: "odd" if element % 2 else None)
    answer = post(receiver, [1, 2, 3])
    assert [verdict["success"] for verdict in answer.json()] == [False, True, False]
    assert answer.json()[0]["errors"][0]["message"] == "odd"
    assert (receiver.elements, receiver.rejected) == ([2], [(1, "odd"), (3, "odd")])


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_verdict_for_the_batch(start: Start, status: int) -> None:
    """Without verdicts per element, one bad element rejects its whole request."""
    receiver = start(reject=lambda element: "odd" if element % 2 else "", reject_status=status)
    assert post(receiver, [1, 2]).status_code == status
    assert receiver.elements == []
    assert post(receiver, [2]).status_code == 200
    assert receiver.elements == [2]


def test_the_same_request_again(start: Start) -> None:
    """A repeated request is answered as before and counts once; another body is a conflict."""
    receiver = start()
    assert post(receiver, [1]).status_code == 200
    assert post(receiver, [1]).status_code == 200
    assert post(receiver, [2]).status_code == 409
    assert (receiver.elements, receiver.repeated) == ([1], 2)


@pytest.mark.parametrize(
    ("name", "status"),
    [(name, fault.status) for name, fault in WEBHOOK_FAULTS.items() if fault.status],
)
def test_named_faults(start: Start, name: str, status: int) -> None:
    """A control call adds a fault; its requests are not taken."""
    receiver = start()
    requests.post(f"{receiver.url}/_control/named_fault", json={"name": name})
    answer = post(receiver, [1])
    assert answer.status_code == status
    assert ("Retry-After" in answer.headers) == (name in ("rate_limited", "unavailable"))
    assert receiver.elements == []


def test_a_lost_answer_and_control_calls(start: Start) -> None:
    """After a lost answer the elements are there; the control calls list and clear them."""
    receiver = start()
    receiver.faults.append(WEBHOOK_FAULTS["lost_answer"])
    with pytest.raises(requests.ConnectionError):
        post(receiver, [1])
    receiver.faults.clear()
    control = f"{receiver.url}/_control"
    assert post(receiver, [1]).status_code == 200
    assert requests.get(f"{control}/deliveries").json() == [
        {"id": "m-1", "elements": [1], "errors": [None]}
    ]
    requests.delete(f"{control}/deliveries")
    assert receiver.elements == []
    wrong = requests.post(f"{control}/named_fault", json={"name": "x"})
    assert wrong.status_code == 400
