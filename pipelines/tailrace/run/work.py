"""What a run is asked to do, and what it reads of the project's files for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from tailrace.config.settings import SalesforceCredentials
from tailrace.dataclass import dataclass
from tailrace.ledger.ledger import Ledger
from tailrace.plan.policy import PlanOptions
from tailrace.run.notices import Notice
from tailrace.warehouse.file_facts import FileFacts

if TYPE_CHECKING:
    from tailrace.destinations.protocol import DestinationSettings
    from tailrace.models.loader import Model, Models
    from tailrace.run.replay import Replay
    from tailrace.run.result import Progressing
    from tailrace.run.review import Reviewed
    from tailrace.salesforce.extract.facts import ExtractResult
    from tailrace.warehouse.statements import TableName


class ExpectedRun(Protocol):
    """An earlier run that this one may equal; see `run.unchanged`."""

    @property
    def result(self) -> Mapping[str, Any]: ...
    @property
    def notices(self) -> Sequence[Notice]: ...
    @property
    def counts(self) -> Mapping[str, int]: ...
    def holds_at(self, now: datetime) -> bool: ...
    def has_same_ledger(self, ledger: Ledger, facts: FileFacts) -> bool: ...
    def has_same_tables(
        self, ledger: Ledger, extracted: ExtractResult | None, facts: FileFacts
    ) -> bool: ...


class KeepsRuns(Protocol):
    """Where a run is kept for the next one; see `run.unchanged`."""

    def keep(
        self,
        ledger: Ledger,
        work: Work,
        done: Progressing,
        *,
        tables: Mapping[TableName, str | None],
        notices: Sequence[Notice],
    ) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Job:
    """The steps and options of a run."""

    command: str
    extract: bool = False
    deliver: bool = True
    select: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    objects: tuple[str, ...] | None = None
    reconcile: bool = False
    full_refresh: bool = False
    retire: str | None = None
    replay: Replay | None = None
    resend: bool = False
    reviewed: Reviewed | None = None
    options: PlanOptions = field(default_factory=PlanOptions)


@dataclass(frozen=True, kw_only=True)
class Work:
    """A job with the parts of the project's files that it needs."""

    job: Job
    models: Models | None = None
    selected: tuple[Model, ...] = ()
    salesforce: SalesforceCredentials | None
    destinations: Mapping[str, DestinationSettings] = field(default_factory=dict)
    rules: Mapping[str, Any] = field(default_factory=dict)
    # Where a run that changed nothing is kept for the next one; None if this one is not compared.
    unchanged: KeepsRuns | None = None
    # The earlier run that this one may equal. If it does not, `complete` reads the models.
    expected: ExpectedRun | None = None
    complete: Callable[[], Work] | None = None
    # What is known of the DuckDB file.
    facts: FileFacts = field(default_factory=FileFacts.unused)

    def completed(self) -> Work:
        """The same work with the models of the project."""
        return self if self.complete is None else replace(self.complete(), facts=self.facts)
