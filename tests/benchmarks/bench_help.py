"""`tailrace --help` in processor time, against an empty Python process and its allowance."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Iterator

from figure import Figure

ALLOWED_SECONDS = 0.150
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
    helped = seconds("-m", "tailrace", "--help")
    yield Figure(name="help", figure=helped, against=ALLOWED_SECONDS, goal=1.0)
