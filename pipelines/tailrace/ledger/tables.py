"""The tables that the ledger consists of: names, versions, and statements over them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from tailrace.clock import Clock
from tailrace.config.installation import LEDGER_VERSION as VERSION
from tailrace.config.installation import upgrade_hint
from tailrace.dataclass import dataclass
from tailrace.errors import LedgerTooNew, LockHeld, StatementRefused, WarehouseFailed
from tailrace.warehouse.connection import Warehouse
from tailrace.warehouse.file_facts import FileFacts
from tailrace.warehouse.statements import (
    Binding,
    Bound,
    Column,
    Rows,
    TableName,
    query,
    script,
    unions,
)

# The version that renamed columns; commands that only read show older tables under the new names.
SYNC_KEY_VERSION = 4
# The version that added what the page shows of a run.
PAGE_VERSION = 6
# The version that added the latency of runs and the processes that watch.
WATCH_VERSION = 9
# The version that added the views.
VIEWS_VERSION = 11
# The version of the views as an interface; a renamed or removed column needs a new one.
VIEWS_INTERFACE = 1
# The views that other tools may read; see `views`.
VIEWS = ("v_runs", "v_audience_runs", "v_members", "v_deliveries", "v_rejections")
# A first run creates the tables in a few seconds.
INSTALL_SECONDS_MAX = 60
LOCK_NAME_CHARACTERS_MAX = 64
# What an engine says of a table or a column that was created or renamed before.
_HAS_RUN = re.compile(
    r"already exists|Duplicate column|does ?n[o']t exist|Unknown column|invalid identifier"
    r"|does not have a column",
    re.I,
)
TABLES = (
    "installation",
    "runs",
    "audience_runs",
    "acks",
    "rejections",
    "unconfirmed",
    "extracts",
    "receivers",
    "stopped_destinations",
    "generations",
    "audience_inputs",
    "described_objects",
    "write_jobs",
    "watches",
    "alerts",
    "lock",
)


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The columns of a sync's tables: its keys and the other mapped columns."""

    keys: tuple[Column, ...]
    columns: tuple[Column, ...]

    @property
    def lists(self) -> dict[str, Sequence[Column]]:
        return {"keys": self.keys, "columns": self.columns}


class LedgerTables:
    """The tables of the ledger in an open warehouse: their names, versions and statements.

    Attributes:
        tables: What each name in a statement is bound to; for an older version, queries.
        namespace: Random, and the same for the life of the ledger. Empty before the first run.
        installed: False before the first run.
        version: The version of the tables.
    """

    def __init__(
        self, warehouse: Warehouse, *, clock: Clock, facts: FileFacts | None = None
    ) -> None:
        self.warehouse = warehouse
        self.clock = clock
        self.dataset = warehouse.project.settings.ledger_dataset
        self.tables = self._own_tables()
        self.namespace = ""
        self.installed = False
        self.version = 0
        self._existing: frozenset[str] = frozenset()
        known = facts.get("ledger") if facts is not None else None
        if known is not None and known["dataset"] == self.dataset and known["version"] == VERSION:
            self.installed, self.namespace, self.version = True, known["namespace"], VERSION
            self._existing = frozenset(known["tables"])
        else:
            self._look()

    def as_fact(self) -> dict[str, Any]:
        """What the next process needs not ask for, if no process writes in between."""
        return {
            "dataset": self.dataset,
            "version": self.version,
            "namespace": self.namespace,
            "tables": sorted(self._existing),
        }

    def _look(self) -> None:
        self._existing = self.warehouse.tables_in(self.dataset)
        if "installation" not in self._existing:
            return
        for namespace, version in self.run("read_installation"):
            if version > VERSION:
                raise LedgerTooNew(
                    f"The ledger has version {version}, this Tailrace knows up to {VERSION}",
                    hint=upgrade_hint(),
                )
            self.installed, self.namespace, self.version = True, namespace, int(version)
        if self.installed and self.version < SYNC_KEY_VERSION:
            self.tables |= self._older_tables()
        if self.installed and self.version < PAGE_VERSION:
            self.tables |= {
                name: self._shown(f"{name}_before_version_6", self.tables)
                for name in ("runs", "audience_runs", "extracts")
            }
        if self.installed and self.version < WATCH_VERSION:
            self.tables["runs"] = self._shown("runs_before_version_9", self.tables)

    def has_table(self, name: str) -> bool:
        """Whether the ledger has a table yet: one of an older version lacks the newer ones."""
        return self.installed and name in self._existing

    def ever_delivered(self) -> bool:
        """Whether any change may have reached any destination."""
        return self.installed and bool(self.run("ever_delivered"))

    def install(self, namespace: str) -> None:
        """Create the tables if they do not exist. `namespace` is random and never changes."""
        if self.installed:
            return
        self.warehouse.create_dataset(self.dataset)
        with self._one_installation():
            if not self.installed:
                self._install(namespace)

    @contextmanager
    def _one_installation(self) -> Iterator[None]:
        """Wait for another machine that creates the tables.

        Where each table is committed, this one would take them for those of an interrupted
        installation, and drop them.
        """
        if not self.warehouse.engine.locks_names:
            yield
            return
        name = f"tailrace.{self.dataset}"[:LOCK_NAME_CHARACTERS_MAX]
        ((is_held,),) = self.warehouse.run(
            "warehouse/lock_name", name=name, seconds_max=INSTALL_SECONDS_MAX
        )
        if not is_held:
            raise LockHeld(f"Another run has been creating the ledger for {INSTALL_SECONDS_MAX} s")
        try:
            self._look()
            yield
        finally:
            # A connection that was lost has no lock.
            with suppress(WarehouseFailed):
                self.warehouse.run("warehouse/unlock_name", name=name)

    def _install(self, namespace: str) -> None:
        if self.warehouse.engine.commits_tables:
            self._drop_unfinished()
        try:
            with self.warehouse.transaction():
                self._run_versions()
                self.run("install", namespace=namespace, version=VERSION, now=self.clock.now())
                self.run("insert_lock", now=self.clock.now())
        except WarehouseFailed:
            # Another machine may have created them at the same moment.
            self._look()
            if not self.installed:
                raise
        self._look()

    def _drop_unfinished(self) -> None:
        """Drop what an interrupted installation has left, which holds no row."""
        for name in self._created().keys() & self._existing:
            kind = "view" if name in VIEWS else "table"
            tables = {"built": TableName(self.dataset, name)}
            self.warehouse.run(f"models/drop_{kind}", tables=tables)

    def upgrade(self) -> None:
        """Upgrade the tables of an older version. Called under the lock."""
        if self.version < VERSION:
            before = self.version, self.tables
            try:
                with self.warehouse.transaction():
                    self._run_versions()
                    self.run("upgrade", version=VERSION)
                    self.version, self.tables = VERSION, self._own_tables()
                    self._fill_views()
            except BaseException:
                self.version, self.tables = before
                raise
            self._existing |= {*TABLES, *VIEWS}

    def _fill_views(self) -> None:
        """Show the rows of an upgraded ledger in views that are new in this version."""

    def _run_versions(self) -> None:
        tables = self._created()
        for version in range(self.version + 1, VERSION + 1):
            name = f"ledger/version_{version}"
            if self.installed and self.warehouse.engine.commits_tables:
                # An interrupted upgrade goes on where it stopped.
                self._complete(name, tables)
                self.run("upgrade", version=version)
            else:
                self.warehouse.run_script(name, tables=tables)

    def _complete(self, name: str, tables: Mapping[str, Binding]) -> None:
        """Run the statements of a version that an interrupted upgrade may have run in part."""
        for sql in script(name, self.warehouse.dialect, tables=tables):
            try:
                self.warehouse.execute(sql, name)
            except StatementRefused as refused:
                if not _HAS_RUN.search(refused.message):
                    raise

    def _created(self) -> dict[str, Binding]:
        """What the versions create, rename or drop."""
        return self._own_tables() | {
            "doubtful": TableName(self.dataset, "doubtful"),
            # ALTER TABLE takes the new name without a dataset.
            "unconfirmed": TableName(None, "unconfirmed"),
            **{name: TableName(self.dataset, name) for name in VIEWS},
        }

    def _own_tables(self) -> dict[str, Binding]:
        return {name: TableName(self.dataset, name) for name in TABLES}

    def _older_tables(self) -> dict[str, Binding]:
        """Queries that show the tables of older versions with the columns of version 4.

        A command that only reads cannot upgrade the ledger.
        """
        tables = self._own_tables() | {"doubtful": TableName(self.dataset, "doubtful")}
        return {
            name: self._shown(f"{name}_before_version_4", tables)
            for name in ("audience_runs", "acks", "rejections", "unconfirmed")
        }

    def _shown(self, name: str, tables: Mapping[str, Binding]) -> Binding:
        return query(f"ledger/{name}", self.warehouse.dialect, tables=tables)

    def snapshot(self, sync_key: str) -> TableName:
        """The table of a sync's members as last acknowledged."""
        return TableName(self.dataset, f"snapshot__{sync_key}")

    def outbox(self, sync_key: str) -> TableName:
        """The table of a sync's planned transitions."""
        return TableName(self.dataset, f"outbox__{sync_key}")

    def size(self, sync_key: str) -> int:
        """The number of members in the snapshot."""
        tables = {"snapshot": self.snapshot(sync_key)}
        return int(self.warehouse.run("plan/members", tables=tables)[0][0])

    def sizes(self, sync_keys: Sequence[str]) -> dict[str, int]:
        """The numbers of members in the snapshots of syncs, which must exist."""
        sizes = [
            query(
                "plan/size",
                self.warehouse.dialect,
                tables={"snapshot": self.snapshot(sync_key)},
                sync_key=sync_key,
            )
            for sync_key in sync_keys
        ]
        return {
            str(sync_key): int(members)
            for union in unions(sizes)
            for sync_key, members in self.warehouse.run("plan/sizes", tables={"each_size": union})
        }

    def run(
        self, name: str, /, *, rows: Mapping[str, Rows] | None = None, **values: Any
    ) -> list[tuple[Any, ...]]:
        """The rows of a statement of `sql/ledger/` over the ledger's tables and over `rows`."""
        tables: Mapping[str, Bound] = {**self.tables, **(rows or {})}
        return self.warehouse.run(f"ledger/{name}", tables=tables, **values)
