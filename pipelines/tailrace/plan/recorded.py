"""What the ledger has recorded of all audiences, read once for a whole plan.

Each look-up is one statement, however many audiences there are. Planning writes nothing to the
ledger, so what was read holds until the plan is carried out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property

from tailrace.ledger.audiences import Delivered
from tailrace.ledger.extracts import Extracted
from tailrace.ledger.ledger import Ledger
from tailrace.models.compile import compiled_sql, definition_fingerprint
from tailrace.models.loader import Models
from tailrace.warehouse.statements import Column, TableName


class Recorded:
    """The recorded state of every sync of an open ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._expected: dict[str, None] = {}
        self._sizes: dict[str, int] = {}

    def read_ahead(self) -> None:
        """Read what plans look up, so that afterwards several threads may look it up."""
        _ = self._unresolved, self._released, self._columns
        for sync_key in self._expected:
            if self.delivered(sync_key) is not None:
                self.size(sync_key)

    def delivered(self, sync_key: str) -> Delivered | None:
        """The run that a snapshot reflects, None before the first delivery."""
        return self._delivered.get(sync_key)

    def unresolved_counts(self, sync_key: str) -> tuple[int, int]:
        """How many open rejections and unconfirmed keys a sync has."""
        return self._unresolved.get(sync_key, (0, 0))

    def name_released_at(self, name: str, destination: str) -> int:
        """The last run that released the name of an audience, 0 if there was none."""
        return self._released.get((name, destination), 0)

    def columns_of(self, table: TableName) -> tuple[Column, ...]:
        """The columns of a table of the ledger; empty if the table does not exist."""
        return self._columns.get(table.name, ())

    def expect(self, sync_keys: Iterable[str]) -> None:
        """Count the members of these syncs together with the first one whose size is needed."""
        self._expected |= dict.fromkeys(sync_keys)

    def size(self, sync_key: str) -> int:
        """The number of members in a sync's snapshot, 0 if it does not exist."""
        if sync_key not in self._sizes:
            counted = [key for key in {**self._expected, sync_key: None} if key not in self._sizes]
            existing = [key for key in counted if self.columns_of(self._ledger.snapshot(key))]
            self._sizes |= dict.fromkeys(counted, 0) | self._ledger.sizes(existing)
        return self._sizes[sync_key]

    @cached_property
    def extracts(self) -> Mapping[str, Extracted]:
        """The latest extract of each object, by its table."""
        return self._ledger.extracts.latest()

    @cached_property
    def inputs(self) -> Mapping[tuple[str, int], str]:
        """The fingerprint of each sync's inputs, by sync key and run."""
        return self._ledger.audiences.saved_inputs()

    @cached_property
    def _delivered(self) -> Mapping[str, Delivered]:
        return self._ledger.audiences.all_last_delivered()

    @cached_property
    def _unresolved(self) -> Mapping[str, tuple[int, int]]:
        return self._ledger.deliveries.all_unresolved_counts()

    @cached_property
    def _released(self) -> Mapping[tuple[str, str], int]:
        return self._ledger.audiences.released_names()

    @cached_property
    def _columns(self) -> Mapping[str, tuple[Column, ...]]:
        return self._ledger.warehouse.columns_in(self._ledger.dataset)


class Definitions:
    """The compiled text of each model and its fingerprint, computed once for a whole plan."""

    def __init__(self, models: Models, *, dialect: str) -> None:
        self._models = models
        self._dialect = dialect
        self._texts: dict[str, str] = {}
        self._fingerprints: dict[str, str] = {}

    def text(self, name: str) -> str:
        """The text of a model with all models under it."""
        if name not in self._texts:
            self._texts[name] = compiled_sql(self._models, name, dialect=self._dialect)
        return self._texts[name]

    def fingerprint(self, name: str, delivered: Delivered | None) -> str:
        """The fingerprint of a model; of a delivered text it is the one that was recorded."""
        if delivered is not None and delivered.definition == self.text(name):
            return delivered.definition_fingerprint
        if name not in self._fingerprints:
            self._fingerprints[name] = definition_fingerprint(self._models, name)
        return self._fingerprints[name]
