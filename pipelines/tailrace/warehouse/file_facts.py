"""Facts about a DuckDB file that hold for as long as no process writes to it.

A run without news reads the same rows as the run before it: the versions of the ledger, the state
of the extract, the tables that models read. Such facts are kept in `.tailrace/`, together with the
identity of the file that they were read from: device, inode, size, the times of its last change and
a hash of DuckDB's own headers, in which each checkpoint has a number. The next process takes the
facts if it opens a file of the same identity, without a log beside it.

The identity is taken while this process has the file open, after a checkpoint, so no other process
can have written to it. The headers are read when the file is closed: to open it in between would
drop the lock of DuckDB, since a process loses its POSIX locks of a file when it closes any
descriptor of it.
"""

from __future__ import annotations

import hashlib
import platform
from pathlib import Path
from typing import Any

from tailrace import __version__
from tailrace.warehouse.checked_file import CheckedFile
from tailrace.warehouse.driver import driver

FACTS_BYTES_MAX = 16_000_000
# The header of the file, and the two headers of the database, of which each checkpoint writes one.
HEADER_BYTES = 3 * 4_096
FORMAT = 1


class FileFacts:
    """The facts of one DuckDB file, for one process that opens it to write.

    They are read with `get` while the file is open, and each one that still holds at the end is
    handed on with `keep`. Facts that are not kept are gone.
    """

    def __init__(self, folder: Path, file: Path) -> None:
        digest = hashlib.sha256(str(file.absolute()).encode()).hexdigest()[:12]
        self._record = folder / f"facts-{digest}.json"
        self._file = file
        self._known: dict[str, Any] = {}
        self._kept: dict[str, Any] = {}
        self._before: list[Any] | None = None
        self._after: list[Any] | None = None

    @classmethod
    def unused(cls) -> FileFacts:
        """Facts of no file: nothing is known, and nothing is kept."""
        return cls(Path(), Path())

    def get(self, name: str) -> Any:
        """The value of a fact that holds for the open file; None if it is not known."""
        return self._known.get(name)

    def keep(self, name: str, value: Any) -> None:
        """Hand on a fact that holds when this process closes the file: a value for JSON."""
        self._kept[name] = value

    def keeps(self, name: str) -> bool:
        """Whether a fact is handed on."""
        return name in self._kept

    @property
    def are_known(self) -> bool:
        """Whether the open file is as the last process left it that kept facts."""
        return bool(self._known)

    def forget(self) -> None:
        """Hand on nothing: this process has changed what the facts are about."""
        self._known, self._kept = {}, {}

    @property
    def are_kept(self) -> bool:
        """Whether there is something to hand on."""
        return bool(self._kept)

    def before_opening(self) -> None:
        """Read the facts, and the identity of the file that this process is about to open."""
        self._known = self._kept = {}
        entry = self._checked().read()
        if entry is None:
            return
        self._before = _status(self._file)
        if self._before is not None and entry["file"] == _identity(self._file, self._before):
            self._known = entry["facts"]

    def opened(self) -> None:
        """Drop the facts if another process wrote to the file before this one had opened it."""
        self._kept = {}
        if self._known and _status(self._file) != self._before:
            self._known = {}

    def closing(self) -> None:
        """Take the identity of the open file. Called after a checkpoint, the last write."""
        self._after = _status(self._file)

    def closed(self) -> None:
        """Write what is kept, unless another process has written to the file in the meantime."""
        if not self._kept or self._after is None:
            return
        identity = _identity(self._file, self._after)
        if identity is None or _status(self._file) != self._after:
            return
        if self._record.parent.is_dir():
            self._checked().write({"file": identity, "facts": self._kept})

    def _checked(self) -> CheckedFile:
        versions = f"{FORMAT} {__version__} {driver().__version__}"
        return CheckedFile(self._record, bytes_max=FACTS_BYTES_MAX, versions=versions)


def _status(file: Path) -> list[Any] | None:
    """What the file system says of a file; None if it has none, or a log of DuckDB is beside it."""
    if file.with_name(f"{file.name}.wal").exists():
        return None
    try:
        status = file.stat()
    except OSError:
        return None
    times = [status.st_mtime_ns, status.st_ctime_ns]
    return [platform.node(), status.st_dev, status.st_ino, status.st_size, *times]


def _identity(file: Path, status: list[Any]) -> list[Any] | None:
    """The status of a file and a hash of its headers. No process of ours has the file open."""
    try:
        with file.open("rb") as opened:
            headers = opened.read(HEADER_BYTES)
    except OSError:
        return None
    return [*status, hashlib.sha256(headers).hexdigest()]
