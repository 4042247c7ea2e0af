"""Segment's ingest rules, and advice about names."""

from __future__ import annotations

from typing import Any

from tailrace.audience.audience import Audience, Field, Group, Identify, Track
from tailrace.destinations.segment.spec import CONSENT_EVENT, advice, event_rule


def test_an_event_has_a_name() -> None:
    """The rule about names alone."""
    assert [None, "event_not_defined", "event_not_string"] == list(map(event_rule, ["A", "", 1]))


def column(**changes: Any) -> Field:
    return Field(column="c", **changes)


def advised(**parts: Any) -> dict[str, str]:
    audience = Audience(name="vip", key=("id",), user_id="id", **parts)
    return {entry.path: entry.message for entry in advice(audience)}


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
