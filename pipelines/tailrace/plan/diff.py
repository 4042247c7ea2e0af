"""The diff: an audience's rows of today compared with its members as last acknowledged.

It runs inside the warehouse and leaves one temporary table of transitions; the ledger is only
read. Reasons, resends and suppressed transitions are added to that table afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field, replace
from datetime import datetime
from typing import Any, NamedTuple

from tailrace.audience.audience import Audience
from tailrace.dataclass import dataclass
from tailrace.errors import KeyTypeChanged
from tailrace.ledger.audiences import Delivered
from tailrace.ledger.ledger import Ledger
from tailrace.ledger.tables import Shape
from tailrace.plan.equal_values import columns_compared_here, take_equal_values
from tailrace.plan.model_fingerprint import Measurement, ModelFingerprint, hashed_lists
from tailrace.plan.policy import Intent, ResolvedPolicy
from tailrace.plan.pooled_reads import PLACES, Read, Steps, run_alone
from tailrace.plan.recorded import Recorded
from tailrace.plan.rejected_resends import plan_rejected
from tailrace.plan.row_hash import hash_complements
from tailrace.plan.snapshot_schema import (
    SchemaChange,
    has_keys,
    is_castable,
    require_no_rename,
    schema_change,
)
from tailrace.plan.transition_group import COLUMN_GROUPS, TransitionGroup, summary_lists
from tailrace.warehouse.statements import Binding, Bound, Column, TableName, UnionAll, query

BAD_KEY_SAMPLES_MAX = 3

# Temporary tables by their names in `sql/plan`; the warehouse's names end with the audience's.
_TEMPORARY_TABLES = {
    "transitions": "transitions",
    "bad_keys": "bad_keys",
    "shared_message_ids": "shared_ids",
    "earlier": "earlier",
    "last_attempts": "attempts",
}


class BadKey(NamedTuple):
    """A key that is NULL in a part or not unique, and the number of rows that have it."""

    key: tuple[Any, ...]
    rows: int


class MoveCounts(NamedTuple):
    """How many keys entered and exited."""

    entered: int
    exited: int


@dataclass(frozen=True, kw_only=True)
class DiffRequest:
    """An audience to compare: its bound model, and what was delivered before.

    A change on hold is computed like one that is sent, so that the plan can show it.
    """

    audience: Audience
    model: Binding
    shape: Shape
    delivered: Delivered | None
    edited: bool
    earlier: Binding | None
    upstream: tuple[str, ...]
    now: datetime
    run_seq: int
    upstream_is_declared: bool = False
    remapped: bool = False
    policy: ResolvedPolicy = field(default_factory=ResolvedPolicy)
    intent: Intent = "changes"
    # Marks changes that the receiver refuses or has already; returns the number of the latter.
    mark_rows: Callable[[Ledger, TableName], int] | None = None
    # All rows of the model, if consent keeps some of them out of `model`.
    regardless_of_consent: Binding | None = None

    @property
    def resends_mapping(self) -> bool:
        """Whether members without changes are sent again because the mapping changed."""
        return self.remapped and self.policy.on_mapping_change != "accept"

    @property
    def sends_new_columns(self) -> bool:
        """Whether members with a value in a new column are changed by it."""
        return self.policy.on_new_column != "accept"


@dataclass(frozen=True, kw_only=True)
class Diff:
    """The result of a diff. `transitions` is a temporary table of the run's session.

    `unconverted` counts the members whose value differs in a column with another type than before,
    to which its recorded values cannot be converted; `on_new_column` decides what is sent of them.
    `first_version` is the base version of a member that the snapshot never had. `current` counts
    the changes that are not sent because the receiver has their values already.
    """

    transitions: TableName
    rows_seen: int
    fingerprint: str | None
    size_before: int
    size_after: int
    quarantined: int
    null_keys: int = 0
    rejections: int = 0
    unconfirmed: int = 0
    bad_keys: tuple[BadKey, ...] = ()
    shared_message_ids: int = 0
    shared_message_id_keys: tuple[tuple[Any, ...], ...] = ()
    groups: tuple[TransitionGroup, ...] = ()
    schema_change: SchemaChange = field(default_factory=SchemaChange)
    reset_columns: frozenset[str] = frozenset()
    unconverted: int = 0
    restart: bool = False
    unchanged: bool = False
    first_version: int = 0
    current: int = 0


def diff(ledger: Ledger, request: DiffRequest, *, recorded: Recorded) -> Diff:
    """Compare an audience with its snapshot.

    Raises:
        KeyTypeChanged: The delivered members have another key, or one of another type.
        StatementRefused: The model fails on a row.
    """
    return run_alone(ledger.warehouse, diff_steps(ledger, request, recorded=recorded))


def diff_steps(ledger: Ledger, request: DiffRequest, *, recorded: Recorded) -> Steps[Diff]:
    """The same as steps, whose reads may be those of several audiences."""
    return _Comparison(ledger, request, recorded).steps()


class _Comparison:
    """The steps of one diff, over the temporary tables that it creates."""

    def __init__(self, ledger: Ledger, request: DiffRequest, recorded: Recorded) -> None:
        self.warehouse = ledger.warehouse
        self.ledger = ledger
        self.recorded = recorded
        self.request = request
        name = request.audience.ledger_key
        self.names = {
            table: self.warehouse.temporary(f"{prefix}__{name}")
            for table, prefix in _TEMPORARY_TABLES.items()
        }
        self.tables: dict[str, Bound] = {
            **ledger.tables,
            **self.names,
            "model": request.model,
            "outbox": ledger.outbox(name),
        }
        self.schema_change = SchemaChange()
        self.reset_columns: frozenset[str] = frozenset()
        self.restart = False
        self.is_new = False
        self.current = 0
        # At most so many transitions can there be, once it is known.
        self.rows_max = 0
        self.rejections, self.unconfirmed = recorded.unresolved_counts(name)
        # A former audience of this name already sent `entered` for these keys, so those messageIds
        # are used up.
        audience = request.audience
        destination = audience.destination_name
        self.first_version = -recorded.name_released_at(audience.name, destination)

    def steps(self) -> Steps[Diff]:
        self._find_snapshot()
        is_first = self.request.delivered is None
        if is_first:
            # All rows of the model are transitions, which are measured instead: it runs once.
            self._find_transitions()
        measurement = self._measurement()
        measured = yield from measurement.steps(
            self.names["transitions"] if is_first else self.request.model
        )
        size_before = self._count_members()
        self.rows_max = measured.rows + size_before
        if self._is_unchanged(measured):
            return Diff(
                transitions=self.names["transitions"],
                rows_seen=measured.rows,
                fingerprint=measured.text,
                size_before=size_before,
                size_after=size_before,
                quarantined=0,
                unchanged=True,
            )
        unconverted = self._count_unconverted()
        if not is_first:
            self._find_transitions()
            measured = measurement.completed(measured, self.names["transitions"])
        moves, quarantined, null_keys, bad_keys = yield from self._check_keys(
            measured.rows, size_before
        )
        shared, shared_keys = self._check_message_ids()
        if shared:
            moves = self._count_moves()
        self._complete_transitions(is_quarantined=bool(quarantined))
        growth = moves.entered - moves.exited
        if self.request.intent == "retry":
            ((growth,),) = self._run("growth")
        groups = yield from self._groups()
        return Diff(
            transitions=self.names["transitions"],
            rows_seen=measured.rows,
            fingerprint=measured.text,
            size_before=size_before,
            size_after=size_before + int(growth),
            quarantined=quarantined + shared,
            null_keys=null_keys,
            rejections=self.rejections,
            unconfirmed=self.unconfirmed,
            bad_keys=bad_keys,
            shared_message_ids=shared,
            shared_message_id_keys=shared_keys,
            groups=groups,
            schema_change=self.schema_change,
            reset_columns=self.reset_columns,
            unconverted=unconverted,
            restart=self.restart,
            first_version=self.first_version,
            current=self.current,
        )

    def _read(
        self, name: str, *, without_rows: Sequence[tuple[Any, ...]] = (), **values: Any
    ) -> Read:
        """A read of the transitions, which other audiences may share."""
        return Read(
            name=name,
            table="transitions",
            rows_of=self.names["transitions"],
            placed="placed_keys" if name == "count_keys" else "placed_transitions",
            rows_max=self.rows_max,
            columns=self._lists(),
            values=values,
            without_rows=without_rows,
        )

    def _groups(self) -> Steps[tuple[TransitionGroup, ...]]:
        names = tuple(self.request.audience.column_groups)
        all_enter = self.is_new and not self.unconfirmed
        summary = self._read("summary", first_version=self.first_version)
        rows = yield replace(summary, columns=summary_lists(summary.columns, all_enter=all_enter))
        return tuple(TransitionGroup.from_row(row, names) for row in rows)

    def _find_transitions(self) -> None:
        self._run(
            "initial_transitions" if self.is_new else "transitions",
            now=self.request.now,
            first_version=self.first_version,
            reason="initial" if self.request.delivered is None else "data",
        )
        if self._lists()["hashed_as_stored"]:
            self._run("delete_sent_alike")
        if self.request.audience.log is not None and self.request.intent != "retire":
            self._run("keep_entered")
        if self._lists()["compared_here"]:
            self._take_equal_values("transitions")
            self._run("delete_unchanged")

    def _take_equal_values(
        self,
        name: str,
        *,
        lists: Mapping[str, Sequence[Column]] | None = None,
        **tables: Binding,
    ) -> None:
        """Take the values that a table is compared with where they are sent alike."""
        take_equal_values(
            self.warehouse,
            name=name,
            tables={**self.tables, **tables},
            lists={**self._lists(), **(lists or {})},
        )

    def _run(self, name: str, /, **values: Any) -> list[tuple[Any, ...]]:
        return self.warehouse.run(
            f"plan/{name}", tables=self.tables, columns=self._lists(), **values
        )

    def _find_snapshot(self) -> None:
        """Bind the snapshot's table, or an empty one if the audience was never delivered."""
        for table in self.names.values():
            self.warehouse.drop_temporary(table)
        delivered, shape = self.request.delivered, self.request.shape
        snapshot = self.ledger.snapshot(self.request.audience.ledger_key)
        snapshot_columns = self.recorded.columns_of(snapshot)
        if delivered is None or not snapshot_columns:
            # A run that stopped before its plan was saved may have left a table with another key,
            # and where no transaction drops tables, one that stopped while it retired the audience.
            restart = bool(snapshot_columns) and (
                self.warehouse.engine.commits_tables or not has_keys(snapshot_columns, shape.keys)
            )
            if restart:
                require_no_rename(self.ledger, self.request.audience, snapshot)
            self._use_empty_snapshot(restart=restart)
            return
        self.tables["snapshot"] = snapshot
        before = Audience.from_mapping(delivered.mapping)
        try:
            self.schema_change = schema_change(
                snapshot_columns, shape, audience=self.request.audience, keys=before.key
            )
        except KeyTypeChanged:
            if self.request.intent not in ("resend", "accept"):
                raise
            # A reset forgets the members that were delivered under the old key.
            self.rejections = self.unconfirmed = 0
            self._use_empty_snapshot(restart=True)
            return
        self.reset_columns = self._never_compared(before, snapshot_columns) | frozenset(
            column.name
            for column in self.schema_change.retyped
            if not is_castable(self.warehouse, snapshot, column)
        )

    def _use_empty_snapshot(self, *, restart: bool) -> None:
        self.restart, self.is_new = restart, True
        columns = self.request.shape.lists
        empty = query("plan/empty_snapshot", self.warehouse.dialect, columns=columns)
        self.tables["snapshot"] = UnionAll([empty])

    def _never_compared(
        self, before: Audience, snapshot_columns: Sequence[Column]
    ) -> frozenset[str]:
        """Columns that are recorded but were not compared before, such as a timestamp.

        Their recorded values are not what the receiver has, so they count as new columns.
        """
        compared = set(self.request.audience.compared_columns) - set(before.compared_columns)
        return frozenset(compared & {column.name for column in snapshot_columns})

    def _lists(self) -> Mapping[str, Sequence[Column]]:
        """The column lists that the statements of `sql/plan` are written with."""
        shape, audience = self.request.shape, self.request.audience
        new = {column.name for column in self.schema_change.added} | self.reset_columns
        unsent = new if self.request.sends_new_columns else set()

        def among(names: Sequence[str | None]) -> tuple[Column, ...]:
            wanted = {name for name in names if name}
            return tuple(column for column in shape.columns if column.name in wanted)

        compared = among(audience.compared_columns)
        recorded = tuple(column for column in compared if column.name not in new)
        groups = tuple(map(among, audience.column_groups.values()))
        message_id = audience.message_id_column
        return {
            **shape.lists,
            PLACES: (),
            "recorded_columns": tuple(c for c in shape.columns if c.name not in new),
            "new_columns": tuple(c for c in shape.columns if c.name in new),
            "compared": recorded,
            "compared_here": columns_compared_here(recorded),
            **hash_complements(recorded),
            **hashed_lists(self.warehouse, recorded, rows=self.rows_max),
            # An accepted column counts as if its value had always been recorded.
            "accepted_columns": tuple(c for c in shape.columns if c.name in new - unsent),
            "unsent_columns": tuple(c for c in shape.columns if c.name in unsent),
            "resend_columns": tuple(c for c in compared if c.name in unsent),
            **dict.fromkeys(COLUMN_GROUPS, ()),
            **dict(zip(COLUMN_GROUPS, groups, strict=False)),
            "conditions": among(audience.condition_columns),
            "identity": among((audience.identity_column,)),
            "ids": tuple(
                column
                for column in (*shape.keys, *shape.columns)
                if column.name in (audience.user_id, audience.anonymous_id)
            ),
            "message_id": tuple(c for c in (*shape.keys, *shape.columns) if c.name == message_id),
            "recorded_message_id": among((message_id,)),
            "known_message_id": () if message_id in new else among((message_id,)),
        }

    def _measurement(self) -> Measurement:
        return Measurement(
            self.warehouse,
            self.request.shape,
            self.request.delivered,
            members=self._count_members(),
            is_followed=self._finds_each_difference(),
        )

    def _finds_each_difference(self) -> bool:
        """Whether each row that differs from its member in any value is a transition."""
        lists = self._lists()
        return (
            self.request.intent == "changes"
            and set(lists["compared"]) == set(self.request.shape.columns)
            and self.schema_change == SchemaChange()
            and not lists["compared_here"]
            and not self.rejections
            and not self.unconfirmed
        )

    def _count_unconverted(self) -> int:
        retyped = {column.name for column in self.schema_change.retyped} & self.reset_columns
        if not retyped:
            return 0
        shape = self.request.shape
        columns = tuple(column for column in shape.columns if column.name in retyped)
        ((members,),) = self.warehouse.run(
            "plan/count_unconverted",
            tables=self.tables,
            columns={"keys": shape.keys, "unconverted": columns},
        )
        return int(members)

    def _is_unchanged(self, measured: ModelFingerprint) -> bool:
        """Whether the model gives exactly the delivered rows, and nothing is pending."""
        delivered = self.request.delivered
        return (
            delivered is not None
            and self.request.intent == "changes"
            and measured.has_rows_of(delivered.model_fingerprint)
            and delivered.rejected == 0
            and not self.request.resends_mapping
            and self.schema_change == SchemaChange()
            and not self.reset_columns
            and not self.rejections
            and not self.unconfirmed
        )

    def _check_keys(
        self, rows_seen: int, size_before: int
    ) -> Steps[tuple[MoveCounts, int, int, tuple[BadKey, ...]]]:
        """Quarantine NULL and duplicate keys.

        They are only searched for when the counts do not add up.

        Returns:
            The counts of the remaining transitions, the number of quarantined rows, how many of
            them have a NULL in the key, and samples of their keys.
        """
        ((entered, exited, nulls, repeated),) = yield self._read(
            "count_keys", without_rows=[(0, 0, 0, 0)]
        )
        moves = MoveCounts(int(entered), int(exited))
        if rows_seen == size_before + moves.entered - moves.exited and not nulls and not repeated:
            return moves, 0, 0, ()
        self._run("bad_keys")
        ((rows, null_keys),) = self._run("quarantined")
        samples = tuple(
            BadKey(key=tuple(key), rows=int(times))
            for *key, times in self._run("bad_key_samples", rows_max=BAD_KEY_SAMPLES_MAX)
        )
        self._run("quarantine")
        return self._count_moves(), int(rows), int(null_keys), samples

    def _check_message_ids(self) -> tuple[int, tuple[tuple[Any, ...], ...]]:
        """Quarantine transitions whose mapped messageId is that of another row as well.

        Returns:
            Their number, and a few of their keys.
        """
        audience = self.request.audience
        if audience.message_id_column is None:
            return 0, ()
        if audience.skips_initial and self.request.delivered is None:
            return 0, ()
        self._run("shared_message_ids")
        ((shared,),) = self._run("count_shared_message_ids")
        if not shared:
            return 0, ()
        rows = self._run("shared_message_id_samples", rows_max=BAD_KEY_SAMPLES_MAX)
        self._run("quarantine_shared_message_ids")
        return int(shared), tuple(map(tuple, rows))

    def _count_members(self) -> int:
        return 0 if self.is_new else self.recorded.size(self.request.audience.ledger_key)

    def _count_moves(self) -> MoveCounts:
        ((entered, exited, *_),) = self._run("count_keys")
        return MoveCounts(int(entered), int(exited))

    def _complete_transitions(self, *, is_quarantined: bool) -> None:
        """Add the reasons, the resends and what the receiver refuses."""
        self._set_reasons()
        if self.rejections:
            sync_key = self.request.audience.ledger_key
            plan_rejected(self.ledger, sync_key, tables=self.tables, columns=self._lists())
        self._resend_unconfirmed()
        self._keep_user_members()
        self._follow_intent()
        if is_quarantined:
            # The steps above may have added transitions of a bad key.
            self._run("quarantine")
        if self.request.mark_rows is not None:
            self.current = self.request.mark_rows(self.ledger, self.names["transitions"])

    def _set_reasons(self) -> None:
        """Give every transition its reason."""
        request = self.request
        if request.delivered is None:
            return
        if request.earlier is not None:
            self._attribute(request.earlier)
        elif request.edited:
            for op in ("entered", "changed", "exited"):
                self._run("set_reason", op=op, reason="definition")
        if request.upstream:
            self._run("set_reason", op="exited", reason="upstream")
        if self._lists()["resend_columns"]:
            self._run("mark_mapping_reason")
        if request.resends_mapping:
            self._run("resend_mapping_whole")
            self._run("resend_mapping")
        if request.policy.on_definition_change == "accept":
            self._run("suppress", reason="definition")

    def _attribute(self, earlier: Binding) -> None:
        """Tell transitions that the edited SQL causes from those that the data causes."""
        types = {column.name: column.type for column in self.warehouse.describe(earlier)}
        # Both definitions are compared in the types of today. A column that cannot be cast is
        # left out, so that no member changes because of it.
        compared = [
            column
            for column in self._lists()["compared"]
            if types.get(column.name) == column.type
            or (column.name in types and is_castable(self.warehouse, earlier, column))
        ]
        columns = {**self._lists(), "compared": compared}
        tables = {**self.tables, "model": earlier}
        self.warehouse.run("plan/earlier", tables=tables, columns=columns)
        self._take_equal_values("earlier", lists={"compared_here": columns_compared_here(compared)})
        self.warehouse.run("plan/attribute", tables=self.tables, columns=columns)

    def _keep_user_members(self) -> None:
        """Mark exits of users who remain members by another row; none if the key is the user."""
        shape, audience = self.request.shape, self.request.audience
        user_column = audience.identity_column
        if user_column is None:
            return
        users = [column for column in (*shape.keys, *shape.columns) if column.name == user_column]
        if [column.name for column in users] == [key.name for key in shape.keys]:
            return
        columns = {**self._lists(), "users": users}
        self.warehouse.run("plan/keep_user_member", tables=self.tables, columns=columns)
        if columns["identity"]:
            self.warehouse.run("plan/keep_former_user", tables=self.tables, columns=columns)

    def _follow_intent(self) -> None:
        intent = self.request.intent
        if intent == "resend":
            self._run("resend_changed", run=self.request.run_seq)
            self._run("resend_members", run=self.request.run_seq)
        elif intent == "accept":
            self._run("suppress_all")
        elif intent == "retry" and not self.rejections:
            self._run("keep_none")
        elif intent == "retry":
            self._run("keep_rejected", sync_key=self.request.audience.ledger_key)

    def _resend_unconfirmed(self) -> None:
        """Send keys again whose last attempt has no known outcome, until it is known."""
        if not self.unconfirmed:
            return
        self.warehouse.run(
            "plan/last_attempts",
            tables=self.tables,
            columns={**self._lists(), **self._attempt_lists()},
            sync_key=self.request.audience.ledger_key,
        )
        if self._lists()["compared_here"]:
            self._take_equal_values("attempted", today=self.names["transitions"])
            self._take_equal_values("attempted", today=self.request.model)
        self._run("repeat_unconfirmed")
        self._run("resend_if_present", now=self.request.now)
        self._run("resend_if_absent", now=self.request.now)

    def _attempt_lists(self) -> Mapping[str, Sequence[Column]]:
        """The columns whose attempted values can be read; the outbox has the types of its day."""
        outbox = self.ledger.outbox(self.request.audience.ledger_key)
        types = {column.name: column.type for column in self.recorded.columns_of(outbox)}
        readable = [
            column
            for column in self._lists()["recorded_columns"]
            if types.get(column.name) == column.type
            or (column.name in types and is_castable(self.warehouse, outbox, column))
        ]
        unreadable = [column for column in self.request.shape.columns if column not in readable]
        return {"recorded_columns": readable, "new_columns": unreadable}
