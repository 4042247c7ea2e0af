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

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from hashlib import blake2b
from typing import Any, Literal, NamedTuple

import orjson

from tailrace.audience.audience import Audience
from tailrace.clock import format_utc
from tailrace.destinations.segment.context import (
    Context,
    Head,
    heads,
    ids_json,
    ids_reader,
    objects,
    other_user,
    read_id,
)
from tailrace.destinations.segment.properties import Row
from tailrace.destinations.segment.spec import MESSAGE_BYTES_MAX, MESSAGE_ID_CHARACTERS_MAX
from tailrace.destinations.segment.tracking_plan import TrackingPlan
from tailrace.encoding.values import Encoder, moment, same
from tailrace.errors import UnsupportedValue

TIMED = b'"timestamp"'
ID = "tr1-"

Kind = Literal["identify", "group", "track"]
Op = Literal["entered", "changed", "exited"]
KINDS: tuple[Kind, ...] = ("identify", "group", "track")
OPS: tuple[Op, ...] = ("entered", "changed", "exited")


class Transition(NamedTuple):
    """A member that entered, changed or exited, with the values that decide what is sent.

    An exit has its last-known values in `new`. A change without `old` is one whose last delivery
    has no known outcome: all its calls are made, and say nothing of what was before. `stays` is
    an exit of a user who is a member by another row. `at` is the moment of an earlier attempt
    that this one repeats to the letter.
    """

    seq: int
    op: Op
    reason: str
    base_v: int
    key: tuple[Any, ...]
    new: Mapping[str, Any]
    old: Mapping[str, Any]
    stays: bool = False
    at: datetime | None = None


class Call(NamedTuple):
    """One Segment message, encoded: `body` is its JSON, without a trailing newline."""

    kind: Kind
    message_id: str
    body: bytes
    event: str = ""


Closer = Callable[[bytes, bytes], Call]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a transition is not sent: a rule and a place in the message, never a value.

    `body` is the message, where it came to be one.
    """

    kind: Kind
    rule: str
    path: str
    message_id: str | None = None
    body: bytes = field(default=b"", compare=False, repr=False)


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
        self.tracking_plan = tracking_plan
        self.flagged: dict[tuple[str, str], int] = {}
        self.encoder = encoder = Encoder()
        self.planned = _planned_at(planned_at)
        self.context = Context(audience, namespace=namespace, encoder=encoder, salt=salt)
        self.heads = heads(audience, encoder)
        self.objects = objects(audience, encoder, salt)
        self.read_ids = ids_reader(audience, encoder)
        self.digests = {
            (kind, op): _digest(namespace, audience.ledger_key, kind, op)
            for kind in KINDS
            for op in OPS
        }
        track, mapped = audience.track, set(audience.mapped_columns)
        # Properties of the audience that are worked out anew at each access.
        self.track_columns = audience.track_columns
        self.identify_columns = audience.identify_columns
        self.group_columns = audience.group_columns
        self.consent_columns = (
            tuple(audience.consent.categories.values()) if audience.consent else ()
        )
        self.message_id_columns = (track.message_id,) if track and track.message_id else ()
        self.timestamp_column = track.timestamp if track else None
        # The first result set is recorded, and its events of entering are left out.
        self.skips_initial = track is not None and track.initial == "skip"
        self._key_columns = tuple(
            (at, column) for at, column in enumerate(audience.key) if column in mapped
        )

    def calls(self, t: Transition) -> tuple[list[Call], list[Refusal], str]:
        """The calls of one transition, or why it makes none, and the user whose they are."""
        work = _Work(self, t)
        new = self._row(t.new, t.key)
        try:
            if t.op == "entered":
                work.enter(new, own_id=True)
            elif t.op == "exited":
                work.exit(new, stays=t.stays)
            else:
                work.change(new, self._row(t.old, t.key) if t.old else t.old)
        except UnsupportedValue as error:
            work.refuse("track" if self.audience.track else "identify", error.rule, error.path)
        return ([], work.refusals, work.user) if work.refusals else (work.calls, [], work.user)

    def closer(self, kind: Kind, op: Op) -> Closer:
        """How a message of a kind becomes a call, from its frame and its core; see `named`."""
        digest = self.digests[kind, op]
        has_time = kind == "track" and op != "exited" and self.timestamp_column
        form = _form(b"" if has_time else self.planned)
        event = self.heads[op].event if kind == "track" and op in self.heads else ""
        new = tuple.__new__

        def close(frame: bytes, core: bytes) -> Call:
            message_id, body = named(digest, frame, core, form)
            return new(Call, (kind, message_id, body, event))

        return close

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
        leaves: bool = True,
        stays: bool = False,
        grouped: bool = True,
    ) -> dict[Kind, int]:
        """How many calls of each kind a transition makes, without making them.

        The `…_changed` say whether one of the audience's `track_columns`, `identify_columns`,
        `group_columns` or consent columns moved, `moved` whether the user did and `leaves` whether
        the old one is told so, `stays` whether who exits is a member by another row, `grouped`
        whether the row has a group.
        """
        audience = self.audience
        identify, left = int(audience.identify is not None), int(self.objects.left is not None)
        group = int(audience.group is not None and grouped)
        skipped = reason == "initial" and self.skips_initial
        entered = int("entered" in self.heads and not skipped)
        exited = int("exited" in self.heads)
        if op == "entered":
            return {"identify": identify, "group": group, "track": entered}
        if op == "exited":
            spared = stays and audience.payload == "engage"
            return {"identify": left * (not stays), "group": 0, "track": exited * (not spared)}
        consent = int(consent_changed and bool(self.consent_columns))
        if moved:
            tracks = exited * leaves + entered + consent
            return {"identify": left * leaves + identify, "group": group, "track": tracks}
        changed = int("changed" in self.heads and track_changed)
        return {
            "identify": identify * identify_changed,
            "group": group * group_changed,
            "track": changed + consent,
        }

    def _row(self, values: Row, key: tuple[Any, ...]) -> Row:
        """The values with the key's own columns, where those are mapped and stand apart."""
        for _, column in self._key_columns:
            if column not in values:
                return {**{name: key[at] for at, name in self._key_columns}, **values}
        return values


class _Work:
    """The calls of one transition, as they are made."""

    __slots__ = ("_frame", "_m", "_planned", "_skip", "calls", "refusals", "user")

    def __init__(self, mapper: Mapper, t: Transition) -> None:
        encoder = mapper.encoder
        self._m = mapper
        self._skip = t.reason == "initial" and mapper.skips_initial
        self._planned = mapper.planned if t.at is None else _planned_at(t.at)
        # A JSON array ends where it ends: nothing that follows can be read into it.
        self._frame = encoder.dumps([t.base_v, *(encoder.encode(part) for part in t.key)])
        self.calls: list[Call] = []
        self.refusals: list[Refusal] = []
        self.user = ""

    def enter(self, row: Row, *, own_id: bool) -> None:
        """What makes a user a member: on entering, and when a member becomes another user."""
        m = self._m
        ids = self._who(row)
        bare, member, tracked = m.context.of(row)
        if m.audience.identify is not None:
            self._identify("entered", ids + member, row)
        if m.audience.group is not None:
            self._group("entered", ids + bare, m.audience.group.group_id, row)
        head = m.heads.get("entered")
        if head is not None and not self._skip:
            self._track(
                "entered", ids + tracked, head, row, m.objects.properties.build(row), own_id
            )

    def exit(self, row: Row, *, stays: bool = False) -> None:
        """What makes a member none: no trait but the membership, and no group.

        Of a user who stays a member by another row, only the row's own event is sent; where the
        event itself says that the user is none (engage), nothing.
        """
        m = self._m
        ids = self._who(row)
        _, member, tracked = m.context.of(row)
        if stays and m.audience.payload == "engage":
            return
        if m.objects.left is not None and not stays:
            left = m.objects.left.build(row)
            self._send("identify", "exited", ids + member, m.heads["identify"], left)
        head = m.heads.get("exited")
        if head is not None:
            last_known = m.objects.last_known.build(row)
            self._send("track", "exited", ids + tracked, head, last_known)

    def change(self, new: Row, old: Row) -> None:
        """What of a member's calls carries something new; without old values, all of it."""
        m = self._m
        before = m.read_ids(old) if old else None
        if before is not None and other_user(before, m.read_ids(new)):
            if any(before):
                self.exit(old)
            # With the id of the old user's event, Segment would drop the new user's as a repeat.
            self.enter(new, own_id=_moved(m.message_id_columns, new, old))
            return self._consent(new, old)
        ids = self._who(new)
        bare, member, tracked = m.context.of(new)
        if m.audience.identify is not None and _moved(m.identify_columns, new, old):
            self._identify("changed", ids + member, new)
        if m.audience.group is not None and _moved(m.group_columns, new, old):
            self._group("changed", ids + bare, m.audience.group.group_id, new)
        head = m.heads.get("changed")
        if head is not None and _moved(m.track_columns, new, old):
            properties = m.objects.properties.build(new)
            own_id = False
            if old:
                properties["previous"] = m.objects.properties.previous(new, old, properties)
                own_id = _moved(m.message_id_columns, new, old)
            self._track("changed", ids + tracked, head, new, properties, own_id)
        return self._consent(new, old) if old else None

    def refuse(
        self,
        kind: Kind,
        rule: str,
        path: str,
        message_id: str | None = None,
        body: bytes = b"",
    ) -> None:
        """Notes why the transition is not sent."""
        self.refusals.append(Refusal(kind, rule, path, message_id, body))

    def _who(self, row: Row) -> bytes:
        ids = self._m.read_ids(row)
        self.user = ids[0] or ids[1] or ""
        if not self.user:
            raise UnsupportedValue("no id", path="userId", rule="no_user_anon_id")
        return ids_json(ids, self._m.encoder)

    def _identify(self, op: Op, start: bytes, row: Row) -> None:
        m = self._m
        self._send("identify", op, start, m.heads["identify"], m.objects.traits.build(row))

    def _group(self, op: Op, start: bytes, column: str, row: Row) -> None:
        """No call where the row has no group: Segment knows no way to leave one."""
        m = self._m
        group = read_id(row[column], "groupId", m.encoder)
        if group is not None:
            start += b'"groupId":' + m.encoder.dumps(group) + b","
            self._send("group", op, start, m.heads["group"], m.objects.group_traits.build(row))

    def _track(
        self, op: Op, start: bytes, head: Head, row: Row, properties: dict[str, Any], own_id: bool
    ) -> None:
        """An event with the time and the id of its row, where columns are mapped for them."""
        m = self._m
        message_id = None
        if m.timestamp_column and (time := _timestamp(row[m.timestamp_column])):
            start = b'"timestamp":"%b",' % time.encode() + start
        if own_id and m.message_id_columns:
            message_id = read_id(row[m.message_id_columns[0]], "messageId", m.encoder)
        self._send("track", op, start, head, properties, message_id)

    def _consent(self, new: Row, old: Row) -> None:
        m = self._m
        if _moved(m.consent_columns, new, old):
            start = self._who(new) + m.context.of(new)[0]
            self._send("track", "changed", start, m.heads["consent"], m.objects.key_only.build(new))

    def _send(
        self,
        kind: Kind,
        op: Op,
        start: bytes,
        head: Head,
        carried: dict[str, Any],
        message_id: str | None = None,
    ) -> None:
        """Closes the message, with its own id or the one of its content, and checks it."""
        m = self._m
        core = b"%b%b%b}" % (start, head.json, m.encoder.dumps(carried))
        time = b"" if core.startswith(TIMED) else self._planned
        if message_id is None:
            message_id, body = named(m.digests[kind, op], self._frame, core, _form(time))
        else:
            body = b'{"messageId":%b,%b%b' % (m.encoder.dumps(message_id), time, core)
        if len(message_id) > MESSAGE_ID_CHARACTERS_MAX:
            self.refuse(kind, "message_id_too_long", "messageId", None, body)
        if len(body) > MESSAGE_BYTES_MAX:
            self.refuse(kind, "event_over_32_kb", "", message_id, body)
        if head.rule is not None:
            self.refuse(kind, head.rule, "event", message_id, body)
        if m.tracking_plan is not None:
            self._check_plan(m.tracking_plan, kind, message_id, body)
        self.calls.append(Call(kind, message_id, body, head.event))

    def _check_plan(self, plan: TrackingPlan, kind: Kind, message_id: str, body: bytes) -> None:
        for violation in plan.check(orjson.loads(body)):
            if violation.action == "block":
                self.refuse(kind, violation.rule, violation.path, message_id, body)
            else:
                seen = (violation.rule, violation.path)
                self._m.flagged[seen] = self._m.flagged.get(seen, 0) + 1


def named(digest: blake2b, frame: bytes, core: bytes, form: bytes) -> tuple[str, bytes]:
    """The id of a message, and the message with it and its time; `core` is all the rest of it.

    `digest` has taken what all messages of the kind share, `frame` tells a transition from every
    other of the audience. The time of planning stands outside of what the id is made of, in the
    `form`, so that a transition that is planned again keeps its id; a time from the row is a part
    of what is said.
    """
    own = digest.copy()
    own.update(frame)
    own.update(core)
    name = own.hexdigest()
    return ID + name, form % (name.encode(), core)


def _form(time: bytes) -> bytes:
    """A message with gaps for its id and its core; its `time` may be empty."""
    return b'{"messageId":"%b%%b",%b%%b' % (ID.encode(), time)


def _moved(columns: tuple[str, ...], new: Row, old: Row) -> bool:
    if not old:
        return True
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


def _planned_at(moment: datetime) -> bytes:
    return b'"timestamp":"%b",' % format_utc(moment).encode()


def _digest(*parts: str) -> blake2b:
    return blake2b(b"".join(_framed(part.encode("utf-8")) for part in parts), digest_size=20)
