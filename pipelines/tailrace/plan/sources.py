"""The state of declared sources: which are missing, old, or have lost a column.

A run holds the audiences that read such a table, as it holds those of a Salesforce object whose
extract failed. An audience whose SQL cannot be bound for that reason is held without a plan.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from typing import Any

from tailrace.dataclass import dataclass
from tailrace.errors import StatementRefused
from tailrace.models.lineage import columns_read
from tailrace.models.loader import Models
from tailrace.models.sources import Source, type_kind
from tailrace.warehouse.connection import Warehouse
from tailrace.warehouse.sql_files import WRITTEN_IN
from tailrace.warehouse.statements import Column, TableName


@dataclass(frozen=True, kw_only=True)
class SourceState:
    """What the warehouse says of a source.

    Attributes:
        missing: The warehouse has no such table.
        gone: The columns that are declared, or that a model names, and that the table lacks.
        retyped: The declared columns whose type is of another kind, with that type.
        age: The age of the newest row; None if there is no limit, or if it is not known.
        problem: Why the age is not known, or that it is above the limit.
    """

    source: Source
    missing: bool = False
    gone: tuple[str, ...] = ()
    retyped: Mapping[str, str] | None = None
    age: timedelta | None = None
    problem: str = ""

    def unbound(self, named: Collection[str], *, ran: bool) -> bool:
        """Whether an audience's SQL cannot run because of this source; see `reasons`."""
        return self.missing or any(self._lost(named, ran=ran))

    def reasons(self, *, named: Collection[str], read: Collection[str], ran: bool) -> Iterator[str]:
        """Why an audience that reads it is held, one line each.

        Args:
            named: The columns that the audience's SQL names; without one of them it cannot run.
            read: Those of them that decide its members and values.
            ran: Whether its SQL has run before as it is. If not, a column that is not declared may
                be misspelt in the SQL, which is an error of the model.
        """
        name = _shown(self.source)
        if self.missing:
            yield f"{name} is missing"
        for column in self._lost({*named, *read}, ran=ran):
            yield f"{name}.{column} is missing"
        for column, type_ in (self.retyped or {}).items():
            if column in read:
                declared = self.source.columns[column]
                yield f"{name}.{column} has the type {type_} instead of {declared}"
        if self.problem:
            yield f"{name} {self.problem}"

    def problems(self) -> tuple[str, ...]:
        """What is wrong with it for an audience that reads all declared columns."""
        every = self.source.columns
        return tuple(self.reasons(named=every, read=every, ran=False))

    def summary(self) -> str:
        """The state in one line, as `doctor` prints it."""
        if problems := self.problems():
            return "; ".join(problems)
        age = f", {_length(self.age)} old" if self.age is not None else ""
        return f"{_shown(self.source)} is there{age}"

    def _lost(self, named: Collection[str], *, ran: bool) -> Iterator[str]:
        return (c for c in self.gone if c in named and (ran or c in self.source.columns))


class SourceStates:
    """The states of a project's sources at one time; each table is looked at once.

    Args:
        warehouse: The open warehouse.
        models: All models of the project.
        now: The time at which the age of a table counts.
    """

    def __init__(self, warehouse: Warehouse, models: Models, *, now: datetime) -> None:
        self._warehouse = warehouse
        self._models = models
        self._now = now
        self._states: dict[str, SourceState] = {}
        warehouse.allow_tables((s.dataset, s.table) for s in models.sources.values())

    def of(self, source: Source) -> SourceState:
        """The state of a source."""
        if source.key not in self._states:
            self._states[source.key] = self._look(source)
        return self._states[source.key]

    def all(self) -> tuple[SourceState, ...]:
        """The states of all sources, by `dataset.table`."""
        return tuple(self.of(source) for _, source in sorted(self._models.sources.items()))

    def read_by(self, model: str) -> tuple[SourceState, ...]:
        """The states of the sources that a model reads, directly or not."""
        return tuple(self.of(source) for source in self._models.sources_read(model))

    def named_by(self, model: str, source: Source) -> frozenset[str]:
        """The columns of a source that a model, or one under it, names."""
        names = (model, *self._models.under(model))
        files = {self._models.by_name[name].file for name in names}
        columns = self._named.get(source.key, {})
        return frozenset(name for name, places in columns.items() if not files.isdisjoint(places))

    def columns(self, source: Source) -> tuple[Column, ...]:
        """The columns of a source; those that models name as well if it has lost them."""
        there = self._warehouse.columns_of(TableName(source.dataset, source.table))
        return (*there, *(Column(name) for name in self.of(source).gone))

    def _look(self, source: Source) -> SourceState:
        columns = self._warehouse.columns_of(TableName(source.dataset, source.table))
        if not columns:
            return SourceState(source=source, missing=True)
        types = {column.name: column.type for column in columns}
        wanted = {**source.columns, **dict.fromkeys(self._named.get(source.key, ()))}
        age, problem = self._age(source, types)
        return SourceState(
            source=source,
            gone=tuple(name for name in wanted if name not in types),
            retyped={
                name: types[name]
                for name, declared in source.columns.items()
                if declared is not None and name in types and self._differs(declared, types[name])
            },
            age=age,
            problem=problem,
        )

    def _differs(self, declared: str, actual: str) -> bool:
        """Whether a type is of another kind than the declared one."""
        dialect = self._warehouse.dialect
        return type_kind(actual, dialect) not in {
            type_kind(declared, dialect),
            type_kind(declared, WRITTEN_IN),
        }

    def _age(self, source: Source, types: Mapping[str, str]) -> tuple[timedelta | None, str]:
        """The age of the newest row, and what is wrong with it."""
        column, limit = source.freshness_column, source.hold_after
        if column is None or limit is None:
            return None, ""
        if column not in types:
            return None, f"has no column {column}, which shows its age"
        try:
            ((newest,),) = self._warehouse.run(
                "plan/newest",
                tables={"source": TableName(source.dataset, source.table)},
                column=Column(column),
            )
        except StatementRefused:
            return None, "cannot be read to compute its age"
        if newest is None:
            return None, f"has no row with a {column}"
        at = _as_time(newest)
        if at is None:
            return None, f"has no date or time in {column}, but {types[column]}"
        age = self._now - at
        if age <= limit:
            return age, ""
        return age, f"is {_length(age)} old, and may be {_length(limit)} old"

    @cached_property
    def _named(self) -> Mapping[str, Mapping[str, Collection[str]]]:
        return columns_read(self._models)


def _shown(source: Source) -> str:
    """A source as messages name it: its table, and the model of dbt that builds it."""
    return f"{source.key} ({source.name})" if source.dbt is not None else source.key


def _as_time(value: Any) -> datetime | None:
    """A date or time of the warehouse in UTC; None for a value of another type."""
    if isinstance(value, datetime):
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
    if isinstance(value, date):
        return datetime.combine(value, time(), tzinfo=UTC)
    return None


def _length(length: timedelta) -> str:
    """A length of time in days and hours, or in hours and minutes.

    >>> _length(timedelta(days=3, hours=2)), _length(timedelta(hours=24))
    ('3d 2h', '1d')
    >>> _length(timedelta(minutes=90)), _length(timedelta(seconds=20))
    ('1h 30m', '0m')
    """
    minutes = int(length.total_seconds()) // 60
    parts = {"d": minutes // 1440, "h": minutes // 60 % 24, "m": minutes % 60}
    shown = [f"{count}{unit}" for unit, count in parts.items() if count]
    return " ".join(shown[:2]) or "0m"
