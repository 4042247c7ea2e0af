"""What a model may do on a PostgreSQL server: tried with every function that the server lists."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from warehouses.postgres_server import PostgresServer
from warehouses.stores import PostgresStore

from tailrace.clock import SystemClock
from tailrace.errors import ModelDoesNotBind, ModelError, NotAllowedInModel, WarehouseFailed
from tailrace.warehouse.connection import Warehouse
from tailrace.warehouse.opening import open_warehouse
from tailrace.warehouse.postgres_sandbox import POSTGRES_STABLE
from tailrace.warehouse.statements import Column, QueryText, TableName

pytestmark = pytest.mark.postgres
LANDED = """
CREATE SCHEMA salesforce; CREATE SCHEMA private; CREATE SCHEMA tailrace;
CREATE TABLE salesforce.contact (id text, n int, a text[], j jsonb);
INSERT INTO salesforce.contact VALUES ('1', 1, '{a}', '{}');
CREATE TABLE salesforce.times (id text, d date, ts timestamp, tz timestamptz);
CREATE TABLE private.secrets (secret text);
CREATE SEQUENCE salesforce.numbers;
CREATE FUNCTION salesforce.own(x int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT x + 1';
CREATE FUNCTION salesforce.writing(x int) RETURNS int LANGUAGE plpgsql AS
  $$BEGIN INSERT INTO private.secrets VALUES ('written'); RETURN x; END$$;
CREATE OPERATOR salesforce.=!= (LEFTARG = int, RIGHTARG = int, FUNCTION = salesforce.plus_one);
"""


@pytest.fixture(scope="module")
def warehouse(
    postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Warehouse]:
    name = f"sandbox_{os.getpid()}_{time.monotonic_ns()}"
    postgres_server.execute(f"CREATE DATABASE {name}")
    store = PostgresStore(tmp_path_factory.mktemp("store"), url=postgres_server.url(name))
    plus_one = "CREATE FUNCTION salesforce.plus_one(x int, y int) RETURNS boolean LANGUAGE sql"
    landed = LANDED.replace("CREATE OPERATOR", f"{plus_one} AS 'SELECT x = y';\nCREATE OPERATOR")
    postgres_server.execute(landed, name)
    with open_warehouse(store.project, clock=SystemClock()) as opened:
        yield opened
    postgres_server.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def test_a_call_of_every_function_that_the_server_lists_is_decided(warehouse: Warehouse) -> None:
    """Each overload is called with NULLs of its types. What the server binds is refused unless the
    function is immutable, or stable and listed; the tree and the text decide alike."""
    listed = warehouse.execute(
        "SELECT p.oid, p.proname, p.provolatile::text, n.nspname,"
        " array(SELECT format_type(t, NULL) FROM unnest(p.proargtypes) AS t)"
        " FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace"
        " WHERE p.prokind = 'f' AND p.provariadic = 0 AND p.prorettype NOT IN (2279, 2278)"
        " AND NOT EXISTS (SELECT 1 FROM unnest(p.proargtypes) AS t WHERE t = 2281)"
        " AND NOT EXISTS (SELECT 1 FROM pg_type AS y WHERE y.oid = ANY(p.proargtypes)"
        " AND (y.typtype = 'p' OR y.typname LIKE 'reg%')) ORDER BY p.oid"
    )
    assert len(listed) > 2000
    impure = {
        name
        for _, name, volatility, _, _ in listed
        if volatility == "v" or (volatility == "s" and name not in POSTGRES_STABLE)
    }
    columns, expected = [], set()
    for number, name, volatility, schema, types in listed:
        arguments = ", ".join(f"NULL::{type_}" for type_ in types)
        call = f'"{schema}"."{name}"({arguments})'
        if name in impure and not name.startswith("pg_typeof"):
            expected.add((name, call))
        elif volatility == "i" and schema == "pg_catalog" and not name.startswith(("pg_", "lo_")):
            columns.append(f"(SELECT count(*) FROM {call} AS f) AS c{number}")
    # The functions that compute from their arguments bind, and are allowed, all at once.
    for part in chunks(columns, 400):
        warehouse.describe(QueryText(f"SELECT {', '.join(part)} FROM salesforce.contact"))
    refused = sorted(expected)
    assert len(refused) > 250
    for name, call in refused:
        with pytest.raises(ModelError) as raised:
            warehouse.admit(QueryText(f"SELECT count(*) FROM {call} AS f"))
        assert isinstance(raised.value, NotAllowedInModel | ModelDoesNotBind), name


def chunks(items: list[str], size: int) -> Iterator[list[str]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT pg_read_file('/etc/passwd')",
        "SELECT * FROM pg_ls_dir('/etc')",
        "SELECT lo_import('/etc/passwd')",
        "SELECT * FROM dblink('x', 'SELECT 1') AS t(a int)",
        "SELECT set_config('search_path', 'private', false)",
        "SELECT current_setting('port')",
        "SELECT pg_sleep(9999)",
        "SELECT pg_sleep_for('1 hour')",
        "SELECT nextval('salesforce.numbers')",
        "SELECT pg_terminate_backend(1)",
        "SELECT pg_advisory_lock(1)",
        "SELECT query_to_xml('SELECT 1', true, true, '')",
        "SELECT * FROM ts_stat('SELECT NULL::tsvector')",
        "SELECT 1 AS one FROM private.secrets",
        "SELECT (SELECT min(secret) FROM private.secrets) AS s",
        "SELECT 1 AS one FROM pg_catalog.pg_authid",
        "SELECT 1 AS one FROM pg_user",
        "SELECT 1 AS one FROM information_schema.tables",
        "TABLE private.secrets",
        "SELECT n FROM salesforce.contact FOR UPDATE",
        "WITH c AS (SELECT n FROM salesforce.contact FOR SHARE) SELECT * FROM c",
        "WITH c AS (DELETE FROM salesforce.contact RETURNING n) SELECT * FROM c",
        "SELECT salesforce.own(n) AS x FROM salesforce.contact",
        "SELECT salesforce.writing(n) AS x FROM salesforce.contact",
        "SELECT n OPERATOR(salesforce.=!=) n AS x FROM salesforce.contact",
        "SELECT current_user AS x",
        "SELECT user AS x",
        "SELECT current_catalog AS x",
        "SELECT current_schema AS x",
        "SELECT session_user AS x",
        "SELECT 'private.secrets'::regclass::oid AS x",
        "SELECT CAST(id AS regrole)::text AS x FROM salesforce.contact",
        "SELECT (c.x).pg_ls_dir FROM (SELECT id::text AS x FROM salesforce.contact) AS c",
        "SELECT x.* FROM (VALUES ('SELECT 1')) AS v(q), LATERAL query_to_xml(q, true, true, '') x",
        "SELECT 1; SELECT pg_sleep(1)",
        "COPY salesforce.contact TO PROGRAM 'id'",
        "SELECT 1 INTO private.copy",
    ],
)
def test_a_model_neither_writes_nor_reads_more_than_its_tables(
    warehouse: Warehouse, sql: str
) -> None:
    """It is refused before it runs, and leaves neither a table nor a lock behind."""
    with pytest.raises((ModelError, WarehouseFailed)) as raised:
        warehouse.describe(QueryText(sql))
    assert isinstance(raised.value, NotAllowedInModel | ModelDoesNotBind)
    assert [(0,)] == warehouse.execute("SELECT count(*) FROM private.secrets")
    assert frozenset({"secrets"}) == warehouse.tables_in("private")


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT id, upper(id) AS u, n + 1 AS m, j ->> 'a' AS v FROM salesforce.contact",
        "SELECT id, x FROM salesforce.contact CROSS JOIN LATERAL unnest(a) AS u(x)",
        "SELECT to_char(now(), 'YYYY') AS y, current_date AS d, localtime AS t",
        "SELECT tz >= ts AS a, tz < d AS b, tz + interval '1 day' AS c, tz::date AS e,"
        " ts::timestamptz AS f, tz::text AS g, d || id AS h, tz - ts AS i, tz IN (ts, d) AS j"
        " FROM salesforce.times",
        "SELECT sum(n) OVER (ORDER BY id) AS s, n IN (1, 2) AS r FROM salesforce.contact",
        "WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r WHERE i < 4) TABLE r",
        "SELECT to_tsvector('english', id) @@ to_tsquery('english', 'a') AS m"
        " FROM salesforce.contact",
    ],
)
def test_a_model_computes_from_its_tables(warehouse: Warehouse, sql: str) -> None:
    assert warehouse.describe(QueryText(sql))


def test_a_model_runs_in_a_read_only_transaction(warehouse: Warehouse) -> None:
    """A function that writes fails in it, and Tailrace's own tables are written afterwards."""
    query = QueryText("SELECT id, salesforce.writing(n) AS x FROM salesforce.contact")
    (column, *_) = warehouse.columns_of(TableName("salesforce", "contact"))
    bound = {"tables": {"model": query, "earlier": warehouse.temporary("earlier_test")}}
    with pytest.raises(WarehouseFailed, match="ReadOnlySqlTransaction"):
        warehouse.run("plan/evaluate", columns={"columns": [Column("x")]}, **bound)
    lists = {"keys": [column], "compared": []}
    transitions = warehouse.temporary("transitions_test")
    warehouse.execute(f"CREATE TEMPORARY TABLE {transitions.name} AS SELECT '1' AS id")
    bound["tables"] = {**bound["tables"], "transitions": transitions}
    with pytest.raises(WarehouseFailed, match="ReadOnlySqlTransaction"):
        bound["tables"]["model"] = QueryText(
            "SELECT id FROM salesforce.contact WHERE salesforce.writing(n) = 1"
        )
        warehouse.run("plan/earlier", columns=lists, **bound)
    assert [(0,)] == warehouse.execute("SELECT count(*) FROM private.secrets")
    warehouse.execute("CREATE TABLE private.later AS SELECT 1 AS one; DROP TABLE private.later")


def test_a_name_in_the_tree_is_read_from_the_server(warehouse: Warehouse, tmp_path: Path) -> None:
    """The server's own search path decides, so a function in another schema is not a built-in."""
    warehouse.execute("CREATE SCHEMA first; SET search_path = first, pg_catalog")
    warehouse.execute(
        "CREATE FUNCTION first.upper(text) RETURNS text LANGUAGE sql IMMUTABLE AS"
        " $$SELECT min(secret) FROM private.secrets$$"
    )
    try:
        with pytest.raises(NotAllowedInModel, match=r"upper\(\) is stored in the warehouse"):
            warehouse.describe(QueryText("SELECT upper(id::text) AS u FROM salesforce.contact"))
    finally:
        warehouse.execute("RESET search_path; DROP SCHEMA first CASCADE")


def test_every_operator_and_cast_of_the_server_binds_and_is_allowed(warehouse: Warehouse) -> None:
    """Except casts that look up names in the catalog."""
    operators = warehouse.execute(
        "SELECT format_type(oprleft, NULL), oprname, format_type(oprright, NULL)"
        " FROM pg_operator AS o JOIN pg_namespace AS n ON n.oid = o.oprnamespace"
        " WHERE n.nspname = 'pg_catalog' AND oprleft <> 0 AND oprresult <> 0"
        " AND NOT EXISTS (SELECT 1 FROM pg_type AS y WHERE y.oid IN (oprleft, oprright)"
        " AND (y.typtype = 'p' OR y.typname LIKE 'reg%' OR y.typname = 'aclitem'))"
    )
    casts = warehouse.execute(
        "SELECT format_type(castsource, NULL), format_type(casttarget, NULL) FROM pg_cast"
        " WHERE NOT EXISTS (SELECT 1 FROM pg_type AS y WHERE y.oid IN (castsource, casttarget)"
        " AND (y.typtype = 'p' OR y.typname LIKE 'reg%'))"
    )
    assert len(operators) > 500 and len(casts) > 100
    columns = [
        f"(NULL::{left} OPERATOR(pg_catalog.{name}) NULL::{right}) AS o{number}"
        for number, (left, name, right) in enumerate(operators)
    ]
    columns += [
        f"CAST(NULL::{source} AS {target}) IS NULL AS c{number}"
        for number, (source, target) in enumerate(casts)
    ]
    for part in chunks(columns, 400):
        warehouse.describe(QueryText(f"SELECT {', '.join(part)} FROM salesforce.contact"))
