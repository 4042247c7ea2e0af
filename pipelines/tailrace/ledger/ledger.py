"""The ledger: what was planned, what the receiver acknowledged, and who is a member since.

It lives in the warehouse beside the data, so that it survives the machine of a run, and moves in
one transaction with what it speaks of.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tailrace import __version__
from tailrace.clock import Clock, format_utc
from tailrace.errors import LedgerGap, LedgerTooNew
from tailrace.warehouse.connection import Warehouse
from tailrace.warehouse.statements import Binding, Column, TableName, query

VERSION = 3
# The version that brought `audience_inputs`; a plan reads older ledgers as they are.
INPUTS_VERSION = 3
TABLES = (
    "installation",
    "runs",
    "audience_runs",
    "acks",
    "rejections",
    "doubtful",
    "extracts",
    "lock",
    "receivers",
    "audience_inputs",
)
# What moves when an audience run is settled, in this order.
SETTLING = (
    "forget_members",
    "remember_members",
    "carry_rejections",
    "clear_doubtful",
    "add_doubtful",
)


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run that has begun: its number, its name, and the moment that its plans speak of."""

    seq: int
    id: str
    command: str
    started_at: datetime


@dataclass(frozen=True, kw_only=True)
class Delivered:
    """The last run of an audience that its snapshot stands for."""

    run_seq: int
    definition: str
    definition_fingerprint: str
    mapping: Mapping[str, Any]
    mapping_fingerprint: str
    model_fingerprint: str | None
    rows_seen: int
    rejected: int


@dataclass(frozen=True, kw_only=True)
class Unsettled:
    """An audience run whose outbox is committed and not yet settled."""

    run_seq: int
    run_id: str
    audience: str
    mapping: Mapping[str, Any]
    planned_at: datetime
    planned: int
    written_at: datetime


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The columns of an audience's tables: its keys, and every other column that is mapped."""

    keys: tuple[Column, ...]
    columns: tuple[Column, ...]

    @property
    def lists(self) -> dict[str, Sequence[Column]]:
        return {"keys": self.keys, "columns": self.columns}


@dataclass(frozen=True, kw_only=True)
class Extracted:
    """The last word on a landed object."""

    table: str
    object: str
    complete: bool
    empty: bool
    error: str | None
    finished_at: datetime
    # Fields that are no longer visible, or have a type of another kind, by their API names.
    vanished_fields: tuple[str, ...] = ()


class Ledger:
    """Reads and writes the ledger's tables. `installed` is false where there are none yet."""

    def __init__(self, warehouse: Warehouse, *, clock: Clock) -> None:
        self.warehouse = warehouse
        self.clock = clock
        self.dataset = warehouse.project.settings.ledger_dataset
        self.tables: dict[str, Binding] = {n: TableName(self.dataset, n) for n in TABLES}
        self.namespace = ""
        self.installed = False
        self.version = 0
        self._look()

    def _look(self) -> None:
        if "installation" not in self.warehouse.tables_in(self.dataset):
            return
        for namespace, version in self._run("found_installation"):
            if version > VERSION:
                raise LedgerTooNew(
                    f"The ledger has version {version}, this Tailrace knows up to {VERSION}"
                )
            self.installed, self.namespace, self.version = True, namespace, int(version)

    def has_table(self, name: str) -> bool:
        """Whether the ledger has a table yet: one of an older version lacks the newer ones."""
        return self.installed and name in self.warehouse.tables_in(self.dataset)

    def ever_delivered(self) -> bool:
        """Whether any change may have reached any destination."""
        return self.installed and bool(self._run("ever_delivered"))

    def install(self, namespace: str) -> None:
        """Create the tables, unless they are there; `namespace` is random, once for ever."""
        if self.installed:
            return
        self.warehouse.create_dataset(self.dataset)
        with self.warehouse.transaction():
            self._run_versions()
            self._run("install", namespace=namespace, version=VERSION, now=self.clock.now())
            self._run("put_lock", now=self.clock.now())
        self._look()

    def upgrade(self) -> None:
        """Bring the tables of an older version up to this one. Called under the lock."""
        if self.version < VERSION:
            with self.warehouse.transaction():
                self._run_versions()
                self._run("upgrade", version=VERSION)
            self.version = VERSION

    def _run_versions(self) -> None:
        for version in range(self.version + 1, VERSION + 1):
            self.warehouse.run_script(f"ledger/version_{version}", tables=self.tables)

    def snapshot(self, audience: str) -> TableName:
        """The members of an audience as last acknowledged."""
        return TableName(self.dataset, f"snapshot__{audience}")

    def outbox(self, audience: str) -> TableName:
        """The transitions of an audience, planned and not yet forgotten."""
        return TableName(self.dataset, f"outbox__{audience}")

    def _run(self, name: str, /, **values: Any) -> list[tuple[Any, ...]]:
        return self.warehouse.run(f"ledger/{name}", tables=self.tables, **values)

    # Runs

    def start_run(self, command: str, *, suffix: str, allowed: Sequence[str] = ()) -> Run:
        """Number a run and write it down. Called under the lock."""
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
        """Write down how a run ended."""
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
        """The number that the next run will have."""
        return int(self._run("next_run")[0][0]) if self.installed else 1

    def recent_runs(self, rows_max: int) -> list[dict[str, Any]]:
        """The latest runs, the last one first."""
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

    def standing(self) -> list[dict[str, Any]]:
        """Where each audience stands by its latest run, in the shape of a result."""
        statuses = {"held": "held", "delivering": "failed", "failed": "failed"}
        return [
            {
                "audience": row[15],
                "destination": row[16],
                "lane": row[0],
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

    def every_lane(self) -> list[str]:
        """Every name that the ledger has had for an audience, retired ones too."""
        return [str(row[0]) for row in self._run("latest_audience_runs")] if self.installed else []

    def lanes_of(self, name: str) -> list[str]:
        """What the ledger calls an audience, once for each destination that it went to."""
        standing = self.standing()
        lanes = [str(row["lane"]) for row in standing if row["audience"] == name]
        return lanes or [str(row["lane"]) for row in standing if row["lane"] == name]

    def last_delivered(self, audience: str) -> Delivered | None:
        """What the snapshot of an audience stands for; none before its first delivery."""
        if not self.installed:
            return None
        for row in self._run("last_delivered", audience=audience):
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

    def given_up(self, name: str, destination: str) -> int:
        """The last run at which an audience gave up this name; 0 where none ever did."""
        if not self.installed:
            return 0
        return int(self._run("given_up", name=name, destination=destination)[0][0])

    def pending(self, audience: str) -> tuple[int, int]:
        """How many rejections and doubtful keys an audience has that are not settled."""
        if not self.installed:
            return (0, 0)
        ((rejections, doubtful),) = self._run("pending", audience=audience)
        return (int(rejections), int(doubtful))

    def unsettled(self) -> list[Unsettled]:
        """Audience runs that a run left behind in the middle of their delivery."""
        return [
            Unsettled(
                run_seq=row[0],
                run_id=row[1],
                audience=row[2],
                mapping=json.loads(row[3]),
                planned_at=row[4],
                planned=row[5],
                written_at=row[6],
            )
            for row in (self._run("audience_runs_delivering") if self.installed else [])
        ]

    def record_audience_run(self, run: Run, audience: str, **values: Any) -> None:
        """Write down what a run planned for an audience."""
        now = self.clock.now()
        self._run("record_audience_run", run=run.seq, audience=audience, written_at=now, **values)

    def record_inputs(self, run: Run, audience: str, fingerprint: str | None) -> None:
        """Replace the fingerprint of an audience's inputs; None forgets it."""
        self._run("forget_inputs", audience=audience)
        if fingerprint is not None:
            self._run("record_inputs", audience=audience, run=run.seq, fingerprint=fingerprint)

    def recorded_inputs(self) -> dict[tuple[str, int], str]:
        """The fingerprint of each audience's inputs, by its ledger key and the run's number."""
        if not self.installed or self.version < INPUTS_VERSION:
            return {}
        return {(str(row[0]), int(row[1])): str(row[2]) for row in self._run("recorded_inputs")}

    def retire(self, audience: str) -> None:
        """Close the ledger of an audience; one of the same name would start anew."""
        with self.warehouse.transaction():
            self._run("retire_runs", audience=audience)
            self.warehouse.run("ledger/drop_table", tables={"dropped": self.snapshot(audience)})

    def size(self, audience: str) -> int:
        """How many members the snapshot has."""
        tables = {"snapshot": self.snapshot(audience)}
        return int(self.warehouse.run("plan/members", tables=tables)[0][0])

    # Delivery

    def acknowledge(
        self, run_seq: int, audience: str, *, first_seq: int, last_seq: int, calls: int
    ) -> None:
        """A range of transitions is settled: delivered, or rejected row by row."""
        self._run(
            "acknowledge",
            run=run_seq,
            audience=audience,
            first_seq=first_seq,
            last_seq=last_seq,
            calls=calls,
            now=self.clock.now(),
        )

    def acknowledged(self, run_seq: int, audience: str) -> list[tuple[int, int, int]]:
        """The settled ranges in order: first and last seq, calls."""
        rows = self._run("acknowledged", run=run_seq, audience=audience)
        return [(int(a), int(b), int(c)) for a, b, c in rows]

    def unsettled_count(self, run_seq: int, audience: str, planned: int) -> int:
        """How many transitions of an audience run nothing has settled yet."""
        return planned - _covered(self.acknowledged(run_seq, audience))

    def reject(
        self, run_seq: int, audience: str, *, seq: int, path: str = "", **values: Any
    ) -> None:
        """A transition was refused. Called in the transaction that settles its range."""
        self._run(
            "reject",
            run=run_seq,
            audience=audience,
            seq=seq,
            path=path,
            now=self.clock.now(),
            **values,
        )

    def advance(
        self, run_seq: int, audience: str, shape: Shape, *, planned: int
    ) -> tuple[int, int]:
        """Move the snapshot to what a settled audience run delivered, in one transaction.

        Returns:
            How many transitions were delivered, and how many refused.

        Raises:
            LedgerGap: A planned transition is neither delivered nor refused.
        """
        ranges = self.acknowledged(run_seq, audience)
        covered = _covered(ranges)
        if covered != planned:
            raise LedgerGap(f"{audience}: {planned} planned, {covered} settled")
        ((rejected,),) = self._run("count_rejected", run=run_seq, audience=audience)
        tables = {
            **self.tables,
            "snapshot": self.snapshot(audience),
            "outbox": self.outbox(audience),
        }
        names: dict[str, Any] = {"run": run_seq, "audience": audience, "now": self.clock.now()}
        tables["settled"] = query(
            "ledger/settled", self.warehouse.dialect, tables=tables, run=run_seq, audience=audience
        )
        with self.warehouse.transaction():
            for name in SETTLING if planned else ():
                self.warehouse.run(f"ledger/{name}", tables=tables, columns=shape.lists, **names)
            self._run("resolve_rejections", **names)
            self._run(
                "finish_audience_run",
                **names,
                phase="done",
                # Who was refused has not moved.
                size_after=self.size(audience) if rejected else None,
                sent=planned - rejected,
                rejected=rejected,
                calls=sum(calls for _, _, calls in ranges),
            )
        return planned - int(rejected), int(rejected)

    # Upstream

    def record_extract(self, run: Run, **values: Any) -> None:
        """Write down what an extract landed of one object."""
        self._run("record_extract", run=run.seq, now=self.clock.now(), **values)

    def last_extracts(self) -> dict[str, Extracted]:
        """The last word on each landed object, by its table's name."""
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
    """How many different numbers lie in the ranges, which may overlap after a resume.

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
    """The ranges of 1…planned that nothing has settled yet.

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
