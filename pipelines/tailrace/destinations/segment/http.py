"""One request to Segment: the bytes that leave, and what the answer means.

The request goes through segment-analytics-python's own session with its headers and credentials.
Its `post` is not called for batches: it encodes dicts again, at some fifteen times the cost. A
test holds the two wires equal.
"""

from __future__ import annotations

import base64
import json
import logging
import threading
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import jwt
import requests
from isal import igzip
from requests.adapters import HTTPAdapter
from segment.analytics import oauth_manager, request
from segment.analytics.consumer import FatalError
from segment.analytics.version import VERSION

from tailrace.clock import Clock, format_utc
from tailrace.config.project import is_loopback
from tailrace.config.settings import SegmentSettings
from tailrace.destinations.segment.responses import (
    Answer,
    TokenUnavailable,
    of_exception,
    of_response,
)
from tailrace.errors import (
    CredentialRefused,
    InvalidConfigValue,
    TailraceError,
    Unreachable,
)

# Level 1 of isal makes what level 6 of zlib makes, in a fifteenth of the time.
GZIP_LEVEL = 1
# Segment's addresses change; a connection is not kept for longer.
CONNECTION_SECONDS_MAX = 3_600.0


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
        sent_at = format_utc(self._clock.now()).encode()
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
        server = settings.oauth_auth_server or auth_server_of(settings.host)
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
                        "[destination.segment]; where the host is not Segment's own, at "
                        "oauth_auth_server too.",
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


def auth_server_of(host: str) -> str:
    """Where Segment hands out tokens for a host: they are good in their own region only.

    >>> auth_server_of("https://events.eu1.segmentapis.com")
    'https://oauth2.eu1.segmentapis.com'
    """
    european = (urlsplit(host).hostname or "").endswith(".eu1.segmentapis.com")
    return "https://oauth2.eu1.segmentapis.com" if european else "https://oauth2.segment.io"


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
    """Proxies and certificates as the environment or the settings have them, without netrc.

    What is on this machine is not reached through a proxy of the environment.
    """
    with requests.Session() as session:
        ways = session.merge_environment_settings(url, {}, None, None, None)
    if is_loopback(url):
        ways["proxies"] = {}
    if proxy:
        ways["proxies"] = {"http": proxy, "https": proxy}
    return {"proxies": dict(ways["proxies"]), "verify": ways["verify"]}
