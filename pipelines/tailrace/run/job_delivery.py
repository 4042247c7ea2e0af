"""Delivers many transitions as ingest jobs: one file, one job, the result of each row.

The id of a job is committed to the ledger before its rows are uploaded. A run that finds a job in
the ledger asks for its results before it sends anything again. Rows without a result stay in the
outbox; the requests of the usual delivery send them afterwards.
"""

from __future__ import annotations

import logging
import uuid
from array import array
from collections.abc import Callable, Generator, Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Protocol, TypeVar

from tailrace.destinations.batching import Acknowledged, Rejected, Verdict
from tailrace.destinations.ingest import IngestJobs, JobFile
from tailrace.destinations.messages import MemberMessages
from tailrace.ledger.jobs import WriteJob
from tailrace.ledger.ledger import Ledger
from tailrace.run.member_messages import LinePage, OutboxMessages

log = logging.getLogger(__name__)

# Rows are read from the outbox between two turns of the caller.
ROWS_PER_STEP = 2_000
# Results are read between two turns.
RESULTS_PER_STEP = 20_000
# A job that processed nothing would process nothing again.
JOBS_WITHOUT_PROGRESS_MAX = 2
# So many rows without a result are sent by requests; more of them by another job.
LEFT_TO_REQUESTS_MAX = 2_000

T = TypeVar("T")


class InBackground(Protocol):
    """Runs a call on another thread; yields False until it has ended, and returns its result."""

    def __call__(self, call: Callable[[], T]) -> Generator[bool, None, T]:
        """Start the call."""
        ...


class JobRows:
    """The rows of one job: their numbers by key, and the rows that need no job."""

    def __init__(self) -> None:
        self.seqs: dict[str, int] = {}
        # Transitions without messages: they have an outcome without a request.
        self.silent = array("q")
        self.full = False

    @property
    def first_seq(self) -> int:
        return min(self.seqs.values())

    @property
    def last_seq(self) -> int:
        return max(self.seqs.values())

    def forget_after(self, last_seq: int) -> None:
        """Forget the rows after a number."""
        self.seqs = {key: seq for key, seq in self.seqs.items() if seq <= last_seq}
        self.silent = array("q", [seq for seq in self.silent if seq <= last_seq])

    def take(self, member: MemberMessages, file: JobFile) -> bool:
        """Add a transition if it fits; False if the file is full."""
        if not member.messages:
            self.silent.append(member.seq)
            return True
        if len(member.messages) > 1:
            return True
        (message,) = member.messages
        key = file.key(message)
        # A second row with a key has to follow the first one, in a request of its own.
        if key is None or key in self.seqs:
            return True
        if not file.add(message):
            return False
        self.seqs[key] = member.seq
        return True

    def take_page(self, page: LinePage, file: JobFile) -> bool:
        """Add a page of transitions as far as it fits; False if the file is full."""
        keys = file.keys(page.keys)
        added = dict(zip(keys, page.seqs, strict=True))
        lines = [line for line in page.lines if line is not None]
        all_rendered = not page.mapped and len(added) == len(lines) == len(page.seqs)
        if all_rendered and added.keys().isdisjoint(self.seqs) and file.add_lines(lines):
            self.seqs.update(added)
            return True
        for seq, key, line in zip(page.seqs, keys, page.lines, strict=True):
            if seq in page.mapped:
                if not self.take(page.mapped[seq], file):
                    return False
            elif line is None:
                self.silent.append(seq)
            elif key not in self.seqs:
                if not file.add_lines([line]):
                    return False
                self.seqs[key] = seq
        return True


class JobDelivery:
    """Delivers the transitions of an audience run that a job can take.

    Args:
        members: The open transitions in order.
        take: Called with each verdict.
        save: Saves the verdicts that were taken.
    """

    def __init__(
        self,
        ledger: Ledger,
        jobs: IngestJobs,
        *,
        run_seq: int,
        sync_key: str,
        folder: Path,
        members: OutboxMessages,
        take: Callable[[Verdict], None],
        save: Callable[[], None],
    ) -> None:
        self._ledger = ledger
        self._jobs = jobs
        self._run_seq = run_seq
        self._sync_key = sync_key
        self._folder = folder
        self._members = members
        self._take = take
        self._save = save

    def steps(self, in_background: InBackground) -> Iterator[bool]:
        """Finish the jobs of a crashed run, then send what is open: True after each step.

        Raises:
            TailraceError: A job could not be created, uploaded or read. The jobs that are in the
                ledger are asked by the next run.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        for job in self._ledger.jobs.unfinished(self._run_seq, self._sync_key):
            yield from self._resume(job, in_background)
        without_progress = 0
        while without_progress < JOBS_WITHOUT_PROGRESS_MAX:
            rows, file = JobRows(), self._file()
            try:
                yield from self._fill(rows, file)
                if not rows.seqs:
                    self._acknowledge(rows, written=0, resolved=())
                    return
                resolved = yield from self._send(rows, file, in_background)
            finally:
                file.delete()
            left = len(rows.seqs)
            if resolved is None or (resolved and not rows.full and left <= LEFT_TO_REQUESTS_MAX):
                return
            without_progress = 0 if resolved else without_progress + 1

    def _file(self) -> JobFile:
        return self._jobs.new_file(self._folder / f"job-{uuid.uuid4().hex}.csv")

    def _fill(self, rows: JobRows, file: JobFile) -> Iterator[bool]:
        """Write the open transitions to the file, as far as they fit."""
        for page in self._pages():
            if not self._take_page(page, rows, file):
                rows.full = True
                break
            yield True
        file.close()

    def _pages(self) -> Iterator[LinePage | list[MemberMessages]]:
        """The open transitions in order: as lines if the warehouse can write them."""
        lines = self._members.line_pages(self._jobs)
        if lines is not None:
            yield from lines
            return
        members = iter(self._members)
        while page := list(islice(members, ROWS_PER_STEP)):
            yield page

    def _take_page(
        self, page: LinePage | list[MemberMessages], rows: JobRows, file: JobFile
    ) -> bool:
        if isinstance(page, LinePage):
            return rows.take_page(page, file)
        return all(rows.take(member, file) for member in page)

    def _send(
        self, rows: JobRows, file: JobFile, in_background: InBackground
    ) -> Generator[bool, None, int | None]:
        """Hand a file over as a job; returns the number of rows with a result, None without job."""
        job_id = yield from in_background(self._jobs.create)
        if job_id is None:
            return None
        job = WriteJob(job_id, rows.first_seq, rows.last_seq, file.rows)
        self._ledger.jobs.save(self._run_seq, self._sync_key, job)
        log.info("%s: %d rows go to job %s", self._sync_key, file.rows, job_id)
        yield True
        yield from in_background(lambda: self._jobs.upload(job_id, file.path))
        return (yield from self._finish(job_id, rows, in_background))

    def _resume(self, job: WriteJob, in_background: InBackground) -> Iterator[bool]:
        """Ask a job of a crashed run what became of its rows."""
        state = yield from in_background(lambda: self._jobs.state(job.job_id))
        log.info("%s: job %s of a crashed run is %s", self._sync_key, job.job_id, state.state)
        if state.state in ("open", "gone"):
            if state.state == "open":
                yield from in_background(lambda: self._jobs.delete(job.job_id))
            self._ledger.jobs.finish(job.job_id, state=state.state)
            yield True
            return
        rows, file = JobRows(), self._file()
        try:
            for page in self._pages():
                self._take_page(page, rows, file)
                if _last_seq(page) >= job.last_seq:
                    break
        finally:
            file.delete()
        rows.forget_after(job.last_seq)
        yield from self._finish(job.job_id, rows, in_background)

    def _finish(
        self, job_id: str, rows: JobRows, in_background: InBackground
    ) -> Generator[bool, None, int]:
        """Wait for a job, and save the result of each of its rows."""
        state = yield from in_background(lambda: self._jobs.wait(job_id))
        if state.failed:
            log.warning("%s: job %s failed (%s)", self._sync_key, job_id, state.message)
        path = self._folder / f"results-{uuid.uuid4().hex}.csv"
        written = 0
        resolved = array("q")
        refused: dict[int, str] = {}
        try:
            results = self._jobs.results(job_id, path)
            while batch := (yield from in_background(partial(_some, results))):
                for result in batch:
                    seq = rows.seqs.pop(result.key, None)
                    if seq is None or result.outcome == "unprocessed":
                        continue
                    resolved.append(seq)
                    if result.outcome == "refused":
                        refused[seq] = result.reason
                    else:
                        written += 1
                yield True
        finally:
            path.unlink(missing_ok=True)
        self._reject(refused)
        # In this order: a crash in between asks the job again, for rows that are acknowledged.
        self._acknowledge(rows, written=written, resolved=resolved)
        self._ledger.jobs.finish(job_id, state="failed" if state.failed else "done")
        yield from in_background(lambda: self._jobs.discard(job_id))
        return len(resolved)

    def _reject(self, refused: dict[int, str]) -> None:
        """Take the rejections, with the messages read again: files keep none of them."""
        for member in self._members.rows(refused):
            (message,) = member.messages
            self._take(
                Rejected(
                    seq=member.seq,
                    kind=message.kind,
                    message_id=message.message_id,
                    reason=refused[member.seq],
                    status=None,
                    attempts=1,
                    unconfirmed=False,
                    body=message.body,
                )
            )

    def _acknowledge(self, rows: JobRows, *, written: int, resolved: Iterable[int]) -> None:
        for first, last in _ranges(sorted([*rows.silent, *resolved])):
            self._take(Acknowledged(first, last, written, 0))
            written = 0
        self._save()


def _last_seq(page: LinePage | list[MemberMessages]) -> int:
    return page.seqs[-1] if isinstance(page, LinePage) else page[-1].seq


def _some(results: Iterator[T], count: int = RESULTS_PER_STEP) -> list[T]:
    """The next items of an iterator; empty at its end."""
    return list(islice(results, count))


def _ranges(seqs: Iterable[int]) -> Iterator[tuple[int, int]]:
    """The contiguous ranges of sorted numbers.

    >>> list(_ranges([1, 2, 3, 7, 9, 10]))
    [(1, 3), (7, 7), (9, 10)]
    """
    first = last = None
    for seq in seqs:
        if last is not None and seq == last + 1:
            last = seq
            continue
        if first is not None and last is not None:
            yield first, last
        first = last = seq
    if first is not None and last is not None:
        yield first, last
