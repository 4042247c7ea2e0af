"""What the page needs from the warehouse, as one JSON object.

A run that has the DuckDB file open answers this too, so it consists of values that JSON can hold.
Values of members are masked.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import orjson

from tailrace.clock import Clock, format_utc
from tailrace.config.project import ProjectConfig
from tailrace.ledger.audiences import STATUSES
from tailrace.ledger.ledger import Ledger
from tailrace.ledger.maintenance import rejected_by_reason
from tailrace.reporting.recent_calls import SentRun, recent_calls
from tailrace.reporting.status import status_of
from tailrace.warehouse.connection import Warehouse
from tailrace.warehouse.opening import open_to_read
from tailrace.warehouse.statements import Column, TableName

RUNS_MAX = 90
SALESFORCE_SCHEMA = "salesforce"
SCHEMA_TABLE = "_dlt_version"

# Fields with these Salesforce types hold data about a person, whatever their name is.
_PERSONAL_TYPES = frozenset({"email", "phone", "address", "location"})
# On these objects, so do the fields that contain one of these words.
_PEOPLE = frozenset({"contact", "lead", "user", "individual", "person_account"})
_PERSONAL_WORDS = frozenset(
    {
        *("name", "salutation", "username", "alias", "title", "photo", "birthdate", "birthday"),
        *("street", "city", "state", "postal", "zip", "country", "latitude", "longitude"),
        *("age", "gender", "fax", "mobile", "ip"),
    }
)
_NOT_SENSITIVE = ("", "Public", "Internal")


def ledger_facts(
    source: ProjectConfig | Warehouse,
    *,
    clock: Clock,
    runs_max: int = RUNS_MAX,
    with_calls: bool = True,
) -> dict[str, Any]:
    """Everything on the page that comes from the warehouse.

    Args:
        source: The project, or its open warehouse.
        clock: The time source.
        runs_max: The most runs to return, and the most of each audience.
        with_calls: Also return some messages of each audience's last run, masked.
    """
    with open_to_read(source, clock=clock) as warehouse:
        ledger = Ledger(warehouse, clock=clock)
        rejections = rejected_by_reason(ledger)
        state = status_of(ledger, rejections=rejections, now=clock.now())
        landed = warehouse.columns_in(warehouse.project.settings.dataset)
        facts: dict[str, Any] = {
            "dialect": warehouse.dialect,
            "verdict": state["verdict"],
            "running": state["running"],
            "sending": state["sending"],
            "last_success": {row["sync"]: row["last_success_at"] for row in state["audiences"]},
            "runs": [],
            "audience_runs": [],
            "definitions": [],
            "rejections": rejections,
            "rejections_of_runs": [],
            "acknowledged": [],
            "objects": [],
            "columns": landed_fields(warehouse, landed),
            "calls": {},
        }
        if not ledger.installed:
            return facts
        facts["runs"] = [_RunRow(*row).as_json() for row in _rows(ledger, "runs", runs_max)]
        rows = [_AudienceRunRow(*row) for row in _rows(ledger, "audience_runs", runs_max)]
        facts["audience_runs"] = [row.as_json() for row in rows]
        facts["definitions"] = [
            dict(zip(_DEFINITION, row, strict=True)) for row in _run(ledger, "definitions")
        ]
        facts["rejections_of_runs"] = [list(row) for row in _run(ledger, "rejections_of_runs")]
        facts["acknowledged"] = [[a, b, int(c)] for a, b, c in _run(ledger, "acknowledged")]
        facts["objects"] = list(_objects(ledger, landed))
        if with_calls:
            mappings = {row["sync_key"]: row["mapping"] for row in reversed(facts["definitions"])}
            facts["calls"] = recent_calls(ledger, _runs_with_changes(rows), mappings=mappings)
        return facts


_DEFINITION = ("sync_key", "definition", "fingerprint", "mapping", "delivered_seq", "run_id")


class _RunRow(NamedTuple):
    """A row of `page/runs`. `details` is JSON."""

    run_seq: int
    run_id: str
    command: str
    phase: str
    started_at: datetime
    finished_at: datetime | None
    exit_code: int | None
    error: str | None
    salesforce_calls: int
    details: str | None
    latency_p50_seconds: float | None
    latency_p95_seconds: float | None

    def as_json(self) -> dict[str, Any]:
        return {
            **self._asdict(),
            "started_at": format_utc(self.started_at),
            "finished_at": _utc(self.finished_at),
            "details": json.loads(self.details) if self.details else {},
        }


class _AudienceRunRow(NamedTuple):
    """A row of `page/audience_runs`. `by_reason`, `guards` and `funnel` are JSON."""

    run_seq: int
    run_id: str
    sync_key: str
    audience: str
    destination: str
    phase: str
    planned_at: datetime
    rows_seen: int
    size_before: int
    size_after: int
    entered: int
    changed: int
    exited: int
    quarantined: int
    held: int
    sent: int
    rejected: int
    calls: int
    by_reason: str
    guards: str
    funnel: str | None

    def as_json(self) -> dict[str, Any]:
        moved = self.entered + self.changed + self.exited
        values = self._asdict()
        values["status"] = STATUSES.get(self.phase, "ok" if moved else "unchanged")
        if self.phase == "held":
            values["size_after"] = self.size_before
        values["planned_at"] = format_utc(self.planned_at)
        values["by_reason"] = orjson.loads(self.by_reason)
        # Only the last run of an audience has its guards and its funnel.
        values["guards"] = orjson.loads(self.guards) if self.guards != "[]" else []
        values["funnel"] = orjson.loads(self.funnel) if self.funnel else None
        return values


def _runs_with_changes(rows: Iterable[_AudienceRunRow]) -> dict[str, SentRun]:
    """The last run of each sync that had changes to send."""
    return {
        row.sync_key: SentRun(run_seq=row.run_seq, run_id=row.run_id, planned_at=row.planned_at)
        for row in rows
        if row.entered + row.changed + row.exited and row.phase in ("done", "delivering")
    }


class _ExtractRow(NamedTuple):
    """A row of `page/extracts`. `vanished_fields` are separated by commas."""

    object: str
    table: str
    rows: int
    complete: bool
    empty: bool
    quarantined: int
    vanished_fields: str
    error: str | None
    finished_at: datetime
    seconds: float | None
    watermark: datetime | None


def _run(ledger: Ledger, name: str, **values: Any) -> list[tuple[Any, ...]]:
    return ledger.warehouse.run(f"page/{name}", tables=ledger.tables, **values)


def _rows(ledger: Ledger, name: str, rows_max: int) -> list[tuple[Any, ...]]:
    return _run(ledger, name, rows_max=rows_max)


def _utc(value: datetime | None) -> str | None:
    return format_utc(value) if value else None


def _objects(ledger: Ledger, landed: Mapping[str, Sequence[Column]]) -> Iterator[dict[str, Any]]:
    """The latest extract of each object, with the rows of its table as they are now."""
    dataset = ledger.warehouse.project.settings.dataset
    for values in _run(ledger, "extracts"):
        row = _ExtractRow(*values)
        total, deleted = 0, 0
        if row.table in landed:
            table = TableName(dataset, row.table)
            if "is_deleted" in {column.name for column in landed[row.table]}:
                ((total, deleted),) = ledger.warehouse.run(
                    "page/landed_counts", tables={"landed": table}
                )
        yield {
            **row._asdict(),
            "vanished_fields": [name for name in row.vanished_fields.split(",") if name],
            "finished_at": format_utc(row.finished_at),
            "watermark": _utc(row.watermark),
            "live": int(total) - int(deleted),
            "deleted": int(deleted),
        }


def landed_fields(
    warehouse: Warehouse, columns: Mapping[str, Sequence[Column]] | None = None
) -> dict[str, dict[str, list[Any]]]:
    """The landed columns by table: API name, Salesforce type, whether it is personal data.

    `columns` are those of the landed dataset's tables; None looks them up.
    """
    dataset = warehouse.project.settings.dataset
    columns = warehouse.columns_in(dataset) if columns is None else columns
    landed = [table for table in sorted(columns) if not table.startswith("_")]
    if SCHEMA_TABLE not in columns:
        # Tables that another tool loaded have no descriptions of their fields.
        return {
            table: {
                column.name: [column.name, "", _is_personal(table, column.name, {})]
                for column in columns[table]
            }
            for table in landed
        }
    rows = warehouse.run(
        "page/stored_schema",
        tables={"stored_schemas": TableName(dataset, SCHEMA_TABLE)},
        schema_name=SALESFORCE_SCHEMA,
    )
    tables = json.loads(rows[0][0])["tables"] if rows else {}
    return {
        table: {
            name: [
                hints.get("x-salesforce-field") or name,
                hints.get("x-salesforce-type") or "",
                _is_personal(table, name, hints),
            ]
            for name, hints in contents.get("columns", {}).items()
        }
        for table, contents in sorted(tables.items())
        if table in landed
    }


def _is_personal(table: str, name: str, hints: Mapping[str, Any]) -> bool:
    """Whether a column holds data about a person: the admin's classification, else its type."""
    if hints.get("x-salesforce-compliance"):
        return True
    if str(hints.get("x-salesforce-sensitivity") or "") not in _NOT_SENSITIVE:
        return True
    kind = str(hints.get("x-salesforce-type") or "")
    if kind in _PERSONAL_TYPES:
        return True
    return table in _PEOPLE and kind not in ("reference", "id") and has_personal_name(name)


def has_personal_name(column: str) -> bool:
    """Whether a column's name says that it holds data about a person."""
    return not _PERSONAL_WORDS.isdisjoint(column.removesuffix("__c").split("_"))
