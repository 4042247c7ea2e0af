"""The messages of an audience as texts with holes, for a warehouse that can fill them itself.

The rows of an audience make the same text with other values in its places. Where the warehouse's
JSON of these values is to the letter what the encoder writes, `outbox/ready` fills the holes of a
whole page, and no row becomes objects here. What is beyond it (a digest, a consent, an own
messageId; of single rows: an infinite number, a user who moved) is left to the mapper. Both ways
write the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from tailrace.destinations.segment.mapper import Mapper
from tailrace.destinations.segment.properties import Hole, Mapped
from tailrace.warehouse.statements import Column

# The types that `outbox/ready` writes, by the list in which their columns stand.
FAMILIES = {
    "texts": re.compile(r"VARCHAR(\[\])?"),
    "booleans": re.compile(r"BOOLEAN"),
    "wholes": re.compile(r"U?(TINYINT|SMALLINT|INTEGER|BIGINT)|HUGEINT|DECIMAL\(\d+,0\)"),
    "doubles": re.compile(r"DOUBLE|FLOAT"),
    "decimals": re.compile(r"DECIMAL\(\d+,[1-9]\d*\)"),
    "dates": re.compile(r"DATE"),
    "moments": re.compile(r"TIMESTAMP( WITH TIME ZONE)?"),
    "uuids": re.compile(r"UUID"),
}

Pieces = Iterable[bytes | Hole]


@dataclass(frozen=True, kw_only=True)
class Forms:
    """What `outbox/ready` is bound with: columns with the text before each, and what ends a text.

    An end that is None stands for a call that is not made.
    """

    identity: Column
    lists: Mapping[str, tuple[Column, ...]]
    ends: Mapping[str, str | bool | None]


def forms(
    mapper: Mapper, columns: Sequence[Column], *, keys: Sequence[Column], changes: bool
) -> Forms | None:
    """The texts of an audience's messages; None where they are more than texts with holes.

    `columns` are those of the outbox beside its keys. Without `changes` no transition of the run
    has values before, and those columns are not read.
    """
    if not _are_texts(mapper) or (changes and not _are_flat(mapper)):
        return None
    old = [Column(f"old__{each.name}", each.type) for each in columns] if changes else []
    held = (*keys, *columns, *old)
    families = {name: _of_family(held, name) for name in FAMILIES}
    types = {each.name: each.type for each in held}
    identity = mapper.audience.identity_column or ""
    group = mapper.audience.group
    ids = [identity, group.group_id] if group else [identity]
    written = {each.name for family in families.values() for each in family}
    if written != types.keys() or any(types[each] != "VARCHAR" for each in ids):
        return None
    return _Writing(mapper, types, {each.name for each in columns} if changes else set()).forms(
        families | {"keys": tuple(keys), "held": held}, identity=identity
    )


def _are_texts(mapper: Mapper) -> bool:
    """Whether the audience's header asks for no more than values in their places."""
    audience, heads, objects = mapper.audience, mapper.heads, mapper.objects
    return (
        mapper.context.constant is not None
        and mapper.tracking_plan is None
        and not (audience.user_id and audience.anonymous_id)
        and not mapper.message_id_columns
        and not any(head.rule for head in heads.values())
        and objects.properties.is_plain
        and objects.traits.is_plain
        and objects.group_traits.is_plain
    )


def _are_flat(mapper: Mapper) -> bool:
    """Whether `previous` is a list of names, and no property stands in its place."""
    if "changed" not in mapper.heads:
        return True
    paths = [path for path, _ in mapper.objects.properties.holes()]
    return all(len(path) == 1 and path != ("previous",) for path in paths)


def _of_family(columns: Iterable[Column], family: str) -> tuple[Column, ...]:
    return tuple(each for each in columns if FAMILIES[family].fullmatch(each.type))


class _Writing:
    """Writes the texts of one audience, each as labelled columns and an end."""

    def __init__(self, mapper: Mapper, types: Mapping[str, str], before: Collection[str]) -> None:
        self._m = mapper
        self._types = types
        self._before = before
        self.lists: dict[str, tuple[Column, ...]] = {}
        self.ends: dict[str, str | bool | None] = {}

    def forms(self, lists: Mapping[str, tuple[Column, ...]], *, identity: str) -> Forms:
        m, audience = self._m, self._m.audience
        contexts = m.context.constant or (b"", b"", b"")
        bare, member, tracked = (
            [b'"userId":' if audience.user_id else b'"anonymousId":', Hole(identity), b"," + each]
            for each in contexts
        )
        objects, identify = m.objects, audience.identify
        self._write("identify", "identify", member, objects.traits if identify else None)
        self._write("left", "identify", member, objects.left)
        self._group(bare)
        moment: list[bytes | Hole] = []
        if m.timestamp_column:
            moment = [b'"timestamp":', Hole(m.timestamp_column), b","]
        self._write("entered", "entered", [*moment, *tracked], objects.properties)
        self._write("exited", "exited", tracked, objects.last_known)
        self._changed([*moment, *tracked])
        self.ends["initial"] = not m.skips_initial
        self.lists |= {
            "moment": self._named([m.timestamp_column] if m.timestamp_column else []),
            "ids_held": self._held([identity]),
            "traits_held": self._held(m.identify_columns),
            "group_held": self._held(m.group_columns),
            "track_held": self._held(m.track_columns),
        }
        return Forms(identity=Column(identity), lists={**lists, **self.lists}, ends=self.ends)

    def _write(self, name: str, head: str, start: Pieces, carried: Mapped | None) -> None:
        """One text: who, the head of the call, the object that it carries."""
        text: list[bytes | Hole] = []
        if carried is not None and head in self._m.heads:
            text = [*start, self._m.heads[head].json, *carried.text(), b"}"]
        self.lists[f"{name}_text"], end = self._labelled(text)
        self.ends[f"{name}_end"] = end if text else None

    def _group(self, start: Pieces) -> None:
        group = self._m.audience.group
        start = [*start, b'"groupId":', Hole(group.group_id), b","] if group else start
        self._write("group", "group", start, self._m.objects.group_traits if group else None)
        self.lists["group_id"] = self._named([group.group_id] if group else [])

    def _changed(self, start: Pieces) -> None:
        """An event with the values before of what moved, behind its properties."""
        properties = self._m.objects.properties
        self._write("changed", "changed", start, properties)
        dumps = self._m.encoder.dumps
        self.lists["previous_text"] = tuple(
            Column(column, self._types[column], (dumps(path[0]) + b":").decode())
            for path, column in properties.holes()
            if column in self._before
        )
        end = self.ends["changed_end"]
        self.ends["previous_start"] = ""
        if isinstance(end, str):
            # Opened again: the last letters are the braces that close the object and the call.
            self.ends["previous_start"] = end.removesuffix("}}") + ',"previous":{'
            self.ends["changed_end"] = "}}}"

    def _labelled(self, text: Pieces) -> tuple[tuple[Column, ...], str]:
        """The holes of a text with what stands before each, and what stands behind the last."""
        columns: list[Column] = []
        before = b""
        for piece in text:
            if isinstance(piece, Hole):
                columns.append(Column(piece.column, self._types[piece.column], before.decode()))
                before = b""
            else:
                before += piece
        return tuple(columns), before.decode()

    def _named(self, names: Iterable[str]) -> tuple[Column, ...]:
        return tuple(Column(name, self._types[name]) for name in names)

    def _held(self, names: Iterable[str]) -> tuple[Column, ...]:
        return self._named(name for name in names if name in self._before)
