"""Turns the transitions of an audience into records for Salesforce.

A message is one JSON record as the collections API takes it; the Bulk API's CSV rows are made of
the same records. Its kind says what happens with the record:

* `upsert`, `update`, `publish`: the member's values are written, or an event is published;
* `member`: a campaign member is added, or updated if it is one already;
* `clear`, `set`, `delete`, `publish`: what `on_exit` asks for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from hashlib import blake2b
from typing import Any

from tailrace.audience.audience import Audience
from tailrace.destinations.message_columns import MessageBuilder
from tailrace.destinations.messages import Message, Refusal, Transition
from tailrace.destinations.protocol import (
    Described,
    TransitionFacts,
    ValueWarning,
)
from tailrace.destinations.salesforce.describe import WritableObject
from tailrace.destinations.salesforce.header import RECORD, FieldSource, WriteBack
from tailrace.destinations.salesforce.rules import Target, target
from tailrace.destinations.salesforce.values import (
    ValueRefused,
    dumps,
    is_null,
    json_of,
)
from tailrace.encoding.values import equal_when_sent
from tailrace.errors import InternalError

ID_PREFIX = "tr1-"
# Collections take 32,000 characters a field and some 400,000 a record.
RECORD_BYTES_MAX = 400_000


class WriteMapper:
    """Implements `MessageMapper` for one audience.

    Args:
        audience: The audience at its destination.
        namespace: The ledger's random id; part of every message id.
        described: Describes of objects, by name in lower case; may lack some.
    """

    sends_own_time = False
    message_bytes_max = RECORD_BYTES_MAX
    batch_messages_max: int | None = None

    def __init__(self, audience: Audience, *, namespace: str, described: Described) -> None:
        assert audience.block is not None
        objects = {name: WritableObject.of(known) for name, known in described.items()}
        self.audience = audience
        self.write_back = write_back = WriteBack(audience.block.values)
        self.described = objects.get(write_back.object.lower())
        self.kind = kind_of_write(write_back)
        self.exit_kind = write_back.exit_kind
        kinds = (self.exit_kind, self.kind) if self.exit_kind != "leave" else (self.kind,)
        self.message_kinds: tuple[str, ...] = tuple(dict.fromkeys(kinds))
        # By it the connection knows which header a record belongs to.
        self._sync_key = audience.ledger_key
        self._parents = objects
        self._name = self.described.name if self.described else write_back.object
        self._match = self._targets({name: FieldSource(column=c) for name, c in _match(write_back)})
        self._fields = self._targets(write_back.fields)
        self._exit_fields = self._targets(write_back.exit_fields)
        # Constants never change, so that their encoded form is kept.
        self._constant = lru_cache(maxsize=None)(self._encode_constant)
        self._digests = {
            (kind, op): blake2b(
                "\0".join((namespace, audience.ledger_key, kind, op)).encode(), digest_size=20
            )
            for kind in self.message_kinds
            for op in ("entered", "changed", "exited")
        }

    def messages(self, transition: Transition) -> tuple[list[Message], list[Refusal], str]:
        """The records of a transition, or why it has none, and the record that it changes."""
        new = self._row(transition)
        user = self._user(new)
        try:
            if transition.op == "exited":
                return self._exit(transition, new), [], user
            if transition.stays and self._match:
                raise _FieldRefused(self._match[0][0].name, "is that of another row as well")
            before = transition.old
            if before and self._moved(new, before):
                messages = self._exit(transition, before)
                return [*messages, self._write(transition, new)], [], user
            if before and not self._changed(new, before):
                return [], [], user
            return [self._write(transition, new)], [], user
        except _FieldRefused as refused:
            kind = self.exit_kind if transition.op == "exited" else self.kind
            refusal = Refusal(kind=kind, rule=refused.rule, path=refused.name)
            return [], [refusal], user

    def message_counts(self, facts: TransitionFacts) -> dict[str, int]:
        """How many messages of each kind a transition has, without building them."""
        counts = dict.fromkeys(self.message_kinds, 0)
        moved = facts.op == "changed" and facts.moved
        stays = facts.stays and bool(self._match)
        leaves = (facts.op == "exited" and not stays) or (moved and facts.leaves)
        if leaves and self.exit_kind != "leave":
            counts[self.exit_kind] += 1
        if facts.op != "exited" and stays:
            # Another row writes the record; this one is refused.
            return counts
        if facts.op == "entered" or (
            facts.op == "changed" and (moved or facts.no_previous or RECORD in facts.changed)
        ):
            counts[self.kind] += 1
        return counts

    def templates(self, columns: Any, *, keys: Any, changes: bool) -> None:
        """None: records are mapped row by row."""
        return

    def message_builder(self, kind: str, op: str) -> MessageBuilder:
        """Not used without templates."""
        raise InternalError("records are not written by templates")

    def value_warnings(self) -> Iterator[ValueWarning]:
        """Nothing: a value that a field cannot hold refuses its row."""
        return iter(())

    def _targets(self, sources: Mapping[str, FieldSource]) -> list[tuple[Target, FieldSource]]:
        return [
            (target(name, self.described, self._parents), source)
            for name, source in sources.items()
        ]

    def _row(self, transition: Transition) -> Mapping[str, Any]:
        missing = [name for name in self.audience.key if name not in transition.new]
        if not missing:
            return transition.new
        return {**dict(zip(self.audience.key, transition.key, strict=True)), **transition.new}

    def _user(self, row: Mapping[str, Any]) -> str:
        values = [row.get(source.column or "") for _, source in self._match]
        return "" if None in values else "\0".join(str(value).lower() for value in values)

    def _moved(self, new: Mapping[str, Any], old: Mapping[str, Any]) -> bool:
        """Whether the member is now another record."""
        return any(
            not equal_when_sent(new.get(column), old.get(column))
            for column in self.write_back.match.values()
        )

    def _changed(self, new: Mapping[str, Any], old: Mapping[str, Any]) -> bool:
        return any(
            not equal_when_sent(new.get(column), old.get(column))
            for column in self.write_back.value_columns
        )

    def _write(self, transition: Transition, row: Mapping[str, Any]) -> Message:
        record = self._record(row)
        for destination, source in self._fields:
            self._put(record, destination, source, row)
        return self._message(self.kind, transition, record)

    def _exit(self, transition: Transition, row: Mapping[str, Any]) -> list[Message]:
        kind = self.exit_kind
        # Without a match there is no record that another row could keep.
        if kind == "leave" or (transition.stays and self._match):
            return []
        record = self._record(row)
        if kind == "clear":
            for destination, source in self._fields:
                field = destination.field
                is_flag = field is not None and field.type == "boolean"
                if source.column is not None and not is_flag:
                    record[destination.cleared_as] = None
        elif kind in ("set", "publish"):
            for destination, source in self._exit_fields:
                self._put(record, destination, source, row)
        return [self._message(kind, transition, record)]

    def _record(self, row: Mapping[str, Any]) -> dict[str, Any]:
        record: dict[str, Any] = {"attributes": {"type": self._name}}
        for destination, source in self._match:
            value = self._value(destination, row.get(source.column or ""))
            if value is None:
                raise _FieldRefused(destination.name, "is NULL, and identifies the record")
            record[destination.path[0]] = value
        return record

    def _put(
        self,
        record: dict[str, Any],
        destination: Target,
        source: FieldSource,
        row: Mapping[str, Any],
    ) -> None:
        if source.column is None:
            value = self._constant(destination, _hashable(source.value))
        else:
            raw = row.get(source.column)
            if source.keep and is_null(raw):
                return
            value = self._value(destination, raw)
        if value is None:
            self._check_null(destination)
            record[destination.cleared_as] = None
        elif len(destination.path) == 2:
            relationship, key = destination.path
            record[relationship] = {key: value}
        else:
            record[destination.path[0]] = value

    def _check_null(self, destination: Target) -> None:
        field = destination.lookup or destination.field
        if field is None:
            return
        if field.type == "boolean":
            raise _FieldRefused(destination.name, "is NULL, and a checkbox cannot be empty")
        if not field.nillable and not field.defaulted:
            raise _FieldRefused(destination.name, "is NULL, and is required")

    def _value(self, destination: Target, raw: Any) -> Any:
        try:
            return json_of(raw, destination.field)
        except ValueRefused as refused:
            raise _FieldRefused(destination.name, str(refused)) from None

    def _encode_constant(self, destination: Target, value: Any) -> Any:
        return self._value(destination, list(value) if isinstance(value, tuple) else value)

    def _message(self, kind: str, transition: Transition, record: dict[str, Any]) -> Message:
        body = dumps(record)
        digest = self._digests[kind, transition.op].copy()
        digest.update(dumps([transition.base_v, *map(str, transition.key)]))
        digest.update(body)
        return Message(kind, ID_PREFIX + digest.hexdigest(), body, route=self._sync_key)


class _FieldRefused(Exception):
    """A value that refuses its row."""

    def __init__(self, name: str, rule: str) -> None:
        super().__init__(rule)
        self.name = name
        self.rule = rule


def kind_of_write(write_back: WriteBack) -> str:
    """The kind of the messages of members who enter or change."""
    if write_back.is_event:
        return "publish"
    return "member" if write_back.is_campaign_member else write_back.mode


def _match(write_back: WriteBack) -> list[tuple[str, str]]:
    return list(write_back.match.items())


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
