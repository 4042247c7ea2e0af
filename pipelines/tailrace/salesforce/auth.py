"""Logging in to Salesforce by simple-salesforce: four kinds of credentials, one token out.

simple-salesforce writes `https://{domain}.salesforce.com` itself; the session handed to it here
sends every request to the configured instance instead, so that My Domain, government clouds and
a simulator on this machine work alike.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

import requests
from simple_salesforce.exceptions import SalesforceAuthenticationFailed
from simple_salesforce.login import SalesforceLogin

from tailrace.config.project import is_loopback
from tailrace.config.settings import SalesforceCredentials
from tailrace.errors import CredentialRefused, MissingCredential, ServiceFailed, Unreachable

Kind = Literal["client credentials", "JWT bearer", "access token", "username and password"]

# Salesforce's SOAP login() has no later version than this one.
SOAP_API_VERSION_MAX = 64.0
# What Salesforce answers when the fault is in the credential, and not in the service.
RETRY_STATUSES = frozenset({406, 420, 429, 500, 502, 503, 504})


@dataclass(frozen=True, kw_only=True)
class Token:
    """An access token and the host that it is for."""

    value: str
    instance_url: str

    def __repr__(self) -> str:
        return f"Token(instance_url={self.instance_url!r})"


def kind_of(credentials: SalesforceCredentials) -> Kind:
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


def log_in(
    credentials: SalesforceCredentials, *, api_version: str, timeout_seconds: float
) -> Token:
    """A fresh access token.

    Raises:
        CredentialRefused: Salesforce says no, or the private key cannot be read.
        Unreachable: The host does not answer.
        ServiceFailed: It answers with an error of its own.
    """
    kind = kind_of(credentials)
    base = credentials.instance_url.rstrip("/")
    if kind == "access token":
        return Token(value=str(credentials.access_token), instance_url=base)
    session = _LoginSession(base, timeout_seconds)
    try:
        with warnings.catch_warnings():
            # simple-salesforce warns with a URL that holds the client id.
            warnings.simplefilter("ignore")
            value, host = SalesforceLogin(
                session=session, **_arguments(credentials, kind, api_version)
            )
    except SalesforceAuthenticationFailed as error:
        raise _refused(kind, error, session.last_status, credentials) from None
    except (requests.Timeout, requests.ConnectionError) as error:
        raise Unreachable(
            f"Salesforce cannot be reached at {_host(base)}: {type(error).__name__}",
            hint="Check sources.salesforce.credentials.instance_url and the network.",
        ) from None
    except Exception as error:
        # A broken key or a strange answer comes as whatever the libraries below make of it.
        raise _unreadable(kind, error, session.last_status) from None
    if not value:
        raise ServiceFailed("Salesforce answered the login without an access token")
    return Token(value=value, instance_url=_instance(base, host))


def _arguments(credentials: SalesforceCredentials, kind: Kind, api_version: str) -> dict[str, Any]:
    sandbox = ".sandbox." in credentials.instance_url or "--" in credentials.instance_url
    if kind == "JWT bearer":
        return {
            "username": credentials.username,
            "consumer_key": credentials.client_id,
            # An environment variable often holds a key's line breaks as two characters each.
            "privatekey": str(credentials.private_key).replace("\\n", "\n"),
            # The audience of the assertion; where it is sent is the session's affair.
            "domain": "test" if sandbox else "login",
        }
    if kind == "client credentials":
        return {
            "consumer_key": credentials.client_id,
            "consumer_secret": credentials.client_secret,
            "domain": "instance",
        }
    return {
        "username": credentials.username,
        "password": credentials.password,
        "security_token": credentials.security_token,
        "sf_version": f"{min(float(api_version), SOAP_API_VERSION_MAX):.1f}",
        "client_id": "tailrace",
    }


class _LoginSession(requests.Session):
    """Sends what simple-salesforce addresses to salesforce.com to the configured instance."""

    def __init__(self, base: str, timeout_seconds: float) -> None:
        super().__init__()
        self.base = base
        self.timeout_seconds = timeout_seconds
        self.last_status: int | None = None

    def request(self, method: Any, url: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        parts = urlsplit(str(url))
        kwargs["timeout"] = self.timeout_seconds
        # A redirect would carry the credential to another host.
        kwargs["allow_redirects"] = False
        # Without this, an entry for the host in ~/.netrc would replace the header.
        kwargs.setdefault("auth", lambda request: request)
        response = super().request(method, f"{self.base}{parts.path}", **kwargs)
        self.last_status = response.status_code
        return response


def _refused(
    kind: Kind,
    error: SalesforceAuthenticationFailed,
    status: int | None,
    credentials: SalesforceCredentials,
) -> CredentialRefused | ServiceFailed:
    code = str(getattr(error, "code", "") or "")
    text = scrub(str(getattr(error, "message", "") or ""), credentials)
    # A SOAP fault comes as HTTP 500, with a code of its own that says whose fault it is.
    service_failed = status in RETRY_STATUSES and not code.startswith(("INVALID", "LOGIN"))
    if status is not None and (service_failed or 300 <= status < 400):
        return ServiceFailed(f"Salesforce answered the login with HTTP {status}")
    said = f"{code}: {text}" if text and len(text) < 200 and "<" not in text else code
    hints = {
        "client credentials": "Check client_id and client_secret, that the app has the client"
        " credentials flow enabled and a run-as user, and that instance_url is your My Domain.",
        "JWT bearer": "Check client_id, username, that the certificate of private_key is in the"
        " app, and that the user is approved for it.",
        "username and password": "Check username, password and security_token. Salesforce retires"
        " this login; client credentials or JWT bearer replace it.",
    }
    return CredentialRefused(
        f"Salesforce refused the login by {kind}: {said}", hint=hints.get(kind)
    )


def _unreadable(
    kind: Kind, error: Exception, status: int | None
) -> CredentialRefused | ServiceFailed:
    # Before anything was sent, only the private key can be at fault.
    if kind == "JWT bearer" and status is None:
        return CredentialRefused(
            f"The private key cannot be read ({type(error).__name__})",
            hint="private_key is the PEM text of an RSA key; private_key_file is its path.",
        )
    return ServiceFailed(
        f"Salesforce answered the login with something unreadable (HTTP {status})",
        hint="Check that sources.salesforce.credentials.instance_url is a Salesforce org.",
    )


def scrub(text: str, credentials: SalesforceCredentials) -> str:
    """The text without any secret of these credentials, in case the service quotes one."""
    for secret in (
        credentials.client_secret,
        credentials.password,
        credentials.security_token,
        credentials.access_token,
        credentials.private_key,
    ):
        if secret:
            text = text.replace(secret, "***")
    return text


def _host(url: str) -> str:
    return urlsplit(url).netloc


def _instance(base: str, host: str) -> str:
    """The host that the token is for; a simulator on this machine stays where it was asked."""
    if is_loopback(base) or not host:
        return base
    return f"https://{host.split('/')[0]}"
