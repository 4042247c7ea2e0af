"""A run that equals the one before it reads no model, and every difference makes it read them."""

from __future__ import annotations

import json
import logging
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from alerts.alert_receivers import receiving
from shop import Shop

from tailrace.alerts.observer import alerting
from tailrace.clock import SystemClock
from tailrace.ledger.ledger import Ledger
from tailrace.lineage_events.events import Event
from tailrace.lineage_events.observer import LineageObserver
from tailrace.plan.policy import PlanOptions
from tailrace.project import Project
from tailrace.run import job
from tailrace.run.result import RunResult
from tailrace.run.unchanged import FILE
from tailrace.testing import SalesforceSimulator
from tailrace.testing.segment.simulator import SegmentSimulator
from tailrace.warehouse.opening import open_warehouse

CREDENTIALS = "SOURCES__SALESFORCE__CREDENTIALS__"
OBJECTS = "SOURCES__SALESFORCE__OBJECTS"
PEOPLE = """/* ---
audience: people
key: id
user_id: id
track: {changed: Changed, properties: {city: mailing_city, area: area}}
--- */
SELECT c.id, c.mailing_city, r.area FROM live AS c
LEFT JOIN crm.region AS r ON r.city = c.mailing_city
"""
LIVE = "SELECT * FROM salesforce.contact WHERE NOT is_deleted\n"
TITLED = """/* ---
audience: titled
key: id
user_id: id
track: {properties: {title: title}}
--- */
SELECT l.id, l.title FROM live AS l WHERE l.title <> ''
AND l.id NOT IN (SELECT city FROM crm.region)
"""
SOURCES = "sources: [{dataset: crm, table: region}]\n"


@dataclass(frozen=True, kw_only=True)
class Idle:
    """A shop whose last run changed nothing and is kept, and the org that it reads."""

    shop: Shop
    org: SalesforceSimulator

    def run(self, **options: Any) -> RunResult:
        return job.run(self.shop.project, clock=self.shop.clock, **options)

    def write(self, sql: str) -> None:
        """As another program would, between two runs."""
        with self.shop.connection() as connection:
            connection.execute(sql)

    def edit(self, path: str, text: str) -> None:
        (self.shop.root / path).write_text(text)

    def set(self, **variables: str) -> None:
        self.shop.environ |= variables


@pytest.fixture(scope="module")
def settled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Idle]:
    with SalesforceSimulator() as org, SegmentSimulator() as segment:
        shop = Shop(tmp_path_factory.mktemp("idle") / "shop", segment)
        shop.environ |= {
            f"{CREDENTIALS}INSTANCE_URL": org.url,
            f"{CREDENTIALS}CLIENT_ID": org.client_id,
            f"{CREDENTIALS}CLIENT_SECRET": org.client_secret,
            OBJECTS: '["Contact"]',
        }
        shop.audience(PEOPLE)
        shop.audience(TITLED, "titled")
        idle = Idle(shop=shop, org=org)
        idle.edit("models/live.sql", LIVE)
        idle.edit("models/sources.yml", SOURCES)
        idle.write(
            "CREATE SCHEMA crm; CREATE TABLE crm.region AS SELECT 'Oslo' AS city, 'East' AS area"
        )
        for _ in range(3):
            org.org.advance(minutes=30)
            assert 0 == idle.run().exit_code
        assert (shop.root / ".tailrace" / FILE).is_file()
        yield idle


@pytest.fixture
def idle(settled: Idle, tmp_path: Path) -> Idle:
    """A copy of the shop, which a test may change."""
    root = tmp_path / "shop"
    shutil.copytree(settled.shop.root, root)
    shop = Shop(root, settled.shop.segment)
    shop.environ = dict(settled.shop.environ)
    return replace(settled, shop=shop)


@pytest.fixture
def statements(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """The names of the statements that have run since the last call."""
    caplog.set_level(logging.DEBUG, "tailrace.warehouse.connection")

    def names() -> list[str]:
        records = [str(r.args[0]) for r in caplog.records if r.msg == "statement %s" and r.args]
        caplog.clear()
        return records

    return names


def comparable(result: RunResult) -> Mapping[str, Any]:
    """A result without what differs between two runs in any case."""
    entry = json.loads(json.dumps(result.as_dict()))
    # The test copies the shop, and the first run notices it.
    entry["warnings"] = [w for w in entry["warnings"] if "is a copy of" not in w["message"]]
    return {key: entry[key] for key in entry if key not in ("run_id", "salesforce")}


def test_an_unchanged_run_has_the_result_of_one_that_reads_the_models(
    idle: Idle, statements: Callable[[], list[str]]
) -> None:
    """The same output and the same ledger, with fewer statements."""
    short = idle.run()
    short_statements = statements()
    (idle.shop.root / ".tailrace" / FILE).unlink()
    whole = idle.run()
    whole_statements = statements()
    assert comparable(whole) == comparable(short)
    assert ["inputs unchanged"] * 2 == [entry["skipped"] for entry in short.audiences]
    assert "models/create_view" not in short_statements
    assert "models/create_view" in whole_statements
    assert len(short_statements) < len(whole_statements)
    details = "json_keys(details), json_keys(details -> 'phases')"
    (first, second) = idle.shop.query(
        f"SELECT command, exit_code, error, allowed, {details} FROM tailrace.runs "
        "ORDER BY run_seq DESC LIMIT 2"
    )
    assert first == second
    planned = "SELECT count(*) FROM tailrace.audience_runs WHERE run_seq > 3"
    assert [(0,)] == idle.shop.query(planned)


def test_what_no_run_depends_on_reads_no_model(
    idle: Idle, statements: Callable[[], list[str]]
) -> None:
    """A file that is written again with the same text, another table, another variable."""
    idle.edit("models/live.sql", LIVE)
    idle.edit("README.md", "# A shop\n")
    idle.set(HOME_PAGE="https://example.com")
    idle.write("CREATE SCHEMA notes; CREATE TABLE notes.other AS SELECT 1 AS n")
    assert 0 == idle.run().exit_code
    assert "models/create_view" not in statements()


Change = Callable[[Idle], object]
# The ledger key of the audience, as its tables name it.
KEY = "(SELECT max(sync_key) FROM tailrace.audience_runs WHERE name = 'people')"


def remove_member(idle: Idle) -> None:
    (name,) = idle.shop.query(f"SELECT 'snapshot__' || {KEY}")[0]
    idle.write(f'DELETE FROM tailrace."{name}" WHERE rowid = 0')


CHANGES: Mapping[str, Change] = {
    "a row of a source": lambda i: i.write("UPDATE crm.region SET area = 'West'"),
    "a column of a source": lambda i: i.write("ALTER TABLE crm.region ADD COLUMN n INTEGER"),
    "a type in a source": lambda i: i.write(
        "ALTER TABLE crm.region ALTER area TYPE VARCHAR[] USING [area]"
    ),
    "a source that is gone": lambda i: i.write("DROP TABLE crm.region"),
    "a landed row of another program": lambda i: i.write(
        "UPDATE salesforce.contact SET title = title || '!'"
    ),
    "a landed column": lambda i: i.write("ALTER TABLE salesforce.contact ADD COLUMN x INTEGER"),
    "a view that was dropped": lambda i: i.write("DROP VIEW tailrace_models.live"),
    "a view that was replaced": lambda i: i.write(
        "CREATE OR REPLACE VIEW tailrace_models.live AS SELECT * FROM salesforce.contact"
    ),
    "a member that was removed": remove_member,
    "a rejection": lambda i: i.write(
        f"INSERT INTO tailrace.rejections BY NAME SELECT 1 AS run_seq, {KEY} AS sync_key,"
        " 1 AS seq, 'rejected' AS kind, 'x' AS reason, '' AS path, 1 AS attempts,"
        " false AS unconfirmed, now() AS first_seen, now() AS last_seen"
    ),
    "an interrupted delivery": lambda i: i.write(
        "UPDATE tailrace.audience_runs SET phase = 'delivering', finished_at = NULL"
        " WHERE name = 'people'"
    ),
    "an incomplete extract": lambda i: i.org.org.touch("Contact", rows=1),
    "a model": lambda i: i.edit("models/live.sql", f"{LIVE} AND mailing_city <> ''"),
    "a comment in a model": lambda i: i.edit("models/live.sql", f"-- All.\n{LIVE}"),
    "a header": lambda i: i.edit(
        "models/audiences/people.sql", PEOPLE.replace("key: id", "key: id\nmin_rows: 10")
    ),
    "a new model": lambda i: i.edit("models/other.sql", LIVE),
    "a broken model": lambda i: i.edit("models/other.sql", "SELECT FROM"),
    "a removed file": lambda i: (i.shop.root / "models/audiences/titled.sql").unlink(),
    "a declaration": lambda i: i.edit(
        "models/sources.yml", "sources: [{dataset: crm, table: region, columns: {n: BIGINT}}]\n"
    ),
    "a tracking plan": lambda i: i.edit("tracking_plan.yaml", "rules: []\n"),
    "a setting": lambda i: i.set(TAILRACE__FIRST_RUN_MEMBERS_MAX="10"),
    "a configuration file": lambda i: i.edit(
        ".dlt/config.toml", (i.shop.root / ".dlt/config.toml").read_text() + "\n[runtime]\n"
    ),
    "a damaged file": lambda i: i.edit(f".tailrace/{FILE}", "{}"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_run_after_a_change_reads_the_models(
    idle: Idle, statements: Callable[[], list[str]], change: Change
) -> None:
    change(idle)
    statements()
    try:
        result = idle.run()
    except Exception as error:
        assert "models" in str(error) or "tracking_plan" in str(error), error
        return
    assert "models/kinds" in statements(), result


# What the identity of the file, the extract and the key of the run must notice: one of each kind.
NOTICED = (
    "a row of a source",
    "a landed row of another program",
    "a view that was dropped",
    "an interrupted delivery",
    "an incomplete extract",
    "a model",
    "a setting",
)


def run_until_idle(idle: Idle) -> RunResult:
    """Run until nothing is new: another test may have changed a row of the org."""
    idle.org.org.advance(minutes=30)
    result = idle.run()
    return idle.run() if any(entry["rows"] for entry in result.objects) else result


def test_a_run_after_an_idle_run_reads_nothing_that_it_knows_of_the_file(
    idle: Idle, statements: Callable[[], list[str]]
) -> None:
    """The same result from fewer statements, and the same records in the ledger."""
    before = run_until_idle(idle)
    statements()
    result = idle.run()
    assert comparable(before) == comparable(result)
    asked = statements()
    assert not {name for name in asked if name.startswith(("plan/", "models/", "landing/"))}
    assert not {"warehouse/columns", "warehouse/tables", "ledger/last_extracts"} & set(asked)
    extracts = "SELECT * EXCLUDE (run_seq, finished_at, seconds, window_end) FROM tailrace.extracts"
    first, second = (
        idle.shop.query(
            f"{extracts} WHERE run_seq = (SELECT max(run_seq) - {age} FROM tailrace.runs)"
        )
        for age in (1, 0)
    )
    assert first == second != []


@pytest.mark.parametrize("name", NOTICED)
def test_a_run_after_an_idle_run_notices_a_change(
    idle: Idle, statements: Callable[[], list[str]], name: str
) -> None:
    run_until_idle(idle)
    CHANGES[name](idle)
    statements()
    idle.run()
    assert "models/kinds" in statements()


def test_an_extract_between_two_runs_hands_on_what_is_known(
    idle: Idle, statements: Callable[[], list[str]]
) -> None:
    run_until_idle(idle)
    statements()
    job.extract(idle.shop.project, clock=idle.shop.clock)
    idle.run()
    assert not {"landing/stored_state", "ledger/last_extracts"}.intersection(statements())


class LaterClock(SystemClock):
    """The clock of this machine, a number of days ahead."""

    days = 0

    def now(self) -> datetime:
        return super().now() + timedelta(days=self.days)


def test_a_model_that_reads_the_date_is_read_once_a_day(
    idle: Idle, statements: Callable[[], list[str]]
) -> None:
    idle.edit("models/live.sql", f"{LIVE} AND created_date < current_date + INTERVAL 9 DAY")
    clock = idle.shop.clock = LaterClock()
    # Not in the last seconds of a day.
    clock.days = 2
    run_until_idle(idle)
    for _ in range(2):
        idle.run()
    statements()
    same_day = idle.run()
    assert "models/kinds" not in statements()
    clock.days = 3
    next_day = idle.run()
    assert "models/kinds" in statements()
    assert ["inputs unchanged"] * 2 == [entry["skipped"] for entry in same_day.audiences]
    assert ["", ""] == [entry["skipped"] for entry in next_day.audiences]


def test_options_read_the_models(idle: Idle, statements: Callable[[], list[str]]) -> None:
    for options in (
        {"select": ["people"]},
        {"options": PlanOptions(skip_unchanged=False)},
        {"resend": True},
    ):
        assert 0 == idle.run(**options).exit_code
        assert "models/kinds" in statements()


@pytest.mark.parametrize(
    ("open_problems", "sent"),
    [
        ({}, []),
        (
            {"people": "held", "titled": "late", "command:run": "failed", "gone": "held"},
            ["command:run", "people", "titled"],
        ),
        # A file that an audience reads can be used again. Of one that none reads, nothing is known.
        (
            {"file:models/live.sql": "broken", "file:models/unread.sql": "broken"},
            ["file:models/live.sql"],
        ),
    ],
)
def test_an_unchanged_run_alerts_as_one_that_reads_the_models(
    idle: Idle,
    statements: Callable[[], list[str]],
    open_problems: Mapping[str, str],
    sent: list[str],
) -> None:
    """The same messages, result and records, and the models are read for a broken file only."""
    idle.edit("models/unread.sql", "SELECT 1 AS one")
    with receiving() as receiver:
        idle.set(TAILRACE__ALERTS__URLS=receiver.url)
        run_until_idle(idle)
        outcomes = []
        for is_short in (True, False):
            with open_warehouse(idle.shop.project, clock=idle.shop.clock) as warehouse:
                alerts = Ledger(warehouse, clock=idle.shop.clock).alerts
                for subject, problem in open_problems.items():
                    alerts.save(alerts.receiver(receiver.url), subject, problem)
            if not is_short:
                (idle.shop.root / ".tailrace" / FILE).unlink()
            statements()
            with alerting(idle.shop.project, "run", clock=idle.shop.clock) as observers:
                result = idle.run(observers=observers)
            assert is_short is ("models/create_view" not in statements())
            left = idle.shop.query("SELECT subject, problem FROM tailrace.alerts ORDER BY subject")
            taken = [(body["type"], body["title"]) for body in receiver.bodies]
            receiver.taken.clear()
            outcomes.append((comparable(result), left, taken))
        assert outcomes[0] == outcomes[1]
        assert sent == [change["subject"] for change in outcomes[0][0]["alerts"]["sent"]]
        assert bool(sent) == bool(outcomes[0][2])


class CollectedEvents(LineageObserver):
    """The events of a run, in the order in which they would be sent."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.events: list[Event] = []

    def _send(self, events: Sequence[Event]) -> None:
        self.events += events


def test_an_unchanged_run_has_the_lineage_events_of_one_that_reads_the_models(
    idle: Idle, statements: Callable[[], list[str]]
) -> None:
    """All but their times and the ids of their runs."""
    run_until_idle(idle)
    collected = []
    for is_short in (True, False):
        if not is_short:
            (idle.shop.root / ".tailrace" / FILE).unlink()
        statements()
        observer = CollectedEvents(idle.shop.project, clock=idle.shop.clock)
        idle.run(observers=(observer,))
        assert is_short is ("models/create_view" not in statements())
        text = json.dumps([event.as_dict() for event in observer.events])
        text = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+(Z|\+00:00)", "TIME", text)
        collected.append(re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "RUN", text))
    assert collected[0] == collected[1]
    assert all(f'{name}"' in collected[0] for name in ("people", "titled", "contact"))


def test_an_unchanged_run_with_a_stored_state_reads_no_model(
    idle: Idle, statements: Callable[[], list[str]], tmp_path: Path
) -> None:
    """Every run stores the ledger; only its tables and the files decide what it reads."""
    idle.set(TAILRACE__STATE_URL=f"file://{tmp_path}/state")
    Project(idle.shop.project).push_state(idle.shop.root / "warehouse.duckdb")
    run_until_idle(idle)
    idle.run()
    statements()
    short = idle.run()
    # It knows the file too, which no other process has written to.
    assert not {"models/create_view", "warehouse/columns_in"} & set(statements())
    (idle.shop.root / ".tailrace" / FILE).unlink()
    whole = idle.run()
    assert "models/create_view" in statements()
    ours, theirs = ({**comparable(result)} for result in (short, whole))
    assert ours.pop("state")["generation"] + 1 == theirs.pop("state")["generation"]
    assert ours == theirs


def test_another_receiver_is_refused_as_before(idle: Idle) -> None:
    from tailrace.errors import ReceiverChanged

    idle.set(DESTINATION__SEGMENT__WRITE_KEY="another-key-of-another-source")
    with pytest.raises(ReceiverChanged):
        idle.run()


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("models/live.sql", f"{LIVE} AND created_date < now()"),
        ("models/unread.sql", "SELECT now() AS time, id FROM salesforce.contact"),
        ("models/live.sql", f"/* ---\nmaterialized: table\n--- */\n{LIVE}"),
    ],
)
def test_a_run_that_depends_on_more_than_its_tables_is_not_kept(
    idle: Idle, statements: Callable[[], list[str]], path: str, text: str
) -> None:
    idle.edit(path, text)
    for _ in range(3):
        statements()
        assert 0 == idle.run().exit_code
    assert "models/kinds" in statements()
