"""What else happens at the beginning and the end of a run: alerts, lineage events.

A run does not know its observers; `tailrace.Project` passes them to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from tailrace.errors import TailraceError
    from tailrace.ledger.ledger import Ledger
    from tailrace.ledger.runs import Run
    from tailrace.run.result import RunResult
    from tailrace.run.work import Work


class RunObserver(Protocol):
    """An observer raises nothing: what it cannot do is a warning of the result.

    The work of a run that equals an earlier one has no models. An observer that needs them takes
    those of `work.completed()`.
    """

    def started(self, ledger: Ledger, work: Work, run: Run) -> None:
        """Called under the lock, before the first step of the run."""

    def finished(self, ledger: Ledger, work: Work, result: RunResult) -> RunResult:
        """Called under the lock when the ledger has the end of the run; returns the result."""

    def not_started(self, ledger: Ledger | None, error: TailraceError) -> None:
        """Called by a watching process whose next run cannot begin.

        Under the lock with the ledger; without it, the warehouse cannot be opened.
        """

    def state_stored(self) -> None:
        """Called after `finished` when the state is stored in `state_url`."""

    def state_not_stored(self, error: TailraceError) -> None:
        """Called after `finished` if the state could not be stored in `state_url`."""


Observers = Sequence[RunObserver]
