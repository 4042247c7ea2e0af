"""What a plan amounts to: members by operation and reason, messages by type, sizes, new users.

Counts come from the diff's groups, so that only a few rows are read from the warehouse.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from tailrace.audience.audience import Audience
from tailrace.dataclass import dataclass
from tailrace.destinations.protocol import MessageMapper
from tailrace.encoding.transforms import mask_sample
from tailrace.ledger.ledger import Ledger
from tailrace.ledger.outbox import transition_reader
from tailrace.ledger.tables import Shape
from tailrace.plan.diff import Diff, DiffRequest
from tailrace.plan.plan import AudiencePlan
from tailrace.plan.pooled_reads import Read, Steps
from tailrace.plan.recorded import Recorded
from tailrace.warehouse.connection import Warehouse
from tailrace.warehouse.statements import Binding, Column, TableName, query, unions

SAMPLE_ROWS_MAX = 3
SIZED_ROWS_MAX = 200

OPS = ("entered", "changed", "exited")
REASONS = ("initial", "data", "definition", "mapping", "upstream")


def orphans(
    ledger: Ledger, recorded: Recorded, *, in_files: Collection[str], broken: Collection[str]
) -> tuple[str, ...]:
    """Audiences with members in the ledger and no file.

    Args:
        ledger: The open ledger.
        recorded: What it has recorded.
        in_files: The ledger keys of the audiences that have a file.
        broken: The names of audiences whose file cannot be read, which is there all the same.
    """
    # An audience that was always held sent nothing, so it has no exits.
    delivered = {
        str(row["sync"])
        for row in ledger.audiences.statuses()
        if row["audience"] not in broken
        and (row["status"] != "held" or recorded.delivered(str(row["sync"])))
    }
    return tuple(sorted(delivered - set(in_files)))


def members(diff: Diff, **conditions: Any) -> int:
    """How many members of a diff have these values of `TransitionFacts`."""
    return sum(
        group.members
        for group in diff.groups
        if all(getattr(group.facts, name) == value for name, value in conditions.items())
    )


def counts(diff: Diff) -> dict[str, int]:
    """How many members enter, change and exit."""
    return {op: members(diff, op=op) for op in OPS}


def by_reason(diff: Diff) -> dict[str, dict[str, int]]:
    """How many members enter, change and exit for each reason that occurs."""
    return {
        reason: {op: members(diff, reason=reason, op=op) for op in OPS}
        for reason in REASONS
        if members(diff, reason=reason)
    }


def on_hold(request: DiffRequest, diff: Diff) -> dict[str, int]:
    """How many members each kind of edit affects, for the kinds whose action is `hold`."""
    by_mapping = members(diff, reason="mapping")
    affected = {
        "definition": members(diff, reason="definition"),
        "mapping": by_mapping if request.resends_mapping else 0,
        # A mapping resend already includes new columns.
        "new_column": 0 if request.resends_mapping else by_mapping,
    }
    actions = {
        "definition": request.policy.on_definition_change,
        "mapping": request.policy.on_mapping_change,
        "new_column": request.policy.on_new_column,
    }
    return {name: affected[name] for name, action in actions.items() if action == "hold"}


def calls(diff: Diff, mapper: MessageMapper) -> dict[str, int]:
    """Messages by type, counted without building them."""
    counted = dict.fromkeys(mapper.message_kinds, 0)
    for group in diff.groups:
        if not group.send:
            continue
        for kind, count in mapper.message_counts(group.facts).items():
            counted[kind] += count * group.members
    return counted


def bytes_per_call(warehouse: Warehouse, shape: Shape, diff: Diff, mapper: MessageMapper) -> float:
    """The mean size in bytes of the messages that the first transitions make."""
    if not diff.groups:
        return 0.0
    rows = warehouse.run(
        "plan/first_transitions",
        tables={"transitions": diff.transitions},
        columns=shape.lists,
        rows_max=SIZED_ROWS_MAX,
    )
    read = transition_reader(shape)
    sizes = [len(message.body) for row in rows for message in mapper.messages(read(row)[0])[0]]
    return sum(sizes) / len(sizes) if sizes else 0.0


def samples(shape: Shape, diff: Diff) -> Steps[tuple[Mapping[str, str], ...]]:
    """A few transitions of each operation, with masked keys."""
    if not diff.groups:
        return ()
    rows = yield Read(
        name="samples",
        table="transitions",
        rows_of=diff.transitions,
        placed="placed_keys",
        rows_max=sum(group.members for group in diff.groups),
        columns=shape.lists,
        values={"rows_max": SAMPLE_ROWS_MAX},
    )
    return tuple({"op": op, "reason": reason, "key": masked_key(key)} for op, reason, *key in rows)


def bad_keys(diff: Diff) -> tuple[str, ...]:
    """A few bad keys, masked, each with its number of rows."""
    return tuple(f"{masked_key(bad.key)} ({_rows(bad.rows)})" for bad in diff.bad_keys)


def masked_key(key: Sequence[Any]) -> str:
    """A member's key as a message may show it.

    >>> masked_key(("003Qy00000AbCdEIAV", None))
    '003***bCdE NULL'
    """
    return " ".join(mask_sample(part) or "NULL" for part in key)


def _rows(count: int) -> str:
    return f"{count:,} row" + "s" * (count != 1)


def unfinished(ledger: Ledger) -> Mapping[str, int]:
    """How many members each audience still has in deliveries that did not finish."""
    pending: Counter[str] = Counter()
    for delivery in ledger.deliveries.pending():
        count = ledger.deliveries.pending_count(delivery.run_seq, delivery.sync_key)
        pending[Audience.from_mapping(delivery.mapping).name] += count
    return {name: count for name, count in sorted(pending.items()) if count}


# New users, which some destinations bill. A user that enters several audiences is counted
# once, and a user who was ever sent to the destination is not new. Other sources may have sent a
# user before, so the count is an upper bound.


@dataclass(frozen=True, kw_only=True)
class _Entering:
    """An audience with first-time members, and the column that identifies the user."""

    plan: AudiencePlan
    identity: Column


def count_new_users(ledger: Ledger, plans: Iterable[AudiencePlan], *, recorded: Recorded) -> int:
    """How many users are new to their destination, over the audiences that are not held."""
    entering = list(_entering(plans))
    destinations = sorted({entry.plan.destination for entry in entering})
    return sum(
        _new_users_of(
            ledger,
            name,
            [entry for entry in entering if entry.plan.destination == name],
            recorded=recorded,
        )
        for name in destinations
    )


def _entering(plans: Iterable[AudiencePlan]) -> Iterator[_Entering]:
    for plan in plans:
        if plan.status != "ok" or not plan.new_users or not plan.audience.counts_users:
            continue
        user_column = plan.audience.identity_column
        for column in (*plan.shape.keys, *plan.shape.columns):
            if column.name == user_column:
                yield _Entering(plan=plan, identity=column)


def _new_users_of(
    ledger: Ledger, destination: str, entering: Sequence[_Entering], *, recorded: Recorded
) -> int:
    snapshots = list(_user_snapshots(ledger, destination, recorded=recorded))
    first = entering[0]
    alone = {name for name, *_ in snapshots} <= {first.plan.ledger_key} and len(entering) == 1
    if alone and first.plan.audience.key == (first.identity.name,):
        # The key is the user, and no other audience of this destination has sent anyone.
        return first.plan.new_users
    new_users = ledger.warehouse.temporary("new_users")
    tables: dict[str, Binding] = {"new_users": new_users}
    ledger.warehouse.drop_temporary(new_users)
    ledger.warehouse.run("plan/new_users", tables=tables)
    users = [
        query(
            "plan/entering_users",
            ledger.warehouse.dialect,
            tables={"transitions": entry.plan.diff.transitions},
            columns={"who": (entry.identity,)},
            first_version=entry.plan.diff.first_version,
        )
        for entry in entering
    ]
    for union in unions(users):
        ledger.warehouse.run("plan/add_new_users", tables={**tables, "entering_users": union})
    for _, snapshot, identity in snapshots:
        ledger.warehouse.run(
            "plan/remove_known_users",
            tables={**tables, "snapshot": snapshot},
            columns={"who": (identity,)},
        )
    ((count,),) = ledger.warehouse.run("plan/count_new_users", tables=tables)
    return int(count)


def _user_snapshots(
    ledger: Ledger, destination: str, *, recorded: Recorded
) -> Iterator[tuple[str, TableName, Column]]:
    """The snapshots of a destination, each with the column that identifies the user."""
    for row in ledger.audiences.statuses():
        delivered = recorded.delivered(str(row["sync"]))
        if row["destination"] != destination or delivered is None:
            continue
        mapping = Audience.from_mapping(delivered.mapping)
        snapshot = ledger.snapshot(str(row["sync"]))
        for column in recorded.columns_of(snapshot):
            if column.name == (mapping.identity_column):
                yield str(row["sync"]), snapshot, column
