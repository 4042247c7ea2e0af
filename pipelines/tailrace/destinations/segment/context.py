"""Everything in a message besides properties and traits, compiled once from an audience's header.

Ids, context, event names and integrations are the same for most rows of an audience. They are
kept as JSON and joined as bytes; only the parts that depend on the row are encoded for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import orjson

from tailrace.audience.audience import Audience, Field
from tailrace.destinations.fields import LEFT_OUT, Getter, Row, getter
from tailrace.destinations.segment.properties import Mapped
from tailrace.destinations.segment.spec import CONSENT_EVENT, event_rule
from tailrace.encoding.values import Encoder
from tailrace.errors import UnsupportedValue

# The context of a message without the audience (group, consent), of an identify, of a track.
Contexts = tuple[bytes, bytes, bytes]
Ids = tuple[str | None, str | None]


class Context:
    """The context of the messages: the header's constants, then the parts from the row."""

    def __init__(
        self, audience: Audience, *, namespace: str, encoder: Encoder, salt: str | None
    ) -> None:
        self._encoder = encoder
        self._external = sorted(audience.external_ids.items())
        self._categories = sorted(audience.consent.categories.items()) if audience.consent else []
        own = {name: encoder.encode(value) for name, value in audience.context.items()}
        if self._categories or (own.get("consent") or {}).get("categoryPreferences") == {}:
            # An empty object would withdraw the user's consent to every category.
            own.pop("consent", None)
        self._email: Getter | None = None
        self._traits: dict[str, Any] = {}
        self._engage = audience.payload == "engage"
        traits = audience.identify.traits if audience.identify else {}
        if self._engage and "email" in traits:
            # Engage puts the address here, for destinations that match by it.
            self._email = getter("email", traits["email"], encoder, salt)
            self._traits = own.get("traits", {})
        self._bare = self._members(own)
        if self._engage:
            own["personas"] = personas(audience, namespace=namespace)
        self._member = self._members(own)
        self._without_traits = self._members({name: own[name] for name in own if name != "traits"})
        # The context of every row, if nothing in it comes from the row; else None.
        self.constant: Contexts | None = None
        if not (self._external or self._categories or self._email):
            member = _context(self._member)
            self.constant = _context(self._bare), member, member

    def of(self, row: Row) -> Contexts:
        """`"context":{…},` three times; see `Contexts`."""
        if self.constant is not None:
            return self.constant
        from_row = self._consent(row) + self._external_ids(row)
        bare = _context(self._bare + from_row)
        if not self._engage:
            return bare, bare, bare
        member = _context(self._member + from_row)
        email = self._email(row) if self._email else None
        if email is None or email is LEFT_OUT:
            return bare, member, member
        traits = self._members({"traits": {**self._traits, "email": email}})
        return bare, member, _context(self._without_traits + from_row + traits)

    def _external_ids(self, row: Row) -> bytes:
        ids = [
            {"collection": "users", "encoding": "none", "id": text, "type": kind.lower()}
            for kind, column in self._external
            if (text := read_id(row[column], f"context.externalIds.{kind}", self._encoder))
        ]
        return b'"externalIds":' + self._encoder.dumps(ids) + b"," if ids else b""

    def _consent(self, row: Row) -> bytes:
        """The user's consent to each category; NULL counts as no consent.

        Raises:
            UnsupportedValue: A value is not a boolean.
        """
        if not self._categories:
            return b""
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
        return b'"consent":{"categoryPreferences":' + self._encoder.dumps(answers) + b"},"

    def _members(self, document: dict[str, Any]) -> bytes:
        """`"name":…,` for each name of an object, in their order."""
        return b"".join(
            self._encoder.dumps(name) + b":" + self._encoder.dumps(document[name]) + b","
            for name in sorted(document)
        )


def _context(members: bytes) -> bytes:
    return b'"context":{' + members[:-1] + b"}," if members else b""


def personas(audience: Audience, *, namespace: str) -> dict[str, str]:
    """`context.personas`, by which Segment's destinations recognise a computed audience."""
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
    """`"integrations":{…},`: by default, data from Salesforce does not return to it."""
    chosen = {"Salesforce": False, **audience.integrations}
    return b'"integrations":' + orjson.dumps(chosen, option=orjson.OPT_SORT_KEYS) + b","


def read_id(value: Any, path: str, encoder: Encoder) -> str | None:
    """A value as an id, which is text; None for NULL and blanks.

    Raises:
        UnsupportedValue: It cannot be an id; rule `id_not_string`.
    """
    try:
        return encoder.text(value)
    except UnsupportedValue as error:
        raise error.at(path, rule="id_not_string") from None


@dataclass(frozen=True, slots=True)
class MessageStart:
    """The JSON of a message up to its properties or traits, and the rule that its event breaks."""

    json: bytes
    rule: str | None = None
    event: str = ""


def heads(audience: Audience, encoder: Encoder) -> dict[str, MessageStart]:
    """The starts of an audience's messages, by `identify`, `group` or the event's operation."""
    chosen, track = integrations(audience), audience.track
    starts = {
        "identify": MessageStart(chosen + b'"type":"identify","traits":'),
        "group": MessageStart(chosen + b'"type":"group","traits":'),
    }
    names: dict[str, Any] = {"consent": CONSENT_EVENT}
    if track is not None:
        names |= {"entered": track.entered, "changed": track.changed, "exited": track.exited}
    for op, name in names.items():
        if name is not None and name is not False:
            starts[op] = track_start(name, chosen, encoder)
    return starts


def track_start(name: str, chosen: bytes, encoder: Encoder) -> MessageStart:
    """The start of a track message; `chosen` is what `integrations` gives."""
    event = b'"event":' + encoder.dumps(name) + b","
    head = event + chosen + b'"type":"track","properties":'
    return MessageStart(head, event_rule(name), name)


@dataclass(frozen=True, slots=True)
class Objects:
    """The compiled mappings of an audience; `left` is None if an exit changes no trait."""

    properties: Mapped
    last_known: Mapped
    key_only: Mapped
    traits: Mapped
    left: Mapped | None
    group_traits: Mapped


def objects(audience: Audience, encoder: Encoder, salt: str | None) -> Objects:
    """The properties and traits of an audience's messages."""
    identify, track, group = audience.identify, audience.track, audience.group
    engage = {audience.name} if audience.payload == "engage" else set()
    members = set(engage)
    if identify is not None and identify.membership_trait:
        members.add(identify.membership_trait)

    left = None if audience.retiring else False

    def mapped(fields: Mapping[str, Field] | None, constants: Mapping[str, Any]) -> Mapped:
        return Mapped(fields or {}, encoder=encoder, salt=salt, constants=constants)

    properties = track.properties if track else None
    # An event of a log says nothing about who is a member.
    key = {} if audience.log else {"audience_key": audience.name}
    return Objects(
        properties=mapped(properties, {**dict.fromkeys(engage, True), **key}),
        last_known=mapped(properties, {**dict.fromkeys(engage, False), **key}),
        key_only=mapped(None, key),
        traits=mapped(identify.traits if identify else None, dict.fromkeys(members, True)),
        left=mapped(None, dict.fromkeys(members, left)) if identify and members else None,
        group_traits=mapped(group.traits if group else None, {}),
    )


def ids_reader(audience: Audience, encoder: Encoder) -> Callable[[Row], Ids]:
    """A function that reads a row's user id and anonymous id."""
    user, anonymous = audience.user_id, audience.anonymous_id

    def read(row: Row) -> Ids:
        return (
            read_id(row[user], "userId", encoder) if user else None,
            read_id(row[anonymous], "anonymousId", encoder) if anonymous else None,
        )

    return read


def ids_json(ids: Ids, encoder: Encoder) -> bytes:
    """`"anonymousId":…,"userId":…,` without missing ids."""
    user, anonymous = ids
    written = b"" if user is None else b'"userId":' + encoder.dumps(user) + b","
    if anonymous is None:
        return written
    return b'"anonymousId":' + encoder.dumps(anonymous) + b"," + written


def other_user(old: Ids, new: Ids) -> bool:
    """Whether two pairs of ids belong to two users.

    A user id that is new beside the same anonymous id is the same user, now identified.
    """
    if old[0] is not None and new[0] is not None:
        return old[0] != new[0]
    return old[1] != new[1] or old[1] is None
