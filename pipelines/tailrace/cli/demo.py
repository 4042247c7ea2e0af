"""`tailrace demo`: the whole main job against the sandbox, over two days and a quiet third run.

The simulators are real servers on this machine and the project is a real one in a temporary
folder; nothing of it stays. The people in it are made up.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tailrace.cli.init import scaffold
from tailrace.clock import SystemClock
from tailrace.config.project import ProjectConfig, load_project
from tailrace.ledger.ledger import Ledger
from tailrace.run import job
from tailrace.testing import SalesforceSimulator, SegmentSimulator
from tailrace.warehouse.connection import open_warehouse
from tailrace.warehouse.statements import Column


class SandboxClock(SystemClock):
    """The org's own time, so that its day is also the day of the models."""

    def __init__(self, org: Any) -> None:
        self._org = org

    def now(self) -> datetime:
        moment: datetime = self._org.now()
        return moment


@dataclass(frozen=True, kw_only=True)
class Chapter:
    """One run of the story: its title, the run's result, and who moved by audience and move."""

    title: str
    exit_code: int
    result: dict[str, Any]
    who: Mapping[str, Mapping[str, list[str]]]
    example: Mapping[str, Any] | None


def story() -> Iterator[Chapter]:
    """Run the main job three times, and tell each run when it has ended."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tailrace-demo-")))
        salesforce = stack.enter_context(SalesforceSimulator())
        segment = stack.enter_context(SegmentSimulator())
        project = _project(folder / "shop", salesforce, segment)
        told = _Telling(project, salesforce.org, segment.inbox)
        yield told.run("Day 1: everything is new")
        salesforce.org.advance_day()
        yield told.run("Day 2: deals were won and lost, people came, went and changed")
        yield told.run("Day 2, once more: nothing has happened since")


def _project(folder: Path, salesforce: Any, segment: Any) -> ProjectConfig:
    root = scaffold(folder).root
    settings = {
        "SOURCES__SALESFORCE__CREDENTIALS__INSTANCE_URL": salesforce.url,
        "SOURCES__SALESFORCE__CREDENTIALS__CLIENT_ID": salesforce.client_id,
        "SOURCES__SALESFORCE__CREDENTIALS__CLIENT_SECRET": salesforce.client_secret,
        "DESTINATION__SEGMENT__HOST": segment.url,
        "DESTINATION__SEGMENT__WRITE_KEY": segment.write_key,
    }
    return load_project(root, environ=settings)


class _Telling:
    """Runs the job and looks up in the ledger who moved, and at Segment what arrived."""

    def __init__(self, project: ProjectConfig, org: Any, segment: Any) -> None:
        self.project = project
        self.org = org
        self.segment = segment
        self.clock = SandboxClock(org)

    def run(self, title: str) -> Chapter:
        before = len(self.segment.received)
        done = job.run(self.project, clock=self.clock)
        with open_warehouse(self.project, clock=self.clock, read_only=True) as warehouse:
            ledger = Ledger(warehouse, clock=self.clock)
            who = {
                each["audience"]: self._moved(ledger, done.run_id, each["audience"])
                for each in done.audiences
                if each["entered"] + each["changed"] + each["exited"]
            }
        return Chapter(
            title=title,
            exit_code=done.exit_code,
            result=done.as_dict(),
            who=who,
            example=_farewell(self.segment.received[before:]),
        )

    def _moved(self, ledger: Ledger, run_id: str, audience: str) -> dict[str, list[str]]:
        rows = ledger.warehouse.run(
            "reporting/moved",
            tables={"outbox": ledger.outbox(audience), "runs": ledger.tables["runs"]},
            columns={"keys": (Column("contact_id"),)},
            run_id=run_id,
        )
        who: dict[str, list[str]] = {}
        for move, contact_id in rows:
            who.setdefault(move, []).append(self._name(contact_id))
        return who

    def _name(self, contact_id: str) -> str:
        try:
            person = self.org.get("Contact", contact_id)
        except KeyError:
            return f"{contact_id} (deleted)"
        return " ".join(filter(None, (person["FirstName"], person["LastName"])))


def _farewell(messages: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The track event of someone who left, to be shown as it arrived."""
    left = (m for m in messages if m["type"] == "track" and m["event"] == "Segment Exited")
    return next(left, None)
