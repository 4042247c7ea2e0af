"""The describes of Salesforce objects that the ledger keeps, for checks without a call."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tailrace.ledger.tables import LedgerTables
from tailrace.warehouse.statements import Rows


class Descriptions:
    """Reads and writes the table `described_objects`."""

    def __init__(self, tables: LedgerTables) -> None:
        self._tables = tables
        # Only the run that holds the lock writes them, so they are read once.
        self._stored: dict[str, Mapping[str, Any]] | None = None

    def all(self) -> dict[str, Mapping[str, Any]]:
        """The describe of each object, by its name in lower case."""
        if not self._tables.has_table("described_objects"):
            return {}
        if self._stored is None:
            rows = self._tables.run("described_objects")
            self._stored = {str(name).lower(): json.loads(text) for name, text in rows}
        return dict(self._stored)

    def save(self, described: Mapping[str, Mapping[str, Any]]) -> None:
        """Save describes by object name; those that are stored already are not written again."""
        stored = self.all()
        changed = {
            name: description
            for name, description in described.items()
            if stored.get(name.lower()) != description
        }
        if not changed:
            return
        self._stored = None
        now = self._tables.clock.now()
        with self._tables.warehouse.transaction():
            names = Rows(("object",), [(name,) for name in changed])
            self._tables.run("forget_descriptions", rows={"changed": names})
            # One statement each, because a describe may have some hundred kilobytes.
            for name, description in changed.items():
                text = json.dumps(description, sort_keys=True, separators=(",", ":"))
                self._tables.run("save_description", object=name, described=text, now=now)
