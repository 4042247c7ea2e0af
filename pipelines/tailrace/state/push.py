"""Writes a DuckDB file to the store: to begin with one, or to restore a backup."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tailrace.errors import NothingLanded
from tailrace.state.local_copy import LocalCopy
from tailrace.state.manifest import read_manifest
from tailrace.state.session import Opened, open_locked
from tailrace.state.stores import open_store


def push(
    opened: Opened, file: Path | None, *, complete: Callable[[Path], None], dry_run: bool = False
) -> dict[str, Any]:
    """Store a DuckDB file as the next generation, in place of the current one if there is one.

    Args:
        opened: The project and its engine.
        file: The file; None takes this machine's copy of the state, or else the configured file.
        complete: Opens a DuckDB file, writes its log into it and closes it.
        dry_run: Only say what would be stored.

    Raises:
        NothingLanded: There is no such file.
        LockHeld: Another run holds the lease.
    """
    project = opened.project
    store = opened.store or open_store(project)
    copy = LocalCopy(project, clock=opened.clock)
    source = file or (copy.file if copy.file.exists() else project.configured_duckdb_file)
    if not source.is_file():
        raise NothingLanded(
            f"There is no file {source.name} to write to {store.url}",
            hint="Name a DuckDB file, as in: tailrace state push FILE",
        )
    if dry_run:
        found = read_manifest(store)
        return {
            "dry_run": True,
            "file": str(source),
            "url": store.url,
            "replaces_generation": found[0].generation if found is not None else None,
        }
    record = copy.record()
    with open_locked(opened, store, copy, wait_seconds_max=0.0) as session:
        replaced = session.look()
        # The numbers go on, so that parts of earlier generations are deleted.
        session.generation_min = record.generation + 1 if record is not None else 1
        complete(source)
        if source.resolve() != copy.file.resolve():
            copy.discard()
            shutil.copyfile(source, copy.file)
        session.save()
        return {"file": str(source), "replaced_generation": replaced, **session.as_dict()}
