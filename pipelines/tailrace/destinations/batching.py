"""Cuts a stream of transitions into batches, and the verdicts of a delivered batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from tailrace.config.settings import BatchLimits
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
    members: tuple[MemberMessages, ...]
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
    """Cut a stream of transitions into batches that are as full as the limits allow.

    A transition is never split. Neighbours with the same user stay together if they fit, so that
    the next batch does not have to wait for this one. A transition above the limits is a batch of
    its own.
    """
    open_batch = _OpenBatch(limits)
    for member in members:
        while not open_batch.add(member):
            yield open_batch.close_before(member.user)
    if open_batch.members:
        yield open_batch.close()


class _OpenBatch:
    """The batch that is being filled."""

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
