"""The deliveries of the ledger: acknowledged ranges, rejections, and what advances a snapshot."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, NamedTuple

from tailrace.dataclass import dataclass
from tailrace.errors import LedgerGap
from tailrace.ledger.tables import LedgerTables, Shape
from tailrace.warehouse.statements import Binding, Rows, query, unions

# What is recorded of a rejection.
REJECTION_COLUMNS = (
    "seq",
    "kind",
    "reason",
    "path",
    "status",
    "attempts",
    "message_id",
    "payload",
    "unconfirmed",
)
REJECTIONS_PER_STATEMENT = 500
# Seqs: reading over so many that no row has costs less than another statement.
GAP_READ_MAX = 10_000
# Changed members from which on statistics of a snapshot are collected, and the share of its rows
# that they are at least. Collecting takes 0.3 s for a million rows, whose next plan takes 1.9 s
# instead of 4.9 s (PostgreSQL 16).
STATISTICS_MEMBERS_MIN = 10_000
STATISTICS_SHARE_MIN = 0.1
# Applied to a snapshot only where something was ever rejected or is unconfirmed.
REJECTION_STATEMENTS = ("carry_rejections", "delete_confirmed", "insert_unconfirmed")


class AckRange(NamedTuple):
    """Transitions of an audience run that were delivered or rejected, and their messages."""

    run_seq: int
    sync_key: str
    first_seq: int
    last_seq: int
    calls: int


class Finished(NamedTuple):
    """An audience run with an outcome for each of its `planned` transitions."""

    run_seq: int
    sync_key: str
    shape: Shape
    planned: int


class Advanced(NamedTuple):
    """What an advance applied: delivered and rejected transitions, and acknowledged messages.

    `size_after` is the number of members if a transition was rejected, else None.
    """

    sent: int
    rejected: int
    calls: int
    size_after: int | None = None


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


class _PendingRow(NamedTuple):
    """A row of `ledger/pending_deliveries`. `mapping` is JSON."""

    run_seq: int
    run_id: str
    sync_key: str
    mapping: str
    planned_at: datetime
    planned: int
    written_at: datetime

    def pending(self) -> PendingDelivery:
        return PendingDelivery(**{**self._asdict(), "mapping": json.loads(self.mapping)})


class Deliveries:
    """Reads and writes the tables `acks`, `rejections` and `unconfirmed`, and the snapshots."""

    def __init__(self, tables: LedgerTables) -> None:
        self._tables = tables

    def pending(self) -> list[PendingDelivery]:
        """Audience runs whose delivery was interrupted, oldest first."""
        rows = self._tables.run("pending_deliveries") if self._tables.installed else []
        return [_PendingRow(*row).pending() for row in rows]

    def unresolved_counts(self, sync_key: str) -> tuple[int, int]:
        """How many open rejections and unconfirmed keys a sync has."""
        if not self._tables.installed:
            return (0, 0)
        ((rejections, unconfirmed),) = self._tables.run("unresolved_counts", sync_key=sync_key)
        return (int(rejections), int(unconfirmed))

    def all_unresolved_counts(self) -> dict[str, tuple[int, int]]:
        """`unresolved_counts` of every sync that has any, by its key."""
        rows = self._tables.run("all_unresolved_counts") if self._tables.installed else []
        return {str(key): (int(rejections), int(keys)) for key, rejections, keys in rows}

    def acknowledge(self, ranges: Sequence[AckRange]) -> None:
        """Record that every transition of the ranges was delivered or rejected."""
        if ranges:
            rows = Rows(AckRange._fields, ranges)
            now = self._tables.clock.now()
            self._tables.run("acknowledge", rows={"delivered_ranges": rows}, now=now)

    def acknowledged(self, run_seq: int, sync_key: str) -> list[tuple[int, int, int]]:
        """The acknowledged ranges in order: first and last seq, calls."""
        rows = self._tables.run("acknowledged", run=run_seq, sync_key=sync_key)
        return [(int(a), int(b), int(c)) for a, b, c in rows]

    def open_ranges(self, run_seq: int, sync_key: str) -> list[tuple[int, int]]:
        """The first and last seqs of the transitions in the outbox without an outcome, in order.

        The seqs of a run are 1, 2, 3, … as they are saved. If a tool moved or deleted rows since,
        the ranges begin and end where rows are: a gap of any size is not read, except short ones.
        """
        acknowledged = self.acknowledged(run_seq, sync_key)
        return list(_without(self._saved_ranges(run_seq, sync_key), acknowledged))

    def _saved_ranges(self, run_seq: int, sync_key: str) -> list[tuple[int, int]]:
        """The ranges of seqs of a run in the outbox, with gaps of `GAP_READ_MAX` seqs at most."""
        tables = {"outbox": self._tables.outbox(sync_key)}
        warehouse = self._tables.warehouse
        ((first, last, saved),) = warehouse.run("outbox/seq_range", tables=tables, run=run_seq)
        if not saved:
            return []
        if int(last) - int(first) < int(saved):
            return [(int(first), int(last))]
        ranges = warehouse.run("outbox/seq_ranges", tables=tables, run=run_seq, gap=GAP_READ_MAX)
        return [(int(first), int(last)) for first, last in ranges]

    def pending_count(self, run_seq: int, sync_key: str) -> int:
        """How many transitions of an audience run have no outcome yet."""
        return sum(last - first + 1 for first, last in self.open_ranges(run_seq, sync_key))

    def reject(
        self, run_seq: int, sync_key: str, rejections: Mapping[int, Mapping[str, Any]]
    ) -> None:
        """Record rejections by seq. Called in the transaction that acknowledges their range."""
        _, *names = REJECTION_COLUMNS
        rows = iter(rejections.items())
        while some := tuple(islice(rows, REJECTIONS_PER_STATEMENT)):
            refused = Rows(
                REJECTION_COLUMNS,
                [(seq, *(values.get(name) for name in names)) for seq, values in some],
            )
            self._tables.warehouse.run(
                "ledger/reject",
                tables={**self._tables.tables, "refused": refused},
                run=run_seq,
                sync_key=sync_key,
                now=self._tables.clock.now(),
            )

    def advance(self, runs: Sequence[Finished]) -> list[Advanced]:
        """Apply the delivered transitions of audience runs to their snapshots.

        Called inside a transaction, with one run of a sync. What the ledger has recorded of all of
        them is read by one statement each, and they are finished by one.

        Raises:
            LedgerGap: A planned transition is neither delivered nor rejected.
        """
        keys = Rows(("run_seq", "sync_key"), [(run.run_seq, run.sync_key) for run in runs])
        of_runs = {"audience_run_keys": keys}
        ranges: dict[tuple[int, str], list[tuple[int, int, int]]] = {}
        for run_seq, sync_key, first, last, calls in self._tables.run(
            "acknowledged_of_runs", rows=of_runs
        ):
            ranges.setdefault((run_seq, sync_key), []).append((int(first), int(last), int(calls)))
        rejections = {
            (run_seq, sync_key): (int(rejected), int(earlier), int(unconfirmed))
            for run_seq, sync_key, rejected, earlier, unconfirmed in self._tables.run(
                "count_rejections", rows=of_runs
            )
        }
        now = self._tables.clock.now()
        occupied = self._occupied([run.sync_key for run in runs if run.planned])
        advanced = [
            self._advance(
                run,
                ranges.get((run.run_seq, run.sync_key), []),
                rejections.get((run.run_seq, run.sync_key), (0, 0, 0)),
                now=now,
                is_empty=run.sync_key not in occupied,
            )
            for run in runs
        ]
        finished = Rows(
            ("run_seq", "sync_key", "size_after", "sent", "rejected", "calls"),
            [
                # A rejected member is as before, so that the size differs from the planned one.
                (run.run_seq, run.sync_key, applied.size_after, *applied[:3])
                for run, applied in zip(runs, advanced, strict=True)
            ],
        )
        self._tables.run("finish_audience_runs", rows={"finished": finished}, now=now)
        return advanced

    def _advance(
        self,
        run: Finished,
        ranges: Sequence[tuple[int, int, int]],
        rejections: tuple[int, int, int],
        *,
        now: datetime,
        is_empty: bool,
    ) -> Advanced:
        covered = _covered(ranges)
        if covered != run.planned and not self._is_complete(run):
            raise LedgerGap(
                f"{run.sync_key}: {run.planned} planned, {covered} delivered or rejected"
            )
        names: dict[str, Any] = {"run": run.run_seq, "sync_key": run.sync_key, "now": now}
        rejected, earlier, _ = rejections
        if run.planned:
            statements = [
                *(() if is_empty else ("delete_replaced_members",)),
                "insert_delivered_members",
                *(REJECTION_STATEMENTS if any(rejections) else ()),
            ]
            source = "delivered_transitions" if any(rejections) else "planned_transitions"
            self._apply(run.sync_key, run.shape, names, source, statements)
            self._collect_statistics(run)
        if earlier:
            self._tables.run("resolve_rejections", **names)
        return Advanced(
            sent=run.planned - rejected,
            rejected=rejected,
            calls=sum(calls for _, _, calls in ranges),
            size_after=self._tables.size(run.sync_key) if rejected else None,
        )

    def _collect_statistics(self, run: Finished) -> None:
        """Have the engine collect statistics of a snapshot that was filled or changed much."""
        warehouse = self._tables.warehouse
        if not warehouse.engine.needs_statistics or run.planned < STATISTICS_MEMBERS_MIN:
            return
        snapshot = self._tables.snapshot(run.sync_key)
        known = dict(warehouse.run("warehouse/row_counts", dataset=snapshot.dataset))
        rows = known.get(snapshot.name)
        if rows is None or run.planned >= STATISTICS_SHARE_MIN * rows:
            warehouse.run("ledger/analyze_snapshot", tables={"snapshot": snapshot})

    def _is_complete(self, run: Finished) -> bool:
        """Whether the outbox has all planned transitions, each with an outcome.

        Asked where the acknowledged seqs are not as many as planned, since rows were moved to other
        seqs by hand.
        """
        ((_, _, saved),) = self._tables.warehouse.run(
            "outbox/seq_range",
            tables={"outbox": self._tables.outbox(run.sync_key)},
            run=run.run_seq,
        )
        return int(saved) == run.planned and not self.open_ranges(run.run_seq, run.sync_key)

    def forget_events(
        self,
        sync_key: str,
        timestamp: str,
        *,
        before: datetime,
        key: Sequence[str],
        read: Callable[[], Binding],
    ) -> None:
        """Delete the delivered keys of an event model whose events are older.

        Args:
            sync_key: The event model at one destination.
            timestamp: The column with the time of the event.
            before: The time; older rows are not read any more.
            key: The key columns.
            read: Gives the rows that are still read; called if a row may have got a later time.
        """
        warehouse, snapshot = self._tables.warehouse, self._tables.snapshot(sync_key)
        columns = {column.name: column for column in warehouse.columns_of(snapshot)}
        column = columns.get(timestamp)
        # The snapshot of a file that was an audience before may lack the column.
        if column is None:
            return
        if timestamp in key:
            warehouse.run(
                "plan/forget_events", tables={"snapshot": snapshot}, column=column, before=before
            )
            return
        warehouse.run(
            "plan/forget_unread_events",
            tables={"snapshot": snapshot, "model": read()},
            columns={"keys": [columns[name] for name in key]},
            column=column,
            before=before,
        )

    def _occupied(self, sync_keys: Sequence[str]) -> Collection[str]:
        """The syncs whose snapshot may have rows: a DELETE costs more than to look for one."""
        if len(sync_keys) < 2:
            return sync_keys
        warehouse = self._tables.warehouse
        looked_for = [
            query(
                "ledger/occupied_snapshot",
                warehouse.dialect,
                tables={"snapshot": self._tables.snapshot(sync_key)},
                sync_key=sync_key,
            )
            for sync_key in sync_keys
        ]
        return {
            str(sync_key)
            for union in unions(looked_for)
            for (sync_key,) in warehouse.run(
                "ledger/occupied_snapshots", tables={"each_occupied": union}
            )
        }

    def _apply(
        self,
        sync_key: str,
        shape: Shape,
        names: Mapping[str, Any],
        source: str,
        statements: Sequence[str],
    ) -> None:
        warehouse = self._tables.warehouse
        tables: dict[str, Binding] = {
            **self._tables.tables,
            "snapshot": self._tables.snapshot(sync_key),
            "outbox": self._tables.outbox(sync_key),
        }
        tables["delivered"] = query(f"ledger/{source}", warehouse.dialect, tables=tables, **names)
        for name in statements:
            warehouse.run(f"ledger/{name}", tables=tables, columns=shape.lists, **names)


def _covered(ranges: Sequence[tuple[int, int, int]]) -> int:
    """The number of different seqs in the ranges, which may overlap after a resume.

    >>> _covered([(1, 3, 0), (2, 5, 0), (7, 7, 0)])
    6
    """
    return sum(last - first + 1 for first, last in _united(ranges))


def _united(ranges: Iterable[tuple[int, int, int]]) -> Iterator[tuple[int, int]]:
    """The parts of the ranges that no earlier one has, in order.

    >>> list(_united([(2, 5, 0), (1, 3, 0), (7, 7, 0)]))
    [(1, 3), (4, 5), (7, 7)]
    """
    reached = 0
    for first, last, _ in sorted(ranges):
        if last > reached:
            yield max(first, reached + 1), last
            reached = last


def _without(
    saved: Iterable[tuple[int, int]], acknowledged: Iterable[tuple[int, int, int]]
) -> Iterator[tuple[int, int]]:
    """The parts of the saved ranges, which are in order, without an outcome.

    >>> list(_without([(1, 6), (100, 102)], [(3, 4, 0), (6, 100, 0)]))
    [(1, 2), (5, 5), (101, 102)]
    """
    outcomes = list(_united(acknowledged))
    at = 0
    for first, last in saved:
        open_from = first
        while at < len(outcomes) and outcomes[at][0] <= last:
            start, end = outcomes[at]
            if start > open_from:
                yield open_from, start - 1
            open_from = max(open_from, end + 1)
            if end > last:
                break
            at += 1
        if open_from <= last:
            yield open_from, last
