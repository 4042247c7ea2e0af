"""`tailrace.Project`: typed results, exceptions, and nothing that prints."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dlt
import pytest
from dlt.common.configuration.container import Container
from dlt.common.configuration.specs.pluggable_run_context import PluggableRunContext
from shop import CONFIG, PEOPLE, Shop

import tailrace
from tailrace import errors
from tailrace.cli.output.text import blocks
from tailrace.clock import SystemClock
from tailrace.config.project import load_project
from tailrace.testing import Fault, SegmentSimulator


class SetClock(SystemClock):
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.time = datetime(2026, 11, 27, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time


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


def test_a_call_leaves_the_process_and_dlt_as_they_were(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The working directory, the environment, dlt's settings and its telemetry are the caller's."""
    (tmp_path / "mine" / ".dlt").mkdir(parents=True)
    settings = "[runtime]\ndlthub_telemetry = false\n[load]\nworkers = 11\n"
    (tmp_path / "mine" / ".dlt" / "config.toml").write_text(settings)
    (shop.root / ".dlt" / "config.toml").write_text(CONFIG + "[load]\nworkers = 12\n")
    monkeypatch.delenv("RUNTIME__DLTHUB_TELEMETRY")
    monkeypatch.chdir(tmp_path / "mine")
    before = dict(os.environ)
    container = Container()
    if PluggableRunContext in container:
        del container[PluggableRunContext]
    assert 0 == loaded(shop).sync().exit_code
    assert PluggableRunContext not in container
    assert 11 == dlt.config["load.workers"]
    context = dlt.current.run_context()
    assert not loaded(shop).plan().pending
    assert (context, 11) == (dlt.current.run_context(), dlt.config["load.workers"])
    assert (before, tmp_path / "mine") == (dict(os.environ), Path.cwd())
    assert [".dlt"] == [file.name for file in (tmp_path / "mine").iterdir()]
    del container[PluggableRunContext]


def test_dlt_reads_the_files_of_the_target_while_a_project_is_open(shop: Shop) -> None:
    (shop.root / ".dlt" / "config.toml").write_text(CONFIG + "[load]\nworkers = 12\n")
    (shop.root / ".dlt" / "dev.config.toml").write_text("[load]\nworkers = 13\n")
    for target, workers in ((None, 12), ("dev", 13)):
        project = load_project(shop.root, target=target)
        with project.dlt_context():
            assert workers == dlt.config["load.workers"]
            assert str(project.state_folder) == dlt.current.run_context().data_dir
            assert not dlt.current.run_context().runtime_config.dlthub_telemetry


def test_a_check_of_the_status_finds_what_is_late_failed_or_held(shop: Shop) -> None:
    """Only a run that succeeded counts, and a run without changes is one."""
    clock = shop.clock = SetClock()

    def check(**environ: str) -> tuple[int, list[str]]:
        project = tailrace.Project.load(shop.root, environ=shop.environ | environ, clock=clock)
        result = project.status(check=True)
        return result.exit_code, [problem["problem"] for problem in result.data["problems"]]

    assert (1, ["late"]) == check()
    loaded(shop).sync()
    assert (0, []) == check()
    clock.time += timedelta(hours=23)
    loaded(shop).sync()
    clock.time += timedelta(hours=23)
    assert (0, []) == check()
    assert (1, ["late"]) == check(TAILRACE__ALERTS__LATE_HOURS="22")
    clock.time += timedelta(hours=2)
    assert (1, ["late"]) == check()
    assert (0, []) == check(TAILRACE__ALERTS__LATE_HOURS="0")
    shop.audience(PEOPLE.replace("key: id", "guards: {min_rows: 9}\nkey: id"))
    assert 3 == loaded(shop).sync().exit_code
    assert (1, ["held"]) == check()
    held = loaded(shop).status(check=True)
    assert (
        "people is held: its last successful run ended 2026-11-27T23:00:00"
        in (held.data["problems"][0]["message"])
    )
    assert f"{held.data['problems'][0]['message']}." == list(blocks(held.as_dict()))[-1]
    assert 0 == loaded(shop).status().exit_code


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


def test_the_ledger_names_the_command_of_a_run(shop: Shop) -> None:
    project = loaded(shop)
    project.sync()
    project.reset("people", send=False)
    project.reset("people", send=True)
    retry = project.retry()
    commands = ["retry", "reset", "reset", "sync"]
    assert commands == [run["command"] for run in project.status().data["runs"]]
    assert retry.command == "retry"


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
        ("salesforce.contact", ["Contact"]),
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
    with pytest.raises(errors.NothingSelected, match=message.replace("?", r"\?")) as raised:
        loaded(shop).extract(select=[pattern], dry_run=True)
    assert "objects: Contact, Account" in raised.value.hint


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
    for new_name, words in (
        ("persosn", 'No file declares the audience "persosn". Did you mean "persons"?'),
        ("people", "is the name that the audience has"),
        ("per sons", "cannot be the name of an audience"),
    ):
        with pytest.raises(errors.NothingSelected) as raised:
            project.rename("people", new_name)
        assert words in raised.value.message and raised.value.hint
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


def test_an_error_about_a_setting_that_a_command_finds_has_the_line_of_the_setting(
    shop: Shop,
) -> None:
    """Here one of OAuth, which only the destination can judge."""
    (shop.root / ".dlt" / "secrets.toml").write_text(
        "[destination.segment]\n\noauth_client_id = 'sk-hidden'\n"
    )
    (error,) = loaded(shop).sync().errors
    assert isinstance(error, errors.InvalidConfigValue)
    assert (".dlt/secrets.toml", 3) == (error.file, error.line)
    assert "sk-hidden" not in str(error)
