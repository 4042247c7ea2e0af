"""One request to Segment: the bytes that leave, and what the answer means.

The request goes through segment-analytics-python's own session with its headers and credentials.
Its `post` is not called for batches: it encodes dicts again, at some fifteen times the cost. A
test holds the two wires equal.
"""

from __future__ import annotations

import base64
import json
import logging
import math
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

import jwt
import requests
from isal import igzip
from requests.adapters import HTTPAdapter
from segment.analytics import oauth_manager, request
from segment.analytics.consumer import FatalError
from segment.analytics.version import VERSION
from urllib3.exceptions import MaxRetryError, NameResolutionError, NewConnectionError

from tailrace.clock import Clock, iso
from tailrace.errors import (
    CredentialRefused,
    InvalidConfigValue,
    ServiceFailed,
    TailraceError,
    Unreachable,
)
from tailrace.settings import SegmentSettings

log = logging.getLogger(__name__)

# Level 1 of isal makes what level 6 of zlib makes, in a fifteenth of the time.
GZIP_LEVEL = 1
# Segment's addresses change; a connection is not kept for longer.
CONNECTION_SECONDS_MAX = 3_600.0
WAIT_SECONDS_MAX = 300.0
REASON_CHARS_MAX = 160
RETRIED = frozenset({408, 410, 429, 460})
REFUSED = frozenset({400, 413, 422})

Outcome = Literal["accepted", "refused", "again", "fatal"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What became of one request.

    Args:
        outcome: accepted; refused as it is (a part may pass); again later; or no use trying.
        doubtful: it may have been taken, although the answer does not say so.
        wait_seconds: how long the service asks everybody to wait.
        slower: the service has more than it can take.
        contact: something that speaks HTTP was there.
    """

    outcome: Outcome
    status: int | None = None
    reason: str = ""
    doubtful: bool = False
    wait_seconds: float | None = None
    slower: bool = False
    contact: bool = True
    error: TailraceError | None = None


class Wire:
    """The way to one Segment source."""

    def __init__(self, settings: SegmentSettings, *, clock: Clock) -> None:
        self.host = settings.host.rstrip("/").removesuffix("/v1")
        self.url = self.host + "/v1/batch"
        self.name = urlsplit(self.url).hostname or self.host
        self._settings = settings
        self._clock = clock
        self._tail = b'","writeKey":' + json.dumps(settings.write_key).encode() + b"}"
        self._basic = base64.b64encode(f"{settings.write_key}:".encode()).decode()
        self._recycle_lock = threading.Lock()
        self._connected_at = clock.monotonic()
        self._session = library_session(settings.requests_in_flight_max)
        self.environment = environment_of(self.url, settings.proxy)
        self.tokens = Tokens(settings) if settings.oauth_client_id else None

    def check_token(self) -> None:
        """Get the OAuth token, where one is configured.

        Raises:
            CredentialRefused: The authorization server does not take the key.
            Unreachable: It cannot be asked.
        """
        if self.tokens is None:
            return
        try:
            self.tokens.current()
        except TokenUnavailable as error:
            raise Unreachable(str(error)) from None

    def body(self, messages: Sequence[bytes]) -> bytes:
        """The request body; `sentAt` is the clock now, or every event would be shifted in time."""
        sent_at = iso(self._clock.now()).encode()
        return b'{"batch":[' + b",".join(messages) + b'],"sentAt":"' + sent_at + self._tail

    def send(self, messages: Sequence[bytes], *, retries: int) -> Answer:
        """Send the messages once, and say what became of them."""
        self._renew_connections()
        body = igzip.compress(self.body(messages), GZIP_LEVEL)
        try:
            response = self._post(body, retries)
            if self.tokens and response.status_code in (401, 403, 511):
                self.tokens.forget()
                response = self._post(body, retries)
        except TailraceError as error:
            return Answer(outcome="fatal", error=error, reason=error.message)
        except requests.RequestException as error:
            self.drop_connections()
            return of_exception(error, self.name)
        if response.status_code >= 500:
            self.drop_connections()
        return of_response(response, self.name, oauth=self.tokens is not None)

    def _post(self, body: bytes, retries: int) -> requests.Response:
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "analytics-python/" + VERSION,
            "Content-Encoding": "gzip",
        }
        if retries > 0:
            headers["X-Retry-Count"] = str(retries)
        if self.tokens:
            headers["Authorization"] = "Bearer " + self.tokens.current()
        else:
            headers["Authorization"] = "Basic " + self._basic
        try:
            return self._session.post(
                self.url,
                data=body,
                headers=headers,
                timeout=self._settings.timeout_seconds,
                allow_redirects=False,
                **self.environment,
            )
        except requests.TooManyRedirects as error:
            # The session's limit of none strikes even where redirects are not to be followed.
            if error.response is None:
                raise
            return error.response

    def _renew_connections(self) -> None:
        with self._recycle_lock:
            now = self._clock.monotonic()
            stale = now - self._connected_at > CONNECTION_SECONDS_MAX
            if stale:
                self._connected_at = now
        if stale:
            self.drop_connections()

    def drop_connections(self) -> None:
        """Resolve the name anew for the next request; those in flight keep their connection."""
        self._session.get_adapter(self.url).close()

    def close(self) -> None:
        """Give the connections and the token's timer back."""
        if self.tokens:
            self.tokens.close()
        self.drop_connections()


class Tokens:
    """The library's OAuth token, asked for by one thread at a time."""

    def __init__(self, settings: SegmentSettings) -> None:
        server = settings.oauth_auth_server or "https://oauth2.segment.io"
        if not settings.oauth_client_key or not settings.oauth_key_id:
            raise InvalidConfigValue(
                "destination.segment has oauth_client_id without oauth_client_key or oauth_key_id",
                hint="Configure all three under [destination.segment], or none.",
            )
        try:
            jwt.get_algorithm_by_name("RS256").prepare_key(settings.oauth_client_key)
        except (jwt.InvalidKeyError, ValueError, TypeError):
            raise InvalidConfigValue(
                "destination.segment.oauth_client_key is not an RSA private key in PEM",
                hint="Put the whole key there, with its BEGIN and END lines.",
            ) from None
        self.server = urlsplit(server).hostname or server
        self._lock = threading.Lock()
        oauth_manager._session.trust_env = False
        oauth_manager._session.max_redirects = 0
        ways = environment_of(server, settings.proxy)
        oauth_manager._session.proxies = ways["proxies"]
        oauth_manager._session.verify = ways["verify"]
        self._manager = oauth_manager.OauthManager(
            settings.oauth_client_id,
            settings.oauth_client_key,
            settings.oauth_key_id,
            auth_server=server,
            scope=settings.oauth_scope or "tracking_api:write",
            timeout=settings.timeout_seconds,
        )

    def current(self) -> str:
        """The token.

        Raises:
            CredentialRefused: The authorization server does not take the key.
            requests.ConnectionError: It cannot be reached, or fails.
        """
        with self._lock:
            try:
                token: str = self._manager.get_token()
            except request.APIError as error:
                if error.status in (400, 401, 403, 415):
                    raise CredentialRefused(
                        f"{self.server} refused the OAuth client ({error.status})",
                        hint="Look at oauth_client_id, oauth_client_key and oauth_key_id under "
                        "[destination.segment]; in the EU, oauth_auth_server has to be set too.",
                    ) from None
                raise TokenUnavailable(f"{self.server} answered {error.status}") from None
            except (FatalError, ValueError):
                raise TokenUnavailable(f"{self.server} cannot be reached") from None
        return token

    def forget(self) -> None:
        """The token did not serve; ask for another."""
        self._manager.clear_token()

    def close(self) -> None:
        """Stop the timer that would renew the token."""
        if self._manager.thread:
            self._manager.thread.cancel()


class TokenUnavailable(requests.ConnectionError):
    """There is no OAuth token for the moment: the batch itself was not sent."""


def library_session(in_flight_max: int) -> requests.Session:
    """The library's session, with what is unsafe in it switched off.

    A followed redirect turns the POST into a GET and counts as delivered; an entry of ~/.netrc
    replaces the credential.
    """
    session: requests.Session = request._session
    session.max_redirects = 0
    session.trust_env = False
    for prefix in ("https://", "http://"):
        adapter = session.get_adapter(prefix)
        if getattr(adapter, "_pool_maxsize", 0) < in_flight_max:
            session.mount(prefix, HTTPAdapter(pool_maxsize=in_flight_max))
    # Both would write what they handle: payloads, and the URL that holds the write key.
    logging.getLogger("segment").setLevel(logging.CRITICAL)
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
    return session


def environment_of(url: str, proxy: str | None) -> dict[str, Any]:
    """Proxies and certificates as the environment or the settings have them, without netrc."""
    with requests.Session() as session:
        ways = session.merge_environment_settings(url, {}, None, None, None)
    if proxy:
        ways["proxies"] = {"http": proxy, "https": proxy}
    return {"proxies": dict(ways["proxies"]), "verify": ways["verify"]}


def of_response(response: requests.Response, name: str, *, oauth: bool = False) -> Answer:
    """Read a response with suspicion: a status says less than it seems to."""
    status = response.status_code
    if 200 <= status < 300:
        return _of_success(response, name)
    if 300 <= status < 400:
        target = urlsplit(response.headers.get("Location", "")).hostname or "elsewhere"
        return _fatal(
            ServiceFailed(
                f"{name} redirects to {target}: nothing was delivered",
                hint="Look at destination.segment.host, or for a proxy that asks for a login.",
            ),
            status,
        )
    reason = reason_of(response)
    if status in REFUSED:
        return Answer(outcome="refused", status=status, reason=reason)
    if status in (401, 403):
        return _fatal(
            CredentialRefused(
                f"{name} refused the credential ({status})",
                hint="Look at destination.segment.write_key, and at the region of host.",
            ),
            status,
        )
    if status in RETRIED or (
        status >= 500 and status not in (501, 505) and (status != 511 or oauth)
    ):
        return Answer(
            outcome="again",
            status=status,
            reason=reason,
            doubtful=status >= 500 or status == 408,
            wait_seconds=wait_asked_for(response.headers, request.parse_retry_after(response)),
            slower=True,
        )
    return _fatal(
        ServiceFailed(
            f"{name} answered {status} to a batch ({reason})",
            hint="Is destination.segment.host a Segment-compatible collector?",
        ),
        status,
    )


def _of_success(response: requests.Response, name: str) -> Answer:
    status = response.status_code
    start = response.content[:64].lstrip()
    if start.startswith(b"<") or "html" in response.headers.get("Content-Type", ""):
        return _fatal(
            ServiceFailed(
                f"{name} answered with a web page: that is a login or an error page, not Segment",
                hint="Look at destination.segment.host, or for a proxy that asks for a login.",
            ),
            status,
        )
    if start.startswith(b"{"):
        try:
            told = response.json()
        except ValueError:
            return Answer(outcome="again", status=status, reason="half an answer", doubtful=True)
        if told.get("success") is False or told.get("ok") is False:
            return Answer(outcome="refused", status=status, reason=reason_of(response))
    return Answer(outcome="accepted", status=status)


def _fatal(error: TailraceError, status: int | None = None) -> Answer:
    return Answer(outcome="fatal", status=status, reason=error.message, error=error)


def of_exception(error: requests.RequestException, name: str) -> Answer:
    """What a failure without an answer means; the texts of exceptions hold URLs, and stay here."""
    if isinstance(error, TokenUnavailable):
        return Answer(outcome="again", reason=str(error), contact=False)
    text = str(error)
    if isinstance(error, requests.exceptions.SSLError) and "CERTIFICATE_VERIFY" in text:
        return _fatal(
            Unreachable(
                f"The certificate of {name} is not trusted",
                hint="Behind a proxy with its own authority, set REQUESTS_CA_BUNDLE to its file.",
            )
        )
    if isinstance(error, requests.exceptions.ProxyError):
        return Answer(outcome="again", reason="the proxy does not connect", contact=False)
    if isinstance(error, requests.ConnectTimeout):
        return Answer(outcome="again", reason="no connection in time", slower=True, contact=False)
    cause = error.args[0] if error.args else None
    why = cause.reason if isinstance(cause, MaxRetryError) else cause
    if isinstance(why, NameResolutionError):
        return Answer(outcome="again", reason="the name does not resolve", contact=False)
    if isinstance(why, NewConnectionError):
        return Answer(outcome="again", reason="connection refused", contact=False)
    if isinstance(error, requests.ConnectionError | requests.Timeout):
        timed_out = isinstance(error, requests.Timeout)
        reason = "no answer in time" if timed_out else "the connection broke"
        return Answer(outcome="again", reason=reason, doubtful=True, slower=timed_out)
    if isinstance(error, ValueError):
        return _fatal(InvalidConfigValue("destination.segment.host or proxy is not a URL"))
    return Answer(outcome="again", reason="the answer broke off", doubtful=True)


def wait_asked_for(headers: Mapping[str, str], retry_after: float | None) -> float | None:
    """Seconds from Retry-After, else from X-RateLimit-Reset; none when neither says any."""
    if retry_after:
        return float(retry_after)
    try:
        seconds = float(headers.get("X-RateLimit-Reset", ""))
    except ValueError:
        return None
    return min(seconds, WAIT_SECONDS_MAX) if math.isfinite(seconds) and seconds > 0 else None


def reason_of(response: requests.Response) -> str:
    """The service's own words, without what they may quote from the payload."""
    words = response.text[:2_000]
    try:
        told = json.loads(response.content)
    except ValueError:
        told = None
    if isinstance(told, dict):
        said = [told.get(key) for key in ("code", "error", "message", "errors")]
        words = ": ".join(str(each) for each in said if each) or (response.reason or "")
    elif words.lstrip().startswith("<"):
        words = response.reason or ""
    return without_values(words)


def without_values(words: str) -> str:
    """A message with everything quoted, numbered or addressed taken out.

    >>> without_values('Bad "ada@example.com" in ada@example.com, phone 491701234567')
    'Bad … in …, phone …'
    """
    words = re.sub(r"\"[^\"]*\"|'[^']*'|\S+@[\w.-]+|\S*\d{4,}\S*", "…", words)
    return " ".join(words.split())[:REASON_CHARS_MAX]
