"""A Spark SQL server that is reached by Arrow Flight SQL."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from tailrace.config.installation import install_command
from tailrace.errors import ConfigurationError
from tailrace.warehouse.spark.errors import refusal_of
from tailrace.warehouse.spark.location import SparkLocation

if TYPE_CHECKING:
    import pyarrow as pa


class FlightSqlServer:
    """A connection of ADBC; see `spark.server.SparkServer`."""

    def __init__(self, location: SparkLocation) -> None:
        """
        Raises:
            ConfigurationError: The driver is not installed.
            SparkError: The server cannot be reached.
        """
        try:
            from adbc_driver_flightsql import dbapi
        except ImportError:
            raise ConfigurationError(
                "The warehouse spark needs a driver that is not installed: adbc-driver-flightsql",
                hint=f"Install it with: {install_command('spark')}",
            ) from None
        options = {}
        if location.token:
            options["adbc.flight.sql.authorization_header"] = f"Bearer {location.token}"
        try:
            self._connection: Any = dbapi.connect(location.uri, db_kwargs=options, autocommit=True)
        except Exception as error:
            raise refusal_of(str(error), error) from None

    def run(self, text: str) -> pa.Table:
        try:
            with self._connection.cursor() as cursor:
                cursor.execute(text)
                return cursor.fetch_arrow_table()
        except Exception as error:
            raise refusal_of(str(error), error) from None

    def close(self) -> None:
        with suppress(Exception):
            self._connection.close()
