"""The transitions of a plan in groups: members whose transitions make the same messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tailrace.audience.blocks import MESSAGE_KINDS_MAX
from tailrace.dataclass import dataclass
from tailrace.destinations.protocol import TransitionFacts
from tailrace.warehouse.statements import Column

# The lists of `plan/summary` that hold the columns of each kind of message.
COLUMN_GROUPS = tuple(f"group_{number}" for number in range(1, MESSAGE_KINDS_MAX + 1))


def summary_lists(
    lists: Mapping[str, Sequence[Column]], *, all_enter: bool
) -> Mapping[str, Sequence[Column]]:
    """The column lists of `plan/summary`.

    If all members enter, nothing is compared: their messages do not depend on old values, and their
    columns are not read.
    """
    return {**lists, **dict.fromkeys((*COLUMN_GROUPS, "identity"), ())} if all_enter else lists


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
