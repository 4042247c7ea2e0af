"""Builds the models under the selected audiences: views, or tables where the header says so."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime

from tailrace.errors import (
    MemoryShort,
    ModelDoesNotBind,
    ModelError,
    StatementRefused,
    TailraceError,
)
from tailrace.models.column_types import column_types
from tailrace.models.compile import bind, compiled_sql
from tailrace.models.loader import Model, Models
from tailrace.plan.faults import located, not_landed
from tailrace.plan.plan import BuildResult
from tailrace.plan.sources import SourceStates
from tailrace.warehouse.connection import Warehouse
from tailrace.warehouse.statements import Binding, TableName


def build(
    warehouse: Warehouse,
    models: Models,
    selected: Sequence[Model],
    *,
    now: datetime,
    progress: Callable[[str, int, int], None] | None = None,
) -> BuildResult:
    """Build the models that the selected ones read, and selected models that are not audiences.

    A model that cannot be built is skipped with the models that read it; the others are built. A
    model whose source is missing, or has lost a column, is not an error: the plan holds its
    audiences.
    """
    needed = _needed(models, selected)
    if not needed:
        return BuildResult()
    settings = warehouse.project.settings
    dataset, landed = settings.model_dataset, warehouse.tables_in(settings.dataset)
    warehouse.create_dataset(dataset)
    kinds = dict(warehouse.run("models/kinds", dataset=dataset))
    sources = SourceStates(warehouse, models, now=now)
    tables, unbound, errors = set[str](), set[str](), dict[str, TailraceError]()
    for name, model in _in_order(models, needed, progress):
        if (errors.keys() | unbound) & set(models.under(name)):
            continue
        states = [sources.of(models.sources[key]) for key in model.sources]
        if any(state.missing for state in states):
            unbound.add(name)
            continue
        try:
            _require_landed(model, landed)
            types = column_types(warehouse)
            text = compiled_sql(
                models, name, tables_built=tables, dialect=warehouse.dialect, columns=types
            )
            bound = bind(
                text,
                dataset=settings.dataset,
                now=now,
                dialect=warehouse.dialect,
                model_dataset=dataset,
                file=model.file,
                columns=types,
            )
            if warehouse.engine.resolves_names:
                warehouse.describe(bound)
            warehouse.admit(bound, file=model.file)
            _promote(warehouse, TableName(dataset, name), bound, model, was=kinds.get(name))
        except (ModelError, StatementRefused, MemoryShort) as error:
            fault = located(warehouse, models, model, error, now=now)
            if isinstance(fault, ModelDoesNotBind) and any(state.gone for state in states):
                unbound.add(name)
            else:
                errors[name] = fault
            continue
        if model.materialized == "table":
            tables.add(name)
    return BuildResult(tables=frozenset(tables), errors=errors)


def _require_landed(model: Model, landed: Collection[str]) -> None:
    for table in sorted(set(model.reads).difference(landed)):
        raise not_landed(model, table)


def _needed(models: Models, selected: Sequence[Model]) -> set[str]:
    needed = {name for model in selected for name in models.under(model.name)}
    return needed | {model.name for model in selected if model.kind == "staging"}


def _in_order(
    models: Models, needed: Collection[str], progress: Callable[[str, int, int], None] | None
) -> Iterator[tuple[str, Model]]:
    """The models in the order of their dependencies, each reported before it is built."""
    ordered = [(name, model) for name, model in models.by_name.items() if name in needed]
    for place, (name, model) in enumerate(ordered):
        if progress is not None:
            progress(name, place, len(ordered))
        yield name, model


def _promote(
    warehouse: Warehouse, built: TableName, bound: Binding, model: Model, *, was: str | None
) -> None:
    """Replace the earlier view or table in one transaction, so that readers always see one."""
    with warehouse.transaction():
        if was is not None:
            kind = "view" if was == "VIEW" else "table"
            warehouse.run(f"models/drop_{kind}", tables={"built": built})
        warehouse.run(
            f"models/create_{model.materialized}", tables={"built": built, "model": bound}
        )
