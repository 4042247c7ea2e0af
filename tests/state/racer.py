"""A process that lets runs race: each line names machines, whose runs are forked at once.

`python racer.py` reads one JSON array a line, with an object for each run: `root`, `url`, `host`,
`key`, `environ`, `cities`, and `kill_after` in seconds or null. It answers with a JSON array of
`{"code", "requests"}`; the code of a killed run is -9, and its requests are null.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from state.machines import Machine

PAUSE_SECONDS = 0.002


def run(race: dict[str, Any], answer: Path) -> int:
    """One run in this process."""
    machine = Machine(Path(race["root"]), race["url"], None)
    machine.environ |= race["environ"] | {
        "DESTINATION__SEGMENT__HOST": race["host"],
        "DESTINATION__SEGMENT__WRITE_KEY": race["key"],
    }
    done = machine.run_with(race["cities"])
    answer.write_text(json.dumps(done.as_dict()["segment"]["requests"]))
    if done.exit_code not in (0, 75):
        print(f"exit {done.exit_code}: {[error.message for error in done.errors]}", file=sys.stderr)
        sys.stderr.flush()
    return done.exit_code


def fork(race: dict[str, Any], answer: Path) -> int:
    """Start a run in a process of its own, and return its process id."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        code = run(race, answer)
    except BaseException as error:
        code = getattr(error, "exit_code", 1)
        if code == 75:
            answer.write_text("0")
        else:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
    os._exit(code)


def race(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Let the runs race, and kill those that have a time to be killed at."""
    answers = [Path(entry["root"]).with_suffix(".answer") for entry in entries]
    for answer in answers:
        answer.unlink(missing_ok=True)
    started = time.monotonic()
    running = {
        fork(entry, answer): n
        for n, (entry, answer) in enumerate(zip(entries, answers, strict=True))
    }
    codes: dict[int, int] = {}
    while running:
        for process, number in tuple(running.items()):
            after = entries[number]["kill_after"]
            if after is not None and time.monotonic() - started >= after:
                os.kill(process, signal.SIGKILL)
            ended, status = os.waitpid(process, os.WNOHANG)
            if ended:
                del running[process]
                codes[number] = os.waitstatus_to_exitcode(status)
        time.sleep(PAUSE_SECONDS)
    return [
        {
            "code": codes[number],
            "requests": json.loads(answer.read_text()) if answer.exists() else None,
        }
        for number, answer in enumerate(answers)
    ]


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(race(json.loads(line))), flush=True)
