"""A working file of JSON that only its owner can read, and that is ignored when it is damaged."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from tailrace.config.private_file import replace_private_file


class CheckedFile:
    """A file that saves time, and may be missing at any time.

    Args:
        file: Its path. The folder is not created.
        bytes_max: A larger file is neither read nor written.
        versions: Text that is compared too; a file that was written with another one is ignored.
    """

    def __init__(self, file: Path, *, bytes_max: int, versions: str) -> None:
        self._file = file
        self._bytes_max = bytes_max
        self._versions = versions

    def read(self) -> Any:
        """The value that was written; None if there is none that can be trusted."""
        try:
            if self._file.stat().st_size > self._bytes_max:
                return None
            head, _, content = self._file.read_text(encoding="utf-8").partition("\n")
        except (OSError, ValueError):
            return None
        # The hash in the first line covers the versions and every character after it.
        return json.loads(content) if head == self._head(content) else None

    def write(self, value: Any) -> bool:
        """Replace the file, if its folder can be written; False if the value is too large."""
        content = json.dumps(value, separators=(",", ":"))
        whole = f"{self._head(content)}\n{content}".encode()
        if len(whole) > self._bytes_max:
            return False
        with suppress(OSError):
            replace_private_file(self._file, whole)
        return True

    def _head(self, content: str) -> str:
        return hashlib.sha256(f"{self._versions}\n{content}".encode()).hexdigest()
