"""Apex REST classes of the org: `/services/apexrest/…`."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tailrace.testing.http.messages import Request, Response
from tailrace.testing.salesforce.refusals import Refused, wrong_method

APEX_BYTES_MAX = 6_000_000
IN_FLIGHT_MAX = 10
ROOT = "/services/apexrest"

ApexClass = Callable[[Any], Any]


class ApexError(Exception):
    """An exception that an Apex class does not catch, such as System.DmlException."""


@dataclass(frozen=True, kw_only=True)
class ApexCall:
    """A request that reached a class: its path below `/services/apexrest`, and its JSON body."""

    path: str
    method: str
    body: Any


class ApexRest:
    """The classes by path, and the calls that they received.

    Args:
        in_flight_max: requests at the same time; more are refused. Salesforce counts only those
            that run for more than five seconds.
    """

    def __init__(self, in_flight_max: int = IN_FLIGHT_MAX) -> None:
        self.classes: dict[str, ApexClass] = {}
        self.calls: list[ApexCall] = []
        self.in_flight_max = in_flight_max
        self.in_flight_peak = 0
        self._in_flight = 0
        self._lock = threading.Lock()

    def answer(self, request: Request) -> Response:
        """Run the class at the path; its return value is the JSON answer.

        Raises:
            Refused: No class, a body that is too large or no JSON, too many requests, or an
                exception of the class.
        """
        path = request.path.removeprefix(ROOT)
        apex_class = self.classes.get(path)
        if apex_class is None:
            raise Refused(404, "NOT_FOUND", "Could not find a match for URL")
        if request.method not in ("POST", "PUT", "PATCH"):
            raise wrong_method(request.method, "PATCH,POST,PUT")
        if len(request.content()) > APEX_BYTES_MAX:
            raise Refused(413, "REQUEST_TOO_LARGE", "The request body exceeds 6 MB")
        try:
            body = json.loads(request.content())
        except ValueError as error:
            raise Refused(400, "JSON_PARSER_ERROR", str(error)) from None
        return self._run(apex_class, ApexCall(path=path, method=request.method, body=body))

    def _run(self, apex_class: ApexClass, call: ApexCall) -> Response:
        with self._lock:
            self._in_flight += 1
            self.in_flight_peak = max(self.in_flight_peak, self._in_flight)
            refused = self._in_flight > self.in_flight_max
        try:
            if refused:
                message = "ConcurrentPerOrgLongTxn Limit exceeded."
                raise Refused(503, "REQUEST_LIMIT_EXCEEDED", message)
            answer = apex_class(call.body)
            with self._lock:
                self.calls.append(call)
            return answer if isinstance(answer, Response) else Response.of_json(answer)
        except ApexError as error:
            raise Refused(500, "APEX_ERROR", str(error)) from None
        finally:
            with self._lock:
                self._in_flight -= 1
