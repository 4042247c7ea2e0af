"""Fingerprints of an audience's inputs, by which a run recognises that nothing can have changed.

The inputs are the landed tables and declared sources that its SQL reads, the SQL itself and the
mapping. A table is hashed whole, once a run, however many audiences read it: a write by any program
is noticed, and no record of writes has to be trusted. An audience is always run if its SQL reads
the clock, if the engine has no cheap hash, or if no other selected audience reads the same table,
since then its model costs no more than the hash.

A process that watches keeps a file open that no other process can write, and knows its own writes.
It hashes a landed table once for each change, and needs no hash of a table that one audience reads.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence

from tailrace.audience.audience import Audience
from tailrace.errors import StatementRefused
from tailrace.ledger.audiences import Delivered
from tailrace.ledger.ledger import Ledger
from tailrace.models.determinism import reads_clock
from tailrace.models.loader import Model, Models
from tailrace.plan.diff import hash_complements
from tailrace.plan.recorded import Definitions, Recorded
from tailrace.warehouse.statements import TableName

# A table is hashed if so many of the selected audiences read it.
READERS_MIN = 2


class Inputs:
    """The inputs of the selected audiences; each table and each definition is looked at once."""

    def __init__(
        self,
        ledger: Ledger,
        models: Models,
        selected: Sequence[Model],
        *,
        recorded: Recorded,
        definitions: Definitions,
    ) -> None:
        self._recorded = recorded
        self._definitions = definitions
        self._warehouse = ledger.warehouse
        self._models = models
        self._readers = Counter(
            table
            for model in selected
            if model.audience is not None
            for table in self._read(model)
            for _ in model.audience.syncs()
        )
        self._hashes: dict[TableName, str | None] = {}
        self._versions = ledger.warehouse.table_versions
        # Of a view, the statements that write to it say nothing.
        self._versioned = (
            frozenset(
                TableName(ledger.warehouse.project.settings.dataset, table)
                for table in ledger.extracts.latest()
            )
            if self._versions is not None
            else frozenset()
        )

    def fingerprint(self, model: Model, audience: Audience) -> str | None:
        """Equal for two runs only if the audience's SELECT gives the same rows in both.

        None if its inputs cannot be compared.
        """
        tables = self._read(model)
        names = (model.name, *self._models.under(model.name))
        if not tables or not all(self._is_comparable(table) for table in tables):
            return None
        if any(reads_clock(self._models.by_name[name].query) for name in names):
            return None
        parts = [self._table(table) for table in tables]
        if any(part is None for part in parts):
            return None
        text = "\n".join(
            (
                self._warehouse.engine_version,
                self._definition(model, audience),
                audience.mapping_fingerprint,
                *(f"{table} {part}" for table, part in zip(tables, parts, strict=True)),
            )
        )
        return hashlib.sha256(text.encode()).hexdigest()

    def unchanged_since(self, model: Model, audience: Audience) -> Delivered | None:
        """The last delivery of an audience, if it was planned from the same inputs; else None."""
        delivered = self._recorded.delivered(audience.ledger_key)
        if delivered is None:
            return None
        recorded = self._recorded.inputs.get((audience.ledger_key, delivered.run_seq))
        if recorded is None or recorded != self.fingerprint(model, audience):
            return None
        return delivered

    def _definition(self, model: Model, audience: Audience) -> str:
        # The text as well: two texts that run differently may have one fingerprint.
        text = self._definitions.text(model.name)
        delivered = self._recorded.delivered(audience.ledger_key)
        fingerprint = self._definitions.fingerprint(model.name, delivered)
        return f"{fingerprint} {hashlib.sha256(text.encode()).hexdigest()}"

    def _read(self, model: Model) -> tuple[TableName, ...]:
        """The landed tables and the sources that a model reads, directly or not."""
        dataset = self._warehouse.project.settings.dataset
        return (
            *(TableName(dataset, table) for table in self._models.objects_read(model.name)),
            *(TableName(s.dataset, s.table) for s in self._models.sources_read(model.name)),
        )

    def _is_comparable(self, table: TableName) -> bool:
        return table in self._versioned or self._readers[table] >= READERS_MIN

    def _table(self, table: TableName) -> str | None:
        """A hash of a table's columns and rows, or its version; None if there is no table."""
        if self._versions is not None and table in self._versioned:
            if self._readers[table] < READERS_MIN:
                return self._versions.of(table)
            return self._versions.fingerprint(table, lambda: self._hashed(table))
        if table not in self._hashes:
            self._hashes[table] = self._hashed(table)
        return self._hashes[table]

    def _hashed(self, table: TableName) -> str | None:
        columns = self._warehouse.columns_of(table)
        if not columns or self._warehouse.dialect != "duckdb":
            return None
        try:
            ((rows, *hashes),) = self._warehouse.run(
                "plan/measure",
                tables={"model": table},
                columns={"keys": (), "columns": columns, **hash_complements(columns)},
            )
        except StatementRefused:
            # A source may be a view that fails; the models that read it report the error.
            return None
        layout = ", ".join(f"{column.name} {column.type}" for column in columns)
        return f"({layout}) {rows} {hashes}"
