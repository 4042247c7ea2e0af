"""Whether Segment knows the write key: asked before the first event, because the tracking API
answers 200 to any key and drops what it does not know."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote, urlsplit

import requests

from tailrace.clock import Clock
from tailrace.config.settings import SegmentSettings
from tailrace.destinations.segment.http import environment_of, library_session
from tailrace.errors import CredentialRefused, InvalidConfigValue, Unreachable

SETTINGS_HOST = "https://cdn.segment.com"
REGIONS = {"api.segment.io": "US", "events.eu1.segmentapis.com": "EU"}
PAUSES_SECONDS = (0.5, 2.0)


def settings_host(settings: SegmentSettings) -> str | None:
    """Where to ask; nowhere for a collector that is not Segment's, unless one is configured."""
    if not settings.check_write_key:
        return None
    if settings.settings_host:
        return settings.settings_host.rstrip("/")
    return SETTINGS_HOST if urlsplit(settings.host).hostname in REGIONS else None


def check_write_key(settings: SegmentSettings, *, clock: Clock) -> None:
    """Ask for the source's settings, as Segment's own destination does.

    Raises:
        CredentialRefused: No source has this write key, or it lives in another region.
        Unreachable: The question could not be asked.
    """
    if not settings.write_key.strip() or not settings.write_key.isascii():
        raise CredentialRefused(
            "destination.segment.write_key is not a write key",
            hint="Copy it from Segment: Sources, your source, Settings, API keys.",
        )
    host = settings_host(settings)
    if host is None:
        return
    response = _ask(host, settings, clock)
    name = urlsplit(host).hostname or host
    if 400 <= response.status_code < 500:
        raise CredentialRefused(
            f"{name} knows no source with this write key ({response.status_code})",
            hint="Look at destination.segment.write_key. A source made in the last minutes may "
            "not be published yet.",
        )
    source = _source(response)
    if source is None:
        raise Unreachable(
            f"{name} did not answer with a source's settings ({response.status_code})",
            hint=_hint_without_check(),
        )
    refuse_other_region(settings.host, source)


def _ask(host: str, settings: SegmentSettings, clock: Clock) -> requests.Response:
    session = library_session(settings.requests_in_flight_max)
    url = f"{host}/v1/projects/{quote(settings.write_key, safe='')}/settings"
    ways = environment_of(url, settings.proxy)
    why = "no answer"
    for pause in (*PAUSES_SECONDS, None):
        try:
            response = session.get(
                url, timeout=settings.timeout_seconds, allow_redirects=False, **ways
            )
            if response.status_code < 500 and response.status_code != 429:
                return response
            why = str(response.status_code)
        except requests.RequestException as error:
            # The text of the exception holds the URL, and the URL the key.
            why = type(error).__name__
        if pause is not None:
            clock.sleep(pause)
    raise Unreachable(
        f"{urlsplit(host).hostname} cannot say whether the write key is right ({why})",
        hint=_hint_without_check(),
    )


def _hint_without_check() -> str:
    return (
        "Look at the network; where this host is out of reach for good, set check_write_key = "
        "false under [destination.segment]: a wrong key then goes unnoticed."
    )


def _source(response: requests.Response) -> dict[str, Any] | None:
    try:
        told = json.loads(response.content)
    except ValueError:
        return None
    return told if response.status_code == 200 and isinstance(told, dict) else None


def refuse_other_region(host: str, source: dict[str, Any]) -> None:
    """Refuse a key of one region on the other's host: Segment would drop all of it, silently."""
    integrations = source.get("integrations")
    own = integrations.get("Segment.io") if isinstance(integrations, dict) else None
    home = str(own.get("apiHost") or "").split("/")[0] if isinstance(own, dict) else ""
    here = urlsplit(host).hostname or ""
    if home in REGIONS and here in REGIONS and home != here:
        raise InvalidConfigValue(
            f"The write key belongs to a source in the {REGIONS[home]} region, and {here} is "
            f"in the {REGIONS[here]} region",
            hint=f'Set host = "https://{home}" under [destination.segment].',
        )
