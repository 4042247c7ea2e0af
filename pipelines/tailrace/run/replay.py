"""Backfills a destination from the ledger, through an outbox of its own.

By default, every current member enters at the destination: a new one, or one that lost its data.
With the history, the delivered changes are sent to a new one again, run by run, with their original
timestamps. Models are not run: the ledger has everything that was delivered.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from tailrace.audience.audience import Audience
from tailrace.dataclass import dataclass
from tailrace.destinations.registry import type_of
from tailrace.errors import NothingSelected
from tailrace.ledger.audiences import Delivered, no_such_audience
from tailrace.ledger.ledger import Ledger
from tailrace.ledger.outbox import PlannedTransitions, enqueue
from tailrace.ledger.runs import Run
from tailrace.ledger.tables import Shape
from tailrace.plan.snapshot_schema import RESERVED_COLUMNS, shape_of
from tailrace.run.planned_delivery import Delivery
from tailrace.warehouse.statements import Binding, TableName, query


@dataclass(frozen=True, kw_only=True)
class Replay:
    """The audience and the destination of a replay, and whether its history is sent."""

    audience: str
    destination: str
    history: bool = False


@dataclass(frozen=True, kw_only=True)
class _Copy:
    """The ledger key of the delivered audience, and the audience at the asked destination."""

    source: str
    target: Audience
    delivered: Delivered

    @property
    def repeats(self) -> bool:
        """Whether the destination has the audience, and receives it again."""
        return self.source == self.target.ledger_key


def save_replay(ledger: Ledger, run: Run, asked: Replay) -> list[Delivery]:
    """Save the deliveries to the destination in the ledger.

    Raises:
        NothingSelected: The audience was never delivered, or the destination has its history.
    """
    copy = _copy(ledger, asked)
    return _history(ledger, copy) if asked.history else _members(ledger, run, copy)


def catch_up(ledger: Ledger, asked: Replay) -> None:
    """Update replayed members with values that were recorded without being sent."""
    target = _target(ledger, asked)
    source = _other_source(ledger, asked, ledger.audiences.sync_keys_of(asked.audience))
    here = ledger.warehouse.columns_of(ledger.snapshot(target))
    there = {c.name for c in ledger.warehouse.columns_of(ledger.snapshot(source))}
    delivered = ledger.audiences.last_delivered(source)
    keys = Audience.from_mapping(delivered.mapping).key if delivered else ()
    shared = [c for c in here if c.name in there - RESERVED_COLUMNS and c.name not in keys]
    if shared:
        ledger.warehouse.run(
            "replay/catch_up",
            tables={
                **ledger.tables,
                "snapshot": ledger.snapshot(target),
                "source": ledger.snapshot(source),
                "outbox": ledger.outbox(target),
            },
            columns={"keys": [c for c in here if c.name in keys], "columns": shared},
            sync_key=target,
        )


def source_of(ledger: Ledger, asked: Replay) -> str:
    """The ledger key of the audience at the destination that it is replayed from.

    A destination that has the audience is sent its own members again.

    Raises:
        NothingSelected: The ledger has no such audience, or only at destinations of other types,
            or the history of a destination would be sent twice.
    """
    sync_keys = ledger.audiences.sync_keys_of(asked.audience)
    if not sync_keys:
        raise no_such_audience(asked.audience, ledger.audiences.statuses())
    target = _target(ledger, asked)
    if target in ledger.audiences.sync_keys_of(target):
        if asked.history:
            raise NothingSelected(
                f"{asked.destination} already has {asked.audience}, and a history can be sent only"
                " once",
                hint="Leave --history out, which sends the current members as entering.",
            )
        return target
    return _other_source(ledger, asked, sync_keys)


def _other_source(ledger: Ledger, asked: Replay, sync_keys: Sequence[str]) -> str:
    """The ledger key of the audience at another destination of the same type."""
    target = _target(ledger, asked)
    wanted = type_of(ledger.warehouse.project, asked.destination).name
    of_type = [
        key for key in sync_keys if key != target and _type_delivered(ledger, key) in (None, wanted)
    ]
    if not of_type:
        raise NothingSelected(
            f"{asked.destination} is of type {wanted}, and {asked.audience} was not delivered to "
            "another destination of this type",
            hint=f"Add a block {wanted}: to the header, and name {asked.destination} under "
            "destination:. The next run sends every member as entering.",
        )
    return asked.audience if asked.audience in of_type else of_type[0]


def _type_delivered(ledger: Ledger, sync_key: str) -> str | None:
    """The type of the destination that a sync was delivered to; None if it never was."""
    delivered = ledger.audiences.last_delivered(sync_key)
    return Audience.from_mapping(delivered.mapping).destination_type if delivered else None


def _target(ledger: Ledger, asked: Replay) -> str:
    return Audience(name=asked.audience, key=()).for_destination(asked.destination).ledger_key


def _copy(ledger: Ledger, asked: Replay) -> _Copy:
    source, target = source_of(ledger, asked), _target(ledger, asked)
    delivered = ledger.audiences.last_delivered(source)
    if delivered is None:
        raise NothingSelected(
            f"{asked.audience} was never delivered", hint="Start with: tailrace run"
        )
    if asked.history and target in ledger.audiences.sync_keys():
        raise NothingSelected(
            f"{asked.destination} had {asked.audience} before, and a history can be sent only once",
            hint="Leave --history out, which sends the current members as entering.",
        )
    return _Copy(
        source=source,
        target=_at(delivered.mapping, asked.audience, asked.destination),
        delivered=delivered,
    )


def _at(mapping: Mapping[str, Any], audience: str, destination: str) -> Audience:
    was = replace(Audience.from_mapping(mapping), name=audience)
    return was.for_destination(destination)


def _members(ledger: Ledger, run: Run, copy: _Copy) -> list[Delivery]:
    warehouse, snapshot = ledger.warehouse, ledger.snapshot(copy.source)
    shape = shape_of(
        warehouse.columns_of(snapshot),
        key=copy.target.key,
        mapped=copy.target.mapped_columns,
        file=None,
    )
    transitions = warehouse.temporary(f"replay__{copy.target.ledger_key}")
    warehouse.drop_temporary(transitions)
    tables: dict[str, Binding] = {"snapshot": snapshot, "transitions": transitions}
    warehouse.run("replay/members", tables=tables, columns=shape.lists, run=run.seq)
    with warehouse.transaction():
        if copy.repeats:
            # A refused member counts as a member only after a run has delivered it.
            warehouse.run("replay/forget_members", tables={"snapshot": snapshot})
        else:
            _make_tables(ledger, copy.target, snapshot, shape)
        planned = PlannedTransitions(audience=copy.target, transitions=transitions, shape=shape)
        enqueue(ledger, run.seq, [planned])
        return [_recorded(ledger, copy, copy.delivered, shape, run.seq, run.started_at)]


def _history(ledger: Ledger, copy: _Copy) -> list[Delivery]:
    warehouse, source = ledger.warehouse, ledger.outbox(copy.source)
    keys = copy.target.key
    columns = {c.name: c for c in warehouse.columns_of(source)}
    shape = Shape(
        keys=tuple(columns[name] for name in keys),
        columns=tuple(
            column
            for name, column in columns.items()
            if name not in RESERVED_COLUMNS and name not in keys and not name.startswith("old__")
        ),
    )
    rows = warehouse.run("replay/runs", tables=ledger.tables, sync_key=copy.source)
    deliveries: list[Delivery] = []
    size = 0
    with warehouse.transaction():
        _make_tables(ledger, copy.target, source, shape)
        for run_seq, definition, fingerprint, mapping, mapping_fingerprint, planned_at in rows:
            warehouse.run(
                "replay/copy_run",
                tables={
                    **ledger.tables,
                    "outbox": ledger.outbox(copy.target.ledger_key),
                    "source": source,
                },
                columns=shape.lists,
                run=run_seq,
                sync_key=copy.source,
            )
            then = replace(
                copy.delivered,
                definition=definition,
                definition_fingerprint=fingerprint,
                mapping=json.loads(mapping),
                mapping_fingerprint=mapping_fingerprint,
            )
            delivery = _recorded(ledger, copy, then, shape, run_seq, planned_at, size_before=size)
            size += delivery.moves["entered"] - delivery.moves["exited"]
            deliveries.append(delivery)
    return deliveries


def _make_tables(ledger: Ledger, target: Audience, like: TableName, shape: Shape) -> None:
    warehouse, sync_key = ledger.warehouse, target.ledger_key
    ledger.views.release([sync_key])
    model = query(
        "replay/recorded_columns", warehouse.dialect, tables={"source": like}, columns=shape.lists
    )
    for kind, table in (
        ("snapshot", ledger.snapshot(sync_key)),
        ("outbox", ledger.outbox(sync_key)),
    ):
        # A retired audience of the same name may have left tables with other columns. Their rows
        # are delivered.
        warehouse.run("ledger/drop_table", tables={"dropped": table})
        tables: dict[str, Binding] = {kind: table, "model": model}
        warehouse.run(f"ledger/create_{kind}", tables=tables, columns=shape.lists)
    ledger.views.replace(planned=[target])


def _recorded(
    ledger: Ledger,
    copy: _Copy,
    then: Delivered,
    shape: Shape,
    run_seq: int,
    planned_at: datetime,
    *,
    size_before: int = 0,
) -> Delivery:
    audience = _at(then.mapping, copy.target.name, copy.target.destination_name)
    names = {column.name for column in (*shape.keys, *shape.columns)}
    if not names.issuperset(audience.mapped_columns):
        # A column of that run is gone from the ledger, so the current mapping is used.
        audience = copy.target
    outbox: dict[str, Binding] = {"outbox": ledger.outbox(audience.ledger_key)}
    counted = ledger.warehouse.run("replay/count_transitions", tables=outbox, run=run_seq)
    moves = {"entered": 0, "changed": 0, "exited": 0, **{op: int(n) for op, n in counted}}
    ledger.audiences.save(
        Run(seq=run_seq, id="", command="replay", started_at=planned_at),
        [
            {
                "sync_key": audience.ledger_key,
                "name": audience.name,
                "destination": audience.destination_name,
                "phase": "delivering",
                "definition": then.definition,
                "definition_fingerprint": then.definition_fingerprint,
                "mapping": json.dumps(audience.mapping(), sort_keys=True),
                "mapping_fingerprint": audience.mapping_fingerprint,
                "model_fingerprint": None,
                "planned_at": planned_at,
                "finished_at": None,
                "rows_seen": 0,
                "size_before": size_before,
                "size_after": size_before + moves["entered"] - moves["exited"],
                **moves,
                "quarantined": 0,
                "held": 0,
                "by_reason": json.dumps({}),
                "guards": json.dumps([]),
                # A replay runs no model.
                "funnel": None,
            }
        ],
    )
    return Delivery(
        run_seq=run_seq,
        audience=audience,
        shape=shape,
        planned_at=planned_at,
        planned=sum(moves.values()),
        resumed=False,
        moves=moves,
    )
