"""`tailrace validate`: checks the settings, the models and the tracking plan; nothing runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tailrace.clock import Clock
from tailrace.config import committed_credentials
from tailrace.config.check import check_settings
from tailrace.config.project import ProjectConfig
from tailrace.destinations.registry import check_destinations, project_models
from tailrace.errors import ModelError, SeveralModelErrors, TailraceError
from tailrace.models.loader import BrokenModel, Model, Models, errors_of
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
    if broken:
        errors = _errors_of(project, models, selected, broken, clock=clock)
        raise errors[0] if len(errors) == 1 else SeveralModelErrors(errors)
    _check_settings(project, models)
    unbound = bind_to_landed_tables(project, models, selected, clock=clock)
    return {
        "models": len(selected),
        "audience_count": sum(model.audience is not None for model in selected),
        "warnings": [
            *committed_credentials.warnings(project),
            *unbound,
            *(warning for model in selected for warning in _warnings(model)),
        ],
    }


def _errors_of(
    project: ProjectConfig,
    models: Models,
    selected: Sequence[Model],
    broken: Sequence[BrokenModel],
    *,
    clock: Clock,
) -> list[ModelError]:
    """The errors of broken models, after those of models below them that do not bind.

    A column that is misspelt in one model is missing in all models that read it.
    """
    errors: list[ModelError] = []
    below = (name for one in broken if one.model for name in one.model.depends_on)
    usable = [models.by_name[name] for name in below if name in models.by_name]
    try:
        bind_to_landed_tables(project, models, [*usable, *selected], clock=clock)
    except ModelError as error:
        errors += [entry for entry in error.flattened() if isinstance(entry, ModelError)]
    except TailraceError:
        # The errors of the files can be shown without a warehouse.
        pass
    own = errors_of(broken)
    return [*errors, *sorted(own, key=lambda error: (str(error.file), error.line or 0))]


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
