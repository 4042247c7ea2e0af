"""Messages and members as columns: what the warehouse rendered, without an object for each row.

A batch of columns is cut, sent and acknowledged as it is. A single `Message` or `MemberMessages` is
built where one is needed: when a request is refused and bisected, or a row is rejected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import chain
from operator import eq
from typing import NamedTuple, TypeVar, overload

from tailrace.destinations.messages import MemberMessages, Message

T = TypeVar("T")


class MessageHead(NamedTuple):
    """What all messages of a kind and an operation share; see `Message`.

    `constants` are the bytes of a body before each part that differs.
    """

    kind: str
    constants: tuple[bytes, ...]
    event: str = ""
    route: str = ""
    id_prefix: str = ""


class MessageParts(NamedTuple):
    """What differs between messages, each a list with one entry for a message.

    Attributes:
        names: The messageIds without their prefix, in ASCII.
        parts: The parts of the bodies, each after its constant of `MessageHead.constants`.
        sizes: Bytes of each body.
    """

    names: list[bytes]
    parts: tuple[list[bytes], ...]
    sizes: list[int]


@dataclass(frozen=True, slots=True)
class MessageBuilder:
    """Builds messages of one kind and operation out of hash keys and contents, equally many."""

    head: MessageHead
    build: Callable[[Sequence[bytes], Sequence[bytes]], MessageParts]

    def messages(self, hash_keys: Sequence[bytes], contents: Sequence[bytes]) -> MessageColumns:
        """The messages, in the same order."""
        names, parts, sizes = self.build(hash_keys, contents)
        return MessageColumns([self.head] * len(names), names, parts, sizes)


@dataclass(frozen=True, slots=True, eq=False)
class MessageColumns(Sequence[Message]):
    """Messages as columns; see `MessageParts`. Each column has one entry for a message."""

    heads: list[MessageHead]
    names: list[bytes]
    parts: tuple[list[bytes], ...]
    sizes: list[int]

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, index: int) -> Message: ...
    @overload
    def __getitem__(self, index: slice) -> MessageColumns: ...
    def __getitem__(self, index: int | slice) -> Message | MessageColumns:
        if isinstance(index, slice):
            names = self.names[index]
            # The names are one of the parts, as a rule.
            parts = tuple(names if part is self.names else part[index] for part in self.parts)
            return MessageColumns(self.heads[index], names, parts, self.sizes[index])
        head = self.heads[index]
        message_id = head.id_prefix + self.names[index].decode()
        own = (part[index] for part in self.parts)
        body = b"".join(chain.from_iterable(zip(head.constants, own, strict=True)))
        return Message(head.kind, message_id, body, head.event, head.route)

    def __add__(self, after: MessageColumns) -> MessageColumns:
        """The messages, and after them others whose bodies have as many parts."""
        names = self.names + after.names
        parts = tuple(
            names if own is self.names and others is after.names else own + others
            for own, others in zip(self.parts, after.parts, strict=True)
        )
        return MessageColumns(self.heads + after.heads, names, parts, self.sizes + after.sizes)

    def pieces(self, separator: bytes) -> list[bytes]:
        """What the bodies consist of, with a separator before each of them."""
        heads, count = self.heads, len(self.heads)
        each = 1 + 2 * len(self.parts)
        pieces = [separator] * (each * count)
        is_one_head = heads.count(heads[0]) == count if heads else False
        # Whole columns are assigned: one piece after the other would take several times as long.
        for place, part in enumerate(self.parts):
            pieces[2 * place + 1 :: each] = (
                [heads[0].constants[place]] * count
                if is_one_head
                else [head.constants[place] for head in heads]
            )
            pieces[2 * place + 2 :: each] = part
        return pieces


@dataclass(frozen=True, slots=True, eq=False)
class MemberColumns(Sequence[MemberMessages]):
    """Members with equally many messages each, as columns.

    Attributes:
        seqs: The number of each transition.
        users: The user of each.
        messages: Their messages, one member after the other.
        each: How many messages a member has, at least one.
    """

    seqs: Sequence[int]
    users: list[str]
    messages: MessageColumns
    each: int

    def __len__(self) -> int:
        return len(self.seqs)

    @overload
    def __getitem__(self, index: int) -> MemberMessages: ...
    @overload
    def __getitem__(self, index: slice) -> MemberColumns: ...
    def __getitem__(self, index: int | slice) -> MemberMessages | MemberColumns:
        each = self.each
        if isinstance(index, slice):
            first, last, _ = index.indices(len(self.seqs))
            some = self.messages[first * each : last * each]
            return MemberColumns(self.seqs[first:last], self.users[first:last], some, each)
        at = range(len(self.seqs))[index] * each
        messages = tuple(self.messages[at + place] for place in range(each))
        return MemberMessages(self.seqs[index], self.users[index], messages)

    def __add__(self, after: MemberColumns) -> MemberColumns:
        """The members, and after them others that `fits` accepts."""
        return MemberColumns(
            _joined_seqs(self.seqs, after.seqs),
            self.users + after.users,
            self.messages + after.messages,
            self.each,
        )

    @property
    def route(self) -> str:
        """The route of the first message; all messages of an audience's rendered rows share it."""
        return self.messages.heads[0].route

    def fits(self, after: MemberColumns) -> bool:
        """Whether others may follow in the same columns."""
        return (self.each, self.route, len(self.messages.parts)) == (
            after.each,
            after.route,
            len(after.messages.parts),
        )

    def has_neighbours_of_a_user(self) -> bool:
        """Whether two members that follow each other have the same user."""
        return any(map(eq, self.users, self.users[1:]))


def _joined_seqs(seqs: Sequence[int], after: Sequence[int]) -> Sequence[int]:
    """Numbers and those after them: a range, if both are ranges without a gap between them.

    >>> _joined_seqs(range(1, 4), range(4, 6)), _joined_seqs(range(1, 3), [4])
    (range(1, 6), [1, 2, 4])
    """
    if isinstance(seqs, range) and isinstance(after, range) and seqs.stop == after.start:
        return range(seqs.start, after.stop)
    return [*seqs, *after]


def message_names(
    digest: blake2b, hash_keys: Sequence[bytes], contents: Sequence[bytes]
) -> list[bytes]:
    """The hashes of messages, in hexadecimal.

    Args:
        digest: A hash that has taken what all messages of the kind and operation share.
        hash_keys: The version and key of each transition.
        contents: Each message without its id.
    """
    names: list[bytes] = []
    add, copy = names.append, digest.copy
    for hash_key, content in zip(hash_keys, contents, strict=True):
        own = copy()
        own.update(hash_key)
        own.update(content)
        add(own.hexdigest().encode())
    return names


def interleaved(columns: Sequence[MessageColumns]) -> MessageColumns:
    """The first message of each of the columns, then the second ones, and so on."""
    if len(columns) == 1:
        return columns[0]
    parts = zip(*(messages.parts for messages in columns), strict=True)
    return MessageColumns(
        _interleaved([messages.heads for messages in columns]),
        _interleaved([messages.names for messages in columns]),
        tuple(_interleaved(part) for part in parts),
        _interleaved([messages.sizes for messages in columns]),
    )


def _interleaved(lists: Iterable[list[T]]) -> list[T]:
    return list(chain.from_iterable(zip(*lists, strict=True)))


def with_messages(members: Sequence[MemberMessages]) -> Sequence[MemberMessages]:
    """The members that have messages."""
    if isinstance(members, MemberColumns):
        return members
    return [member for member in members if member.messages]


def messages_of(members: Sequence[MemberMessages]) -> Sequence[Message]:
    """All messages of members, in order."""
    if isinstance(members, MemberColumns):
        return members.messages
    return [message for member in members for message in member.messages]


def users_of(members: Sequence[MemberMessages]) -> frozenset[str]:
    """The users that messages go to."""
    if isinstance(members, MemberColumns):
        return frozenset(members.users)
    return frozenset(member.user for member in members if member.messages)


def joined_bodies(
    messages: Sequence[Message], separator: bytes, *, start: bytes = b"", end: bytes = b""
) -> bytes:
    """The bodies of messages, with a separator between each two of them.

    Args:
        start: What comes before them. It is joined with them, since they are not copied again.
        end: What comes after them.
    """
    if isinstance(messages, MessageColumns):
        pieces = messages.pieces(separator)
    else:
        pieces = [separator] * (2 * len(messages))
        pieces[1::2] = [message.body for message in messages]
    pieces[:1] = [start]
    pieces.append(end)
    return b"".join(pieces)


def flat(pages: Iterable[Iterable[MemberMessages]]) -> Iterator[MemberMessages]:
    """The members of pages, one after the other."""
    return chain.from_iterable(pages)
