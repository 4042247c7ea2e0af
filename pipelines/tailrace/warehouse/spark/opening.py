"""Opens a warehouse of Delta tables on a Spark SQL server."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from tailrace.clock import Clock
from tailrace.config.project import ProjectConfig
from tailrace.errors import LockHeld, TailraceError, WarehouseUnavailable
from tailrace.state.lease import HeldLease
from tailrace.warehouse.spark.catalog import CatalogFile
from tailrace.warehouse.spark.errors import SparkError
from tailrace.warehouse.spark.location import SparkLocation, TableFiles, location_of
from tailrace.warehouse.spark.server import SparkServer
from tailrace.warehouse.spark.session import SparkSession

log = logging.getLogger(__name__)


@contextmanager
def open_spark(
    project: ProjectConfig,
    *,
    clock: Clock,
    read_only: bool,
    wait_seconds_max: float,
    run_id: str = "",
) -> Iterator[SparkSession]:
    """A session; a writer holds the lease of the storage until the end of the block.

    Raises:
        LockHeld: Another process has the warehouse open to write.
        WarehouseUnavailable: The server cannot be reached.
        ConfigurationError: A package is missing.
    """
    location = location_of(project)
    server = connected(location)
    lease: HeldLease | None = None
    try:
        files = TableFiles(location)
        if not read_only:
            lease = _acquired(project, files, clock, wait_seconds_max, run_id)
        session = SparkSession(
            server,
            files,
            CatalogFile(files.store, clock=clock),
            outer_tables=location.tables,
            lease=lease,
            connect=lambda: connected(location),
            destination=_destination,
        )
        try:
            if lease is not None:
                session.start()
            yield session
            if lease is not None:
                # It saves space and time. The next run tries again.
                with suppress(TailraceError, SparkError):
                    session.shorten_logs()
        finally:
            session.close()
    finally:
        server.close()
        if lease is not None:
            lease.release()


def _destination(session: SparkSession) -> Any:
    # Other commands do not pay for importing dlt.
    from tailrace.warehouse.spark.dlt_destination import SparkDestination

    return SparkDestination(session)


def _acquired(
    project: ProjectConfig,
    files: TableFiles,
    clock: Clock,
    wait_seconds_max: float,
    run_id: str,
) -> HeldLease:
    lease_seconds = project.settings.lock_lease_seconds
    lease = HeldLease(
        files.store,
        clock=clock,
        lease_seconds=lease_seconds,
        environ=project.environ,
        run_id=run_id,
    )
    try:
        lease.acquire(wait_seconds_max=wait_seconds_max)
    except LockHeld as held:
        raise LockHeld(
            held.message,
            hint=f"Wait until that process ends. If it died, its lease ends within "
            f"{lease_seconds:g} seconds; then run the same command again.",
        ) from None
    return lease


def connected(location: SparkLocation) -> SparkServer:
    """A connection to the server.

    Raises:
        WarehouseUnavailable: It cannot be reached.
        ConfigurationError: The driver is not installed.
    """
    try:
        server = _server(location)
        server.run("SELECT 1")
    except SparkError as reason:
        protocol, kind = (
            ("Spark Connect", "spark") if location.is_connect else ("Flight SQL", "flight")
        )
        raise WarehouseUnavailable(
            f"The {protocol} server at {location.shown_uri} cannot be used: "
            f"{type(reason).__name__}",
            hint="Start it, or correct uri under [destination.spark]. For a trial on this "
            f"machine: sail {kind} server --port {location.port}",
        ) from None
    return server


def _server(location: SparkLocation) -> SparkServer:
    # Each needs a driver of its own.
    if location.is_connect:
        from tailrace.warehouse.spark.spark_connect import SparkConnectServer

        return SparkConnectServer(location)
    from tailrace.warehouse.spark.flight_sql import FlightSqlServer

    return FlightSqlServer(location)
