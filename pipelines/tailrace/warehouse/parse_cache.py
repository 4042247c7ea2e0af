"""A file that keeps what parsing SQL gave from one command to the next.

Each value is found by the hash of all that it was made from, so a text that changes is parsed
again. The file belongs to one version of Tailrace, its code, sqlglot and DuckDB; one of another
version, a damaged one or one that is too large is ignored and replaced. It can be deleted at any
time. Commands that write it at the same time replace the whole file, and the last one stays.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from tailrace import __version__

# The packages that a value depends on, besides this one.
PACKAGES = ("duckdb", "sqlglot")


class ParseCache:
    """Reads the file, and writes it if there is something new. Its folder is not created.

    Args:
        file: The file.
        bytes_max: Its largest size in bytes. What this command did not use is left out first.
        code: The modules of this package whose changes make the file outdated.
    """

    def __init__(self, file: Path, *, bytes_max: int, code: Iterable[str | Path]) -> None:
        self._file = file
        self._bytes_max = bytes_max
        self._versions = "\n".join((__version__, *map(version, PACKAGES), *map(_state, code)))
        self._kept = self._read()
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
        if not self._has_news or not self._file.parent.is_dir():
            return
        for entries in ({**self._kept, **self._used}, self._used):
            content = json.dumps(entries, separators=(",", ":"))
            whole = f"{self._head(content)}\n{content}".encode()
            if len(whole) <= self._bytes_max:
                break
        else:
            return
        with suppress(OSError):
            # mkstemp creates a file that only its owner can read.
            descriptor, name = tempfile.mkstemp(prefix=self._file.stem, dir=self._file.parent)
            try:
                with os.fdopen(descriptor, "wb") as written:
                    written.write(whole)
                Path(name).replace(self._file)
            except OSError:
                Path(name).unlink(missing_ok=True)
                raise
        self._has_news = False

    def _head(self, content: str) -> str:
        return hashlib.sha256(f"{self._versions}\n{content}".encode()).hexdigest()

    def _read(self) -> dict[str, Any]:
        try:
            if self._file.stat().st_size > self._bytes_max:
                return {}
            head, _, content = self._file.read_text(encoding="utf-8").partition("\n")
        except (OSError, ValueError):
            return {}
        # The hash in the first line covers the versions and every character after it.
        if head != self._head(content):
            return {}
        entries: dict[str, Any] = json.loads(content)
        return entries


@cache
def version(package: str) -> str:
    """The version of an installed package, whose metadata is parsed once."""
    return metadata.version(package)


def _state(file: str | Path) -> str:
    status = os.stat(file)
    return f"{os.path.basename(file)} {status.st_size} {status.st_mtime_ns}"
