"""Delivery Overview of the Public API: counts of received and discarded messages."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tailrace.testing.http.messages import Request, Response
from tailrace.testing.segment.inbox import Inbox

DATASETS = ("successfully-received", "failed-on-ingest")
DIMENSIONS = ("discardReason", "eventType", "eventName")
GRANULARITIES = ("MINUTE", "HOUR", "DAY")


@dataclass(frozen=True, kw_only=True)
class PublicApi:
    """The source that the Public API reports on, and the token that it requires."""

    inbox: Inbox
    token: str
    source_id: str
    write_key: str


def delivery_overview(api: PublicApi, request: Request, dataset: str) -> Response:
    """Answer `GET /delivery-overview/<dataset>`: counts since the start in one bucket."""
    if request.headers.get("authorization") != f"Bearer {api.token}":
        return _error(401, "unauthorized", "The token is not valid.")
    query = request.query
    if dataset not in DATASETS:
        return _error(404, "not-found", "There is no such dataset.")
    if query.get("sourceId") != api.source_id:
        return _error(404, "not-found", "There is no such source.")
    if query.get("granularity") not in GRANULARITIES:
        return _error(422, "bad-request", "granularity is MINUTE, HOUR or DAY.")
    try:
        start, end = (datetime.fromisoformat(query[name]) for name in ("startTime", "endTime"))
    except (KeyError, ValueError):
        return _error(422, "bad-request", "startTime and endTime are ISO 8601.")
    if start >= end:
        return _error(422, "bad-request", "startTime is not before endTime.")
    groups = [query[name] for name in sorted(query) if name.startswith("groupBy")]
    if any(group not in DIMENSIONS for group in groups):
        return _error(422, "bad-request", "groupBy has a dimension that does not exist.")
    return Response.of_json({"data": _dataset(api.inbox, dataset, groups, query["startTime"])})


def sources(api: PublicApi, request: Request) -> Response:
    """Answer `GET /sources`: two pages, another source on the first, this one on the second."""
    if request.headers.get("authorization") != f"Bearer {api.token}":
        return _error(401, "unauthorized", "The token is not valid.")
    if "pagination.cursor" not in request.query:
        other = {"id": "another-source", "writeKeys": ["another-key"]}
        page: dict[str, Any] = {"current": "MA==", "next": "MQ==", "totalEntries": 2}
        return Response.of_json({"data": {"sources": [other], "pagination": page}})
    own = {"id": api.source_id, "writeKeys": [api.write_key]}
    page = {"current": "MQ==", "totalEntries": 2}
    return Response.of_json({"data": {"sources": [own], "pagination": page}})


def _dataset(inbox: Inbox, dataset: str, groups: list[str], time: str) -> dict[str, Any]:
    counts: Counter[tuple[str, ...]] = Counter()
    for (reason, kind, name), count in inbox.by_name.items():
        if (reason == "received") == (dataset == "successfully-received"):
            row = {"discardReason": reason, "eventType": kind, "eventName": name}
            counts[tuple(row[group] for group in groups)] += count
    return {
        "total": sum(counts.values()),
        "dataset": [
            {
                **dict(zip(groups, values, strict=True)),
                "total": count,
                "series": [{"time": time, "count": count}],
            }
            for values, count in counts.items()
        ],
        "pagination": {"current": "MA==", "totalEntries": len(counts)},
    }


def _error(status: int, kind: str, message: str) -> Response:
    return Response.of_json({"errors": [{"type": kind, "message": message}]}, status)
