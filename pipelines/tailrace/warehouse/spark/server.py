"""What a session needs of a Spark SQL server, whatever protocol it is reached by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import pyarrow as pa


class SparkServer(Protocol):
    """A connection to a Spark SQL server."""

    def run(self, text: str) -> pa.Table:
        """Run a statement and return its rows; those of a statement that writes mean nothing.

        Raises:
            SparkError: The statement or the connection failed; see `spark.errors`.
        """
        ...

    def close(self) -> None:
        """Close the connection; does not raise."""
        ...
