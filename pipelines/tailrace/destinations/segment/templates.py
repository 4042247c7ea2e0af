"""Message templates: the warehouse fills in the values of a whole page of rows.

The messages of an audience's rows differ only in their values. If the warehouse writes the values
as exactly the JSON that the encoder writes, the statement `outbox/rendered_page` renders the
messages, and no row becomes Python objects. Everything else is mapped row by row
(`Mapper.messages`): audiences with hashes, consent or their own messageId; and single rows, for
example with an infinite number or with a changed user. Both write the same bytes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Protocol

from tailrace.audience.audience import Audience
from tailrace.destinations.families import FAMILIES, columns_of, is_text
from tailrace.destinations.protocol import MessageTemplates
from tailrace.destinations.segment.context import Context, MessageStart, Objects
from tailrace.destinations.segment.properties import Mapped, Placeholder
from tailrace.destinations.segment.tracking_plan import TrackingPlan
from tailrace.encoding.values import Encoder
from tailrace.warehouse.statements import Column

Parts = Iterable[bytes | Placeholder]


class CompiledHeader(Protocol):
    """What templates need of `Mapper`, which imports this module.

    Attributes:
        heads: The starts of the messages; see `context.heads`.
        message_id_columns: The column of `track.message_id`, if there is one; likewise the rest.
        skips_initial: The members of the first run enter without an event.
    """

    audience: Audience
    encoder: Encoder
    tracking_plan: TrackingPlan | None
    context: Context
    heads: dict[str, MessageStart]
    objects: Objects
    identify_columns: tuple[str, ...]
    group_columns: tuple[str, ...]
    track_columns: tuple[str, ...]
    message_id_columns: tuple[str, ...]
    timestamp_column: str | None
    skips_initial: bool
    event_column: str | None


def message_templates(
    header: CompiledHeader, columns: Sequence[Column], *, keys: Sequence[Column], changes: bool
) -> MessageTemplates | None:
    """The templates of an audience; None if its rows have to be mapped one by one.

    Args:
        columns: The outbox's columns besides its keys.
        changes: The run has changes, for which the old values are read too.
    """
    if not _header_fits(header) or (changes and not _previous_is_flat(header)):
        return None
    old = [Column(f"old__{column.name}", column.type) for column in columns] if changes else []
    stored = (*keys, *columns, *old)
    families = {name: columns_of(stored, name) for name in FAMILIES}
    types = {column.name: column.type for column in stored}
    identity = header.audience.identity_column or ""
    group = header.audience.group
    ids = [identity, group.group_id] if group else [identity]
    writable = {column.name for family in families.values() for column in family}
    if writable != types.keys() or not all(is_text(types[column]) for column in ids):
        return None
    time = header.timestamp_column
    if time is not None and not FAMILIES["moments"].fullmatch(types[time]):
        # Dates and texts are read as times by the mapper, and other types are refused.
        return None
    with_old_values = {column.name for column in columns} if changes else set()
    return _Renderer(header, types, with_old_values).render(
        families | {"keys": tuple(keys), "held": stored}, identity=identity
    )


def _header_fits(header: CompiledHeader) -> bool:
    """Whether the messages of the header differ only in the values of columns."""
    audience, heads, objects = header.audience, header.heads, header.objects
    return (
        header.context.constant is not None
        and header.tracking_plan is None
        and not (audience.user_id and audience.anonymous_id)
        and not header.message_id_columns
        and header.event_column is None
        and not any(head.rule for head in heads.values())
        and objects.properties.is_plain
        and objects.traits.is_plain
        and objects.group_traits.is_plain
    )


def _previous_is_flat(header: CompiledHeader) -> bool:
    """Whether `previous` has no nested objects, and no property has its name."""
    if "changed" not in header.heads:
        return True
    paths = [path for path, _ in header.objects.properties.placeholders()]
    return all(len(path) == 1 and path != ("previous",) for path in paths)


class _Renderer:
    """Renders the templates of one audience, each as labelled columns and an end."""

    def __init__(
        self, header: CompiledHeader, types: Mapping[str, str], with_old_values: Collection[str]
    ) -> None:
        self._header = header
        self._types = types
        self._with_old_values = with_old_values
        self.lists: dict[str, tuple[Column, ...]] = {}
        self.ends: dict[str, str | bool | None] = {}

    def render(self, lists: Mapping[str, tuple[Column, ...]], *, identity: str) -> MessageTemplates:
        header, audience = self._header, self._header.audience
        id_name = b'"userId":' if audience.user_id else b'"anonymousId":'
        starts: list[list[bytes | Placeholder]] = [
            [id_name, Placeholder(identity), b"," + context]
            for context in header.context.constant or (b"", b"", b"")
        ]
        bare, member, tracked = starts
        objects, identify = header.objects, audience.identify
        self._add("identify", "identify", member, objects.traits if identify else None)
        self._add("left", "identify", member, objects.left)
        self._add_group(bare)
        time: list[bytes | Placeholder] = []
        if header.timestamp_column:
            time = [b'"timestamp":', Placeholder(header.timestamp_column), b","]
        self._add("entered", "entered", [*time, *tracked], objects.properties)
        self._add("exited", "exited", tracked, objects.last_known)
        self._add_changed([*time, *tracked])
        self.ends["initial"] = not header.skips_initial
        self.lists |= {
            "moment": self._columns([header.timestamp_column] if header.timestamp_column else []),
            "ids_held": self._columns_with_old_values([identity]),
            "traits_held": self._columns_with_old_values(header.identify_columns),
            "group_held": self._columns_with_old_values(header.group_columns),
            "track_held": self._columns_with_old_values(header.track_columns),
        }
        return MessageTemplates(
            statement="outbox/rendered_page",
            kinds=("identify", "group", "track"),
            identity=Column(identity),
            lists={**lists, **self.lists},
            ends=self.ends,
        )

    def _add(self, name: str, head: str, start: Parts, carried: Mapped | None) -> None:
        """One template: the ids and the context, the start of the message, its object."""
        parts: list[bytes | Placeholder] = []
        if carried is not None and head in self._header.heads:
            parts = [*start, self._header.heads[head].json, *carried.text(), b"}"]
        self.lists[f"{name}_text"], end = self._labelled(parts)
        self.ends[f"{name}_end"] = end if parts else None

    def _add_group(self, start: Parts) -> None:
        group = self._header.audience.group
        start = [*start, b'"groupId":', Placeholder(group.group_id), b","] if group else start
        self._add("group", "group", start, self._header.objects.group_traits if group else None)
        self.lists["group_id"] = self._columns([group.group_id] if group else [])

    def _add_changed(self, start: Parts) -> None:
        """The event of a change, with the old values of changed columns after its properties."""
        properties = self._header.objects.properties
        self._add("changed", "changed", start, properties)
        dumps = self._header.encoder.dumps
        self.lists["previous_text"] = tuple(
            Column(column, self._types[column], (dumps(path[0]) + b":").decode())
            for path, column in properties.placeholders()
            if column in self._with_old_values
        )
        end = self.ends["changed_end"]
        self.ends["previous_start"] = ""
        if isinstance(end, str):
            # `previous` goes before the braces that close the properties and the message.
            self.ends["previous_start"] = end.removesuffix("}}") + ',"previous":{'
            self.ends["changed_end"] = "}}}"

    def _labelled(self, parts: Parts) -> tuple[tuple[Column, ...], str]:
        """The columns of a template, each with the text before it, and the text after the last."""
        columns: list[Column] = []
        before = b""
        for part in parts:
            if isinstance(part, Placeholder):
                columns.append(Column(part.column, self._types[part.column], before.decode()))
                before = b""
            else:
                before += part
        return tuple(columns), before.decode()

    def _columns(self, names: Iterable[str]) -> tuple[Column, ...]:
        return tuple(Column(name, self._types[name]) for name in names)

    def _columns_with_old_values(self, names: Iterable[str]) -> tuple[Column, ...]:
        return self._columns(name for name in names if name in self._with_old_values)
