"""A folder as the store of the state (`file:///folder`), for machines that share a volume.

A lock file makes the conditional write atomic between processes, and a rename makes it atomic for
readers.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tailrace.config.private_file import replace_private_file
from tailrace.errors import ConfigurationError, StateStoreFailed
from tailrace.state.store import StoreConflict, Stored

LOCK_FILE = ".lock"
UNFINISHED = ".unfinished"


class FolderStore:
    """Objects are files. A version is the digest of a file's content."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            # The files hold personal data.
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(
                f"The folder of state_url cannot be used: {folder}: {error.strerror}",
                hint="Mount the folder, or correct state_url under [tailrace].",
            ) from None

    @property
    def url(self) -> str:
        return self.folder.as_uri()

    def get(self, name: str) -> Stored | None:
        try:
            body = (self.folder / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._failed(error) from None
        return Stored(body, _version(body))

    def put(self, name: str, body: bytes) -> None:
        try:
            self._write(self.folder / name, body)
        except OSError as error:
            raise self._failed(error) from None

    def replace(self, name: str, body: bytes, expected: str | None) -> str:
        with self._locked():
            stored = self.get(name)
            if (stored.version if stored is not None else None) != expected:
                raise StoreConflict(name)
            self.put(name, body)
        return _version(body)

    def names(self, folder: str) -> list[str]:
        try:
            files = list((self.folder / folder).iterdir())
        except FileNotFoundError:
            return []
        except OSError as error:
            raise self._failed(error) from None
        return [f"{folder}/{file.name}" for file in files]

    def delete(self, names: Sequence[str]) -> None:
        try:
            for name in names:
                (self.folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise self._failed(error) from None

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            descriptor = os.open(self.folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise self._failed(error) from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _write(self, path: Path, body: bytes) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # What a killed process leaves of a part is deleted with the parts of that generation.
        replace_private_file(path, body, unfinished=UNFINISHED, durable=True)

    def _failed(self, error: OSError) -> StateStoreFailed:
        return StateStoreFailed(f"{self.url} cannot be used: {error.strerror}")


def _version(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
