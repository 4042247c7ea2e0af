"""A project with contacts that were never delivered, and `tailrace sync` in its own process."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import duckdb

CONFIG = '[sources.salesforce]\nobjects = ["Contact"]\n[tailrace]\nfirst_run_members_max = 0\n'
# With all columns, messages of some 440 bytes.
CONTACTS = """
CREATE TABLE salesforce.contact AS
SELECT
  'c' || i AS id,
  'Person ' || (i * 7919 % 1000003) AS name,
  CASE WHEN i % 10 = 0 THEN NULL ELSE 'p' || (i * 31 % 999983) || '@example.com' END AS email,
  ['Oslo', 'Tromsø', 'Bergen', 'Zürich', '東京'][1 + i % 5] AS city,
  CASE WHEN i % 3 = 0 THEN NULL ELSE 'note ' || (i % 1000) END AS note,
  CAST(CASE WHEN i % 7 = 0 THEN NULL ELSE i % 90 END AS INTEGER) AS age,
  (i * 17 % 100000) / 7.0::DOUBLE AS score,
  CAST((i * 13 % 10000000) / 100.0 AS DECIMAL(18, 2)) AS amount,
  i % 2 = 0 AS active,
  DATE '1950-01-01' + CAST(i % 20000 AS INTEGER) AS born,
  TIMESTAMP '2026-01-01' + INTERVAL (i % 1000000) SECOND AS seen
FROM range($1) AS r(i)
"""


class Sync(NamedTuple):
    """What one `tailrace sync` answered and used."""

    result: Mapping[str, Any]
    exit_code: int
    seconds: float
    cpu_seconds: float
    megabytes: float


def made(folder: Path, people: int, audience: str) -> Path:
    """A project with this number of contacts, and an audience of them."""
    (folder / ".dlt").mkdir(parents=True)
    (folder / "models" / "audiences").mkdir(parents=True)
    (folder / ".dlt" / "config.toml").write_text(CONFIG)
    (folder / "models" / "audiences" / "people.sql").write_text(audience)
    config = {"storage_compatibility_version": "v1.5.0"}
    with duckdb.connect(str(folder / "landed.duckdb"), config=config) as connection:
        connection.execute("CREATE SCHEMA salesforce")
        connection.execute(CONTACTS, [people])
    return folder


def sync(project: Path, environ: Mapping[str, str]) -> Sync:
    """The command, from its start to its exit, on a warehouse that has delivered nothing yet."""
    for left in project.glob("warehouse.duckdb*"):
        left.unlink()
    shutil.copy(project / "landed.duckdb", project / "warehouse.duckdb")
    command = [sys.executable, "-m", "tailrace", "sync", "--json", "--project-dir", str(project)]
    started = time.perf_counter()
    with subprocess.Popen(
        command, env=os.environ | environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        result = json.loads(process.stdout.read())
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    return Sync(
        result=result,
        exit_code=process.returncode,
        seconds=time.perf_counter() - started,
        cpu_seconds=used.ru_utime + used.ru_stime,
        # Linux tells kilobytes, macOS bytes.
        megabytes=used.ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10),
    )


@contextmanager
def simulator(*options: str) -> Iterator[Mapping[str, str]]:
    """A simulated service in a process of its own; `options` are those of `tailrace.testing`."""
    command: Sequence[str] = [sys.executable, "-m", "tailrace.testing", *options]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stdin is not None
        yield json.loads(process.stdout.readline())
        process.stdin.close()


def control(
    service: Mapping[str, str], name: str, document: Any = None, *, method: str | None = None
) -> Any:
    """An answer of the simulator's control interface, or None; a document is posted to it."""
    data = None if document is None else json.dumps(document).encode()
    url = f"{service['url']}/_control/{name}"
    request = urllib.request.Request(url, data=data, method=method)
    with urllib.request.urlopen(request) as response:
        body = response.read()
    return json.loads(body) if body else None
