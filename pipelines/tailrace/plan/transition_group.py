"""The transitions of a plan in groups: members whose transitions make the same messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tailrace.dataclass import dataclass
from tailrace.destinations.protocol import TransitionFacts


@dataclass(frozen=True, kw_only=True)
class TransitionGroup:
    """Members whose transitions make the same messages."""

    facts: TransitionFacts
    send: bool
    is_new: bool
    has_id: bool
    members: int

    @classmethod
    def from_row(cls, row: Sequence[Any], column_groups: Sequence[str]) -> TransitionGroup:
        """The group of a row of `plan/summary`.

        Args:
            row: The row.
            column_groups: The names of `Audience.column_groups`, in their order.
        """
        op, reason, send, stays, no_previous, *more = row
        changed, (user_changed, had_user, complete, is_new, has_id, members) = more[:-6], more[-6:]
        facts = TransitionFacts(
            op=op,
            reason=reason,
            changed=frozenset(
                name for name, flag in zip(column_groups, changed, strict=False) if flag
            ),
            no_previous=bool(no_previous),
            moved=bool(user_changed),
            leaves=bool(had_user),
            stays=bool(stays),
            complete=bool(complete),
        )
        return cls(
            facts=facts,
            send=bool(send),
            is_new=bool(is_new),
            has_id=bool(has_id),
            members=int(members),
        )
