"""What Segment's ingest accepts, checked before anything is sent.

Segment answers 200 to a batch with a bad message in it and drops the message, so the official
rules are checked here, under their official names. Rules without an official name are those of
the documented limits: `event_over_32_kb`, `message_id_too_long`, `too_many_properties`.

`advice` is about what ingest takes and what goes wrong later: names that have a meaning of their
own, and names that the rest of a Segment workspace will not look like.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tailrace.audience.audience import Audience, Field

CONSENT_EVENT = "Segment Consent Preference Updated"
# "Less than 32 KB": the largest body that is still below it.
MESSAGE_BYTES_MAX = 32_767
MESSAGE_ID_CHARACTERS_MAX = 99
PROPERTIES_MAX = 10_000

# Objects by Segment's spec: a column of text under such a name is dropped or refused downstream.
OBJECT_TRAITS = frozenset({"address", "company"})
# Unify makes these identifiers: one value, one person.
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


@dataclass(frozen=True, kw_only=True)
class Violation:
    """A rule that a message breaks, and where; never the value that breaks it."""

    rule: str
    path: str


def check_message(message: Mapping[str, Any], *, bytes_long: int = 0) -> tuple[Violation, ...]:
    """The ingest rules that a message breaks."""
    return tuple(
        Violation(rule=rule, path=path)
        for rule, path in (
            *_ids(message),
            *_shape(message),
            *_consent(message),
            *_limits(message, bytes_long),
        )
    )


def event_rule(event: Any) -> str | None:
    """The rule that the name of an event breaks."""
    if event is None:
        return "event_not_defined"
    if not isinstance(event, str):
        return "event_not_string"
    return None if event.strip() else "event_not_defined"


def _ids(message: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    present = [name for name in ("userId", "anonymousId") if message.get(name) is not None]
    if not present:
        yield "no_user_anon_id", "userId"
    for name in (*present, *(["groupId"] if message.get("type") == "group" else [])):
        value = message.get(name)
        if value is None:
            yield "id_required", name
        elif not isinstance(value, str) or not value.strip():
            yield "id_not_string", name


def _shape(message: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    kind = message.get("type")
    if kind == "track" and (rule := event_rule(message.get("event"))):
        yield rule, "event"
    if kind in ("page", "screen"):
        for name in ("name", "category"):
            if not isinstance(message.get(name, ""), str):
                yield f"{name}_not_string", name
    for name in ("properties", "traits"):
        if not isinstance(message.get(name, {}), Mapping):
            yield f"{name}_not_object", name


def _consent(message: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    path = "context.consent.categoryPreferences"
    context = message.get("context")
    consent = context.get("consent") if isinstance(context, Mapping) else None
    if not isinstance(consent, Mapping) or "categoryPreferences" not in consent:
        if message.get("event") == CONSENT_EVENT:
            yield "consent_categorypreferences_should_exist", path
        return
    preferences = consent["categoryPreferences"]
    if not isinstance(preferences, Mapping):
        yield "consent_categorypreferences_fields_should_be_object", path
        return
    for category, answer in preferences.items():
        if not isinstance(answer, bool):
            yield "consent_categorypreferences_fields_should_be_bool", f"{path}.{category}"


def _limits(message: Mapping[str, Any], bytes_long: int) -> Iterator[tuple[str, str]]:
    if bytes_long > MESSAGE_BYTES_MAX:
        yield "event_over_32_kb", ""
    message_id = message.get("messageId")
    if isinstance(message_id, str) and len(message_id) > MESSAGE_ID_CHARACTERS_MAX:
        yield "message_id_too_long", "messageId"
    for name in ("properties", "traits"):
        carried = message.get(name)
        if isinstance(carried, Mapping) and len(carried) > PROPERTIES_MAX:
            yield "too_many_properties", name


@dataclass(frozen=True, kw_only=True)
class Advice:
    """Something in a header that Segment takes and that is likely not meant."""

    path: str
    message: str


def advice(audience: Audience) -> tuple[Advice, ...]:
    """What to think over in an audience's header before its first run."""
    track, identify, group = audience.track, audience.identify, audience.group
    found: list[tuple[str, str]] = []
    if track is not None:
        found += _about_events(audience)
        found += _about_properties(track.properties)
    if identify is not None:
        found += _about_traits("identify.traits", identify.traits, USER_TRAITS)
        if identify.membership_trait in USER_TRAITS:
            message = f"{identify.membership_trait} is a reserved trait with a meaning of its own"
            found.append(("identify.membership_trait", message))
    if group is not None:
        found += _about_traits("group.traits", group.traits, GROUP_TRAITS)
    return tuple(Advice(path=path, message=message) for path, message in found)


def _about_events(audience: Audience) -> Iterator[tuple[str, str]]:
    assert audience.track is not None
    for op in ("entered", "changed", "exited"):
        name = getattr(audience.track, op)
        if name == CONSENT_EVENT:
            yield f"track.{op}", f"{name} is reserved for consent"
        elif name and not _TITLE_CASE.fullmatch(name):
            yield f"track.{op}", f"{name!r} is not an object and an action in title case"


def _about_properties(properties: Mapping[str, Field]) -> Iterator[tuple[str, str]]:
    for name, field in properties.items():
        path = f"track.properties.{name}"
        if name in IDENTIFIERS and not (field.hash or field.mask):
            yield (
                path,
                f"Unify takes the property {name} for an identifier and merges profiles by it",
            )
        if name in NUMBERS and (field.hash or field.mask):
            yield path, f"{name} is read as a number, and is sent as text here"
        yield from _about_name(path, name)


def _about_traits(
    path: str, traits: Mapping[str, Field], reserved: frozenset[str]
) -> Iterator[tuple[str, str]]:
    spelled: dict[str, str] = {}
    for name, field in traits.items():
        each = f"{path}.{name}"
        twin = spelled.setdefault(_letters(name), name)
        if twin != name:
            yield each, f"{name} and {twin} are one trait to Segment, and two columns in warehouses"
        if name in OBJECT_TRAITS & reserved and field.column is not None:
            yield each, f"{name} is an object in Segment's spec; map {name}.… instead"
        if name in IDENTIFIERS and field.mask:
            yield each, f"a mask under {name} makes many people one; send {name}_masked"
        if name not in reserved:
            yield from _about_name(each, name)


def _about_name(path: str, name: str) -> Iterator[tuple[str, str]]:
    if not all(map(_SNAKE_CASE.fullmatch, name.split("."))):
        yield path, f"{name} is not in snake_case"


def _letters(name: str) -> str:
    return name.replace("_", "").lower()
