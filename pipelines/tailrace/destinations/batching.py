"""Cuts a stream of transitions into batches, and the verdicts of a delivered batch."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from tailrace.config.settings import BatchLimits
from tailrace.destinations.message_columns import MemberColumns
from tailrace.destinations.messages import MemberMessages, Message

# Bytes that a request adds around its messages, at most: brackets, a time, a key of the account.
REQUEST_OVERHEAD_BYTES = 256
# Transitions without messages add no bytes, so that their number is limited too.
BATCH_MEMBERS_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Batch:
    """A contiguous range of transitions that is sent in one request.

    `bytes` is the uncompressed size of the request body, `messages` the number of messages.
    """

    first_seq: int
    last_seq: int
    members: Sequence[MemberMessages]
    messages: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """Every transition of the range has a final status: accepted, or rejected before.

    `messages` counts the accepted ones, `requests` the requests that the batch needed, retries
    included.
    """

    first_seq: int
    last_seq: int
    messages: int
    requests: int


@dataclass(frozen=True, slots=True)
class Rejected:
    """A transition that the destination refused.

    `unconfirmed`: a part of it was delivered, or may have been, by an attempt without a known
    outcome.
    """

    seq: int
    kind: str
    message_id: str
    reason: str
    status: int | None
    attempts: int
    unconfirmed: bool
    body: bytes = field(default=b"", compare=False, repr=False)


Verdict = Acknowledged | Rejected


def batches(members: Iterable[MemberMessages], limits: BatchLimits) -> Iterator[Batch]:
    """Cut a stream of transitions into batches; see `batches_of_pages`."""
    return batches_of_pages([members], limits)


def batches_of_pages(
    pages: Iterable[Iterable[MemberMessages]], limits: BatchLimits
) -> Iterator[Batch]:
    """Cut pages of transitions into batches that are as full as the limits allow.

    A transition is never split. Neighbours with the same user stay together if they fit, so that
    the next batch does not have to wait for this one. A transition above the limits is a batch of
    its own. Columns are cut without building their rows; the batches are the same.
    """
    cutter = _Cutter(limits)
    for page in pages:
        yield from cutter.add_columns(page) if isinstance(page, MemberColumns) else cutter.add(page)
    yield from cutter.last()


class _Cutter:
    """Fills one batch after the other: with rows, or with columns while those arrive."""

    def __init__(self, limits: BatchLimits) -> None:
        self._limits = limits
        self._open = _OpenBatch(limits)
        # Columns that are not a full batch yet, and their bytes; the open batch is empty then.
        self._columns: MemberColumns | None = None
        self._bytes = 0

    def add(self, members: Iterable[MemberMessages]) -> Iterator[Batch]:
        """Add members; yields the batches that are full."""
        self._open_as_rows()
        for member in members:
            while not self._open.add(member):
                yield self._open.close_before(member.user)

    def add_columns(self, page: MemberColumns) -> Iterator[Batch]:
        """Add members that are columns; yields the batches that are full."""
        start = 0
        while start < len(page) and self._open.members:
            if self._open.add(page[start]):
                start += 1
            else:
                yield self._open.close_before(page[start].user)
        if start == len(page):
            return
        columns = page[start:] if start else page
        if _may_follow(self._columns, columns):
            yield from self._cut(columns)
        else:
            yield from self.add(columns)

    def last(self) -> Iterator[Batch]:
        """The batch that is not full, if there is one."""
        if self._columns is not None:
            yield _batch_of_columns(self._columns, self._bytes)
        elif self._open.members:
            yield self._open.close()

    def _open_as_rows(self) -> None:
        """Continue the batch of columns row by row; it fits into one batch."""
        for member in self._columns or ():
            self._open.add(member)
        self._columns = None

    def _cut(self, columns: MemberColumns) -> Iterator[Batch]:
        """Cut full batches, which begin with the columns that are left, and keep the rest.

        Columns are copied into their batch only: a copy of each page would take as long again.
        """
        limits, ends = self._limits, _ends(columns)
        members_max = max(1, min(limits.messages_max // columns.each, BATCH_MEMBERS_MAX))
        start, bytes_before = 0, 0
        while True:
            left, self._columns = self._columns, None
            left_members, left_bytes = (len(left), self._bytes) if left is not None else (0, 0)
            bytes_max = bytes_before + limits.bytes_max - REQUEST_OVERHEAD_BYTES - left_bytes
            fitting = bisect_right(ends, bytes_max, start) - start
            # An empty batch takes a member, however large it is.
            end = start + max(0 if left_members else 1, min(fitting, members_max - left_members))
            last = min(end, len(ends))
            size = left_bytes + (ends[last - 1] if last else 0) - bytes_before
            part = columns[start:end] if start or last < len(ends) else columns
            batch = part if left is None else left + part
            if end >= len(ends):
                self._columns, self._bytes = batch, size
                return
            yield _batch_of_columns(batch, size)
            start, bytes_before = end, ends[end - 1] if end else 0


def _may_follow(before: MemberColumns | None, columns: MemberColumns) -> bool:
    """Whether columns may be cut behind others, or alone, without looking at each row."""
    if columns.has_neighbours_of_a_user():
        return False
    return before is None or (before.fits(columns) and before.users[-1] != columns.users[0])


def _ends(columns: MemberColumns) -> list[int]:
    """The bytes up to the end of each member, with a separator after each message."""
    each = columns.each
    return list(accumulate(map((1).__add__, columns.messages.sizes)))[each - 1 :: each]


def _batch_of_columns(columns: MemberColumns, size: int) -> Batch:
    """Columns that fit into a batch, whose messages have so many bytes."""
    return Batch(
        first_seq=columns.seqs[0],
        last_seq=columns.seqs[-1],
        members=columns,
        messages=len(columns) * columns.each,
        bytes=REQUEST_OVERHEAD_BYTES + size,
    )


class _OpenBatch:
    """The batch of rows that is being filled."""

    def __init__(self, limits: BatchLimits) -> None:
        self._limits = limits
        self._restart()

    def _restart(self) -> None:
        self.members: list[MemberMessages] = []
        self._messages = 0
        self._bytes = REQUEST_OVERHEAD_BYTES
        self._route = ""
        self._user: str | None = None
        self._user_starts_at = 0

    def add(self, member: MemberMessages) -> bool:
        """Add the transition; False if it does not fit."""
        _, user, messages = member
        count = self._messages + len(messages)
        size = self._bytes + _size(messages)
        members = len(self.members)
        limits = self._limits
        if members and (
            count > limits.messages_max or size > limits.bytes_max or members >= BATCH_MEMBERS_MAX
        ):
            return False
        if messages and messages[0].route != self._route:
            if self._messages:
                return False
            self._route = messages[0].route
        if user != self._user and messages:
            self._user = user
            self._user_starts_at = members
        self.members.append(member)
        self._messages = count
        self._bytes = size
        return True

    def close_before(self, user: str) -> Batch:
        """Close the batch; members of `user` at its end move on, unless they are all it has."""
        cut = self._user_starts_at
        if user != self._user or cut == 0:
            return self.close()
        moving = self.members[cut:]
        for member in moving:
            self._messages -= len(member.messages)
            self._bytes -= _size(member.messages)
        del self.members[cut:]
        closed = self.close()
        for member in moving:
            self.add(member)
        return closed

    def close(self) -> Batch:
        """Return the batch and start an empty one."""
        closed = Batch(
            first_seq=self.members[0].seq,
            last_seq=self.members[-1].seq,
            members=tuple(self.members),
            messages=self._messages,
            bytes=self._bytes,
        )
        self._restart()
        return closed


def _size(messages: tuple[Message, ...]) -> int:
    """Bytes of the messages in a request, with a separator each."""
    size = len(messages)
    for message in messages:
        size += len(message.body)
    return size
