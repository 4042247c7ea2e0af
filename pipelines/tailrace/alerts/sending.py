"""Sends messages to the receivers of alerts, within a time limit. Nothing here raises for a
receiver that fails.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from tailrace.alerts.message import Message
from tailrace.config.installation import install_command
from tailrace.config.settings import AlertSettings
from tailrace.dataclass import dataclass
from tailrace.errors import InvalidConfigValue

# Longer than any scheme of apprise; a text without a scheme may be a token.
SCHEME_CHARACTERS_MAX = 20

# What is said of each status of `apprise_process`, and of a process that ended before it.
_SENTENCES = {
    "invalid": "is not a URL that apprise knows",
    "refused": "did not take the message",
    "late": "did not take the message in time",
    "broken": "could not be asked: the process that sends alerts did not run",
}


@dataclass(frozen=True, kw_only=True)
class Sent:
    """What became of a message for one URL.

    `label` names the URL by its position and service; the rest of it is a secret. `problem` is
    empty if the receiver took the message.
    """

    label: str
    problem: str = ""


def missing_extra() -> str | None:
    """The command that installs apprise, if it is not installed."""
    if importlib.util.find_spec("apprise") is not None:
        return None
    return install_command("alerts")


def send(settings: AlertSettings, messages: Mapping[str, Message]) -> dict[str, Sent]:
    """Send a message to each URL, all at the same time.

    Args:
        settings: `timeout_seconds` is the time for all of them.
        messages: Messages by URL.

    Returns:
        The result for each URL.
    """
    labels = _labels(settings)
    entries = [
        {"url": url, "title": message.title, "body": message.body, "kind": message.kind}
        for url, message in messages.items()
    ]
    statuses = _ask(entries, check=False, seconds_max=settings.timeout_seconds)
    return {
        url: Sent(label=labels[url], problem=_SENTENCES.get(status, ""))
        for url, status in zip(messages, statuses, strict=True)
    }


def require_valid_urls(settings: AlertSettings) -> None:
    """Refuse a URL that apprise does not know, if apprise is installed.

    Raises:
        InvalidConfigValue: It names the URL by its position.
    """
    if not settings.urls or missing_extra() is not None:
        return
    for receiver in check(settings):
        if receiver.problem == _SENTENCES["invalid"]:
            raise InvalidConfigValue(
                f"tailrace.alerts.urls: {receiver.label} {receiver.problem}",
                hint="Correct urls under [tailrace.alerts].",
                key="tailrace.alerts.urls",
            )


def check(settings: AlertSettings) -> list[Sent]:
    """Whether apprise knows each URL. Nothing is sent."""
    labels = _labels(settings)
    entries = [{"url": url} for url in settings.urls]
    statuses = _ask(entries, check=True, seconds_max=settings.timeout_seconds)
    return [
        Sent(label=labels[url], problem=_SENTENCES.get(status, ""))
        for url, status in zip(settings.urls, statuses, strict=True)
    ]


def _labels(settings: AlertSettings) -> dict[str, str]:
    return {url: _label(number, url) for number, url in enumerate(settings.urls, start=1)}


def _label(number: int, url: str) -> str:
    """
    >>> _label(1, "slack://TOKENA/TOKENB"), _label(2, "TOKENC")
    ('receiver 1 (slack)', 'receiver 2')
    """
    scheme, separator, _ = url.partition("://")
    known = separator and scheme.isalnum() and len(scheme) <= SCHEME_CHARACTERS_MAX
    return f"receiver {number} ({scheme})" if known else f"receiver {number}"


def _ask(entries: Sequence[Mapping[str, Any]], *, check: bool, seconds_max: float) -> list[str]:
    """The status of each entry, from the process that imports apprise."""
    request = json.dumps({"messages": list(entries), "check": check})
    command = [sys.executable, "-P", "-m", "tailrace.alerts.apprise_process"]
    statuses = ["broken"] * len(entries)
    try:
        output = subprocess.run(
            command,
            input=request.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=seconds_max,
        ).stdout
    except subprocess.TimeoutExpired as expired:
        statuses = ["late"] * len(entries)
        output = expired.stdout or b""
    except OSError:
        return statuses
    for line in output.splitlines():
        try:
            entry = json.loads(line)
            statuses[int(entry["index"])] = str(entry["status"])
        except (ValueError, LookupError, TypeError):
            # A library printed something, or the process was killed within a line.
            continue
    return statuses
