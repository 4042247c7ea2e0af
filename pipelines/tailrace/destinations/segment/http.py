"""One request to Segment: the bytes that are sent, and the outcome.

The request has the headers and credentials of segment-analytics-python's `post`, which is not
called for batches: it encodes dicts again, at some fifteen times the cost. A test holds the two
requests equal.
"""

from __future__ import annotations

import base64
import json
import logging
import threading
from collections.abc import Sequence

import requests
from isal import igzip
from segment.analytics.version import VERSION

from tailrace.audience.audience import Audience
from tailrace.clock import Clock, format_utc
from tailrace.config.settings import SegmentSettings
from tailrace.destinations.answers import without_secrets
from tailrace.destinations.http import (
    clock_offset_seconds,
    environment_of,
    exception_outcome,
    exchange,
    host_of,
    new_session,
)
from tailrace.destinations.message_columns import joined_bodies
from tailrace.destinations.messages import Message
from tailrace.destinations.open_connection import Answer
from tailrace.destinations.outcome import SendOutcome, fatal
from tailrace.destinations.protocol import Described
from tailrace.destinations.segment.oauth import Tokens, TokenUnavailable
from tailrace.destinations.segment.responses import answer_outcome
from tailrace.destinations.segment.write_key import check_write_key
from tailrace.errors import TailraceError, Unreachable

# Level 1 of isal compresses as well as level 6 of zlib, in a fifteenth of the time.
GZIP_LEVEL = 1
# Segment's addresses change at least every 24 h; a connection is not kept longer than this.
CONNECTION_SECONDS_MAX = 3_600.0

# The library logs payloads at DEBUG, and the rejected ones at ERROR.
logging.getLogger("segment").setLevel(logging.CRITICAL)


class SegmentClient:
    """A connection to one Segment source, or to a collector with the same `/v1/batch`."""

    def __init__(
        self, settings: SegmentSettings, *, clock: Clock, destination: str = "segment"
    ) -> None:
        self.section = f"destination.{destination}"
        self.address_key = f"{self.section}.host"
        self.host = settings.host.rstrip("/").removesuffix("/v1")
        self.url = self.host + "/v1/batch"
        self.name = host_of(self.url)
        self.clock_offset_seconds: float | None = None
        self.settings = settings
        self._clock = clock
        self._tail = b'","writeKey":' + json.dumps(settings.write_key).encode() + b"}"
        self._basic = base64.b64encode(f"{settings.write_key}:".encode()).decode()
        self._recycle_lock = threading.Lock()
        self._connected_at = clock.monotonic()
        self._session = new_session(
            in_flight_max=settings.requests_in_flight_max,
            answer_seconds_max=settings.answer_seconds_max,
        )
        self._environment = environment_of(self.url, settings.proxy)
        self._tokens = Tokens(settings, section=self.section) if settings.oauth_client_id else None

    def check(self) -> None:
        """Check the write key and get the OAuth token, before anything is sent.

        Raises:
            CredentialRefused: The write key or the OAuth client is unknown.
            InvalidConfigValue: The write key belongs to another region.
            Unreachable: They cannot be checked.
        """
        answer = check_write_key(
            self.settings, clock=self._clock, session=self._session, section=self.section
        )
        if answer is not None:
            self._note_clock(answer)
        self.check_token()

    def check_token(self) -> None:
        """Get the OAuth token, if one is configured.

        Raises:
            CredentialRefused: The authorization server does not accept the key.
            Unreachable: It cannot be asked.
        """
        if self._tokens is None:
            return
        try:
            self._tokens.current()
        except TokenUnavailable as error:
            raise Unreachable(str(error)) from None

    def prepare(self, audience: Audience, stored: Described) -> Described:
        """Nothing: Segment takes any name."""
        return {}

    def jobs(self, audience: Audience, rows: int) -> None:
        """None: Segment has requests only."""

    @property
    def api_calls(self) -> None:
        """None: Segment has no daily budget of calls."""

    def measure_clock(self) -> None:
        """Read the host's `Date`; a host that does not answer leaves the offset unknown."""
        timeout = self.settings.timeout_seconds
        try:
            answer = exchange(
                self._session, "HEAD", self.host + "/", timeout=timeout, **self._environment
            )
        except requests.RequestException:
            return
        self._note_clock(answer)

    def body(self, messages: Sequence[Message]) -> bytes:
        """The request body; `sentAt` is the time of the attempt.

        Segment computes an event's time as receivedAt - (sentAt - timestamp).
        """
        sent_at = format_utc(self._clock.now()).encode()
        end = b'],"sentAt":"' + sent_at + self._tail
        return joined_bodies(messages, b",", start=b'{"batch":[', end=end)

    def send(self, messages: Sequence[Message], *, retries: int) -> SendOutcome:
        """Send the messages in one request."""
        self._renew_connections()
        body = self.body(messages)
        if self.settings.compress:
            body = igzip.compress(body, GZIP_LEVEL)
        try:
            token = self._tokens.current() if self._tokens else None
            answer = self._post(body, retries, token)
            if self._tokens and token and answer.status in (401, 403, 511):
                self._tokens.forget(token)
                answer = self._post(body, retries, self._tokens.current())
        except TailraceError as error:
            return fatal(error)
        except TokenUnavailable as error:
            return SendOutcome(outcome="retry", reason=str(error), contacted=False)
        except requests.RequestException as error:
            self.drop_connections()
            return exception_outcome(error, self.name, address_key=self.address_key)
        self._note_clock(answer)
        if answer.status >= 500:
            self.drop_connections()
        secrets = (self.settings.write_key, self._basic, token or "")
        return answer_outcome(without_secrets(answer, secrets), self)

    @property
    def uses_oauth(self) -> bool:
        """Whether requests carry an OAuth token."""
        return self._tokens is not None

    def _post(self, body: bytes, retries: int, token: str | None) -> Answer:
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "analytics-python/" + VERSION,
        }
        if self.settings.compress:
            headers["Content-Encoding"] = "gzip"
        if retries > 0:
            headers["X-Retry-Count"] = str(retries)
        if token:
            headers["Authorization"] = "Bearer " + token
        else:
            headers["Authorization"] = "Basic " + self._basic
        return exchange(
            self._session,
            "POST",
            self.url,
            data=body,
            headers=headers,
            timeout=self.settings.timeout_seconds,
            **self._environment,
        )

    def _note_clock(self, answer: Answer) -> None:
        offset = clock_offset_seconds(answer.headers, self._clock)
        if offset is not None:
            self.clock_offset_seconds = offset

    def _renew_connections(self) -> None:
        with self._recycle_lock:
            now = self._clock.monotonic()
            expired = now - self._connected_at > CONNECTION_SECONDS_MAX
            if expired:
                self._connected_at = now
        if expired:
            self.drop_connections()

    def drop_connections(self) -> None:
        """Resolve the name again for the next request; requests in flight are not affected."""
        self._session.get_adapter(self.url).close()

    def close(self) -> None:
        """Close the connections and stop the token's timer."""
        if self._tokens:
            self._tokens.close()
        self._session.close()
