"""Signatures of the Standard Webhooks specification (https://www.standardwebhooks.com)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence

SECRET_PREFIX = "whsec_"
SECRET_BYTES_MIN = 24
SECRET_BYTES_MAX = 64
TOLERANCE_SECONDS = 300


def secret_key(secret: str) -> bytes:
    """The key in a `whsec_…` secret.

    Raises:
        ValueError: The text is not a secret of the specification.
    """
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except binascii.Error:
        key = b""
    if not secret.startswith(SECRET_PREFIX) or not SECRET_BYTES_MIN <= len(key) <= SECRET_BYTES_MAX:
        raise ValueError("A secret is whsec_ and the base64 text of 24 to 64 bytes")
    return key


def sign(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """The `v1,…` signature of a request."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    digest = hmac.new(secret_key(secret), signed, hashlib.sha256).digest()
    return "v1," + base64.b64encode(digest).decode()


def signature_error(
    headers: Mapping[str, str], body: bytes, secrets: Sequence[str], *, now: float
) -> str | None:
    """Why a request is not authentic; None if it is.

    Args:
        headers: with names in lower case.
        secrets: one must have signed the request; several while secrets are rotated.
        now: Unix time in seconds.
    """
    missing = [name for name in _HEADERS if not headers.get(name)]
    if missing:
        return f"Missing header {missing[0]}"
    timestamp = headers["webhook-timestamp"]
    if not timestamp.isdecimal():
        return "webhook-timestamp must be a Unix time in seconds"
    if abs(now - int(timestamp)) > TOLERANCE_SECONDS:
        return (
            f"webhook-timestamp differs from the server's time by more than {TOLERANCE_SECONDS} s"
        )
    given = headers["webhook-signature"].split(" ")
    for secret in secrets:
        expected = sign(secret, headers["webhook-id"], int(timestamp), body)
        if any(hmac.compare_digest(expected, signature) for signature in given):
            return None
    return "No signature matches"


_HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")
