"""Reads what several plans need of their rows by one statement for all of them.

Parsing and binding a statement takes an engine longer than reading the rows of a small audience. A
plan is written as steps that yield each such read and get its rows. The steps of several plans run
side by side, and reads that differ in the audience only become one statement over a union of their
rows, which it groups by the place of the audience.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import field
from typing import Any, Literal, TypeVar

from tailrace.dataclass import dataclass
from tailrace.errors import MemoryShort, StatementRefused, TailraceError
from tailrace.warehouse.connection import Warehouse
from tailrace.warehouse.statements import Binding, Column, QueryText, UnionAll, query

T = TypeVar("T")
Row = tuple[Any, ...]

# Rows of all audiences together in one statement, which may group or sort them in memory.
POOLED_ROWS_MAX = 50_000
# The column list of a statement's place; it is empty for a single audience.
PLACES = "places"
_PLACE = Column("_place", "BIGINT")


@dataclass(frozen=True, kw_only=True)
class Read:
    """A statement that reads the rows of an audience, and can read those of several.

    Attributes:
        name: The statement below `plan/`; its column list `places` comes last in its rows.
        table: The name of the table that it reads.
        rows_of: The rows.
        placed: The query of the columns that it reads, with the place of the audience.
        rows_max: How many of them it may hold in memory.
        columns: The column lists of the statement.
        values: Its values.
        without_rows: Its result for an audience without rows.
    """

    name: str
    table: Literal["model", "transitions"]
    rows_of: Binding
    placed: Literal["placed_rows", "placed_keys", "placed_transitions"]
    rows_max: int
    columns: Mapping[str, Sequence[Column]]
    values: Mapping[str, Any] = field(default_factory=dict)
    without_rows: Sequence[Row] = ()

    @property
    def shared_part(self) -> object:
        """Equal for reads that one statement can answer."""
        lists = tuple((name, tuple(columns)) for name, columns in self.columns.items())
        return self.name, lists, tuple(self.values.items())


Steps = Generator[Read, list[Row], T]


def run_alone(warehouse: Warehouse, steps: Steps[T]) -> T:
    """The result of the steps of one plan.

    Raises:
        TailraceError: As the steps and their statements raise it.
    """
    rows: list[Row] | None = None
    while True:
        try:
            read = next(steps) if rows is None else steps.send(rows)
        except StopIteration as ended:
            result: T = ended.value
            return result
        rows = _read(warehouse, read)


def run_together(warehouse: Warehouse, plans: Sequence[Steps[T]]) -> list[T | TailraceError]:
    """The result of the steps of each plan, or its error, in the order of the plans."""
    results: dict[int, T | TailraceError] = {}
    answers: dict[int, list[Row] | TailraceError | None] = dict.fromkeys(range(len(plans)))
    while answers:
        reads: dict[int, Read] = {}
        for number, answer in answers.items():
            try:
                reads[number] = _continued(plans[number], answer)
            except StopIteration as ended:
                results[number] = ended.value
            except TailraceError as error:
                results[number] = error
        answers = _answers(warehouse, reads)
    return [results[number] for number in range(len(plans))]


def _continued(steps: Steps[T], answer: list[Row] | TailraceError | None) -> Read:
    if isinstance(answer, TailraceError):
        return steps.throw(answer)
    return next(steps) if answer is None else steps.send(answer)


def _answers(
    warehouse: Warehouse, reads: Mapping[int, Read]
) -> dict[int, list[Row] | TailraceError | None]:
    answers: dict[int, list[Row] | TailraceError | None] = {}
    for pool in _pools(reads):
        try:
            answers |= _read_pool(warehouse, pool)
        except (StatementRefused, MemoryShort):
            # The rows of one audience fail, or all together need too much memory.
            for number, read in pool.items():
                try:
                    answers[number] = _read(warehouse, read)
                except TailraceError as error:
                    answers[number] = error
    return answers


def _pools(reads: Mapping[int, Read]) -> Iterator[dict[int, Read]]:
    """The reads in groups that one statement can answer."""
    by_part: dict[object, dict[int, Read]] = {}
    for number, read in reads.items():
        by_part.setdefault(read.shared_part, {})[number] = read
    for alike in by_part.values():
        pool: dict[int, Read] = {}
        rows = 0
        for number, read in alike.items():
            rows += read.rows_max
            if pool and rows > POOLED_ROWS_MAX:
                yield pool
                pool, rows = {}, read.rows_max
            pool[number] = read
        yield pool


def _read(warehouse: Warehouse, read: Read) -> list[Row]:
    return warehouse.run(
        f"plan/{read.name}",
        tables={read.table: read.rows_of},
        columns={**read.columns, PLACES: ()},
        **read.values,
    )


def _read_pool(warehouse: Warehouse, pool: Mapping[int, Read]) -> dict[int, list[Row]]:
    (first, *others) = pool.items()
    if not others:
        return {first[0]: _read(warehouse, first[1])}
    placed = UnionAll([_placed(warehouse, number, read) for number, read in pool.items()])
    read = first[1]
    rows = warehouse.run(
        f"plan/{read.name}",
        tables={read.table: placed},
        columns={**read.columns, PLACES: (_PLACE,)},
        **read.values,
    )
    answers: dict[int, list[Row]] = {number: [] for number in pool}
    for *values, place in rows:
        answers[int(place)].append(tuple(values))
    return {number: of_one or list(pool[number].without_rows) for number, of_one in answers.items()}


def _placed(warehouse: Warehouse, place: int, read: Read) -> QueryText:
    """The rows of an audience with its place."""
    return query(
        f"plan/{read.placed}",
        warehouse.dialect,
        tables={read.table: read.rows_of},
        columns=read.columns,
        place=place,
    )
