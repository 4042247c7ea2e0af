"""Applies the side tables of an extract to the landed tables, in the warehouse.

What is pending stands in the pipeline's state, which is loaded together with the side tables. So
an extract that dies before it applies them leaves that to the next one, and applying twice does
no harm: a side table is emptied in the transaction that applies it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tailrace.config.settings import Deleted
from tailrace.salesforce.extract.reconciliation import UNSETTLED, fresh_table, ids_table
from tailrace.salesforce.extract.replication import parse_moment
from tailrace.warehouse.statements import Binding, Column, TableName, statement

SOURCE = "salesforce"
DELETIONS = "_deletions"
QUARANTINE = "_quarantine"


@dataclass(frozen=True, kw_only=True)
class Settled:
    """What applying changed for one table.

    Attributes:
        emptied: Salesforce showed no row at all, so nothing was taken for deleted.
        missing: Rows that Salesforce has and that never landed.
    """

    table: str
    emptied: bool = False
    missing: int = 0


def settle(pipeline: Any, *, deleted: Deleted = "flag") -> tuple[Settled, ...]:
    """Apply what is pending: after `pipeline.run(salesforce(…))`, in any warehouse with SQL.

    Args:
        deleted: "flag" keeps rows that are gone, "remove" does not; as the source was told.
    """
    pending = dict(_pending(pipeline))
    if not pending:
        return ()
    with pipeline.sql_client() as client:
        tables = _Tables(client, pipeline.schemas[SOURCE].tables, deleted)
        return tuple(tables.settle(table, todo) for table, todo in pending.items())


def with_live_rows(pipeline: Any, tables: Iterable[str]) -> frozenset[str]:
    """Which of the landed tables have a row that is not deleted."""
    known = pipeline.schemas[SOURCE].tables if SOURCE in pipeline.schema_names else {}
    with pipeline.sql_client() as client:
        found = _Tables(client, known, "flag")
        return frozenset(
            each for each in tables if each in known and found.run("has_live_rows", landed=each)
        )


class _Tables:
    def __init__(self, client: Any, schema: Mapping[str, Any], deleted: Deleted) -> None:
        self.client = client
        self.schema = schema
        self.verb = "flag" if deleted == "flag" else "remove"
        self.dialect = str(client.capabilities.sqlglot_dialect)

    def run(
        self, name: str, columns: Mapping[str, list[Column]] | None = None, **named: Any
    ) -> list[Any]:
        """Run a statement of `sql/landing`; names of tables and values alike by keyword."""
        dataset = self.client.dataset_name
        tables: dict[str, Binding] = {
            key: TableName(dataset, named.pop(key))
            for key in ("landed", "side", "fresh", "ids", "deletions")
            if key in named
        }
        sql = statement(f"landing/{name}", self.dialect, tables=tables, columns=columns, **named)
        return list(self.client.execute_sql(sql) or ())

    def settle(self, table: str, todo: Mapping[str, Any]) -> Settled:
        """Apply the side tables of one landed table."""
        if "fresh" in todo:
            self._apply_fresh(table, todo["fresh"])
        if "flagged" in todo:
            self.run("remove_flagged", landed=table)
        if "deleted" in todo:
            with self.client.begin_transaction():
                self.run(f"{self.verb}_deleted", landed=table, deletions=DELETIONS, object=table)
                self.run("clear_deletions", deletions=DELETIONS, object=table)
        if "ids" in todo:
            return self._compare_ids(table, todo["ids"])
        return Settled(table=table)

    def _apply_fresh(self, table: str, names: list[str]) -> None:
        side = fresh_table(table)
        columns = {
            "keys": [Column("id")],
            "columns": [Column(each) for each in names if each in self.schema[table]["columns"]],
        }
        with self.client.begin_transaction():
            self.run("apply_fresh", columns, landed=table, fresh=side)
            self.run("clear", side=side)

    def _compare_ids(self, table: str, todo: Mapping[str, Any]) -> Settled:
        side = ids_table(table)
        if not todo["rows"]:
            # Not one row is far likelier a lost permission than an object that was emptied.
            return Settled(table=table, emptied=bool(self.run("has_live_rows", landed=table)))
        if not self.run("has_rows", side=side):
            return Settled(table=table)
        with self.client.begin_transaction():
            columns = {"cursor": [Column(each) for each in todo["cursor"]]}
            before = parse_moment(todo["before"])
            rows = self.run("count_missing", columns, ids=side, landed=table, before=before)
            self.run(f"{self.verb}_vanished", landed=table, ids=side)
            self.run("clear", side=side)
        return Settled(table=table, missing=int(rows[0][0]))


def _pending(pipeline: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    sources = pipeline.state.get("sources") or {}
    resources = (sources.get(SOURCE) or {}).get("resources") or {}
    for table, state in resources.items():
        if state.get(UNSETTLED):
            yield table, state[UNSETTLED]
