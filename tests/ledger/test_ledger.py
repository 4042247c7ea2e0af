"""The ledger: plans, outcomes, members with their times, and pending transitions."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from warehouses.desk import Desk, desk_at
from warehouses.stores import Store

from tailrace.clock import SystemClock
from tailrace.config.installation import upgrade_hint
from tailrace.errors import LedgerGap, LedgerTooNew, ServiceFailed, WarehouseFailed
from tailrace.ledger import outbox
from tailrace.ledger import tables as ledger_module
from tailrace.ledger.ledger import Ledger
from tailrace.ledger.tables import TABLES, VERSION, VIEWS
from tailrace.plan.policy import PlanOptions
from tailrace.run import delivery
from tailrace.warehouse import rendering, sql_files
from tailrace.warehouse.opening import open_warehouse
from tailrace.warehouse.statements import TableName

PEOPLE = """/* ---
key: id
user_id: id
track: {changed: Changed, properties: {city: city}}
--- */
SELECT id, city FROM salesforce.contact"""
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class TickingClock(SystemClock):
    """A clock that advances a minute with each tick."""

    def __init__(self) -> None:
        self.at = NOON

    def now(self) -> datetime:
        return self.at

    def tick(self, minutes: int = 1) -> datetime:
        self.at += timedelta(minutes=minutes)
        return self.at


@pytest.fixture
def clock() -> TickingClock:
    return TickingClock()


@pytest.fixture
def desk(open_desk: Desk, clock: TickingClock) -> Desk:
    """A desk with three contacts, at noon."""
    open_desk.clear()
    open_desk.clock = clock
    open_desk.ledger.clock = clock
    open_desk.store.audience(PEOPLE)
    open_desk.script(
        "CREATE TABLE salesforce.contact (id TEXT, city TEXT);"
        "INSERT INTO salesforce.contact VALUES ('c1', 'Oslo'), ('c2', 'Moss'), ('c3', NULL)"
    )
    return open_desk


def members(desk: Desk) -> list[tuple[Any, ...]]:
    """The snapshot: who, what, since when, on which version, and whether they are gone."""
    rows = desk.query(
        "SELECT id, city, _since, _v, _gone FROM tailrace.snapshot__people ORDER BY id"
    )
    return [(id_, city, since.astimezone(UTC), v, gone) for id_, city, since, v, gone in rows]


def table(desk: Desk, name: str, columns: str, where: str = "TRUE") -> list[tuple[Any, ...]]:
    return desk.query(f"SELECT {columns} FROM tailrace.{name} WHERE {where} ORDER BY {columns}")


# The installation


def test_a_ledger_is_installed_once_and_keeps_its_namespace(desk: Desk) -> None:
    """A second namespace would make every message a new one to the receiver."""
    again = Ledger(desk.warehouse, clock=SystemClock())
    assert (True, "a namespace") == (again.installed, again.namespace)
    again.install("another namespace")
    assert "a namespace" == Ledger(desk.warehouse, clock=SystemClock()).namespace
    assert set(TABLES) <= desk.warehouse.tables_in("tailrace")


def test_a_ledger_of_a_newer_version_is_refused(desk: Desk) -> None:
    """With what to do; nothing of it is touched."""
    desk.script("UPDATE tailrace.installation SET version = 99")
    try:
        with pytest.raises(LedgerTooNew, match="version 99") as raised:
            Ledger(desk.warehouse, clock=SystemClock())
        assert 2 == raised.value.exit_code
        assert upgrade_hint() == raised.value.hint
    finally:
        desk.script(f"UPDATE tailrace.installation SET version = {VERSION}")


NEXT_VERSION = ledger_module.VERSION + 1


@pytest.fixture
def a_second_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As if there were one: its statements beside the ones there are."""
    shutil.copytree(sql_files.root("sql"), tmp_path / "sql")
    (tmp_path / "sql" / "ledger" / "next.sql").write_text(
        f"-- name: version_{NEXT_VERSION}\n-- A later version.\n"
        "ALTER TABLE runs ADD COLUMN note TEXT; UPDATE runs SET note = 'before';"
        "CREATE TABLE lessons (note TEXT NOT NULL);"
    )
    monkeypatch.setattr(sql_files, "root", tmp_path.joinpath)
    monkeypatch.setattr(ledger_module, "VERSION", NEXT_VERSION)
    monkeypatch.setattr(ledger_module, "TABLES", (*TABLES, "lessons"))
    rendering.parsed.cache_clear()
    yield
    rendering.parsed.cache_clear()


def test_a_ledger_of_an_older_version_is_brought_up_to_date(
    desk: Desk, a_second_version: None
) -> None:
    """By the statements of each version since, all of them or none; once."""
    old = desk.ledger
    run = desk.start_run()
    desk.deliver()
    assert NEXT_VERSION - 1 == old.version
    desk.script("CREATE TABLE tailrace.lessons (note TEXT)")
    with pytest.raises(WarehouseFailed):
        old.upgrade()
    desk.script("DROP TABLE tailrace.lessons")
    assert "note" not in [
        column.name for column in desk.warehouse.columns_of(TableName("tailrace", "runs"))
    ]
    try:
        old.upgrade()
        assert NEXT_VERSION == Ledger(desk.warehouse, clock=SystemClock()).version
        assert [(run.seq, "before"), (run.seq + 1, "before")] == table(
            desk, "runs", "run_seq, note"
        )
        old.upgrade()
    finally:
        desk.script("DROP TABLE tailrace.lessons; ALTER TABLE tailrace.runs DROP COLUMN note")
        desk.script(f"UPDATE tailrace.installation SET version = {NEXT_VERSION - 1}")
        old.version = NEXT_VERSION - 1


def test_where_there_is_no_ledger_there_is_nothing_to_tell(tmp_path: Path) -> None:
    """What only reads works before the first run, and makes nothing."""
    store = Store(tmp_path)
    store.script("CREATE SCHEMA salesforce; CREATE TABLE salesforce.contact (id TEXT, city TEXT)")
    store.audience(PEOPLE)
    with open_warehouse(store.project, clock=SystemClock(), read_only=True) as warehouse:
        ledger = Ledger(warehouse, clock=SystemClock())
        assert not ledger.installed
        assert (0, 0) == ledger.deliveries.unresolved_counts("people")
        assert [[], [], [], [], {}] == [
            ledger.runs.recent(5),
            ledger.audiences.statuses(),
            ledger.deliveries.pending(),
            ledger.audiences.sync_keys(),
            ledger.extracts.latest(),
        ]
        assert (None, 1, 0) == (
            ledger.audiences.last_delivered("people"),
            ledger.runs.next_seq(),
            ledger.extracts.last_salesforce_calls(),
        )
        assert frozenset() == warehouse.tables_in("tailrace")


def test_a_ledger_may_live_in_a_dataset_of_another_name(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.environ["TAILRACE__LEDGER_DATASET"] = "crm_ledger"
    with desk_at(store) as desk:
        assert {*TABLES, *VIEWS} == desk.warehouse.tables_in("crm_ledger")
        assert frozenset() == desk.warehouse.tables_in("tailrace")


# Runs


def test_runs_are_numbered_without_gaps_and_say_how_they_ended(
    desk: Desk, clock: TickingClock
) -> None:
    """With a name to speak of them, when, what the code was and what went wrong."""
    ended = []
    for code, error in ((0, None), (1, ServiceFailed()), (2, None), (3, None), (4, None)):
        run = desk.ledger.runs.start("sync", suffix=f"000{code}", allowed=["people:max_exited"])
        clock.tick()
        desk.ledger.runs.finish(run, exit_code=code, error=error, salesforce_calls=7)
        ended.append(run.seq)
    assert [1, 2, 3, 4, 5] == ended
    assert 6 == desk.ledger.runs.next_seq()
    latest, *_ = desk.ledger.runs.recent(2)
    assert "2026-01-01T12:04:00Z-0004" == latest["run_id"]
    assert "2026-01-01T12:05:00.000000Z" == latest["finished_at"]
    phases = [(run["exit_code"], run["phase"], run["error"]) for run in desk.ledger.runs.recent(9)]
    assert [
        *((4, "done", None), (3, "done", None), (2, "failed", None)),
        *((1, "failed", "ServiceFailed"), (0, "done", None)),
    ] == phases
    (allowed,) = {row[0] for row in table(desk, "runs", "allowed")}
    assert ["people:max_exited"] == json.loads(allowed)
    (versions,) = {row[0] for row in table(desk, "runs", "versions")}
    assert desk.warehouse.dialect in json.loads(versions)["engine"]


def test_a_plan_leaves_the_ledger_as_it_was(desk: Desk) -> None:
    """Row by row and table by table, whatever it finds."""
    desk.deliver(unconfirmed=["c1"])
    desk.script("DELETE FROM salesforce.contact WHERE id = 'c2'")
    desk.store.audience(PEOPLE.replace("id, city", "id, UPPER(city) AS city"))
    before = contents(desk)
    assert 2 == desk.plan(options=PlanOptions(on_new_column="send")).planned
    assert before == contents(desk)


def contents(desk: Desk) -> dict[str, list[tuple[Any, ...]]]:
    names = desk.warehouse.tables_in("tailrace")
    return {name: sorted(map(repr, desk.query(f"SELECT * FROM tailrace.{name}"))) for name in names}


def test_a_plan_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    """Byte by byte: on DuckDB the file is only read."""
    store = Store(tmp_path)
    store.audience(PEOPLE)
    store.script(
        "CREATE SCHEMA salesforce; CREATE TABLE salesforce.contact (id TEXT, city TEXT);"
        "INSERT INTO salesforce.contact VALUES ('c1', 'Oslo')"
    )
    with desk_at(store) as desk:
        desk.deliver()
    store.script("UPDATE salesforce.contact SET city = 'Moss'; CHECKPOINT")

    def files() -> dict[str, str]:
        return {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in tmp_path.glob("warehouse*")
        }

    before = files()
    assert ["warehouse.duckdb"] == list(before)
    (planned,) = store.plan().audiences
    assert 1 == planned.changed
    assert before == files()


# Delivery


def test_members_are_kept_as_they_were_acknowledged(desk: Desk, clock: TickingClock) -> None:
    """Since when, on which version; who left stays with the last-known values."""
    desk.deliver()
    joined = NOON
    moved = clock.tick()
    desk.script("UPDATE salesforce.contact SET city = 'Hamar' WHERE id = 'c1'")
    desk.deliver()
    left = clock.tick()
    desk.script(
        "DELETE FROM salesforce.contact WHERE id = 'c1';"
        "INSERT INTO salesforce.contact VALUES ('c4', 'Bodø')"
    )
    desk.deliver()
    assert [
        ("c1", "Hamar", left, 3, True),
        ("c2", "Moss", joined, 1, False),
        ("c3", None, joined, 1, False),
        ("c4", "Bodø", left, 3, False),
    ] == members(desk)
    back = clock.tick()
    desk.script("INSERT INTO salesforce.contact VALUES ('c1', 'Hamar')")
    desk.deliver()
    assert ("c1", "Hamar", back, 4, False) == members(desk)[0]
    assert moved < back


def test_only_what_was_delivered_moves_a_member(desk: Desk, clock: TickingClock) -> None:
    """A refused row stands where it stood; the others went on."""
    desk.deliver(rejected=["c2"])
    assert ["c1", "c3"] == [row[0] for row in members(desk)]
    assert (1, 0) == desk.ledger.deliveries.unresolved_counts("people")
    clock.tick()
    desk.script("UPDATE salesforce.contact SET city = 'Hamar'")
    desk.deliver(rejected=["c1"])
    assert [("c1", "Oslo", 1), ("c2", "Hamar", 2), ("c3", "Hamar", 2)] == [
        (id_, city, v) for id_, city, _, v, _ in members(desk)
    ]
    assert [(1, 3, 2, 1), (2, 3, 2, 1)] == list(
        table(desk, "audience_runs", "run_seq, entered + changed, sent, rejected")
    )


def test_a_rejection_adds_attempts_until_it_is_resolved(desk: Desk, clock: TickingClock) -> None:
    """It keeps the moment it was first seen; what was delivered after it resolves it."""
    desk.deliver(rejected=["c2"])
    for _ in range(2):
        clock.tick()
        desk.script("UPDATE salesforce.contact SET city = city || '!' WHERE id = 'c2'")
        desk.deliver(rejected=["c2"])
    rows = desk.query(
        "SELECT run_seq, attempts, first_seen, last_seen, resolved_at IS NULL "
        "FROM tailrace.rejections ORDER BY run_seq"
    )
    seen = [
        (run, n, first.astimezone(UTC), last.astimezone(UTC), open_)
        for run, n, first, last, open_ in rows
    ]
    assert (3, 3, NOON, NOON + timedelta(minutes=2), True) == seen[-1]
    assert [False, False, True] == [row[-1] for row in seen]
    desk.deliver()
    assert (0, 0) == desk.ledger.deliveries.unresolved_counts("people")


def test_an_attempt_is_unconfirmed_until_a_later_outcome_is_known(desk: Desk) -> None:
    """It follows the last attempt; a plain refusal leaves it where it was."""
    desk.deliver()
    desk.script("UPDATE salesforce.contact SET city = 'a' WHERE id = 'c1'")
    desk.deliver(unconfirmed=["c1"])
    assert [(2, 1)] == table(desk, "unconfirmed", "run_seq, seq")
    desk.script("UPDATE salesforce.contact SET city = 'b' WHERE id = 'c1'")
    desk.deliver(rejected=["c1"])
    assert [(2, 1)] == table(desk, "unconfirmed", "run_seq, seq")
    desk.deliver(unconfirmed=["c1"])
    assert [(4, 1)] == table(desk, "unconfirmed", "run_seq, seq")
    assert (1, 1) == desk.ledger.deliveries.unresolved_counts("people")
    desk.deliver()
    assert (0, 0) == desk.ledger.deliveries.unresolved_counts("people")


def test_the_snapshot_advances_only_after_the_whole_delivery(desk: Desk) -> None:
    """A gap is named, and the members stay as they were."""
    _, written = desk.save_plan()
    desk.acknowledge(written, 1, 1)
    desk.acknowledge(written, 3, 3)
    with pytest.raises(LedgerGap, match="people: 3 planned, 2 delivered or rejected") as raised:
        desk.advance(written)
    assert 1 == raised.value.exit_code
    assert [] == members(desk)
    assert 1 == desk.ledger.deliveries.pending_count(written.run_seq, "people")
    desk.acknowledge(written, 2, 3)
    assert (3, 0, 4) == desk.advance(written)[:3]
    assert 3 == len(members(desk))


def test_an_advance_that_fails_moves_nothing(desk: Desk) -> None:
    """Members, rejections, doubts and the run itself move together or not at all."""
    desk.deliver()
    desk.script("UPDATE salesforce.contact SET city = 'Hamar'")
    _, written = desk.save_plan()
    desk.acknowledge(written, 1, 3)
    before = contents(desk)
    broken = replace(written.shape, columns=(*written.shape.columns, written.shape.keys[0]))
    with pytest.raises(WarehouseFailed):
        desk.advance(replace(written, shape=broken))
    assert before == contents(desk)
    desk.advance(written)
    assert {"Hamar"} == {row[1] for row in members(desk)}


def test_a_run_that_died_is_known_with_its_mapping(desk: Desk) -> None:
    """What is left of it is read back as it was written, though the header has changed since."""
    planned, written = desk.save_plan()
    desk.acknowledge(written, 2, 2)
    desk.store.audience(PEOPLE.replace("{city: city}", "{town: city, id: id}"))
    (left,) = delivery.unfinished_deliveries(Ledger(desk.warehouse, clock=SystemClock()))
    assert (written.run_seq, 3, True) == (left.run_seq, left.planned, left.resumed)
    assert planned.audience == left.audience
    assert written.shape == left.shape
    assert ["c1", "c3"] == [each.key[0] for each, _ in desk.transitions(left)]
    desk.acknowledge(left, 1, 3)
    desk.advance(left)
    assert [] == delivery.unfinished_deliveries(desk.ledger)
    assert 3 == len(members(desk))


def test_runs_that_died_are_finished_in_their_order(desk: Desk) -> None:
    """The oldest first: what it says is replaced by what the next one says."""
    _, first = desk.save_plan()
    desk.settle(first)
    seqs = []
    for city in ("a", "b"):
        desk.script(f"UPDATE salesforce.contact SET city = '{city}'")
        seqs.append(desk.save_plan()[1].run_seq)
    left = delivery.unfinished_deliveries(desk.ledger)
    assert seqs == [each.run_seq for each in left]
    for each in left:
        desk.settle(each)
    assert {"b"} == {row[1] for row in members(desk)}


def test_the_outbox_is_read_in_pages_and_in_order(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only transitions without an outcome, each once."""
    monkeypatch.setattr(outbox, "PAGE_ROWS_MAX", 3)
    desk.script("DELETE FROM salesforce.contact")
    rows = ", ".join(f"('k{n:02}', 'x')" for n in range(20))
    desk.script(f"INSERT INTO salesforce.contact VALUES {rows}")
    _, written = desk.save_plan()
    desk.acknowledge(written, 4, 8)
    desk.acknowledge(written, 7, 9)
    desk.acknowledge(written, 15, 15)
    left = [each.seq for each, _ in desk.transitions(written)]
    assert [1, 2, 3, *range(10, 15), *range(16, 21)] == left
    ranges = desk.ledger.deliveries.open_ranges(written.run_seq, "people")
    assert [(1, 3), (10, 14), (16, 20)] == ranges


def test_the_counts_of_every_finished_run_add_up(desk: Desk) -> None:
    """Planned is sent and rejected, or held: as one query over the ledger."""
    desk.deliver(rejected=["c1"])
    desk.script("UPDATE salesforce.contact SET city = 'x'")
    desk.deliver(unconfirmed=["c2"])
    desk.script("INSERT INTO salesforce.contact VALUES (NULL, 'x')")
    desk.deliver()
    assert [] == table(
        desk,
        "audience_runs",
        "run_seq",
        "phase <> 'delivering' AND entered + changed + exited <> sent + rejected + held",
    )
    assert [("done",), ("done",), ("held",)] == table(desk, "audience_runs", "phase")


# What stands


def test_what_is_held_or_died_is_no_delivery(desk: Desk) -> None:
    """The next plan compares with what was delivered last, by the SQL of that time."""
    assert desk.ledger.audiences.last_delivered("people") is None
    desk.deliver()
    delivered = desk.ledger.audiences.last_delivered("people")
    desk.script("INSERT INTO salesforce.contact VALUES (NULL, 'x')")
    desk.store.audience(PEOPLE + " WHERE city IS NOT NULL")
    assert "held" == desk.deliver().status
    assert delivered == desk.ledger.audiences.last_delivered("people")
    desk.script("DELETE FROM salesforce.contact WHERE id IS NULL")
    desk.save_plan()
    assert delivered == desk.ledger.audiences.last_delivered("people")


def test_where_an_audience_stands_is_what_its_last_run_came_to(desk: Desk) -> None:
    """In the shape of a result: ok, unchanged, held, failed."""

    def standing() -> tuple[Any, ...]:
        (row,) = desk.ledger.audiences.statuses()
        return tuple(row[name] for name in ("status", "size_before", "size_after", "sent", "held"))

    desk.deliver(rejected=["c1"])
    assert ("ok", 0, 2, 2, 0) == standing()
    desk.deliver()
    assert ("ok", 2, 3, 1, 0) == standing()
    desk.deliver()
    assert ("unchanged", 3, 3, 0, 0) == standing()
    desk.script("INSERT INTO salesforce.contact VALUES (NULL, 'x'), ('c4', 'x')")
    desk.deliver()
    assert ("held", 3, 3, 0, 1) == standing()
    desk.script("DELETE FROM salesforce.contact WHERE id IS NULL")
    desk.save_plan()
    assert "failed" == standing()[0]


def test_a_retired_audience_stands_nowhere(desk: Desk) -> None:
    """Its past stays, its members are forgotten."""
    desk.deliver()
    desk.ledger.audiences.retire("people")
    assert [] == desk.ledger.audiences.statuses()
    assert ["people"] == desk.ledger.audiences.sync_keys()
    assert desk.ledger.audiences.last_delivered("people") is None
    assert {"entered": 3} == {
        op: count for op, count in desk.plan().by_reason["initial"].items() if count
    }


def test_the_last_word_on_an_object_is_its_latest_extract(desk: Desk, clock: TickingClock) -> None:
    """Also where one run says two things of it."""

    def landed(run: Any, name: str, **values: Any) -> None:
        clock.tick()
        desk.ledger.extracts.save(
            run,
            **{
                "object": name,
                "table_name": name.lower(),
                "rows_landed": 1,
                "window_start": None,
                "window_end": NOON,
                "watermark": None,
                "complete": True,
                "empty": False,
                "quarantined": 0,
                "vanished_fields": "",
                "error": None,
                **values,
            },
        )

    first, second = desk.start_run(), desk.start_run()
    landed(second, "Contact", complete=False, error="cut off")
    landed(first, "Contact")
    landed(first, "Lead")
    landed(first, "Lead", empty=True)
    found = desk.ledger.extracts.latest()
    assert (False, "cut off") == (found["contact"].complete, found["contact"].error)
    assert (True, True) == (found["lead"].complete, found["lead"].empty)
    desk.ledger.runs.finish(second, exit_code=1, error=None, salesforce_calls=42)
    assert 42 == desk.ledger.extracts.last_salesforce_calls()
