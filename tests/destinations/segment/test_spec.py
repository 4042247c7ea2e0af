"""Segment's ingest rules, and advice about names."""

from __future__ import annotations

from typing import Any

import pytest

from tailrace.audience.audience import Audience, Field, Group, Identify, Track
from tailrace.destinations.segment.spec import CONSENT_EVENT, advice, check_message, event_rule

TRACK = {"type": "track", "userId": "u1", "event": "Segment Entered", "properties": {}}
GROUP = {"type": "group", "userId": "u1", "groupId": "g1", "traits": {}}
CONSENT = {**TRACK, "event": CONSENT_EVENT}


@pytest.mark.parametrize(
    ("message", "rule", "path"),
    [
        ({**TRACK, "userId": None}, "no_user_anon_id", "userId"),
        ({**TRACK, "userId": 7}, "id_not_string", "userId"),
        ({**TRACK, "userId": " "}, "id_not_string", "userId"),
        ({**TRACK, "anonymousId": ""}, "id_not_string", "anonymousId"),
        ({**GROUP, "groupId": None}, "id_required", "groupId"),
        ({**GROUP, "groupId": 7}, "id_not_string", "groupId"),
        ({**TRACK, "event": None}, "event_not_defined", "event"),
        ({**TRACK, "event": " "}, "event_not_defined", "event"),
        ({**TRACK, "event": 7}, "event_not_string", "event"),
        ({**TRACK, "properties": []}, "properties_not_object", "properties"),
        ({**GROUP, "traits": "x"}, "traits_not_object", "traits"),
        ({"type": "page", "userId": "u", "name": 1}, "name_not_string", "name"),
        ({"type": "page", "userId": "u", "category": 1}, "category_not_string", "category"),
        (
            CONSENT,
            "consent_categorypreferences_should_exist",
            "context.consent.categoryPreferences",
        ),
        (
            {**CONSENT, "context": {"consent": {"categoryPreferences": []}}},
            "consent_categorypreferences_fields_should_be_object",
            "context.consent.categoryPreferences",
        ),
        (
            {**TRACK, "context": {"consent": {"categoryPreferences": {"ads": 1}}}},
            "consent_categorypreferences_fields_should_be_bool",
            "context.consent.categoryPreferences.ads",
        ),
        ({**TRACK, "messageId": "x" * 100}, "message_id_too_long", "messageId"),
        (
            {**TRACK, "properties": {str(n): n for n in range(10_001)}},
            "too_many_properties",
            "properties",
        ),
    ],
)
def test_every_rule_has_its_official_name(message: dict[str, Any], rule: str, path: str) -> None:
    """A message that breaks one rule breaks that one, at that place."""
    assert [(rule, path)] == [(each.rule, each.path) for each in check_message(message)]


def test_a_good_message_breaks_nothing() -> None:
    """Anonymous users, consent given, and a body just below 32 KB."""
    consent = {"consent": {"categoryPreferences": {"ads": False}}}
    good = {**CONSENT, "anonymousId": "a", "messageId": "x" * 99, "context": consent}
    assert () == check_message(good, bytes_long=32_767)
    assert ["event_over_32_kb"] == [each.rule for each in check_message(good, bytes_long=32_768)]


def test_an_event_has_a_name() -> None:
    """The rule about names alone."""
    assert [None, "event_not_defined", "event_not_string"] == list(map(event_rule, ["A", "", 1]))


def column(**changes: Any) -> Field:
    return Field(column="c", **changes)


def advised(**parts: Any) -> dict[str, str]:
    audience = Audience(name="vip", key=("id",), user_id="id", **parts)
    return {each.path: each.message for each in advice(audience)}


def test_a_plain_header_needs_no_advice() -> None:
    """The defaults and the recommended names are fine."""
    assert {} == advised(
        track=Track(
            entered="Segment Entered", exited="Segment Exited", properties={"ltv_usd": column()}
        ),
        identify=Identify(
            traits={
                "email": column(),
                "firstName": column(),
                "address.city": column(),
                "email_sha256": column(hash="sha256"),
            },
            membership_trait="vip",
        ),
        group=Group(group_id="c", traits={"name": column(), "company": column()}),
    )


def test_names_are_looked_at() -> None:
    """Events in title case with an action, properties in snake_case."""
    track = Track(
        entered="vip_entered",
        exited="Left",
        changed=CONSENT_EVENT,
        properties={"Ltv": column(), "a.bC": column()},
    )
    assert {
        "track.entered",
        "track.exited",
        "track.changed",
        "track.properties.Ltv",
        "track.properties.a.bC",
    } == set(advised(track=track))


def test_reserved_names_are_looked_at() -> None:
    """Names with a meaning of their own, used for something else."""
    found = advised(
        track=Track(
            entered="A B", exited=None, properties={"email": column(), "revenue": column(mask=True)}
        ),
        identify=Identify(
            traits={
                "address": column(),
                "email": column(mask=True),
                "first_name": column(),
                "firstName": column(),
            },
            membership_trait="title",
        ),
        group=Group(group_id="c", traits={"address": column()}),
    )
    assert {
        "track.properties.email": "merges profiles",
        "track.properties.revenue": "number",
        "identify.traits.address": "object",
        "identify.traits.email": "email_masked",
        "identify.traits.firstName": "first_name",
        "identify.membership_trait": "reserved",
        "group.traits.address": "object",
    }.keys() == found.keys()
    assert "first_name" in found["identify.traits.firstName"]
    assert "merges profiles" in found["track.properties.email"]
