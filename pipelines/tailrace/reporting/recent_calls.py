"""Some messages of the last run of each audience, as they were sent, masked.

The outbox has the changes, not their messages, so these are computed again by the mapping that the
run recorded.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, NamedTuple

from tailrace.audience.audience import Audience
from tailrace.dataclass import dataclass
from tailrace.destinations.messages import OPS
from tailrace.destinations.protocol import MapperOptions
from tailrace.destinations.registry import destination_type
from tailrace.encoding.masking import Masker
from tailrace.encoding.transforms import mask_sample
from tailrace.errors import TailraceError
from tailrace.ledger.ledger import Ledger
from tailrace.ledger.outbox import transition_reader
from tailrace.ledger.tables import Shape
from tailrace.plan.snapshot_schema import shape_of
from tailrace.warehouse.statements import Column, Rows, query, unions


@dataclass(frozen=True, kw_only=True)
class SentRun:
    """A run of a sync that had changes to send."""

    run_seq: int
    run_id: str
    planned_at: datetime


def recent_calls(
    ledger: Ledger, runs: Mapping[str, SentRun], *, mappings: Mapping[str, str]
) -> dict[str, list[dict[str, Any]]]:
    """Some messages of runs, by sync key: those of the first change of each operation.

    Args:
        ledger: The ledger.
        runs: The run of each sync, by its key.
        mappings: The mapping that each sync was last sent with, as JSON, by its key.

    Returns:
        For each message `run_id`, `op`, `reason`, `kind`, `message_id`, `body` (masked) and
        `outcome`.
    """
    columns = ledger.warehouse.columns_in(ledger.dataset)
    outboxes: dict[str, _Outbox] = {}
    for sync_key, run in runs.items():
        outbox = columns.get(ledger.outbox(sync_key).name)
        if outbox and sync_key in mappings:
            # A mapping of an older version may no longer be allowed.
            with suppress(TailraceError):
                audience = Audience.from_mapping(json.loads(mappings[sync_key]))
                outboxes |= _outbox(sync_key, run, audience, outbox)
    changes: list[_SentChange] = []
    for sync_key, rows in _samples(ledger, outboxes).items():
        with suppress(TailraceError):
            changes += list(_sent(ledger, outboxes[sync_key], rows))
    outcomes = _outcomes(ledger, changes)
    calls: dict[str, list[dict[str, Any]]] = {}
    for change in changes:
        outcome = outcomes.get((change.sync_key, change.seq), "not sent yet")
        calls.setdefault(change.sync_key, []).extend(
            {**call, "outcome": outcome} for call in change.calls
        )
    return calls


@dataclass(frozen=True, kw_only=True)
class _Outbox:
    """The outbox of a sync with the run to read. Those of an equal `layout` can be united."""

    sync_key: str
    run: SentRun
    audience: Audience
    shape: Shape
    layout: tuple[Column, ...]


class _SentChange(NamedTuple):
    """A change of a run with its calls."""

    sync_key: str
    run_seq: int
    seq: int
    calls: list[dict[str, Any]]


def _outbox(
    sync_key: str, run: SentRun, audience: Audience, columns: Sequence[Column]
) -> dict[str, _Outbox]:
    """The outbox by its sync's key; empty if a column of the mapping is missing."""
    by_name = {column.name: column for column in columns}
    mapped = [name for name in audience.mapped_columns if name not in audience.key]
    old = [f"old__{name}" for name in mapped]
    if not by_name.keys() >= {*audience.key, *mapped, *old}:
        return {}
    shape = shape_of(columns, key=audience.key, mapped=audience.mapped_columns, file=None)
    layout = (*shape.keys, *shape.columns, *(by_name[name] for name in old))
    return {
        sync_key: _Outbox(sync_key=sync_key, run=run, audience=audience, shape=shape, layout=layout)
    }


def _samples(ledger: Ledger, outboxes: Mapping[str, _Outbox]) -> dict[str, list[Sequence[Any]]]:
    """The first change of each operation of each run, by sync key, in the order of operations."""
    dialect = ledger.warehouse.dialect
    changes = [
        query(
            "page/changes_of_run",
            dialect,
            tables={"outbox": ledger.outbox(sync_key)},
            sync_key=sync_key,
            run=outbox.run.run_seq,
        )
        for sync_key, outbox in outboxes.items()
    ]
    places: dict[str, dict[str, int]] = {}
    for union in unions(changes):
        for sync_key, op, seq in ledger.warehouse.run(
            "page/first_changes", tables={"each_changes": union}
        ):
            places.setdefault(str(sync_key), {})[str(op)] = int(seq)
    layouts: dict[tuple[Column, ...], list[Any]] = {}
    for sync_key, seqs in places.items():
        outbox = outboxes[sync_key]
        values: dict[str, Any] = {op: seqs.get(op) for op in OPS}
        sample = query(
            "page/sample",
            dialect,
            tables={"outbox": ledger.outbox(sync_key)},
            columns=outbox.shape.lists,
            sync_key=sync_key,
            run=outbox.run.run_seq,
            **values,
        )
        layouts.setdefault(outbox.layout, []).append(sample)
    rows: dict[str, list[Sequence[Any]]] = {sync_key: [] for sync_key in outboxes}
    for samples in layouts.values():
        for union in unions(samples):
            for sync_key, *row in ledger.warehouse.run(
                "page/samples", tables={"each_sample": union}
            ):
                rows[str(sync_key)].append(row)
    # A row begins with its position in the outbox and its operation.
    return {sync_key: sorted(sent, key=lambda row: row[1]) for sync_key, sent in rows.items()}


def _sent(ledger: Ledger, outbox: _Outbox, rows: Sequence[Sequence[Any]]) -> Iterator[_SentChange]:
    audience, run = outbox.audience, outbox.run
    project = ledger.warehouse.project
    options = MapperOptions(
        namespace=ledger.namespace, planned_at=run.planned_at, salt=project.settings.salt
    )
    # The section of the destination may be gone from the configuration.
    mapper = destination_type(audience.destination_type).mapper(audience, options)
    masker, read = Masker(audience), transition_reader(outbox.shape)
    for row in rows:
        transition, send = read(row)
        if not send:
            continue
        calls = [
            {
                "run_id": run.run_id,
                "op": transition.op,
                "reason": transition.reason,
                "kind": message.kind,
                "message_id": _shown_id(message.message_id),
                "body": masker.message(message.body),
            }
            for message in mapper.messages(transition)[0]
        ]
        yield _SentChange(outbox.sync_key, run.run_seq, transition.seq, calls)


def _outcomes(ledger: Ledger, changes: Sequence[_SentChange]) -> dict[tuple[str, int], str]:
    """What came of each change, by sync key and `seq`; without those that are not sent yet."""
    if not changes:
        return {}
    rows = [(change.sync_key, change.run_seq, change.seq) for change in changes]
    keys = Rows(("sync_key", "run_seq", "seq"), rows)
    outcomes = {}
    for sync_key, seq, acked_at, refused_for in ledger.warehouse.run(
        "page/outcomes", tables={**ledger.tables, "changes": keys}
    ):
        if refused_for is not None:
            outcomes[sync_key, seq] = f"rejected: {refused_for}"
        elif acked_at is not None:
            outcomes[sync_key, seq] = "accepted"
    return outcomes


def _shown_id(message_id: str) -> str:
    """A messageId that is a hash; one that the header takes from a column is masked."""
    return message_id if message_id.startswith("tr1-") else mask_sample(message_id) or ""
