"""A shop to test with: a project folder, a warehouse filled by hand, a Segment that answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb

from tailrace.clock import Clock, SystemClock
from tailrace.config.project import ProjectConfig, load_project
from tailrace.plan.plan import Plan
from tailrace.plan.policy import PlanOptions
from tailrace.run import job
from tailrace.run.result import RunResult
from tailrace.testing.segment.simulator import SegmentSimulator

CONFIG = """
[tailrace]
warehouse = "duckdb"

[destination.duckdb]
credentials = "warehouse.duckdb"

[sources.salesforce]
objects = ["Contact", "Account"]
"""

PEOPLE = """/* ---
audience: people
key: id
user_id: id
track:
  changed: People Changed
  properties: {city: city, score: score}
identify:
  traits: {email: email}
  membership_trait: people
--- */
SELECT id, email, city, score FROM salesforce.contact WHERE NOT is_deleted
"""

CONTACT = "id VARCHAR, email VARCHAR, city VARCHAR, score DOUBLE, is_deleted BOOLEAN"


class Shop:
    """A project on DuckDB whose landed tables are written by the test."""

    def __init__(
        self, root: Path, segment: SegmentSimulator | None = None, *, clock: Clock | None = None
    ) -> None:
        self.root = root
        self.segment = segment
        self.clock: Clock = clock or SystemClock()
        (root / ".dlt").mkdir(parents=True, exist_ok=True)
        (root / "models" / "audiences").mkdir(parents=True, exist_ok=True)
        (root / ".dlt" / "config.toml").write_text(CONFIG)
        self.environ: dict[str, str] = {
            "DESTINATION__SEGMENT__EVENTS_PER_SECOND_MAX": "0",
            "TAILRACE__FIRST_RUN_MEMBERS_MAX": "0",
        }
        if segment is not None:
            self.environ |= {
                "DESTINATION__SEGMENT__HOST": segment.url,
                "DESTINATION__SEGMENT__WRITE_KEY": segment.write_key,
            }

    @property
    def project(self) -> ProjectConfig:
        return load_project(self.root, environ=self.environ)

    @property
    def file(self) -> Path:
        return self.root / "warehouse.duckdb"

    def audience(self, text: str, name: str = "people") -> None:
        """Write an audience's file."""
        (self.root / "models" / "audiences" / f"{name}.sql").write_text(text)

    def forget_audience(self, name: str) -> None:
        (self.root / "models" / "audiences" / f"{name}.sql").unlink()

    def land(self, rows: Sequence[Mapping[str, Any]], *, table: str = "contact") -> None:
        """Replace the landed contacts; what a row leaves out is NULL, and no contact is deleted."""
        with self.connection() as con:
            con.execute("CREATE SCHEMA IF NOT EXISTS salesforce")
            con.execute(f"CREATE OR REPLACE TABLE salesforce.{table} ({CONTACT})")
            for row in rows:
                named = {"is_deleted": False, **row}
                marks = ", ".join("?" * len(named))
                con.execute(
                    f"INSERT INTO salesforce.{table} ({', '.join(named)}) VALUES ({marks})",
                    list(named.values()),
                )

    def connection(self) -> duckdb.DuckDBPyConnection:
        """The warehouse's file, to write or look into while no run has it."""
        config = {"storage_compatibility_version": "v1.5.0"}
        return duckdb.connect(str(self.file), config=config)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with self.connection() as con:
            return con.execute(sql).fetchall()

    def plan(self, **options: Any) -> Plan:
        return job.plan(self.project, clock=self.clock, **options)

    def sync(self, **options: Any) -> RunResult:
        return job.sync(self.project, clock=self.clock, **options)

    def allow(self, *pairs: tuple[str, str]) -> PlanOptions:
        return PlanOptions(allow=frozenset(pairs))

    def arrived(self) -> list[dict[str, Any]]:
        """What Segment took since the last look, duplicates by messageId left out."""
        assert self.segment is not None
        events = [dict(each) for each in self.segment.inbox.delivered]
        fresh = events[self._looked :]
        self._looked = len(events)
        return fresh

    _looked = 0
