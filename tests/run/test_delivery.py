"""From a plan to an acknowledged audience: what is refused, what is flagged, what is told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from shop import PEOPLE, Shop
from simulation.receiver import members, profiles

from tailrace.clock import SystemClock
from tailrace.errors import ResendRefused, TrackingPlanInvalid
from tailrace.ledger import maintenance, outbox
from tailrace.testing import Fault, SegmentSimulator

POSITIVE_SCORES = """
rules:
  - type: TRACK
    key: Segment Entered
    enforce: {enforce}
    jsonSchema:
      properties:
        properties:
          properties: {{score: {{type: number, minimum: 0}}}}
"""


@pytest.fixture
def segment() -> Iterator[SegmentSimulator]:
    with SegmentSimulator() as simulator:
        yield simulator


@pytest.fixture
def shop(tmp_path: Path, segment: SegmentSimulator) -> Shop:
    made = Shop(tmp_path / "shop", segment)
    made.audience(PEOPLE)
    return made


def people(*scores: Any) -> list[dict[str, Any]]:
    return [
        {"id": f"c{n}", "email": f"ada{n}@example.com", "city": "Oslo", "score": score}
        for n, score in enumerate(scores)
    ]


def rejected(shop: Shop) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = maintenance.rejected(shop.project, clock=shop.clock)["rejected"]
    return found


def test_the_tracking_plan_blocks_before_anything_is_sent(
    shop: Shop, segment: SegmentSimulator
) -> None:
    """A row that breaks a blocking rule is rejected with the rule and the path; others go."""
    (shop.root / "tracking_plan.yaml").write_text(POSITIVE_SCORES.format(enforce="block"))
    shop.land(people(1.0, -1.0))
    done = shop.sync()
    assert (4, 1, 1) == (
        done.exit_code,
        done.audiences[0]["sent"],
        done.audiences[0]["rejected"],
    )
    assert {"c0"} == {each["userId"] for each in segment.events}
    (entry,) = rejected(shop)
    assert ("schema_violation/minimum", "properties.score", None, 0, 1) == (
        entry["reason"],
        entry["path"],
        entry["status"],
        entry["attempts"],
        entry["rows"],
    )


def test_a_flagged_violation_is_sent_and_reported(shop: Shop, segment: SegmentSimulator) -> None:
    """A rule that only flags stops nothing and is counted in the warnings."""
    (shop.root / "tracking_plan.yaml").write_text(POSITIVE_SCORES.format(enforce="flag"))
    shop.land(people(-1.0, -2.0, 3.0))
    done = shop.sync()
    assert (0, 3) == (done.exit_code, done.audiences[0]["sent"])
    assert 3 == sum(each["type"] == "track" for each in segment.events)
    (warning,) = done.as_dict()["warnings"]
    assert "tracking plan, schema_violation/minimum" in warning["message"]


def test_an_invalid_tracking_plan_is_reported_before_the_run(shop: Shop) -> None:
    (shop.root / "tracking_plan.yaml").write_text("rules: 3\n")
    shop.land(people(1.0))
    with pytest.raises(TrackingPlanInvalid):
        shop.sync()
    assert [] == shop.query("FROM duckdb_tables() WHERE schema_name = 'tailrace'")


def test_values_that_cannot_travel_are_counted(shop: Shop, segment: SegmentSimulator) -> None:
    """NaN and the infinities arrive as null, and the result says how many."""
    shop.land(people(float("nan"), float("inf"), 1.0))
    done = shop.sync()
    scores = [e["properties"]["score"] for e in segment.events if e["type"] == "track"]
    assert [None, None, 1.0] == scores
    (warning,) = done.as_dict()["warnings"]
    assert "2 values sent as null: NaN" in warning["message"]


def test_the_warnings_of_a_header_are_one_line_in_a_run(shop: Shop) -> None:
    shop.audience(PEOPLE.replace("city: city, score", "City: city, email: email, score"))
    shop.land(people(1.0))
    (warning,) = shop.sync().as_dict()["warnings"]
    assert "people: 2 warnings about the header" == warning["message"]
    assert "tailrace validate" in warning["hint"]


def test_a_rejected_row_keeps_its_message_masked(shop: Shop, segment: SegmentSimulator) -> None:
    """What Segment refuses is in the ledger with its shape, and no value of the row."""
    segment.faults.append(Fault(path="/v1/batch", poison={"userId": "c1"}, status=400))
    shop.land(people(1.0, 2.0))
    assert 4 == shop.sync().exit_code
    ((kind, payload),) = shop.query("SELECT kind, payload FROM tailrace.rejections")
    told = json.loads(payload)
    assert (kind, kind) == (told["type"], "identify")
    assert {"email": "a***@***", "people": "true"} == told["traits"]
    assert "ada" not in payload and "c1" not in payload
    assert told == rejected(shop)[0]["sample"]


def test_a_row_of_which_no_message_can_be_made_is_kept_masked(
    shop: Shop, segment: SegmentSimulator
) -> None:
    """Without an id there is no message: the row's columns stand for it."""
    shop.audience(PEOPLE.replace("user_id: id", "user_id: city"))
    shop.land([{"id": "c0", "email": "ada@example.com"}])
    assert 4 == shop.sync().exit_code
    (entry,) = rejected(shop)
    assert ("no_user_anon_id", "userId") == (entry["reason"], entry["path"])
    assert {"city": None, "email": "a***@***", "id": "***", "score": None} == entry["sample"]["row"]
    assert 0 == len(segment.events)


class SetClock(SystemClock):
    """A clock whose day the test says."""

    def __init__(self) -> None:
        self.time = datetime(2026, 11, 1, 5, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time


@pytest.fixture
def crashed_shop(shop: Shop, segment: SegmentSimulator) -> Shop:
    """A shop with a run of which Segment took two of six members, and then no more."""
    shop.clock = SetClock()
    shop.environ["DESTINATION__SEGMENT__BATCH_EVENTS_MAX"] = "4"
    shop.environ["DESTINATION__SEGMENT__REQUESTS_IN_FLIGHT_MAX"] = "1"
    shop.environ["DESTINATION__SEGMENT__RETRY_SECONDS_MAX"] = "0.1"
    shop.land(people(*[1.0] * 6))
    segment.faults.append(Fault(path="/v1/batch", nth=2, times=99, status=500))
    assert 1 == shop.sync().exit_code
    segment.faults.clear()
    assert 4 == len(segment.events)
    return shop


def wait(shop: Shop, hours: float) -> None:
    assert isinstance(shop.clock, SetClock)
    shop.clock.time += timedelta(hours=hours)


def test_what_is_older_than_the_memory_of_segment_is_not_sent_again(
    crashed_shop: Shop, segment: SegmentSimulator
) -> None:
    """Refused with the count of those that may come twice, until it is asked for."""
    wait(crashed_shop, 25)
    for _ in range(2):
        done = crashed_shop.sync()
        assert (1, [ResendRefused]) == (done.exit_code, [type(each) for each in done.errors])
        assert "25 hours" in done.errors[0].message
        assert "4 of its members" in done.errors[0].message
        assert "--resend" in done.errors[0].hint
        assert ("failed", 0) == (done.audiences[0]["status"], done.audiences[0]["sent"])
    assert 4 == len(segment.events)
    done = crashed_shop.sync(resend=True)
    assert (0, 12) == (done.exit_code, len(segment.events))
    assert 6 == done.audiences[0]["resumed"]


def test_what_segment_still_remembers_is_finished(
    crashed_shop: Shop, segment: SegmentSimulator
) -> None:
    wait(crashed_shop, 23)
    assert 0 == crashed_shop.sync().exit_code
    assert (12, []) == (len(segment.events), segment.inbox.clashes)


def test_a_rejection_after_a_crash_is_unconfirmed(
    crashed_shop: Shop, segment: SegmentSimulator
) -> None:
    """The crashed run may have sent the row; the new plan after it certainly has not."""
    segment.faults.append(Fault(path="/v1/batch", poison={"userId": "c5"}, status=400))
    assert 4 == crashed_shop.sync().exit_code
    assert [("identify", True), ("identify", False)] == crashed_shop.query(
        "SELECT kind, unconfirmed FROM tailrace.rejections ORDER BY run_seq"
    )


@pytest.mark.parametrize(
    ("offset_seconds", "expected"),
    [(280, ""), (-280, ""), (-400, "7 min ahead of"), (400, "7 min behind")],
)
def test_a_clock_that_is_off_is_a_warning(
    shop: Shop, segment: SegmentSimulator, offset_seconds: int, expected: str
) -> None:
    """More than five minutes between this machine and Segment's `Date`, either way."""
    segment.faults.append(Fault(date_offset_seconds=offset_seconds))
    shop.land(people(1.0))
    result = shop.sync()
    assert 0 == result.exit_code
    messages = [warning["message"] for warning in result.as_dict()["warnings"]]
    assert bool(expected) == len(messages)
    assert all(expected in message for message in messages), messages


def test_an_audience_that_waits_for_a_decision_holds_no_other_back(
    crashed_shop: Shop, segment: SegmentSimulator
) -> None:
    wait(crashed_shop, 25)
    crashed_shop.audience(PEOPLE.replace("audience: people", "audience: others"), "others")
    done = crashed_shop.sync()
    assert {"people": "failed", "others": "ok"} == {
        each["audience"]: each["status"] for each in done.audiences
    }
    assert 1 == done.exit_code


def test_how_long_segment_remembers_is_a_setting(crashed_shop: Shop) -> None:
    wait(crashed_shop, 25)
    crashed_shop.environ["DESTINATION__SEGMENT__RESEND_HOURS_MAX"] = "48"
    assert 0 == crashed_shop.sync().exit_code


DEALS = PEOPLE.replace("key: id", "key: city").replace(
    "SELECT id, email, city, score FROM salesforce.contact WHERE NOT is_deleted",
    "SELECT city, id, email, score FROM salesforce.contact WHERE NOT is_deleted",
)


def owned(**owners: str) -> list[dict[str, Any]]:
    """Deals by their city, each with the user whose it is."""
    return [{"city": city, "id": user, "score": 1.0} for city, user in owners.items()]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"a": "ada", "b": "bob"}, {"a": "bob", "b": "ada"}),
        ({"a": "ada", "b": "bob", "c": "cyd"}, {"a": "bob", "b": "cyd", "c": "ada"}),
        ({"a": "ada", "b": "bob"}, {"a": "bob", "c": "ada"}),
        ({"b": "ada"}, {"a": "ada"}),
        ({"a": "ada"}, {"b": "ada"}),
        ({"a": "ada", "b": "ada"}, {"b": "ada"}),
        ({"a": "ada", "b": "ada"}, {"a": "bob", "b": "ada"}),
        ({"a": "ada", "b": "bob"}, {"a": "cyd"}),
    ],
    ids=["swap", "ring", "takes over", "new key", "newer key", "one of two", "one moves", "leaves"],
)
@pytest.mark.parametrize("size", ["small", "large"])
def test_a_user_who_is_a_member_by_another_row_does_not_exit(
    shop: Shop,
    segment: SegmentSimulator,
    monkeypatch: pytest.MonkeyPatch,
    before: dict[str, str],
    after: dict[str, str],
    size: str,
) -> None:
    """Whatever rows change hands in one run, the receiver has the users of today's rows."""
    if size == "large":
        monkeypatch.setattr(outbox, "SORTED_ROWS_MAX", 0)
    shop.audience(DEALS)
    shop.land(owned(**before))
    assert 0 == shop.sync().exit_code
    assert set(before.values()) == members(profiles(segment.events)).keys()
    shop.land(owned(**after))
    planned = shop.plan().as_dict()["segment"]["calls"]
    count = len(segment.events)
    assert 0 == shop.sync().exit_code
    assert planned == len(segment.events) - count
    known = profiles(segment.events)
    assert {user: user in after.values() for user in known} == {
        user: profile.traits["people"] for user, profile in known.items()
    }
    if len(after) == len(set(after.values())) and len(before) == len(set(before.values())):
        assert set(after.values()) == members(known).keys()
    shop.land([])
    assert 0 == shop.sync(options=shop.allow(("people", "max_exited"))).exit_code
    assert {} == members(profiles(segment.events))


@pytest.mark.parametrize("user", ["id", "email"])
def test_a_large_plan_is_numbered_without_gaps(
    shop: Shop, segment: SegmentSimulator, monkeypatch: pytest.MonkeyPatch, user: str
) -> None:
    """It is not sorted where each row is of a user of its own; all of it is sent all the same."""
    monkeypatch.setattr(outbox, "SORTED_ROWS_MAX", 2)
    shop.audience(PEOPLE.replace("user_id: id", f"user_id: {user}"))
    shop.land(people(3, 1, 2, 5, 4))
    assert 0 == shop.sync().exit_code
    numbered = shop.query("SELECT seq, id FROM tailrace.outbox__people ORDER BY seq")
    assert [1, 2, 3, 4, 5] == [seq for seq, _ in numbered]
    assert {f"c{n}" for n in range(5)} == {row for _, row in numbered}
    assert {1, 2, 3, 4, 5} == {
        each["properties"]["score"] for each in segment.events if each["type"] == "track"
    }


def test_a_page_holds_so_many_bytes_not_rows() -> None:
    """Wide rows make short pages: memory does not depend on how wide they are."""
    rows = outbox.PageRows(30_000)
    assert outbox.FIRST_PAGE_ROWS == rows.now
    for row_bytes, fitting in ((400, 10_000), (20_000, 200), (10, 30_000), (10**9, 1)):
        rows.learn(2_000, 2_000 * row_bytes)
        assert fitting == rows.now
    rows.learn(2_000, 0)
    assert 30_000 == rows.now


def test_pages_of_one_row_lose_none(
    shop: Shop, segment: SegmentSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "PAGE_BYTES_MAX", 1)
    monkeypatch.setattr(outbox, "FIRST_PAGE_ROWS", 3)
    shop.land(people(*range(12)))
    assert 0 == shop.sync().exit_code
    assert (24, 24) == (len(segment.events), len(segment.received))


def test_a_source_with_oauth_takes_a_run(tmp_path: Path) -> None:
    """With the write key in the body and a token, which may die on the way."""
    with SegmentSimulator(oauth=True) as segment:
        app = segment.authorization
        assert app
        shop = Shop(tmp_path / "shop", segment)
        shop.audience(PEOPLE)
        shop.environ |= {
            "DESTINATION__SEGMENT__BATCH_EVENTS_MAX": "4",
            "DESTINATION__SEGMENT__OAUTH_CLIENT_ID": app.client_id,
            "DESTINATION__SEGMENT__OAUTH_KEY_ID": app.key_id,
            "DESTINATION__SEGMENT__OAUTH_CLIENT_KEY": app.client_key,
            "DESTINATION__SEGMENT__OAUTH_AUTH_SERVER": segment.url,
        }
        shop.land(people(*range(20)))
        segment.faults.append(Fault(path="/v1/batch", nth=3, expire_token=True))
        done = shop.sync()
        assert (0, 40) == (done.exit_code, len(segment.events)), done.errors
        shop.environ["DESTINATION__SEGMENT__OAUTH_CLIENT_ID"] = "somebody-else"
        shop.land(people(*range(21)))
        refused = shop.sync()
        assert (2, 40) == (refused.exit_code, len(segment.events))
        assert "oauth_client_id" in refused.errors[0].hint
