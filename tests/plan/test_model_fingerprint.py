"""The fingerprint of a large audience: from its keys and transitions where that is exact."""

from __future__ import annotations

import logging
import random
from dataclasses import replace

import pytest
from warehouses.desk import Desk

from tailrace.plan import model_fingerprint
from tailrace.plan.model_fingerprint import ModelFingerprint, RowHashes

PEOPLE = """/* ---
key: id
user_id: id
track: {changed: Changed, properties: {city: city, score: score, tags: tags}}
guards: {max_exited: null, min_rows: null}
--- */
SELECT id, city, score, tags FROM salesforce.contact"""
CONTACT = (
    "CREATE TABLE salesforce.contact (id TEXT, city TEXT, score DOUBLE, tags TEXT[]);"
    "INSERT INTO salesforce.contact "
    "SELECT 'c' || i, 'Oslo', i / 7, ['a' || i] FROM range(20) AS r(i)"
)
ENTER = "INSERT INTO salesforce.contact VALUES ('new', 'Moss', 1, NULL)"
# Each statement with whether it moves a key.
CHANGES = {
    "DELETE FROM salesforce.contact WHERE id = 'c{n}'": True,
    "UPDATE salesforce.contact SET id = 'k{n}' WHERE id = 'c{n}'": True,
    "INSERT INTO salesforce.contact VALUES ('n{n}', NULL, {n}, [])": True,
    "UPDATE salesforce.contact SET score = score + {n}": False,
    "UPDATE salesforce.contact SET city = NULL, tags = [NULL] WHERE id = 'c{n}'": False,
}


@pytest.fixture
def desk(duckdb_desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """Contacts that were delivered as a large audience."""
    monkeypatch.setattr(model_fingerprint, "LARGE_ROWS_MIN", 1)
    desk = duckdb_desk
    desk.clear()
    desk.store.audience(PEOPLE)
    desk.script(CONTACT)
    desk.deliver()
    return desk


def statements_of_a_plan(desk: Desk, caplog: pytest.LogCaptureFixture) -> set[str]:
    """The statements of a plan that hash rows, by their names."""
    caplog.clear()
    with caplog.at_level(logging.DEBUG, logger="tailrace.warehouse.connection"):
        desk.plan()
    names = {record.getMessage().removeprefix("statement plan/") for record in caplog.records}
    return names & {"measure", "measure_keys", "moved_hashes"}


def measured(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> ModelFingerprint | None:
    """The fingerprint by a pass over all columns."""
    with monkeypatch.context() as patch:
        patch.setattr(model_fingerprint, "LARGE_ROWS_MIN", 1_000)
        return ModelFingerprint.from_text(desk.plan().diff.fingerprint)


def test_all_columns_are_hashed_only_if_the_same_keys_are_there(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    assert {"measure_keys", "measure"} == statements_of_a_plan(desk, caplog)
    assert desk.plan().diff.unchanged
    desk.script("UPDATE salesforce.contact SET city = 'Moss' WHERE id = 'c1'")
    assert {"measure_keys", "measure"} == statements_of_a_plan(desk, caplog)
    assert 1 == desk.plan().changed
    desk.script(ENTER)
    assert {"measure_keys", "moved_hashes"} == statements_of_a_plan(desk, caplog)


@pytest.mark.parametrize("seed", range(3))
def test_the_fingerprint_that_follows_is_the_measured_one(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Delivery after delivery, so that each fingerprint follows from the one before."""
    chance = random.Random(seed)
    for number in range(6):
        desk.script(ENTER.replace("new", f"new{number}"))
        for change in chance.sample(list(CHANGES), 2):
            desk.script(change.format(n=number))
        whole = measured(desk, monkeypatch)
        followed = ModelFingerprint.from_text(desk.deliver().diff.fingerprint)
        assert whole is not None and followed is not None and followed.keys is not None
        assert replace(whole, keys=followed.keys) == followed
        assert desk.plan().diff.unchanged


def test_members_that_are_not_the_delivered_rows_are_measured(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    """A rejected row keeps its old value in the ledger; a fingerprint of before has no keys."""
    desk.script(ENTER)
    desk.deliver(rejected=["new"])
    assert "measure" in statements_of_a_plan(desk, caplog)
    desk.deliver()
    desk.script(ENTER.replace("new", "newer"))
    desk.script(
        "UPDATE tailrace.audience_runs "
        "SET model_fingerprint = REGEXP_REPLACE(model_fingerprint, '[|]keys[|].*', '')"
    )
    assert "measure" in statements_of_a_plan(desk, caplog)
    desk.deliver()
    desk.script(ENTER.replace("new", "newest"))
    assert "measure" not in statements_of_a_plan(desk, caplog)


def test_duplicate_keys_are_found_without_the_pass_over_all_columns(desk: Desk) -> None:
    desk.script("INSERT INTO salesforce.contact SELECT * FROM salesforce.contact WHERE id = 'c1'")
    assert 2 == desk.plan().diff.quarantined


def test_a_difference_that_is_not_sent_costs_a_diff_and_hides_no_change(desk: Desk) -> None:
    """NaN and infinity are both sent as null, so the members keep a value of which the model's
    hash differs, and the fingerprint that follows is of no rows."""
    desk.script("UPDATE salesforce.contact SET score = 'NaN' WHERE id = 'c1'")
    desk.deliver()
    desk.script(ENTER)
    desk.script("UPDATE salesforce.contact SET score = 'Infinity' WHERE id = 'c1'")
    assert 1 == desk.deliver().entered
    assert (False, 0) == ((plan := desk.plan()).diff.unchanged, plan.planned)
    desk.script("UPDATE salesforce.contact SET score = 1 WHERE id = 'c1'")
    assert 1 == desk.deliver().changed
    assert desk.plan().diff.unchanged


def test_a_fingerprint_is_kept_as_text() -> None:
    """Names may have the separator; the text of a model without rows is that of every engine."""
    for keys in (None, RowHashes(5, 6)):
        fingerprint = ModelFingerprint("duckdb 2|id TEXT,a|b TEXT", 3, RowHashes(1, 2), keys)
        assert fingerprint == ModelFingerprint.from_text(fingerprint.text)
    assert "postgres|id text|0|None|None" == ModelFingerprint("postgres|id text", 0, None).text
    assert ModelFingerprint("postgres|id text", 3, None).text is None
    assert ModelFingerprint.from_text(None) is None
