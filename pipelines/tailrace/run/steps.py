"""The steps of a run after its extract: build, plan, deliver, advance; retire and replay.

`runner` imports them for a run that has something to do: what they import takes longer than a run
without news.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any, Protocol

from tailrace.audience.audience import Audience
from tailrace.config.project import ProjectConfig, did_you_mean
from tailrace.errors import MissingCredential, NothingSelected, ResendRefused, TailraceError
from tailrace.ledger.ledger import Ledger
from tailrace.ledger.runs import Run
from tailrace.models.loader import Models
from tailrace.plan.plan import AudienceFailure, AudiencePlan, Plan
from tailrace.plan.planner import Planner, syncs_of
from tailrace.plan.side_by_side import release_plan_tables
from tailrace.run import notices, review
from tailrace.run.build import build
from tailrace.run.delivery import (
    DeliveryResult,
    unfinished_deliveries,
)
from tailrace.run.dispatch import Dispatch
from tailrace.run.notices import Notice
from tailrace.run.phases import Phases, Progress
from tailrace.run.planned_delivery import Delivery, Terms
from tailrace.run.receipt import verify_receipt
from tailrace.run.replay import Replay, catch_up, save_replay
from tailrace.run.result import Progressing
from tailrace.run.saving import save_all
from tailrace.run.work import Job, Work
from tailrace.warehouse.memory import MemoryLimit, sending_megabytes


class Running(Protocol):
    """The parts of a run that its steps use; see `run.runner.Runner`."""

    ledger: Ledger
    project: ProjectConfig
    work: Work
    job: Job
    begun: Run
    memory_limit: MemoryLimit
    progress: Progress | None
    phases: Phases
    done: Progressing


class Steps:
    """The steps of one run. They read the run's parts, and add to its result."""

    def __init__(self, runner: Running) -> None:
        self.runner = runner
        self.ledger = runner.ledger
        self.project = runner.project
        self.work = runner.work
        self.job = runner.job
        self.begun = runner.begun
        self.memory_limit = runner.memory_limit
        self.progress = runner.progress
        self.phases = runner.phases
        # The accepted messages of a resumed delivery were received at the time of that attempt.
        self.since = runner.begun.started_at

    @property
    def done(self) -> Progressing:
        """The result of the run so far."""
        return self.runner.done

    @done.setter
    def done(self, done: Progressing) -> None:
        self.runner.done = done

    def sync(self, models: Models) -> None:
        selected = self.work.selected
        reviewed = self.job.reviewed
        audiences = [audience for _, audience in syncs_of(selected)]
        header_notices = list(notices.of_headers(model.audience for model in selected))
        before = len(self.done.notices)
        self.done = self.done.with_notices(header_notices)
        with self._dispatch() as dispatch:
            blocked = self._finish_earlier_runs(dispatch)
            waiting = [a for a in audiences if a.ledger_key in blocked or _fails(dispatch, a)]
            self.done = replace(self.done, blocked=tuple(waiting))
            if reviewed is not None and waiting:
                # A reviewed plan is carried out completely or not at all.
                return
            now = reviewed.planned_at if reviewed else self.begun.started_at
            with self.phases.phase("build"):
                built = build(
                    self.ledger.warehouse,
                    models,
                    selected,
                    now=now,
                    progress=_named(self.progress, "build"),
                )
            planner = self._planner(models, now=now, build=built)
            idle = [a for a in audiences if not self._concerns(a)]
            with self.phases.phase("plan") as counts:
                plan = planner.plan(selected, without={a.ledger_key for a in (*waiting, *idle)})
                counts["audiences"] = len(plan.audiences)
                for op in ("entered", "changed", "exited"):
                    counts[op] = sum(getattr(audience, op) for audience in plan.audiences)
                counts["held"] = sum(audience.status == "held" for audience in plan.audiences)
            if reviewed is not None and not plan.errors:
                review.require(plan, reviewed, engine=self.ledger.warehouse.engine_version)
            if self._carry_out(dispatch, plan):
                self._forget_events(plan, planner, now=now)
        if self.work.unchanged is not None and self.done.notices[before:] == tuple(header_notices):
            self.work.unchanged.keep(
                self.ledger,
                self.work,
                self.done,
                tables=planner.table_hashes,
                notices=header_notices,
            )

    def _forget_events(self, plan: Plan, planner: Planner, *, now: datetime) -> None:
        """Forget the keys of events that no run will read again."""
        for planned in plan.audiences:
            log = planned.audience.log
            if log is not None and planned.delivered is not None:
                self.ledger.deliveries.forget_events(
                    planned.ledger_key,
                    log.timestamp,
                    before=log.forgets_before(now),
                    key=planned.audience.key,
                    read=partial(planner.bound_models.rows_of, planned),
                )

    def _concerns(self, audience: Audience) -> bool:
        """A retry concerns audiences with open rejections only."""
        return (
            self.job.options.intent != "retry"
            or self.ledger.deliveries.unresolved_counts(audience.ledger_key)[0] > 0
        )

    def retire(self, name: str) -> None:
        with self._dispatch() as dispatch:
            blocked = self._finish_earlier_runs(dispatch)
            rows = [
                row
                for row in self.ledger.audiences.statuses()
                if name in (row["audience"], row["sync"])
            ]
            if not rows:
                names = [str(row["audience"]) for row in self.ledger.audiences.statuses()]
                raise NothingSelected(
                    f'The ledger has no audience "{name}".{did_you_mean(name, names)}'
                )
            planner = self._planner(Models(by_name={}), now=self.begun.started_at)
            audiences = [
                plan
                for row in rows
                if (plan := self._leaving(planner, row)) and plan.ledger_key not in blocked
                if not _fails(dispatch, plan.audience)
            ]
            run_seq, now = self.begun.seq, self.begun.started_at
            exits = Plan(planned_at=now, run_seq=run_seq, audiences=tuple(audiences))
            self._carry_out(dispatch, exits)
            planned = {plan.ledger_key for plan in audiences}
            for result in self.done.deliveries:
                if not result.rejected and not result.resumed:
                    self.ledger.audiences.retire(result.sync_key)
            unfinished = {d.audience.ledger_key for d in unfinished_deliveries(self.ledger)}
            for sync_key in {str(row["sync"]) for row in rows} - planned - blocked - unfinished:
                # A sync that was always held sent nothing.
                if self.ledger.audiences.last_delivered(sync_key) is None:
                    self.ledger.audiences.retire(sync_key)

    def replay(self, asked: Replay) -> None:
        model = self.work.models.by_name.get(asked.audience) if self.work.models else None
        audience = model.audience if model is not None else None
        destinations = {sync.destination_name for sync in audience.syncs()} if audience else set()
        if asked.destination not in destinations:
            notice = Notice(
                message=f"{asked.audience}: its header does not name {asked.destination}, which "
                "receives no further changes until it does",
                hint=f"destination: [{', '.join(sorted({*destinations, asked.destination}))}]",
                audience=asked.audience,
            )
            self.done = self.done.with_notices([notice])
        with self._dispatch() as dispatch:
            blocked = self._finish_earlier_runs(dispatch)
            if blocked.intersection(self.ledger.audiences.sync_keys_of(asked.audience)):
                # Its members are known only after the pending delivery.
                return
            self._deliver(dispatch, save_replay(self.ledger, self.begun, asked))
            if not dispatch.failures and asked.history:
                catch_up(self.ledger, asked)

    def _leaving(self, planner: Planner, row: Mapping[str, Any]) -> AudiencePlan | None:
        delivered = self.ledger.audiences.last_delivered(str(row["sync"]))
        if delivered is None:
            return None
        # A rename changes the ledger; the recorded mapping still has the earlier name.
        earlier = replace(Audience.from_mapping(delivered.mapping), retiring=True)
        sync = replace(earlier, name=str(row["audience"])).for_destination(str(row["destination"]))
        return planner.retirement(sync, delivered)

    @contextmanager
    def _dispatch(self) -> Iterator[Dispatch]:
        terms = Terms(salt=self.project.settings.salt, rules=self.work.rules)
        dispatch = Dispatch(
            self.ledger,
            self.work.destinations,
            terms=terms,
            memory_limit=self.memory_limit,
            progress=_named(self.progress, "send"),
        )
        with dispatch:
            try:
                yield dispatch
            finally:
                self.done = self.done.with_errors(dispatch.errors())
            warnings, missing = verify_receipt(
                self.done.deliveries,
                dispatch.known,
                project=self.project,
                since=self.since,
                clock=self.ledger.clock,
            )
            self.done = self.done.with_notices([*dispatch.notices(), *warnings]).with_errors(
                missing
            )

    def _planner(self, models: Models, **options: Any) -> Planner:
        return Planner(
            self.ledger,
            models,
            options=self.job.options,
            destinations=self.work.destinations,
            run_seq=self.begun.seq,
            memory_limit=self.memory_limit,
            progress=_named(self.progress, "plan"),
            estimates_requests=False,
            **options,
        )

    def _carry_out(self, dispatch: Dispatch, plan: Plan) -> bool:
        """Save and deliver a plan; False if it is a reviewed one that has errors."""
        plan = self._accepted(dispatch, plan)
        if self.job.reviewed is not None and plan.errors:
            # A reviewed plan is carried out completely or not at all.
            self.done = self.done.with_errors(plan.errors)
            return False
        self.done = replace(self.done, plan=plan)
        changed = [audience for audience in plan.audiences if not audience.skipped]
        saved = save_all(
            self.ledger,
            self.begun,
            changed,
            options=self.job.options,
            memory_limit=self.memory_limit,
        )
        release_plan_tables(self.ledger.warehouse)
        held = {audience.ledger_key for audience in plan.audiences if audience.status == "held"}
        for delivery in saved:
            if delivery.finished:
                self.done = self.done.with_delivery(DeliveryResult.of_nothing(delivery))
        pending = [delivery for delivery in saved if not delivery.finished]
        self._deliver(dispatch, [d for d in pending if d.audience.ledger_key not in held])
        return True

    def _accepted(self, dispatch: Dispatch, plan: Plan) -> Plan:
        """The plan without audiences whose header their receiver refuses: they are not saved.

        Once saved, changes are sent as their header was, so that a correction would come too late.
        """
        sent = [a for a in plan.audiences if a.planned and not a.skipped and a.status != "held"]
        refused = dispatch.refused_headers([planned.audience for planned in sent])
        if not refused:
            return plan
        failures = (
            AudienceFailure(audience=planned.audience, error=refused[planned.ledger_key])
            for planned in sent
            if planned.ledger_key in refused
        )
        return replace(
            plan,
            audiences=tuple(a for a in plan.audiences if a.ledger_key not in refused),
            failures=(*plan.failures, *failures),
        )

    def _finish_earlier_runs(self, dispatch: Dispatch) -> set[str]:
        """Resume pending deliveries. Returns the audiences whose delivery is refused as too old."""
        ready: list[Delivery] = []
        refused: set[str] = set()
        for delivery in unfinished_deliveries(self.ledger):
            if self._is_left(dispatch, delivery):
                continue
            error = None if self.job.resend else self._too_old(dispatch, delivery)
            if error is None:
                ready.append(delivery)
                self.since = min(self.since, delivery.written_at or self.since)
            else:
                refused.add(delivery.audience.ledger_key)
                self.done = self.done.with_errors([error])
        # A later run of an audience depends on the delivery of an earlier one.
        self._deliver(dispatch, [d for d in ready if d.audience.ledger_key not in refused])
        return refused

    def _is_left(self, dispatch: Dispatch, delivery: Delivery) -> bool:
        """Whether a pending delivery stays pending, for want of a credential that this job needs
        for nothing else."""
        if delivery.destination in self.work.destinations or self._is_about(delivery.audience):
            return False
        try:
            dispatch.settings(delivery.destination)
        except MissingCredential as error:
            notice = Notice(
                message=f"{delivery.audience.name}: changes of an earlier run to "
                f"{delivery.destination} stay pending, because {error.message}",
                hint=error.hint,
                audience=delivery.audience.name,
            )
            self.done = self.done.with_notices([notice])
            return True
        except TailraceError:
            # The delivery reports it.
            return False
        return False

    def _is_about(self, audience: Audience) -> bool:
        """Whether the job plans, closes or copies an audience: its deliveries have to end first."""
        job = self.job
        if job.options.intent == "retry":
            return self._concerns(audience)
        if job.retire is not None:
            return job.retire in (audience.name, audience.ledger_key)
        if job.replay is not None:
            return audience.name == job.replay.audience
        is_partial = bool(job.select or job.exclude)
        return not is_partial or any(
            selected.name == audience.name for _, selected in syncs_of(self.work.selected)
        )

    def _too_old(self, dispatch: Dispatch, delivery: Delivery) -> TailraceError | None:
        settings = dispatch.known_settings(delivery.destination)
        if settings is None or delivery.written_at is None:
            return None
        pending = self.ledger.deliveries.pending_count(
            delivery.run_seq, delivery.audience.ledger_key
        )
        age = self.ledger.clock.now() - delivery.written_at
        hours = age.total_seconds() / 3_600
        if not pending or hours <= settings.resend_hours_max:
            return None
        return ResendRefused(
            f"{delivery.audience.name}: a run of {hours:,.0f} hours ago was not finished, and up "
            f"to {pending:,} of its members may have reached {delivery.destination}, which no "
            "longer recognises their ids",
            hint="Send them, with possible duplicates, with: --resend",
        )

    def _deliver(self, dispatch: Dispatch, deliveries: Sequence[Delivery]) -> None:
        if not deliveries:
            return
        # What leaves now is planned in the stored state, so that every machine can finish it.
        self.ledger.warehouse.save_state()
        megabytes = sending_megabytes(max(delivery.columns for delivery in deliveries))
        low_memory = self.memory_limit.low_memory(megabytes)
        with self.phases.phase("deliver") as counts, low_memory:
            counts |= {"members": 0, "messages": 0, "rejected": 0}
            for result in dispatch.deliver(deliveries):
                self.done = self.done.with_delivery(result)
                counts["members"] += result.sent
                counts["messages"] += result.calls
                counts["rejected"] += result.rejected


def _fails(dispatch: Dispatch, audience: Audience) -> bool:
    return audience.destination_name in dispatch.failures


def _named(progress: Progress | None, phase: str) -> Progress | None:
    if progress is None:
        return None
    return lambda name, done, total: progress(f"{phase} {name}", done, total)
