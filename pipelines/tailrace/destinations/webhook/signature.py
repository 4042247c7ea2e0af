"""Signatures of requests, by the Standard Webhooks specification.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence

from tailrace.errors import InvalidConfigValue

SECRET_PREFIX = "whsec_"
SECRET_BYTES_MIN = 24
SECRET_BYTES_MAX = 64
# The current secret and the next one.
SECRETS_MAX = 2


def secret_keys(secret: str | None, key: str) -> tuple[bytes, ...]:
    """The signing keys of a secret; several secrets have a space between them.

    Args:
        secret: As it is configured; None for unsigned requests.
        key: The setting, for the message.

    Raises:
        InvalidConfigValue: It is not `whsec_` and the base64 of 24 to 64 bytes.
    """
    secrets = (secret or "").split()
    keys = tuple(_key(one) for one in secrets)
    if (secret is not None and not keys) or len(keys) > SECRETS_MAX or None in keys:
        raise InvalidConfigValue(
            f"{key} is not a secret of Standard Webhooks",
            hint=f"Write {key} as whsec_ and the base64 of 24 to 64 random bytes; while it is "
            "rotated, two of them with a space between.",
            key=key,
        )
    return tuple(one for one in keys if one is not None)


def _key(secret: str) -> bytes | None:
    if not secret.startswith(SECRET_PREFIX):
        return None
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except binascii.Error:
        return None
    return key if SECRET_BYTES_MIN <= len(key) <= SECRET_BYTES_MAX else None


def signature_headers(
    keys: Sequence[bytes], request_id: str, body: bytes, *, seconds: int
) -> dict[str, str]:
    """`webhook-id`, `webhook-timestamp` and, with keys, `webhook-signature`.

    Args:
        keys: The signing keys; none for an unsigned request.
        request_id: The same for every attempt.
        body: The body as it is sent.
        seconds: Unix time of the attempt.
    """
    headers = {"webhook-id": request_id, "webhook-timestamp": str(seconds)}
    signed = f"{request_id}.{seconds}.".encode() + body
    signatures = [
        "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        for key in keys
    ]
    return headers | ({"webhook-signature": " ".join(signatures)} if signatures else {})
