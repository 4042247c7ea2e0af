"""Finds a pool between Tailrace and PostgreSQL that changes the server's session of a client.

Temporary tables, the time zone and read-only transactions of models belong to a session, so they
need a pool that gives each client a session of its own.
"""

from __future__ import annotations

from typing import Protocol, Self

from tailrace.errors import ConfigurationError
from tailrace.warehouse.postgres_failures import POOL_HINT
from tailrace.warehouse.session import Session

# How often two connections compare their sessions, since other clients of a pool take turns too.
TRIES = 5


class Pooled(Protocol):
    """What is used of an open warehouse."""

    session: Session

    def run(self, name: str, /) -> list[tuple[object, ...]]: ...
    def another(self) -> Self: ...
    def close(self) -> None: ...


def require_own_session(warehouse: Pooled) -> None:
    """Check that all statements of a connection run in one session of the server.

    A pool invents the number of a session that a client gets when it connects. If that number is
    not the server's, a second connection tries whether the two share sessions.

    Raises:
        ConfigurationError: A pool changes the session between transactions.
    """
    if warehouse.session.native.info.backend_pid == _session_of(warehouse):
        return
    beside = warehouse.another()
    try:
        for _ in range(TRIES):
            # In this order, a pool that gives sessions by turns gives one of them another.
            turns = (warehouse, beside, beside, warehouse)
            first, second, third, fourth = map(_session_of, turns)
            if first in (second, third) or second != third or first != fourth:
                raise _changed()
    finally:
        beside.close()


def _session_of(warehouse: Pooled) -> object:
    """The number of the session that runs this statement."""
    ((number,),) = warehouse.run("warehouse/session_number")
    return number


def _changed() -> ConfigurationError:
    return ConfigurationError(
        "The warehouse postgres is behind a pool that changes the server's session between "
        "transactions (PgBouncer: pool_mode = transaction). Temporary tables, and the read-only "
        "transactions of models, need one session",
        hint=POOL_HINT,
    )
