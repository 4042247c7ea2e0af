"""Spark SQL on Delta tables, on a Sail cluster with two workers.

What holds on every warehouse is in `test_conformance`, and deaths are in `simulation/`.
"""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path

import pytest
from shop import PEOPLE, Shop
from state.s3_server import ACCESS_KEY, BUCKET, SECRET, S3Server
from warehouses.spark_server import HAS_CONNECT, IS_INSTALLED, running_server
from warehouses.stores import SparkStore, check_tables_in_a_bucket
from warehouses.test_conformance import main_job

from tailrace.clock import SystemClock
from tailrace.errors import (
    LockHeld,
    ModelDoesNotBind,
    WarehouseFailed,
    WarehouseUnavailable,
)
from tailrace.ledger.ledger import Ledger
from tailrace.testing import SegmentSimulator
from tailrace.warehouse.opening import open_warehouse
from tailrace.warehouse.spark.location import location_of
from tailrace.warehouse.spark.opening import connected

pytestmark = [
    pytest.mark.spark,
    pytest.mark.skipif(not IS_INSTALLED, reason="run by: make test-engines"),
]
CLOCK = SystemClock()
ROWS = [{"id": f"c{number}", "email": f"{number}@example.com"} for number in range(40)]


@pytest.mark.parametrize("server", ["spark_server", "spark_connect_server"])
def test_a_cluster_sends_what_duckdb_sends(
    tmp_path: Path, request: pytest.FixtureRequest, server: str
) -> None:
    """The same bytes under the same ids, through both protocols."""
    spark_server = request.getfixturevalue(server)
    bodies = []
    with SegmentSimulator() as here, SegmentSimulator() as there:
        shops = [
            Shop(tmp_path / "duckdb", here),
            SparkStore(tmp_path / "spark", there, uri=spark_server),
        ]
        for shop in shops:
            shop.audience(PEOPLE)
            with open_warehouse(shop.project, clock=CLOCK) as warehouse:
                Ledger(warehouse, clock=CLOCK).install("one namespace")
            for rows in (ROWS, ROWS[3:]):
                shop.land(rows)
                assert 0 == shop.sync().exit_code
            assert shop.segment is not None
            events = [
                {name: value for name, value in event.items() if name != "timestamp"}
                for event in shop.segment.events
            ]
            bodies.append(sorted(json.dumps(event, sort_keys=True) for event in events))
    assert bodies[0] == bodies[1]
    assert len(bodies[0]) >= 43


# Some hundred statements, of which each takes a tenth of a second or more beside other work.
@pytest.mark.timeout(900)
@pytest.mark.parametrize("server", ["spark_server", "spark_connect_server"])
def test_the_main_job_says_on_a_cluster_what_it_says_on_duckdb(
    tmp_path: Path, request: pytest.FixtureRequest, server: str
) -> None:
    """Salesforce to Segment by the reference project, two days long."""
    spark_server = request.getfixturevalue(server)
    here = main_job("duckdb", tmp_path / "duckdb", None)
    there = main_job(
        "spark",
        tmp_path / "spark",
        None,
        DESTINATION__SPARK__URI=spark_server,
        DESTINATION__SPARK__STORAGE=str(tmp_path / "lake"),
    )
    assert here == there
    assert all(len(day[1]) > 20 for day in here)


@pytest.mark.parametrize(
    ("scheme", "shown", "command"),
    [
        ("grpc", "The Flight SQL server at grpc://127.0.0.1:", "sail flight server --port "),
        ("sc", "The Spark Connect server at sc://127.0.0.1:", "sail spark server --port "),
    ],
)
def test_a_server_that_is_down_is_named(
    tmp_path: Path, scheme: str, shown: str, command: str
) -> None:
    if scheme == "sc" and not HAS_CONNECT:
        pytest.skip("run by: make test-engines")
    with socket.socket() as taken:
        # The port is bound, and nothing listens.
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        shop = SparkStore(tmp_path, uri=f"{scheme}://127.0.0.1:{port}")
        with (
            pytest.raises(WarehouseUnavailable, match=shown) as down,
            open_warehouse(shop.project, clock=CLOCK),
        ):
            pass
    assert "cannot be used: OperationalError" in down.value.message
    assert f"{command}{port}" in (down.value.hint or "")


def test_values_are_read_as_they_were_written(tmp_path: Path, spark_server: str) -> None:
    """Sail takes a column for a constant if its least and greatest values are equal, by statistics
    that leave NaN out."""
    shop = SparkStore(tmp_path, uri=spark_server)
    shop.script(
        "CREATE SCHEMA s; CREATE TABLE s.t (id TEXT, x DOUBLE, at TIMESTAMPTZ);"
        "INSERT INTO s.t VALUES ('a', 1.5, '2026-01-01 00:00:00.000001+00'),"
        "('b', 'NaN', '2026-01-01 00:00:00.000002+00'), ('c', 1.5, '2026-01-01 00:00:00+00')"
    )
    select = "SELECT id, CAST(x AS TEXT), EXTRACT(EPOCH FROM at) FROM s.t ORDER BY id"
    written = [("a", "1.5", 1767225600.000001), ("b", "NaN", 1767225600.000002)]
    assert [*written, ("c", "1.5", 1767225600.0)] == shop.query(select)
    shop.script("DELETE FROM s.t WHERE id = 'c'; UPDATE s.t SET id = 'b' WHERE id = 'b'")
    assert written == shop.query(select)
    shop.script("ALTER TABLE s.t ADD COLUMN y TEXT")
    assert written == shop.query(select)


def test_a_reader_sees_committed_rows_and_a_second_writer_waits(
    tmp_path: Path, spark_server: str
) -> None:
    """A transaction of several tables is seen whole, or not at all."""
    shop = SparkStore(tmp_path, uri=spark_server)
    shop.script("CREATE SCHEMA s; CREATE TABLE s.a (n BIGINT); CREATE TABLE s.b (n BIGINT)")
    counts = "SELECT (SELECT COUNT(*) FROM s.a), (SELECT COUNT(*) FROM s.b)"
    with open_warehouse(shop.project, clock=CLOCK) as writer:
        with (
            pytest.raises(LockHeld, match="Another run holds the lease"),
            open_warehouse(shop.project, clock=CLOCK, wait_seconds_max=0),
        ):
            pass
        with open_warehouse(shop.project, clock=CLOCK, read_only=True) as reader:
            with writer.transaction():
                writer.execute("INSERT INTO s.a (n) VALUES (1), (2)")
                assert [(0, 0)] == reader.execute(counts)
                writer.execute("INSERT INTO s.b (n) VALUES (1)")
                assert [(2, 1)] == writer.execute(counts)
            assert [(2, 1)] == reader.execute(counts)
            with pytest.raises(WarehouseFailed), writer.transaction():
                writer.execute("DELETE FROM s.a WHERE n = 1")
                writer.execute("CREATE TABLE s.c (n BIGINT)")
                writer.execute("SELECT missing FROM s.a")
            assert [(2, 1)] == writer.execute(counts) == reader.execute(counts)
            assert {"a", "b"} == reader.tables_in("s")
            with pytest.raises(WarehouseFailed, match="opened to read"):
                reader.execute("DELETE FROM s.a")


def test_what_a_dead_process_wrote_is_undone(tmp_path: Path, spark_server: str) -> None:
    """It died between its statements and its commit; readers and the next writer see neither."""
    shop = SparkStore(tmp_path, uri=spark_server)
    shop.script("CREATE SCHEMA s; CREATE TABLE s.a (n BIGINT); CREATE TABLE s.b (n BIGINT)")
    counts = "SELECT (SELECT COUNT(*) FROM s.a), (SELECT COUNT(*) FROM s.b)"
    with (
        pytest.raises(KeyboardInterrupt),
        open_warehouse(shop.project, clock=CLOCK) as writer,
        writer.transaction(),
    ):
        writer.execute("INSERT INTO s.a (n) VALUES (1), (2)")
        writer.execute("INSERT INTO s.b (n) VALUES (1)")
        raise KeyboardInterrupt
    with open_warehouse(shop.project, clock=CLOCK, read_only=True) as reader:
        assert [(0, 0)] == reader.execute(counts)
    with open_warehouse(shop.project, clock=CLOCK) as writer:
        writer.execute("INSERT INTO s.a (n) VALUES (3)")
        writer.execute("DELETE FROM s.b WHERE n = 0")
        assert [(1, 0)] == writer.execute(counts)
    assert [(1, 0)] == shop.query(counts)


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO s.t (n) VALUES (3)",
        "UPDATE s.t SET n = 3 WHERE n = 1",
        "DELETE FROM s.t WHERE n = 1",
        "DELETE FROM s.t WHERE n IN (SELECT o.n FROM s.t AS o)",
    ],
)
def test_a_statement_of_a_dead_process_may_end_late(
    tmp_path: Path, spark_server: str, statement: str
) -> None:
    """Its rows are not read, and a transaction that writes to the same table is undone whole."""
    shop = SparkStore(tmp_path, uri=spark_server)
    shop.script("CREATE SCHEMA s; CREATE TABLE s.t (n BIGINT); CREATE TABLE s.u (n BIGINT)")
    shop.script("INSERT INTO s.t VALUES (1)")
    (folder,) = (tmp_path / "lake" / "s").glob("t-*")
    server = connected(location_of(shop.project))
    try:
        server.run(f"CREATE TABLE default.late_{tmp_path.name} USING delta LOCATION '{folder}'")
        with open_warehouse(shop.project, clock=CLOCK) as writer:
            server.run(f"INSERT INTO default.late_{tmp_path.name} SELECT 9L")
            assert [(1, 1)] == writer.execute("SELECT COUNT(*), SUM(n) FROM s.t")
            with (
                pytest.raises(WarehouseFailed, match="Another process has written"),
                writer.transaction(),
            ):
                writer.execute("INSERT INTO s.u (n) VALUES (1)")
                writer.execute(statement)
            assert [(1, 1)] == writer.execute("SELECT COUNT(*), SUM(n) FROM s.t")
    finally:
        server.run(f"DROP TABLE IF EXISTS default.late_{tmp_path.name}")
        server.close()
    assert [(1, 1)] == shop.query("SELECT COUNT(*), SUM(n) FROM s.t")
    assert [(0,)] == shop.query("SELECT COUNT(*) FROM s.u")


def test_a_log_of_many_commits_is_replaced(tmp_path: Path, spark_server: str) -> None:
    """The rows stay, and the files of old versions go."""
    shop = SparkStore(tmp_path, uri=spark_server)
    shop.script("CREATE SCHEMA s; CREATE TABLE s.t (n BIGINT)")
    with open_warehouse(shop.project, clock=CLOCK) as warehouse:
        for number in range(60):
            warehouse.execute(f"INSERT INTO s.t (n) VALUES ({number})")
    assert [(60, 1770)] == shop.query("SELECT COUNT(*), SUM(n) FROM s.t")
    (log,) = (tmp_path / "lake" / "s").glob("t-*/_delta_log")
    assert len(list(log.glob("*.json"))) == 2


def test_a_model_reads_no_file(tmp_path: Path, spark_server: str) -> None:
    """Neither by a path nor by a function."""
    shop = SparkStore(tmp_path, uri=spark_server)
    shop.script("CREATE SCHEMA s; CREATE TABLE s.t (n BIGINT)")
    with open_warehouse(shop.project, clock=CLOCK) as warehouse:
        for text in (
            f"SELECT * FROM parquet.`{tmp_path}/lake/s`",
            f"SELECT * FROM delta.`{tmp_path}/lake/s`",
            "SELECT * FROM default.t_1",
        ):
            with pytest.raises(WarehouseFailed, match="NOT_FOUND"):
                warehouse.execute(text)
    shop.audience(PEOPLE.replace("SELECT id", "SELECT DAYNAME(city) AS id"))
    shop.land([{"id": "c1"}])
    with pytest.raises(ModelDoesNotBind, match="dayname"):
        raise shop.plan().failures[0].error


ORDERS = """/* ---
key: customer
user_id: customer
track: {properties: {total: total}}
--- */
SELECT o.customer, SUM(o.total) AS total FROM shop.orders AS o
JOIN salesforce.contact AS c ON c.id = o.customer GROUP BY o.customer
"""
SOURCES = """sources:
  - dataset: shop
    table: orders
    freshness: {column: loaded_at, hold_after: 24h}
    columns: {customer: VARCHAR, total: DOUBLE}
"""


def test_a_declared_source_is_a_delta_table_of_another_program(
    tmp_path: Path, spark_server: str
) -> None:
    """It is read where it is, its age and columns are watched, and nothing is written to it."""
    orders = tmp_path / "orders"
    with SegmentSimulator() as segment:
        shop = SparkStore(tmp_path / "shop", segment, uri=spark_server)
        (shop.root / "models" / "sources.yml").write_text(SOURCES)
        with (shop.root / ".dlt" / "config.toml").open("a") as config:
            config.write(f'[destination.spark.tables]\n"shop.orders" = "file://{orders}"\n')
        shop.audience(ORDERS)
        shop.land([{"id": "c1"}, {"id": "c2"}])
        (held,) = shop.plan().audiences
        assert any("shop.orders is missing" in guard.message for guard in held.guards)
        server = connected(location_of(shop.project))
        try:
            server.run(
                "CREATE TABLE default.orders (customer STRING, total DOUBLE, loaded_at TIMESTAMP) "
                f"USING delta LOCATION '{orders}'"
            )
            server.run(
                "INSERT INTO default.orders SELECT CAST(customer AS STRING), CAST(total AS DOUBLE),"
                " CURRENT_TIMESTAMP FROM (VALUES ('c1', 2.5), ('c1', 1.5), ('c9', 7)) "
                "AS rows(customer, total)"
            )
            assert 0 == shop.sync().exit_code
            assert [4.0] == [event["properties"]["total"] for event in shop.arrived()]
            server.run("INSERT INTO default.orders SELECT 'c2', 3.0D, CURRENT_TIMESTAMP")
            assert [1] == [audience.entered for audience in shop.plan().audiences]
            with (
                open_warehouse(shop.project, clock=CLOCK) as warehouse,
                pytest.raises(WarehouseFailed),
            ):
                warehouse.execute("DELETE FROM shop.orders")
            assert [(4,)] == shop.query("SELECT COUNT(*) FROM shop.orders")
        finally:
            server.run("DROP TABLE IF EXISTS default.orders")
            server.close()


def test_the_tables_may_be_in_a_bucket(tmp_path: Path, s3_server: S3Server) -> None:
    environ = {
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_ENDPOINT": s3_server.url,
        "AWS_ENDPOINT_URL": s3_server.url,
        "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": "us-east-1",
        "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "false",
    }
    storage = f"s3://{BUCKET}/spark-{time.monotonic_ns()}"
    with running_server(workers=2, environ=environ) as uri, SegmentSimulator() as segment:
        shop = SparkStore(tmp_path / "shop", segment, uri=uri, storage=storage)
        (shop.root / ".dlt" / "secrets.toml").write_text(
            "[destination.spark.credentials]\n"
            f'aws_access_key_id = "{ACCESS_KEY}"\naws_secret_access_key = "{SECRET}"\n'
            f'endpoint_url = "{s3_server.url}"\nregion_name = "us-east-1"\n'
        )
        check_tables_in_a_bucket(shop, segment)
