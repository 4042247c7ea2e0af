"""The offline checks of a configuration that `tailrace validate` makes."""

from __future__ import annotations

import importlib.util
import re
from urllib.parse import urlsplit

from tailrace.config.installation import install_command, refuse_compiled_sqlglot
from tailrace.config.project import ProjectConfig
from tailrace.config.sections import did_you_mean
from tailrace.errors import ConfigurationError, InvalidConfigValue

# The SQL destinations of dlt, with the module of their driver.
DRIVERS = {
    "duckdb": "duckdb",
    "postgres": "psycopg2",
    "redshift": "psycopg2",
    "snowflake": "snowflake",
    "bigquery": "google.cloud.bigquery",
    "databricks": "databricks",
    "mssql": "pyodbc",
    "synapse": "pyodbc",
    "fabric": "pyodbc",
    "athena": "pyathena",
    "clickhouse": "clickhouse_driver",
    "motherduck": "duckdb",
    "dremio": "pyarrow",
    "ducklake": "duckdb",
    "sqlalchemy": "sqlalchemy",
    "spark": "adbc_driver_flightsql",
    "mariadb": "pymysql",
}
# Destinations of dlt that objects can land in, and that cannot be the warehouse.
WITHOUT_LEDGER = {
    "clickhouse": "it has no transactions, and no UPDATE or DELETE that reads another table",
}
# The kinds of stores that can keep the state.
STATE_SCHEMES = ("s3", "gs", "az", "file")


def check_settings(project: ProjectConfig) -> None:
    """Check the type and range of every setting and the name of the warehouse.

    The sections of destinations are checked by their types. Credentials are not asked for: a pull
    request's checks have none.

    Raises:
        ConfigurationError: A setting is wrong; it names the file and the key.
    """
    with project.locating():
        check_path(project)
        check_api_version(project.salesforce().api_version)
        project.alerts()
        project.dbt()
        project.state()
        if project.settings.state_url is not None:
            check_state_url(project)
        check_warehouse(project)
        check_model_role(project)
        if project.settings.warehouse == "duckdb":
            # Raises if the setting names no file.
            _ = project.duckdb_file


def check_api_version(version: str) -> None:
    """Check that a version of Salesforce's API is written as `64.0`.

    Raises:
        InvalidConfigValue: It is not.
    """
    if not re.fullmatch(r"\d\d\.0", version, re.ASCII):
        raise InvalidConfigValue(
            f"sources.salesforce.api_version is {version}",
            hint='Write it as Salesforce does: api_version = "64.0"',
            key="sources.salesforce.api_version",
        )


def check_warehouse(project: ProjectConfig) -> None:
    """Check that the warehouse is an SQL destination of dlt whose driver is installed.

    Raises:
        ConfigurationError: It is not, or another package is in its way.
    """
    name = project.settings.warehouse
    if name not in DRIVERS:
        raise InvalidConfigValue(
            f'tailrace.warehouse is "{name}", which is not an SQL destination of dlt.'
            f"{did_you_mean(name, DRIVERS)}",
            hint='Set warehouse = "duckdb" or "postgres" under [tailrace] in .dlt/config.toml.',
            key="tailrace.warehouse",
        )
    if name in WITHOUT_LEDGER:
        raise InvalidConfigValue(
            f'tailrace.warehouse is "{name}", where no ledger can be: {WITHOUT_LEDGER[name]}',
            hint='Set warehouse = "duckdb" or "postgres" under [tailrace] in .dlt/config.toml.',
            key="tailrace.warehouse",
        )
    extra, driver = name, DRIVERS[name]
    if name == "spark" and str(project.warehouse_value(name, "uri")).startswith("sc://"):
        extra, driver = "spark-connect", "pyspark"
    if not _is_installed(driver):
        own = ("postgres", "spark", "spark-connect", "mariadb")
        command = install_command(extra) if extra in own else f'pip install "dlt[{name}]"'
        raise ConfigurationError(
            f"The warehouse {name} needs a driver that is not installed: {driver}",
            hint=f"Install it with: {command}",
            key="tailrace.warehouse",
        )
    if name == "mariadb":
        refuse_compiled_sqlglot()


def check_path(project: ProjectConfig) -> None:
    """Check that the warehouse and dlt can write below the project.

    dlt fills in values where a path has a %, and quotes paths in SQL without escaping them. DuckDB
    reads options after a ?, and a backslash as a slash.

    Raises:
        ConfigurationError: The project's path has a character that they read as something else.
    """
    is_file = project.settings.warehouse in ("duckdb", "ducklake")
    root = str(project.root.absolute())
    unusable = [character for character in ("%'?\\" if is_file else "%") if character in root]
    if unusable:
        raise ConfigurationError(
            f"The path of the project contains {' and '.join(unusable)}, which the warehouse "
            f"cannot write to: {root}",
            hint="Rename the folder, then run the command again.",
        )


def check_model_role(project: ProjectConfig) -> None:
    """Check that a role for models is configured for PostgreSQL only.

    Raises:
        InvalidConfigValue: The warehouse has no such roles.
    """
    settings = project.settings
    if settings.model_role is not None and settings.warehouse != "postgres":
        raise InvalidConfigValue(
            f"tailrace.model_role is a role of PostgreSQL, and the warehouse is "
            f"{settings.warehouse}",
            hint="Remove model_role under [tailrace].",
            key="tailrace.model_role",
        )


def check_state_url(project: ProjectConfig) -> str:
    """`state_url` after the checks that need no network.

    Raises:
        InvalidConfigValue: It is not a URL of a known kind, or the warehouse is a server.
    """
    url = str(project.settings.state_url)
    if project.settings.warehouse != "duckdb":
        raise InvalidConfigValue(
            f"tailrace.state_url keeps a DuckDB file, and the warehouse is "
            f"{project.settings.warehouse}, which keeps the state itself",
            hint="Remove state_url under [tailrace].",
            key="tailrace.state_url",
        )
    parts = urlsplit(url)
    if parts.scheme not in STATE_SCHEMES:
        raise InvalidConfigValue(
            f'tailrace.state_url is "{url}", which is not a URL of a store.'
            f"{did_you_mean(parts.scheme, STATE_SCHEMES)}",
            hint='Write state_url as "s3://bucket/prefix", "gs://bucket/prefix", '
            '"az://container/prefix" or "file:///folder".',
            key="tailrace.state_url",
        )
    if parts.scheme != "file" and not parts.netloc:
        raise InvalidConfigValue(
            f'tailrace.state_url is "{url}", which names no bucket',
            hint=f'Write it as "{parts.scheme}://bucket/prefix".',
            key="tailrace.state_url",
        )
    if parts.scheme == "file" and (parts.netloc not in ("", "localhost") or not parts.path):
        raise InvalidConfigValue(
            f'tailrace.state_url is "{url}", which names no folder',
            hint='Write it with three slashes: "file:///srv/tailrace/shop".',
            key="tailrace.state_url",
        )
    return url


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False
