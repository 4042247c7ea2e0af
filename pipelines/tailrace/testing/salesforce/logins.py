"""Logins: OAuth 2.0 token requests, SOAP login, and access tokens."""

from __future__ import annotations

import base64
import binascii
import functools
import json
import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import parse_qs
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tailrace.testing.http.messages import Request, Response
from tailrace.testing.salesforce.behavior import OrgBehavior
from tailrace.testing.salesforce.refusals import TokenRefused, session_invalid

JWT_SECONDS_MAX = 180
# Tolerance for differences between clocks.
JWT_SKEW_SECONDS_MAX = 180
SOAP_VERSION_MAX = 64.0
USER_ID = "005Hs0000000001IAA"
_SOAP = "{http://schemas.xmlsoap.org/soap/envelope/}"
_LOGIN_HOSTS = ("https://login.salesforce.com", "https://test.salesforce.com")


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """Credentials of the connected app and the integration user."""

    client_id: str = "3MVG9sandbox.client.id"
    client_secret: str = "sandbox-client-secret"
    username: str = "integration@example.com.sandbox"
    password: str = "sandbox-password"
    security_token: str = "sandboxToken"


class Logins:
    """Grants and checks access tokens."""

    def __init__(
        self,
        credentials: Credentials,
        *,
        url: Callable[[], str],
        now: Callable[[], datetime],
        org_id: Callable[[], str],
        behavior: OrgBehavior,
        token_seconds: float,
        soap: bool,
    ) -> None:
        self.credentials = credentials
        self.token_seconds = token_seconds
        self.soap = soap
        self.granted = 0
        self._url = url
        self._now = now
        self._org_id = org_id
        self._behavior = behavior
        self._tokens: dict[str, datetime] = {}
        self._lock = threading.Lock()

    def grant(self) -> str:
        """A new access token."""
        token = f"{self._org_id()[:15]}!{secrets.token_urlsafe(48)}"
        with self._lock:
            self.granted += 1
            self._tokens[token] = self._now() + timedelta(seconds=self.token_seconds)
        return token

    def expire(self) -> None:
        """End every session."""
        with self._lock:
            self._tokens.clear()

    def admit(self, request: Request) -> None:
        """Check the access token of an API call.

        Raises:
            Refused: The token is unknown or has expired.
        """
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() not in ("bearer", "oauth"):
            raise session_invalid()
        with self._lock:
            until = self._tokens.get(token.strip())
        if until is None or self._now() >= until:
            raise session_invalid()

    def token(self, request: Request) -> Response:
        """`POST /services/oauth2/token`."""
        if request.method != "POST":
            raise TokenRefused("invalid_request", "must use HTTP POST", 405)
        if "=" in request.target and ("secret" in request.target or "password" in request.target):
            raise TokenRefused("invalid_request", "secrets are not accepted in the URL")
        form: dict[str, str] = {}
        if request.content_type == "application/x-www-form-urlencoded":
            parsed = parse_qs(request.content().decode("utf-8", "replace"))
            form = {name: values[-1] for name, values in parsed.items()}
        grants: dict[str, Callable[[Mapping[str, str], Request], None]] = {
            "client_credentials": self._client_credentials,
            "password": self._password,
            "urn:ietf:params:oauth:grant-type:jwt-bearer": self._jwt,
        }
        grant = grants.get(form.get("grant_type", ""))
        if grant is None:
            raise TokenRefused("unsupported_grant_type", "grant type not supported")
        grant(form, request)
        if self._behavior.token_redirect is not None:
            return Response(status=302, headers={"Location": self._behavior.token_redirect})
        return Response.of_json(
            self._without_omitted(
                {
                    "access_token": self.grant(),
                    "signature": base64.b64encode(secrets.token_bytes(32)).decode(),
                    "scope": "api",
                    "instance_url": self._url(),
                    "id": f"{self._url()}/id/{self._org_id()}/{USER_ID}",
                    "token_type": "Bearer",
                    "issued_at": str(int(self._now().timestamp() * 1000)),
                }
            )
        )

    def user_info(self, request: Request) -> Response:
        """`GET /services/oauth2/userinfo`: the user and the org of a session."""
        self.admit(request)
        return Response.of_json(
            {
                "sub": f"{self._url()}/id/{self._org_id()}/{USER_ID}",
                "user_id": USER_ID,
                "organization_id": self._org_id(),
                "preferred_username": self.credentials.username,
                "active": True,
                "urls": {"rest": f"{self._url()}/services/data/v{{version}}/"},
            }
        )

    def _without_omitted(self, answer: dict[str, str]) -> dict[str, str]:
        omitted = self._behavior.token_omits
        return {name: value for name, value in answer.items() if name not in omitted}

    def soap_login(self, request: Request, version: str) -> Response:
        """`POST /services/Soap/u/{version}`: login with user name and password + token."""
        if request.method != "POST" or request.content_type != "text/xml":
            return _soap_fault("sf:INVALID_CONTENT", "Content-Type must be text/xml")
        if "soapaction" not in request.headers:
            return _soap_fault("sf:INVALID_SOAPACTION", "SOAPAction HTTP header missing")
        if float(version) > SOAP_VERSION_MAX:
            return _soap_fault("sf:UNSUPPORTED_API_VERSION", "login() is not in this API version")
        if not self.soap:
            message = "SOAP API login() is disabled by default in this org."
            return _soap_fault("sf:INVALID_OPERATION", message)
        try:
            tree = ElementTree.fromstring(request.content())
        except ElementTree.ParseError as error:
            return _soap_fault("soapenv:Client", str(error))
        texts = {element.tag.split("}")[-1]: element.text or "" for element in tree.iter()}
        if tree.tag != f"{_SOAP}Envelope" or "login" not in texts:
            return _soap_fault("soapenv:Client", "No operation available for request")
        credentials = self.credentials
        expected = (credentials.username, credentials.password + credentials.security_token)
        if (texts.get("username"), texts.get("password")) != expected:
            message = (
                "INVALID_LOGIN: Invalid username, password, security token; or user locked out."
            )
            return _soap_fault("sf:INVALID_LOGIN", message)
        server = f"{self._url()}/services/Soap/u/{version}/{self._org_id()[:15]}"
        body = (
            f"<loginResponse><result><passwordExpired>false</passwordExpired><serverUrl>{server}"
            f"</serverUrl><sessionId>{escape(self.grant())}</sessionId>"
            "<userId>" + USER_ID + "</userId></result></loginResponse>"
        )
        return _soap_envelope(200, body)

    def _client_credentials(self, form: Mapping[str, str], request: Request) -> None:
        self._check_client(*_client_of(form, request))

    def _password(self, form: Mapping[str, str], request: Request) -> None:
        self._check_client(*_client_of(form, request))
        credentials = self.credentials
        expected = (credentials.username, credentials.password + credentials.security_token)
        if (form.get("username"), form.get("password")) != expected:
            raise TokenRefused("invalid_grant", "authentication failure")

    def _check_client(self, client_id: str, client_secret: str) -> None:
        if client_id != self.credentials.client_id:
            raise TokenRefused("invalid_client_id", "client identifier invalid")
        if client_secret != self.credentials.client_secret:
            raise TokenRefused("invalid_client", "invalid client credentials")

    def _jwt(self, form: Mapping[str, str], request: Request) -> None:
        claims = _verified(form.get("assertion", ""))
        if claims.get("iss") != self.credentials.client_id:
            raise TokenRefused("invalid_client_id", "client identifier invalid")
        if claims.get("sub", claims.get("prn")) != self.credentials.username:
            raise TokenRefused("invalid_grant", "user hasn't approved this consumer")
        audiences: tuple[str, ...] = (
            *_LOGIN_HOSTS,
            self._url(),
            f"{self._url()}/services/oauth2/token",
        )
        if self._behavior.jwt_audience is not None:
            audiences = (self._behavior.jwt_audience.rstrip("/"),)
        if str(claims.get("aud", "")).rstrip("/") not in audiences:
            raise TokenRefused("invalid_grant", "audience is invalid")
        try:
            left = float(str(claims.get("exp"))) - self._now().timestamp()
        except ValueError:
            raise TokenRefused("invalid_grant", "expiration date is invalid") from None
        if left < -JWT_SKEW_SECONDS_MAX:
            raise TokenRefused("invalid_grant", "expired authorization code")
        if left > JWT_SECONDS_MAX + JWT_SKEW_SECONDS_MAX:
            raise TokenRefused("invalid_grant", "assertion expires too far in the future")


@functools.cache
def private_key() -> rsa.RSAPrivateKey:
    """The private key of the integration, generated once per process."""
    return rsa.generate_private_key(public_exponent=65_537, key_size=2_048)


def private_key_pem() -> str:
    """The key as PEM text."""
    return (
        private_key()
        .private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        .decode()
    )


def _client_of(form: Mapping[str, str], request: Request) -> tuple[str, str]:
    """Client id and secret from the form or from HTTP basic authentication."""
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            client_id, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            raise TokenRefused("invalid_client", "invalid client credentials") from None
        return client_id, secret
    if "client_id" not in form:
        raise TokenRefused("invalid_request", "missing required parameter: client_id")
    return form["client_id"], form.get("client_secret", "")


def _verified(assertion: str) -> dict[str, object]:
    """The claims of a JWT, after checking its signature."""
    try:
        head, body, signature = assertion.split(".")
        header = json.loads(_unpadded(head))
        claims: dict[str, object] = json.loads(_unpadded(body))
        signed = _unpadded(signature)
    except (ValueError, UnicodeDecodeError):
        raise TokenRefused("invalid_grant", "invalid assertion") from None
    if header.get("alg") != "RS256":
        raise TokenRefused("invalid_grant", "algorithm in JWT header is not supported")
    try:
        public = private_key().public_key()
        public.verify(signed, f"{head}.{body}".encode(), padding.PKCS1v15(), hashes.SHA256())
    except InvalidSignature:
        raise TokenRefused("invalid_grant", "invalid assertion") from None
    return claims


def _unpadded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _soap_fault(code: str, message: str) -> Response:
    short = code.split(":")[-1]
    return _soap_envelope(
        500,
        f"<soapenv:Fault><faultcode>{code}</faultcode><faultstring>{escape(message)}</faultstring>"
        f"<detail><sf:LoginFault xsi:type='sf:LoginFault'><sf:exceptionCode>{short}"
        f"</sf:exceptionCode><sf:exceptionMessage>{escape(message)}</sf:exceptionMessage>"
        "</sf:LoginFault></detail></soapenv:Fault>",
    )


def _soap_envelope(status: int, inside: str) -> Response:
    body = (
        '<?xml version="1.0" encoding="UTF-8"?><soapenv:Envelope'
        ' xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"'
        ' xmlns="urn:partner.soap.sforce.com" xmlns:sf="urn:fault.partner.soap.sforce.com"'
        ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">'
        f"<soapenv:Body>{inside}</soapenv:Body></soapenv:Envelope>"
    )
    return Response(
        status=status, body=body.encode(), headers={"Content-Type": "text/xml;charset=UTF-8"}
    )
