"""`[destination.webhook]`: its settings, read and checked."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import field, replace
from typing import Literal
from urllib.parse import SplitResult, parse_qsl, urlsplit

from tailrace.config.project import ProjectConfig
from tailrace.config.settings import (
    BatchLimits,
    SalesforceCredentials,
    SalesforceSettings,
    SendLimits,
)
from tailrace.config.urls import require_proxy, require_tls
from tailrace.dataclass import dataclass
from tailrace.destinations.webhook.signature import secret_keys
from tailrace.errors import InvalidConfigValue, MissingCredential

APEX_SCHEME = "salesforce"
APEX_ROOT = "/services/apexrest/"
# Ten requests that run for more than five seconds are the limit of a whole org.
APEX_IN_FLIGHT_MAX = 2
# The largest body that Apex REST takes.
APEX_BYTES_MAX = 6_000_000
# A step of a URL's path that is as long may be a token, as in the addresses of chat rooms.
URL_SECRET_CHARACTERS_MIN = 16
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\x21-\x7e\xa0-\xff]([\t\x20-\x7e\xa0-\xff]*[\x21-\x7e\xa0-\xff])?")
# Headers that a request gets from its body, its URL or its signature.
OWN_HEADERS = frozenset(
    {"connection", "content-length", "host", "transfer-encoding", "expect", "upgrade"}
    | {"webhook-id", "webhook-timestamp", "webhook-signature", "content-encoding", "te", "trailer"}
)


@dataclass(frozen=True, kw_only=True)
class WebhookSettings:
    """`[destination.webhook]`: where to post, and within which limits.

    Attributes:
        type: `webhook`: a URL that takes JSON.
        url: URL that requests go to; `salesforce:/services/apexrest/…` is Apex REST with the login
            of `[sources.salesforce]`.
        method: Method of the requests.
        headers: Headers of every request. Values from secrets.toml and config.toml are merged; in
            the environment, a JSON object.
        secret: Secret that signs requests as Standard Webhooks, `whsec_` and base64. While it is
            rotated, two secrets with a space between them.
        batch_rows_max: Most elements of one request.
        batch_bytes_max: Largest body of one request.
        requests_in_flight_max: Requests that are sent at the same time; at most 2 for Apex REST.
        requests_per_second_max: Requests per second.
        timeout_seconds: Time to wait for a connection or for the next bytes of a response.
        answer_seconds_max: Time that one response may take.
        retry_seconds_max: Time that one batch is retried for.
        private_addresses: Allow a host whose address is not public, such as 10.0.0.1.
        proxy: Proxy for the requests; default: that of the environment.
    """

    type: Literal["webhook"] = "webhook"
    url: str = field(default="", repr=False)
    method: Literal["POST", "PUT", "PATCH"] = "POST"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    secret: str | None = field(default=None, repr=False)
    batch_rows_max: int = 200
    batch_bytes_max: int = 1_000_000
    requests_in_flight_max: int = 2
    requests_per_second_max: float = 10.0
    timeout_seconds: float = 30.0
    answer_seconds_max: float = 60.0
    retry_seconds_max: float = 900.0
    private_addresses: bool = False
    proxy: str | None = field(default=None, repr=False)

    @property
    def is_apex(self) -> bool:
        """Whether the URL is Apex REST of the org."""
        return self.url.startswith(f"{APEX_SCHEME}:")

    @property
    def resend_hours_max(self) -> float:
        """No limit: a receiver recognises repeated ids for as long as it wants."""
        return math.inf

    def send_limits(self) -> SendLimits:
        """The limits of batches, requests, rates and retries."""
        in_flight = self.requests_in_flight_max
        if self.is_apex:
            in_flight = min(in_flight, APEX_IN_FLIGHT_MAX)
        return SendLimits(
            batch=BatchLimits(bytes_max=self.batch_bytes_max, messages_max=self.batch_rows_max),
            requests_in_flight_max=in_flight,
            messages_per_second_max=0.0,
            retry_seconds_max=self.retry_seconds_max,
            requests_per_second_max=self.requests_per_second_max,
        )

    def secrets(self) -> frozenset[str]:
        """The texts that a receiver may repeat and that no message shows: parts of the URL, values
        of headers, and the keys of signatures."""
        texts = [*self.headers.values(), *(self.secret or "").split()]
        texts += [part for value in self.headers.values() for part in value.split()[1:]]
        if not self.is_apex:
            parts = urlsplit(self.url)
            values = [value for _, value in parse_qsl(parts.query)]
            segments = [s for s in parts.path.split("/") if len(s) >= URL_SECRET_CHARACTERS_MIN]
            texts += [self.url, parts.query, *values, *segments]
        return frozenset(text for text in texts if text)

    def receiver(self) -> tuple[str, str]:
        """The host and the whole URL, which names the receiver there."""
        return urlsplit(self.url).hostname or self.url, self.url


@dataclass(frozen=True, kw_only=True)
class OrgLogin:
    """The login of the org that has the Apex class."""

    credentials: SalesforceCredentials
    settings: SalesforceSettings


@dataclass(frozen=True, kw_only=True)
class WebhookTarget(WebhookSettings):
    """The settings with the login that the URL needs."""

    org: OrgLogin | None = None

    def receiver(self) -> tuple[str, str]:
        """The host and the whole URL; for Apex REST the org and the path."""
        if self.org is None:
            return super().receiver()
        instance_url = self.org.credentials.instance_url.rstrip("/")
        return instance_url, instance_url + self.url.removeprefix(f"{APEX_SCHEME}:")


def read_settings(project: ProjectConfig, destination: str) -> WebhookTarget:
    """The section `[destination.NAME]` with its secrets and the org's login.

    Raises:
        MissingCredential: There is no URL, or no login for Apex REST.
        InvalidConfigValue: A setting has the wrong form.
        InsecureHost: The URL is http:// and not on this machine.
    """
    settings = _read(project, destination, secrets=True)
    section = f"destination.{destination}"
    if not settings.url:
        raise MissingCredential(
            f"{section}.url is not configured",
            hint=f"Put the URL that takes the requests under [{section}] in .dlt/config.toml, or "
            "in .dlt/secrets.toml if it holds a token.",
        )
    secret_keys(_secret(project, section, settings), f"{section}.secret")
    org = None
    if settings.is_apex:
        org = OrgLogin(credentials=project.salesforce_credentials(), settings=project.salesforce())
    values = {name: getattr(settings, name) for name in WebhookSettings.__dataclass_fields__}
    return WebhookTarget(**values, org=org)


def read_limits(project: ProjectConfig, destination: str) -> WebhookSettings:
    """The section without its secrets; what is there is checked."""
    return _read(project, destination, secrets=False)


def _read(project: ProjectConfig, destination: str, *, secrets: bool) -> WebhookSettings:
    section = f"destination.{destination}"
    settings = project.destination(destination, WebhookSettings, secrets=secrets)
    url = settings.url or str(project.value_of(section, "url") or "")
    headers = project.merged_table(section, "headers")
    settings = replace(settings, url=url, headers=headers)
    if settings.url:
        _check_url(settings.url, section)
    _check_headers(settings, section)
    if proxy := settings.proxy or project.value_of(section, "proxy"):
        require_proxy(str(proxy), f"{section}.proxy")
    if not secrets:
        secret_keys(_secret(project, section, settings), f"{section}.secret")
    return settings


def _secret(project: ProjectConfig, section: str, settings: WebhookSettings) -> str | None:
    """The secret; an empty text, which would leave requests unsigned, is not like none."""
    written = project.value_of(section, "secret")
    return settings.secret or (None if written is None else str(written))


def _check_url(url: str, section: str) -> None:
    key = f"{section}.url"
    parts = _split(url)
    if parts is not None and parts.scheme == APEX_SCHEME:
        path = parts.path
        bare = path.startswith(APEX_ROOT) and len(path) > len(APEX_ROOT)
        if parts.netloc or parts.fragment or not bare or ".." in path.split("/"):
            raise InvalidConfigValue(
                f"{key} is not the path of an Apex class",
                hint=f"Write {key} as salesforce:/services/apexrest/NAME.",
                key=key,
            )
        return
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidConfigValue(
            f"{key} is not a URL",
            hint=f"Write {key} as https://host/path or salesforce:/services/apexrest/NAME.",
            key=key,
        )
    if parts.username is not None or parts.password is not None:
        raise InvalidConfigValue(
            f"{key} holds a user name or a password",
            hint=f'Put it into a header: headers = {{Authorization = "Basic …"}} under [{section}] '
            "in .dlt/secrets.toml.",
            key=key,
        )
    require_tls(url, key)


def _split(url: str) -> SplitResult | None:
    """The parts of a URL; None if it has characters that no URL has, or a wrong port."""
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        return None
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return parts


def _check_headers(settings: WebhookSettings, section: str) -> None:
    own = OWN_HEADERS | ({"authorization"} if settings.is_apex else set())
    for name, value in settings.headers.items():
        problem = None
        if not _HEADER_NAME.fullmatch(name):
            problem = "is not the name of a header"
        elif name.lower() in own:
            problem = "is set by Tailrace itself"
        elif not _HEADER_VALUE.fullmatch(value):
            problem = "has a value that no header can have, such as a line break"
        if problem:
            # The name may be a secret in the wrong place.
            shown = name if _HEADER_NAME.fullmatch(name) and len(name) <= 40 else "…"
            raise InvalidConfigValue(
                f"{section}.headers: {shown} {problem}",
                hint=f"Correct headers under [{section}].",
                key=f"{section}.headers",
            )
