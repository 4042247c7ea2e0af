"""Texts that PostgreSQL reads as the time at which it runs: those of a model are the plan's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import pytest
from warehouses.desk import Desk, desk_on

from tailrace.errors import ModelDoesNotBind

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
    "'now'::text::timestamp": NOW.replace(tzinfo=None),
    "('Now '::varchar)::text::timestamptz": NOW,
    "'today 04:00'::timestamp": datetime(2024, 2, 29, 4),
    "'04:00 TODAY'::timestamp": datetime(2024, 2, 29, 4),
    "'tomorrow04:00 America/New_York'::timestamptz": datetime(2024, 3, 1, 9, tzinfo=UTC),
    "'yesterday allballs'::timestamp": datetime(2024, 2, 28),
    "E'today'::date": TODAY,
    "$$ (today), $$::date": TODAY,
    "'epoch'::date": date(1970, 1, 1),
    "'allballs'::time": time(),
    "extract(day FROM born - age('tomorrow', born))::int": 28,
    "date_trunc('day', 'now'::timestamp)": datetime(2024, 2, 29),
    "extract(day FROM date 'tomorrow')::int": 1,
    "date('tomorrow')": date(2024, 3, 1),
    "COALESCE(NULL, 'today', born)": TODAY,
    "COALESCE(none, 'today')": "today",
    "CAST(COALESCE('today', city) AS date)": TODAY,
    "CAST(lower('TODAY') AS date)": TODAY,
    "CASE WHEN id = 'c1' THEN 'tomorrow' ELSE born END": date(2024, 3, 1),
    "CASE WHEN id = 'c1' THEN 'tomorrow' ELSE city END": "tomorrow",
    "CASE born WHEN 'today' THEN 1 ELSE 0 END": 1,
    "GREATEST(born, 'yesterday')": TODAY,
    "NULLIF(born, 'today')": None,
    "born - 'yesterday'": 1,
    "born < 'tomorrow'": True,
    "born = 'today' AND born IS NOT DISTINCT FROM ('TODAY')": True,
    "born BETWEEN 'yesterday' AND 'today'": True,
    "born NOT IN ('tomorrow', 'today')": False,
    "born = ANY('{today,tomorrow}')": True,
    "born = ANY(ARRAY['today']::date[])": True,
    "born <@ '[today,tomorrow)'::daterange": True,
    "seen <= 'now'": True,
    "seen > 'now'": False,
    "'now' >= seen": True,
    "city = 'today'": False,
    "city || 'now'": "Oslonow",
    "city LIKE 'today%'": False,
    "upper('now')": "NOW",
    "'call me today'": "call me today",
    "(SELECT w::date FROM (SELECT 'today' AS w) AS t)": TODAY,
    "(SELECT max(d) FROM (SELECT born AS d UNION ALL SELECT 'tomorrow') AS t)": date(2024, 3, 1),
    "(SELECT max(d::date) FROM (VALUES ('x', 'today')) AS t (x, d))": TODAY,
    "(SELECT max(d) FROM (VALUES (born), ('tomorrow')) AS t (d))": date(2024, 3, 1),
    "(WITH t (d) AS (SELECT 'today') SELECT CAST(t.d AS date) FROM t)": TODAY,
    "date_trunc('day', seen) = 'today'": True,
    "make_date(2024, 2, 29) IN ('today')": True,
    "(born, born) OVERLAPS ('today', 'tomorrow')": True,
    "format('%s now', city)": "Oslo now",
    "now()": NOW,
}
UNKNOWN = [
    "(born, id) = ('today', 'c1')",
    "num_nulls('today')",
]


@pytest.fixture
def desk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Desk]:
    request.param = "postgres"
    with desk_on(request, tmp_path) as desk:
        desk.clear()
        desk.script(
            "CREATE TABLE salesforce.contact AS SELECT 'c1' AS id, 'Oslo' AS city,"
            " CAST(NULL AS TEXT) AS none, DATE '2024-02-29' AS born,"
            " TIMESTAMP '2024-02-29 23:34:56.5' AS seen"
        )
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


def test_a_text_that_may_be_a_clock_is_refused(desk: Desk) -> None:
    """With its line, and with both things that can be written instead."""
    for expression in UNKNOWN:
        desk.store.audience(PEOPLE.format(names="c: c", values=f"{expression} AS c"))
        with pytest.raises(ModelDoesNotBind) as refused:
            desk.plan()
        assert refused.value.line == 7
        assert "The text 'today' may mean something else in postgres" in refused.value.message
        assert "CAST('today' AS DATE)" in refused.value.hint
        for type_ in re.findall(r"'today' AS (\w+)", refused.value.hint):
            written = expression.replace("'today'", f"CAST('today' AS {type_})")
            written = written.replace("born", "city") if type_ == "TEXT" else written
            desk.store.audience(PEOPLE.format(names="c: c", values=f"{written} AS c"))
            assert desk.plan().planned == 1


def test_a_text_of_a_translated_model_is_a_clock_too(desk: Desk) -> None:
    """In DuckDB's own dialect, which the warehouse does not speak."""
    audience = PEOPLE.replace("dialect: postgres\n", "")
    values = "born = 'today' AND born = CAST('today' AS DATE) AND city <> 'today' AS c"
    desk.store.audience(audience.format(names="c: c", values=values))
    desk.now = NOW
    _, delivery = desk.save_plan()
    ((transition, _),) = desk.transitions(delivery)
    assert transition.new["c"] is True
