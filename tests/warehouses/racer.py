"""Runs of several machines that race for one ledger; the fork server calls `race`."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

from tailrace.clock import SystemClock
from tailrace.config.project import load_project
from tailrace.errors import TailraceError
from tailrace.run import job

RACE = "warehouses.racer:race"
PAUSE_SECONDS = 0.002


def race(folder: str) -> int:
    """Run the machines of `race.json` at once, and write how each ended to `ended.json`.

    Each entry has `root`, `environ` and `kill_after`, in seconds or null. An answer has the exit
    code, which is -9 for a killed run, and the number of requests, which is null for it.
    """
    entries = json.loads((Path(folder) / "race.json").read_text())
    children = [_fork(entry) for entry in entries]
    started = time.monotonic()
    ended: dict[int, int] = {}
    while len(ended) < len(children):
        for child, entry in zip(children, entries, strict=True):
            if child in ended:
                continue
            after = entry["kill_after"]
            if after is not None and time.monotonic() - started >= after:
                os.kill(child, signal.SIGKILL)
            process, status = os.waitpid(child, os.WNOHANG)
            if process:
                ended[child] = os.waitstatus_to_exitcode(status)
        time.sleep(PAUSE_SECONDS)
    answers = [
        {"code": ended[child], "requests": _requests(entry, ended[child])}
        for child, entry in zip(children, entries, strict=True)
    ]
    (Path(folder) / "ended.json").write_text(json.dumps(answers))
    return 0


def _requests(entry: dict[str, str], code: int) -> int | None:
    return None if code < 0 else int(Path(entry["root"], "requests").read_text())


def _fork(entry: dict[str, dict[str, str]]) -> int:
    """Start a run in a process of its own, and return its process id."""
    child = os.fork()
    if child:
        return child
    code = 1
    root = Path(str(entry["root"]))
    try:
        (root / "requests").write_text("0")
        project = load_project(root, environ=entry["environ"])
        result = job.sync(project, clock=SystemClock())
        code = result.exit_code
        (root / "requests").write_text(str(result.as_dict()["segment"]["requests"]))
        if code:
            print([error.message for error in result.errors], file=sys.stderr, flush=True)
    except TailraceError as error:
        code = error.exit_code
        if code != 75:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
    finally:
        os._exit(code)
