"""The diff: one audience's rows of today against its members as last acknowledged.

It happens inside the warehouse and leaves a temporary table with the transitions and nothing
else; the ledger is only read. What a transition means, why it happened, and whether it may be
sent is settled here too, on that small table.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tailrace.audience.audience import DEFAULT_DESTINATION, Audience
from tailrace.errors import KeyTypeChanged
from tailrace.ledger.ledger import Delivered, Ledger, Shape
from tailrace.plan.policy import Decided, Intent
from tailrace.plan.snapshot_schema import Alteration, alteration, has_keys, is_castable
from tailrace.warehouse.statements import Binding, Column, TableName

SAMPLE_ROWS_MAX = 3

# Values that differ and that DuckDB's hash() takes for the same: NULL, an empty list and a struct
# of NULLs; and a number of 128 bits and the one with its halves swapped, such as 0 and -1. Of a
# list of plain values the length is enough to tell; what is nested deeper is told by its text.
_WIDE_TYPE = r"U?HUGEINT|DECIMAL\((19|2\d|3\d),\s?\d+\)"
_WIDE = re.compile(_WIDE_TYPE)
_LISTED = re.compile(rf"(?!({_WIDE_TYPE}|VARIANT)\[)[A-Z ]+(\(\d+(,\s?\d+)?\))?\[\]")
_HOLLOW = re.compile(r"\[|STRUCT|MAP|UNION|VARIANT")


@dataclass(frozen=True, kw_only=True)
class Group:
    """So many members that make the same move for the same reason."""

    op: str
    reason: str
    send: bool
    stays: bool
    track_moved: bool
    identify_moved: bool
    group_moved: bool
    consent_moved: bool
    identity_moved: bool
    had_identity: bool
    has_group: bool
    is_new: bool
    members: int


@dataclass(frozen=True, kw_only=True)
class Question:
    """What the diff is asked: an audience, its bound model, and what was delivered before.

    What is on hold is worked out like what is sent, so that the plan shows what is held.
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
    remapped: bool = False
    decided: Decided = field(default_factory=Decided)
    intent: Intent = "usual"

    @property
    def tells_mapping(self) -> bool:
        """Whether members that did not move are told again, because the mapping did."""
        return self.remapped and self.decided.on_mapping_change != "absorb"

    @property
    def tells_new_columns(self) -> bool:
        """Whether members with a value in a new column are told of it."""
        return self.decided.on_new_column != "absorb"


@dataclass(frozen=True, kw_only=True)
class Diff:
    """What the diff found. `transitions` is a temporary table of the run's session."""

    transitions: TableName
    rows_seen: int
    fingerprint: str | None
    size_before: int
    size_after: int
    quarantined: int
    rejections: int = 0
    bad_keys: tuple[tuple[Any, ...], ...] = ()
    groups: tuple[Group, ...] = ()
    alteration: Alteration = field(default_factory=Alteration)
    lost: frozenset[str] = frozenset()
    restart: bool = False
    unchanged: bool = False
    # The version of whoever the snapshot has never had.
    never: int = 0


def diff(ledger: Ledger, question: Question) -> Diff:
    """Compare an audience with its snapshot."""
    return _Diffing(ledger, question).run()


def blind_spots(columns: Sequence[Column]) -> dict[str, tuple[Column, ...]]:
    """The columns of which a hash needs to be told more than the value."""
    listed = tuple(column for column in columns if _LISTED.fullmatch(column.type))
    return {
        "listed": listed,
        "hollow": tuple(c for c in columns if _HOLLOW.search(c.type) and c not in listed),
        "wide": tuple(column for column in columns if _WIDE.fullmatch(column.type)),
    }


class _Diffing:
    """The steps of one diff, over the temporary tables it makes."""

    def __init__(self, ledger: Ledger, question: Question) -> None:
        self.warehouse = ledger.warehouse
        self.ledger = ledger
        self.ask = question
        name = question.audience.name
        made = ("transitions", "nobody", "bad_keys", "earlier", "tried")
        self.names = {each: self.warehouse.temporary(f"{each}__{name}") for each in made}
        self.tables: dict[str, Binding] = {
            **ledger.tables,
            **self.names,
            "model": question.model,
            "outbox": ledger.outbox(name),
        }
        self.alteration = Alteration()
        self.lost: frozenset[str] = frozenset()
        self.restart = False
        self.rejections, self.doubtful = ledger.pending(name)
        # Who had the name before has told of the same keys as entering: those ids are taken.
        audience = question.audience
        destination = audience.destination or DEFAULT_DESTINATION
        self.never = -ledger.given_up(audience.title, destination)

    def run(self) -> Diff:
        self._find_snapshot()
        rows_seen, fingerprint = self._measure()
        ((size_before,),) = self._run("members")
        if self._is_unchanged(rows_seen, fingerprint):
            return Diff(
                transitions=self.names["transitions"],
                rows_seen=rows_seen,
                fingerprint=fingerprint,
                size_before=size_before,
                size_after=size_before,
                quarantined=0,
                unchanged=True,
            )
        self._run("transitions", now=self.ask.now, never=self.never)
        entered, exited, quarantined, samples = self._check_keys(rows_seen, int(size_before))
        self._say_why()
        self._settle_doubts()
        self._spare_who_stays()
        self._follow_intent()
        if quarantined:
            # What was added since, to be said again, may have a bad key as well.
            self._run("quarantine")
        growth = entered - exited
        if self.ask.intent == "retry":
            ((growth,),) = self._run("growth")
        return Diff(
            transitions=self.names["transitions"],
            rows_seen=rows_seen,
            fingerprint=fingerprint,
            size_before=size_before,
            size_after=int(size_before + growth),
            quarantined=quarantined,
            rejections=self.rejections,
            bad_keys=samples,
            groups=self._summary(),
            alteration=self.alteration,
            lost=self.lost,
            restart=self.restart,
            never=self.never,
        )

    def _run(self, name: str, /, **values: Any) -> list[tuple[Any, ...]]:
        return self.warehouse.run(
            f"plan/{name}", tables=self.tables, columns=self._lists(), **values
        )

    def _find_snapshot(self) -> None:
        """The snapshot's table, or an empty one where the audience was never delivered."""
        for table in self.names.values():
            self.warehouse.drop_temporary(table)
        delivered, shape = self.ask.delivered, self.ask.shape
        snapshot = self.ledger.snapshot(self.ask.audience.name)
        found = self.warehouse.columns_of(snapshot)
        if delivered is None or not found:
            # What a run left that died before its plan was written down is of no use.
            self._start_anew(restart=bool(found) and not has_keys(found, shape.keys))
            return
        self.tables["snapshot"] = snapshot
        try:
            keys = Audience.from_mapping(delivered.mapping).key
            self.alteration = alteration(found, shape, audience=self.ask.audience, keys=keys)
        except KeyTypeChanged:
            if self.ask.intent not in ("resend", "silent"):
                raise
            # Whoever was delivered under the old key is forgotten: that is what a reset is for.
            self.rejections = self.doubtful = 0
            self._start_anew(restart=True)
            return
        self.lost = self._unheard(found) | frozenset(
            column.name
            for column in self.alteration.retyped
            if not is_castable(self.warehouse, snapshot, column)
        )

    def _start_anew(self, *, restart: bool) -> None:
        self.restart = restart
        self.tables["snapshot"] = self.names["nobody"]
        self._run("nobody")

    def _unheard(self, found: Sequence[Column]) -> frozenset[str]:
        """Columns that are recorded and were not compared, such as a time: what is recorded is not
        what the receiver was told, so that they are new ones."""
        assert self.ask.delivered is not None
        before = Audience.from_mapping(self.ask.delivered.mapping)
        compared = set(self.ask.audience.compared_columns) - set(before.compared_columns)
        return frozenset(compared & {column.name for column in found})

    def _lists(self) -> Mapping[str, Sequence[Column]]:
        shape, audience = self.ask.shape, self.ask.audience
        fresh = {column.name for column in self.alteration.added} | self.lost
        sent = fresh if self.ask.tells_new_columns else set()

        def among(names: Sequence[str | None]) -> tuple[Column, ...]:
            wanted = {name for name in names if name}
            return tuple(column for column in shape.columns if column.name in wanted)

        compared = among(audience.compared_columns)
        recorded = tuple(c for c in compared if c.name not in fresh)
        group_id = audience.group.group_id if audience.group else None
        return {
            **shape.lists,
            "known": tuple(c for c in shape.columns if c.name not in fresh),
            "fresh": tuple(c for c in shape.columns if c.name in fresh),
            "compared": recorded,
            **blind_spots(recorded),
            # A column that is absorbed counts as if its value had always been there.
            "absorbed": tuple(c for c in shape.columns if c.name in fresh - sent),
            "unheard": tuple(c for c in shape.columns if c.name in sent),
            "insisted": tuple(c for c in compared if c.name in sent),
            "track": among(audience.track_columns),
            "identify": among(audience.identify_columns),
            "grouped": among(audience.group_columns),
            "consent": among(
                tuple(audience.consent.categories.values()) if audience.consent else ()
            ),
            "identity": among((audience.user_id or audience.anonymous_id,)),
            "group_id": among((group_id,)),
        }

    def _measure(self) -> tuple[int, str | None]:
        # In one order, whatever the order in which the header names them.
        shape = self.ask.shape
        columns = tuple(sorted(shape.columns, key=lambda column: column.name))
        whole = (*shape.keys, *columns)
        ((rows, *hashes),) = self.warehouse.run(
            "plan/measure",
            tables=self.tables,
            columns={"keys": shape.keys, "columns": columns, **blind_spots(whole)},
        )
        if hashes[0] is None and rows:
            return int(rows), None
        # What an engine's hash gives is only good for the same engine, columns and types.
        types = ",".join(f"{column.name} {column.type}" for column in whole)
        parts = [self.warehouse.engine_version, types, str(rows), *map(str, hashes)]
        return int(rows), "|".join(parts)

    def _is_unchanged(self, rows_seen: int, fingerprint: str | None) -> bool:
        """Whether the model gives the very rows that were delivered, and nothing is owed."""
        delivered = self.ask.delivered
        return (
            delivered is not None
            and self.ask.intent == "usual"
            and fingerprint is not None
            and delivered.model_fingerprint == fingerprint
            and delivered.rejected == 0
            and not self.ask.tells_mapping
            and self.alteration == Alteration()
            and not self.lost
            and not self.rejections
            and not self.doubtful
        )

    def _check_keys(
        self, rows_seen: int, size_before: int
    ) -> tuple[int, int, int, tuple[tuple[Any, ...], ...]]:
        """Quarantine NULL and duplicate keys; the search for them is only made where the
        numbers do not add up."""
        ((entered, exited, _),) = self._run("count_moves")
        ((nulls, repeated),) = self._run("count_bad_keys")
        if rows_seen == size_before + entered - exited and not nulls and not repeated:
            return int(entered), int(exited), 0, ()
        self._run("bad_keys")
        ((rows, _, _),) = self._run("quarantined")
        samples = tuple(self._run("bad_key_samples", rows_max=SAMPLE_ROWS_MAX))
        self._run("quarantine")
        ((entered, exited, _),) = self._run("count_moves")
        return int(entered), int(exited), int(rows), samples

    def _say_why(self) -> None:
        """Give every transition its reason."""
        ask = self.ask
        if ask.delivered is None:
            self._run("give_reason", op="entered", reason="initial")
            return
        if ask.earlier is not None:
            self._attribute(ask.earlier)
        elif ask.edited:
            for op in ("entered", "changed", "exited"):
                self._run("give_reason", op=op, reason="definition")
        if ask.upstream:
            self._run("give_reason", op="exited", reason="upstream")
        if self._lists()["insisted"]:
            self._run("blame_mapping")
        if self.rejections:
            self._run("keep_initial", audience=ask.audience.name)
        if ask.tells_mapping:
            self._run("send_mapping")
        if ask.decided.on_definition_change == "rebaseline":
            self._run("silence", reason="definition")

    def _spare_who_stays(self) -> None:
        """A user is a member while any row is theirs. Nothing to do where a key is a user."""
        shape, audience = self.ask.shape, self.ask.audience
        name = audience.user_id or audience.anonymous_id
        who = [column for column in (*shape.keys, *shape.columns) if column.name == name]
        if [column.name for column in who] == [key.name for key in shape.keys]:
            return
        columns = {**self._lists(), "who": who}
        self.warehouse.run("plan/spare_exits", tables=self.tables, columns=columns)
        if columns["identity"]:
            self.warehouse.run("plan/spare_moves", tables=self.tables, columns=columns)

    def _follow_intent(self) -> None:
        intent = self.ask.intent
        if intent == "resend":
            self._run("restate_changed", run=self.ask.run_seq)
            self._run("send_again", run=self.ask.run_seq)
        elif intent == "silent":
            self._run("silence_all")
        elif intent == "retry" and not self.rejections:
            self._run("keep_none")
        elif intent == "retry":
            self._run("keep_rejected", audience=self.ask.audience.name)

    def _attribute(self, earlier: Binding) -> None:
        types = {column.name: column.type for column in self.warehouse.describe(earlier)}
        # Both definitions are compared in the types of today; a column that cannot be is the
        # new definition's, and no member changes by it.
        compared = [
            column
            for column in self._lists()["compared"]
            if types.get(column.name) == column.type
            or (column.name in types and is_castable(self.warehouse, earlier, column))
        ]
        columns = {**self._lists(), "compared": compared}
        tables = {**self.tables, "model": earlier}
        self.warehouse.run("plan/earlier", tables=tables, columns=columns)
        self.warehouse.run("plan/attribute", tables=self.tables, columns=columns)

    def _settle_doubts(self) -> None:
        """Keys whose last attempt has no known outcome are said again until it is known."""
        if not self.doubtful:
            return
        self.warehouse.run(
            "plan/doubtful",
            tables=self.tables,
            columns={**self._lists(), **self._lists_of_tried()},
            audience=self.ask.audience.name,
        )
        self._run("settle_doubtful")
        self._run("force_present", now=self.ask.now)
        self._run("force_absent", now=self.ask.now)

    def _lists_of_tried(self) -> Mapping[str, Sequence[Column]]:
        """Which columns can be known of what was tried: the outbox has the types of its day."""
        outbox = self.ledger.outbox(self.ask.audience.name)
        types = {column.name: column.type for column in self.warehouse.columns_of(outbox)}
        known = [
            column
            for column in self._lists()["known"]
            if types.get(column.name) == column.type
            or (column.name in types and is_castable(self.warehouse, outbox, column))
        ]
        return {"known": known, "fresh": [c for c in self.ask.shape.columns if c not in known]}

    def _summary(self) -> tuple[Group, ...]:
        return tuple(
            Group(
                op=row[0],
                reason=row[1],
                send=row[2],
                stays=row[3],
                track_moved=row[4],
                identify_moved=row[5],
                group_moved=row[6],
                consent_moved=row[7],
                identity_moved=row[8],
                had_identity=row[9],
                has_group=row[10],
                is_new=row[11],
                members=row[12],
            )
            for row in self._run("summary", never=self.never)
        )
