"""Logs in to Salesforce by simple-salesforce: four kinds of credentials, one token.

simple-salesforce addresses `https://{domain}.salesforce.com`. The session that it gets here sends
every request to the configured instance instead, so that My Domain, government clouds and a
simulator on this machine work alike.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import requests
from simple_salesforce.exceptions import SalesforceAuthenticationFailed
from simple_salesforce.login import SalesforceLogin

from tailrace.clock import SystemClock
from tailrace.config.settings import SalesforceCredentials
from tailrace.errors import (
    AnswerUnreadable,
    CredentialRefused,
    InvalidConfigValue,
    ServiceFailed,
)
from tailrace.salesforce.answers import parse_json
from tailrace.salesforce.auth import (
    LoginKind,
    Token,
    audience_of,
    host_of,
    kind_of,
    scrub,
    token_of,
)
from tailrace.salesforce.bounded_http import (
    bounded_adapter,
    connection_problem,
    read_body,
    unreachable,
)

# Salesforce's SOAP login() exists up to this version.
SOAP_API_VERSION_MAX = 64.0
LOGIN_BYTES_MAX = 1_000_000
LOGIN_SECONDS_MAX = 120.0
RETRY_STATUSES = frozenset({406, 408, 420, 429, 500, 502, 503, 504})
# OAuth errors (RFC 6749, and Salesforce's own) that the same request may not meet a moment later.
RETRY_ERRORS = frozenset(
    {"unknown_error", "server_error", "temporarily_unavailable", "rate_limit_exceeded"}
)

# What to check, by the error and by a part of its description. The first match wins.
_HINTS: tuple[tuple[str, str, str], ...] = (
    ("", "ip restricted", "The app accepts logins from certain IP addresses only: relax \"IP"
     " Relaxation\" in the app's policies, or add this machine's address to the user's profile."),
    ("", "ip_restricted", "Add this machine's address to the login IP ranges of the user's profile,"
     " or relax \"IP Relaxation\" in the app's policies."),
    ("inactive_user", "", "Activate the integration user, or name another one."),
    ("", "inactive", "Activate the integration user, or name another one."),
    ("inactive_org", "", "The org is locked, closed or suspended: ask its administrator."),
    ("", "approved this consumer", "Approve the user for the app: set \"Admin approved users are"
     " pre-authorized\" in the app's policies and assign a permission set or profile."),
    ("", "no client credentials user", "Name a run-as user in the app's policies (client"
     " credentials flow)."),
    ("", "not supported on this domain", "Set instance_url under [sources.salesforce.credentials]"
     " to the org's My Domain, as https://acme.my.salesforce.com."),
    ("", "audience", "Set audience under [sources.salesforce.credentials]:"
     " https://login.salesforce.com for production, https://test.salesforce.com for sandboxes."),
    ("", "blocked", "An administrator blocked the app: unblock it on the page \"Connected Apps"
     " OAuth Usage\" of the org's setup."),
    ("oauth_app_blocked", "", "An administrator blocked the app: unblock it on the page \"Connected"
     " Apps OAuth Usage\" of the org's setup."),
    ("oauth_app_access_denied", "", "Allow the user to use the app: assign a permission set or"
     " profile in the app's policies."),
    ("app_not_found", "", "Install the app in this org, and check client_id: the app belongs to"
     " another org."),
    ("oauth_ec_app_not_found", "", "Install the app in this org, and check client_id: the app"
     " belongs to another org."),
    ("invalid_client_id", "", "Check client_id: it is the app's consumer key. New apps take up to"
     " ten minutes to be known."),
    ("invalid_client", "", "Check client_secret, and that client_id and client_secret belong to the"
     " same app."),
    ("unsupported_grant_type", "", "Enable the flow in the app's settings: client credentials or"
     " JWT bearer."),
    ("unauthorized_client", "", "Enable the flow in the app's settings, and allow the user to use"
     " the app."),
    ("invalid_scope", "", "Add the scope \"Manage user data via APIs (api)\" to the app."),
    ("invalid_app_access", "", "Allow the user to use the app: assign a permission set or profile"
     " in the app's policies."),
)  # fmt: skip
_KIND_HINTS: Mapping[str, str] = {
    "client credentials": "Check client_id and client_secret, that the app has the client"
    " credentials flow enabled and a run-as user, and that instance_url is your My Domain.",
    "JWT bearer": "Check client_id, username, that the certificate of private_key is in the app,"
    " and that the user is approved for it.",
    "username and password": "Check username, password and security_token. Salesforce retires this"
    " login; client credentials or JWT bearer replace it.",
}


def log_in(
    credentials: SalesforceCredentials, *, api_version: str, timeout_seconds: float
) -> Token:
    """A fresh access token.

    Raises:
        CredentialRefused: Salesforce refuses the login, or the private key cannot be read.
        Unreachable: The host does not answer.
        ServiceFailed: It answers with an error of its own.
    """
    kind = kind_of(credentials)
    base = credentials.instance_url.rstrip("/")
    if kind == "access token":
        value = str(credentials.access_token)
        return token_of(base, value, "", {})
    session = _LoginSession(base, timeout_seconds)
    try:
        with warnings.catch_warnings(), session:
            # simple-salesforce warns with a URL that holds the client id.
            warnings.simplefilter("ignore")
            value, host = SalesforceLogin(
                session=session, **_arguments(credentials, kind, api_version)
            )
    except SalesforceAuthenticationFailed as error:
        raise _refused(kind, error, session, credentials) from None
    except (requests.Timeout, requests.ConnectionError) as error:
        raise unreachable(host_of(base), connection_problem(error)) from None
    except (InvalidConfigValue, ServiceFailed):
        raise
    except Exception as error:
        # A broken key or an unforeseen answer raises whatever the libraries below raise.
        value, host = str(session.answer.get("access_token") or ""), ""
        if session.status is not None and 300 <= session.status < 400:
            raise _redirected(session) from None
        if not value or session.status != 200:
            raise _unreadable(kind, error, session.status) from None
    if not isinstance(value, str) or not value:
        raise ServiceFailed("Salesforce answered the login without an access token")
    return token_of(base, value, str(host or ""), session.answer)


def _arguments(
    credentials: SalesforceCredentials, kind: LoginKind, api_version: str
) -> dict[str, Any]:
    if kind == "JWT bearer":
        return {
            "username": credentials.username,
            "consumer_key": credentials.client_id,
            # An environment variable often holds a key's line breaks as two characters each.
            "privatekey": str(credentials.private_key).replace("\\n", "\n"),
            # The audience of the assertion. The session decides where it is sent.
            "domain": audience_of(credentials),
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
    """Sends what simple-salesforce addresses to salesforce.com to the configured instance.

    Attributes:
        status: The HTTP status of the answer, None before there is one.
        answer: The JSON object of the answer; empty when it is something else.
    """

    def __init__(self, base: str, timeout_seconds: float) -> None:
        super().__init__()
        self.base = base
        self.timeout_seconds = timeout_seconds
        self.deadline = SystemClock().monotonic() + LOGIN_SECONDS_MAX
        self.status: int | None = None
        self.location = ""
        self.answer: Mapping[str, Any] = {}
        self.mount("https://", bounded_adapter(LOGIN_SECONDS_MAX))
        self.mount("http://", bounded_adapter(LOGIN_SECONDS_MAX))

    def request(self, method: Any, url: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        parts = urlsplit(str(url))
        kwargs["timeout"] = self.timeout_seconds
        # A redirect would carry the credential to another host.
        kwargs["allow_redirects"] = False
        kwargs["stream"] = True
        # Without this, an entry for the host in ~/.netrc would replace the header.
        kwargs.setdefault("auth", lambda request: request)
        response = super().request(method, f"{self.base}{parts.path}", **kwargs)
        self.status = response.status_code
        self.location = host_of(response.headers.get("Location", ""))
        pieces = read_body(
            response,
            bytes_max=LOGIN_BYTES_MAX,
            seconds_left=lambda: self.deadline - SystemClock().monotonic(),
        )
        response._content = b"".join(pieces)
        try:
            parsed = parse_json(response._content, "the login")
        except AnswerUnreadable:
            parsed = {}
        self.answer = parsed if isinstance(parsed, Mapping) else {}
        return response


def _refused(
    kind: LoginKind,
    failure: SalesforceAuthenticationFailed,
    session: _LoginSession,
    credentials: SalesforceCredentials,
) -> CredentialRefused | ServiceFailed:
    status = session.status
    # A SOAP fault has its code and text in the library's error; an OAuth refusal in the answer.
    code = str(session.answer.get("error") or getattr(failure, "code", "") or "")
    text = session.answer.get("error_description") or getattr(failure, "auth_message", "") or ""
    text = scrub(str(text), credentials)
    if status is not None and 300 <= status < 400:
        return _redirected(session)
    # A SOAP fault is an HTTP 500 with a code of its own.
    is_own_code = code.startswith(("INVALID", "LOGIN", "sf:", "API_"))
    if code in RETRY_ERRORS or (status in RETRY_STATUSES and not is_own_code):
        reason = f": {code}: {text[:200]}" if session.answer and code else ""
        return ServiceFailed(f"Salesforce answered the login with HTTP {status}{reason}")
    is_shown = text and "<" not in text
    reason = f"{code}: {text[:200]}" if is_shown else code
    if not session.answer and kind != "username and password":
        return ServiceFailed(
            f"Salesforce answered the login with something unreadable (HTTP {status})",
            hint="Check that sources.salesforce.credentials.instance_url is a Salesforce org.",
        )
    return CredentialRefused(
        f"Salesforce refused the login by {kind}: {reason}",
        hint=_hint(code, text) or _KIND_HINTS.get(kind),
    )


def _redirected(session: _LoginSession) -> ServiceFailed:
    target = f" to {session.location}" if session.location else ""
    return ServiceFailed(
        f"Salesforce answered the login with a redirect{target} (HTTP {session.status})",
        hint="Set instance_url under [sources.salesforce.credentials] to the org's My Domain, as"
        " https://acme.my.salesforce.com.",
    )


def _hint(code: str, text: str) -> str | None:
    for error, part, hint in _HINTS:
        if (not error or error == code.lower()) and part in text.lower():
            return hint
    return None


def _unreadable(
    kind: LoginKind, error: Exception, status: int | None
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
