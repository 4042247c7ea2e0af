"""The warehouse: the one place that runs SQL.

What checks a model, and what reads a driver's error, is imported when it is needed.

One connection a run, so that temporary tables and transactions are the run's own. On DuckDB the
connection is opened here and lent to dlt: the file has a single writer, and it is this process.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from copy import copy
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tailrace.config.project import ProjectConfig
from tailrace.errors import (
    ModelDoesNotBind,
    ModelNotRun,
    ReadStopped,
    StatementRefused,
    StateNotSaved,
    WarehouseFailed,
)
from tailrace.warehouse.driver import complete
from tailrace.warehouse.engines import engine_of
from tailrace.warehouse.model_role import (
    WRITES_MODEL_ROWS,
    as_model_role,
    copied_rows,
    grant_created,
)
from tailrace.warehouse.plan_tables import PlanTables
from tailrace.warehouse.session import PIPELINE, Session
from tailrace.warehouse.statements import (
    Binding,
    Bound,
    Column,
    TableName,
    creates_temporary_table,
    is_query,
    runs_query,
    runs_read_only,
    script,
    statement,
)
from tailrace.warehouse.table_versions import TableVersions

if TYPE_CHECKING:
    import dlt
    import pyarrow as pa

    from tailrace.state.session import StateSession

log = logging.getLogger(__name__)

# How long a checkpoint may be delayed by sessions that read.
CHECKPOINT_SECONDS_MAX = 30.0
CHECKPOINT_PAUSE_SECONDS = 0.05
# DuckDB stores a table in groups of this many rows.
ROW_GROUP_ROWS = 122_880
# How many parts of a table a checkpoint may rewrite when tables are compacted.
VACUUM_TASKS_MAX = 100
# The most rows of one statement in a second session during a run, since they are kept in memory.
READ_ROWS_MAX = 100_000
# The part of a streamed result that DuckDB buffers.
STREAMING_BUFFER = "1MiB"


class Warehouse:
    """An open warehouse.

    Attributes:
        dialect: sqlglot's name of the engine's dialect.
        engine: How the engine behaves.
    """

    def __init__(self, project: ProjectConfig, session: Session):
        self.project = project
        self.session = session
        self.dialect = session.dialect
        self.engine = engine_of(session.engine)
        self._transaction_check: Callable[[], None] | None = None
        self._transaction_is_open = threading.Lock()
        self._described = count()
        self.is_confined = False
        self._functions: frozenset[str] | None = None
        # Other tables that models may read, as schema and name.
        self._allowed_tables: set[tuple[str, str]] = set()
        self.plan_tables = PlanTables(self.engine.temporary)
        # The run's session, if this is a second one that only reads.
        self._primary: Warehouse | None = None
        # Set while this process has the lease of the state in `state_url`.
        self.state: StateSession | None = None
        # The folder of the files that are landed after a model has run; None if none are.
        self.landing_folder: Path | None = None
        # Set while this process watches; the second one, if it alone can write the file.
        self.is_watched = False
        self.table_versions: TableVersions | None = None

    @contextmanager
    def landing(self) -> Iterator[dlt.Pipeline]:
        """The dlt pipeline that lands objects over the same connection.

        dlt works in the project's folder while the context is open.
        """
        import dlt

        # A session of dlt's own works in it already.
        context = self.project.dlt_context() if self.engine.is_own_session else nullcontext()
        if self.table_versions is not None:
            self.table_versions.write_all()
        with context:
            yield dlt.pipeline(
                PIPELINE,
                pipelines_dir=str(self.project.state_folder / "pipelines"),
                destination=self.session.destination(is_locked=self.is_confined),
                dataset_name=self.project.settings.dataset,
            )

    @cached_property
    def engine_version(self) -> str:
        """The engine and its version, such as `duckdb v2.0.0`. Fingerprints hold for one."""
        (row,) = self.run("warehouse/version")
        return f"{self.dialect} {row[0]}"

    @property
    def name_bytes_max(self) -> int:
        """The length limit of names. Some engines truncate longer ones without an error."""
        return self.session.name_bytes_max

    def run(
        self,
        name: str,
        /,
        *,
        tables: Mapping[str, Bound] | None = None,
        columns: Mapping[str, Sequence[Column]] | None = None,
        column: Column | None = None,
        **values: Any,
    ) -> list[tuple[Any, ...]]:
        """Run the statement `subject/name` of `sql/` and return its rows.

        Raises:
            WarehouseFailed: The engine refused the statement; the message has no value of a row.
        """
        bindings: dict[str, Any] = {
            "tables": tables, "columns": columns, "column": column, **values
        }  # fmt: skip
        runs_model = runs_query(name, self.dialect, tables)
        log.debug("statement %s", name)
        if self.table_versions is not None and not is_query(name, self.dialect):
            self.table_versions.write((tables or {}).values())
        try:
            if runs_model and self._confines(name):
                return self._run_confined(name, bindings)
            if runs_model and name in WRITES_MODEL_ROWS and self.model_role is not None:
                with copied_rows(self, tables or {}) as copies:
                    bindings["tables"] = copies
                    return self.execute(statement(name, self.dialect, **bindings), name)
            part = self.plan_tables.part_of(name, self.dialect, tables or {})
            rows = self.execute(statement(name, self.dialect, part=part, **bindings), name)
            grant_created(self, name, tables or {})
            return rows
        except StatementRefused as refused:
            refused.runs_query = runs_model
            raise

    @property
    def model_role(self) -> str | None:
        """The role of the server that the SQL of models runs as; None for the connection's user."""
        return self.project.settings.model_role if self.engine.confines_transactions else None

    def _confines(self, name: str) -> bool:
        """Whether a statement that runs a model is made a read-only transaction."""
        return (
            self.engine.confines_transactions
            and not self.in_transaction
            and runs_read_only(name, self.dialect)
        )

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction of several statements is open."""
        return not getattr(self.session.native, "autocommit", True)

    def _run_confined(self, name: str, bindings: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """Run a statement in a transaction that writes to temporary tables only.

        A read-only transaction cannot create a temporary table, so the table is created without
        rows before it.
        """
        creates = creates_temporary_table(name, self.dialect)
        if creates:
            self.execute(statement(name, self.dialect, part="layout", **bindings), name)
            grant_created(self, name, bindings["tables"] or {})
        halves = None
        if self.engine.halves_joins:
            from tailrace.warehouse.halves import halves_of

            halves = halves_of(self, name, bindings)
        sql = statement(name, self.dialect, part="rows" if creates else None, **bindings)
        self.execute(statement("warehouse/begin_model", self.dialect), name)
        try:
            with as_model_role(self):
                return self.execute(halves.or_whole(self, name, sql) if halves else sql, name)
        finally:
            self.execute(statement("warehouse/end_model", self.dialect), name)

    def stream(self, name: str, /, *, piece_rows: int, **bindings: Any) -> Iterator[pa.RecordBatch]:
        """The committed rows of the statement `subject/name`, in batches; for DuckDB only.

        The rows are read in a second session, in the order in which they are stored, so another
        thread may consume the batches while this session continues.

        Raises:
            WarehouseFailed: As of `run`.
        """
        sql = statement(name, self.dialect, **bindings)
        try:
            with self.session.native.cursor() as beside:
                beside.execute(statement("warehouse/keep_order", self.dialect))
                setting = "warehouse/set_streaming_buffer"
                beside.execute(statement(setting, self.dialect, buffer_size=STREAMING_BUFFER))
                yield from complete(beside).sql(sql).to_arrow_reader(piece_rows)
        except Exception as error:
            raise self._refused(error, name) from None

    def run_script(
        self,
        name: str,
        /,
        *,
        tables: Mapping[str, Binding] | None = None,
        columns: Mapping[str, Sequence[Column]] | None = None,
        **values: Any,
    ) -> None:
        """Run the statements under `subject/name` one after the other."""
        for sql in script(name, self.dialect, tables=tables, columns=columns, **values):
            self.execute(sql, name)

    def execute(self, sql: str, name: str = "a statement") -> list[tuple[Any, ...]]:
        """Run rendered SQL; `name` is its name in errors."""
        try:
            if self._primary is None:
                rows = self.session.execute(sql)
            else:
                rows = self.session.native.execute(sql).fetchmany(READ_ROWS_MAX + 1)
        except Exception as error:
            raise self._refused(error, name) from None
        if self._primary is not None and len(rows or ()) > READ_ROWS_MAX:
            raise ReadStopped(f"The answer has more than {READ_ROWS_MAX:,} rows")
        return [tuple(row) for row in rows or ()]

    def _refused(self, error: Exception, name: str) -> BaseException:
        """The error to raise for an error of a statement: the same, unless the engine raised it."""
        from tailrace.warehouse import driver_errors

        if not driver_errors.raised_by_engine(error):
            return KeyboardInterrupt() if driver_errors.stopped_by_signal(error) else error
        if self.engine.loses_sessions:
            self.set_session()
        failure = driver_errors.shortage(error, name)
        if failure is None:
            from tailrace.warehouse.server_failures import server_failure

            failure = server_failure(error, name, self.session, self.project.settings)
        return failure or driver_errors.described(error, name)

    def set_session(self) -> None:
        """Read and compare timestamps in UTC, and set what else the engine's statements rely on."""
        with suppress(Exception):
            self.session.execute(statement("warehouse/set_session", self.dialect))
        if self.dialect == "postgres" and self.session.native is not None:
            from tailrace.warehouse.postgres_times import register_times

            register_times(self.session.native)

    def attempt(self, name: str, /, **bindings: Any) -> bool:
        """Whether a statement succeeds. It runs in a second session if a failure would drop the
        temporary tables of this one."""
        try:
            with self._aside() as warehouse:
                warehouse.run(name, **bindings)
        except StatementRefused:
            return False
        return True

    @contextmanager
    def _aside(self) -> Iterator[Warehouse]:
        if not self.engine.loses_sessions:
            yield self
            return
        beside = self.another()
        try:
            yield beside
        finally:
            beside.close()

    def another(self) -> Warehouse:
        """A second connection to the same warehouse, which does not wait for this one."""
        try:
            warehouse = Warehouse(self.project, self.session.another())
        except Exception as error:
            raise self._refused(error, "a second connection") from None
        warehouse._allowed_tables = self._allowed_tables
        warehouse.is_watched, warehouse.table_versions = self.is_watched, self.table_versions
        warehouse.set_session()
        return warehouse

    def beside(self) -> Warehouse:
        """A second session for another thread, which reads committed rows."""
        warehouse = self.another()
        warehouse._primary = self
        return warehouse

    @property
    def reads_beside_a_run(self) -> bool:
        """Whether this is a second session in the process of a run."""
        return self._primary is not None

    def with_project(self, project: ProjectConfig) -> Warehouse:
        """The same session for a project of other datasets in the same file."""
        warehouse = copy(self)
        warehouse.project = project
        return warehouse

    def close(self) -> None:
        """Close the session."""
        self.session.close()

    def interrupt(self) -> None:
        """Abort the statement that another thread runs in this session; for DuckDB only."""
        self.session.native.interrupt()

    @contextmanager
    def check_transactions(self, check: Callable[[], None]) -> Iterator[None]:
        """Run `check` as the first step of each transaction that begins inside the block.

        The check runs its statements inside that transaction and does not begin another one. If it
        raises, the transaction is rolled back, its body does not run, and the error is raised to
        the caller. Blocks are not nested.
        """
        self._transaction_check = check
        try:
            yield
        finally:
            self._transaction_check = None

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """A transaction: commits at the end of the block, rolls back after any exception or signal.

        Raises:
            WarehouseFailed: The engine could not commit.
        """
        conflicts = self.engine.detects_conflicts and self._transaction_check is not None
        try:
            with (
                self._transaction_is_open if conflicts else nullcontext(),
                self.session.transaction(),
            ):
                try:
                    if self._transaction_check is not None:
                        self._transaction_check()
                    yield
                except Exception:
                    raise
                except BaseException:
                    # After a signal the transaction would stay open, and later writes be lost.
                    self.session.rollback()
                    raise
        except Exception as error:
            refused = self._refused(error, "a transaction")
            if refused is error:
                raise
            if conflicts and self._transaction_check is not None:
                # Another run that took the lock is a conflict too, and it is named.
                self._transaction_check()
            raise refused from None

    @contextmanager
    def outside_transactions(self) -> Iterator[bool]:
        """Whether a second session may change a row that each transaction changes as well.

        Where commits detect conflicts, it may not while a transaction is open, and none begins
        until the end of the block.
        """
        if not self.engine.detects_conflicts:
            yield True
            return
        is_free = self._transaction_is_open.acquire(blocking=False)
        try:
            yield is_free
        finally:
            if is_free:
                self._transaction_is_open.release()

    def save_state(self) -> None:
        """Store the DuckDB file in `state_url`, if the project has one.

        Called by the thread that writes, outside of a transaction. Other sessions may read.

        Raises:
            LeaseLost: Another run took the lease or stored a newer state.
            StateNotSaved: The store or the checkpoint failed.
        """
        if self.state is None:
            return
        log_file = Path(f"{self.project.duckdb_file}.wal")
        clock = self.state.clock
        deadline = clock.monotonic() + CHECKPOINT_SECONDS_MAX
        while True:
            with suppress(WarehouseFailed):
                self.run("warehouse/checkpoint")
            if not log_file.exists() or log_file.stat().st_size == 0:
                break
            if clock.monotonic() >= deadline:
                raise StateNotSaved("The DuckDB file could not be completed by a checkpoint")
            clock.sleep(CHECKPOINT_PAUSE_SECONDS)
        self.state.save()

    def merge_row_groups(self) -> None:
        """Write the rows of many small runs together, in a warehouse that is one file.

        DuckDB gives the rows that a run adds to a table a block of their own, of 256 KiB, however
        few they are.
        """
        if not self.engine.single_writer:
            return
        # Another session may keep it from a checkpoint. A later run tries again.
        with suppress(WarehouseFailed):
            self.run("warehouse/set_vacuum", tasks_max=VACUUM_TASKS_MAX)
            try:
                self.run("warehouse/checkpoint")
            finally:
                self.run("warehouse/set_vacuum", tasks_max=0)

    def require_lease(self) -> None:
        """Check that this run still has the lease of the state; without a `state_url`, nothing.

        Raises:
            LeaseLost: Another run may write the state now.
        """
        if self.state is not None:
            self.state.lease.require()

    def temporary(self, name: str) -> TableName:
        """A temporary table, which only this session can see."""
        return TableName(self.plan_tables.dataset, name)

    def drop_temporary(self, table: TableName) -> None:
        """Drop a temporary table of an earlier step, before it is created again.

        The first call for a table has nothing to drop, since no other session can create it.
        """
        if self.plan_tables.may_exist(table):
            self.run("warehouse/drop_temporary", tables={"dropped": table})

    def columns_of(self, table: TableName) -> tuple[Column, ...]:
        """The columns of a table in their order; empty if the table does not exist."""
        rows = self.run("warehouse/columns", name=table.name, dataset=table.dataset)
        return tuple(Column(str(name).lower(), str(type_)) for name, type_ in rows)

    def columns_in(self, dataset: str) -> dict[str, tuple[Column, ...]]:
        """The columns of every table and view of a dataset, by its name."""
        columns: dict[str, list[Column]] = {}
        for table, name, type_ in self.run("warehouse/columns_in", dataset=dataset):
            columns.setdefault(str(table), []).append(Column(str(name).lower(), str(type_)))
        return {table: tuple(listed) for table, listed in columns.items()}

    def tables_in(self, dataset: str) -> frozenset[str]:
        """The names of the tables and views of a dataset."""
        return frozenset(str(row[0]) for row in self.run("warehouse/tables", dataset=dataset))

    def create_dataset(self, dataset: str) -> None:
        """Create a dataset unless it exists."""
        if self.run("warehouse/dataset", dataset=dataset):
            return
        try:
            self.session.create_dataset(dataset)
        except Exception as error:
            # Another machine may have created it at the same moment.
            if not self.run("warehouse/dataset", dataset=dataset):
                raise self._refused(error, f"a schema for {dataset}") from None

    def confine_models(self) -> None:
        """Restrict an embedded engine before it runs the SQL of a model.

        It then opens no other file, loads no extension, writes no log, and changes only the
        settings that a run needs. This cannot be undone while the file is open, so files are
        loaded before it, or from the one folder that stays open to a process that watches. On a
        server it has no effect, since the server's roles apply.
        """
        if self.is_confined or not self.engine.embedded:
            return
        if self._primary is not None:
            if not self._primary.is_confined:
                # The restriction covers the whole engine, and an extract still has to load files.
                raise ModelNotRun(
                    "no model is run while objects are extracted",
                    hint="Run the same command again when the extract has ended. Its phase is"
                    " shown by: tailrace status",
                )
            return
        if self.landing_folder is not None:
            self.run("warehouse/allow_folder", folder=str(self.landing_folder))
            # dlt sets it in its first load, which may come after the lock.
            self.run("warehouse/defer_checkpoints")
        self.run_script("warehouse/disable_external_access")
        self.run_script("warehouse/lock_configuration")
        self.is_confined = True

    def admit(self, query: Binding, *, file: str | None = None) -> None:
        """Check that a bound model only computes rows from tables, and confine the engine.

        Raises:
            NotAllowedInModel: It calls a function that does more than compute values.
        """
        self.confine_models()
        if isinstance(query, TableName):
            return
        sql = query.wrapped
        if self.dialect == "duckdb":
            from tailrace.warehouse.sandbox import duckdb_violations

            violations = duckdb_violations(sql, stored=self._stored_functions)
        elif self.dialect == "postgres":
            from tailrace.warehouse.postgres_sandbox import postgres_calls, postgres_violations

            calls = sorted(postgres_calls(sql))
            listed = self.run("warehouse/functions", names=",".join(calls)) if calls else []
            violations = postgres_violations(sql, listed)
        else:
            violations = ()
        if violations:
            raise violations[0].as_error(file=file)

    def allow_tables(self, tables: Iterable[tuple[str, str]]) -> None:
        """Let models read other tables than landed ones, by schema and name."""
        self._allowed_tables.update(tables)

    def _stored_functions(self) -> frozenset[str]:
        """The functions of the DuckDB warehouse that are not built in, in lower case."""
        if self._functions is None:
            listed = self.run("warehouse/stored_functions")
            self._functions = frozenset(str(name) for (name,) in listed)
        return self._functions

    def describe(self, query: Binding) -> tuple[Column, ...]:
        """The columns of a query, without running it.

        Raises:
            ModelDoesNotBind: The engine cannot bind it to the existing tables.
            NotAllowedInModel: It does more than compute rows from tables.
        """
        self.admit(query)
        try:
            if self.engine.describes_queries:
                rows = self.run("warehouse/query_columns", tables={"query": query})
                return tuple(Column(str(name).lower(), str(type_)) for name, type_, *_ in rows)
            return self._describe_by_view(query)
        except StatementRefused as error:
            _, _, message = error.message.partition(": ")
            unbound = ModelDoesNotBind(message, hint=ModelDoesNotBind.hint)
            unbound.detail = error.detail
            raise unbound from None

    def _describe_by_view(self, query: Binding) -> tuple[Column, ...]:
        view = self.temporary(f"described_{next(self._described)}")
        # PostgreSQL creates a temporary view under an unqualified name only.
        unqualified = TableName(None, view.name)
        self.run("warehouse/describe", tables={"described": unqualified, "query": query})
        columns = self.columns_of(view)
        violation = None
        if self.dialect == "postgres":
            from tailrace.warehouse.postgres_sandbox import view_violation

            settings = self.project.settings
            schemas = frozenset({settings.dataset, settings.model_dataset})
            violation = view_violation(
                self.run, view.name, schemas=schemas, allowed=self._allowed_tables
            )
        self.run("warehouse/drop_described", tables={"described": view})
        if violation is not None:
            raise violation
        return columns
