"""A Spark warehouse without its server: its location, its catalog, the words of its statements."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import cast

import pytest
import sqlglot
from shop import CONFIG, Shop
from sqlglot import exp

from tailrace.clock import SystemClock
from tailrace.config.check import check_settings
from tailrace.errors import (
    ConfigurationError,
    InvalidConfigValue,
    StateDamaged,
    WarehouseFailed,
    WarehouseUnavailable,
)
from tailrace.state.folder import FolderStore
from tailrace.warehouse.opening import open_warehouse
from tailrace.warehouse.spark.catalog import (
    CATALOG,
    Catalog,
    CatalogFile,
    DeltaTable,
    Partition,
    View,
)
from tailrace.warehouse.spark.information import information
from tailrace.warehouse.spark.location import TableFiles, location_of
from tailrace.warehouse.spark.opening import connected
from tailrace.warehouse.spark.rewriting import (
    altered_rows,
    merge_of_delete,
    merge_of_update,
    partition_of,
    remaining_rows,
    with_all_columns,
    with_casts,
    with_epoch_seconds,
    without_is_true,
)

COLUMNS = (("id", "STRING"), ("n", "BIGINT"), ("at", "TIMESTAMP"))
CLOCK = SystemClock()


def shop_with(root: Path, section: str) -> Shop:
    shop = Shop(root)
    config = CONFIG.replace('warehouse = "duckdb"', 'warehouse = "spark"')
    (root / ".dlt" / "config.toml").write_text(f"{config}\n[destination.spark]\n{section}\n")
    return shop


# Where it is


def test_a_folder_is_relative_to_the_project(tmp_path: Path) -> None:
    location = location_of(shop_with(tmp_path, 'storage = "lake%20one"').project)
    assert ("grpc://127.0.0.1:32010", str(tmp_path / "lake one")) == (
        location.uri,
        location.storage,
    )
    assert not location.is_remote


def test_tables_of_other_programs_have_folders(tmp_path: Path) -> None:
    section = (
        'storage = "lake"\n[destination.spark.tables]\n"Shop.Orders" = "s3://shop/orders/"\n'
        'shop.returns = "file:///srv/returns"'
    )
    assert location_of(shop_with(tmp_path, section).project).tables == {
        ("shop", "orders"): "s3://shop/orders",
        ("shop", "returns"): "/srv/returns",
    }


def test_spark_connect_has_a_scheme_of_its_own(tmp_path: Path) -> None:
    """Its parameters may hold a token, so they are not shown."""
    section = 'storage = "lake"\nuri = "sc://spark.example.com/;token=hidden"'
    location = location_of(shop_with(tmp_path, section).project)
    assert location.is_connect
    assert "sc://spark.example.com:15002" == location.shown_uri
    assert "hidden" not in repr(location)


@pytest.mark.skipif(find_spec("pyspark") is not None, reason="the client is installed")
def test_the_client_of_spark_connect_is_an_extra(tmp_path: Path) -> None:
    project = shop_with(tmp_path, 'storage = "lake"\nuri = "sc://127.0.0.1:15002"').project
    for use in (check_settings, lambda project: connected(location_of(project))):
        with pytest.raises(ConfigurationError, match="not installed: pyspark") as missing:
            use(project)
        assert "[spark-connect]" in (missing.value.hint or "")


def test_a_bucket_has_credentials(tmp_path: Path) -> None:
    location = location_of(
        shop_with(
            tmp_path,
            'uri = "grpc+tls://spark.example.com:443"\nstorage = "s3://bucket/prefix/"\n'
            '[destination.spark.credentials]\ntoken = "hidden"\naws_access_key_id = "AKIA"\n'
            'aws_secret_access_key = "hidden"\nendpoint_url = "http://127.0.0.1:8333"',
        ).project
    )
    assert ("s3://bucket/prefix", True) == (location.storage, location.is_remote)
    assert {"endpoint": "http://127.0.0.1:8333"}.items() <= location.options.items()
    assert "hidden" not in repr(location)


@pytest.mark.parametrize(
    ("section", "shown"),
    [
        ("", "storage is missing"),
        ('storage = "ftp://files.example.com"', "neither a folder nor a bucket"),
        (
            'storage = "lake"\n[destination.spark.tables]\norders = "lake"',
            "not the folder of a table",
        ),
        ('storage = "lake"\n[destination.spark.tables]\n"a.b" = "ftp://x"', "neither a folder"),
        ('storage = "lake"\ntables = "lake"', "not the folder of a table"),
        ('storage = "lake"\nuri = "http://127.0.0.1:1"', "not a server of Flight SQL"),
    ],
)
def test_what_is_no_location_is_refused(tmp_path: Path, section: str, shown: str) -> None:
    with pytest.raises(ConfigurationError, match=shown) as refused:
        location_of(shop_with(tmp_path, section).project)
    assert "[destination.spark]" in (refused.value.hint or "") or isinstance(
        refused.value, InvalidConfigValue
    )


def test_a_server_that_does_not_answer_is_named(tmp_path: Path) -> None:
    shop = shop_with(tmp_path, 'storage = "lake"\nuri = "grpc://127.0.0.1:1"')
    with (
        pytest.raises(WarehouseUnavailable, match="cannot be used") as refused,
        open_warehouse(shop.project, clock=CLOCK),
    ):
        pass
    assert "sail flight server" in (refused.value.hint or "")


# The catalog


def test_a_catalog_is_committed_whole_by_one_process(tmp_path: Path) -> None:
    """The second of two that read the same version fails, and changes nothing."""
    store = FolderStore(tmp_path)
    first, second = (CatalogFile(store, clock=CLOCK) for _ in range(2))
    assert first.read() == second.read() == Catalog()
    catalog = Catalog()
    catalog.with_relation(("s", "t"), DeltaTable("s/t-1", 3, COLUMNS))
    catalog.with_relation(("s", "v"), View("SELECT 1 AS a", (("a", "INT"),)))
    first.commit(catalog)
    with pytest.raises(WarehouseFailed, match="Another process has written"):
        second.commit(Catalog())
    assert CatalogFile(store, clock=CLOCK).read() == catalog
    catalog.without(("s", "t"))
    first.commit(catalog)
    assert ("s/t-1",) == CatalogFile(store, clock=CLOCK).read().unused


@pytest.mark.parametrize("body", [b"", b"[]", b'{"relations": [{}], "schemas": []}'])
def test_a_damaged_catalog_is_refused(tmp_path: Path, body: bytes) -> None:
    store = FolderStore(tmp_path)
    store.put(CATALOG, body)
    with pytest.raises(StateDamaged, match=r"catalog\.json"):
        CatalogFile(store, clock=CLOCK).read()


def test_the_version_of_a_table_is_that_of_its_log(tmp_path: Path) -> None:
    shop = shop_with(tmp_path, 'storage = "lake"')
    files = TableFiles(location_of(shop.project))
    assert files.version("s/t-1") == -1
    for name in ("9.json", "10.json", "10.crc", "_last_checkpoint"):
        files.store.put(f"s/t-1/_delta_log/{name}", b"{}")
    assert files.version("s/t-1") == 10
    files.delete(["s/t-1"])
    assert files.version("s/t-1") == -1


def test_information_is_made_of_the_catalog() -> None:
    query = sqlglot.parse_one(
        "SELECT table_name, column_name, data_type FROM INFORMATION_SCHEMA.COLUMNS "
        "WHERE table_schema = 's' AND table_name IN ('t') ORDER BY ordinal_position",
        read="spark",
    )
    assert isinstance(query, exp.Query)
    relations = {("s", "t"): DeltaTable("s/t-1", 0, COLUMNS), ("o", "t"): View("SELECT 1", ())}
    table = information(query, ["s", "o"], relations)
    assert [("t", name, type_) for name, type_ in COLUMNS] == list(
        zip(*(column.to_pylist() for column in table.columns), strict=True)
    )


# The words of statements


def rewritten(sql: str) -> exp.Expr:
    return sqlglot.parse_one(sql, read="spark")


def test_an_insert_has_every_column_in_its_type() -> None:
    tree = rewritten("INSERT INTO t (n, id) SELECT NULL, NULL")
    text = with_all_columns(tree.expression, COLUMNS, ["n", "id"]).sql("spark")
    assert text == (
        "SELECT CAST(`tr__rows`.`id` AS STRING) AS `id`, CAST(`tr__rows`.`n` AS BIGINT) AS `n`, "
        "CAST(NULL AS TIMESTAMP) AS `at` FROM (SELECT NULL AS `n`, NULL AS `id`) AS tr__rows"
    )


def test_a_row_of_a_partitioned_table_has_its_partition() -> None:
    """In an INSERT, and in an UPDATE that changes the column."""
    columns = (("id", "STRING"), ("closed", "DATE"))
    partition = Partition("closed", "month")
    rows = with_all_columns(sqlglot.parse_one("SELECT 'a'"), columns, ["id"], partition)
    partitioned = "DATE_FORMAT(CAST(NULL AS DATE), 'yyyy-MM') AS tr__partition"
    assert rows.sql("spark").split(", ", 2)[2].startswith(partitioned)
    update = "UPDATE t SET {} WHERE id = 'a'"
    moved = cast(exp.Update, sqlglot.parse_one(update.format("closed = '2026-01-02'")))
    assert (
        "SET closed = CAST('2026-01-02' AS DATE), "
        "tr__partition = DATE_FORMAT(CAST('2026-01-02' AS DATE), 'yyyy-MM') WHERE"
    ) in with_casts(moved, columns, partition).sql("spark")
    stays = cast(exp.Update, sqlglot.parse_one(update.format("id = 'b'")))
    assert "tr__partition" not in with_casts(stays, columns, partition).sql("spark")


@pytest.mark.parametrize("unit", ["year", "month", "day"])
def test_a_catalog_keeps_the_partitions_of_a_table(tmp_path: Path, unit: str) -> None:
    text = f"CREATE TABLE t (closed DATE) PARTITIONED BY ({unit}s(`closed`))"
    partition = partition_of(sqlglot.parse_one(text, read="spark").args["properties"])
    assert Partition("closed", unit) == partition
    table = DeltaTable("salesforce/t", 3, (("closed", "DATE"),), partition)
    store = FolderStore(tmp_path)
    catalog = Catalog()
    catalog.with_relation(("salesforce", "t"), table)
    CatalogFile(store, clock=CLOCK).commit(catalog)
    assert table == CatalogFile(store, clock=CLOCK).read().relations["salesforce", "t"]


def test_values_are_cast_one_by_one() -> None:
    """Sail reads a text and a number in one column as numbers."""
    tree = rewritten("INSERT INTO t (id, n) VALUES ('a', 1), (2, 'NaN')")
    text = with_all_columns(tree.expression, COLUMNS, ["id", "n"]).sql("spark")
    assert "VALUES (CAST('a' AS STRING), CAST(1 AS BIGINT)), (CAST(2 AS STRING)" in text


def test_an_update_with_a_table_is_a_merge() -> None:
    tree = rewritten("UPDATE t AS x SET n = y.n FROM s AS y WHERE x.id = y.id")
    assert isinstance(tree, exp.Update)
    assert merge_of_update(tree).sql("spark") == (
        "MERGE INTO t AS x USING s AS y ON x.id = y.id WHEN MATCHED THEN UPDATE SET n = y.n"
    )


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (
            "EXISTS (SELECT 1 FROM s AS y WHERE y.id = x.id)",
            "MERGE INTO t AS x USING s AS y ON y.id = x.id WHEN MATCHED THEN DELETE",
        ),
        ("NOT EXISTS (SELECT 1 FROM s AS y WHERE y.id = x.id)", None),
        ("x.n = 1 AND EXISTS (SELECT 1 FROM s AS y WHERE y.id = x.id)", None),
        ("EXISTS (SELECT 1 FROM s AS y JOIN r ON TRUE WHERE y.id = x.id)", None),
        ("EXISTS (SELECT 1 FROM s AS y WHERE y.id = x.id GROUP BY y.n)", None),
        ("EXISTS (SELECT 1 FROM s AS y WHERE y.id IN (SELECT 1))", None),
        ("EXISTS (SELECT 1 FROM s AS y WHERE y.id = x.id LIMIT 0)", None),
    ],
)
def test_only_a_delete_by_one_table_is_a_merge(where: str, expected: str | None) -> None:
    tree = rewritten(f"DELETE FROM t AS x WHERE {where}")
    assert isinstance(tree, exp.Delete)
    merge = merge_of_delete(tree)
    assert (merge.sql("spark") if merge is not None else None) == expected


def test_rows_whose_condition_is_unknown_remain() -> None:
    tree = rewritten("DELETE FROM t AS x WHERE x.n = 1 OR x.id IN (SELECT s.id FROM s)")
    assert isinstance(tree, exp.Delete)
    assert remaining_rows(tree).sql("spark") == (
        "SELECT `x`.* FROM t AS x "
        "WHERE NOT COALESCE((x.n = 1 OR x.id IN (SELECT s.id FROM s)), FALSE)"
    )


@pytest.mark.parametrize(
    ("alter", "expected"),
    [
        ("ADD COLUMN x DOUBLE", "SELECT `id`, `n`, `at`, CAST(NULL AS DOUBLE) AS `x` FROM t"),
        ("RENAME COLUMN n TO m", "SELECT `id`, `n` AS `m`, `at` FROM t"),
        ("DROP COLUMN n", "SELECT `id`, `at` FROM t"),
        ("ALTER COLUMN n TYPE TEXT", "SELECT `id`, CAST(`n` AS STRING) AS `n`, `at` FROM t"),
    ],
)
def test_an_alter_writes_the_table_again(alter: str, expected: str) -> None:
    tree = sqlglot.parse_one(f"ALTER TABLE t {alter}", read="postgres")
    (action,) = tree.args["actions"]
    assert altered_rows(COLUMNS, tree.this, action).sql("spark") == expected


def test_is_true_is_written_as_coalesce() -> None:
    tree = without_is_true(rewritten("SELECT a IS TRUE, NOT a IS FALSE, a IS NULL"))
    assert (
        tree.sql("spark") == "SELECT COALESCE((a), FALSE), NOT COALESCE(NOT (a), FALSE), a IS NULL"
    )


def test_the_seconds_between_two_times_are_counted_in_microseconds() -> None:
    tree = with_epoch_seconds(rewritten("SELECT EXTRACT(EPOCH FROM (a - b)), EXTRACT(YEAR FROM a)"))
    assert tree.sql("spark") == (
        "SELECT ((UNIX_MICROS(a) - UNIX_MICROS(b)) / 1000000), EXTRACT(YEAR FROM a)"
    )
