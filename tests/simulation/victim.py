"""A process that runs `sync` again and again, and is killed each time at another point.

Imported once, forked for each death: `python victim.py ROOT HOST KEY BATCH` reads one line a run,
`statement N` to die before the N-th statement or `run` to live, and answers how it ended:
`killed`, or `done` and the number of statements.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from tailrace.clock import SystemClock
from tailrace.config.project import load_project
from tailrace.run import job
from tailrace.warehouse import statements
from tailrace.warehouse.connection import Warehouse
from tailrace.warehouse.sql_files import all_statements


def parse_statements() -> None:
    """Parse every statement of the engine, so that the forks need not."""
    for name in all_statements():
        statements._parsed(name, "duckdb")


def die_before(statement: int) -> None:
    """Let this process be killed, really, before its n-th statement."""
    execute, seen = Warehouse.execute, 0

    def counted(self: Warehouse, sql: str, name: str = "") -> list[tuple[Any, ...]]:
        nonlocal seen
        seen += 1
        if seen == statement:
            os.kill(os.getpid(), signal.SIGKILL)
        return execute(self, sql, name)

    Warehouse.execute = counted  # type: ignore[method-assign]


def live(root: Path, host: str, key: str, batch: str, statement: int | None) -> None:
    """One run in this process, with batches of so many events."""
    (root / "victim.pid").write_text(str(os.getpid()))
    if statement is not None:
        die_before(statement)
    environ = {
        "DESTINATION__SEGMENT__HOST": host,
        "DESTINATION__SEGMENT__WRITE_KEY": key,
        "DESTINATION__SEGMENT__EVENTS_PER_SECOND_MAX": "0",
        "TAILRACE__FIRST_RUN_MEMBERS_MAX": "0",
        "DESTINATION__SEGMENT__BATCH_EVENTS_MAX": batch,
        "DESTINATION__SEGMENT__RETRY_SECONDS_MAX": "2",
    }
    done = job.sync(load_project(root, environ=environ), clock=SystemClock())
    os._exit(done.exit_code)


def main(root: Path, host: str, key: str, batch: str) -> None:
    """Serve one run a line."""
    parse_statements()
    for line in sys.stdin:
        point, _, number = line.strip().partition(" ")
        child = os.fork()
        if child == 0:
            try:
                live(root, host, key, batch, int(number) if point == "statement" else None)
            except BaseException as error:
                print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print("killed" if os.WIFSIGNALED(status) else f"exit {os.WEXITSTATUS(status)}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:5])
