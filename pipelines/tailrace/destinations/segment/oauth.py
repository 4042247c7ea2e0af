"""OAuth tokens for Segment's tracking API, from segment-analytics-python's manager."""

from __future__ import annotations

import threading
from urllib.parse import urlsplit
from uuid import uuid4

import jwt
import requests
from segment.analytics import oauth_manager, request
from segment.analytics.consumer import FatalError

from tailrace.clock import SystemClock
from tailrace.config.settings import SegmentSettings
from tailrace.destinations.http import (
    Session,
    environment_of,
    exchange,
    host_of,
    json_object,
    new_session,
)
from tailrace.errors import CredentialRefused, InvalidConfigValue

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
# Segment accepts assertions that expire within 60 s (docs: connections/oauth). They start a little
# in the past, in case this clock is ahead.
CLAIM_AGE_SECONDS = 5
CLAIM_SECONDS = 60
# How long requests wait for a token, with the library's repetitions. After it they are retried.
TOKEN_SECONDS_MAX = 120.0

# What the library raises for an answer of an unforeseen shape, such as a lifetime that is no
# number; RuntimeError is from its timer.
UNREADABLE = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
)


class TokenUnavailable(requests.ConnectionError):
    """There is no OAuth token at the moment; the batch itself was not sent."""


class Tokens:
    """The access token of one connection; one thread at a time asks for it."""

    def __init__(self, settings: SegmentSettings, *, section: str) -> None:
        server = settings.oauth_auth_server or auth_server_of(settings.host)
        if not settings.oauth_client_key or not settings.oauth_key_id:
            raise InvalidConfigValue(
                f"{section} has oauth_client_id without oauth_client_key or oauth_key_id",
                hint=f"Configure all three under [{section}], or none.",
                key=f"{section}.oauth_client_id",
            )
        try:
            jwt.get_algorithm_by_name("RS256").prepare_key(settings.oauth_client_key)
        except (jwt.InvalidKeyError, ValueError, TypeError):
            raise InvalidConfigValue(
                f"{section}.oauth_client_key is not an RSA private key in PEM",
                hint="Put the whole key there, with its BEGIN and END lines.",
                key=f"{section}.oauth_client_key",
            ) from None
        self.server = host_of(server)
        self._section = section
        self._lock = threading.Lock()
        session = new_session(in_flight_max=1, answer_seconds_max=settings.answer_seconds_max)
        environment = environment_of(server, settings.proxy)
        session.proxies = environment["proxies"]
        session.verify = environment["verify"]
        self._manager = _Manager(
            settings.oauth_client_id,
            settings.oauth_client_key,
            settings.oauth_key_id,
            auth_server=server,
            scope=settings.oauth_scope or "tracking_api:write",
            timeout=settings.timeout_seconds,
        )
        self._manager.session = session
        self._manager.token_seconds_max = min(settings.answer_seconds_max, TOKEN_SECONDS_MAX)

    def current(self) -> str:
        """The token.

        Raises:
            CredentialRefused: The authorization server does not accept the key.
            TokenUnavailable: It cannot be reached, or fails.
        """
        with self._lock:
            try:
                token: object = self._manager.get_token()
            except request.APIError as error:
                if error.status in (400, 401, 403, 415):
                    raise CredentialRefused(
                        f"{self.server} refused the OAuth client ({error.status})",
                        hint="Check oauth_client_id, oauth_client_key and oauth_key_id under "
                        f"[{self._section}]; for a host other than Segment's own, also "
                        "oauth_auth_server.",
                    ) from None
                raise TokenUnavailable(f"{self.server} answered {error.status}") from None
            except (FatalError, *UNREADABLE):
                raise TokenUnavailable(
                    f"{self.server} cannot be reached, or gives no token"
                ) from None
            if isinstance(token, str) and token.isprintable() and token.isascii():
                return token
            self._manager.clear_token()
        raise TokenUnavailable(f"{self.server} gives something else than a token")

    def forget(self, token: str) -> None:
        """Drop a token that was refused; the next request asks for another one.

        Requests in flight share a token, and each of them reports its refusal. The token that
        replaced it stays: without it, the library would wait until its next renewal.
        """
        self._manager.clear_refused(token)

    def close(self) -> None:
        """Stop the timer that renews the token, and close the connections."""
        if self._manager.thread:
            self._manager.thread.cancel()
        self._manager.session.close()


class _Manager(oauth_manager.OauthManager):  # type: ignore[misc]
    """The library's manager with a session of its own.

    The library's is shared by all managers of a process, so that the proxy and the certificates
    of the last one would apply to all.
    """

    session: Session
    token_seconds_max: float
    token: object

    def get_token(self) -> object:
        """The token, or an error after `token_seconds_max`; the library would wait for ever."""
        with self.token_mutex:
            if self.token:
                return self.token
            # An error of a renewal in the background says nothing about this request.
            self.error = None
        limit = threading.Timer(self.token_seconds_max, self._give_up)
        limit.daemon = True
        limit.start()
        try:
            return super().get_token()
        finally:
            limit.cancel()

    def clear_refused(self, token: str) -> None:
        """Drop this token, unless another one replaced it."""
        with self.token_mutex:
            if self.token == token:
                self.token = None

    def _give_up(self) -> None:
        self.error = FatalError(f"no token in {self.token_seconds_max:.0f} s")

    def _request_token(self) -> requests.Response:
        now = int(SystemClock().now().timestamp()) - self.clock_skew
        claims = {
            "iss": self.client_id,
            "sub": self.client_id,
            "aud": self.auth_server.rstrip("/"),
            "iat": now - CLAIM_AGE_SECONDS,
            "exp": now - CLAIM_AGE_SECONDS + CLAIM_SECONDS,
            "jti": str(uuid4()),
        }
        assertion = jwt.encode(
            claims, self.client_key, algorithm="RS256", headers={"kid": self.key_id}
        )
        form = {
            "grant_type": "client_credentials",
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": assertion,
            "scope": self.scope,
        }
        answer = exchange(
            self.session, "POST", claims["aud"] + "/token", data=form, timeout=self.timeout
        )
        if answer.status == 200:
            # The library would wait for ever for an answer without a token.
            str(json_object(answer.content)["access_token"]).encode("ascii")
        response = requests.Response()
        response.status_code, response.reason = answer.status, answer.reason
        response.headers.update(answer.headers)
        response._content = answer.content
        return response

    def _poller_loop(self) -> None:
        try:
            super()._poller_loop()
        except Exception:
            # Raised on the timer's thread: without an error, `get_token` would wait for ever.
            self.error = FatalError("unreadable answer")


def auth_server_of(host: str) -> str:
    """Segment's authorization server for a host. Tokens are valid in their own region only.

    >>> auth_server_of("https://events.eu1.segmentapis.com")
    'https://oauth2.eu1.segmentapis.com'
    """
    european = (urlsplit(host).hostname or "").endswith(".eu1.segmentapis.com")
    return "https://oauth2.eu1.segmentapis.com" if european else "https://oauth2.segment.io"
