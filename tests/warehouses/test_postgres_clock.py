"""Texts that PostgreSQL reads as the time at which it runs: those of a model are the plan's."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import pytest
from warehouses.desk import Desk, desk_on

pytestmark = pytest.mark.postgres
NOW = datetime(2024, 2, 29, 23, 34, 56, 500_000, tzinfo=UTC)
TODAY = date(2024, 2, 29)
PEOPLE = """/* ---
dialect: postgres
key: id
user_id: id
track: {{properties: {{{names}}}}}
--- */
SELECT id, {values} FROM salesforce.contact"""
EXPECTED = {
    "'now'::timestamp": NOW.replace(tzinfo=None),
    "CAST(' NOW ' AS timestamptz)": NOW,
    "timestamp with time zone 'now'": NOW,
    "'now'::date": TODAY,
    "time 'now'": time(23, 34, 56, 500_000),
    "date 'today'": TODAY,
    "'Tomorrow'::date": TODAY + timedelta(days=1),
    "CAST('yesterday' AS timestamp)": datetime(2024, 2, 28),
    "'today'::text": "today",
    "now()": NOW,
}


@pytest.fixture
def desk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Desk]:
    request.param = "postgres"
    with desk_on(request, tmp_path) as desk:
        desk.clear()
        desk.script("CREATE TABLE salesforce.contact AS SELECT 'c1' AS id")
        yield desk


def test_a_text_that_is_a_clock_has_the_time_of_the_plan(desk: Desk) -> None:
    """On the server, and in UTC, whatever the time zone of the server is."""
    values = [f"{expression} AS c{place}" for place, expression in enumerate(EXPECTED)]
    names = ", ".join(f"c{place}: c{place}" for place in range(len(EXPECTED)))
    desk.store.audience(PEOPLE.format(names=names, values=", ".join(values)))
    desk.now = NOW
    _, delivery = desk.save_plan()
    ((transition, _),) = desk.transitions(delivery)
    found = [transition.new[f"c{place}"] for place in range(len(EXPECTED))]
    assert list(EXPECTED.values()) == found
