"""What a receiver makes of the events, each messageId taken once, in the order of arrival."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Profile:
    """One user as the receiver knows them."""

    member: bool = False
    properties: dict[str, Any] = field(default_factory=dict)
    traits: dict[str, Any] = field(default_factory=dict)


def profiles(events: Iterable[Mapping[str, Any]]) -> dict[str, Profile]:
    """The users that a stream of events leaves behind."""
    known: dict[str, Profile] = {}
    for event in events:
        profile = known.setdefault(event["userId"], Profile())
        if event["type"] == "identify":
            profile.traits |= event["traits"]
        elif event["type"] == "track":
            profile.member = not event["event"].endswith("Exited")
            properties = dict(event["properties"])
            properties.pop("previous", None)
            profile.properties = properties
    return known


def members(known: Mapping[str, Profile]) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """Who is in the audience, with properties and traits."""
    return {user: (p.properties, p.traits) for user, p in known.items() if p.member}
