"""A session with MariaDB, over the driver pymysql.

* Text is compared by its bytes: the session and its datasets have the collation that ignores
  neither capitals nor spaces at the end.
* The server warns about a text that is not a number, a time that does not exist, or an answer that
  was cut, and goes on with another value. Here such a statement fails.
* A query that creates a table gives its columns types as narrow as today's values. So each column
  is declared: texts without a length, times with microseconds, booleans as such.
* A statement that creates or alters a table commits the open transaction; the rest of the block is
  another one. Temporary tables commit nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from tailrace.warehouse.mariadb.errors import BinderError, DataError, numbered, refusal_of
from tailrace.warehouse.statements import Column, statement

DIALECT = "mariadb"
NAME_BYTES_MAX = 64
COLLATION = "utf8mb4_nopad_bin"
# MariaDB's JSON is a text with this collation.
JSON_COLLATION = "utf8mb4_bin"
# `||` joins texts, a value that does not fit is an error, and an UPDATE reads the row of before.
SQL_MODE = (
    "STRICT_ALL_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO,"
    "NO_ENGINE_SUBSTITUTION,PIPES_AS_CONCAT,ONLY_FULL_GROUP_BY,SIMULTANEOUS_ASSIGNMENT"
)
_SHAPE_MODE = SQL_MODE.replace("NO_ZERO_DATE,", "")
SETTINGS = (
    f"SET NAMES utf8mb4 COLLATE {COLLATION}",
    f"SET SESSION sql_mode = '{SQL_MODE}'",
    "SET SESSION time_zone = '+00:00'",
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
    # The most that the server takes; an answer that is cut is an error.
    "SET SESSION group_concat_max_len = 1073741824",
    # Texts are sorted by so many bytes.
    "SET SESSION max_sort_length = 65536",
)
# The catalog lists a view whose table is gone.
_HARMLESS = frozenset({1356})
_CREATED = re.compile(
    r"CREATE (TEMPORARY )?TABLE (`[^`]+`(?:\.`[^`]+`)?|[\w.]+) AS (?=SELECT|WITH|\()"
)
_COMMITS = re.compile(r"(CREATE|DROP|ALTER|RENAME|TRUNCATE) (?!TEMPORARY)")
_DESCRIBED = "DESCRIBE SELECT "
_SHAPE = "tr__shape"
_WHOLE = frozenset({"smallint", "mediumint", "int", "bigint", "year"})
_TEXTS = frozenset(
    {
        "char",
        "varchar",
        "tinytext",
        "text",
        "mediumtext",
        "longtext",
        "enum",
        "set",
        "uuid",
        "inet6",
    }
)
# The columns of outboxes and transitions in front of the keys.
_BEFORE_KEYS = frozenset({"run_seq", "seq", "op", "reason", "base_v"})
# So much of a text is in an index; the rest is compared.
INDEXED_CHARACTERS = 191
Connect = Callable[[], Any]


class MariadbSession:
    """One connection: temporary tables and transactions are its own."""

    dialect = engine = DIALECT
    name_bytes_max = NAME_BYTES_MAX

    def __init__(self, connect: Connect, dataset: str, destination: Callable[..., Any]) -> None:
        self._connect = connect
        self._dataset = dataset
        self._destination = destination
        self._in_transaction = False
        self._connection = connect()
        try:
            self._prepare()
        except BaseException:
            self.close()
            raise

    def _prepare(self) -> None:
        for setting in SETTINGS:
            self._run(setting)
        # Temporary tables, and the new names of tables, are in the ledger's dataset.
        if not self._run(statement("warehouse/dataset", DIALECT, dataset=self._dataset)):
            self.create_dataset(self._dataset)
        self._run(f"USE `{self._dataset}`")

    @property
    def native(self) -> Any:
        return self._connection

    def execute(self, sql: str) -> Sequence[Sequence[Any]] | None:
        if sql.startswith(_DESCRIBED):
            return [(c.name, c.type) for c in self._columns_of(sql.removeprefix("DESCRIBE "))]
        created = _CREATED.match(sql)
        if created is not None:
            self._create(sql, created)
            return None
        rows = self._run(sql)
        if self._in_transaction and _COMMITS.match(sql):
            self._run("START TRANSACTION")
        return rows

    def _run(self, sql: str) -> Sequence[Sequence[Any]] | None:
        from pymysql.constants import FIELD_TYPE, FLAG

        try:
            self._connect_again()
            with self._connection.cursor() as cursor:
                cursor.execute(sql)
                rows = cursor.fetchall() if cursor.description else None
                answer = cursor._result
                warnings = answer.warning_count if answer is not None else 0
                fields = answer.fields if answer is not None and rows else ()
            if warnings:
                self._require_exact()
        except Exception as error:
            raise refusal_of(error) from None
        numbers = (FIELD_TYPE.LONG, FIELD_TYPE.LONGLONG)
        decoders: list[tuple[int, Callable[[Any], Any]]] = []
        for place, field in enumerate(fields or ()):
            unsigned = field.type_code in numbers and field.flags & FLAG.UNSIGNED
            if unsigned or field.type_code == FIELD_TYPE.TINY:
                decoders.append((place, bool))
            elif field.type_code == FIELD_TYPE.TIME:
                decoders.append((place, _time))
            elif field.type_code == FIELD_TYPE.DATETIME:
                decoders.append((place, _in_utc))
        return _decoded(rows, decoders) if rows and decoders else rows

    def _require_exact(self) -> None:
        """Fail if the statement went on with another value than it was given."""
        with self._connection.cursor() as cursor:
            cursor.execute("SHOW WARNINGS")
            for level, number, message in cursor.fetchall():
                if level != "Note" and number not in _HARMLESS:
                    raise numbered(number, message) if number else DataError(message)

    def _create(self, sql: str, created: re.Match[str]) -> None:
        """Create a table from a query, with declared columns."""
        query = sql[created.end() :]
        described = self._columns_of(query)
        columns = ", ".join(f"`{_doubled(c.name)}` {c.type} NULL" for c in described)
        columns = ", ".join((columns, *_indexes(described)))
        head = created[0].removesuffix(" AS ")
        self._run(f"{head} ({columns}) COLLATE {COLLATION} AS {query}")
        if self._in_transaction and not created[1]:
            self._run("START TRANSACTION")

    def _columns_of(self, query: str) -> list[Column]:
        """The columns of a query. The server binds it and reads no row."""
        self._run(f"DROP TEMPORARY TABLE IF EXISTS {_SHAPE}")
        # A date that is never NULL has a default of zero there.
        with_zeros = f"SET STATEMENT sql_mode = '{_SHAPE_MODE}' FOR"
        shape = f"SELECT * FROM ({query}\n) AS q LIMIT 0"
        self._run(f"{with_zeros} CREATE TEMPORARY TABLE {_SHAPE} AS {shape}")
        try:
            listed = self._run(f"SHOW FULL COLUMNS FROM {_SHAPE}") or ()
            return [Column(str(row[0]), _type(str(row[1]), row[2])) for row in listed]
        finally:
            with suppress(Exception):
                self._run(f"DROP TEMPORARY TABLE {_SHAPE}")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        self._run("START TRANSACTION")
        self._in_transaction = True
        try:
            yield
            self._run("COMMIT")
        except Exception:
            self.rollback()
            raise
        finally:
            self._in_transaction = False

    def rollback(self) -> None:
        # The server rolls back what a lost connection has left.
        with suppress(Exception):
            self._connection.rollback()

    def _connect_again(self) -> None:
        if not self._connection.open and not self._in_transaction:
            self._connection = self._connect()
            self._prepare()

    def create_dataset(self, name: str) -> None:
        self._run(
            f"CREATE DATABASE IF NOT EXISTS `{_doubled(name)}` "
            f"CHARACTER SET utf8mb4 COLLATE {COLLATION}"
        )

    def another(self) -> MariadbSession:
        return MariadbSession(self._connect, self._dataset, self._destination)

    def destination(self, *, is_locked: bool) -> Any:
        return self._destination(self)

    def close(self) -> None:
        with suppress(Exception):
            self._connection.close()


def _type(written: str, collation: str | None) -> str:
    """The one name of a type, whatever its length.

    >>> _type("varchar(7)", COLLATION), _type("bigint(20) unsigned", None), _type("int(1)", None)
    ('LONGTEXT', 'BOOLEAN', 'BIGINT')
    """
    name, _, rest = written.lower().partition("(")
    word = name.split()[0]
    if "unsigned" in written or word == "tinyint":
        return "BOOLEAN"
    if word in _WHOLE:
        return "BIGINT"
    if word == "decimal":
        return f"DECIMAL({rest.split(')')[0]})"
    if word in ("double", "float"):
        return "DOUBLE"
    if word in ("datetime", "timestamp"):
        return "DATETIME(6)"
    if word == "time":
        return "TIME(6)"
    if word in _TEXTS:
        return _text_type(collation)
    return word.upper()


def _text_type(collation: str | None) -> str:
    if collation == JSON_COLLATION:
        return "JSON"
    if collation not in (None, COLLATION):
        raise BinderError(
            f"A text has the collation {collation}, which takes different texts for equal ones"
        )
    return "LONGTEXT"


def _indexes(columns: Sequence[Column]) -> Iterator[str]:
    """The indexes of a table of the ledger or of a plan.

    Without one on the key, a join of two tables compares each row with each. The first column that
    is not Tailrace's own is the key, or its first part.
    """
    names = [column.name for column in columns]
    if {"run_seq", "seq"} <= {*names}:
        yield "KEY (run_seq, seq)"
    keys = (c for c in columns if c.name not in _BEFORE_KEYS and not c.name.startswith("_"))
    for key in islice(keys, 1):
        is_text = key.type in ("LONGTEXT", "JSON")
        yield f"KEY (`{_doubled(key.name)}`{f'({INDEXED_CHARACTERS})' if is_text else ''})"


def _doubled(name: str) -> str:
    return name.replace("`", "``")


def _time(value: Any) -> Any:
    """A time of day, which the driver reads as a duration."""
    return (datetime.min + value).time() if isinstance(value, timedelta) else value


def _in_utc(value: datetime) -> datetime:
    return value.replace(tzinfo=UTC)


def _decoded(
    rows: Sequence[Sequence[Any]], decoders: Sequence[tuple[int, Callable[[Any], Any]]]
) -> Sequence[Sequence[Any]]:
    decoded = []
    for row in rows:
        values = list(row)
        for place, decode in decoders:
            if values[place] is not None:
                values[place] = decode(values[place])
        decoded.append(values)
    return decoded
