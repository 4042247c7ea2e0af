"""The ledger: runs, plans, acknowledgements, rejections and the members of each sync.

It is stored in the warehouse beside the data, so it does not depend on the machine of a run and
changes in the same transactions as the snapshots and outboxes.

A sync is an audience at one destination. Its key, `sync_key`, names its tables and rows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tailrace import __version__
from tailrace.clock import Clock, format_utc
from tailrace.config.installation import upgrade_hint
from tailrace.errors import LedgerGap, LedgerTooNew
from tailrace.warehouse.connection import Warehouse
from tailrace.warehouse.statements import Binding, Column, TableName, query

VERSION = 5
# The version that renamed columns; commands that only read show older tables under the new names.
SYNC_KEY_VERSION = 4
TABLES = (
    "installation",
    "runs",
    "audience_runs",
    "acks",
    "rejections",
    "unconfirmed",
    "extracts",
    "receivers",
    "generations",
    "audience_inputs",
    "lock",
)
# Applied in this order when every transition of an audience run is delivered or rejected.
ADVANCE_STATEMENTS = (
    "delete_replaced_members",
    "insert_delivered_members",
    "carry_rejections",
    "delete_confirmed",
    "insert_unconfirmed",
)


@dataclass(frozen=True, kw_only=True)
class Run:
    """A started run. `started_at` is the planning time of its audiences."""

    seq: int
    id: str
    command: str
    started_at: datetime


@dataclass(frozen=True, kw_only=True)
class Delivered:
    """The last finished run of a sync, which its snapshot reflects."""

    run_seq: int
    definition: str
    definition_fingerprint: str
    mapping: Mapping[str, Any]
    mapping_fingerprint: str
    model_fingerprint: str | None
    rows_seen: int
    rejected: int


@dataclass(frozen=True, kw_only=True)
class PendingDelivery:
    """An audience run whose outbox is committed and not completely delivered."""

    run_seq: int
    run_id: str
    sync_key: str
    mapping: Mapping[str, Any]
    planned_at: datetime
    planned: int
    written_at: datetime


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The columns of a sync's tables: its keys and the other mapped columns."""

    keys: tuple[Column, ...]
    columns: tuple[Column, ...]

    @property
    def lists(self) -> dict[str, Sequence[Column]]:
        return {"keys": self.keys, "columns": self.columns}


@dataclass(frozen=True, kw_only=True)
class Extracted:
    """The latest extract of an object."""

    table: str
    object: str
    complete: bool
    empty: bool
    error: str | None
    finished_at: datetime
    # Fields that are no longer visible, or have a type of another kind, by their API names.
    vanished_fields: tuple[str, ...] = ()


class Ledger:
    """Reads and writes the tables of the ledger. `installed` is False before the first run."""

    def __init__(self, warehouse: Warehouse, *, clock: Clock) -> None:
        self.warehouse = warehouse
        self.clock = clock
        self.dataset = warehouse.project.settings.ledger_dataset
        self.tables = self._own_tables()
        self.namespace = ""
        self.installed = False
        self.version = 0
        self._look()

    def _look(self) -> None:
        if "installation" not in self.warehouse.tables_in(self.dataset):
            return
        for namespace, version in self._run("read_installation"):
            if version > VERSION:
                raise LedgerTooNew(
                    f"The ledger has version {version}, this Tailrace knows up to {VERSION}",
                    hint=upgrade_hint(),
                )
            self.installed, self.namespace, self.version = True, namespace, int(version)
        if self.installed and self.version < SYNC_KEY_VERSION:
            self.tables |= self._older_tables()

    def has_table(self, name: str) -> bool:
        """Whether the ledger has a table yet: one of an older version lacks the newer ones."""
        return self.installed and name in self.warehouse.tables_in(self.dataset)

    def ever_delivered(self) -> bool:
        """Whether any change may have reached any destination."""
        return self.installed and bool(self._run("ever_delivered"))

    def install(self, namespace: str) -> None:
        """Create the tables if they do not exist. `namespace` is random and never changes."""
        if self.installed:
            return
        self.warehouse.create_dataset(self.dataset)
        with self.warehouse.transaction():
            self._run_versions()
            self._run("install", namespace=namespace, version=VERSION, now=self.clock.now())
            self._run("insert_lock", now=self.clock.now())
        self._look()

    def upgrade(self) -> None:
        """Upgrade the tables of an older version. Called under the lock."""
        if self.version < VERSION:
            with self.warehouse.transaction():
                self._run_versions()
                self._run("upgrade", version=VERSION)
            self.version = VERSION
            self.tables = self._own_tables()

    def _run_versions(self) -> None:
        tables = self._own_tables() | {
            "doubtful": TableName(self.dataset, "doubtful"),
            # ALTER TABLE takes the new name without a dataset.
            "unconfirmed": TableName(None, "unconfirmed"),
        }
        for version in range(self.version + 1, VERSION + 1):
            self.warehouse.run_script(f"ledger/version_{version}", tables=tables)

    def _own_tables(self) -> dict[str, Binding]:
        return {name: TableName(self.dataset, name) for name in TABLES}

    def _older_tables(self) -> dict[str, Binding]:
        """Queries that show the tables of older versions with the columns of version 4.

        A command that only reads cannot upgrade the ledger.
        """
        tables = self._own_tables() | {"doubtful": TableName(self.dataset, "doubtful")}
        return {
            name: query(f"ledger/{name}_before_version_4", self.warehouse.dialect, tables=tables)
            for name in ("audience_runs", "acks", "rejections", "unconfirmed")
        }

    def snapshot(self, sync_key: str) -> TableName:
        """The table of a sync's members as last acknowledged."""
        return TableName(self.dataset, f"snapshot__{sync_key}")

    def outbox(self, sync_key: str) -> TableName:
        """The table of a sync's planned transitions."""
        return TableName(self.dataset, f"outbox__{sync_key}")

    def _run(self, name: str, /, **values: Any) -> list[tuple[Any, ...]]:
        return self.warehouse.run(f"ledger/{name}", tables=self.tables, **values)

    # Runs

    def start_run(self, command: str, *, suffix: str, allowed: Sequence[str] = ()) -> Run:
        """Number and save a run. Called under the lock."""
        now = self.clock.now()
        ((seq,),) = self._run("next_run")
        run_id = f"{now:%Y-%m-%dT%H:%M:%SZ}-{suffix}"
        versions = {"tailrace": __version__, "engine": self.warehouse.engine_version}
        self._run(
            "start_run",
            run=seq,
            run_id=run_id,
            command=command,
            now=now,
            versions=json.dumps(versions),
            allowed=json.dumps(list(allowed)),
        )
        return Run(seq=seq, id=run_id, command=command, started_at=now)

    def finish_run(
        self, run: Run, *, exit_code: int, error: BaseException | None, salesforce_calls: int
    ) -> None:
        """Save the end of a run."""
        self._run(
            "finish_run",
            run=run.seq,
            phase="failed" if exit_code in (1, 2) else "done",
            now=self.clock.now(),
            exit_code=exit_code,
            error=None if error is None else type(error).__name__,
            salesforce_calls=salesforce_calls,
        )

    def next_run_seq(self) -> int:
        """The number of the next run."""
        return int(self._run("next_run")[0][0]) if self.installed else 1

    def recent_runs(self, rows_max: int) -> list[dict[str, Any]]:
        """The latest runs, newest first."""
        rows = self._run("recent_runs", rows_max=rows_max) if self.installed else []
        return [
            {
                "run_id": row[1],
                "command": row[2],
                "phase": row[3],
                "started_at": format_utc(row[4]),
                "finished_at": format_utc(row[5]) if row[5] else None,
                "exit_code": row[6],
                "salesforce_calls": row[7],
                "error": row[8],
            }
            for row in rows
        ]

    def audience_status(self) -> list[dict[str, Any]]:
        """The status of each sync after its latest run, in the shape of a result."""
        statuses = {"held": "held", "delivering": "failed", "failed": "failed"}
        return [
            {
                "audience": row[15],
                "destination": row[16],
                "lane": row[0],
                "sync": row[0],
                "status": statuses.get(row[2], "ok" if sum(row[5:8]) else "unchanged"),
                "size_before": row[3],
                "size_after": row[3] if row[2] == "held" else row[4],
                "entered": row[5],
                "changed": row[6],
                "exited": row[7],
                "sent": row[8],
                "rejected": row[9],
                "held": row[10],
                "quarantined": row[11],
                "by_reason": json.loads(row[12]),
                "guards": json.loads(row[13]),
                "finished_at": format_utc(row[14]) if row[14] else None,
            }
            for row in (self._run("latest_audience_runs") if self.installed else [])
            if row[2] != "retired"
        ]

    # Audiences

    def all_sync_keys(self) -> list[str]:
        """The keys of all syncs, retired ones included."""
        return [str(row[0]) for row in self._run("latest_audience_runs")] if self.installed else []

    def sync_keys_of(self, name: str) -> list[str]:
        """The keys of the syncs of an audience, one per destination."""
        rows = self.audience_status()
        sync_keys = [str(row["sync"]) for row in rows if row["audience"] == name]
        return sync_keys or [str(row["sync"]) for row in rows if row["sync"] == name]

    def last_delivered(self, sync_key: str) -> Delivered | None:
        """The run that the snapshot reflects, None before the first delivery."""
        if not self.installed:
            return None
        for row in self._run("last_delivered", sync_key=sync_key):
            return Delivered(
                run_seq=row[0],
                definition=row[1],
                definition_fingerprint=row[2],
                mapping=json.loads(row[3]),
                mapping_fingerprint=row[4],
                model_fingerprint=row[5],
                rows_seen=row[6],
                rejected=row[7],
            )
        return None

    def name_released_at(self, name: str, destination: str) -> int:
        """The last run that released the name of an audience, 0 if there was none."""
        if not self.installed:
            return 0
        return int(self._run("name_released_at", name=name, destination=destination)[0][0])

    def unresolved_counts(self, sync_key: str) -> tuple[int, int]:
        """How many open rejections and unconfirmed keys a sync has."""
        if not self.installed:
            return (0, 0)
        ((rejections, unconfirmed),) = self._run("unresolved_counts", sync_key=sync_key)
        return (int(rejections), int(unconfirmed))

    def pending_deliveries(self) -> list[PendingDelivery]:
        """Audience runs whose delivery was interrupted, oldest first."""
        return [
            PendingDelivery(
                run_seq=row[0],
                run_id=row[1],
                sync_key=row[2],
                mapping=json.loads(row[3]),
                planned_at=row[4],
                planned=row[5],
                written_at=row[6],
            )
            for row in (self._run("pending_deliveries") if self.installed else [])
        ]

    def save_audience_run(self, run: Run, sync_key: str, **values: Any) -> None:
        """Save the plan of a sync."""
        now = self.clock.now()
        self._run("save_audience_run", run=run.seq, sync_key=sync_key, written_at=now, **values)

    def save_inputs(self, run: Run, sync_key: str, fingerprint: str | None) -> None:
        """Replace the fingerprint of a sync's inputs; None deletes it."""
        self._run("delete_inputs", sync_key=sync_key)
        if fingerprint is not None:
            self._run("save_inputs", sync_key=sync_key, run=run.seq, fingerprint=fingerprint)

    def saved_inputs(self) -> dict[tuple[str, int], str]:
        """The fingerprint of each sync's inputs, by sync key and run_seq."""
        if not self.installed or self.version < SYNC_KEY_VERSION:
            return {}
        return {(str(row[0]), int(row[1])): str(row[2]) for row in self._run("read_inputs")}

    def retire(self, sync_key: str) -> None:
        """Close the ledger of a sync. A later audience of the same name starts empty."""
        with self.warehouse.transaction():
            self._run("retire_runs", sync_key=sync_key)
            self.warehouse.run("ledger/drop_table", tables={"dropped": self.snapshot(sync_key)})

    def size(self, sync_key: str) -> int:
        """The number of members in the snapshot."""
        tables = {"snapshot": self.snapshot(sync_key)}
        return int(self.warehouse.run("plan/members", tables=tables)[0][0])

    # Delivery

    def acknowledge(
        self, run_seq: int, sync_key: str, *, first_seq: int, last_seq: int, calls: int
    ) -> None:
        """Record that every transition of a range was delivered or rejected."""
        self._run(
            "acknowledge",
            run=run_seq,
            sync_key=sync_key,
            first_seq=first_seq,
            last_seq=last_seq,
            calls=calls,
            now=self.clock.now(),
        )

    def acknowledged(self, run_seq: int, sync_key: str) -> list[tuple[int, int, int]]:
        """The acknowledged ranges in order: first and last seq, calls."""
        rows = self._run("acknowledged", run=run_seq, sync_key=sync_key)
        return [(int(a), int(b), int(c)) for a, b, c in rows]

    def pending_count(self, run_seq: int, sync_key: str, planned: int) -> int:
        """How many transitions of an audience run have no outcome yet."""
        return planned - _covered(self.acknowledged(run_seq, sync_key))

    def reject(
        self, run_seq: int, sync_key: str, *, seq: int, path: str = "", **values: Any
    ) -> None:
        """Record a rejection. Called in the transaction that acknowledges its range."""
        self._run(
            "reject",
            run=run_seq,
            sync_key=sync_key,
            seq=seq,
            path=path,
            now=self.clock.now(),
            **values,
        )

    def advance(
        self, run_seq: int, sync_key: str, shape: Shape, *, planned: int
    ) -> tuple[int, int]:
        """Apply the delivered transitions of an audience run to the snapshot, in one transaction.

        Returns:
            The numbers of delivered and of rejected transitions.

        Raises:
            LedgerGap: A planned transition is neither delivered nor rejected.
        """
        ranges = self.acknowledged(run_seq, sync_key)
        covered = _covered(ranges)
        if covered != planned:
            raise LedgerGap(f"{sync_key}: {planned} planned, {covered} delivered or rejected")
        ((rejected,),) = self._run("count_rejected", run=run_seq, sync_key=sync_key)
        tables = {
            **self.tables,
            "snapshot": self.snapshot(sync_key),
            "outbox": self.outbox(sync_key),
        }
        names: dict[str, Any] = {"run": run_seq, "sync_key": sync_key, "now": self.clock.now()}
        tables["delivered"] = query(
            "ledger/delivered_transitions",
            self.warehouse.dialect,
            tables=tables,
            run=run_seq,
            sync_key=sync_key,
        )
        with self.warehouse.transaction():
            for name in ADVANCE_STATEMENTS if planned else ():
                self.warehouse.run(f"ledger/{name}", tables=tables, columns=shape.lists, **names)
            self._run("resolve_rejections", **names)
            self._run(
                "finish_audience_run",
                **names,
                phase="done",
                # A rejected member is as before.
                size_after=self.size(sync_key) if rejected else None,
                sent=planned - rejected,
                rejected=rejected,
                calls=sum(calls for _, _, calls in ranges),
            )
        return planned - int(rejected), int(rejected)

    # Upstream

    def save_extract(self, run: Run, **values: Any) -> None:
        """Save the result of one object's extract."""
        self._run("save_extract", run=run.seq, now=self.clock.now(), **values)

    def last_extracts(self) -> dict[str, Extracted]:
        """The latest extract of each object, by table name."""
        if not self.installed:
            return {}
        return {
            row[0]: Extracted(
                table=row[0],
                object=row[1],
                complete=row[2],
                empty=row[3],
                error=row[4],
                finished_at=row[5],
                vanished_fields=tuple(name for name in row[6].split(",") if name),
            )
            for row in self._run("last_extracts")
        }

    def last_salesforce_calls(self) -> int:
        """The API calls that the last extract used."""
        rows = self._run("last_salesforce_calls") if self.installed else []
        return int(rows[0][0]) if rows else 0


def _covered(ranges: Sequence[tuple[int, int, int]]) -> int:
    """The number of different seqs in the ranges, which may overlap after a resume.

    >>> _covered([(1, 3, 0), (2, 5, 0), (7, 7, 0)])
    6
    """
    covered, reached = 0, 0
    for first, last, _ in sorted(ranges):
        if last > reached:
            covered += last - max(first - 1, reached)
            reached = last
    return covered


def gaps(ranges: Sequence[tuple[int, int, int]], planned: int) -> Iterator[tuple[int, int]]:
    """The ranges of 1…planned without an outcome.

    >>> list(gaps([(3, 4, 0)], 6))
    [(1, 2), (5, 6)]
    """
    reached = 0
    for first, last, _ in sorted(ranges):
        if first > reached + 1:
            yield (reached + 1, first - 1)
        reached = max(reached, last)
    if reached < planned:
        yield (reached + 1, planned)
