"""Where the server and the tables of `warehouse = "spark"` are."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from tailrace.config.project import ProjectConfig
from tailrace.config.settings import StateSettings
from tailrace.config.urls import is_loopback
from tailrace.dataclass import dataclass
from tailrace.errors import InvalidConfigValue, MissingCredential
from tailrace.state.folder import FolderStore
from tailrace.state.object_store import ObjectStore
from tailrace.state.store import Store

SECTION = "destination.spark"
DEFAULT_URI = "grpc://127.0.0.1:32010"
# `grpc+tls` is Flight with TLS.
FLIGHT_SCHEMES = ("grpc", "grpc+tls")
CONNECT_SCHEME = "sc"
# The ports that servers of both protocols have by default.
FLIGHT_PORT, CONNECT_PORT = 32010, 15002
REMOTE = ("s3", "gs", "az")
REGION = "us-east-1"
BATCH_NAMES = 500


@dataclass(frozen=True, kw_only=True)
class SparkLocation:
    """A server and a storage.

    Attributes:
        uri: The server of Flight SQL or Spark Connect.
        storage: The folder or bucket of the tables as the server names it, without a slash at its
            end.
        token: The bearer token of the server; None if it asks for none.
        options: The access to an object store, by obstore's names.
        tables: The folders of Delta tables that other programs write, by dataset and table.
    """

    uri: str = field(repr=False)
    storage: str
    token: str | None = field(default=None, repr=False)
    options: Mapping[str, str] = field(default_factory=dict, repr=False)
    tables: Mapping[tuple[str, str], str] = field(default_factory=dict)

    @property
    def is_connect(self) -> bool:
        """The server is reached by Spark Connect."""
        return urlsplit(self.uri).scheme == CONNECT_SCHEME

    @property
    def port(self) -> int:
        """The port of the server."""
        return urlsplit(self.uri).port or (CONNECT_PORT if self.is_connect else FLIGHT_PORT)

    @property
    def shown_uri(self) -> str:
        """The URI without a path and parameters, which may hold a token."""
        parts = urlsplit(self.uri)
        return f"{parts.scheme}://{parts.hostname}:{self.port}"

    @property
    def is_remote(self) -> bool:
        """The tables are in an object store."""
        return "://" in self.storage


def location_of(project: ProjectConfig) -> SparkLocation:
    """The location of `[destination.spark]`: `uri`, `storage`, `tables`, and `credentials`.

    Raises:
        MissingCredential: There is no storage.
        InvalidConfigValue: The URI or the storage is of another kind.
    """
    uri = str(project.warehouse_value("spark", "uri") or DEFAULT_URI)
    parts = urlsplit(uri)
    if parts.scheme not in (*FLIGHT_SCHEMES, CONNECT_SCHEME) or not parts.hostname:
        raise InvalidConfigValue(
            f'{SECTION}.uri is "{parts.scheme}://…", which is not a server of Flight SQL or '
            "Spark Connect",
            hint=f'Write uri as "{DEFAULT_URI}" or "sc://127.0.0.1:{CONNECT_PORT}" under '
            f"[{SECTION}].",
        )
    storage = str(project.warehouse_value("spark", "storage") or "")
    if not storage:
        raise MissingCredential(
            f"{SECTION}.storage is missing",
            hint=f'Write under [{SECTION}]: storage = "s3://bucket/prefix", or a folder that the '
            "server shares, such as file:///srv/warehouse.",
        )
    whole = _folder(project, storage, "storage")
    credentials = project.warehouse_credentials("spark") or {}
    keys = credentials if isinstance(credentials, Mapping) else {}
    return SparkLocation(
        uri=uri,
        storage=whole,
        token=str(keys["token"]) if keys.get("token") else None,
        options=_options(keys),
        tables=_tables(project),
    )


def _folder(project: ProjectConfig, text: str, key: str) -> str:
    """A folder or a bucket as the server names it."""
    scheme, _, rest = text.rpartition("://")
    if scheme in REMOTE:
        return text.rstrip("/")
    if scheme not in ("", "file"):
        raise InvalidConfigValue(
            f'{SECTION}.{key} is "{scheme}://…", which is neither a folder nor a bucket',
            hint=f'Write {key.rpartition(".")[2]} as "file:///srv/warehouse" or '
            '"s3://bucket/prefix".',
        )
    return str((project.root / unquote(rest)).resolve())


def _tables(project: ProjectConfig) -> dict[tuple[str, str], str]:
    """`[destination.spark.tables]`, with a key `"dataset.table"` or a table for each dataset."""
    tables: dict[tuple[str, str], str] = {}
    section = project.warehouse_value("spark", "tables") or {}
    entries = section.items() if isinstance(section, Mapping) else [("", section)]
    for key, value in entries:
        by_name = value if isinstance(value, Mapping) else {"": value}
        for name, folder in by_name.items():
            dataset, _, table = f"{key}.{name}".strip(".").partition(".")
            if not dataset or not table or "." in table or not isinstance(folder, str):
                raise InvalidConfigValue(
                    f"{SECTION}.tables has an entry that is not the folder of a table: {key}",
                    hint=f'Write under [{SECTION}.tables]: "dataset.table" = "s3://bucket/folder"',
                )
            tables[dataset.lower(), table.lower()] = _folder(
                project, folder, f"tables.{dataset}.{table}"
            )
    return tables


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
