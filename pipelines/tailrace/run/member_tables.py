"""The tables that a plan is saved to: an audience's snapshot and outbox."""

from __future__ import annotations

from collections.abc import Sequence

from tailrace.ledger.ledger import Ledger
from tailrace.plan.plan import AudiencePlan
from tailrace.plan.snapshot_schema import Alignment, align

# Audiences whose tables are created in one transaction: PostgreSQL locks each of them.
CREATED_TOGETHER_MAX = 500


def create_tables(ledger: Ledger, plans: Sequence[AudiencePlan]) -> None:
    """Create the tables of the audiences that were never delivered, before their plans are saved.

    Each transaction that creates tables also replaces the view of all members.
    """
    align_tables(ledger, [plan for plan in plans if plan.delivered is None])


def align_tables(ledger: Ledger, plans: Sequence[AudiencePlan]) -> None:
    """Create or alter the tables of audiences before their plans are saved."""
    sent = [plan for plan in plans if plan.status != "held"]
    for start in range(0, len(sent), CREATED_TOGETHER_MAX):
        align(ledger, [alignment(plan) for plan in sent[start : start + CREATED_TOGETHER_MAX]])


def alignment(plan: AudiencePlan) -> Alignment:
    """The shape that a plan's tables need."""
    return Alignment(
        audience=plan.audience,
        model=plan.model,
        shape=plan.shape,
        reset_columns=plan.diff.reset_columns,
        backfill=plan.policy.on_new_column == "accept",
        restart=plan.diff.restart,
    )
