"""What Segment received, from Delivery Overview of its Public API.

An acknowledged batch was accepted, but a message that breaks an ingest rule is dropped after the
200. Delivery Overview is the only source for that; it is some thirty seconds late, and counts by
event name, not by message.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import requests

from tailrace.clock import Clock, format_utc
from tailrace.config.settings import SegmentSettings
from tailrace.destinations.answers import WAIT_SECONDS_MAX, requested_wait_seconds
from tailrace.destinations.http import (
    environment_of,
    exchange,
    host_of,
    json_object,
    new_session,
    request_problem,
)
from tailrace.destinations.open_connection import Answer
from tailrace.destinations.outcome import safe_text
from tailrace.errors import CredentialRefused, MissingCredential, ServiceFailed, Unreachable
from tailrace.retry import RetryPolicy, retrying

# With a granularity of minutes, one query covers at most four hours (docs: public API).
MINUTES_SPAN_MAX = timedelta(hours=4)
PAGE_ROWS = 200
PAGES_MAX = 50
ANSWER_BYTES_MAX = 10_000_000
POLL_SECONDS = 10.0
RETRIES = RetryPolicy(attempts_max=3, backoff_seconds=1.0, retry_after_seconds_max=WAIT_SECONDS_MAX)

# The type of a message and, for a track, the event name.
Name = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Overview:
    """Counts of one source in one span of time.

    Attributes:
        received: Messages that Segment accepted, by (type, event name); only tracks have a name.
        failed: Messages that it dropped on ingest, by reason.
    """

    received: Mapping[Name, int]
    failed: Mapping[str, int]

    def missing(self, sent: Mapping[Name, int]) -> dict[Name, int]:
        """Sent messages that were not received. More than were sent is fine: sources are shared."""
        gaps = {name: count - self.received.get(name, 0) for name, count in sent.items()}
        return {name: gap for name, gap in gaps.items() if gap > 0}


def wait_for_overview(
    settings: SegmentSettings,
    sent: Mapping[Name, int],
    *,
    since: datetime,
    clock: Clock,
    wait_seconds_max: float = 90.0,
) -> Overview:
    """Poll until everything that was sent since then has been received, or the wait is over.

    Raises:
        MissingCredential: No Public API token is configured.
        CredentialRefused: The token is wrong, or may not see the source.
        ServiceFailed: The Public API gives an unexpected answer.
        Unreachable: It cannot be reached.
    """
    with _PublicApi(settings, clock) as api:
        source_id = settings.source_id or api.source_id()
        deadline = clock.monotonic() + wait_seconds_max
        while True:
            overview = api.overview(source_id, since, clock.now() + timedelta(minutes=1))
            counted = sum(overview.received.values()) + sum(overview.failed.values())
            complete = overview.failed and counted >= sum(sent.values())
            if complete or not overview.missing(sent):
                return overview
            if clock.monotonic() + POLL_SECONDS > deadline:
                return overview
            clock.sleep(POLL_SECONDS)


class _PublicApi:
    """The queries of the Public API that are needed here."""

    def __init__(self, settings: SegmentSettings, clock: Clock) -> None:
        if not settings.public_api_token:
            raise MissingCredential(
                "destination.segment.public_api_token is not configured",
                hint="Create one in Segment: Settings, Access Management, Tokens.",
            )
        self._settings = settings
        self._clock = clock
        self._host = settings.public_api_host.rstrip("/")
        self._name = host_of(self._host)
        self._environment = environment_of(self._host, settings.proxy)
        self._session = new_session(in_flight_max=1, answer_seconds_max=settings.answer_seconds_max)

    def __enter__(self) -> _PublicApi:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def overview(self, source_id: str, since: datetime, until: datetime) -> Overview:
        """Both counts for a span of time, widened to whole minutes or hours."""
        by_minute = until - since <= MINUTES_SPAN_MAX
        start = since.replace(minute=since.minute if by_minute else 0, second=0, microsecond=0)
        query = {
            "sourceId": source_id,
            "startTime": format_utc(start),
            "endTime": format_utc(until),
            "granularity": "MINUTE" if by_minute else "HOUR",
            "pagination.count": str(PAGE_ROWS),
        }
        received: dict[Name, int] = {}
        by_name = {**query, "groupBy.0": "eventType", "groupBy.1": "eventName"}
        for row in self._rows("/delivery-overview/successfully-received", by_name, "dataset"):
            kind = str(row.get("eventType", "")).lower()
            name = (kind, str(row.get("eventName") or "") if kind == "track" else "")
            received[name] = received.get(name, 0) + _count(row)
        failed: dict[str, int] = {}
        by_reason = {**query, "groupBy.0": "discardReason"}
        for row in self._rows("/delivery-overview/failed-on-ingest", by_reason, "dataset"):
            reason = safe_text(str(row.get("discardReason", "unknown")))
            failed[reason] = failed.get(reason, 0) + _count(row)
        return Overview(received=received, failed=failed)

    def source_id(self) -> str:
        """The id of the source with our write key."""
        for source in self._rows("/sources", {"pagination.count": str(PAGE_ROWS)}, "sources"):
            keys = source.get("writeKeys")
            if isinstance(keys, list) and self._settings.write_key in keys and "id" in source:
                return str(source["id"])
        raise CredentialRefused(
            "The Public API token sees no source with this write key",
            hint="Set source_id under [destination.segment], or give the token access to its "
            "workspace.",
        )

    def _rows(self, path: str, query: Mapping[str, str], key: str) -> Iterator[dict[str, Any]]:
        cursor: str | None = None
        for _ in range(PAGES_MAX):
            page = {**query, **({"pagination.cursor": cursor} if cursor else {})}
            data = self._get(path, page)
            rows = data.get(key)
            for row in rows if isinstance(rows, list) else ():
                if isinstance(row, dict):
                    yield row
            pagination = data.get("pagination")
            following = pagination.get("next") if isinstance(pagination, dict) else None
            if not following:
                return
            cursor = str(following)

    def _get(self, path: str, query: Mapping[str, str]) -> dict[str, Any]:
        status = 0
        for attempt in retrying(self._clock, RETRIES, jitter=random.random):
            answer = self._once(path, query)
            status = answer.status
            if status in (401, 403):
                raise CredentialRefused(
                    f"{self._name} refused the Public API token ({status})",
                    hint="Check public_api_token, and public_api_host for the EU.",
                )
            if status == 200:
                return self._data(answer)
            if status != 429 and status < 500:
                break
            attempt.wait_seconds = requested_wait_seconds(answer.headers)
        raise ServiceFailed(f"{self._name} answered {status} to {path}")

    def _once(self, path: str, query: Mapping[str, str]) -> Answer:
        headers = {
            "Authorization": f"Bearer {self._settings.public_api_token}",
            "Accept": "application/vnd.segment.v1+json, application/json",
        }
        try:
            return exchange(
                self._session,
                "GET",
                self._host + path,
                bytes_max=ANSWER_BYTES_MAX,
                params=dict(query),
                headers=headers,
                timeout=self._settings.timeout_seconds,
                **self._environment,
            )
        except requests.RequestException as error:
            reason = request_problem(error, self._name)
            raise Unreachable(f"{self._name} cannot be reached ({reason})") from None

    def _data(self, answer: Answer) -> dict[str, Any]:
        try:
            data = json_object(answer.content)["data"] if answer.whole else None
        except (ValueError, KeyError):
            data = None
        if not isinstance(data, dict):
            raise ServiceFailed(f"{self._name} gave an answer that is not the Public API's")
        return data


def _count(row: Mapping[str, Any]) -> int:
    """The count of a row; 0 if it is not a number."""
    total = row.get("total", 0)
    return int(total) if isinstance(total, int | str) and str(total).isdecimal() else 0
