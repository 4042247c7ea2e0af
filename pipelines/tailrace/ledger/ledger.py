"""The ledger: runs, plans, acknowledgements, rejections and the members of each sync.

It is stored in the warehouse beside the data, so it does not depend on the machine of a run and
changes in the same transactions as the snapshots and outboxes.
"""

from __future__ import annotations

from tailrace.clock import Clock
from tailrace.ledger.alerts import Alerts
from tailrace.ledger.audiences import AudienceRuns
from tailrace.ledger.deliveries import Deliveries
from tailrace.ledger.descriptions import Descriptions
from tailrace.ledger.extracts import Extracts
from tailrace.ledger.jobs import Jobs
from tailrace.ledger.runs import Runs
from tailrace.ledger.tables import LedgerTables
from tailrace.ledger.views import Views
from tailrace.ledger.watches import Watches
from tailrace.warehouse.connection import Warehouse
from tailrace.warehouse.file_facts import FileFacts


class Ledger(LedgerTables):
    """The open ledger. Each attribute reads and writes the tables of one subject."""

    def __init__(
        self, warehouse: Warehouse, *, clock: Clock, facts: FileFacts | None = None
    ) -> None:
        super().__init__(warehouse, clock=clock, facts=facts)
        self.views = Views(self)
        self.runs = Runs(self)
        self.extracts = Extracts(self)
        self.audiences = AudienceRuns(self)
        self.deliveries = Deliveries(self)
        self.descriptions = Descriptions(self)
        self.jobs = Jobs(self)
        self.watches = Watches(self)
        self.alerts = Alerts(self)

    def _fill_views(self) -> None:
        self.views.replace()
