"""Control calls of the Salesforce simulator: a test changes the org under `/_control/…`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any, Protocol

from tailrace.testing.http.faults import FaultScript
from tailrace.testing.http.messages import Request, Response
from tailrace.testing.org.describe import Field
from tailrace.testing.org.org import Org
from tailrace.testing.salesforce.apex import ApexError, ApexRest
from tailrace.testing.salesforce.behavior import OrgBehavior, options
from tailrace.testing.salesforce.bulk import Bulk, JobFault
from tailrace.testing.salesforce.ingest import Ingest
from tailrace.testing.salesforce.logins import Logins
from tailrace.testing.salesforce.named_faults import named_fault
from tailrace.testing.salesforce.write_settings import RowFault
from tailrace.testing.salesforce.writer import Writer

Body = Mapping[str, Any]


class Controlled(Protocol):
    """The parts of a simulator that control calls change."""

    org: Org
    apex: ApexRest
    bulk: Bulk
    ingest: Ingest
    writer: Writer
    logins: Logins
    behavior: OrgBehavior
    faults: FaultScript
    api_calls_used: int
    api_calls_max: int

    def expire_tokens(self) -> None:
        """Expire every access token."""


def control(simulator: Controlled, request: Request) -> Response | None:
    """Answer a control call; None if there is no such call."""
    name = request.path.removeprefix("/_control/").strip("/")
    if name == "org" and request.method == "GET":
        return Response.of_json(overview(simulator))
    if name == "writes" and request.method == "GET":
        return _json([asdict(write) for write in simulator.writer.writes])
    call = CALLS.get(name)
    if name == "apex" and request.method == "GET":
        return _json([asdict(received) for received in simulator.apex.calls])
    if call is None or request.method != "POST":
        return None
    try:
        body = json.loads(request.content() or b"{}")
        answer = call(simulator, body)
    except (KeyError, TypeError, ValueError) as error:
        return Response.of_json({"error": f"{type(error).__name__}: {error}"}, 400)
    return _json(answer)


def overview(simulator: Controlled) -> dict[str, Any]:
    """The org in numbers."""
    org = simulator.org
    return {
        "now": org.now().isoformat(),
        "days": org.days,
        "rows": {spec.name: len(org.rows(spec.name)) for spec in org.objects()},
        "api_calls_used": simulator.api_calls_used,
        "api_calls_max": simulator.api_calls_max,
        "tokens_granted": simulator.logins.granted,
        "jobs": [
            {"id": job.id, "query": job.query, "state": job.state, "rows": job.result.rows}
            for job in simulator.bulk.jobs.values()
        ],
    }


def _advance(simulator: Controlled, body: Body) -> Any:
    """`{"days": 2}` plays days and returns their changes; other units only move the clock."""
    days = [asdict(simulator.org.advance_day()) for _ in range(int(body.get("days", 0)))]
    units = {name: float(value) for name, value in body.items() if name != "days"}
    if units:
        simulator.org.advance(**units)
    return {"now": simulator.org.now(), "days": days}


def _insert(simulator: Controlled, body: Body) -> Any:
    """Create a record: `{"object", "values"}`; returns its id."""
    return {"id": simulator.org.insert(body["object"], body.get("values", {}))}


def _update(simulator: Controlled, body: Body) -> Any:
    """Change a record: `{"object", "id", "values"}`."""
    simulator.org.update(body["object"], body["id"], body["values"])
    return {}


def _delete(simulator: Controlled, body: Body) -> Any:
    """Move records to the recycle bin: `{"object", "ids"}`."""
    simulator.org.delete(body["object"], *body["ids"])
    return {}


def _undelete(simulator: Controlled, body: Body) -> Any:
    """Restore records from the recycle bin: `{"object", "ids"}`."""
    simulator.org.undelete(body["object"], *body["ids"])
    return {}


def _purge(simulator: Controlled, body: Body) -> Any:
    """Hard-delete records: `{"object", "ids"}`."""
    simulator.org.purge(body["object"], *body["ids"])
    return {}


def _merge(simulator: Controlled, body: Body) -> Any:
    """Merge records: `{"object", "winner", "losers"}`."""
    simulator.org.merge(body["object"], body["winner"], *body["losers"])
    return {}


def _mass(simulator: Controlled, body: Body) -> Any:
    """Add generated rows: `{"object", "rows"}`."""
    simulator.org.add_mass(body["object"], int(body["rows"]))
    return {"rows": len(simulator.org.rows(body["object"]))}


def _touch(simulator: Controlled, body: Body) -> Any:
    """Change the first rows of an object: `{"object", "rows", "values"}`."""
    ids = simulator.org.touch(body["object"], int(body["rows"]), body.get("values"))
    return {"rows": len(ids)}


def _field(simulator: Controlled, body: Body) -> Any:
    """Add or change a field: `{"object", "field": {"name", "type", …}}`."""
    simulator.org.add_field(body["object"], Field(**body["field"]))
    return {}


def _hide(simulator: Controlled, body: Body) -> Any:
    """Hide a field from the user: `{"object", "name"}`; show it with `"hidden": false`."""
    change = simulator.org.hide_field if body.get("hidden", True) else simulator.org.show_field
    change(body["object"], body["name"])
    return {}


def _hide_object(simulator: Controlled, body: Body) -> Any:
    """Hide an object from the user: `{"object"}`; show it with `"hidden": false`."""
    simulator.org.hide_object(body["object"], hidden=body.get("hidden", True))
    return {}


def _lock_field(simulator: Controlled, body: Body) -> Any:
    """Make a field read-only for the user: `{"object", "name"}`; undo it with `"locked": false`."""
    simulator.org.lock_field(body["object"], body["name"], locked=body.get("locked", True))
    return {}


def _apex(simulator: Controlled, body: Body) -> Any:
    """Add an Apex REST class: `{"path": "/vip/v1"}`; it raises for elements with `fails_for`."""
    text = body.get("fails_for")

    def apex_class(elements: Any) -> Any:
        if text is not None and text in json.dumps(elements, ensure_ascii=False):
            raise ApexError("System.DmlException: Update failed. First exception on row 0")
        received = elements if isinstance(elements, list) else [elements]
        return [{"success": True} for _ in received]

    simulator.apex.classes[body["path"]] = apex_class
    return {}


def _remove_field(simulator: Controlled, body: Body) -> Any:
    """Delete a field with its values: `{"object", "name"}`."""
    simulator.org.remove_field(body["object"], body["name"])
    return {}


def _change_type(simulator: Controlled, body: Body) -> Any:
    """Change the type of a field: `{"object", "name", "type"}`."""
    simulator.org.change_type(body["object"], body["name"], body["type"])
    return {}


def _hold_back(simulator: Controlled, body: Body) -> Any:
    """Limit `latestDateCovered`: `{"until"}`; null removes the limit."""
    until = body.get("until")
    simulator.org.hold_back(datetime.fromisoformat(until) if until else None)
    return {}


def _purge_delete_log(simulator: Controlled, body: Body) -> Any:
    """Forget deletions before a time: `{"object", "before"}`."""
    before = datetime.fromisoformat(body["before"])
    simulator.org.purge_delete_log(body["object"], before)
    return {}


def _settings(simulator: Controlled, body: Body) -> Any:
    """Set `OrgBehavior`, `BulkSettings` or `WriteSettings` options, `org_id`, `api_calls_max`."""
    for name, value in body.items():
        if name in ("api_calls_max", "api_calls_used"):
            setattr(simulator, name, value)
        elif name == "org_id":
            simulator.org.org_id = value
        elif name in options():
            simulator.behavior.change(name, value)
        elif hasattr(simulator.bulk.settings, name):
            setattr(simulator.bulk.settings, name, value)
        elif hasattr(simulator.writer.settings, name):
            setattr(simulator.writer.settings, name, value)
        else:
            raise KeyError(name)
    return body


def _named_fault(simulator: Controlled, body: Body) -> Any:
    """Add a named fault with options changed: `{"name", "times", …}`."""
    changes = {name: value for name, value in body.items() if name != "name"}
    fault = named_fault(body["name"], **changes)
    simulator.faults.append(fault)
    return fault.as_json()


def _job_fault(simulator: Controlled, body: Body) -> Any:
    """Let query jobs fail: the options of `JobFault`."""
    simulator.bulk.faults.append(JobFault(**body))
    return {}


def _ingest_fault(simulator: Controlled, body: Body) -> Any:
    """Let ingest jobs fail: the options of `JobFault`."""
    simulator.ingest.faults.append(JobFault(**body))
    return {}


def _row_fault(simulator: Controlled, body: Body) -> Any:
    """Let written rows fail: the options of `RowFault`."""
    simulator.writer.row_faults.append(RowFault(**body))
    return {}


def _warm(simulator: Controlled, body: Body) -> Any:
    """Render the pages of a Bulk query in advance: `{"query", "operation"}`."""
    return {"rows": simulator.bulk.warm(body["query"], body.get("operation", "query"))}


def _expire(simulator: Controlled, body: Body) -> Any:
    """Expire every access token."""
    simulator.expire_tokens()
    return {}


def _records(simulator: Controlled, body: Body) -> Any:
    """Return the records of an object, without generated rows: `{"object"}`."""
    return simulator.org.rows(body["object"]).records()


def _json(value: Any) -> Response:
    return Response.of_json(json.loads(json.dumps(value, default=_plain)))


def _plain(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


# `POST /_control/{name}`
CALLS: dict[str, Callable[[Controlled, Body], Any]] = {
    "advance": _advance,
    "insert": _insert,
    "update": _update,
    "delete": _delete,
    "undelete": _undelete,
    "purge": _purge,
    "merge": _merge,
    "mass": _mass,
    "touch": _touch,
    "records": _records,
    "field": _field,
    "remove_field": _remove_field,
    "change_type": _change_type,
    "hide": _hide,
    "hide_object": _hide_object,
    "lock_field": _lock_field,
    "apex": _apex,
    "hold_back": _hold_back,
    "purge_delete_log": _purge_delete_log,
    "settings": _settings,
    "named_fault": _named_fault,
    "job_fault": _job_fault,
    "ingest_fault": _ingest_fault,
    "row_fault": _row_fault,
    "expire_tokens": _expire,
    "warm": _warm,
}
