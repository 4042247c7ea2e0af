"""From the outbox to what is sent: each unsettled transition with its calls, in order."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING

from tailrace.destinations.batching import Envelope
from tailrace.destinations.segment.mapper import KINDS, OPS, Call, Mapper, Refusal, Transition
from tailrace.destinations.segment.spec import MESSAGE_BYTES_MAX
from tailrace.destinations.segment.templates import Forms, forms
from tailrace.ledger import outbox
from tailrace.ledger.ledger import Ledger, Shape
from tailrace.ledger.outbox_stream import PIECE_ROWS, in_order, read_ahead

if TYPE_CHECKING:
    import pyarrow as pa

# What the id and the time add to a message, at most; the mapper judges those that come near.
ENVELOPE_BYTES = 256

Refuse = Callable[[Transition, Refusal], None]


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
        ranges = outbox.ranges(ledger, run_seq, audience, planned=self._planned)
        texts = None
        if ledger.warehouse.engine.writes_messages:
            keys, columns = self._shape.keys, self._shape.columns
            texts = forms(self._mapper, columns, keys=keys, changes=changes)
        if texts is not None:
            for piece in read_ahead(in_order(partial(self._read, texts), ranges)):
                yield from self._ready(piece, changes=changes)
            return
        rows = outbox.PageRows()
        for first, last in outbox.pages(ranges, rows=rows):
            size = 0
            for envelope in self._mapped(first, last, changes=changes):
                size += sum(len(call.body) for call in envelope.calls)
                yield envelope
            rows.learn(last - first + 1, size)

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
            only=only,
        ):
            calls, refusals, user = self._mapper.calls(transition) if send else ([], [], "")
            if refusals:
                self._refuse(transition, refusals[0])
            yield Envelope(transition.seq, user, tuple(calls))

    def _read(self, texts: Forms, first: int, last: int) -> Iterator[pa.RecordBatch]:
        return self._ledger.warehouse.stream(
            "outbox/ready",
            piece_rows=PIECE_ROWS,
            tables={"outbox": self._ledger.outbox(self._mapper.audience.ledger_key)},
            columns=texts.lists,
            column=texts.identity,
            **texts.ends,
            bytes_max=MESSAGE_BYTES_MAX - ENVELOPE_BYTES,
            run=self._run_seq,
            first_seq=first,
            last_seq=last,
        )

    def _ready(self, piece: pa.RecordBatch, *, changes: bool) -> Iterator[Envelope]:
        """Rows whose messages the warehouse wrote, and the odd ones among them by the mapper."""
        columns = [column.to_pylist() for column in piece.columns]
        seqs, usual = columns[:2]
        odd = [seq for seq, is_usual in zip(seqs, usual, strict=True) if not is_usual]
        mapped: Mapping[int, Envelope] = {}
        if odd:
            left = self._mapped(min(odd), max(odd), changes=changes, only=odd)
            mapped = {envelope.seq: envelope for envelope in left}
        # The constructor that a NamedTuple has of its own takes as long as all the rest.
        closers, new = self._closers, tuple.__new__
        for seq, usual, op, user, frame, identify, group, track in zip(*columns, strict=True):
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
