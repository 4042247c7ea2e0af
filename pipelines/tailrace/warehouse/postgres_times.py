"""Reads times of PostgreSQL that Python's classes cannot hold, without failing the whole read.

PostgreSQL has infinite times and the years 4713 BC to 294276. psycopg2 raises ValueError for a row
with any of these years, and gives the last day of year 9999 for `infinity`.
"""

from __future__ import annotations

import math
from typing import Any

# The types and their arrays in pg_type: date, timestamp, timestamp with time zone.
_TYPES = (("PYDATE", 1082, 1182), ("PYDATETIME", 1114, 1115), ("PYDATETIMETZ", 1184, 1185))


def register_times(connection: Any) -> None:
    """Let a psycopg2 connection return NaN, which encoders send as null, for such a time."""
    from psycopg2 import extensions

    for name, oid, array_oid in _TYPES:
        cast = _cast(getattr(extensions, name))
        type_ = extensions.new_type((oid,), name, cast)
        extensions.register_type(type_, connection)
        array = extensions.new_array_type((array_oid,), f"{name}ARRAY", type_)
        extensions.register_type(array, connection)


def _cast(default: Any) -> Any:
    def cast(text: str | None, cursor: Any) -> Any:
        if text is not None and text.endswith("infinity"):
            return math.nan
        try:
            return default(text, cursor)
        except (ValueError, OverflowError):
            return math.nan

    return cast
