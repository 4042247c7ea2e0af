"""A figure of a benchmark, and how far it is from its goal."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


def quick() -> bool:
    """Whether a short run was asked for (`make bench QUICK=1`): fewer rows, the same ratios."""
    return os.environ.get("QUICK", "") not in ("", "0")


@dataclass(frozen=True, kw_only=True)
class Figure:
    """What was measured, against what, and which ratio of the two is the goal.

    The goal is met by a ratio at or below it, or at or above it when `more_is_better`. Without a
    goal the figure explains another one. `full_run_only` says why a quick run cannot judge it, such
    as a size that only the full run has; a quick run prints it with this reason.
    """

    name: str
    figure: float
    against: float
    goal: float | None
    unit: str = "s"
    more_is_better: bool = False
    full_run_only: str = ""

    @property
    def ratio(self) -> float:
        return self.figure / self.against if self.against else float("inf")

    @property
    def ok(self) -> bool | None:
        """Whether the goal is met; None if this run does not judge it."""
        if self.goal is None or (quick() and self.full_run_only):
            return None
        return self.ratio >= self.goal if self.more_is_better else self.ratio <= self.goal

    def __str__(self) -> str:
        measured = f"{self.figure:,.3f} {self.unit} | {self.against:,.3f} {self.unit}"
        sign = ">=" if self.more_is_better else "<="
        goal = "no goal" if self.goal is None else f"{sign} {self.goal:g}"
        verdict = {True: "ok", False: "SHORT", None: "not judged"}[self.ok]
        if self.ok is None and self.goal is not None:
            verdict += f" in a quick run: {self.full_run_only}"
        return f"{self.name} | {measured} | {self.ratio:.2f} | {goal} | {verdict}"


def measured_in_turn(
    measure: Callable[[T], float], ways: Mapping[str, T], *, tries: int
) -> dict[str, list[float]]:
    """What several ways take. They take turns, so that a slow phase of the machine meets them all.

    Args:
        measure: Takes a way and returns its seconds.
        ways: The ways by name.
        tries: How often each is measured.
    """
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(tries):
        for name, way in ways.items():
            taken[name].append(measure(way))
    return taken


def left_out(*names: str, reason: str) -> None:
    """Print which figures a quick run does not measure, and why."""
    print(f"Not in a quick run: {', '.join(names)} ({reason})", flush=True)


def extrapolated(small: tuple[int, float], large: tuple[int, float], size: int) -> float:
    """The seconds of a command for a number of rows: its fixed seconds, and those of each row.

    Args:
        small: Rows and seconds.
        large: The same for more rows.
        size: The number of rows.
    """
    (few, less), (many, more) = small, large
    if more <= less:
        raise SystemExit("This machine is too busy for a quick run.")
    return more + (size - many) * (more - less) / (many - few)
