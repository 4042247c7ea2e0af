"""What an answer to a request means for its elements.

2xx accepts a request. If the answer is a JSON array with `success` per element, in the order of the
request, it is the verdict of each. Other refusals are of the whole request, which is bisected.
"""

from __future__ import annotations

import codecs
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from tailrace.dataclass import dataclass
from tailrace.destinations.answers import (
    host_of_location,
    requested_wait_seconds,
    response_reason,
)
from tailrace.destinations.open_connection import Answer
from tailrace.destinations.outcome import (
    RejectedMessage,
    SendOutcome,
    describe_response,
    fatal,
    without_values,
)
from tailrace.errors import CredentialRefused, ReceiverGone, ServiceFailed

REFUSED = frozenset({400, 409, 413, 422})
RETRIED = frozenset({408, 423, 425, 429})
GONE = 410
# An Apex class that fails because of other work in the org, not because of a row.
APEX_TRANSIENT = ("UNABLE_TO_LOCK_ROW", "REQUEST_LIMIT_EXCEEDED", "ConcurrentPerOrg", "LongTxn")
APEX_ERROR = "APEX_ERROR"


@dataclass(frozen=True, kw_only=True)
class Receiver:
    """What messages say about the receiver.

    Attributes:
        name: The host.
        section: The section of the configuration.
        is_apex: It is an Apex class.
    """

    name: str
    section: str
    is_apex: bool

    @property
    def destination(self) -> str:
        """The name of the section."""
        return self.section.partition(".")[2]


def answer_outcome(answer: Answer, receiver: Receiver, *, elements: int) -> SendOutcome:
    """Classify the answer to a request of so many elements."""
    status = answer.status
    if 200 <= status < 300:
        return _success_outcome(answer, receiver, elements)
    if 300 <= status < 400:
        target = host_of_location(answer.headers.get("Location", ""))
        return fatal(
            ServiceFailed(
                f"{receiver.name} redirects to {target}: nothing was delivered",
                hint=f"Redirects are not followed. Set url under [{receiver.section}] to the "
                "address that takes the requests.",
            ),
            status,
        )
    if status == GONE:
        name = receiver.destination
        return fatal(
            ReceiverGone(
                f"{receiver.name} says that it is gone (410): {name} receives nothing until it "
                "is resumed",
                hint=f"Set url under [{receiver.section}], then run: tailrace destinations resume "
                f"{name}. The unsent changes stay in the outbox.",
            ),
            status,
        )
    reason = _reason(answer)
    if status in REFUSED or (receiver.is_apex and _is_apex_refusal(answer)):
        return SendOutcome(outcome="refused", status=status, reason=reason)
    transient = receiver.is_apex and _mentions(answer, APEX_TRANSIENT)
    if status in RETRIED or (status >= 500 and status not in (501, 505)) or transient:
        return SendOutcome(
            outcome="retry",
            status=status,
            reason=reason,
            # A server that fails may have taken the request before.
            unconfirmed=status >= 500 or status == 408,
            wait_seconds=requested_wait_seconds(answer.headers),
            overloaded=True,
        )
    return fatal(_error(status, reason, receiver), status)


def _error(status: int, reason: str, receiver: Receiver) -> CredentialRefused | ServiceFailed:
    response = describe_response(status, reason)
    if status in (401, 403):
        where = "the org's login and the user's access to the Apex class"
        own = f"headers and secret under [{receiver.section}]"
        return CredentialRefused(
            f"{receiver.name} refused the request ({response})",
            hint=f"Check {where if receiver.is_apex else own}.",
        )
    return ServiceFailed(
        f"{receiver.name} answered {response}",
        hint=f"Check url and method under [{receiver.section}]. Nothing is lost: run the same "
        "command again.",
    )


def _success_outcome(answer: Answer, receiver: Receiver, elements: int) -> SendOutcome:
    status = answer.status
    content = answer.content.removeprefix(codecs.BOM_UTF8).lstrip()
    if content[:15].lower().startswith((b"<!doctype html", b"<html")):
        return fatal(
            ServiceFailed(
                f"{receiver.name} answered with a web page: a login or an error page",
                hint=f"Check url under [{receiver.section}], or a proxy that asks for a login.",
            ),
            status,
        )
    document: Any = None
    if content.startswith((b"[", b"{")):
        try:
            document = orjson.loads(content)
        except orjson.JSONDecodeError:
            document = None
    if isinstance(document, list) and any(_has_verdict(entry) for entry in document):
        return _verdicts(document, status, elements)
    if content.startswith(b"[") and b'"success"' in content and document is None:
        # The response ended early, so the result of each element is unknown.
        return _unreadable(status)
    if isinstance(document, dict) and document.get("success") is False:
        return SendOutcome(outcome="refused", status=status, reason=_reason(answer))
    return SendOutcome(outcome="accepted", status=status)


def _verdicts(entries: Sequence[Any], status: int, elements: int) -> SendOutcome:
    if len(entries) != elements or not all(_has_verdict(entry) for entry in entries):
        return _unreadable(status)
    return SendOutcome(
        outcome="accepted",
        status=status,
        rejected=tuple(
            RejectedMessage(index=index, reason=_reason_in(entry), status=_status_in(entry))
            for index, entry in enumerate(entries)
            if not entry["success"]
        ),
    )


def _unreadable(status: int) -> SendOutcome:
    return SendOutcome(
        outcome="retry", status=status, reason="verdicts that do not fit", unconfirmed=True
    )


def _has_verdict(entry: Any) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("success"), bool)


def _status_in(entry: Mapping[str, Any]) -> int | None:
    status = entry.get("status", entry.get("statusCode"))
    return status if isinstance(status, int) and not isinstance(status, bool) else None


def _reason_in(entry: Mapping[str, Any]) -> str:
    """The reason of one element: `error`, `message`, or Salesforce's list of `errors`.

    >>> _reason_in({"success": False, "errors": [{"statusCode": "X", "message": "too long"}]})
    'X: too long'
    >>> _reason_in({"success": False, "error": "no such plan"}), _reason_in({"success": False})
    ('no such plan', 'rejected')
    """
    errors = entry.get("errors")
    first = errors[0] if isinstance(errors, list) and errors else errors
    parts: list[Any] = [entry.get("error"), entry.get("message"), entry.get("reason")]
    if isinstance(first, Mapping):
        parts += [first.get("statusCode") or first.get("code"), first.get("message")]
    else:
        parts.append(first)
    texts = [part for part in parts if isinstance(part, str) and part]
    return without_values(": ".join(dict.fromkeys(texts))) or "rejected"


def _reason(answer: Answer) -> str:
    """The reason of a whole answer; Salesforce's is in a list."""
    try:
        document = orjson.loads(answer.content.removeprefix(codecs.BOM_UTF8))
    except orjson.JSONDecodeError:
        document = None
    if isinstance(document, list) and document and isinstance(document[0], dict):
        parts = [document[0].get("errorCode"), document[0].get("message")]
        text = ": ".join(part for part in parts if isinstance(part, str) and part)
        return without_values(text) or answer.reason
    return response_reason(answer)


def _is_apex_refusal(answer: Answer) -> bool:
    """Whether a class did not catch an exception: its transaction was rolled back."""
    return (
        answer.status == 500
        and _mentions(answer, (APEX_ERROR,))
        and not _mentions(answer, APEX_TRANSIENT)
    )


def _mentions(answer: Answer, words: Sequence[str]) -> bool:
    return any(word in answer.text[:10_000] for word in words)
