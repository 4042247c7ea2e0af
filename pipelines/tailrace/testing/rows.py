"""The rows of one object: records that change, and generated rows that do not.

Records are plain dictionaries. For queries they are turned into Arrow columns once a version.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import pyarrow as pa

from tailrace.testing.describe import Field, SObject
from tailrace.testing.mass import Mass

Record = dict[str, Any]

COMPOUND = ("address", "location")
_ARROW: dict[str, pa.DataType] = {
    "boolean": pa.bool_(),
    "int": pa.int64(),
    "long": pa.int64(),
    "double": pa.float64(),
    "percent": pa.float64(),
    "currency": pa.float64(),
    "date": pa.date32(),
    "datetime": pa.timestamp("ms"),
    "time": pa.time32("ms"),
    "base64": pa.binary(),
}


@dataclass(frozen=True)
class Raw:
    """Bytes that appear in a cell as they are, for what no well-typed value can say."""

    data: bytes


def arrow_type(field: Field) -> pa.DataType:
    """How a field's values are held."""
    return _ARROW.get(field.type, pa.string())


def held(field: Field, value: Any) -> Any:
    """The value as the org holds it; raises ValueError for what the field cannot take."""
    if value is None or isinstance(value, Raw):
        return value
    kind = arrow_type(field)
    if field.type == "datetime":
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
        aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return aware.astimezone(UTC).replace(tzinfo=None)
    if field.type == "date":
        return date.fromisoformat(value) if isinstance(value, str) else value
    if field.type == "time":
        return time.fromisoformat(value) if isinstance(value, str) else value
    if pa.types.is_floating(kind) and isinstance(value, int | float | Decimal):
        return float(value)
    expected: dict[pa.DataType, type] = {pa.bool_(): bool, pa.int64(): int, pa.binary(): bytes}
    if not isinstance(value, expected.get(kind, str)):
        raise ValueError(f"{field.name} is a {field.type}; it cannot hold {value!r}")
    return value


class Rows:
    """All rows of one object, soft-deleted ones included."""

    def __init__(self, spec: SObject) -> None:
        self.spec = spec
        self.mass: Mass | None = None
        self.shadowed: set[int] = set()
        self.version = 0
        self._records: dict[str, Record] = {}
        self._table: tuple[int, SObject, pa.Table] | None = None

    def __len__(self) -> int:
        generated = self.mass.rows - len(self.shadowed) if self.mass else 0
        return len(self._records) + generated

    def ids(self) -> list[str]:
        """The ids of the records that are held one by one, generated rows excluded."""
        return list(self._records)

    def records(self) -> list[Record]:
        """The records that are held one by one, generated rows excluded."""
        return list(self._records.values())

    def get(self, record_id: str) -> Record | None:
        """A record by its 18-character id."""
        record = self._records.get(record_id)
        if record is not None or self.mass is None:
            return record
        index = self.mass.index_of(record_id)
        if index is None or index in self.shadowed:
            return None
        return self.mass.record(index)

    def many(self, record_ids: Iterable[str]) -> list[Record]:
        """Records by their ids; generated ones are read a column at a time."""
        mass = self.mass
        held_now: list[Record] = []
        numbers: list[int] = []
        for record_id in record_ids:
            index = mass.index_of(record_id) if mass else None
            if record_id in self._records:
                held_now.append(self._records[record_id])
            elif index is not None and index not in self.shadowed:
                numbers.append(index)
        return held_now + (mass.records(numbers) if mass else [])

    def put(self, record: Mapping[str, Any]) -> None:
        """Add a record, or replace the one with its id."""
        record_id = record["Id"]
        self._shadow(record_id)
        fields = {each.name: each for each in self.spec.fields}
        unknown = sorted(set(record) - set(fields))
        if unknown:
            raise ValueError(f"{self.spec.name} has no {', '.join(unknown)}")
        held_values = {name: held(fields[name], value) for name, value in record.items()}
        self._records[record_id] = held_values
        self.version += 1

    def remove(self, record_id: str) -> None:
        """Take a record away without a trace."""
        self._shadow(record_id)
        self._records.pop(record_id, None)
        self.version += 1

    def reshape(self, spec: SObject) -> None:
        """Give the object other fields; values of a field that is gone are gone."""
        before = {each.name: each for each in self.spec.fields}
        kept = {each.name for each in spec.fields}
        retyped = {
            each
            for each in spec.fields
            if each.name in before and arrow_type(before[each.name]) != arrow_type(each)
        }
        for record in self._records.values():
            for name in set(record) - kept:
                del record[name]
            for each in retyped:
                record[each.name] = retype(each, record.get(each.name))
        self.spec = spec
        self.version += 1
        if self.mass is not None:
            self.mass.reshape(spec)

    def table(self) -> pa.Table:
        """The records as Arrow columns, compound fields excluded."""
        cached = self._table
        if cached is not None and cached[0] == self.version and cached[1] is self.spec:
            return cached[2]
        version, spec = self.version, self.spec
        records = list(self._records.values())
        columns = {
            each.name: pa.array(
                [_plain(record.get(each.name)) for record in records], type=arrow_type(each)
            )
            for each in spec.fields
            if each.type not in COMPOUND
        }
        table = pa.table(columns)
        self._table = (version, spec, table)
        return table

    def raws(self) -> dict[str, dict[str, bytes]]:
        """id -> field -> the raw bytes of cells that have such."""
        found: dict[str, dict[str, bytes]] = {}
        for record_id, record in self._records.items():
            cells = {name: cell.data for name, cell in record.items() if isinstance(cell, Raw)}
            if cells:
                found[record_id] = cells
        return found

    def _shadow(self, record_id: str) -> None:
        if self.mass is not None:
            index = self.mass.index_of(record_id)
            if index is not None:
                self.shadowed.add(index)


def retype(field: Field, value: Any) -> Any:
    """What is left of a value when an administrator changes the type of its field."""
    if value is None:
        return None
    kind = arrow_type(field)
    if kind == pa.string():
        return f"{value:g}" if isinstance(value, float) else str(value)
    try:
        if pa.types.is_floating(kind):
            return float(value)
        return int(value) if kind == pa.int64() else held(field, value)
    except (TypeError, ValueError):
        return None


def _plain(value: Any) -> Any:
    return None if isinstance(value, Raw) else value
