"""What a failure of a MariaDB server means and what corrects it.

Statements are classified by the number of the error, whose list is in MariaDB's knowledge base.
"""

from __future__ import annotations

from tailrace.errors import WarehouseFailed
from tailrace.warehouse.mariadb.errors import MariadbError
from tailrace.warehouse.postgres_failures import AGAIN, BACK_AGAIN, NOT_LOST

_LOST = ("the connection to the server was lost", BACK_AGAIN)
_FULL = (
    "the server has no connection left",
    f"{NOT_LOST} Raise max_connections, or end other sessions, then run the same command again. "
    "A run needs two connections.",
)
_READ_ONLY = (
    "the server may only be read",
    f"{NOT_LOST} On the server, run: SET GLOBAL read_only = OFF; or write the primary server into "
    "credentials under [destination.mariadb] in .dlt/secrets.toml.",
)
# What happened, and what to do, by the number of the error. Of a connection that is closed, the
# driver has no number.
_FAILURES: dict[int, tuple[str, str]] = {
    **dict.fromkeys((0, 1927, 2006, 2013, 2055), _LOST),
    **dict.fromkeys((2002, 2003), ("the server accepts no connection", BACK_AGAIN)),
    1053: ("the server is stopping", BACK_AGAIN),
    1317: ("somebody cancelled the statement on the server", AGAIN),
    1020: ("another session changed the same rows", AGAIN),
    1205: (
        "another session kept the same rows locked",
        f"{NOT_LOST} End the other session (SHOW PROCESSLIST lists them), then run the same "
        "command again.",
    ),
    1213: ("another session locked the same rows (deadlock)", AGAIN),
    **dict.fromkeys((1040, 1203, 1226), _FULL),
    **dict.fromkeys((1290, 1792, 1836), _READ_ONLY),
    1969: (
        "the server's max_statement_time ended it",
        f"{NOT_LOST} On the server, run: SET GLOBAL max_statement_time = 0; or raise the limit of "
        "the user, then run the same command again.",
    ),
}


def failure_of(error: Exception) -> tuple[str, str] | None:
    """What happened at the server, and what to do; None if it is not known."""
    return _FAILURES.get(error.number) if isinstance(error, MariadbError) else None


def server_failure(error: Exception, name: str) -> WarehouseFailed | None:
    """The error for a failure of the server, such as a lost connection; None if the SQL failed.

    Args:
        error: An error of the session.
        name: The statement's name.
    """
    failure = failure_of(error)
    if failure is None:
        return None
    message, hint = failure
    failed = WarehouseFailed(f"{name}: {message}", hint=hint)
    failed.detail = str(error)
    return failed
