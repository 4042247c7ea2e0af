"""One numbered run: carries out the steps of a job and collects its result."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from tailrace.audience.blocks import DEFAULT_TYPE
from tailrace.config.settings import SalesforceCredentials
from tailrace.errors import ExtractIncomplete, TailraceError, WarehouseFailed
from tailrace.ledger.ledger import Ledger
from tailrace.ledger.runs import Latency, Run
from tailrace.run.notices import Notice
from tailrace.run.phases import Phases, Progress
from tailrace.run.result import Progressing, RunResult, object_entry
from tailrace.run.unchanged import hand_on, is_handed_on
from tailrace.run.work import Work
from tailrace.warehouse.memory import MemoryLimit

if TYPE_CHECKING:
    from tailrace.salesforce.client import Login
    from tailrace.salesforce.extract.facts import ExtractResult, ObjectFacts


log = logging.getLogger(__name__)


class Runner:
    """One run, step by step. `done` is its result so far."""

    def __init__(
        self,
        ledger: Ledger,
        work: Work,
        *,
        run: Run,
        memory_limit: MemoryLimit,
        progress: Progress | None,
        login: Login | None = None,
    ) -> None:
        self.ledger = ledger
        self.project = ledger.warehouse.project
        self.work = work
        self.job = work.job
        self.begun = run
        self.memory_limit = memory_limit
        self.progress = progress
        self.login = login
        self.done = Progressing(run_id=run.id, command=work.job.command)
        self.phases = Phases(run.id, work.job.command, ledger.clock)
        self.extracted: ExtractResult | None = None

    def run(self) -> RunResult:
        """Carry out the job and save its result in the ledger."""
        work = self.work
        self.phases.start()
        try:
            if work.salesforce is not None:
                with self.phases.phase("extract") as counts:
                    self._extract(work.salesforce)
                    objects = self.done.objects
                    counts["objects"] = len(objects)
                    counts["rows"] = sum(int(entry["rows"]) for entry in objects)
                    counts["API calls"] = int(self.done.salesforce.get("calls", 0))
            is_unchanged = work.job.deliver and self._is_unchanged()
            if work.job.deliver and not is_unchanged:
                self._deliver()
            self._hand_on_facts(is_unchanged=is_unchanged)
        except TailraceError as raised:
            work.facts.forget()
            self.done = self.done.with_errors(raised.flattened())
        except BaseException as unexpected:
            # An internal error or a signal. The ledger records it if it can.
            with suppress(Exception):
                self._finish(self.done.result(), exit_code=1, error=unexpected)
            raise
        result = self.done.result()
        try:
            self._finish(result, exit_code=result.exit_code, error=next(iter(result.errors), None))
        except WarehouseFailed:
            # The result already has the error that broke the warehouse.
            if not any(isinstance(error, WarehouseFailed) for error in result.errors):
                raise
        self.phases.finish(result.exit_code)
        return result

    def _is_unchanged(self) -> bool:
        """Whether this run equals the earlier run that is expected; its result is then taken."""
        expected = self.work.expected
        if expected is None:
            return False
        with self.phases.phase("build"):
            is_unchanged = (
                not self.done.errors
                and expected.holds_at(self.begun.started_at)
                and expected.has_same_tables(self.ledger, self.extracted, self.work.facts)
            )
        if not is_unchanged:
            self.work = self.work.completed()
            return False
        with self.phases.phase("plan") as counts:
            counts |= expected.counts
        self.done = replace(self.done, unchanged=expected.result).with_notices(expected.notices)
        return True

    def _hand_on_facts(self, *, is_unchanged: bool) -> None:
        """Hand on what is known of the file, if this run changed nothing but its own records."""
        facts, extracted = self.work.facts, self.extracted
        has_planned = self.job.deliver and not is_unchanged
        if (
            extracted is None
            or not extracted.is_idle
            or self.done.result().exit_code
            or (has_planned and not is_handed_on(facts))
        ):
            facts.forget()
            return
        facts.keep("ledger", self.ledger.as_fact())
        if not has_planned:
            hand_on(facts, extracted)

    def _deliver(self) -> None:
        # What the steps import takes longer than a run without news.
        from tailrace.run.steps import Steps

        work, steps = self.work, Steps(self)
        if work.job.retire is not None:
            steps.retire(work.job.retire)
        elif work.job.replay is not None:
            steps.replay(work.job.replay)
        elif work.models is not None:
            steps.sync(work.models)

    def _finish(self, result: RunResult, *, exit_code: int, error: BaseException | None) -> None:
        self.ledger.runs.finish(
            self.begun,
            exit_code=exit_code,
            error=error,
            salesforce_calls=int(self.done.salesforce.get("calls", 0)),
            details={
                "phases": self.phases.seconds,
                "salesforce": dict(self.done.salesforce),
                DEFAULT_TYPE: dict(result.totals),
                "destinations": dict(result.destinations),
            },
            latency=self._latency(),
        )

    def _latency(self) -> Latency | None:
        """The latency of the records that this run extracted and delivered; else None."""
        delivered = {result.sync_key for result in self.done.deliveries if result.sent}
        if not (self.job.extract and delivered and self.work.models):
            return None
        from tailrace.ledger.latency import measure_latency
        from tailrace.plan.planner import syncs_of

        models = self.work.models
        reads = {
            audience.ledger_key: models.objects_read(model.name)
            for model, audience in syncs_of(self.work.selected)
            if audience.ledger_key in delivered
        }
        try:
            return measure_latency(self.ledger, self.begun, reads)
        except WarehouseFailed as error:
            # A figure about a run does not decide how the run ends.
            log.warning("The latency of the run could not be measured: %s", error.message)
            return None

    def _distrust(self, objects: Sequence[tuple[str, str]]) -> None:
        """Record the objects as incomplete until their extract has finished."""
        from tailrace.salesforce.extract.facts import ObjectFacts

        unfinished = ExtractIncomplete("a full refresh of it has not finished")
        self._record(
            [ObjectFacts(object=name, table=table, error=unfinished) for name, table in objects]
        )

    def _record(self, extracted: Sequence[ObjectFacts]) -> None:
        self.ledger.extracts.save_all(
            self.begun,
            [
                {
                    "object": facts.object,
                    "table_name": facts.table,
                    "rows_landed": facts.rows,
                    "window_start": facts.window_start,
                    "window_end": facts.window_end,
                    "watermark": facts.watermark,
                    "complete": facts.complete,
                    "empty": facts.empty,
                    "quarantined": facts.quarantined,
                    "vanished_fields": ",".join(drift.field for drift in facts.drift),
                    "error": facts.error.message if facts.error else None,
                    "seconds": facts.seconds,
                }
                for facts in extracted
            ],
        )

    def _extract(self, credentials: SalesforceCredentials) -> None:
        from tailrace.salesforce.extract.extraction import extract as extract_objects
        from tailrace.salesforce.extract.landing import WarehouseLanding

        try:
            landed = extract_objects(
                WarehouseLanding(self.ledger.warehouse, self.work.facts),
                self.project.salesforce(),
                credentials,
                clock=self.ledger.clock,
                objects=self.job.objects,
                reconcile=self.job.reconcile,
                full_refresh=self.job.full_refresh,
                progress=_rows_of(self.progress),
                before_replacing=self._distrust,
                before_loading=self._require_lock,
                login=self.login,
            )
        except TailraceError:
            # A load fails as well where another run writes the same tables.
            with suppress(WarehouseFailed):
                self._require_lock()
            raise
        self.extracted = landed
        errors = []
        self.ledger.descriptions.save(
            {facts.object: facts.described for facts in landed.objects if facts.described}
        )
        self._record(landed.objects)
        for facts in landed.objects:
            if facts.error is not None:
                errors.append(facts.error)
            elif not facts.complete:
                errors.append(ExtractIncomplete(f"{facts.object} was not extracted completely"))
        warnings = [Notice(message=warning) for warning in landed.warnings]
        self.done = replace(
            self.done.with_errors(errors).with_notices(warnings),
            objects=tuple(object_entry(facts) for facts in landed.objects),
            salesforce={
                "calls": landed.calls_used,
                "quota_used_before": landed.quota_used_before,
                "quota_used": landed.quota_used,
                "quota_max": landed.quota_max,
                "seconds": round(landed.seconds, 1),
            },
        )

    def _require_lock(self) -> None:
        """Check that no other run took the lock, as each transaction of the ledger does.

        Raises:
            LockHeld: Another run has it.
        """
        if not self.ledger.warehouse.engine.has_one_writer:
            with self.ledger.warehouse.transaction():
                pass


def _rows_of(progress: Progress | None) -> Callable[[str, int, int], None] | None:
    """Count the rows of each object as they arrive. Objects are read by several threads."""
    if progress is None:
        return None
    rows: Counter[str] = Counter()
    lock = threading.Lock()

    def arrived(name: str, more: int, expected: int) -> None:
        with lock:
            rows[name] += more
            # More rows may come than were counted.
            total = max(rows[name], expected) if expected else 0
            progress(f"extract {name}", rows[name], total)

    return arrived
