"""A plan in a file: reviewed by somebody, then carried out exactly as it was reviewed.

The file holds no row. It holds what each audience's transitions add up to, so that a run can make
the plan again, at the same moment as it were, and refuse when it comes to anything else.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from tailrace.clock import format_utc
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
        PlanUnreadable: It is not such a file.
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
    """Refuse a plan that is not the one that was reviewed.

    Raises:
        PlanChanged: It names the audiences that come to something else today.
    """
    if reviewed.engine != engine:
        raise PlanChanged(f"The plan was made by {reviewed.engine}, this is {engine}")
    made = _digests(plan)
    moved = [
        f"{name} ({_moved(reviewed.digests.get(name, ''), made[name])})"
        for name in sorted(made)
        if reviewed.digests.get(name) != made[name]
    ]
    if moved:
        raise PlanChanged(
            f"Not what was reviewed at {format_utc(reviewed.planned_at)}: {', '.join(moved)}"
        )


def _digests(plan: Plan) -> dict[str, str]:
    """What each audience comes to, at all of its destinations."""
    found: dict[str, list[str]] = {}
    for each in plan.audiences:
        found.setdefault(each.audience.name, []).append(_digest(each))
    return {name: " and ".join(digests) for name, digests in found.items()}


def _moved(was: str, made: str) -> str:
    """Which parts of an audience's digest are others; of several destinations, any."""
    syncs = zip(was.split(" and "), made.split(" and "), strict=False)
    parts = [(old.rsplit(" ", 3), new.rsplit(" ", 3)) for old, new in syncs]
    found = [
        part
        for place, part in ((2, "its SQL"), (3, "its mapping"), (1, "its guards"), (0, "who moves"))
        if any(len(old) != 4 or old[place] != new[place] for old, new in parts)
    ]
    return ", ".join(found) or "its destinations"


def _digest(plan: AudiencePlan) -> str:
    parts = (plan.digest, plan.status, plan.fingerprint, plan.audience.mapping_fingerprint)
    return " ".join(parts)
