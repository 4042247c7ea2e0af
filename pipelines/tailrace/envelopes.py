"""From the outbox to what is sent: each unsettled transition with its calls, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

from tailrace import outbox
from tailrace.batches import Envelope
from tailrace.calls import KINDS, OPS, Call, Mapper, Refusal, Transition
from tailrace.ingest import MESSAGE_BYTES_MAX
from tailrace.ledger import Ledger, Shape
from tailrace.ready_messages import Forms, forms

# What the id and the time add to a message, at most; the mapper judges those that come near.
ENVELOPE_BYTES = 256
# Larger than a page of objects: to bind so long a statement costs as much as some thousand rows.
READY_ROWS_MAX = 30_000
# How many pages are read while one is worked on.
PAGES_AHEAD = 1

Refuse = Callable[[Transition, Refusal], None]
# The first and the last number of a page.
Page = tuple[int, int]
Columns = list[list[Any]]


class Envelopes:
    """The transitions of one audience run that nothing has settled yet, ready for the wire.

    `refuse` is told of each that is not to be sent, before its empty envelope is given.
    """

    def __init__(
        self,
        ledger: Ledger,
        mapper: Mapper,
        *,
        run_seq: int,
        shape: Shape,
        planned: int,
        refuse: Refuse,
    ) -> None:
        self._ledger = ledger
        self._mapper = mapper
        self._run_seq = run_seq
        self._shape = shape
        self._planned = planned
        self._refuse = refuse
        self._closers = {op: tuple(mapper.closer(kind, op) for kind in KINDS) for op in OPS}

    def __iter__(self) -> Iterator[Envelope]:
        ledger, run_seq, audience = self._ledger, self._run_seq, self._mapper.audience
        changes = outbox.has_changes(ledger, run_seq, audience)
        keys, columns = self._shape.keys, self._shape.columns
        texts = None
        if ledger.warehouse.engine.writes_messages:
            texts = forms(self._mapper, columns, keys=keys, changes=changes)
        pages = partial(outbox.pages, ledger, run_seq, audience, planned=self._planned)
        if texts is None:
            rows = outbox.PageRows()
            for first, last in pages(rows=rows):
                size = 0
                for envelope in self._mapped(first, last, changes=changes):
                    size += sum(len(call.body) for call in envelope.calls)
                    yield envelope
                rows.learn(last - first + 1, size)
            return
        rows = outbox.PageRows(READY_ROWS_MAX)
        read = partial(self._read, texts, rows)
        for read_page in read_ahead(read, pages(rows=rows)):
            yield from self._ready(read_page, changes=changes)

    def _mapped(
        self, first: int, last: int, *, changes: bool, only: Collection[int] | None = None
    ) -> Iterator[Envelope]:
        """A page, row by row, or the rows of it with these numbers."""
        for transition, send in outbox.page(
            self._ledger,
            self._run_seq,
            self._mapper.audience,
            shape=self._shape,
            changes=changes,
            first=first,
            last=last,
        ):
            if only is None or transition.seq in only:
                calls, refusals, user = self._mapper.calls(transition) if send else ([], [], "")
                if refusals:
                    self._refuse(transition, refusals[0])
                yield Envelope(transition.seq, user, tuple(calls))

    def _read(self, texts: Forms, rows: outbox.PageRows, page: Page) -> Columns:
        first, last = page
        found = self._ledger.warehouse.read_arrow(
            "outbox/ready",
            tables={"outbox": self._ledger.outbox(self._mapper.audience.name)},
            columns=texts.lists,
            column=texts.identity,
            **texts.ends,
            bytes_max=MESSAGE_BYTES_MAX - ENVELOPE_BYTES,
            run=self._run_seq,
            first_seq=first,
            last_seq=last,
        )
        rows.learn(last - first + 1, found.nbytes)
        return [column.to_pylist() for column in found.columns]

    def _ready(self, columns: Columns, *, changes: bool) -> Iterator[Envelope]:
        """A page whose messages the warehouse wrote, and its odd rows by the mapper."""
        seqs, usual = columns[:2]
        odd = [seq for seq, is_usual in zip(seqs, usual, strict=True) if not is_usual]
        mapped: dict[int, Envelope] = {}
        if odd:
            left = self._mapped(min(odd), max(odd), changes=changes, only=frozenset(odd))
            mapped = {envelope.seq: envelope for envelope in left}
        rows: Iterable[tuple[Any, ...]] = zip(*columns, strict=True)
        # Without ORDER BY: the rows of a page are wide, and nearly always in order.
        return self._closed(rows if seqs == sorted(seqs) else sorted(rows), mapped)

    def _closed(
        self, rows: Iterable[tuple[Any, ...]], mapped: Mapping[int, Envelope]
    ) -> Iterator[Envelope]:
        # The constructor that a NamedTuple has of its own takes as long as all the rest.
        closers, new = self._closers, tuple.__new__
        for seq, usual, op, user, frame, identify, group, track in rows:
            if not usual:
                yield mapped[seq]
                continue
            identified, grouped, tracked = closers[op]
            calls: tuple[Call, ...] = () if track is None else (tracked(frame, track),)
            if group is not None:
                calls = (grouped(frame, group), *calls)
            if identify is not None:
                calls = (identified(frame, identify), *calls)
            yield new(Envelope, (seq, user, calls))


def read_ahead(read: Callable[[Page], Columns], pages: Iterable[Page]) -> Iterator[Columns]:
    """What is read of each page, in order; the next ones are read while one is worked on."""
    with ThreadPoolExecutor(PAGES_AHEAD, thread_name_prefix="outbox") as beside:
        waiting: deque[Future[Columns]] = deque()
        for page in pages:
            waiting.append(beside.submit(read, page))
            if len(waiting) > PAGES_AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
