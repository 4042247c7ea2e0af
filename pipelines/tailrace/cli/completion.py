"""What a shell completes: names of models, objects, guards, targets and destinations.

The project is read from its files; no warehouse is opened. Where that fails, nothing is completed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tailrace.config.sections import DESTINATIONS_OF_DLT, table_of
from tailrace.dataclass import dataclass
from tailrace.errors import TailraceError

if TYPE_CHECKING:
    from tailrace.config.project import ProjectConfig

Completer = Callable[[click.Context, click.Parameter, str], list[str]]


# Keys that only the header of an audience or of an event model has.
_AUDIENCE_KEYS = frozenset(
    {"audience", "events", "key", "track", "identify", "group", "salesforce", "webhook"}
)
# A .yml without a .sql is a model if it names one of dbt.
_NAMES_DBT_MODEL = re.compile(r"^model:\s*['\"]?dbt://", re.MULTILINE)


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


@dataclass(frozen=True, kw_only=True)
class _Named:
    """A model as its header names it."""

    name: str
    is_audience: bool
    tags: tuple[str, ...]


def _models(config: ProjectConfig) -> list[_Named]:
    """The models by their headers. Their SQL is not parsed, since a person waits."""
    folder = config.models_folder
    paths = (p for p in sorted(folder.rglob("*")) if p.suffix in (".sql", ".yml"))
    return [
        _named(path, in_audiences="audiences" in path.relative_to(folder).parts)
        for path in paths
        if path.suffix == ".sql" or _NAMES_DBT_MODEL.search(_text_of(path))
    ]


def _named(path: Path, *, in_audiences: bool) -> _Named:
    # Imported when a name is completed: `--help` does not need it.
    from yaml import YAMLError, safe_load

    from tailrace.audience.yaml import split

    header: Mapping[str, Any] = {}
    # A header that cannot be read leaves the name of the file.
    with suppress(TailraceError, YAMLError):
        sidecar = path.with_suffix(".yml")
        text = _text_of(sidecar) if sidecar.is_file() else split(_text_of(path), file="").yaml
        loaded = safe_load(text) if text else None
        header = loaded if isinstance(loaded, Mapping) else {}
    tags = header.get("tags")
    return _Named(
        name=str(header.get("audience") or header.get("events") or path.stem),
        is_audience=in_audiences or not _AUDIENCE_KEYS.isdisjoint(header),
        tags=tuple(map(str, tags)) if isinstance(tags, list) else (),
    )


def _text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8-sig", errors="replace")


def _audiences(folder: Path | None, target: str | None, _start: str = "") -> list[str]:
    return [model.name for model in _models(_config(folder, target)) if model.is_audience]


def _patterns(folder: Path | None, target: str | None, start: str) -> Iterable[str]:
    """What `--select` takes: a model, or its tag or object once the word begins so."""
    config = _config(folder, target)
    if start.startswith("object:"):
        return [f"object:{name}" for name in config.salesforce().objects]
    models = _models(config)
    if start.startswith("tag:"):
        return [f"tag:{tag}" for tag in sorted({tag for model in models for tag in model.tags})]
    return [model.name for model in models]


def _objects(folder: Path | None, target: str | None, _start: str) -> Iterable[str]:
    """What `extract --select` takes: the configured objects, and models that read them."""
    config = _config(folder, target)
    return [*config.salesforce().objects, *(model.name for model in _models(config))]


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
