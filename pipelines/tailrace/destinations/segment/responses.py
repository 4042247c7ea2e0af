"""What an answer of Segment means for the batch.

A status says little: Segment answers 200 to a wrong write key, collectors refuse with 200 and
`success: false`, and a proxy's login page comes with 200 too. Only an answer that is known to
mean yes counts as accepted.
"""

from __future__ import annotations

import codecs
from typing import Any, Protocol

import orjson

from tailrace.destinations.answers import (
    REASON_BYTES_MAX,
    host_of_location,
    requested_wait_seconds,
    response_reason,
)
from tailrace.destinations.open_connection import Answer
from tailrace.destinations.outcome import (
    SendOutcome,
    describe_response,
    fatal,
)
from tailrace.errors import CredentialRefused, ServiceFailed

RETRIED = frozenset({408, 410, 429, 460})
REFUSED = frozenset({400, 413, 422})
# The answers of collectors: Segment and Jitsu answer with an object, RudderStack with `OK`.
YES_WORDS = frozenset({"", "ok", "success", "accepted", "true"})
FAILURE_WORDS = frozenset({"error", "fail", "failed", "failure", "rejected"})
YES_KEYS = ("success", "ok")
STATE_KEYS = ("status", "result", "message")
NO_KEYS = ("error", "errors")
# How servers name a body that they could not decompress; 0x1f is the first byte of gzip.
COMPRESSION_WORDS = ("gzip", "encoding", "compress", "\\x1f", "\\u001f")


class _Client(Protocol):
    name: str
    section: str
    address_key: str

    @property
    def uses_oauth(self) -> bool: ...


def answer_outcome(answer: Answer, client: _Client) -> SendOutcome:
    """Classify an answer to a batch."""
    status = answer.status
    if 200 <= status < 300:
        return _success_outcome(answer, client)
    if 300 <= status < 400:
        target = host_of_location(answer.headers.get("Location", ""))
        return fatal(
            ServiceFailed(
                f"{client.name} redirects to {target}: nothing was delivered",
                hint=f"Check {client.address_key}, or a proxy that asks for a login.",
            ),
            status,
        )
    reason = response_reason(answer)
    if status == 415 or (status == 400 and _is_about_compression(answer)):
        return fatal(
            ServiceFailed(
                f"{client.name} does not accept compressed requests "
                f"({describe_response(status, reason)})",
                hint=f"Set compress = false under [{client.section}].",
            ),
            status,
        )
    if status in REFUSED:
        return SendOutcome(outcome="refused", status=status, reason=reason)
    if status in (401, 403):
        return fatal(
            CredentialRefused(
                f"{client.name} refused the credential ({status})",
                hint=f"Check {client.section}.write_key, and the region of host.",
            ),
            status,
        )
    if status in RETRIED or (
        status >= 500 and status not in (501, 505) and (status != 511 or client.uses_oauth)
    ):
        return SendOutcome(
            outcome="retry",
            status=status,
            reason=reason,
            unconfirmed=status >= 500 or status == 408,
            wait_seconds=requested_wait_seconds(answer.headers),
            overloaded=True,
        )
    return fatal(
        ServiceFailed(
            f"{client.name} answered a batch with {describe_response(status, reason)}",
            hint=f"Is {client.address_key} a Segment-compatible collector?",
        ),
        status,
    )


def _success_outcome(answer: Answer, client: _Client) -> SendOutcome:
    status = answer.status
    content = answer.content.removeprefix(codecs.BOM_UTF8).strip()
    if content.startswith(b"<") or "html" in answer.headers.get("Content-Type", ""):
        return fatal(
            ServiceFailed(
                f"{client.name} answered with a web page: a login or an error page, not Segment",
                hint=f"Check {client.address_key}, or a proxy that asks for a login.",
            ),
            status,
        )
    document: Any = answer.text.strip()
    if content.startswith((b"{", b"[", b'"')):
        try:
            document = orjson.loads(content)
        except orjson.JSONDecodeError:
            document = None
    if isinstance(document, dict) and False in (document.get("success"), document.get("ok")):
        return SendOutcome(outcome="refused", status=status, reason=response_reason(answer))
    if answer.whole and _is_yes(document):
        return SendOutcome(outcome="accepted", status=status)
    reason = f"an unreadable answer {response_reason(answer)}".strip()
    return SendOutcome(outcome="retry", status=status, reason=reason, unconfirmed=True)


def _is_yes(document: Any) -> bool:
    """Whether an answer is known to mean that the batch was accepted.

    >>> [_is_yes(content) for content in ("OK", {"success": True}, {}, {"message": "ok"}, [])]
    [True, True, True, True, False]
    >>> _is_yes({"ok": True, "error": "x"}), _is_yes({"status": "error", "message": "OK"})
    (False, False)
    """
    if isinstance(document, str):
        return document.lower() in YES_WORDS
    if not isinstance(document, dict) or any(document.get(key) for key in NO_KEYS):
        return False
    states = [document[key] for key in STATE_KEYS if key in document]
    if any(isinstance(state, str) and state.lower() in FAILURE_WORDS for state in states):
        return False
    return not document or any(
        value is True or (isinstance(value, str) and value.lower() in YES_WORDS)
        for value in [*states, *(document.get(key) for key in YES_KEYS)]
    )


def _is_about_compression(answer: Answer) -> bool:
    text = answer.text[:REASON_BYTES_MAX].lower()
    return any(word in text for word in COMPRESSION_WORDS) or "\x1f" in text
