"""One session with Salesforce: every call retried, counted and signed in the same way.

simple-salesforce makes the describe, limits and other single calls through this session; bulk
jobs and pages use it directly. So the one re-login when a token expires, the API budget and the
timeouts hold wherever a call comes from.
"""

from __future__ import annotations

import random
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import orjson
import requests
import urllib3
from requests.adapters import HTTPAdapter
from simple_salesforce.api import Salesforce

from tailrace.clock import Clock
from tailrace.config.settings import SalesforceCredentials, SalesforceSettings
from tailrace.errors import (
    CredentialRefused,
    InvalidConfigValue,
    QuotaSpent,
    SalesforceFault,
    ServiceFailed,
    TailraceError,
    Unreachable,
)
from tailrace.salesforce.auth import Token, kind_of, log_in, scrub

TRANSIENT_STATUSES = frozenset({406, 420, 429, 500, 502, 503, 504})
TRANSIENT_CODES = frozenset({"SERVER_UNAVAILABLE", "UNABLE_TO_LOCK_ROW", "UNKNOWN_EXCEPTION"})
# These come with a status that would otherwise be retried, and retrying never helps.
LASTING_CODES = frozenset({"QUERY_TIMEOUT", "EXCEEDED_ID_LIMIT"})


class BrokenOff(Exception):
    """Not all of an answer came."""


CUT_OFF = (
    BrokenOff,
    requests.Timeout,
    requests.ConnectionError,
    requests.exceptions.ChunkedEncodingError,
    requests.exceptions.ContentDecodingError,
    urllib3.exceptions.HTTPError,
)
CONNECT_SECONDS_MAX = 10.0
# Salesforce itself gives a query up after two minutes; to give it up before would only repeat it.
QUERY_SECONDS_MAX = 125.0
BACKOFF_SECONDS = 0.5
BACKOFF_SECONDS_MAX = 30.0
RETRY_AFTER_SECONDS_MAX = 120.0
LOGIN_ATTEMPTS_MAX = 3


@dataclass(kw_only=True)
class Usage:
    """The API calls of this run, and what Salesforce says about the org's budget."""

    calls: int = 0
    used: int | None = None
    max: int | None = None
    used_at_start: int | None = None

    def note(self, header: str | None) -> None:
        """Read `Sforce-Limit-Info`: `api-usage=18/5000; api-bursts=1/750`, in any order.

        >>> usage = Usage()
        >>> usage.note("api-bursts=1/750; api-usage=18/5000")
        >>> usage.used, usage.max
        (18, 5000)
        """
        found = re.search(r"(?<![\w-])api-usage=(\d+)/(\d+)", header or "")
        if found:
            self.used, self.max = int(found[1]), int(found[2])
            if self.used_at_start is None:
                self.used_at_start = self.used


class Api:
    """A session with one org. Safe to use from several threads.

    Attributes:
        usage: What this run has spent.
        salesforce: simple-salesforce over this very session, for single calls.
    """

    def __init__(
        self,
        credentials: SalesforceCredentials,
        settings: SalesforceSettings,
        *,
        clock: Clock,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        if not re.fullmatch(r"\d\d\.0", settings.api_version):
            raise InvalidConfigValue(
                f"sources.salesforce.api_version is {settings.api_version}",
                hint='Write it as Salesforce does: api_version = "64.0"',
            )
        self.credentials = credentials
        self.settings = settings
        self.clock = clock
        self.jitter = jitter
        self.usage = Usage()
        self.login_kind = kind_of(credentials)
        self.server_time: datetime | None = None
        self.closing = threading.Event()
        self._session = _Session(self)
        self._lock = threading.Lock()
        self._login_lock = threading.Lock()
        self._token: Token | None = None
        self._generation = 0
        self.salesforce = Salesforce(
            session_id="unused",
            instance_url=credentials.instance_url,
            session=self._session,
            version=settings.api_version,
        )
        self.data_path = f"/services/data/v{settings.api_version}"

    def close(self) -> None:
        """Let go of the connections, and of threads that wait between attempts."""
        self.closing.set()
        self._session.close()

    def get(self, path: str, **params: Any) -> Any:
        """The parsed JSON of a GET below `/services/data/vNN.N`, or of a path from the root."""
        return orjson.loads(self._session.request("GET", self._path(path), params=params).content)

    def post(self, path: str, body: Mapping[str, Any], *, timeout: float | None = None) -> Any:
        """The parsed JSON of a POST; `timeout` is in seconds, where the usual one is too short."""
        answer = self._session.request("POST", self._path(path), json=body, timeout=timeout)
        return orjson.loads(answer.content)

    def patch(self, path: str, body: Mapping[str, Any]) -> None:
        """A PATCH whose answer nobody needs."""
        self._session.request("PATCH", self._path(path), json=body)

    def read(self, path: str, into: Callable[[requests.Response], Any], **params: Any) -> Any:
        """Stream a GET into a function; a body that breaks off is asked for again from its start.

        Raises:
            ServiceFailed: The body broke off at every attempt.
        """
        for attempt in range(1, self.settings.attempts_max + 1):
            try:
                with self._session.request(
                    "GET", self._path(path), params=params, stream=True, timeout=QUERY_SECONDS_MAX
                ) as response:
                    return into(response)
            except CUT_OFF as error:
                if attempt == self.settings.attempts_max:
                    why = str(error) if isinstance(error, BrokenOff) else type(error).__name__
                    raise ServiceFailed(f"Answers of Salesforce keep breaking off: {why}") from None
                self.pause(attempt)
        raise AssertionError("attempts_max is at least 1")

    def ask_limits(self) -> None:
        """Ask what the org's budget is, before much of it is spent."""
        try:
            limits = self.salesforce.limits()
        except SalesforceFault:
            # A user without the permission to see them still has the header of every answer.
            return
        daily = limits.get("DailyApiRequests") or {}
        with self._lock:
            if self.usage.max is None and "Max" in daily:
                self.usage.max = int(daily["Max"])
                self.usage.used = int(daily["Max"]) - int(daily["Remaining"])
                self.usage.used_at_start = self.usage.used

    def token(self) -> tuple[str, str, int]:
        """The access token, its host and its generation; logs in when there is none yet."""
        with self._login_lock:
            if self._token is None:
                self._log_in()
            assert self._token is not None
            return self._token.value, self._token.instance_url, self._generation

    def renew(self, generation: int) -> None:
        """Log in again, unless another thread has done so since `generation`.

        Raises:
            CredentialRefused: There is nothing to log in with but the expired token.
        """
        with self._login_lock:
            if self._generation != generation:
                return
            if self.login_kind == "access token":
                raise CredentialRefused(
                    "The access token has expired",
                    hint="Put a fresh access_token, or credentials that can log in again.",
                )
            self._log_in()

    def spend(self) -> None:
        """Count one call, before it is made.

        Raises:
            QuotaSpent: The call would go over the ceiling of this run or of the org.
        """
        settings, usage = self.settings, self.usage
        with self._lock:
            if settings.api_calls_max is not None and usage.calls >= settings.api_calls_max:
                raise QuotaSpent(
                    f"This run has made its {settings.api_calls_max} API calls (api_calls_max)",
                    hint="What is complete is kept. Run again to go on, or raise api_calls_max.",
                )
            share = settings.quota_share_max
            used, most = usage.used, usage.max
            if share is not None and used is not None and most and used >= share * most:
                raise QuotaSpent(
                    f"The org has used {used} of its {most} API calls, which is at or above"
                    f" quota_share_max = {share:g}",
                    hint=self._when_to_try_again(),
                )
            usage.calls += 1

    def note(self, response: requests.Response) -> None:
        """Keep what the headers of an answer say."""
        with self._lock:
            self.usage.note(response.headers.get("Sforce-Limit-Info"))
            with suppress(ValueError):
                date = parsedate_to_datetime(response.headers.get("Date", ""))
                self.server_time = date.astimezone(UTC)

    def fault_of(self, response: requests.Response) -> TailraceError:
        """The error that an answer stands for, with no secret in it."""
        return self.fault_in(_body_of(response), response.status_code)

    def fault_in(self, body: Any, status: int) -> TailraceError:
        """The same of the body of an answer, or of one within a composite answer."""
        code, message = _error_in(body)
        if 300 <= status < 400:
            return ServiceFailed(
                f"Salesforce answered with a redirect (HTTP {status})",
                hint="instance_url should be your org's My Domain, as https://….my.salesforce.com",
            )
        if code == "REQUEST_LIMIT_EXCEEDED" and "oncurrent" not in message:
            return QuotaSpent(
                "Salesforce refuses further API calls today", hint=self._when_to_try_again()
            )
        said = f"{code}: {scrub(message, self.credentials)[:300]}" if code else f"HTTP {status}"
        return SalesforceFault(f"Salesforce answered {said}", code=code or str(status))

    def is_transient(self, response: requests.Response) -> bool:
        """Whether the same call may work a moment later."""
        return self.is_transient_in(_body_of(response), response.status_code)

    def is_transient_in(self, body: Any, status: int) -> bool:
        """The same of the body of an answer."""
        code, message = _error_in(body)
        if code in LASTING_CODES:
            return False
        if code == "REQUEST_LIMIT_EXCEEDED":
            return "oncurrent" in message
        return status in TRANSIENT_STATUSES or code in TRANSIENT_CODES

    def pause(self, attempt: int, response: requests.Response | None = None) -> None:
        """Wait before the next attempt: longer each time, with jitter, as the service asks."""
        seconds = min(BACKOFF_SECONDS * 2 ** (attempt - 1), BACKOFF_SECONDS_MAX)
        asked = response.headers.get("Retry-After", "") if response is not None else ""
        if asked.isdigit():
            seconds = max(seconds, min(float(asked), RETRY_AFTER_SECONDS_MAX))
        self.clock.sleep(seconds * (0.5 + self.jitter()))
        if self.closing.is_set():
            raise ServiceFailed("The extract was stopped")

    def _path(self, path: str) -> str:
        return path if path.startswith("/services/") else f"{self.data_path}/{path}"

    def _log_in(self) -> None:
        for attempt in range(1, LOGIN_ATTEMPTS_MAX + 1):
            try:
                self._token = log_in(
                    self.credentials,
                    api_version=self.settings.api_version,
                    timeout_seconds=self.settings.timeout_seconds,
                )
                self._generation += 1
                return
            except (Unreachable, ServiceFailed):
                if attempt == LOGIN_ATTEMPTS_MAX:
                    raise
                self.pause(attempt)

    def _when_to_try_again(self) -> str:
        usage = self.usage
        now = self.server_time or self.clock.now()
        used = f" {usage.used} of {usage.max} calls are used." if usage.max else ""
        return (
            f"What is complete is kept.{used} The limit counts the last 24 hours, so calls come"
            f" back hour by hour: try again later today, or at the latest tomorrow at"
            f" {now:%H:%M} UTC."
        )


class _Session(requests.Session):
    """`requests`, with our token, timeouts, retries and one host for every request."""

    def __init__(self, api: Api) -> None:
        super().__init__()
        self.api = api
        self.mount("https://", HTTPAdapter(pool_maxsize=32))
        self.mount("http://", HTTPAdapter(pool_maxsize=32))
        self.headers["Accept-Encoding"] = "gzip"
        self.headers["User-Agent"] = "tailrace"

    def request(self, method: Any, url: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        api = self.api
        renewed = False
        attempt = 0
        while True:
            attempt += 1
            token, host, generation = api.token()
            api.spend()
            try:
                response = self._once(str(method), _at(host, str(url)), token, **kwargs)
            except CUT_OFF as error:
                if attempt >= api.settings.attempts_max:
                    raise Unreachable(
                        f"Salesforce cannot be reached at {urlsplit(host).netloc}:"
                        f" {type(error).__name__}"
                    ) from None
                api.pause(attempt)
                continue
            api.note(response)
            if response.status_code < 300:
                return response
            with _closed(response):
                if response.status_code == 401 and not renewed:
                    renewed = True
                    api.renew(generation)
                    continue
                if response.status_code == 401:
                    raise CredentialRefused("Salesforce refuses the token that it just gave")
                if attempt >= api.settings.attempts_max or not api.is_transient(response):
                    raise api.fault_of(response)
                api.pause(attempt, response)

    def _once(self, method: str, url: str, token: str, **kwargs: Any) -> requests.Response:
        timeout = max(self.api.settings.timeout_seconds, kwargs.pop("timeout", None) or 0.0)
        headers = {**(kwargs.pop("headers", None) or {}), "Authorization": f"Bearer {token}"}
        return super().request(
            method,
            url,
            **{
                **kwargs,
                "headers": headers,
                "timeout": (min(CONNECT_SECONDS_MAX, timeout), timeout),
                "allow_redirects": False,
                # Without this, an entry for the host in ~/.netrc would replace the token.
                "auth": lambda request: request,
            },
        )


@contextmanager
def _closed(response: requests.Response) -> Iterator[None]:
    """Read the body of an error, so that its connection can be used again."""
    try:
        try:
            _ = response.content
        except CUT_OFF:
            response._content = b""
        yield
    finally:
        response.close()


def _at(host: str, url: str) -> str:
    """The URL's path at our host: no call ever goes to another one."""
    parts = urlsplit(url)
    return f"{host.rstrip('/')}{parts.path}" + (f"?{parts.query}" if parts.query else "")


def _body_of(response: requests.Response) -> Any:
    try:
        return orjson.loads(response.content)
    except ValueError:
        return None


def _error_in(body: Any) -> tuple[str, str]:
    """Salesforce's error code and message; empty when the body is not one of its errors."""
    entry = body[0] if isinstance(body, list) and body else body
    if not isinstance(entry, Mapping):
        return "", ""
    code = entry.get("errorCode") or entry.get("error") or ""
    message = entry.get("message") or entry.get("error_description") or ""
    return str(code), str(message)
