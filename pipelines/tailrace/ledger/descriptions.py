"""The describes of Salesforce objects that the ledger keeps, for checks without a call."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tailrace.ledger.tables import LedgerTables


class Descriptions:
    """Reads and writes the table `described_objects`."""

    def __init__(self, tables: LedgerTables) -> None:
        self._tables = tables

    def all(self) -> dict[str, Mapping[str, Any]]:
        """The describe of each object, by its name in lower case."""
        if not self._tables.has_table("described_objects"):
            return {}
        rows = self._tables.run("described_objects")
        return {str(name).lower(): json.loads(text) for name, text in rows}

    def save(self, described: Mapping[str, Mapping[str, Any]]) -> None:
        """Save describes by object name; those that are stored already are not written again."""
        stored = self.all()
        for name, description in described.items():
            if stored.get(name.lower()) == description:
                continue
            text = json.dumps(description, sort_keys=True, separators=(",", ":"))
            with self._tables.warehouse.transaction():
                self._tables.run("forget_description", object=name)
                self._tables.run(
                    "save_description",
                    object=name,
                    described=text,
                    now=self._tables.clock.now(),
                )
