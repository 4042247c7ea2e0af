"""A reviewed plan is carried out exactly, or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from shop import PEOPLE, Shop

from tailrace.errors import PlanUnreadable
from tailrace.plan.policy import PlanOptions
from tailrace.testing.segment.simulator import SegmentSimulator


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with SegmentSimulator() as segment:
        shop = Shop(tmp_path, segment)
        shop.audience(PEOPLE)
        shop.land([{"id": "c1", "city": "Oslo"}, {"id": "c2", "city": "Bergen"}])
        yield shop


def test_what_was_reviewed_is_sent(shop: Shop) -> None:
    """Nothing changed since the review, so the planned transitions are sent."""
    shop.plan(out=shop.root / "plan.json")

    done = shop.sync(plan_file=shop.root / "plan.json")

    assert done.exit_code == 0
    assert {event["userId"] for event in shop.arrived()} == {"c1", "c2"}


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ("data", "people (its changes)"),
        ("sql", "people (its SQL)"),
        ("mapping", "people (its mapping"),
        ("ledger", "people (its guards, its changes)"),
    ],
)
def test_a_plan_that_changed_is_refused(shop: Shop, changed: str, named: str) -> None:
    """The plan is made again and differs: the error names the difference, and nothing is sent."""
    shop.plan(out=shop.root / "plan.json")
    if changed == "data":
        shop.land([{"id": "c1", "city": "Oslo"}, {"id": "c3", "city": "Bergen"}])
    elif changed == "sql":
        shop.audience(PEOPLE + " AND city IS NOT NULL")
    elif changed == "mapping":
        shop.audience(PEOPLE.replace("{city: city,", "{town: city,"))
    else:
        shop.sync()
    shop.arrived()

    done = shop.sync(plan_file=shop.root / "plan.json")

    assert done.exit_code == 1
    (error,) = done.errors
    assert named in error.message
    assert "tailrace plan --out" in error.hint
    assert shop.arrived() == []


def test_a_plan_of_another_engine_is_refused(shop: Shop) -> None:
    """Another engine, or another version of it, may compute other values from the same rows."""
    file = shop.root / "plan.json"
    shop.plan(out=file)
    saved = json.loads(file.read_text())
    engine = saved["tailrace_plan"]["engine"]
    saved["tailrace_plan"]["engine"] = "duckdb v0.1"
    file.write_text(json.dumps(saved))

    done = shop.sync(plan_file=file)

    assert done.exit_code == 1
    (error,) = done.errors
    assert f"The plan was made by duckdb v0.1, this is {engine}" in error.message
    assert shop.arrived() == []


def test_the_choices_of_the_review_are_carried_out(shop: Shop) -> None:
    """A guard that was allowed in the review is allowed in the run."""
    shop.audience(PEOPLE.replace("key: id", "key: id\nguards: {min_rows: 5}"))
    shop.plan(out=shop.root / "plan.json", options=shop.allow(("people", "min_rows")))

    done = shop.sync(plan_file=shop.root / "plan.json")

    assert done.exit_code == 0
    assert len(shop.arrived()) == 4


def test_the_file_holds_no_personal_value(shop: Shop) -> None:
    """It may be attached to a pull request."""
    shop.land([{"id": "c1", "email": "ada@example.com", "city": "Lyngør"}])
    shop.plan(out=shop.root / "plan.json")

    written = (shop.root / "plan.json").read_text()

    assert "ada" not in written
    assert "Lyngør" not in written
    assert json.loads(written)["audiences"][0]["entered"] == 1


@pytest.mark.parametrize(
    "content",
    [
        *("", "{}", "[]", '{"tailrace_plan": {}}', '{"schema_version": 2, "tailrace_plan": {}}'),
        '{"schema_version": 1, "tailrace_plan": {"choices": {"allow": [5]}}}',
    ],
)
def test_another_file_is_no_plan(shop: Shop, content: str) -> None:
    """What Tailrace did not write is refused by name."""
    (shop.root / "other.json").write_text(content)

    with pytest.raises(PlanUnreadable, match=r"other\.json"):
        shop.sync(plan_file=shop.root / "other.json", options=PlanOptions())
