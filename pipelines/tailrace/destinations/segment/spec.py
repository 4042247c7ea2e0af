"""Segment's limits and reserved names, and advice on headers that use them.

Segment answers 200 to a batch with an invalid message and drops the message. The mapper therefore
checks the ingest rules under their official names (docs: delivery overview, discards), and the
documented limits under the names `event_over_32_kb` and `message_id_too_long`.

`advice` covers what ingest accepts and what goes wrong later: reserved names with another meaning,
and names that do not follow Segment's conventions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from tailrace.audience.audience import Audience, Field
from tailrace.destinations.protocol import HeaderAdvice

CONSENT_EVENT = "Segment Consent Preference Updated"
# An event "needs to be less than 32KB" (docs: HTTP API, limits).
MESSAGE_BYTES_MAX = 32_767
MESSAGE_ID_CHARACTERS_MAX = 99

# Objects in Segment's spec: text under such a name is dropped or refused downstream.
OBJECT_TRAITS = frozenset({"address", "company"})
# Unify takes these as identifiers: one value, one profile.
IDENTIFIERS = frozenset({"email", "phone"})
NUMBERS = frozenset({"revenue", "value", "total"})
USER_TRAITS = frozenset(
    [
        "address",
        "age",
        "avatar",
        "birthday",
        "company",
        "createdAt",
        "description",
        "email",
        "firstName",
        "gender",
        "id",
        "lastName",
        "name",
        "phone",
        "title",
        "username",
        "website",
    ]
)
GROUP_TRAITS = frozenset(
    [
        "address",
        "avatar",
        "createdAt",
        "description",
        "email",
        "employees",
        "id",
        "industry",
        "name",
        "phone",
        "plan",
        "website",
    ]
)

_TITLE_CASE = re.compile(r"[A-Z0-9][^\s]*(?: [A-Z0-9][^\s]*)+")
_SNAKE_CASE = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*")


def event_rule(event: Any) -> str | None:
    """The ingest rule that the name of an event breaks; None if it is valid."""
    if event is None:
        return "event_not_defined"
    if not isinstance(event, str):
        return "event_not_string"
    return None if event.strip() else "event_not_defined"


def advice(audience: Audience) -> tuple[HeaderAdvice, ...]:
    """What to reconsider in an audience's header before its first run."""
    if audience.log is not None:
        # An event model has no members, and so no exits to miss.
        return ()
    track, identify, group = audience.track, audience.identify, audience.group
    entries: list[tuple[str, str]] = []
    if track is not None:
        entries += _about_events(audience)
        entries += _about_properties(track.properties)
    if identify is not None:
        entries += _about_traits("identify.traits", identify.traits, USER_TRAITS)
        if identify.membership_trait in USER_TRAITS:
            message = f"{identify.membership_trait} is a reserved trait with a meaning of its own"
            entries.append(("identify.membership_trait", message))
    if group is not None:
        entries += _about_traits("group.traits", group.traits, GROUP_TRAITS)
    return tuple(HeaderAdvice(path=path, message=message) for path, message in entries)


def _about_events(audience: Audience) -> Iterator[tuple[str, str]]:
    assert audience.track is not None
    for op in ("entered", "changed", "exited"):
        name = getattr(audience.track, op)
        if name == CONSENT_EVENT:
            yield f"track.{op}", f"{name} is reserved for consent"
        elif name and not _TITLE_CASE.fullmatch(name):
            yield f"track.{op}", f'{name!r} is not in the form "Object Action" (title case)'


def _about_properties(properties: Mapping[str, Field]) -> Iterator[tuple[str, str]]:
    for name, field in properties.items():
        path = f"track.properties.{name}"
        if name in IDENTIFIERS and not (field.hash or field.mask):
            yield (
                path,
                f"Unify takes the property {name} as an identifier and merges profiles by it",
            )
        if name in NUMBERS and (field.hash or field.mask):
            yield path, f"{name} is read as a number, and hash or mask sends text"
        yield from _about_name(path, name)


def _about_traits(
    path: str, traits: Mapping[str, Field], reserved: frozenset[str]
) -> Iterator[tuple[str, str]]:
    spelled: dict[str, str] = {}
    for name, field in traits.items():
        trait = f"{path}.{name}"
        twin = spelled.setdefault(_letters(name), name)
        if twin != name:
            yield (
                trait,
                f"{name} and {twin} are one trait in Segment, and two columns in warehouses",
            )
        if name in OBJECT_TRAITS & reserved and field.column is not None:
            yield trait, f"{name} is an object in Segment's spec; map {name}.… instead"
        if name in IDENTIFIERS and field.mask:
            yield trait, f"masked values under {name} would merge profiles; name it {name}_masked"
        if name not in reserved:
            yield from _about_name(trait, name)


def _about_name(path: str, name: str) -> Iterator[tuple[str, str]]:
    if not all(map(_SNAKE_CASE.fullmatch, name.split("."))):
        yield path, f"{name} is not in snake_case"


def _letters(name: str) -> str:
    return name.replace("_", "").lower()
