"""What becomes of a model's rows: each row of the model is counted once, with its reason."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from warehouses.desk import Desk, desk_on
from warehouses.stores import WAREHOUSES

from tailrace.plan.policy import PlanOptions

PEOPLE = """/* ---
audience: people
key: id
user_id: user_id
track: {changed: Changed, properties: {city: city}}
consent: {suppress_when: opted_out}
--- */
SELECT id, user_id, city, opted_out FROM salesforce.contact"""
ROWS = """
CREATE TABLE salesforce.contact (id TEXT, user_id TEXT, city TEXT, opted_out BOOLEAN);
INSERT INTO salesforce.contact VALUES
  ('c1', 'u1', 'Oslo', FALSE), ('c2', 'u2', 'Moss', NULL), ('c3', 'u3', 'Voss', FALSE),
  ('c4', NULL, 'Lund', FALSE),
  (NULL, 'u5', 'Rome', FALSE),
  ('c6', 'u6', 'Bonn', FALSE), ('c6', 'u7', 'Bonn', FALSE), ('c6', 'u8', 'Bonn', FALSE),
  ('c9', 'u9', 'Lima', TRUE), ('c9', 'u9', 'Lima', TRUE), (NULL, NULL, 'Lima', TRUE);
"""


@pytest.fixture(params=WAREHOUSES)
def desk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Desk]:
    with desk_on(request, tmp_path) as desk:
        desk.clear()
        desk.script(ROWS)
        desk.store.audience(PEOPLE)
        yield desk


def test_each_row_counts_once_and_consent_comes_before_its_key(desk: Desk) -> None:
    """A suppressed row is not a bad key: the diff never sees it."""
    allow = PlanOptions(allow=frozenset({("people", "keys")}))
    planned = desk.deliver(options=allow, rejected={"c4"})
    assert {
        "rows": 11,
        "null_keys": 1,
        "duplicate_keys": 3,
        "suppressed": 3,
        "without_id": 1,
        "shared_message_ids": 0,
        "silent": 0,
    } == planned.funnel()
    assert 4 == planned.entered
    ((saved,),) = desk.query("SELECT funnel FROM tailrace.audience_runs")
    assert planned.funnel() == json.loads(saved)


def test_changes_that_are_recorded_without_sending_are_silent(desk: Desk) -> None:
    allow = PlanOptions(allow=frozenset({("people", "keys")}), intent="accept")
    funnel = desk.deliver(options=allow).funnel()
    # A change that is not sent needs no id.
    assert (4, 0) == (funnel["silent"], funnel["without_id"])
