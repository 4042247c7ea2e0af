"""Calls to Salesforce: every call is signed, counted, retried and bounded the same way.

simple-salesforce logs in and makes the single calls (limits, describe) through the session of
`session`; bulk jobs and pages use it directly. So the login, the API budget, the timeouts and the
limits on answers hold for every call. An extract that expects no news makes its requests by
`plain_requests`, and imports the libraries when one of them is not answered plainly.
"""

from __future__ import annotations

import random
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from email.message import Message
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

from tailrace.clock import Clock
from tailrace.config.check import check_api_version
from tailrace.config.settings import SalesforceCredentials, SalesforceSettings
from tailrace.dataclass import dataclass
from tailrace.errors import (
    AnswerUnreadable,
    CredentialRefused,
    InvalidConfigValue,
    QuotaSpent,
    SalesforceFault,
    ServiceFailed,
    TailraceError,
    Unreachable,
)
from tailrace.retry import Attempt, RetryPolicy, retrying
from tailrace.salesforce.answers import as_mapping, as_records, as_text, parse_json
from tailrace.salesforce.auth import Token, kind_of, scrub
from tailrace.salesforce.faults import (
    LASTING_CODES,
    TRANSIENT_CODES,
    TRANSIENT_STATUSES,
    VERSION_CODES,
    error_in,
)
from tailrace.salesforce.plain_requests import Answer, PlainTransport

if TYPE_CHECKING:
    import requests
    from simple_salesforce.api import Salesforce

    from tailrace.salesforce.session import Session

# Salesforce itself ends a query after two minutes; an earlier timeout would only repeat it.
QUERY_SECONDS_MAX = 125.0
LOGIN_ATTEMPTS_MAX = 3
YEARS_BELIEVED = range(1999, 2200)


@dataclass(kw_only=True)
class Usage:
    """The API calls of this run, and the org's daily budget as Salesforce reports it."""

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
        match = re.search(r"(?<![\w-])api-usage=([0-9]{1,12})/([0-9]{1,12})", header or "")
        if match:
            self.used, self.max = int(match[1]), int(match[2])
            if self.used_at_start is None:
                self.used_at_start = self.used


class Login:
    """The login of a user to one org. Sessions that share it log in once, one after the other."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.token: Token | None = None
        self.generation = 0
        self.org_id_asked = False
        self.queried_org_id: str | None = None


class Api:
    """A session with one org. Safe to use from several threads.

    Attributes:
        usage: What this run has spent.
        server_time: Salesforce's clock as of its latest answer.
    """

    def __init__(
        self,
        credentials: SalesforceCredentials,
        settings: SalesforceSettings,
        *,
        clock: Clock,
        jitter: Callable[[], float] = random.random,
        login: Login | None = None,
        expects_no_news: bool = False,
    ) -> None:
        check_api_version(settings.api_version)
        self.credentials = credentials
        self.settings = settings
        self.clock = clock
        self.jitter = jitter
        self.usage = Usage()
        self.login_kind = kind_of(credentials)
        self.server_time: datetime | None = None
        self.contacted = False
        self.closing = threading.Event()
        self._lock = threading.Lock()
        self._opening = threading.Lock()
        self._opened: Session | None = None
        self._login = login or Login()
        self.data_path = f"/services/data/v{settings.api_version}"
        self._plain: PlainTransport | None = None
        if expects_no_news:
            self.expect_little_news()

    @property
    def _session(self) -> Session:
        from tailrace.salesforce.session import Session

        with self._opening:
            if self._opened is None:
                self._opened = Session(self)
            return self._opened

    @cached_property
    def salesforce(self) -> Salesforce:
        """simple-salesforce over the session, for single calls."""
        from simple_salesforce.api import Salesforce

        return Salesforce(
            session_id="unused",
            instance_url=self.credentials.instance_url,
            session=self._session,
            version=self.settings.api_version,
        )

    def expect_little_news(self) -> None:
        """Make the next GETs plainly, which takes a third of a request by the full session."""
        if self._plain is None:
            self._plain = PlainTransport.of(self.settings, clock=self.clock)

    def close(self) -> None:
        """Close the connections, and end the waits of other threads."""
        self.closing.set()
        if self._plain is not None:
            self._plain.close()
        if self._opened is not None:
            self._opened.close()

    def get(self, path: str, /, *, timeout: float | None = None, **params: Any) -> Any:
        """The parsed JSON of a GET below `/services/data/vNN.N`, or of a path from the root.

        Args:
            timeout: In seconds, where the usual one is too short.
            params: The parameters of the query string.

        Raises:
            AnswerUnreadable: The answers were not JSON, at every attempt.
        """
        answer = self._plain_answer(self._path(path), params)
        if answer is not None:
            return answer.content
        response = self._session.request("GET", self._path(path), params=params, timeout=timeout)
        return parse_json(response.content, f"GET {path}")

    def _plain_answer(self, path: str, params: Mapping[str, Any]) -> Answer | None:
        """The answer to a GET if it is a plain one, and the extract expects no news; else None."""
        if self._plain is None:
            return None
        token, host, _ = self.token()
        self.spend()
        query = urlencode(params)
        joint = "&" if "?" in path else "?"
        answer = self._plain.get(host, f"{path}{joint}{query}" if query else path, token)
        if answer is not None:
            self.note(answer.headers)
        return answer

    def post(self, path: str, body: Mapping[str, Any], *, timeout: float | None = None) -> Any:
        """The parsed JSON of a POST; `timeout` is in seconds, where the usual one is too short."""
        response = self._session.request("POST", self._path(path), json=body, timeout=timeout)
        return parse_json(response.content, f"POST {path}")

    def patch(self, path: str, body: Mapping[str, Any]) -> None:
        """A PATCH whose answer is not needed."""
        self._session.request("PATCH", self._path(path), json=body)

    def write(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        attempts_max: int = 1,
    ) -> requests.Response:
        """A call that changes records, made once: the caller knows whether it may be repeated.

        Args:
            body: Bytes, or a file that is read from its start.
            timeout: In seconds, where the usual one is too short.

        Raises:
            NoAnswer: The call may have been carried out; its outcome is unknown.
        """
        response: requests.Response = self._session.request(
            method,
            self._path(path),
            data=body,
            headers=headers,
            timeout=timeout,
            attempts_max=attempts_max,
            checks_json=False,
        )
        return response

    def read(self, path: str, into: Callable[[requests.Response], Any], **params: Any) -> Any:
        """Stream a GET into a function; an incomplete body is requested again from its start.

        Args:
            into: Reads the body; raises `IncompleteAnswer` when something of it is missing.

        Raises:
            ServiceFailed: The body was incomplete at every attempt.
        """
        return self._session.request(
            "GET", self._path(path), params=params, timeout=QUERY_SECONDS_MAX, into=into
        )

    def single_call(self, what: str, path: str) -> Mapping[str, Any]:
        """A GET that simple-salesforce makes and parses, or the plain transport.

        Raises:
            AnswerUnreadable: The answer is not the JSON object that the library expects.
        """
        if self._plain is not None:
            return as_mapping(self.get(path), what)
        try:
            answer = self.salesforce.restful(path)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise AnswerUnreadable(
                f"Salesforce's answer to {what} cannot be read ({type(error).__name__})"
            ) from None
        return as_mapping(answer, what)

    def ask_limits(self) -> None:
        """Ask for the org's budget, before much of it is spent.

        Raises:
            InvalidConfigValue: The org does not serve the configured API version.
        """
        try:
            limits = self.single_call("/limits", "limits/")
        except SalesforceFault as fault:
            # Users without the permission to see them still get the header of every answer.
            if fault.code in VERSION_CODES:
                self._check_version()
            return
        except ServiceFailed:
            return
        daily = limits.get("DailyApiRequests")
        most, remaining = (
            (daily.get("Max"), daily.get("Remaining")) if isinstance(daily, Mapping) else (0, 0)
        )
        with self._lock:
            if self.usage.max is None and isinstance(most, int) and isinstance(remaining, int):
                self.usage.max = most
                self.usage.used = self.usage.used_at_start = most - remaining

    def org_id(self) -> str | None:
        """The id of the org that is logged in to, 15 characters, or None when it cannot be known.

        Known from the login where possible; asked for by a query otherwise.
        """
        self.token()
        login = self._login
        with login.lock:
            assert login.token is not None
            if login.token.org_id is not None or login.org_id_asked:
                return login.token.org_id or login.queried_org_id
            login.org_id_asked = True
        with suppress(ServiceFailed):
            answer = as_mapping(self.get("query", q="SELECT Id FROM Organization"), "query")
            records = as_records(answer.get("records"), "records of Organization")
            if records:
                login.queried_org_id = as_text(records[0].get("Id"), "Id")[:15]
        return login.queried_org_id

    def token(self) -> tuple[str, str, int]:
        """The access token, its host and its generation; logs in when there is none yet."""
        login = self._login
        with login.lock:
            if login.token is None:
                self._log_in()
            assert login.token is not None
            return login.token.value, login.token.instance_url, login.generation

    def renew(self, generation: int, reason: str) -> None:
        """Log in again, unless another thread has done so since `generation`.

        Raises:
            CredentialRefused: There is nothing to log in with but the refused token.
        """
        with self._login.lock:
            if self._login.generation != generation:
                return
            if self.login_kind == "access token":
                raise CredentialRefused(
                    f"The access token has expired or is not accepted{reason}",
                    hint="Put in a fresh access_token, or credentials that can log in again.",
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
                    hint=self.when_to_try_again(),
                )
            usage.calls += 1

    def calls_left(self) -> int | None:
        """How many calls the budgets still allow, or None when no limit is known."""
        settings, usage = self.settings, self.usage
        limits = []
        if settings.api_calls_max is not None:
            limits.append(settings.api_calls_max - usage.calls)
        if usage.max is not None and usage.used is not None:
            share = 1.0 if settings.quota_share_max is None else settings.quota_share_max
            limits.append(int(share * usage.max) - usage.used)
        return max(min(limits), 0) if limits else None

    def note(self, headers: Mapping[str, str] | Message) -> None:
        """Keep the budget and the time that the headers of an answer report."""
        self.contacted = True
        with self._lock:
            self.usage.note(headers.get("Sforce-Limit-Info"))
            with suppress(ValueError, TypeError, OverflowError, IndexError):
                date = parsedate_to_datetime(headers.get("Date", ""))
                if date.year in YEARS_BELIEVED:
                    self.server_time = date.astimezone(UTC)

    def fault_in(self, body: Any, status: int) -> TailraceError:
        """The error that the body of an answer stands for, without any secret in it."""
        code, message = error_in(body)
        if 300 <= status < 400:
            return ServiceFailed(
                f"Salesforce answered with a redirect (HTTP {status})",
                hint="instance_url should be your org's My Domain, as https://….my.salesforce.com",
            )
        if code == "REQUEST_LIMIT_EXCEEDED" and "oncurrent" not in message:
            return QuotaSpent(
                "Salesforce refuses further API calls today", hint=self.when_to_try_again()
            )
        text = f"{code}: {scrub(message, self.credentials)[:300]}" if code else f"HTTP {status}"
        return SalesforceFault(
            f"Salesforce answered {text}", code=code or str(status), status=status
        )

    def is_transient_in(self, body: Any, status: int) -> bool:
        """Whether the same call may work a moment later."""
        code, message = error_in(body)
        if code in LASTING_CODES:
            return False
        if code == "REQUEST_LIMIT_EXCEEDED":
            return "oncurrent" in message
        return status in TRANSIENT_STATUSES or code in TRANSIENT_CODES

    def attempts(self, attempts_max: int | None = None) -> Iterator[Attempt]:
        """The attempts of one call, with pauses between them."""
        policy = RetryPolicy(attempts_max=attempts_max or self.settings.attempts_max)
        return retrying(self.clock, policy, jitter=self.jitter, sleep=self._sleep)

    def resolve(self, link: str, base: str) -> tuple[str, dict[str, str]]:
        """The path and the parameters that a link in an answer stands for.

        Links are absolute, from the server's root, from the root of the data API, or relative to
        the address of the answer. The host of a link is ignored: the token goes to our host only.

        Args:
            base: The path of the answer that holds the link.

        Raises:
            AnswerUnreadable: The link is not an address.
        """
        try:
            parts = urlsplit(link.strip())
        except ValueError:
            raise AnswerUnreadable("A link in Salesforce's answer is not an address") from None
        path = parts.path
        if re.match(r"/?(jobs|query|queryAll|sobjects)/", path):
            path = f"{self.data_path}/{path.lstrip('/')}"
        elif re.match(r"/v\d+\.\d/", path, re.ASCII):
            path = f"/services/data{path}"
        elif not path.startswith("/"):
            path = urljoin(self._path(base), path)
        return path, dict(parse_qsl(parts.query))

    def when_to_try_again(self) -> str:
        """A hint for a spent daily limit."""
        usage = self.usage
        now = self.server_time or self.clock.now()
        used = f" {usage.used} of {usage.max} calls are used." if usage.max else ""
        return (
            f"What is complete is kept.{used} The limit counts the last 24 hours, so calls come"
            f" back hour by hour: try again later today, or at the latest tomorrow at"
            f" {now:%H:%M} UTC."
        )

    def _path(self, path: str) -> str:
        return path if path.startswith("/services/") else f"{self.data_path}/{path}"

    def _sleep(self, seconds: float) -> None:
        self.clock.sleep(seconds)
        if self.closing.is_set():
            raise ServiceFailed("The extract was stopped")

    def _log_in(self) -> None:
        if self._plain is not None and self.login_kind == "client credentials":
            self._login.token = self._plain.log_in(self.credentials)
            if self._login.token is not None:
                self._login.generation += 1
                return
        from tailrace.salesforce.login import log_in

        for attempt in self.attempts(LOGIN_ATTEMPTS_MAX):
            try:
                self._login.token = log_in(
                    self.credentials,
                    api_version=self.settings.api_version,
                    timeout_seconds=self.settings.timeout_seconds,
                )
                self._login.generation += 1
                return
            except (Unreachable, ServiceFailed):
                if attempt.is_last:
                    raise

    def _check_version(self) -> None:
        """Compare the configured API version with those that the org lists."""
        try:
            listed = self.get("/services/data")
            versions = [str(entry["version"]) for entry in listed]
        except (TailraceError, TypeError, KeyError):
            return
        if versions and self.settings.api_version not in versions:
            raise InvalidConfigValue(
                f"The org does not serve api_version {self.settings.api_version}",
                hint=f'Set api_version = "{versions[-1]}" under [sources.salesforce]; the org'
                f" serves {versions[0]} to {versions[-1]}.",
                key="sources.salesforce.api_version",
            )
