"""What Salesforce's error codes mean for an extract: retry, ask for less, or change a setting.

Decisions use error codes. Texts are translated into the language of the user, so they are only
shown. Codes: "Status Codes and Error Responses" in the REST API guide, and the Bulk API 2.0 guide.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tailrace.errors import SalesforceFault

TRANSIENT_STATUSES = frozenset({406, 408, 420, 429, 500, 502, 503, 504})
TRANSIENT_CODES = frozenset({"SERVER_UNAVAILABLE", "UNABLE_TO_LOCK_ROW", "UNKNOWN_EXCEPTION"})
# A smaller window or a shorter range of ids cures these; a retry does not.
TOO_LARGE_CODES = frozenset({"QUERY_TIMEOUT", "OPERATION_TOO_LARGE"})
LASTING_CODES = TOO_LARGE_CODES | {"EXCEEDED_ID_LIMIT", "QUERY_TOO_COMPLICATED"}
LOST_CURSOR_CODES = frozenset({"INVALID_QUERY_LOCATOR", "INVALID_LOCATOR", "NOT_FOUND", "404"})
FIELD_CODES = frozenset({"INVALID_FIELD", "INVALID_FIELD_FOR_INSERT_UPDATE"})
VERSION_CODES = frozenset({"UNSUPPORTED_API_VERSION", "410", "NOT_FOUND", "404"})
NOT_VISIBLE_CODES = frozenset({"NOT_FOUND", "404", "INVALID_TYPE"})
BULK_LIMIT_CODES = frozenset(
    {"LIMIT_EXCEEDED", "EXCEEDED_QUOTA", "ExceededQuota", "API_LIMIT_EXCEEDED", "TooManyJobs"}
)
URL_TOO_LONG_CODES = frozenset({"414", "431"})
# A failed job that Salesforce could not work on gives up with one of these in its message.
GAVE_UP_MARKS = ("retried more than", "timed out")

_OBJECT_HINTS = {
    "API_DISABLED_FOR_ORG": "Enable API access: the org's edition has to include the API, and the"
    ' user needs the permission "API Enabled".',
    "INSUFFICIENT_ACCESS": "Give the user read access to {object}, or take {object} out of objects"
    " under [sources.salesforce].",
    "INVALID_TYPE_FOR_OPERATION": "Salesforce does not let {object} be queried. Take {object} out"
    " of objects under [sources.salesforce].",
    "MALFORMED_QUERY": "Salesforce does not let {object} be read without a filter of its own. Take"
    " {object} out of objects under [sources.salesforce].",
    "UNSUPPORTED_API_VERSION": "Change api_version under [sources.salesforce]: the org does not"
    " serve this version for {object}.",
    "TXN_SECURITY_METERING_ERROR": "A transaction security policy blocks the read of {object}. Ask"
    ' an administrator for the permission "Exempt from Transaction Security".',
    "QUERY_TOO_COMPLICATED": "Leave out formula fields: set formula or exclude under"
    " [sources.salesforce.object.{object}].",
}
# For codes without a hint of their own; the same request is refused again.
_REFUSED_HINT = (
    "Salesforce refuses the request; its REST API guide explains the code. To go on without"
    " {object}, take it out of objects under [sources.salesforce]."
)
_SAME_HINT = {
    "API_CURRENTLY_DISABLED": "API_DISABLED_FOR_ORG",
    "FUNCTIONALITY_NOT_ENABLED": "API_DISABLED_FOR_ORG",
    "INSUFFICIENT_ACCESS_OR_READONLY": "INSUFFICIENT_ACCESS",
    "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY": "INSUFFICIENT_ACCESS",
    "INVALID_TYPE": "INSUFFICIENT_ACCESS",
    "NOT_FOUND": "INSUFFICIENT_ACCESS",
    "404": "INSUFFICIENT_ACCESS",
    "410": "UNSUPPORTED_API_VERSION",
    "403": "INSUFFICIENT_ACCESS",
    "INVALIDENTITY": "INVALID_TYPE_FOR_OPERATION",
    "CANNOT_QUERY": "INVALID_TYPE_FOR_OPERATION",
    "EXTERNAL_OBJECT_EXCEPTION": "MALFORMED_QUERY",
    "EXTERNAL_OBJECT_UNSUPPORTED_EXCEPTION": "MALFORMED_QUERY",
}
_CODE_AT_START = re.compile(r"\s*([A-Za-z][A-Za-z0-9_]{3,60})\s*:")


def error_in(body: Any) -> tuple[str, str]:
    """Salesforce's error code and message; empty when the body is not one of its errors.

    >>> error_in([{"errorCode": "INVALID_FIELD", "message": "No such column"}])
    ('INVALID_FIELD', 'No such column')
    """
    entry = body[0] if isinstance(body, list) and body else body
    if not isinstance(entry, Mapping):
        return "", ""
    code = entry.get("errorCode") or entry.get("error") or ""
    message = entry.get("message") or entry.get("error_description") or ""
    return (code if isinstance(code, str) else ""), (message if isinstance(message, str) else "")


def code_of_failed_job(message: str) -> str:
    """The code at the start of a failed job's message; empty when there is none.

    >>> code_of_failed_job("OPERATION_TOO_LARGE: exceeded 100000 distinct who/what's")
    'OPERATION_TOO_LARGE'
    """
    match = _CODE_AT_START.match(message)
    return match[1] if match else ""


def is_too_large(fault: SalesforceFault) -> bool:
    """Whether a smaller piece of the query may work."""
    if fault.code in TOO_LARGE_CODES:
        return True
    # Status 0: the fault of a failed job, whose only description is a text.
    return not fault.status and any(mark in fault.message.lower() for mark in GAVE_UP_MARKS)


def is_bulk_limit(fault: SalesforceFault) -> bool:
    """Whether the daily limit of Bulk API jobs or results is spent."""
    return fault.code in BULK_LIMIT_CODES or "DailyBulk" in fault.message


def named(fault: SalesforceFault, object_name: str) -> SalesforceFault:
    """The fault with the object's name in its message, and a hint for faults that last."""
    key = _SAME_HINT.get(fault.code, fault.code)
    hint = _OBJECT_HINTS.get(key, "").format(object=object_name) or fault.hint
    is_lasting = 400 <= fault.status < 500 and fault.status not in TRANSIENT_STATUSES
    if hint == SalesforceFault.hint and is_lasting and fault.code not in TRANSIENT_CODES:
        hint = _REFUSED_HINT.format(object=object_name)
    message = fault.message
    if not message.startswith(f"{object_name}:"):
        message = f"{object_name}: {message}"
    return SalesforceFault(message, code=fault.code, hint=hint, status=fault.status)
