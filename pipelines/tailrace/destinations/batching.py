"""What travels together in one request, and what became of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from tailrace.destinations.segment.mapper import Call

# "Needs to be less than 32KB", says Segment of one event.
EVENT_BYTES_MAX = 32_767
# What `{"batch":[`, sentAt and the write key add to the events, at most.
ENVELOPE_BYTES = 256
# Transitions that call nothing (an initial set that is only recorded) weigh nothing, yet a batch
# of them has to end somewhere.
ENVELOPES_MAX = 10_000


class Envelope(NamedTuple):
    """All calls of one transition, in the order in which they must arrive.

    Without calls it concerns nobody: it is settled together with its neighbours.
    """

    seq: int
    user: str
    calls: tuple[Call, ...]

    @property
    def oversized(self) -> Call | None:
        """The first call that Segment would refuse for its size."""
        for call in self.calls:
            if len(call.body) > EVENT_BYTES_MAX:
                return call
        return None


@dataclass(frozen=True, slots=True)
class Batch:
    """A contiguous range of transitions that travels in one request.

    `bytes` counts the encoded request body, uncompressed, with its envelope.
    """

    first_seq: int
    last_seq: int
    envelopes: tuple[Envelope, ...]
    events: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """Every transition of the range is settled: accepted, or rejected by an earlier verdict.

    `events` counts the calls that were accepted, `attempts` the requests that it took.
    """

    first_seq: int
    last_seq: int
    events: int
    attempts: int


@dataclass(frozen=True, slots=True)
class Rejected:
    """A transition that Segment will not take.

    `doubtful`: something of it was delivered all the same, or may have been, by an attempt whose
    outcome is not known.
    """

    seq: int
    kind: str
    message_id: str
    reason: str
    status: int | None
    attempts: int
    doubtful: bool
    body: bytes = field(default=b"", compare=False, repr=False)


Verdict = Acknowledged | Rejected


def batches(envelopes: Iterable[Envelope], *, bytes_max: int, events_max: int) -> Iterator[Batch]:
    """Cut a stream of transitions into batches, as full as they may be.

    A transition is never split, and neighbours of one user stay together where they fit, so that
    the next batch need not wait for this one. A transition too large for any batch is one alone.
    """
    filling = _Filling(bytes_max, events_max)
    for envelope in envelopes:
        while not filling.takes(envelope):
            yield filling.close_before(envelope.user)
    if filling.envelopes:
        yield filling.close()


class _Filling:
    """The batch that is being filled."""

    def __init__(self, bytes_max: int, events_max: int) -> None:
        self.bytes_max = bytes_max
        self.events_max = events_max
        self._restart()

    def _restart(self) -> None:
        self.envelopes: list[Envelope] = []
        self._events = 0
        self._bytes = ENVELOPE_BYTES
        self._user: str | None = None
        self._user_starts_at = 0

    def takes(self, envelope: Envelope) -> bool:
        """Add the transition, unless it has to wait for the next batch."""
        _, user, calls = envelope
        events, size = _weight(calls)
        held = len(self.envelopes)
        events += self._events
        size += self._bytes
        if held and (events > self.events_max or size > self.bytes_max or held >= ENVELOPES_MAX):
            return False
        if user != self._user and calls:
            self._user = user
            self._user_starts_at = held
        self.envelopes.append(envelope)
        self._events = events
        self._bytes = size
        return True

    def close_before(self, user: str) -> Batch:
        """Close the batch; what it holds of `user` moves on, if others stand before."""
        cut = self._user_starts_at
        if user != self._user or cut == 0:
            return self.close()
        moving = self.envelopes[cut:]
        for envelope in moving:
            events, size = _weight(envelope.calls)
            self._events -= events
            self._bytes -= size
        del self.envelopes[cut:]
        closed = self.close()
        for envelope in moving:
            self.takes(envelope)
        return closed

    def close(self) -> Batch:
        """The batch as it is; the next one starts empty."""
        closed = Batch(
            first_seq=self.envelopes[0].seq,
            last_seq=self.envelopes[-1].seq,
            envelopes=tuple(self.envelopes),
            events=self._events,
            bytes=self._bytes,
        )
        self._restart()
        return closed


def _weight(calls: tuple[Call, ...]) -> tuple[int, int]:
    """The events and bytes that a transition adds; nothing if it can never be sent."""
    size = 0
    for call in calls:
        length = len(call.body)
        if length > EVENT_BYTES_MAX:
            return 0, 0
        size += length + 1
    return len(calls), size
