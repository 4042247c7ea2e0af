"""What the page needs from the warehouse, as one JSON object.

A run that has the DuckDB file open answers this too, so it consists of values that JSON can hold.
Values of members are masked.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, NamedTuple

from tailrace.audience.audience import Audience
from tailrace.clock import Clock, format_utc
from tailrace.config.project import ProjectConfig
from tailrace.destinations.protocol import MapperOptions
from tailrace.destinations.registry import destination_type
from tailrace.encoding.masking import Masker
from tailrace.encoding.transforms import mask_sample
from tailrace.errors import TailraceError
from tailrace.ledger.audiences import STATUSES
from tailrace.ledger.ledger import Ledger
from tailrace.ledger.maintenance import rejected_by_reason
from tailrace.ledger.outbox import transition_reader
from tailrace.ledger.tables import Shape
from tailrace.plan.snapshot_schema import shape_of
from tailrace.reporting.status import status
from tailrace.warehouse.connection import Warehouse
from tailrace.warehouse.opening import open_to_read
from tailrace.warehouse.statements import Column, Rows, TableName

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
        state = status(warehouse, clock=clock)
        facts: dict[str, Any] = {
            "dialect": warehouse.dialect,
            "verdict": state["verdict"],
            "running": state["running"],
            "sending": state["sending"],
            "last_success": {row["sync"]: row["last_success_at"] for row in state["audiences"]},
            "runs": [],
            "audience_runs": [],
            "definitions": [],
            "rejections": rejected_by_reason(ledger),
            "rejections_of_runs": [],
            "acknowledged": [],
            "objects": [],
            "columns": landed_fields(warehouse),
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
        facts["objects"] = list(_objects(ledger))
        if with_calls:
            facts["calls"] = _calls(ledger, facts, rows)
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
    finished_at: datetime | None
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
        held = self.phase == "held"
        return {
            **self._asdict(),
            "status": STATUSES.get(self.phase, "ok" if moved else "unchanged"),
            "size_after": self.size_before if held else self.size_after,
            "planned_at": format_utc(self.planned_at),
            "finished_at": _utc(self.finished_at),
            "by_reason": json.loads(self.by_reason),
            "guards": json.loads(self.guards),
            "funnel": json.loads(self.funnel) if self.funnel else None,
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


def _objects(ledger: Ledger) -> Iterator[dict[str, Any]]:
    """The latest extract of each object, with the rows of its table as they are now."""
    dataset = ledger.warehouse.project.settings.dataset
    landed = ledger.warehouse.columns_in(dataset)
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


def landed_fields(warehouse: Warehouse) -> dict[str, dict[str, list[Any]]]:
    """The landed columns by table: API name, Salesforce type, whether it is personal data."""
    dataset = warehouse.project.settings.dataset
    columns = warehouse.columns_in(dataset)
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


def _calls(
    ledger: Ledger, facts: Mapping[str, Any], rows: Sequence[_AudienceRunRow]
) -> dict[str, list[dict[str, Any]]]:
    """Some messages of the last run of each audience that sent something."""
    mappings: dict[str, str] = {}
    for definition in facts["definitions"]:
        mappings.setdefault(definition["sync_key"], definition["mapping"])
    last = {
        row.sync_key: row
        for row in rows
        if row.entered + row.changed + row.exited and row.phase in ("done", "delivering")
    }
    columns = ledger.warehouse.columns_in(ledger.dataset)
    sent: list[_SentCalls] = []
    for sync_key, row in last.items():
        outbox = columns.get(ledger.outbox(sync_key).name)
        if outbox and sync_key in mappings:
            # Messages are computed again; a mapping of an older version may no longer allow it.
            with suppress(TailraceError):
                sent += list(_calls_of(ledger, row, mappings[sync_key], outbox))
    outcomes = _outcomes(ledger, sent)
    calls: dict[str, list[dict[str, Any]]] = {}
    for change in sent:
        outcome = outcomes.get((change.sync_key, change.seq), "not sent yet")
        calls.setdefault(change.sync_key, []).extend(
            {**call, "outcome": outcome} for call in change.calls
        )
    return calls


class _SentCalls(NamedTuple):
    """A change of a run with its calls."""

    sync_key: str
    run_seq: int
    seq: int
    calls: list[dict[str, Any]]


def _outcomes(ledger: Ledger, changes: Sequence[_SentCalls]) -> dict[tuple[str, int], str]:
    """What came of each change, by sync key and `seq`; without those that are not sent yet."""
    if not changes:
        return {}
    rows = [(change.sync_key, change.run_seq, change.seq) for change in changes]
    keys = Rows(("sync_key", "run_seq", "seq"), rows)
    outcomes = {}
    for sync_key, seq, acked_at, refused_for in ledger.warehouse.run(
        "page/outcomes", tables={**ledger.tables, "changes": keys}
    ):
        if refused_for is not None:
            outcomes[sync_key, seq] = f"rejected: {refused_for}"
        elif acked_at is not None:
            outcomes[sync_key, seq] = "accepted"
    return outcomes


def _calls_of(
    ledger: Ledger, row: _AudienceRunRow, mapping: str, columns: Sequence[Column]
) -> Iterator[_SentCalls]:
    audience = Audience.from_mapping(json.loads(mapping))
    shape = _shape(columns, audience)
    if shape is None:
        return
    project = ledger.warehouse.project
    options = MapperOptions(
        namespace=ledger.namespace, planned_at=row.planned_at, salt=project.settings.salt
    )
    # The section of the destination may be gone from the configuration.
    mapper = destination_type(audience.destination_type).mapper(audience, options)
    masker, read = Masker(audience), transition_reader(shape)
    for values in ledger.warehouse.run(
        "page/recent_changes",
        tables={**ledger.tables, "outbox": ledger.outbox(row.sync_key)},
        columns=shape.lists,
        run=row.run_seq,
    ):
        transition, send = read(values)
        if not send:
            continue
        calls = [
            {
                "run_id": row.run_id,
                "op": transition.op,
                "reason": transition.reason,
                "kind": message.kind,
                "message_id": _shown_id(message.message_id),
                "body": masker.message(message.body),
            }
            for message in mapper.messages(transition)[0]
        ]
        yield _SentCalls(row.sync_key, row.run_seq, transition.seq, calls)


def _shown_id(message_id: str) -> str:
    """A messageId that is a hash; one that the header takes from a column is masked."""
    return message_id if message_id.startswith("tr1-") else mask_sample(message_id) or ""


def _shape(columns: Sequence[Column], audience: Audience) -> Shape | None:
    """The columns of the outbox that hold an audience's mapped values; None if one is missing."""
    names = {column.name for column in columns}
    if not names.issuperset((*audience.key, *audience.mapped_columns)):
        return None
    return shape_of(columns, key=audience.key, mapped=audience.mapped_columns, file=None)
