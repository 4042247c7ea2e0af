"""Saved plans: written to a file, reviewed, and carried out only if nothing has changed.

The file has no rows. It has a digest of each audience's transitions: a run makes the plan again,
with the time of the saved one, and refuses to carry out a plan with another digest.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from tailrace.clock import format_utc
from tailrace.dataclass import dataclass
from tailrace.errors import PlanChanged, PlanUnreadable
from tailrace.plan.plan import AudiencePlan, Plan
from tailrace.plan.policy import DEFAULTS, PlanOptions

FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Reviewed:
    """A plan as it was written to a file."""

    planned_at: datetime
    engine: str
    options: PlanOptions
    digests: dict[str, str]


def write(path: Path, plan: Plan, *, options: PlanOptions, engine: str) -> None:
    """Write a plan for review. The plan must have been made with digests."""
    # The file may be attached to a pull request, so it has no row.
    without_rows = replace(
        plan, audiences=tuple(replace(audience, rows=()) for audience in plan.audiences)
    )
    summary = without_rows.as_dict()
    del summary["errors"]
    content = {
        "schema_version": FORMAT,
        "tailrace_plan": {
            "planned_at": format_utc(plan.planned_at),
            "engine": engine,
            "choices": {
                "allow": sorted(f"{audience}:{guard}" for audience, guard in options.allow),
                **{name: getattr(options, name) for name in DEFAULTS},
            },
            "digests": _digests(plan),
        },
        **summary,
    }
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def read(path: Path) -> Reviewed:
    """Read a plan that was written for review.

    Raises:
        PlanUnreadable: The file is missing, or is not a saved plan of this version.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        plan: dict[str, Any] = content["tailrace_plan"]
        if content["schema_version"] != FORMAT:
            raise PlanUnreadable(f"{path.name} was written by another Tailrace", file=path)
        pairs = (pair.partition(":") for pair in plan["choices"]["allow"])
        options = PlanOptions(
            allow=frozenset((audience, guard) for audience, _, guard in pairs),
            **{name: plan["choices"].get(name) for name in DEFAULTS},
        )
        return Reviewed(
            planned_at=datetime.fromisoformat(plan["planned_at"]),
            engine=plan["engine"],
            options=options,
            digests=dict(plan["digests"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise PlanUnreadable(f"{path.name} is not a plan of Tailrace", file=path) from error


def require(plan: Plan, reviewed: Reviewed, *, engine: str) -> None:
    """Refuse a plan that differs from the reviewed one.

    Raises:
        PlanChanged: A digest or the engine differs; the message names the audiences.
    """
    if reviewed.engine != engine:
        raise PlanChanged(f"The plan was made by {reviewed.engine}, this is {engine}")
    digests = _digests(plan)
    changed = [
        f"{name} ({_changed_parts(reviewed.digests.get(name, ''), digests[name])})"
        for name in sorted(digests)
        if reviewed.digests.get(name) != digests[name]
    ]
    if changed:
        raise PlanChanged(
            f"Changed since the plan of {format_utc(reviewed.planned_at)}: {', '.join(changed)}"
        )


def _digests(plan: Plan) -> dict[str, str]:
    """The digest of each audience, of all its destinations together."""
    digests: dict[str, list[str]] = {}
    for audience_plan in plan.audiences:
        digests.setdefault(audience_plan.audience.name, []).append(_digest(audience_plan))
    return {name: " and ".join(parts) for name, parts in digests.items()}


def _changed_parts(before: str, after: str) -> str:
    """The parts of an audience's digest that differ at any of its destinations."""
    syncs = zip(before.split(" and "), after.split(" and "), strict=False)
    parts = [(old.rsplit(" ", 3), new.rsplit(" ", 3)) for old, new in syncs]
    changed = [
        part
        for place, part in (
            (2, "its SQL"),
            (3, "its mapping"),
            (1, "its guards"),
            (0, "its changes"),
        )
        if any(len(old) != 4 or old[place] != new[place] for old, new in parts)
    ]
    return ", ".join(changed) or "its destinations"


def _digest(plan: AudiencePlan) -> str:
    parts = (plan.digest, plan.status, plan.fingerprint, plan.audience.mapping_fingerprint)
    return " ".join(parts)
