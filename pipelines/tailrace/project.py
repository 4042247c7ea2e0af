"""`tailrace.Project`: the Python API. The command line is a caller of it.

Nothing here prints. The engine is imported inside the methods, so that importing the package and
the offline methods do not import dlt or DuckDB.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tailrace.clock import Clock, SystemClock
from tailrace.config.project import ProjectConfig, load_project
from tailrace.errors import NothingLanded, NothingSelected, TailraceError
from tailrace.lineage_events.switches import is_switched_on
from tailrace.reporting.lazy_reads import LazyReads
from tailrace.results import Result, listed_model

if TYPE_CHECKING:
    from tailrace.models.loader import Models
    from tailrace.plan.policy import PlanOptions
    from tailrace.run.observer import Observers, RunObserver
    from tailrace.run.result import RunResult
    from tailrace.state.session import Opened

Progress = Callable[[str, int, int], None]


class Project:
    """A Tailrace project: a folder with `.dlt/config.toml` and `models/`.

    >>> project = Project.load("shop", target="prod")  # doctest: +SKIP
    >>> project.run(select=["tag:marketing"]).audiences["vip_contacts"].entered  # doctest: +SKIP
    3
    """

    def __init__(
        self,
        config: ProjectConfig,
        *,
        state: Path | str | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.clock = clock or SystemClock()
        self._manifest = None if state is None else Path(state).absolute()
        selectors = {"state": self._by_state, "result": self._by_result}
        self.config = replace(config, selectors=selectors)

    @classmethod
    def load(
        cls,
        path: Path | str | None = None,
        *,
        target: str | None = None,
        environ: Mapping[str, str] | None = None,
        state: Path | str | None = None,
        clock: Clock | None = None,
    ) -> Project:
        """Read the project in a folder.

        Args:
            path: The project's folder. Without it, the working directory or the nearest folder
                above it that has a `.dlt/config.toml`.
            target: Use the settings of `.dlt/<target>.*.toml`.
            environ: The environment variables to read settings from (default: the process's).
            state: A manifest that `ls` has saved, for the selection `state:modified`.
            clock: The time source (default: the system's clock).

        Raises:
            tailrace.errors.ConfigurationError: The folder is not a project, or a setting is wrong.
        """
        return cls(load_project(path, target=target, environ=environ), state=state, clock=clock)

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
        return _result_of(done)

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
        return _result_of(done)

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
        return _result_of(done)

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
                on_run(_result_of(done))

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

    def retry(
        self,
        *,
        select: Sequence[str] = (),
        exclude: Sequence[str] = (),
        allow: Sequence[tuple[str, str]] = (),
        resend: bool = False,
        progress: Progress | None = None,
    ) -> Result:
        """Send the rejected members again, and nothing else.

        Args:
            select: As of `plan`.
            exclude: As of `plan`.
            allow: Pairs of an audience and a guard to override.
            resend: As of `sync`.
            progress: As of `sync`.
        """
        options = _plan_options(allow, intent="retry")
        return self.sync(
            select=select, exclude=exclude, options=options, resend=resend, progress=progress
        )

    def reset(
        self,
        audience: str,
        *,
        send: bool,
        allow: Sequence[tuple[str, str]] = (),
        resend: bool = False,
        dry_run: bool = False,
        progress: Progress | None = None,
    ) -> Result:
        """Forget what was delivered of an audience.

        Args:
            audience: Its name.
            send: Send every member again; otherwise record today's members without sending.
            allow: As of `retry`.
            resend: As of `sync`.
            dry_run: Only return the plan.
            progress: As of `sync`.
        """
        options = _plan_options(allow, intent="resend" if send else "accept")
        if dry_run:
            plan = self.plan(select=[audience], options=options)
            return replace(plan, command="reset", data={"dry_run": True, **plan.data})
        return self.sync(select=[audience], options=options, resend=resend, progress=progress)

    def retire(
        self,
        audience: str,
        *,
        resend: bool = False,
        dry_run: bool = False,
        progress: Progress | None = None,
    ) -> Result:
        """Send an exit event for every member of an audience, then stop tracking it.

        Args:
            audience: Its name. Its file may be deleted.
            resend: As of `sync`.
            dry_run: Only return how many exits would be sent.
            progress: As of `sync`.

        Raises:
            tailrace.errors.NothingSelected: The ledger has no such audience.
        """
        from tailrace.reporting.selection import files_remaining
        from tailrace.run import job

        warnings = files_remaining(self._models(), audience)
        if dry_run:
            rows = self._read("recorded", audience=audience)["audiences"]
            exits = sum(int(row["size_after"] or 0) for row in rows)
            data = {"dry_run": True, "audience": audience, "would_exit": exits}
            return Result(command="retire", data={**data, "warnings": warnings})
        with self._observers("retire") as observers:
            done = job.retire(
                self.config,
                audience,
                clock=self.clock,
                resend=resend,
                progress=progress,
                reads=LazyReads(),
                observers=observers,
            )
        result = _result_of(done)
        data = {**result.data, "warnings": [*result.data["warnings"], *warnings]}
        return replace(result, data=data)

    def replay(
        self,
        audience: str,
        destination: str,
        *,
        history: bool = False,
        resend: bool = False,
        dry_run: bool = False,
        progress: Progress | None = None,
    ) -> Result:
        """Send an audience to a destination from the ledger: a new one, or one that lost its data.

        Args:
            audience: Its name.
            destination: The section `[destination.NAME]` to send to.
            history: Replay the full history with original timestamps; otherwise the current
                members enter.
            resend: As of `sync`.
            dry_run: Only return how many members would enter, and whether the destination has the
                audience.
            progress: As of `sync`.

        Raises:
            tailrace.errors.NothingSelected: The ledger has no such audience.
        """
        from tailrace.run import job

        if dry_run:
            rows = self._read("recorded", audience=audience)["audiences"]
            there = [row for row in rows if row["destination"] == destination]
            members = max(int(row["size_after"] or 0) for row in there or rows)
            data = {"audience": audience, "destination": destination, "would_enter": members}
            return Result(
                command="replay", data={"dry_run": True, **data, "delivered_before": bool(there)}
            )
        with self._observers("replay") as observers:
            done = job.replay(
                self.config,
                audience,
                destination,
                clock=self.clock,
                history=history,
                resend=resend,
                progress=progress,
                reads=LazyReads(),
                observers=observers,
            )
        return _result_of(done)

    def status(self, run_id: str | None = None, *, check: bool = False) -> Result:
        """The latest runs and the audiences, or one run with its audiences.

        `broken` has the errors of the models as they are now, and the audiences that each stops.

        Args:
            run_id: The run to return, without a check.
            check: Exit with 1 if an audience is late (`late_hours` of `[tailrace.alerts]`), failed,
                held or stopped by a broken file, or if there is no run yet. `problems` names them,
                and the receivers of `[tailrace.alerts]` are alerted of them, unless they were
                already.

        Raises:
            tailrace.errors.NothingSelected: The ledger has no run with this id.
        """
        if run_id is not None:
            return Result(command="status", data=self._read("one_run", run_id=run_id))
        from tailrace.reporting.status import problems
        from tailrace.reporting.verdict import with_verdict
        from tailrace.run.broken_files import with_broken_files

        data: dict[str, Any] = {"runs": [], "audiences": [], "sending": []}
        data |= {"running": None, "watch": None}
        with suppress(NothingLanded):
            data = self._read("status")
        data = with_verdict(with_broken_files(data, self.config, clock=self.clock))
        if self.config.settings.state_url is not None:
            data = data | {"state": self._described_state()}
        if not check:
            return Result(command="status", data=data)
        from tailrace.alerts.observer import alert_of_status

        found = problems(data, late_hours=self.config.alerts().late_hours, now=self.clock.now())
        alerted = alert_of_status(self.config, data, clock=self.clock)
        data = data | {"problems": found} | (alerted.as_status() if alerted else {})
        return Result(command="status", exit_code=int(bool(found)), data=data)

    def test_alerts(self) -> Result:
        """Send a test message to each receiver of `[tailrace.alerts]`.

        Returns:
            Exit code 1 if a receiver did not take it. `receivers` has one entry for each.

        Raises:
            tailrace.errors.ConfigurationError: No receiver is configured, or apprise is missing.
        """
        from tailrace.alerts.receivers import send_test

        done = send_test(self.config)
        failed = any(not entry["sent"] for entry in done)
        return Result(command="alerts", exit_code=int(failed), data={"receivers": done})

    def rejected(
        self,
        *,
        select: Sequence[str] = (),
        exclude: Sequence[str] = (),
        show_values: bool = False,
        rows_max: int | None = None,
    ) -> Result:
        """The rejected members: counts by reason, and the rows with their keys.

        Args:
            select: Audiences by name, glob or `tag:NAME`; all of them without it.
            exclude: Audiences to leave out.
            show_values: Return keys as they are; otherwise they are masked.
            rows_max: The most rows to return; all of them without it.
        """
        try:
            data = self._read(
                "rejected",
                select=list(select),
                exclude=list(exclude),
                show_values=show_values,
                rows_max=rows_max,
            )
        except NothingLanded:
            data = {"rejected": [], "rows": []}
        return Result(command="rejected", data=data)

    def trace(self, person: str, *, show_values: bool = False) -> Result:
        """A person's membership and delivery history.

        Args:
            person: A key, userId or anonymousId.
            show_values: Return values as they were sent; otherwise they are masked.
        """
        data = self._read("trace", person=person, show_values=show_values)
        if data.pop("known"):
            return Result(command="trace", data=data)
        from tailrace.reporting.explain import unknown_person

        error = unknown_person(data)
        return Result(command="trace", exit_code=error.exit_code, data=data, errors=(error,))

    def report(
        self, out: Path | str | None = None, *, plan_file: Path | str | None = None
    ) -> Result:
        """Write one HTML file about the runs, the audiences and the rows that each step leaves out.

        Args:
            out: The file (default: `tailrace-report.html` in the working directory).
            plan_file: A saved plan, to show what the next run would do.

        Raises:
            tailrace.errors.NothingLanded: There is no warehouse yet.
            tailrace.errors.PlanUnreadable: `plan_file` is not a saved plan.
            tailrace.errors.ReportNotWritten: The file cannot be written.
        """
        from tailrace.reporting.page.report import write_report

        return Result(
            command="report",
            data=write_report(self.config, clock=self.clock, out=out, plan_file=plan_file),
        )

    def history(self, audience: str, *, at: datetime | None = None) -> Result:
        """An audience's size over time, or the keys of its members at a time.

        Args:
            audience: Its name.
            at: The time; without a zone it is UTC.

        Raises:
            tailrace.errors.NothingSelected: The ledger has no such audience, or the deliveries of
                that time were purged.
        """
        if at is None:
            return Result(command="history", data=self._read("sizes", audience=audience))
        moment = at if at.tzinfo else at.replace(tzinfo=UTC)
        data = self._read("members_at", audience=audience, at=moment.isoformat())
        return Result(command="history", data=data)

    def rename(self, old_name: str, new_name: str) -> Result:
        """Move an audience's ledger to another name. No member enters or exits.

        Raises:
            tailrace.errors.NothingSelected: The ledger has no audience of the old name or has one
                of the new name, or a model's header still has the old name.
        """
        from tailrace.ledger import maintenance
        from tailrace.reporting.selection import refuse_old_name

        refuse_old_name(self._models(), old_name, new_name)
        data = maintenance.rename(self.config, old_name, new_name, clock=self.clock)
        return Result(command="rename", data=data)

    def resume(self, destination: str) -> Result:
        """Send to `[destination.NAME]` again, which stopped because its receiver was gone."""
        from tailrace.run import job

        data = job.resume(self.config, destination, clock=self.clock)
        return Result(command="destinations", data=data)

    def rebind(self, destination: str) -> Result:
        """Accept a destination's rotated credential as the same receiver.

        Args:
            destination: The section `[destination.NAME]`.
        """
        from tailrace.run import job

        data = job.rebind(self.config, destination, clock=self.clock)
        return Result(command="destinations", data=data)

    def purge(self, older_than: timedelta, *, dry_run: bool = False) -> Result:
        """Delete records of deliveries that completed longer ago.

        Args:
            older_than: The age of the records. Members who left in the last 24 hours are kept.
            dry_run: Only count the records.
        """
        from tailrace.ledger import maintenance

        data = maintenance.purge(
            self.config, older_than=older_than, clock=self.clock, dry_run=dry_run
        )
        return Result(command="purge", data=data)

    def state(self) -> Result:
        """The generation, the size and the lease of the state in `state_url`.

        Raises:
            tailrace.errors.NothingSelected: The project has no `state_url`.
        """
        self._require_state_url()
        return Result(command="state", data=self._described_state())

    def unlock_state(self) -> Result:
        """Release the lease of another run, which then stops before its next batch.

        Raises:
            tailrace.errors.LockHeld: The lease was renewed or taken at the same moment.
            tailrace.errors.NothingSelected: The project has no `state_url`.
        """
        from tailrace.state.lease import unlock
        from tailrace.state.stores import open_store

        self._require_state_url()
        lease = unlock(open_store(self.config), clock=self.clock)
        released = lease.as_dict(self.clock.now()) if lease is not None else None
        return Result(command="state", data={"released": released})

    def push_state(self, file: Path | str | None = None, *, dry_run: bool = False) -> Result:
        """Write a DuckDB file to `state_url`, in place of the state that is there.

        Args:
            file: The file; without it, this machine's copy of the state, or else the file of
                `[destination.duckdb] credentials`.
            dry_run: Only return what would be replaced.

        Raises:
            tailrace.errors.LockHeld: A run holds the lease.
            tailrace.errors.NothingLanded: There is no such file.
            tailrace.errors.NothingSelected: The project has no `state_url`.
        """
        from tailrace.state.push import push
        from tailrace.warehouse.opening import complete_duckdb_file

        self._require_state_url()
        source = None if file is None else Path(file).absolute()
        data = push(self._opened_state(), source, complete=complete_duckdb_file, dry_run=dry_run)
        return Result(command="state", data=data)

    def pull_state(self, file: Path | str) -> Result:
        """Write a copy of the state in `state_url` to a file, which may not exist.

        Raises:
            tailrace.errors.NothingLanded: The store has no state, or the file exists.
            tailrace.errors.NothingSelected: The project has no `state_url`.
        """
        from tailrace.state.session import open_to_read

        self._require_state_url()
        target = Path(file).absolute()
        if target.exists():
            raise NothingLanded(
                f"{target.name} exists", hint="Name a file that does not exist, or delete it."
            )
        with open_to_read(self._opened_state(), wait_seconds_max=0.0):
            if not self.config.duckdb_file.exists():
                raise NothingLanded(f"There is no state in {self.config.settings.state_url}")
            shutil.copyfile(self.config.duckdb_file, target)
        return Result(command="state", data={**self._described_state(), "file": str(target)})

    def validate(self, *, select: Sequence[str] = (), exclude: Sequence[str] = ()) -> Result:
        """Check the configuration, the models and the tracking plan, without Salesforce or Segment.

        Models are bound to the tables that have landed: in the DuckDB file if there is one, or on
        the configured server. A server that cannot be reached is a warning.

        Raises:
            tailrace.errors.UserError: Something is wrong; it names the file and the line.
        """
        from tailrace.alerts.sending import require_valid_urls
        from tailrace.run.validation import validate

        require_valid_urls(self.config.alerts())
        with self._former_audiences():
            data = validate(self.config, select=select, exclude=exclude, clock=self.clock)
        return Result(command="validate", data=data)

    def test(self, *, select: Sequence[str] = (), exclude: Sequence[str] = ()) -> Result:
        """Run the tests of models, `NAME.test.yml` beside `NAME.sql`, without a network.

        Args:
            select: As of `plan`.
            exclude: As of `plan`.

        Returns:
            Exit code 1 if a test fails, and 2 if a file of tests or a model is wrong.
        """
        from tailrace.model_tests.runner import test_models

        with self._former_audiences():
            done = test_models(self.config, select=select, exclude=exclude, clock=self.clock)
        return Result(
            command="test", exit_code=done.exit_code, data=done.as_dict(), errors=done.errors
        )

    def ls(
        self,
        *,
        select: Sequence[str] = (),
        exclude: Sequence[str] = (),
        manifest: Path | str | None = None,
    ) -> Result:
        """The models in the order in which they are built, and the errors of the others.

        Args:
            select: As of `plan`.
            exclude: As of `plan`.
            manifest: Write the fingerprints of all models to this file, for `state:modified`.

        Raises:
            tailrace.errors.UserError: No model can be listed.
        """
        from tailrace.models.manifest import write_manifest
        from tailrace.reporting.selection import select_usable

        with self._former_audiences():
            selected = select_usable(self.config, select, exclude)
        if manifest is not None:
            write_manifest(selected.models, Path(manifest).absolute())
        return Result(
            command="ls",
            exit_code=int(bool(selected.errors)),
            data={"models": [listed_model(model) for model in selected.chosen]},
            errors=selected.errors,
        )

    def deploy(self, *, force: bool = False, dry_run: bool = False) -> Result:
        """Write the workflows of GitHub Actions: a scheduled run, and the plan of a pull request.

        Args:
            force: Overwrite workflows that Tailrace has not written.
            dry_run: Only return what would be written.

        Raises:
            tailrace.errors.ConfigurationError: A workflow is there that Tailrace has not written.
        """
        from tailrace.deploy.files import changed_files, deployment_of, repository_of

        deployment = deployment_of(self.config)
        root = repository_of(self.config.root)
        changed = changed_files(deployment, root, force=force, write=not dry_run)
        data = {"dry_run": dry_run, **deployment.as_dict(), "changed": list(changed)}
        return Result(command="deploy", data=data)

    def dbt_exposures(
        self,
        *,
        select: Sequence[str] = (),
        exclude: Sequence[str] = (),
        out: Path | str | None = None,
        check: bool = False,
    ) -> Result:
        """Describe the audiences that read models of dbt as exposures, as YAML and as objects.

        Args:
            select: As of `plan`.
            exclude: As of `plan`.
            out: Write the YAML to this file.
            check: Write nothing, and raise if the file differs.

        Raises:
            tailrace.errors.DbtManifestInvalid: dbt's manifest cannot be read.
            tailrace.errors.DbtExposuresOutdated: The file differs, and `check` is set.
        """
        from tailrace.destinations.registry import project_models
        from tailrace.reporting.dbt_exposures import exposures

        models = project_models(self.config)
        chosen = models.select(select, exclude)
        file = None if out is None else Path(out).absolute()
        data = exposures(self.config, models, chosen, file=file, check=check)
        return Result(command="dbt", data=data)

    def tracking_plan(
        self,
        *,
        select: Sequence[str] = (),
        exclude: Sequence[str] = (),
        out: Path | str | None = None,
    ) -> Result:
        """Draft a tracking plan of what the audiences send, as YAML and as an object.

        Args:
            select: As of `plan`.
            exclude: As of `plan`.
            out: Write the YAML to this file. A `tracking_plan.yaml` in the project is enforced.
        """
        from tailrace.reporting.selection import select_usable
        from tailrace.reporting.tracking_plan_draft import draft

        with self._former_audiences():
            selected = select_usable(self.config, select, exclude)
        file = None if out is None else Path(out).absolute()
        data = draft(self.config, selected, file=file, clock=self.clock)
        code = int(bool(selected.errors))
        return Result(command="tracking-plan", exit_code=code, data=data, errors=selected.errors)

    def _by_state(self, models: Models, value: str) -> Collection[str]:
        from tailrace.models.manifest import select_by_state

        return select_by_state(models, value, self._manifest)

    def _by_result(self, models: Models, value: str) -> Collection[str]:
        from tailrace.reporting.selection import select_by_result

        audiences: Sequence[Mapping[str, Any]] = ()
        with suppress(NothingLanded):
            audiences = self._read("status")["audiences"]
        return select_by_result(audiences, value)

    def _opened_state(self) -> Opened:
        from tailrace.state.session import Opened
        from tailrace.warehouse.opening import duckdb_engine

        return Opened(project=self.config, clock=self.clock, engine=duckdb_engine())

    def _described_state(self) -> dict[str, Any]:
        from tailrace.state.session import describe

        return describe(self.config, clock=self.clock)

    def _require_state_url(self) -> None:
        if self.config.settings.state_url is None:
            raise NothingSelected(
                "The project has no state_url",
                hint="Set state_url under [tailrace] in .dlt/config.toml: docs/how-to/state.md",
            )

    def _models(self) -> Models:
        from tailrace.destinations.registry import project_models

        return project_models(self.config)

    def _objects(self, select: Sequence[str], exclude: Sequence[str]) -> tuple[str, ...]:
        from tailrace.models.objects import select_objects

        with self._former_audiences():
            return select_objects(self._models, self.config.salesforce().objects, select, exclude)

    @contextmanager
    def _observers(self, command: str) -> Iterator[Observers]:
        """What a run calls at its beginning and its end, and what hears of its errors."""
        observers: list[RunObserver] = []
        with ExitStack() as stack:
            # Most projects have neither, and do not pay for importing them.
            if self.config.alerts().urls:
                from tailrace.alerts.observer import alerting

                observers += stack.enter_context(alerting(self.config, command, clock=self.clock))
            if is_switched_on(self.config.environ):
                from tailrace.lineage_events.observer import emitting

                observers += stack.enter_context(emitting(self.config, clock=self.clock))
            yield tuple(observers)

    def _read(self, name: str, **arguments: Any) -> dict[str, Any]:
        """Read from the warehouse, or from the run that has its file open."""
        from tailrace.reporting.reads import read

        return read(self.config, name, clock=self.clock, **arguments)

    @contextmanager
    def _former_audiences(self) -> Iterator[None]:
        """Say so if a selected name is an audience of the ledger whose file was deleted."""
        try:
            yield
        except NothingSelected as error:
            from tailrace.reporting.selection import with_ledger_names

            if error.unknown is None:
                raise
            raise with_ledger_names(error, self._names_in_ledger()) from None

    def _names_in_ledger(self) -> frozenset[str]:
        with suppress(TailraceError):
            return frozenset(self._read("audience_names")["names"])
        return frozenset()


def _plan_options(allow: Sequence[tuple[str, str]], *, intent: str) -> PlanOptions:
    from tailrace.plan.policy import PlanOptions

    return PlanOptions(allow=frozenset(allow), intent=intent)  # type: ignore[arg-type]


def _result_of(done: RunResult) -> Result:
    data = done.as_dict()
    del data["errors"]
    return Result(command=done.command, exit_code=done.exit_code, data=data, errors=done.errors)
