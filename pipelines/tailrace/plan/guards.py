"""What holds an audience back: limits on how much may move, and doubts about where it comes from.

A held audience sends nothing; the others go on. Each guard says what it saw, where its limit is,
and can be allowed once by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from tailrace.audience.audience import Audience, Guards, Limit

EXITED_SHARE_MAX = 0.2
EXITED_FLOOR_ROWS = 100
# What members do because of a change that is to be held.
CHANGES: Mapping[str, str] = {
    "definition": "move because the SQL was edited",
    "mapping": "be told again because the header was edited",
    "new_column": "change by a column that is mapped for the first time",
}
# All of them, by the names that `--allow` takes.
NAMES = ("upstream", "keys", "max_exited", "max_entered", "max_changed", "min_rows", *CHANGES)


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a plan saw of one audience, in members."""

    size_before: int
    size_after: int
    entered: int
    changed: int
    exited: int
    quarantined: int
    upstream: tuple[str, ...]
    # Who moves because of a change that is to be held: definition, mapping, new_column.
    on_hold: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Guard:
    """One guard's verdict. `allowed` is a guard that would hold, and was told not to."""

    name: str
    seen: int
    limit: int
    held: bool
    allowed: bool
    message: str

    def as_dict(self) -> dict[str, object]:
        return {
            "name": self.name,
            "seen": self.seen,
            "limit": self.limit,
            "held": self.held,
            "allowed": self.allowed,
            "message": self.message,
        }


def judge(audience: Audience, seen: Seen, *, allowed: frozenset[str]) -> tuple[Guard, ...]:
    """Every guard of an audience on what a plan saw; `allowed` names those that let pass."""
    return tuple(
        Guard(
            name=name,
            seen=saw,
            limit=limit,
            held=over and name not in allowed,
            allowed=over and name in allowed,
            message=message,
        )
        for name, saw, limit, over, message in _verdicts(audience, seen)
    )


def _verdicts(audience: Audience, seen: Seen) -> Iterator[tuple[str, int, int, bool, str]]:
    guards = audience.guards
    yield (
        "upstream",
        len(seen.upstream),
        0,
        bool(seen.upstream),
        "its data cannot be trusted today: " + "; ".join(seen.upstream) if seen.upstream else "",
    )
    yield (
        "keys",
        seen.quarantined,
        0,
        seen.quarantined > 0,
        f"{seen.quarantined} rows have a NULL or duplicate key" if seen.quarantined else "",
    )
    limits = _limits(guards, seen.size_before)
    for name, saw in (
        ("max_exited", seen.exited),
        ("max_entered", seen.entered),
        ("max_changed", seen.changed),
    ):
        if name in limits:
            over = saw > limits[name]
            of = f"{saw} of {seen.size_before} members would have {name.removeprefix('max_')}"
            yield name, saw, limits[name], over, of if over else ""
    if guards.min_rows is not None:
        few = seen.size_after < guards.min_rows
        message = f"the audience would have {seen.size_after} members" if few else ""
        yield "min_rows", seen.size_after, guards.min_rows, few, message
    for name, moved in seen.on_hold.items():
        message = f"{moved} members would {CHANGES[name]}" if moved else ""
        yield name, moved, 0, moved > 0, message


def _limits(guards: Guards, size: int) -> dict[str, int]:
    limits = {
        name: _rows(limit, size)
        for name, limit in (
            ("max_exited", guards.max_exited),
            ("max_entered", guards.max_entered),
            ("max_changed", guards.max_changed),
        )
        # Of nobody there is no share: the first run is not held for having members.
        if limit is not None and (size or limit.rows is not None)
    }
    if "max_exited" not in guards.explicit:
        # Unasked for, the guard is for accidents: a small audience may well lose half of itself.
        limits["max_exited"] = max(int(size * EXITED_SHARE_MAX), EXITED_FLOOR_ROWS)
    return limits


def _rows(limit: Limit, size: int) -> int:
    return limit.rows if limit.rows is not None else int(size * (limit.share or 0.0) + 1e-9)
