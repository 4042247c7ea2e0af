"""What a plan does about changes that no data caused, and who decided it.

Three edits change an audience although its data is the same: its SQL changed, its mapping changed,
or a column is mapped for the first time. Each of them is sent, held for a review, or accepted
without sending. A command-line flag wins over the header, and the header over the default.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import TYPE_CHECKING, Literal

from tailrace.dataclass import dataclass

if TYPE_CHECKING:
    from tailrace.audience.audience import Audience

Action = Literal["send", "hold", "accept"]

DEFAULTS: Mapping[str, Action] = {
    "on_definition_change": "send",
    "on_mapping_change": "accept",
    "on_new_column": "accept",
}
# Words of earlier versions, still read in headers, flags, recorded mappings and saved plans.
ALIASES: Mapping[str, Action] = {"rebaseline": "accept", "absorb": "accept"}

# What a plan is made for: the changes since the last delivery; every member again; the changes,
# recorded without sending; only the rejected members; an exit of every member.
Intent = Literal["changes", "resend", "accept", "retry", "retire"]


@dataclass(frozen=True, kw_only=True)
class ResolvedPolicy:
    """The actions for one audience. `by` maps each name to `flag`, `header` or `default`."""

    on_definition_change: Action = "send"
    on_mapping_change: Action = "accept"
    on_new_column: Action = "accept"
    by: Mapping[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, dict[str, str]]:
        """The entry `choices` of an audience in a plan."""
        return {
            name: {"choice": getattr(self, name), "decided_by": self.by.get(name, "default")}
            for name in DEFAULTS
        }


@dataclass(frozen=True, kw_only=True)
class PlanOptions:
    """What the command line says about a plan; None leaves a choice to the header.

    `allow` holds pairs of an audience and a guard that may pass once. With `show_rows_max`, the
    plan has so many transitions of each operation with their messages, masked without
    `show_values`. `skip_unchanged` leaves models unrun whose inputs did not change. With
    `counts_scans`, the plan says how many rows its models read.
    """

    allow: frozenset[tuple[str, str]] = frozenset()
    on_definition_change: str | None = None
    on_mapping_change: str | None = None
    on_new_column: str | None = None
    intent: Intent = "changes"
    digests: bool = False
    show_rows_max: int = 0
    show_values: bool = False
    skip_unchanged: bool = True
    counts_scans: bool = False

    def allowed(self, audience: str) -> frozenset[str]:
        """The guards that may pass once for an audience."""
        return frozenset(guard for name, guard in self.allow if name == audience)

    def resolve(self, audience: Audience) -> ResolvedPolicy:
        """The actions for an audience."""
        actions, by = dict(DEFAULTS), dict.fromkeys(DEFAULTS, "default")
        for origin, choices in (("header", audience), ("flag", self)):
            for name in DEFAULTS:
                choice = getattr(choices, name)
                if choice is not None:
                    actions[name], by[name] = ALIASES.get(choice, choice), origin
        return ResolvedPolicy(**actions, by=by)
