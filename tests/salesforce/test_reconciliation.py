"""What a window cannot show: deletions, formulas, new fields and rows that vanished."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from salesforce_landing import Landing, landing_of

from tailrace.config.settings import ObjectSettings
from tailrace.errors import ExtractIncomplete
from tailrace.salesforce.extract import load
from tailrace.testing.org.describe import Field


@pytest.fixture
def landing(tmp_path: Path) -> Iterator[Landing]:
    with landing_of(tmp_path) as each:
        yield each


def contacts(landing: Landing, number: int) -> list[str]:
    """Some ids of landed contacts that are not deleted."""
    sql = f"SELECT id FROM salesforce.contact WHERE NOT is_deleted ORDER BY id LIMIT {number}"
    return [row[0] for row in landing.rows(sql)]


def flags(landing: Landing, record_id: str) -> tuple[bool, bool] | None:
    """Whether a landed contact is deleted, and hard-deleted; None when it is not there."""
    sql = f"SELECT is_deleted, _hard_deleted FROM salesforce.contact WHERE id = '{record_id}'"
    found = landing.rows(sql)
    return (found[0][0], found[0][1]) if found else None


def test_a_soft_deleted_row_stays_flagged(landing: Landing) -> None:
    """By default a deleted row is kept with its values, and marked."""
    landing.one("Contact")
    (gone,) = contacts(landing, 1)
    landing.sf.org.advance(hours=1)
    landing.sf.org.delete("Contact", gone)

    landing.one("Contact")

    assert (True, False) == flags(landing, gone)
    assert landing.value(f"SELECT last_name FROM salesforce.contact WHERE id = '{gone}'")


def test_a_soft_deleted_row_is_removed_on_demand(landing: Landing) -> None:
    """`deleted = "remove"`: neither the first load nor a later one keeps a deleted row."""
    early, late = landing.sf.org.rows("Contact").ids()[:2]
    landing.sf.org.delete("Contact", early)
    landing.one("Contact", deleted="remove")
    assert None is flags(landing, early)
    landing.sf.org.advance(hours=1)
    landing.sf.org.delete("Contact", late)

    landing.one("Contact", deleted="remove")

    assert None is flags(landing, late)


def test_rows_kept_before_are_removed_once_that_is_wanted(landing: Landing) -> None:
    """Changing `deleted` to "remove" is not only for what comes later."""
    landing.one("Contact")
    (gone,) = contacts(landing, 1)
    landing.sf.org.advance(hours=1)
    landing.sf.org.delete("Contact", gone)
    landing.one("Contact")
    assert (True, False) == flags(landing, gone)

    landing.one("Contact", deleted="remove")

    assert None is flags(landing, gone)


def test_an_undeleted_row_comes_back(landing: Landing) -> None:
    """Out of the recycle bin, out of the flag."""
    landing.one("Contact")
    (back,) = contacts(landing, 1)
    landing.sf.org.advance(hours=1)
    landing.sf.org.delete("Contact", back)
    landing.one("Contact")
    landing.sf.org.advance(hours=1)
    landing.sf.org.undelete("Contact", back)

    landing.one("Contact")

    assert (False, False) == flags(landing, back)


def test_a_merged_row_says_into_which(landing: Landing) -> None:
    """The loser of a merge is deleted and names its winner."""
    landing.one("Contact")
    winner, loser = contacts(landing, 2)
    landing.sf.org.advance(hours=1)
    landing.sf.org.merge("Contact", winner, loser)

    landing.one("Contact")

    master = f"SELECT master_record_id FROM salesforce.contact WHERE id = '{loser}'"
    assert ((True, False), winner) == (flags(landing, loser), landing.value(master))


@pytest.mark.parametrize(("deleted", "expected"), [("flag", (True, True)), ("remove", None)])
def test_a_purged_row_is_known_from_the_delete_log(
    landing: Landing, deleted: str, expected: tuple[bool, bool] | None
) -> None:
    """Gone from the recycle bin before the next extract: only `/deleted` still tells."""
    landing.one("Contact", deleted=deleted)
    (gone,) = contacts(landing, 1)
    landing.sf.org.advance(hours=1)
    landing.sf.org.purge("Contact", gone)
    landing.sf.org.advance(minutes=2)

    landing.one("Contact", deleted=deleted)

    assert expected == flags(landing, gone)


def test_a_purged_row_of_the_last_minute_is_known_next_time(landing: Landing) -> None:
    """The log is read in whole minutes, and the next window begins in the one it ended with."""
    landing.one("Contact")
    (gone,) = contacts(landing, 1)
    landing.sf.org.advance(hours=1)
    landing.sf.org.purge("Contact", gone)
    landing.one("Contact")
    landing.sf.org.advance(minutes=2)

    landing.one("Contact")

    assert (True, True) == flags(landing, gone)


@pytest.mark.parametrize(("deleted", "expected"), [("flag", (True, True)), ("remove", None)])
def test_reconciling_finds_what_vanished_without_a_trace(
    landing: Landing, deleted: str, expected: tuple[bool, bool] | None
) -> None:
    """A hard delete that no log tells of is found by comparing the ids."""
    landing.one("Contact", deleted=deleted)
    gone, stays = contacts(landing, 2)
    landing.sf.org.advance(days=1)
    landing.sf.org.purge("Contact", gone, logged=False)

    landing.one("Contact", deleted=deleted)
    assert (False, False) == flags(landing, gone)

    landing.extract("Contact", deleted=deleted, reconcile=True)
    assert (expected, (False, False)) == (flags(landing, gone), flags(landing, stays))


def test_reconciling_every_so_many_days(landing: Landing) -> None:
    """`reconcile_days` counts from the last time that all rows were seen."""
    landing.one("Contact", reconcile_days=7)
    (gone,) = contacts(landing, 1)
    landing.sf.org.purge("Contact", gone, logged=False)

    landing.sf.org.advance(days=6)
    landing.one("Contact", reconcile_days=7)
    assert (False, False) == flags(landing, gone)

    landing.sf.org.advance(days=2)
    landing.one("Contact", reconcile_days=7)
    assert (True, True) == flags(landing, gone)


def test_a_purged_delete_log_reconciles_by_itself(landing: Landing) -> None:
    """When the log no longer reaches back to the window's start, the ids are compared."""
    landing.one("Contact")
    (gone,) = contacts(landing, 1)
    landing.sf.org.advance(hours=1)
    landing.sf.org.purge("Contact", gone)
    landing.sf.org.advance(hours=1)
    landing.sf.org.purge_delete_log("Contact", landing.sf.org.now())
    landing.sf.org.advance(hours=1)

    landing.one("Contact")

    assert (True, True) == flags(landing, gone)


def test_a_window_older_than_the_delete_log_reconciles_by_itself(landing: Landing) -> None:
    """So it is after a break of weeks."""
    landing.one("Contact")
    (gone,) = contacts(landing, 1)
    landing.sf.org.advance(hours=1)
    landing.sf.org.purge("Contact", gone)
    landing.sf.org.advance(days=40)

    assert landing.one("Contact").complete

    assert (True, True) == flags(landing, gone)


def test_an_object_that_shows_nothing_is_not_taken_for_deleted(landing: Landing) -> None:
    """A permission that was lost looks like an empty object, and must not empty the table."""
    before = landing.one("Lead").rows
    for each in landing.sf.org.rows("Lead").ids():
        landing.sf.org.purge("Lead", each, logged=False)
    landing.sf.org.advance(days=1)

    (facts,) = landing.extract("Lead", reconcile=True).objects

    assert (False, False) == (facts.complete, facts.empty)
    assert isinstance(facts.error, ExtractIncomplete) and "Lead" in facts.error.message
    assert before == landing.value("SELECT count(*) FROM salesforce.lead WHERE NOT _hard_deleted")


def test_rows_that_came_into_sight_are_fetched(landing: Landing) -> None:
    """A new sharing rule moves no cursor; reconciling reads what it brought."""
    hidden = landing.sf.org.rows("Contact").ids()[0]
    record = landing.sf.org.get("Contact", hidden)
    landing.sf.org.rows("Contact").remove(hidden)
    landing.one("Contact")
    landing.sf.org.advance(days=1)
    landing.sf.org.rows("Contact").put(record)

    landing.one("Contact")
    assert None is flags(landing, hidden)

    landing.extract("Contact", reconcile=True)
    assert (False, False) == flags(landing, hidden)


def test_formulas_are_refreshed_on_demand(landing: Landing) -> None:
    """`formula = "refresh"`: values that moved without their row's cursor are merged."""
    settings = {"Account": ObjectSettings(formula="refresh")}
    landing.one("Account", per_object=settings)
    (account,) = [row[0] for row in landing.rows("SELECT min(id) FROM salesforce.account")]
    landing.sf.org.advance(hours=1)
    landing.sf.org.silently("Account", account, {"Health_Score__c": 1.5})
    score = f"SELECT health_score__c FROM salesforce.account WHERE id = '{account}'"

    landing.one("Account")
    assert 1.5 != landing.value(score)

    facts = landing.one("Account", per_object=settings)
    assert (0, 1.5) == (facts.rows, landing.value(score))


def test_formulas_are_refreshed_every_so_many_hours(landing: Landing) -> None:
    """`formula_refresh_hours` leaves them alone in between."""
    settings = {"formula": "refresh", "formula_refresh_hours": 24}
    landing.one("Account", **settings)
    (account,) = [row[0] for row in landing.rows("SELECT min(id) FROM salesforce.account")]
    landing.sf.org.silently("Account", account, {"Health_Score__c": 1.5})
    score = f"SELECT health_score__c FROM salesforce.account WHERE id = '{account}'"

    landing.sf.org.advance(hours=23)
    landing.one("Account", **settings)
    assert 1.5 != landing.value(score)

    landing.sf.org.advance(hours=2)
    landing.one("Account", **settings)
    assert 1.5 == landing.value(score)


def test_formulas_can_be_left_out(landing: Landing) -> None:
    """`formula = "exclude"`: they get no column."""
    landing.one("Account", formula="exclude")

    columns = landing.rows("SELECT column_name FROM (DESCRIBE salesforce.account)")
    names = {row[0] for row in columns}
    assert "health_score__c" not in names and "tier__c" in names


def test_a_new_field_lands_with_the_values_of_rows_that_did_not_change(landing: Landing) -> None:
    """Its values may be older than the field is visible: every row's is read."""
    landing.one("Contact")
    org = landing.sf.org
    org.add_field("Contact", Field(name="Shoe_Size__c", type="double", label="Shoe size"))
    (one,) = contacts(landing, 1)
    org.silently("Contact", one, {"Shoe_Size__c": 43.5})
    org.advance(hours=1)

    facts = landing.one("Contact")

    assert (0, ("Shoe_Size__c",)) == (facts.rows, facts.new_fields)
    size = f"SELECT shoe_size__c FROM salesforce.contact WHERE id = '{one}'"
    assert 43.5 == landing.value(size)
    assert () == landing.one("Contact").new_fields


@pytest.mark.parametrize("how", ["remove_field", "hide_field"])
def test_a_vanished_field_is_named_and_null_from_then_on(landing: Landing, how: str) -> None:
    """Deleted or hidden by field-level security: the column stays, and someone is told."""
    landing.one("Contact")
    changed, other = contacts(landing, 2)
    getattr(landing.sf.org, how)("Contact", "Visits__c")
    landing.sf.org.advance(hours=1)
    landing.sf.org.update("Contact", changed, {"LastName": "Moved"})

    facts = landing.one("Contact")

    assert (1, True, ("Visits__c",)) == (facts.rows, facts.complete, facts.vanished_fields)
    visits = "SELECT visits__c IS NULL FROM salesforce.contact WHERE id = '{}'"
    assert (True, False) == (
        landing.value(visits.format(changed)),
        landing.value(visits.format(other)),
    )


def test_a_field_that_comes_back_is_filled_again(landing: Landing) -> None:
    """What it missed while it was hidden is read when it is shown again."""
    landing.one("Contact")
    (one,) = contacts(landing, 1)
    landing.sf.org.hide_field("Contact", "Visits__c")
    landing.sf.org.advance(hours=1)
    landing.sf.org.update("Contact", one, {"Visits__c": 77})
    landing.one("Contact")
    landing.sf.org.show_field("Contact", "Visits__c")
    landing.sf.org.advance(hours=1)

    facts = landing.one("Contact")

    assert ((), ()) == (facts.vanished_fields, facts.new_fields)
    assert 77 == landing.value(f"SELECT visits__c FROM salesforce.contact WHERE id = '{one}'")


def test_an_object_without_a_cursor_is_read_whole(landing: Landing) -> None:
    """Nothing to filter by: every extract reads all of it, and what is missing has vanished."""
    org = landing.sf.org
    org.remove_field("LoginHistory", "LoginTime")
    ids = org.rows("LoginHistory").ids()
    first = landing.one("LoginHistory")
    assert (len(ids), None) == (first.rows, first.watermark)
    org.purge("LoginHistory", ids[0])

    facts = landing.one("LoginHistory")

    assert (len(ids) - 1, True) == (facts.rows, facts.complete)
    deleted = landing.rows("SELECT id FROM salesforce.login_history WHERE is_deleted")
    assert [(ids[0],)] == deleted


@pytest.mark.parametrize(
    ("objects", "outcomes"),
    [
        # An object that has not landed yet leaves all of the extract to dlt.
        (("Account", "Contact"), [(), RuntimeError("killed")]),
        (("Contact",), [RuntimeError("killed")]),
    ],
)
def test_what_a_dead_extract_left_unapplied_is_applied_by_the_next(
    landing: Landing,
    monkeypatch: pytest.MonkeyPatch,
    objects: tuple[str, ...],
    outcomes: list[object],
) -> None:
    """Killed between the load and the update: nothing is lost, and nothing new is hit by it."""
    landing.settings = replace(landing.settings, objects=objects)
    left = iter(outcomes)
    landing.one("Contact")
    gone, _ = contacts(landing, 2)
    landing.sf.org.advance(days=1)
    landing.sf.org.purge("Contact", gone, logged=False)

    def dies(*_: object, **__: object) -> object:
        outcome = next(left)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    with monkeypatch.context() as patch:
        patch.setattr(load, "apply_corrections", dies)
        with pytest.raises(RuntimeError, match="killed"):
            landing.extract("Contact", reconcile=True)
    assert (False, False) == flags(landing, gone)
    new = landing.sf.org.insert("Contact", {"LastName": "Newcomer"})
    landing.sf.org.advance(minutes=5)

    landing.one("Contact")

    assert ((True, True), (False, False)) == (flags(landing, gone), flags(landing, new))


def test_the_window_after_a_day_of_changes_is_the_truth(landing: Landing) -> None:
    """After every simulated day the landed rows are the org's, deleted ones included."""
    settings = {"formula": "refresh"}
    landing.extract("Account", "Contact", "CampaignMember", **settings)
    for _ in range(3):
        landing.sf.org.advance_day()
        landing.sf.org.advance(seconds=float(timedelta(minutes=3).total_seconds()))
        landing.extract("Account", "Contact", "CampaignMember", **settings)

        for name, table in (("Contact", "contact"), ("CampaignMember", "campaign_member")):
            truth = {
                (each["Id"], bool(each["IsDeleted"]))
                for each in landing.sf.org.rows(name).records()
            }
            landed = landing.rows(
                f"SELECT id, is_deleted FROM salesforce.{table} WHERE NOT _hard_deleted"
            )
            assert truth == set(landed)
