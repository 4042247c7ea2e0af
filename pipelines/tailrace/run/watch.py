"""`run --watch`: extract and sync in cycles, in one process, under one lock and with one login.

A cycle asks Salesforce one question an object. Where no object has news, no model runs, and nothing
is written but a counter. A cycle with news is a run like any other, with a row in the ledger, so
that a process that was killed is finished by the next run of any kind.
"""

from __future__ import annotations

import hashlib
import logging
import random
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tailrace.clock import Clock
from tailrace.config.project import ProjectConfig
from tailrace.dataclass import dataclass
from tailrace.errors import (
    WATCH_PREFIX,
    ConfigurationError,
    LeaseLost,
    LedgerTooNew,
    LockHeld,
    MemoryShort,
    ReceiverChanged,
    SeveralUnknown,
    StatementRefused,
    StateStoreFailed,
    StateTooNew,
    TailraceError,
    UnknownField,
    UnknownObject,
    UserError,
    WarehouseFailed,
)
from tailrace.ledger.ledger import Ledger
from tailrace.ledger.runs import Run
from tailrace.ledger.watches import Cycles
from tailrace.retry import RetryPolicy
from tailrace.run.job import compact, open_ledger, prepare, start_run
from tailrace.run.observer import Observers
from tailrace.run.phases import Progress
from tailrace.run.read_endpoint import NO_READS, Reads, serve_reads
from tailrace.run.result import RunResult
from tailrace.run.work import Job, Work
from tailrace.salesforce.client import Api, Login
from tailrace.salesforce.describe import describe_object, read_describe
from tailrace.salesforce.extract.news import Changed, Question, ask_for_news
from tailrace.warehouse.memory import MemoryLimit
from tailrace.warehouse.opening import open_warehouse
from tailrace.warehouse.table_versions import TableVersions

if TYPE_CHECKING:
    from tailrace.state.store import Store

log = logging.getLogger(__name__)

# A run of everything, news or not: audiences that read the clock change without a row that changes,
# rows are deleted without a trace, and formulas are refreshed.
FULL_CYCLE_SECONDS_MAX = 3_600.0
# The longest pause between two cycles that failed, before jitter.
BACKOFF_SECONDS_MAX = 900.0
# How often cycles without news are saved in the ledger.
IDLE_SAVED_SECONDS = 60.0
# What does not pass by waiting. Errors of models hold their audiences until the file is edited.
ENDING_ERRORS = (
    ConfigurationError,
    LedgerTooNew,
    StateTooNew,
    ReceiverChanged,
    UnknownObject,
    UnknownField,
    SeveralUnknown,
)


@dataclass(frozen=True, kw_only=True)
class WatchResult:
    """How a process ended.

    Attributes:
        watch_id: Its name in the lock and in the ledger.
        exit_code: 0 at the end of its time or after a signal between two cycles.
        cycles: Its cycles.
        last: The result of its last run; None if there was none.
        errors: What ended it before its time.
    """

    watch_id: str
    exit_code: int
    cycles: Cycles
    last: RunResult | None = None
    errors: tuple[TailraceError, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The result of the last run, with the cycles as `watch`."""
        counts = {
            "watch_id": self.watch_id,
            "cycles": self.cycles.count,
            "idle_cycles": self.cycles.idle,
            "failed_cycles": self.cycles.failed,
            "error": self.cycles.error,
        }
        last = {} if self.last is None else self.last.as_dict()
        return {**last, "watch": counts}


class _Reopen(Exception):
    """The warehouse or the store of the state failed, and is opened again after a pause."""


class Watch:
    """The cycles of one process.

    Args:
        project: The project. Its settings are read once, its models again when a file changes.
        job: What each run does.
        every_seconds: From the start of a cycle to the next one. A cycle that takes longer skips
            the ones in between.
        seconds_max: The last cycle starts no later than this; None never ends.
        on_run: Called with the result of each run.
        reads: As of `carry_out`.
        observers: Called at the beginning and the end of each run.
        jitter: Random numbers between 0 and 1, for pauses after failures.
        store: As of `open_warehouse`.
    """

    def __init__(
        self,
        project: ProjectConfig,
        job: Job,
        *,
        clock: Clock,
        every_seconds: float,
        seconds_max: float | None = None,
        progress: Progress | None = None,
        on_run: Callable[[RunResult], None] = lambda result: None,
        reads: Reads = NO_READS,
        observers: Observers = (),
        jitter: Callable[[], float] = random.random,
        store: Store | None = None,
    ) -> None:
        self.project = project
        self.job = job
        self.clock = clock
        self.every_seconds = every_seconds
        self.progress = progress
        self.on_run = on_run
        self.reads = reads
        self.observers = observers
        self.jitter = jitter
        self.store = store
        self.suffix, self.owner = secrets.token_hex(2), secrets.token_hex(8)
        self.watch_id = f"{WATCH_PREFIX}{self.suffix}"
        self.cycles = Cycles()
        self.last: RunResult | None = None
        self._login = Login()
        self._started = clock.monotonic()
        self._until = None if seconds_max is None else self._started + seconds_max
        self._failures = 0
        self._saved_at = self._started
        self._is_started = False
        self._full_at = self._started
        self._files = self._fingerprint()
        self._work: Work = prepare(project, job)
        # The error of the last edit, while nothing can be planned.
        self._broken: UserError | None = None
        self._is_stopped = False
        self._watermarks: Mapping[str, datetime | None] | None = None
        self._cursors: dict[str, str | None] = {}
        # The last answers about objects whose rows had all landed after them.
        self._landed: Mapping[str, Changed] = {}
        self._policy = RetryPolicy(
            attempts_max=1,
            backoff_seconds=every_seconds,
            backoff_seconds_max=max(every_seconds, BACKOFF_SECONDS_MAX),
        )

    def run(self) -> WatchResult:
        """Watch until the end of the time, a signal, or an error that waiting does not correct.

        Raises:
            LockHeld: Another run holds the lock.
            UserError: The project has to be changed first.
            TailraceError: The warehouse cannot be opened for the first time.
        """
        while True:
            try:
                with self._opened() as ledger:
                    return self._watch(ledger)
            except _Reopen:
                pass
            except (WarehouseFailed, StateStoreFailed) as error:
                if not self._is_started:
                    raise
                self._count_failure(error)
                log.error("%s", error.message)
                self._not_started(None, error)
            if not self._wait():
                return self._ended()

    @contextmanager
    def _opened(self) -> Iterator[Ledger]:
        """The locked ledger. Other processes may ask about it for the length of the block."""
        clock = self.clock
        with open_warehouse(
            self.project, clock=clock, store=self.store, run_id=self.watch_id
        ) as warehouse:
            warehouse.landing_folder = self.project.state_folder.absolute()
            warehouse.is_watched = True
            if warehouse.engine.single_writer:
                warehouse.table_versions = TableVersions(self.project.settings.dataset)
            with open_ledger(
                warehouse, owner=self.owner, run_id=self.watch_id, clock=clock
            ) as ledger:
                self._memory_limit = MemoryLimit(warehouse)
                shown = Run(
                    seq=0, id=self.watch_id, command=self.job.command, started_at=clock.now()
                )
                with serve_reads(
                    warehouse,
                    self.reads,
                    run=shown,
                    memory_limit=self._memory_limit,
                    clock=clock,
                ):
                    yield ledger

    def _watch(self, ledger: Ledger) -> WatchResult:
        if not self._is_started:
            ledger.watches.start(self.watch_id, every_seconds=self.every_seconds)
            self._is_started = True
        try:
            result = self._cycle_until_end(ledger)
        except (_Reopen, WarehouseFailed, StateStoreFailed):
            raise
        except BaseException:
            self._end(ledger)
            raise
        self._end(ledger)
        return result

    def _cycle_until_end(self, ledger: Ledger) -> WatchResult:
        while True:
            try:
                answers = self._begin(ledger)
            except KeyboardInterrupt:
                return self._ended(is_stopped=True)
            if self._broken is not None:
                self.cycles.failed += 1
                self.cycles.error = type(self._broken).__name__
            elif answers is None:
                self.cycles.idle += 1
            else:
                ending = self._carry_out(ledger, answers)
                if ending is not None:
                    return ending
            self._save(ledger, is_due=answers is not None)
            if not self._wait():
                return self._ended()

    def _begin(self, ledger: Ledger) -> Mapping[str, Changed] | None:
        """Begin a cycle: read edited files, and ask for news.

        Returns:
            What Salesforce answered, if there is something to do; else None.
        """
        self.cycles.count += 1
        self.cycles.last_at = self.clock.now()
        ledger.warehouse.require_lease()
        now = self.clock.monotonic()
        is_due = self._read_edited(ledger) or self._failures > 0 or now >= self._full_at
        answers = self._ask(ledger)
        if answers is None:
            return {}
        if is_due or any(
            answer.is_news(self._landed.get(name)) for name, answer in answers.items()
        ):
            return answers
        return None

    def _carry_out(self, ledger: Ledger, answers: Mapping[str, Changed]) -> WatchResult | None:
        """Carry out a run. Returns the result of this process if the run ends it."""
        result = self._run(ledger)
        self.last = result
        self._watermarks = None
        self._full_at = self.clock.monotonic() + FULL_CYCLE_SECONDS_MAX
        self.on_run(result)
        errors = [entry for error in result.errors for entry in error.flattened()]
        for code, kinds in ((2, ENDING_ERRORS), (LockHeld.exit_code, (LockHeld,))):
            if any(isinstance(error, kinds) for error in errors):
                self._count_failure(errors[0])
                return WatchResult(
                    watch_id=self.watch_id,
                    exit_code=code,
                    cycles=self.cycles,
                    last=result,
                    errors=result.errors,
                )
        # What a model does wrong is wrong until it is edited, and holds its own audience only.
        lasting = errors and all(isinstance(error, UserError) for error in errors)
        if result.exit_code != 1 or lasting:
            self._failures, self.cycles.error = 0, None
            complete = {str(entry["object"]) for entry in result.objects if entry["complete"]}
            self._landed = {name: changed for name, changed in answers.items() if name in complete}
            return None
        self._count_failure(errors[0] if errors else None)
        if any(_is_lost(error) for error in errors):
            raise _Reopen
        return None

    def _run(self, ledger: Ledger) -> RunResult:
        runner = start_run(
            ledger,
            self._work,
            suffix=self.suffix,
            memory_limit=self._memory_limit,
            progress=self.progress,
            login=self._login,
        )
        for observer in self.observers:
            observer.started(ledger, self._work, runner.begun)
        result = runner.run()
        for observer in self.observers:
            result = observer.finished(ledger, self._work, result)
        compact(ledger, runner.begun)
        warehouse, failed = ledger.warehouse, None
        if warehouse.state is None:
            if warehouse.engine.single_writer:
                # dlt defers checkpoints to the end of the process, and memory holds what is new.
                with suppress(WarehouseFailed):
                    warehouse.run("warehouse/checkpoint")
            return result
        try:
            warehouse.save_state()
        except (StateStoreFailed, LeaseLost) as error:
            failed = None if any(isinstance(e, type(error)) for e in result.errors) else error
            for observer in self.observers:
                observer.state_not_stored(error)
        else:
            for observer in self.observers:
                observer.state_stored()
        return result.with_state(warehouse.state.as_dict(), failed)

    def _read_edited(self, ledger: Ledger) -> bool:
        """Read the project's files again if one was edited. Returns whether one was."""
        files = self._fingerprint()
        if files == self._files:
            return False
        self._files = files
        try:
            self._work, self._broken = prepare(self.project, self.job), None
        except UserError as error:
            # Nothing can be planned without the files; the next edit may correct them.
            self._broken = error
            log.error("%s. Nothing is sent until it is corrected. %s", error.message, error.hint)
            self._not_started(ledger, error)
        else:
            log.info("the project's files were edited, and read again")
        return True

    def _not_started(self, ledger: Ledger | None, error: TailraceError) -> None:
        for observer in self.observers:
            observer.not_started(ledger, error)

    def _fingerprint(self) -> str:
        """The content of the models and of the tracking plan."""
        digest = hashlib.sha256()
        folder = self.project.models_folder
        for file in (*sorted(folder.rglob("*")), self.project.tracking_plan_file):
            with suppress(OSError):
                content = hashlib.sha256(file.read_bytes()).hexdigest()
                digest.update(f"{file} {content}\n".encode())
        return digest.hexdigest()

    def _ask(self, ledger: Ledger) -> Mapping[str, Changed] | None:
        """What Salesforce answers about each object; None where only an extract can find out."""
        if self._broken is not None:
            return None
        if self._watermarks is None:
            self._watermarks = ledger.extracts.watermarks()
        settings = self.project.salesforce()
        landed = {name.lower(): name for name in self._watermarks}
        if any(name.lower() not in landed for name in settings.objects):
            return None
        names = [landed[name.lower()] for name in settings.objects]
        api = Api(
            self.project.salesforce_credentials(), settings, clock=self.clock, login=self._login
        )
        with closing(api):
            try:
                for name in names:
                    if name not in self._cursors:
                        described = describe_object(api, name)
                        of_object = settings.of(name)
                        sobject = read_describe(described, of_object, formula=settings.formula)
                        self._cursors[name] = sobject.cursor
                questions = [
                    Question(
                        object=name, cursor=self._cursors[name], watermark=self._watermarks[name]
                    )
                    for name in names
                ]
                return ask_for_news(api, questions, in_flight_max=settings.objects_in_flight_max)
            except TailraceError as error:
                # The run makes the same calls, and records what is wrong.
                log.info("no answer about news: %s", error.message)
                return None

    def _wait(self) -> bool:
        """Wait for the next cycle. Returns False at the end of the time, or after a signal."""
        now = self.clock.monotonic()
        elapsed = now - self._started
        due = self._started + (elapsed // self.every_seconds + 1) * self.every_seconds
        if self._failures:
            due = max(due, now + self._policy.pause_seconds(self._failures, None, self.jitter()))
        if self._until is not None and due > self._until:
            return False
        try:
            self.clock.sleep(due - now)
        except KeyboardInterrupt:
            self._is_stopped = True
        return not self._is_stopped

    def _count_failure(self, error: TailraceError | None) -> None:
        self._failures += 1
        self.cycles.failed += 1
        self.cycles.error = type(error).__name__ if error is not None else "failed"

    def _save(self, ledger: Ledger, *, is_due: bool) -> None:
        now = self.clock.monotonic()
        if is_due or now - self._saved_at >= IDLE_SAVED_SECONDS:
            ledger.watches.save(self.watch_id, self.cycles)
            self._saved_at = now

    def _end(self, ledger: Ledger) -> None:
        """Save the end of this process, if the warehouse takes it."""
        with suppress(TailraceError):
            ledger.watches.save(self.watch_id, self.cycles)
            ledger.watches.end(self.watch_id)

    def _ended(self, *, is_stopped: bool = False) -> WatchResult:
        """The result at the end of the time, or after a signal between two cycles."""
        is_failed = self._failures > 0 and not (is_stopped or self._is_stopped)
        return WatchResult(
            watch_id=self.watch_id,
            exit_code=int(is_failed),
            cycles=self.cycles,
            last=self.last,
            errors=self.last.errors if is_failed and self.last is not None else (),
        )


def _is_lost(error: TailraceError) -> bool:
    """Whether the session with the warehouse cannot be used any more."""
    return isinstance(error, WarehouseFailed) and not isinstance(
        error, StatementRefused | MemoryShort
    )
