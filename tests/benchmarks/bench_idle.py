"""Runs that find little or nothing new, in processor time.

An idle `run` and an idle `extract` are compared with the import of dlt alone, and a small delta
with the same delta loaded by dlt. Both sides of a ratio take turns. The project is the starter
project with its ten objects; its two simulators are processes of their own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from bench_delivery import source
from bench_extract import measure
from bench_help import cpu_seconds
from figure import Figure, left_out, measured_in_turn, quick

TRIES = 5
DELTA_TRIES = 3
DELTA_ROWS = 50
LEAST_IMPORTS = "import click, duckdb, requests"


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
        # Without its compiled modules, each process would compile this package.
        compiled = {n: value for n, value in os.environ.items() if n != "PYTHONDONTWRITEBYTECODE"}
        environ = compiled | {
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
        run, extract = ([*tailrace, command, "--json"] for command in ("run", "extract"))
        # Delivers, records the inputs of each audience, keeps the first run that equals the one
        # before it, and what the next one need not read of the file.
        for _ in range(5):
            subprocess.run(run, cwd=shop, env=environ, check=True, capture_output=True)
        ways = {
            "idle run": run,
            "idle extract": extract,
            # What no run does without: the command line, the warehouse and a connection.
            "imports of an idle run": [sys.executable, "-c", LEAST_IMPORTS],
            "dlt": [sys.executable, "-c", "import dlt"],
        }
        taken = measured_in_turn(
            lambda command: cpu_seconds(command, cwd=shop, env=environ), ways, tries=TRIES
        )
        small_delta = None if quick() else _small_delta(json.dumps(org))
    dlt = median(taken.pop("dlt"))
    for name, seconds in taken.items():
        yield Figure(name=name, figure=median(seconds), against=dlt, goal=0.5)
    if small_delta is None:
        left_out("small delta", reason="one try is too few so near its goal")
    else:
        yield small_delta


def _small_delta(org: str) -> Figure:
    """Our extract of a few changed rows against dlt's."""
    taken = measured_in_turn(
        lambda way: measure(way, org, DELTA_ROWS, tries=1).seconds,
        {"ours": "small_delta", "dlt": "small_delta_by_dlt"},
        tries=DELTA_TRIES,
    )
    ours, by_dlt = median(taken["ours"]), median(taken["dlt"])
    return Figure(name="small delta", figure=ours, against=by_dlt, goal=0.2)
