"""An org filled with invented records, in which days can pass."""

from __future__ import annotations

import pickle
from datetime import datetime
from functools import lru_cache

from tailrace.clock import Clock
from tailrace.testing.org.changes import DayOfChanges
from tailrace.testing.org.day import play_day
from tailrace.testing.org.seed import Sizes, seed_org
from tailrace.testing.org.store import DELETE_LOG_DAYS, ORG_ID, START, UPDATED_DAYS, OrgStore

__all__ = ["DELETE_LOG_DAYS", "ORG_ID", "START", "UPDATED_DAYS", "Org", "Sizes"]


class Org(OrgStore):
    """A Salesforce org in memory with a few hundred invented records.

    Args:
        seed: the same seed gives the same records.
        sizes: number of records per object.
        start: the org's time at the start.
        ticking: False = the clock moves by `advance` and `advance_day` only.
        clock: source of elapsed time.
        org_id: the 18-character id of the org.
    """

    def __init__(
        self,
        *,
        seed: int = 7,
        sizes: Sizes | None = None,
        start: datetime = START,
        ticking: bool = True,
        clock: Clock | None = None,
        org_id: str = ORG_ID,
    ) -> None:
        super().__init__(seed=seed, start=start, ticking=ticking, clock=clock, org_id=org_id)
        records = _new_records(seed, sizes or Sizes(), start, org_id)
        self._rows, self._numbers, self._delete_log = pickle.loads(records)

    def advance_day(self) -> DayOfChanges:
        """Play a day of typical changes; return what changed."""
        with self.lock:
            return play_day(self)


@lru_cache(maxsize=4)
def _new_records(seed: int, sizes: Sizes, start: datetime, org_id: str) -> bytes:
    """The state of a new org, pickled: a copy costs a tenth of inventing the records again."""
    org = OrgStore(seed=seed, start=start, ticking=False, org_id=org_id)
    seed_org(org, sizes)
    org.recalculate()
    return pickle.dumps((org._rows, org._numbers, org._delete_log), pickle.HIGHEST_PROTOCOL)
