"""Transitions as Segment calls, ready for the wire.

What a transition becomes, in this order:

| op      | identify              | group                | track                                |
| ------- | --------------------- | -------------------- | ------------------------------------ |
| entered | traits, membership    | its traits           | `entered`, properties                |
| changed | if a trait moved      | if its own did       | `changed`, properties and `previous` |
| exited  | membership false only | none                 | `exited`, last-known properties      |

A member whose user id moved is two people to Segment: the old one exits, the new one enters.
Consent that moved adds `Segment Consent Preference Updated`. A transition is whole: where one of
its calls is refused, none is made, so that a row that is planned again sends nothing twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from hashlib import blake2b
from typing import Any, Literal

import orjson

from tailrace.audiences import Audience, Field
from tailrace.clock import iso
from tailrace.errors import UnsupportedValue
from tailrace.ingest import (
    CONSENT_EVENT,
    MESSAGE_BYTES_MAX,
    MESSAGE_ID_CHARACTERS_MAX,
    event_rule,
)
from tailrace.payloads import Context, Mapped, Row, integrations, read_id
from tailrace.tracking_plan import TrackingPlan
from tailrace.values import Encoder, moment, same

Kind = Literal["identify", "group", "track"]
Op = Literal["entered", "changed", "exited"]
Ids = tuple[str | None, str | None]


@dataclass(frozen=True, slots=True)
class Transition:
    """A member that entered, changed or exited, with the values that decide what is sent."""

    seq: int
    op: Op
    reason: str
    base_v: int
    key: tuple[Any, ...]
    new: Mapping[str, Any]
    old: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Call:
    """One Segment message, encoded: `body` is its JSON, without a trailing newline."""

    kind: Kind
    message_id: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a transition is not sent: a rule and a place in the message, never a value."""

    kind: Kind
    rule: str
    path: str
    message_id: str | None = None


class Mapper:
    """Turns the transitions of one audience into calls; the header is compiled once.

    `encoder` counts what could not travel unchanged, `flagged` the violations of the project's
    tracking plan that do not stop a call.
    """

    def __init__(
        self,
        audience: Audience,
        *,
        namespace: str,
        planned_at: datetime,
        salt: str | None = None,
        tracking_plan: TrackingPlan | None = None,
    ) -> None:
        self.audience = audience
        self.encoder = Encoder()
        self.flagged: dict[tuple[str, str], int] = {}
        self._plan = tracking_plan
        self._planned = b'"timestamp":' + self.encoder.dumps(iso(planned_at)) + b","
        self._context = Context(audience, namespace=namespace, encoder=self.encoder, salt=salt)
        self._digests = {
            (kind, op): _digest(namespace, audience.name, kind, op)
            for kind in ("identify", "group", "track")
            for op in ("entered", "changed", "exited")
        }
        self._compile_columns(audience)
        self._compile_heads(audience)
        self._compile_objects(audience, salt)

    def _compile_columns(self, audience: Audience) -> None:
        mapped, track = set(audience.mapped_columns), audience.track
        self._keys = tuple(
            (at, column) for at, column in enumerate(audience.key) if column in mapped
        )
        self._track_columns = audience.track_columns
        self._identify_columns = audience.identify_columns
        self._group_columns = audience.group_columns
        categories = audience.consent.categories if audience.consent else {}
        self._consent_columns = tuple(categories.values())
        own_id = track.message_id if track else None
        self._message_id_columns = (own_id,) if own_id else ()

    def _compile_heads(self, audience: Audience) -> None:
        """What is the same in every message of a kind, up to its properties or traits."""
        chosen, track = integrations(audience), audience.track
        self._identify_head = chosen + b'"type":"identify","traits":'
        self._group_head = chosen + b'"type":"group","traits":'
        names: dict[str, Any] = {"consent": CONSENT_EVENT}
        if track is not None:
            names |= {"entered": track.entered, "changed": track.changed, "exited": track.exited}
        self._events = {
            op: _Event(
                b'"event":%b,%b"type":"track","properties":' % (self.encoder.dumps(name), chosen),
                event_rule(name),
            )
            for op, name in names.items()
            if name is not None and name is not False
        }

    def _compile_objects(self, audience: Audience, salt: str | None) -> None:
        identify, track, group = audience.identify, audience.track, audience.group
        engage = {audience.name} if audience.payload == "engage" else set()
        members = set(engage)
        if identify is not None and identify.membership_trait:
            members.add(identify.membership_trait)

        def mapped(fields: Mapping[str, Field] | None, constants: Mapping[str, Any]) -> Mapped:
            return Mapped(fields or {}, encoder=self.encoder, salt=salt, constants=constants)

        properties = track.properties if track else None
        key = {"audience_key": audience.name}
        self._properties = mapped(properties, {**dict.fromkeys(engage, True), **key})
        self._last_known = mapped(properties, {**dict.fromkeys(engage, False), **key})
        self._key_only = mapped(None, key)
        self._traits = mapped(identify.traits if identify else None, dict.fromkeys(members, True))
        self._left = mapped(None, dict.fromkeys(members, False)) if identify and members else None
        self._group_traits = mapped(group.traits if group else None, {})

    def calls(self, t: Transition) -> tuple[list[Call], list[Refusal], str]:
        """The calls of one transition, or why it makes none, and the user whose they are."""
        work = _Work(self, t)
        try:
            if t.op == "entered":
                work.enter(self._row(t.new, t.key))
            elif t.op == "changed":
                work.change(self._row(t.new, t.key), self._row(t.old, t.key))
            else:
                work.exit(self._row(t.new, t.key))
        except UnsupportedValue as error:
            work.refuse("track" if self.audience.track else "identify", error.rule, error.path)
        return ([], work.refusals, work.user) if work.refusals else (work.calls, [], work.user)

    def call_counts(
        self,
        op: str,
        reason: str,
        *,
        track_changed: bool = True,
        identify_changed: bool = True,
        group_changed: bool = True,
        consent_changed: bool = False,
        moved: bool = False,
        grouped: bool = True,
    ) -> dict[Kind, int]:
        """How many calls of each kind a transition makes, without making them.

        The `…_changed` say whether one of the audience's `track_columns`, `identify_columns`,
        `group_columns` or consent columns moved, `moved` whether the user did, `grouped` whether
        the row has a group.
        """
        audience = self.audience
        identify, left = int(audience.identify is not None), int(self._left is not None)
        group = int(audience.group is not None and grouped)
        entered = int("entered" in self._events and not self._skips(reason))
        exited = int("exited" in self._events)
        if op == "entered":
            return {"identify": identify, "group": group, "track": entered}
        if op == "exited":
            return {"identify": left, "group": 0, "track": exited}
        consent = int(consent_changed and bool(self._consent_columns))
        if moved:
            tracks = exited + entered + consent
            return {"identify": left + identify, "group": group, "track": tracks}
        changed = int("changed" in self._events and track_changed)
        return {
            "identify": identify * identify_changed,
            "group": group * group_changed,
            "track": changed + consent,
        }

    def _row(self, values: Row, key: tuple[Any, ...]) -> Row:
        """The values with the key's own columns, where those are mapped and stand apart."""
        for _, column in self._keys:
            if column not in values:
                return {**{name: key[at] for at, name in self._keys}, **values}
        return values

    def _read_ids(self, row: Row) -> Ids:
        user, anonymous = self.audience.user_id, self.audience.anonymous_id
        return (
            read_id(row[user], "userId", self.encoder) if user else None,
            read_id(row[anonymous], "anonymousId", self.encoder) if anonymous else None,
        )

    def _skips(self, reason: str) -> bool:
        track = self.audience.track
        return reason == "initial" and track is not None and track.initial == "skip"


@dataclass(frozen=True, slots=True)
class _Event:
    """The head of a track event, and the rule that its name breaks, if any."""

    head: bytes
    rule: str | None


class _Work:
    """The calls of one transition, as they are made."""

    __slots__ = ("_frame", "_mapper", "_t", "calls", "refusals", "user")

    def __init__(self, mapper: Mapper, t: Transition) -> None:
        self._mapper = mapper
        self._t = t
        self.calls: list[Call] = []
        self.refusals: list[Refusal] = []
        self.user = ""
        encoder = mapper.encoder
        key = encoder.dumps([encoder.encode(part) for part in t.key])
        self._frame = _framed(key) + _framed(b"%d" % t.base_v)

    def enter(self, row: Row, *, own_id: bool = True) -> None:
        """What makes a user a member: on entering, and when a member becomes another user."""
        m = self._mapper
        ids = self._who(row)
        bare, member, tracked = m._context.of(row)
        if m.audience.identify is not None:
            self._identify("entered", ids + member, row)
        if m.audience.group is not None:
            self._group("entered", ids + bare, row)
        if "entered" in m._events and not m._skips(self._t.reason):
            properties = m._properties.build(row)
            self._track("entered", ids + tracked, row, properties, own_id=own_id)

    def exit(self, row: Row) -> None:
        """What makes a member none: no trait but the membership, and no group."""
        m = self._mapper
        ids = self._who(row)
        _, member, tracked = m._context.of(row)
        if m._left is not None:
            self._send("identify", "exited", ids + member + m._identify_head, m._left.build(row))
        if "exited" in m._events:
            self._event("exited", "exited", ids + tracked, m._last_known.build(row))

    def change(self, new: Row, old: Row) -> None:
        """What of a member's calls carries something new."""
        m = self._mapper
        before = m._read_ids(old)
        if _other_user(before, m._read_ids(new)):
            if any(before):
                self.exit(old)
            # The id of the old user's event would make Segment drop the new user's as a repeat.
            self.enter(new, own_id=_moved(m._message_id_columns, new, old))
            self._consent(new, old)
            return
        ids = self._who(new)
        bare, member, tracked = m._context.of(new)
        if _moved(m._identify_columns, new, old):
            self._identify("changed", ids + member, new)
        if _moved(m._group_columns, new, old):
            self._group("changed", ids + bare, new)
        if "changed" in m._events and _moved(m._track_columns, new, old):
            properties = m._properties.build(new)
            properties["previous"] = m._properties.previous(new, old, properties)
            own_id = _moved(m._message_id_columns, new, old)
            self._track("changed", ids + tracked, new, properties, own_id=own_id)
        self._consent(new, old)

    def refuse(self, kind: Kind, rule: str, path: str, message_id: str | None = None) -> None:
        """Notes why the transition is not sent."""
        self.refusals.append(Refusal(kind, rule, path, message_id))

    def _who(self, row: Row) -> bytes:
        user, anonymous = self._mapper._read_ids(row)
        dumps = self._mapper.encoder.dumps
        self.user = user or anonymous or ""
        if user is None and anonymous is None:
            raise UnsupportedValue("no id", path="userId", rule="no_user_anon_id")
        ids = b'"anonymousId":' + dumps(anonymous) + b"," if anonymous is not None else b""
        return ids + b'"userId":' + dumps(user) + b"," if user is not None else ids

    def _identify(self, op: Op, start: bytes, row: Row) -> None:
        m = self._mapper
        self._send("identify", op, start + m._identify_head, m._traits.build(row))

    def _group(self, op: Op, start: bytes, row: Row) -> None:
        """No call where the row has no group: Segment knows no way to leave one."""
        m = self._mapper
        assert m.audience.group is not None
        group = read_id(row[m.audience.group.group_id], "groupId", m.encoder)
        if group is not None:
            start += b'"groupId":' + m.encoder.dumps(group) + b","
            self._send("group", op, start + m._group_head, m._group_traits.build(row))

    def _track(
        self, op: Op, start: bytes, row: Row, properties: dict[str, Any], *, own_id: bool
    ) -> None:
        """An event with the time and the id of its row, where columns are mapped for them."""
        m = self._mapper
        assert m.audience.track is not None
        column = m.audience.track.timestamp
        stamp = _timestamp(row[column]) if column else None
        message_id = None
        if own_id and m._message_id_columns:
            message_id = read_id(row[m._message_id_columns[0]], "messageId", m.encoder)
        self._event(op, op, start, properties, stamp=stamp, message_id=message_id)

    def _consent(self, new: Row, old: Row) -> None:
        m = self._mapper
        if _moved(m._consent_columns, new, old):
            start = self._who(new) + m._context.of(new)[0]
            self._event("consent", "changed", start, m._key_only.build(new))

    def _event(
        self,
        name: str,
        op: Op,
        start: bytes,
        properties: dict[str, Any],
        *,
        stamp: str | None = None,
        message_id: str | None = None,
    ) -> None:
        event = self._mapper._events[name]
        if event.rule is not None:
            self.refuse("track", event.rule, "event")
        self._send("track", op, start + event.head, properties, stamp=stamp, message_id=message_id)

    def _send(
        self,
        kind: Kind,
        op: Op,
        start: bytes,
        carried: dict[str, Any],
        *,
        stamp: str | None = None,
        message_id: str | None = None,
    ) -> None:
        """Closes the message, gives it its id, checks it.

        The time of planning stands outside of what the id is made of, so that a transition that
        is planned again keeps its id; a time from the row is a part of what is said.
        """
        m = self._mapper
        core = start + m.encoder.dumps(carried) + b"}"
        if stamp is None:
            outside = m._planned
        else:
            core, outside = b'"timestamp":"%b",' % stamp.encode() + core, b""
        if message_id is None:
            digest = m._digests[kind, op].copy()
            digest.update(self._frame + core)
            message_id = "tr1-" + digest.hexdigest()
            named = b'{"messageId":"%b",' % message_id.encode()
        else:
            named = b'{"messageId":' + m.encoder.dumps(message_id) + b","
            if len(message_id) > MESSAGE_ID_CHARACTERS_MAX:
                self.refuse(kind, "message_id_too_long", "messageId")
        body = named + outside + core
        if len(body) > MESSAGE_BYTES_MAX:
            self.refuse(kind, "message_too_large", "", message_id)
        if m._plan is not None:
            self._check_plan(m._plan, kind, message_id, body)
        self.calls.append(Call(kind, message_id, body))

    def _check_plan(self, plan: TrackingPlan, kind: Kind, message_id: str, body: bytes) -> None:
        for violation in plan.check(orjson.loads(body)):
            if violation.action == "block":
                self.refuse(kind, violation.rule, violation.path, message_id)
            else:
                seen = (violation.rule, violation.path)
                self._mapper.flagged[seen] = self._mapper.flagged.get(seen, 0) + 1


def _other_user(old: Ids, new: Ids) -> bool:
    """Whether two pairs of ids are two people: no user id in common, nor an anonymous one alone.

    A user id that appears beside the same anonymous id is the same person, now known.
    """
    if old[0] is not None and new[0] is not None:
        return old[0] != new[0]
    return old[1] != new[1] or old[1] is None


def _moved(columns: tuple[str, ...], new: Row, old: Row) -> bool:
    for column in columns:
        one, other = new[column], old[column]
        if one is not other and not same(one, other):
            return True
    return False


def _timestamp(value: Any) -> str | None:
    """The time of an event from its column; a date is its first moment."""
    try:
        if isinstance(value, str):
            value = datetime.fromisoformat(value.strip())
        if isinstance(value, date) and not isinstance(value, datetime):
            value = datetime(value.year, value.month, value.day, tzinfo=UTC)
        return None if value is None else moment(value)
    except (ValueError, AttributeError):
        raise UnsupportedValue(
            "not a time", path="timestamp", rule="timestamp_not_iso8601"
        ) from None


def _framed(part: bytes) -> bytes:
    """A part that no neighbour can run into: its length stands before it."""
    return len(part).to_bytes(8, "big") + part


def _digest(*parts: str) -> blake2b:
    return blake2b(b"".join(_framed(part.encode("utf-8")) for part in parts), digest_size=20)
