"""Batches: full, contiguous, never tearing a transition apart, nor a user where it fits."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from tailrace.config.settings import BatchLimits, SegmentSettings
from tailrace.destinations.batching import (
    BATCH_MEMBERS_MAX,
    REQUEST_OVERHEAD_BYTES,
    Batch,
    batches,
    batches_of_pages,
)
from tailrace.destinations.message_columns import (
    MemberColumns,
    MessageColumns,
    MessageHead,
    interleaved,
    joined_bodies,
    messages_of,
    users_of,
    with_messages,
)
from tailrace.destinations.messages import MemberMessages, Message


def member(seq: int, *sizes: int, user: str | None = None) -> MemberMessages:
    messages = tuple(
        Message(kind="track", message_id=f"m{seq}-{place}", body=body_of(seq, place, size))
        for place, size in enumerate(sizes)
    )
    return MemberMessages(seq=seq, user=user or f"u{seq}", messages=messages)


def body_of(seq: int, place: int, size: int) -> bytes:
    """A body that begins with its place, and has a percent sign."""
    return (b"%d%%%d" % (place, seq)).ljust(size, b"x")[:size]


def cut(
    members: Sequence[MemberMessages], bytes_max: int = 10_000, messages_max: int = 100
) -> list[Batch]:
    return list(batches(members, BatchLimits(bytes_max=bytes_max, messages_max=messages_max)))


def test_nothing_makes_no_batch() -> None:
    """No transition, no request."""
    assert [] == cut([])


def test_a_batch_ends_before_it_is_too_large() -> None:
    """The size is tested before an event is added, commas and member counted."""
    room = 10_000 - REQUEST_OVERHEAD_BYTES
    exact = [member(1, room // 2 - 1), member(2, room - room // 2 - 1)]
    assert [10_000] == [batch.bytes for batch in cut(exact)]
    over = [member(1, room // 2 - 1), member(2, room - room // 2)]
    assert [(1, 1), (2, 2)] == [(batch.first_seq, batch.last_seq) for batch in cut(over)]


def test_a_batch_ends_before_it_has_too_many_events() -> None:
    """Calls count, not transitions; those of one transition stay together."""
    found = cut([member(seq, 10, 10) for seq in range(7)], messages_max=5)
    assert [4, 4, 4, 2] == [batch.messages for batch in found]


def test_a_user_moves_on_as_a_whole() -> None:
    """What a full batch already holds of a user follows him into the next batch."""
    users = ["a", "b", "b", "b", "c"]
    found = cut([member(n, 10, user=user) for n, user in enumerate(users)], messages_max=3)
    assert [["a"], ["b", "b", "b"], ["c"]] == [[e.user for e in batch.members] for batch in found]
    assert [(0, 0), (1, 3), (4, 4)] == [(batch.first_seq, batch.last_seq) for batch in found]


def test_a_user_too_large_for_a_batch_is_cut() -> None:
    """A user with more transitions than fit in a batch fills several batches."""
    users = ["a"] + ["b"] * 7 + ["c"]
    found = cut([member(n, 10, user=user) for n, user in enumerate(users)], messages_max=3)
    assert [1, 3, 3, 2] == [batch.messages for batch in found]


def test_transitions_without_calls_end_somewhere() -> None:
    """A million transitions that call nothing are not one batch in memory."""
    found = cut([member(seq) for seq in range(BATCH_MEMBERS_MAX + 1)])
    assert [BATCH_MEMBERS_MAX, 1] == [len(batch.members) for batch in found]


def test_a_member_without_messages_is_in_no_batch() -> None:
    """Transitions without calls part no user, and are no user that batches wait for."""
    rows = [member(0, 10, user="a"), member(1, 10, user="b"), member(2, user="")]
    rows += [member(3, 10, user="b"), member(4, 10, user="b")]
    found = cut(rows, messages_max=3)
    assert [(0, 0), (1, 4)] == [(batch.first_seq, batch.last_seq) for batch in found]


def test_batches_are_pulled_lazily() -> None:
    """One batch is held, whatever the stream still has."""
    pulled = 0

    def stream() -> object:
        nonlocal pulled
        for seq in range(1_000):
            pulled += 1
            yield member(seq, 10)

    next(batches(stream(), BatchLimits(bytes_max=10_000, messages_max=10)))  # type: ignore[arg-type]
    assert pulled == 11


@given(
    st.lists(
        st.tuples(st.sampled_from("abcd"), st.lists(st.integers(1, 60), max_size=3)), max_size=60
    ),
    st.integers(200, 400),
    st.integers(3, 12),
)
def test_every_batch_keeps_its_limits_and_nothing_is_lost(
    rows: list[tuple[str, list[int]]], room: int, messages_max: int
) -> None:
    """Whatever comes: all of it, in order, within the limits, with true sums."""
    bytes_max = REQUEST_OVERHEAD_BYTES + room
    stream = [member(seq, *sizes, user=user) for seq, (user, sizes) in enumerate(rows)]
    found = cut(stream, bytes_max, messages_max)
    assert stream == [member for batch in found for member in batch.members]
    for batch in found:
        messages = [message for member in batch.members for message in member.messages]
        assert batch.messages == len(messages) <= messages_max
        assert (
            batch.bytes
            == REQUEST_OVERHEAD_BYTES + sum(len(m.body) + 1 for m in messages)
            <= bytes_max
        )
        assert (batch.first_seq, batch.last_seq) == (
            batch.members[0].seq,
            batch.members[-1].seq,
        )


def columns(members: Sequence[MemberMessages], each: int) -> MemberColumns:
    """The same members as columns: a body of two parts, a messageId of a prefix and a name."""
    of_places = [
        MessageColumns(
            [MessageHead("track", (b"%d" % place, b""), id_prefix="m")] * len(members),
            [member.messages[place].message_id[1:].encode() for member in members],
            (
                [member.messages[place].body[1:2] for member in members],
                [member.messages[place].body[2:] for member in members],
            ),
            [len(member.messages[place].body) for member in members],
        )
        for place in range(each)
    ]
    seqs, users = [member.seq for member in members], [member.user for member in members]
    return MemberColumns(seqs, users, interleaved(of_places), each)


@given(
    st.lists(
        st.tuples(
            st.booleans(),
            st.integers(1, 3),
            st.lists(st.tuples(st.integers(0, 30), st.integers(1, 60)), min_size=1, max_size=30),
        ),
        max_size=8,
    ),
    st.integers(200, 900),
    st.integers(3, 12),
)
def test_columns_are_cut_as_rows_are(
    drawn: list[tuple[bool, int, list[tuple[int, int]]]], room: int, messages_max: int
) -> None:
    """Pages of columns and of rows, in any order: the batches are those of the rows alone."""
    limits = BatchLimits(bytes_max=REQUEST_OVERHEAD_BYTES + room, messages_max=messages_max)
    stream: list[MemberMessages] = []
    pages: list[Sequence[MemberMessages]] = []
    for is_columns, each, rows in drawn:
        page = [
            member(len(stream) + place, *[size] * each, user=f"u{user}")
            for place, (user, size) in enumerate(rows)
        ]
        stream += page
        pages.append(columns(page, each) if is_columns else page)
    expected = list(batches(stream, limits))
    found = list(batches_of_pages(pages, limits))
    assert [describe(batch) for batch in expected] == [describe(batch) for batch in found]


def describe(batch: Batch) -> tuple[object, ...]:
    """All that is sent and recorded of a batch."""
    rows = with_messages(batch.members)
    middle = len(rows) // 2
    return (
        batch.first_seq,
        batch.last_seq,
        batch.messages,
        batch.bytes,
        list(batch.members),
        users_of(batch.members),
        joined_bodies(messages_of(rows), b","),
        # The halves of a bisected batch.
        joined_bodies(messages_of(rows[:middle]), b"\n"),
        list(messages_of(rows[middle:])),
        [rows[-1], messages_of(rows)[-1]],
    )


def test_a_page_of_columns_is_one_batch_or_a_part_of_one() -> None:
    """No row is built of columns: what is not full waits for the next page."""
    pages = [columns([member(seq, 10) for seq in range(at, at + 7)], 1) for at in (0, 7, 14)]
    found = list(batches_of_pages(pages, BatchLimits(bytes_max=10_000, messages_max=10)))
    assert [10, 10, 1] == [len(batch.members) for batch in found]
    assert all(isinstance(batch.members, MemberColumns) for batch in found)


def test_a_batch_is_at_most_a_second_of_the_rate() -> None:
    """The batch limits are one rule of the settings: plan and sender read it there."""
    settings = SegmentSettings(write_key="k", events_per_second_max=150, batch_events_max=2_500)
    assert (490_000, 150) == (
        settings.batch_limits().bytes_max,
        settings.batch_limits().messages_max,
    )
    assert settings.batch_limits() == settings.send_limits().batch
    unlimited = SegmentSettings(write_key="k", events_per_second_max=0, batch_events_max=2_500)
    assert 2_500 == unlimited.batch_limits().messages_max
    slow = SegmentSettings(write_key="k", events_per_second_max=0.5)
    assert 1 == slow.batch_limits().messages_max
