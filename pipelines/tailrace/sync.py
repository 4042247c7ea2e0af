"""The main job: extract → build → plan → enqueue → send → advance → report.

Each step reads only what the step before it left in the warehouse, so a run that dies anywhere
is finished by the next one.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tailrace import reviewed
from tailrace.audiences import Audience
from tailrace.build import build
from tailrace.clock import Clock
from tailrace.delivery import Delivery, Progress, deliver, left_behind, write_down
from tailrace.errors import ExtractIncomplete, MissingCredential, NothingSelected, TailraceError
from tailrace.ledger import Ledger, Run
from tailrace.lock import lock
from tailrace.models import Model, Models, read_models
from tailrace.plan import Choices, Plan, Planner
from tailrace.project import Project, did_you_mean
from tailrace.results import Progressing, RunResult, object_entry
from tailrace.reviewed import Reviewed
from tailrace.segment import Segment
from tailrace.settings import SalesforceCredentials, SegmentSettings
from tailrace.warehouse import Warehouse, open_warehouse

STATUS_RUNS_MAX = 10


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a run is asked to do."""

    command: str
    extract: bool = False
    deliver: bool = True
    select: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    objects: tuple[str, ...] | None = None
    reconcile: bool = False
    retire: str | None = None
    reviewed: Reviewed | None = None
    choices: Choices = field(default_factory=Choices)


def extract(
    project: Project,
    *,
    clock: Clock,
    objects: Sequence[str] | None = None,
    reconcile: bool = False,
    progress: Progress | None = None,
) -> RunResult:
    """Land what Salesforce has, and write down how whole it is."""
    chosen = None if objects is None else tuple(objects)
    job = Job(command="extract", extract=True, deliver=False, objects=chosen, reconcile=reconcile)
    return _carry_out(project, job, clock=clock, progress=progress)


def plan(
    project: Project,
    *,
    clock: Clock,
    select: Sequence[str] = (),
    exclude: Sequence[str] = (),
    choices: Choices | None = None,
    out: Path | None = None,
) -> Plan:
    """What a run would do. Nothing is sent, and the ledger is only read.

    With `out`, the plan is written to a file that `sync` carries out exactly, or refuses.
    """
    chosen = replace(choices or Choices(), digests=out is not None)
    models, selected = _selected(project, select, exclude)
    with open_warehouse(project, clock=clock, read_only=True) as warehouse:
        ledger = Ledger(warehouse, clock=clock)
        planner = Planner(
            ledger,
            models,
            choices=chosen,
            segment=_segment_settings(project),
            now=clock.now(),
        )
        made = planner.plan(selected)
        if out is not None:
            reviewed.write(out, made, choices=chosen, engine=warehouse.engine_version)
        return made


def sync(
    project: Project,
    *,
    clock: Clock,
    select: Sequence[str] = (),
    exclude: Sequence[str] = (),
    choices: Choices | None = None,
    plan_file: Path | None = None,
    progress: Progress | None = None,
) -> RunResult:
    """Build, plan, send and advance, on what has landed.

    With `plan_file`, what was reviewed is carried out, with its choices, or nothing is.

    Raises:
        PlanUnreadable: The file is not a plan.
    """
    job = Job(
        command="sync",
        select=tuple(select),
        exclude=tuple(exclude),
        choices=choices or Choices(),
    )
    if plan_file is not None:
        agreed = reviewed.read(plan_file)
        chosen = replace(agreed.choices, digests=True)
        job = replace(job, select=tuple(agreed.digests), choices=chosen, reviewed=agreed)
    return _carry_out(project, job, clock=clock, progress=progress)


def run(
    project: Project,
    *,
    clock: Clock,
    select: Sequence[str] = (),
    exclude: Sequence[str] = (),
    choices: Choices | None = None,
    progress: Progress | None = None,
) -> RunResult:
    """The main job: `extract`, then `sync`."""
    job = Job(
        command="run",
        extract=True,
        select=tuple(select),
        exclude=tuple(exclude),
        choices=choices or Choices(),
    )
    return _carry_out(project, job, clock=clock, progress=progress)


def retire(
    project: Project, audience: str, *, clock: Clock, progress: Progress | None = None
) -> RunResult:
    """Send everybody's exit from an audience once, and close its ledger. Its file may be gone."""
    job = Job(command="retire", retire=audience)
    return _carry_out(project, job, clock=clock, progress=progress)


def status(project: Project, *, clock: Clock) -> dict[str, Any]:
    """The last runs, and where each audience stands."""
    with open_warehouse(project, clock=clock, read_only=True) as warehouse:
        ledger = Ledger(warehouse, clock=clock)
        return {"runs": ledger.recent_runs(STATUS_RUNS_MAX), "audiences": ledger.standing()}


def _carry_out(project: Project, job: Job, *, clock: Clock, progress: Progress | None) -> RunResult:
    # Everything that can be wrong without a warehouse is told before one is opened.
    work = prepare(project, job)
    with open_warehouse(project, clock=clock) as warehouse:
        return carry_out(warehouse, work, clock=clock, progress=progress)


@dataclass(frozen=True, kw_only=True)
class Work:
    """A job with all that it needs from the project's files."""

    job: Job
    models: Models | None
    selected: tuple[Model, ...]
    salesforce: SalesforceCredentials | None
    segment: SegmentSettings | None


def prepare(project: Project, job: Job) -> Work:
    """Read what a job needs, and raise what is wrong with it."""
    reads_models = job.deliver and job.retire is None
    models, selected = _selected(project, job.select, job.exclude) if reads_models else (None, ())
    return Work(
        job=job,
        models=models,
        selected=tuple(selected),
        salesforce=project.salesforce_credentials() if job.extract else None,
        segment=project.segment() if job.deliver else None,
    )


def carry_out(
    warehouse: Warehouse, work: Work, *, clock: Clock, progress: Progress | None = None
) -> RunResult:
    """One numbered run, under the lock, over an open warehouse."""
    ledger = Ledger(warehouse, clock=clock)
    ledger.install(secrets.token_hex(16))
    suffix, owner = secrets.token_hex(2), secrets.token_hex(8)
    allowed = [f"{audience}:{guard}" for audience, guard in sorted(work.job.choices.allow)]
    with lock(ledger, owner=owner, run_id=f"{work.job.command}-{suffix}", clock=clock):
        begun = ledger.start_run(work.job.command, suffix=suffix, allowed=allowed)
        return _Runner(ledger, work, run=begun, progress=progress).run()


class _Runner:
    """One run, step by step; `done` is what it has come to so far."""

    def __init__(self, ledger: Ledger, work: Work, *, run: Run, progress: Progress | None) -> None:
        self.ledger = ledger
        self.project = ledger.warehouse.project
        self.work = work
        self.job = work.job
        self.begun = run
        self.progress = progress
        self.done = Progressing(run_id=run.id, command=work.job.command)

    def run(self) -> RunResult:
        error: TailraceError | None = None
        work = self.work
        try:
            if work.salesforce is not None:
                self._extract(work.salesforce)
            if work.models is not None and work.segment is not None:
                self._sync(work.models, work.segment)
            if work.job.retire is not None and work.segment is not None:
                self._retire(work.job.retire, work.segment)
        except TailraceError as raised:
            error = raised
            self.done = self.done.with_errors(raised.flattened())
        result = self.done.result()
        self.ledger.finish_run(
            self.begun,
            exit_code=result.exit_code,
            error=error,
            salesforce_calls=int(self.done.salesforce.get("calls", 0)),
        )
        return result

    def _extract(self, credentials: SalesforceCredentials) -> None:
        from tailrace.salesforce import extract as extract_objects

        landed = extract_objects(
            self.ledger.warehouse.pipeline,
            self.project.salesforce(),
            credentials,
            clock=self.ledger.clock,
            objects=self.job.objects,
            reconcile=self.job.reconcile,
            progress=_rows_of(self.progress),
        )
        errors = []
        for facts in landed.objects:
            self.ledger.record_extract(
                self.begun,
                object=facts.object,
                table_name=facts.table,
                rows_landed=facts.rows,
                window_start=facts.window_start,
                window_end=facts.window_end,
                watermark=facts.watermark,
                complete=facts.complete,
                empty=facts.empty,
                quarantined=facts.quarantined,
                vanished_fields=",".join(facts.vanished_fields),
                error=facts.error.message if facts.error else None,
            )
            if facts.error is not None:
                errors.append(facts.error)
            elif not facts.complete:
                errors.append(ExtractIncomplete(f"{facts.object} was not extracted whole"))
        self.done = replace(
            self.done.with_errors(errors),
            objects=tuple(object_entry(facts) for facts in landed.objects),
            salesforce={
                "calls": landed.calls_used,
                "quota_used": landed.quota_used,
                "quota_max": landed.quota_max,
                "seconds": round(landed.seconds, 1),
            },
            empty_objects=any(facts.empty for facts in landed.objects),
        )

    def _sync(self, models: Models, settings: SegmentSettings) -> None:
        selected = self.work.selected
        with Segment(settings, clock=self.ledger.clock) as segment:
            self._deliver(segment, left_behind(self.ledger))
            agreed = self.job.reviewed
            now = agreed.planned_at if agreed else self.begun.started_at
            planner = Planner(
                self.ledger,
                models,
                choices=self.job.choices,
                segment=settings,
                now=now,
                tables_built=build(self.ledger.warehouse, models, selected, now=now),
            )
            made = planner.plan(selected)
            if agreed is not None:
                engine = self.ledger.warehouse.engine_version
                reviewed.insist(made, agreed, engine=engine)
            self.done = replace(self.done, plan=made)
            written = [
                write_down(self.ledger, self.begun, each, choices=self.job.choices)
                for each in made.audiences
            ]
            held = {each.name for each in made.audiences if each.status == "held"}
            self._deliver(segment, [d for d in written if d.audience.name not in held])

    def _retire(self, name: str, settings: SegmentSettings) -> None:
        with Segment(settings, clock=self.ledger.clock) as segment:
            self._deliver(segment, left_behind(self.ledger))
            delivered = self.ledger.last_delivered(name)
            if delivered is None:
                known = [str(row["audience"]) for row in self.ledger.standing()]
                raise NothingSelected(
                    f'The ledger has no audience "{name}".{did_you_mean(name, known)}'
                )
            audience = replace(Audience.from_mapping(delivered.mapping), retiring=True)
            planner = Planner(
                self.ledger,
                Models(by_name={}),
                choices=self.job.choices,
                segment=settings,
                now=self.begun.started_at,
            )
            made = planner.retirement(audience, delivered)
            self.done = replace(self.done, plan=made)
            (leaving,) = made.audiences
            self._deliver(
                segment, [write_down(self.ledger, self.begun, leaving, choices=self.job.choices)]
            )
            if not self.done.settled[-1].rejected:
                self.ledger.retire(name)

    def _deliver(self, segment: Segment, deliveries: Sequence[Delivery]) -> None:
        if any(each.planned for each in deliveries):
            segment.check()
        for each in deliveries:
            settled = deliver(
                self.ledger,
                segment,
                each,
                salt=self.project.settings.salt,
                progress=self.progress,
            )
            self.done = self.done.with_settled(settled)


def _selected(
    project: Project, select: Sequence[str], exclude: Sequence[str]
) -> tuple[Models, Sequence[Model]]:
    models = read_models(project.models_folder, objects=project.salesforce().objects)
    return models, models.select(select, exclude)


def _segment_settings(project: Project) -> SegmentSettings | None:
    """The sender's limits, where there are any: a plan needs no write key."""
    try:
        return project.segment()
    except MissingCredential:
        return None


def _rows_of(progress: Progress | None) -> Any:
    if progress is None:
        return None
    return lambda name, rows: progress(name, rows, 0)
