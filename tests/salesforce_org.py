"""A simulated org with write-back fields, and the objects that write to it."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from tailrace.clock import SystemClock
from tailrace.config.settings import SalesforceCredentials, SalesforceSettings
from tailrace.destinations.messages import Message
from tailrace.destinations.salesforce.batch_writer import BatchWriter
from tailrace.destinations.salesforce.describe import WritableObject
from tailrace.destinations.salesforce.header import WriteBack
from tailrace.destinations.salesforce.records import RowResult
from tailrace.destinations.salesforce.values import dumps
from tailrace.salesforce.client import Api
from tailrace.salesforce.describe import compact_describe, describe_object
from tailrace.testing import BulkSettings, SalesforceSimulator, Sizes
from tailrace.testing.org.editions import enable_write_back
from tailrace.testing.org.org import Org as SimulatedOrg
from tailrace.testing.salesforce.write_settings import WriteSettings

SIZES = Sizes(
    users=3, accounts=4, contacts=300, leads=4, opportunities=2,
    campaigns=2, campaign_members=0, cases=1, tasks=1, events=1,
)  # fmt: skip
BLOCK: Mapping[str, Any] = {
    "object": "Contact",
    "match": {"Crm_Key__c": "crm_key"},
    "fields": {"Plan_Tier__c": "tier", "Health__c": "health"},
}


@contextmanager
def served_org(polls: int = 0) -> Iterator[SalesforceSimulator]:
    """A simulator of an org with write-back fields; `polls` find a Bulk job unfinished."""
    org = SimulatedOrg(ticking=False, sizes=SIZES)
    enable_write_back(org)
    with SalesforceSimulator(org=org, bulk=BulkSettings(polls=polls)) as running:
        yield running


def forget_writes(simulator: SalesforceSimulator) -> None:
    """Remove what a test left in a simulator that others use too: faults, settings and logs."""
    writer, ingest = simulator.writer, simulator.ingest
    for left in (
        *(writer.row_faults, writer.writes, writer.events, simulator.faults),
        *(ingest.faults, ingest.jobs, simulator.apex.classes),
    ):
        left.clear()  # type: ignore[attr-defined]
    for name, value in vars(WriteSettings()).items():
        setattr(writer.settings, name, value)


class QuietClock(SystemClock):
    """A clock whose sleeps are recorded, and take no time."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


class Org:
    """Writes to a simulator as one audience does."""

    def __init__(self, simulator: SalesforceSimulator, **block: Any) -> None:
        self.simulator = simulator
        self.clock = QuietClock()
        credentials = SalesforceCredentials(
            instance_url=simulator.url, access_token=simulator.access_token()
        )
        self.api = Api(credentials, SalesforceSettings(attempts_max=2), clock=self.clock)
        self.write_back = WriteBack({**BLOCK, **block})
        described = compact_describe(describe_object(self.api, self.write_back.object))
        self.described = WritableObject.of(described)
        self.writer = BatchWriter(
            self.api,
            self.write_back,
            described=self.described,
            clock=self.clock,
            jitter=random.Random(7).random,
        )
        simulator.requests.clear()

    def write(
        self, kind: str, *records: Mapping[str, Any], results: dict[str, RowResult] | None = None
    ) -> list[str]:
        """The code of each record, empty for a success."""
        answers = self.writer.write(
            self.messages(kind, records), {} if results is None else results
        )
        return [answer.code for answer in answers]

    def messages(self, kind: str, records: Sequence[Mapping[str, Any]]) -> list[Message]:
        name = self.write_back.object
        return [
            Message(kind, f"m-{place}", dumps({"attributes": {"type": name}, **record}))
            for place, record in enumerate(records)
        ]

    def record(self, key: str, sobject: str = "Contact") -> dict[str, Any]:
        rows = self.simulator.org.rows(sobject).records()
        return next(
            row for row in rows if row.get("Crm_Key__c") == key and not row.get("IsDeleted")
        )

    def requests(self) -> list[tuple[str, str]]:
        """The method and the path of each request to the data API."""
        return [
            (entry.request.method, entry.request.path.partition("/v64.0/")[2])
            for entry in self.simulator.requests
            if "/v64.0/" in entry.request.path
        ]
