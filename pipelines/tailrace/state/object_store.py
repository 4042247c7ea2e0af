"""An object store as the store of the state: `s3://`, `gs://`, `az://`, through obstore.

Every one of them has a conditional write: S3 by the ETag (since 2024 also for existing objects),
Google Cloud Storage by the generation, Azure by the ETag.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from types import ModuleType
from typing import Any, TypeVar

from tailrace.config.installation import install_command
from tailrace.config.settings import StateSettings
from tailrace.errors import (
    ConfigurationError,
    CredentialRefused,
    StateStoreFailed,
    TailraceError,
    Unreachable,
)
from tailrace.state.store import StoreConflict, Stored

T = TypeVar("T")

REQUEST_RETRIES_MAX = 5
CONFLICT = re.compile(r"status code: (409|412)\b")


class ObjectStore:
    """A prefix of a bucket. Names are keys below the prefix."""

    def __init__(
        self, url: str, options: Mapping[str, str], settings: StateSettings, *, allow_http: bool
    ) -> None:
        self._url = url
        self._obstore = _import()
        self._store = self._call(
            lambda: self._obstore.store.from_url(
                url,
                **options,
                client_options={
                    "allow_http": allow_http,
                    "timeout": f"{settings.timeout_seconds:g}s",
                },
                retry_config={
                    "max_retries": REQUEST_RETRIES_MAX,
                    "retry_timeout": timedelta(seconds=settings.retry_seconds_max),
                },
            )
        )

    @property
    def url(self) -> str:
        return self._url

    def get(self, name: str) -> Stored | None:
        def read() -> Stored:
            result = self._obstore.get(self._store, name)
            return Stored(bytes(result.bytes()), _version(result.meta))

        try:
            return self._call(read)
        except FileNotFoundError:
            return None

    def put(self, name: str, body: bytes) -> None:
        self._call(lambda: self._obstore.put(self._store, name, body, use_multipart=False))

    def replace(self, name: str, body: bytes, expected: str | None) -> str:
        mode: Any = "create" if expected is None else json.loads(expected)
        return _version(
            self._call(
                lambda: self._obstore.put(self._store, name, body, mode=mode, use_multipart=False)
            )
        )

    def names(self, folder: str) -> list[str]:
        found = self._call(lambda: self._obstore.list(self._store, prefix=folder).collect())
        return [str(entry["path"]) for entry in found]

    def delete(self, names: Sequence[str]) -> None:
        try:
            self._call(lambda: self._obstore.delete(self._store, list(names)))
        except FileNotFoundError:
            # Some services report an object that is already deleted, and delete the others.
            return

    def _call(self, action: Callable[[], T]) -> T:
        exceptions = self._obstore.exceptions
        try:
            return action()
        except (exceptions.AlreadyExistsError, exceptions.PreconditionError):
            raise StoreConflict(self._url) from None
        except FileNotFoundError:
            raise
        except Exception as error:
            if not type(error).__module__.startswith(("obstore", "_obstore", "builtins")):
                raise
            raise self._failed(error) from None

    def _failed(self, error: Exception) -> TailraceError:
        exceptions = self._obstore.exceptions
        reason = str(error).strip().splitlines()[0][:300] if str(error) else type(error).__name__
        if isinstance(
            error,
            PermissionError | exceptions.PermissionDeniedError | exceptions.UnauthenticatedError,
        ):
            return CredentialRefused(
                f"{self._url} refuses the credentials, or they may not read and write there",
                hint="Correct [tailrace.state.credentials] in .dlt/secrets.toml, or the "
                "environment's variables of the store, then run: tailrace state show",
            )
        if CONFLICT.search(reason):
            # Two conditional writes at the same time; which one won is read back.
            raise StoreConflict(self._url)
        if "error sending request" in reason or "timed out" in reason:
            return Unreachable(f"{self._url} cannot be reached")
        if "HTTP" not in reason and "status code" not in reason:
            return ConfigurationError(
                f"{self._url} cannot be used: {reason}",
                hint="Correct state_url under [tailrace] and [tailrace.state.credentials].",
            )
        return StateStoreFailed(f"{self._url} cannot be used: {reason}")


def _version(meta: Mapping[str, Any]) -> str:
    """The version for the next conditional write: the ETag, and the version where there is one."""
    kept = {key: meta[key] for key in ("e_tag", "version") if meta.get(key)}
    return json.dumps(kept, sort_keys=True)


def _import() -> ModuleType:
    try:
        import obstore
        import obstore.exceptions
        import obstore.store
    except ImportError:
        raise ConfigurationError(
            "state_url needs a package that is not installed: obstore",
            hint=f"Install it with: {install_command('state')}",
        ) from None
    module: ModuleType = obstore
    return module
