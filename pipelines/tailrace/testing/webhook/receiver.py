"""An HTTP endpoint that takes JSON elements: one, an array, or lines of JSON."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tailrace.clock import Clock
from tailrace.testing.http.faults import Fault
from tailrace.testing.http.messages import BadEncoding, Request, Response
from tailrace.testing.http.server import Simulator
from tailrace.testing.webhook.signature import secret_key, signature_error

BODY_BYTES_MAX = 1_000_000
ELEMENTS_MAX = 1_000
VERDICTS = ("batch", "element")
_NDJSON = ("application/x-ndjson", "application/jsonl")

Element = Any
Reject = Callable[[Element], str | None]

# Faults of a receiver by name.
WEBHOOK_FAULTS: dict[str, Fault] = {
    "gone": Fault(status=410, body={"error": "gone"}),
    "rate_limited": Fault(status=429, body={"error": "slow down"}, headers={"Retry-After": "1"}),
    "too_large": Fault(status=413, body={"error": "too large"}),
    "unprocessable": Fault(status=422, body={"error": "unprocessable"}),
    "bad_request": Fault(status=400, body={"error": "bad request"}),
    "unauthorized": Fault(status=401, body={"error": "unauthorized"}),
    "unavailable": Fault(status=503, body="", headers={"Retry-After": "1"}),
    "moved": Fault(status=301, body="", headers={"Location": "http://127.0.0.1:9/elsewhere"}),
    "redirect": Fault(status=307, body="", headers={"Location": "http://127.0.0.1:9/elsewhere"}),
    "slow": Fault(delay_seconds=5.0),
    "byte_per_second": Fault(drip_seconds=1.0),
    "endless_body": Fault(endless=True),
    "html": Fault(unexpected_body="html"),
    "lost_answer": Fault(cut="after"),
    "broken_verdicts": Fault(status=200, body=[{"success": True}]),
}


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """A request that was taken: its `webhook-id`, and the elements with their verdicts.

    `errors` has an entry per element: None = accepted, else the message.
    """

    id: str
    elements: tuple[Element, ...]
    errors: tuple[str | None, ...]


class WebhookReceiver(Simulator):
    """`with WebhookReceiver(secrets=["whsec_…"]) as receiver:` serves at `receiver.url`.

    A request is refused with 401 unless its signature is valid, with 415 unless it is JSON, with
    413 if it is too large, and with 409 if its `webhook-id` was used before with another body.
    The same request again is answered as the first time, and `repeated` counts it.

    Args:
        secrets: `whsec_…` secrets, of which one must have signed; empty = no signature required.
        path: the only path that exists; others answer 404. None = every path.
        headers: headers that a request must carry, such as {"Authorization": "Bearer x"}.
        verdicts: "element" answers an array with `success` per element, in request order;
            "batch" answers 2xx without content, or `reject_status` if any element is rejected.
        reject: why an element is rejected; None or an empty text = accepted.
        reject_status: status of a rejected request with `verdicts="batch"`: 400, 413 or 422.
        status: status of a request that is taken: 200, 201, 202 or 204.
        body_bytes_max: longer bodies are refused with 413.
        elements_max: more elements in a request are refused with 413.
        port: 0 = any free port.
        faults: fault rules.
        clock: source of the time for signatures.
    """

    def __init__(
        self,
        *,
        secrets: Sequence[str] = (),
        path: str | None = None,
        headers: Mapping[str, str] | None = None,
        verdicts: str = "batch",
        reject: Reject | None = None,
        reject_status: int = 422,
        status: int = 200,
        body_bytes_max: int = BODY_BYTES_MAX,
        elements_max: int = ELEMENTS_MAX,
        port: int = 0,
        faults: Iterable[Fault] = (),
        clock: Clock | None = None,
    ) -> None:
        if verdicts not in VERDICTS:
            raise ValueError(f"verdicts must be one of {', '.join(VERDICTS)}, got {verdicts!r}")
        for secret in secrets:
            secret_key(secret)
        super().__init__(port=port, faults=faults, clock=clock)
        self.secrets = list(secrets)
        self.path = path
        self.headers = {name.lower(): value for name, value in (headers or {}).items()}
        self.verdicts = verdicts
        self.reject = reject
        self.reject_status = reject_status
        self.status = status
        self.body_bytes_max = body_bytes_max
        self.elements_max = elements_max
        self.deliveries: list[Delivery] = []
        self.repeated = 0
        self._answers: dict[str, tuple[bytes, Response]] = {}
        self._lock = threading.Lock()

    @property
    def elements(self) -> list[Element]:
        """The accepted elements in order of arrival; a repeated request counts once."""
        return [
            element
            for delivery in self.deliveries
            for element, error in zip(delivery.elements, delivery.errors, strict=True)
            if error is None
        ]

    @property
    def rejected(self) -> list[tuple[Element, str]]:
        """The rejected elements with their messages, in order of arrival."""
        return [
            (element, error)
            for delivery in self.deliveries
            for element, error in zip(delivery.elements, delivery.errors, strict=True)
            if error is not None
        ]

    def answer(self, request: Request) -> Response:
        if self.path is not None and request.path != self.path:
            return _error(404, "No such path")
        if request.method not in ("POST", "PUT", "PATCH"):
            return _error(405, "Use POST, PUT or PATCH")
        if len(request.body) > self.body_bytes_max:
            return _error(413, f"The body is longer than {self.body_bytes_max} bytes")
        for name, value in self.headers.items():
            if request.headers.get(name) != value:
                return _error(401, f"Missing or wrong header {name}")
        if self.secrets:
            now = self.clock.now().timestamp()
            wrong = signature_error(request.headers, request.body, self.secrets, now=now)
            if wrong is not None:
                return _error(401, wrong)
        try:
            elements = _elements(request)
        except (BadEncoding, ValueError, RecursionError) as error:
            return _error(400, f"{error}")
        if elements is None:
            return _error(415, f"Content-Type {request.content_type or '(none)'} is not JSON")
        if len(elements) > self.elements_max:
            return _error(413, f"More than {self.elements_max} elements")
        return self._take(request, elements)

    def control(self, request: Request) -> Response | None:
        name = request.path.removeprefix("/_control/")
        if name == "deliveries" and request.method == "GET":
            return Response.of_json(
                [
                    {"id": delivery.id, "elements": delivery.elements, "errors": delivery.errors}
                    for delivery in self.deliveries
                ]
            )
        if name == "deliveries" and request.method == "DELETE":
            with self._lock:
                self.deliveries.clear()
                self._answers.clear()
                self.repeated = 0
            return Response.of_json([])
        if name == "named_fault" and request.method == "POST":
            fault = WEBHOOK_FAULTS.get(json.loads(request.content())["name"])
            if fault is None:
                return _error(400, f"Faults: {', '.join(WEBHOOK_FAULTS)}")
            self.faults.append(fault)
            return Response.of_json(fault.as_json())
        return None

    def failure(self, status: int, request: Request) -> Response:
        return Response(status=status, body=b"")

    def events_of(self, request: Request) -> Iterable[Mapping[str, Any]]:
        try:
            elements = _elements(request) or []
        except (BadEncoding, ValueError):
            return ()
        return [element for element in elements if isinstance(element, dict)]

    def _take(self, request: Request, elements: list[Element]) -> Response:
        message_id = request.headers.get("webhook-id", "")
        digest = hashlib.sha256(request.content()).digest()
        with self._lock:
            before = self._answers.get(message_id) if message_id else None
            if before is not None:
                self.repeated += 1
                return before[1] if before[0] == digest else _error(409, "webhook-id was used")
            errors = tuple(self._error_of(element) for element in elements)
            response = self._verdict(errors)
            taken = self.verdicts == "element" or response.status < 400
            if taken:
                self.deliveries.append(
                    Delivery(id=message_id, elements=tuple(elements), errors=errors)
                )
                # A refused request may come again, in smaller pieces or corrected.
                self._answers[message_id] = (digest, response)
            return response

    def _error_of(self, element: Element) -> str | None:
        return (self.reject(element) or None) if self.reject else None

    def _verdict(self, errors: tuple[str | None, ...]) -> Response:
        if self.verdicts == "batch":
            messages = [error for error in errors if error is not None]
            if messages:
                return _error(self.reject_status, messages[0])
            return Response(status=self.status, body=b"" if self.status == 204 else b"{}")
        return Response.of_json(
            [
                {"success": True}
                if error is None
                else {"success": False, "errors": [{"statusCode": "REJECTED", "message": error}]}
                for error in errors
            ],
            self.status,
        )


def _elements(request: Request) -> list[Element] | None:
    """The elements of a request; None if its content type is not JSON.

    Raises:
        ValueError: The body is not JSON.
        BadEncoding: The body does not decode.
    """
    content = request.content()
    if request.content_type in _NDJSON:
        return [json.loads(line) for line in content.splitlines() if line.strip()]
    if request.content_type != "application/json" and not request.content_type.endswith("+json"):
        return None
    value = json.loads(content)
    return value if isinstance(value, list) else [value]


def _error(status: int, message: str) -> Response:
    return Response.of_json({"error": message}, status)
