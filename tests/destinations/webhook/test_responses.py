"""What each answer of a receiver means, element by element."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tailrace.destinations.http import Answer
from tailrace.destinations.outcome import SendOutcome
from tailrace.destinations.webhook.responses import Receiver, answer_outcome
from tailrace.errors import CredentialRefused, ReceiverGone, ServiceFailed

URL = Receiver(name="crm.example.com", section="destination.webhook", is_apex=False)
APEX = Receiver(name="acme.my.salesforce.com", section="destination.webhook", is_apex=True)
YES, NO = {"success": True}, {"success": False, "error": "no"}


def outcome(
    status: int, body: Any = "", *, receiver: Receiver = URL, elements: int = 2, **headers: str
) -> SendOutcome:
    content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = Answer(status=status, reason="", headers=named, content=content)
    return answer_outcome(answer, receiver, elements=elements)


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, "", "accepted"),
        (204, "", "accepted"),
        (202, "queued", "accepted"),
        (200, {"id": 5}, "accepted"),
        (200, [YES, YES], "accepted"),
        # A list of something else is not a verdict.
        (201, [{"id": 1}, {"id": 2}, {"id": 3}], "accepted"),
        (200, {"success": False, "error": "no"}, "refused"),
        (200, [YES], "retry"),
        (200, [YES, YES, YES], "retry"),
        (200, [YES, {}], "retry"),
        (200, [YES, {"success": "yes"}], "retry"),
        (200, '[{"success": true}, {"succ', "retry"),
        (200, "<!DOCTYPE html><html></html>", "fatal"),
        (400, "", "refused"),
        (409, "", "refused"),
        (413, "", "refused"),
        (422, "", "refused"),
        (408, "", "retry"),
        (425, "", "retry"),
        (429, "", "retry"),
        (500, "", "retry"),
        (503, "", "retry"),
        (301, "", "fatal"),
        (401, "", "fatal"),
        (403, "", "fatal"),
        (404, "", "fatal"),
        (405, "", "fatal"),
        (410, "", "fatal"),
        (501, "", "fatal"),
    ],
)
def test_an_answer_has_one_meaning(status: int, body: Any, expected: str) -> None:
    assert expected == outcome(status, body).outcome


def test_a_verdict_is_of_its_element() -> None:
    errors = [{"statusCode": "STRING_TOO_LONG", "message": "Title: ann@example.com is too long"}]
    found = outcome(200, [YES, {"success": False, "errors": errors, "status": 422}])
    (rejected,) = found.rejected
    # What the receiver quotes of a row is left out.
    assert (1, 422, "STRING_TOO_LONG: Title: … is too long") == (
        rejected.index,
        rejected.status,
        rejected.reason,
    )


def test_what_may_have_arrived_is_unconfirmed() -> None:
    assert [True, True, True, False, False] == [
        outcome(500).unconfirmed,
        outcome(408).unconfirmed,
        outcome(200, [YES]).unconfirmed,
        outcome(429).unconfirmed,
        outcome(400).unconfirmed,
    ]
    assert 7.0 == outcome(429, Retry_After="7").wait_seconds


def test_each_failure_says_what_to_do_next() -> None:
    gone, refused, missing = (outcome(status).error for status in (410, 401, 404))
    assert isinstance(gone, ReceiverGone) and "resume webhook" in (gone.hint or "")
    assert isinstance(refused, CredentialRefused) and "secret" in (refused.hint or "")
    assert isinstance(missing, ServiceFailed) and "url and method" in (missing.hint or "")


@pytest.mark.parametrize(
    ("status", "code", "message", "expected"),
    [
        (500, "APEX_ERROR", "System.DmlException: REQUIRED_FIELD_MISSING", "refused"),
        (500, "APEX_ERROR", "System.DmlException: UNABLE_TO_LOCK_ROW", "retry"),
        (500, "UNKNOWN_EXCEPTION", "An unexpected error occurred", "retry"),
        (503, "REQUEST_LIMIT_EXCEEDED", "ConcurrentPerOrgLongTxn Limit exceeded", "retry"),
        (400, "JSON_PARSER_ERROR", "Unexpected character", "refused"),
        (403, "INSUFFICIENT_ACCESS", "no access to the class", "fatal"),
        (404, "NOT_FOUND", "Could not find a match for URL", "fatal"),
    ],
)
def test_an_error_of_salesforce_has_one_meaning(
    status: int, code: str, message: str, expected: str
) -> None:
    found = outcome(status, [{"errorCode": code, "message": message}], receiver=APEX)
    assert expected == found.outcome
    assert code in found.reason
