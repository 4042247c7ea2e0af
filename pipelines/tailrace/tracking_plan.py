"""Tracking plans as Segment Protocols takes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class Violation:
    """A rule of the project's tracking plan that a message breaks."""

    rule: str
    path: str
    action: Literal["block", "flag"]


class TrackingPlan:
    """The rules of a project."""

    def check(self, message: Mapping[str, Any]) -> tuple[Violation, ...]:
        """The rules that a message breaks."""
        return ()
