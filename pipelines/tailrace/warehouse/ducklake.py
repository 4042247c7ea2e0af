"""Opens a DuckLake: tables as Parquet files, with a catalog in a DuckDB file or in PostgreSQL.

DuckDB's extension `ducklake` does the work in this process. A catalog in PostgreSQL lets several
machines use the same tables; a catalog in a file is open in one process.
"""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from tailrace.config.project import ProjectConfig
from tailrace.dataclass import dataclass
from tailrace.errors import ConfigurationError, InvalidConfigValue, LockHeld, MissingCredential
from tailrace.warehouse.bindings import identifier_text, literal_text
from tailrace.warehouse.session import DuckdbOptions, DuckdbSession
from tailrace.warehouse.statements import script, statement

SECTION = "destination.ducklake.credentials"
DEFAULT_CATALOG = "duckdb:///warehouse.ducklake"
# dlt has the same default: the name of the catalog with this ending.
DEFAULT_STORAGE = "{}.files"
POSTGRES = ("postgres", "postgresql")
# The extensions of DuckDB that a lake needs, and the storage that needs one of its own.
EXTENSIONS = ("ducklake",)
CATALOG_EXTENSION = "postgres_scanner"
REMOTE_EXTENSION = "httpfs"
REMOTE = ("s3", "gs", "gcs", "r2")
# Each commit writes one row of the catalog, and another session's may come first.
COMMIT_TRIES_MAX = 200
COMMIT_PAUSE_MILLISECONDS = 50


@dataclass(frozen=True, kw_only=True)
class Lake:
    """Where a lake is.

    Attributes:
        catalog: The catalog as DuckDB's extension names it: a path, or `postgres:` with parameters,
            of which one may be a password.
        storage: The folder or URL of the Parquet files.
        secret: The access to an object store, by the keys of DuckDB's secrets.
    """

    catalog: str
    storage: str
    secret: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_remote(self) -> bool:
        """The files are in an object store."""
        return "://" in self.storage

    @property
    def file(self) -> Path | None:
        """The file of the catalog; None for a catalog in PostgreSQL."""
        return None if self.catalog.startswith("postgres:") else Path(self.catalog)

    @property
    def extensions(self) -> tuple[str, ...]:
        """The extensions of DuckDB that this lake needs."""
        catalog = () if self.file else (CATALOG_EXTENSION,)
        return (*EXTENSIONS, *catalog, *((REMOTE_EXTENSION,) if self.is_remote else ()))


def lake_of(project: ProjectConfig) -> Lake:
    """The lake of `[destination.ducklake.credentials]`: `catalog` and `storage`, as dlt reads them.

    Raises:
        InvalidConfigValue: A value is not one that a lake can be opened with.
    """
    credentials = project.warehouse_credentials("ducklake") or {}
    if isinstance(credentials, str):
        raise InvalidConfigValue(
            f"{SECTION} is a text, and a lake needs two values",
            hint=f'Write under [{SECTION}]: catalog = "{DEFAULT_CATALOG}" and '
            'storage = "file:///srv/lake", or a bucket.',
            key=SECTION,
        )
    catalog, file = _catalog(project, str(credentials.get("catalog") or DEFAULT_CATALOG))
    storage = credentials.get("storage") or DEFAULT_STORAGE.format(file or "warehouse.ducklake")
    keys: Mapping[str, Any] = {}
    if isinstance(storage, Mapping):
        keys = storage.get("credentials") or {}
        storage = storage.get("bucket_url") or ""
    scheme, _, rest = str(storage).rpartition("://")
    if scheme in ("", "file"):
        folder = project.root / unquote(rest)
        return Lake(catalog=catalog, storage=f"{folder}/")
    if scheme not in REMOTE:
        raise InvalidConfigValue(
            f'{SECTION}.storage is "{scheme}://…", which is neither a folder nor a bucket',
            hint='Write storage as "file:///srv/lake" or "s3://bucket/prefix".',
            key=f"{SECTION}.storage",
        )
    return Lake(catalog=catalog, storage=f"{str(storage).rstrip('/')}/", secret=_secret(keys))


def _catalog(project: ProjectConfig, url: str) -> tuple[str, Path | None]:
    parts = urlsplit(url)
    if parts.scheme == "duckdb":
        path = project.root / unquote(url.removeprefix("duckdb:///"))
        return str(path), path
    if parts.scheme not in POSTGRES or not parts.path.strip("/"):
        raise InvalidConfigValue(
            f'{SECTION}.catalog is "{parts.scheme}:…", which is not a catalog of a lake',
            hint=f'Write catalog as "{DEFAULT_CATALOG}" or '
            '"postgres://user:password@host:5432/database".',
            key=f"{SECTION}.catalog",
        )
    values = {
        "dbname": parts.path.strip("/"),
        "host": parts.hostname,
        "port": parts.port,
        "user": parts.username,
        "password": parts.password,
    }
    given = [f"{key}={_quoted(unquote(str(value)))}" for key, value in values.items() if value]
    return f"postgres:{' '.join(given)}", None


def _quoted(value: str) -> str:
    """A value of a libpq connection string."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _secret(keys: Mapping[str, Any]) -> dict[str, str]:
    """dlt's keys of an object store as DuckDB's."""
    endpoint = str(keys.get("endpoint_url") or "")
    parts = urlsplit(endpoint)
    values = {
        "key_id": keys.get("aws_access_key_id"),
        "secret": keys.get("aws_secret_access_key"),
        "session_token": keys.get("aws_session_token"),
        "region": keys.get("region_name"),
        "endpoint": parts.netloc,
        "use_ssl": "false" if parts.scheme == "http" else None,
        "url_style": "path" if endpoint else None,
    }
    return {key: str(value) for key, value in values.items() if value}


def connect(project: ProjectConfig, config: DuckdbOptions, *, read_only: bool) -> DuckdbSession:
    """Open a lake; creates it unless it is only read.

    Raises:
        ConfigurationError: The lake or an extension cannot be opened.
        LockHeld: Another process has the file of the catalog open.
    """
    import duckdb

    lake = lake_of(project)
    options = {
        **config,
        **_extension_options(project, lake),
        # By default it is named after the catalog, whose name is not a path.
        "temp_directory": str(project.state_folder / "spill"),
    }
    project.state_folder.mkdir(parents=True, exist_ok=True)
    try:
        if not read_only or lake.file is None:
            _attach(lake, options)
        opened = duckdb.connect(f"ducklake:{lake.catalog}", read_only=read_only, config=options)
        if lake.is_remote:
            opened.execute(_create_secret(lake))
        else:
            Path(lake.storage).mkdir(parents=True, exist_ok=True)
        opened.execute(statement("warehouse/allow_folder", "duckdb", folder=lake.storage))
        for setting in script(
            "warehouse/retry_commits",
            "duckdb",
            tries_max=COMMIT_TRIES_MAX,
            pause_ms=COMMIT_PAUSE_MILLISECONDS,
        ):
            opened.execute(setting)
    except duckdb.Error as error:
        raise _cannot_open(lake, error) from None
    return LakeSession(opened, engine="ducklake")


class LakeSession(DuckdbSession):
    """A cursor of an open lake."""

    def close_database(self) -> None:
        """Detach the lake, and close what its sessions share.

        After a commit that another session's changes prevented, DuckLake 1.5 keeps a transaction,
        and with it the database: this process could not open the lake again, and would wait for
        ever.
        """
        with suppress(Exception):
            ((name,),) = self._opened.execute(
                statement("warehouse/current_database", self.dialect)
            ).fetchall()
            for step in ("warehouse/attach_empty", "warehouse/use_empty"):
                self._opened.execute(statement(step, self.dialect))
            # sqlglot reads no placeholder there.
            self._opened.execute(f"DETACH {identifier_text(name, self.dialect)}")
        super().close_database()


def _attach(lake: Lake, options: DuckdbOptions) -> None:
    """Create the catalog, or check that its files are in `storage`."""
    import duckdb

    if lake.file is not None:
        lake.file.parent.mkdir(parents=True, exist_ok=True)
    with duckdb.connect(":memory:", config=options) as memory:
        memory.execute(
            statement(
                "warehouse/attach_lake",
                "duckdb",
                catalog=f"ducklake:{lake.catalog}",
                storage=lake.storage,
            )
        )


def _create_secret(lake: Lake) -> str:
    # sqlglot reads no CREATE SECRET; the keys are our own and the values are literal nodes.
    values = "".join(
        f", {key} {literal_text(value, 'duckdb')}" for key, value in sorted(lake.secret.items())
    )
    scope = literal_text(lake.storage, "duckdb")
    return f"CREATE TEMPORARY SECRET storage (TYPE s3, SCOPE {scope}{values})"


def _extension_options(project: ProjectConfig, lake: Lake) -> DuckdbOptions:
    """Where DuckDB finds extensions: those that pip installed, else those that DuckDB installed."""
    import duckdb

    installed = {name: installed_extension(name) for name in lake.extensions}
    if not all(installed.values()):
        return {}
    with duckdb.connect(":memory:") as memory:
        ((platform,),) = memory.execute(statement("warehouse/platform", "duckdb")).fetchall()
    root = project.state_folder / "extensions"
    folder = root / f"v{duckdb.__version__}" / platform
    folder.mkdir(parents=True, exist_ok=True)
    for name, source in installed.items():
        link = folder / f"{name}.duckdb_extension"
        if source is not None and not (link.exists() and link.samefile(source)):
            temporary = link.with_suffix(f".{os.getpid()}")
            temporary.unlink(missing_ok=True)
            temporary.symlink_to(source)
            temporary.replace(link)
    return {"extension_directory": str(root.resolve())}


def installed_extension(name: str) -> Path | None:
    """The file of an extension in the package `duckdb-extension-NAME`, for this DuckDB."""
    import duckdb

    spec = importlib.util.find_spec(f"duckdb_extension_{name}")
    for location in (spec.submodule_search_locations or ()) if spec else ():
        version = Path(location) / "extensions" / f"v{duckdb.__version__}"
        file = version / f"{name}.duckdb_extension"
        if file.is_file():
            return file.resolve()
    return None


def _cannot_open(lake: Lake, error: Exception) -> Exception:
    import duckdb

    reason = str(error).splitlines()[0]
    place = lake.file.name if lake.file else "the catalog in PostgreSQL"
    if lake.file and "lock" in reason:
        return LockHeld(f"Another process has {lake.file.name} open")
    missing = re.search(r"[Ee]xtension \"?(?:.*/)?(\w+?)(?:\.duckdb_extension)?\"", reason)
    if missing:
        packages = " ".join(
            f"duckdb-extension-{name.replace('_', '-')}=={duckdb.__version__}"
            for name in lake.extensions
        )
        return ConfigurationError(
            f"The warehouse ducklake needs DuckDB's extension {missing.group(1)} for version "
            f"{duckdb.__version__}",
            hint=f'Install it with: pip install "{packages}"',
        )
    if "DATA_PATH" in reason:
        return ConfigurationError(
            f"{place} belongs to other files than {SECTION}.storage",
            hint=f"Write the storage that the lake was created with under [{SECTION}].",
        )
    if lake.file is None:
        # A server's message holds the host, the user and the database.
        return MissingCredential(
            "The warehouse ducklake cannot be opened: PostgreSQL refused the connection to the "
            "catalog",
            hint=f"Check {SECTION}.catalog and that the server runs.",
        )
    return ConfigurationError(f"{place} cannot be opened as a DuckLake: {reason}")
