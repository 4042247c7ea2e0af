"""Builds the models under the selected audiences: views, or tables where the header says so."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from tailrace.models.loader import Model, Models, bind, definition
from tailrace.plan.planner import not_landed
from tailrace.warehouse.connection import Warehouse
from tailrace.warehouse.statements import Binding, TableName


def build(
    warehouse: Warehouse, models: Models, selected: Sequence[Model], *, now: datetime
) -> frozenset[str]:
    """Build what the selected models read, and the selected ones that are not audiences.

    Returns:
        The names of the models that are tables by now.
    """
    needed = {name for model in selected for name in models.under(model.name)}
    needed |= {model.name for model in selected if model.kind == "staging"}
    if not needed:
        return frozenset()
    dataset = warehouse.project.settings.model_dataset
    landed = warehouse.tables_in(warehouse.project.settings.dataset)
    for name in (name for name in models.by_name if name in needed):
        for table in sorted(set(models.by_name[name].reads) - landed):
            raise not_landed(models.by_name[name], table)
    warehouse.create_dataset(dataset)
    kinds = dict(warehouse.run("models/kinds", dataset=dataset))
    tables: set[str] = set()
    for name, model in models.by_name.items():
        if name not in needed:
            continue
        text = definition(models, name, tables_built=tables)
        bound = bind(
            text,
            dataset=warehouse.project.settings.dataset,
            now=now,
            dialect=warehouse.dialect,
            model_dataset=dataset,
            file=model.file,
        )
        warehouse.admit(bound, file=model.file)
        _promote(warehouse, TableName(dataset, name), bound, model, was=kinds.get(name))
        if model.materialized == "table":
            tables.add(name)
    return frozenset(tables)


def _promote(
    warehouse: Warehouse, built: TableName, bound: Binding, model: Model, *, was: str | None
) -> None:
    """Replace what was built before in one transaction: a reader sees the one or the other."""
    with warehouse.transaction():
        if was is not None:
            kind = "view" if was == "VIEW" else "table"
            warehouse.run(f"models/drop_{kind}", tables={"built": built})
        warehouse.run(
            f"models/create_{model.materialized}", tables={"built": built, "model": bound}
        )
