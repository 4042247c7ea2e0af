"""Credentials for Salesforce: which of the four ways to log in they are for, and the token.

Nothing here imports a library of HTTP; `login` logs in by simple-salesforce.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import urlsplit

from tailrace.config.settings import SalesforceCredentials
from tailrace.config.urls import is_loopback
from tailrace.dataclass import dataclass
from tailrace.errors import InvalidConfigValue, MissingCredential

LoginKind = Literal["client credentials", "JWT bearer", "access token", "username and password"]

SANDBOX_HOST = re.compile(
    r"(--|\.sandbox\.|\.scratch\.|^test\.|^cs\d+\.|\.cs\d+\.)", re.ASCII | re.IGNORECASE
)
AUDIENCE = re.compile(r"https://([\w.-]+)\.salesforce\.com/?", re.ASCII)
ORG_ID = re.compile(r"00D[0-9A-Za-z]{12}", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Token:
    """An access token and the host that it is for.

    Attributes:
        org_id: 15 characters; None when the login did not tell it.
    """

    value: str
    instance_url: str
    org_id: str | None = None

    def __repr__(self) -> str:
        return f"Token(instance_url={self.instance_url!r})"


def kind_of(credentials: SalesforceCredentials) -> LoginKind:
    """Which of the four ways to log in these credentials are for.

    Raises:
        MissingCredential: They are not enough for any.
    """
    if credentials.client_id and credentials.username and credentials.private_key:
        return "JWT bearer"
    if credentials.client_id and credentials.client_secret and not credentials.password:
        return "client credentials"
    if credentials.access_token:
        return "access token"
    if credentials.username and credentials.password and credentials.security_token is not None:
        return "username and password"
    raise MissingCredential(
        "There is not enough to log in to Salesforce with",
        hint=(
            "Under [sources.salesforce.credentials] in .dlt/secrets.toml, put client_id and"
            " client_secret (OAuth client credentials), or client_id, username and private_key"
            " (JWT bearer), or access_token."
        ),
    )


def audience_of(credentials: SalesforceCredentials) -> str:
    """The login host for the audience of a JWT: from the setting, else from the instance's host.

    >>> of = lambda url: audience_of(SalesforceCredentials(instance_url=url))
    >>> of("https://acme.my.salesforce.com"), of("https://acme--uat.sandbox.my.salesforce.com")
    ('login', 'test')
    >>> of("https://velocity-app-1234.scratch.my.salesforce.com")
    'test'

    Raises:
        InvalidConfigValue: `audience` is not the address of a Salesforce login host.
    """
    if credentials.audience:
        match = AUDIENCE.fullmatch(credentials.audience)
        if match is None:
            raise InvalidConfigValue(
                f"sources.salesforce.credentials.audience is {credentials.audience}",
                hint='Write it as audience = "https://login.salesforce.com" (production) or'
                ' "https://test.salesforce.com" (sandboxes and scratch orgs).',
                key="sources.salesforce.credentials.audience",
            )
        return match[1]
    return "test" if SANDBOX_HOST.search(host_of(credentials.instance_url)) else "login"


def scrub(text: str, credentials: SalesforceCredentials) -> str:
    """The text without any secret of these credentials, and without control characters."""
    for secret in (
        credentials.client_secret,
        credentials.password,
        credentials.security_token,
        credentials.access_token,
        credentials.private_key,
    ):
        if secret:
            text = text.replace(secret, "***")
    return "".join(character if character.isprintable() else " " for character in text)


def token_of(base: str, value: str, host: str, answer: Mapping[str, Any]) -> Token:
    """The token of an answer to a login.

    Args:
        base: The configured instance.
        value: The access token.
        host: The host that the answer names for it; may be empty.
        answer: The whole answer.
    """
    return Token(value=value, instance_url=_instance(base, host), org_id=_org_id(answer, value))


def host_of(url: str) -> str:
    """The host of a URL, with its port."""
    return urlsplit(url).netloc


def _org_id(answer: Mapping[str, Any], token: str) -> str | None:
    """The org's id out of the token answer's identity URL, or out of the token itself."""
    for source in (str(answer.get("id") or ""), token.partition("!")[0] if "!" in token else ""):
        match = ORG_ID.search(source)
        if match:
            return match[0]
    return None


def _instance(base: str, host: str) -> str:
    """The host that the token is for; a simulator on this machine stays where it was asked."""
    if is_loopback(base) or not host:
        return base
    return f"https://{host.split('/')[0]}"
