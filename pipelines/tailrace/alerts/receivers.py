"""Alerts each receiver of what it does not know yet, and records what it was alerted of.

A change is recorded when the receiver has taken the message, so a receiver that was down is alerted
by the next run, and the others are not alerted twice.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping
from dataclasses import field, replace
from typing import Any

from tailrace.alerts.conditions import (
    RECOVERED,
    STATE,
    Change,
    Findings,
    changes,
    open_problems,
)
from tailrace.alerts.message import Context, Message, alert, message_of_test
from tailrace.alerts.record import Alerted, AlertRecord
from tailrace.alerts.sending import missing_extra, send
from tailrace.clock import Clock
from tailrace.config.project import ProjectConfig
from tailrace.config.settings import AlertSettings
from tailrace.dataclass import dataclass
from tailrace.errors import ConfigurationError, MissingCredential, NothingLanded, TailraceError
from tailrace.ledger.ledger import Ledger
from tailrace.ledger.lock import lock
from tailrace.run.notices import Notice
from tailrace.warehouse.opening import open_warehouse

Pending = Mapping[str, tuple[Change, ...]]

NOT_RECORDED = "This alert could not be recorded, so the next run repeats it."


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What was alerted.

    Attributes:
        sent: The changes that at least one receiver took.
        receivers: The labels of the receivers that took a message.
        problems: Sentences about the others, without a secret.
        taken: The URLs that need no further message about their changes; a secret.
        in_ledger: What the ledger got to record, by URL, with `recovered` for what it got to
            delete. It is lost if the ledger is not stored afterwards.
    """

    sent: tuple[Change, ...] = ()
    receivers: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    taken: frozenset[str] = frozenset()
    in_ledger: Alerted = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The key `alerts` of a `--json` result."""
        return {
            "sent": [change.as_dict() for change in self.sent],
            "receivers": list(self.receivers),
            "problems": list(self.problems),
        }

    def as_status(self) -> dict[str, Any]:
        """The keys of a `--json` result of `status --check`."""
        warnings = [Notice(message=problem).as_dict() for problem in self.problems]
        return {"alerts": self.as_dict(), **({"warnings": warnings} if warnings else {})}


def alert_receivers(
    project: ProjectConfig, ledger: Ledger, findings: Findings, context: Context
) -> Outcome:
    """Alert the receivers, and record it. Called under the lock."""
    settings = project.alerts()
    record = AlertRecord(project)
    recorded = record.open(settings.urls)
    keys = {url: ledger.alerts.receiver(url) for url in settings.urls}
    stored = ledger.alerts.open()
    for key in stored.keys() - set(keys.values()):
        # Its URL is not configured any more.
        for subject in stored[key]:
            ledger.alerts.save(key, subject, None)
    known = _known(ledger, recorded)
    pending = _pending(settings, findings, known)
    outcome = _alert(project, pending, known, context)
    in_ledger = {}
    for url, key in keys.items():
        changed = pending.get(url, ()) if url in outcome.taken else ()
        before, after = stored.get(key, {}), open_problems(known[url], changed)
        in_ledger[url] = {
            subject: after.get(subject, RECOVERED)
            for subject in sorted({*before, *after})
            if before.get(subject) != after.get(subject)
        }
        for subject, problem in in_ledger[url].items():
            ledger.alerts.save(key, subject, None if problem == RECOVERED else problem)
    record.save({url: _of_state(problems) for url, problems in recorded.items()})
    return replace(outcome, in_ledger=in_ledger)


def alert_outside_a_run(
    project: ProjectConfig, findings: Findings, context: Context, *, clock: Clock
) -> Outcome:
    """The same without a run: takes the lock to record what was alerted, if there is anything.

    Raises:
        LockHeld: A run is active.
        NothingLanded: There is no ledger yet.
        TailraceError: The warehouse cannot be opened.
    """
    settings = project.alerts()
    with open_warehouse(project, clock=clock, read_only=True) as warehouse:
        ledger = Ledger(warehouse, clock=clock)
        if not ledger.installed:
            raise NothingLanded("There is no ledger yet", hint="Start with: tailrace run")
        known = _known(ledger, AlertRecord(project).open(settings.urls))
    if not _pending(settings, findings, known):
        return Outcome()
    outcome: Outcome | None = None
    try:
        with open_warehouse(project, clock=clock) as warehouse:
            ledger = Ledger(warehouse, clock=clock)
            with lock(ledger, owner=secrets.token_hex(8), run_id="alerts", clock=clock):
                ledger.upgrade()
                outcome = alert_receivers(project, ledger, findings, context)
    except TailraceError:
        if outcome is None:
            raise
        # The receivers have the message; only the ledger could not be stored.
        keep_record(project, outcome.in_ledger)
    return outcome


def alert_without_ledger(
    project: ProjectConfig,
    findings: Findings,
    context: Context,
    *,
    in_ledger: Alerted | None = None,
) -> Outcome:
    """The same where the ledger cannot be written; it is recorded beside it.

    Args:
        project: The project.
        findings: What is known about the subjects now.
        context: What the message says besides.
        in_ledger: What a ledger that was not stored had recorded.
    """
    settings = project.alerts()
    if in_ledger:
        keep_record(project, in_ledger)
    record = AlertRecord(project)
    recorded = record.open(settings.urls)
    known = {url: _without_recovered(problems) for url, problems in recorded.items()}
    pending = _pending(settings, findings, known)
    if not pending:
        return Outcome()
    if not record.is_writable:
        context = replace(context, sentence=NOT_RECORDED)
    outcome = _alert(project, pending, known, context)
    record.save(
        {
            url: open_problems(recorded[url], pending.get(url, ()) if url in outcome.taken else ())
            for url in settings.urls
        }
    )
    return outcome


def keep_record(project: ProjectConfig, in_ledger: Alerted) -> None:
    """Record what a ledger that was not stored had recorded; the next run takes it over."""
    record = AlertRecord(project)
    recorded = record.open(project.alerts().urls)
    record.save({url: {**problems, **in_ledger.get(url, {})} for url, problems in recorded.items()})


def send_test(project: ProjectConfig) -> list[dict[str, Any]]:
    """Send a test message to each receiver.

    Returns:
        An entry for each receiver: `receiver`, `sent` and `problem`.

    Raises:
        MissingCredential: The project has no receivers.
        ConfigurationError: apprise is not installed.
    """
    settings = project.alerts()
    if not settings.urls:
        raise MissingCredential(
            "tailrace.alerts.urls is not configured",
            hint="Put urls under [tailrace.alerts] in .dlt/secrets.toml, or set "
            "TAILRACE__ALERTS__URLS.",
        )
    install = missing_extra()
    if install is not None:
        raise ConfigurationError(
            "Alerts need a package that is not installed: apprise",
            hint=f"Install it with: {install}",
        )
    results = send(settings, dict.fromkeys(settings.urls, message_of_test(project)))
    return [
        {"receiver": done.label, "sent": not done.problem, "problem": done.problem or None}
        for done in results.values()
    ]


def _known(ledger: Ledger, recorded: Alerted) -> dict[str, dict[str, str]]:
    """The problems that each receiver was alerted of, by URL; the record is the newer one."""
    stored = ledger.alerts.open()
    return {
        url: _without_recovered(
            {
                **stored.get(ledger.alerts.receiver(url), {}),
                **{key: value for key, value in problems.items() if key != STATE},
            }
        )
        for url, problems in recorded.items()
    }


def _without_recovered(problems: Mapping[str, str]) -> dict[str, str]:
    return {subject: problem for subject, problem in problems.items() if problem != RECOVERED}


def _of_state(problems: Mapping[str, str]) -> dict[str, str]:
    """The problem of the state, which is over when a state is stored, and not with a run."""
    return {subject: problem for subject, problem in problems.items() if subject == STATE}


def _pending(
    settings: AlertSettings, findings: Findings, known: Mapping[str, Mapping[str, str]]
) -> Pending:
    """The changes that each receiver does not know, by URL."""
    pending = {url: changes(findings, known[url], settings) for url in settings.urls}
    return {url: changed for url, changed in pending.items() if changed}


def _alert(
    project: ProjectConfig,
    pending: Pending,
    known: Mapping[str, Mapping[str, str]],
    context: Context,
) -> Outcome:
    """Send what `on` names. A recovery that it leaves out is only recorded."""
    settings = project.alerts()
    install = missing_extra()
    if install is not None:
        problem = f"Alerts are not sent: they need a package. Install it with: {install}"
        return Outcome(problems=(problem,))
    messages: dict[str, Message] = {}
    for url, changed in pending.items():
        announced = [change for change in changed if change.problem in settings.on]
        if announced:
            still_open = open_problems(known.get(url, {}), changed)
            messages[url] = alert(project, announced, context=context, still_open=len(still_open))
    results = send(settings, messages) if messages else {}
    taken = {url for url in pending if url not in messages or not results[url].problem}
    return Outcome(
        sent=_sent(pending, taken & messages.keys(), settings),
        receivers=tuple(done.label for done in results.values() if not done.problem),
        problems=tuple(
            f"The alert was not sent: {done.label} {done.problem}"
            for done in results.values()
            if done.problem
        ),
        taken=frozenset(taken),
    )


def _sent(pending: Pending, urls: Collection[str], settings: AlertSettings) -> tuple[Change, ...]:
    """The announced changes of some receivers, each subject once."""
    by_subject = {
        change.subject: change
        for url in urls
        for change in pending[url]
        if change.problem in settings.on
    }
    return tuple(by_subject[subject] for subject in sorted(by_subject))
