"""The authorization server of Segment: bearer tokens for RS256 client assertions."""

from __future__ import annotations

import secrets
import threading
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tailrace.testing.http.messages import Request, Response

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ASSERTION_SECONDS_MAX = 60


class Authorization:
    """A registered OAuth application with its key, and the valid tokens."""

    def __init__(self, *, client_id: str = "sandbox-app", key_id: str = "sandbox-key") -> None:
        private = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
        self.client_id = client_id
        self.key_id = key_id
        self.scope = "tracking_api:write"
        self.token_seconds = 86_400
        self.client_key = private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode()
        self._public = private.public_key()
        self._lock = threading.Lock()
        self._tokens: dict[str, float] = {}
        self._used: set[str] = set()

    def token(self, request: Request, *, audience: str, now: datetime) -> Response:
        """The answer to `POST /token`."""
        form = {name: values[-1] for name, values in parse_qs(request.content().decode()).items()}
        wrong = self._wrong(request, form, audience, now)
        if wrong is not None:
            code, description = wrong
            status = 401 if code == "invalid_client" else 400
            return Response.of_json({"error": code, "error_description": description}, status)
        token = secrets.token_urlsafe(24)
        with self._lock:
            self._tokens[token] = now.timestamp() + self.token_seconds
        return Response.of_json(
            {
                "access_token": token,
                "token_type": "Bearer",
                "scope": self.scope,
                "expires_in": self.token_seconds,
            }
        )

    def knows(self, token: str, now: datetime) -> bool:
        """Whether a bearer token is valid."""
        with self._lock:
            return self._tokens.get(token, 0.0) > now.timestamp()

    def expire(self) -> None:
        """Expire all tokens."""
        with self._lock:
            self._tokens.clear()

    def _wrong(
        self, request: Request, form: dict[str, str], audience: str, now: datetime
    ) -> tuple[str, str] | None:
        if request.content_type != "application/x-www-form-urlencoded":
            return "invalid_request", "Content-Type is not application/x-www-form-urlencoded"
        if form.get("grant_type") != "client_credentials":
            return "unsupported_grant_type", "grant_type is not client_credentials"
        if form.get("client_assertion_type") != ASSERTION_TYPE:
            return "invalid_request", "client_assertion_type is not jwt-bearer"
        if form.get("scope") != self.scope:
            return "invalid_scope", "no such scope"
        try:
            claims = self._claims(form.get("client_assertion", ""), audience)
        except (jwt.PyJWTError, ValueError) as error:
            return "invalid_client", type(error).__name__
        return self._wrong_claims(claims, now)

    def _claims(self, assertion: str, audience: str) -> dict[str, Any]:
        if jwt.get_unverified_header(assertion).get("kid") != self.key_id:
            raise ValueError("kid")
        claims: dict[str, Any] = jwt.decode(
            assertion,
            self._public,
            algorithms=["RS256"],
            audience=audience,
            options={
                "require": ["sub", "aud", "iat", "exp", "jti"],
                "verify_exp": False,
                "verify_iat": False,
            },
        )
        return claims

    def _wrong_claims(self, claims: dict[str, Any], now: datetime) -> tuple[str, str] | None:
        if claims["sub"] != self.client_id:
            return "invalid_client", "no such application"
        if claims["exp"] <= now.timestamp():
            return "invalid_request", "Token is expired"
        if claims["iat"] > now.timestamp() + 1:
            return "invalid_request", "Token used before issued"
        if claims["exp"] - claims["iat"] > ASSERTION_SECONDS_MAX:
            return "invalid_request", "the assertion is valid for more than 60 seconds"
        with self._lock:
            if claims["jti"] in self._used:
                return "invalid_request", "jti was used before"
            self._used.add(claims["jti"])
        return None
