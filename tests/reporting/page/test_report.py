"""The report: what it says about a run, and that it is one small file without personal values."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from page_ledger import grow
from shop import PEOPLE, Shop

from tailrace.clock import SystemClock
from tailrace.errors import PlanUnreadable, ReportNotWritten
from tailrace.project import Project
from tailrace.reporting.page.facts import PageFacts
from tailrace.reporting.page.render import render_report
from tailrace.reporting.page.report import project_facts
from tailrace.testing import WebhookReceiver
from tailrace.testing.segment.simulator import SegmentSimulator

NOW = datetime(2026, 11, 27, 9, 30, tzinfo=UTC)
BYTES_MAX = 1_000_000
ROWS = [
    {"id": f"person-{number}", "email": f"ada{number}@example.com", "city": "Bergen", "score": 4.25}
    for number in range(6)
]


class StoppedClock(SystemClock):
    """Shows one time."""

    def now(self) -> datetime:
        return NOW


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with SegmentSimulator() as segment:
        shop = Shop(tmp_path / "shop", segment)
        shop.audience(PEOPLE)
        shop.land(ROWS)
        yield shop


def project(shop: Shop) -> Project:
    return Project(shop.project, clock=StoppedClock())


def facts(shop: Shop) -> PageFacts:
    return project_facts(shop.project, clock=StoppedClock())


def test_it_says_how_the_last_run_ended_and_what_to_type_next(shop: Shop) -> None:
    shop.sync()
    assert "Healthy" == facts(shop).verdict.word
    assert "6 entered, 0 changed, 0 exited" in facts(shop).verdict.sentence

    shop.land([{**ROWS[0], "id": None}, *ROWS[1:]])
    shop.sync()
    held = facts(shop).verdict
    assert ("held", "tailrace plan --show 5 --select people") == (held.status, held.command)
    assert held.sentence.startswith("people is held by keys: ")


def test_rejected_rows_have_their_reason_and_a_command(shop: Shop) -> None:
    shop.audience(PEOPLE.replace("user_id: id", "user_id: email"))
    shop.land([*ROWS[:4], {"id": "person-9", "city": "Bergen"}])
    assert 4 == shop.sync().exit_code
    page = facts(shop)
    assert ("rejected", "tailrace rejected") == (page.verdict.status, page.verdict.command)
    (rejection,) = page.rejections
    assert ("no_user_anon_id", 1) == (rejection.reason, rejection.count)
    assert "tailrace retry --select people" == rejection.command
    (audience,) = page.audiences
    assert [5, 5, 4, 4, 4, 4, 4] == [step.count for step in audience.funnel]


def test_no_value_of_a_member_is_on_the_page(shop: Shop) -> None:
    """Neither of those that were sent, nor of a row that was rejected."""
    shop.audience(PEOPLE.replace("user_id: id", "user_id: email"))
    shop.land([*ROWS[:4], {"id": "person-9", "city": "Bergen"}])
    shop.sync()
    text = html.unescape(render_report(facts(shop)))
    for value in ("person-", "ada", "example.com", "Bergen", "4.25"):
        assert value not in text
    assert '"email": "a***@***"' in text


def test_it_is_one_file_that_requests_nothing(shop: Shop) -> None:
    shop.sync()
    text = render_report(facts(shop))
    assert [] == re.findall(r"https?://", text)
    assert {"data:,"} == set(re.findall(r'(?:src|href)="([^#"][^"]*)"', text))
    assert "default-src 'none'" in text


def test_it_is_the_same_for_the_same_ledger_and_clock(shop: Shop, tmp_path: Path) -> None:
    shop.sync()
    shop.audience(PEOPLE.replace("NOT is_deleted", "NOT is_deleted AND score > 0"))
    first, second = tmp_path / "first.html", tmp_path / "second.html"
    done = project(shop).report(first)
    assert {"file": str(first), "bytes": first.stat().st_size} == done.data
    project(shop).report(second)
    assert first.read_bytes() == second.read_bytes()
    assert [] == [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_the_definition_is_shown_with_what_changes(shop: Shop) -> None:
    shop.sync()
    (audience,) = facts(shop).audiences
    assert audience.definition_change is None
    shop.audience(PEOPLE.replace("NOT is_deleted", "NOT is_deleted AND score > 0"))
    (audience,) = facts(shop).audiences
    change = audience.definition_change
    assert change is not None
    assert change.title.startswith("Not delivered yet")
    assert (
        "\n+SELECT id, email, city, score FROM salesforce.contact"
        " WHERE NOT is_deleted AND score > 0" in change.diff
    )
    shop.sync()
    (audience,) = facts(shop).audiences
    assert audience.definition_change is not None
    assert audience.definition_change.title.startswith("The last change")


def test_a_saved_plan_shows_what_the_next_run_would_do(shop: Shop, tmp_path: Path) -> None:
    shop.sync()
    shop.land(ROWS[:4])
    saved = tmp_path / "plan.json"
    Project(shop.project).plan(out=saved)
    page = project_facts(shop.project, clock=StoppedClock(), plan_file=saved)
    assert page.plan is not None
    (planned,) = page.plan.audiences
    assert (6, 4, 2, "data -2") == (
        planned.size_before,
        planned.size_after,
        planned.exited,
        planned.why,
    )
    assert "tailrace sync --plan plan.json" in render_report(page)
    saved.write_text(json.dumps({"audiences": []}))
    with pytest.raises(PlanUnreadable):
        project_facts(shop.project, clock=StoppedClock(), plan_file=saved)


def test_an_audience_without_a_file_and_one_without_a_run_are_shown(shop: Shop) -> None:
    shop.sync()
    shop.forget_audience("people")
    shop.audience(PEOPLE.replace("audience: people", "audience: others"), "others")
    others, people = facts(shop).audiences
    assert ("others", "never run", ()) == (others.name, others.status, others.funnel)
    assert ("people", None) == (people.name, people.file)
    assert render_report(facts(shop))


def test_text_of_headers_and_errors_is_escaped(shop: Shop) -> None:
    shop.sync()
    page = facts(shop)
    (audience,) = page.audiences
    hostile = replace(
        page,
        project="<script>alert(1)</script>",
        audiences=(replace(audience, description="<img src=x>", definition="</pre><b>"),),
    )
    text = render_report(hostile)
    assert "<script>alert" not in text and "<img" not in text and "</pre><b>" not in text


def test_commands_name_the_target(shop: Shop) -> None:
    shop.sync()
    text = render_report(replace(facts(shop), target="prod"))
    assert ">tailrace -t prod plan</code>" in text


def test_forty_audiences_of_ninety_runs_fit_in_a_megabyte(tmp_path: Path) -> None:
    with SegmentSimulator() as segment:
        shop = Shop(tmp_path / "shop", segment)
        grow(shop, audiences=40, runs=90)
        page = facts(shop)
    assert 40 == len(page.audiences)
    assert {89} == {len(audience.runs) for audience in page.audiences}
    assert all(audience.calls and audience.lineage for audience in page.audiences)
    assert BYTES_MAX > len(render_report(page).encode())


def test_a_folder_that_cannot_be_written_to_is_named(shop: Shop, tmp_path: Path) -> None:
    shop.sync()
    with pytest.raises(ReportNotWritten, match="absent"):
        project(shop).report(tmp_path / "absent" / "report.html")


def test_audiences_of_other_destinations_are_shown(shop: Shop, tmp_path: Path) -> None:
    """Also after the section of the destination is gone from the configuration."""
    hook = PEOPLE.split("track:")[0] + (
        "webhook: {body: {mail: email, at: city}}\n--- */\n"
        "SELECT id, email, city FROM salesforce.contact"
    )
    with WebhookReceiver() as receiver:
        shop.environ["DESTINATION__WEBHOOK__URL"] = receiver.url
        shop.environ["DESTINATION__WEBHOOK__TYPE"] = "webhook"
        shop.audience(hook.replace("audience: people", "audience: hooked"), "hooked")
        assert 0 == shop.sync().exit_code
        hooked, _ = facts(shop).audiences
        assert ("hooked", "webhook") == (hooked.name, hooked.destination)
        assert [6] * 7 == [step.count for step in hooked.funnel]
        assert {"body mail", "body at", "key"} <= {edge.target for edge in hooked.lineage}
        assert any(subject == "Sent as webhook" for subject, _ in hooked.header)
        assert hooked.calls and "ada" not in hooked.calls[0].body
    del shop.environ["DESTINATION__WEBHOOK__URL"], shop.environ["DESTINATION__WEBHOOK__TYPE"]
    shop.forget_audience("hooked")
    hooked, _ = facts(shop).audiences
    assert hooked.calls
    assert "hooked" in render_report(facts(shop))
