"""The commands against real services: what they answer when something is wrong, and when not."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from shop import PEOPLE, Shop

from tailrace.clock import SystemClock
from tailrace.testing import Fault, SalesforceSimulator, SegmentSimulator
from tailrace.testing.org.org import Org

CREDENTIALS = "SOURCES__SALESFORCE__CREDENTIALS__"


@pytest.fixture(scope="module")
def salesforce() -> Iterator[SalesforceSimulator]:
    # Its time is this machine's: a doctor looks at both.
    with SalesforceSimulator(org=Org(start=SystemClock().now())) as simulator:
        yield simulator


@pytest.fixture
def segment() -> Iterator[SegmentSimulator]:
    with SegmentSimulator() as simulator:
        yield simulator


@pytest.fixture
def settings(salesforce: SalesforceSimulator, segment: SegmentSimulator) -> dict[str, str]:
    """The environment of a project that reaches both services."""
    return {
        f"{CREDENTIALS}INSTANCE_URL": salesforce.url,
        f"{CREDENTIALS}CLIENT_ID": salesforce.client_id,
        f"{CREDENTIALS}CLIENT_SECRET": salesforce.client_secret,
        "DESTINATION__SEGMENT__HOST": segment.url,
        "DESTINATION__SEGMENT__SETTINGS_HOST": segment.url,
        "DESTINATION__SEGMENT__WRITE_KEY": segment.write_key,
        "SOURCES__SALESFORCE__ATTEMPTS_MAX": "1",
        "DESTINATION__SEGMENT__RETRY_SECONDS_MAX": "1",
    }


def nobody_s_url() -> str:
    """A URL of this machine at which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def test_a_run_is_planned_delivered_reported_and_empty_the_second_time(
    command: Any, project: Path, settings: dict[str, str], segment: SegmentSimulator
) -> None:
    landed = json.loads(command("extract", "--json", cwd=project, **settings).stdout)
    assert "Contact" in {each["object"] for each in landed["objects"]}

    pending = command("plan", "--json", "--detailed-exitcode", cwd=project, **settings)
    planned = json.loads(pending.stdout)
    assert (5, 5) == (pending.returncode, planned["exit_code"])
    assert 0 == len(segment.events)

    comment = command("plan", "--format", "markdown", "--out", "plan.json", cwd=project, **settings)
    assert comment.stdout.startswith("<!-- tailrace-plan:default -->\n")
    assert planned["audiences"] == json.loads((project / "plan.json").read_text())["audiences"]

    done = json.loads(command("sync", "--json", cwd=project, **settings).stdout)
    assert planned["segment"]["calls"] == done["segment"]["calls"] == len(segment.events)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ-[0-9a-f]+", done["run_id"])

    again = command("run", cwd=project, **settings)
    assert again.returncode == 0, again.stderr
    assert "Nothing to send" in again.stdout

    told = json.loads(command("status", "--json", cwd=project, **settings).stdout)
    assert ["run", "sync", "extract"] == [each["command"] for each in told["runs"]]
    assert {e["audience"]: e["size_after"] for e in done["audiences"]} == {
        e["audience"]: e["size_after"] for e in told["audiences"]
    }


@pytest.mark.parametrize("name", ["extract", "run"])
def test_what_an_extract_warns_of_is_shown(
    name: str, command: Any, project: Path, settings: dict[str, str]
) -> None:
    """A login that retires, a field out of sight, another type, a cell that fits nowhere."""
    chosen = ("-s", "object:Contact") if name == "extract" else ("-s", "vip_contacts")
    with SalesforceSimulator() as org:
        settings |= {
            f"{CREDENTIALS}INSTANCE_URL": org.url,
            f"{CREDENTIALS}CLIENT_ID": "",
            f"{CREDENTIALS}CLIENT_SECRET": "",
            f"{CREDENTIALS}USERNAME": org.username,
            f"{CREDENTIALS}PASSWORD": org.password,
            f"{CREDENTIALS}SECURITY_TOKEN": org.security_token,
        }
        first = json.loads(command(name, *chosen, "--json", cwd=project, **settings).stdout)
        org.org.hide_field("Contact", "Department")
        org.org.change_type("Contact", "Visits__c", "int")
        org.org.advance(hours=1)
        (one,) = org.org.rows("Contact").ids()[:1]
        poison = {"Id": one, "IsDeleted": False, "Visits__c": "many"}
        page = {"totalSize": 1, "done": True, "records": [poison]}
        org.faults.append(Fault(path="*/queryAll", contains="LastName", status=200, body=page))

        done = command(name, *chosen, "--json", cwd=project, **settings)
        shown = command(name, *chosen, cwd=project, **settings)

    (told,) = [w["message"] for w in first["warnings"] if "header" not in w["message"]]
    assert "Summer '27" in told
    warned = " ".join(each["message"] for each in json.loads(done.stdout)["warnings"])
    for each in ("Summer '27", "Contact: Department", "Visits__c (was double, is int)", "1 values"):
        assert each in warned
    for each in ("Summer '27", "Contact: Department", "1 values"):
        assert each in shown.stderr
    assert "many" not in warned + done.stderr + shown.stdout + shown.stderr


@pytest.mark.parametrize("how", ["failed", "empty"])
def test_an_object_that_did_not_come_whole_holds_who_reads_it(
    how: str, command: Any, project: Path, settings: dict[str, str], segment: SegmentSimulator
) -> None:
    """Its rows were not read, or there are none: neither is anybody's exit."""
    chosen = ("run", "-s", "vip_contacts", "--json")
    with SalesforceSimulator() as org:
        settings[f"{CREDENTIALS}INSTANCE_URL"] = org.url
        assert 0 == command(*chosen, cwd=project, **settings).returncode
        sent = len(segment.events)
        org.org.advance_day()
        if how == "failed":
            org.faults.append(Fault(path="*/queryAll", contains="FROM+Contact", status=503))
        else:
            org.org.delete("Contact", *org.org.rows("Contact").ids())
        done = command(*chosen, cwd=project, **settings)

    told = json.loads(done.stdout)
    assert (1 if how == "failed" else 3) == done.returncode
    (vip,) = told["audiences"]
    (upstream,) = [each for each in vip["guards"] if each["name"] == "upstream"]
    assert ("held", True) == (vip["status"], upstream["held"])
    assert sent == len(segment.events) > 0


DIES_WHILE_LOADING = """
import os, sys
from tailrace.salesforce.extract import load
load.load = lambda *_: os._exit(9)
from tailrace.cli.app import answer
answer(sys.argv[1:])
"""


def test_an_unfinished_full_refresh_blocks_the_audiences_that_read_the_table(
    command: Any, project: Path, settings: dict[str, str], segment: SegmentSimulator
) -> None:
    """An extract crashed while it replaced a table: no member exits until another one succeeds."""
    chosen = ("-s", "vip_contacts", "--json")
    assert 0 == command("run", *chosen, cwd=project, **settings).returncode
    sent = len(segment.events)
    died = subprocess.run(
        [sys.executable, "-c", DIES_WHILE_LOADING, "extract", "--full-refresh", "--yes"],
        cwd=project,
        env={**os.environ, **settings},
        check=False,
    )
    assert 9 == died.returncode

    held = command("sync", *chosen, cwd=project, **settings)
    (vip,) = json.loads(held.stdout)["audiences"]
    (upstream,) = [each for each in vip["guards"] if each["name"] == "upstream"]
    assert (3, "held", True) == (held.returncode, vip["status"], upstream["held"])
    assert "a full refresh of it has not finished" in upstream["message"]

    assert 0 == command("run", *chosen, cwd=project, **settings).returncode
    assert sent == len(segment.events)


def test_an_extract_says_what_it_cost(
    command: Any, project: Path, settings: dict[str, str]
) -> None:
    """The calls, and the org's budget before and after."""
    made = json.loads(
        command("extract", "-s", "object:Account", "--json", cwd=project, **settings).stdout
    )
    spent = made["salesforce"]
    assert spent["calls"] > 1 and spent["quota_used"] > spent["quota_used_before"]
    assert 100_000 == spent["quota_max"]

    shown = command("extract", "-s", "object:Account", cwd=project, **settings).stdout

    told = r"Salesforce: \d+ API calls; the org had used ([\d,]+) of 100,000 today, now ([\d,]+)"
    found = re.search(told, shown)
    assert found is not None, shown
    before, after = (int(each.replace(",", "")) for each in found.groups())
    assert spent["quota_used_before"] < before < after


def test_an_audience_lives_is_looked_at_and_is_closed(
    command: Any, project: Path, settings: dict[str, str], segment: SegmentSimulator
) -> None:
    def said(*arguments: str) -> Any:
        done = command(*arguments, "--json", cwd=project, **settings)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    assert [] == said("rejected")["rejected"]
    ran = said("run", "-s", "vip_contacts")
    (vip,) = ran["audiences"]
    person = next(each["userId"] for each in segment.events)
    traced = said("trace", person)
    assert [{"table": "contact", "deleted": False}] == traced["salesforce"]
    (seen,) = (each for each in traced["audiences"] if each["membership"] == "member")
    assert ("vip_contacts", "") == (seen["audience"], seen["why_not"])
    sent = {each["messageId"] for each in segment.events if each["userId"] == person}
    assert sent == {call["message_id"] for event in seen["events"] for call in event["calls"]}
    assert [vip["size_after"]] == [e["size_after"] for e in said("history", "vip_contacts")["runs"]]

    assert 0 == said("reset", "vip_contacts", "--no-send")["segment"]["calls"]
    assert (
        vip["size_after"]
        == said("reset", "vip_contacts", "--send", "--yes")["audiences"][0]["sent"]
    )
    assert 0 == said("retry", "-s", "vip_contacts")["segment"]["calls"]

    refused = command("rename", "vip_contacts", "vips", cwd=project, **settings)
    assert 2 == refused.returncode
    assert "vip_contacts.sql: This file still declares" in refused.stderr
    audience = project / "models" / "audiences"
    text = (audience / "vip_contacts.sql").read_text().replace(": vip_contacts\n", ": vips\n", 1)
    (audience / "vips.sql").write_text(text)
    (audience / "vip_contacts.sql").unlink()
    said("rename", "vip_contacts", "vips")
    (renamed,) = said("plan", "-s", "vips")["audiences"]
    assert (0, 0) == (renamed["entered"], renamed["exited"])

    refused = command("retire", "vips", cwd=project, **settings)
    assert 2 == refused.returncode
    assert f"This sends {vip['size_after']} exits of vips" in refused.stderr
    retired = said("retire", "vips", "--yes")
    assert "still declares vips" in retired["warnings"][-1]["message"]
    assert vip["size_after"] == sum(each["exited"] for each in retired["audiences"])
    assert said("purge", "--older-than", "0d", "--yes")["forgotten"]["outbox"] > 0


@pytest.mark.parametrize(
    "others", [["-s", "x"], ["--allow", "x:keys"], ["--on-new-column", "send"]]
)
def test_a_reviewed_plan_has_its_own_choices(
    others: list[str], command: Any, project: Path
) -> None:
    """Output beside it would not be read."""
    (project / "plan.json").write_text("{}")
    done = command("sync", "--plan", "plan.json", *others, cwd=project)
    assert 2 == done.returncode
    assert "of the saved plan" in done.stderr


def test_what_holds_a_reset_can_be_allowed_as_it_says(command: Any, tmp_path: Path) -> None:
    """The command that is held takes the `--allow` of its own hint; so does retry."""
    with SegmentSimulator() as segment:
        shop = Shop(tmp_path / "held", segment)
        shop.audience(PEOPLE.replace("key: id", "key: id\nguards: {max_exited: 0}"))
        shop.land([{"id": "c1"}, {"id": "c2"}])
        shop.sync()
        shop.land([{"id": "c1"}])

        def told(*arguments: str) -> int:
            return int(command(*arguments, cwd=shop.root, **shop.environ).returncode)

        assert 3 == told("reset", "people", "--no-send")
        shop.arrived()
        assert 0 == told("retry", "--allow", "people:max_exited")
        assert 0 == told("reset", "people", "--no-send", "--allow", "people:max_exited")
        assert ([], "unchanged") == (shop.arrived(), shop.plan().audiences[0].status)


def test_a_moment_is_taken_as_a_result_prints_it(command: Any, tmp_path: Path) -> None:
    """With a zone or without one, to the microsecond or to the minute."""
    with SegmentSimulator() as segment:
        shop = Shop(tmp_path / "then", segment)
        shop.audience(PEOPLE)
        shop.land([{"id": "c1"}])
        run = shop.sync().run_id.rpartition("-")[0]

        def members(at: str) -> Any:
            done = command("history", "people", "--at", at, "--json", cwd=shop.root)
            return done.returncode, json.loads(done.stdout).get("members")

        assert (0, []) == members(run)
        assert (0, []) == members("2026-01-01 05:00")
        assert (0, [["c1"]]) == members("2999-12-31T23:59:59.999999Z")
        assert (0, [["c1"]]) == members("2999-12-31T23:59:59+02:00")
        assert 2 == members("yesterday")[0]


def test_reset_requires_a_choice_whether_to_send(command: Any, project: Path) -> None:
    done = command("reset", "vip_contacts", cwd=project)
    assert 2 == done.returncode
    assert "--send" in done.stderr


@pytest.mark.parametrize("given", ["30", "d", "ten days", "-3d"])
def test_an_age_that_is_none_is_exit_2(given: str, command: Any, project: Path) -> None:
    done = command("purge", f"--older-than={given}", cwd=project)
    assert 2 == done.returncode
    assert "30d or 12h" in done.stderr


@pytest.mark.parametrize("wrong", ["CLIENT_SECRET", "CLIENT_ID"])
def test_a_wrong_salesforce_credential_is_exit_2(
    wrong: str, command: Any, project: Path, settings: dict[str, str]
) -> None:
    done = command("extract", cwd=project, **{**settings, f"{CREDENTIALS}{wrong}": "no-such"})
    assert 2 == done.returncode, done.stderr
    assert "no-such" not in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_write_key_is_exit_2_and_nothing_is_sent(
    command: Any, project: Path, settings: dict[str, str], segment: SegmentSimulator
) -> None:
    settings["DESTINATION__SEGMENT__WRITE_KEY"] = "no-such-key"
    done = command("run", "-s", "vip_contacts", "--json", cwd=project, **settings)
    assert 2 == done.returncode, done.stderr
    assert ["CredentialRefused"] == [e["error"] for e in json.loads(done.stdout)["errors"]]
    assert 0 == len(segment.events)


def test_a_missing_credential_is_exit_2_and_says_where_it_belongs(
    command: Any, project: Path
) -> None:
    done = command("run", cwd=project)
    assert 2 == done.returncode
    assert ".dlt/secrets.toml" in done.stderr


@pytest.mark.parametrize(
    "name", [f"{CREDENTIALS}INSTANCE_URL", "DESTINATION__SEGMENT__HOST"], ids=["source", "target"]
)
def test_plain_http_to_another_machine_is_exit_2(
    name: str, command: Any, project: Path, settings: dict[str, str]
) -> None:
    done = command("run", "--json", cwd=project, **{**settings, name: "http://example.com"})
    assert (2, ["InsecureHost"]) == (
        done.returncode,
        [each["error"] for each in json.loads(done.stdout)["errors"]],
    )


def test_an_unreachable_salesforce_is_exit_1(
    command: Any, project: Path, settings: dict[str, str]
) -> None:
    settings[f"{CREDENTIALS}INSTANCE_URL"] = nobody_s_url()
    done = command("extract", "--json", cwd=project, **settings)
    assert 1 == done.returncode, done.stderr
    assert {"Unreachable"} == {each["error"] for each in json.loads(done.stdout)["errors"]}


def test_an_unreachable_segment_is_exit_1_and_the_next_run_finishes(
    command: Any, project: Path, settings: dict[str, str], segment: SegmentSimulator
) -> None:
    nowhere = {
        "DESTINATION__SEGMENT__HOST": nobody_s_url(),
        "DESTINATION__SEGMENT__CHECK_WRITE_KEY": "false",
    }
    done = command("run", "-s", "vip_contacts", cwd=project, **{**settings, **nowhere})
    assert 1 == done.returncode, done.stderr
    assert "Traceback" not in done.stderr
    after = command("sync", "-s", "vip_contacts", "--json", cwd=project, **settings)
    assert 0 == after.returncode, after.stderr
    assert json.loads(after.stdout)["segment"]["calls"] == len(segment.events) > 0


def test_a_locked_database_is_exit_75(
    command: Any, project: Path, settings: dict[str, str]
) -> None:
    with duckdb.connect(str(project / "warehouse.duckdb")):
        done = command("run", cwd=project, **settings)
    assert 75 == done.returncode, done.stderr
    assert "warehouse.duckdb" in done.stderr


def test_a_file_that_is_no_database_is_exit_2(
    command: Any, project: Path, settings: dict[str, str]
) -> None:
    (project / "warehouse.duckdb").write_text("not a database" * 1_000)
    done = command("run", cwd=project, **settings)
    assert 2 == done.returncode, done.stderr
    assert "warehouse.duckdb" in done.stderr


@pytest.mark.parametrize("arguments", [["validate"], ["ls"], ["plan"], ["run"]])
def test_a_selection_that_matches_nothing_is_exit_2_with_a_suggestion(
    arguments: list[str], command: Any, project: Path, settings: dict[str, str]
) -> None:
    done = command(*arguments, "-s", "vip_contact", cwd=project, **settings)
    assert 2 == done.returncode
    assert "vip_contacts" in done.stderr


@pytest.mark.parametrize(
    ("allowed", "meant"),
    [("vip_contact:max_exited", "vip_contacts"), ("vip_contacts:max_exit", "max_exited")],
)
def test_a_guard_that_is_not_there_cannot_be_allowed(
    allowed: str, meant: str, command: Any, project: Path, settings: dict[str, str]
) -> None:
    done = command("run", "--allow", allowed, cwd=project, **settings)
    assert 2 == done.returncode, done.stderr
    assert f'did you mean "{meant}"' in done.stderr.lower()


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("SELECT", "SELEC", r"models/audiences/vip_contacts.sql:\d+: "),
        ("key: contact_id", "kye: contact_id", r"models/audiences/vip_contacts.sql:\d+: .*key"),
        ("first_name: first_name", "first_name: frist_name", r"vip_contacts.sql:\d+: .*first_name"),
        ("JOIN account_sales", "JOIN acount_sales", r"vip_contacts.sql.*: .*account_sales"),
    ],
    ids=["syntax", "header key", "column", "model"],
)
def test_an_error_in_a_model_fails_its_audience_and_names_the_place(
    before: str, after: str, expected: str, command: Any, project: Path, settings: dict[str, str]
) -> None:
    file = project / "models" / "audiences" / "vip_contacts.sql"
    text = file.read_text()
    assert before in text
    file.write_text(text.replace(before, after, 1))
    checked = command("validate", cwd=project, **settings)
    assert 2 == checked.returncode
    assert re.search(expected, checked.stderr), checked.stderr
    done = command("run", "--json", cwd=project, **settings)
    assert 1 == done.returncode
    assert re.search(expected, done.stderr), done.stderr
    sent = {a["audience"]: a["sent"] for a in json.loads(done.stdout)["audiences"]}
    assert sent["customer_contacts"] > 0
    assert 0 == sent.get("vip_contacts", 0)


def test_doctor_finds_a_healthy_project_well(
    command: Any, project: Path, settings: dict[str, str]
) -> None:
    done = command("doctor", "--json", cwd=project, **settings)
    checks = json.loads(done.stdout)["checks"]
    assert done.returncode == 0, done.stdout
    assert [] == [each for each in checks if each["status"] != "ok"]
    assert {"versions", "configuration", "models", "warehouse", "salesforce", "segment"} <= {
        each["check"] for each in checks
    }
    assert not (project / "warehouse.duckdb").exists()


def test_doctor_names_every_ailment_and_its_cure(
    command: Any, project: Path, settings: dict[str, str]
) -> None:
    settings[f"{CREDENTIALS}CLIENT_SECRET"] = "no-such"
    settings["DESTINATION__SEGMENT__WRITE_KEY"] = "no-such"
    with duckdb.connect(str(project / "warehouse.duckdb")):
        done = command("doctor", "--json", cwd=project, **settings)
    checks = {each["check"]: each for each in json.loads(done.stdout)["checks"]}
    assert 2 == done.returncode
    assert ["failed", "failed", "warning"] == [
        checks[name]["status"] for name in ("salesforce", "segment", "lock")
    ]
    assert all(checks[name]["hint"] for name in ("salesforce", "segment", "lock"))
    assert "no-such" not in done.stdout


def test_doctor_asks_every_source_that_an_audience_goes_to(
    command: Any, project: Path, settings: dict[str, str]
) -> None:
    """Each by its own key; a host that is not Segment's is not said to know one."""
    header = project / "models" / "audiences" / "vip_contacts.sql"
    text = header.read_text()
    assert "\nkey:" in text
    header.write_text(text.replace("\nkey:", "\ndestination: [segment, segment_eu]\nkey:", 1))
    for name in ("HOST", "SETTINGS_HOST"):
        settings[f"DESTINATION__SEGMENT_EU__{name}"] = settings["DESTINATION__SEGMENT__HOST"]
    settings["DESTINATION__SEGMENT_EU__WRITE_KEY"] = "no-such"
    settings.pop("DESTINATION__SEGMENT__SETTINGS_HOST", None)
    done = command("doctor", "--json", cwd=project, **settings)
    checks = {each["check"]: each for each in json.loads(done.stdout)["checks"]}
    assert (2, "skipped", "failed") == (
        done.returncode,
        checks["segment"]["status"],
        checks["segment_eu"]["status"],
    )
    assert "is not checked" in checks["segment"]["found"]
    assert "no-such" not in done.stdout


def test_doctor_names_every_field_that_is_out_of_sight(
    command: Any, project: Path, settings: dict[str, str]
) -> None:
    """Those that models read, wherever in the SELECT, and those that settings name."""
    settings["SOURCES__SALESFORCE__OBJECT__ACCOUNT__FIELDS"] = '["Name", "Typ", "Industri"]'
    settings["SOURCES__SALESFORCE__OBJECT__CAMPAIGN__EXCLUDE"] = '["Type"]'
    with SalesforceSimulator(org=Org(start=SystemClock().now())) as org:
        settings[f"{CREDENTIALS}INSTANCE_URL"] = org.url
        org.org.hide_field("Contact", "Email")
        org.org.hide_field("CampaignMember", "ContactId")
        done = command("doctor", "--json", cwd=project, **settings)

    told = [e for e in json.loads(done.stdout)["checks"] if e["check"] == "salesforce fields"]
    assert (2, {"failed"}) == (done.returncode, {each["status"] for each in told})
    found = "\n".join(each["found"] for each in told)
    for each in (
        'Account has no field Typ that this user may see. Did you mean "Type"?',
        'Account has no field Industri that this user may see. Did you mean "Industry"?',
        "models/staging/contacts.sql reads contact.email, which this user cannot see.",
        "models/staging/campaign_members.sql reads campaign_member.contact_id, which",
        "models/staging/campaigns.sql reads campaign.type, which the settings leave out",
    ):
        assert each in found
    assert 5 == len(told)
    assert any("field-level security" in each["hint"] for each in told)


def test_doctor_names_an_object_that_salesforce_does_not_have(
    command: Any, project: Path, settings: dict[str, str]
) -> None:
    settings["SOURCES__SALESFORCE__OBJECTS"] = '["Contcat", "Account"]'
    done = command("doctor", cwd=project, **settings)
    assert 2 == done.returncode
    assert 'no object Contcat for this user. Did you mean "Contact"?' in done.stdout
