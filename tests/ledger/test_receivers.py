"""A ledger belongs to one receiver for each destination."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from shop import PEOPLE, Shop

from tailrace.cli.commands.doctor import _warehouse
from tailrace.errors import ReceiverChanged
from tailrace.ledger.receivers import Receiver
from tailrace.plan.policy import PlanOptions
from tailrace.run import job
from tailrace.testing.segment.simulator import SegmentSimulator

ROWS = [{"id": f"c{n}", "email": f"c{n}@example.com", "city": "Oslo"} for n in range(3)]


@pytest.fixture
def shop(tmp_path: Path) -> Any:
    with SegmentSimulator() as segment:
        shop = Shop(tmp_path / "shop", segment)
        shop.audience(PEOPLE)
        shop.land(ROWS)
        yield shop


def with_key(shop: Shop, key: str) -> Shop:
    shop.environ["DESTINATION__SEGMENT__WRITE_KEY"] = key
    return shop


def test_another_receiver_is_refused_and_nothing_is_sent(shop: Shop) -> None:
    """Plan and sync refuse another key and another host alike; the old one still works."""
    shop.sync()
    shop.arrived()
    shop.land([*ROWS, {"id": "c9", "email": "c9@example.com", "city": "Oslo"}])
    key = shop.environ["DESTINATION__SEGMENT__WRITE_KEY"]
    for command in (shop.plan, shop.sync):
        with pytest.raises(ReceiverChanged, match=r"\[destination\.segment\]") as raised:
            with_key(shop, "other-key")
            command()
        assert 2 == raised.value.exit_code
        assert "destinations rebind segment" in raised.value.hint
        assert "other-key" not in raised.value.message + raised.value.hint
    # `doctor` says what `plan` and `sync` will refuse.
    checks = {check.check: check for check in _warehouse(shop.project, shop.clock)}
    assert ("failed", 2) == (checks["ledger"].status, checks["ledger"].exit_code)
    assert "destinations rebind segment" in checks["ledger"].hint
    with SegmentSimulator() as elsewhere:
        with_key(shop, key).environ["DESTINATION__SEGMENT__HOST"] = elsewhere.url
        with pytest.raises(ReceiverChanged):
            shop.sync()
        assert [] == elsewhere.events
    assert shop.segment is not None
    shop.environ["DESTINATION__SEGMENT__HOST"] = shop.segment.url
    assert 1 == shop.sync().audiences[0]["sent"]
    assert "ledger" not in {check.check for check in _warehouse(shop.project, shop.clock)}


def test_a_wrong_receiver_before_the_first_delivery_can_be_corrected(tmp_path: Path) -> None:
    """Nothing was delivered to it, so the ledger is not bound to it."""
    with SegmentSimulator() as segment:
        shop = Shop(tmp_path / "shop", segment)
        shop.audience(PEOPLE)
        shop.land(ROWS)
        right = segment.url
        shop.environ["DESTINATION__SEGMENT__HOST"] = "http://127.0.0.1:9"
        shop.environ["DESTINATION__SEGMENT__RETRY_SECONDS_MAX"] = "0"
        shop.land([])
        assert 0 == shop.sync().exit_code
        shop.land(ROWS)
        shop.environ["DESTINATION__SEGMENT__HOST"] = right
        assert 3 == shop.sync().audiences[0]["sent"]


def test_a_rotated_key_is_accepted_by_rebind(shop: Shop) -> None:
    """The run history says so, and only differences are sent afterwards."""
    shop.sync()
    assert shop.segment is not None
    shop.segment.write_key = "rotated"
    with_key(shop, "rotated")
    rebound = job.rebind(shop.project, "segment", clock=shop.clock)
    assert "segment" == rebound["destination"]
    assert "unchanged" == shop.sync().audiences[0]["status"]
    commands = shop.query("SELECT command FROM tailrace.runs ORDER BY run_seq")
    assert [("sync",), ("destinations rebind",), ("sync",)] == commands


def test_a_ledger_of_an_older_version_is_bound_by_its_next_run(shop: Shop) -> None:
    """It has no receiver yet: its first run after the upgrade records the one it has."""
    shop.sync()
    with shop.connection() as connection:
        views = "SELECT view_name FROM duckdb_views() WHERE schema_name = 'tailrace'"
        for (view,) in connection.execute(views).fetchall():
            connection.execute(f"DROP VIEW tailrace.{view}")
        connection.execute(
            "DROP TABLE tailrace.receivers; DROP TABLE tailrace.audience_inputs;"
            "DROP TABLE tailrace.generations; DROP TABLE tailrace.described_objects;"
            "DROP TABLE tailrace.write_jobs; DROP TABLE tailrace.stopped_destinations;"
            "DROP TABLE tailrace.watches; DROP TABLE tailrace.alerts;"
            "ALTER TABLE tailrace.runs DROP COLUMN latency_records;"
            "ALTER TABLE tailrace.runs DROP COLUMN latency_p50_seconds;"
            "ALTER TABLE tailrace.runs DROP COLUMN latency_p95_seconds;"
            "ALTER TABLE tailrace.audience_runs RENAME COLUMN sync_key TO audience;"
            "ALTER TABLE tailrace.acks RENAME COLUMN sync_key TO audience;"
            "ALTER TABLE tailrace.rejections RENAME COLUMN sync_key TO audience;"
            "ALTER TABLE tailrace.rejections RENAME COLUMN unconfirmed TO doubtful;"
            "ALTER TABLE tailrace.unconfirmed RENAME COLUMN sync_key TO audience;"
            "ALTER TABLE tailrace.unconfirmed RENAME TO doubtful;"
            "ALTER TABLE tailrace.runs DROP COLUMN details;"
            "ALTER TABLE tailrace.audience_runs DROP COLUMN funnel;"
            "ALTER TABLE tailrace.extracts DROP COLUMN seconds;"
            "UPDATE tailrace.installation SET version = 1"
        )
    assert "unchanged" == shop.plan().audiences[0].status
    assert 0 == shop.sync().exit_code
    with pytest.raises(ReceiverChanged):
        with_key(shop, "other-key").sync()


def test_the_fingerprint_reveals_no_secret_and_depends_on_the_ledger() -> None:
    receiver = Receiver(host="https://api.segment.io", credential="secret-key")
    assert receiver.fingerprint("a") != receiver.fingerprint("b")
    assert "secret" not in receiver.fingerprint("a")
    assert receiver.fingerprint("a") == receiver.fingerprint("a")


def test_a_target_has_a_ledger_of_its_own(shop: Shop) -> None:
    """A run of `-t dev` does not make the others up to date."""
    (shop.root / ".dlt" / "dev.config.toml").write_text("")
    from tailrace.config.project import load_project

    dev = load_project(shop.root, target="dev", environ=shop.environ)
    assert ("tailrace_dev", "tailrace_models_dev") == (
        dev.settings.ledger_dataset,
        dev.settings.model_dataset,
    )
    assert 3 == job.sync(dev, clock=shop.clock).audiences[0]["sent"]
    assert 3 == shop.sync().audiences[0]["sent"]
    (shop.root / ".dlt" / "dev.config.toml").write_text('[tailrace]\nledger_dataset = "other"\n')
    own = load_project(shop.root, target="dev", environ=shop.environ)
    assert "other" == own.settings.ledger_dataset


# The first run


def test_a_large_first_run_is_held_until_it_is_allowed(shop: Shop) -> None:
    """A lost ledger looks like a first run: it must not send all members again."""
    shop.environ["TAILRACE__FIRST_RUN_MEMBERS_MAX"] = "2"
    planned = shop.plan()
    assert 3 == planned.exit_code
    held = shop.sync()
    assert (3, []) == (held.exit_code, shop.arrived())
    (guard,) = [g for g in held.audiences[0]["guards"] if g["name"] == "first_run"]
    assert (3, 2, True) == (guard["seen"], guard["limit"], guard["held"])
    assert "the ledger is empty, and this run would send 3 members" == guard["message"]
    assert "tailrace reset people --no-send" in guard["hint"]
    assert guard["hint"].endswith("--allow people:first_run")
    allowed = shop.sync(options=shop.allow(("people", "first_run")))
    assert (0, 3) == (allowed.exit_code, allowed.audiences[0]["sent"])
    shop.land([*ROWS, *({"id": f"d{n}"} for n in range(9))])
    assert 9 == shop.sync().audiences[0]["sent"]


def test_a_first_run_that_only_records_is_not_held(shop: Shop) -> None:
    shop.environ["TAILRACE__FIRST_RUN_MEMBERS_MAX"] = "2"
    text = PEOPLE.replace("  changed: People", "  initial: skip\n  changed: People")
    shop.audience(
        text.replace("identify:\n  traits: {email: email}\n  membership_trait: people\n", "")
    )
    assert 0 == shop.sync().exit_code
    assert [] == shop.arrived()


def test_the_hint_of_a_held_first_run_records_the_members_without_sending_them(shop: Shop) -> None:
    shop.environ["TAILRACE__FIRST_RUN_MEMBERS_MAX"] = "2"
    assert 3 == shop.sync().exit_code
    shop.sync(options=PlanOptions(intent="accept"))
    after = shop.sync()
    assert (0, 3, []) == (after.exit_code, after.audiences[0]["size_after"], shop.arrived())


def test_zero_removes_the_limit_of_a_first_run(shop: Shop) -> None:
    shop.environ["TAILRACE__FIRST_RUN_MEMBERS_MAX"] = "0"
    assert 3 == shop.sync().audiences[0]["sent"]
