"""What a destination provides that takes many rows as a job: a file, a job, and its results.

A job outlives the process that created it. Its id is in the ledger before its rows are uploaded,
and a later run asks for its results before anything is sent again; see `run.job_delivery`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from tailrace.dataclass import dataclass
from tailrace.destinations.messages import Message
from tailrace.warehouse.statements import Column


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


class JobResult(NamedTuple):
    """The result of one row, by its key. `unprocessed` rows may be sent again."""

    key: str
    outcome: Literal["written", "refused", "unprocessed"]
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class LineTemplates:
    """The lines of a job's file as templates that the warehouse fills in.

    Attributes:
        statement: The statement of `sql/` that fills them in. Its rows have the number, whether the
            line was rendered, the text of the key, and the line, which is NULL for a transition
            that is not sent.
        lists: The column lists of the statement.
        values: Its other values.
    """

    statement: str
    lists: Mapping[str, Sequence[Column]]
    values: Mapping[str, Any]


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

    def keys(self, texts: Sequence[str | None]) -> list[str]:
        """The keys of rendered lines, by the texts of their key columns."""
        ...

    def add_lines(self, lines: Sequence[bytes]) -> bool:
        """Add rendered lines; False, and none of them, if the file is full without them."""
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

    def line_templates(
        self, columns: Sequence[Column], *, keys: Sequence[Column], changes: bool
    ) -> LineTemplates | None:
        """The lines as templates for the warehouse; None if rows are added one by one.

        Args:
            columns: The columns of the outbox without its keys.
            keys: The audience's key.
            changes: The run has changes, for which the old values are read too.
        """
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
