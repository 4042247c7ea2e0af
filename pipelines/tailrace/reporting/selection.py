"""The selected models of a project, and what the ledger knows about a name that matches none."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from tailrace.audience.yaml import raise_all
from tailrace.config.project import ProjectConfig, did_you_mean
from tailrace.dataclass import dataclass
from tailrace.destinations.registry import project_models
from tailrace.errors import ModelError, NothingSelected
from tailrace.models.file import NAME_HINT, is_name
from tailrace.models.loader import Model, Models, errors_of


@dataclass(frozen=True, kw_only=True)
class Selected:
    """The models that a command is about.

    Attributes:
        models: All models of the project.
        chosen: The selected ones that can be used.
        errors: Why the others cannot, each once.
    """

    models: Models
    chosen: tuple[Model, ...]
    errors: tuple[ModelError, ...]


def select_usable(
    project: ProjectConfig, select: Sequence[str] = (), exclude: Sequence[str] = ()
) -> Selected:
    """The selected models. A file with errors does not stop the others.

    Raises:
        NothingSelected: A name matches nothing, or nothing is left.
        ModelError, SeveralModelErrors: No selected model can be used.
    """
    models = project_models(project)
    chosen = models.select(select, exclude)
    broken = models.select_broken(select, exclude)
    errors = tuple(errors_of(broken))
    if not chosen:
        raise_all(list(errors))
    return Selected(models=models, chosen=chosen, errors=errors)


# The values of `result:`, and what each says of an audience's latest run.
RESULTS: Mapping[str, Callable[[Mapping[str, Any]], bool]] = {
    "failed": lambda audience: audience["status"] == "failed",
    "held": lambda audience: audience["status"] == "held",
    "rejected": lambda audience: int(audience["rejected"]) > 0,
    "ok": lambda audience: audience["status"] in ("ok", "unchanged"),
}


def select_by_result(audiences: Iterable[Mapping[str, Any]], value: str) -> frozenset[str]:
    """The audiences whose latest run ended in a way, at any of their destinations.

    Args:
        audiences: The entries of a status.
        value: One of `RESULTS`.

    Raises:
        NothingSelected: There is no such result.
    """
    if value not in RESULTS:
        known = [f"result:{name}" for name in RESULTS]
        raise NothingSelected(
            f'"result:{value}" is not a result.{did_you_mean(f"result:{value}", known)}',
            hint=f"There are: {', '.join(known)}",
        )
    return frozenset(str(entry["audience"]) for entry in audiences if RESULTS[value](entry))


def with_ledger_names(error: NothingSelected, names: Collection[str]) -> NothingSelected:
    """The error for a name without a model, where the ledger has an audience of that name.

    Args:
        error: The error of the selection.
        names: The audiences that the ledger has.
    """
    unknown = error.unknown
    if unknown is None:
        return error
    former = set(names) - set(error.known)
    word = unknown.lower()
    matching = sorted(name for name in former if fnmatchcase(name, word))
    declared = error.known[0] if error.file is not None else "NEW_NAME"
    if word in former:
        problem = "this file declares" if error.file is not None else ""
        return NothingSelected(
            f"{word} has members in the ledger and no model file"
            + (f"; {problem} {declared}" if problem else ""),
            hint=f"Send their exits with: tailrace retire {word}. If it has another name now: "
            f"tailrace rename {word} {declared}",
            file=error.file,
            line=error.line,
        )
    if matching:
        return NothingSelected(
            f'"{unknown}" matches no model. In the ledger, {", ".join(matching)} '
            f"{'has' if len(matching) == 1 else 'have'} members and no model file",
            hint="Send the exits of one with: tailrace retire AUDIENCE",
        )
    meant = did_you_mean(unknown, [*error.known, *former])
    if any(f'"{name}"' in meant for name in former):
        return NothingSelected(
            f"{error.message.partition('. Did you mean')[0]}.{meant} It has members in the ledger "
            "and no model file",
            hint="List the audiences with: tailrace status",
        )
    return error


def audience_files(models: Models, audience: str) -> Iterator[str]:
    """The files that declare an audience, also those that have errors."""
    for model in models.audiences():
        if model.audience is not None and model.audience.name == audience:
            yield model.file
    for broken in models.broken.values():
        name = broken.audience.name if broken.audience else broken.name
        file = broken.model.file if broken.model else broken.errors[0].file
        if name == audience and file is not None:
            yield file


def refuse_old_name(models: Models, old_name: str, new_name: str) -> None:
    """Refuse to rename an audience unless the files declare it by its new name, and by no other.

    Raises:
        NothingSelected: It names the file, or the audience that may be meant.
    """
    if old_name == new_name:
        raise NothingSelected(f'"{new_name}" is the name that the audience has')
    if not is_name(new_name):
        raise NothingSelected(f'"{new_name}" cannot be the name of an audience', hint=NAME_HINT)
    for file in audience_files(models, old_name):
        raise NothingSelected(
            f'This file still declares the audience "{old_name}": the next run would send an '
            "entry for every member",
            hint=f"Write `audience: {new_name}` in its header, then run: "
            f"tailrace rename {old_name} {new_name}",
            file=file,
        )
    if not any(audience_files(models, new_name)):
        declared = [model.audience.name for model in models.audiences() if model.audience]
        raise NothingSelected(
            f'No file declares the audience "{new_name}".{did_you_mean(new_name, declared)}',
            hint=f"Write `audience: {new_name}` in the header of its file first; without a file, "
            f"send the exits with: tailrace retire {old_name}",
        )


def files_remaining(models: Models, audience: str) -> list[dict[str, Any]]:
    """A warning for each file that still declares an audience that is retired."""
    return [
        {
            "message": f"This file still declares {audience}: the next run sends an entry for "
            "every member",
            "hint": f"Delete {file} to retire the audience for good.",
            "audience": audience,
            "file": file,
            "line": None,
        }
        for file in audience_files(models, audience)
    ]
