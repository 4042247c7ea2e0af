"""Fingerprints of an audience's inputs, by which a run recognises that nothing can have changed.

The inputs are the landed tables and declared sources that its SQL reads, the SQL itself and the
mapping. A table is hashed whole, once a run, however many audiences read it: a write by any program
is noticed, and no record of writes has to be trusted. An audience is always run if its SQL reads
the time or if the engine has no cheap hash; if it reads the date, it is run on each new day in UTC.
A table that one selected audience reads is hashed only if its last extract landed no row: else its
model has to run, and costs no more than the hash.

A process that watches hashes every landed table that it reads, since a cycle changes few of them.
If it keeps a file open that no other process can write, it knows its own writes: it hashes a landed
table once for each change, and needs no hash of a table that one audience reads.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime

from tailrace.audience.audience import Audience
from tailrace.ledger.audiences import Delivered
from tailrace.ledger.ledger import Ledger
from tailrace.models.determinism import date_of
from tailrace.models.loader import Model, Models
from tailrace.plan.recorded import Definitions, Recorded
from tailrace.plan.row_hash import table_hash
from tailrace.warehouse.statements import Column, TableName

# A table is always hashed if so many of the selected audiences read it.
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
        now: datetime,
    ) -> None:
        self._date = date_of(now)
        self._recorded = recorded
        self._definitions = definitions
        self._warehouse = ledger.warehouse
        self._models = models
        self._readers = Counter(
            table
            for model in selected
            if model.audience is not None
            for table in self.tables_read(model)
            for _ in model.audience.syncs()
        )
        # The hash of each table that was looked at, None if it has no cheap one.
        self.hashes: dict[TableName, str | None] = {}
        self._layouts: dict[str, Mapping[str, tuple[Column, ...]]] = {}
        self._row_counts: dict[str, Mapping[str, int]] = {}
        self._versions = ledger.warehouse.table_versions
        self._fingerprints: dict[tuple[str, str, str], str | None] = {}
        # Of a view, the statements that write to it say nothing.
        self._watched = (
            frozenset(
                TableName(ledger.warehouse.project.settings.dataset, table)
                for table in recorded.extracts
            )
            if ledger.warehouse.is_watched
            else frozenset()
        )

    def fingerprint(self, model: Model, audience: Audience) -> str | None:
        """Equal for two runs only if the audience's SELECT gives the same rows in both.

        None if its inputs cannot be compared. It is that of the first call, which comes before the
        model runs: a write in between is noticed by the next run.
        """
        key = (model.name, audience.ledger_key, audience.mapping_fingerprint)
        if key not in self._fingerprints:
            self._fingerprints[key] = self._fingerprint(model, audience)
        return self._fingerprints[key]

    def _fingerprint(self, model: Model, audience: Audience) -> str | None:
        tables = self.tables_read(model)
        names = (model.name, *self._models.under(model.name))
        if not tables or not all(self._is_comparable(table) for table in tables):
            return None
        clocks = {self._models.by_name[name].syntax.clock for name in names}
        if "time" in clocks:
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
                *([self._date] if "date" in clocks else ()),
            )
        )
        return hashlib.sha256(text.encode()).hexdigest()

    def _is_comparable(self, table: TableName) -> bool:
        """Whether comparing the table may cost less than the models that read it."""
        if table in self._watched or self._readers[table] >= READERS_MIN:
            return True
        extract = self._recorded.extracts.get(table.name)
        return (
            table.dataset == self._warehouse.project.settings.dataset
            and extract is not None
            and extract.rows == 0
        )

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

    def tables_read(self, model: Model) -> tuple[TableName, ...]:
        """The landed tables and the sources that a model reads, directly or not."""
        dataset = self._warehouse.project.settings.dataset
        return (
            *(TableName(dataset, table) for table in self._models.objects_read(model.name)),
            *(TableName(s.dataset, s.table) for s in self._models.sources_read(model.name)),
        )

    def rows_read(self, model: Model) -> int | None:
        """About how many rows of tables a model reads; None if the engine cannot say it."""
        counts = [
            self._rows_in(str(table.dataset)).get(table.name) for table in self.tables_read(model)
        ]
        known = [rows for rows in counts if rows is not None]
        return sum(known) if len(known) == len(counts) else None

    def _rows_in(self, dataset: str) -> Mapping[str, int]:
        if dataset not in self._row_counts:
            counts = self._warehouse.run("warehouse/row_counts", dataset=dataset)
            self._row_counts[dataset] = {
                str(name): int(rows) for name, rows in counts if rows is not None
            }
        return self._row_counts[dataset]

    def _table(self, table: TableName) -> str | None:
        """A hash of a table's columns and rows, or its version; None if there is no table."""
        if self._versions is not None and table in self._watched:
            if self._readers[table] < READERS_MIN:
                return self._versions.of(table)
            return self._versions.fingerprint(table, lambda: self._hashed(table))
        if table not in self.hashes:
            self.hashes[table] = self._hashed(table)
        return self.hashes[table]

    def _hashed(self, table: TableName) -> str | None:
        return table_hash(self._warehouse, table, self._columns(table))

    def _columns(self, table: TableName) -> tuple[Column, ...]:
        return self.columns_in(str(table.dataset)).get(table.name, ())

    def columns_in(self, dataset: str) -> Mapping[str, tuple[Column, ...]]:
        """The columns of the tables and views of a dataset, by name; read once."""
        if dataset not in self._layouts:
            self._layouts[dataset] = self._warehouse.columns_in(dataset)
        return self._layouts[dataset]
