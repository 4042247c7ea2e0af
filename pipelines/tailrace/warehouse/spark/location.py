"""Where the server and the tables of `warehouse = "spark"` are."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from tailrace.config.project import ProjectConfig
from tailrace.config.settings import StateSettings
from tailrace.config.urls import is_loopback
from tailrace.errors import InvalidConfigValue, MissingCredential
from tailrace.state.folder import FolderStore
from tailrace.state.object_store import ObjectStore
from tailrace.state.store import Store

SECTION = "destination.spark"
DEFAULT_URI = "grpc://127.0.0.1:32010"
# `grpc+tls` is Flight with TLS.
SCHEMES = ("grpc", "grpc+tls")
REMOTE = ("s3", "gs", "az")
REGION = "us-east-1"
BATCH_NAMES = 500


@dataclass(frozen=True, kw_only=True)
class SparkLocation:
    """A server and a storage.

    Attributes:
        uri: The Flight SQL server.
        storage: The folder or bucket of the tables as the server names it, without a slash at its
            end.
        token: The bearer token of the server; None if it asks for none.
        options: The access to an object store, by obstore's names.
    """

    uri: str
    storage: str
    token: str | None = field(default=None, repr=False)
    options: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def is_remote(self) -> bool:
        """The tables are in an object store."""
        return "://" in self.storage


def location_of(project: ProjectConfig) -> SparkLocation:
    """The location of `[destination.spark]`: `uri`, `storage`, and `credentials` for both.

    Raises:
        MissingCredential: There is no storage.
        InvalidConfigValue: The URI or the storage is of another kind.
    """
    uri = str(project.warehouse_value("spark", "uri") or DEFAULT_URI)
    parts = urlsplit(uri)
    if parts.scheme not in SCHEMES or not parts.hostname:
        raise InvalidConfigValue(
            f'{SECTION}.uri is "{parts.scheme}://…", which is no Flight SQL server',
            hint=f'Write uri as "{DEFAULT_URI}" under [{SECTION}].',
        )
    storage = str(project.warehouse_value("spark", "storage") or "")
    if not storage:
        raise MissingCredential(
            f"{SECTION}.storage is missing",
            hint=f'Write under [{SECTION}]: storage = "s3://bucket/prefix", or a folder that the '
            "server shares, such as file:///srv/warehouse.",
        )
    scheme, _, rest = storage.rpartition("://")
    if scheme not in ("", "file", *REMOTE):
        raise InvalidConfigValue(
            f'{SECTION}.storage is "{scheme}://…", which is neither a folder nor a bucket',
            hint='Write storage as "file:///srv/warehouse" or "s3://bucket/prefix".',
        )
    credentials = project.warehouse_credentials("spark") or {}
    keys = credentials if isinstance(credentials, Mapping) else {}
    if scheme in REMOTE:
        whole = storage.rstrip("/")
    else:
        whole = str((project.root / unquote(rest)).resolve())
    return SparkLocation(
        uri=uri,
        storage=whole,
        token=str(keys["token"]) if keys.get("token") else None,
        options=_options(keys),
    )


def _options(keys: Mapping[str, Any]) -> dict[str, str]:
    """dlt's keys of an object store as obstore's."""
    options = {
        "endpoint": keys.get("endpoint_url"),
        "region": keys.get("region_name"),
        "access_key_id": keys.get("aws_access_key_id"),
        "secret_access_key": keys.get("aws_secret_access_key"),
        "session_token": keys.get("aws_session_token"),
    }
    return {name: str(value) for name, value in options.items() if value}


class TableFiles:
    """The files of the tables, and the store of the catalog and the lease."""

    def __init__(self, location: SparkLocation) -> None:
        self._location = location
        self.store: Store = self._open()

    def _open(self) -> Store:
        location = self._location
        if not location.is_remote:
            return FolderStore(Path(location.storage))
        options = dict(location.options)
        if location.storage.startswith("s3://"):
            options.setdefault("region", REGION)
        allow_http = is_loopback(options.get("endpoint", ""))
        return ObjectStore(location.storage, options, StateSettings(), allow_http=allow_http)

    def url(self, folder: str) -> str:
        """A table's folder as the server names it."""
        return f"{self._location.storage}/{folder}"

    def version(self, folder: str) -> int:
        """The newest version of a table, by its log; -1 if it has none."""
        names = self.store.names(f"{folder}/_delta_log")
        stems = [name.rpartition("/")[2] for name in names if name.endswith(".json")]
        return max((int(stem[:-5]) for stem in stems if stem[:-5].isdigit()), default=-1)

    def delete(self, folders: Sequence[str]) -> None:
        """Delete the folders of tables."""
        for folder in folders:
            if not self._location.is_remote:
                shutil.rmtree(Path(self._location.storage) / folder, ignore_errors=True)
                continue
            names = self.store.names(folder)
            for first in range(0, len(names), BATCH_NAMES):
                self.store.delete(names[first : first + BATCH_NAMES])
