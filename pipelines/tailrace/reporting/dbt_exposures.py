"""The audiences that read models of dbt, as exposures: what dbt's own lineage ends in.

The text depends on the project's files alone and is sorted, so that it can be committed in the dbt
project and compared by its CI. Format: https://docs.getdbt.com/reference/exposure-properties
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tailrace.audience.audience import Audience
from tailrace.audience.yaml import raise_all
from tailrace.config.project import ProjectConfig
from tailrace.errors import ConfigurationError, DbtExposuresOutdated
from tailrace.models.dbt import DbtNode, dbt_project
from tailrace.models.loader import Model, Models, errors_of
from tailrace.reporting.tracking_plan_draft import as_yaml

WRITTEN_BY = "# Written by `tailrace dbt exposures`; edit the audiences instead.\n"


def exposures(
    project: ProjectConfig,
    models: Models,
    chosen: Sequence[Model],
    *,
    file: Path | None,
    check: bool,
) -> dict[str, Any]:
    """The result of `tailrace dbt exposures`; with a file, the YAML is written to it.

    Args:
        project: The project.
        models: All models of the project.
        chosen: The models whose audiences are exposures.
        file: Where the YAML is written, if anything in it changed.
        check: Only compare the file.

    Raises:
        DbtManifestInvalid: The manifest cannot be read.
        SeveralModelErrors: Models have errors, so that their exposures are not known.
        DbtExposuresOutdated: The file differs, and `check` is set.
        ConfigurationError: The file cannot be read or written.
    """
    raise_all(errors_of(models.broken.values()))
    dbt = dbt_project(project)
    relations = dbt.manifest.nodes_by_relation(dbt.database)
    entries = [
        _exposure(model.audience, nodes)
        for model in sorted(chosen, key=lambda model: model.name)
        if model.audience is not None and (nodes := _nodes_read(models, model, relations))
    ]
    text = WRITTEN_BY + as_yaml({"version": 2, "exposures": entries})
    changed = file is not None and _write(file, text, check=check)
    return {
        "exposures": entries,
        "yaml": text,
        "file": None if file is None else str(file),
        "changed": changed,
    }


def _nodes_read(models: Models, model: Model, relations: Mapping[str, DbtNode]) -> list[DbtNode]:
    """The nodes of dbt that a model reads: by `dbt://`, or as a declared table that dbt builds."""
    nodes = (source.dbt or relations.get(source.key) for source in models.sources_read(model.name))
    return [node for node in nodes if node is not None]


def _exposure(audience: Audience, nodes: Sequence[DbtNode]) -> dict[str, Any]:
    return {
        "name": audience.name,
        "type": "application",
        "owner": _owner(audience.owner),
        "description": " ".join(_description(audience)),
        "depends_on": sorted({node.reference for node in nodes}),
    }


def _owner(owner: str | None) -> dict[str, str]:
    """The owner as dbt wants it: by name or by email."""
    if owner is None:
        return {"name": "Tailrace"}
    return {"email": owner} if "@" in owner else {"name": owner}


def _description(audience: Audience) -> Iterator[str]:
    # dbt would run what looks like a template.
    written = (audience.description or f"The audience {audience.name}.").replace("{", "(")
    sentence = " ".join(written.replace("}", ")").split())
    yield sentence if sentence.endswith((".", "!", "?")) else f"{sentence}."
    yield f"Sent to {', '.join(sync.destination_name for sync in audience.syncs())}."


def _write(file: Path, text: str, *, check: bool) -> bool:
    """Write the text if the file has another one. Returns whether it had."""
    try:
        before = file.read_text(encoding="utf-8") if file.is_file() else None
        if before == text:
            return False
        if check:
            raise DbtExposuresOutdated(
                f"{file.name} is not what the audiences say today"
                if before is not None
                else f"There is no {file.name}",
                hint="Write it with: tailrace dbt exposures --out FILE",
            )
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8", newline="\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigurationError(
            f"{file.name} cannot be written: {reason}", hint="Choose another file."
        ) from None
    return True
