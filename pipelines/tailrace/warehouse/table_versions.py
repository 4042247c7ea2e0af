"""Which landed tables were written since a process opened a file that it alone can write."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable, Iterable

from tailrace.warehouse.statements import TableName


class TableVersions:
    """A version of each table, which changes with each statement that may write to it.

    It holds for as long as the file stays open, and says nothing about views. Tables of other
    datasets than `dataset` have no version.
    """

    def __init__(self, dataset: str) -> None:
        self._dataset = dataset
        self._opened = secrets.token_hex(8)
        self._loads = 0
        self._writes: Counter[TableName] = Counter()
        self._fingerprints: dict[TableName, tuple[str, str | None]] = {}

    def write(self, tables: Iterable[object]) -> None:
        """Record a statement that may write to the tables that are bound to it."""
        self._writes.update(
            table
            for table in tables
            if isinstance(table, TableName) and table.dataset == self._dataset
        )

    def write_all(self) -> None:
        """Record a load, which may write to any table."""
        self._loads += 1

    def of(self, table: TableName) -> str:
        """The version of a table; no other process ever has the same one."""
        return f"{self._opened} {self._loads} {self._writes[table]}"

    def fingerprint(self, table: TableName, compute: Callable[[], str | None]) -> str | None:
        """What `compute` returned for the same version of the table, or returns now."""
        version = self.of(table)
        known = self._fingerprints.get(table)
        if known is None or known[0] != version:
            known = self._fingerprints[table] = version, compute()
        return known[1]
