"""`tailrace --help` in processor time, against a Python process that imports click only."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Iterator

from figure import Figure

TRIES = 5


def seconds(*arguments: str) -> float:
    """The least processor time of a few tries."""
    taken = []
    for _ in range(TRIES):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        taken.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(taken)


def figures() -> Iterator[Figure]:
    imports = seconds("-c", "import click, signal, dataclasses")
    helped = seconds("-m", "tailrace", "--help")
    yield Figure(name="help", figure=helped, against=imports, goal=2.0)
