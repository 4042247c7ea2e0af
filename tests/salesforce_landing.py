"""A warehouse that objects land in, and a simulated org that they come from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb

from tailrace.clock import SystemClock
from tailrace.config.settings import SalesforceCredentials, SalesforceSettings
from tailrace.salesforce.extract.extraction import ExtractResult, ObjectFacts, extract
from tailrace.salesforce.extract.landing import PipelineLanding
from tailrace.testing import SalesforceSimulator

import dlt  # isort: skip

SMALL = ("Account", "Contact")


class DltRefused(Exception):
    """An extract asked for the pipeline of dlt, and the test does not let it load."""


class CountedLanding(PipelineLanding):
    """Counts how often an extract asks for the pipeline of dlt, or refuses it."""

    loads = 0
    refuses = False
    merges_files = True

    @contextmanager
    def pipeline(self) -> Iterator[dlt.Pipeline]:
        self.loads += 1
        if self.refuses:
            raise DltRefused
        with super().pipeline() as pipeline:
            yield pipeline


class Landing:
    """A warehouse that objects land in, and the org that they come from."""

    def __init__(self, folder: Path, sf: SalesforceSimulator) -> None:
        self.folder = folder
        self.sf = sf
        self.clock = QuickClock()
        self.connection = duckdb.connect(str(folder / "warehouse.duckdb"))
        self.pipeline = dlt.pipeline(
            "tailrace",
            pipelines_dir=str(folder / "pipelines"),
            destination=dlt.destinations.duckdb(self.connection),
            dataset_name="salesforce",
        )
        self.landing = CountedLanding(self.pipeline)
        self.credentials = SalesforceCredentials(
            instance_url=sf.url, client_id=sf.client_id, client_secret=sf.client_secret
        )
        self.settings = SalesforceSettings(objects=SMALL)

    def extract(
        self, *objects: str, reconcile: bool = False, full_refresh: bool = False, **changes: Any
    ) -> ExtractResult:
        """Extract with some settings changed."""
        return extract(
            self.landing,
            replace(self.settings, **changes),
            self.credentials,
            clock=self.clock,
            objects=objects or None,
            reconcile=reconcile,
            full_refresh=full_refresh,
        )

    @property
    def loads(self) -> int:
        """How often extracts have started dlt so far."""
        return self.landing.loads

    def one(self, name: str, **changes: Any) -> ObjectFacts:
        """Extract one object."""
        (facts,) = self.extract(name, **changes).objects
        if facts.error is not None:
            raise facts.error
        return facts

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """What the warehouse says."""
        return self.connection.execute(sql).fetchall()

    def value(self, sql: str) -> Any:
        """One value of the warehouse."""
        return self.rows(sql)[0][0]

    def paths(self) -> list[str]:
        """The paths that were asked of Salesforce so far."""
        return [each.request.path for each in self.sf.requests]


class QuickClock(SystemClock):
    """The machine's clock, whose waits are over at once; it remembers how long they were."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        super().sleep(min(seconds, 0.002))


@contextmanager
def landing_of(folder: Path, sf: SalesforceSimulator | None = None) -> Iterator[Landing]:
    """A landing in a folder, with an org of its own unless there is one."""
    with sf or SalesforceSimulator() as org:
        each = Landing(folder, org)
        try:
            yield each
        finally:
            each.connection.close()
