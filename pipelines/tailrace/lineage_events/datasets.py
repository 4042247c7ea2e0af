"""The names of datasets, after OpenLineage's naming conventions.

PostgreSQL has one in the specification (`postgres://host:port` and `database.schema.table`), and
OpenLineage's dbt integration names DuckDB `duckdb://path`. Salesforce and receivers have none: they
are named by their host, as databases are.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from tailrace.config.project import ProjectConfig
from tailrace.dataclass import dataclass

POSTGRES_PORT = 5432


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A dataset as OpenLineage identifies it; no part holds a credential."""

    namespace: str
    name: str


@dataclass(frozen=True, kw_only=True)
class Warehouse:
    """The namespace of the warehouse, and its database."""

    namespace: str
    database: str

    def table(self, schema: str, name: str) -> Dataset:
        """A table or view of the warehouse."""
        return Dataset(namespace=self.namespace, name=f"{self.database}.{schema}.{name}")


def warehouse_of(project: ProjectConfig) -> Warehouse:
    """The project's warehouse, from its configuration."""
    kind = project.settings.warehouse
    if kind == "duckdb":
        file = project.configured_duckdb_file
        inside = file.is_relative_to(project.root)
        path = file.relative_to(project.root) if inside else file
        return Warehouse(namespace=f"duckdb://{path.as_posix()}", database=file.stem)
    credentials = project.warehouse_credentials(kind)
    if isinstance(credentials, str):
        parts = urlsplit(credentials)
        host, port, database = parts.hostname, parts.port, parts.path.strip("/")
    else:
        values = credentials or {}
        host, database = values.get("host"), str(values.get("database") or "")
        port = int(values["port"]) if values.get("port") else None
    place = f"{host or 'localhost'}:{port or POSTGRES_PORT}"
    return Warehouse(namespace=f"{kind}://{place}", database=database or kind)


def salesforce_object(instance_url: str, name: str) -> Dataset:
    """An object of a Salesforce org.

    >>> salesforce_object("https://acme.my.salesforce.com/", "Contact").namespace
    'salesforce://acme.my.salesforce.com'
    """
    return Dataset(namespace=f"salesforce://{_host(instance_url)}", name=name)


def audience_dataset(kind: str, host: str, destination: str, audience: str) -> Dataset:
    """An audience at a destination.

    >>> audience_dataset("segment", "https://api.segment.io", "segment", "vips")
    Dataset(namespace='segment://api.segment.io', name='segment.vips')
    """
    return Dataset(namespace=f"{kind}://{_host(host)}", name=f"{destination}.{audience}")


def _host(url: str) -> str:
    """The host and port of a URL, without a user name or password in it."""
    parts = urlsplit(url if "://" in url else f"//{url}")
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.hostname or url}{port}"
