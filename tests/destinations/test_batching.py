"""Batches: full, contiguous, never tearing a transition apart, nor a user where it fits."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from tailrace.destinations.batching import (
    ENVELOPE_BYTES,
    ENVELOPES_MAX,
    EVENT_BYTES_MAX,
    Batch,
    Envelope,
    batches,
)
from tailrace.destinations.segment.mapper import Call


def envelope(seq: int, *sizes: int, user: str | None = None) -> Envelope:
    calls = tuple(
        Call(kind="track", message_id=f"m{seq}-{place}", body=b"x" * size)
        for place, size in enumerate(sizes)
    )
    return Envelope(seq=seq, user=user or f"u{seq}", calls=calls)


def cut(
    envelopes: Sequence[Envelope], bytes_max: int = 10_000, events_max: int = 100
) -> list[Batch]:
    return list(batches(envelopes, bytes_max=bytes_max, events_max=events_max))


def test_nothing_makes_no_batch() -> None:
    """No transition, no request."""
    assert [] == cut([])


def test_a_batch_ends_before_it_is_too_large() -> None:
    """The size is tested before an event is added, commas and envelope counted."""
    room = 10_000 - ENVELOPE_BYTES
    exact = [envelope(1, room // 2 - 1), envelope(2, room - room // 2 - 1)]
    assert [10_000] == [batch.bytes for batch in cut(exact)]
    over = [envelope(1, room // 2 - 1), envelope(2, room - room // 2)]
    assert [(1, 1), (2, 2)] == [(batch.first_seq, batch.last_seq) for batch in cut(over)]


def test_a_batch_ends_before_it_has_too_many_events() -> None:
    """Calls count, not transitions; those of one transition stay together."""
    found = cut([envelope(seq, 10, 10) for seq in range(7)], events_max=5)
    assert [4, 4, 4, 2] == [batch.events for batch in found]


def test_a_user_moves_on_as_a_whole() -> None:
    """What a full batch already holds of a user follows him into the next batch."""
    users = ["a", "b", "b", "b", "c"]
    found = cut([envelope(n, 10, user=user) for n, user in enumerate(users)], events_max=3)
    assert [["a"], ["b", "b", "b"], ["c"]] == [[e.user for e in batch.envelopes] for batch in found]
    assert [(0, 0), (1, 3), (4, 4)] == [(batch.first_seq, batch.last_seq) for batch in found]


def test_a_user_too_large_for_a_batch_is_cut() -> None:
    """Somebody with more transitions than a batch holds fills batches of his own."""
    users = ["a"] + ["b"] * 7 + ["c"]
    found = cut([envelope(n, 10, user=user) for n, user in enumerate(users)], events_max=3)
    assert [1, 3, 3, 2] == [batch.events for batch in found]


def test_what_can_never_be_sent_weighs_nothing() -> None:
    """An event of 32 KB stays in its batch, so that it gets a verdict, and takes no room."""
    found = cut([envelope(1, 10), envelope(2, EVENT_BYTES_MAX + 1, 5), envelope(3, 10)])
    assert [(1, 3, 2, ENVELOPE_BYTES + 22)] == [
        (batch.first_seq, batch.last_seq, batch.events, batch.bytes) for batch in found
    ]
    assert EVENT_BYTES_MAX == len(envelope(1, EVENT_BYTES_MAX).calls[0].body)
    assert envelope(1, EVENT_BYTES_MAX).oversized is None


def test_transitions_without_calls_end_somewhere() -> None:
    """A million transitions that call nothing are not one batch in memory."""
    found = cut([envelope(seq) for seq in range(ENVELOPES_MAX + 1)])
    assert [ENVELOPES_MAX, 1] == [len(batch.envelopes) for batch in found]


def test_who_has_no_calls_is_nobody() -> None:
    """Transitions without calls part no user, and are no user that batches wait for."""
    rows = [envelope(0, 10, user="a"), envelope(1, 10, user="b"), envelope(2, user="")]
    rows += [envelope(3, 10, user="b"), envelope(4, 10, user="b")]
    found = cut(rows, events_max=3)
    assert [(0, 0), (1, 4)] == [(batch.first_seq, batch.last_seq) for batch in found]


def test_batches_are_pulled_lazily() -> None:
    """One batch is held, whatever the stream still has."""
    pulled = 0

    def stream() -> object:
        nonlocal pulled
        for seq in range(1_000):
            pulled += 1
            yield envelope(seq, 10)

    next(batches(stream(), bytes_max=10_000, events_max=10))  # type: ignore[arg-type]
    assert pulled == 11


@given(
    st.lists(
        st.tuples(st.sampled_from("abcd"), st.lists(st.integers(1, 60), max_size=3)), max_size=60
    ),
    st.integers(200, 400),
    st.integers(3, 12),
)
def test_every_batch_keeps_its_limits_and_nothing_is_lost(
    rows: list[tuple[str, list[int]]], room: int, events_max: int
) -> None:
    """Whatever comes: all of it, in order, within the limits, with true sums."""
    bytes_max = ENVELOPE_BYTES + room
    stream = [envelope(seq, *sizes, user=user) for seq, (user, sizes) in enumerate(rows)]
    found = cut(stream, bytes_max, events_max)
    assert stream == [each for batch in found for each in batch.envelopes]
    for batch in found:
        calls = [call for each in batch.envelopes for call in each.calls]
        assert batch.events == len(calls) <= events_max
        assert batch.bytes == ENVELOPE_BYTES + sum(len(c.body) + 1 for c in calls) <= bytes_max
        assert (batch.first_seq, batch.last_seq) == (
            batch.envelopes[0].seq,
            batch.envelopes[-1].seq,
        )
