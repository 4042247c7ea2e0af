"""Saves the plans of a run, in groups; those of small audiences in several sessions at once.

Each group is one transaction. A run that crashes between two of them leaves the groups that were
saved to the next run, whichever they are: audiences do not depend on each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from tailrace.errors import MemoryShort, TailraceError
from tailrace.ledger.ledger import Ledger
from tailrace.ledger.runs import Run
from tailrace.plan.plan import AudiencePlan
from tailrace.plan.policy import PlanOptions
from tailrace.plan.side_by_side import ledgers_beside, may_plan_side_by_side, run_side_by_side
from tailrace.run.delivery import SAVED_TOGETHER_MEMBERS_MAX, save_plans, saved_together
from tailrace.run.member_tables import align_tables, create_tables
from tailrace.run.planned_delivery import Delivery
from tailrace.warehouse.memory import MemoryLimit
from tailrace.warehouse.plan_tables import SHARED_DATABASE

# With fewer audiences, a second session costs more than it saves.
BESIDE_MIN = 20
# Audiences in a transaction that others run beside, and transactions that each session gets at
# least, so that none waits long for another at the end.
BESIDE_TOGETHER_MAX = 50
PARTS_MIN = 2


def save_all(
    ledger: Ledger,
    run: Run,
    plans: Sequence[AudiencePlan],
    *,
    options: PlanOptions,
    memory_limit: MemoryLimit,
) -> list[Delivery]:
    """Commit plans; see `save_plans`. The deliveries have the order of the plans.

    Raises:
        TailraceError: A group could not be saved. Others may be saved, and are pending.
    """
    saved = _save_beside(ledger, run, plans, options=options, memory_limit=memory_limit)
    left = [plan for plan in plans if plan.ledger_key not in saved]
    groups = list(saved_together(left))
    if len(groups) > 1:
        memory_limit.run_low_memory(partial(create_tables, ledger, left))
    for together in groups:
        save = partial(save_plans, ledger, run, together, options=options)
        saved |= _by_key(memory_limit.run_low_memory(save))
    return [saved[plan.ledger_key] for plan in plans]


def _save_beside(
    ledger: Ledger,
    run: Run,
    plans: Sequence[AudiencePlan],
    *,
    options: PlanOptions,
    memory_limit: MemoryLimit,
) -> dict[str, Delivery]:
    """Commit the plans that sessions can save at the same time; those that were, by ledger key."""
    small = [plan for plan in plans if _may_save_beside(plan)]
    if len(small) < BESIDE_MIN or not may_save_beside(ledger):
        return {}
    memory_limit.run_low_memory(partial(align_tables, ledger, small))
    sessions = ledger.warehouse.project.settings.audiences_in_flight_max
    size = min(BESIDE_TOGETHER_MAX, max(len(small) // (PARTS_MIN * sessions), 1))
    parts = [small[start : start + size] for start in range(0, len(small), size)]
    groups = [group for part in parts for group in saved_together(part)]
    save = partial(save_plans, run=run, options=options, are_aligned=True)
    with ledgers_beside(ledger, sessions) as ledgers, memory_limit.low_memory():
        outcomes = run_side_by_side(
            ledgers, [partial(save, plans=group) for group in groups], thread="save"
        )
    return _saved(outcomes)


def may_save_beside(ledger: Ledger) -> bool:
    """Whether transactions of several sessions neither wait for each other nor fail."""
    warehouse = ledger.warehouse
    return may_plan_side_by_side(warehouse) and warehouse.engine.has_one_writer


def _may_save_beside(plan: AudiencePlan) -> bool:
    """Whether another session sees the transitions of a plan, and its tables are not replaced."""
    return (
        plan.diff.transitions.dataset == SHARED_DATABASE
        and 0 < plan.planned <= SAVED_TOGETHER_MEMBERS_MAX
        and not (plan.diff.restart or plan.diff.reset_columns)
    )


def _saved(outcomes: Sequence[list[Delivery] | TailraceError]) -> dict[str, Delivery]:
    """The deliveries by ledger key, without those of groups that had too little memory."""
    saved: dict[str, Delivery] = {}
    for outcome in outcomes:
        if isinstance(outcome, MemoryShort):
            continue
        if isinstance(outcome, TailraceError):
            raise outcome
        saved |= _by_key(outcome)
    return saved


def _by_key(deliveries: Sequence[Delivery]) -> dict[str, Delivery]:
    return {delivery.audience.ledger_key: delivery for delivery in deliveries}
