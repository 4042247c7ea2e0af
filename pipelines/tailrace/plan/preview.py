"""`plan --show N`: a few transitions of an audience, with the messages that a run would send.

Keys, values and messages are masked unless values are asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from tailrace.dataclass import dataclass
from tailrace.destinations.messages import Transition
from tailrace.destinations.protocol import MessageMapper
from tailrace.encoding.masking import Masker
from tailrace.encoding.transforms import mask_sample
from tailrace.encoding.values import Encoder, unchanged
from tailrace.errors import UnsupportedValue
from tailrace.ledger.outbox import transition_reader
from tailrace.ledger.tables import Shape
from tailrace.plan.diff import Diff
from tailrace.warehouse.connection import Warehouse

SHOW_ROWS_MAX = 100


@dataclass(frozen=True, kw_only=True)
class ColumnChange:
    """A mapped column whose value changed; JSON values, or masked text."""

    column: str
    old: Any
    new: Any

    def as_dict(self) -> dict[str, Any]:
        return {"column": self.column, "old": self.old, "new": self.new}


@dataclass(frozen=True, kw_only=True)
class PreviewRow:
    """One planned transition.

    Attributes:
        op: entered, changed or exited.
        reason: Why, as in `by_reason`.
        key: The member's key, one text for each key column.
        changes: The columns that changed; empty unless `op` is changed and old values are known.
        messages: What would be sent, as JSON objects. An empty list: it is recorded only.
        problem: Why the transition would be rejected: a rule and a place in the message.
    """

    op: str
    reason: str
    key: tuple[str, ...]
    changes: tuple[ColumnChange, ...]
    messages: tuple[Mapping[str, Any], ...]
    problem: str = ""

    def as_dict(self) -> dict[str, Any]:
        """One entry of `rows` of an audience in a `--json` result."""
        return {
            "op": self.op,
            "reason": self.reason,
            "key": list(self.key),
            "changes": [change.as_dict() for change in self.changes],
            "messages": [dict(message) for message in self.messages],
            "problem": self.problem,
        }


def preview(
    warehouse: Warehouse,
    shape: Shape,
    diff: Diff,
    mapper: MessageMapper,
    *,
    rows_max: int,
    show_values: bool,
) -> tuple[PreviewRow, ...]:
    """The first transitions of each operation, in the order of their keys.

    Args:
        warehouse: The session that has the diff's temporary table.
        shape: The audience's columns.
        diff: The audience's diff.
        mapper: Builds the messages as a run would.
        rows_max: How many transitions of each operation, at most SHOW_ROWS_MAX.
        show_values: Show keys and values instead of masking them.
    """
    if not diff.groups or rows_max <= 0:
        return ()
    rows = warehouse.run(
        "plan/preview",
        tables={"transitions": diff.transitions},
        columns=shape.lists,
        rows_max=min(rows_max, SHOW_ROWS_MAX),
    )
    read = transition_reader(shape)
    view = _Values() if show_values else _MaskedValues(mapper)
    return tuple(_row(*read(row), mapper=mapper, shape=shape, view=view) for row in rows)


class _Values:
    """Shows keys, values and messages as they are."""

    def key(self, key: Sequence[Any]) -> tuple[str, ...]:
        return tuple("NULL" if part is None else str(part) for part in key)

    def value(self, value: Any) -> Any:
        encoder = Encoder()
        try:
            return orjson.loads(encoder.dumps(encoder.encode(value)))
        except UnsupportedValue:
            return str(value)

    def message(self, body: bytes) -> dict[str, Any]:
        message: dict[str, Any] = orjson.loads(body)
        return message


class _MaskedValues(_Values):
    """Shows only the shape of keys and values."""

    def __init__(self, mapper: MessageMapper) -> None:
        self._masker = Masker(mapper.audience)

    def key(self, key: Sequence[Any]) -> tuple[str, ...]:
        return tuple(mask_sample(part) or "NULL" for part in key)

    def value(self, value: Any) -> Any:
        return mask_sample(value)

    def message(self, body: bytes) -> dict[str, Any]:
        message: dict[str, Any] = orjson.loads(self._masker.message(body))
        # The id is a hash or the header's own column, and by itself tells nothing of the member.
        if "messageId" in message:
            message["messageId"] = mask_sample(message["messageId"])
        return message


def _row(
    transition: Transition, send: bool, *, mapper: MessageMapper, shape: Shape, view: _Values
) -> PreviewRow:
    messages, refusals, _ = mapper.messages(transition) if send else ([], [], "")
    new, old = transition.new, transition.old
    return PreviewRow(
        op=transition.op,
        reason=transition.reason,
        key=view.key(transition.key),
        changes=tuple(
            ColumnChange(
                column=column.name,
                old=view.value(old[column.name]),
                new=view.value(new[column.name]),
            )
            for column in shape.columns
            if old and not unchanged(old[column.name], new[column.name])
        ),
        messages=tuple(view.message(message.body) for message in messages),
        problem=f"{refusals[0].rule} at {refusals[0].path}".removesuffix(" at ")
        if refusals
        else "",
    )
