"""The outbox is read in the order of its numbers, however it is stored and whatever it takes."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shop import PEOPLE, Shop

from tailrace.clock import SystemClock
from tailrace.errors import MemoryShort, WarehouseFailed
from tailrace.ledger import outbox, outbox_stream
from tailrace.ledger.outbox_stream import (
    BATCHES_AHEAD,
    read_ahead,
    read_side_by_side,
    stream_in_order,
)
from tailrace.testing.segment.simulator import SegmentSimulator
from tailrace.warehouse import opening
from tailrace.warehouse.bindings import QueryText
from tailrace.warehouse.opening import open_warehouse

WIDE_ROWS = 1_500
WIDE_CHARACTERS = 28_000
# DuckDB is given a half of it.
SMALL_MACHINE_BYTES = 200_000_000
ONLY_RECORDED = """/* ---
audience: people
key: id
user_id: id
track: {initial: skip, properties: {note: email}}
--- */
SELECT id, email FROM salesforce.contact
"""
WIDE = (
    "CREATE OR REPLACE TABLE salesforce.contact AS SELECT 'c' || i AS id, "
    "i || repeat('x', $width) AS email, '' AS city, $score AS score, FALSE AS is_deleted "
    "FROM range($rows) AS r(i)"
)


class Stored:
    """Numbers as they are stored, read in pieces; an engine that holds so many rows at a time."""

    def __init__(self, seqs: Sequence[int], *, piece_rows: int, rows_max: int | None = None):
        self.seqs = seqs
        self.piece_rows = piece_rows
        self.rows_max = rows_max
        self.row_bytes = 1
        self.asked: list[tuple[int, int]] = []

    def read(self, first: int, last: int) -> Iterator[pa.RecordBatch]:
        self.asked.append((first, last))
        found = [seq for seq in self.seqs if first <= seq <= last]
        for at in range(0, len(found), self.piece_rows):
            piece = found[at : at + self.piece_rows]
            if self.rows_max is not None and len(piece) > self.rows_max:
                raise MemoryShort()
            texts = pa.array(["x" * self.row_bytes] * len(piece))
            yield pa.record_batch([pa.array(piece, pa.int64()), texts], names=["seq", "text"])


def seqs_of(stored: Stored, *ranges: tuple[int, int]) -> list[int]:
    pieces = stream_in_order(stored.read, ranges)
    return [seq for piece in pieces for seq in piece.column(0).to_pylist()]


@given(
    groups=st.lists(st.integers(1, 40), min_size=1, max_size=8).flatmap(
        lambda sizes: st.tuples(st.just(sizes), st.permutations(range(len(sizes))))
    ),
    piece_rows=st.integers(1, 30),
    rows_max=st.none() | st.integers(1, 30),
    finished=st.sets(st.integers(1, 60)),
)
def test_row_groups_in_any_order(
    groups: tuple[list[int], list[int]], piece_rows: int, rows_max: int | None, finished: set[int]
) -> None:
    """Each number once and in order, whichever thread wrote first and however little fits."""
    sizes, order = groups
    starts = [sum(sizes[:at]) + 1 for at in range(len(sizes))]
    seqs = [seq for at in order for seq in range(starts[at], starts[at] + sizes[at])]
    left = sorted(set(seqs) - finished)
    ranges = [(seq, seq) for seq in left if seq % 2] if len(left) > 40 else [(1, len(seqs))]
    wanted = [seq for first, last in ranges for seq in range(first, last + 1)]
    assert wanted == seqs_of(Stored(seqs, piece_rows=piece_rows, rows_max=rows_max), *ranges)


@given(st.permutations(range(1, 40)), st.integers(1, 12))
def test_rows_in_no_order_at_all(seqs: list[int], piece_rows: int) -> None:
    assert [*range(1, 40)] == seqs_of(Stored(seqs, piece_rows=piece_rows), (1, 39))


def test_one_statement_reads_what_is_in_order() -> None:
    """What is stored in order is not asked for twice; a later group is read up to, then past."""
    stored = Stored(range(1, 10_001), piece_rows=outbox_stream.BATCH_ROWS)
    assert 10_000 == len(seqs_of(stored, (1, 10_000)))
    assert [(1, 10_000)] == stored.asked
    swapped = Stored(
        [*range(1, 4_001), *range(8_001, 10_001), *range(4_001, 8_001)], piece_rows=500
    )
    assert [*range(1, 10_001)] == seqs_of(swapped, (1, 10_000))
    assert [(1, 10_000), (4_001, 8_000), (8_001, 10_000)] == swapped.asked


def test_wide_rows_are_read_in_small_batches() -> None:
    stored = Stored(range(1, 3_001), piece_rows=outbox_stream.BATCH_ROWS)
    stored.row_bytes = outbox.PAGE_BYTES_MAX // 1_000
    assert 3_000 == len(seqs_of(stored, (1, 3_000)))
    assert all(last - first < 1_000 for first, last in stored.asked[1:])


def test_a_row_that_does_not_fit_is_reported() -> None:
    """A page has at least one row: the error is raised for the reader."""
    with pytest.raises(MemoryShort):
        seqs_of(Stored([1, 2, 3], piece_rows=3, rows_max=0), (1, 3))


def test_reading_ahead_ends_with_its_reader() -> None:
    """Only so many pieces are read before they are wanted, and what is open is closed."""
    taken: list[int] = []
    closed = threading.Event()

    def pieces() -> Generator[pa.RecordBatch]:
        try:
            for at in range(1_000):
                taken.append(at)
                yield pa.record_batch([pa.array([at])], names=["seq"])
        finally:
            closed.set()

    with closing(read_ahead(pieces())) as ahead:
        assert [0] == next(ahead).column(0).to_pylist()
        assert [1] == next(ahead).column(0).to_pylist()
    assert closed.is_set()
    assert len(taken) <= BATCHES_AHEAD + 3


def test_what_fails_beside_is_raised_here() -> None:
    def pieces() -> Generator[pa.RecordBatch]:
        yield pa.record_batch([pa.array([1])], names=["seq"])
        raise WarehouseFailed("outbox/rendered_page")

    ahead = read_ahead(pieces())
    next(ahead)
    with pytest.raises(WarehouseFailed):
        next(ahead)


class Session:
    """A source of pages that refuses to read two at a time."""

    def __init__(self) -> None:
        self.is_idle = threading.Lock()
        self.pages: list[tuple[int, int]] = []

    def read(self, page: tuple[int, int]) -> tuple[int, int]:
        assert self.is_idle.acquire(blocking=False)
        self.pages.append(page)
        self.is_idle.release()
        return page


def test_two_sources_read_side_by_side_and_give_their_pages_in_order() -> None:
    """The first page waits for the second one, which another source reads."""
    sessions, pages = [Session(), Session()], [(at, at) for at in range(1, 40)]
    second_is_read = threading.Event()

    def read(session: Session, page: tuple[int, int]) -> tuple[int, int]:
        if page == (1, 1):
            assert second_is_read.wait(timeout=60)
        result = session.read(page)
        if page == (2, 2):
            second_is_read.set()
        return result

    assert pages == list(read_side_by_side(read, sessions, pages))
    assert pages == sorted(sessions[0].pages + sessions[1].pages)


def test_pages_are_taken_as_they_are_wanted() -> None:
    """Their size is learned from those before them; after the last one nothing is read."""
    taken: list[int] = []
    session = Session()

    def pages() -> Iterator[tuple[int, int]]:
        for at in range(1_000):
            taken.append(at)
            yield at, at

    with closing(read_side_by_side(Session.read, [session], pages())) as ahead:
        assert [(0, 0), (1, 1)] == [next(ahead), next(ahead)]
    assert len(taken) == BATCHES_AHEAD + 2
    assert len(session.pages) <= BATCHES_AHEAD + 2


def test_a_page_that_fails_beside_another_is_raised_in_its_place() -> None:
    def read(session: Session, page: tuple[int, int]) -> tuple[int, int]:
        if page == (2, 2):
            raise WarehouseFailed("outbox/joined_page")
        return session.read(page)

    ahead = read_side_by_side(read, [Session(), Session()], [(1, 1), (2, 2), (3, 3)])
    assert next(ahead) == (1, 1)
    with pytest.raises(WarehouseFailed):
        next(ahead)


@pytest.fixture
def segment() -> Iterator[SegmentSimulator]:
    with SegmentSimulator() as simulator:
        yield simulator


@pytest.mark.older_duckdb
@pytest.mark.parametrize("place", ["note", "deep.note"])
def test_wide_rows_are_delivered_in_little_memory(
    tmp_path: Path, segment: SegmentSimulator, place: str
) -> None:
    """More text than a delivery has memory: it is read in shorter pages, in both ways."""
    shop = Shop(tmp_path / "shop", segment)
    properties = f"{{{place}: email, score: score}}"
    shop.audience(PEOPLE.replace("{city: city, score: score}", properties))
    for score in (0, 1):
        with shop.connection() as con:
            con.execute("CREATE SCHEMA IF NOT EXISTS salesforce")
            con.execute(WIDE, {"score": score, "rows": WIDE_ROWS, "width": WIDE_CHARACTERS})
        done = shop.sync()
        assert (0, 0) == (done.exit_code, done.audiences[0]["rejected"]), done.errors
    tracks = [each for each in segment.events if each["type"] == "track"]
    assert 2 * WIDE_ROWS == len({(each["userId"], each["event"]) for each in tracks})
    assert {0.0, 1.0} == {each["properties"]["score"] for each in tracks}


def test_wide_rows_are_written_down_on_a_small_machine(
    tmp_path: Path, segment: SegmentSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that need no order are not sorted, which would hold all of them."""
    container = tmp_path / "memory.max"
    container.write_text(str(SMALL_MACHINE_BYTES))
    monkeypatch.setattr(opening, "CONTAINER_MEMORY", container)
    shop = Shop(tmp_path / "shop", segment)
    shop.audience(ONLY_RECORDED)
    with shop.connection() as con:
        con.execute("CREATE SCHEMA IF NOT EXISTS salesforce")
        con.execute(WIDE, {"score": 0, "rows": 2 * WIDE_ROWS, "width": WIDE_CHARACTERS})
    done = shop.sync()
    assert (0, 2 * WIDE_ROWS) == (done.exit_code, done.audiences[0]["sent"]), done.errors


@pytest.mark.older_duckdb
def test_a_row_that_needs_more_memory_than_a_delivery_has(
    tmp_path: Path, segment: SegmentSimulator
) -> None:
    """Its message is refused for its size; the delivery goes on with all that is allowed."""
    shop = Shop(tmp_path / "shop", segment)
    shop.audience(PEOPLE.replace("{city: city, score: score}", "{note: email}"))
    with shop.connection() as con:
        con.execute("CREATE SCHEMA IF NOT EXISTS salesforce")
        con.execute(WIDE, {"score": 0, "rows": 3, "width": 1})
        con.execute(
            "UPDATE salesforce.contact SET email = repeat('x', $width) WHERE id = 'c1'",
            {"width": 40_000_000},
        )
    done = shop.sync()
    assert (4, 1) == (done.exit_code, done.audiences[0]["rejected"]), done.errors
    assert {"c0", "c2"} == {each["userId"] for each in segment.events}
    assert len(segment.events) == len(segment.received)


@pytest.mark.older_duckdb
def test_what_fails_halfway_tells_no_value(tmp_path: Path) -> None:
    """DuckDB's words on a row come through Arrow, and are not repeated."""
    with open_warehouse(Shop(tmp_path / "shop").project, clock=SystemClock()) as warehouse:
        warehouse.create_dataset("salesforce")
        warehouse.execute(
            "CREATE TABLE salesforce.told AS SELECT 'c' AS id, "
            "CASE WHEN i < 200000 THEN 'true' ELSE 'Ann' END AS name FROM range(300000) AS r(i)"
        )
        told = QueryText("SELECT id, CAST(name AS BOOLEAN) AS is_deleted FROM salesforce.told")
        stream = warehouse.stream(
            "reporting/landed_status", piece_rows=1_000, tables={"landed": told}, person="c"
        )
        with pytest.raises(WarehouseFailed) as refused:
            list(stream)
    assert "Ann" not in f"{refused.value} {refused.value.__cause__}"
