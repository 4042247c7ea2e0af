"""A machine that is thrown away begins with a state of 1 GB in an S3 server on loopback.

`start to plan` is `tailrace plan` as a process, from its start to its end: import, pull, and the
plan of a small audience. `uploaded` is what a run stores after some rows of it changed, of the size
of the file. `memory` is that of a process that pulls the state.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
from figure import Figure, quick

sys.path.insert(0, str(Path(__file__).parents[1]))

from state.machines import Machine
from state.s3_server import s3_running

from tailrace.testing import SegmentSimulator

BYTES = 15_000_000 if quick() else 1_000_000_000
MEMBERS = 10_000
ROWS_AT_ONCE = 75_000 if quick() else 500_000
START_SECONDS = 15.0
UPLOADED_SHARE = 0.1
MEMORY_MB = 400.0
FILL = "import pathlib, sys, bench_state; bench_state.fill(pathlib.Path(sys.argv[1]))"


def fill(file: Path) -> None:
    """A landed table that makes the file as large as it should be, and the audience's table."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with duckdb.connect(str(file), config={"storage_compatibility_version": "v1.5.0"}) as con:
        con.execute("CREATE SCHEMA salesforce")
        con.execute(
            "CREATE TABLE salesforce.contact AS SELECT 'c' || n AS id, NULL::VARCHAR AS email, "
            "'City ' || n % 100 AS city, n / 7.0 AS score, false AS is_deleted "
            f"FROM range({MEMBERS}) AS t(n)"
        )
        con.execute(
            "CREATE TABLE salesforce.task (id VARCHAR, subject VARCHAR, description VARCHAR, "
            "activity_date DATE, status VARCHAR)"
        )
        first = 0
        while file.stat().st_size < BYTES:
            con.execute(
                "INSERT INTO salesforce.task SELECT '00T' || lpad(n::VARCHAR, 15, '0'), "
                "'Call ' || n % 997, md5(n::VARCHAR) || ' ' || md5((n * 7)::VARCHAR), "
                "DATE '2020-01-01' + (n % 2000)::INTEGER, 'Status ' || n % 7 "
                f"FROM range({first}, {first + ROWS_AT_ONCE}) AS t(n)"
            )
            con.execute("CHECKPOINT")
            first += ROWS_AT_ONCE


def command(machine: Machine, *arguments: str) -> tuple[float, dict[str, object]]:
    """Run a command of a machine as a process: its seconds, and its result."""
    environ = os.environ | machine.environ | {"TAILRACE__STATE__PARTS_IN_FLIGHT_MAX": "6"}
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "tailrace", *arguments, "--json"],
        cwd=machine.root,
        env=environ,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return time.monotonic() - started, json.loads(done.stdout)


def memory_mb(machine: Machine) -> float:
    """The peak memory of a process that pulls the state."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tailrace", "state", "pull", str(machine.root / "copy.duckdb")],
        cwd=machine.root,
        env=os.environ | machine.environ | {"TAILRACE__STATE__PARTS_IN_FLIGHT_MAX": "6"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    return usage.ru_maxrss / 1_000


def figures() -> Iterator[Figure]:
    with (
        tempfile.TemporaryDirectory() as name,
        SegmentSimulator(keep=False) as segment,
        s3_running() as server,
    ):
        folder = Path(name)
        url = server.environ("bench")["TAILRACE__STATE_URL"]

        def machine(name: str) -> Machine:
            made = Machine(folder / name, url, segment)
            made.environ |= server.environ("bench")
            made.environ["DESTINATION__SEGMENT__BATCH_EVENTS_MAX"] = "2500"
            return made

        origin = machine("origin")
        # In a process of its own, whose memory the measured processes would inherit as their peak.
        subprocess.run(
            [sys.executable, "-c", FILL, str(origin.root / "warehouse.duckdb")],
            cwd=Path(__file__).parent,
            check=True,
        )
        command(origin, "state", "push")
        command(origin, "sync")
        seconds, _ = command(machine("fresh"), "plan")
        yield Figure(name="state: start to plan", figure=seconds, against=START_SECONDS, goal=1)
        with origin.open() as warehouse:
            warehouse.execute("UPDATE salesforce.contact SET city = 'Oslo' WHERE score < 100")
        _, result = command(origin, "sync")
        state = result["state"]
        assert isinstance(state, dict)
        yield Figure(
            name="state: uploaded by a run",
            figure=state["uploaded_bytes"] / 1e6,
            against=state["bytes"] / 1e6,
            goal=UPLOADED_SHARE,
            unit="MB",
        )
        yield Figure(
            name="state: memory of a pull",
            figure=memory_mb(machine("reader")),
            against=MEMORY_MB,
            goal=1,
            unit="MB",
        )
