"""A saved manifest of a project's models, by which `state:modified` finds the changed ones.

It holds fingerprints only: no SQL and no value. Save it where the reviewed branch starts, such as
an artifact of the main branch's CI job.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from tailrace.audience.yaml import suggest
from tailrace.errors import ConfigurationError, NothingSelected
from tailrace.models.compile import definition_fingerprint
from tailrace.models.file import Model
from tailrace.models.loader import Models

MANIFEST_VERSION = 1
MANIFEST_BYTES_MAX = 16 * 1024 * 1024
STATES = ("modified", "new", "unmodified")
WRITE_HINT = "Write one on the branch to compare with: tailrace ls --manifest FILE"


def manifest_of(models: Models) -> dict[str, Any]:
    """The fingerprints of every usable model: of its SELECT with those under it, of its header, and
    of the models of dbt that it reads."""
    return {
        "manifest_version": MANIFEST_VERSION,
        "models": {
            name: {
                "definition": definition_fingerprint(models, name),
                "header": _header_fingerprint(model),
                **_dbt_checksum(models, name),
            }
            for name, model in sorted(models.by_name.items())
        },
    }


def write_manifest(models: Models, file: Path) -> None:
    """Write the manifest to a file.

    Raises:
        ConfigurationError: The file cannot be written.
    """
    try:
        file.write_text(json.dumps(manifest_of(models), indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"Cannot write {file.name}: {error.strerror}", hint="Choose another file."
        ) from None


def select_by_state(models: Models, state: str, file: Path | None) -> Collection[str]:
    """The models that are `modified` or `new` since a manifest was saved, or `unmodified`.

    A model with errors counts as modified, and so does one that reads a modified model.

    Raises:
        NothingSelected: There is no such state, or no manifest was given.
        ConfigurationError: The file is not a manifest.
    """
    if state not in STATES:
        known = [f"state:{name}" for name in STATES]
        raise NothingSelected(
            suggest(f'"state:{state}" is not a state of a model', f"state:{state}", known),
            hint=f"There are: {', '.join(known)}",
        )
    if file is None:
        raise NothingSelected(
            f"state:{state} compares with a saved manifest, and none was given",
            hint=f"Add --state FILE. {WRITE_HINT}",
        )
    before = _read(file)
    now = manifest_of(models)["models"]
    names = {*now, *models.broken}
    new = names - before.keys()
    modified = {name for name in names if name in models.broken or now[name] != before.get(name)}
    return {"modified": modified, "new": new, "unmodified": names - modified}[state]


def _header_fingerprint(model: Model) -> str:
    header: dict[str, Any] = {"materialized": model.materialized, "dialect": model.dialect}
    if model.audience is not None:
        header["audience"] = model.audience.mapping()
    text = json.dumps(header, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _dbt_checksum(models: Models, name: str) -> dict[str, str]:
    """A fingerprint of dbt's own checksums of the models that dbt builds for a model."""
    nodes = [source.dbt for source in models.sources_read(name) if source.dbt is not None]
    if not nodes:
        return {}
    text = "\n".join(f"{node.unique_id} {node.checksum}" for node in nodes)
    return {"dbt": hashlib.sha256(text.encode()).hexdigest()}


def _read(file: Path) -> Mapping[str, Mapping[str, str]]:
    try:
        if file.stat().st_size > MANIFEST_BYTES_MAX:
            raise ValueError
        manifest = json.loads(file.read_text(encoding="utf-8"))
        models: Mapping[str, Mapping[str, str]] = manifest["models"]
        if manifest["manifest_version"] != MANIFEST_VERSION or not isinstance(models, dict):
            raise ValueError
    except FileNotFoundError:
        raise ConfigurationError(f"There is no {file.name}", hint=WRITE_HINT) from None
    except OSError as error:
        message = f"{file.name} cannot be read: {error.strerror}"
        raise ConfigurationError(message, hint=WRITE_HINT) from None
    except (ValueError, KeyError, TypeError, RecursionError):
        message = f"{file.name} is not a manifest of this version"
        raise ConfigurationError(message, hint=WRITE_HINT) from None
    return models
