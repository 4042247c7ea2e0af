"""Applies the staging tables of an extract to the landed tables, in the warehouse.

What is pending is recorded in the pipeline's state, which is loaded together with the staging
tables. An extract that dies before it applies them leaves that to the next one. Applying them twice
does no harm: a staging table is emptied in the transaction that applies it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tailrace.config.settings import Deleted
from tailrace.salesforce.answers import parse_timestamp
from tailrace.salesforce.extract.reconciliation import (
    PENDING,
    PENDING_DELETED,
    PENDING_FLAGGED,
    PENDING_FRESH,
    PENDING_IDS,
    PENDING_UNIQUE,
    duplicates_table,
    ids_table,
    refreshed_table,
)
from tailrace.warehouse.statements import Binding, Column, TableName, statement

SOURCE = "salesforce"
DELETIONS = "_deletions"
QUARANTINE = "_quarantine"


@dataclass(frozen=True, kw_only=True)
class CorrectionResult:
    """What the corrections changed in one table.

    Attributes:
        emptied: Salesforce showed no row at all, so no row was counted as deleted.
        missing: Rows that Salesforce has and that never landed.
        duplicates: Rows of a first load whose id had landed already; only the newest stays.
    """

    table: str
    emptied: bool = False
    missing: int = 0
    duplicates: int = 0


def apply_corrections(pipeline: Any, *, deleted: Deleted = "flag") -> tuple[CorrectionResult, ...]:
    """Apply what is pending: after `pipeline.run(salesforce(…))`, in any warehouse with SQL.

    Args:
        deleted: "flag" keeps rows that are deleted in Salesforce, "remove" removes them; the same
            value as for the source.
    """
    pending = dict(_pending(pipeline))
    if not pending:
        return ()
    with pipeline.sql_client() as client:
        tables = _Tables(client, pipeline.schemas[SOURCE].tables, deleted)
        return tuple(tables.correct(table, corrections) for table, corrections in pending.items())


def tables_with_live_rows(pipeline: Any, tables: Iterable[str]) -> frozenset[str]:
    """The landed tables that have a row that is not deleted."""
    schema = pipeline.schemas[SOURCE].tables if SOURCE in pipeline.schema_names else {}
    landed = [table for table in tables if "columns" in schema.get(table, {})]
    if not landed:
        return frozenset()
    with pipeline.sql_client() as client:
        warehouse = _Tables(client, schema, "flag")
        return frozenset(table for table in landed if warehouse.run("has_live_rows", landed=table))


class _Tables:
    def __init__(self, client: Any, schema: Mapping[str, Any], deleted: Deleted) -> None:
        self.client = client
        self.schema = schema
        self.verb = "flag" if deleted == "flag" else "remove"
        self.dialect = str(client.capabilities.sqlglot_dialect)

    def run(
        self, name: str, columns: Mapping[str, list[Column]] | None = None, **named: Any
    ) -> list[Any]:
        """Run a statement of `sql/landing.sql`; tables and values are keyword arguments alike."""
        dataset = self.client.dataset_name
        tables: dict[str, Binding] = {
            key: TableName(dataset, named.pop(key))
            for key in ("landed", "side", "fresh", "ids", "deletions")
            if key in named
        }
        sql = statement(f"landing/{name}", self.dialect, tables=tables, columns=columns, **named)
        return list(self.client.execute_sql(sql) or ())

    def correct(self, table: str, pending: Mapping[str, Any]) -> CorrectionResult:
        """Apply the staging tables of one landed table."""
        duplicates = 0
        if PENDING_UNIQUE in pending:
            duplicates = self._remove_duplicates(table, pending[PENDING_UNIQUE])
        if PENDING_FRESH in pending:
            self._apply_refreshed(table, pending[PENDING_FRESH])
        if PENDING_FLAGGED in pending:
            self.run("remove_flagged", landed=table)
        if PENDING_DELETED in pending:
            with self.client.begin_transaction():
                self.run(f"{self.verb}_deleted", landed=table, deletions=DELETIONS, object=table)
                self.run("clear_deletions", deletions=DELETIONS, object=table)
        if PENDING_IDS in pending:
            return self._compare_ids(table, pending[PENDING_IDS])
        return CorrectionResult(table=table, duplicates=duplicates)

    def _remove_duplicates(self, table: str, cursor: list[str]) -> int:
        """Keep the newest row of each id; returns how many rows went."""
        (duplicates,) = self.run("count_duplicates", landed=table)[0]
        if not duplicates:
            return 0
        side = duplicates_table(table)
        columns = {
            "columns": [Column(name) for name in self._stored_columns(table)],
            "cursor": [Column(name) for name in cursor or ["id"]],
        }
        with self.client.begin_transaction():
            self.run("drop", side=side)
            self.run("create_newest", columns, landed=table, side=side)
            self.run("delete_duplicates", landed=table, side=side)
            self.run("insert_newest", columns, landed=table, side=side)
            self.run("drop", side=side)
        return int(duplicates)

    def _stored_columns(self, table: str) -> list[str]:
        columns = self.schema[table]["columns"]
        return [name for name, hints in columns.items() if "data_type" in hints]

    def _apply_refreshed(self, table: str, names: list[str]) -> None:
        side = refreshed_table(table)
        stored = self.schema[table]["columns"]
        columns = {
            "keys": [Column("id")],
            "columns": [Column(name) for name in names if name in stored],
        }
        with self.client.begin_transaction():
            self.run("apply_fresh", columns, landed=table, fresh=side)
            self.run("clear", side=side)

    def _compare_ids(self, table: str, pending: Mapping[str, Any]) -> CorrectionResult:
        side = ids_table(table)
        if not pending["rows"]:
            # A lost permission is far more likely than an object that was emptied.
            has_rows = bool(self.run("has_live_rows", landed=table))
            return CorrectionResult(table=table, emptied=has_rows)
        if not self.run("has_rows", side=side):
            return CorrectionResult(table=table)
        with self.client.begin_transaction():
            columns = {"cursor": [Column(name) for name in pending["cursor"]]}
            before = parse_timestamp(pending["before"])
            rows = self.run("count_missing", columns, ids=side, landed=table, before=before)
            self.run(f"{self.verb}_vanished", landed=table, ids=side)
            self.run("clear", side=side)
        return CorrectionResult(table=table, missing=int(rows[0][0]))


def resource_states(pipeline: Any) -> Mapping[str, Mapping[str, Any]]:
    """The stored state of each object that has landed, by its table."""
    sources = pipeline.state.get("sources") or {}
    return (sources.get(SOURCE) or {}).get("resources") or {}


def _pending(pipeline: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for table, state in resource_states(pipeline).items():
        if state.get(PENDING):
            yield table, state[PENDING]
