"""What receivers were alerted of while the ledger could not be written.

It holds subjects and problems: names of commands, files and audiences, and no value of a row. It is
kept until a run can write the ledger, which takes it over. With a `state_url` it is an object
beside the state, so that it outlives a machine that is thrown away. Otherwise, and while the store
cannot be reached, it is a file in `.tailrace/`.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import os
import secrets
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import NamedTuple

from tailrace.config.private_file import replace_private_file
from tailrace.config.project import ProjectConfig
from tailrace.errors import TailraceError
from tailrace.state.store import ATTEMPTS_MAX, Store, StoreConflict

log = logging.getLogger(__name__)

NAME = "alerts.json"
# A record of more bytes is not one that this module wrote.
BYTES_MAX = 1_000_000

# The problem of each subject, by a value for the receiver or by its URL.
Alerted = Mapping[str, Mapping[str, str]]


class _Kept(NamedTuple):
    """A record as it is kept, with the key that its values for receivers are made with."""

    key: str
    alerted: Alerted
    version: str | None = None

    @classmethod
    def read(cls, body: bytes | None, version: str | None = None) -> _Kept:
        """An empty record if the body is not one that this module wrote."""
        with suppress(ValueError):
            stored = json.loads((body or b"")[:BYTES_MAX])
            if isinstance(stored, dict) and _is_record(stored.get("alerted")):
                return cls(str(stored.get("key") or _new_key()), stored["alerted"], version)
        return cls(_new_key(), {}, version)

    def to_bytes(self) -> bytes:
        return json.dumps({"key": self.key, "alerted": self.alerted}).encode()

    def of(self, url: str) -> dict[str, str]:
        """What a receiver was alerted of."""
        return dict(self.alerted.get(self._receiver(url), {}))

    def with_alerted(self, alerted: Alerted) -> _Kept:
        """The same with other problems, by URL. A receiver without one is left out."""
        by_receiver = {
            self._receiver(url): dict(problems) for url, problems in alerted.items() if problems
        }
        return self._replace(alerted=by_receiver)

    def _receiver(self, url: str) -> str:
        """A value for a receiver's URL, which holds a token."""
        return hmac.new(self.key.encode(), url.encode(), hashlib.sha256).hexdigest()


class AlertRecord:
    """What each receiver was alerted of, by URL and subject. Nothing here raises."""

    def __init__(self, project: ProjectConfig) -> None:
        self._file = project.state_folder / NAME
        self._in_file = _Kept.read(self._read_file())
        self._store: Store | None = None
        self._in_store = _Kept.read(None)
        with suppress(TailraceError):
            store = _open_store(project)
            if store is not None:
                self._in_store = _get(store)
                self._store = store

    def open(self, urls: Iterable[str]) -> dict[str, dict[str, str]]:
        """The problems that each receiver was alerted of; those in the file are the newer ones."""
        return {url: {**self._in_store.of(url), **self._in_file.of(url)} for url in urls}

    @property
    def is_writable(self) -> bool:
        """Whether the record can be saved."""
        if self._store is not None:
            return True
        with suppress(OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True)
        return os.access(self._file.parent, os.W_OK)

    def save(self, alerted: Alerted) -> None:
        """Replace the record, if it can be written.

        Args:
            alerted: The problems by URL; other receivers are forgotten.
        """
        if self._store is not None and self._save_in_store(self._store, alerted):
            alerted = {}
        self._in_file = self._in_file.with_alerted(alerted)
        with suppress(OSError):
            if not self._in_file.alerted:
                self._file.unlink(missing_ok=True)
                return
            self._file.parent.mkdir(parents=True, exist_ok=True)
            replace_private_file(self._file, self._in_file.to_bytes())

    def _save_in_store(self, store: Store, alerted: Alerted) -> bool:
        """Whether the store has the record now. What another process recorded meanwhile is kept."""
        before = self._in_store
        known = {url: before.of(url) for url in alerted}
        try:
            for _ in range(ATTEMPTS_MAX):
                latest = self._in_store
                merged = {
                    url: _merged(latest.of(url), known[url], problems)
                    for url, problems in alerted.items()
                }
                record = latest.with_alerted(merged)
                if record.alerted == latest.alerted:
                    return True
                try:
                    version = store.replace(NAME, record.to_bytes(), latest.version)
                except StoreConflict:
                    self._in_store = _get(store)
                    continue
                self._in_store = record._replace(version=version)
                return True
        except TailraceError as error:
            log.debug("%s in %s: %s", NAME, store.url, error.message)
        return False

    def _read_file(self) -> bytes | None:
        with suppress(OSError), self._file.open("rb") as file:
            return file.read(BYTES_MAX)
        return None


def _merged(
    latest: Mapping[str, str], before: Mapping[str, str], after: Mapping[str, str]
) -> dict[str, str]:
    """The latest problems of a receiver with the changes from `before` to `after`.

    >>> _merged({"a": "held", "b": "late"}, {"a": "held"}, {"c": "failed"})
    {'b': 'late', 'c': 'failed'}
    """
    kept = {key: value for key, value in latest.items() if key not in before or key in after}
    changed = {key: value for key, value in after.items() if before.get(key) != value}
    return {**kept, **changed}


def _get(store: Store) -> _Kept:
    stored = store.get(NAME)
    return _Kept.read(stored.body, stored.version) if stored is not None else _Kept.read(None)


def _open_store(project: ProjectConfig) -> Store | None:
    """The store of the state; None without a `state_url`."""
    if project.settings.state_url is None:
        return None
    from tailrace.state.stores import open_store

    return open_store(project)


def _new_key() -> str:
    return secrets.token_hex(16)


def _is_record(alerted: object) -> bool:
    return isinstance(alerted, dict) and all(
        isinstance(problems, dict)
        and all(isinstance(problem, str) for problem in problems.values())
        for problems in alerted.values()
    )
