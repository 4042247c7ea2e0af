"""Where a session creates the temporary tables of a plan.

By default they are its own. While several sessions plan side by side, they are in a database in
memory that all sessions of the process see.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from tailrace.dataclass import dataclass
from tailrace.warehouse.statements import Bound, Part, TableName, created_table

# No schema may have this name.
SHARED_DATABASE = "tr__plan"


@dataclass()
class PlanTables:
    """The temporary tables of a session.

    Attributes:
        dataset: The schema or database that they are created in; None if they have no schema.
        created: The tables that may exist. Sessions that plan side by side have one set.
    """

    dataset: str | None
    created: set[TableName] = field(default_factory=set)

    def part_of(self, name: str, dialect: str, tables: Mapping[str, Bound]) -> Part | None:
        """The form of a statement: one that creates a shared table is not a temporary one's."""
        if self.dataset != SHARED_DATABASE:
            return None
        table = tables.get(created_table(name, dialect) or "")
        is_shared = isinstance(table, TableName) and table.dataset == SHARED_DATABASE
        return "shared" if is_shared else None

    def may_exist(self, table: TableName) -> bool:
        """Whether a table that is to be created may exist already; it does afterwards."""
        if table in self.created:
            return True
        self.created.add(table)
        return False

    def forget_shared(self) -> bool:
        """Whether a table of the shared database may exist; afterwards none may."""
        shared = {table for table in self.created if table.dataset == SHARED_DATABASE}
        self.created -= shared
        return bool(shared)

    def shared(self) -> PlanTables:
        """The same for a session that plans beside others."""
        return PlanTables(SHARED_DATABASE, self.created)
