"""The views over the ledger that other tools may read: `v_runs`, `v_members` and others.

They are an interface with a version: within a version, columns are only added. The script of
`sql/ledger/schema.sql` creates them. `v_members` shows the members of all syncs, so it is replaced
whenever the table of a sync's members is created, dropped or renamed. A view is replaced and never
dropped, since others may have built views on it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING

from tailrace.dataclass import dataclass
from tailrace.ledger.tables import VIEWS_VERSION, LedgerTables
from tailrace.warehouse.statements import Binding, Column, TableName, query

if TYPE_CHECKING:
    from tailrace.audience.audience import Audience


@dataclass(frozen=True, kw_only=True)
class MembersTable:
    """The members of a sync: whose they are, and the columns of their key."""

    sync_key: str
    audience: str
    destination: str
    key: tuple[str, ...]

    @classmethod
    def of(cls, audience: Audience) -> MembersTable | None:
        """The table of an audience at one destination; None for an event model, without members."""
        if audience.log is not None:
            return None
        return cls(
            sync_key=audience.ledger_key,
            audience=audience.name,
            destination=audience.destination_name,
            key=tuple(audience.key),
        )


class Views:
    """Replaces the view `v_members`; call it in the transaction that changes the tables."""

    def __init__(self, tables: LedgerTables) -> None:
        self._tables = tables

    def release(self, sync_keys: Collection[str]) -> None:
        """Leave syncs out, so that PostgreSQL lets go of their tables."""
        self.replace(without=sync_keys)

    def replace(self, *, planned: Iterable[Audience] = (), without: Collection[str] = ()) -> None:
        """Show the members of all syncs that have a table.

        Args:
            planned: Audiences whose tables this transaction has created, each at one destination.
            without: The keys of syncs to leave out.
        """
        if self._tables.version < VIEWS_VERSION:
            return
        warehouse = self._tables.warehouse
        existing = warehouse.columns_in(self._tables.dataset)
        own = (MembersTable.of(audience) for audience in planned)
        listed = {table.sync_key: table for table in (*self._recorded(), *filter(None, own))}
        parts: list[Binding] = []
        for table in listed.values():
            snapshot = self._tables.snapshot(table.sync_key)
            names = {column.name for column in existing.get(snapshot.name, ())}
            # A held plan may have recorded another key than the table has.
            if table.sync_key not in without and names.issuperset(table.key):
                parts.append(self._members_of(table, snapshot))
        view = TableName(self._tables.dataset, "v_members")
        warehouse.run(
            "ledger/replace_members",
            tables={"v_members": view, "members": self._united(parts)},
        )

    def _recorded(self) -> list[MembersTable]:
        """The syncs that the ledger knows, with the keys of their last deliveries."""
        from tailrace.audience.audience import Audience

        tables = []
        for sync_key, name, destination, mapping in self._tables.run("member_tables"):
            audience = Audience.from_mapping(json.loads(mapping))
            if audience.log is None:
                tables.append(
                    MembersTable(
                        sync_key=sync_key,
                        audience=name,
                        destination=destination,
                        key=tuple(audience.key),
                    )
                )
        return tables

    def _members_of(self, table: MembersTable, snapshot: TableName) -> Binding:
        return query(
            "ledger/members_of",
            self._tables.warehouse.dialect,
            tables={"snapshot": snapshot},
            columns={"keys": [Column(name) for name in table.key]},
            audience=table.audience,
            destination=table.destination,
            sync_key=table.sync_key,
        )

    def _united(self, parts: Sequence[Binding]) -> Binding:
        """All rows of several queries, united in pairs so that the statement is not nested deep."""
        dialect = self._tables.warehouse.dialect
        if not parts:
            return query("ledger/no_members", dialect)
        while len(parts) > 1:
            parts = [
                one
                if other is None
                else query("ledger/both_members", dialect, tables={"one": one, "other": other})
                for one, other in zip_longest(parts[::2], parts[1::2])
            ]
        return parts[0]
