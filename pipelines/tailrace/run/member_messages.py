"""The messages of the outbox: each open transition of a run with its messages, in order."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from tailrace.destinations.ingest import IngestJobs, LineTemplates
from tailrace.destinations.messages import OPS, MemberMessages, Refusal, Transition
from tailrace.destinations.protocol import MessageMapper, MessageTemplates
from tailrace.errors import MemoryShort, WarehouseFailed
from tailrace.ledger import outbox
from tailrace.ledger.ledger import Ledger
from tailrace.ledger.outbox_stream import (
    BATCH_ROWS,
    read_ahead,
    read_side_by_side,
    stream_in_order,
)
from tailrace.ledger.tables import Shape
from tailrace.run.pages_together import ID_AND_TIME_BYTES, PagesTogether
from tailrace.run.rendered_page import Builders, RenderedPage, values
from tailrace.warehouse.connection import Warehouse
from tailrace.warehouse.statements import UnionAll, query

if TYPE_CHECKING:
    import pyarrow as pa

# The numbers of these rows are compared with each row of their range.
ROWS_BY_NUMBER_MAX = 500
# A second session takes as long to open as some hundred messages to render.
TWO_SESSIONS_ROWS_MIN = 20_000

Refuse = Callable[[Transition, Refusal], None]


class LinePage(NamedTuple):
    """A page of transitions as lines of a job's file, each list with one entry for a transition.

    Attributes:
        keys: The text of the key, if the line was rendered.
        lines: The line; None for a transition that is not sent.
        mapped: The transitions that were not rendered, by their number.
    """

    seqs: list[int]
    keys: list[str | None]
    lines: list[bytes | None]
    mapped: Mapping[int, MemberMessages]


class OutboxMessages:
    """The transitions of one audience run without a final status, ready to be sent.

    The mapper builds the messages row by row. If the warehouse can render them and the audience
    has templates, it does so for whole pages, and the mapper gets the rest: one switch, in
    `__iter__`. Both give the same bytes.

    Args:
        refuse: Called for each transition that is not sent, before it is yielded without messages.
        changed: How many members changed, of a run whose outbox is new; None asks the ledger.
        together: Renders the page of this run with those of others.
    """

    def __init__(
        self,
        ledger: Ledger,
        mapper: MessageMapper,
        *,
        run_seq: int,
        shape: Shape,
        planned: int,
        refuse: Refuse,
        changed: int | None = None,
        together: PagesTogether | None = None,
    ) -> None:
        self._ledger = ledger
        self._mapper = mapper
        self._together = together
        self._run_seq = run_seq
        self._shape = shape
        self._planned = planned
        self._refuse = refuse
        self._changed = changed
        # Nothing of it was acknowledged before the first read.
        self._is_new = changed is not None

    def __iter__(self) -> Iterator[MemberMessages]:
        return chain.from_iterable(self.pages())

    def pages(self) -> Iterator[Iterable[MemberMessages]]:
        """The transitions in pages, each of which is read before the next one."""
        changes = self._has_changes()
        together = self._together if self._is_new else None
        ranges = self._open_ranges()
        templates = None
        if self._ledger.warehouse.engine.writes_messages:
            keys, columns = self._shape.keys, self._shape.columns
            templates = self._mapper.templates(columns, keys=keys, changes=changes)
        if templates is None:
            yield from self._mapped_pages(ranges, changes=changes)
            return
        builders = self._builders(templates)
        page = together.take(self._mapper.audience.ledger_key, templates) if together else None
        for rendered in [page] if page else self._columns(templates, ranges):
            if rendered.count:
                yield rendered.as_columns(builders) or self._rendered(
                    rendered, builders, changes=changes
                )

    def line_pages(self, jobs: IngestJobs) -> Iterator[LinePage] | None:
        """The transitions in pages as lines of a job's file; None if they are added one by one.

        Both ways give the same lines.
        """
        engine = self._ledger.warehouse.engine
        if not engine.writes_messages or engine.joins_pages:
            return None
        changes = self._has_changes()
        templates = jobs.line_templates(self._shape.columns, keys=self._shape.keys, changes=changes)
        return None if templates is None else self._line_pages(templates, changes=changes)

    def _line_pages(self, templates: LineTemplates, *, changes: bool) -> Iterator[LinePage]:
        def read(first: int, last: int) -> Iterator[pa.RecordBatch]:
            return self._ledger.warehouse.stream(
                templates.statement,
                piece_rows=BATCH_ROWS,
                columns=templates.lists,
                **templates.values,
                **self._rows_between(first, last),
            )

        for batch in read_ahead(stream_in_order(read, self._open_ranges())):
            seqs, is_rendered, keys, lines = map(values, batch.columns)
            mapped = self._left_to_mapper(seqs, is_rendered, changes=changes)
            yield LinePage(seqs, keys, lines, mapped)

    def _open_ranges(self) -> list[tuple[int, int]]:
        """The ranges of numbers without an outcome."""
        is_new, self._is_new = self._is_new, False
        if is_new:
            return [(1, self._planned)]
        return self._ledger.deliveries.open_ranges(self._run_seq, self._mapper.audience.ledger_key)

    def _mapped_pages(
        self, ranges: Iterable[tuple[int, int]], *, changes: bool
    ) -> Iterator[Iterator[MemberMessages]]:
        rows = outbox.PageRows()

        def page(first: int, last: int) -> Iterator[MemberMessages]:
            size = 0
            for member in self._mapped(first, last, changes=changes):
                size += sum(len(message.body) for message in member.messages)
                yield member
            rows.learn(last - first + 1, size)

        for first, last in outbox.pages(ranges, rows=rows):
            yield page(first, last)

    def rows(self, seqs: Collection[int]) -> Iterator[MemberMessages]:
        """The transitions with some numbers, in order."""
        self._is_new = False
        ordered = sorted(seqs)
        changes = bool(ordered) and self._has_changes()
        for start in range(0, len(ordered), ROWS_BY_NUMBER_MAX):
            chosen = ordered[start : start + ROWS_BY_NUMBER_MAX]
            yield from self._mapped(chosen[0], chosen[-1], changes=changes, only=chosen)

    def _has_changes(self) -> bool:
        if self._changed is not None:
            return self._changed > 0
        return outbox.has_changes(self._ledger, self._run_seq, self._mapper.audience)

    def _mapped(
        self, first: int, last: int, *, changes: bool, only: Collection[int] | None = None
    ) -> Iterator[MemberMessages]:
        """The rows of a page, or those with the numbers of `only`, built by the mapper."""
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
            messages, refusals, user = self._mapper.messages(transition) if send else ([], [], "")
            if refusals:
                self._refuse(transition, refusals[0])
            yield MemberMessages(transition.seq, user, tuple(messages))

    def _builders(self, templates: MessageTemplates) -> Builders:
        """The builders of each operation, one for each kind of the templates."""
        return {
            op: tuple(
                self._mapper.message_builder(kind, op) if kind else None for kind in templates.kinds
            )
            for op in OPS
        }

    def _columns(
        self, templates: MessageTemplates, ranges: Iterable[tuple[int, int]]
    ) -> Iterator[RenderedPage]:
        """The rows that the warehouse rendered, as columns in the order of the numbers."""
        warehouse = self._ledger.warehouse
        is_small = self._planned <= BATCH_ROWS
        # For a small one, a second session and a thread would cost more than the rows.
        if warehouse.engine.joins_pages:
            if is_small:
                yield from self._joined(warehouse, templates, ranges, outbox.PageRows())
            else:
                yield from self._joined_beside(templates, ranges)
            return
        if not is_small:
            for batch in read_ahead(stream_in_order(partial(self._render, templates), ranges)):
                yield RenderedPage.of_arrow(batch)
            return
        for first, last in ranges:
            bindings = self._page(templates, first, last)
            rows = warehouse.run(templates.statement, **bindings)
            yield RenderedPage.of_rows(sorted(rows))

    def _joined_beside(
        self, templates: MessageTemplates, ranges: Iterable[tuple[int, int]]
    ) -> Generator[RenderedPage]:
        """The pages of `_joined`, read in sessions beside the run's."""
        rows = outbox.PageRows()

        def read(session: Warehouse, page: tuple[int, int]) -> list[RenderedPage]:
            return list(self._joined(session, templates, [page], rows))

        sessions = self._sessions()
        pages = read_side_by_side(read, sessions, outbox.pages(ranges, rows=rows))
        try:
            with closing(pages):
                yield from chain.from_iterable(pages)
        finally:
            for session in sessions:
                session.close()

    def _sessions(self) -> list[Warehouse]:
        """Sessions that render pages at the same time: two, if the server has a free connection.

        One process of a server renders fewer messages than this process sends.
        """
        warehouse = self._ledger.warehouse
        sessions = [warehouse.another()]
        if self._planned >= TWO_SESSIONS_ROWS_MIN:
            with suppress(WarehouseFailed):
                sessions.append(warehouse.another())
        return sessions

    def _joined(
        self,
        warehouse: Warehouse,
        templates: MessageTemplates,
        ranges: Iterable[tuple[int, int]],
        rows: outbox.PageRows,
    ) -> Generator[RenderedPage]:
        for start, last in ranges:
            first = start
            while first <= last:
                end = min(last, first + rows.now - 1)
                page = query(
                    templates.statement, warehouse.dialect, **self._page(templates, first, end)
                )
                try:
                    (row,) = warehouse.run(
                        "outbox/joined_page", tables={"rendered": UnionAll([page])}
                    )
                except MemoryShort:
                    if not rows.shrink(end - first + 1):
                        raise
                    continue
                rows.learn(end - first + 1, sum(len(values or "") for values in row))
                yield RenderedPage.of_joined(row)
                first = end + 1

    def _render(
        self, templates: MessageTemplates, first: int, last: int
    ) -> Iterator[pa.RecordBatch]:
        bindings = self._page(templates, first, last)
        return self._ledger.warehouse.stream(templates.statement, piece_rows=BATCH_ROWS, **bindings)

    def _page(self, templates: MessageTemplates, first: int, last: int) -> dict[str, Any]:
        """The bindings of the statement that renders the rows between two numbers."""
        return {
            "columns": {**templates.lists, "places": (), "texts_of_page": ()},
            "column": templates.identity,
            **templates.ends,
            "bytes_max": self._mapper.message_bytes_max - ID_AND_TIME_BYTES,
            **self._rows_between(first, last),
        }

    def _rows_between(self, first: int, last: int) -> dict[str, Any]:
        return {
            "tables": {"outbox": self._ledger.outbox(self._mapper.audience.ledger_key)},
            "run": self._run_seq,
            "first_seq": first,
            "last_seq": last,
        }

    def _left_to_mapper(
        self, seqs: Sequence[int], is_rendered: Sequence[bool], *, changes: bool
    ) -> dict[int, MemberMessages]:
        """The rows of a page that the warehouse left out, built by the mapper."""
        left = [seq for seq, rendered in zip(seqs, is_rendered, strict=True) if not rendered]
        if not left:
            return {}
        members = self._mapped(min(left), max(left), changes=changes, only=left)
        return {member.seq: member for member in members}

    def _rendered(
        self, page: RenderedPage, builders: Builders, *, changes: bool
    ) -> Iterator[MemberMessages]:
        """Rows that the warehouse rendered; those that it left out are built by the mapper."""
        mapped = self._left_to_mapper(page.seqs, page.is_rendered, changes=changes)
        messages = page.messages(builders)
        for seq, user, built in zip(page.seqs, page.users, messages, strict=True):
            yield mapped[seq] if seq in mapped else MemberMessages(seq, user, built)
