"""What a shell completes: names of models, objects, guards, targets and destinations.

The project is read from its files; no warehouse is opened. Where that fails, nothing is completed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tailrace.config.sections import DESTINATIONS_OF_DLT, table_of
from tailrace.errors import TailraceError

if TYPE_CHECKING:
    from tailrace.config.project import ProjectConfig
    from tailrace.models.loader import Models

Completer = Callable[[click.Context, click.Parameter, str], list[str]]


def _completer(names: Callable[[Path | None, str | None, str], Iterable[str]]) -> Completer:
    """A click callback that offers the names which begin as the word does."""

    def complete(context: click.Context, _parameter: click.Parameter, start: str) -> list[str]:
        folder, target = _given(context, "project_dir"), _given(context, "target")
        try:
            offered = names(Path(folder) if folder else None, target, start)
            return [name for name in offered if name.startswith(start)]
        except (TailraceError, OSError):
            return []

    return complete


def _given(context: click.Context, option: str) -> str | None:
    """The value of an option of the command, or else of the groups around it."""
    at: click.Context | None = context
    while at is not None:
        if at.params.get(option) is not None:
            return str(at.params[option])
        at = at.parent
    return None


def _config(folder: Path | None, target: str | None) -> ProjectConfig:
    from tailrace.config.project import load_project

    return load_project(folder, target=target)


def _models(folder: Path | None, target: str | None) -> Models:
    from tailrace.destinations.registry import project_models

    return project_models(_config(folder, target))


def _audiences(folder: Path | None, target: str | None, _start: str = "") -> list[str]:
    models = _models(folder, target)
    return [*(model.name for model in models.audiences()), *models.broken]


def _patterns(folder: Path | None, target: str | None, start: str) -> Iterable[str]:
    """What `--select` takes: a model, or its tag or object once the word begins so."""
    models = _models(folder, target)
    if start.startswith("tag:"):
        headers = [model.audience for model in models.audiences() if model.audience]
        tags = {tag for header in headers for tag in header.tags}
        return [f"tag:{tag}" for tag in sorted(tags)]
    if start.startswith("object:"):
        return [f"object:{name}" for name in _config(folder, target).salesforce().objects]
    return [*models.by_name, *models.broken]


def _objects(folder: Path | None, target: str | None, _start: str) -> Iterable[str]:
    """What `extract --select` takes: the configured objects, and models that read them."""
    objects = _config(folder, target).salesforce().objects
    return [*objects, *_models(folder, target).by_name]


def _guards(folder: Path | None, target: str | None, start: str) -> Iterable[str]:
    from tailrace.plan.guards import NAMES

    return [
        f"{audience}:{guard}"
        for audience in _audiences(folder, target)
        for guard in NAMES
        if audience.startswith(start.partition(":")[0])
    ]


def _targets(folder: Path | None, _target: str | None, _start: str) -> Iterable[str]:
    files = (_config(folder, None).root / ".dlt").glob("*.*.toml")
    return sorted({path.name.split(".")[0] for path in files})


def _destinations(folder: Path | None, target: str | None, _start: str) -> Iterable[str]:
    config = _config(folder, target)
    configured = {name for _, layer in config.layers for name in table_of(layer, "destination")}
    return sorted(configured - {config.settings.warehouse, *DESTINATIONS_OF_DLT})


models = _completer(_patterns)
objects = _completer(_objects)
audiences = _completer(_audiences)
guards = _completer(_guards)
targets = _completer(_targets)
destinations = _completer(_destinations)
