"""Changes as a whole: an open transaction, and all that a day brought."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tailrace.testing.org.org import Org


class Transaction:
    """Changes that are stamped when they are made and seen when they are committed."""

    def __init__(self, org: Org, started_at: datetime) -> None:
        self.org = org
        self.started_at = started_at
        self._steps: list[tuple[str, str, str | None, Mapping[str, Any], datetime]] = []

    def insert(self, sobject: str, values: Mapping[str, Any]) -> str:
        """Create a record; its id is known at once, the record shows later."""
        record_id = self.org._next_id(self.org.spec(sobject).key_prefix)
        self._step("insert", sobject, record_id, values)
        return record_id

    def update(self, sobject: str, record_id: str, values: Mapping[str, Any]) -> None:
        """Change a record."""
        self._step("update", sobject, record_id, values)

    def delete(self, sobject: str, record_id: str) -> None:
        """Move a record to the recycle bin."""
        self._step("delete", sobject, record_id, {})

    def commit(self) -> None:
        """Make the changes visible, with the times at which they were made."""
        org = self.org
        with org.lock:
            for verb, sobject, record_id, values, at in self._steps:
                assert record_id is not None
                if verb == "insert":
                    org._save(org.rows(sobject), {"Id": record_id, **values}, at=at, new=True)
                elif verb == "update":
                    org.update(sobject, record_id, values, at=at)
                else:
                    org.delete(sobject, record_id, at=at)
            self.roll_back()

    def roll_back(self) -> None:
        """Forget the changes; `latestDateCovered` is free again."""
        self._steps.clear()
        self.org._open.discard(self)

    def _step(self, verb: str, sobject: str, record_id: str, values: Mapping[str, Any]) -> None:
        self._steps.append((verb, sobject, record_id, values, self.org._when(None)))


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
