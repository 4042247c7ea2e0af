"""Opens a warehouse on a MariaDB server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tailrace.config.installation import install_command, refuse_compiled_sqlglot
from tailrace.config.project import ProjectConfig
from tailrace.errors import (
    ConfigurationError,
    InvalidConfigValue,
    MissingCredential,
    WarehouseUnavailable,
)
from tailrace.warehouse.driver_errors import describe_error
from tailrace.warehouse.mariadb.errors import refusal_of
from tailrace.warehouse.mariadb.failures import failure_of
from tailrace.warehouse.mariadb.session import COLLATION, MariadbSession

SECTION = "destination.mariadb"
EXAMPLE = "mariadb://user:password@host:3306"
CONNECT_SECONDS_MAX = 30
VERSION_MIN = (10, 7)
# The largest answer and statement that the driver takes.
PACKET_BYTES_MAX = 1 << 30
# Numbers of the errors of a server that is down, and of one that is full or ended the connection.
_NOT_THERE = frozenset({2002, 2003})
_UNAVAILABLE = frozenset({1040, 1053, 1203, 1226, 2006, 2013})


@contextmanager
def open_mariadb(project: ProjectConfig) -> Iterator[MariadbSession]:
    """A session with the server of `[destination.mariadb] credentials`.

    Raises:
        WarehouseUnavailable: The server cannot be reached.
        ConfigurationError: It refuses the user, is too old, or a package is missing or in the way.
    """
    refuse_compiled_sqlglot()
    options = _options(project)

    def connect() -> Any:
        return _connected(options)

    def destination(session: MariadbSession) -> Any:
        # Other commands do not pay for importing dlt.
        from tailrace.warehouse.mariadb.dlt_destination import destination_of

        session.create_dataset(project.settings.dataset)
        return destination_of(options, project.settings.dataset)

    try:
        session = MariadbSession(connect, project.settings.ledger_dataset, destination)
    except ConfigurationError:
        raise
    except Exception as error:
        refusal = refusal_of(error)
        message, hint = failure_of(refusal) or (describe_error(refusal), None)
        reason = f"The warehouse mariadb cannot be opened: {message}"
        if error.args and error.args[0] in _NOT_THERE:
            raise WarehouseUnavailable(reason) from None
        if error.args and error.args[0] in _UNAVAILABLE:
            raise WarehouseUnavailable(reason, hint=hint) from None
        raise ConfigurationError(
            reason,
            hint=f"Check credentials under [{SECTION}] in .dlt/secrets.toml, and that the user may "
            "create databases.",
        ) from None
    try:
        _require_version(session)
        yield session
    finally:
        session.close()


def _require_version(session: MariadbSession) -> None:
    ((version,),) = session.execute("SELECT VERSION()") or (("",),)
    numbers = tuple(int(part) for part in str(version).split("-")[0].split(".")[:2])
    if "mariadb" not in str(version).lower() or numbers < VERSION_MIN:
        least = ".".join(map(str, VERSION_MIN))
        raise ConfigurationError(
            f"The server of [{SECTION}] is {version}; Tailrace needs MariaDB {least} or newer",
            hint="Upgrade the server, or use another warehouse.",
        )


def _options(project: ProjectConfig) -> dict[str, Any]:
    """The arguments of the driver, from a URL or from single keys."""
    credentials = project.warehouse_credentials("mariadb")
    if credentials is None:
        raise MissingCredential(
            f"{SECTION}.credentials is missing",
            hint=f'Put credentials under [{SECTION}] in .dlt/secrets.toml, such as: "{EXAMPLE}".',
        )
    if isinstance(credentials, Mapping):
        keys = {str(name): value for name, value in credentials.items()}
    else:
        keys = _keys(credentials)
    options: dict[str, Any] = {
        "user": keys.get("username") or keys.get("user"),
        "password": str(keys.get("password") or ""),
    }
    if keys.get("unix_socket"):
        options["unix_socket"] = str(keys["unix_socket"])
    else:
        options |= {"host": keys.get("host") or "localhost", "port": int(keys.get("port") or 3306)}
    if keys.get("ssl_ca"):
        options |= {"ssl_ca": str(keys["ssl_ca"]), "ssl_verify_identity": True}
    return options


def _keys(url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    if parts.scheme.split("+")[0] not in ("mariadb", "mysql"):
        raise InvalidConfigValue(
            f'{SECTION}.credentials is "{parts.scheme}://…", which is no MariaDB server',
            hint=f'Write credentials as "{EXAMPLE}".',
        )
    options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    return {
        "username": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
        "host": parts.hostname,
        "port": parts.port,
        **options,
    }


def _connected(options: Mapping[str, Any]) -> Any:
    try:
        import pymysql
    except ImportError:
        raise ConfigurationError(
            "The warehouse mariadb needs a driver that is not installed: pymysql",
            hint=f"Install it with: {install_command('mariadb')}",
        ) from None
    return pymysql.connect(
        **options,
        charset="utf8mb4",
        collation=COLLATION,
        autocommit=True,
        connect_timeout=CONNECT_SECONDS_MAX,
        max_allowed_packet=PACKET_BYTES_MAX,
    )
