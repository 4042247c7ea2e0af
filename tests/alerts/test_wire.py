"""Alerts arrive at the services as their wire has it, over real sockets."""

from __future__ import annotations

import email
import json
from email.message import Message as Mail
from pathlib import Path

import pytest
from alerts.alert_receivers import intercepting, receiving, receiving_mail

from tailrace.alerts.message import Message
from tailrace.alerts.sending import check, send
from tailrace.config.settings import AlertSettings

SLACK = "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#general"
PAGERDUTY = "pagerduty://A1BRTD4JDTIiajkdnlazkcOXrIdevi7F@TailraceTeam"
MESSAGE = Message(
    title="Tailrace shop: 1 held", body="Run 1 ended.\n- people is held: max_exited", kind="warning"
)


def text_of(mail: str) -> str:
    message: Mail = email.message_from_string(mail)
    parts = [part for part in message.walk() if part.get_content_type() == "text/plain"]
    payload = (parts or [message])[0].get_payload(decode=True)
    assert isinstance(payload, bytes)
    return payload.decode()


def test_each_service_gets_the_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slack, PagerDuty, a mail server and a plain JSON receiver, in one call."""
    with (
        intercepting(tmp_path) as (services, environ),
        receiving_mail() as mail,
        receiving() as plain,
    ):
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        urls = (SLACK, PAGERDUTY, mail.url, plain.url)
        results = send(AlertSettings(urls=urls), dict.fromkeys(urls, MESSAGE))
        assert [""] * 4 == [results[url].problem for url in urls]
        by_host = {place.partition("/")[0]: (place, body) for place, body in services.taken}
    place, body = by_host["hooks.slack.com"]
    assert "hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ" == place
    assert "#general" == body["channel"]
    shown = json.dumps(body)
    assert "1 held" in shown and "people is held" in shown
    place, body = by_host["events.pagerduty.com"]
    assert "events.pagerduty.com/v2/enqueue" == place
    assert ("trigger", "warning") == (body["event_action"], body["payload"]["severity"])
    assert "A1BRTD4JDTIiajkdnlazkcOXrIdevi7F" == body["routing_key"]
    assert "people is held: max_exited" in json.dumps(body["payload"])
    (letter,) = mail.bodies
    assert "Subject: Tailrace shop: 1 held" in letter
    assert "- people is held: max_exited" in text_of(letter)
    assert MESSAGE.title == plain.bodies[0]["title"]
    assert MESSAGE.body == plain.bodies[0]["message"]
    assert "warning" == plain.bodies[0]["type"]


def test_a_receiver_that_is_down_slow_or_wrong_does_not_hold_up_the_others(tmp_path: Path) -> None:
    """Each result names the receiver by its position and scheme, and nothing else of its URL."""
    with receiving() as good, receiving() as broken, receiving() as slow:
        broken.status = 500
        slow.waits.clear()
        urls = (
            good.url,
            broken.url,
            f"{slow.url}?rto=60",
            "json://127.0.0.1:1/SECRET",
            "slak://SECRET",
        )
        settings = AlertSettings(urls=urls, timeout_seconds=6)
        results = list(send(settings, dict.fromkeys(urls, MESSAGE)).values())
        assert 1 == len(good.taken)
    assert ["", "did not take the message", "did not take the message in time"] == [
        done.problem for done in results[:3]
    ]
    assert "did not take the message" == results[3].problem
    assert "is not a URL that apprise knows" == results[4].problem
    assert [f"receiver {n} (json)" for n in range(1, 5)] == [done.label for done in results[:4]]
    assert "SECRET" not in repr(results)


def test_a_url_is_checked_without_sending() -> None:
    with receiving() as receiver:
        settings = AlertSettings(urls=(receiver.url, "TOKEN/WITHOUT/SCHEME"))
        valid, invalid = check(settings)
        assert [] == receiver.taken
    assert "" == valid.problem
    assert ("receiver 2", "is not a URL that apprise knows") == (invalid.label, invalid.problem)
    assert "TOKEN" not in repr(settings)
