"""The one table of how engines behave; what they say differently is in `sql/` and `translation`.

A dialect that is not in the table has the defaults, which promise the least.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Engine:
    """How an engine behaves.

    Attributes:
        temporary: Where it keeps the temporary tables of a session. They are named in full, so
            that a table of the same name in another place is never taken for one of them.
        embedded: It is a file that one process opens, so there is only one writer. Tailrace
            manages its memory and storage.
        loses_sessions: dlt resets the session after a statement that failed, and its temporary
            tables are gone.
        writes_messages: Its JSON is known letter by letter, so that it may write messages itself.
    """

    temporary: str | None = None
    embedded: bool = False
    loses_sessions: bool = False
    writes_messages: bool = False


ENGINES: Mapping[str, Engine] = {
    "duckdb": Engine(temporary="temp", embedded=True, writes_messages=True),
    "postgres": Engine(temporary="pg_temp", loses_sessions=True),
    "redshift": Engine(loses_sessions=True),
}


def engine_of(dialect: str) -> Engine:
    """How the engine behaves that sqlglot calls by this name.

    >>> engine_of("duckdb").embedded, engine_of("snowflake").embedded
    (True, False)
    """
    return ENGINES.get(dialect, Engine())
