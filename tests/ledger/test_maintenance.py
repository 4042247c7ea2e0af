"""Looking after the ledger: names that change hands, audiences that end, and what is forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from shop import PEOPLE, Shop

from tailrace.cli.output.audiences import left_over
from tailrace.errors import DeliveryIncomplete, NothingSelected
from tailrace.ledger import maintenance
from tailrace.ledger.ledger import Ledger
from tailrace.plan.policy import PlanOptions
from tailrace.reporting import history
from tailrace.reporting.status import status
from tailrace.run import job
from tailrace.testing.segment.simulator import SegmentSimulator
from tailrace.warehouse.opening import open_warehouse

UNNAMED = PEOPLE.replace("audience: people\n", "")
HELD = UNNAMED.replace("key: id", "key: id\nguards: {min_rows: 10}")
ROWS = [{"id": each, "city": "Oslo"} for each in ("c1", "c2", "c3")]


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with SegmentSimulator() as segment:
        shop = Shop(tmp_path, segment)
        shop.audience(UNNAMED)
        shop.land(ROWS)
        yield shop


def rename(shop: Shop, old: str, new: str) -> None:
    """Carry an audience and its file over to another name."""
    maintenance.rename(shop.project, old, new, clock=shop.clock)
    folder = shop.root / "models" / "audiences"
    (folder / f"{old}.sql").rename(folder / f"{new}.sql")


def entered(shop: Shop) -> list[str]:
    """Who is told as entering since the last look, by an event that Segment had not seen."""
    return sorted(e["userId"] for e in shop.arrived() if e.get("event") == "Segment Entered")


def test_before_any_run_every_question_points_to_run(shop: Shop) -> None:
    """An extract has created the ledger, and `status` would list no audience."""
    with open_warehouse(shop.project, clock=shop.clock) as warehouse:
        Ledger(warehouse, clock=shop.clock).install("one namespace")
    for ask in (
        lambda: history.sizes(shop.project, "people", clock=shop.clock),
        lambda: maintenance.rename(shop.project, "people", "persons", clock=shop.clock),
        lambda: job.retire(shop.project, "people", clock=shop.clock),
    ):
        with pytest.raises(NothingSelected, match='no audience "people"') as raised:
            ask()
        assert "Start with: tailrace run" == raised.value.hint
    shop.sync()
    with pytest.raises(NothingSelected) as raised:
        history.sizes(shop.project, "peple", clock=shop.clock)
    assert "List the audiences with: tailrace status" == raised.value.hint


def test_a_member_that_returns_after_a_purge_has_a_new_message_id(shop: Shop) -> None:
    """Segment remembers ids for a day: for so long a purge keeps the tombstones."""
    shop.sync()
    shop.land(ROWS[:2])
    shop.sync()
    gone = maintenance.purge(shop.project, older_than=timedelta(0), clock=shop.clock)
    assert (4, 0) == (gone["forgotten"]["outbox"], gone["forgotten"]["tombstones"])
    shop.arrived()
    shop.land(ROWS)
    shop.sync()
    assert ["c3"] == entered(shop)


def test_an_audience_that_returns_has_new_message_ids(shop: Shop) -> None:
    """Retired and run again on the same day: members that enter at once or later are sent."""
    shop.sync()
    shop.land(ROWS[:2])
    job.retire(shop.project, "people", clock=shop.clock)
    shop.arrived()
    assert 2 == shop.plan().totals()["new_users"]
    shop.sync()
    assert ["c1", "c2"] == entered(shop)
    shop.land(ROWS)
    shop.sync()
    assert ["c3"] == entered(shop)


def test_a_name_that_was_given_up_is_taken_by_another_audience(shop: Shop) -> None:
    """Its members are told, although one of that name told the same ones an hour ago."""
    shop.sync()
    rename(shop, "people", "persons")
    shop.audience(UNNAMED)
    shop.arrived()
    plan = shop.plan()
    assert {"people": 3, "persons": 0} == {each.ledger_key: each.planned for each in plan.audiences}
    shop.sync()
    assert ["c1", "c2", "c3"] == entered(shop)


def test_an_audience_is_renamed_there_and_back(shop: Shop) -> None:
    """No member changes, the history is complete, and each renaming is a run in the status."""
    shop.sync()
    shop.land(ROWS[:2])
    shop.sync()
    rename(shop, "people", "persons")
    rename(shop, "persons", "people")
    assert 0 == shop.plan().audiences[0].planned
    (traced,) = history.trace(shop.project, "c3", clock=shop.clock)["audiences"]
    assert ["entered", "exited"] == [event["op"] for event in traced["events"]]
    runs = history.sizes(shop.project, "people", clock=shop.clock)["runs"]
    assert [3, 2] == [run["size_after"] for run in runs]
    commands = [run["command"] for run in status(shop.project, clock=shop.clock)["runs"]]
    assert ["rename", "rename", "sync", "sync"] == commands
    shop.arrived()
    shop.land(ROWS)
    shop.sync()
    assert ["c3"] == entered(shop)


def test_an_audience_takes_over_the_name_of_a_retired_one(shop: Shop) -> None:
    """What the retired one told is not mixed with it, and its runs still add up."""
    shop.audience(UNNAMED, "others")
    shop.sync()
    job.retire(shop.project, "others", clock=shop.clock)
    shop.forget_audience("others")
    rename(shop, "people", "others")
    assert 0 == shop.plan().audiences[0].planned
    (traced,) = history.trace(shop.project, "c1", clock=shop.clock)["audiences"]
    assert ["entered"] == [event["op"] for event in traced["events"]]
    (run,) = history.sizes(shop.project, "others", clock=shop.clock)["runs"]
    assert 3 == run["size_after"]
    assert [("others", "others", 3)] == shop.query(
        "SELECT audience, sync_key, COUNT(*) FROM tailrace.v_members GROUP BY ALL"
    )
    told = "SELECT sync_key, entered, exited, sent FROM tailrace.audience_runs WHERE entered > 0"
    assert [("others", 3, 0, 3), ("others before run 3", 3, 0, 3)] == sorted(shop.query(told))
    shop.arrived()
    shop.land([*ROWS, {"id": "c4"}])
    shop.sync()
    assert ["c4"] == entered(shop)


def test_an_audience_that_was_only_ever_held_is_renamed_and_retired(shop: Shop) -> None:
    """It sent nothing, so no exit is sent, and the name is free again."""
    shop.audience(HELD)
    assert 3 == shop.sync().exit_code
    rename(shop, "people", "persons")
    assert ["persons"] == [each["audience"] for each in _standing(shop)]
    shop.forget_audience("persons")
    assert () == shop.plan().orphans
    assert 0 == job.retire(shop.project, "persons", clock=shop.clock).exit_code
    assert [] == _standing(shop)
    assert [] == shop.arrived()


@pytest.mark.parametrize("name", ["people", "others", "held", "Bad name", "x" * 51])
def test_a_name_that_cannot_be_taken_is_refused(shop: Shop, name: str) -> None:
    """The name is in use, also by a held audience, or is not valid for a file."""
    shop.audience(UNNAMED, "others")
    shop.audience(HELD, "held")
    shop.sync()
    with pytest.raises(NothingSelected):
        maintenance.rename(shop.project, "people", name, clock=shop.clock)
    assert ["held", "others", "people"] == [each["audience"] for each in _standing(shop)]


def test_a_name_is_released_after_a_pending_delivery(shop: Shop) -> None:
    """The ids of what is on its way hold the old name; the file may have the new one already."""
    shop.environ |= {
        "DESTINATION__SEGMENT__HOST": "http://127.0.0.1:9",
        "DESTINATION__SEGMENT__RETRY_SECONDS_MAX": "0.1",
    }
    assert 1 == shop.sync().exit_code
    with pytest.raises(DeliveryIncomplete, match="people is pending") as refused:
        maintenance.rename(shop.project, "people", "persons", clock=shop.clock)
    assert "--exclude persons" in refused.value.hint
    plan = shop.plan()
    assert ({"people": 3}, True) == (plan.unfinished, plan.pending)
    (note,) = left_over({"command": "plan"} | plan.as_dict())
    assert "3 changes from an earlier run are pending and will be sent first." == note
    (traced,) = history.trace(shop.project, "c1", clock=shop.clock)["audiences"]
    assert [("entered", "not yet delivered")] == [(e["op"], e["fate"]) for e in traced["events"]]
    assert shop.segment is not None
    shop.environ["DESTINATION__SEGMENT__HOST"] = shop.segment.url
    shop.audience(UNNAMED, "others")
    shop.forget_audience("people")
    shop.audience(UNNAMED, "persons")
    assert 0 == shop.sync(exclude=["persons"]).exit_code
    maintenance.rename(shop.project, "people", "persons", clock=shop.clock)
    assert {"persons": 0, "others": 0} == {e.ledger_key: e.planned for e in shop.plan().audiences}


def test_who_was_a_member_is_known_as_far_back_as_the_outbox_goes(shop: Shop) -> None:
    """A purge removes no member, and reports do not cover purged deliveries."""

    def members(moment: datetime) -> list[str]:
        return [
            key for (key,) in history.members_at(shop.project, "people", moment, clock=shop.clock)
        ]

    shop.sync()
    first = shop.clock.now()
    shop.land(ROWS[1:])
    shop.sync()
    second = shop.clock.now()
    job.sync(shop.project, clock=shop.clock, options=PlanOptions(intent="resend"))
    shop.land([*ROWS[1:], {"id": "c4"}])
    shop.sync()
    then = ["c1", "c2", "c3"], ["c2", "c3"], ["c2", "c3", "c4"]
    assert then == (members(first), members(second), members(shop.clock.now()))
    age = shop.clock.now() - second
    maintenance.purge(shop.project, older_than=age, clock=shop.clock)
    assert then[1:] == (members(second), members(shop.clock.now()))
    with pytest.raises(NothingSelected, match="were purged"):
        members(first)
    maintenance.purge(shop.project, older_than=timedelta(0), clock=shop.clock)
    assert then[2] == members(shop.clock.now())


def test_a_size_is_of_those_who_were_delivered(shop: Shop) -> None:
    """Who was refused has neither entered nor left, in what the run says and in what is kept."""
    shop.land([*ROWS, {"id": "c9", "city": "x" * 40_000}])
    done = shop.sync()
    (run,) = history.sizes(shop.project, "people", clock=shop.clock)["runs"]
    (told,) = done.audiences
    assert (3, 3, 3) == (run["size_after"], told["size_after"], _standing(shop)[0]["size_after"])
    assert 3 == shop.plan().audiences[0].diff.size_before


def _standing(shop: Shop) -> list[dict[str, object]]:
    found: list[dict[str, object]] = status(shop.project, clock=shop.clock)["audiences"]
    return found
