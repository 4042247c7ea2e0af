"""Checks the write key before the first event: the tracking API answers 200 to an unknown key and
drops the events (segmentio/analytics-go#205)."""

from __future__ import annotations

import random
from typing import Any
from urllib.parse import quote

import requests

from tailrace.clock import Clock
from tailrace.config.settings import SegmentSettings
from tailrace.destinations.http import (
    Session,
    environment_of,
    exchange,
    host_of,
    json_object,
    request_problem,
)
from tailrace.destinations.open_connection import Answer
from tailrace.errors import CredentialRefused, InvalidConfigValue, Unreachable
from tailrace.retry import RetryPolicy, retrying

SETTINGS_HOST = "https://cdn.segment.com"
REGIONS = {"api.segment.io": "US", "events.eu1.segmentapis.com": "EU"}
RETRIES = RetryPolicy(attempts_max=3, backoff_seconds=0.5, backoff_seconds_max=2.0)


def settings_host(settings: SegmentSettings) -> str | None:
    """The host that knows the source's settings; None for other collectors, unless configured."""
    if not settings.check_write_key:
        return None
    if settings.settings_host:
        return settings.settings_host.rstrip("/")
    return SETTINGS_HOST if host_of(settings.host) in REGIONS else None


def check_write_key(
    settings: SegmentSettings,
    *,
    clock: Clock,
    session: Session,
    section: str = "destination.segment",
) -> Answer | None:
    """Ask for the source's settings, as Segment's own destination does. None without a request.

    Raises:
        CredentialRefused: No source has this write key.
        InvalidConfigValue: The write key belongs to another region.
        Unreachable: It cannot be checked.
    """
    if not settings.write_key.strip() or not settings.write_key.isascii():
        raise CredentialRefused(
            f"{section}.write_key is not a write key",
            hint="Copy it from Segment: Sources, your source, Settings, API keys.",
        )
    host = settings_host(settings)
    if host is None:
        return None
    answer = _ask(host, settings, clock, session, section)
    name = host_of(host)
    if 400 <= answer.status < 500:
        raise CredentialRefused(
            f"{name} knows no source with this write key ({answer.status})",
            hint=f"Check {section}.write_key. A source created in the last minutes may not be "
            "published yet.",
        )
    source = _source(answer)
    if source is None:
        raise Unreachable(
            f"{name} did not answer with a source's settings ({answer.status})",
            hint=_hint_without_check(section),
        )
    refuse_other_region(settings.host, source, section=section)
    return answer


def _ask(
    host: str, settings: SegmentSettings, clock: Clock, session: Session, section: str
) -> Answer:
    url = f"{host}/v1/projects/{quote(settings.write_key, safe='')}/settings"
    environment = environment_of(url, settings.proxy)
    reason = "no answer"
    for _ in retrying(clock, RETRIES, jitter=random.random):
        try:
            answer = exchange(session, "GET", url, timeout=settings.timeout_seconds, **environment)
            if answer.status < 500 and answer.status != 429:
                return answer
            reason = str(answer.status)
        except requests.RequestException as error:
            # The text of the exception holds the URL, and the URL the key.
            reason = request_problem(error, host_of(host))
    raise Unreachable(
        f"{host_of(host)} cannot say whether the write key is right ({reason})",
        hint=_hint_without_check(section),
    )


def _hint_without_check(section: str) -> str:
    return (
        "Check the network. If this host is never reachable from here, set check_write_key = "
        f"false under [{section}]: a wrong key is then not noticed."
    )


def _source(answer: Answer) -> dict[str, Any] | None:
    try:
        return json_object(answer.content) if answer.status == 200 and answer.whole else None
    except ValueError:
        return None


def refuse_other_region(
    host: str, source: dict[str, Any], *, section: str = "destination.segment"
) -> None:
    """Refuse a key of one region with the other's host: Segment would drop all events silently.

    Raises:
        InvalidConfigValue: The source lives in the other region.
    """
    integrations = source.get("integrations")
    own = integrations.get("Segment.io") if isinstance(integrations, dict) else None
    home = str(own.get("apiHost") or "").split("/")[0] if isinstance(own, dict) else ""
    here = host_of(host)
    if home in REGIONS and here in REGIONS and home != here:
        raise InvalidConfigValue(
            f"The write key belongs to a source in the {REGIONS[home]} region, and {here} is "
            f"in the {REGIONS[here]} region",
            hint=f'Set host = "https://{home}" under [{section}].',
            key=f"{section}.host",
        )
