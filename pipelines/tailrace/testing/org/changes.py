"""The changes of a simulated day, as ground truth for tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, kw_only=True)
class ObjectChanges:
    """The ids of one object that a day touched, by what happened last to each."""

    inserted: tuple[str, ...] = ()
    updated: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()
    undeleted: tuple[str, ...] = ()
    merged: Mapping[str, str] = field(default_factory=dict)
    recalculated: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class DayOfChanges:
    """What happened in a day: the ground truth to test against."""

    day: int
    since: datetime
    until: datetime
    objects: Mapping[str, ObjectChanges]
    won: tuple[str, ...] = ()
    opted_out: tuple[str, ...] = ()
