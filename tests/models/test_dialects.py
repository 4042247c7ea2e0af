"""A model in another dialect than the warehouse's gives the same rows, or is refused by name.

Each statement runs on the engine of its dialect, as its author wrote it, and on the other engine as
Tailrace translates it. The results are compared as they would be sent. Where PostgreSQL is the
warehouse, its database has a collation of a language, so that an order by anything but bytes is
found; as the author's engine it orders by bytes, since a model does not name a collation.
"""

from __future__ import annotations

import json
import os
import random
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import pytest
from models.dialect_statements import (
    DUCKDB_ARGUMENTS,
    POSTGRES_ARGUMENTS,
    ROWS,
    Generator,
    calls,
    corpus,
)
from sqlglot import exp
from warehouses.postgres_server import PostgresServer

from tailrace.encoding.values import Encoder, json_value
from tailrace.errors import ModelDoesNotBind, ModelError, UnsupportedValue
from tailrace.models.compile import bind, compiled_sql
from tailrace.models.file import Model
from tailrace.models.loader import Models
from tailrace.models.parse import read_select
from tailrace.models.syntax import Syntax
from tailrace.warehouse.sandbox import duckdb_functions

psycopg2 = pytest.importorskip("psycopg2")
pytestmark = pytest.mark.postgres

NOW = datetime(2026, 11, 22, 5, 0, 0, 123456, tzinfo=UTC)
STATEMENT_MILLISECONDS_MAX = 5_000
SEED = 20261122


@dataclass(frozen=True)
class Failed:
    """A statement that an engine refused."""

    reason: str


Outcome = list[str] | Failed


def as_number(text: str) -> float | int:
    """2 and 2.0 are one number to every reader of JSON."""
    number = float(text)
    return int(number) if number.is_integer() else number


def as_sent(rows: list[tuple[Any, ...]]) -> list[str]:
    sent = []
    for row in rows:
        encoder = Encoder()
        try:
            body = encoder.dumps([encoder.encode(value) for value in row])
            sent.append(json.dumps(json.loads(body, parse_float=as_number)))
        except UnsupportedValue:
            sent.append(repr(row))
    return sorted(sent)


class Engines:
    """Both engines with the same table, `salesforce.contact`, which has landed as `crm.contact`."""

    def __init__(self, url: str) -> None:
        self.duck = duckdb.connect()
        self.connection = psycopg2.connect(url)
        self.connection.autocommit = True
        self.cursor = self.connection.cursor()
        self.duck.execute("SET TimeZone = 'UTC'; SET threads = 1")
        self.cursor.execute(
            f"SET TimeZone = 'UTC'; SET statement_timeout = {STATEMENT_MILLISECONDS_MAX}"
        )
        for schema in ("salesforce", "crm"):
            self._create(schema)
        self.types = {
            "duckdb": self._types("duckdb", 0),
            "postgres": self._types("postgres", 1),
        }

    def _create(self, schema: str) -> None:
        for place, execute in ((0, self.duck.execute), (1, self.cursor.execute)):
            columns = ", ".join(f"{name} {column[place]}" for name, column in ROWS.items())
            execute(f"CREATE SCHEMA {schema}")
            execute(f"CREATE TABLE {schema}.contact ({columns})")
            for row in zip(*(column[2] for column in ROWS.values()), strict=True):
                execute(f"INSERT INTO {schema}.contact VALUES ({', '.join(row)})")

    def _types(self, dialect: str, place: int) -> Mapping[str, exp.DataType]:
        return {
            name: exp.DataType.build(column[place], dialect=dialect)
            for name, column in ROWS.items()
        }

    def run(self, engine: str, sql: str) -> Outcome:
        if engine == "duckdb":
            try:
                result = self.duck.execute(sql)
                kinds = [str(column[1]) for column in result.description or ()]
                rows = [
                    tuple(
                        json_value(value) if "JSON" in kind else value
                        for value, kind in zip(row, kinds, strict=True)
                    )
                    for row in result.fetchall()
                ]
            except duckdb.Error as error:
                return Failed(str(error))
            return as_sent(rows)
        try:
            self.cursor.execute(sql)
            return as_sent(self.cursor.fetchall())
        except (psycopg2.Error, ValueError, OverflowError) as error:
            return Failed(str(error))

    def function_calls(self, engine: str) -> list[str]:
        """A statement for each built-in function of an engine that a model may call."""
        if engine == "duckdb":
            _, allowed = duckdb_functions()
            self_listed = self.duck.execute(DUCKDB_FUNCTIONS).fetchall()
            listed = [row for row in self_listed if row[0] in allowed]
            return list(dict.fromkeys(calls(listed, DUCKDB_ARGUMENTS)))
        self.cursor.execute(POSTGRES_FUNCTIONS)
        return list(dict.fromkeys(calls(self.cursor.fetchall(), POSTGRES_ARGUMENTS)))

    def translated(self, sql: str, source: str, target: str) -> str:
        """The statement as a model of one dialect, bound to a warehouse of the other."""
        model = Model(
            name="model",
            path=Path("model"),
            file="models/model.sql",
            sql=sql,
            source=sql,
            dialect=source,
            syntax=Syntax(partial(read_select, sql, dialect=source)),
        )
        types = self.types[target]

        def columns(schema: str, table: str) -> Mapping[str, exp.DataType]:
            return types if (schema, table) == ("salesforce", "contact") else {}

        models = Models(by_name={"model": model})
        text = compiled_sql(models, "model", dialect=target, columns=columns)
        bound = bind(
            text,
            dataset="crm",
            now=NOW,
            dialect=target,
            columns=columns,
            file=model.file,
        )
        return bound.sql


DUCKDB_FUNCTIONS = """
SELECT DISTINCT lower(function_name), function_type, parameter_types
FROM duckdb_functions()
WHERE function_type IN ('scalar', 'aggregate')
  AND regexp_full_match(function_name, '[A-Za-z_]\\w*') AND internal
ORDER BY ALL
"""
POSTGRES_FUNCTIONS = """
SELECT p.proname, CASE p.prokind WHEN 'a' THEN 'aggregate' WHEN 'w' THEN 'window' ELSE 'scalar' END,
  ARRAY(SELECT format_type(u.oid, NULL) FROM unnest(p.proargtypes) WITH ORDINALITY AS u(oid, place)
        ORDER BY u.place)
FROM pg_catalog.pg_proc AS p
LEFT JOIN pg_catalog.pg_aggregate AS a ON a.aggfnoid = p.oid
WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.provolatile <> 'v' AND NOT p.proretset
  AND p.prokind <> 'p' AND COALESCE(a.aggkind, 'n') = 'n'
ORDER BY 1, 3
"""
STATEMENTS_MIN = 2_000
DIRECTIONS = [("duckdb", "postgres"), ("postgres", "duckdb")]


@pytest.fixture(scope="module", params=DIRECTIONS, ids="-".join)
def direction(request: pytest.FixtureRequest) -> tuple[str, str]:
    return request.param


@pytest.fixture(scope="module")
def engines(postgres_server: PostgresServer, direction: tuple[str, str]) -> Iterator[Engines]:
    name = f"dialects_{os.getpid()}_{time.monotonic_ns()}"
    locale = "LOCALE_PROVIDER icu ICU_LOCALE 'en-US'" if direction[1] == "postgres" else ""
    postgres_server.execute(f"CREATE DATABASE {name} TEMPLATE template0 {locale}")
    engines = Engines(postgres_server.url(name))
    yield engines
    engines.connection.close()
    engines.duck.close()
    postgres_server.execute(f"DROP DATABASE {name} WITH (FORCE)")


def frozen(sql: str) -> str:
    return sql.replace("current_date", "DATE '2026-11-22'")


def compare(
    engines: Engines, statements: list[str], source: str, target: str
) -> tuple[list[Any], Counter[str]]:
    """The statements that give other rows, and how many were the same, refused or failed."""
    differing: list[Any] = []
    counts: Counter[str] = Counter()
    for sql in statements:
        try:
            text = engines.translated(sql, source, target)
        except ModelError as error:
            assert error.message and error.hint
            if isinstance(error, ModelDoesNotBind):
                assert error.file == "models/model.sql", sql
            counts["refused"] += 1
            continue
        expected = engines.run(source, frozen(sql))
        given = engines.run(target, text)
        if isinstance(expected, Failed) or isinstance(given, Failed):
            counts["failed"] += 1
        elif expected == given:
            counts["same"] += 1
        else:
            differing.append((sql, text, expected, given))
    return differing, counts


def test_no_construct_of_the_corpus_gives_other_rows(
    engines: Engines, direction: tuple[str, str]
) -> None:
    """Constructs that differ between engines, and each function of the author's engine."""
    statements = list(dict.fromkeys([*corpus(), *engines.function_calls(direction[0])]))
    assert len(statements) >= STATEMENTS_MIN
    differing, counts = compare(engines, statements, *direction)
    assert [] == differing[:5], len(differing)
    assert counts["same"] > 150, counts


def test_a_model_in_the_words_of_postgres_runs_as_its_author_wrote_it(
    engines: Engines, direction: tuple[str, str]
) -> None:
    """The same corpus with PostgreSQL's functions, in PostgreSQL's dialect on PostgreSQL."""
    if direction[0] != "postgres":
        pytest.skip("once is enough")
    statements = list(dict.fromkeys([*corpus(), *engines.function_calls("postgres")]))
    assert len(statements) >= STATEMENTS_MIN
    # age() of one time counts to today, which a model sees as the time of its plan.
    timeless = [sql for sql in statements if not re.search(r"\bage\(\w+\)", sql)]
    runs = [sql for sql in timeless if not isinstance(engines.run("postgres", sql), Failed)]
    differing, counts = compare(engines, runs, "postgres", "postgres")
    assert [] == differing[:5], len(differing)
    # The rest is refused by name, such as two columns of one name.
    assert counts["same"] + counts["refused"] == len(runs) and counts["refused"] < 20, counts
    assert len(runs) > STATEMENTS_MIN / 2


def test_no_generated_statement_gives_other_rows(
    engines: Engines, direction: tuple[str, str], pytestconfig: pytest.Config
) -> None:
    """And none ends in an error that is not one of a model's: `--statements` generates more."""
    generator = Generator(SEED)
    statements = [generator.statement() for _ in range(pytestconfig.getoption("--statements"))]
    differing, counts = compare(engines, statements, *direction)
    assert [] == differing[:5], len(differing)
    assert counts["same"] > len(statements) / 20, counts


def test_a_double_is_rounded_and_cast_as_in_duckdb(
    engines: Engines, direction: tuple[str, str]
) -> None:
    """At halves, beside them, and at many other doubles."""
    if direction != ("duckdb", "postgres"):
        pytest.skip("PostgreSQL's rounding of doubles is refused on DuckDB")
    chosen = random.Random(SEED)
    halves = [number / 200 for number in range(-601, 602, 2)]
    others = [chosen.uniform(-1e6, 1e6) for _ in range(200)]
    doubles = [*halves, *others, 0.49999999999999994, 4503599627370497.5, 1e15, -0.0]
    rows = ", ".join(f"({number!r}::DOUBLE)" for number in doubles)
    expressions = (
        "round(x)",
        "round(x, 1)",
        "round(x, 2)",
        "CAST(x AS DECIMAL(18, 2))",
        "CAST(x AS DECIMAL(18, 0))",
        "CAST(x AS BIGINT)",
        "x / 3",
        "floor(x)",
        "ceil(x)",
    )
    # In one statement, because translating its values takes most of the time.
    columns = ", ".join(f"{expression} AS v{n}" for n, expression in enumerate(expressions))
    sql = f"SELECT x, {columns} FROM (VALUES {rows}) AS t(x)"
    text = engines.translated(sql, *direction)
    rows_of_duckdb = engines.run("duckdb", sql)
    assert isinstance(rows_of_duckdb, list) and len(doubles) == len(rows_of_duckdb)
    assert rows_of_duckdb == engines.run("postgres", text)
