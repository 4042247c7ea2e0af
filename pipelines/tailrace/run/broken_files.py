"""The files of a project that cannot be used now, whatever the latest run made of them.

Alerts ask what an error is, and import nothing that reads models for it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tailrace.clock import Clock
from tailrace.config.project import ProjectConfig
from tailrace.errors import KeyTypeChanged, ModelError, ModelFailed, TailraceError

if TYPE_CHECKING:
    from tailrace.models.loader import Models


def with_broken_files(
    status: Mapping[str, Any], project: ProjectConfig, *, clock: Clock
) -> dict[str, Any]:
    """The result of `status` with the errors of the models as they are now, as `broken`.

    Each error has the audiences that it stops; a model at fault comes before those that read it.
    Each audience says whether an error stops it. Models are bound to the landed tables as well,
    unless a run has the warehouse.
    """
    audiences = status["audiences"]
    recorded = {str(audience["audience"]) for audience in audiences}
    idle = status["running"] is None
    broken = _broken_files(project, recorded, clock=clock, bind=idle)
    stopped = {name for entry in broken for name in entry["audiences"]}
    audiences = [{**entry, "broken": entry["audience"] in stopped} for entry in audiences]
    return {**status, "audiences": audiences, "broken": broken}


def is_of_file(error: TailraceError) -> bool:
    """Whether a file has to be corrected. What depends on the rows is not an error of the file."""
    is_of_rows = isinstance(error, ModelFailed | KeyTypeChanged)
    return isinstance(error, ModelError) and not is_of_rows and error.file is not None


def usable_files(
    models: Models, audiences: Collection[tuple[str, str]], errors: Iterable[TailraceError]
) -> Callable[[str], bool]:
    """Whether a file of a project can be used, after a run.

    Args:
        models: The models that the run read.
        audiences: The audiences that it planned, by name and destination.
        errors: Its errors.

    Returns:
        A function of a path. A file of a model is usable if an audience that reads it was planned.
    """
    from tailrace.models.loader import errors_of

    broken = {str(error.file) for error in (*errors, *errors_of(models.broken.values()))}
    planned = {
        models.by_name[name].file
        for model in models.audiences()
        for sync in (model.audience.syncs() if model.audience else ())
        if (sync.name, sync.destination_name) in audiences
        for name in (model.name, *models.under(model.name))
    }
    others = {model.file for model in models.by_name.values()} - planned
    return lambda file: file not in broken and file not in others


def _broken_files(
    project: ProjectConfig, recorded: Collection[str], *, clock: Clock, bind: bool
) -> list[dict[str, Any]]:
    from tailrace.destinations.registry import project_models
    from tailrace.models.loader import errors_of

    try:
        models = project_models(project)
    except TailraceError as error:
        return [_entry(one, ()) for one in error.flattened()]
    errors = _binding_errors(project, models, clock=clock) if bind else []
    own = [one for error in errors_of(models.broken.values()) for one in error.flattened()]
    errors += sorted(own, key=lambda error: (str(error.file), error.line or 0))
    stopped = _audiences_by_file(models)
    return [
        _entry(error, [*stopped.get(str(error.file), ()), *_broken_by(error, models, recorded)])
        for error in errors
    ]


def _binding_errors(project: ProjectConfig, models: Models, *, clock: Clock) -> list[TailraceError]:
    from tailrace.run.binding import bind_to_landed_tables

    try:
        bind_to_landed_tables(project, models, tuple(models.by_name.values()), clock=clock)
    except ModelError as error:
        return list(error.flattened())
    except TailraceError:
        # What is wrong with the warehouse is not an error of a file.
        return []
    return []


def _audiences_by_file(models: Models) -> dict[str, list[str]]:
    """The usable audiences that read each file, their own included."""
    by_file: dict[str, list[str]] = {}
    for model in models.audiences():
        if model.audience is None:
            continue
        for name in (model.name, *models.under(model.name)):
            by_file.setdefault(models.by_name[name].file, []).append(model.audience.name)
    return by_file


def _broken_by(error: TailraceError, models: Models, recorded: Collection[str]) -> list[str]:
    """The audiences among the broken models with this error.

    A file that cannot be read at all is taken for the audience of its name, if there was one.
    """
    names = []
    for broken in models.broken.values():
        if any(one is error for gathered in broken.errors for one in gathered.flattened()):
            if broken.audience is not None:
                names.append(broken.audience.name)
            elif broken.name in recorded:
                names.append(broken.name)
    return names


def _entry(error: TailraceError, audiences: Sequence[str]) -> dict[str, Any]:
    return {"audiences": sorted(set(audiences)), **error.as_dict()}
