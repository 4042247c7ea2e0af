"""Recognises a run that equals the one before it, without reading the models.

A run in which every audience was skipped because its inputs were unchanged is a function of the
project's files and settings, of the ledger, and of the tables that models read. Its result is kept
in `.tailrace/unchanged-run.json` under one hash of files and settings, with a hash of the ledger
and one of the tables. While all three are the same, the next run has the same result, and ends
without reading a model. Everything else is a reason to read the models and to plan.

The file holds hashes and the counts of the result: no value of a row, and no secret. Runs that
depend on the time, or on what is not hashed, are not kept (see `UnchangedRuns.keep`).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tailrace.clock import format_utc
from tailrace.config.project import ProjectConfig
from tailrace.dataclass import dataclass
from tailrace.ledger.extracts import Extracted
from tailrace.ledger.ledger import Ledger
from tailrace.ledger.receivers import bound_receivers, stopped_destinations
from tailrace.plan.row_hash import table_hash
from tailrace.run.notices import Notice
from tailrace.run.work import Job, Work
from tailrace.warehouse.engines import engine_of
from tailrace.warehouse.file_facts import FileFacts
from tailrace.warehouse.parse_cache import ParseCache
from tailrace.warehouse.sql_files import root
from tailrace.warehouse.statements import Column, TableName

if TYPE_CHECKING:
    from tailrace.models.determinism import Clock
    from tailrace.plan.plan import Plan
    from tailrace.run.result import Progressing
    from tailrace.salesforce.extract.facts import ExtractResult

FILE = "unchanged-run.json"
FILE_BYTES_MAX = 4_000_000
# The name of the fact that the ledger and the tables are as a kept run left them.
FACT = "unchanged run"
COMPARED = Job(command="run", extract=True)
# The beginnings of the environment variables that Tailrace reads settings from.
_VARIABLES = ("TAILRACE__", "SOURCES__", "DESTINATION__", "PROVIDERS__")


@dataclass(frozen=True, kw_only=True)
class Expected:
    """The earlier run with the same files and settings.

    Attributes:
        ledger: The hash of the ledger before the extract.
        tables: The hash of the tables after it.
        names: The tables that audiences read, as dataset and name.
        datasets: The datasets of all tables that models read.
        result: The audiences, totals, destinations and orphans of its result.
        notices: The warnings about headers.
        counts: What the log says of its plan.
        date: The date of the run in UTC if a model reads it; else None.
    """

    ledger: str
    tables: str
    names: tuple[TableName, ...]
    datasets: tuple[str, ...]
    result: Mapping[str, Any]
    notices: tuple[Notice, ...]
    counts: Mapping[str, int]
    date: str | None

    @classmethod
    def from_kept(cls, kept: Mapping[str, Any]) -> Expected:
        """The run as it was kept."""
        return cls(
            ledger=kept["ledger"],
            tables=kept["tables"],
            names=tuple(TableName(dataset, name) for dataset, name in kept["names"]),
            datasets=tuple(kept["datasets"]),
            result=kept["result"],
            notices=tuple(Notice(**notice) for notice in kept["notices"]),
            counts=kept["counts"],
            date=kept["date"],
        )

    def holds_at(self, now: datetime) -> bool:
        """Whether the result of that run may be that of one which starts at this time."""
        return self.date is None or self.date == format_utc(now)[:10]

    def has_same_ledger(self, ledger: Ledger, facts: FileFacts) -> bool:
        """Whether the ledger, and the views of the models, are as they were after that run."""
        if self._is_known(facts):
            return True
        return self.ledger == _ledger_state(ledger)

    def has_same_tables(
        self, ledger: Ledger, extracted: ExtractResult | None, facts: FileFacts
    ) -> bool:
        """Whether the tables, and what the extract says of them, are as they were in that run.

        Args:
            ledger: The ledger, with the extract of this run.
            extracted: What the extract of this run did.
            facts: What is known of the file of the warehouse; this is handed on.
        """
        is_idle = extracted is not None and extracted.is_idle
        if is_idle and self._is_known(facts) and _has_same_extracts(facts, extracted):
            return True
        extracts = ledger.extracts.latest()
        read = [extracts[table.name] for table in self.names if table.name in extracts]
        if any(extract.rows for extract in read):
            # Rows have landed: hashing them would cost time and find another hash.
            return False
        layouts = {dataset: ledger.warehouse.columns_in(dataset) for dataset in self.datasets}
        hashes = {
            table: table_hash(
                ledger.warehouse, table, layouts[str(table.dataset)].get(table.name, ())
            )
            for table in self.names
        }
        if self.tables != _table_state(extracts, layouts, hashes):
            return False
        if is_idle:
            facts.keep(FACT, _fact(self.ledger, self.tables, extracts))
        return True

    def _is_known(self, facts: FileFacts) -> bool:
        known = facts.get(FACT)
        return known is not None and known["run"] == [self.ledger, self.tables]


def hand_on(facts: FileFacts, extracted: ExtractResult) -> None:
    """Keep the fact that a run is equal to one that is kept, after an extract that changed nothing.

    The fact holds for the next process too if the extract says the same of each object.
    """
    known = facts.get(FACT)
    if known is not None and _has_same_extracts(facts, extracted):
        facts.keep(FACT, known)


def _has_same_extracts(facts: FileFacts, extracted: ExtractResult | None) -> bool:
    """Whether the latest extract of each object said what this one says."""
    before = facts.get(FACT)["extracts"]
    return extracted is not None and all(
        before.get(of.table)
        == [
            of.object,
            of.complete,
            of.empty,
            of.error.message if of.error else None,
            [drift.field for drift in of.drift],
        ]
        for of in extracted.objects
    )


def is_handed_on(facts: FileFacts) -> bool:
    """Whether the next process may know that the run is equal to one that is kept."""
    return facts.keeps(FACT)


def _fact(ledger: str, tables: str, extracts: Mapping[str, Extracted]) -> dict[str, Any]:
    """The fact that ledger and tables have these hashes, with what the extracts said."""
    said = {
        e.table: [e.object, e.complete, e.empty, e.error, list(e.vanished_fields)]
        for e in extracts.values()
    }
    return {"run": [ledger, tables], "extracts": said}


class UnchangedRuns:
    """The runs of a project that can be compared, and where they are kept."""

    def __init__(self, project: ProjectConfig) -> None:
        self._project = project
        file = project.root / ".tailrace" / FILE
        # An edited file of this package or of its SQL is another version.
        code = (Path(__file__).parents[1], root("sql"))
        self._cache = ParseCache(file, bytes_max=FILE_BYTES_MAX, code=code)
        self._key = _files_and_settings(project)

    @classmethod
    def of(cls, project: ProjectConfig, job: Job) -> UnchangedRuns | None:
        """Those of a job; None if it is not compared.

        A job is compared if it selects and overrides nothing.
        """
        engine = engine_of(project.settings.warehouse)
        if job != COMPARED or not engine.single_writer:
            return None
        return cls(project)

    def expected(self) -> Expected | None:
        """The earlier run with the same files and settings; None if none is kept."""
        kept = self._cache.get(self._key)
        if kept is None:
            return None
        with suppress(KeyError, TypeError, ValueError):
            return Expected.from_kept(kept)
        return None

    def keep(
        self,
        ledger: Ledger,
        work: Work,
        done: Progressing,
        *,
        tables: Mapping[TableName, str | None],
        notices: Sequence[Notice],
    ) -> None:
        """Keep a run that has just planned, if the next one may equal it.

        Kept is a run without errors and deliveries in which every audience was skipped. Its models
        are views over tables that are hashed and read no time but the date, none of its sources has
        an age limit or belongs to dbt, and no audience forgets events as time passes.
        """
        result, plan = done.result(), done.plan
        if plan is None or result.exit_code or result.errors or done.deliveries or done.blocked:
            return
        if not plan.audiences or not all(audience.skipped for audience in plan.audiences):
            return
        clocks = _clocks_read(work, plan)
        if "time" in clocks or not all(tables.values()):
            return
        assert work.models is not None
        settings = self._project.settings
        datasets = {settings.dataset, *(s.dataset for s in work.models.sources.values())}
        # A write by another program after the plan is then noticed by the next run.
        layouts = {dataset: ledger.warehouse.columns_in(dataset) for dataset in datasets}
        extracts = ledger.extracts.latest()
        ledger_state = _ledger_state(ledger)
        table_state = _table_state(extracts, layouts, tables)
        work.facts.keep(FACT, _fact(ledger_state, table_state, extracts))
        self._cache.put(
            self._key,
            {
                "ledger": ledger_state,
                "tables": table_state,
                "names": [[table.dataset, table.name] for table in tables],
                "datasets": sorted(datasets),
                "result": {
                    "audiences": [dict(entry) for entry in result.audiences],
                    "totals": dict(result.totals),
                    "destinations": dict(result.destinations),
                    "orphans": list(result.orphans),
                },
                "notices": [asdict(notice) for notice in notices],
                "date": format_utc(plan.planned_at)[:10] if "date" in clocks else None,
                "counts": {"audiences": len(plan.audiences), **_NO_CHANGES},
            },
        )
        self._cache.save()


_NO_CHANGES = {"entered": 0, "changed": 0, "exited": 0, "held": 0}


def _clocks_read(work: Work, plan: Plan) -> set[Clock]:
    """What a run depends on of its time; "time" for what depends on more than its tables."""
    models = work.models
    if models is None or models.broken or any(plan.audience.log for plan in plan.audiences):
        return {"time"}
    if any(source.hold_after or source.dbt for source in models.sources.values()):
        return {"time"}
    if any(m.materialized != "view" or m.dbt is not None for m in models.by_name.values()):
        return {"time"}
    return {model.syntax.clock for model in models.by_name.values()}


def _ledger_state(ledger: Ledger) -> str:
    """A hash of all that a plan reads of the ledger, and of the views of the models."""
    warehouse = ledger.warehouse
    columns = warehouse.columns_in(ledger.dataset)
    audiences, deliveries = ledger.audiences, ledger.deliveries
    delivered = audiences.all_last_delivered()
    snapshots = [key for key in delivered if ledger.snapshot(key).name in columns]
    return _digest(
        warehouse.engine_version,
        ledger.namespace,
        sorted(columns.items()),
        sorted(delivered.items()),
        sorted(ledger.sizes(snapshots).items()),
        sorted(audiences.saved_inputs().items()),
        sorted(audiences.released_names().items()),
        sorted(map(repr, audiences.statuses())),
        sorted(map(repr, deliveries.pending())),
        sorted(deliveries.all_unresolved_counts().items()),
        sorted(bound_receivers(ledger).items()),
        sorted(stopped_destinations(ledger).items()),
        warehouse.run("models/definitions", dataset=warehouse.project.settings.model_dataset),
    )


def _table_state(
    extracts: Mapping[str, Extracted],
    layouts: Mapping[str, Mapping[str, Sequence[Column]]],
    hashes: Mapping[TableName, str | None],
) -> str:
    """A hash of the tables that models read, and of what their extracts say of them."""
    return _digest(
        sorted(
            (e.table, e.object, e.complete, e.empty, str(e.error), e.vanished_fields)
            for e in extracts.values()
        ),
        sorted(
            (dataset, sorted((name, repr(of)) for name, of in columns.items()))
            for dataset, columns in layouts.items()
        ),
        sorted((str(table), value) for table, value in hashes.items()),
    )


def _digest(*parts: Any) -> str:
    return hashlib.sha256("\n".join(map(repr, parts)).encode(errors="replace")).hexdigest()


def _files_and_settings(project: ProjectConfig) -> str:
    """One hash of the project's files, its settings and its environment variables."""
    variables = {
        name: value for name, value in project.environ.items() if name.startswith(_VARIABLES)
    }
    settings = json.dumps([project.target, project.layers, variables], default=str, sort_keys=True)
    files = [*_files_under(project.models_folder), project.tracking_plan_file]
    digest = hashlib.sha256(settings.encode(errors="replace"))
    for file in files:
        content = b"-"
        with suppress(OSError):
            content = hashlib.sha256(file.read_bytes()).digest()
        name = str(file.relative_to(project.root))
        digest.update(b"\0" + name.encode(errors="replace") + b"\0" + content)
    return digest.hexdigest()


def _files_under(folder: Path) -> Iterator[Path]:
    for where, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            yield Path(where) / name
