"""The SQL texts that DuckDB's parser has accepted, remembered from one command to the next.

DuckDB parses each model when its file is read, so that what a model may not do is an error of its
line. That takes a third of the time of reading it, and a text that was accepted is accepted again.
The file holds hashes only. Without it, or if it cannot be read, each text is parsed. What runs is
checked by `Warehouse.admit` in any case.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from tailrace import __version__
from tailrace.warehouse.parse_cache import PACKAGES, version

FILE = "accepted-sql.txt"
# Hashes of a few thousand models.
FILE_BYTES_MAX = 1_000_000
_DIGEST = re.compile(r"[0-9a-f]{64}")


class AcceptedSql:
    """Reads and writes the file in a folder, which is not created: it may be deleted at any time.

    Args:
        folder: The working folder of the project.
        versions: The versions whose verdict is remembered; those that are installed by default.
    """

    def __init__(self, folder: Path, versions: Sequence[str] | None = None) -> None:
        self._file = folder / FILE
        self._versions = "\n".join(versions or (__version__, *map(version, PACKAGES)))
        self._recorded = frozenset(_digests(self._file))
        self._used: set[str] = set()

    def has(self, sql: str) -> bool:
        """Whether these versions have accepted the text before."""
        digest = self._digest(sql)
        if digest in self._recorded:
            self._used.add(digest)
        return digest in self._recorded

    def add(self, sql: str) -> None:
        """Remember a text that was accepted."""
        self._used.add(self._digest(sql))

    def save(self) -> None:
        """Keep the texts that were read since the file was opened, if there are other ones."""
        if self._used == self._recorded or not self._file.parent.is_dir():
            return
        written = self._file.with_suffix(".new")
        # A folder that cannot be written costs time only.
        with suppress(OSError):
            written.write_text("\n".join(sorted(self._used)) + "\n")
            written.replace(self._file)

    def _digest(self, sql: str) -> str:
        return hashlib.sha256(f"{self._versions}\n{sql}".encode(errors="replace")).hexdigest()


def _digests(file: Path) -> list[str]:
    """The hashes in a file; none if it is missing, too large or damaged."""
    try:
        if file.stat().st_size > FILE_BYTES_MAX:
            return []
        return _DIGEST.findall(file.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return []
