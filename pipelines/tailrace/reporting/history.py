"""Reports from the ledger: one person, sizes over time, the members at a point in time."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from tailrace.audience.audience import Audience
from tailrace.audience.ledger_keys import DEFAULT_DESTINATION
from tailrace.clock import Clock, format_utc
from tailrace.config.project import ProjectConfig, did_you_mean
from tailrace.destinations.protocol import MapperOptions
from tailrace.destinations.registry import destination_type
from tailrace.encoding.transforms import mask_sample
from tailrace.encoding.values import Encoder
from tailrace.errors import NothingLanded, NothingSelected, UnsupportedValue
from tailrace.ledger.audiences import STATUSES, no_such_audience
from tailrace.ledger.ledger import Ledger
from tailrace.ledger.outbox import transition_reader
from tailrace.ledger.runs import RunRow
from tailrace.ledger.tables import Shape
from tailrace.plan.snapshot_schema import shape_of
from tailrace.reporting.explain import Today, held_by
from tailrace.reporting.status import running_run
from tailrace.warehouse.connection import Warehouse
from tailrace.warehouse.opening import open_to_read
from tailrace.warehouse.statements import Binding, Column, query

RUNS_SUGGESTED_MAX = 100


def trace(
    source: ProjectConfig | Warehouse, person: str, *, clock: Clock, show_values: bool = False
) -> dict[str, Any]:
    """A person's rows in Salesforce, and their membership, events and `why_not` in each audience.

    Args:
        source: The project, or its open warehouse.
        person: A key, user id or anonymous id.
        clock: The time source.
        show_values: Return values as JSON has them; otherwise they are masked texts.

    Returns:
        `known` is false if no landed object, no audience and no model has the person.
    """
    with open_to_read(source, clock=clock) as warehouse:
        ledger = _installed(Ledger(warehouse, clock=clock))
        today = Today(ledger, person, clock=clock)
        syncs = today.syncs()
        statuses = {str(row["sync"]): row for row in ledger.audiences.statuses()}
        traced = []
        for name in (*statuses, *sorted(set(syncs) - set(statuses))):
            entry = _traced(ledger, name, person, show_values=show_values)
            row = statuses.get(name, {})
            if name not in syncs:
                why = today.why_without_model(str(row["audience"]))
            else:
                model, sync = syncs[name]
                row = {"audience": sync.name, "destination": sync.destination, **row}
                why = today.why(model, sync, entry, held_by(row))
            traced.append(
                {
                    "audience": row["audience"],
                    "destination": row["destination"] or DEFAULT_DESTINATION,
                    **entry,
                    "why_not": why,
                }
            )
        shown = person if show_values else mask_sample(person)
        in_ledger = any(
            entry["events"] or entry["membership"] not in (None, "none") for entry in traced
        )
        return {
            "person": shown,
            "known": bool(today.rows) or today.in_results or in_ledger,
            "values_shown": show_values,
            "salesforce": today.rows,
            "audiences": traced,
            "models_not_run": sorted(today.not_run),
            "warnings": today.warnings(),
        }


def sizes(source: ProjectConfig | Warehouse, audience: str, *, clock: Clock) -> dict[str, Any]:
    """The size and the changes of an audience, one entry for each run."""
    with open_to_read(source, clock=clock) as warehouse:
        ledger, sync_key = _find_sync(Ledger(warehouse, clock=clock), audience)
        rows = warehouse.run("reporting/sizes", tables=ledger.tables, sync_key=sync_key)
        names = ("size_before", "size_after", "entered", "changed", "exited", "sent", "rejected")
        return {
            "audience": audience,
            "runs": [
                {
                    "at": format_utc(at),
                    **dict(zip(names, counts, strict=True)),
                    "held": held,
                    "phase": phase,
                    "run_id": run_id,
                }
                for at, *counts, held, phase, run_id in rows
            ],
        }


def members_at(
    source: ProjectConfig | Warehouse, audience: str, moment: datetime, *, clock: Clock
) -> list[tuple[Any, ...]]:
    """The keys of the members at a moment.

    Raises:
        NothingSelected: The deliveries after that moment are purged, so that former members are
            unknown.
    """
    with open_to_read(source, clock=clock) as warehouse:
        ledger, sync_key = _find_sync(Ledger(warehouse, clock=clock), audience)
        ((purged,),) = warehouse.run(
            "reporting/purged_until", tables=ledger.tables, sync_key=sync_key
        )
        if purged is not None and moment < purged:
            raise NothingSelected(
                f"{audience}: the deliveries until {format_utc(purged)} were purged, so "
                "the members before that time are unknown",
                hint=f"Use a later time. Sizes are kept: tailrace history {audience}",
            )
        shape, _ = _shape(ledger, sync_key)
        if not shape.keys:
            return []
        tables: dict[str, Binding] = {
            **ledger.tables,
            "snapshot": ledger.snapshot(sync_key),
            "outbox": ledger.outbox(sync_key),
        }
        tables["delivered"] = query(
            "reporting/delivered_rows", warehouse.dialect, tables=tables, sync_key=sync_key
        )
        return warehouse.run(
            "reporting/members_at", tables=tables, columns={"keys": shape.keys}, moment=moment
        )


def one_run(source: ProjectConfig | Warehouse, run_id: str, *, clock: Clock) -> dict[str, Any]:
    """One run of the ledger with its audiences.

    Raises:
        NothingSelected: The ledger has no run with this id.
    """
    with open_to_read(source, clock=clock) as warehouse:
        ledger = _installed(Ledger(warehouse, clock=clock))
        rows = warehouse.run("reporting/find_run", tables=ledger.tables, run_id=run_id)
        if not rows:
            run_ids = [str(run["run_id"]) for run in ledger.runs.recent(RUNS_SUGGESTED_MAX)]
            raise NothingSelected(
                f'The ledger has no run "{run_id}".{did_you_mean(run_id, run_ids)}',
                hint="List the latest runs with: tailrace status",
            )
        found = RunRow(*rows[0])
        run = found.as_json()
        audience_rows = [
            _AudienceOfRun(*row)
            for row in warehouse.run(
                "reporting/audiences_of_run", tables=ledger.tables, run=found.run_seq
            )
        ]
        audiences = [row.as_json() for row in audience_rows]
        running = running_run(ledger, [run], now=clock.now())
        for audience, row in zip(audiences, audience_rows, strict=True):
            if running and row.phase == "delivering":
                audience["status"] = "sending"
        return {"runs": [run], "audiences": audiences, "running": running}


class _AudienceOfRun(NamedTuple):
    """A row of `reporting/audiences_of_run`. `guards` is JSON."""

    audience: str
    destination: str
    phase: str
    size_before: int
    size_after: int
    entered: int
    changed: int
    exited: int
    sent: int
    rejected: int
    held: int
    quarantined: int
    guards: str

    def as_json(self) -> dict[str, Any]:
        moved = self.entered + self.changed + self.exited
        entry = self._asdict()
        del entry["phase"]
        return {
            "audience": self.audience,
            "destination": self.destination,
            "status": STATUSES.get(self.phase, "ok" if moved else "unchanged"),
            **entry,
            "guards": json.loads(self.guards),
        }


def recorded(
    source: ProjectConfig | Warehouse, audience: str, *, clock: Clock
) -> list[dict[str, Any]]:
    """The ledger's entries of an audience, one for each destination.

    Raises:
        NothingSelected: The ledger has no such audience.
    """
    with open_to_read(source, clock=clock) as warehouse:
        ledger, _ = _find_sync(Ledger(warehouse, clock=clock), audience)
        rows = ledger.audiences.statuses()
        return [row for row in rows if audience in (row["audience"], row["sync"])]


def audience_names(source: ProjectConfig | Warehouse, *, clock: Clock) -> frozenset[str]:
    """The names of the audiences that the ledger has."""
    with open_to_read(source, clock=clock) as warehouse:
        ledger = Ledger(warehouse, clock=clock)
        return frozenset(str(row["audience"]) for row in ledger.audiences.statuses())


def _installed(ledger: Ledger) -> Ledger:
    if not ledger.installed:
        raise NothingLanded("There is no ledger yet", hint="Start with: tailrace run")
    return ledger


def _find_sync(ledger: Ledger, audience: str) -> tuple[Ledger, str]:
    """The ledger, and the audience's ledger key; of several destinations, the default one."""
    syncs = _installed(ledger).audiences.sync_keys_of(audience)
    if not syncs:
        raise no_such_audience(audience, ledger.audiences.statuses())
    return ledger, audience if audience in syncs else syncs[0]


def _shape(ledger: Ledger, name: str) -> tuple[Shape, Audience]:
    """The columns of the snapshot, and the audience as it was last (or is first) delivered."""
    delivered = ledger.audiences.last_delivered(name)
    pending = [run.mapping for run in ledger.deliveries.pending() if run.sync_key == name]
    mappings = [delivered.mapping] if delivered else pending
    if not mappings:
        return Shape(keys=(), columns=()), Audience(name=name, key=())
    audience = Audience.from_mapping(mappings[0])
    columns = ledger.warehouse.columns_of(ledger.snapshot(name))
    shape = shape_of(columns, key=audience.key, mapped=audience.mapped_columns, file=None)
    return shape, audience


def _as_json(value: Any) -> Any:
    """A value as in the JSON of a message: numbers as numbers, NULL as null."""
    encoder = Encoder()
    try:
        return json.loads(encoder.dumps(encoder.encode(value)))
    except UnsupportedValue:
        return str(value)


def _traced(ledger: Ledger, name: str, person: str, *, show_values: bool) -> dict[str, Any]:
    shape, audience = _shape(ledger, name)
    if not shape.keys:
        return {"membership": None, "events": []}
    ids = audience.person_columns
    names = [c for c in (*shape.keys, *shape.columns) if c.name in ids]
    tables = {
        **ledger.tables,
        "snapshot": ledger.snapshot(name),
        "outbox": ledger.outbox(name),
    }
    columns: dict[str, Sequence[Column]] = {**shape.lists, "names": names}
    memberships = ledger.warehouse.run(
        "reporting/memberships", tables=tables, columns=columns, person=person
    )
    transitions = ledger.warehouse.run(
        "reporting/transitions", tables=tables, columns=columns, sync_key=name, person=person
    )
    *_, version, since, gone = memberships[0] if memberships else (None, None, None)
    return {
        "membership": "none" if not memberships else "left" if gone else "member",
        "since": format_utc(since) if since else None,
        "run_seq": version,
        "events": list(_events(ledger, shape, audience, transitions, show_values=show_values)),
    }


def _events(
    ledger: Ledger,
    shape: Shape,
    audience: Audience,
    rows: Sequence[Sequence[Any]],
    *,
    show_values: bool,
) -> Iterator[dict[str, Any]]:
    """The planned changes of a person and their delivery; messages are computed again."""
    read = transition_reader(shape)
    salt = ledger.warehouse.project.settings.salt
    recorded_columns = {column.name for column in (*shape.keys, *shape.columns)}
    for run_seq, planned_at, mapping, acked_at, refused_for, *row in rows:
        transition, send = read(row)
        then = Audience.from_mapping(json.loads(mapping))
        # The message ids are those of the mapping of that run, if its columns are still recorded.
        mapped = then if recorded_columns.issuperset(then.mapped_columns) else audience
        options = MapperOptions(namespace=ledger.namespace, planned_at=planned_at, salt=salt)
        kind = destination_type(mapped.destination_type)
        calls = kind.mapper(mapped, options).messages(transition)[0] if send else []
        fate = "delivered" if send else "recorded silently"
        if refused_for is not None:
            fate = f"refused: {refused_for}"
        elif acked_at is None:
            fate = "not yet delivered"
        yield {
            "run_seq": run_seq,
            "planned_at": format_utc(planned_at),
            "op": transition.op,
            "reason": transition.reason,
            "fate": fate,
            "acked_at": format_utc(acked_at) if acked_at else None,
            "calls": [{"kind": call.kind, "message_id": call.message_id} for call in calls],
            "values": {
                name: _as_json(value) if show_values else mask_sample(value)
                for name, value in transition.new.items()
            },
        }
