"""Error answers of Salesforce, in its two JSON forms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tailrace.testing.http.messages import Response


class Refused(Exception):
    """An error answer to an API call."""

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
        """The error as a JSON array, as the data APIs answer it."""
        error: dict[str, Any] = {"message": self.message, "errorCode": self.code}
        if self.fields:
            error["fields"] = list(self.fields)
        return Response.of_json([error], self.status, **self.headers)


class TokenRefused(Exception):
    """An error answer to a token request."""

    def __init__(self, error: str, description: str, status: int = 400) -> None:
        super().__init__(description)
        self.status = status
        self.body = {"error": error, "error_description": description}

    def response(self) -> Response:
        """The error as a JSON object, as OAuth answers it."""
        return Response.of_json(self.body, self.status)


def not_found() -> Refused:
    """A path or record that does not exist."""
    return Refused(404, "NOT_FOUND", "The requested resource does not exist")


def not_played(what: str) -> Refused:
    """A feature of Salesforce that is not simulated; 501 makes it visible."""
    return Refused(501, "NOT_IN_SIMULATOR", f"The simulator does not support this: {what}")


def wrong_method(method: str, allowed: str) -> Refused:
    """A method that the resource does not support."""
    message = f"HTTP Method '{method}' not allowed. Allowed are {allowed}"
    return Refused(405, "METHOD_NOT_ALLOWED", message, {"Allow": allowed})


def session_invalid() -> Refused:
    """A token that is unknown or has expired."""
    return Refused(
        401, "INVALID_SESSION_ID", "Session expired or invalid", {"WWW-Authenticate": "Token"}
    )


# status -> (code, message), for a scripted status without a body.
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
