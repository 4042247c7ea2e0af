"""`tailrace sync` that writes records to a simulated org, against a bare client.

Collections: the rows of the same requests, posted by a client that does nothing else over as many
connections. Bulk: the same CSV, uploaded, processed and read by a client that does nothing else.
The command is timed from its first request to its last, and its memory is that of its process.
"""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import requests
from figure import Figure, extrapolated, left_out, quick

FULL_ROWS = 20_000
ROWS = 8_000 if quick() else FULL_ROWS
# The other size of a quick run.
FEW_ROWS = 2_000
BULK_ROWS = int(os.environ.get("TAILRACE_BENCH_RECORDS", "200_000"))
TRIES = 1 if quick() else 3
BULK = ("write_back_bulk", "write_back_bulk_calls", "write_back_bulk_memory")
IN_FLIGHT = 4
ROWS_A_CALL = 200
CONFIG = """
[tailrace]
first_run_members_max = 0
[sources.salesforce]
objects = ["Account"]
"""
AUDIENCE = """/* ---
audience: scores
key: id
salesforce:
  object: Contact
  match: {{Crm_Key__c: id}}
  api: {api}
  fields:
    LastName: id
    Plan_Tier__c: tier
    Health__c: health
    Next_Offer__c: offer
    Is_VIP__c: {{value: true}}
--- */
SELECT id, tier, health, offer FROM salesforce.account
"""
PEOPLE = """
CREATE TABLE salesforce.account AS
SELECT
  printf('c-%04d', i) AS id,
  ['gold', 'silver', 'bronze'][1 + i % 3] AS tier,
  (i * 17 % 990) / 10.0::DOUBLE AS health,
  CASE WHEN i % 7 = 0 THEN NULL ELSE 'offer ' || (i % 1000) END AS offer
FROM range(1, $1 + 1) AS r(i)
"""


class Measured(NamedTuple):
    """What one way did."""

    rows: int
    seconds: float
    calls: int
    megabytes: float = 0.0

    @property
    def rate(self) -> float:
        return self.rows / self.seconds


def figures() -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as folder, org() as service:
        # The records exist before the measured writes, so that both ways update them.
        posted(service, ROWS)
        ours, theirs = _by_collections(Path(folder) / "rest", service, ROWS)
        ways = [ours, theirs]
        if quick():
            fewer = _by_collections(Path(folder) / "few", service, FEW_ROWS)
            ways = [larger(few, many) for few, many in zip(fewer, ways, strict=True)]
    yield replace(
        rates("write_back_collections", *ways),
        full_run_only="a write takes a second or two, so that one try says little",
    )
    yield Figure(
        name="write_back_collection_calls",
        figure=ours.calls,
        against=-(-ROWS // ROWS_A_CALL) + 1,
        goal=1.0,
        unit="calls",
    )
    if quick():
        left_out(*BULK, reason="the polls, a second apart, weigh more than few rows")
    else:
        yield from _by_bulk()


def _by_bulk() -> Iterator[Figure]:
    """One ingest job: its rate, its calls, and the memory of the command."""
    with tempfile.TemporaryDirectory() as folder, org() as service:
        uploaded(service, BULK_ROWS)
        ours = synced(made(Path(folder) / "bulk", BULK_ROWS, api="bulk"), service, BULK_ROWS)
        theirs = uploaded(service, BULK_ROWS)
    yield rates("write_back_bulk", ours, theirs)
    yield Figure(
        name="write_back_bulk_calls", figure=ours.calls, against=12, goal=1.0, unit="calls"
    )
    yield Figure(
        name="write_back_bulk_memory", figure=ours.megabytes, against=300, goal=1.0, unit="MB"
    )


def _by_collections(
    folder: Path, service: Mapping[str, str], rows: int
) -> tuple[Measured, Measured]:
    """The quickest try of the command and of the bare client."""
    tries = [
        (
            synced(made(folder / str(number), rows, api="rest"), service, rows),
            posted(service, rows),
        )
        for number in range(TRIES)
    ]
    ours, theirs = (max(way, key=attrgetter("rate")) for way in zip(*tries, strict=True))
    return ours, theirs


def larger(few: Measured, many: Measured) -> Measured:
    """What a way would take for the rows of a full run."""
    points = [(measured.rows, measured.seconds) for measured in (few, many)]
    return many._replace(rows=FULL_ROWS, seconds=extrapolated(*points, FULL_ROWS))


def rates(name: str, ours: Measured, theirs: Measured) -> Figure:
    """Rows a second of the command and of the bare client."""
    return Figure(
        name=name,
        figure=ours.rate,
        against=theirs.rate,
        goal=0.8,
        unit="rows/s",
        more_is_better=True,
    )


@contextmanager
def org() -> Iterator[Mapping[str, str]]:
    """A simulated org in a process of its own, with fields to write to."""
    command = [sys.executable, "-m", "tailrace.testing", "salesforce", "--write-back"]
    command += ["--polls", "1"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stdin is not None
        yield json.loads(process.stdout.readline())
        process.stdin.close()


def made(folder: Path, rows: int, *, api: str) -> Path:
    """A project whose members were never written."""
    (folder / ".dlt").mkdir(parents=True)
    (folder / "models" / "audiences").mkdir(parents=True)
    (folder / ".dlt" / "config.toml").write_text(CONFIG)
    (folder / "models" / "audiences" / "scores.sql").write_text(AUDIENCE.format(api=api))
    config = {"storage_compatibility_version": "v1.5.0"}
    with duckdb.connect(str(folder / "warehouse.duckdb"), config=config) as connection:
        connection.execute("CREATE SCHEMA salesforce")
        connection.execute(PEOPLE, [rows])
    return folder


def synced(project: Path, service: Mapping[str, str], rows: int) -> Measured:
    """The command; its time is that between its first and its last request that writes."""
    prefix = "SOURCES__SALESFORCE__CREDENTIALS__"
    environ = os.environ | {
        f"{prefix}INSTANCE_URL": service["url"],
        f"{prefix}CLIENT_ID": service["client_id"],
        f"{prefix}CLIENT_SECRET": service["client_secret"],
    }
    control(service, "DELETE", "requests")
    command = [sys.executable, "-m", "tailrace", "sync", "--json", "--project-dir", str(project)]
    with subprocess.Popen(
        command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        result = json.loads(process.stdout.read())
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0 and result["audiences"][0]["sent"] == rows, result["errors"]
    calls = [r for r in control(service, "GET", "requests") if "/services/data/" in r["path"]]
    times = [datetime.fromisoformat(call["received_at"]) for call in calls]
    return Measured(
        rows=rows,
        seconds=(times[-1] - times[0]).total_seconds(),
        calls=len(calls),
        # Linux tells kilobytes, macOS bytes.
        megabytes=used.ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10),
    )


def records(rows: int) -> list[dict[str, Any]]:
    """The same rows as plain records."""
    return [
        {
            "Crm_Key__c": f"c-{place:04d}",
            "LastName": f"c-{place:04d}",
            "Plan_Tier__c": ("gold", "silver", "bronze")[place % 3],
            "Health__c": (place * 17 % 990) / 10,
            "Next_Offer__c": None if place % 7 == 0 else f"offer {place % 1000}",
            "Is_VIP__c": True,
        }
        for place in range(1, rows + 1)
    ]


def posted(service: Mapping[str, str], rows: int) -> Measured:
    """Collections of 200 over IN_FLIGHT connections, prepared beforehand."""
    kind = {"attributes": {"type": "Contact"}}
    every = records(rows)
    bodies = [
        json.dumps(
            {"allOrNone": False, "records": [kind | r for r in every[at : at + ROWS_A_CALL]]}
        )
        for at in range(0, rows, ROWS_A_CALL)
    ]
    session = client(service)
    url = f"{service['url']}/services/data/v64.0/composite/sobjects/Contact/Crm_Key__c"
    started = time.perf_counter()
    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        answers = list(pool.map(lambda body: session.patch(url, data=body), bodies))
    seconds = time.perf_counter() - started
    assert all(result["success"] for answer in answers for result in answer.json())
    return Measured(rows=rows, seconds=seconds, calls=len(bodies))


def uploaded(service: Mapping[str, str], rows: int) -> Measured:
    """One ingest job with the same rows, and its results."""
    text = io.StringIO()
    every = records(rows)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(every[0])
    writer.writerows(
        ["#N/A" if v is None else str(v).lower() if v is True else v for v in record.values()]
        for record in every
    )
    session = client(service)
    root = f"{service['url']}/services/data/v64.0/jobs/ingest"
    body = {"object": "Contact", "operation": "upsert", "externalIdFieldName": "Crm_Key__c"}
    started = time.perf_counter()
    job = f"{root}/{session.post(root, json=body).json()['id']}"
    session.put(f"{job}/batches", data=text.getvalue(), headers={"Content-Type": "text/csv"})
    session.patch(job, json={"state": "UploadComplete"})
    while session.get(job).json()["state"] not in ("JobComplete", "Failed"):
        time.sleep(1.0)
    sizes = [
        session.get(f"{job}/{name}/").text.count("\n")
        for name in ("successfulResults", "failedResults", "unprocessedrecords")
    ]
    seconds = time.perf_counter() - started
    assert sizes[0] == rows + 1
    return Measured(rows=rows, seconds=seconds, calls=8)


def client(service: Mapping[str, str]) -> requests.Session:
    """A session with a token and the headers of a careful client."""
    token = requests.post(
        f"{service['url']}/services/oauth2/token",
        data={
            "grant_type": "client_credentials",
            "client_id": service["client_id"],
            "client_secret": service["client_secret"],
        },
    ).json()["access_token"]
    session = requests.Session()
    session.headers.update(
        {
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/json",
            "Sforce-Auto-Assign": "FALSE",
        }
    )
    return session


def control(service: Mapping[str, str], method: str, name: str) -> Any:
    """An answer of the simulator's control interface."""
    url = f"{service['url']}/_control/{name}"
    with urllib.request.urlopen(urllib.request.Request(url, method=method)) as response:
        body = response.read()
    return json.loads(body) if body else None
