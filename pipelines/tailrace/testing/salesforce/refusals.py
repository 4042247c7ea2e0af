"""The service's refusals, in the two shapes of JSON that Salesforce uses for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tailrace.testing.http.messages import Response


class Refused(Exception):
    """An API call that is answered with an error."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        headers: Mapping[str, str] | None = None,
        *,
        fields: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = dict(headers or {})
        self.fields = fields

    def response(self) -> Response:
        """The array that every data API answers errors with."""
        error: dict[str, Any] = {"message": self.message, "errorCode": self.code}
        if self.fields:
            error["fields"] = list(self.fields)
        return Response.of_json([error], self.status, **self.headers)


class TokenRefused(Exception):
    """A request for an access token that is answered with an error."""

    def __init__(self, error: str, description: str, status: int = 400) -> None:
        super().__init__(description)
        self.status = status
        self.body = {"error": error, "error_description": description}

    def response(self) -> Response:
        """The object that OAuth answers errors with."""
        return Response.of_json(self.body, self.status)


def not_found() -> Refused:
    """A path or record that is not there."""
    return Refused(404, "NOT_FOUND", "The requested resource does not exist")


def not_played(what: str) -> Refused:
    """Something that Salesforce does and this simulator does not: loud, so nobody trusts it."""
    return Refused(501, "NOT_IN_SIMULATOR", f"The simulator does not play this: {what}")


def wrong_method(method: str, allowed: str) -> Refused:
    """A method that the resource does not take."""
    message = f"HTTP Method '{method}' not allowed. Allowed are {allowed}"
    return Refused(405, "METHOD_NOT_ALLOWED", message, {"Allow": allowed})


def session_invalid() -> Refused:
    """A token that is unknown or has expired."""
    return Refused(
        401, "INVALID_SESSION_ID", "Session expired or invalid", {"WWW-Authenticate": "Token"}
    )


# status -> (code, message): what a scripted status says when the script has no words of its own.
SCRIPTED = {
    400: ("BAD_REQUEST", "Bad request"),
    401: ("INVALID_SESSION_ID", "Session expired or invalid"),
    403: ("REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded."),
    404: ("NOT_FOUND", "The requested resource does not exist"),
    409: ("CONFLICT", "The API version differs from the one that created the job"),
    412: ("JOB_NOT_COMPLETE", "The job is not complete"),
    429: ("REQUEST_LIMIT_EXCEEDED", "ConcurrentRequests (Concurrent API Requests) Limit exceeded."),
    500: ("UNKNOWN_EXCEPTION", "An unexpected error occurred. Error ID: 1234567890-12345 (0)"),
    503: ("SERVER_UNAVAILABLE", "The server is temporarily unavailable"),
}
