"""pyarrow, imported when it is first used.

An extract that finds no rows never uses it, and its import takes a fifth as long as that of dlt.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.csv as pa_csv
    import pyarrow.parquet as pq
else:

    class _Deferred:
        """A module that is imported with its first attribute."""

        def __init__(self, name: str) -> None:
            self._name = name

        def __getattr__(self, attribute: str) -> Any:
            value = getattr(importlib.import_module(self._name), attribute)
            setattr(self, attribute, value)
            return value

    pa, pc = _Deferred("pyarrow"), _Deferred("pyarrow.compute")
    pa_csv, pq = _Deferred("pyarrow.csv"), _Deferred("pyarrow.parquet")

__all__ = ["pa", "pa_csv", "pc", "pq"]
