"""What receivers were alerted of while the ledger could not be written.

It is a file in `.tailrace/`, and holds subjects and problems: names of commands, files and
audiences, and no value of a row. It is kept until a run can write the ledger, which takes it over.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from tailrace.config.project import ProjectConfig

FILE = "alerts.json"
# A file of more bytes is not one that this module wrote.
BYTES_MAX = 1_000_000


class LocalRecord:
    """The open problems that receivers know of, by URL and subject, on this machine."""

    def __init__(self, project: ProjectConfig) -> None:
        self._file = project.state_folder / FILE
        stored = self._read()
        self._key = str(stored.get("key") or secrets.token_hex(16))
        self._alerted: Mapping[str, Any] = stored.get("alerted", {})

    def open(self, urls: Iterable[str]) -> dict[str, dict[str, str]]:
        """The problems that each receiver was alerted of."""
        return {url: dict(self._alerted.get(self._receiver(url), {})) for url in urls}

    @property
    def is_writable(self) -> bool:
        """Whether the record can be saved."""
        with suppress(OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True)
        return os.access(self._file.parent, os.W_OK)

    def save(self, alerted: Mapping[str, Mapping[str, str]]) -> None:
        """Replace the record, if the folder can be written. Without problems there is no file.

        Args:
            alerted: The problems by URL; other receivers are forgotten.
        """
        self._alerted = {
            self._receiver(url): dict(problems) for url, problems in alerted.items() if problems
        }
        with suppress(OSError):
            if not self._alerted:
                self._file.unlink(missing_ok=True)
                return
            self._file.parent.mkdir(parents=True, exist_ok=True)
            written = self._file.with_suffix(f".{os.getpid()}")
            written.write_text(json.dumps({"key": self._key, "alerted": self._alerted}))
            written.replace(self._file)

    def _receiver(self, url: str) -> str:
        """A value for a receiver's URL, which holds a token."""
        return hmac.new(self._key.encode(), url.encode(), hashlib.sha256).hexdigest()

    def _read(self) -> dict[str, Any]:
        with suppress(OSError, ValueError):
            with self._file.open("rb") as file:
                stored = json.loads(file.read(BYTES_MAX))
            if isinstance(stored, dict) and _is_record(stored.get("alerted")):
                return stored
        return {}


def _is_record(alerted: object) -> bool:
    return isinstance(alerted, dict) and all(
        isinstance(problems, dict)
        and all(isinstance(problem, str) for problem in problems.values())
        for problems in alerted.values()
    )
