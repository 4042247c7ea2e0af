"""`tailrace demo`: the whole main job against the sandbox, over two days and a quiet third run.

The simulators are HTTP servers on this machine, and the project is a temporary folder that is
deleted at the end. The people in it are made up.
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
from tailrace.ledger.ledger import Ledger
from tailrace.project import Project
from tailrace.testing import SalesforceSimulator, SegmentSimulator
from tailrace.warehouse.opening import open_warehouse
from tailrace.warehouse.statements import Column


class SandboxClock(SystemClock):
    """The clock of the simulated org, which the models use too."""

    def __init__(self, org: Any) -> None:
        self.org = org

    def now(self) -> datetime:
        moment: datetime = self.org.now()
        return moment


@dataclass(frozen=True, kw_only=True)
class Chapter:
    """One run of the demo: its title, its result, and names of people by audience and operation."""

    title: str
    exit_code: int
    result: dict[str, Any]
    who: Mapping[str, Mapping[str, list[str]]]
    example: Mapping[str, Any] | None


def story(report: Path | None = None) -> Iterator[Chapter]:
    """Run the main job three times; each run is yielded when it has ended.

    With `report`, a page about the three runs is written to this file at the end.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tailrace-demo-")))
        salesforce = stack.enter_context(SalesforceSimulator())
        clock = SandboxClock(salesforce.org)
        segment = stack.enter_context(SegmentSimulator(clock=clock))
        project = _project(folder / "shop", salesforce, segment, clock)
        narrator = _Narrator(project, segment.inbox)
        yield narrator.run("Day 1: everything is new")
        salesforce.org.advance_day()
        yield narrator.run("Day 2: deals were won and lost, people came, went and changed")
        yield narrator.run("Day 2, once more: nothing has happened since")
        if report is not None:
            project.report(report)


def _project(folder: Path, salesforce: Any, segment: Any, clock: SandboxClock) -> Project:
    root = scaffold(folder).root
    settings = {
        "SOURCES__SALESFORCE__CREDENTIALS__INSTANCE_URL": salesforce.url,
        "SOURCES__SALESFORCE__CREDENTIALS__CLIENT_ID": salesforce.client_id,
        "SOURCES__SALESFORCE__CREDENTIALS__CLIENT_SECRET": salesforce.client_secret,
        "DESTINATION__SEGMENT__HOST": segment.url,
        "DESTINATION__SEGMENT__WRITE_KEY": segment.write_key,
    }
    return Project.load(root, environ=settings, clock=clock)


class _Narrator:
    """Runs the job, and reads the moves from the ledger and the messages from the simulator."""

    def __init__(self, project: Project, segment: Any) -> None:
        self.project = project
        self.segment = segment
        self.clock: Any = project.clock

    def run(self, title: str) -> Chapter:
        before = len(self.segment.received)
        done = self.project.run()
        with open_warehouse(self.project.config, clock=self.clock, read_only=True) as warehouse:
            ledger = Ledger(warehouse, clock=self.clock)
            names = {
                audience.audience: self._moved(ledger, str(done.run_id), audience.audience)
                for audience in done.audiences.values()
                if audience.entered + audience.changed + audience.exited
            }
        return Chapter(
            title=title,
            exit_code=done.exit_code,
            result=done.as_dict(),
            who=names,
            example=_exit_event(self.segment.received[before:]),
        )

    def _moved(self, ledger: Ledger, run_id: str, audience: str) -> dict[str, list[str]]:
        rows = ledger.warehouse.run(
            "reporting/run_transitions",
            tables={"outbox": ledger.outbox(audience), "runs": ledger.tables["runs"]},
            columns={"keys": (Column("contact_id"),)},
            run_id=run_id,
        )
        names: dict[str, list[str]] = {}
        for op, contact_id in rows:
            names.setdefault(op, []).append(self._name(contact_id))
        return names

    def _name(self, contact_id: str) -> str:
        try:
            person = self.clock.org.get("Contact", contact_id)
        except KeyError:
            return f"{contact_id} (deleted)"
        return " ".join(filter(None, (person["FirstName"], person["LastName"])))


def _exit_event(messages: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """A track event of an exit, as it was received."""
    exits = (m for m in messages if m["type"] == "track" and m["event"] == "Segment Exited")
    return next(exits, None)
