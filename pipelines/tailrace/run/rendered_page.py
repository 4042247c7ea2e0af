"""Rows of the outbox that the warehouse rendered, and the messages that are built out of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tailrace.destinations.message_columns import (
    MemberColumns,
    MessageBuilder,
    MessageColumns,
    interleaved,
)
from tailrace.destinations.messages import Message

if TYPE_CHECKING:
    import pyarrow as pa

# Between the values of a joined page. JSON escapes it, and no rendered user has it.
SEPARATOR = "\x1e"

# By operation: the builder of each kind of message, in the order in which they are sent.
Builders = Mapping[str, Sequence[MessageBuilder | None]]


@dataclass(frozen=True, slots=True)
class RenderedPage:
    """The columns of a rendered statement, in the order of the numbers.

    Attributes:
        seqs: The number of each transition.
        is_rendered: Whether the warehouse rendered its messages; if not, the mapper builds them.
        ops: Its operation.
        users: The user that its messages go to.
        hash_keys: Its version and key.
        contents: For each kind of message, the content of each transition; None if it has none.
    """

    seqs: Sequence[int]
    is_rendered: list[bool]
    ops: list[str]
    users: list[str]
    hash_keys: list[bytes]
    contents: tuple[list[Any], ...]

    @classmethod
    def of_arrow(cls, batch: pa.RecordBatch) -> RenderedPage:
        """A page of a streamed result.

        Its numbers are a range, which takes no copies, unless a tool moved or deleted rows since.
        """
        # A function of pyarrow.compute would release the interpreter, and wait for it again.
        numbers, is_rendered, ops, users, hash_keys, *contents = map(values, batch.columns)
        first = numbers[0] if numbers else 1
        without_gaps = range(first, first + len(numbers))
        seqs = without_gaps if numbers == list(without_gaps) else numbers
        return cls(seqs, is_rendered, ops, users, hash_keys, tuple(contents))

    @classmethod
    def of_rows(cls, rows: Sequence[Sequence[Any]]) -> RenderedPage:
        """A page of fetched rows."""
        return cls._of_columns([list(column) for column in zip(*rows, strict=True)])

    @classmethod
    def of_joined(cls, row: Sequence[str | None]) -> RenderedPage:
        """A page of `outbox/joined_page`."""
        if row[0] is None:
            return cls._of_columns([])
        seqs, is_rendered, ops, users, hash_keys, *contents = map(str, row)
        return cls(
            list(map(int, seqs.split(","))),
            list(map(bool, is_rendered.split(","))),
            ops.split(","),
            users.split(SEPARATOR),
            _encoded(hash_keys),
            tuple(map(_encoded_or_none, contents)),
        )

    @classmethod
    def _of_columns(cls, columns: Sequence[list[Any]]) -> RenderedPage:
        seqs, is_rendered, ops, users, hash_keys, *contents = columns or [[]] * 8
        return cls(seqs, is_rendered, ops, users, hash_keys, tuple(contents))

    @property
    def count(self) -> int:
        """The number of transitions."""
        return len(self.seqs)

    def as_columns(self, builders: Builders) -> MemberColumns | None:
        """The members as columns; None unless all have the same operation and kinds of messages."""
        op = self.ops[0]
        if self.ops.count(op) != self.count or not all(self.is_rendered):
            return None
        columns: list[MessageColumns] = []
        for builder, contents in zip(builders[op], self.contents, strict=True):
            missing = contents.count(None)
            if builder is not None and not missing:
                columns.append(builder.messages(self.hash_keys, contents))
            elif missing != self.count:
                return None
        if not columns:
            return None
        return MemberColumns(self.seqs, self.users, interleaved(columns), len(columns))

    def messages(self, builders: Builders) -> list[tuple[Message, ...]]:
        """The messages of each transition; none for those that were not rendered."""
        messages: list[list[Message]] = [[] for _ in range(self.count)]
        for kind, contents in enumerate(self.contents):
            for op in builders:
                places = [
                    place
                    for place, content in enumerate(contents)
                    if content is not None and self.ops[place] == op and self.is_rendered[place]
                ]
                builder = builders[op][kind]
                if not places or builder is None:
                    continue
                built = builder.messages(
                    [self.hash_keys[place] for place in places],
                    [contents[place] for place in places],
                )
                for place, message in zip(places, built, strict=True):
                    messages[place].append(message)
        return [tuple(of_transition) for of_transition in messages]


def values(column: pa.Array) -> list[Any]:
    """The values of a column, without reading each one of a column of NULLs."""
    if column.null_count == len(column):
        return [None] * len(column)
    return list(column.to_pylist())


def _encoded(joined: str) -> list[bytes]:
    return joined.encode().split(SEPARATOR.encode())


def _encoded_or_none(joined: str) -> list[Any]:
    """The contents of one kind of message; an empty one stands for none."""
    contents = _encoded(joined)
    return [content or None for content in contents] if b"" in contents else contents
