"""Renders the messages of several small deliveries by one statement.

Parsing and binding the statement takes DuckDB longer than the rows of a small delivery. Deliveries
whose messages have one form share it: their rows are united, each with the place of its delivery,
and a text that is another one in each message, such as the audience's name, becomes a column.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from typing import Any

from tailrace.dataclass import dataclass
from tailrace.destinations.protocol import MessageMapper, MessageTemplates
from tailrace.errors import MemoryShort, StatementRefused
from tailrace.ledger.ledger import Ledger
from tailrace.ledger.tables import Shape
from tailrace.run.rendered_page import RenderedPage
from tailrace.warehouse.bindings import ValueColumn
from tailrace.warehouse.connection import Warehouse
from tailrace.warehouse.statements import Column, QueryText, UnionAll, query

# Bytes that the id and the time add to a rendered message, at most. The mapper checks the exact
# size of messages close to the limit.
ID_AND_TIME_BYTES = 256
# Members of a delivery that is rendered with others, and of all that are rendered in advance.
MEMBERS_MAX = 1_000
MEMBERS_IN_ADVANCE_MAX = 5_000
# Deliveries in one statement, and those that are looked at for it.
TOGETHER_MAX = 10
# Statements that wait for the thread that renders ahead: it goes on while results are saved.
STATEMENTS_AHEAD_MAX = 4
LOOKED_AT_MAX = 100
_PLACE = Column("_place", "BIGINT")


@dataclass(frozen=True, kw_only=True)
class SmallDelivery:
    """A new delivery, none of whose transitions was sent.

    Attributes:
        sync_key: Its ledger key.
        run_seq: Its run.
        shape: Its columns.
        planned: The number of its transitions, which begin with 1.
        has_changes: Whether some of them are changes.
        mapper: Makes the mapper of its messages.
    """

    sync_key: str
    run_seq: int
    shape: Shape
    planned: int
    has_changes: bool
    mapper: Callable[[], MessageMapper]


@dataclass(frozen=True, kw_only=True)
class _Page:
    """The page of a delivery that is to be rendered."""

    delivery: SmallDelivery
    templates: MessageTemplates
    bytes_max: int

    @cached_property
    def texts(self) -> dict[str, str]:
        """The texts of the messages by their names in the statement."""
        labels = {
            f"{name}_{place}": column.label
            for name, columns in self.templates.lists.items()
            for place, column in enumerate(columns)
            if column.label
        }
        ends = {name: end for name, end in self.templates.ends.items() if isinstance(end, str)}
        return {**labels, **ends}

    @cached_property
    def shared_part(self) -> object:
        """Equal for pages that one statement can render."""
        lists = {
            name: tuple(column._replace(label="") for column in columns)
            for name, columns in self.templates.lists.items()
        }
        ends = {name: end for name, end in self.templates.ends.items() if not isinstance(end, str)}
        return (
            self.templates.statement,
            self.templates.identity,
            lists,
            ends,
            self.texts.keys(),
            self.bytes_max,
            self.delivery.run_seq,
        )


_Pages = dict[str, tuple[_Page, RenderedPage]]


@dataclass(frozen=True)
class _Ahead:
    """Pages that another thread renders."""

    pool: Sequence[_Page]
    pages: Future[_Pages]


class PagesTogether:
    """The pages of the small deliveries in a queue.

    Args:
        ledger: The open ledger.
        deliveries: The deliveries in the order in which their pages are asked for.
        beside: Opens a session in which another thread renders the next pages, while the caller
            sends; None to render them when they are asked for.
    """

    def __init__(
        self,
        ledger: Ledger,
        deliveries: Sequence[SmallDelivery],
        *,
        beside: Callable[[], Warehouse] | None = None,
    ) -> None:
        self._ledger = ledger
        self._waiting = {
            delivery.sync_key: delivery
            for delivery in deliveries
            if delivery.planned <= MEMBERS_MAX
        }
        self._together_max = TOGETHER_MAX
        self._looked_at: dict[str, _Page | None] = {}
        self._rendered: _Pages = {}
        self._open_beside = beside
        self._beside: Warehouse | None = None
        self._renderer = ThreadPoolExecutor(1, thread_name_prefix="render")
        self._ahead: deque[_Ahead] = deque()

    def take(self, sync_key: str, templates: MessageTemplates) -> RenderedPage | None:
        """The only page of a delivery; None if it is to be rendered alone."""
        self._render_ahead()
        while any(p.delivery.sync_key == sync_key for ahead in self._ahead for p in ahead.pool):
            self._collect()
        if sync_key in self._waiting:
            self._render_with_others(sync_key)
        page, rendered = self._rendered.pop(sync_key, (None, None))
        return rendered if page is not None and page.templates == templates else None

    def close(self) -> None:
        """Wait for the statement that renders ahead, and close its session."""
        self._renderer.shutdown(cancel_futures=True)
        if self._beside is not None:
            self._beside.close()

    def _render_ahead(self) -> None:
        """Give the other thread the next pages to render, as far as they may be in advance."""
        if self._open_beside is None:
            return
        while len(self._ahead) < STATEMENTS_AHEAD_MAX and len(self._rendered) < self._together_max:
            following = next(iter(self._waiting), None)
            pool = [] if following is None else self._pool(following)
            if len(pool) < 2:
                return
            if self._beside is None:
                self._beside = self._open_beside()
            for page in pool:
                del self._waiting[page.delivery.sync_key]
            self._ahead.append(_Ahead(pool, self._renderer.submit(self._pages, pool, self._beside)))

    def _collect(self) -> None:
        """Take the pages of the first statement that renders ahead."""
        ahead = self._ahead.popleft()
        try:
            self._rendered |= ahead.pages.result()
        except MemoryShort:
            self._together_max //= 2
            self._waiting = {
                **{page.delivery.sync_key: page.delivery for page in ahead.pool},
                **self._waiting,
            }
        except StatementRefused:
            # Each is rendered alone, and reports its own error.
            pass

    def _render_with_others(self, sync_key: str) -> None:
        pool = self._pool(sync_key)
        del self._waiting[sync_key]
        if len(pool) < 2:
            return
        try:
            self._rendered |= self._pages(pool, self._ledger.warehouse)
        except MemoryShort:
            # This one is rendered alone, and the others in smaller pools.
            self._together_max //= 2
            return
        except StatementRefused:
            # Each is rendered alone, and reports its own error.
            pass
        for page in pool[1:]:
            del self._waiting[page.delivery.sync_key]

    def _pool(self, sync_key: str) -> list[_Page]:
        """The delivery and those behind it whose pages the same statement can render."""
        first = self._page(self._waiting[sync_key])
        if first is None:
            return []
        pool = [first]
        names = list(self._waiting)
        start = names.index(sync_key) + 1
        members = first.delivery.planned
        members += sum(page.delivery.planned for page, _ in self._rendered.values())
        members += sum(page.delivery.planned for ahead in self._ahead for page in ahead.pool)
        for name in names[start : start + LOOKED_AT_MAX]:
            page = self._page(self._waiting[name])
            if page is None or page.shared_part != first.shared_part:
                continue
            members += page.delivery.planned
            if len(pool) >= self._together_max or members > MEMBERS_IN_ADVANCE_MAX:
                break
            pool.append(page)
        return pool

    def _page(self, delivery: SmallDelivery) -> _Page | None:
        """The page of a delivery; None if its messages have no templates."""
        if delivery.sync_key not in self._looked_at:
            mapper, shape = delivery.mapper(), delivery.shape
            templates = mapper.templates(
                shape.columns, keys=shape.keys, changes=delivery.has_changes
            )
            page = None
            if templates is not None:
                bytes_max = mapper.message_bytes_max - ID_AND_TIME_BYTES
                page = _Page(delivery=delivery, templates=templates, bytes_max=bytes_max)
            self._looked_at[delivery.sync_key] = page
        return self._looked_at[delivery.sync_key]

    def _pages(self, pool: Sequence[_Page], warehouse: Warehouse) -> _Pages:
        """The rendered pages by ledger key."""
        first, texts = pool[0], [page.texts for page in pool]
        # A column for each text that is not the same in all of them.
        columns = {
            name: f"_text_{number}"
            for number, name in enumerate(first.texts)
            if any(others[name] != texts[0][name] for others in texts)
        }
        values: dict[str, Any] = {
            **first.templates.ends,
            **{name: ValueColumn(column) for name, column in columns.items()},
        }
        rows = warehouse.run(
            first.templates.statement,
            tables={
                "outbox": UnionAll([self._placed(n, page, columns) for n, page in enumerate(pool)])
            },
            columns={
                **first.templates.lists,
                "places": (_PLACE,),
                "texts_of_page": tuple(map(Column, columns.values())),
            },
            column=first.templates.identity,
            **values,
            bytes_max=first.bytes_max,
            run=first.delivery.run_seq,
            first_seq=1,
            last_seq=MEMBERS_MAX,
        )
        pages: list[list[list[Any]]] = [[] for _ in pool]
        for *row, place in rows:
            pages[int(place)].append(row)
        return {
            page.delivery.sync_key: (page, RenderedPage.of_rows(sorted(of_page)))
            for page, of_page in zip(pool, pages, strict=True)
        }

    def _placed(self, place: int, page: _Page, columns: dict[str, str]) -> QueryText:
        """The rows of a delivery with its place and its texts."""
        texts = page.texts
        return query(
            "outbox/placed_page",
            self._ledger.warehouse.dialect,
            tables={"outbox": self._ledger.outbox(page.delivery.sync_key)},
            columns={
                "held": page.templates.lists["held"],
                "texts_of_page": tuple(
                    Column(column, label=texts[name]) for name, column in columns.items()
                ),
            },
            place=place,
            run=page.delivery.run_seq,
        )
