"""The funnel adds up, and its counts are those of the ledger, for random histories."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from warehouses.desk import Desk, desk_on
from warehouses.stores import WAREHOUSES

from tailrace.models.loader import Models
from tailrace.plan.policy import PlanOptions
from tailrace.reporting.ledger_facts import ledger_facts
from tailrace.reporting.page.assemble import page_facts
from tailrace.reporting.page.facts import AudienceFacts, FunnelStep

PEOPLE = """/* ---
audience: people
key: id
user_id: user_id
track: {changed: Changed, properties: {city: city}}
consent: {suppress_when: opted_out}
guards: {max_exited: null}
--- */
SELECT id, user_id, city, opted_out FROM salesforce.contact"""
KEYS = [f"c{number}" for number in range(12)]
RUNS = 6


@pytest.fixture(params=WAREHOUSES)
def desk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Desk]:
    with desk_on(request, tmp_path) as desk:
        desk.clear()
        desk.script(
            "CREATE TABLE salesforce.contact (id TEXT, user_id TEXT, city TEXT, opted_out BOOLEAN)"
        )
        desk.store.audience(PEOPLE)
        yield desk


def audience_of(desk: Desk) -> AudienceFacts:
    """The one audience of the page."""
    raw = ledger_facts(desk.warehouse, clock=desk.clock)
    page = page_facts(raw, Models(by_name={}), project="shop", target=None, now=desk.clock.now())
    (audience,) = page.audiences
    return audience


def adds_up(steps: Sequence[FunnelStep]) -> bool:
    return all(
        before.count == step.count + sum(drop.count for drop in step.drops)
        for before, step in pairwise(steps)
    )


def drops(steps: Sequence[FunnelStep]) -> dict[str, int]:
    return {drop.reason: drop.count for step in steps for drop in step.drops}


def land(desk: Desk, chance: random.Random) -> list[tuple[Any, ...]]:
    """Replace the contacts by random ones, with bad keys, missing ids and refused consent."""
    rows = [
        (
            chance.choice([*KEYS, *KEYS, None]),
            chance.choice(["u1", "u2", "u3", None]),
            chance.choice(["Oslo", "Moss"]),
            chance.choice([False, False, None, True]),
        )
        for _ in range(chance.randrange(1, 12))
    ]
    desk.script("DELETE FROM salesforce.contact WHERE TRUE")
    for row in rows:
        values = ", ".join(
            "NULL" if value is None else str(value) if isinstance(value, bool) else f"'{value}'"
            for value in row
        )
        desk.script(f"INSERT INTO salesforce.contact VALUES ({values})")
    return rows


@pytest.mark.parametrize("seed", range(4))
def test_each_step_is_the_one_before_without_its_drops(desk: Desk, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(RUNS):
        rows = land(desk, chance)
        options = PlanOptions(
            allow=frozenset({("people", "keys")}) if chance.random() < 0.8 else frozenset(),
            intent=chance.choice(["changes", "changes", "changes", "accept", "resend"]),
        )
        planned, delivery = desk.save_plan(options=options)
        transitions = desk.transitions(delivery) if planned.status != "held" else []
        # As a mapper does: what has no id is rejected. Besides, the destination rejects some.
        rejected = {
            row.key[0]
            for row, send in transitions
            if send
            and ((row.op != "exited" and row.new["user_id"] is None) or chance.random() < 0.2)
        }
        if planned.status != "held":
            desk.settle(delivery, rejected=rejected)
        steps = audience_of(desk).funnel
        counts = {step.name: step.count for step in steps}

        assert adds_up(steps), steps
        assert all(step.count >= 0 for step in steps), steps
        assert len(rows) == counts["Model rows"]
        assert sum(bool(row[3]) for row in rows) == drops(steps).get("suppressed by consent", 0)
        sent = [row for row, send in transitions if send]
        assert len(sent) - len(rejected) == counts["Accepted"]
        if planned.status == "held":
            assert 0 == counts["Sent"]


def test_a_held_run_names_its_guard_and_how_to_override_it(desk: Desk) -> None:
    desk.script(
        "INSERT INTO salesforce.contact VALUES"
        " ('c1', 'u1', 'Oslo', FALSE), (NULL, 'u2', 'Oslo', FALSE)"
    )
    desk.deliver()
    audience = audience_of(desk)
    assert "held" == audience.status
    ((drop,),) = [step.drops for step in audience.funnel if step.name == "Sent"]
    assert (1, "held by keys") == (drop.count, drop.reason)
    assert "tailrace run --allow people:keys" == drop.command


def test_a_run_that_is_still_sending_counts_what_is_acknowledged(desk: Desk) -> None:
    values = ", ".join(f"('{key}', 'u{key}', 'Oslo', FALSE)" for key in KEYS)
    desk.script(f"INSERT INTO salesforce.contact VALUES {values}")
    _, delivery = desk.save_plan()
    desk.acknowledge(delivery, 1, 5)
    steps = audience_of(desk).funnel
    assert adds_up(steps)
    assert {"Sent": 5, "Accepted": 5} == {step.name: step.count for step in steps[-2:]}
    assert 7 == drops(steps)["not acknowledged yet"]


def test_a_ledger_of_an_older_version_shows_the_counts_that_it_has(desk: Desk) -> None:
    desk.script("INSERT INTO salesforce.contact VALUES ('c1', 'u1', 'Oslo', FALSE)")
    desk.deliver()
    desk.script("UPDATE tailrace.audience_runs SET funnel = NULL WHERE TRUE")
    steps = audience_of(desk).funnel
    assert adds_up(steps)
    assert [1] * 7 == [step.count for step in steps]
