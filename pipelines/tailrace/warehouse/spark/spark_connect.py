"""A Spark SQL server that is reached by Spark Connect, as Apache Spark 4 and Databricks are."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from tailrace.config.installation import install_command
from tailrace.errors import ConfigurationError
from tailrace.warehouse.spark.errors import BinderError, ServerError, refusal_of
from tailrace.warehouse.spark.location import SparkLocation

if TYPE_CHECKING:
    import pyarrow as pa

SETTINGS = {
    "spark.sql.session.timeZone": "UTC",
    # A cast that fails is an error, as in DuckDB, and not NULL.
    "spark.sql.ansi.enabled": "true",
}


class SparkConnectServer:
    """A session of Spark Connect; see `spark.server.SparkServer`."""

    def __init__(self, location: SparkLocation) -> None:
        """
        Raises:
            ConfigurationError: The client is not installed, or does not accept the URI.
            SparkError: The server cannot be reached.
        """
        try:
            with _named_main_module():
                from pyspark.errors import PySparkValueError
                from pyspark.sql.connect.client import DefaultChannelBuilder
                from pyspark.sql.connect.session import SparkSession
        except ImportError:
            raise ConfigurationError(
                "A uri that begins with sc:// needs a client that is not installed: pyspark-client",
                hint=f"Install it with: {install_command('spark-connect')}",
            ) from None
        # It logs each attempt that fails; the last one is raised.
        logging.getLogger("pyspark.sql.connect.logging").setLevel(logging.CRITICAL)
        try:
            channel = DefaultChannelBuilder(location.uri)
        except PySparkValueError as error:
            raise ConfigurationError(
                f"destination.spark.uri cannot be used: {error}",
                hint='Write uri as "sc://127.0.0.1:15002" under [destination.spark].',
            ) from None
        if location.token:
            channel.set("token", location.token)
        try:
            self._session: Any = SparkSession(connection=channel)
            # By default it asks a server that is down for ten minutes, and may write rows twice.
            self._session.client.set_retry_policies([])
            for name, value in SETTINGS.items():
                self._session.conf.set(name, value)
        except Exception as error:
            raise refusal_of(str(error), error) from None

    def run(self, text: str) -> pa.Table:
        from pyspark.errors import AnalysisException, ParseException

        try:
            return self._session.sql(text).toArrow()
        except Exception as error:
            refusal = refusal_of(str(error), error)
            # Only these two have names and types, and no values, in their messages.
            is_about_sql = isinstance(error, AnalysisException | ParseException)
            if is_about_sql and isinstance(refusal, ServerError):
                refusal = BinderError(*refusal.args)
            raise refusal from None

    def close(self) -> None:
        with suppress(Exception):
            self._session.stop()


@contextmanager
def _named_main_module() -> Iterator[None]:
    """Let the client be imported by a program that has no file, such as `python -c`.

    The client takes such a program for its own doctests, and ends the process
    (`pyspark.sql.connect.utils.check_dependencies`).
    """
    main = sys.modules["__main__"]
    if hasattr(main, "__file__"):
        yield
        return
    main.__file__ = "<string>"
    try:
        yield
    finally:
        del main.__file__
