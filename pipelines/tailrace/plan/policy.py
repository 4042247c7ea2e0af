"""What is decided about a plan, and by whom: a flag before the header, the header before us.

Three things change an audience without any of its data moving: its SQL, its mapping, and a column
that is mapped for the first time. Of each somebody may want it sent, held for a look, or only
recorded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from tailrace.audience.audience import Audience, OnDefinitionChange, OnMappingChange

DEFAULTS: Mapping[str, str] = {
    "on_definition_change": "send",
    "on_mapping_change": "absorb",
    "on_new_column": "absorb",
}

# What a plan is for: the usual difference; everybody anew; the same without sending; what was
# refused before and nothing else; everybody's exit.
Intent = Literal["usual", "resend", "silent", "retry", "retire"]


@dataclass(frozen=True, kw_only=True)
class Decided:
    """What holds for one audience. `by` says of each whether a flag, the header or none chose."""

    on_definition_change: OnDefinitionChange = "send"
    on_mapping_change: OnMappingChange = "absorb"
    on_new_column: OnMappingChange = "absorb"
    by: Mapping[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, dict[str, str]]:
        """What a plan says of it."""
        return {
            name: {"choice": getattr(self, name), "decided_by": self.by.get(name, "default")}
            for name in DEFAULTS
        }


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What the command line decides about a plan; None leaves it to the header."""

    allow: frozenset[tuple[str, str]] = frozenset()
    on_definition_change: OnDefinitionChange | None = None
    on_mapping_change: OnMappingChange | None = None
    on_new_column: OnMappingChange | None = None
    intent: Intent = "usual"
    digests: bool = False

    def allowed(self, audience: str) -> frozenset[str]:
        """The guards that are let pass once for an audience."""
        return frozenset(guard for name, guard in self.allow if name == audience)

    def decide(self, audience: Audience) -> Decided:
        """What holds for an audience."""
        chosen, by = dict(DEFAULTS), dict.fromkeys(DEFAULTS, "default")
        for place, says in (("header", audience), ("flag", self)):
            for name in DEFAULTS:
                choice = getattr(says, name)
                if choice is not None:
                    chosen[name], by[name] = choice, place
        return Decided(**chosen, by=by)  # type: ignore[arg-type]
