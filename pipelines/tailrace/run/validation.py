"""`tailrace validate`: checks the settings, the models and the tracking plan; nothing runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tailrace.audience.yaml import raise_all
from tailrace.clock import Clock
from tailrace.config.check import check_settings
from tailrace.config.project import ProjectConfig
from tailrace.destinations.registry import check_destinations, project_models
from tailrace.models.loader import Model, Models
from tailrace.run import notices
from tailrace.run.binding import bind_to_landed_tables


def validate(
    project: ProjectConfig,
    *,
    select: Sequence[str] = (),
    exclude: Sequence[str] = (),
    clock: Clock,
) -> dict[str, Any]:
    """Check a project, with the selected ones of its models.

    Returns:
        The keys of a `--json` result: how many models and audiences are valid, and warnings.

    Raises:
        tailrace.errors.UserError: Something is wrong; it names the file and the line.
    """
    models = project_models(project)
    # Errors of files that are not selected are left for a `validate` of all.
    selected = models.select(select, exclude)
    broken = models.select_broken(select, exclude)
    raise_all(list({id(e): e for model in broken for e in model.errors}.values()))
    _check_settings(project, models)
    unbound = bind_to_landed_tables(project, models, selected, clock=clock)
    return {
        "models": len(selected),
        "audience_count": sum(model.audience is not None for model in selected),
        "warnings": unbound + [warning for model in selected for warning in _warnings(model)],
    }


def _check_settings(project: ProjectConfig, models: Models) -> None:
    destinations = {
        sync.destination_name: None
        for model in models.audiences()
        if model.audience is not None
        for sync in model.audience.syncs()
    }
    if not models.broken:
        project.refuse_unused_destinations(destinations)
    check_settings(project)
    check_destinations(project, destinations)


def _warnings(model: Model) -> list[dict[str, Any]]:
    of_header = notices.of_header(model.audience) if model.audience else ()
    return [warning.as_dict() for warning in (*model.warnings, *of_header)]
