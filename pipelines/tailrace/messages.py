"""What stands around the payload of a message, compiled once from an audience's header.

Ids, context, event names and integrations are the same for most rows of an audience. They are
kept as JSON and put together as bytes; only what a row decides is encoded for the row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import orjson

from tailrace.audiences import Audience, Field
from tailrace.errors import UnsupportedValue
from tailrace.ingest import CONSENT_EVENT, event_rule
from tailrace.payloads import LEFT_OUT, Getter, Mapped, Row, getter
from tailrace.values import Encoder

# The context of a call that says nothing of the audience, of an identify, of a track.
Contexts = tuple[bytes, bytes, bytes]
Ids = tuple[str | None, str | None]


class Context:
    """The context of the calls: the header's own, and what comes from the row."""

    def __init__(
        self, audience: Audience, *, namespace: str, encoder: Encoder, salt: str | None
    ) -> None:
        self._encoder = encoder
        self._external = sorted(audience.external_ids.items())
        self._categories = sorted(audience.consent.categories.items()) if audience.consent else []
        self._bare = dict(audience.context)
        if (self._bare.get("consent") or {}).get("categoryPreferences") == {}:
            # An empty object would withdraw the user's consent to every category.
            del self._bare["consent"]
        self._engage = audience.payload == "engage"
        self._member = self._bare
        self._email: Getter | None = None
        if self._engage:
            self._member = {"personas": personas(audience, namespace=namespace), **self._bare}
            traits = audience.identify.traits if audience.identify else {}
            if "email" in traits:
                # Where Segment's own audiences put it for destinations that match by address.
                self._email = getter("email", traits["email"], encoder, salt)
        self._constant: Contexts | None = None
        if not (self._external or self._categories or self._email):
            member = self._json(self._member)
            self._constant = self._json(self._bare), member, member

    def of(self, row: Row) -> Contexts:
        """`"context":{…},` three times: for what says nothing of the audience, identify, track."""
        if self._constant is not None:
            return self._constant
        moving: dict[str, Any] = {}
        if external := self._external_ids(row):
            moving["externalIds"] = external
        if self._categories:
            moving["consent"] = {"categoryPreferences": self._consent(row)}
        bare = self._json({**self._bare, **moving})
        if not self._engage:
            return bare, bare, bare
        member = {**self._member, **moving}
        email = self._email(row) if self._email else None
        if email is None or email is LEFT_OUT:
            return bare, self._json(member), self._json(member)
        traits = {**member.get("traits", {}), "email": email}
        return bare, self._json(member), self._json({**member, "traits": traits})

    def _external_ids(self, row: Row) -> list[dict[str, str]]:
        return [
            {"collection": "users", "encoding": "none", "id": text, "type": kind.lower()}
            for kind, column in self._external
            if (text := read_id(row[column], f"context.externalIds.{kind}", self._encoder))
        ]

    def _consent(self, row: Row) -> dict[str, bool]:
        """The user's answer to each category; not to have answered is not to have agreed."""
        answers: dict[str, bool] = {}
        for category, column in self._categories:
            answer = row[column]
            if answer is not None and answer.__class__ is not bool:
                raise UnsupportedValue(
                    "consent is true or false",
                    path=f"context.consent.categoryPreferences.{category}",
                    rule="consent_categorypreferences_fields_should_be_bool",
                )
            answers[category] = answer or False
        return answers

    def _json(self, context: dict[str, Any]) -> bytes:
        if not context:
            return b""
        ordered = {name: context[name] for name in sorted(context)}
        return b'"context":' + self._encoder.dumps(ordered) + b","


def personas(audience: Audience, *, namespace: str) -> dict[str, str]:
    """The block by which Segment's destinations recognise a computed audience."""
    space = "spa_" + blake2b(namespace.encode(), digest_size=14).hexdigest()
    computation = blake2b(f"{namespace}\0{audience.name}".encode(), digest_size=14).hexdigest()
    return {
        "computation_class": "audience",
        "computation_id": f"aud_{computation}",
        "computation_key": audience.name,
        "namespace": space,
        "space_id": space,
    }


def integrations(audience: Audience) -> bytes:
    """`"integrations":{…},`: what came from Salesforce does not go back unless the header says."""
    chosen = {"Salesforce": False, **audience.integrations}
    return b'"integrations":' + orjson.dumps(chosen, option=orjson.OPT_SORT_KEYS) + b","


def read_id(value: Any, path: str, encoder: Encoder) -> str | None:
    """A value as the text that ids are; None where there is none."""
    try:
        return encoder.text(value)
    except UnsupportedValue as error:
        raise error.at(path, rule="id_not_string") from None


@dataclass(frozen=True, slots=True)
class Head:
    """A message from its kind up to its properties or traits, and the rule its name breaks."""

    json: bytes
    rule: str | None = None


def heads(audience: Audience, encoder: Encoder) -> dict[str, Head]:
    """The heads of the calls that an audience makes, by `identify`, `group` or the event's op."""
    chosen, track = integrations(audience), audience.track
    made = {
        "identify": Head(chosen + b'"type":"identify","traits":'),
        "group": Head(chosen + b'"type":"group","traits":'),
    }
    names: dict[str, Any] = {"consent": CONSENT_EVENT}
    if track is not None:
        names |= {"entered": track.entered, "changed": track.changed, "exited": track.exited}
    for op, name in names.items():
        if name is not None and name is not False:
            event = b'"event":' + encoder.dumps(name) + b","
            head = event + chosen + b'"type":"track","properties":'
            made[op] = Head(head, event_rule(name))
    return made


@dataclass(frozen=True, slots=True)
class Objects:
    """The compiled mappings of an audience; `left` is None where leaving changes no trait."""

    properties: Mapped
    last_known: Mapped
    key_only: Mapped
    traits: Mapped
    left: Mapped | None
    group_traits: Mapped


def objects(audience: Audience, encoder: Encoder, salt: str | None) -> Objects:
    """The objects that an audience's calls carry."""
    identify, track, group = audience.identify, audience.track, audience.group
    engage = {audience.name} if audience.payload == "engage" else set()
    members = set(engage)
    if identify is not None and identify.membership_trait:
        members.add(identify.membership_trait)

    def mapped(fields: Mapping[str, Field] | None, constants: Mapping[str, Any]) -> Mapped:
        return Mapped(fields or {}, encoder=encoder, salt=salt, constants=constants)

    properties = track.properties if track else None
    key = {"audience_key": audience.name}
    return Objects(
        properties=mapped(properties, {**dict.fromkeys(engage, True), **key}),
        last_known=mapped(properties, {**dict.fromkeys(engage, False), **key}),
        key_only=mapped(None, key),
        traits=mapped(identify.traits if identify else None, dict.fromkeys(members, True)),
        left=mapped(None, dict.fromkeys(members, False)) if identify and members else None,
        group_traits=mapped(group.traits if group else None, {}),
    )


def ids_reader(audience: Audience, encoder: Encoder) -> Callable[[Row], Ids]:
    """A reader of a row's user id and anonymous id."""
    user, anonymous = audience.user_id, audience.anonymous_id

    def read(row: Row) -> Ids:
        return (
            read_id(row[user], "userId", encoder) if user else None,
            read_id(row[anonymous], "anonymousId", encoder) if anonymous else None,
        )

    return read


def ids_json(ids: Ids, encoder: Encoder) -> bytes:
    """`"anonymousId":…,"userId":…,` of what there is."""
    user, anonymous = ids
    written = b"" if user is None else b'"userId":' + encoder.dumps(user) + b","
    if anonymous is None:
        return written
    return b'"anonymousId":' + encoder.dumps(anonymous) + b"," + written


def other_user(old: Ids, new: Ids) -> bool:
    """Whether two pairs of ids are two people.

    A user id that appears beside the same anonymous id is the same person, now known.
    """
    if old[0] is not None and new[0] is not None:
        return old[0] != new[0]
    return old[1] != new[1] or old[1] is None
