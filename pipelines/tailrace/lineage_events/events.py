"""The events of a run: a job for the command, one for each extracted object and for each audience.

An event names datasets, columns and counts: no value of a row, no SQL and no credential.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, field, replace
from datetime import datetime
from functools import cached_property
from typing import Any, Literal

from tailrace import __version__
from tailrace.audience.audience import Audience
from tailrace.clock import format_utc
from tailrace.config.project import ProjectConfig
from tailrace.dataclass import dataclass
from tailrace.destinations.protocol import DestinationSettings
from tailrace.lineage_events.datasets import (
    Dataset,
    Warehouse,
    audience_dataset,
    salesforce_object,
    warehouse_of,
)
from tailrace.models.lineage import KnownTables, Lineage, lineage_of
from tailrace.models.loader import Model, Models
from tailrace.reporting.page.assemble import target_name

EventType = Literal["START", "COMPLETE", "FAIL", "ABORT"]
# The landed columns by table: API name, Salesforce type, whether it is personal data.
LandedFields = Mapping[str, Mapping[str, Sequence[Any]]]


@dataclass(frozen=True, kw_only=True)
class RunOf:
    """A run of a job, as a child names its parent."""

    run_id: str
    namespace: str
    name: str


@dataclass(frozen=True, kw_only=True)
class Event:
    """One event; `inputs` and `outputs` are in the shape that `openlineage_process` reads."""

    type: EventType
    time: str
    run_id: str
    namespace: str
    name: str
    kind: str
    parent: RunOf | None = None
    root: RunOf | None = None
    error: str | None = None
    version: str = __version__
    inputs: list[dict[str, Any]] = field(default_factory=list)
    outputs: list[dict[str, Any]] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """The event as JSON values."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class RunNames:
    """The job of a command and its run; `parent` is the scheduler's run that started it."""

    namespace: str
    project: str
    command: str
    seed: str
    parent: RunOf | None = None

    def of(self, *job: str) -> RunOf:
        """The run of the command's job, or of a job below it. Its id is the same each time."""
        name = ".".join((self.project, *(job or (self.command,))))
        run_id = uuid.uuid5(uuid.NAMESPACE_URL, f"tailrace:{self.seed}:{name}")
        return RunOf(run_id=str(run_id), namespace=self.namespace, name=name)


def names_of(project: ProjectConfig, command: str, seed: str) -> RunNames:
    """The names of a run's jobs.

    Args:
        project: `OPENLINEAGE_NAMESPACE` of its environment is the namespace (default: `tailrace`),
            and `OPENLINEAGE_PARENT_ID` (`namespace/job/run id`) the scheduler's run.
        command: The command of the run.
        seed: Text that only this run has.
    """
    parts = project.environ.get("OPENLINEAGE_PARENT_ID", "").split("/")
    parent = None
    if len(parts) == 3 and all(parts):
        namespace, name, run_id = parts
        parent = RunOf(namespace=namespace, name=name, run_id=run_id)
    return RunNames(
        namespace=project.environ.get("OPENLINEAGE_NAMESPACE") or "tailrace",
        project=project.root.name,
        command=command,
        seed=seed,
        parent=parent,
    )


def command_event(
    names: RunNames, type_: EventType, *, at: datetime, error: str | None = None
) -> Event:
    """An event of the command as a whole."""
    run = names.of()
    return Event(
        type=type_,
        time=format_utc(at),
        run_id=run.run_id,
        namespace=run.namespace,
        name=run.name,
        kind=names.command.upper(),
        parent=names.parent,
        root=names.parent,
        error=error,
    )


@dataclass(frozen=True, kw_only=True)
class Sources:
    """What the datasets of a run are described from.

    Attributes:
        project: The project.
        models: Its models.
        landed: The landed columns.
        objects: The API name of each landed table's object.
        destinations: The destinations of the run.
        instance_url: URL of the org, if the run extracts.
    """

    project: ProjectConfig
    models: Models
    landed: LandedFields
    objects: Mapping[str, str]
    destinations: Mapping[str, DestinationSettings]
    instance_url: str | None

    @property
    def warehouse(self) -> Warehouse:
        return warehouse_of(self.project)

    @cached_property
    def tables(self) -> KnownTables:
        return KnownTables(self.landed, self.objects)

    def landed_table(self, table: str) -> Dataset:
        return self.warehouse.table(self.project.settings.dataset, table)


def child_events(
    names: RunNames,
    sources: Sources,
    *,
    objects: Sequence[Mapping[str, Any]],
    audiences: Sequence[Mapping[str, Any]],
    started: datetime,
    ended: datetime,
) -> Iterator[Event]:
    """The events of a run's objects and audiences: START and the end of each.

    Args:
        names: The names of the run.
        sources: What the datasets are described from.
        objects: The entries of `objects` in the run's result.
        audiences: The entries of `audiences`.
        started: When the run started.
        ended: When it ended.
    """
    top = names.of()
    jobs: list[tuple[RunOf, str, EventType, list[dict[str, Any]], list[dict[str, Any]]]] = []
    for entry in objects:
        run = names.of("extract", str(entry["object"]))
        type_: EventType = "COMPLETE" if entry["complete"] else "FAIL"
        jobs.append((run, "EXTRACT", type_, *_extracted(sources, entry)))
    for entry in audiences:
        run = names.of("sync", str(entry["audience"]), str(entry["destination"]))
        type_ = {"failed": "FAIL", "held": "ABORT"}.get(entry["status"], "COMPLETE")  # type: ignore[assignment]
        datasets = _synced(sources, entry)
        if datasets is not None:
            jobs.append((run, "SYNC", type_, *datasets))
    for run, kind, type_, inputs, outputs in jobs:
        event = Event(
            type="START",
            time=format_utc(started),
            run_id=run.run_id,
            namespace=run.namespace,
            name=run.name,
            kind=kind,
            parent=top,
            root=names.parent,
        )
        yield event
        yield replace(event, type=type_, time=format_utc(ended), inputs=inputs, outputs=outputs)


def _extracted(
    sources: Sources, entry: Mapping[str, Any]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    fields = sources.landed.get(str(entry["table"]), {})
    org = salesforce_object(sources.instance_url or "", str(entry["object"]))
    # dlt adds columns of its own, which come from no field.
    columns = {name: str(hints[0]) for name, hints in fields.items() if hints[1]}
    lineage = {name: [_source(org, api_name, "IDENTITY")] for name, api_name in columns.items()}
    table = sources.landed_table(str(entry["table"]))
    output = _output(table, rows=int(entry["rows"]), columns=lineage)
    return [{**asdict(org), "fields": list(columns.values())}], [output]


def _synced(
    sources: Sources, entry: Mapping[str, Any]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]] | None:
    """The tables that an audience reads and what it sends; None without its file."""
    found = _model_of(sources.models, str(entry["audience"]), str(entry["destination"]))
    settings = sources.destinations.get(str(entry["destination"]))
    if found is None or settings is None:
        return None
    model, audience = found
    lineage = lineage_of(
        sources.models,
        model.name,
        columns=tuple(dict.fromkeys((*audience.key, *audience.mapped_columns))),
        tables=sources.tables,
    )
    read = _read_fields(sources, lineage)
    inputs = [
        {**asdict(sources.landed_table(table)), "fields": sorted(columns)}
        for table, columns in sorted(read.items())
    ]
    kind = sources.project.destination_type(str(entry["destination"]))
    dataset = audience_dataset(
        kind, settings.receiver()[0], str(entry["destination"]), audience.name
    )
    output = _output(
        dataset,
        rows=int(entry["sent"] or 0),
        columns=_sent_columns(sources, audience, lineage),
        filters=[_located(sources, name, "FILTER") for name in lineage.filters],
    )
    return inputs, [output]


def _sent_columns(
    sources: Sources, audience: Audience, lineage: Lineage
) -> dict[str, list[dict[str, Any]]]:
    """What each path in the header that names a column is computed from."""
    paths = {
        path: column
        for path, column in audience.references()
        if target_name(path) and path != "key"
    }
    hashed = _hashed_paths(audience)
    return {
        path: [
            _located(sources, source.name, None, masking=path in hashed)
            for source in lineage.columns.get(column, ())
        ]
        for path, column in paths.items()
    }


def _hashed_paths(audience: Audience) -> frozenset[str]:
    blocks = {
        "track.properties": audience.track.properties if audience.track else {},
        "identify.traits": audience.identify.traits if audience.identify else {},
    }
    return frozenset(
        f"{block}.{name}"
        for block, fields in blocks.items()
        for name, value in fields.items()
        if value.hash or value.mask
    )


def _model_of(models: Models, audience: str, destination: str) -> tuple[Model, Audience] | None:
    for model in models.audiences():
        for sync in model.audience.syncs() if model.audience else ():
            if (sync.name, sync.destination_name) == (audience, destination):
                return model, sync
    return None


def _read_fields(sources: Sources, lineage: Lineage) -> dict[str, set[str]]:
    names = [source.name for several in lineage.columns.values() for source in several]
    read: dict[str, set[str]] = {}
    for name in (*names, *lineage.filters):
        table, column = _place(sources, name)
        read.setdefault(table, set()).add(column)
    return read


def _place(sources: Sources, name: str) -> tuple[str, str]:
    """The landed table and column of a field that lineage names, such as `Contact.Email`."""
    object_name, _, api_name = name.partition(".")
    tables = {object_: table for table, object_ in sources.objects.items()}
    table = tables.get(object_name, object_name)
    fields = sources.landed.get(table, {})
    return table, next((c for c, hints in fields.items() if hints[0] == api_name), api_name)


def _located(
    sources: Sources, name: str, subtype: str | None, *, masking: bool = False
) -> dict[str, Any]:
    table, column = _place(sources, name)
    return _source(sources.landed_table(table), column, subtype, masking=masking)


def _source(
    dataset: Dataset, column: str, subtype: str | None, *, masking: bool = False
) -> dict[str, Any]:
    """One input of an output column. A filter decides about rows, so it is indirect."""
    return {
        **asdict(dataset),
        "field": column,
        "type": "INDIRECT" if subtype == "FILTER" else "DIRECT",
        "subtype": subtype,
        "masking": masking,
    }


def _output(
    dataset: Dataset,
    *,
    rows: int,
    columns: Mapping[str, list[dict[str, Any]]],
    filters: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
    return {
        **asdict(dataset),
        "rows": rows,
        "columns": dict(columns),
        "filters": list(filters),
    }
