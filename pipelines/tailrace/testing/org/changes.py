"""The changes of a simulated day, as ground truth for tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, kw_only=True)
class ObjectChanges:
    """The ids of one object that changed in a day, by the last change of the record."""

    inserted: tuple[str, ...] = ()
    updated: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()
    undeleted: tuple[str, ...] = ()
    merged: Mapping[str, str] = field(default_factory=dict)
    recalculated: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class DayOfChanges:
    """The changes of a day, as ground truth for tests."""

    day: int
    since: datetime
    until: datetime
    objects: Mapping[str, ObjectChanges]
    won: tuple[str, ...] = ()
    opted_out: tuple[str, ...] = ()
