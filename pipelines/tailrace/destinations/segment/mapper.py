"""Turns transitions into Segment messages, ready to be sent.

What a transition becomes, in this order:

| op      | identify              | group                | track                                |
| ------- | --------------------- | -------------------- | ------------------------------------ |
| entered | traits, membership    | its traits           | `entered`, properties                |
| changed | if a trait changed    | if its own changed   | `changed`, properties and `previous` |
| exited  | membership false only | none                 | `exited`, last known properties      |

A member whose user id changed is two users to Segment: the old one exits, the new one enters.
Changed consent adds `Segment Consent Preference Updated`. A transition is sent as a whole: if one
of its messages is refused, none is sent, so that a row that is planned again repeats nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from hashlib import blake2b
from typing import Any, Literal

import orjson

from tailrace.audience.audience import Audience
from tailrace.clock import format_utc
from tailrace.destinations.fields import Row
from tailrace.destinations.message_columns import (
    MessageBuilder,
    MessageHead,
    MessageParts,
    message_names,
)
from tailrace.destinations.messages import OPS, Message, Op, Refusal, Transition
from tailrace.destinations.protocol import (
    MessageTemplates,
    TransitionFacts,
    ValueWarning,
)
from tailrace.destinations.segment.context import (
    Context,
    MessageStart,
    heads,
    ids_json,
    ids_reader,
    integrations,
    objects,
    other_user,
    read_id,
    track_start,
)
from tailrace.destinations.segment.properties import Mapped
from tailrace.destinations.segment.spec import MESSAGE_BYTES_MAX, MESSAGE_ID_CHARACTERS_MAX
from tailrace.destinations.segment.templates import message_templates
from tailrace.destinations.segment.tracking_plan import TrackingPlan
from tailrace.encoding.values import Encoder, moment, unchanged
from tailrace.errors import UnsupportedValue
from tailrace.warehouse.statements import Column

OWN_TIME = b'"timestamp"'
ID_PREFIX = "tr1-"
# Texts under `previous` are cut to this length where the message would be too large otherwise.
PREVIOUS_CHARACTERS_MAX = 200
# How many event names of one event model are kept ready.
EVENT_NAMES_MAX = 1_000

MessageKind = Literal["identify", "group", "track"]
KINDS: tuple[MessageKind, ...] = ("identify", "group", "track")


class Mapper:
    """Turns the transitions of one audience into messages; the header is compiled once.

    `encoder` counts values that could not be sent unchanged, `flagged` violations of the project's
    tracking plan that do not stop a message, `shortened` messages whose previous values were too
    large.
    """

    message_kinds: tuple[str, ...] = KINDS
    message_bytes_max = MESSAGE_BYTES_MAX
    batch_messages_max: int | None = None

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
        self.shortened = 0
        self.encoder = encoder = Encoder()
        self.planned = _planned_time(planned_at)
        self.context = Context(audience, namespace=namespace, encoder=encoder, salt=salt)
        self.heads = heads(audience, encoder)
        self.objects = objects(audience, encoder, salt)
        self.read_ids = ids_reader(audience, encoder)
        self.digests: dict[tuple[str, str], blake2b] = {
            (kind, op): _digest(namespace, audience.ledger_key, kind, op)
            for kind in KINDS
            for op in OPS
        }
        track, mapped = audience.track, set(audience.mapped_columns)
        # Read once: these properties of the audience are computed at each access.
        self.track_columns = audience.track_columns
        self.identify_columns = audience.identify_columns
        self.group_columns = audience.group_columns
        ids = (audience.user_id, audience.anonymous_id, *audience.external_ids.values())
        self.id_columns = tuple(column for column in ids if column)
        self.consent_columns = (
            tuple(audience.consent.categories.values()) if audience.consent else ()
        )
        self.message_id_columns: tuple[str, ...] = (
            (track.message_id,) if track and track.message_id else ()
        )
        self.timestamp_column = track.timestamp if track else None
        self.sends_own_time = self.timestamp_column is not None
        # `track.initial: skip`: the members of the first run enter without an event.
        self.skips_initial = audience.skips_initial
        # The names of an event model's events by row, and the starts of their messages.
        self.event_column = audience.log.event_column if audience.log else None
        self._named_starts: dict[str, MessageStart] = {}
        self._integrations = integrations(audience)
        self._key_columns = tuple(
            (index, column) for index, column in enumerate(audience.key) if column in mapped
        )

    def messages(self, transition: Transition) -> tuple[list[Message], list[Refusal], str]:
        """The messages of a transition, or why it has none, and the user that receives them."""
        work = _TransitionMessages(self, transition)
        new = self._row(transition.new, transition.key)
        try:
            if transition.op == "entered":
                work.enter(new, own_id=True)
            elif transition.op == "exited":
                work.exit(new, stays=transition.stays)
            else:
                old = transition.old
                work.change(new, self._row(old, transition.key) if old else old)
        except UnsupportedValue as error:
            work.refuse("track" if self.audience.track else "identify", error.rule, error.path)
        except RecursionError:
            work.refuse("track" if self.audience.track else "identify", "nested_too_deeply", "")
        if work.refusals:
            return [], work.refusals, work.user
        return work.messages, [], work.user

    def message_builder(self, kind: str, op: str) -> MessageBuilder:
        """Builds the messages of rows from their hash keys and contents, as rendered."""
        digest = self.digests[kind, op]
        has_own_time = kind == "track" and op != "exited" and self.timestamp_column
        start, middle = _around_name(b"" if has_own_time else self.planned)
        event = self.heads[op].event if kind == "track" and op in self.heads else ""
        fixed_bytes = len(start) + 2 * digest.digest_size + len(middle)

        def build(hash_keys: Sequence[bytes], contents: Sequence[bytes]) -> MessageParts:
            names = message_names(digest, hash_keys, contents)
            sizes = [fixed_bytes + size for size in map(len, contents)]
            return MessageParts(names, (names, list(contents)), sizes)

        head = MessageHead(kind, (start, middle), event, id_prefix=ID_PREFIX)
        return MessageBuilder(head, build)

    def templates(
        self, columns: Sequence[Column], *, keys: Sequence[Column], changes: bool
    ) -> MessageTemplates | None:
        """The messages as templates for the warehouse; None if rows are mapped one by one."""
        return message_templates(self, columns, keys=keys, changes=changes)

    def value_warnings(self) -> Iterator[ValueWarning]:
        """What was changed in the values of the messages so far."""
        if self.encoder.nulled:
            yield ValueWarning(
                message=f"{_values(self.encoder.nulled)} sent as null: NaN, infinite, or a time "
                "outside the years 1 to 9999",
                hint="JSON has no such values; decide in the SELECT what to send.",
            )
        if self.encoder.repaired:
            yield ValueWarning(
                message=f"{_values(self.encoder.repaired)} with half a character, sent as U+FFFD"
            )
        if self.shortened:
            yield ValueWarning(
                message=f"{self.shortened:,} changes sent with shortened or without previous "
                "values: the event would be larger than 32 KB",
                hint="Map fewer or shorter columns under track.properties to keep them.",
            )
        for (rule, path), count in sorted(self.flagged.items()):
            yield ValueWarning(
                message=f"tracking plan, {rule} at {path}: {count:,} messages sent anyway",
                hint="The rule's action is flag; see tracking_plan.yaml.",
            )

    def message_counts(self, facts: TransitionFacts) -> dict[str, int]:
        """See `MessageMapper.message_counts`."""
        audience, op = self.audience, facts.op
        identify, left = int(audience.identify is not None), int(self.objects.left is not None)
        group = int(audience.group is not None and facts.complete)
        skipped = facts.reason == "initial" and self.skips_initial
        entered = int("entered" in self.heads and not skipped)
        exited = int("exited" in self.heads)
        if op == "entered":
            return {"identify": identify, "group": group, "track": entered}
        if op == "exited":
            spared = facts.stays and audience.payload == "engage"
            return {
                "identify": left * (not facts.stays),
                "group": 0,
                "track": exited * (not spared),
            }
        consent = int("consent" in facts.changed and not facts.no_previous)
        if facts.moved:
            tracks = exited * facts.leaves + entered + consent
            return {"identify": left * facts.leaves + identify, "group": group, "track": tracks}

        def repeats(name: str) -> bool:
            return facts.no_previous or name in facts.changed

        return {
            "identify": identify * repeats("identify"),
            "group": group * repeats("group"),
            "track": int("changed" in self.heads and repeats("track")) + consent,
        }

    def entered_start(self, row: Row) -> MessageStart | None:
        """The start of the event of a new member; of a log, by the name in the row.

        Raises:
            UnsupportedValue: The name is not a text.
        """
        if self.event_column is None:
            return self.heads.get("entered")
        try:
            name = self.encoder.text(row[self.event_column]) or ""
        except UnsupportedValue as error:
            raise error.at("event", rule="event_not_string") from None
        start = self._named_starts.get(name)
        if start is None:
            start = track_start(name, self._integrations, self.encoder)
            if len(self._named_starts) < EVENT_NAMES_MAX:
                self._named_starts[name] = start
        return start

    def _row(self, values: Row, key: tuple[Any, ...]) -> Row:
        """The values with the key's columns, if those are mapped and not among the values."""
        for _, column in self._key_columns:
            if column not in values:
                return {**{name: key[index] for index, name in self._key_columns}, **values}
        return values


class _TransitionMessages:
    """The messages of one transition while they are built."""

    __slots__ = ("_hash_key", "_m", "_planned", "_skip", "messages", "refusals", "user")

    def __init__(self, mapper: Mapper, transition: Transition) -> None:
        encoder = mapper.encoder
        self._m = mapper
        self._skip = transition.reason == "initial" and mapper.skips_initial
        self._planned = mapper.planned if transition.at is None else _planned_time(transition.at)
        # A JSON array marks its own end, so that no other version and key give the same bytes.
        self._hash_key = encoder.dumps(
            [transition.base_v, *(encoder.encode(part) for part in transition.key)]
        )
        self.messages: list[Message] = []
        self.refusals: list[Refusal] = []
        self.user = ""

    def enter(self, row: Row, *, own_id: bool) -> None:
        """The messages of a new member, and of the new user of a member whose user id changed."""
        m = self._m
        ids = self._ids(row)
        bare, member, tracked = m.context.of(row)
        if m.audience.identify is not None:
            self._identify("entered", ids + member, m.objects.traits.build(row))
        if m.audience.group is not None:
            self._group("entered", ids + bare, m.audience.group.group_id, row)
        head = m.entered_start(row)
        if head is not None and not self._skip:
            self._track(
                "entered", ids + tracked, head, row, m.objects.properties.build(row), own_id
            )

    def exit(self, row: Row, *, stays: bool = False) -> None:
        """The messages of an exit: the membership trait and the event, no other trait, no group.

        A user who remains a member through another row gets only the event of this row; with
        `payload: engage` the event itself would end the membership, and nothing is sent.
        """
        m = self._m
        ids = self._ids(row)
        _, member, tracked = m.context.of(row)
        if stays and m.audience.payload == "engage":
            return
        if m.objects.left is not None and not stays:
            self._identify("exited", ids + member, m.objects.left.build(row))
        head = m.heads.get("exited")
        if head is not None:
            last_known = m.objects.last_known.build(row)
            self._send("track", "exited", ids + tracked, head, last_known)

    def change(self, new: Row, old: Row) -> None:
        """The messages of a member that carry something new; without old values, all of them.

        Values that are sent as the same JSON, such as NULL and NaN, are no change.
        """
        m = self._m
        ids_before = m.read_ids(old) if old else None
        if ids_before is not None and other_user(ids_before, m.read_ids(new)):
            if any(ids_before):
                self.exit(old)
            # With the message id of the old user's event, Segment would drop the new user's.
            self.enter(new, own_id=_changed(m.message_id_columns, new, old))
            return self._consent(new, old)
        ids = self._ids(new)
        bare, member, tracked = m.context.of(new)
        if m.audience.identify is not None and _changed(m.identify_columns, new, old):
            traits = m.objects.traits.build(new)
            if self._differs(m.objects.traits, traits, new, old):
                self._identify("changed", ids + member, traits)
        if m.audience.group is not None and _changed(m.group_columns, new, old):
            self._group("changed", ids + bare, m.audience.group.group_id, new)
        head = m.heads.get("changed")
        if head is not None and _changed(m.track_columns, new, old):
            self._change_event(ids + tracked, head, new, old)
        return self._consent(new, old) if old else None

    def _change_event(self, start: bytes, head: MessageStart, new: Row, old: Row) -> None:
        m = self._m
        properties = m.objects.properties.build(new)
        own_id = False
        if old:
            previous = m.objects.properties.previous(new, old, properties)
            own_id = _changed(m.message_id_columns, new, old)
            if not previous and not _changed(m.id_columns, new, old):
                # The changed values are sent as the same value, for example as the same hash.
                return
            properties["previous"] = previous
        self._track("changed", start, head, new, properties, own_id)

    def _differs(self, mapped: Mapped, built: dict[str, Any], new: Row, old: Row) -> bool:
        """Whether ids, or an object with hashed or masked values, differ from those before."""
        if mapped.is_plain or not old or _changed(self._m.id_columns, new, old):
            return True
        encoder = self._m.encoder
        counts = encoder.nulled, encoder.repaired
        try:
            return encoder.dumps(built) != encoder.dumps(mapped.build(old))
        except UnsupportedValue:
            return True
        finally:
            # The old object is not sent.
            encoder.nulled, encoder.repaired = counts

    def refuse(
        self,
        kind: str,
        rule: str,
        path: str,
        message_id: str | None = None,
        body: bytes = b"",
    ) -> None:
        """Record why the transition is not sent."""
        self.refusals.append(Refusal(kind, rule, path, message_id, body))

    def _ids(self, row: Row) -> bytes:
        ids = self._m.read_ids(row)
        self.user = ids[0] or ids[1] or ""
        if not self.user:
            raise UnsupportedValue("no id", path="userId", rule="no_user_anon_id")
        return ids_json(ids, self._m.encoder)

    def _identify(self, op: Op, start: bytes, traits: dict[str, Any]) -> None:
        self._send("identify", op, start, self._m.heads["identify"], traits)

    def _group(self, op: Op, start: bytes, column: str, row: Row) -> None:
        """No message for a row without a group: Segment has no message for leaving one."""
        m = self._m
        group = read_id(row[column], "groupId", m.encoder)
        if group is not None:
            start += b'"groupId":' + m.encoder.dumps(group) + b","
            self._send("group", op, start, m.heads["group"], m.objects.group_traits.build(row))

    def _track(
        self,
        op: Op,
        start: bytes,
        head: MessageStart,
        row: Row,
        properties: dict[str, Any],
        own_id: bool,
    ) -> None:
        """An event with the time and the message id of its row, if columns are mapped for them."""
        m = self._m
        message_id = None
        if m.timestamp_column and (time := _timestamp(row[m.timestamp_column])):
            start = b'"timestamp":"%b",' % time.encode() + start
        if own_id and m.message_id_columns:
            message_id = read_id(row[m.message_id_columns[0]], "messageId", m.encoder)
        self._send("track", op, start, head, properties, message_id)

    def _consent(self, new: Row, old: Row) -> None:
        m = self._m
        if _changed(m.consent_columns, new, old):
            start = self._ids(new) + m.context.of(new)[0]
            self._send("track", "changed", start, m.heads["consent"], m.objects.key_only.build(new))

    def _send(
        self,
        kind: MessageKind,
        op: Op,
        start: bytes,
        head: MessageStart,
        carried: dict[str, Any],
        own_id: str | None = None,
    ) -> None:
        """Complete a message with its own id or the one of its content, and check it."""
        m = self._m
        message_id, body = self._complete(kind, op, start + head.json, carried, own_id)
        if len(body) > MESSAGE_BYTES_MAX and op == "changed" and carried.get("previous"):
            for shorter in _with_less_previous(carried):
                message_id, body = self._complete(kind, op, start + head.json, shorter, own_id)
                if len(body) <= MESSAGE_BYTES_MAX:
                    m.shortened += 1
                    break
        if len(message_id) > MESSAGE_ID_CHARACTERS_MAX:
            self.refuse(kind, "message_id_too_long", "messageId", None, body)
        if len(body) > MESSAGE_BYTES_MAX:
            self.refuse(kind, "event_over_32_kb", "", message_id, body)
        if head.rule is not None:
            self.refuse(kind, head.rule, "event", message_id, body)
        if m.tracking_plan is not None:
            self._check_plan(m.tracking_plan, kind, message_id, body)
        self.messages.append(Message(kind, message_id, body, head.event))

    def _complete(
        self, kind: MessageKind, op: Op, start: bytes, carried: dict[str, Any], own_id: str | None
    ) -> tuple[str, bytes]:
        m = self._m
        content = b"%b%b}" % (start, m.encoder.dumps(carried))
        time = b"" if content.startswith(OWN_TIME) else self._planned
        if own_id is None:
            (name,) = message_names(m.digests[kind, op], [self._hash_key], [content])
            start, middle = _around_name(time)
            return ID_PREFIX + name.decode(), start + name + middle + content
        return own_id, b'{"messageId":%b,%b%b' % (m.encoder.dumps(own_id), time, content)

    def _check_plan(
        self, plan: TrackingPlan, kind: MessageKind, message_id: str, body: bytes
    ) -> None:
        for violation in plan.check(orjson.loads(body)):
            if violation.action == "block":
                self.refuse(kind, violation.rule, violation.path, message_id, body)
            else:
                place = (violation.rule, violation.path)
                self._m.flagged[place] = self._m.flagged.get(place, 0) + 1


def _around_name(time: bytes) -> tuple[bytes, bytes]:
    """The bytes of a message before and after the name in its id, up to its content.

    `time` may be empty. The time of planning is not part of the hash, so that a transition that is
    planned again keeps its id; a time from the row is content.
    """
    return b'{"messageId":"' + ID_PREFIX.encode(), b'",' + time


def _with_less_previous(carried: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The properties with shortened previous values, then without any."""
    yield {**carried, "previous": _shortened(carried["previous"])}
    yield {name: value for name, value in carried.items() if name != "previous"}


def _shortened(previous: dict[str, Any]) -> dict[str, Any]:
    """Long texts are cut, and long lists left out."""
    kept: dict[str, Any] = {}
    for name, value in previous.items():
        if isinstance(value, dict):
            kept[name] = _shortened(value)
        elif isinstance(value, str) and len(value) > PREVIOUS_CHARACTERS_MAX:
            kept[name] = value[:PREVIOUS_CHARACTERS_MAX] + "…"
        elif not isinstance(value, list) or len(orjson.dumps(value)) <= PREVIOUS_CHARACTERS_MAX:
            kept[name] = value
    return kept


def _changed(columns: tuple[str, ...], new: Row, old: Row) -> bool:
    """Whether one of the columns is sent as another value; without old values, always."""
    if not old:
        return True
    return not all(unchanged(new[column], old[column]) for column in columns)


def _timestamp(value: Any) -> str | None:
    """The time of an event: a timestamp, a date (its first instant, UTC) or ISO 8601 text.

    Raises:
        UnsupportedValue: It is anything else; rule `timestamp_not_iso8601`.
    """
    try:
        if isinstance(value, str):
            value = datetime.fromisoformat(value.strip())
        if isinstance(value, date) and not isinstance(value, datetime):
            value = datetime(value.year, value.month, value.day, tzinfo=UTC)
        if value is None or isinstance(value, datetime):
            return None if value is None else moment(value)
    except ValueError:
        pass
    raise UnsupportedValue("not a time", path="timestamp", rule="timestamp_not_iso8601")


def _length_prefixed(part: bytes) -> bytes:
    """A part with its length, so that neighbouring parts cannot be confused."""
    return len(part).to_bytes(8, "big") + part


def _planned_time(moment: datetime) -> bytes:
    return b'"timestamp":"%b",' % format_utc(moment).encode()


def _digest(*parts: str) -> blake2b:
    return blake2b(
        b"".join(_length_prefixed(part.encode("utf-8")) for part in parts), digest_size=20
    )


def _values(count: int) -> str:
    """A number of values.

    >>> _values(1), _values(2_000)
    ('1 value', '2,000 values')
    """
    return f"{count:,} value" + "s" * (count != 1)
