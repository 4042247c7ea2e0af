"""`tailrace.Project`: typed results, exceptions, and nothing that prints."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from shop import PEOPLE, Shop

import tailrace
from tailrace import errors
from tailrace.cli.text import blocks
from tailrace.testing import Fault, SegmentSimulator


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with SegmentSimulator() as segment:
        made = Shop(tmp_path / "shop", segment)
        made.audience(PEOPLE)
        made.land([{"id": f"c{n}", "email": f"{n}@example.com", "city": "Oslo"} for n in range(4)])
        yield made


def loaded(shop: Shop) -> tailrace.Project:
    return tailrace.Project.load(shop.root, environ=shop.environ, clock=shop.clock)


def test_a_plan_and_a_run_have_typed_results_and_print_nothing(
    shop: Shop, capfd: pytest.CaptureFixture[str]
) -> None:
    project = loaded(shop)
    plan = project.plan(select=["people"])
    assert (0, True, 4) == (plan.exit_code, plan.pending, plan.audiences["people"].entered)
    done = project.sync()
    assert 0 == done.raise_for_errors().exit_code
    people = done.audiences["people"]
    assert ("ok", 4, 4, 0) == (people.status, people.entered, people.sent, people.rejected)
    assert "max_exited" in {guard.name for guard in people.guards}
    assert {"schema_version", "command", "exit_code", "errors", "audiences"} <= set(done.as_dict())
    assert json.loads(json.dumps(done.as_dict()))["audiences"][0]["audience"] == "people"
    assert not project.plan().pending
    assert ["sync"] == [run["command"] for run in project.status().data["runs"]]
    assert 4 == project.status(done.run_id).audiences["people"].entered
    assert ("", "") == capfd.readouterr()


def test_what_is_wrong_before_a_run_is_raised_and_not_recorded(shop: Shop) -> None:
    project = loaded(shop)
    project.sync()
    for call in (
        lambda: project.retire("peple"),
        lambda: project.replay("peple", "segment"),
        lambda: project.reset("peple", send=False),
        lambda: project.status("no-such-run"),
        lambda: project.history("peple"),
        lambda: project.rejected(select=["peple"]),
        lambda: project.sync(select=["peple"]),
    ):
        with pytest.raises(errors.UserError):
            call()
    assert ["sync"] == [run["command"] for run in project.status().data["runs"]]


def test_a_dry_run_says_what_the_command_would_do_and_changes_nothing(shop: Shop) -> None:
    project = loaded(shop)
    project.sync()
    before = shop.query("SELECT count(*) FROM tailrace.outbox__people")
    shop.arrived()
    retire = project.retire("people", dry_run=True)
    assert 4 == retire.data["would_exit"]
    assert "still declares people" in retire.warnings[0]["message"]
    reset = project.reset("people", send=True, dry_run=True)
    assert 4 == reset.audiences["people"].entered + reset.audiences["people"].changed
    purge = project.purge(timedelta(0), dry_run=True)
    assert 4 == purge.data["forgotten"]["outbox"]
    assert ["Contact"] == project.extract(select=["Contact"], dry_run=True).data["would_load"]
    assert before == shop.query("SELECT count(*) FROM tailrace.outbox__people")
    assert [] == shop.arrived()
    for result in (retire, reset, purge):
        assert "Dry run: nothing was changed." == list(blocks(result.as_dict()))[-1]


@pytest.mark.parametrize(
    ("pattern", "objects"),
    [
        ("Contact", ["Contact"]),
        ("contact", ["Contact"]),
        ("object:Account", ["Account"]),
        ("*t", ["Contact", "Account"]),
        ("people", ["Contact"]),
    ],
)
def test_an_extract_selects_objects_by_their_name_or_by_a_model(
    pattern: str, objects: list[str], shop: Shop
) -> None:
    found = loaded(shop).extract(select=[pattern], dry_run=True)
    assert objects == found.data["would_load"]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("Contct", 'neither a configured object nor a model. Did you mean "Contact"?'),
        ("object:Contct", 'not a configured Salesforce object. Did you mean "Contact"?'),
        ("tag:none", "neither a configured object nor a model"),
    ],
)
def test_an_extract_refuses_an_unknown_object(pattern: str, message: str, shop: Shop) -> None:
    with pytest.raises(errors.NothingSelected, match=message.replace("?", r"\?")):
        loaded(shop).extract(select=[pattern], dry_run=True)


def test_a_rejected_row_has_its_rule_its_path_and_its_key(shop: Shop) -> None:
    project = loaded(shop)
    shop.land([{"id": "c1"}, {"id": "c7", "city": "x" * 40_000}])
    assert 4 == project.sync().exit_code
    (row,) = project.rejected(select=["people"], show_values=True).data["rows"]
    assert {"id": "c7"} == row["key"]
    assert ("entered", "event_over_32_kb") == (row["op"], row["reason"])
    (masked,) = project.rejected().data["rows"]
    assert "c7" not in masked["key"]["id"]
    assert [] == project.rejected(exclude=["people"]).data["rows"]


def test_an_unknown_person_is_an_error_of_the_user(shop: Shop) -> None:
    project = loaded(shop)
    project.sync()
    assert 2 == project.trace("nobody").exit_code
    known = project.trace("c1", show_values=True)
    values = known.data["audiences"][0]["events"][0]["values"]
    assert (0, "Oslo", None) == (known.exit_code, values["city"], values["score"])


def test_a_rename_waits_for_the_header(shop: Shop) -> None:
    project = loaded(shop)
    project.sync()
    with pytest.raises(errors.NothingSelected) as raised:
        project.rename("people", "persons")
    assert "people.sql" in str(raised.value.file)
    assert "tailrace rename people persons" in raised.value.hint
    shop.forget_audience("people")
    shop.audience(PEOPLE.replace("audience: people", "audience: persons"), "persons")
    project.rename("people", "persons")
    assert not project.plan().pending


def test_a_deleted_audience_is_named_with_both_ways_out(shop: Shop) -> None:
    project = loaded(shop)
    project.sync()
    shop.forget_audience("people")
    shop.audience(PEOPLE.replace("audience: people", "audience: persons"), "persons")
    with pytest.raises(errors.NothingSelected) as raised:
        project.plan(select=["people"])
    assert "tailrace retire people" in raised.value.hint
    assert "tailrace rename people NEW_NAME" in raised.value.hint


def test_a_plan_without_a_write_key_knows_the_configured_rate(shop: Shop) -> None:
    """Limits and credentials are read apart."""
    environ = {"DESTINATION__SEGMENT__EVENTS_PER_SECOND_MAX": "2"}
    project = tailrace.Project.load(shop.root, environ=environ)
    assert 4.0 == project.plan().data["segment"]["seconds"]


def test_several_destinations_have_one_result_each(shop: Shop) -> None:
    shop.audience(PEOPLE.replace("key: id", "destination: [segment, segment_eu]\nkey: id"))
    assert shop.segment is not None
    shop.environ |= {
        "DESTINATION__SEGMENT_EU__HOST": shop.segment.url,
        "DESTINATION__SEGMENT_EU__WRITE_KEY": "other",
    }
    found = loaded(shop).plan().audiences
    assert {"people@segment", "people@segment_eu"} == set(found)


def test_a_failure_of_a_service_is_in_the_result(shop: Shop) -> None:
    assert shop.segment is not None
    shop.segment.faults.append(Fault(path="/v1/batch", status=503))
    shop.environ["DESTINATION__SEGMENT__RETRY_SECONDS_MAX"] = "0.1"
    failed = loaded(shop).sync()
    assert 1 == failed.exit_code
    with pytest.raises(errors.TryAgain):
        failed.raise_for_errors()
