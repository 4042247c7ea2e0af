"""The main job: extract → build → plan → enqueue → send → advance → report.

Each step reads only what the step before it saved in the warehouse, so the next run finishes a run
that was interrupted at any point.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tailrace.clock import Clock
from tailrace.config.project import ProjectConfig, did_you_mean
from tailrace.errors import (
    LeaseLost,
    NothingLanded,
    NothingSelected,
    StateStoreFailed,
    TailraceError,
)
from tailrace.ledger.audiences import no_such_audience
from tailrace.ledger.generations import WAYS_OUT, record_generation, signs_of_a_copy
from tailrace.ledger.ledger import Ledger
from tailrace.ledger.lock import lock
from tailrace.ledger.receivers import (
    bind_receiver,
    check_receivers,
    receivers_of,
    remember_receivers,
    resume_destination,
    stopped_destinations,
)
from tailrace.ledger.runs import Run
from tailrace.plan.policy import PlanOptions
from tailrace.run.notices import Notice
from tailrace.run.observer import Observers
from tailrace.run.phases import Progress
from tailrace.run.read_endpoint import NO_READS, Reads, serve_reads
from tailrace.run.result import RunResult
from tailrace.run.runner import Runner
from tailrace.run.unchanged import UnchangedRuns
from tailrace.run.work import Job, Work
from tailrace.warehouse.connection import Warehouse
from tailrace.warehouse.file_facts import FileFacts
from tailrace.warehouse.memory import MemoryLimit
from tailrace.warehouse.opening import open_warehouse

if TYPE_CHECKING:
    from tailrace.plan.plan import Plan
    from tailrace.salesforce.client import Login
    from tailrace.state.session import StateSession
    from tailrace.state.store import Store

log = logging.getLogger(__name__)

# How long `plan --wait` waits for a run to end.
WAIT_SECONDS_MAX = 86_400.0
# Each run with changes adds some 2 MiB to a DuckDB file, until tables are compacted.
COMPACTED_RUNS = 32
# The command of a sync with an intent, as the ledger and the log name it.
_COMMANDS = {"retry": "retry", "resend": "reset", "accept": "reset"}


def extract(
    project: ProjectConfig,
    *,
    clock: Clock,
    objects: Sequence[str] | None = None,
    reconcile: bool = False,
    full_refresh: bool = False,
    progress: Progress | None = None,
    reads: Reads = NO_READS,
    observers: Observers = (),
) -> RunResult:
    """Load objects from Salesforce, and record whether each one is complete."""
    chosen = None if objects is None else tuple(objects)
    job = Job(
        command="extract",
        extract=True,
        deliver=False,
        objects=chosen,
        reconcile=reconcile,
        full_refresh=full_refresh,
    )
    return _carry_out(
        project, job, clock=clock, progress=progress, reads=reads, observers=observers
    )


def plan(
    project: ProjectConfig,
    *,
    clock: Clock,
    select: Sequence[str] = (),
    exclude: Sequence[str] = (),
    options: PlanOptions | None = None,
    out: Path | None = None,
    wait: bool = False,
) -> Plan:
    """What a run would do. Nothing is sent, and the ledger is only read.

    With `out`, the plan is saved to a file for `sync`, which refuses it if anything has changed.
    With `wait`, the plan is made after the end of the run that has the DuckDB file open.
    """
    from tailrace.plan.planner import Planner
    from tailrace.run import review
    from tailrace.run.preparation import (
        check_allowed,
        limits_of,
        rules_of,
        selected_models,
        with_credentials,
    )

    chosen = replace(options or PlanOptions(), digests=out is not None, counts_scans=True)
    models, selected = selected_models(project, select, exclude)
    check_allowed(chosen, models)
    limits = limits_of(project, selected)
    shows = chosen.show_rows_max > 0
    wait_seconds_max = WAIT_SECONDS_MAX if wait else None
    with open_warehouse(
        project, clock=clock, read_only=True, wait_seconds_max=wait_seconds_max
    ) as warehouse:
        ledger = Ledger(warehouse, clock=clock)
        check_receivers(ledger, receivers_of(with_credentials(project, selected)))
        planner = Planner(
            ledger,
            models,
            options=chosen,
            destinations=limits,
            now=clock.now(),
            rules=rules_of(project, limits) if shows else {},
        )
        result = planner.plan(selected)
        if out is not None and not result.errors:
            review.write(out, result, options=chosen, engine=warehouse.engine_version)
        return result


def sync(
    project: ProjectConfig,
    *,
    clock: Clock,
    select: Sequence[str] = (),
    exclude: Sequence[str] = (),
    options: PlanOptions | None = None,
    plan_file: Path | None = None,
    resend: bool = False,
    progress: Progress | None = None,
    reads: Reads = NO_READS,
    observers: Observers = (),
) -> RunResult:
    """Build, plan, deliver and advance, without an extract.

    With `plan_file`, the saved plan is carried out with its options, or refused if anything has
    changed. With `resend`, pending deliveries are resumed regardless of their age.

    Raises:
        PlanUnreadable: The file is not a plan.
    """
    chosen_options = options or PlanOptions()
    job = Job(
        command=_COMMANDS.get(chosen_options.intent, "sync"),
        select=tuple(select),
        exclude=tuple(exclude),
        resend=resend,
        options=chosen_options,
    )
    if plan_file is not None:
        from tailrace.run import review

        reviewed = review.read(plan_file)
        chosen = replace(reviewed.options, digests=True)
        job = replace(job, select=tuple(reviewed.digests), options=chosen, reviewed=reviewed)
    return _carry_out(
        project, job, clock=clock, progress=progress, reads=reads, observers=observers
    )


def run(
    project: ProjectConfig,
    *,
    clock: Clock,
    select: Sequence[str] = (),
    exclude: Sequence[str] = (),
    options: PlanOptions | None = None,
    resend: bool = False,
    progress: Progress | None = None,
    reads: Reads = NO_READS,
    observers: Observers = (),
) -> RunResult:
    """The main job: `extract`, then `sync`."""
    job = run_job(select=select, exclude=exclude, options=options, resend=resend)
    return _carry_out(
        project, job, clock=clock, progress=progress, reads=reads, observers=observers
    )


def run_job(
    *,
    select: Sequence[str] = (),
    exclude: Sequence[str] = (),
    options: PlanOptions | None = None,
    resend: bool = False,
) -> Job:
    """The job of `run`."""
    return Job(
        command="run",
        extract=True,
        select=tuple(select),
        exclude=tuple(exclude),
        resend=resend,
        options=options or PlanOptions(),
    )


def retire(
    project: ProjectConfig,
    audience: str,
    *,
    clock: Clock,
    resend: bool = False,
    progress: Progress | None = None,
    reads: Reads = NO_READS,
    observers: Observers = (),
) -> RunResult:
    """Send an exit for every member and close the audience's ledger. Its file may be gone."""
    job = Job(command="retire", retire=audience, resend=resend)
    return _carry_out(
        project, job, clock=clock, progress=progress, reads=reads, observers=observers
    )


def replay(
    project: ProjectConfig,
    audience: str,
    destination: str,
    *,
    clock: Clock,
    history: bool = False,
    resend: bool = False,
    progress: Progress | None = None,
    reads: Reads = NO_READS,
    observers: Observers = (),
) -> RunResult:
    """Backfill a destination: the current members as entering, or the whole history."""
    from tailrace.run.replay import Replay

    asked = Replay(audience=audience, destination=destination, history=history)
    job = Job(command="replay", replay=asked, resend=resend)
    return _carry_out(
        project, job, clock=clock, progress=progress, reads=reads, observers=observers
    )


def _carry_out(
    project: ProjectConfig,
    job: Job,
    *,
    clock: Clock,
    progress: Progress | None,
    reads: Reads,
    observers: Observers,
) -> RunResult:
    # Errors that need no warehouse are raised before it is opened.
    work = _work(project, job)
    return open_and_carry_out(
        project, work, clock=clock, progress=progress, reads=reads, observers=observers
    )


def _work(project: ProjectConfig, job: Job) -> Work:
    """The work of a job. If an earlier run may be equal, its models are read only if it is not."""
    unchanged = UnchangedRuns.of(project, job)

    def complete() -> Work:
        return replace(prepare(project, job), unchanged=unchanged)

    expected = None if unchanged is None else unchanged.expected()
    if expected is None:
        return complete()
    credentials = project.salesforce_credentials()
    return Work(job=job, salesforce=credentials, expected=expected, complete=complete)


def open_and_carry_out(
    project: ProjectConfig,
    work: Work,
    *,
    clock: Clock,
    progress: Progress | None = None,
    reads: Reads = NO_READS,
    observers: Observers = (),
    store: Store | None = None,
    before: Callable[[Warehouse], None] | None = None,
) -> RunResult:
    """Open the warehouse, carry out a job, and store the state if the project has a `state_url`.

    Args:
        project: The project.
        work: The job.
        clock: The time source.
        progress: As of `sync`.
        reads: As of `carry_out`.
        observers: As of `carry_out`.
        store: As of `open_warehouse`.
        before: Called with the open warehouse before the run.

    Returns:
        The result. A state that could not be stored at the end is one of its errors.
    """
    if work.job.extract and before is None:
        facts = FileFacts(project.root / ".tailrace", project.duckdb_file)
        work = replace(work, facts=facts)
    result: RunResult | None = None
    session: StateSession | None = None
    failed: TailraceError | None = None
    try:
        with open_warehouse(project, clock=clock, store=store, facts=work.facts) as warehouse:
            session = warehouse.state
            if before is not None:
                before(warehouse)
            result = carry_out(
                warehouse, work, clock=clock, progress=progress, reads=reads, observers=observers
            )
    except (StateStoreFailed, LeaseLost) as error:
        # The run has ended, and its result is known; only the state could not be stored.
        if result is None:
            raise
        failed = None if any(isinstance(e, type(error)) for e in result.errors) else error
        for observer in observers:
            observer.state_not_stored(error)
    if session is not None:
        if failed is None:
            for observer in observers:
                observer.state_stored()
        result = result.with_state(session.as_dict(), failed)
    return result


def prepare(project: ProjectConfig, job: Job) -> Work:
    """Read the parts of the project that a job needs, and raise their errors."""
    if job.extract and not job.deliver:
        # An extract needs nothing of the models, and does not import what reads them.
        return Work(job=job, salesforce=project.salesforce_credentials())
    from tailrace.run import preparation

    return preparation.prepare(project, job)


def carry_out(
    warehouse: Warehouse,
    work: Work,
    *,
    clock: Clock,
    progress: Progress | None = None,
    reads: Reads = NO_READS,
    observers: Observers = (),
) -> RunResult:
    """One numbered run, under the lock, in an open warehouse.

    `reads` are the requests that the run answers for other processes; `observers` are called at its
    beginning and its end.
    """
    suffix, owner = secrets.token_hex(2), secrets.token_hex(8)
    name = f"{work.job.command}-{suffix}"
    with open_ledger(warehouse, owner=owner, run_id=name, clock=clock, facts=work.facts) as ledger:
        memory_limit = MemoryLimit(warehouse)
        if work.expected is not None and not work.expected.has_same_ledger(ledger, work.facts):
            work = work.completed()
        runner = start_run(
            ledger, work, suffix=suffix, memory_limit=memory_limit, progress=progress
        )
        with serve_reads(
            warehouse, reads, run=runner.begun, memory_limit=memory_limit, clock=clock
        ):
            for observer in observers:
                observer.started(ledger, work, runner.begun)
            result = runner.run()
        for observer in observers:
            result = observer.finished(ledger, runner.work, result)
        compact(ledger, runner.begun)
        return result


def compact(ledger: Ledger, run: Run) -> None:
    """After some runs, make the file of the warehouse smaller. Called after the end of a run."""
    if run.seq % COMPACTED_RUNS == 0:
        ledger.warehouse.merge_row_groups()


@contextmanager
def open_ledger(
    warehouse: Warehouse,
    *,
    owner: str,
    run_id: str,
    clock: Clock,
    facts: FileFacts | None = None,
) -> Iterator[Ledger]:
    """The ledger of an open warehouse, locked for the length of the block, in its newest version.

    Args:
        warehouse: The open warehouse.
        owner: Random text; the same owner may take the lock again.
        run_id: The name of the owner in the messages of other processes.
        clock: The time source.
        facts: What is known of the DuckDB file.

    Raises:
        LockHeld: Another active run holds the lock.
    """
    ledger = Ledger(warehouse, clock=clock, facts=facts)
    ledger.install(secrets.token_hex(16))
    with lock(ledger, owner=owner, run_id=run_id, clock=clock):
        ledger.upgrade()
        yield ledger


def start_run(
    ledger: Ledger,
    work: Work,
    *,
    suffix: str,
    memory_limit: MemoryLimit,
    progress: Progress | None = None,
    login: Login | None = None,
) -> Runner:
    """Number and save a run, whose id ends with the suffix. Called under the lock.

    Raises:
        ReceiverChanged: A destination has another receiver than the one in the ledger.
        NothingSelected: The ledger has no such audience.
        ConfigurationError: A destination of a retry or of a retirement is not configured.
    """
    _check_names(ledger, work.job)
    if work.job.retire is not None or work.job.options.intent == "retry":
        from tailrace.run.preparation import with_destinations_of_ledger

        work = with_destinations_of_ledger(ledger, work)
    receivers = receivers_of(work.destinations)
    if receivers:
        check_receivers(ledger, receivers)
        remember_receivers(ledger, receivers)
    # A file that is as this project's last run left it is neither a copy nor a backup.
    signs = () if work.facts.are_known else signs_of_a_copy(ledger)
    copied = [Notice(message=sign, hint=WAYS_OUT) for sign in signs]
    for notice in copied:
        # The result has it too, and comes after everything is sent.
        log.warning("%s", notice.message)
    allowed = [f"{audience}:{guard}" for audience, guard in sorted(work.job.options.allow)]
    begun = ledger.runs.start(work.job.command, suffix=suffix, allowed=allowed)
    record_generation(ledger, begun)
    runner = Runner(
        ledger, work, run=begun, memory_limit=memory_limit, progress=progress, login=login
    )
    runner.done = runner.done.with_notices(copied)
    return runner


def rebind(project: ProjectConfig, destination: str, *, clock: Clock) -> dict[str, Any]:
    """Accept a destination's current credential as one of the same receiver.

    Raises:
        UnknownConfigKey: The configuration has no such destination.
        NothingLanded: There is no ledger yet.
    """
    return _bind(project, destination, clock=clock, command="destinations rebind")


def resume(project: ProjectConfig, destination: str, *, clock: Clock) -> dict[str, Any]:
    """Send to a stopped destination again, at its current address.

    Raises:
        UnknownConfigKey: The configuration has no such destination.
        NothingLanded: There is no ledger yet.
        NothingSelected: The destination is not stopped.
    """
    return _bind(project, destination, clock=clock, command="destinations resume")


def _bind(
    project: ProjectConfig, destination: str, *, clock: Clock, command: str
) -> dict[str, Any]:
    """Bind a destination to its current receiver, as a run of its own."""
    from tailrace.destinations.registry import type_of

    receivers = receivers_of(
        {destination: type_of(project, destination).settings(project, destination)}
    )
    with open_warehouse(project, clock=clock) as warehouse:
        ledger = Ledger(warehouse, clock=clock)
        if not ledger.installed:
            raise NothingLanded("There is no ledger yet: nothing was delivered")
        suffix, owner = secrets.token_hex(2), secrets.token_hex(8)
        resumes = command.endswith("resume")
        with lock(ledger, owner=owner, run_id=f"{command.split()[-1]}-{suffix}", clock=clock):
            ledger.upgrade()
            stopped = stopped_destinations(ledger)
            if resumes and destination not in stopped:
                raise NothingSelected(
                    f'The destination "{destination}" is not stopped.'
                    f"{did_you_mean(destination, stopped)}",
                    hint=f"Stopped are: {', '.join(sorted(stopped)) or 'none'}",
                )
            run = ledger.runs.start(command, suffix=suffix, allowed=[destination])
            if destination in receivers:
                bind_receiver(ledger, destination, receivers[destination])
            if resumes:
                resume_destination(ledger, destination)
            ledger.runs.finish(run, exit_code=0, error=None, salesforce_calls=0)
            return {"destination": destination, "run_id": run.id, "resumed": resumes}


def _check_names(ledger: Ledger, job: Job) -> None:
    """Refuse a misspelt audience before a run is recorded."""
    if job.retire is not None:
        rows = ledger.audiences.statuses()
        names = {str(row["audience"]) for row in rows}
        if job.retire not in names | {str(row["sync"]) for row in rows}:
            raise no_such_audience(job.retire, rows)
    if job.replay is not None:
        from tailrace.run.replay import source_of

        source_of(ledger, job.replay)
