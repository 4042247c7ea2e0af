"""An idle `tailrace run` against the import of dlt alone, in processor time.

Nothing is new at Salesforce. The project is the starter project with its ten objects; its two
simulators are processes of their own.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from bench_delivery import source
from bench_help import cpu_seconds
from figure import Figure

TRIES = 3


@contextmanager
def salesforce() -> Iterator[Mapping[str, str]]:
    """A simulated org in a process of its own."""
    command = [sys.executable, "-m", "tailrace.testing", "salesforce"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stdin is not None
        yield json.loads(process.stdout.readline())
        process.stdin.close()


def figures() -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as folder, salesforce() as org, source() as segment:
        credentials = "SOURCES__SALESFORCE__CREDENTIALS__"
        environ = os.environ | {
            f"{credentials}INSTANCE_URL": org["url"],
            f"{credentials}CLIENT_ID": org["client_id"],
            f"{credentials}CLIENT_SECRET": org["client_secret"],
            "DESTINATION__SEGMENT__HOST": segment["url"],
            "DESTINATION__SEGMENT__WRITE_KEY": segment["write_key"],
            "DESTINATION__SEGMENT__EVENTS_PER_SECOND_MAX": "0",
        }
        shop = Path(folder) / "shop"
        tailrace = [sys.executable, "-m", "tailrace"]
        subprocess.run([*tailrace, "init", str(shop)], check=True, capture_output=True)
        run = [*tailrace, "run", "--json"]
        for _ in range(2):
            subprocess.run(run, cwd=shop, env=environ, check=True, capture_output=True)
        idle = statistics.median(cpu_seconds(run, cwd=shop, env=environ) for _ in range(TRIES))
    dlt = statistics.median(cpu_seconds([sys.executable, "-c", "import dlt"]) for _ in range(TRIES))
    yield Figure(name="idle run", figure=idle, against=dlt, goal=0.5)
