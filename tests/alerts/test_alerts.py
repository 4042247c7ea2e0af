"""What is alerted after a run: changes of state, each once, to each receiver."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alerts.alert_receivers import Receiver, receiving
from shop import PEOPLE, Shop

from tailrace.alerts.conditions import Change, Findings, Problem, changes, findings_of_run
from tailrace.alerts.observer import AlertObserver
from tailrace.alerts.record import AlertRecord
from tailrace.cli.commands.doctor import examine
from tailrace.config.settings import AlertSettings
from tailrace.errors import (
    InvalidConfigValue,
    ModelError,
    NothingSelected,
    StateNotSaved,
    TailraceError,
    UserError,
)
from tailrace.project import Project
from tailrace.run.result import RunResult
from tailrace.testing.http.clocks import HurriedClock
from tailrace.testing.segment.simulator import SegmentSimulator

HOUR = 3_600
GUARDED = PEOPLE.replace("key: id", "key: id\nguards: {max_exited: 1}")


def rows(count: int) -> list[dict[str, Any]]:
    return [{"id": f"c{n}", "email": f"c{n}@example.com", "city": "Oslo"} for n in range(count)]


class Alerted:
    """A shop with one receiver of alerts."""

    def __init__(self, shop: Shop, receiver: Receiver, clock: HurriedClock) -> None:
        self.shop = shop
        self.receiver = receiver
        self.clock = clock
        self.configure(TAILRACE__ALERTS__URLS=receiver.url)

    def configure(self, **environ: str) -> None:
        self.shop.environ |= environ

    @property
    def project(self) -> Project:
        return Project(self.shop.project, clock=self.clock)

    def later(self, hours: float) -> None:
        self.clock.slept_seconds += hours * HOUR

    def taken(self) -> list[tuple[str, str]]:
        """The type and text of the alerts since the last look."""
        bodies = self.receiver.bodies
        self.receiver.taken.clear()
        return [(body["type"], f"{body['title']}\n{body['message']}") for body in bodies]

    def sync(self, members: int) -> Any:
        self.shop.land(rows(members))
        return self.project.sync()


@pytest.fixture
def alerted(tmp_path: Path) -> Iterator[Alerted]:
    clock = HurriedClock()
    with SegmentSimulator() as segment, receiving() as receiver:
        shop = Shop(tmp_path / "shop", segment, clock=clock)
        shop.audience(GUARDED)
        yield Alerted(shop, receiver, clock)


def test_a_problem_is_alerted_once_and_its_end_once(alerted: Alerted) -> None:
    """Held: one alert with the guard, the next command and the link; recovered: one alert."""
    alerted.configure(TAILRACE__ALERTS__REPORT_URL="https://ci.example.com/reports")
    assert {"sent": [], "receivers": [], "problems": []} == alerted.sync(9).data["alerts"]
    held = alerted.sync(3)
    assert 3 == held.exit_code
    change = {"subject": "people", "name": "people", "problem": "held", "before": None}
    sent = {"sent": [change], "receivers": ["receiver 1 (json)"], "problems": []}
    assert sent == held.data["alerts"]
    ((kind, text),) = alerted.taken()
    assert "warning" == kind
    assert text.splitlines()[:2] == [
        "Tailrace shop: 1 held",
        "people is held by max_exited: 6 of 9 members would have exited.",
    ]
    assert text.splitlines()[2:] == [
        "- people is held: max_exited: 6 of 9 members would have exited",
        "Next: tailrace plan --show 5 --select people",
        "Report: https://ci.example.com/reports",
    ]
    assert [] == alerted.sync(2).data["alerts"]["sent"] == alerted.taken()
    assert 0 == alerted.sync(9).exit_code
    ((kind, text),) = alerted.taken()
    assert ("success", True) == (kind, "- people recovered (was held)" in text)
    alerted.sync(9)
    assert [] == alerted.taken()
    assert [] == alerted.shop.query("SELECT * FROM tailrace.alerts")


def test_a_receiver_that_was_down_is_alerted_by_the_next_run(alerted: Alerted) -> None:
    """It fails no run and its failure is a warning; the other receiver is alerted once."""
    with receiving() as second:
        urls = json.dumps([alerted.receiver.url, f"{second.url}/SECRET-TOKEN"])
        alerted.configure(TAILRACE__ALERTS__URLS=urls)
        alerted.sync(9)
        second.status = 503
        held = alerted.sync(3)
        assert 3 == held.exit_code
        assert ["receiver 1 (json)"] == held.data["alerts"]["receivers"]
        (warning,) = held.warnings
        assert (
            "The alert was not sent: receiver 2 (json) did not take the message"
            == (warning["message"])
        )
        assert "SECRET" not in json.dumps(held.as_dict())
        second.status = 200
        second.taken.clear()
        assert ["receiver 2 (json)"] == alerted.sync(3).data["alerts"]["receivers"]
        assert (1, 1) == (len(alerted.taken()), len(second.taken))
    alerted.configure(TAILRACE__ALERTS__URLS=alerted.receiver.url)
    alerted.sync(3)
    (stored,) = alerted.shop.query("SELECT receiver, subject, problem FROM tailrace.alerts")
    assert ("people", "held") == stored[1:]
    assert "127.0.0.1" not in stored[0]


def test_a_late_audience_is_alerted_by_a_check_and_recovers_by_a_run(alerted: Alerted) -> None:
    """`status --check` alerts of it, once; only a run of the audience ends it."""
    alerted.shop.audience(PEOPLE.replace("audience: people", "audience: others"), name="others")
    alerted.sync(3)
    assert [] == alerted.project.status(check=True).data["alerts"]["sent"]
    alerted.later(25)
    assert 1 == alerted.project.status(check=True).exit_code
    assert [] == alerted.project.status(check=True).data["alerts"]["sent"]
    ((kind, text),) = alerted.taken()
    assert ("warning", "Tailrace shop: 2 late") == (kind, text.splitlines()[0])
    assert "- people is late: its last successful run ended" in text
    alerted.project.sync(select=["others"])
    ((kind, text),) = alerted.taken()
    assert "info" == kind
    assert "- others recovered (was late)" in text and "- people" not in text


def test_a_run_notices_that_another_audience_is_late(alerted: Alerted) -> None:
    late = {"audience": "people", "destination": "crm", "status": "ok", "last_success_at": None}
    for entries, expected in (([], [("people__crm", "late")]), ([late], [])):
        audiences = tuple({**entry, "rejected": 0, "size_after": 1} for entry in entries)
        findings = findings_of_run(
            RunResult(run_id="", command="run", exit_code=0, audiences=audiences),
            status={"runs": [{}], "audiences": [late]},
            settings=AlertSettings(),
            now=alerted.clock.now(),
        )
        assert expected == [(p.subject, p.problem) for p in findings.suspected]
        assert {"command:run", "command:extract", "command:sync"} <= set(findings.healthy)


def test_a_run_that_fails_is_alerted_as_a_whole(alerted: Alerted) -> None:
    """Once without a ledger, and once with it; and it recovers once."""
    alerted.shop.land(rows(3))
    del alerted.shop.environ["DESTINATION__SEGMENT__WRITE_KEY"]
    for _ in range(2):
        with pytest.raises(TailraceError):
            alerted.project.sync()
    ((_, text),) = alerted.taken()
    assert "- tailrace sync failed: destination.segment.write_key is not configured" in text
    segment = alerted.shop.segment
    assert segment is not None
    alerted.configure(DESTINATION__SEGMENT__WRITE_KEY=segment.write_key)
    alerted.sync(3)
    ((_, text),) = alerted.taken()
    assert "- tailrace sync recovered (was failed)" in text
    del alerted.shop.environ["DESTINATION__SEGMENT__WRITE_KEY"]
    for _ in range(2):
        with pytest.raises(TailraceError):
            alerted.project.sync()
    ((kind, text),) = alerted.taken()
    assert "failure" == kind
    assert "- tailrace sync failed: destination.segment.write_key is not configured" in text
    alerted.configure(DESTINATION__SEGMENT__WRITE_KEY=segment.write_key)
    alerted.sync(3)
    ((kind, text),) = alerted.taken()
    assert ("success", True) == (kind, "- tailrace sync recovered (was failed)" in text)


def test_a_broken_file_is_alerted_once_with_the_audiences_that_it_stops(alerted: Alerted) -> None:
    """By a run or by `status --check`, until it is corrected. Other audiences are not concerned."""
    others = PEOPLE.replace("audience: people", "audience: others")
    alerted.shop.audience(others, name="others")
    alerted.sync(3)

    alerted.shop.audience(others.replace("SELECT id", "SELECT idd"), name="others")
    for _ in range(2):
        assert 1 == alerted.sync(3).exit_code
    assert 1 == alerted.project.status(check=True).exit_code
    ((kind, text),) = alerted.taken()
    assert ("failure", "Tailrace shop: 1 broken") == (kind, text.splitlines()[0])
    (line,) = [line for line in text.splitlines() if line.startswith("-")]
    assert line.startswith(
        "- models/audiences/others.sql is broken: line 3: key: the SELECT has no"
    )
    assert line.endswith(" (and 1 more); it stops others")

    alerted.shop.audience(others, name="others")
    assert 0 == alerted.project.status(check=True).exit_code
    ((kind, text),) = alerted.taken()
    assert ("success", True) == (
        kind,
        "- models/audiences/others.sql recovered (was broken)" in text,
    )

    # Every audience is broken, and no run begins.
    for name, text in (("people", GUARDED), ("others", others)):
        alerted.shop.audience(text.replace("key:", "kee:"), name=name)
    for _ in range(2):
        with pytest.raises(ModelError):
            alerted.project.sync()
    alerted.project.status(check=True)
    ((_, text),) = alerted.taken()
    assert "Tailrace shop: 2 broken" == text.splitlines()[0]
    alerted.shop.audience(GUARDED)
    assert 1 == alerted.sync(3).exit_code
    ((kind, text),) = alerted.taken()
    assert "info" == kind
    assert "- models/audiences/people.sql recovered (was broken)" in text
    assert "others" not in text


def test_a_failure_without_a_ledger_is_alerted_once_and_recovers(alerted: Alerted) -> None:
    """A warehouse that cannot be opened is recorded in `.tailrace/`, without the URL."""
    alerted.sync(3)
    text_file = alerted.shop.root / "text.duckdb"
    text_file.write_text("not a database")
    alerted.configure(DESTINATION__DUCKDB__CREDENTIALS=str(text_file))
    for _ in range(2):
        with pytest.raises(TailraceError):
            alerted.project.sync()
    ((_, text),) = alerted.taken()
    assert "- tailrace sync failed: text.duckdb" in text
    record = alerted.shop.root / ".tailrace" / "default" / "alerts.json"
    assert '{"command:sync": "failed"}' in record.read_text()
    assert "127.0.0.1" not in record.read_text()
    del alerted.shop.environ["DESTINATION__DUCKDB__CREDENTIALS"]
    alerted.sync(3)
    ((_, text),) = alerted.taken()
    assert "- tailrace sync recovered (was failed)" in text
    assert not record.exists()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"alerted": {"r": [1]}}', '{"alerted": 1}'])
def test_a_local_record_that_is_not_one_is_replaced(alerted: Alerted, content: str) -> None:
    record = AlertRecord(alerted.shop.project)
    record.save({"u": {"s": "failed"}})
    assert {"u": {"s": "failed"}} == AlertRecord(alerted.shop.project).open(["u"])
    (file,) = (alerted.shop.root / ".tailrace" / "default").iterdir()
    file.write_text(content)
    record = AlertRecord(alerted.shop.project)
    assert {"u": {}} == record.open(["u"])
    record.save({"u": {}})
    assert not file.exists()


def test_a_state_that_cannot_be_stored_is_alerted_until_one_is(alerted: Alerted) -> None:
    """A run that ends well before it does not end the problem."""
    observer = AlertObserver(alerted.shop.project, "sync", clock=alerted.clock)
    for _ in range(2):
        observer.state_not_stored(StateNotSaved("The bucket is gone"))
    ((_, text),) = alerted.taken()
    assert "- the state failed: The bucket is gone" in text
    alerted.sync(3)
    assert [] == alerted.taken()
    for _ in range(2):
        observer.state_stored()
    ((_, text),) = alerted.taken()
    assert "- the state recovered (was failed)" in text


def test_what_somebody_typed_is_not_alerted(alerted: Alerted) -> None:
    alerted.sync(3)
    for attempt in (
        lambda: alerted.project.sync(select=["misspelt"]),
        lambda: alerted.project.retire("misspelt"),
    ):
        with pytest.raises(NothingSelected):
            attempt()
    assert [] == alerted.taken()


def test_rejected_members_are_a_problem_from_a_share_on(alerted: Alerted) -> None:
    entry = {"audience": "people", "destination": "segment", "status": "ok", "guards": []}
    entry |= {"rejected": 2, "size_after": 98}

    def problems(share: float) -> list[str]:
        findings = findings_of_run(
            RunResult(run_id="", command="sync", exit_code=4, audiences=(entry,)),
            status={"runs": [{}], "audiences": []},
            settings=AlertSettings(rejected_share_min=share),
            now=alerted.clock.now(),
        )
        return [problem.reason for problem in findings.problems]

    assert ["2 rejected, 98 members"] == problems(0.0) == problems(0.02)
    assert [] == problems(0.021)


@pytest.mark.parametrize(
    ("before", "found", "suspected", "expected"),
    [
        (None, "held", None, "held"),
        ("held", "held", None, None),
        ("held", "failed", None, "failed"),
        ("failed", "rejected", None, "rejected"),
        ("held", None, None, "recovered"),
        (None, None, None, None),
        # Between runs, only what is worse than before.
        (None, None, "late", "late"),
        ("rejected", None, "late", "late"),
        ("failed", None, "late", None),
        ("late", None, "held", "held"),
        # Not named in `on`: neither an alert nor the end of another problem.
        ("held", "quarantined", None, None),
    ],
)
def test_changes(
    before: str | None, found: str | None, suspected: str | None, expected: str | None
) -> None:
    def of(problem: str | None) -> tuple[Problem, ...]:
        return (Problem(subject="s", name="s", problem=problem),) if problem else ()

    findings = Findings(
        problems=of(found),
        suspected=of(suspected),
        healthy={} if found or suspected else {"s": "s"},
    )
    alerted = {"s": before} if before else {}
    changed = changes(findings, alerted, AlertSettings())
    assert ([expected] if expected else []) == [change.problem for change in changed]
    assert all(isinstance(change, Change) and change.before == before for change in changed)


def test_without_apprise_a_run_warns_with_the_command_that_installs_it(
    alerted: Alerted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)
    done = alerted.sync(3)
    assert 0 == done.exit_code
    assert any("pip install" in w["message"] and "[alerts]" in w["message"] for w in done.warnings)
    with pytest.raises(UserError) as raised:
        alerted.project.test_alerts()
    assert "[alerts]" in raised.value.hint


def test_settings_of_alerts_are_checked(alerted: Alerted) -> None:
    """Unknown names of `on`, and URLs that apprise does not know; a URL may hold commas."""
    alerted.shop.land(rows(1))
    alerted.configure(TAILRACE__ALERTS__ON="failed,hold")
    with pytest.raises(InvalidConfigValue, match=r'"hold". Did you mean "held"'):
        alerted.project.sync()
    alerted.configure(TAILRACE__ALERTS__ON="failed")
    alerted.configure(TAILRACE__ALERTS__URLS="slak://SECRET/a,json://127.0.0.1/x?to=a,b")
    settings = alerted.shop.project.alerts()
    assert ("slak://SECRET/a", "json://127.0.0.1/x?to=a,b") == settings.urls
    with pytest.raises(InvalidConfigValue, match=r"receiver 1 \(slak\)") as raised:
        alerted.project.validate()
    assert "SECRET" not in str(raised.value)


def test_a_renamed_audience_keeps_its_alerts(alerted: Alerted) -> None:
    alerted.sync(9)
    alerted.sync(3)
    alerted.taken()
    alerted.shop.audience(GUARDED.replace("audience: people", "audience: persons"))
    alerted.project.rename("people", "persons")
    alerted.sync(3)
    assert [] == alerted.taken()


def test_the_commands_show_no_secret(alerted: Alerted, command: Any) -> None:
    """`alerts test`, and a run with the logs of the libraries."""
    url = f"{alerted.receiver.url}/SECRET-TOKEN"
    alerted.configure(TAILRACE__ALERTS__URLS=f"{url},json://127.0.0.1:1/SECRET-TOO")
    alerted.shop.land(rows(3))
    done = command("alerts", "test", cwd=alerted.shop.root, **alerted.shop.environ)
    assert 1 == done.returncode
    assert [
        "receiver 1 (json): sent",
        "receiver 2 (json): did not take the message",
    ] == done.stdout.splitlines()
    ((_, text),) = alerted.taken()
    assert text.startswith("Tailrace shop: test")
    del alerted.shop.environ["DESTINATION__SEGMENT__WRITE_KEY"]
    failed = command("sync", "--debug", cwd=alerted.shop.root, **alerted.shop.environ)
    assert 2 == failed.returncode
    assert "The alert was not sent: receiver 2 (json)" in failed.stderr
    assert not [o for o in (done, failed) if "SECRET" in o.stdout + o.stderr]


def test_doctor_checks_the_urls_and_sends_nothing(
    alerted: Alerted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAILRACE__ALERTS__URLS", f"{alerted.receiver.url},slak://SECRET-TOKEN")
    checks = examine(alerted.shop.root, None, clock=alerted.clock)
    (check,) = [check for check in checks if check.check == "alerts"]
    assert ("failed", 2) == (check.status, check.exit_code)
    assert "receiver 2 (slak) is not a URL that apprise knows" == check.found
    monkeypatch.setitem(sys.modules, "apprise", None)
    checks = examine(alerted.shop.root, None, clock=alerted.clock)
    (check,) = [check for check in checks if check.check == "alerts"]
    assert ("warning", True) == (check.status, "pip install" in check.hint)
    assert "SECRET" not in repr(checks)
    assert [] == alerted.taken()
