"""The ingest jobs of the ledger: which rows of an audience run were handed over as a job."""

from __future__ import annotations

from typing import NamedTuple

from tailrace.ledger.tables import LedgerTables


class WriteJob(NamedTuple):
    """A job whose results have not been read. Its rows have numbers from first to last."""

    job_id: str
    first_seq: int
    last_seq: int
    rows: int


class Jobs:
    """Reads and writes the table `write_jobs`."""

    def __init__(self, tables: LedgerTables) -> None:
        self._tables = tables

    def save(self, run_seq: int, sync_key: str, job: WriteJob) -> None:
        """Record a job, before its rows are uploaded."""
        self._tables.run(
            "save_write_job",
            run=run_seq,
            sync_key=sync_key,
            job_id=job.job_id,
            first_seq=job.first_seq,
            last_seq=job.last_seq,
            row_count=job.rows,
            now=self._tables.clock.now(),
        )

    def unfinished(self, run_seq: int, sync_key: str) -> list[WriteJob]:
        """The jobs of an audience run whose results have not been read, oldest first."""
        if not self._tables.has_table("write_jobs"):
            return []
        rows = self._tables.run("unfinished_write_jobs", run=run_seq, sync_key=sync_key)
        return [WriteJob(*row) for row in rows]

    def finish(self, job_id: str, *, state: str) -> None:
        """Record that nothing is to be expected of a job. Called with its acknowledgements."""
        self._tables.run(
            "finish_write_job", job_id=job_id, state=state, now=self._tables.clock.now()
        )
