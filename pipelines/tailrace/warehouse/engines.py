"""The behaviour of each engine. Differences in SQL are in `sql/` and `models/transpile`.

A dialect that is not in the table has the defaults, which assume the least.
"""

from __future__ import annotations

from collections.abc import Mapping

from tailrace.dataclass import dataclass


@dataclass(frozen=True, kw_only=True)
class Engine:
    """How an engine behaves.

    Attributes:
        temporary: The schema of a session's temporary tables. Statements name it, so that a table
            of the same name in another schema is never used instead.
        embedded: It works in this process. Tailrace manages its memory, and confines it before the
            SQL of a model runs.
        single_writer: The database is a file that one process opens.
        own_session: Tailrace connects to the server itself, without dlt.
        leased: A process that opens the warehouse to write holds a lease of its storage meanwhile.
        loses_sessions: dlt resets the session after a statement that failed, which drops its
            temporary tables.
        confines_transactions: Statements that run a model are read-only transactions, which may
            write to temporary tables only.
        describes_queries: A statement gives the columns of a query without running it.
        detects_conflicts: A commit fails where another session has changed the same rows since the
            transaction began; it never waits for the other one.
        reads_by_index: It reads a few rows of a large table without scanning it only where an index
            lists them.
        only_widens_types: A column of a table becomes a wider type, and no other one.
        copies_models: A plan copies the rows of a model before it compares them: the engine joins
            queries slowly, or runs one several times in a statement.
        commits_tables: A statement that creates or alters a table commits the open transaction.
        locks_names: A session may hold a lock of any name, which the server releases with it.
        writes_messages: The exact bytes of its JSON are known, so that it may render messages.
        joins_pages: A page of rendered messages is read as one row of joined values, because its
            driver makes an object of each value; an engine without it gives Arrow.
        halves_joins: A table is filled by one process of the server, however many rows are joined
            for it, unless a function gives them.
        hashes_values: A hash of all values of a table costs less than its comparison.
        versions_rows: Each row has the number of the transaction that wrote it.
        needs_statistics: Without statistics of a table it joins the table slowly, and on its own it
            collects them only about a minute after the table was filled.
        resolves_names: A model is described before it is checked, because the server resolves its
            names.
        without_equality: A pattern of the types whose values the engine cannot compare, or whose
            equality is that of a size; None if there are none.
        plans_side_by_side: Several sessions of one process may plan at the same time; they see
            each other's tables in a database in memory.
    """

    temporary: str | None = None
    embedded: bool = False
    single_writer: bool = False
    leased: bool = False
    own_session: bool = False
    loses_sessions: bool = False
    confines_transactions: bool = False
    describes_queries: bool = False
    detects_conflicts: bool = False
    reads_by_index: bool = False
    only_widens_types: bool = False
    copies_models: bool = False
    commits_tables: bool = False
    locks_names: bool = False
    writes_messages: bool = False
    joins_pages: bool = False
    halves_joins: bool = False
    hashes_values: bool = False
    versions_rows: bool = False
    needs_statistics: bool = False
    resolves_names: bool = False
    without_equality: str | None = None
    plans_side_by_side: bool = False

    @property
    def is_own_session(self) -> bool:
        """The session is Tailrace's own, and not one of dlt."""
        return self.embedded or self.leased or self.own_session

    @property
    def has_one_writer(self) -> bool:
        """No other process can write while this one has the warehouse open to write."""
        return self.single_writer or self.leased


ENGINES: Mapping[str, Engine] = {
    "duckdb": Engine(
        temporary="temp",
        embedded=True,
        single_writer=True,
        describes_queries=True,
        writes_messages=True,
        hashes_values=True,
        plans_side_by_side=True,
    ),
    # DuckDB with its tables in a DuckLake, which other processes write to as well.
    "ducklake": Engine(
        temporary="temp",
        embedded=True,
        describes_queries=True,
        detects_conflicts=True,
        only_widens_types=True,
        writes_messages=True,
        hashes_values=True,
    ),
    # DuckDB on a server, with DuckDB's transactions.
    "motherduck": Engine(temporary="temp", describes_queries=True, detects_conflicts=True),
    # Delta tables in one storage, whose catalog is replaced by one process at a time.
    "spark": Engine(temporary="temp", leased=True, describes_queries=True),
    "postgres": Engine(
        temporary="pg_temp",
        loses_sessions=True,
        confines_transactions=True,
        reads_by_index=True,
        writes_messages=True,
        joins_pages=True,
        halves_joins=True,
        versions_rows=True,
        needs_statistics=True,
        resolves_names=True,
        without_equality=r"(json|xml|point|line|lseg|box|path|polygon|circle)(\[\])*",
    ),
    "redshift": Engine(loses_sessions=True),
    "mariadb": Engine(
        own_session=True,
        describes_queries=True,
        copies_models=True,
        commits_tables=True,
        locks_names=True,
    ),
    "snowflake": Engine(describes_queries=True, commits_tables=True),
}


def engine_of(name: str) -> Engine:
    """The behaviour of an engine: a sqlglot dialect, or `ducklake`.

    >>> engine_of("duckdb").embedded, engine_of("snowflake").embedded
    (True, False)
    """
    return ENGINES.get(name, Engine())
