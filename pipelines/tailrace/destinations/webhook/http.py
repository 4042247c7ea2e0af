"""One request to a webhook: its body, its headers, and the outcome."""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any
from urllib.parse import urlsplit

import requests

from tailrace.audience.audience import Audience
from tailrace.clock import Clock
from tailrace.destinations.answers import without_secrets
from tailrace.destinations.http import (
    addresses_of,
    clock_offset_seconds,
    connect_only,
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
from tailrace.destinations.webhook.address import AddressRule
from tailrace.destinations.webhook.responses import Receiver, answer_outcome
from tailrace.destinations.webhook.settings import APEX_SCHEME, OrgLogin, WebhookTarget
from tailrace.destinations.webhook.signature import secret_keys, signature_headers
from tailrace.errors import TailraceError, Unreachable

REQUEST_ID_PREFIX = "tr1-"
CONTENT_TYPES = {
    "array": "application/json",
    "single": "application/json",
    "ndjson": "application/x-ndjson",
}
USER_AGENT = "tailrace"


class WebhookConnection:
    """A connection to one URL; implements `Connection`."""

    def __init__(self, target: WebhookTarget, *, clock: Clock, destination: str) -> None:
        self.section = f"destination.{destination}"
        self.address_key = f"{self.section}.url"
        self.settings = target
        self.clock_offset_seconds: float | None = None
        self._clock = clock
        self._keys = secret_keys(target.secret, f"{self.section}.secret")
        self._org = _Org(target.org, clock) if target.org is not None else None
        base = target.org.credentials.instance_url if target.org else target.url
        self.name = host_of(base)
        self._receiver = Receiver(
            name=self.name, section=self.section, is_apex=self._org is not None
        )
        rule = AddressRule(self.section, private_addresses=target.private_addresses)
        # The login of an org has been made to this address already.
        self._check_address = None if self._org else rule.check
        self._session = new_session(
            in_flight_max=target.send_limits().requests_in_flight_max,
            answer_seconds_max=target.answer_seconds_max,
            check_address=self._check_address,
        )
        self._environment = environment_of(base, target.proxy)
        self._secrets = target.secrets()

    def check(self) -> None:
        """Check the address, or the org's login, before the first element is sent.

        Raises:
            PrivateAddress: The host has an address inside a network.
            CredentialRefused: The org does not accept the login.
            Unreachable: The host does not resolve, or the org does not answer.
        """
        if self._org is not None:
            self._org.token()
            return
        if self._check_address is None:
            return
        parts = urlsplit(self.settings.url)
        host = parts.hostname or ""
        try:
            addresses = addresses_of(host, parts.port or 443)
        except OSError:
            if self._environment["proxies"]:
                # The proxy may know a name that this machine does not.
                return
            raise Unreachable(
                f"{self.name} cannot be reached: the name does not resolve",
                hint=f"Check the network and {self.address_key}.",
            ) from None
        for address in addresses:
            self._check_address(host, address)

    def reach(self) -> None:
        """Connect without sending a request.

        Raises:
            PrivateAddress: The host has an address inside a network.
            CredentialRefused: The org does not accept the login.
            Unreachable: The host does not accept a connection.
        """
        self.check()
        if self._org is not None or self._environment["proxies"]:
            return
        try:
            connect_only(
                self.settings.url,
                verify=self._environment["verify"],
                timeout_seconds=self.settings.timeout_seconds,
                check_address=self._check_address,
            )
        except OSError as error:
            untrusted = isinstance(error, ssl.SSLError)
            problem = "its certificate is not trusted" if untrusted else "no connection"
            raise Unreachable(
                f"{self.name} cannot be reached: {problem}",
                hint=f"Check the network and {self.address_key}.",
            ) from None

    def prepare(self, audience: Audience, stored: Mapping[str, Any]) -> Mapping[str, Any]:
        """Nothing: a URL does not describe what it takes."""
        return {}

    @property
    def api_calls(self) -> int | None:
        """The calls of Apex REST, which the org's daily budget has to cover; None for a URL."""
        return None if self._org is None else self._org.api.usage.calls

    def jobs(self, audience: Audience, rows: int) -> None:
        """None: elements go in requests."""
        return

    def measure_clock(self) -> None:
        """Nothing: elements carry no times of their own that a clock could shift."""

    def send(self, messages: Sequence[Message], *, retries: int) -> SendOutcome:
        """Send the elements in one request."""
        route = messages[0].route
        body = request_body(messages, route)
        if len(messages) == 1 and len(body) > self.settings.batch_bytes_max:
            reason = f"larger than batch_bytes_max ({len(body):,} bytes)"
            return SendOutcome(outcome="refused", reason=reason, contacted=False)
        try:
            answer = self._post(body, request_id(body, route), CONTENT_TYPES[route])
        except TailraceError as error:
            return fatal(error)
        except requests.RequestException as error:
            return exception_outcome(error, self.name, address_key=self.address_key)
        offset = clock_offset_seconds(answer.headers, self._clock)
        self.clock_offset_seconds = self.clock_offset_seconds if offset is None else offset
        return answer_outcome(answer, self._receiver, elements=len(messages))

    def _post(self, body: bytes, name: str, content_type: str) -> Answer:
        seconds = int(self._clock.now().timestamp())
        headers = {
            "Content-Type": content_type,
            "User-Agent": USER_AGENT,
            **self.settings.headers,
            **signature_headers(self._keys, name, body, seconds=seconds),
        }
        if self._org is None:
            answer = self._exchange(self.settings.url, body, headers)
            return without_secrets(answer, self._secrets)
        org = self._org
        token, instance_url, generation = org.token()
        url = instance_url.rstrip("/") + self.settings.url.removeprefix(f"{APEX_SCHEME}:")
        org.api.spend()
        answer = self._exchange(url, body, headers | {"Authorization": f"Bearer {token}"})
        if answer.status == 401 and b"INVALID_SESSION_ID" in answer.content:
            org.renew(generation)
            token, _, _ = org.token()
            org.api.spend()
            answer = self._exchange(url, body, headers | {"Authorization": f"Bearer {token}"})
        org.api.usage.note(answer.headers.get("Sforce-Limit-Info"))
        return without_secrets(answer, {*self._secrets, token})

    def _exchange(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        # A header's text is sent as Latin-1, as http.client does; requests would refuse some.
        encoded = {name: value.encode("latin-1") for name, value in headers.items()}
        return exchange(
            self._session,
            self.settings.method,
            url,
            data=body,
            headers=encoded,
            timeout=self.settings.timeout_seconds,
            **self._environment,
        )

    def close(self) -> None:
        """Close the connections."""
        self._session.close()
        if self._org is not None:
            self._org.close()


class _Org:
    """The login of an org, renewed when it expires."""

    def __init__(self, login: OrgLogin, clock: Clock) -> None:
        # simple-salesforce takes longer to import than a small delivery; a URL does not need it.
        from tailrace.salesforce.client import Api

        self.api = Api(login.credentials, login.settings, clock=clock)

    def token(self) -> tuple[str, str, int]:
        return self.api.token()

    def renew(self, generation: int) -> None:
        self.api.renew(generation, "")

    def close(self) -> None:
        self.api.close()


def request_body(messages: Sequence[Message], route: str) -> bytes:
    """The body of a request: an array, one element, or a line for each.

    >>> element = Message("element", "a", b'{"id":"a"}')
    >>> [request_body([element], route) for route in ("array", "single", "ndjson")]
    [b'[{"id":"a"}]', b'{"id":"a"}', b'{"id":"a"}\\n']
    """
    if route == "ndjson":
        return joined_bodies(messages, b"\n", end=b"\n")
    if route == "single":
        return joined_bodies(messages, b",")
    return joined_bodies(messages, b",", start=b"[", end=b"]")


def request_id(body: bytes, route: str) -> str:
    """The `webhook-id`: equal for every attempt with the same elements.

    It is a hash of the body, so that elements that were rejected and are planned again, with
    another time, are no repetition to a receiver that remembers ids.
    """
    return REQUEST_ID_PREFIX + blake2b(body, digest_size=20, person=route.encode()[:16]).hexdigest()
