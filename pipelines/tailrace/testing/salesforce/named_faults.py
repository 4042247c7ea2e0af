"""Faults of Salesforce by name: refused logins, refused calls and unexpected answers.

Each is a `Fault` whose options can be changed: `named_fault("ip_restricted", times=1)`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tailrace.testing.http.bodies import UNEXPECTED_BODIES
from tailrace.testing.http.faults import Fault

TOKEN_PATH = "/services/oauth2/token"
API_PATH = "/services/data/*"

# name -> (error, error_description), as /services/oauth2/token answers them with status 400.
LOGIN_REFUSALS: dict[str, tuple[str, str]] = {
    "ip_restricted": ("invalid_grant", "ip restricted"),
    "login_hours": ("invalid_grant", "invalid login hours"),
    "authentication_failure": ("invalid_grant", "authentication failure"),
    "user_not_approved": ("invalid_grant", "user hasn't approved this consumer"),
    "audience_invalid": ("invalid_grant", "audience is invalid"),
    "assertion_invalid": ("invalid_grant", "invalid assertion"),
    "no_run_as_user": ("invalid_grant", "no client credentials user enabled"),
    "wrong_domain": ("invalid_grant", "request not supported on this domain"),
    "login_rate_exceeded": ("invalid_grant", "login rate exceeded"),
    "inactive_user": ("inactive_user", "user is inactive"),
    "inactive_org": ("inactive_org", "organization locked, closed, or suspended"),
    "app_blocked": ("OAUTH_APP_BLOCKED", "this app is blocked by admin"),
    "app_access_denied": ("OAUTH_APP_ACCESS_DENIED", "user denied access"),
    "app_not_installed": (
        "OAUTH_EC_APP_NOT_FOUND",
        "External client app is not installed in this org",
    ),
    "not_admin_approved": (
        "invalid_app_access",
        "user is not admin approved to access this app",
    ),
    "client_id_invalid": ("invalid_client_id", "client identifier invalid"),
    "client_secret_invalid": ("invalid_client", "invalid client credentials"),
    "grant_type_disabled": ("unsupported_grant_type", "grant type not supported"),
    "scope_invalid": ("invalid_scope", "the requested scope is not allowed"),
    "token_unknown_error": ("unknown_error", "retry your request"),
}

# name -> (status, errorCode, message, path)
API_REFUSALS: dict[str, tuple[int, str, str, str]] = {
    "api_disabled": (
        403,
        "API_DISABLED_FOR_ORG",
        "The REST API is not enabled for this Organization.",
        API_PATH,
    ),
    "api_disabled_for_user": (
        403,
        "API_CURRENTLY_DISABLED",
        "API is not enabled for this Organization or Partner",
        API_PATH,
    ),
    "session_not_for_rest": (
        401,
        "INVALID_SESSION_ID",
        "This session is not valid for use with the REST API",
        API_PATH,
    ),
    "concurrent_limit": (
        403,
        "REQUEST_LIMIT_EXCEEDED",
        "ConcurrentRequests (Concurrent API Requests) Limit exceeded.",
        API_PATH,
    ),
    "daily_limit": (
        403,
        "REQUEST_LIMIT_EXCEEDED",
        "TotalRequests Limit exceeded.",
        API_PATH,
    ),
    "transaction_security": (
        400,
        "TXN_SECURITY_METERING_ERROR",
        "We can't complete the action because enabled transaction security policies took too long",
        "/services/data/*/quer*",
    ),
    "server_unavailable": (
        503,
        "SERVER_UNAVAILABLE",
        "The server is temporarily unavailable",
        API_PATH,
    ),
    "version_retired": (
        410,
        "UNSUPPORTED_API_VERSION",
        "This API version is retired",
        API_PATH,
    ),
    "invalid_query_locator": (
        400,
        "INVALID_QUERY_LOCATOR",
        "invalid query locator",
        "*/query/0r8*",
    ),
    "query_timeout": (
        400,
        "QUERY_TIMEOUT",
        "Your query request was running for too long.",
        "/services/data/*/quer*",
    ),
    "operation_too_large": (
        400,
        "OPERATION_TOO_LARGE",
        "exceeded 100000 distinct who/what's",
        "/services/data/*/quer*",
    ),
    "deleted_refused": (
        403,
        "INSUFFICIENT_ACCESS",
        "insufficient access rights on cross-reference id",
        "*/deleted",
    ),
    "updated_refused": (
        403,
        "INSUFFICIENT_ACCESS",
        "insufficient access rights on cross-reference id",
        "*/updated",
    ),
    "replication_date": (
        400,
        "INVALID_REPLICATION_DATE",
        "startDate before org replication enabled date",
        "*/updated",
    ),
    "limits_refused": (403, "FORBIDDEN", "You do not have access to limits", "*/limits"),
    "bulk_refused": (
        403,
        "FEATURENOTENABLED",
        "Bulk API is not enabled for this organization",
        "*/jobs/*",
    ),
    "bulk_daily_limit": (
        400,
        "LIMIT_EXCEEDED",
        "Max bulk v2 query jobs (10000) per 24 hrs has been reached (10001)",
        "*/jobs/query",
    ),
    "result_pages_not_found": (
        404,
        "NOT_FOUND",
        "The requested resource does not exist",
        "*/resultPages",
    ),
}


def _login_refusal(error: str, description: str) -> Fault:
    body = {"error": error, "error_description": description}
    return Fault(path=TOKEN_PATH, status=400, body=body)


def _api_refusal(status: int, code: str, message: str, path: str) -> Fault:
    return Fault(path=path, status=status, body=[{"message": message, "errorCode": code}])


def _unexpected() -> dict[str, Fault]:
    """`token_html`, `api_empty` …: a 200 with an unexpected body at the login or in the API."""
    faults: dict[str, Fault] = {}
    for name in UNEXPECTED_BODIES:
        faults[f"token_{name}"] = Fault(path=TOKEN_PATH, unexpected_body=name)
        faults[f"api_{name}"] = Fault(path=API_PATH, unexpected_body=name)
    return faults


SALESFORCE_FAULTS: dict[str, Fault] = {
    **{name: _login_refusal(*refusal) for name, refusal in LOGIN_REFUSALS.items()},
    **{name: _api_refusal(*refusal) for name, refusal in API_REFUSALS.items()},
    **_unexpected(),
    "token_moved": Fault(
        path=TOKEN_PATH,
        status=302,
        body="",
        headers={"Location": "https://login.salesforce.com/services/oauth2/token"},
    ),
    "results_no_content": Fault(path="*/results", status=204, times=1),
    "gzip_members": Fault(path=API_PATH, gzip_members=3),
    "endless_body": Fault(path=API_PATH, endless=True),
    "inflating_body": Fault(path=API_PATH, inflated_bytes=2_000_000_000),
    "byte_per_second": Fault(path=API_PATH, drip_seconds=1.0),
}


def named_fault(name: str, **changes: Any) -> Fault:
    """A named fault, with some of its options changed.

    Raises:
        KeyError: There is no fault of this name.
    """
    return replace(SALESFORCE_FAULTS[name], **changes)
