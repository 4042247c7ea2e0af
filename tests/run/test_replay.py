"""A new destination is brought up from the ledger, through an outbox of its own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from shop import PEOPLE, Shop
from simulation.receiver import members, profiles

from tailrace.clock import SystemClock, format_utc
from tailrace.errors import NothingSelected
from tailrace.run import job
from tailrace.run.result import RunResult
from tailrace.testing import Fault, SegmentSimulator

BOTH = PEOPLE.replace("key: id\n", "key: id\ndestination: [segment, other]\n")


class SetClock(SystemClock):
    """A clock whose day the test says."""

    def __init__(self) -> None:
        self.time = datetime(2026, 11, 1, 5, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time


class Moving:
    """A shop that delivers to one source, and a second one that knows nothing yet."""

    def __init__(self, root: Path, first: SegmentSimulator, other: SegmentSimulator) -> None:
        self.first, self.other = first, other
        self.clock = SetClock()
        self.shop = Shop(root, first, clock=self.clock)
        self.shop.environ |= {
            "DESTINATION__OTHER__HOST": other.url,
            "DESTINATION__OTHER__WRITE_KEY": other.write_key,
            "DESTINATION__OTHER__RETRY_SECONDS_MAX": "0.2",
            "DESTINATION__OTHER__BATCH_EVENTS_MAX": "4",
        }

    def live_three_days(self) -> None:
        """Enter, change, exit and come back."""
        self.shop.audience(PEOPLE)
        for cities in ({"a": 1, "b": 1, "c": 1}, {"a": 2, "c": 1}, {"a": 2, "b": 3, "d": 1}):
            self.shop.land([{"id": name, "city": f"City {n}"} for name, n in cities.items()])
            assert 0 == self.shop.sync().exit_code
            self.clock.time += timedelta(days=1)

    def replay(self, **options: Any) -> RunResult:
        return job.replay(self.shop.project, "people", "other", clock=self.clock, **options)


@dataclass(frozen=True)
class Lived:
    """A shop after three days, the copy of its folder, and what its first source received."""

    root: Path
    copy: Path
    first: SegmentSimulator
    received: list[dict[str, Any]]


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lived]:
    """Three days, which are the same for each test."""
    root = tmp_path_factory.mktemp("lived") / "shop"
    with SegmentSimulator() as first, SegmentSimulator(write_key="other-key") as other:
        Moving(root, first, other).live_three_days()
        copy = Path(shutil.copytree(root, root.with_name("copy")))
        yield Lived(root, copy, first, list(first.inbox.received))


@pytest.fixture
def moving(lived: Lived) -> Iterator[Moving]:
    """The shop as it was the morning after, at its place: a run reports a copied warehouse."""
    shutil.rmtree(lived.root)
    shutil.copytree(lived.copy, lived.root)
    encoded = [json.dumps(message).encode() for message in lived.received]
    lived.first.inbox.clear()
    lived.first.inbox.take(lived.received, encoded, SystemClock().now())
    with SegmentSimulator(write_key="other-key") as other:
        moving = Moving(lived.root, lived.first, other)
        moving.clock.time += timedelta(days=3)
        yield moving


def tracks(events: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    return [(e["timestamp"], e["event"], e["userId"]) for e in events if e["type"] == "track"]


def test_current_members_enter_today(moving: Moving) -> None:
    """Former members are not sent, and the next run has no changes."""
    done = moving.replay()
    assert 0 == done.exit_code, done.errors
    today = format_utc(moving.clock.time)
    assert [(today, "Segment Entered", name) for name in "abd"] == sorted(
        tracks(moving.other.events), key=lambda each: each[2]
    )
    (entry,) = done.audiences
    assert ("people", "other", 3, 3, 3) == (
        entry["audience"],
        entry["destination"],
        entry["entered"],
        entry["sent"],
        entry["size_after"],
    )
    assert [("other", 3), ("segment", 3)] == moving.shop.query(
        "SELECT destination, COUNT(*) FROM tailrace.v_members GROUP BY 1 ORDER BY 1"
    )
    # The simulators' clock is that of this machine.
    offset, warning = sorted(entry["message"] for entry in done.as_dict()["warnings"])
    assert offset.startswith("This machine's clock is") and "127.0.0.1" in offset
    assert "its header does not name other" in warning
    moving.shop.audience(BOTH)
    assert 0 == moving.shop.sync().as_dict()["segment"]["calls"]


def test_the_history_is_sent_with_its_times(moving: Moving) -> None:
    """Every transition, in its order and with its moment, under ids of the new destination."""
    done = moving.replay(history=True)
    assert 0 == done.exit_code, done.errors
    assert sorted(tracks(moving.first.events)) == sorted(tracks(moving.other.events))
    assert members(profiles(moving.first.events)) == members(profiles(moving.other.events))
    ids = [{e["messageId"] for e in source.events} for source in (moving.first, moving.other)]
    assert set() == ids[0] & ids[1]
    assert (3, 8) == (done.audiences[0]["size_after"], done.audiences[0]["sent"])
    moving.shop.audience(BOTH)
    assert 0 == moving.shop.sync().as_dict()["segment"]["calls"]


def test_what_was_added_silently_is_known_after_a_history(moving: Moving) -> None:
    """A column that was accepted in between changes no member at the new destination."""
    wider = "score: score, domain: domain}"
    for text in (PEOPLE, BOTH):
        moving.shop.audience(
            text.replace("score: score}", wider).replace("score FROM", "score, 'x' AS domain FROM")
        )
        if text is PEOPLE:
            assert 0 == moving.shop.sync().as_dict()["segment"]["calls"]
            assert 0 == moving.replay(history=True).exit_code
    assert 0 == moving.shop.sync().as_dict()["segment"]["calls"]


@pytest.mark.parametrize("history", [False, True])
def test_a_replay_that_fails_is_finished_by_the_next_run(moving: Moving, history: bool) -> None:
    """It goes through an outbox like everything else: nothing is lost, nothing comes twice."""
    moving.other.faults.append(Fault(path="/v1/batch", nth=2, times=99, status=503))
    assert 1 == moving.replay(history=history).exit_code
    moving.other.faults.clear()
    moving.shop.audience(BOTH)
    done = moving.shop.sync()
    assert 0 == done.exit_code, done.errors
    assert [] == moving.other.inbox.clashes
    assert members(profiles(moving.first.events)) == members(profiles(moving.other.events))
    assert 0 == moving.shop.sync().as_dict()["segment"]["calls"]


def test_a_rejected_row_of_a_history_is_planned_again(moving: Moving) -> None:
    """What the new destination refuses is no member there, until a run delivers it."""
    moving.other.faults.append(Fault(path="/v1/batch", poison={"userId": "a"}, status=400))
    assert 4 == moving.replay(history=True).exit_code
    moving.other.faults.clear()
    moving.shop.audience(BOTH)
    assert 0 == moving.shop.sync().exit_code
    assert members(profiles(moving.first.events)) == members(profiles(moving.other.events))


def test_a_destination_that_lost_its_data_receives_its_members_again(moving: Moving) -> None:
    """Under new ids; former members are not sent, and a member that is refused is planned again."""
    assert 0 == moving.replay().exit_code
    before = {event["messageId"] for event in moving.other.events}
    moving.other.faults.append(Fault(path="/v1/batch", poison={"userId": "a"}, status=400))
    again = moving.replay()
    assert (4, 2, 1) == (
        again.exit_code,
        again.audiences[0]["sent"],
        again.audiences[0]["rejected"],
    )
    moving.other.faults.clear()
    moving.shop.audience(BOTH)
    done = moving.shop.sync()
    assert (0, 1) == (done.exit_code, sum(entry["entered"] for entry in done.audiences))
    sent_again = [e for e in moving.other.events if e["messageId"] not in before]
    assert ["a", "b", "d"] == sorted(user for _, _, user in tracks(sent_again))
    assert [] == moving.other.inbox.clashes
    assert 0 == moving.shop.sync().as_dict()["segment"]["calls"]
    moving.shop.land([{"id": name, "city": "City 1"} for name in "bd"])
    exits = [
        (entry["exited"], entry.get("destination", "segment"))
        for entry in moving.shop.plan().as_dict()["audiences"]
    ]
    assert [(1, "other"), (1, "segment")] == sorted(exits, key=lambda exit_of: exit_of[1])


def test_a_history_is_sent_only_once(moving: Moving) -> None:
    moving.replay()
    with pytest.raises(NothingSelected, match="other already has people"):
        raise moving.replay(history=True).errors[0]
    with pytest.raises(NothingSelected, match="Did you mean"):
        raise job.replay(moving.shop.project, "peopl", "other", clock=moving.clock).errors[0]


def test_a_repeated_replay_asks_first(moving: Moving, command: Any) -> None:
    asked = ("replay", "people", "--to", "segment")
    where = {"cwd": moving.shop.root, **moving.shop.environ}
    refused = command(*asked, **where)
    assert (2, True) == (
        refused.returncode,
        "This sends 3 members of people to segment again. Add --yes" in refused.stderr,
    )
    preview = json.loads(command(*asked, "--dry-run", "--json", **where).stdout)
    assert (3, True) == (preview["would_enter"], preview["delivered_before"])
    sent = len(moving.first.events)
    assert 0 == command(*asked, "--yes", **where).returncode
    assert ["a", "b", "d"] == sorted(user for _, _, user in tracks(moving.first.events[sent:]))


def test_the_command_says_what_it_did(moving: Moving, command: Any) -> None:
    told = command("replay", "people", "--to", "other", cwd=moving.shop.root, **moving.shop.environ)
    assert 0 == told.returncode, told.stderr
    assert "people → other" in told.stdout
    assert "its header does not name other" in told.stderr
    again = command("replay", "people", "--to", "othr", cwd=moving.shop.root, **moving.shop.environ)
    assert 2 == again.returncode
    assert "[destination.othr] is not configured" in again.stderr


def test_a_destination_may_be_retired_and_brought_up_again(moving: Moving) -> None:
    moving.replay()
    moving.clock.time += timedelta(hours=1)
    assert 0 == job.retire(moving.shop.project, "people__other", clock=moving.clock).exit_code
    moving.clock.time += timedelta(hours=1)
    refused = moving.replay(history=True)
    assert 2 == refused.exit_code
    assert 0 == moving.replay().exit_code
    assert members(profiles(moving.first.events)) == members(profiles(moving.other.events))
