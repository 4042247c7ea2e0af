"""What to do about Salesforce's error codes when records are written.

Codes: "Status Codes and Error Responses" of the REST API guide, and public reports of integrations.
Decisions use codes; a trigger's limit has none of its own and is known by Apex's exception texts,
which are not translated.
"""

from __future__ import annotations

import re
from typing import Literal

# again: the same rows, in smaller requests. stop: no row can be written now. present: the row is
# as wanted already. row: only this row is refused.
Action = Literal["again", "stop", "settings", "present", "row"]

_AGAIN = frozenset(
    {"UNABLE_TO_LOCK_ROW", "SERVER_UNAVAILABLE", "UNKNOWN_EXCEPTION", "QUERY_TIMEOUT"}
)
_STOP = frozenset(
    {
        *("REQUEST_LIMIT_EXCEEDED", "STORAGE_LIMIT_EXCEEDED", "INVALID_SESSION_ID"),
        *("OAUTH_APP_BLOCKED", "API_DISABLED_FOR_ORG", "API_CURRENTLY_DISABLED"),
        *("TXN_SECURITY_METERING_ERROR", "LIMIT_EXCEEDED", "ORG_LOCKED", "READ_ONLY_MODE"),
    }
)
# Codes of whole requests; in rows INVALID_FIELD means that a parent does not exist.
_SETTINGS = frozenset(
    {
        *("INVALID_FIELD", "INVALID_TYPE", "INVALID_TYPE_FOR_OPERATION", "NOT_FOUND", "404"),
        *("METHOD_NOT_ALLOWED", "INVALIDJOB", "UNSUPPORTED_API_VERSION", "410", "405"),
        *("INVALID_FIELD_FOR_INSERT_UPDATE", "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY_TYPE"),
    }
)
_TRIGGER_LIMITS = re.compile(
    r"Too many (SOQL|DML|query|future|queueable|callouts|SOSL|retrieves)|CPU time limit|"
    r"heap size|LimitException|maximum trigger depth",
    re.IGNORECASE,
)
_LIMIT_CODES = frozenset(
    {"CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", "CANNOT_EXECUTE_FLOW_TRIGGER", "LIMIT_EXCEEDED"}
)
_CODE_AT_START = re.compile(r"\s*([A-Z][A-Z0-9_]{3,80})\s*:\s*(.*)", re.DOTALL)


def action_for_row(code: str, message: str, *, exits: bool = False) -> Action:
    """What to do about the error of one row.

    The exit of a record that Salesforce has deleted has nothing left to do.

    >>> action_for_row("UNABLE_TO_LOCK_ROW", "unable to obtain exclusive access")
    'again'
    >>> action_for_row("ENTITY_IS_DELETED", "entity is deleted", exits=True)
    'present'
    """
    if code in _AGAIN or is_trigger_limit(code, message):
        return "again"
    if code in _STOP:
        return "stop"
    if exits and code == "ENTITY_IS_DELETED":
        return "present"
    return "row"


def is_trigger_limit(code: str, message: str) -> bool:
    """Whether a customer's trigger or flow cannot process so many rows at once."""
    return code in _LIMIT_CODES and bool(_TRIGGER_LIMITS.search(message))


def is_member_already(code: str, message: str) -> bool:
    """Whether a campaign has this member already.

    DUPLICATE_VALUE has no code for this case; the other messages of the code name a field and a
    record.
    """
    return code == "DUPLICATE_VALUE" and "on record with id" not in message


def is_settings_fault(code: str) -> bool:
    """Whether the error of a whole request is about the header or the user's rights."""
    return code in _SETTINGS


def stops(code: str) -> bool:
    """Whether no request can succeed for now."""
    return code in _STOP


def split_job_error(text: str) -> tuple[str, str]:
    """The code and the message of `sf__Error`.

    >>> split_job_error("STRING_TOO_LONG:Title: data value too large: x (max length=3):Title --")
    ('STRING_TOO_LONG', 'Title: data value too large: x (max length=3):Title --')
    """
    match = _CODE_AT_START.match(text)
    return (match[1], match[2]) if match else ("UNKNOWN_ERROR", text)
