"""Upgrades of a ledger that an older Tailrace wrote.

`ledgers/version_1.sql` was recorded with commit 6da763c. It has two rejections, one of them
unconfirmed, a tombstone, and a delivery with two of five transitions acknowledged. The expected
values below are what that commit planned and wrote from there.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from warehouses.desk import Desk
from warehouses.stores import WAREHOUSES, Store, store_on

from tailrace.clock import SystemClock
from tailrace.ledger.ledger import Ledger
from tailrace.ledger.tables import VERSION
from tailrace.run.delivery import unfinished_deliveries
from tailrace.warehouse.opening import open_warehouse

RECORDED = (Path(__file__).parent / "ledgers" / "version_1.sql").read_text(encoding="utf-8")
PEOPLE = """/* ---
audience: people
key: id
user_id: id
identify: {traits: {city: city}}
track: true
guards: {max_exited: null}
--- */
SELECT id, city FROM salesforce.contact"""
PENDING = [
    (3, "exited", ("c4",), 1, "Bonn", None, True),
    (4, "changed", ("c5",), 1, "Cusco", "Lima", True),
    (5, "entered", ("c6",), 0, "Turin", None, True),
]
MEMBERS = [
    *(("c1", "Voss", 3, False), ("c2", "Bergen", 3, False), ("c3", "Rome", 2, True)),
    *(("c4", "Bonn", 3, True), ("c5", "Cusco", 3, False), ("c6", "Turin", 3, False)),
]
PLANNED_NEXT = [
    (1, "changed", ("c1",), 3, "Oslo", "Voss", True),
    (2, "changed", ("c6",), 3, "Lund", "Turin", True),
]


class Killed(BaseException):
    """Ends the process at a statement, as a signal does."""


@pytest.fixture(params=WAREHOUSES)
def old_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A store with the recorded ledger."""
    with store_on(request, tmp_path) as store:
        store.script(RECORDED)
        store.audience(PEOPLE)
        yield store


def state(ledger: Ledger) -> tuple[Any, ...]:
    """What commands that only read get from a ledger."""
    return (
        ledger.audiences.last_delivered("people"),
        ledger.deliveries.unresolved_counts("people"),
        ledger.deliveries.pending(),
        ledger.deliveries.acknowledged(3, "people"),
        ledger.audiences.statuses(),
        ledger.audiences.released_names(),
        ledger.runs.recent(5),
    )


def transitions(desk: Desk, delivery: Any) -> list[tuple[Any, ...]]:
    return [
        (row.seq, row.op, row.key, row.base_v, row.new["city"], row.old.get("city"), send)
        for row, send in desk.transitions(delivery)
    ]


def assert_finishes(desk: Desk) -> None:
    """Finish the recorded delivery and plan the next run."""
    (pending,) = unfinished_deliveries(desk.ledger)
    assert transitions(desk, pending) == PENDING
    desk.settle(pending)
    assert MEMBERS == desk.query(
        "SELECT id, city, _v, _gone FROM tailrace.snapshot__people ORDER BY id"
    )
    assert (0, 0) == desk.ledger.deliveries.unresolved_counts("people")
    desk.script(
        "UPDATE salesforce.contact SET city = 'Lund' WHERE id = 'c6';"
        "UPDATE salesforce.contact SET city = 'Oslo' WHERE id = 'c1'"
    )
    assert transitions(desk, desk.save_plan()[1]) == PLANNED_NEXT


def test_an_old_ledger_is_read_without_an_upgrade(old_store: Store) -> None:
    """`plan` and `status` open the warehouse read-only, so they cannot upgrade it."""
    with open_warehouse(old_store.project, clock=SystemClock(), read_only=True) as warehouse:
        ledger = Ledger(warehouse, clock=SystemClock())
        assert 1 == ledger.version
        assert (2, 1) == ledger.deliveries.unresolved_counts("people")
        assert [(3, "people", 5)] == [
            (pending.run_seq, pending.sync_key, pending.planned)
            for pending in ledger.deliveries.pending()
        ]
    (planned,) = old_store.plan().audiences
    assert 5 == planned.planned


def test_an_upgraded_ledger_finishes_and_plans_the_same(old_store: Store) -> None:
    with open_warehouse(old_store.project, clock=SystemClock()) as warehouse:
        desk = Desk(old_store, warehouse)
        before = state(desk.ledger)
        desk.ledger.upgrade()
        assert before == state(desk.ledger)
        assert VERSION == Ledger(warehouse, clock=SystemClock()).version
        in_view = desk.query("SELECT COUNT(*) FROM tailrace.v_members WHERE audience = 'people'")
        assert [(desk.ledger.size("people"),)] == in_view != [(0,)]
        assert_finishes(desk)


def test_an_interrupted_upgrade_leaves_the_old_ledger(
    old_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted at each statement in turn, an upgrade changes nothing and can be repeated."""
    with open_warehouse(old_store.project, clock=SystemClock()) as warehouse:
        expected = state(Ledger(warehouse, clock=SystemClock()))
        execute = warehouse.execute
        for statements_max in range(100):
            left = statements_max

            def stop(sql: str, name: str = "a statement") -> list[tuple[Any, ...]]:
                nonlocal left
                left -= 1
                if left < 0:
                    raise Killed
                return execute(sql, name)

            ledger = Ledger(warehouse, clock=SystemClock())
            with monkeypatch.context() as patch:
                patch.setattr(warehouse, "execute", stop)
                try:
                    ledger.upgrade()
                except Killed:
                    pass
                else:
                    break
            ledger = Ledger(warehouse, clock=SystemClock())
            assert (1, expected) == (ledger.version, state(ledger))
        assert statements_max > 6
        assert_finishes(Desk(old_store, warehouse))
