"""What an answer of Segment means, or its absence. A status says less than it seems to."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

import requests
from segment.analytics import request
from urllib3.exceptions import MaxRetryError, NameResolutionError, NewConnectionError

from tailrace.errors import (
    CredentialRefused,
    InvalidConfigValue,
    ServiceFailed,
    TailraceError,
    Unreachable,
)

WAIT_SECONDS_MAX = 300.0
REASON_CHARS_MAX = 160
RETRIED = frozenset({408, 410, 429, 460})
REFUSED = frozenset({400, 413, 422})

Outcome = Literal["accepted", "refused", "again", "fatal"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What became of one request.

    Args:
        outcome: accepted; refused as it is (a part may pass); again later; or no use trying.
        doubtful: it may have been taken, although the answer does not say so.
        wait_seconds: how long the service asks everybody to wait.
        slower: the service has more than it can take.
        contact: something that speaks HTTP was there.
    """

    outcome: Outcome
    status: int | None = None
    reason: str = ""
    doubtful: bool = False
    wait_seconds: float | None = None
    slower: bool = False
    contact: bool = True
    error: TailraceError | None = None


class TokenUnavailable(requests.ConnectionError):
    """There is no OAuth token for the moment: the batch itself was not sent."""


def of_response(response: requests.Response, name: str, *, oauth: bool = False) -> Answer:
    """Read a response with suspicion: a status says less than it seems to."""
    status = response.status_code
    if 200 <= status < 300:
        return _of_success(response, name)
    if 300 <= status < 400:
        target = urlsplit(response.headers.get("Location", "")).hostname or "elsewhere"
        return _fatal(
            ServiceFailed(
                f"{name} redirects to {target}: nothing was delivered",
                hint="Look at destination.segment.host, or for a proxy that asks for a login.",
            ),
            status,
        )
    reason = reason_of(response)
    if status in REFUSED:
        return Answer(outcome="refused", status=status, reason=reason)
    if status in (401, 403):
        return _fatal(
            CredentialRefused(
                f"{name} refused the credential ({status})",
                hint="Look at destination.segment.write_key, and at the region of host.",
            ),
            status,
        )
    if status in RETRIED or (
        status >= 500 and status not in (501, 505) and (status != 511 or oauth)
    ):
        return Answer(
            outcome="again",
            status=status,
            reason=reason,
            doubtful=status >= 500 or status == 408,
            wait_seconds=wait_asked_for(response.headers, request.parse_retry_after(response)),
            slower=True,
        )
    return _fatal(
        ServiceFailed(
            f"{name} answered a batch with {said(status, reason)}",
            hint="Is destination.segment.host a Segment-compatible collector?",
        ),
        status,
    )


def _of_success(response: requests.Response, name: str) -> Answer:
    status = response.status_code
    start = response.content[:64].lstrip()
    if start.startswith(b"<") or "html" in response.headers.get("Content-Type", ""):
        return _fatal(
            ServiceFailed(
                f"{name} answered with a web page: that is a login or an error page, not Segment",
                hint="Look at destination.segment.host, or for a proxy that asks for a login.",
            ),
            status,
        )
    if start.startswith(b"{"):
        try:
            told = response.json()
        except ValueError:
            return Answer(outcome="again", status=status, reason="half an answer", doubtful=True)
        if told.get("success") is False or told.get("ok") is False:
            return Answer(outcome="refused", status=status, reason=reason_of(response))
    return Answer(outcome="accepted", status=status)


def _fatal(error: TailraceError, status: int | None = None) -> Answer:
    return Answer(outcome="fatal", status=status, reason=error.message, error=error)


def of_exception(error: requests.RequestException, name: str) -> Answer:
    """What a failure without an answer means; the texts of exceptions hold URLs, and stay here."""
    if isinstance(error, TokenUnavailable):
        return Answer(outcome="again", reason=str(error), contact=False)
    text = str(error)
    if isinstance(error, requests.exceptions.SSLError) and "CERTIFICATE_VERIFY" in text:
        return _fatal(
            Unreachable(
                f"The certificate of {name} is not trusted",
                hint="Behind a proxy with its own authority, set REQUESTS_CA_BUNDLE to its file.",
            )
        )
    if isinstance(error, requests.exceptions.ProxyError):
        return Answer(outcome="again", reason="the proxy does not connect", contact=False)
    if isinstance(error, requests.ConnectTimeout):
        return Answer(outcome="again", reason="no connection in time", slower=True, contact=False)
    cause = error.args[0] if error.args else None
    why = cause.reason if isinstance(cause, MaxRetryError) else cause
    if isinstance(why, NameResolutionError):
        return Answer(outcome="again", reason="the name does not resolve", contact=False)
    if isinstance(why, NewConnectionError):
        return Answer(outcome="again", reason="connection refused", contact=False)
    if isinstance(error, requests.ConnectionError | requests.Timeout):
        timed_out = isinstance(error, requests.Timeout)
        reason = "no answer in time" if timed_out else "the connection broke"
        return Answer(outcome="again", reason=reason, doubtful=True, slower=timed_out)
    if isinstance(error, ValueError):
        return _fatal(InvalidConfigValue("destination.segment.host or proxy is not a URL"))
    return Answer(outcome="again", reason="the answer broke off", doubtful=True)


def wait_asked_for(headers: Mapping[str, str], retry_after: float | None) -> float | None:
    """Seconds from Retry-After, else from X-RateLimit-Reset; none when neither says any."""
    if retry_after:
        return float(retry_after)
    try:
        seconds = float(headers.get("X-RateLimit-Reset", ""))
    except ValueError:
        return None
    return min(seconds, WAIT_SECONDS_MAX) if math.isfinite(seconds) and seconds > 0 else None


def reason_of(response: requests.Response) -> str:
    """The service's own words, without what they may quote from the payload."""
    words = response.text[:2_000]
    try:
        told = json.loads(response.content)
    except ValueError:
        told = None
    if isinstance(told, dict):
        said = [told.get(key) for key in ("code", "error", "message", "errors")]
        words = ": ".join(str(each) for each in said if each) or (response.reason or "")
    elif words.lstrip().startswith("<"):
        words = response.reason or ""
    return without_values(words)


def said(status: int | None, reason: str) -> str:
    """What a service said, in its number and its words, as far as it said any.

    >>> said(429, ""), said(400, "Bad Request"), said(None, "connection refused")
    ('429', '400: Bad Request', 'connection refused')
    """
    return ": ".join(str(each) for each in (status, reason) if each)


def without_values(words: str) -> str:
    """A message with everything quoted, numbered or addressed taken out.

    >>> without_values('Bad "ada@example.com" in ada@example.com, phone 491701234567')
    'Bad … in …, phone …'
    """
    words = re.sub(r"\"[^\"]*\"|'[^']*'|\S+@[\w.-]+|\S*\d{4,}\S*", "…", words)
    return " ".join(words.split())[:REASON_CHARS_MAX]
