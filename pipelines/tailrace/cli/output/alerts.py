"""Alerts as text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Output = Mapping[str, Any]


def test_lines(result: Output) -> Iterable[str]:
    """The result of `tailrace alerts test`: one line a receiver."""
    for entry in result["receivers"]:
        yield f"{entry['receiver']}: {entry['problem'] or 'sent'}"


def problem_lines(result: Output) -> Iterable[str]:
    """What `status --check` found, and what it alerted of."""
    yield ""
    yield from (f"{problem['message']}." for problem in result["problems"])
    if not result["problems"]:
        yield "No audience is late, failed, held or broken."
    yield from alert_lines(result)


def alert_lines(result: Output) -> Iterable[str]:
    """What a run or `status --check` alerted; nothing if nothing was sent."""
    alerts = result.get("alerts") or {}
    if alerts.get("sent"):
        changes = ", ".join(f"{change['name']} {change['problem']}" for change in alerts["sent"])
        yield f"Alerted {', '.join(alerts['receivers'])}: {changes}."
