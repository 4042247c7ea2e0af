"""DuckDB's driver, without the part of its Python package that only relations need.

`import duckdb` also imports DuckDB's interface for relations and expressions, which takes longer
than to open a file and to run the statements of a run without news. The driver itself is the
package's extension module. Code that uses relations or Arrow imports `duckdb` as usual; both share
their connections and their errors.
"""

from __future__ import annotations

import importlib
import sys
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import duckdb as driver_module

PACKAGE, EXTENSION = "duckdb", "_duckdb"


@cache
def driver() -> Any:
    """DuckDB's module with `connect` and the classes of its errors."""
    if PACKAGE in sys.modules:
        return sys.modules[PACKAGE]
    try:
        return importlib.import_module(EXTENSION)
    except ImportError:
        # A DuckDB that is built in another way.
        return importlib.import_module(PACKAGE)


def complete(connection: driver_module.DuckDBPyConnection) -> driver_module.DuckDBPyConnection:
    """The connection with the methods for relations, such as `sql`."""
    importlib.import_module(PACKAGE)
    return connection
