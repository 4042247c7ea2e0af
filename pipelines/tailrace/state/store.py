"""What the state needs of a store: named objects, and a write that fails if another was first."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from tailrace.clock import Clock
from tailrace.errors import TryAgain
from tailrace.retry import RetryPolicy, retrying

log = logging.getLogger(__name__)

# A conditional write with an unknown outcome is read back and repeated this often.
ATTEMPTS_MAX = 4


class StoreConflict(Exception):
    """The object is not the expected version: another process wrote it first."""


class Stored(NamedTuple):
    """An object: its content, and the version that a conditional write expects."""

    body: bytes
    version: str


class Store(Protocol):
    """A folder or a bucket. Names are relative to `state_url`, with `/` between folders.

    Each method raises a `TailraceError` with the URL and what to do.
    """

    @property
    def url(self) -> str:
        """`state_url`, for messages."""
        ...

    def get(self, name: str) -> Stored | None:
        """An object; None if there is none."""
        ...

    def put(self, name: str, body: bytes) -> None:
        """Write an object, whether or not it exists."""
        ...

    def replace(self, name: str, body: bytes, expected: str | None) -> str:
        """Write an object if its version is the expected one; None expects that there is none.

        Returns:
            The new version.

        Raises:
            StoreConflict: The object has another version.
        """
        ...

    def names(self, folder: str) -> list[str]:
        """The names of the objects in a folder of the store."""
        ...

    def delete(self, names: Sequence[str]) -> None:
        """Delete objects; those that do not exist are skipped."""
        ...


def replace_surely(
    store: Store, name: str, body: bytes, expected: str | None, *, clock: Clock
) -> str:
    """`Store.replace` for a body that no other process writes, such as one with a random id.

    The answer to a conditional write can be lost, and its repetition is then refused because the
    first one succeeded. The object is therefore read back, and it is ours if it has our body.

    Returns:
        The new version.

    Raises:
        StoreConflict: Another process wrote the object.
        TryAgain: The store could not be reached in several attempts.
    """
    policy = RetryPolicy(attempts_max=ATTEMPTS_MAX)
    for attempt in retrying(clock, policy, jitter=lambda: 0.5):
        try:
            return store.replace(name, body, expected)
        except (StoreConflict, TryAgain) as error:
            try:
                stored = store.get(name)
            except TryAgain:
                if attempt.is_last:
                    raise error from None
                continue
            if stored is not None and stored.body == body:
                return stored.version
            version = stored.version if stored is not None else None
            if version != expected:
                raise StoreConflict(name) from None
            if attempt.is_last:
                raise
            log.debug("%s: the write of %s is repeated: %s", store.url, name, error)
    raise AssertionError("the last attempt returns or raises")
