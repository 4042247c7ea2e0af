"""Asked after one person: where they are in Salesforce, in which audiences, and why not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from shop import PEOPLE, Shop

from tailrace.cli.output.text import blocks
from tailrace.reporting import history
from tailrace.testing.segment.simulator import SegmentSimulator

ASKED = PEOPLE.replace("identify:", "consent: {suppress_when: refuses}\nidentify:").replace(
    "city, score FROM", "city, score, email = 'no' AS refuses FROM"
)


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with SegmentSimulator() as segment:
        shop = Shop(tmp_path, segment)
        shop.audience(ASKED)
        yield shop


def asked(shop: Shop, person: str = "c1") -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The person's rows in Salesforce, and the one audience."""
    found = history.trace(shop.project, person, clock=shop.clock)
    (audience,) = found["audiences"]
    return found["salesforce"], audience


def test_a_member_is_shown_as_a_member(shop: Shop) -> None:
    shop.land([{"id": "c1"}])
    shop.sync()
    rows, audience = asked(shop)
    assert [{"table": "contact", "deleted": False}] == rows
    assert ("member", "") == (audience["membership"], audience["why_not"])


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([{"id": "c2"}], "not in the model's result, and no landed object has this id"),
        (
            [{"id": "c1", "is_deleted": True}],
            "not in the model's result, and deleted in Salesforce",
        ),
        ([{"id": "c1", "email": "no"}], "suppressed by consent: refuses is true"),
        ([{"id": "c1"}, {"id": "c1"}], "the key is in 2 rows, which are quarantined"),
    ],
    ids=["nowhere", "deleted", "consent", "duplicate"],
)
def test_the_reason_is_shown_if_a_person_is_not_a_member(
    shop: Shop, rows: list[dict[str, Any]], why: str
) -> None:
    """Before any delivery of them, and, of a member, with what the next run does."""
    shop.land([{"id": "c9"}])
    shop.sync()
    shop.land([{"id": "c9"}, *rows])
    assert why == asked(shop)[1]["why_not"]
    shop.land([{"id": "c9"}, {"id": "c1"}])
    shop.sync()
    shop.land([{"id": "c9"}, *rows])
    told = asked(shop)[1]
    then = (
        "; the membership stays as it is"
        if "quarantined" in why
        else "; the next run sends the exit"
    )
    assert ("member", f"{why}{then}") == (told["membership"], told["why_not"])


def test_what_stands_between_a_row_and_segment_is_named(shop: Shop) -> None:
    """The next run, a guard, a refusal, an edit that cannot run, a file that is gone."""
    shop.land([{"id": "c9"}])
    shop.sync()
    shop.land([{"id": "c9"}, {"id": "c1", "city": "x" * 40_000}])
    assert "the next run sends the entry" == asked(shop)[1]["why_not"]

    shop.audience(ASKED.replace("key: id", "key: id\nguards: {max_entered: 0}"))
    assert 3 == shop.sync().exit_code
    assert "the audience is held by max_entered" == asked(shop)[1]["why_not"]

    shop.audience(ASKED)
    assert 4 == shop.sync().exit_code
    refused = "refused: event_over_32_kb; the next run sends it again"
    assert refused == asked(shop)[1]["why_not"]

    shop.audience(ASKED.replace("FROM salesforce.contact", "FROM salesforce.nothing"))
    assert asked(shop)[1]["why_not"].startswith("the model cannot be run: ")

    shop.forget_audience("people")
    assert "its model file was deleted" == asked(shop)[1]["why_not"]


def test_an_audience_that_was_never_delivered_is_asked_too(shop: Shop) -> None:
    """And a person is told of it on a terminal."""
    shop.land([{"id": "c1"}])
    shop.sync()
    shop.audience(PEOPLE.replace("audience: people\n", "") + " AND city = 'Oslo'", "locals")
    found = history.trace(shop.project, "c1", clock=shop.clock)
    lines = list(blocks({"command": "trace", **found}))
    assert "salesforce.contact: present" == lines[0]
    assert "locals: never a member: not in the model's result" in lines
