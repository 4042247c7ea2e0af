"""Alerts at the end of a run, and of a command that failed before its run began."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

from tailrace.alerts.conditions import (
    Findings,
    findings_of_errors,
    findings_of_run,
    findings_of_state,
    findings_of_status,
    healthy_commands,
)
from tailrace.alerts.message import Context, link_of
from tailrace.alerts.receivers import (
    Outcome,
    alert_outside_a_run,
    alert_receivers,
    alert_without_ledger,
)
from tailrace.alerts.record import Alerted
from tailrace.clock import Clock
from tailrace.config.project import ProjectConfig
from tailrace.errors import (
    InternalError,
    LockHeld,
    NothingLanded,
    NothingSelected,
    PlanChanged,
    PlanUnreadable,
    TailraceError,
    WarehouseFailed,
)
from tailrace.ledger.ledger import Ledger
from tailrace.ledger.runs import Run
from tailrace.reporting.status import status
from tailrace.run.notices import Notice
from tailrace.run.observer import Observers
from tailrace.run.result import RunResult

if TYPE_CHECKING:
    from tailrace.run.work import Work

log = logging.getLogger(__name__)

# Another run is active, or the error of a command line or a saved plan is shown to its user.
_NOT_ALERTED = (LockHeld, NothingSelected, PlanUnreadable, PlanChanged)


@contextmanager
def alerting(project: ProjectConfig, command: str, *, clock: Clock) -> Iterator[Observers]:
    """The observers that alert about a run in this block; none if the project has no receivers.

    An exception that leaves the block before the end of the run is alerted as a failure of the
    command.
    """
    if not project.alerts().urls:
        yield ()
        return
    observer = AlertObserver(project, command, clock=clock)
    try:
        yield (observer,)
    except _NOT_ALERTED:
        raise
    except TailraceError as error:
        observer.failed(error)
        raise
    except Exception as unexpected:
        # The text of an unexpected exception may quote a row.
        observer.failed(InternalError(f"Internal error: {type(unexpected).__name__}"))
        raise


class AlertObserver:
    """Alerts the receivers of a project about one run. Nothing that an alert meets is raised."""

    def __init__(self, project: ProjectConfig, command: str, *, clock: Clock) -> None:
        self._project = project
        self._settings = project.alerts()
        self._command = command
        self._clock = clock
        self._ended = False
        # What the ledger of the last run has recorded, until it is stored.
        self._in_ledger: Alerted = {}

    def started(self, ledger: Ledger, work: Work, run: Run) -> None:
        """Nothing is alerted at the beginning."""
        self._ended = False
        self._in_ledger = {}

    def finished(self, ledger: Ledger, work: Work, result: RunResult) -> RunResult:
        """Alert about the run and its audiences. The result gets `alerts`, and warnings."""
        self._ended = True
        errors = [entry for error in result.errors for entry in error.flattened()]
        try:
            current = status(ledger.warehouse, clock=self._clock)
            findings = findings_of_run(
                result,
                status=current,
                settings=self._settings,
                now=self._clock.now(),
                is_usable=_usable_after(work, result, errors),
            )
            verdict = current["verdict"]
            context = self._context(verdict["sentence"], verdict["command"])
            outcome = alert_receivers(self._project, ledger, findings, context)
        except WarehouseFailed as error:
            # The run has its error already, if that is why it failed.
            outcome = self._without_ledger(
                findings_of_errors(result.command, errors or [error]), error.hint
            )
        except Exception as error:
            outcome = _broken(error)
        self._in_ledger = outcome.in_ledger
        notices = tuple(Notice(message=problem) for problem in outcome.problems)
        return replace(result, alerts=outcome.as_dict(), notices=(*result.notices, *notices))

    def not_started(self, ledger: Ledger | None, error: TailraceError) -> None:
        """Alert about what keeps a watching process from its next run."""
        findings = findings_of_errors(self._command, error.flattened())
        if ledger is None:
            _log_problems(self._without_ledger(findings, error.hint))
            return
        context = self._context("", error.hint)
        try:
            outcome = alert_receivers(self._project, ledger, findings, context)
        except Exception as unexpected:
            outcome = _broken(unexpected)
        _log_problems(outcome)

    def state_stored(self) -> None:
        """Alert that the state can be stored again, if it could not."""
        _log_problems(self._without_ledger(findings_of_state(None), ""))

    def state_not_stored(self, error: TailraceError) -> None:
        """Alert about the state. The ledger with the record of the run's alerts was not stored."""
        in_ledger, self._in_ledger = self._in_ledger, {}
        _log_problems(
            self._without_ledger(findings_of_state(error), error.hint, in_ledger=in_ledger)
        )

    def failed(self, error: TailraceError) -> None:
        """Alert about an error before the run, or one that ended it."""
        if self._ended:
            return
        findings = findings_of_errors(self._command, error.flattened())
        context = self._context("", error.hint)
        try:
            outcome = alert_outside_a_run(self._project, findings, context, clock=self._clock)
        except Exception:
            outcome = self._without_ledger(findings, error.hint)
        _log_problems(outcome)

    def _without_ledger(
        self, findings: Findings, hint: str, *, in_ledger: Alerted | None = None
    ) -> Outcome:
        try:
            context = self._context("", hint)
            return alert_without_ledger(self._project, findings, context, in_ledger=in_ledger)
        except Exception as unexpected:
            return _broken(unexpected)

    def _context(self, sentence: str, next_step: str) -> Context:
        link = link_of(self._project, self._settings.report_url)
        return Context(sentence=sentence, next_step=next_step, link=link)


def alert_of_status(
    project: ProjectConfig, current: Mapping[str, Any], *, clock: Clock
) -> Outcome | None:
    """Alert about what `status --check` finds broken, late, held or failed.

    Returns:
        None if the project has no receivers, or a run is active. Without a ledger, only the end of
        a failure of `status --check` itself is alerted.
    """
    settings = project.alerts()
    if not settings.urls or current["running"] is not None:
        return None
    findings = findings_of_status(current, settings, clock.now())
    verdict = current.get("verdict", {"sentence": "", "command": ""})
    context = Context(
        sentence=verdict["sentence"],
        next_step=verdict["command"],
        link=link_of(project, settings.report_url),
    )
    try:
        return alert_outside_a_run(project, findings, context, clock=clock)
    except LockHeld:
        # The active run alerts at its end.
        return None
    except NothingLanded:
        readable = Findings(healthy=healthy_commands("status"))
        return alert_without_ledger(project, readable, context)
    except Exception as error:
        return _broken(error)


def _usable_after(
    work: Work, result: RunResult, errors: Sequence[TailraceError]
) -> Callable[[str], bool]:
    """Which files a run could use; none, if its job reads no models.

    The models of a run that equals an earlier one are read when a file is asked about.
    """
    if work.models is None and work.complete is None:
        return lambda file: False
    planned = {
        (str(entry["audience"]), str(entry["destination"]))
        for entry in result.audiences
        if entry["status"] != "failed"
    }

    @cache
    def usable() -> Callable[[str], bool]:
        from tailrace.models.loader import Models
        from tailrace.run.broken_files import usable_files

        return usable_files(work.completed().models or Models(by_name={}), planned, errors)

    return lambda file: usable()(file)


def _broken(error: Exception) -> Outcome:
    log.debug("Alerts failed", exc_info=error)
    return Outcome(problems=(f"Alerts are not sent: {type(error).__name__}",))


def _log_problems(outcome: Outcome) -> None:
    """For a command that has no result to put them into."""
    for problem in outcome.problems:
        log.warning("%s", problem)
