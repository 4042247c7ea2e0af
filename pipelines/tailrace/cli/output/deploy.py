"""What `deploy` prints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def deploy_blocks(result: Mapping[str, Any]) -> Iterable[str]:
    """What was written, what the repository needs, and the commands that set it."""
    verb = "would write" if result["dry_run"] else "wrote"
    for name in result["files"]:
        yield f"{verb}  {name}" if name in result["changed"] else f"unchanged  {name}"
    yield ""
    yield "The repository needs these secrets and variables. Each command asks for the value:"
    yield from (f"  {command}" for command in result["commands"])
    for note in result["notes"]:
        yield ""
        yield note
