"""An audience whose model fails is reported with its file and line, and the others are planned."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from shop import PEOPLE, Shop
from warehouses.desk import Desk

from tailrace.errors import ModelError
from tailrace.plan.plan import Plan
from tailrace.plan.planner import Planner
from tailrace.plan.policy import PlanOptions
from tailrace.project import Project
from tailrace.testing.segment.simulator import SegmentSimulator

HEADER = """/* ---
key: id
user_id: id
track: {properties: {city: city}}
--- */
"""
GOOD = f"{HEADER}SELECT id, city FROM salesforce.contact\n"
CONTACT = (
    "CREATE TABLE salesforce.contact (id TEXT, city TEXT, score TEXT);"
    "INSERT INTO salesforce.contact VALUES ('c1', 'Oslo', '1'), ('c2', 'Secretville', 'personal')"
)
# What is wrong, the SQL after the header, and where: the line in the file, the words of the error.
BROKEN = {
    "cast": ("SELECT id,\n  CAST(score AS INTEGER) AS city\nFROM salesforce.contact", 7, '"city"'),
    "filter": (
        "SELECT id, city FROM salesforce.contact\nWHERE CAST(score AS INT) > 0",
        6,
        "SELECT",
    ),
    "subquery": (
        "SELECT id,\n\n  (SELECT c.city FROM salesforce.contact AS c) AS city\n"
        "FROM salesforce.contact",
        8,
        "more than one row",
    ),
    "column": ("SELECT id,\n  nosuch AS city\nFROM salesforce.contact", 7, "nosuch"),
    "table": ("SELECT id, name AS city\nFROM salesforce.account", 7, "salesforce.account"),
}


@pytest.fixture
def desk(open_desk: Desk) -> Desk:
    """A desk with three audiences; a test breaks the middle one."""
    open_desk.clear()
    open_desk.script(CONTACT)
    for name in ("a", "m", "z"):
        open_desk.store.audience(GOOD, name)
    return open_desk


def planned(desk: Desk) -> Plan:
    models = desk.models()
    planner = Planner(
        desk.ledger, models, options=PlanOptions(), destinations=None, now=desk.clock.now()
    )
    return planner.plan(models.audiences())


@pytest.mark.parametrize("fault", sorted(BROKEN))
def test_a_broken_audience_fails_alone(desk: Desk, fault: str) -> None:
    """With the file and the line, and without a value of a row."""
    sql, line, words = BROKEN[fault]
    desk.store.audience(HEADER + sql, "m")
    plan = planned(desk)
    assert [("a", 2), ("z", 2)] == [(made.ledger_key, made.entered) for made in plan.audiences]
    (error,) = plan.errors
    assert ("models/audiences/m.sql", line) == (error.file, error.line)
    assert words in error.message
    assert "Secretville" not in error.message
    assert "personal" not in error.message
    assert error.hint
    assert 1 == plan.exit_code
    assert {"a": "ok", "m": "failed", "z": "ok"} == {
        entry["audience"]: entry["status"] for entry in plan.as_dict()["audiences"]
    }


def test_the_transitions_of_the_others_are_still_there(desk: Desk) -> None:
    """PostgreSQL drops a session's temporary tables after a failure; they are made again."""
    desk.store.audience(HEADER + BROKEN["cast"][0], "m")
    for made in planned(desk).audiences:
        rows = desk.warehouse.run("warehouse/count_rows", tables={"counted": made.diff.transitions})
        assert [(2,)] == rows


def test_a_model_under_several_audiences_is_named_once(desk: Desk) -> None:
    """It is the file at fault, whichever audience reads it."""
    folder = desk.store.project.models_folder / "staging"
    folder.mkdir(exist_ok=True)
    (folder / "contacts.sql").write_text("SELECT id,\n  nosuch AS city\nFROM salesforce.contact")
    for name in ("a", "m"):
        desk.store.audience(f"{HEADER}SELECT id, city FROM contacts", name)
    plan = planned(desk)
    assert ["z"] == [made.ledger_key for made in plan.audiences]
    (error,) = plan.errors
    assert ("models/staging/contacts.sql", 2) == (error.file, error.line)
    assert 2 == len(plan.failures)


def test_when_nothing_can_be_planned_the_errors_decide_the_exit_code(desk: Desk) -> None:
    """2 for SQL that has to be corrected, 1 for a value."""
    for fault, code in (("column", 2), ("cast", 1)):
        for name in ("a", "m", "z"):
            desk.store.audience(HEADER + BROKEN[fault][0], name)
        assert code == planned(desk).exit_code


@pytest.mark.parametrize("table", ["rejections", "snapshot__m"])
def test_a_damaged_ledger_is_not_reported_as_an_error_of_the_model(desk: Desk, table: str) -> None:
    """A statement without the model's text fails, and one that the model's text is a part of."""
    desk.deliver("m")
    desk.script("INSERT INTO salesforce.contact VALUES ('c3', 'Bodø', '3')")
    damaged = {"rejections": "resolved_at", "snapshot__m": "_since"}[table]
    desk.script(f"ALTER TABLE tailrace.{table} RENAME COLUMN {damaged} TO damaged")
    try:
        errors = planned(desk).errors
    finally:
        desk.script(f"ALTER TABLE tailrace.{table} RENAME COLUMN damaged TO {damaged}")
    assert {("StatementRefused", None)} == {(type(e).__name__, e.file) for e in errors}
    assert "m: " in {e.message[:3] for e in errors}
    assert all(damaged in e.message and "report the message" in e.hint for e in errors)


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with SegmentSimulator() as segment:
        shop = Shop(tmp_path, segment)
        shop.audience(PEOPLE)
        shop.land([{"id": "c1", "city": "Oslo"}, {"id": "c2", "city": "Bergen"}])
        yield shop


@pytest.mark.parametrize("fault", ["cast", "column", "staging", "staging table"])
def test_a_sync_sends_the_others(shop: Shop, fault: str) -> None:
    """A failing model, or a failing model under it, stops only the audiences that read it."""
    staging = shop.root / "models" / "staging"
    if fault in BROKEN:
        sql = BROKEN[fault][0].replace("score", "city")
        shop.audience(HEADER + sql, "broken")
    else:
        staging.mkdir(exist_ok=True)
        header = "" if fault == "staging" else "/* ---\nmaterialized: table\n--- */\n"
        column = "nosuch" if fault == "staging" else "CAST(city AS INTEGER)"
        (staging / "towns.sql").write_text(
            f"{header}SELECT id, {column} AS city\nFROM salesforce.contact"
        )
        shop.audience(f"{HEADER}SELECT id, city FROM towns", "broken")

    done = shop.sync()

    assert 1 == done.exit_code
    assert {"c1", "c2"} == {event["userId"] for event in shop.arrived()}
    statuses = {entry["audience"]: entry["status"] for entry in done.audiences}
    assert {"people": "ok", "broken": "failed"} == statuses
    (error,) = done.errors
    name = "staging/towns" if fault.startswith("staging") else "audiences/broken"
    assert f"models/{name}.sql" == error.file
    assert error.line
    assert (1, [error.message]) == (
        (plan := shop.plan()).exit_code,
        [e.message for e in plan.errors],
    )


# A file that cannot be read, and the line of the error.
UNREADABLE = {
    "syntax": ({"audiences/broken.sql": f"{HEADER}SELECT id,\n  city city city\nFROM contact"}, 7),
    "header": ({"audiences/broken.sql": "/* ---\nkey: id\nuser_id: [\n--- */\nSELECT 1"}, None),
    "header key": ({"audiences/broken.sql": GOOD.replace("track:", "trakc:")}, 4),
    "unknown table": ({"audiences/broken.sql": f"{HEADER}SELECT id, city\nFROM nosuch"}, 7),
    "function": ({"audiences/broken.sql": f"{HEADER}SELECT id,\nread_text(id) AS city FROM c"}, 7),
    "column": ({"audiences/broken.sql": f"{HEADER}SELECT id FROM salesforce.contact"}, 4),
    "staging": (
        {
            "audiences/broken.sql": f"{HEADER}SELECT id, city FROM towns",
            "staging/towns.sql": "SELECT id,\n  city city city FROM salesforce.contact",
        },
        2,
    ),
    "circle": (
        {
            "audiences/broken.sql": f"{HEADER}SELECT id, city FROM towns",
            "staging/towns.sql": "SELECT id, city\nFROM broken",
        },
        6,
    ),
}


@pytest.mark.parametrize("fault", sorted(UNREADABLE))
def test_a_file_that_cannot_be_read_stops_no_other_audience(shop: Shop, fault: str) -> None:
    """Unselected, it is not mentioned; selected, it is an error, and the others are sent."""
    assert 0 == shop.sync().exit_code
    shop.land([{"id": "c1", "city": "Oslo"}, {"id": "c3", "city": "Rome"}])
    files, line = UNREADABLE[fault]
    for name, text in files.items():
        path = shop.root / "models" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    plan = shop.plan(select=["people"])
    assert (0, ()) == (plan.exit_code, plan.errors)
    plan = shop.plan()
    assert (1, ["people"]) == (plan.exit_code, [made.ledger_key for made in plan.audiences])

    done = shop.sync()
    assert 1 == done.exit_code
    assert {"c2", "c3"} <= {event["userId"] for event in shop.arrived()}
    error = done.errors[0]
    culprit = "staging/towns" if fault == "staging" else "audiences/broken"
    assert f"models/{culprit}.sql" == error.file
    assert line is None or line == error.line
    with pytest.raises(ModelError):
        shop.sync(select=["broken"])


def test_an_audience_whose_file_breaks_keeps_its_members(shop: Shop) -> None:
    """A broken file is not a deleted one, also where its header has another name than the file."""
    good = GOOD.replace("key:", "audience: others\nkey:")
    shop.audience(good, "other")
    shop.sync()
    for text in (good.replace("FROM", "FRM FRM"), good.replace("key:", "kye: [")):
        shop.audience(text, "other")
        done = shop.sync()
        assert (1, ()) == (done.exit_code, tuple(done.orphans))
    shop.audience(good, "other")
    assert 0 == shop.sync().exit_code


@pytest.mark.parametrize(
    ("files", "culprit", "words"),
    [
        (
            {"staging/towns.sql": "SELECT id,\n  town AS city FROM salesforce.contact"},
            ("models/staging/towns.sql", 2),
            "town",
        ),
        (
            {
                "staging/towns.sql": "SELECT id, city FROM salesforce.contact",
                "audiences/other.sql": f"{HEADER}SELECT id,\n  nosuch.email AS city\nFROM towns",
            },
            ("models/audiences/other.sql", 7),
            "nosuch",
        ),
        (
            {
                "audiences/other.sql": f"{HEADER}SELECT id,\n  strlen(42, city) AS city\n"
                "FROM salesforce.contact"
            },
            ("models/audiences/other.sql", 7),
            "strlen",
        ),
        (
            {"audiences/other.sql": f"{HEADER}SELECT * FROM salesforce.account"},
            (None, None),
            "",
        ),
    ],
)
def test_validate_binds_models_to_the_landed_tables(
    shop: Shop, files: dict[str, str], culprit: tuple[str | None, int | None], words: str
) -> None:
    """A table that has not landed yet is not an error."""
    for name, text in files.items():
        path = shop.root / "models" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    project = Project(shop.project, clock=shop.clock)
    if culprit[0] is None:
        assert 2 == project.validate().data["models"]
        return
    with pytest.raises(ModelError, match=words) as raised:
        project.validate()
    assert culprit == (raised.value.file, raised.value.line)
    assert 1 == project.validate(select=["people"]).data["models"]
