"""The composite resource: several calls in the body of one, here the queries among them.

As with Salesforce, a call in a body is bound by no length of a URL, and its refusal is told within
an answer that is itself a success.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tailrace.testing.http.messages import Request, Response
from tailrace.testing.salesforce.refusals import Refused, not_played, wrong_method

CALLS_MAX = 25
QUERIES_MAX = 5
_QUERY = re.compile(r"/services/data/v\d+\.\d/(query|queryAll)(?:/.*)?")
_REFERENCE = re.compile(r"[A-Za-z]\w*")

Answer = Callable[[Request, str, list[str]], Response]


def composite(request: Request, version: str, answer: Answer) -> Response:
    """Answer each call of a body; `answer` does what the URL of one names.

    Raises:
        Refused: The body as a whole is not what Salesforce takes.
    """
    if request.method != "POST":
        raise wrong_method(request.method, "POST")
    calls = _calls(request)
    told = [_one(request, version, call, answer) for call in calls]
    return Response.of_json({"compositeResponse": told})


def _calls(request: Request) -> list[dict[str, Any]]:
    try:
        body = json.loads(request.content())
        calls = body["compositeRequest"]
        references = [str(each["referenceId"]) for each in calls]
        for each in calls:
            each["url"], each["method"]
    except (ValueError, KeyError, TypeError):
        raise Refused(400, "JSON_PARSER_ERROR", "The body is not a composite request") from None
    if not calls or len(calls) > CALLS_MAX:
        raise Refused(400, "LIMIT_EXCEEDED", f"Limit reached: at most {CALLS_MAX} subrequests")
    if sum(bool(_QUERY.fullmatch(urlsplit(each["url"]).path)) for each in calls) > QUERIES_MAX:
        raise Refused(400, "LIMIT_EXCEEDED", f"Limit reached: at most {QUERIES_MAX} queries")
    if len(set(references)) < len(calls) or not all(map(_REFERENCE.fullmatch, references)):
        raise Refused(400, "INVALID_INPUT", "Each referenceId is a name of its own")
    return list(calls)


def _one(request: Request, version: str, call: dict[str, Any], answer: Answer) -> dict[str, Any]:
    parts = urlsplit(call["url"])
    if call["method"] != "GET" or not _QUERY.fullmatch(parts.path):
        raise not_played("composite calls other than queries")
    inner = replace(
        request, method="GET", path=parts.path, query=dict(parse_qsl(parts.query)), body=b""
    )
    try:
        found = answer(inner, version, parts.path.strip("/").split("/")[3:])
    except Refused as refusal:
        found = refusal.response()
    return {
        "body": json.loads(found.body),
        "httpHeaders": {},
        "httpStatusCode": found.status,
        "referenceId": call["referenceId"],
    }
