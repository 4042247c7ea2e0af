"""The hints for partitions that dlt gets equal those of its own adapters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlglot
from dlt.destinations.adapters import bigquery_adapter, clickhouse_adapter
from dlt.destinations.impl.bigquery.bigquery_adapter import PartitionTransformation
from sqlglot import exp

from tailrace.config.partitions import DESTINATIONS, UNITS, check_partitions
from tailrace.config.settings import ObjectSettings, SalesforceSettings
from tailrace.errors import InvalidConfigValue
from tailrace.warehouse.partitions import column_hints, partitioned_column, table_hints

import dlt  # isort: skip


def adapted(adapter: Callable[..., Any], **options: Any) -> dict[str, Any]:
    """The hints that an adapter of dlt gives a table."""

    @dlt.resource(name="task", columns={"created_date": {"data_type": "timestamp"}})
    def rows() -> Any:
        yield {}

    table: dict[str, Any] = adapter(rows(), **options).compute_table_schema()
    return {key: value for key, value in table.items() if key.startswith("x-")}


@pytest.mark.parametrize("data_type", ["date", "timestamp"])
@pytest.mark.parametrize("unit", UNITS)
def test_bigquery_truncates_the_column(data_type: str, unit: str) -> None:
    hints = table_hints("bigquery", "created_date", data_type, unit)
    ((column, template),) = hints["x-bigquery-partition"].items()
    by = PartitionTransformation(template, column)
    assert adapted(bigquery_adapter, partition=by).items() >= hints.items()
    text = template.format(column_name=f"`{column}`")
    tree = sqlglot.parse_one(f"CREATE TABLE t (x INT64) PARTITION BY {text}", read="bigquery")
    (partition,) = tree.find_all(exp.PartitionedByProperty)
    if (data_type, unit) == ("date", "day"):
        assert isinstance(partition.this, exp.Identifier)
    else:
        kind = exp.DateTrunc if data_type == "date" else exp.TimestampTrunc
        assert isinstance(partition.this, kind)
        assert unit.upper() == partition.this.text("unit")


@pytest.mark.parametrize(
    ("unit", "key"),
    [
        ("year", "toYear(created_date)"),
        ("month", "toYYYYMM(created_date)"),
        ("day", "toYYYYMMDD(created_date)"),
    ],
)
def test_clickhouse_has_a_key_of_the_column(unit: str, key: str) -> None:
    hints = table_hints("clickhouse", "created_date", "timestamp", unit)
    options = {"partition": key, "settings": {"allow_nullable_key": True}}
    assert hints == adapted(clickhouse_adapter, **options)


@pytest.mark.parametrize("engine", DESTINATIONS)
def test_the_partitioned_column_is_kept_in_the_schema(engine: str) -> None:
    """Of Snowflake and Databricks the rows of similar values lie together."""
    hints = column_hints(engine, "day")
    assert ("created_date", "day") == partitioned_column({"id": {}, "created_date": hints})
    assert (engine in ("snowflake", "databricks")) == hints.get("cluster", False)


@pytest.mark.parametrize("warehouse", ["duckdb", "postgres", "mariadb", "redshift"])
def test_a_warehouse_without_partitions_is_refused(warehouse: str) -> None:
    settings = SalesforceSettings(
        per_object={"Task": ObjectSettings(partition_by="month(CreatedDate)")}
    )
    with pytest.raises(InvalidConfigValue, match=f"tables in {warehouse} have no part") as refused:
        check_partitions(settings, warehouse)
    assert "Remove partition_by, or use one of these warehouses: ducklake, spark" in (
        refused.value.hint or ""
    )
    for known in DESTINATIONS:
        check_partitions(settings, known)


@pytest.mark.parametrize(
    ("options", "wrong", "corrected"),
    [
        (
            {"fields": ("Subject", "DueDate"), "partition_by": "month(DueDat)"},
            'DueDat is not in fields. Did you mean "DueDate"?',
            {"partition_by": "month(duedate)"},
        ),
        (
            {"fields": ("Subject",), "partition_by": "day(DueDate)"},
            "DueDate is not in fields.",
            {"fields": ("Subject", "DueDate")},
        ),
        (
            {"exclude": ("duedate",), "partition_by": "day(DueDate)"},
            "DueDate is in exclude",
            {"exclude": ()},
        ),
        (
            {"fields": ("Subject",), "partition_by": "year(CreatedDat)"},
            'CreatedDat is not in fields. Did you mean "CreatedDate"?',
            {"partition_by": "year(createddate)"},
        ),
    ],
)
def test_a_field_that_does_not_land_is_refused_without_salesforce(
    options: dict[str, Any], wrong: str, corrected: dict[str, Any]
) -> None:
    """Its name is known where the object lists its fields; the hint says what to write."""

    def check(options: dict[str, Any]) -> None:
        objects = {"Task": ObjectSettings(**options)}
        check_partitions(SalesforceSettings(per_object=objects), "ducklake")

    with pytest.raises(InvalidConfigValue) as refused:
        check(options)
    assert refused.value.message.endswith(wrong)
    assert "sources.salesforce.object.Task.partition_by" == vars(refused.value)["key"]
    check({**options, **corrected})
    # Any name may be one of an object without such a list.
    check({"partition_by": options["partition_by"]})
