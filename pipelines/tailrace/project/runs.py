"""Extract, plan and deliver."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from tailrace.project.loaded import LoadedProject, result_of
from tailrace.reporting.lazy_reads import LazyReads
from tailrace.results import Result

if TYPE_CHECKING:
    from tailrace.plan.policy import PlanOptions
    from tailrace.run.phases import Progress
    from tailrace.run.result import RunResult


class Runs(LoadedProject):
    """Extracts, plans and runs."""

    def extract(
        self,
        *,
        select: Sequence[str] = (),
        exclude: Sequence[str] = (),
        reconcile: bool = False,
        full_refresh: bool = False,
        dry_run: bool = False,
        progress: Progress | None = None,
    ) -> Result:
        """Load Salesforce objects into the warehouse.

        Args:
            select: Objects (`Contact`, `object:Contact`, a glob), or models, for the objects that
                they read. Without it, all configured objects.
            exclude: The same, to leave out.
            reconcile: Also compare the ids, to find rows that were deleted without a trace.
            full_refresh: Drop the tables of the objects and load them again.
            dry_run: Only return the objects that would be loaded.
            progress: Called with the phase and a name, such as `extract Contact`, the rows so far,
                and how many are expected; 0 if that is unknown.
        """
        from tailrace.run import job

        names = self._objects(select, exclude)
        if dry_run:
            return Result(command="extract", data={"dry_run": True, "would_load": list(names)})
        with self._observers("extract") as observers:
            done = job.extract(
                self.config,
                clock=self.clock,
                objects=names if select or exclude else None,
                reconcile=reconcile,
                full_refresh=full_refresh,
                progress=progress,
                reads=LazyReads(),
                observers=observers,
            )
        return result_of(done)

    def plan(
        self,
        *,
        select: Sequence[str] = (),
        exclude: Sequence[str] = (),
        options: PlanOptions | None = None,
        out: Path | str | None = None,
        wait: bool = False,
    ) -> Result:
        """Compute what `sync` would send. Sends nothing and writes nothing to the ledger.

        Args:
            select: Patterns as of `--select`: names, globs, `tag:NAME`, `object:NAME`,
                `path:FOLDER`, `owner:NAME`, `state:modified`, `result:failed`, with `+` for the
                models below or above; all models without it.
            exclude: Patterns of models to leave out.
            options: Guards to override, and what to do about changed SQL and mappings.
            out: Write the plan to this file, for `sync(plan_file=...)`.
            wait: Wait, for up to a day, for a run that has the DuckDB file open.

        Raises:
            tailrace.errors.LockHeld: Another process has the DuckDB file open.
            tailrace.errors.UserError: A model, a header or the selection is wrong.
            tailrace.errors.NothingLanded: No object was extracted yet.
        """
        from tailrace.run import job

        with self._former_audiences():
            plan = job.plan(
                self.config,
                clock=self.clock,
                select=select,
                exclude=exclude,
                options=options,
                out=None if out is None else Path(out).absolute(),
                wait=wait,
            )
        run_id = f"{plan.planned_at:%Y-%m-%dT%H:%M:%SZ}-plan"
        warnings = [warning.as_dict() for warning in plan.warnings]
        data = {"run_id": run_id, **plan.as_dict(), "warnings": warnings}
        data.pop("errors", None)
        return Result(command="plan", exit_code=plan.exit_code, data=data, errors=plan.errors)

    def sync(
        self,
        *,
        select: Sequence[str] = (),
        exclude: Sequence[str] = (),
        options: PlanOptions | None = None,
        plan_file: Path | str | None = None,
        resend: bool = False,
        progress: Progress | None = None,
    ) -> Result:
        """Build the models, plan and deliver, without extracting.

        Args:
            select: As of `plan`.
            exclude: As of `plan`.
            options: As of `plan`.
            plan_file: Apply this saved plan; nothing is sent if anything has changed since.
            resend: Also re-send pending messages older than `resend_hours_max`.
            progress: Called with the phase and a name, such as `send vip`, how much of it is done,
                and how much there is; 0 if that is unknown.
        """
        from tailrace.run import job

        command = "sync" if options is None or options.intent == "changes" else options.intent
        with self._former_audiences(), self._observers(command) as observers:
            done = job.sync(
                self.config,
                clock=self.clock,
                select=select,
                exclude=exclude,
                options=options,
                plan_file=None if plan_file is None else Path(plan_file).absolute(),
                resend=resend,
                progress=progress,
                reads=LazyReads(),
                observers=observers,
            )
        return result_of(done)

    def run(
        self,
        *,
        select: Sequence[str] = (),
        exclude: Sequence[str] = (),
        options: PlanOptions | None = None,
        resend: bool = False,
        progress: Progress | None = None,
    ) -> Result:
        """The main job: `extract`, then `sync`, with the arguments of `sync`."""
        from tailrace.run import job

        with self._former_audiences(), self._observers("run") as observers:
            done = job.run(
                self.config,
                clock=self.clock,
                select=select,
                exclude=exclude,
                options=options,
                resend=resend,
                progress=progress,
                reads=LazyReads(),
                observers=observers,
            )
        return result_of(done)

    def watch(
        self,
        every: timedelta,
        *,
        duration: timedelta | None = None,
        select: Sequence[str] = (),
        exclude: Sequence[str] = (),
        options: PlanOptions | None = None,
        resend: bool = False,
        progress: Progress | None = None,
        on_run: Callable[[Result], None] | None = None,
    ) -> Result:
        """Run in cycles, in one process, under one lock and with one login.

        A cycle without news sends one request per object to Salesforce and records no run. The
        models are read again when one of their files changes.

        Args:
            every: From the start of a cycle to the next one.
            duration: The last cycle starts no later than this after the first one; without it, the
                call returns after a signal or an error only.
            select: As of `run`.
            exclude: As of `run`.
            options: As of `run`.
            resend: As of `run`.
            progress: As of `run`.
            on_run: Called with the result of each run.

        Returns:
            The result of the last run, with the counts of the cycles as `watch`. Exit code 0, 1 if
            the last cycle failed, 2 if the configuration is wrong, 75 if the lock was lost.

        Raises:
            tailrace.errors.LockHeld: Another run holds the lock.
            tailrace.errors.UserError: The project, or a model at the start, is wrong.
        """
        from tailrace.run import job
        from tailrace.run.watch import Watch

        def report(done: RunResult) -> None:
            if on_run is not None:
                on_run(result_of(done))

        with self._former_audiences(), self._observers("run") as observers:
            done = Watch(
                self.config,
                job.run_job(select=select, exclude=exclude, options=options, resend=resend),
                clock=self.clock,
                every_seconds=every.total_seconds(),
                seconds_max=None if duration is None else duration.total_seconds(),
                progress=progress,
                on_run=report,
                reads=LazyReads(),
                observers=observers,
            ).run()
        data = done.as_dict()
        data.pop("errors", None)
        return Result(command="run", exit_code=done.exit_code, data=data, errors=done.errors)
