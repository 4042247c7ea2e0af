"""A file that keeps what parsing SQL gave from one command to the next.

Each value is found by the hash of all that it was made from, so a text that changes is parsed
again. The file belongs to one version of Tailrace, its code, sqlglot and DuckDB; one of another
version, a damaged one or one that is too large is ignored and replaced. It can be deleted at any
time. Commands that write it at the same time replace the whole file, and the last one stays.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from tailrace import __version__
from tailrace.warehouse.checked_file import CheckedFile

# The packages that a value depends on, besides this one.
PACKAGES = ("duckdb", "sqlglot")


class ParseCache:
    """Reads the file, and writes it if there is something new. Its folder is not created.

    Args:
        file: The file.
        bytes_max: Its largest size in bytes. What this command did not use is left out first.
        code: The files, and the folders of files, whose changes make the kept file outdated.
    """

    def __init__(self, file: Path, *, bytes_max: int, code: Iterable[str | Path]) -> None:
        self._folder = file.parent
        self._checked = CheckedFile(file, bytes_max=bytes_max, versions=versions_of(code))
        self._kept: dict[str, Any] = self._checked.read() or {}
        self._used: dict[str, Any] = {}
        self._has_news = False

    def get(self, key: str) -> Any:
        """The value of a key, None if there is none."""
        value = self._used.get(key)
        if value is None and (value := self._kept.get(key)) is not None:
            self._used[key] = value
        return value

    def put(self, key: str, value: Any) -> None:
        """Keep a value that JSON can carry."""
        self._used[key] = value
        self._has_news = True

    def save(self) -> None:
        """Write the file if there is something new. A folder that cannot be written costs time."""
        if not self._has_news or not self._folder.is_dir():
            return
        if any(self._checked.write(e) for e in ({**self._kept, **self._used}, self._used)):
            self._has_news = False


def versions_of(code: Iterable[str | Path]) -> str:
    """Equal for two processes with the same versions and the same state of files and folders."""
    states = sorted(state for path in code for state in _states(path))
    return "\n".join((__version__, *map(version, PACKAGES), *states))


@cache
def version(package: str) -> str:
    """The version of an installed package.

    The folder of its metadata is named after it, and is found without parsing what it contains.
    """
    spec = PathFinder.find_spec(package)
    if spec is not None and spec.origin is not None:
        start, end = f"{package}-", ".dist-info"
        names = os.listdir(Path(spec.origin).parents[1])
        found = [name for name in names if name.startswith(start) and name.endswith(end)]
        if len(found) == 1:
            return found[0].removeprefix(start).removesuffix(end)
    from importlib import metadata

    return metadata.version(package)


def _states(path: str | Path) -> Iterator[str]:
    """The name, size and time of a file, or of the files under a folder that Python did not
    compile."""
    if not os.path.isdir(path):
        yield _state(os.path.basename(path), os.stat(path))
        return
    folders = [str(path)]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_file():
                    yield _state(entry.name, entry.stat())
                elif entry.name != "__pycache__":
                    folders.append(entry.path)


def _state(name: str, status: os.stat_result) -> str:
    return f"{name} {status.st_size} {status.st_mtime_ns}"
