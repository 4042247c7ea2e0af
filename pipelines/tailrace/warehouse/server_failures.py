"""What a failure of a warehouse's server means, where Tailrace knows the server's codes."""

from __future__ import annotations

from tailrace.config.settings import WarehouseSettings
from tailrace.errors import WarehouseFailed
from tailrace.warehouse import postgres_failures
from tailrace.warehouse.session import Session


def server_failure(
    error: Exception, name: str, session: Session, settings: WarehouseSettings
) -> WarehouseFailed | None:
    """The error for a failure of the server, such as a lost connection; None if the SQL failed.

    Args:
        error: The error of the session.
        name: The statement's name.
        session: The session that ran it.
        settings: The settings of the warehouse.
    """
    if session.dialect == "postgres":
        return postgres_failures.server_failure(error, name, session, settings)
    if session.dialect == "mariadb":
        # Other warehouses do not pay for importing it.
        from tailrace.warehouse.mariadb import failures

        return failures.server_failure(error, name)
    return None
