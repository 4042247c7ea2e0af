"""What Segment says it received: Delivery Overview of its Public API.

An acknowledged batch was taken, which is not the same as kept: a message that breaks an ingest rule
is dropped after the 200. This is the only place that tells, some thirty seconds late, by name and
never by message.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import requests

from tailrace.clock import Clock, format_utc
from tailrace.config.settings import SegmentSettings
from tailrace.destinations.segment.http import environment_of
from tailrace.destinations.segment.responses import wait_asked_for
from tailrace.errors import CredentialRefused, MissingCredential, ServiceFailed, Unreachable

# The finest grain covers four hours at once.
MINUTES_SPAN_MAX = timedelta(hours=4)
PAGE_ROWS = 200
PAGES_MAX = 50
ATTEMPTS_MAX = 3
POLL_SECONDS = 10.0

Name = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Overview:
    """Counts of one source and one span of time.

    Args:
        received: what Segment took in, by (type, event name); no name but a track's.
        failed: what it dropped on ingest, by reason.
    """

    received: Mapping[Name, int]
    failed: Mapping[str, int]

    def missing(self, sent: Mapping[Name, int]) -> dict[Name, int]:
        """What was sent and is not there; others may send to the same source, so more is fine."""
        gaps = {name: count - self.received.get(name, 0) for name, count in sent.items()}
        return {name: gap for name, gap in gaps.items() if gap > 0}


def reconcile(
    settings: SegmentSettings,
    sent: Mapping[Name, int],
    *,
    since: datetime,
    clock: Clock,
    wait_seconds_max: float = 90.0,
) -> Overview:
    """Ask until everything that was sent since then is there, or the wait is over.

    Raises:
        MissingCredential: No Public API token is configured.
        CredentialRefused: The token is not good, or may not see the source.
        ServiceFailed: The Public API answers something else.
        Unreachable: It cannot be reached.
    """
    asking = _Asking(settings, clock)
    source_id = settings.source_id or asking.source_id()
    deadline = clock.monotonic() + wait_seconds_max
    while True:
        found = asking.overview(source_id, since, clock.now() + timedelta(minutes=1))
        expected = sum(sent.values())
        told = sum(found.received.values()) + sum(found.failed.values())
        if not found.missing(sent) or (found.failed and told >= expected):
            return found
        if clock.monotonic() + POLL_SECONDS > deadline:
            return found
        clock.sleep(POLL_SECONDS)


class _Asking:
    """A few GETs to the Public API."""

    def __init__(self, settings: SegmentSettings, clock: Clock) -> None:
        if not settings.public_api_token:
            raise MissingCredential(
                "destination.segment.public_api_token is not configured",
                hint="Create one in Segment: Settings, Access Management, Tokens.",
            )
        self._settings = settings
        self._clock = clock
        self._host = settings.public_api_host.rstrip("/")
        self._name = urlsplit(self._host).hostname or self._host
        self._ways = environment_of(self._host, settings.proxy)

    def overview(self, source_id: str, since: datetime, until: datetime) -> Overview:
        """The two counts for a span of time, widened to whole minutes or hours."""
        fine = until - since <= MINUTES_SPAN_MAX
        start = since.replace(minute=since.minute if fine else 0, second=0, microsecond=0)
        query = {
            "sourceId": source_id,
            "startTime": format_utc(start),
            "endTime": format_utc(until),
            "granularity": "MINUTE" if fine else "HOUR",
            "pagination.count": str(PAGE_ROWS),
        }
        received: dict[Name, int] = {}
        by_name = {**query, "groupBy.0": "eventType", "groupBy.1": "eventName"}
        for row in self._pages("/delivery-overview/successfully-received", by_name, "dataset"):
            kind = str(row.get("eventType", "")).lower()
            name = (kind, str(row.get("eventName") or "") if kind == "track" else "")
            received[name] = received.get(name, 0) + int(row.get("total", 0))
        failed: dict[str, int] = {}
        by_reason = {**query, "groupBy.0": "discardReason"}
        for row in self._pages("/delivery-overview/failed-on-ingest", by_reason, "dataset"):
            reason = str(row.get("discardReason", "unknown"))
            failed[reason] = failed.get(reason, 0) + int(row.get("total", 0))
        return Overview(received=received, failed=failed)

    def source_id(self) -> str:
        """The id of the source that has our write key."""
        for source in self._pages("/sources", {"pagination.count": str(PAGE_ROWS)}, "sources"):
            if self._settings.write_key in (source.get("writeKeys") or ()):
                return str(source["id"])
        raise CredentialRefused(
            "The Public API token sees no source with this write key",
            hint="Set source_id under [destination.segment], or give the token its workspace.",
        )

    def _pages(self, path: str, query: Mapping[str, str], rows: str) -> Iterator[dict[str, Any]]:
        cursor: str | None = None
        for _ in range(PAGES_MAX):
            page = {**query, **({"pagination.cursor": cursor} if cursor else {})}
            data = self._get(path, page)
            yield from data.get(rows) or ()
            cursor = (data.get("pagination") or {}).get("next")
            if not cursor:
                return

    def _get(self, path: str, query: Mapping[str, str]) -> dict[str, Any]:
        for attempt in range(1, ATTEMPTS_MAX + 1):
            response = self._once(path, query)
            status = response.status_code
            if status in (401, 403):
                raise CredentialRefused(
                    f"{self._name} refused the Public API token ({status})",
                    hint="Look at public_api_token, and at public_api_host for the EU.",
                )
            if status == 200:
                return self._data(response)
            if (status != 429 and status < 500) or attempt == ATTEMPTS_MAX:
                break
            retry_after = response.headers.get("Retry-After", "")
            seconds = float(retry_after) if retry_after.isdecimal() else None
            self._clock.sleep(wait_asked_for(response.headers, seconds) or 1.0)
        raise ServiceFailed(f"{self._name} answered {status} to {path}")

    def _once(self, path: str, query: Mapping[str, str]) -> requests.Response:
        headers = {
            "Authorization": f"Bearer {self._settings.public_api_token}",
            "Accept": "application/vnd.segment.v1+json, application/json",
        }
        with requests.Session() as session:
            session.trust_env = False
            try:
                return session.get(
                    self._host + path,
                    params=dict(query),
                    headers=headers,
                    timeout=self._settings.timeout_seconds,
                    **self._ways,
                )
            except requests.RequestException as error:
                kind = type(error).__name__
                raise Unreachable(f"{self._name} cannot be reached ({kind})") from None

    def _data(self, response: requests.Response) -> dict[str, Any]:
        try:
            data = response.json()["data"]
        except (ValueError, KeyError, TypeError):
            raise ServiceFailed(f"{self._name} did not answer as the Public API does") from None
        return data if isinstance(data, dict) else {}
