"""The composite resource: up to 25 calls in one request, here queries and single writes.

As in Salesforce, calls in a body have no limit on the length of their URL, and the error of one is
part of an answer with status 200. `allOrNone` is not simulated.
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
_SOBJECT = re.compile(r"/services/data/v\d+\.\d/sobjects/\w+(?:/[^/]+){0,2}")
_REFERENCE = re.compile(r"[A-Za-z]\w*")

Answer = Callable[[Request, str, list[str]], Response]


def composite(request: Request, version: str, answer: Answer) -> Response:
    """Answer each call of a body; `answer` handles the URL of one call.

    Raises:
        Refused: The body as a whole is not valid.
    """
    if request.method != "POST":
        raise wrong_method(request.method, "POST")
    calls = _calls(request)
    responses = [_one(request, version, call, answer) for call in calls]
    return Response.of_json({"compositeResponse": responses})


def _calls(request: Request) -> list[dict[str, Any]]:
    try:
        body = json.loads(request.content())
        if body.get("allOrNone"):
            raise not_played("allOrNone in a composite request")
        calls = body["compositeRequest"]
        references = [str(call["referenceId"]) for call in calls]
        for call in calls:
            call["url"], call["method"]
    except (ValueError, KeyError, TypeError):
        raise Refused(400, "JSON_PARSER_ERROR", "The body is not a composite request") from None
    if not calls or len(calls) > CALLS_MAX:
        raise Refused(400, "LIMIT_EXCEEDED", f"Limit reached: at most {CALLS_MAX} subrequests")
    if sum(bool(_QUERY.fullmatch(urlsplit(call["url"]).path)) for call in calls) > QUERIES_MAX:
        raise Refused(400, "LIMIT_EXCEEDED", f"Limit reached: at most {QUERIES_MAX} queries")
    if len(set(references)) < len(calls) or not all(map(_REFERENCE.fullmatch, references)):
        raise Refused(400, "INVALID_INPUT", "Each referenceId is a name of its own")
    return list(calls)


def _one(request: Request, version: str, call: dict[str, Any], answer: Answer) -> dict[str, Any]:
    parts = urlsplit(call["url"])
    reads = call["method"] == "GET" and _QUERY.fullmatch(parts.path)
    writes = call["method"] in ("POST", "PATCH", "DELETE") and _SOBJECT.fullmatch(parts.path)
    if not reads and not writes:
        raise not_played("composite calls other than queries and writes of one record")
    headers = {**request.headers, "content-type": "application/json"}
    headers |= {name.lower(): text for name, text in (call.get("httpHeaders") or {}).items()}
    headers.pop("content-encoding", None)
    inner = replace(
        request,
        method=call["method"],
        path=parts.path,
        query=dict(parse_qsl(parts.query)),
        headers=headers,
        body=json.dumps(call["body"]).encode() if "body" in call else b"",
    )
    try:
        response = answer(inner, version, parts.path.strip("/").split("/")[3:])
    except Refused as refusal:
        response = refusal.response()
    return {
        "body": json.loads(response.body) if response.body else None,
        "httpHeaders": {},
        "httpStatusCode": response.status,
        "referenceId": call["referenceId"],
    }
