"""A figure of a benchmark, and how far it is from its goal."""

from __future__ import annotations

import os
from dataclasses import dataclass


def quick() -> bool:
    """Whether a short run was asked for (`make bench QUICK=1`): fewer rows, the same ratios."""
    return os.environ.get("QUICK", "") not in ("", "0")


@dataclass(frozen=True, kw_only=True)
class Figure:
    """What was measured, against what, and which ratio of the two is the goal.

    The goal is met by a ratio at or below it, or at or above it when `more_is_better`. Without a
    goal the figure explains another one. A figure that depends on the size of the full run is
    `judged_when_quick=False`: a quick run prints it without a verdict.
    """

    name: str
    figure: float
    against: float
    goal: float | None
    unit: str = "s"
    more_is_better: bool = False
    judged_when_quick: bool = True

    @property
    def ratio(self) -> float:
        return self.figure / self.against if self.against else float("inf")

    @property
    def ok(self) -> bool | None:
        """Whether the goal is met; None if this run does not judge it."""
        if self.goal is None or (quick() and not self.judged_when_quick):
            return None
        return self.ratio >= self.goal if self.more_is_better else self.ratio <= self.goal

    def __str__(self) -> str:
        measured = f"{self.figure:,.3f} {self.unit} | {self.against:,.3f} {self.unit}"
        sign = ">=" if self.more_is_better else "<="
        goal = "no goal" if self.goal is None else f"{sign} {self.goal:g}"
        verdict = {True: "ok", False: "SHORT", None: "not judged"}[self.ok]
        return f"{self.name} | {measured} | {self.ratio:.2f} | {goal} | {verdict}"
