"""What a failure of a PostgreSQL server means and what corrects it.

Statements are classified by SQLSTATE, whose codes are in PostgreSQL's appendix A, so that servers
of every language are understood. A connection that was not established has no code: libpq's English
text is classified, and any other text has the general hint.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Self

from tailrace.config.settings import WarehouseSettings
from tailrace.dataclass import dataclass
from tailrace.errors import (
    ConfigurationError,
    TailraceError,
    WarehouseFailed,
    WarehouseUnavailable,
)
from tailrace.warehouse.session import Session
from tailrace.warehouse.statements import statement

SECRETS = "[destination.postgres] in .dlt/secrets.toml"
NOT_LOST = "Nothing is lost."
AGAIN = f"{NOT_LOST} Run the same command again."
BACK_AGAIN = (
    f"{NOT_LOST} When the server accepts connections, run the same command again; "
    "check it with: tailrace doctor"
)
POOL_HINT = (
    f"Write host and port of the server itself under {SECRETS}, or those of a pool in session "
    "mode, such as port 6432 of a PgBouncer with pool_mode = session and "
    "ignore_startup_parameters = options."
)


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A failure of a statement: what happened, and what to type next.

    Attributes:
        message: What happened, without a value of a row.
        hint: What to do.
        is_lost: The connection was lost, and the driver does not say why.
    """

    message: str
    hint: str
    is_lost: bool = False

    def with_limits(self, in_transaction: str | None, outside: str | None, connection: Any) -> Self:
        """The same with the limits of idle sessions that may be the reason, as the server has them.

        Args:
            in_transaction: `idle_in_transaction_session_timeout`.
            outside: `idle_session_timeout`, which is None before PostgreSQL 14.
            connection: As of `statement_failure`.
        """
        limits = {
            "idle_in_transaction_session_timeout": in_transaction,
            "idle_session_timeout": outside,
        }
        user = _user(connection)
        reasons = "".join(
            f" {setting} is {value} for this user: if that is the reason, run on the server: "
            f"ALTER ROLE {user} SET {setting} = 0;"
            for setting, value in limits.items()
            if value not in (None, "0")
        )
        return replace(self, hint=f"{self.hint}{'.' if reasons else ''}{reasons}")


_LOST = Failure(message="the connection to the server was lost", hint=BACK_AGAIN, is_lost=True)
_READ_ONLY = Failure(
    message="the connection may only read: the server is a replica, or "
    "default_transaction_read_only is on",
    hint=f"Write the primary server into credentials under {SECRETS}. Every command writes at "
    "least temporary tables.",
)
_LIMITS = {
    "25P03": "idle_in_transaction_session_timeout",
    "55P03": "lock_timeout",
    "57014": "statement_timeout",
    "57P05": "idle_session_timeout",
}
_FAILURES: Mapping[str, Failure] = {
    "25006": _READ_ONLY,
    "57P01": Failure(message="the server ended the connection", hint=BACK_AGAIN),
    "57P02": Failure(message="the server crashed and ended the connection", hint=BACK_AGAIN),
    "57P03": Failure(message="the server is starting or stopping", hint=BACK_AGAIN),
    "40001": Failure(message="another session changed the same rows", hint=AGAIN),
    "40P01": Failure(message="another session locked the same rows (deadlock)", hint=AGAIN),
    "53300": Failure(
        message="the server has no connection left",
        hint=f"{NOT_LOST} Raise max_connections, or end other sessions, then run the same command "
        "again. A run needs two connections.",
    ),
    "53200": Failure(
        message="the server has too little memory for it",
        hint=f"{NOT_LOST} Lower work_mem or free memory on the server, then run the same command "
        "again.",
    ),
}
_NO_RIGHT = "42501"
_CANNOT_CONNECT = "08"
_TEMPORARY = re.compile(r"temporary tables")
_DENIED = re.compile(r'permission denied for (schema|database) ("?)([\w-]+)\2')


def server_failure(
    error: Exception, name: str, session: Session, settings: WarehouseSettings
) -> WarehouseFailed | None:
    """The error for a failure of the server, such as a lost connection; None if the SQL failed.

    Args:
        error: As of `statement_failure`.
        name: The statement's name.
        session: The session that ran it. If its connection was lost, dlt has opened another one.
        settings: The settings of the warehouse.
    """
    schemas = (settings.dataset, settings.ledger_dataset, settings.model_dataset)
    # With a role of models, the right may be missing to either.
    failure = statement_failure(
        error, session.native, schemas=() if settings.model_role else schemas
    )
    if failure is None:
        return None
    # The session has been reset or opened again, so that it answers, unless the server is down.
    with suppress(Exception):
        if failure is _READ_ONLY and not _row(session, "only_reads")[0]:
            # Not the server refused it: a model tried to write.
            return None
        if failure.is_lost:
            in_transaction, outside = _row(session, "idle_limits")
            failure = failure.with_limits(in_transaction, outside, session.native)
    failed = WarehouseFailed(f"{name}: {failure.message}", hint=failure.hint)
    failed.detail = str(getattr(error, "dbapi_exception", error))
    return failed


def _row(session: Session, name: str) -> Sequence[Any]:
    """The one row of a statement of `warehouse`."""
    (row,) = session.execute(statement(f"warehouse/{name}", "postgres")) or ()
    return row


def statement_failure(
    error: Exception, connection: Any, *, schemas: Collection[str] = ()
) -> Failure | None:
    """The failure behind an error of psycopg2; None if it is about the SQL or a value.

    Args:
        error: The driver's error, or dlt's error around it.
        connection: The driver's connection, whose user and database the hints name.
        schemas: The schemas in which the connection's user needs every right.
    """
    cause = getattr(error, "dbapi_exception", error)
    if not type(cause).__module__.startswith("psycopg2"):
        return None
    code = getattr(cause, "pgcode", None)
    if code is None:
        lost = {"OperationalError", "InterfaceError"} & {c.__name__ for c in type(cause).__mro__}
        return _LOST if lost else None
    if code in _FAILURES:
        return _FAILURES[code]
    if code in _LIMITS:
        return _limit_reached(_LIMITS[code], str(cause), connection)
    if code == _NO_RIGHT:
        return _without_right(str(cause), connection, schemas)
    return _LOST if code.startswith(_CANNOT_CONNECT) else None


def _limit_reached(setting: str, message: str, connection: Any) -> Failure:
    if setting == "statement_timeout" and "user request" in message:
        return Failure(message="somebody cancelled the statement on the server", hint=AGAIN)
    return Failure(
        message=f"the server's {setting} ended it",
        hint=f"{NOT_LOST} On the server, run: ALTER ROLE {_user(connection)} SET {setting} = 0; "
        "then run the same command again.",
    )


def _without_right(message: str, connection: Any, schemas: Collection[str]) -> Failure | None:
    """A missing right of the connection's user, with the GRANT that gives it."""
    user, database = _user(connection), _database(connection)
    denied = _DENIED.search(message)
    if _TEMPORARY.search(message):
        what, grant = "create temporary tables", f"TEMPORARY ON DATABASE {database}"
    elif denied and denied[1] == "database":
        what, grant = f"create schemas in database {database}", f"CREATE ON DATABASE {database}"
    elif denied and denied[3] in schemas:
        what = f"use schema {denied[3]} and create tables in it"
        grant = f'USAGE, CREATE ON SCHEMA "{denied[3]}"'
    else:
        return None
    return Failure(
        message=f"the user {user} may not {what}",
        hint=f"On the server, as the owner, run: GRANT {grant} TO {user}; "
        "docs/how-to/postgresql.md lists what the user needs.",
    )


def _user(connection: Any) -> str:
    return f'"{_info(connection, "user", "loader")}"'


def _database(connection: Any) -> str:
    return f'"{_info(connection, "dbname", "analytics")}"'


def _info(connection: Any, key: str, default: str) -> str:
    try:
        return str(getattr(connection.info, key) or default)
    except Exception:
        # There is no connection, or it is closed.
        return default


# What libpq says of a connection that was not established, and what corrects it.
_TLS_HINT = (
    f"Write into credentials under {SECRETS} the host name that the certificate is issued for, and "
    "the file of its CA: ?sslmode=verify-full&sslrootcert=/etc/ssl/ca.pem"
)
_CONNECTION_HINTS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"certificate|SSL error"), _TLS_HINT),
    (
        re.compile(r"server does not support SSL"),
        "Switch TLS on at the server (ssl = on), or remove sslmode from credentials under "
        f"{SECRETS}.",
    ),
    (
        re.compile(r"no pg_hba\.conf entry .*no encryption"),
        f"Add TLS to credentials under {SECRETS}: ?sslmode=require",
    ),
    (re.compile(r"unsupported startup parameter"), POOL_HINT),
)
_UNAVAILABLE = re.compile(
    r"Connection refused|No such file or directory|starting up|shutting down|recovery mode"
    r"|not yet accepting|too many (clients|connections)|connection slots|[Tt]ime(d )?out"
    r"|No route to host|Network is unreachable|server closed the connection|Connection reset"
)
_UNKNOWN_HOST = re.compile(r"could not translate host name")
_OPTION = re.compile(
    r'invalid (\w+) value: "[\w-]*"|invalid (?:URI query parameter|connection option).*'
)
_CERTIFICATE_FILE = re.compile(r'(root certificate|certificate|private key) file "[^"]*" [\w ]+')


def connection_failure(error: Exception) -> TailraceError | None:
    """The error about a connection that was not established; None if nothing is known of it.

    The text of libpq is repeated only where it cannot hold a part of a password, which a URL with
    a password that is not percent-encoded has in the place of the host.
    """
    opening = "The warehouse postgres cannot be opened"
    if getattr(error, "pgcode", None):
        failure = statement_failure(error, None)
        if failure is None:
            return None
        return ConfigurationError(f"{opening}: {failure.message}", hint=failure.hint)
    text = str(error)
    lines = text.strip().splitlines()
    if _UNKNOWN_HOST.search(text):
        return WarehouseUnavailable(
            f"{opening}: its host name cannot be resolved",
            hint=f"Check the host in credentials under {SECRETS}. In a password, write @ as %40, "
            ": as %3A and / as %2F.",
        )
    option = _OPTION.search(text) or _CERTIFICATE_FILE.search(text)
    # Of several addresses, each has a line.
    tried = [line for line in lines if line.startswith("connection to server")]
    if option is None and not tried:
        return None
    reason = option[0] if option else tried[-1]
    for pattern, hint in _CONNECTION_HINTS:
        if pattern.search(text):
            return ConfigurationError(f"{opening}: {reason}", hint=hint)
    if _UNAVAILABLE.search(text):
        return WarehouseUnavailable(f"{opening}: {reason}")
    return ConfigurationError(f"{opening}: {reason}")
