"""Draft a tracking plan from the audiences' mappings and the types of their columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tailrace.clock import Clock
from tailrace.config.project import ProjectConfig
from tailrace.destinations.segment.tracking_plan import draft as draft_rules
from tailrace.errors import ModelDoesNotBind, NothingLanded, TailraceError
from tailrace.models.loader import Model, Models
from tailrace.plan.bound_models import BoundModels
from tailrace.reporting.selection import Selected
from tailrace.warehouse.opening import open_warehouse


def draft(
    project: ProjectConfig, selected: Selected, *, file: Path | None, clock: Clock
) -> dict[str, Any]:
    """The result of `tailrace tracking-plan`; with a file, the plan is written to it."""
    plan = draft_of(project, selected, clock=clock)
    text = as_yaml(plan)
    if file is not None:
        file.write_text(text, encoding="utf-8")
    return {
        "tracking_plan": plan,
        "yaml": text,
        "file": None if file is None else str(file),
        "warnings": _incomplete(selected.errors) if file else [],
    }


def draft_of(project: ProjectConfig, selected: Selected, *, clock: Clock) -> dict[str, Any]:
    """A tracking plan of the selected audiences. Columns of models that do not run have no type."""
    chosen = [model for model in selected.chosen if model.audience is not None]
    try:
        types = _column_types(project, selected.models, chosen, clock=clock)
    except NothingLanded:
        types = {}
    return draft_rules([model.audience for model in chosen if model.audience], column_types=types)


def _incomplete(errors: Sequence[TailraceError]) -> list[dict[str, Any]]:
    """A warning for a plan that lacks the audiences of files with errors."""
    if not errors:
        return []
    return [
        {
            "message": "The tracking plan has no rules for the audiences whose files have errors",
            "hint": "Correct the files, then draft it again: where a tracking plan is enforced, "
            "messages without a rule are rejected.",
            "file": None,
            "line": None,
        }
    ]


def as_yaml(plan: Mapping[str, Any]) -> str:
    """A tracking plan as YAML, each rule written out in full without anchors."""
    import yaml

    class NoAliases(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:
            return True

    text: str = yaml.dump(
        dict(plan), Dumper=NoAliases, sort_keys=False, allow_unicode=True, width=100
    )
    return text


def _column_types(
    project: ProjectConfig, models: Models, chosen: Sequence[Model], *, clock: Clock
) -> dict[str, Mapping[str, str]]:
    types: dict[str, Mapping[str, str]] = {}
    with open_warehouse(project, clock=clock, read_only=True) as warehouse:
        bound_models = BoundModels(warehouse, models, now=clock.now())
        for model in chosen:
            try:
                types[model.name] = {c.name: c.type for c in bound_models.columns_of(model)}
            except ModelDoesNotBind:
                continue
    return types
