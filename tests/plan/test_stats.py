"""The number of users that are new to Segment: each once, without earlier members."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from shop import PEOPLE, Shop

from tailrace.testing.segment.simulator import SegmentSimulator

LOCALS = PEOPLE.replace("audience: people\n", "") + " AND city = 'Oslo'"
HOUSES = """/* ---
key: city
anonymous_id: someone
identify: {traits: {city: city}}
--- */
SELECT city, MIN(id) AS someone FROM salesforce.contact GROUP BY city
"""


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with SegmentSimulator() as segment:
        shop = Shop(tmp_path, segment)
        shop.audience(PEOPLE)
        shop.land([{"id": "c1", "city": "Oslo"}, {"id": "c2", "city": "Moss"}])
        yield shop


def new_users(shop: Shop) -> tuple[int, int]:
    """As the plan counts them, and as the sum of its audiences would."""
    plan = shop.plan()
    return plan.totals()["new_users"], sum(each.new_users for each in plan.audiences)


def test_a_user_of_several_audiences_counts_once(shop: Shop) -> None:
    """Two people, of whom one enters two audiences more."""
    assert (2, 2) == new_users(shop)
    shop.audience(LOCALS, "locals")
    shop.audience(HOUSES, "houses")
    assert (2, 5) == new_users(shop)


def test_a_user_that_was_ever_sent_is_not_new(shop: Shop) -> None:
    """Neither members of another audience nor those who left it."""
    shop.sync()
    shop.land([{"id": "c1", "city": "Oslo", "is_deleted": True}])
    shop.sync()
    shop.audience(LOCALS, "locals")
    shop.land([{"id": id_, "city": "Oslo"} for id_ in ("c1", "c2", "c3")])
    assert (1, 4) == new_users(shop)


def test_a_held_audience_has_no_new_users(shop: Shop) -> None:
    shop.audience(PEOPLE.replace("key: id", "key: id\nguards: {max_entered: 1}"))
    assert (0, 2) == new_users(shop)


def test_each_destination_has_users_of_its_own(shop: Shop) -> None:
    """A second Segment source has no user of the first."""
    shop.sync()
    shop.environ["DESTINATION__OTHER__WRITE_KEY"] = "other-key"
    shop.audience(PEOPLE.replace("key: id", "key: id\ndestination: [segment, other]"))
    shop.land([{"id": "c1"}, {"id": "c2"}, {"id": "c3"}])
    assert (1 + 3, 1 + 3) == new_users(shop)
