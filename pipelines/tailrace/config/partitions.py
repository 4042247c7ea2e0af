"""`partition_by` of an object: the partitions that its rows land in."""

from __future__ import annotations

import re

from tailrace.config.sections import did_you_mean
from tailrace.config.settings import ObjectSettings, SalesforceSettings
from tailrace.dataclass import dataclass
from tailrace.errors import InvalidConfigValue

UNITS = ("year", "month", "day")
# Dates of nearly every object. They land for the partitions where `fields` leaves them out.
AUDIT_DATES = ("CreatedDate", "LastModifiedDate", "SystemModstamp")
# The warehouses whose tables have partitions, or are clustered by a column; and where a pipeline of
# dlt can land objects as well.
WAREHOUSES = ("ducklake", "spark", "bigquery", "databricks", "snowflake")
DESTINATIONS = (*WAREHOUSES, "clickhouse")
# Why the others have none.
WITHOUT = {
    "duckdb": "DuckDB skips row groups by the least and greatest value of each column",
    "postgres": "PostgreSQL would look for each changed id in every partition",
}


@dataclass(frozen=True, kw_only=True)
class PartitionBy:
    """The partitions of a table: one for each year, month or day of a date.

    Attributes:
        field: The API name of a date or datetime field.
        unit: `year`, `month` or `day`, in UTC.
    """

    field: str
    unit: str

    def __str__(self) -> str:
        return f"{self.unit}({self.field})"


def partition_by_of(name: str, settings: ObjectSettings) -> PartitionBy | None:
    """The partitions of an object; None if it has none.

    Raises:
        InvalidConfigValue: The setting is not written as `month(CreatedDate)`.
    """
    text = settings.partition_by
    if text is None:
        return None
    match = re.fullmatch(r"\s*(\w+)\s*\(\s*(\w+)\s*\)\s*", text, re.ASCII)
    if match is None or match[1].lower() not in UNITS:
        raise InvalidConfigValue(
            f'{key_of(name)} is "{text}", which is not a year, month or day of a field',
            hint='Write it as partition_by = "month(CreatedDate)"; the units are '
            f"{', '.join(UNITS)}.",
            key=key_of(name),
        )
    return PartitionBy(field=match[2], unit=match[1].lower())


def check_partitions(settings: SalesforceSettings, warehouse: str) -> None:
    """Check the partitions of all objects, as far as it is possible without Salesforce.

    Raises:
        InvalidConfigValue: A setting is not written as it must be, or the warehouse has no
            partitions.
    """
    for name, of_object in settings.per_object.items():
        partition_by = partition_by_of(name, of_object)
        if partition_by is not None:
            require_partitions(name, warehouse)
            _require_landed(name, of_object, partition_by)


def _require_landed(name: str, settings: ObjectSettings, partition_by: PartitionBy) -> None:
    """Check that the field lands: where an object lists its fields, a wrong name is found here."""
    field = partition_by.field
    hint = f"Name another date field of {name}, or "
    if field.lower() in {excluded.lower() for excluded in settings.exclude}:
        raise InvalidConfigValue(
            f'{key_of(name)} is "{partition_by}", and {field} is in exclude',
            hint=f"{hint}remove {field} from exclude.",
            key=key_of(name),
        )
    if settings.fields is None:
        return
    landed = (*settings.fields, *AUDIT_DATES)
    if field.lower() not in {landed_name.lower() for landed_name in landed}:
        raise InvalidConfigValue(
            f'{key_of(name)} is "{partition_by}", and {field} is not in fields.'
            f"{did_you_mean(field, landed)}",
            hint=f"{hint}add {field} to fields.",
            key=key_of(name),
        )


def require_partitions(name: str, warehouse: str) -> None:
    """Check that a warehouse can have the partitions that an object is configured with.

    Raises:
        InvalidConfigValue: It cannot.
    """
    if warehouse in DESTINATIONS:
        return
    reason = f": {WITHOUT[warehouse]}" if warehouse in WITHOUT else ""
    raise InvalidConfigValue(
        f"{key_of(name)} is set, and tables in {warehouse} have no partitions{reason}",
        hint=f"Remove partition_by, or use one of these warehouses: {', '.join(WAREHOUSES)}.",
        key=key_of(name),
    )


def key_of(name: str) -> str:
    """The key of an object's setting."""
    return f"sources.salesforce.object.{name}.partition_by"
