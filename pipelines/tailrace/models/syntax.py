"""A model's syntax tree, which is parsed when it is first needed, and what is known without it.

Most commands need of most models only the tables that they read, their columns and whether they
read a clock. Of a SELECT that reads no other model these follow from its text and the audience's
key alone, so they are kept from one command to the next (see `models.accepted`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import fields
from functools import cached_property
from typing import Any

from sqlglot import exp

from tailrace.dataclass import dataclass
from tailrace.models.determinism import Clock, clock_read
from tailrace.models.nodes import Nodes
from tailrace.models.parse import TableRead, tables


@dataclass(frozen=True, kw_only=True)
class PlainFacts:
    """What is known of a SELECT that reads landed tables alone, and has no error and no warning.

    They hold while no model has the name of a table, or of a part of the SELECT: sqlglot takes the
    columns of such a model for those of the table.

    Attributes:
        reads: The landed tables in the order of the text.
        names: The names of all tables without their datasets, and of WITH clauses that are read.
        columns: Its columns, as of `Columns.names`.
        clock: What its rows depend on of the time.
    """

    reads: tuple[str, ...]
    names: tuple[str, ...]
    columns: tuple[str, ...] | None
    clock: Clock

    @classmethod
    def from_kept(cls, kept: Any) -> PlainFacts | None:
        """The facts as `as_kept` wrote them; None if there are none."""
        if not isinstance(kept, Mapping) or kept.keys() != {field.name for field in fields(cls)}:
            return None
        columns = kept["columns"]
        return cls(
            reads=tuple(kept["reads"]),
            names=tuple(kept["names"]),
            columns=None if columns is None else tuple(columns),
            clock=kept["clock"],
        )

    def as_kept(self) -> dict[str, Any]:
        """A value that JSON can carry."""
        return {
            "reads": list(self.reads),
            "names": list(self.names),
            "columns": None if self.columns is None else list(self.columns),
            "clock": self.clock,
        }


class Syntax:
    """The syntax tree of one SELECT.

    Args:
        parse: Gives the tree.
        facts: What is known without it.
    """

    def __init__(self, parse: Callable[[], exp.Query], facts: PlainFacts | None = None) -> None:
        self._parse = parse
        self.facts = facts

    def forget_facts_beside(self, models: Collection[str]) -> None:
        """Parse the SELECT nevertheless where models have names that it reads."""
        if self.facts is not None and any(name in models for name in self.facts.names):
            self.facts = None

    @cached_property
    def nodes(self) -> Nodes:
        """The nodes of the tree, which must be copied before it is changed."""
        return Nodes(self._parse())

    @cached_property
    def tables(self) -> tuple[TableRead, ...]:
        """Every table that is read."""
        return tuple(tables(self.nodes))

    @property
    def models(self) -> tuple[TableRead, ...]:
        """The tables that are names of models."""
        if self.facts is not None:
            return ()
        return tuple(read for read in self.tables if read.kind == "model")

    @property
    def others(self) -> tuple[TableRead, ...]:
        """The tables that are neither names of models nor landed objects."""
        if self.facts is not None:
            return ()
        return tuple(read for read in self.tables if read.kind == "other")

    @property
    def is_plain(self) -> bool:
        """Whether it is known that landed tables are all that the SELECT reads."""
        is_known = not self.nodes.query.meta.get("opaque")
        return is_known and all(read.kind == "landed" for read in self.tables)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """As of `PlainFacts.names`."""
        found = {node.name.lower() for node in self.nodes.of(exp.Table)}
        return tuple(sorted(found))

    @cached_property
    def clock(self) -> Clock:
        """What the rows depend on of the time, as of `clock_read`."""
        return self.facts.clock if self.facts is not None else clock_read(self.nodes)
