"""Killed at any request, a write-back is finished by the next run, and each row has its result.

`--write-back-rows 100000 --write-back-deaths 60` runs the same tests at full size.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fork_server import ForkServer
from simulation.victim import LIVE_WRITE_BACK
from write_back import HEADER, WriteBackShop

from tailrace.testing import BulkSettings, Fault, SalesforceSimulator, Sizes
from tailrace.testing.org.editions import enable_write_back
from tailrace.testing.org.org import Org
from tailrace.testing.salesforce.write_settings import RowFault

KILLED = -signal.SIGKILL
STAMPS = frozenset({"SystemModstamp", "LastModifiedDate", "LastModifiedById"})
# Rows whose number ends in these digits are refused with these codes at every attempt.
CODES = {
    11: "FIELD_CUSTOM_VALIDATION_EXCEPTION",
    12: "FIELD_FILTER_VALIDATION_EXCEPTION",
    13: "INVALID_EMAIL_ADDRESS",
    14: "MALFORMED_ID",
    15: "INVALID_CROSS_REFERENCE_KEY",
    16: "ENTITY_IS_DELETED",
    17: "CANNOT_UPDATE_CONVERTED_LEAD",
    18: "INSUFFICIENT_ACCESS_OR_READONLY",
    19: "DUPLICATES_DETECTED",
    20: "DUPLICATE_VALUE",
    21: "REQUIRED_FIELD_MISSING",
}
# Some of these rows are locked at their first attempt.
LOCKED = 22
# At full size each run takes half a minute.
pytestmark = pytest.mark.timeout(7_200)


class Scene:
    """An org, and a shop whose warehouse can be put back to before its first delivery."""

    def __init__(
        self, folder: Path, server: ForkServer, simulator: SalesforceSimulator, rows: int
    ) -> None:
        self.folder, self.server, self.simulator, self.rows = folder, server, simulator, rows
        self.shop = WriteBackShop(folder, simulator)
        self.contacts = simulator.org.rows("Contact")
        self.before = {row["Crm_Key__c"]: dict(row) for row in self.contacts.records()}

    def prepare(self, api: str) -> None:
        self.shop.header(f"{HEADER}api: {api}\n")
        self.shop.many(0)
        assert self.shop.sync().exit_code == 0
        self.shop.many(self.rows, health="i % 100")
        shutil.copy(self.shop.file, self.folder / "prepared.duckdb")

    def rewind(self) -> None:
        (self.folder / "warehouse.duckdb.wal").unlink(missing_ok=True)
        shutil.copy(self.folder / "prepared.duckdb", self.shop.file)
        for row in self.before.values():
            self.simulator.org.update(
                "Contact", row["Id"], {"Health__c": None, "Plan_Tier__c": None}
            )
        writer = self.simulator.writer
        writer.writes.clear()
        writer.row_faults[:] = [
            RowFault(code=code, when=_health(digits), times=None) for digits, code in CODES.items()
        ]
        writer.row_faults.append(
            RowFault(code="UNABLE_TO_LOCK_ROW", when=_health(LOCKED), times=2 + self.rows // 2_000)
        )
        self.simulator.ingest.jobs.clear()
        self.simulator.requests.clear()

    def run(self, *faults: Fault) -> int:
        self.simulator.faults.clear()
        self.simulator.faults.extend(faults)
        where = (str(self.folder), self.simulator.url, self.simulator.access_token())
        return self.server.call(LIVE_WRITE_BACK, *where, cwd=self.folder, timeout_seconds=900)

    def undisturbed(self) -> int:
        """The number of requests of a run that is not killed."""
        assert self.run() == 4
        requests = sum("/services/data/" in entry.request.path for entry in self.simulator.requests)
        self.check("undisturbed")
        return requests

    def kill(self, request: int, cut: str) -> Fault:
        """A fault that kills the run at its n-th request, before or after it is carried out."""
        seen = 0

        def at_request(_: object) -> bool:
            nonlocal seen
            seen += 1
            if seen == request:
                os.kill(int((self.folder / "victim.pid").read_text()), signal.SIGKILL)
            return seen == request

        return Fault(path="*/services/data/*", when=at_request, cut=cut)  # type: ignore[arg-type]

    def check(self, death: str) -> None:
        """Each row is written or has its code, and no field changed that no mapping names."""
        records = {row["Crm_Key__c"]: row for row in self.contacts.records()}
        refused = dict(
            self.shop.query(
                "SELECT o.crm_key, r.reason FROM tailrace.rejections AS r"
                " JOIN tailrace.outbox__people__salesforce AS o"
                " ON o.run_seq = r.run_seq AND o.seq = r.seq WHERE r.resolved_at IS NULL"
            )
        )
        for place in range(1, self.rows + 1):
            key, digits = f"c-{place:04d}", place % 100
            record, before = records[key], self.before[key]
            written = digits not in CODES
            assert record["Health__c"] == (float(digits) if written else None), (death, key)
            assert refused.get(key) == CODES.get(digits), (death, key)
            changed = {name for name in record if record[name] != before.get(name)}
            assert changed <= STAMPS | {"Health__c", "Plan_Tier__c"}, (death, key)
        assert len(records) == self.rows
        unknown = self.shop.query(
            "SELECT sync_key FROM tailrace.audience_runs"
            " WHERE phase <> 'done' OR entered + changed + exited <> sent + rejected"
        )
        assert unknown == [], death
        jobs = self.shop.query("SELECT job_id FROM tailrace.write_jobs WHERE finished_at IS NULL")
        assert jobs == [], death

    def end(self) -> None:
        """Write what was refused once its cause is gone; then nothing is left to write."""
        self.simulator.writer.row_faults.clear()
        assert self.run() == 0
        self.simulator.requests.clear()
        assert self.run() == 0
        assert self.simulator.requests == [], "an unchanged run makes no call"


def _health(digits: int) -> Any:
    return lambda values: values.get("Health__c") == digits


@pytest.fixture(params=["rest", "bulk"])
def scene(
    request: pytest.FixtureRequest, tmp_path: Path, fork_server: ForkServer
) -> Iterator[Scene]:
    rows = request.config.getoption("--write-back-rows")
    sizes = Sizes(
        users=3, accounts=4, contacts=rows, leads=4, opportunities=2,
        campaigns=2, campaign_members=0, cases=1, tasks=1, events=1,
    )  # fmt: skip
    org = Org(ticking=False, sizes=sizes)
    enable_write_back(org)
    with SalesforceSimulator(org=org, bulk=BulkSettings(polls=1)) as simulator:
        scene = Scene(tmp_path / "shop", fork_server, simulator, rows)
        scene.prepare(request.param)
        scene.rewind()
        yield scene


@pytest.fixture
def deaths(request: pytest.FixtureRequest) -> int:
    return int(request.config.getoption("--write-back-deaths"))


def test_killed_at_any_request(scene: Scene, deaths: int, request: pytest.FixtureRequest) -> None:
    requests = scene.undisturbed()
    places = [(number, cut) for number in range(1, requests + 1) for cut in ("before", "after")]
    chance = random.Random(request.node.callspec.id)
    for number, cut in chance.sample(places, min(deaths, len(places))):
        death = f"killed {cut} request {number} of {requests}"
        scene.rewind()
        ended = scene.run(scene.kill(number, cut))
        # How often locked rows are repeated depends on which request comes first.
        assert ended == KILLED or (ended == 4 and number > 2), death
        assert scene.run() == 4, death
        scene.check(death)


def test_killed_again_and_again(scene: Scene, deaths: int, request: pytest.FixtureRequest) -> None:
    """One delivery is killed at each of a set of requests, and started again each time."""
    requests = scene.undisturbed()
    scene.rewind()
    chance = random.Random(request.node.callspec.id)
    count = min(deaths, requests - 1)
    places = sorted(chance.sample(range(1, requests), count))
    gaps = [after - before for before, after in zip([0, *places], places, strict=False)]
    ended = [scene.run(scene.kill(gap, chance.choice(("before", "after")))) for gap in gaps]
    assert ended.count(KILLED) > count // 2, ended
    assert scene.run() == 4
    scene.check(f"killed {count} times")
    scene.end()
