"""What a diff amounts to: members by move and reason, calls by kind, their size, a few samples.

Everything is counted from the diff's groups; only a handful of rows is read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from tailrace.audience.audience import Audience
from tailrace.destinations.segment.mapper import Mapper
from tailrace.encoding.transforms import mask_sample
from tailrace.ledger.ledger import Ledger, Shape
from tailrace.ledger.outbox import transition_reader
from tailrace.plan.diff import Diff, Question
from tailrace.warehouse.connection import Warehouse

SAMPLE_ROWS_MAX = 3
SIZED_ROWS_MAX = 200

OPS = ("entered", "changed", "exited")
REASONS = ("initial", "data", "definition", "mapping", "upstream")


def members(found: Diff, **wanted: Any) -> int:
    """How many members make a move of a kind."""
    return sum(
        group.members
        for group in found.groups
        if all(getattr(group, name) == value for name, value in wanted.items())
    )


def counts(found: Diff) -> dict[str, int]:
    """How many members enter, change and exit."""
    return {op: members(found, op=op) for op in OPS}


def by_reason(found: Diff) -> dict[str, dict[str, int]]:
    """The same for each reason that moves anybody."""
    return {
        reason: {op: members(found, reason=reason, op=op) for op in OPS}
        for reason in REASONS
        if members(found, reason=reason)
    }


def on_hold(ask: Question, found: Diff) -> dict[str, int]:
    """How many members move because of each kind of change that is to be held."""
    by_mapping = members(found, reason="mapping")
    moved = {
        "definition": members(found, reason="definition"),
        "mapping": by_mapping if ask.tells_mapping else 0,
        # Where everybody is told of the mapping, its new columns are told by the way.
        "new_column": 0 if ask.tells_mapping else by_mapping,
    }
    wanted = {
        "definition": ask.decided.on_definition_change,
        "mapping": ask.decided.on_mapping_change,
        "new_column": ask.decided.on_new_column,
    }
    return {name: moved[name] for name, choice in wanted.items() if choice == "hold"}


def calls(found: Diff, mapper: Mapper) -> dict[str, int]:
    """Calls by kind, counted without making them."""
    counted = {"identify": 0, "group": 0, "track": 0}
    for group in found.groups:
        if not group.send:
            continue
        each = mapper.call_counts(
            group.op,
            group.reason,
            track_changed=group.track_moved,
            identify_changed=group.identify_moved,
            group_changed=group.group_moved,
            consent_changed=group.consent_moved,
            moved=group.identity_moved,
            leaves=group.had_identity,
            stays=group.stays,
            grouped=group.has_group,
        )
        for kind, count in each.items():
            counted[kind] += count * group.members
    return counted


def bytes_per_call(warehouse: Warehouse, shape: Shape, found: Diff, mapper: Mapper) -> float:
    """The mean size of the calls that the first transitions would make."""
    if not found.groups:
        return 0.0
    rows = warehouse.run(
        "plan/first_transitions",
        tables={"transitions": found.transitions},
        columns=shape.lists,
        rows_max=SIZED_ROWS_MAX,
    )
    read = transition_reader(shape)
    sizes = [len(c.body) for row in rows for c in mapper.calls(read(row)[0])[0]]
    return sum(sizes) / len(sizes) if sizes else 0.0


def samples(warehouse: Warehouse, shape: Shape, found: Diff) -> tuple[Mapping[str, str], ...]:
    """A few of those who move, masked."""
    if not found.groups:
        return ()
    rows = warehouse.run(
        "plan/samples",
        tables={"transitions": found.transitions},
        columns=shape.lists,
        rows_max=SAMPLE_ROWS_MAX,
    )
    return tuple(
        {
            "op": op,
            "reason": reason,
            "key": " ".join(mask_sample(part) or "NULL" for part in key),
        }
        for op, reason, *key in rows
    )


def unfinished(ledger: Ledger) -> Mapping[str, int]:
    """How many members deliveries that died have not settled, by audience."""
    left: Counter[str] = Counter()
    for each in ledger.unsettled():
        open_ = ledger.unsettled_count(each.run_seq, each.audience, each.planned)
        left[Audience.from_mapping(each.mapping).title] += open_
    return {name: open_ for name, open_ in sorted(left.items()) if open_}
