"""The test's door to an org in another process: `/_control/…`."""

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
from tailrace.testing.salesforce.behavior import OrgBehavior, options
from tailrace.testing.salesforce.bulk import Bulk, JobFault
from tailrace.testing.salesforce.logins import Logins
from tailrace.testing.salesforce.named_faults import named_fault

Given = Mapping[str, Any]


class Controlled(Protocol):
    """The parts of a simulator that control calls change."""

    org: Org
    bulk: Bulk
    logins: Logins
    behavior: OrgBehavior
    faults: FaultScript
    api_calls_used: int
    api_calls_max: int

    def expire_tokens(self) -> None:
        """Expire every access token."""


def control(simulator: Controlled, request: Request) -> Response | None:
    """Do what the test asks; None when there is no such control."""
    name = request.path.removeprefix("/_control/").strip("/")
    if name == "org" and request.method == "GET":
        return Response.of_json(overview(simulator))
    deed = _DEEDS.get(name)
    if deed is None or request.method != "POST":
        return None
    given = json.loads(request.content() or b"{}")
    try:
        done = deed(simulator, given)
    except (KeyError, TypeError, ValueError) as error:
        return Response.of_json({"error": f"{type(error).__name__}: {error}"}, 400)
    return Response.of_json(json.loads(json.dumps(done, default=_plain)))


def overview(simulator: Controlled) -> dict[str, Any]:
    """The org in numbers."""
    org = simulator.org
    return {
        "now": org.now(),
        "days": org.days,
        "rows": {spec.name: len(org.rows(spec.name)) for spec in org.objects()},
        "api_calls_used": simulator.api_calls_used,
        "api_calls_max": simulator.api_calls_max,
        "tokens_granted": simulator.logins.granted,
        "jobs": [
            {"id": job.id, "query": job.query, "state": job.state, "rows": job.result.rows}
            for job in simulator.bulk.jobs.values()
        ],
    } | {"now": org.now().isoformat()}


def _advance(simulator: Controlled, given: Given) -> Any:
    """`{"days": 2}` plays days and answers what happened; other units only move the clock."""
    played = [asdict(simulator.org.advance_day()) for _ in range(int(given.get("days", 0)))]
    units = {name: float(value) for name, value in given.items() if name != "days"}
    if units:
        simulator.org.advance(**units)
    return {"now": simulator.org.now(), "days": played}


def _insert(simulator: Controlled, given: Given) -> Any:
    return {"id": simulator.org.insert(given["object"], given.get("values", {}))}


def _update(simulator: Controlled, given: Given) -> Any:
    simulator.org.update(given["object"], given["id"], given["values"])
    return {}


def _each(verb: str) -> Callable[[Controlled, Given], Any]:
    def deed(simulator: Controlled, given: Given) -> Any:
        getattr(simulator.org, verb)(given["object"], *given["ids"])
        return {}

    return deed


def _merge(simulator: Controlled, given: Given) -> Any:
    simulator.org.merge(given["object"], given["winner"], *given["losers"])
    return {}


def _mass(simulator: Controlled, given: Given) -> Any:
    simulator.org.add_mass(given["object"], int(given["rows"]))
    return {"rows": len(simulator.org.rows(given["object"]))}


def _touch(simulator: Controlled, given: Given) -> Any:
    ids = simulator.org.touch(given["object"], int(given["rows"]), given.get("values"))
    return {"rows": len(ids)}


def _field(simulator: Controlled, given: Given) -> Any:
    simulator.org.add_field(given["object"], Field(**given["field"]))
    return {}


def _hide(simulator: Controlled, given: Given) -> Any:
    change = simulator.org.hide_field if given.get("hidden", True) else simulator.org.show_field
    change(given["object"], given["name"])
    return {}


def _remove_field(simulator: Controlled, given: Given) -> Any:
    simulator.org.remove_field(given["object"], given["name"])
    return {}


def _change_type(simulator: Controlled, given: Given) -> Any:
    simulator.org.change_type(given["object"], given["name"], given["type"])
    return {}


def _hold_back(simulator: Controlled, given: Given) -> Any:
    until = given.get("until")
    simulator.org.hold_back(datetime.fromisoformat(until) if until else None)
    return {}


def _purge_delete_log(simulator: Controlled, given: Given) -> Any:
    before = datetime.fromisoformat(given["before"])
    simulator.org.purge_delete_log(given["object"], before)
    return {}


def _settings(simulator: Controlled, given: Given) -> Any:
    for name, value in given.items():
        if name in ("api_calls_max", "api_calls_used"):
            setattr(simulator, name, value)
        elif name == "org_id":
            simulator.org.org_id = value
        elif name in options():
            simulator.behavior.change(name, value)
        elif hasattr(simulator.bulk.settings, name):
            setattr(simulator.bulk.settings, name, value)
        else:
            raise KeyError(name)
    return given


def _named_fault(simulator: Controlled, given: Given) -> Any:
    """`{"name": "ip_restricted", "times": 1}` adds a named fault, with options changed."""
    changes = {name: value for name, value in given.items() if name != "name"}
    fault = named_fault(given["name"], **changes)
    simulator.faults.append(fault)
    return fault.as_json()


def _hide_object(simulator: Controlled, given: Given) -> Any:
    simulator.org.hide_object(given["object"], hidden=given.get("hidden", True))
    return {}


def _job_fault(simulator: Controlled, given: Given) -> Any:
    simulator.bulk.faults.append(JobFault(**given))
    return {}


def _warm(simulator: Controlled, given: Given) -> Any:
    return {"rows": simulator.bulk.warm(given["query"], given.get("operation", "query"))}


def _expire(simulator: Controlled, given: Given) -> Any:
    simulator.expire_tokens()
    return {}


def _records(simulator: Controlled, given: Given) -> Any:
    """The records that are held one by one; generated rows are left out."""
    return simulator.org.rows(given["object"]).records()


def _plain(value: Any) -> Any:
    if isinstance(value, datetime) or hasattr(value, "isoformat"):
        return value.isoformat()
    return str(value)


_DEEDS: dict[str, Callable[[Controlled, Given], Any]] = {
    "advance": _advance,
    "insert": _insert,
    "update": _update,
    "delete": _each("delete"),
    "undelete": _each("undelete"),
    "purge": _each("purge"),
    "merge": _merge,
    "mass": _mass,
    "touch": _touch,
    "field": _field,
    "hide": _hide,
    "hide_object": _hide_object,
    "named_fault": _named_fault,
    "remove_field": _remove_field,
    "change_type": _change_type,
    "hold_back": _hold_back,
    "purge_delete_log": _purge_delete_log,
    "settings": _settings,
    "job_fault": _job_fault,
    "expire_tokens": _expire,
    "records": _records,
    "warm": _warm,
}
