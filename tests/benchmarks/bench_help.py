"""`tailrace --help` in processor time, against a Python process that imports click only."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from figure import Figure, measured_in_turn

TRIES = 7


def cpu_seconds(
    command: Sequence[str], *, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> float:
    """The processor seconds of a process that must succeed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=cwd, env=env, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def figures() -> Iterator[Figure]:
    imports = [sys.executable, "-c", "import click, signal, dataclasses"]
    help_text = [sys.executable, "-m", "tailrace", "--help"]
    ways = {"help": help_text, "imports": imports}
    taken = measured_in_turn(cpu_seconds, ways, tries=TRIES)
    yield Figure(name="help", figure=min(taken["help"]), against=min(taken["imports"]), goal=2.0)
