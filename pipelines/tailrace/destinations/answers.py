"""What all receivers' answers have in common: reasons, redirects, and pauses they ask for."""

from __future__ import annotations

import codecs
import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import orjson

from tailrace.clock import SystemClock
from tailrace.destinations.open_connection import Answer
from tailrace.destinations.outcome import safe_text, without_values
from tailrace.retry import retry_after_seconds

# The cap of analytics libraries on Retry-After.
WAIT_SECONDS_MAX = 300.0
REASON_BYTES_MAX = 2_000
# Shorter texts are found in any answer, and protect nothing.
SECRET_CHARACTERS_MIN = 6


def host_of_location(location: str) -> str:
    """The host that a redirect names, to be shown."""
    try:
        host = urlsplit(location).hostname
    except ValueError:
        host = None
    return safe_text(host or "elsewhere")


def requested_wait_seconds(headers: Mapping[str, str]) -> float | None:
    """Seconds from Retry-After, else from X-RateLimit-Reset; None if neither gives any."""
    now_seconds = SystemClock().now().timestamp()
    seconds = retry_after_seconds(headers.get("Retry-After"), now_seconds=now_seconds)
    if not seconds:
        try:
            seconds = float(headers.get("X-RateLimit-Reset", ""))
        except ValueError:
            return None
    return min(seconds, WAIT_SECONDS_MAX) if math.isfinite(seconds) and seconds > 0 else None


def without_secrets(answer: Answer, secrets: Iterable[str]) -> Answer:
    """The answer with `***` in place of each secret that it repeats, also as JSON writes it.

    The whole body is searched, since a reason that was cut to a length may end inside a secret.
    """
    content, reason = answer.content, answer.reason
    # A secret may be a part of another one.
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) < SECRET_CHARACTERS_MIN:
            continue
        in_json = orjson.dumps(secret)[1:-1]
        for written in {secret.encode(), in_json, in_json.replace(b"/", b"\\/")}:
            content = content.replace(written, b"***")
        reason = reason.replace(secret, "***")
    if content == answer.content and reason == answer.reason:
        return answer
    return replace(answer, content=content, reason=reason)


def response_reason(answer: Answer) -> str:
    """The service's own reason, without what it may quote from the messages."""
    text = answer.text[:REASON_BYTES_MAX]
    try:
        document = orjson.loads(answer.content.removeprefix(codecs.BOM_UTF8))
    except orjson.JSONDecodeError:
        document = None
    if isinstance(document, dict):
        parts = [document.get(key) for key in ("code", "error", "message", "errors")]
        shown = (_short(part) for part in parts if part)
        text = ": ".join(part for part in shown if part) or answer.reason
    elif isinstance(document, list) or text.lstrip("\ufeff \r\n\t").startswith("<"):
        text = answer.reason
    return without_values(text)


def _short(part: Any) -> str:
    """A part of a reason as text, cut to a length; empty for values that are nested too deeply."""
    if isinstance(part, str):
        return part
    try:
        return orjson.dumps(part)[:REASON_BYTES_MAX].decode("utf-8", "ignore")
    except orjson.JSONEncodeError:
        return ""
