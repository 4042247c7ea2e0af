"""The session over `requests`: every call is signed, retried and bounded the same way."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, Protocol
from urllib.parse import urlsplit

import requests
import urllib3

from tailrace.clock import Clock
from tailrace.config.settings import SalesforceCredentials, SalesforceSettings
from tailrace.errors import (
    AnswerBeyondLimit,
    AnswerUnreadable,
    CredentialRefused,
    NoAnswer,
    TailraceError,
)
from tailrace.retry import Attempt, retry_after_seconds
from tailrace.salesforce.answers import IncompleteAnswer, parse_json
from tailrace.salesforce.auth import scrub
from tailrace.salesforce.bounded_http import (
    NEVER_CONNECTED,
    bounded_adapter,
    connection_problem,
    read_body,
    unreachable,
)
from tailrace.salesforce.faults import error_in

CONNECTION_ERRORS = (
    IncompleteAnswer,
    requests.Timeout,
    requests.ConnectionError,
    requests.exceptions.ChunkedEncodingError,
    requests.exceptions.ContentDecodingError,
    urllib3.exceptions.HTTPError,
    ConnectionError,
    TimeoutError,
)
CONNECT_SECONDS_MAX = 10.0
# A JSON answer is held in memory. A page of 2,000 wide records takes some 20 MB.
JSON_BYTES_MAX = 256_000_000


class Caller(Protocol):
    """The calls of an extract: what signs, counts and retries them; see `client.Api`."""

    credentials: SalesforceCredentials
    settings: SalesforceSettings
    clock: Clock
    contacted: bool

    def attempts(self, attempts_max: int | None = None) -> Iterator[Attempt]: ...
    def token(self) -> tuple[str, str, int]: ...
    def renew(self, generation: int, reason: str) -> None: ...
    def spend(self) -> None: ...
    def note(self, headers: Mapping[str, str]) -> None: ...
    def fault_in(self, body: Any, status: int) -> TailraceError: ...
    def is_transient_in(self, body: Any, status: int) -> bool: ...


class Session(requests.Session):
    """`requests` with our token, one host, timeouts, retries and limits for every request."""

    def __init__(self, api: Caller) -> None:
        super().__init__()
        self.api = api
        self.mount("https://", bounded_adapter(api.settings.answer_seconds_max))
        self.mount("http://", bounded_adapter(api.settings.answer_seconds_max))
        self.headers["Accept-Encoding"] = "gzip"
        self.headers["User-Agent"] = "tailrace"

    def get_redirect_target(self, resp: Any) -> None:
        """None: a redirect is never followed, and its address is not even parsed."""

    def request(self, method: Any, url: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        """The response with its body read; or what `into` returns, where it is given."""
        api = self.api
        into = kwargs.pop("into", None)
        checks_json = kwargs.pop("checks_json", str(method).upper() != "PATCH")
        for attempt in api.attempts(kwargs.pop("attempts_max", None)):
            started = api.clock.monotonic()
            try:
                response = self._signed(str(method), str(url), **kwargs)
                with response:
                    if response.status_code < 300 and into is not None:
                        return into(response)
                    self._read(response, started)
                if response.status_code < 300:
                    if checks_json:
                        parse_json(response.content, f"{method} {urlsplit(str(url)).path}")
                    return response
            except AnswerUnreadable:
                if attempt.is_last:
                    raise
                continue
            except CONNECTION_ERRORS as error:
                late = api.clock.monotonic() - started >= api.settings.answer_seconds_max
                if attempt.is_last or late:
                    raise self._unanswered(error, late) from None
                continue
            body = _json_or_none(response.content)
            if attempt.is_last or not api.is_transient_in(body, response.status_code):
                raise api.fault_in(body, response.status_code)
            asked = response.headers.get("Retry-After")
            now = api.clock.now().timestamp()
            attempt.wait_seconds = retry_after_seconds(asked, now_seconds=now)
        raise AssertionError("the last attempt returns or raises")

    def _signed(self, method: str, url: str, **kwargs: Any) -> requests.Response:
        """Send a request with the token; with a new one after the first 401."""
        api = self.api
        reason = ""
        for is_second in (False, True):
            token, host, generation = api.token()
            api.spend()
            response = self._send_once(method, at_host(host, url), token, **kwargs)
            api.note(response.headers)
            if response.status_code != 401:
                return response
            with response:
                with suppress(*CONNECTION_ERRORS):
                    self._read(response, api.clock.monotonic())
                body = _json_or_none(response.content)
            message = scrub(": ".join(part for part in error_in(body) if part), api.credentials)
            reason = f" ({message[:300]})" if message else ""
            if not is_second:
                api.renew(generation, reason)
        raise CredentialRefused(
            f"Salesforce refuses the token that it just gave{reason}",
            hint='Check that the user has the permission "API Enabled", and that the app\'s scopes'
            ' include "Manage user data via APIs (api)".',
        )

    def _send_once(self, method: str, url: str, token: str, **kwargs: Any) -> requests.Response:
        timeout = max(self.api.settings.timeout_seconds, kwargs.pop("timeout", None) or 0.0)
        headers = {**(kwargs.pop("headers", None) or {}), "Authorization": f"Bearer {token}"}
        body = kwargs.get("data")
        if isinstance(body, io.IOBase):
            # An attempt before this one has read it.
            body.seek(0)
        return super().request(
            method,
            url,
            **{
                **kwargs,
                "headers": headers,
                "timeout": (min(CONNECT_SECONDS_MAX, timeout), timeout),
                "stream": True,
                "allow_redirects": False,
                # Without this, an entry for the host in ~/.netrc would replace the token.
                "auth": lambda request: request,
            },
        )

    def _read(self, response: requests.Response, started: float) -> None:
        settings, clock = self.api.settings, self.api.clock
        response._content = b""
        pieces = read_body(
            response,
            bytes_max=min(JSON_BYTES_MAX, settings.answer_bytes_max),
            seconds_left=lambda: started + settings.answer_seconds_max - clock.monotonic(),
        )
        response._content = b"".join(pieces)
        response._content_consumed = True  # type: ignore[attr-defined]

    def _unanswered(self, error: Exception, late: bool) -> TailraceError:
        api = self.api
        if late:
            return AnswerBeyondLimit(
                f"An answer of Salesforce did not end in {api.settings.answer_seconds_max:g}"
                " seconds (answer_seconds_max)"
            )
        if isinstance(error, IncompleteAnswer):
            return AnswerUnreadable(f"Answers of Salesforce keep breaking off: {error}")
        host = urlsplit(api.credentials.instance_url).netloc
        reason = connection_problem(error)
        if not api.contacted or reason in NEVER_CONNECTED:
            return unreachable(host, reason)
        return NoAnswer(f"Answers of Salesforce keep breaking off: {reason}")


def at_host(host: str, url: str) -> str:
    """The URL's path at our host: no call ever goes to another one."""
    parts = urlsplit(url)
    return f"{host.rstrip('/')}{parts.path}" + (f"?{parts.query}" if parts.query else "")


def _json_or_none(body: bytes) -> Any:
    try:
        return parse_json(body, "")
    except AnswerUnreadable:
        return None
