"""What a destination provides that takes many rows as a job: a file, a job, and its results.

A job outlives the process that created it. Its id is in the ledger before its rows are uploaded,
and a later run asks for its results before anything is sent again; see `run.job_delivery`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from tailrace.destinations.messages import Message


@dataclass(frozen=True, kw_only=True)
class JobState:
    """What the receiver says of a job.

    Attributes:
        state: `open`: no rows have been uploaded. `gone`: the receiver does not know the job.
        failed: It ended before it had processed all rows.
    """

    state: Literal["open", "running", "done", "gone"]
    failed: bool = False
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobResult:
    """The result of one row, by its key. `unprocessed` rows may be sent again."""

    key: str
    outcome: Literal["written", "refused", "unprocessed"]
    reason: str = ""


class JobFile(Protocol):
    """The rows of one job, on disk."""

    path: Path
    rows: int

    def key(self, message: Message) -> str | None:
        """The key of a message that this file can hold; None for any other."""
        ...

    def add(self, message: Message) -> bool:
        """Add a message; False if the file is full without it."""
        ...

    def close(self) -> None:
        """End the file, so that it can be uploaded."""
        ...

    def delete(self) -> None:
        """Remove the file."""
        ...


class IngestJobs(Protocol):
    """The jobs of one audience."""

    def new_file(self, path: Path) -> JobFile:
        """An empty file for a job."""
        ...

    def create(self) -> str | None:
        """Create a job without rows; returns its id, or None if requests have to send the rows."""
        ...

    def upload(self, job_id: str, file: Path) -> None:
        """Upload the rows and have the receiver process them."""
        ...

    def state(self, job_id: str) -> JobState:
        """What became of a job."""
        ...

    def wait(self, job_id: str) -> JobState:
        """Wait until a job is done."""
        ...

    def results(self, job_id: str, file: Path) -> Iterator[JobResult]:
        """The results of a job that is done; a row may have none.

        Args:
            file: Where the results may be stored while they are read.
        """
        ...

    def delete(self, job_id: str) -> None:
        """Remove a job, aborted if it has not ended."""
        ...

    def discard(self, job_id: str) -> None:
        """Remove a job that has ended, if the receiver lets it be removed."""
        ...
