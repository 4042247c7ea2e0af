"""An audience whose inputs did not change is skipped, and skipping never hides a transition."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from shop import PEOPLE, Shop
from warehouses.desk import Desk, desk_on
from warehouses.stores import LOCAL_ENGINES, WAREHOUSES

from tailrace.models.determinism import clock_read
from tailrace.models.loader import Models
from tailrace.models.nodes import Nodes
from tailrace.models.parse import parse
from tailrace.plan.inputs import Inputs
from tailrace.plan.plan import AudiencePlan
from tailrace.plan.planner import Planner, syncs_of
from tailrace.plan.policy import PlanOptions
from tailrace.plan.recorded import Definitions, Recorded
from tailrace.run.delivery import save_plan
from tailrace.testing.segment.simulator import SegmentSimulator

HEADER = """/* ---
key: id
user_id: id
track: {changed: Changed, properties: {city: city}}
--- */
"""
LOCALS = f"{HEADER}SELECT id, city FROM salesforce.contact WHERE city <> 'Oslo'"
ALL = f"{HEADER}SELECT id, city FROM salesforce.contact"
DATED = f"{HEADER}SELECT id, city FROM salesforce.contact WHERE born < now()"
NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
CONTACT = (
    "CREATE TABLE salesforce.contact (id TEXT, city TEXT, score INTEGER, born DATE);"
    "INSERT INTO salesforce.contact VALUES ('c1', 'Oslo', 1, '2000-01-01'),"
    " ('c2', 'Moss', 2, '2000-01-01'), ('c3', 'Bodø', 3, '2999-01-01')"
)


@pytest.fixture(scope="module", params=WAREHOUSES[:1])
def open_desk(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Desk]:
    with desk_on(request, tmp_path_factory.mktemp("desk")) as desk:
        yield desk


on_each_warehouse = pytest.mark.parametrize("open_desk", WAREHOUSES, indirect=True)


@pytest.fixture
def desk(open_desk: Desk) -> Desk:
    """Three audiences over one table; one of them reads the clock."""
    open_desk.clear()
    open_desk.script(CONTACT)
    for name, text in (("all", ALL), ("dated", DATED), ("locals", LOCALS)):
        open_desk.store.audience(text, name)
    return open_desk


def in_shop(desk: Desk) -> None:
    """The table and its audiences in a dataset that Tailrace does not write."""
    desk.script("CREATE SCHEMA IF NOT EXISTS shop; DROP TABLE IF EXISTS shop.contact")
    desk.script(CONTACT.replace("salesforce.", "shop."))
    folder = desk.store.project.models_folder
    (folder / "sources.yml").write_text("sources: [{dataset: shop, table: contact}]")
    for name, text in (("all", ALL), ("dated", DATED), ("locals", LOCALS)):
        desk.store.audience(text.replace("salesforce.", "shop."), name)


def planned(
    desk: Desk,
    *,
    skip: bool = True,
    names: Collection[str] = ("all", "dated", "locals"),
    days: int = 0,
) -> dict[str, AudiencePlan]:
    models = desk.models()
    selected = [model for model in models.audiences() if model.name in names]
    planner = Planner(
        desk.ledger,
        models,
        options=PlanOptions(skip_unchanged=skip),
        destinations=None,
        now=NOW + timedelta(days=days),
    )
    return {plan.audience.name: plan for plan in planner.plan(selected).audiences}


@on_each_warehouse
def test_a_plan_says_how_many_rows_its_models_read(desk: Desk) -> None:
    """About as many as the table has, as PostgreSQL knows after ANALYZE."""
    rows = 1_000
    desk.script(
        "INSERT INTO salesforce.contact "
        f"SELECT 'n' || i, 'Oslo', 1, '2000-01-01' FROM generate_series(1, {rows}) AS t(i)"
    )
    if desk.warehouse.dialect == "postgres":
        desk.script("ANALYZE salesforce.contact")
    models = desk.models()
    options = PlanOptions(counts_scans=True)
    planner = Planner(desk.ledger, models, options=options, destinations=None, now=NOW)
    plan = planner.plan(models.audiences())
    assert [rows + 3] * 3 == [audience.as_dict()["scan_rows"] for audience in plan.audiences]
    assert {None} == {audience.scan_rows for audience in planned(desk).values()}


def deliver(
    desk: Desk,
    plans: dict[str, AudiencePlan] | None = None,
    chance: random.Random | None = None,
) -> None:
    """A run: every audience that is neither skipped nor held is delivered, some keys not."""
    plans = planned(desk) if plans is None else plans
    run = desk.start_run()
    for plan in plans.values():
        if plan.skipped:
            continue
        delivery = save_plan(desk.ledger, run, plan, options=PlanOptions())
        if plan.status == "held":
            continue
        failing = chance.sample(["c1", "c2", "c3"], 1) if chance and chance.random() < 0.3 else []
        outcome = "rejected" if chance is None or chance.random() < 0.5 else "unconfirmed"
        desk.settle(delivery, **{outcome: failing})


def skipped(desk: Desk, *, days: int = 0) -> set[str]:
    return {name for name, plan in planned(desk, days=days).items() if plan.skipped}


def inputs_of(desk: Desk, models: Models) -> Inputs:
    return Inputs(
        desk.ledger,
        models,
        models.audiences(),
        recorded=Recorded(desk.ledger),
        definitions=Definitions(models, dialect=desk.ledger.warehouse.dialect),
        now=NOW,
    )


def test_models_and_headers_have_fingerprints_of_their_own(desk: Desk) -> None:
    """Also one model with another header, and one header over another model."""
    models = desk.models()
    inputs = inputs_of(desk, models)
    locals_, everyone = models.by_name["locals"], models.by_name["all"]
    assert locals_.audience is not None
    assert locals_.audience.track is not None
    silent = replace(locals_.audience, track=replace(locals_.audience.track, changed=None))
    pairs = [(locals_, locals_.audience), (everyone, locals_.audience), (locals_, silent)]
    found = [inputs.fingerprint(model, audience) for model, audience in pairs]
    assert None not in found
    assert 3 == len(set(found))
    assert found == [inputs.fingerprint(model, audience) for model, audience in pairs]


def unchanged(desk: Desk) -> set[str]:
    """The audiences whose inputs equal those of their last delivery; no model is run."""
    models = desk.models()
    inputs = inputs_of(desk, models)
    return {
        audience.name
        for model, audience in syncs_of(models.audiences())
        if inputs.unchanged_since(model, audience)
    }


@pytest.mark.parametrize(
    ("condition", "reads"),
    [
        ("city <> 'I cannot do it today'", "none"),
        ("born <> ' TODAY '", "date"),
        ("born IN ('epoch', 'today 04:00')", "date"),
        ("seen < 'now'", "time"),
        ("seen < '04:00 PM today EST'", "date"),
        ("seen < CAST(CAST('now' AS TEXT) AS TIMESTAMP)", "time"),
        ("seen < CAST('today EST' AS TIMESTAMPTZ)", "date"),
        ("city <> CAST('now' AS TEXT)", "none"),
        ("born < 'today'::DATE", "date"),
        ("seen < CAST(' Tomorrow ' AS TIMESTAMPTZ)", "date"),
        ("seen < TIMESTAMP 'now'", "time"),
        ("born < current_date", "date"),
        ("born < today()", "date"),
        ("age(born) > INTERVAL 9 DAY", "date"),
        ("age(born, DATE '2026-01-01') > INTERVAL 9 DAY", "none"),
        ("born < current_date AND born < now()", "time"),
        ("born < CAST(current_timestamp AS DATE)", "time"),
        ("current_time > TIME '09:00'", "time"),
    ],
)
def test_a_model_reads_the_date_or_the_time(condition: str, reads: str) -> None:
    assert reads == clock_read(Nodes(parse(f"SELECT id FROM t WHERE {condition}")))


def test_a_model_that_reads_the_date_is_skipped_until_the_next_day(desk: Desk) -> None:
    desk.store.audience(DATED.replace("now()", "current_date"), "dated")
    deliver(desk)
    assert {"all", "dated", "locals"} == skipped(desk)
    assert {"all", "locals"} == skipped(desk, days=1)


def test_unchanged_inputs_are_skipped_but_not_a_model_that_reads_the_clock(desk: Desk) -> None:
    assert set() == skipped(desk)
    deliver(desk)
    assert {"all", "locals"} == skipped(desk)
    plan = planned(desk)["all"]
    assert ("unchanged", "inputs unchanged", 3, 3) == (
        plan.status,
        plan.as_dict()["skipped"],
        plan.diff.size_before,
        plan.diff.size_after,
    )
    assert {""} == {plan.skipped for plan in planned(desk, skip=False).values()}


CHANGES = (
    "UPDATE salesforce.contact SET score = 9 WHERE id = 'c1'",
    "INSERT INTO salesforce.contact VALUES ('c4', NULL, NULL, NULL)",
    "DELETE FROM salesforce.contact WHERE id = 'c3'",
    "ALTER TABLE salesforce.contact ADD COLUMN town TEXT",
    "ALTER TABLE salesforce.contact ALTER COLUMN score SET DATA TYPE BIGINT",
    "ALTER TABLE salesforce.contact RENAME COLUMN score TO points",
    # The columns have the same names and types afterwards, and another value.
    "ALTER TABLE salesforce.contact DROP COLUMN born;"
    "ALTER TABLE salesforce.contact ADD COLUMN born DATE",
    "ALTER TABLE salesforce.contact RENAME TO c; CREATE VIEW salesforce.contact AS"
    " SELECT id, 'Moss' AS city, score, born FROM salesforce.c",
)


class _Undo(Exception):
    """Rolls a transaction back."""


@on_each_warehouse
@pytest.mark.parametrize("dataset", ["salesforce", "shop"])
def test_a_write_by_any_program_is_noticed(desk: Desk, dataset: str) -> None:
    """In a landed table, and in a declared source where the engine has a hash of values."""
    if dataset == "shop":
        in_shop(desk)
    deliver(desk)
    if dataset == "shop" and desk.warehouse.dialect == "postgres":
        assert set() == unchanged(desk)
        return
    assert {"all", "locals"} == unchanged(desk)
    for change in (change.replace("salesforce", dataset) for change in CHANGES):
        with pytest.raises(_Undo), desk.warehouse.transaction():
            desk.script(change)
            assert set() == unchanged(desk), change
            raise _Undo
        assert {"all", "locals"} == unchanged(desk), change


def test_an_edit_a_guard_and_pending_work_run_the_model(desk: Desk) -> None:
    deliver(desk)
    desk.store.audience(LOCALS.replace("<>", "="), "locals")
    assert {"all"} == skipped(desk)
    desk.store.audience(ALL.replace("city: city", "town: city"), "all")
    assert set() == skipped(desk)
    deliver(desk)
    desk.store.audience(
        ALL.replace("city: city", "town: city").replace("key", "guards: {min_rows: 9}\nkey"), "all"
    )
    assert {"locals"} == skipped(desk)
    assert "held" == planned(desk)["all"].status


@pytest.mark.parametrize("outcome", ["rejected", "unconfirmed"])
def test_members_that_are_not_delivered_run_the_model(desk: Desk, outcome: str) -> None:
    run = desk.start_run()
    for name, plan in planned(desk).items():
        delivery = save_plan(desk.ledger, run, plan, options=PlanOptions())
        desk.settle(delivery, **{outcome: ["c1", "c3"] if name == "all" else []})
    assert {"locals"} == skipped(desk)
    assert 2 == planned(desk)["all"].planned


def test_one_audience_alone_is_run_since_its_model_costs_no_more(desk: Desk) -> None:
    for name in ("dated", "locals"):
        (desk.store.project.models_folder / "audiences" / f"{name}.sql").unlink()
    deliver(desk)
    assert set() == skipped(desk)


@pytest.mark.parametrize(
    "open_desk",
    # On PostgreSQL, a process that watches is tested as a whole.
    [engine for engine in LOCAL_ENGINES if engine not in WAREHOUSES[1:]],
    indirect=True,
)
def test_a_watching_process_compares_the_input_of_one_audience_alone(desk: Desk) -> None:
    """Where the engine does not tell it which tables it has written."""
    for name in ("dated", "locals"):
        (desk.store.project.models_folder / "audiences" / f"{name}.sql").unlink()
    desk.warehouse.is_watched = True
    try:
        desk.ledger.extracts.save(
            desk.start_run(),
            object="Contact",
            table_name="contact",
            rows_landed=3,
            window_start=None,
            window_end=None,
            watermark=None,
            complete=True,
            empty=False,
            quarantined=0,
            vanished_fields="",
            error=None,
        )
        deliver(desk)
        assert ({"all"} if desk.warehouse.dialect == "duckdb" else set()) == skipped(desk)
        desk.script(CHANGES[0])
        assert set() == skipped(desk)
    finally:
        desk.warehouse.is_watched = False


@pytest.mark.parametrize(
    ("open_desk", "seed"),
    [("duckdb", 0), ("duckdb", 1), pytest.param("postgres", 0, marks=pytest.mark.postgres)],
    indirect=["open_desk"],
)
def test_skipping_never_hides_a_transition(desk: Desk, seed: int) -> None:
    """Histories of writes, drops, retypes, restores, edits, rejected and unconfirmed members."""
    chance = random.Random(seed)
    # What is known of a model is kept here.
    (desk.warehouse.project.root / ".tailrace").mkdir(exist_ok=True)
    changes = [
        "UPDATE salesforce.contact SET city = 'Oslo' WHERE id = 'c2'",
        "UPDATE salesforce.contact SET city = 'Ås' WHERE id IN ('c1', 'c2')",
        "UPDATE salesforce.contact SET city = NULL WHERE id = 'c3'",
        "DELETE FROM salesforce.contact WHERE id = 'c1'",
        "INSERT INTO salesforce.contact (id, city) SELECT 'c1', 'Moss'"
        " WHERE NOT EXISTS (SELECT 1 FROM salesforce.contact WHERE id = 'c1')",
        "ALTER TABLE salesforce.contact ALTER COLUMN score SET DATA TYPE BIGINT",
        "ALTER TABLE salesforce.contact ALTER COLUMN score SET DATA TYPE INTEGER",
        "ALTER TABLE salesforce.contact ALTER COLUMN city SET DATA TYPE VARCHAR(99)",
        "DROP TABLE salesforce.contact;" + CONTACT,
        "ALTER TABLE salesforce.contact ADD COLUMN IF NOT EXISTS town TEXT",
        "",
        "",
        "",
    ]
    texts = [LOCALS, LOCALS.replace("<>", "="), LOCALS.replace("city: city", "town: city")]
    if seed:
        # The same over a declared source.
        in_shop(desk)
        changes = [change.replace("salesforce.", "shop.") for change in changes]
        texts = [text.replace("salesforce.", "shop.") for text in texts]
    skips = 0
    for _ in range(8):
        desk.script(chance.choice(changes))
        if chance.random() < 0.2:
            desk.store.audience(chance.choice(texts), "locals")
        plans = planned(desk)
        skipped = {name: plan for name, plan in plans.items() if plan.skipped}
        skips += len(skipped)
        # Without skipping, each model is also parsed, checked and described again.
        for name, full in planned(desk, skip=False).items():
            plan = plans[name]
            if plan.skipped:
                assert (0, "unchanged", "") == (full.planned, full.status, full.skipped)
            else:
                assert (plan.planned, plan.status) == (full.planned, full.status)
                assert (plan.shape, plan.by_reason) == (full.shape, full.by_reason)
            assert full.diff.size_after == plan.diff.size_after
        deliver(desk, plans, chance)
    assert skips, "a history in which nothing is skipped proves nothing"


def test_a_sync_reports_what_it_skipped(tmp_path: Path) -> None:
    with SegmentSimulator() as segment:
        shop = Shop(tmp_path, segment)
        shop.audience(PEOPLE)
        shop.audience(PEOPLE.replace("audience: people\n", ""), "others")
        shop.land([{"id": "c1", "city": "Oslo"}])
        first, second = shop.sync(), shop.sync()
        again = shop.sync(options=PlanOptions(skip_unchanged=False))
    told = [[(e["status"], e["skipped"]) for e in run.audiences] for run in (first, second, again)]
    reason = "inputs unchanged"
    assert [[("ok", "")] * 2, [("unchanged", reason)] * 2, [("unchanged", "")] * 2] == told
    assert 0 == second.exit_code
