"""Opens the warehouse of a project: a DuckDB file, a server, or a database in memory for tests."""

from __future__ import annotations

import logging
import os
import re
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tailrace.clock import Clock
from tailrace.config.check import check_model_role, check_path
from tailrace.config.project import ProjectConfig, did_you_mean
from tailrace.errors import (
    ConfigurationError,
    LockHeld,
    MissingCredential,
    NothingLanded,
    TailraceError,
    WarehouseFailed,
    hint_about,
)
from tailrace.warehouse.connection import ROW_GROUP_ROWS, VACUUM_TASKS_MAX, Warehouse
from tailrace.warehouse.driver import driver
from tailrace.warehouse.endpoint_file import find_endpoint
from tailrace.warehouse.file_facts import FileFacts
from tailrace.warehouse.session import DltSession, DuckdbOptions, DuckdbSession
from tailrace.warehouse.statements import TableName
from tailrace.warehouse.templates import rendered_sql_kept

if TYPE_CHECKING:
    import duckdb

    from tailrace.state.manifest import Engine
    from tailrace.state.session import Opened, StateSession
    from tailrace.state.store import Store

log = logging.getLogger(__name__)

# The pause between two attempts to open a DuckDB file that another process has open.
OPEN_PAUSE_SECONDS = 0.2
# A table is rewritten when deleted rows are more than this share of it.
DELETED_SHARE_MAX = 0.25
# What the tests of a project's models may use.
TEST_MEMORY = "1GiB"
CONTAINER_MEMORY = Path("/sys/fs/cgroup/memory.max")
NO_PERMISSION = re.compile(r"Permission denied|Read-only file system")
# How often this process has a file open. Nothing else reads a file meanwhile; see `file_facts`.
_OPEN_FILES: Counter[str] = Counter()
# The form of `credentials` for the warehouses that take a URL.
CREDENTIALS = {
    "postgres": "postgresql://user:password@host:5432/database",
    "redshift": "redshift://user:password@host:5439/database",
    "snowflake": "snowflake://user:password@account/database?warehouse=NAME&role=NAME",
    "mssql": "mssql://user:password@host:1433/database",
    "synapse": "synapse://user:password@host:1433/database",
    "clickhouse": "clickhouse://user:password@host:9000/database",
}


@contextmanager
def open_to_read(source: ProjectConfig | Warehouse, *, clock: Clock) -> Iterator[Warehouse]:
    """The warehouse of a project, opened read-only; an open warehouse is yielded as it is.

    Raises:
        LockHeld: As of `open_warehouse`.
        NothingLanded: As of `open_warehouse`.
        ConfigurationError: As of `open_warehouse`.
    """
    if isinstance(source, Warehouse):
        yield source
        return
    with open_warehouse(source, clock=clock, read_only=True) as warehouse:
        yield warehouse


@contextmanager
def open_warehouse(
    project: ProjectConfig,
    *,
    clock: Clock,
    read_only: bool = False,
    wait_seconds_max: float | None = None,
    refresh: bool = True,
    store: Store | None = None,
    run_id: str = "",
    facts: FileFacts | None = None,
) -> Iterator[Warehouse]:
    """Open the project's warehouse; on DuckDB, no other process can open the file meanwhile.

    With a `state_url`, the newest state is pulled first. A writer holds its lease, and stores the
    file at the end of the block.

    Args:
        project: The project.
        clock: The time source.
        read_only: Open it to read only.
        wait_seconds_max: How long to wait for another process that has the DuckDB file open
            (default: `lock_wait_seconds_max`).
        refresh: With a `state_url`, pull the newest state; else read the copy of this machine.
        store: Where the state is kept (default: the store of `state_url`).
        run_id: The name in the lease of the state, for the messages of other processes.
        facts: What is known of the DuckDB file, for a writer; see `file_facts`.

    Raises:
        LockHeld: Another process has the DuckDB file open, or another run has the state's lease.
        NothingLanded: `read_only`, and there is no file yet.
        ConfigurationError: The destination is unknown or its credentials do not work.
        StateNotSaved: The block ended, and the state could not be stored.
    """
    if wait_seconds_max is None:
        wait_seconds_max = project.settings.lock_wait_seconds_max
    state: StateSession | None = None
    with ExitStack() as stack:
        if project.settings.state_url is not None:
            # Other projects do not pay for importing it.
            from tailrace.state.session import Opened, open_to_read

            engine = duckdb_engine()
            opened = Opened(project=project, clock=clock, engine=engine, store=store, run_id=run_id)
            if read_only:
                stack.enter_context(
                    open_to_read(opened, wait_seconds_max=wait_seconds_max, refresh=refresh)
                )
            else:
                state = stack.enter_context(_state_to_write(opened, wait_seconds_max))
        warehouse = stack.enter_context(
            _open(project, clock, facts, read_only=read_only, wait_seconds_max=wait_seconds_max)
        )
        if state is not None:
            warehouse.state, state.is_opened = state, True
        yield warehouse


@contextmanager
def _state_to_write(opened: Opened, wait_seconds_max: float) -> Iterator[StateSession]:
    """The state with its lease; the error about another run on this machine names that run."""
    from tailrace.state.session import open_to_write

    with ExitStack() as stack:
        try:
            state = stack.enter_context(open_to_write(opened, wait_seconds_max=wait_seconds_max))
        except LockHeld as error:
            raise _named(opened.project, error) from None
        yield state


def duckdb_engine() -> Engine:
    """The version of DuckDB, and of the files that it can read."""
    import duckdb

    from tailrace.state.manifest import Engine

    return Engine(version=duckdb.__version__, storage_version_max=_storage_version_max)


def complete_duckdb_file(file: Path) -> None:
    """Write the log of a DuckDB file that no process has open into the file.

    Raises:
        LockHeld: Another process has it open.
        ConfigurationError: It is not a DuckDB file.
    """
    import duckdb

    try:
        duckdb.connect(str(file)).close()
    except duckdb.IOException as error:
        if "lock" in str(error):
            raise LockHeld(f"Another process has {file.name} open") from None
        raise _cannot_open(file, error) from None
    except duckdb.Error as error:
        raise _cannot_open(file, error) from None


def _storage_version_max() -> int:
    """The storage version of a file that DuckDB creates in its newest format."""
    import duckdb

    from tailrace.state.manifest import storage_version_of

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "newest.duckdb"
        duckdb.connect(str(file), config={"storage_compatibility_version": "latest"}).close()
        return storage_version_of(file.read_bytes()[:64])


@contextmanager
def open_in_memory(project: ProjectConfig) -> Iterator[Warehouse]:
    """An empty DuckDB database in memory with the project's names of datasets, for its tests."""
    import duckdb

    # Test data is small: a second thread would take longer to start than to help.
    config: DuckdbOptions = {
        "threads": 1,
        "memory_limit": TEST_MEMORY,
        "autoinstall_known_extensions": False,
    }
    connection = duckdb.connect(":memory:", config=config)
    try:
        warehouse = Warehouse(project, DuckdbSession(connection))
        warehouse.set_session()
        yield warehouse
    finally:
        connection.close()


@contextmanager
def _open(
    project: ProjectConfig,
    clock: Clock,
    facts: FileFacts | None,
    *,
    read_only: bool,
    wait_seconds_max: float,
) -> Iterator[Warehouse]:
    check_path(project)
    check_model_role(project)
    with rendered_sql_kept(project.root / ".tailrace"), ExitStack() as stack:
        if project.settings.warehouse == "spark":
            # Other projects do not pay for importing it.
            from tailrace.warehouse.spark.opening import open_spark

            opened = open_spark(
                project, clock=clock, read_only=read_only, wait_seconds_max=wait_seconds_max
            )
            yield Warehouse(project, stack.enter_context(opened))
            return
        if project.settings.warehouse == "mariadb":
            # Other projects do not pay for importing it.
            from tailrace.warehouse.mariadb.opening import open_mariadb

            warehouse = Warehouse(project, stack.enter_context(open_mariadb(project)))
            yield warehouse
            return
        file = str(project.duckdb_file.absolute())
        is_known = facts is not None and project.settings.warehouse == "duckdb" and not read_only
        if facts is not None and is_known and not _OPEN_FILES[file]:
            facts.before_opening()
        session = _open_in_process(
            project, clock=clock, read_only=read_only, wait_seconds_max=wait_seconds_max
        )
        if session is None:
            stack.enter_context(project.dlt_context())
            warehouse = _connected(project)
            stack.callback(warehouse.close)
            yield warehouse
            return
        is_alone = not _OPEN_FILES[file]
        _OPEN_FILES[file] += 1
        stack.callback(_close, session, file, facts if is_known and is_alone else None)
        warehouse = Warehouse(project, session)
        warehouse.set_session()
        if facts is not None and is_known:
            facts.opened()
        yield warehouse
        # It may fail while another connection is open. The next run tries again.
        with suppress(WarehouseFailed):
            if facts is not None and facts.are_kept:
                warehouse.run("warehouse/checkpoint")
                facts.closing()
            elif not read_only and warehouse.engine.single_writer:
                _compact(warehouse)


def _close(session: DuckdbSession, file: str, facts: FileFacts | None) -> None:
    """Close a database, and then keep what is known of its file."""
    session.close_database()
    _OPEN_FILES[file] -= 1
    if facts is not None and not _OPEN_FILES[file]:
        facts.closed()


def _open_in_process(
    project: ProjectConfig, *, clock: Clock, read_only: bool, wait_seconds_max: float
) -> DuckdbSession | None:
    """A session with DuckDB in this process; None for a server."""
    config: DuckdbOptions = {
        "memory_limit": f"{int(_memory_bytes() * project.settings.memory_share_max) >> 20}MiB",
        "preserve_insertion_order": False,
        "autoinstall_known_extensions": False,
    }
    name = project.settings.warehouse
    if name == "ducklake":
        # Other projects do not pay for importing it.
        from tailrace.warehouse import ducklake

        def open_once() -> DuckdbSession:
            return ducklake.connect(project, config, read_only=read_only)
    elif name == "duckdb":

        def open_once() -> DuckdbSession:
            return DuckdbSession(_open_duckdb(project, config, read_only=read_only))
    else:
        return None
    deadline = clock.monotonic() + wait_seconds_max
    waits = False
    while True:
        try:
            return open_once()
        except LockHeld:
            if clock.monotonic() >= deadline:
                raise
            if not waits:
                log.info("waiting for the process that has the warehouse open")
                waits = True
            clock.sleep(OPEN_PAUSE_SECONDS)


def _compact(warehouse: Warehouse) -> None:
    """Rewrite tables in which the share of deleted rows exceeds the limit, to free their space."""
    for dataset, name, stored in warehouse.run("warehouse/large_tables", rows_min=ROW_GROUP_ROWS):
        table = {"counted": TableName(dataset, name)}
        ((rows,),) = warehouse.run("warehouse/count_rows", tables=table)
        if stored - rows > stored * DELETED_SHARE_MAX:
            warehouse.run("warehouse/set_vacuum", tasks_max=VACUUM_TASKS_MAX)
            warehouse.run("warehouse/checkpoint")
            return


def _connected(project: ProjectConfig) -> Warehouse:
    import dlt

    name = project.settings.warehouse
    try:
        # The project raises its own error first, since dlt does not read a target's files.
        destination = dlt.destination(name, credentials=project.warehouse_credentials(name))
        warehouse = Warehouse(project, _session(project, destination))
    except Exception as error:
        raise _cannot_connect(name, error) from None
    try:
        if warehouse.dialect == "postgres":
            from tailrace.warehouse.postgres_pool import require_own_session

            require_own_session(warehouse)
    except BaseException:
        warehouse.close()
        raise
    warehouse.set_session()
    return warehouse


def _session(project: ProjectConfig, destination: Any) -> DltSession:
    name = project.settings.warehouse
    if name != "snowflake":
        # Several machines may write to MotherDuck, whose dialect is DuckDB's.
        engine = name if name == "motherduck" else None
        return DltSession(destination, project.settings.dataset, engine)
    # Other projects do not pay for importing it.
    from tailrace.warehouse.snowflake import SnowflakeSession

    return SnowflakeSession(destination, project.settings.ledger_dataset)


def _cannot_connect(name: str, error: Exception) -> TailraceError:
    import dlt
    from dlt.common.configuration.exceptions import (
        ConfigFieldMissingException,
        InvalidNativeValue,
    )
    from dlt.common.destination.exceptions import UnknownDestinationModule
    from dlt.common.exceptions import MissingDependencyException

    from tailrace.config.installation import install_command
    from tailrace.warehouse.driver_errors import describe_error
    from tailrace.warehouse.postgres_failures import connection_failure

    if isinstance(error, UnknownDestinationModule):
        suggestion = did_you_mean(name, dlt.destinations.__all__)
        return ConfigurationError(f'dlt knows no warehouse "{name}".{suggestion}')
    if isinstance(error, ConfigFieldMissingException):
        return MissingCredential(
            f"destination.{name}.credentials is missing or incomplete",
            hint=f"Put credentials under [destination.{name}] in .dlt/secrets.toml{_example(name)}",
        )
    if isinstance(error, InvalidNativeValue):
        return ConfigurationError(
            f"destination.{name}.credentials is not a connection string",
            hint=f"Correct credentials under [destination.{name}] in .dlt/secrets.toml"
            f"{_example(name)}",
        )
    if isinstance(error, MissingDependencyException):
        missing = ", ".join(error.dependencies)
        command = install_command(name) if name == "postgres" else f'pip install "dlt[{name}]"'
        return ConfigurationError(
            f"The warehouse {name} needs a package that is not installed: {missing}",
            hint=f"Install it with: {command}",
        )
    known = connection_failure(error) if name == "postgres" else None
    return known or ConfigurationError(
        f"The warehouse {name} cannot be opened: {describe_error(error)}"
    )


def _example(name: str) -> str:
    if name in CREDENTIALS:
        return f', such as: "{CREDENTIALS[name]}".'
    return f". The keys are on https://dlthub.com/docs/dlt-ecosystem/destinations/{name}"


def _open_duckdb(
    project: ProjectConfig,
    config: DuckdbOptions,
    *,
    read_only: bool,
) -> duckdb.DuckDBPyConnection:
    file = project.duckdb_file
    if read_only and not file.exists():
        raise NothingLanded(f"There is no {file.name} yet: nothing has landed in the warehouse")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _cannot_open(file, error) from None
    options = {
        **config,
        # DuckDB 1.5 can open a file with this storage version too.
        "storage_compatibility_version": "v1.5.0",
        # Otherwise each checkpoint rewrites the end of a table where a run changed a few rows.
        "max_vacuum_tasks": 0,
    }
    try:
        opened: duckdb.DuckDBPyConnection = driver().connect(
            str(file), read_only=read_only, config=options
        )
        return opened
    except driver().IOException as error:
        if "lock" not in str(error):
            raise _cannot_open(file, error) from None
        raise _file_held(project, str(error)) from None
    except driver().Error as error:
        raise _cannot_open(file, error) from None


def _file_held(project: ProjectConfig, reason: str) -> LockHeld:
    """The error about another process, which may have published the name of its run."""
    owner = re.search(r"PID (\d+)", reason)
    address = find_endpoint(project)
    run_id = address.run_id if address and owner and int(owner[1]) == address.process else ""
    held = ", ".join(([owner[0]] if owner else []) + ([run_id] if run_id else []))
    name = project.duckdb_file.name
    message = f"Another process has {name} open{f' (held by {held})' if held else ''}"
    return LockHeld(message, hint=hint_about(run_id))


def _named(project: ProjectConfig, error: LockHeld) -> LockHeld:
    """The error with the name of the run on this machine that holds the state, if it is known."""
    address = find_endpoint(project)
    if address is None or not address.run_id or address.run_id in error.message:
        return error
    message = f"{error.message} (held by PID {address.process}, {address.run_id})"
    return LockHeld(message, hint=hint_about(address.run_id))


def _memory_bytes() -> int:
    """The memory of this machine, or the limit of its container if that is lower."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        allowed = int(CONTAINER_MEMORY.read_text())
    except (OSError, ValueError):
        return physical
    return min(physical, allowed)


def _cannot_open(file: Path, error: Exception) -> ConfigurationError:
    reason = str(error).splitlines()[0]
    hint = (
        "Check credentials under [destination.duckdb] in .dlt/config.toml, then run: "
        "tailrace doctor"
    )
    if NO_PERMISSION.search(reason):
        hint = f"Give this user the right to write {file.name} and its folder."
    return ConfigurationError(f"{file.name} cannot be opened as a DuckDB file: {reason}", hint=hint)
