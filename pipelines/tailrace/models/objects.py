"""Which Salesforce objects a selection names, directly or by the models that read them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase

from tailrace.audience.yaml import raise_all
from tailrace.config.project import did_you_mean
from tailrace.errors import NothingSelected
from tailrace.models.loader import Models, landed_name


def select_objects(
    read_models: Callable[[], Models],
    configured: Sequence[str],
    select: Sequence[str],
    exclude: Sequence[str],
) -> tuple[str, ...]:
    """The configured objects that a selection names.

    A pattern is an object (`Contact`, `object:Contact`, a glob, in any case), or a model, for the
    objects that it reads.

    Args:
        read_models: Reads the project's models; called only if a pattern is not an object.
        configured: The API names of the objects that the project extracts.
        select: Patterns; all objects without one.
        exclude: Patterns of objects to leave out.

    Raises:
        NothingSelected: A pattern matches nothing, or no object is left.
    """
    tables = {name: landed_name(name) for name in configured}
    included = _matching(read_models, tables, select) if select else set(configured)
    chosen = included - _matching(read_models, tables, exclude)
    if not chosen:
        raise NothingSelected(
            "The selection leaves no Salesforce object",
            hint=f"Configured under [sources.salesforce] objects: {', '.join(configured)}",
        )
    return tuple(name for name in configured if name in chosen)


def _matching(
    read_models: Callable[[], Models], tables: Mapping[str, str], patterns: Sequence[str]
) -> set[str]:
    matching: set[str] = set()
    for pattern in patterns:
        method, _, value = pattern.rpartition(":")
        # Models write the table with its dataset in front.
        name = value.lower().removeprefix("salesforce.")
        wanted = landed_name(value if name == value.lower() else name)
        wanted = wanted if method in ("", "object") else ""
        objects = {name for name, table in tables.items() if fnmatchcase(table, wanted)}
        if not objects and method == "object":
            raise NothingSelected(
                f'"{value}" is not a configured Salesforce object.{did_you_mean(value, tables)}',
                hint=f"Configured under [sources.salesforce] objects: {', '.join(tables)}",
            )
        matching |= objects or _read_by(read_models(), pattern, tables)
    return matching


def _read_by(models: Models, pattern: str, tables: Mapping[str, str]) -> set[str]:
    try:
        chosen = models.select([pattern])
    except NothingSelected as error:
        if error.file is not None:
            raise
        known = [*tables, *models.by_name, *models.broken]
        suggestion = did_you_mean(pattern, known)
        raise NothingSelected(
            f'"{pattern}" is neither a configured object nor a model.{suggestion}',
            hint=f"Configured under [sources.salesforce] objects: {', '.join(tables)}. "
            "List the models with: tailrace ls",
            unknown=pattern,
            known=known,
        ) from None
    # The objects that a file with errors reads are not known.
    raise_all([error for broken in models.select_broken([pattern]) for error in broken.errors])
    read = {table for model in chosen for table in models.objects_read(model.name)}
    return {name for name, table in tables.items() if table in read}
