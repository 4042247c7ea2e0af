"""Members that are sent again although their values are the recorded ones, and are rejected."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from shop import PEOPLE, Shop
from simulation.receiver import members, profiles

from tailrace.plan.policy import Intent, PlanOptions
from tailrace.testing import Fault, SegmentSimulator

SENT_AGAIN = PEOPLE.replace("key: id", "key: id\non_mapping_change: send")
REMAPPED = SENT_AGAIN.replace("score: score", "score: score, town: city")


@pytest.fixture
def segment() -> Iterator[SegmentSimulator]:
    with SegmentSimulator() as simulator:
        yield simulator


@pytest.fixture
def shop(tmp_path: Path, segment: SegmentSimulator) -> Shop:
    """Two delivered members."""
    made = Shop(tmp_path / "shop", segment)
    made.audience(SENT_AGAIN)
    made.land(people("Oslo"))
    made.sync()
    made.arrived()
    return made


def people(city: str, email: str | None = None) -> list[dict[str, Any]]:
    return [{"id": "c1", "city": city, "email": email}, {"id": "c2", "city": "Bergen"}]


def rejecting(shop: Shop, segment: SegmentSimulator, intent: Intent, kind: str) -> None:
    """Send every member again while Segment refuses one kind of the message of one of them."""
    if intent == "changes":
        shop.audience(REMAPPED)
    poison = {"userId": "c1"} | ({"type": kind} if kind else {})
    segment.faults.append(Fault(path="/v1/batch", poison=poison, status=400))
    assert 4 == shop.sync(options=PlanOptions(intent=intent)).exit_code
    segment.faults.clear()
    shop.arrived()


@pytest.mark.older_duckdb
@pytest.mark.parametrize(("city", "kind"), [("Oslo", ""), ("Tromsø", ""), ("Tromsø", "track")])
@pytest.mark.parametrize(
    ("intent", "event"), [("changes", "People Changed"), ("resend", "Segment Entered")]
)
def test_a_rejected_member_is_sent_again_whole(
    shop: Shop, segment: SegmentSimulator, intent: Intent, event: str, city: str, kind: str
) -> None:
    """Its row equals the recorded one, or changed since: it lacks more than the change."""
    rejecting(shop, segment, intent, kind)
    shop.land(people(city))
    assert 0 == shop.sync().exit_code
    arrived = shop.arrived()
    assert {"c1"} == {e["userId"] for e in arrived}
    if not kind:
        assert [None, event] == [e.get("event") for e in arrived]
    _, (properties, traits) = sorted(members(profiles(segment.events)).items())[0]
    assert (city, True) == (properties["city"], traits["people"])
    assert ("town" in properties) == (intent == "changes")
    if intent == "changes":
        assert city == properties["town"]
    assert 0 == shop.sync().exit_code
    assert [] == shop.arrived() == segment.inbox.clashes


@pytest.mark.parametrize("intent", ["changes", "resend"])
def test_retry_sends_a_rejected_resend(
    shop: Shop, segment: SegmentSimulator, intent: Intent
) -> None:
    rejecting(shop, segment, intent, "")
    assert 0 == shop.sync(options=PlanOptions(intent="retry")).exit_code
    assert ["identify", "track"] == [e["type"] for e in shop.arrived()]


def test_a_rejected_resend_of_a_member_who_left_is_an_exit(
    shop: Shop, segment: SegmentSimulator
) -> None:
    rejecting(shop, segment, "resend", "")
    shop.land(people("Oslo")[1:])
    assert 0 == shop.sync().exit_code
    assert ["Segment Exited"] == [e["event"] for e in shop.arrived() if e["type"] == "track"]


def test_a_member_that_changes_with_the_mapping_gets_all_messages(
    shop: Shop, segment: SegmentSimulator
) -> None:
    """A changed trait alone sends no track event, in which the new property is."""
    shop.audience(REMAPPED)
    shop.land(people("Oslo", "ada@example.com"))
    assert 0 == shop.sync().exit_code
    held = members(profiles(segment.events))
    assert ["Oslo", "Bergen"] == [held[key][0]["town"] for key in ("c1", "c2")]
    assert "ada@example.com" == held["c1"][1]["email"]


def test_a_user_that_changes_with_the_mapping_leaves_the_former_one(
    tmp_path: Path, segment: SegmentSimulator
) -> None:
    shop = Shop(tmp_path / "users", segment)
    shop.audience(SENT_AGAIN.replace("user_id: id", "user_id: email"))
    shop.land(people("Oslo", "ada@example.com")[:1])
    assert 0 == shop.sync().exit_code
    shop.audience(REMAPPED.replace("user_id: id", "user_id: email"))
    shop.land(people("Oslo", "eve@example.com")[:1])
    assert 0 == shop.sync().exit_code
    held = profiles(segment.events)
    assert not held["ada@example.com"].member
    assert "Oslo" == held["eve@example.com"].properties["town"]
