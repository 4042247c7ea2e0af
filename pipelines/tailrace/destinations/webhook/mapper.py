"""Turns the transitions of an audience into elements of JSON requests.

Without a template an element is `{"id", "op", "audience", "key", "at", "values", "previous"}`; with
one it is the template's object with `id`, `op`, `key` and `previous`, unless the template has
members of these names. `previous` has the old values of what changed; it is left out where they are
unknown. An exit has the last known values.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from hashlib import blake2b
from typing import Any, cast

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
    MapperOptions,
    MessageTemplates,
    TransitionFacts,
    ValueWarning,
)
from tailrace.destinations.webhook.body import Body, Template
from tailrace.destinations.webhook.header import KIND
from tailrace.destinations.webhook.templates import element_templates
from tailrace.encoding.values import Encoder
from tailrace.errors import InternalError, UnsupportedValue
from tailrace.warehouse.statements import Column

ID_PREFIX = "tr1-"
# The largest body that any known receiver takes.
ELEMENT_BYTES_MAX = 6_000_000


class WebhookMapper:
    """Implements `MessageMapper` for one audience."""

    sends_own_time = False
    message_kinds: tuple[str, ...] = (KIND,)
    message_bytes_max = ELEMENT_BYTES_MAX

    def __init__(self, audience: Audience, options: MapperOptions) -> None:
        if audience.block is None:
            raise InternalError(f"{audience.name} has no webhook block at its destination")
        self.audience = audience
        self.encoder = encoder = Encoder()
        values = audience.block.values
        self._format = str(values["batch"])
        self.batch_messages_max: int | None = 1 if self._format == "single" else None
        self._send = frozenset(values["send"])
        template = values["body"] or _every_column(audience)
        self._body = Body(template, encoder=encoder, salt=options.salt)
        self._is_template = values["body"] is not None
        own = set(template["object"]) if self._is_template else set()
        self._adds = {name for name in ("id", "op", "key", "previous") if name not in own}
        self._planned_at = format_utc(options.planned_at)
        self._name = encoder.dumps(audience.name)
        self._digests = {
            op: blake2b(
                b"".join(
                    len(part).to_bytes(8, "big") + part
                    for part in map(str.encode, (options.namespace, audience.ledger_key, KIND, op))
                ),
                digest_size=20,
            )
            for op in OPS
        }
        mapped = set(audience.mapped_columns)
        self._mapped_keys = [
            (index, column) for index, column in enumerate(audience.key) if column in mapped
        ]

    def messages(self, transition: Transition) -> tuple[list[Message], list[Refusal], str]:
        """The element of a transition, or why it has none, and the key as the receiver sees it."""
        if transition.op not in self._send:
            return [], [], ""
        user = ""
        try:
            key = [self.encoder.encode(part) for part in transition.key]
            user = self._user(key)
            message = self._message(transition, key)
        except UnsupportedValue as error:
            return [], [Refusal(KIND, error.rule, error.path)], user
        except RecursionError:
            return [], [Refusal(KIND, "nested_too_deeply", "")], user
        return [message] if message else [], [], user

    def _message(self, transition: Transition, key: list[Any]) -> Message | None:
        """The element; None for a change of which nothing is visible to the receiver."""
        new = self._row(transition.new, transition.key)
        document = self._body.build(new)
        previous = None
        if transition.op == "changed" and transition.old:
            previous = self._body.previous(new, self._row(transition.old, transition.key))
            if not previous:
                return None
        # A JSON array marks its own end, so that no other version and key give the same bytes.
        hash_key = self.encoder.dumps([transition.base_v, *key])
        content = self.encoder.dumps(self._content(document, previous))
        digest = self._digests[transition.op].copy()
        digest.update(hash_key)
        digest.update(content)
        message_id = ID_PREFIX + digest.hexdigest()
        start = self._start(transition.op, message_id, key, transition.at)
        body = b"{" + start + content[1:] if content != b"{}" else b"{" + start[:-1] + b"}"
        return Message(KIND, message_id, body, "", self._format)

    def _content(self, document: dict[str, Any], previous: dict[str, Any] | None) -> dict[str, Any]:
        """What is hashed into the id: the values, not the time of planning."""
        if not self._is_template:
            document = {"values": document}
        if previous is not None and "previous" in self._adds:
            document = {**document, "previous": previous}
        return document

    def _start(self, op: Op, message_id: str, key: list[Any], at: datetime | None) -> bytes:
        """The members before the content, each with a comma after it."""
        members: dict[str, Any] = {"id": message_id, "op": op}
        if not self._is_template:
            members["audience"] = self.audience.name
        names = self.audience.key
        members["key"] = key[0] if len(key) == 1 else dict(zip(names, key, strict=True))
        if self._is_template:
            members = {name: members[name] for name in members if name in self._adds}
        else:
            members["at"] = self._planned_at if at is None else format_utc(at)
        return self.encoder.dumps(members)[1:-1] + b"," if members else b""

    def message_counts(self, facts: TransitionFacts) -> dict[str, int]:
        """How many elements a transition has, without building them."""
        changed = facts.op != "changed" or facts.no_previous or KIND in facts.changed
        return {KIND: int(facts.op in self._send and changed)}

    def templates(
        self, columns: Sequence[Column], *, keys: Sequence[Column], changes: bool
    ) -> MessageTemplates | None:
        """The elements as templates for the warehouse; None if rows are mapped one by one."""
        return element_templates(
            self._body,
            ops=self._send,
            wrapped=not self._is_template,
            with_previous="previous" in self._adds,
            encoder=self.encoder,
            columns=columns,
            keys=keys,
            changes=changes,
        )

    def message_builder(self, kind: str, op: str) -> MessageBuilder:
        """Builds the elements of rows from their rendered versions and keys, and contents."""
        digest = self._digests[cast(Op, op)]
        # The id and the key are the only parts before the content that differ between rows.
        mark = "\x1f"
        start = b"{" + self._start(cast(Op, op), mark, [mark], None)
        constants = start.split(b'"\\u001f"')
        has_id, has_key = "id" in self._adds, "key" in self._adds
        if has_id:
            constants[0] += b'"' + ID_PREFIX.encode()
            constants[1] = b'"' + constants[1]
        fixed_bytes = sum(map(len, constants)) - len(b"{")
        fixed_bytes += 2 * digest.digest_size if has_id else 0

        def build(hash_keys: Sequence[bytes], contents: Sequence[bytes]) -> MessageParts:
            names = message_names(digest, hash_keys, contents)
            # `[version,key]`: a version is a number.
            keys = [hash_key[hash_key.index(b",") + 1 : -1] for hash_key in hash_keys]
            filled = [*([names] if has_id else []), *([keys] if has_key else [])]
            parts = (*filled, [content[1:] for content in contents])
            sizes = [
                fixed_bytes + len(content) + (len(key) if has_key else 0)
                for key, content in zip(keys, contents, strict=True)
            ]
            return MessageParts(names, parts, sizes)

        head = MessageHead(KIND, tuple(constants), "", self._format, ID_PREFIX)
        return MessageBuilder(head, build)

    def value_warnings(self) -> Iterator[ValueWarning]:
        """What was changed in the values of the elements so far."""
        if self.encoder.nulled:
            yield ValueWarning(
                message=f"{self.encoder.nulled:,} values sent as null: NaN, infinite, or a time "
                "outside the years 1 to 9999",
                hint="JSON has no such values; decide in the SELECT what to send.",
            )
        if self.encoder.repaired:
            yield ValueWarning(
                message=f"{self.encoder.repaired:,} values with half a character, sent as U+FFFD"
            )

    def _user(self, key: list[Any]) -> str:
        """The key as text; the warehouse renders the text of a single one."""
        single = len(key) == 1 and isinstance(key[0], str)
        return key[0] if single else self.encoder.dumps(key).decode()

    def _row(self, values: Row, key: tuple[Any, ...]) -> Row:
        """The values with the key's columns, if those are mapped and not among the values."""
        missing = {column: key[i] for i, column in self._mapped_keys if column not in values}
        return {**missing, **values} if missing else values


def _every_column(audience: Audience) -> Template:
    """The template of `values` without a body: all columns of the SELECT, renamed ones too."""
    assert audience.block is not None
    rename = audience.block.values.get("rename", {})
    return {
        "object": {
            rename.get(column, column): {"field": {"column": column}}
            for column in audience.block.columns
        }
    }
