"""The SQL texts that DuckDB's parser has accepted, and what is known of plain ones.

DuckDB parses each model when its file is read, so that what a model may not do is an error of its
line. A text that was accepted is accepted again, and the facts of a plain SELECT are the same
again (see `models.syntax`), so neither DuckDB nor sqlglot parses it in the next command. The file
holds hashes of texts, and the names of their tables and columns. Without it, or if it cannot be
read, each text is parsed. What runs is checked by `Warehouse.admit` in any case.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tailrace.models.syntax import PlainFacts
from tailrace.warehouse.checked_file import CheckedFile
from tailrace.warehouse.parse_cache import versions_of

FILE = "accepted-sql.json"
# A few thousand models with facts.
FILE_BYTES_MAX = 1_000_000


class AcceptedSql:
    """Reads and writes the file in a folder, which is not created: it may be deleted at any time.

    Args:
        folder: The working folder of the project.
        versions: The versions whose results are kept; those that are installed by default.
    """

    def __init__(self, folder: Path, versions: Sequence[str] | None = None) -> None:
        code = Path(__file__).parent
        known = "\n".join(versions) if versions else versions_of([code])
        self._folder = folder
        self._file = CheckedFile(folder / FILE, bytes_max=FILE_BYTES_MAX, versions=known)
        kept = self._file.read()
        self._recorded: dict[str, Any] = kept if isinstance(kept, dict) else {}
        self._used: dict[str, Any] = {}

    def has(self, sql: str) -> bool:
        """Whether these versions have accepted the text before."""
        digest = _digest(sql)
        if digest in self._recorded:
            self._used[digest] = None
        return digest in self._used

    def add(self, sql: str) -> None:
        """Remember a text that was accepted."""
        self._used[_digest(sql)] = None

    def facts(self, sql: str, key: Sequence[str]) -> PlainFacts | None:
        """What is known of an accepted text and the audience's key, if it is a plain SELECT."""
        digest = _digest(sql, key)
        facts = PlainFacts.from_kept(self._recorded.get(digest))
        if facts is None or not self.has(sql):
            return None
        self._used[digest] = self._recorded[digest]
        return facts

    def keep(self, sql: str, key: Sequence[str], facts: PlainFacts) -> None:
        """Keep what was found out about an accepted text."""
        self._used[_digest(sql, key)] = facts.as_kept()

    def save(self) -> None:
        """Keep what was used since the file was opened, if it is something else."""
        if self._used == self._recorded or not self._folder.is_dir():
            return
        hashes = {digest: facts for digest, facts in self._used.items() if facts is None}
        for entries in (self._used, hashes):
            if self._file.write(entries):
                return


def _digest(sql: str, key: Sequence[str] | None = None) -> str:
    whole = sql if key is None else repr((*key, sql))
    return hashlib.sha256(whole.encode(errors="replace")).hexdigest()
