"""Sends the OpenLineage events of a run. Nothing that they meet fails the run."""

from __future__ import annotations

import importlib.util
import json
import logging
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from tailrace.clock import Clock
from tailrace.config.installation import install_command
from tailrace.config.project import ProjectConfig
from tailrace.errors import TailraceError
from tailrace.ledger.ledger import Ledger
from tailrace.ledger.runs import Run
from tailrace.lineage_events.events import (
    Event,
    EventType,
    RunNames,
    Sources,
    child_events,
    command_event,
    names_of,
)
from tailrace.lineage_events.switches import is_switched_on
from tailrace.models.loader import Models
from tailrace.reporting.ledger_facts import landed_fields
from tailrace.run.notices import Notice
from tailrace.run.observer import Observers
from tailrace.run.result import RunResult

if TYPE_CHECKING:
    from tailrace.run.work import Work

log = logging.getLogger(__name__)

# How long the events of the beginning, or of the end, may take.
SECONDS_MAX = 15.0


@contextmanager
def emitting(project: ProjectConfig, *, clock: Clock) -> Iterator[Observers]:
    """The observer that sends the events of a run in this block; none without OpenLineage.

    An exception that leaves the block after the START event sends FAIL.
    """
    if not is_switched_on(project.environ):
        yield ()
        return
    observer = LineageObserver(project, clock=clock)
    try:
        yield (observer,)
    except BaseException as error:
        observer.failed(error)
        raise


class LineageObserver:
    """Sends the events of one run."""

    def __init__(self, project: ProjectConfig, *, clock: Clock) -> None:
        self._project = project
        self._clock = clock
        self._names: RunNames | None = None
        self._run: Run | None = None
        self._problem: str | None = None

    def started(self, ledger: Ledger, work: Work, run: Run) -> None:
        """Send START."""
        self._names = names_of(self._project, run.command, f"{ledger.namespace}:{run.id}")
        self._run = run
        self._send([command_event(self._names, "START", at=run.started_at)])

    def finished(self, ledger: Ledger, work: Work, result: RunResult) -> RunResult:
        """Send the events of the objects and audiences, and the end of the command."""
        names, run = self._names, self._run
        if names is None or run is None:
            return result
        self._names = None
        now = self._clock.now()
        error = next((error.message for error in result.errors), None)
        type_: EventType = "FAIL" if result.exit_code in (1, 2) else "COMPLETE"
        end = command_event(names, type_, at=now, error=error if type_ == "FAIL" else None)
        try:
            sources = self._sources(ledger, work, result)
            children = [
                *child_events(
                    names,
                    sources,
                    objects=result.objects,
                    audiences=result.audiences,
                    started=run.started_at,
                    ended=now,
                )
            ]
        except Exception as unexpected:
            log.debug("Lineage cannot be described", exc_info=unexpected)
            children = []
            self._problem = f"they cannot be described: {type(unexpected).__name__}"
        self._send([*children, end])
        if self._problem is None:
            return result
        notice = Notice(message=f"OpenLineage events were not sent: {self._problem}")
        return replace(result, notices=(*result.notices, notice))

    def not_started(self, ledger: Ledger | None, error: TailraceError) -> None:
        """A run that does not begin has no events."""

    def state_stored(self) -> None:
        """The run and its events have ended."""

    def state_not_stored(self, error: TailraceError) -> None:
        """The run and its events have ended."""

    def failed(self, error: BaseException) -> None:
        """Send FAIL, if the run has begun and not ended."""
        if self._names is None:
            return
        ours = isinstance(error, TailraceError)
        message = error.message if ours else type(error).__name__  # type: ignore[attr-defined]
        names, self._names = self._names, None
        self._send([command_event(names, "FAIL", at=self._clock.now(), error=message)])

    def _sources(self, ledger: Ledger, work: Work, result: RunResult) -> Sources:
        work = work.completed()
        extracted = ledger.extracts.latest().values()
        return Sources(
            project=self._project,
            models=work.models or Models(by_name={}),
            landed=landed_fields(ledger.warehouse),
            objects={row.table: row.object for row in extracted},
            destinations=work.destinations,
            instance_url=work.salesforce.instance_url if work.salesforce else None,
        )

    def _send(self, events: Sequence[Event]) -> None:
        if self._problem is not None:
            # The first attempt failed; a second one would only take as long.
            return
        if importlib.util.find_spec("openlineage") is None:
            command = install_command("openlineage")
            self._problem = f"they need a package. Install it with: {command}"
            return
        try:
            done = subprocess.run(
                [sys.executable, "-P", "-m", "tailrace.lineage_events.openlineage_process"],
                input=json.dumps([event.as_dict() for event in events]).encode(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=SECONDS_MAX,
                env=dict(self._project.environ),
            )
        except subprocess.TimeoutExpired:
            self._problem = f"they took more than {SECONDS_MAX:g} s"
        except OSError as error:
            self._problem = f"the process did not start: {error.strerror}"
        else:
            if done.returncode != 0:
                self._problem = "the receiver did not take them"
