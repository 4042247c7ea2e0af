"""What holds on every warehouse: the same files, the same rows, the same calls at Segment.

DuckDB always; PostgreSQL by a server of the tests' own. A further warehouse is one more name in
`stores.ENGINES`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from warehouses.postgres_server import PostgresServer
from warehouses.stores import ENGINES, PostgresStore, Store, store_on

from tailrace.cli.commands.demo import SandboxClock
from tailrace.cli.commands.init import scaffold
from tailrace.clock import SystemClock
from tailrace.config.project import load_project
from tailrace.errors import LockHeld
from tailrace.ledger import maintenance
from tailrace.ledger.ledger import Ledger
from tailrace.plan.policy import PlanOptions
from tailrace.reporting import history
from tailrace.reporting.status import status
from tailrace.run import job
from tailrace.run.result import RunResult
from tailrace.testing import Fault, SalesforceSimulator, SegmentSimulator
from tailrace.warehouse.opening import open_warehouse

PEOPLE = """/* ---
key: id
user_id: id
track:
  changed: People Changed
  properties: {city: city, score: score}
identify:
  traits: {email: email}
  membership_trait: people
--- */
SELECT id, email, city, score FROM live_contacts"""
LIVE = "SELECT id, email, city, score FROM salesforce.contact WHERE NOT is_deleted"
CONTACT = (
    "CREATE SCHEMA salesforce;"
    "CREATE TABLE salesforce.contact "
    "(id TEXT, email TEXT, city TEXT, score DOUBLE, is_deleted BOOLEAN);"
    "INSERT INTO salesforce.contact VALUES ('c1', 'a@example.com', 'Oslo', 1.5, FALSE),"
    "('c2', 'b@example.com', 'Bergen', 'NaN', FALSE), ('c3', NULL, NULL, NULL, FALSE),"
    "('c4', 'd@example.com', 'Moss', 4, TRUE)"
)
OK = {"exit_code": 0, "rejected": 0}
DAY_SECONDS = 24 * 60 * 60


@pytest.fixture(params=ENGINES)
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A project of one audience over one staging model, three live contacts, and Segment."""
    with SegmentSimulator() as segment, store_on(request, tmp_path / "shop", segment) as store:
        store.environ["DESTINATION__SEGMENT__RETRY_SECONDS_MAX"] = "0.1"
        store.audience(PEOPLE)
        staging(store, LIVE)
        store.script(CONTACT)
        yield store
        assert [] == segment.inbox.clashes, "one id never stands for two contents"


def staging(store: Store, text: str) -> None:
    folder = store.project.models_folder / "staging"
    folder.mkdir(exist_ok=True)
    (folder / "live_contacts.sql").write_text(text)


def moved(done: RunResult) -> tuple[Any, ...]:
    """What a run of one audience came to."""
    (each,) = done.audiences
    assert [] == [error.message for error in done.errors]
    return (done.exit_code, each["entered"], each["changed"], each["exited"], each["sent"])


def said(store: Store) -> list[tuple[Any, ...]]:
    """What arrived since the last look: who, what, and the values."""
    found = []
    for event in store.arrived():
        values = dict(event.get("properties") or event.get("traits") or {})
        values.pop("audience_key", None)
        found.append((event["userId"], event.get("event", event["type"]), values))
    return sorted(found, key=repr)


def test_an_audience_lives_through_its_days(shop: Store) -> None:
    """All members enter; some change, exit and return; a day without changes sends nothing."""
    assert (0, 3, 0, 0, 3) == moved(shop.sync())
    assert ("c2", "Segment Entered", {"city": "Bergen", "score": None}) in said(shop)
    assert (0, 0, 0, 0, 0) == moved(shop.sync())
    assert [] == said(shop)
    shop.script(
        "UPDATE salesforce.contact SET city = 'Tromsø' WHERE id = 'c1';"
        "UPDATE salesforce.contact SET email = 'bo@example.com' WHERE id = 'c2';"
        "UPDATE salesforce.contact SET is_deleted = TRUE WHERE id = 'c3';"
        "UPDATE salesforce.contact SET is_deleted = FALSE WHERE id = 'c4'"
    )
    assert (0, 1, 2, 1, 4) == moved(shop.sync())
    assert [
        ("c1", "People Changed", {"city": "Tromsø", "score": 1.5, "previous": {"city": "Oslo"}}),
        ("c2", "identify", {"email": "bo@example.com", "people": True}),
        ("c3", "Segment Exited", {"city": None, "score": None}),
        ("c3", "identify", {"people": False}),
        ("c4", "Segment Entered", {"city": "Moss", "score": 4}),
        ("c4", "identify", {"email": "d@example.com", "people": True}),
    ] == said(shop)
    shop.script("UPDATE salesforce.contact SET is_deleted = FALSE WHERE id = 'c3'")
    assert (0, 1, 0, 0, 1) == moved(shop.sync())
    assert (0, 0, 0, 0, 0) == moved(shop.sync())
    (stands,) = status(shop.project, clock=SystemClock())["audiences"]
    assert ("unchanged", 4, 4) == (stands["status"], stands["size_before"], stands["size_after"])


VALUES = {
    "big": ("BIGINT", "9007199254740993", "9007199254740993"),
    "text": ("TEXT", "'it''s 100% \\ \"東京\" :now'", 'it\'s 100% \\ "東京" :now'),
    "empty": ("TEXT", "''", ""),
    "price": ("DECIMAL(18, 2)", "1.50", 1.5),
    "exact": (
        "DECIMAL(38, 10)",
        "12345678901234567890.0123456789",
        "12345678901234567890.0123456789",
    ),
    "ratio": ("DOUBLE", "0.1", 0.1),
    "endless": ("DOUBLE", "'Infinity'", None),
    "flag": ("BOOLEAN", "FALSE", False),
    "day": ("DATE", "'2026-02-28'", "2026-02-28"),
    "hour": ("TIME", "'23:59:59'", "23:59:59"),
    "local": ("TIMESTAMP", "'2026-03-29 01:30:00.123456'", "2026-03-29T01:30:00.123456Z"),
    "instant": ("TIMESTAMPTZ", "'2026-03-29 03:30:00+02'", "2026-03-29T01:30:00Z"),
    "token": (
        "UUID",
        "'00000000-0000-0000-0000-0000000000aa'",
        "00000000-0000-0000-0000-0000000000aa",
    ),
    "tags": ("TEXT[]", "['a', NULL, 'it''s']", ["a", None, "it's"]),
    "none": ("TEXT", "NULL", None),
}


# Values of a type that an engine does not have.
NO_TYPE = {("token", "snowflake")}


def test_a_value_is_the_same_call_whatever_keeps_it(shop: Store) -> None:
    """Exact numbers, instants in UTC, lists, text of any kind, NULL; on entering and on leaving."""
    cases = {
        name: case
        for name, case in VALUES.items()
        if (name, shop.dialect) not in NO_TYPE and case[0] not in shop.absent_types
    }
    names = ", ".join(cases)
    mapped = ", ".join(f"{name}: {name}" for name in cases)
    shop.audience(
        f"/* ---\nkey: id\nuser_id: id\ntrack: {{properties: {{{mapped}}}}}\n--- */\n"
        f"SELECT id, {names} FROM salesforce.account"
    )
    columns = ", ".join(f"{name} {type_}" for name, (type_, _, _) in cases.items())
    cells = ", ".join(f"CAST({sql} AS {type_})" for type_, sql, _ in cases.values())
    shop.script(
        f"CREATE TABLE salesforce.account (id TEXT, {columns});"
        f"INSERT INTO salesforce.account SELECT 't1', {cells}"
    )
    expected = {name: value for name, (_, _, value) in cases.items()}
    assert (0, 1, 0, 0, 1) == moved(shop.sync())
    assert [("t1", "Segment Entered", expected)] == said(shop)
    assert (0, 0, 0, 0, 0) == moved(shop.sync())
    shop.script("DELETE FROM salesforce.account")
    assert (0, 0, 0, 1, 1) == moved(shop.sync())
    assert [("t1", "Segment Exited", expected)] == said(shop)


SAME_SQL: dict[str, list[Any]] = {
    "UPPER(TRIM(city)) || '-' || id": ["OSLO-t1", "MOSS-t2", None],
    "COALESCE(city, 'none')": ["Oslo", "Moss", "none"],
    "CASE WHEN score > 2 THEN 'high' WHEN score IS NULL THEN 'none' ELSE 'low' END": [
        "high",
        "none",
        "high",
    ],
    "CAST(ROUND(score * 100) AS INTEGER)": [235, None, 950],
    "n / 2": [0.5, -1.5, None],
    "n // 2": [0, -1, None],
    "n % 2": [1, -1, None],
    "CAST(n AS VARCHAR) || '%'": ["1%", "-3%", None],
    "day + INTERVAL 1 MONTH": ["2026-02-28T00:00:00Z", "2024-03-29T00:00:00Z", None],
    "CAST(day + 30 AS DATE)": ["2026-03-02", "2024-03-30", None],
    "DATE_TRUNC('month', day)": ["2026-01-01T00:00:00Z", "2024-02-01T00:00:00Z", None],
    "EXTRACT(year FROM day)": [2026, 2024, None],
    "DATE_DIFF('day', day, DATE '2026-12-31')": [334, 1036, None],
    "CURRENT_DATE - day < 100000": [True, True, None],
    "city ILIKE '%sl%'": [True, False, None],
    "city IN ('Oslo', 'Moss') IS TRUE": [True, True, False],
    "STARTS_WITH(city, 'Os')": [True, False, None],
    "REPLACE(city, 's', 'z')": ["Ozlo", "Mozz", None],
    "SUBSTRING(city, 2, 2)": ["sl", "os", None],
    "LENGTH(city)": [4, 4, None],
    "CONCAT_WS(' ', id, city)": ["t1 Oslo", "t2 Moss", "t3"],
    "SPLIT_PART(email, '@', 2)": ["example.com", "example.com", None],
    "NULLIF(city, 'Oslo')": [None, "Moss", None],
    "GREATEST(n, 2)": [2, 2, 2],
    "REGEXP_MATCHES(email, '^[a-z]+@')": [True, True, None],
    "REGEXP_REPLACE(city, '[aeiou]', '_', 'g')": ["Osl_", "M_ss", None],
    "ROW_NUMBER() OVER (ORDER BY id DESC, n)": [3, 2, 1],
    "SUM(n) OVER (PARTITION BY city IS NULL ORDER BY id)": [4, 1, None],
    "LAG(city) OVER (ORDER BY id, n)": [None, " Oslo", "Moss"],
    "(SELECT COUNT(*) FROM salesforce.account AS other WHERE other.n <= t.n)": [2, 1, 0],
    "MD5(id)": [
        "83f1535f99ab0bf4e9d02dfd85d3e3f7",
        "0f826a89cf68c399c5f4cf320c1a5842",
        "0b8854ad38f0a6c65807928d28195609",
    ],
    "SHA256(id)": [
        "628b49d96dcde97a430dd4f597705899e09a968f793491e4b704cae33a40dc02",
        "c44474038d459e40e4714afefa7bf8dae9f9834b22f5e8ec1dd434ecb62b512e",
        "cece8a9cecfb6c7e7ee4f3346d5e2544138bfb6e33bec6042a17333a4d3180b0",
    ],
    "ROUND(score, 1)": [2.3, None, 9.5],
    "CONTAINS(city, 'sl')": [True, False, None],
    "ENDS_WITH(city, 'o')": [True, False, None],
    "DAYNAME(day)": ["Saturday", "Thursday", None],
    'CAST(\'{"b": [1, null], "a": "x"}\' AS JSON) ->> \'a\'': ["x", "x", "x"],
    "{'City': city, 'of': {'n': n}}": [
        {"City": "Oslo", "of": {"n": 1}},
        {"City": "Moss", "of": {"n": -3}},
        {"City": None, "of": {"n": None}},
    ],
    "(SELECT ARG_MAX(o.id, o.score) FROM salesforce.account AS o)": ["t3", "t3", "t3"],
    "(SELECT STRING_AGG(o.id, '+' ORDER BY o.id, o.n) FROM salesforce.account AS o)": [
        "t1+t1+t2+t3",
        "t1+t1+t2+t3",
        "t1+t1+t2+t3",
    ],
    "(SELECT MAX(o.k) FROM (SELECT id, COUNT(*) AS k FROM salesforce.account GROUP BY ALL) AS o)": [
        2,
        2,
        2,
    ],
}


def test_the_same_sql_gives_the_same_rows(shop: Store) -> None:
    """A model is written once, in DuckDB's words, and means the same everywhere."""
    cases = {
        sql: values
        for sql, values in SAME_SQL.items()
        if not any(word in sql for word in shop.refused)
    }
    columns = ",\n".join(f"  {sql} AS x{n}" for n, sql in enumerate(cases))
    mapped = ", ".join(f"x{n}: x{n}" for n in range(len(cases)))
    shop.audience(
        f"/* ---\nkey: id\nuser_id: id\ntrack: {{properties: {{{mapped}}}}}\n--- */\n"
        f"SELECT id,\n{columns}\nFROM salesforce.account AS t\n"
        "QUALIFY ROW_NUMBER() OVER (PARTITION BY id ORDER BY n) = 1"
    )
    shop.script(
        "CREATE TABLE salesforce.account "
        "(id TEXT, city TEXT, email TEXT, score DOUBLE, n INTEGER, day DATE);"
        "INSERT INTO salesforce.account VALUES "
        "('t1', ' Oslo', 'ada@example.com', 2.345, 3, '2026-01-31'),"
        "('t1', 'Oslo', 'ada@example.com', 2.345, 1, '2026-01-31'),"
        "('t2', 'Moss', 'bo@example.com', NULL, -3, '2024-02-29'),"
        "('t3', NULL, NULL, 9.5, NULL, NULL)"
    )
    assert (0, 3, 0, 0, 3) == moved(shop.sync())
    rows = {user: values for user, _, values in said(shop)}
    told = {sql: [rows[f"t{n}"][f"x{at}"] for n in (1, 2, 3)] for at, sql in enumerate(cases)}
    assert told == cases


# Which of five scores fulfil a condition: 1.5, NaN, NULL, -0.0 and 4. NaN is greater than all.
WITH_NAN = {
    "score > 2": "nan four",
    "score >= 2.5": "nan four",
    "NOT score <= 2": "nan four",
    "2 > score": "half zero",
    "score <> 1.5": "nan zero four",
    "score NOT IN (1.5, 4)": "nan zero",
    "score IN (1.5, 4)": "half four",
    "score NOT BETWEEN 0 AND 2": "nan four",
    "score = 0": "zero",
    "score >= 0.0": "half nan zero four",
    "COALESCE(score, 2.5) > 2": "nan null four",
    "score IS DISTINCT FROM 1.5": "nan null zero four",
    "CASE WHEN score > 3 THEN score ELSE 0.5 END > 0.75": "nan four",
}


def test_nan_is_greater_than_all_numbers(shop: Store) -> None:
    """Also in a file of the table whose statistics say that no row fits: they leave NaN out."""
    if shop.dialect == "mariadb":
        pytest.skip("it has no NaN")
    shop.script(
        "CREATE TABLE salesforce.account (id TEXT, score DOUBLE);"
        "INSERT INTO salesforce.account VALUES ('half', 1.5), ('nan', 'NaN');"
        "INSERT INTO salesforce.account VALUES ('null', NULL), ('zero', '-0.0'), ('four', 4)"
    )
    shop.audience(
        "/* ---\nkey: id\nuser_id: id\ntrack: {}\n--- */\n"
        + "\nUNION ALL ".join(
            f"SELECT '{place} ' || id AS id FROM salesforce.account WHERE {condition}"
            for place, condition in enumerate(WITH_NAN)
        )
    )
    assert 0 == moved(shop.sync())[0]
    entered = {user for user, _, _ in said(shop)}
    assert entered == {
        f"{place} {id_}" for place, ids in enumerate(WITH_NAN.values()) for id_ in ids.split()
    }


def test_edits_and_new_columns_change_no_member_by_themselves(shop: Store) -> None:
    """The plan says what they did, and a wrong edit is held until it is allowed."""
    shop.audience(PEOPLE.replace("key: id\n", "key: id\nguards: {max_exited: 1}\n"))
    moved(shop.sync())
    said(shop)
    staging(shop, LIVE.replace("score FROM", "score, LENGTH(email) AS n FROM"))
    assert (0, 0, 0, 0, 0) == moved(shop.sync())
    staging(shop, LIVE + " AND city = 'Oslo'")
    held = shop.sync()
    assert (3, "held", 2) == (
        held.exit_code,
        held.audiences[0]["status"],
        held.audiences[0]["exited"],
    )
    assert {"definition": {"entered": 0, "changed": 0, "exited": 2}} == held.audiences[0][
        "by_reason"
    ]
    assert [] == said(shop)
    allowed = shop.allow(("people", "max_exited"))
    assert (0, 0, 0, 2, 2) == moved(shop.sync(options=allowed))
    shop.audience(PEOPLE.replace("{email: email}", "{email: email, town: city}"))
    assert (0, 0, 0, 0, 0) == moved(shop.sync())
    shop.audience(PEOPLE.replace("{email: email}", "{email: email, key: id, more: score}"))
    sent = moved(shop.sync(options=PlanOptions(on_mapping_change="send")))
    assert (0, 0, 1, 0, 1) == sent


def test_a_rejected_row_is_planned_again_and_nothing_else(shop: Store) -> None:
    """Exit 4, named by its reason, sent when it is fixed; then no change is left."""
    assert shop.segment is not None
    shop.segment.faults.append(Fault(path="/v1/batch", poison={"userId": "c2"}, status=400))
    first = shop.sync()
    assert (4, 2, 1) == (
        first.exit_code,
        first.audiences[0]["sent"],
        first.audiences[0]["rejected"],
    )
    (refused,) = maintenance.rejected(shop.project, clock=SystemClock())["rejected"]
    assert ("people", 1) == (refused["audience"], refused["rows"])
    shop.segment.faults.clear()
    said(shop)
    shop.script("UPDATE salesforce.contact SET city = 'Hamar' WHERE id = 'c2'")
    assert (0, 1, 0, 0, 1) == moved(shop.sync())
    assert {"c2"} == {user for user, _, _ in said(shop)}
    assert [] == maintenance.rejected(shop.project, clock=SystemClock())["rejected"]
    assert (0, 0, 0, 0, 0) == moved(shop.sync())


def test_what_was_perhaps_delivered_ends_up_true(shop: Store) -> None:
    """The answer was lost, the row then refused, and its source went back: it is said again."""
    assert shop.segment is not None
    moved(shop.sync())
    shop.script("UPDATE salesforce.contact SET city = 'Hamar' WHERE id = 'c1'")
    shop.segment.faults.append(Fault(path="/v1/batch", nth=1, status=503, processed=True))
    shop.segment.faults.append(Fault(path="/v1/batch", nth=2, times=9, status=400))
    assert 4 == shop.sync().exit_code
    shop.segment.faults.clear()
    said(shop)
    shop.script("UPDATE salesforce.contact SET city = 'Oslo' WHERE id = 'c1'")
    assert (0, 0, 1, 0, 1) == moved(shop.sync())
    assert ("c1", "People Changed", {"city": "Oslo", "score": 1.5}) in said(shop)
    assert (0, 0, 0, 0, 0) == moved(shop.sync())


def test_a_delivery_that_ended_early_is_finished_by_the_next_run(shop: Store) -> None:
    """From the outbox, with the ids of before, though the rows have moved since."""
    assert shop.segment is not None
    shop.environ["DESTINATION__SEGMENT__BATCH_EVENTS_MAX"] = "2"
    shop.environ["DESTINATION__SEGMENT__REQUESTS_IN_FLIGHT_MAX"] = "1"
    shop.segment.faults.append(Fault(path="/v1/batch", nth=2, times=99, cut="after"))
    first = shop.sync()
    assert (1, "failed") == (first.exit_code, first.audiences[0]["status"])
    shop.segment.faults.clear()
    shop.script("UPDATE salesforce.contact SET city = 'Hamar' WHERE id = 'c2'")
    second = shop.sync()
    assert 0 == second.exit_code
    assert 3 == second.audiences[0]["resumed"]
    assert 1 == second.audiences[0]["changed"]
    last = {user: values for user, event, values in said(shop) if event != "identify"}
    assert {"c1", "c2", "c3"} == set(last)
    assert (0, 0, 0, 0, 0) == moved(shop.sync())


def test_a_reviewed_plan_is_sent_to_the_letter_or_not_at_all(shop: Store, tmp_path: Path) -> None:
    """Its digest is the warehouse's own, and tells every value apart."""
    file = tmp_path / "plan.json"
    shop.plan(out=file)
    assert (0, 3, 0, 0, 3) == moved(shop.sync(plan_file=file))
    shop.script("UPDATE salesforce.contact SET city = NULL WHERE id = 'c1'")
    shop.plan(out=file)
    shop.script("UPDATE salesforce.contact SET city = '' WHERE id = 'c1'")
    said(shop)
    refused = shop.sync(plan_file=file)
    assert ["PlanChanged"] == [type(error).__name__ for error in refused.errors]
    assert [] == said(shop)
    shop.plan(out=file)
    assert (0, 0, 1, 0, 1) == moved(shop.sync(plan_file=file))


def test_bad_keys_stay_out(shop: Store) -> None:
    """They hold the audience until they are allowed, and never read as an exit."""
    moved(shop.sync())
    shop.script(
        "INSERT INTO salesforce.contact VALUES ('c1', 'x@example.com', 'x', 0, FALSE),"
        "(NULL, 'y@example.com', 'y', 0, FALSE), ('c5', 'z@example.com', 'z', 0, FALSE)"
    )
    held = shop.sync()
    assert (3, "held", 3) == (
        held.exit_code,
        held.audiences[0]["status"],
        held.audiences[0]["quarantined"],
    )
    assert (0, 1, 0, 0, 1) == moved(shop.sync(options=shop.allow(("people", "keys"))))


def test_a_staging_model_may_be_a_table(shop: Store) -> None:
    """Built again by every run, and as a view again if the header says so."""
    for kind, expected in (("table", "Oslo"), ("view", "Hamar"), ("table", "Moss")):
        staging(shop, f"/* ---\nmaterialized: {kind}\n--- */\n{LIVE}")
        shop.script(f"UPDATE salesforce.contact SET city = '{expected}' WHERE id = 'c1'")
        assert 0 == shop.sync().exit_code
        rows = shop.query("SELECT city FROM tailrace_models.live_contacts WHERE id = 'c1'")
        assert [(expected,)] == rows
        assert ("c1", expected) in {(user, v.get("city")) for user, _, v in said(shop)}


class InTwoDays(SystemClock):
    """A clock by which Segment has forgotten the ids of today."""

    def now(self) -> datetime:
        return super().now() + timedelta(days=2)


def test_an_audience_is_renamed_traced_purged_and_retired(shop: Store) -> None:
    """The ledger is looked after by the same statements everywhere."""
    clock = SystemClock()
    moved(shop.sync())
    shop.script("UPDATE salesforce.contact SET is_deleted = TRUE WHERE id = 'c3'")
    moved(shop.sync())
    maintenance.rename(shop.project, "people", "persons", clock=clock)
    shop.forget_audience("people")
    shop.audience(PEOPLE, "persons")
    assert (0, 0, 0, 0, 0) == moved(shop.sync())
    (traced,) = history.trace(shop.project, "c3", clock=clock, show_values=True)["audiences"]
    assert ["entered", "exited"] == sorted(event["op"] for event in traced["events"])
    assert [3, 2, 2] == [
        run["size_after"] for run in history.sizes(shop.project, "persons", clock=clock)["runs"]
    ]
    there = history.members_at(shop.project, "persons", clock.now(), clock=clock)
    assert {"c1", "c2"} == {row[0] for row in there}
    forgotten = maintenance.purge(shop.project, older_than=timedelta(0), clock=InTwoDays())
    assert (4, 1) == (forgotten["forgotten"]["outbox"], forgotten["forgotten"]["tombstones"])
    assert there == history.members_at(shop.project, "persons", clock.now(), clock=clock)
    assert (0, 0, 0, 0, 0) == moved(shop.sync())
    shop.forget_audience("persons")
    shop.audience(PEOPLE, "others")
    said(shop)
    gone = job.retire(shop.project, "persons", clock=clock)
    assert (0, 2) == (gone.exit_code, gone.audiences[0]["exited"])
    assert {"c1", "c2"} == {user for user, _, _ in said(shop)}


def test_another_destination_is_filled_from_the_ledger(shop: Store) -> None:
    """Its members as entering, with an outbox and a ledger of its own."""
    with SegmentSimulator(write_key="other-key") as other:
        shop.environ |= {
            "DESTINATION__OTHER__HOST": other.url,
            "DESTINATION__OTHER__WRITE_KEY": other.write_key,
        }
        moved(shop.sync())
        shop.script("UPDATE salesforce.contact SET city = 'Hamar' WHERE id = 'c1'")
        moved(shop.sync())
        done = job.replay(shop.project, "people", "other", clock=SystemClock())
        assert 0 == done.exit_code, done.errors
        cities = {
            event["userId"]: event["properties"]["city"]
            for event in other.events
            if event["type"] == "track"
        }
        assert {"c1": "Hamar", "c2": "Bergen", "c3": None} == cities


@pytest.mark.postgres
def test_a_second_run_does_not_wait(
    tmp_path: Path, postgres_server: PostgresServer, postgres_database: str
) -> None:
    """On a shared warehouse the lock of a living run ends the other one with 75."""
    shop = PostgresStore(tmp_path, url=postgres_database)
    shop.environ["DESTINATION__SEGMENT__WRITE_KEY"] = "x"
    shop.audience(PEOPLE)
    staging(shop, LIVE)
    shop.script(CONTACT)
    assert 1 == len(shop.plan().audiences)
    from warehouses.desk import desk_at

    from tailrace.ledger.lock import lock

    with (
        desk_at(shop) as desk,
        lock(desk.ledger, owner="somebody", run_id="run-1", clock=SystemClock()),
        pytest.raises(LockHeld) as raised,
    ):
        shop.sync()
    assert 75 == raised.value.exit_code


# The main job


def main_job(kind: str, folder: Path, url: str | None, **settings: str) -> list[list[Any]]:
    """Two days of the sandbox's org on one warehouse: what each run came to, and what was sent."""
    with ExitStack() as stack:
        salesforce = stack.enter_context(SalesforceSimulator())
        segment = stack.enter_context(SegmentSimulator())
        root = scaffold(folder).root
        config = root / ".dlt" / "config.toml"
        config.write_text(config.read_text().replace('"duckdb"', f'"{kind}"', 1))
        environ = {
            "SOURCES__SALESFORCE__OBJECTS": "Account,Contact,Opportunity,Campaign,CampaignMember",
            "SOURCES__SALESFORCE__CREDENTIALS__INSTANCE_URL": salesforce.url,
            "SOURCES__SALESFORCE__CREDENTIALS__CLIENT_ID": salesforce.client_id,
            "SOURCES__SALESFORCE__CREDENTIALS__CLIENT_SECRET": salesforce.client_secret,
            "DESTINATION__SEGMENT__HOST": segment.url,
            "DESTINATION__SEGMENT__WRITE_KEY": segment.write_key,
            **settings,
        }
        if url is not None:
            environ[f"DESTINATION__{kind.upper()}__CREDENTIALS"] = url
        project = load_project(root, environ=environ)
        with open_warehouse(project, clock=SandboxClock(salesforce.org)) as warehouse:
            Ledger(warehouse, clock=SystemClock()).install("one namespace")
        told = []
        for _ in range(2):
            done = job.run(project, clock=SandboxClock(salesforce.org))
            assert (0, ()) == (done.exit_code, done.errors), done.errors
            told.append([counts(done), calls(segment.inbox.delivered)])
            segment.inbox.clear()
            salesforce.org.advance_day()
        with open_warehouse(project, clock=SystemClock()) as warehouse:
            runs = "SELECT seconds, latency_p95_seconds FROM tailrace.v_runs ORDER BY run_seq"
            (first, _), (second, latency) = warehouse.execute(runs)
        assert 0 < first < DAY_SECONDS and 0 < second < DAY_SECONDS
        assert 0 <= latency < 2 * DAY_SECONDS
        return told


def counts(done: RunResult) -> list[tuple[Any, ...]]:
    names = ("audience", "status", "size_after", "entered", "changed", "exited", "sent")
    return sorted(tuple(each[name] for name in names) for each in done.audiences)


def calls(events: Sequence[dict[str, Any]]) -> list[str]:
    """What each call says and its id, without the times of its run."""
    own = ("timestamp", "sentAt")
    return sorted(
        repr(sorted((k, v) for k, v in event.items() if k not in own)) for event in events
    )


@pytest.mark.postgres
def test_the_main_job_says_the_same_on_every_warehouse(
    tmp_path: Path, postgres_server: PostgresServer, postgres_database: str
) -> None:
    """Salesforce to Segment by the reference project: call by call the same, two days long."""
    here = main_job("duckdb", tmp_path / "duckdb", None)
    there = main_job("postgres", tmp_path / "postgres", postgres_database)
    assert [day[0] for day in here] == [day[0] for day in there]
    assert here == there
    assert all(len(day[1]) > 20 for day in here)
