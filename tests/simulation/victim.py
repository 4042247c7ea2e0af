"""A run that is killed: at a statement, or by a signal from outside.

The fork server calls `live` in a process of its own for each run.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tailrace.clock import SystemClock
from tailrace.config.project import load_project
from tailrace.ledger.ledger import Ledger
from tailrace.run import job, saving
from tailrace.run.watch import Watch
from tailrace.warehouse.connection import Warehouse

# So long a run waits for the death of its process; a limit for a hang.
PLANNED_SECONDS_MAX = 60
LIVE = "simulation.victim:live"
LIVE_WITH = "simulation.victim:live_with"
# Reads, settings, and the tables of the session alone.
LEAVES_FILES = re.compile(
    r"(SELECT|SET|CREATE TEMPORARY|ATTACH) "
    r'|(INSERT INTO|(CREATE|DROP) (TABLE|VIEW)( IF EXISTS)?) "(temp|tr__plan)"\.'
)

# The names of a Spark server for folders of tables are its own as well.
LEAVES_TABLES = re.compile(r"(SELECT|WITH|DROP) ")


def at_deaths(act: Callable[[int], None]) -> None:
    """Call with the number of each death, counted from 1, before the statement that it prevents.

    These are the statements that write, and the first one after each of them: before any other
    one, the files are as they were at the death before.
    """
    execute, deaths, wrote = Warehouse.execute, 0, False

    def counted(self: Warehouse, sql: str, name: str = "") -> list[tuple[Any, ...]]:
        nonlocal deaths, wrote
        writes = not LEAVES_FILES.match(sql)
        if writes or wrote:
            deaths += 1
            act(deaths)
        wrote = writes
        return execute(self, sql, name)

    Warehouse.execute = counted  # type: ignore[method-assign]


def die_before(death: int) -> None:
    """Let this process be killed, really, before the n-th statement that may change the files."""
    at_deaths(lambda number: os.kill(os.getpid(), signal.SIGKILL) if number == death else None)


def copy_before(root: Path, deaths: Path) -> None:
    """Copy the files as each death would leave them, to a numbered folder for each.

    The engine keeps nothing of a statement that has ended in this process alone, so that a copy in
    between equals what a killed process leaves. One thread runs all statements.
    """
    thread = threading.get_ident()

    def copy(number: int) -> None:
        assert thread == threading.get_ident()
        copy_state(root, deaths / str(number))

    at_deaths(copy)


def copy_state(root: Path, folder: Path) -> None:
    """Copy what a run leaves in a project: the warehouse's files and the state."""
    shutil.copytree(root / ".tailrace", folder / ".tailrace")
    for file in root.glob("warehouse.duckdb*"):
        shutil.copy(file, folder)


def live(root: str, host: str, key: str, batch: str, deaths: str | None) -> int:
    """One run in this process, with batches of so many events; its exit code.

    With a folder for deaths, the state before each of them is copied there.
    """
    (Path(root) / "victim.pid").write_text(str(os.getpid()))
    if deaths is not None:
        copy_before(Path(root), Path(deaths))
    environ = {
        "DESTINATION__SEGMENT__HOST": host,
        "DESTINATION__SEGMENT__WRITE_KEY": key,
        "DESTINATION__SEGMENT__EVENTS_PER_SECOND_MAX": "0",
        "TAILRACE__FIRST_RUN_MEMBERS_MAX": "0",
        "DESTINATION__SEGMENT__BATCH_EVENTS_MAX": batch,
        "DESTINATION__SEGMENT__RETRY_SECONDS_MAX": "2",
    }
    return job.sync(load_project(Path(root), environ=environ), clock=SystemClock()).exit_code


LIVE_SIDE_BY_SIDE = "simulation.victim:live_side_by_side"


def live_side_by_side(root: str, environ: dict[str, str], death: int) -> int:
    """One run that is killed at the n-th statement of the thread that plans beside it."""
    execute, died = Warehouse.execute, threading.Event()
    beside = 0

    def counted(self: Warehouse, sql: str, name: str = "") -> list[tuple[Any, ...]]:
        nonlocal beside
        if threading.current_thread().name == "plan":
            beside += 1
            if beside == death:
                os.kill(os.getpid(), signal.SIGKILL)
        return execute(self, sql, name)

    def progress(name: str, done: int, total: int) -> None:
        # The run's own thread plans an audience as well, and leaves the others to the thread.
        if name.startswith("plan ") and done:
            died.wait(PLANNED_SECONDS_MAX)

    Warehouse.execute = counted  # type: ignore[method-assign]
    project = load_project(Path(root), environ=environ)
    return job.sync(project, clock=SystemClock(), progress=progress).exit_code


LIVE_SAVING_BESIDE = "simulation.victim:live_saving_beside"


def live_saving_beside(root: str, environ: dict[str, str], death: int) -> int:
    """One run that is killed at the n-th statement of the thread that saves plans beside it."""
    execute, died = Warehouse.execute, threading.Event()
    beside = 0

    def counted(self: Warehouse, sql: str, name: str = "") -> list[tuple[Any, ...]]:
        nonlocal beside
        if threading.current_thread().name == "save":
            beside += 1
            if beside == death:
                os.kill(os.getpid(), signal.SIGKILL)
        elif name == "outbox/enqueue":
            # The run's own thread leaves the other plans to the thread.
            died.wait(PLANNED_SECONDS_MAX)
        return execute(self, sql, name)

    Warehouse.execute = counted  # type: ignore[method-assign]
    saving.BESIDE_MIN = 2
    return job.sync(load_project(Path(root), environ=environ), clock=SystemClock()).exit_code


LIVE_WRITE_BACK = "simulation.victim:live_write_back"


def live_write_back(root: str, url: str, token: str) -> int:
    """One run that writes to a simulated org; its exit code."""
    (Path(root) / "victim.pid").write_text(str(os.getpid()))
    environ = {
        "SOURCES__SALESFORCE__CREDENTIALS__INSTANCE_URL": url,
        "SOURCES__SALESFORCE__CREDENTIALS__ACCESS_TOKEN": token,
        "TAILRACE__FIRST_RUN_MEMBERS_MAX": "0",
    }
    return job.sync(load_project(Path(root), environ=environ), clock=SystemClock()).exit_code


def live_with(root: str, environ: dict[str, str], death: int | None) -> int:
    """One run in this process, with the settings of an environment; its exit code."""
    (Path(root) / "victim.pid").write_text(str(os.getpid()))
    if death is not None:
        die_before(death)
    return job.sync(load_project(Path(root), environ=environ), clock=SystemClock()).exit_code


LIVE_WATCHING = "simulation.victim:live_watching"


def live_watching(root: str, environ: dict[str, str], death: int | None) -> int:
    """Three cycles of a process that watches; its exit code."""
    if death is not None:
        die_before(death)
    project = load_project(Path(root), environ=environ)
    watch = Watch(project, job.run_job(), clock=SystemClock(), every_seconds=1, seconds_max=2)
    return watch.run().exit_code


# A transaction's own statements count: the last one commits it.
LEAVES_DATABASES = re.compile(r"(SELECT|WITH|SHOW|SET|USE|DROP TEMPORARY|CREATE TEMPORARY) ")
LIVE_ON_MARIADB = "simulation.victim:live_on_mariadb"


def live_on_mariadb(root: str, host: str, key: str, death: int | None) -> int:
    """One run on a MariaDB server that dies before a step; 0 counts the steps. Its exit code.

    A step is a statement that writes, as the server gets it, or one that begins or ends a
    transaction.
    """
    from tailrace.warehouse.mariadb.session import MariadbSession

    steps, run = 0, MariadbSession._run

    def counted(self: MariadbSession, sql: str) -> Any:
        nonlocal steps
        if not LEAVES_DATABASES.match(sql):
            steps += 1
            if steps == death:
                os.kill(os.getpid(), signal.SIGKILL)
        return run(self, sql)

    # Runs that create the ledger are compared by the ids of their messages.
    install = Ledger.install
    Ledger.install = lambda self, _: install(self, "one namespace")  # type: ignore[method-assign]
    if death is not None:
        MariadbSession._run = counted  # type: ignore[method-assign]
    project = load_project(Path(root), environ=_few_at_once(host, key))
    done = job.sync(project, clock=SystemClock())
    (Path(root) / "steps").write_text(str(steps))
    return done.exit_code


def _few_at_once(host: str, key: str) -> dict[str, str]:
    """The settings of a run with small batches."""
    return {
        "DESTINATION__SEGMENT__HOST": host,
        "DESTINATION__SEGMENT__WRITE_KEY": key,
        "DESTINATION__SEGMENT__EVENTS_PER_SECOND_MAX": "0",
        "DESTINATION__SEGMENT__BATCH_EVENTS_MAX": "4",
        "DESTINATION__SEGMENT__RETRY_SECONDS_MAX": "2",
        "TAILRACE__FIRST_RUN_MEMBERS_MAX": "0",
    }


LIVE_ON_SPARK = "simulation.victim:live_on_spark"


def live_on_spark(
    root: str, host: str, key: str, storage: str, death: int | None, delay_seconds: float | None
) -> int:
    """One run on a Spark server that dies before a step; 0 counts the steps. Its exit code.

    A step is a statement that writes to the tables, or the write of the catalog that commits. With
    a delay, the step begins, and the process dies so much later: the server goes on with it.
    """
    from tailrace.warehouse.spark.catalog import CatalogFile
    from tailrace.warehouse.spark.server_tables import ServerTables

    steps = 0
    run, commit = ServerTables.run, CatalogFile.commit

    def counted(action: Any) -> Any:
        def step(self: Any, subject: Any) -> Any:
            nonlocal steps
            if action is commit or not LEAVES_TABLES.match(subject):
                steps += 1
                if steps == death and delay_seconds is None:
                    os.kill(os.getpid(), signal.SIGKILL)
                elif steps == death:
                    kill = (os.getpid(), signal.SIGKILL)
                    threading.Timer(delay_seconds, os.kill, kill).start()
            return action(self, subject)

        return step

    if death is not None:
        ServerTables.run, CatalogFile.commit = counted(run), counted(commit)  # type: ignore[method-assign]
    environ = _few_at_once(host, key) | {"DESTINATION__SPARK__STORAGE": storage}
    done = job.sync(load_project(Path(root), environ=environ), clock=SystemClock())
    (Path(root) / "steps").write_text(str(steps))
    return done.exit_code
