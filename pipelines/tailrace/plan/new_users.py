"""How many users a plan makes known to Segment, which bills the users that it tracks.

Counted over all audiences of a destination at once, since a user may enter several, and by what
the ledger knows: whoever was ever sent there is not new. Others may have sent them before; so it
is an estimate, and from above.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tailrace.audience.audience import Audience
from tailrace.ledger.ledger import Ledger
from tailrace.warehouse.statements import Binding, Column, TableName

if TYPE_CHECKING:
    from tailrace.plan.plan import AudiencePlan


@dataclass(frozen=True, kw_only=True)
class _Entering:
    """An audience that members enter who were never in it, and the column that names the user."""

    plan: AudiencePlan
    identity: Column


def count(ledger: Ledger, plans: Iterable[AudiencePlan]) -> int:
    """How many users are new to their destination, of the audiences that are not held."""
    entering = list(_entering(plans))
    places = sorted({each.plan.destination for each in entering})
    return sum(
        _count(ledger, place, [each for each in entering if each.plan.destination == place])
        for place in places
    )


def _entering(plans: Iterable[AudiencePlan]) -> Iterator[_Entering]:
    for plan in plans:
        name = plan.audience.user_id or plan.audience.anonymous_id
        for column in (*plan.shape.keys, *plan.shape.columns):
            if plan.status == "ok" and plan.new_users and column.name == name:
                yield _Entering(plan=plan, identity=column)


def _count(ledger: Ledger, destination: str, entering: Sequence[_Entering]) -> int:
    known = list(_known(ledger, destination))
    first = entering[0]
    alone = {name for name, *_ in known} <= {first.plan.name} and len(entering) == 1
    if alone and first.plan.audience.key == (first.identity.name,):
        # The key is the user, and this audience never had them.
        return first.plan.new_users
    newcomers = ledger.warehouse.temporary("newcomers")
    tables: dict[str, Binding] = {"newcomers": newcomers}
    ledger.warehouse.drop_temporary(newcomers)
    ledger.warehouse.run("plan/newcomers", tables=tables)
    for each in entering:
        ledger.warehouse.run(
            "plan/add_newcomers",
            tables={**tables, "transitions": each.plan.diff.transitions},
            columns={"who": (each.identity,)},
            never=each.plan.diff.never,
        )
    for _, snapshot, identity in known:
        ledger.warehouse.run(
            "plan/drop_known",
            tables={**tables, "snapshot": snapshot},
            columns={"who": (identity,)},
        )
    ((users,),) = ledger.warehouse.run("plan/count_newcomers", tables=tables)
    return int(users)


def _known(ledger: Ledger, destination: str) -> Iterator[tuple[str, TableName, Column]]:
    """The members' tables of a destination, with the column that names the user."""
    for row in ledger.standing():
        delivered = ledger.last_delivered(str(row["lane"]))
        if row["destination"] != destination or delivered is None:
            continue
        was = Audience.from_mapping(delivered.mapping)
        snapshot = ledger.snapshot(str(row["lane"]))
        for column in ledger.warehouse.columns_of(snapshot):
            if column.name == (was.user_id or was.anonymous_id):
                yield str(row["lane"]), snapshot, column
