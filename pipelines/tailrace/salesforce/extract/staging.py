"""Applies the staging tables of an extract to the landed tables, in the warehouse.

What is pending is recorded in the pipeline's state, which is loaded together with the staging
tables. An extract that dies before it applies them leaves that to the next one. Applying them twice
does no harm: a staging table is emptied in the transaction that applies it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from tailrace.config.settings import Deleted
from tailrace.dataclass import dataclass
from tailrace.salesforce.answers import parse_timestamp
from tailrace.salesforce.extract.landing import Landing, PipelineLanding
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
from tailrace.warehouse.statements import Binding, Column, TableName, query, unions

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
    landing = PipelineLanding(pipeline)
    states = resource_states(pipeline)
    if not any(state.get(PENDING) for state in states.values()):
        return ()
    with landing.session():
        return apply_pending(landing, states, pipeline.schemas[SOURCE].tables, deleted=deleted)


def apply_pending(
    landing: Landing,
    states: Mapping[str, Mapping[str, Any]],
    schema: Mapping[str, Any],
    *,
    deleted: Deleted,
) -> tuple[CorrectionResult, ...]:
    """Apply what is pending in the states of the resources.

    Args:
        schema: dlt's schema of each table.
    """
    tables = _Tables(landing, schema, deleted)
    return tuple(
        tables.correct(table, state[PENDING])
        for table, state in states.items()
        if state.get(PENDING)
    )


def live_tables(
    landing: Landing, schema: Mapping[str, Any], tables: Iterable[str]
) -> frozenset[str]:
    """The landed tables that have a row that is not deleted.

    Args:
        schema: dlt's schema of each table; one without columns has not landed.
    """
    stored = [table for table in tables if "columns" in schema.get(table, {})]
    if landing.merges_files:
        # DuckDB answers for all tables at the cost of a few.
        questions = [
            query(
                "landing/live_row",
                "duckdb",
                tables={"landed": TableName(landing.dataset, table)},
                table=table,
            )
            for table in stored
        ]
        return frozenset(
            str(table)
            for union in unions(questions)
            for (table,) in landing.run("landing/live_tables", tables={"each_table": union})
        )
    warehouse = _Tables(landing, schema, "flag")
    return frozenset(table for table in stored if warehouse.run("has_live_rows", landed=table))


class _Tables:
    def __init__(self, landing: Landing, schema: Mapping[str, Any], deleted: Deleted) -> None:
        self.landing = landing
        self.schema = schema
        self.verb = "flag" if deleted == "flag" else "remove"

    def run(
        self, name: str, columns: Mapping[str, list[Column]] | None = None, **named: Any
    ) -> list[Any]:
        """Run a statement of `sql/landing.sql`; tables and values are keyword arguments alike."""
        tables: dict[str, Binding] = {
            key: TableName(self.landing.dataset, named.pop(key))
            for key in ("landed", "side", "fresh", "ids", "deletions")
            if key in named
        }
        return self.landing.run(f"landing/{name}", tables=tables, columns=columns, **named)

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
            with self.landing.transaction():
                self.run(f"{self.verb}_deleted", landed=table, deletions=DELETIONS, object=table)
                self.run("clear_deletions", deletions=DELETIONS, object=table)
        if PENDING_IDS in pending:
            return self._compare_ids(table, pending[PENDING_IDS])
        return CorrectionResult(table=table, duplicates=duplicates)

    def _remove_duplicates(self, table: str, cursor: list[str]) -> int:
        """Keep the newest row of each id; returns how many rows went."""
        # Only first loads need it.
        from tailrace.salesforce.extract.load_memory import run_counting

        count = partial(self.run, "count_duplicates", landed=table)
        ((duplicates,),) = run_counting(count, self.landing)
        if not duplicates:
            return 0
        side = duplicates_table(table)
        columns = {
            "columns": [Column(name) for name in self._stored_columns(table)],
            "cursor": [Column(name) for name in cursor or ["id"]],
        }
        with self.landing.transaction():
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
        with self.landing.transaction():
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
        with self.landing.transaction():
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
