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

from tailrace import sync
from tailrace.audiences import Audience
from tailrace.clock import SystemClock
from tailrace.models import read_models
from tailrace.project import Project, load_project
from tailrace.scaffold import scaffold
from tailrace.testing import SalesforceSimulator, SegmentSimulator

MOVES = ("entered", "changed", "exited")


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
    result: Mapping[str, Any]
    who: Mapping[str, Mapping[str, tuple[str, ...]]]


def story() -> Iterator[Chapter]:
    """Run the main job three times, and tell each run when it has ended."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tailrace-demo-")))
        salesforce = stack.enter_context(SalesforceSimulator())
        segment = stack.enter_context(SegmentSimulator())
        project = _project(folder / "shop", salesforce, segment)
        told = _Telling(project, salesforce.org, segment)
        yield told.run("Day 1: everything is new")
        salesforce.org.advance_day()
        yield told.run("Day 2: deals were won and lost, people came, went and changed")
        yield told.run("Day 2, once more: nothing has happened since")


def _project(folder: Path, salesforce: Any, segment: Any) -> Project:
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
    """Runs the job and finds out from Segment's side who moved."""

    def __init__(self, project: Project, org: Any, segment: Any) -> None:
        self.project = project
        self.org = org
        self.segment = segment
        self.seen = 0
        models = read_models(project.models_folder)
        self.audiences = [m.audience for m in models.audiences() if m.audience is not None]

    def run(self, title: str) -> Chapter:
        done = sync.run(self.project, clock=SandboxClock(self.org))
        taken = self.segment.events[self.seen :]
        self.seen += len(taken)
        who = {each.name: dict(self._moved(each, taken)) for each in self.audiences}
        return Chapter(title=title, exit_code=done.exit_code, result=done.as_dict(), who=who)

    def _moved(
        self, audience: Audience, taken: Iterable[Mapping[str, Any]]
    ) -> Iterator[tuple[str, tuple[str, ...]]]:
        events = [
            each
            for each in taken
            if each["type"] == "track" and each["properties"].get("audience_key") == audience.name
        ]
        for move in MOVES:
            name = getattr(audience.track, move, None)
            yield move, tuple(self._name(e["userId"]) for e in events if e["event"] == name)

    def _name(self, user_id: str) -> str:
        try:
            person = self.org.get("Contact", user_id)
        except KeyError:
            return user_id
        return f"{person['FirstName']} {person['LastName']}"
