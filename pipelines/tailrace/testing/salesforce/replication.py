"""`/updated` and `/deleted`: which records changed in a span of minutes."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tailrace.testing.http.messages import Request
from tailrace.testing.org.org import UPDATED_DAYS, Org
from tailrace.testing.org.rows import Rows
from tailrace.testing.salesforce.refusals import Refused

_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,3})?(Z|[+-]\d\d:?\d\d)")


def updated(org: Org, rows: Rows, request: Request) -> dict[str, Any]:
    """Ids created or changed in the span, and `latestDateCovered`."""
    start, end = span(org, rows, request)
    if org.now() - start > timedelta(days=UPDATED_DAYS):
        raise _bad_date("startDate cannot be more than 30 days ago")
    ids = changed_ids(rows, start, end)
    if len(ids) > org.replication_ids_max:
        raise _too_many(org)
    return {"ids": ids, "latestDateCovered": stamp(org.latest_date_covered(end))}


def deleted(org: Org, rows: Rows, request: Request) -> dict[str, Any]:
    """Ids deleted in the span, from the delete log."""
    start, end = span(org, rows, request)
    if start < org.created_at:
        raise _bad_date("startDate before org replication enabled date")
    entries = org.deleted_between(rows.spec.name, start, end)
    if len(entries) > org.replication_ids_max:
        raise _too_many(org)
    return {
        "deletedRecords": [
            {"deletedDate": stamp(moment), "id": record_id} for record_id, moment in entries
        ],
        "earliestDateAvailable": stamp(org.delete_log_begins(rows.spec.name)),
        "latestDateCovered": stamp(org.latest_date_covered(end)),
    }


def span(org: Org, rows: Rows, request: Request) -> tuple[datetime, datetime]:
    """The requested span; Salesforce ignores seconds."""
    if not rows.spec.replicateable:
        message = f"sObject type '{rows.spec.name}' is not replicateable"
        raise Refused(400, "INVALID_TYPE_FOR_OPERATION", message)
    start, end = (_moment(request, name).replace(second=0) for name in ("start", "end"))
    if end < start:
        raise _bad_date("endDate must be after startDate")
    if end == start:
        raise _bad_date("endDate must be at least one minute greater than the startDate")
    return start, end


def changed_ids(rows: Rows, start: datetime, end: datetime) -> list[str]:
    """Records, not deleted, whose SystemModstamp (else CreatedDate) is in the span."""
    field = rows.spec.find("SystemModstamp") or rows.spec.find("CreatedDate")
    assert field is not None
    low, high = (pa.scalar(time.replace(tzinfo=None), pa.timestamp("ms")) for time in (start, end))
    ids: list[str] = []
    generated = rows.generated
    for chunk in range(generated.chunks if generated else 0):
        assert generated is not None
        stamps = generated.column(chunk, field.name)
        inside = pc.and_(pc.greater_equal(stamps, low), pc.less(stamps, high))
        changed = generated.column(chunk, "Id").filter(inside).to_pylist()
        ids += [
            record_id for record_id in changed if generated.index_of(record_id) not in rows.shadowed
        ]
    first, past = low.as_py(), high.as_py()
    for record in rows.records():
        moment = record.get(field.name)
        if moment is not None and first <= moment < past and not record.get("IsDeleted"):
            ids.append(record["Id"])
    return ids


def stamp(moment: datetime) -> str:
    """A time as REST writes it: `2026-11-20T06:00:00.000+0000`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000+0000")


def _moment(request: Request, name: str) -> datetime:
    text = request.query.get(name)
    if text is None:
        raise Refused(400, "MISSING_ARGUMENT", f"Missing required parameter: {name}")
    if not _MOMENT.fullmatch(text):
        # A plus sign that is not encoded arrives as a space, and is refused.
        raise _bad_date(f"{name}: {text!r} is not a valid date and time")
    try:
        return datetime.fromisoformat(text).astimezone(UTC).replace(microsecond=0)
    except ValueError:
        raise _bad_date(f"{name}: {text!r} is not a valid date and time") from None


def _bad_date(message: str) -> Refused:
    return Refused(400, "INVALID_REPLICATION_DATE", message)


def _too_many(org: Org) -> Refused:
    most = org.replication_ids_max
    message = f"The number of ids exceeds the limit of {most}; ask for a shorter span"
    return Refused(400, "EXCEEDED_ID_LIMIT", message)
