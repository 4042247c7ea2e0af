"""The rows of one object: stored records and generated rows.

Records are dictionaries. Queries read them as Arrow columns, built once per version.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import pyarrow as pa

from tailrace.testing.org.describe import Field, SObject
from tailrace.testing.org.generated_rows import GeneratedRows

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
    """Bytes that appear in a cell unchanged, for values that the type does not allow."""

    data: bytes


def arrow_type(field: Field) -> pa.DataType:
    """The Arrow type of a field's values."""
    return _ARROW.get(field.type, pa.string())


def held(field: Field, value: Any) -> Any:
    """The value as stored; raises ValueError if the field cannot store it."""
    if value is None or isinstance(value, Raw):
        return value
    return _HOLD.get(field.type, _text)(field, value)


def _text(field: Field, value: Any) -> Any:
    if not isinstance(value, str):
        raise _unfit(field, value)
    return value


def _moment(field: Field, value: Any) -> Any:
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    if moment.tzinfo is not None:
        moment = moment.astimezone(UTC).replace(tzinfo=None)
    # Salesforce keeps milliseconds at most.
    return moment.replace(microsecond=moment.microsecond // 1_000 * 1_000)


def _day(field: Field, value: Any) -> Any:
    return date.fromisoformat(value) if isinstance(value, str) else value


def _time(field: Field, value: Any) -> Any:
    return time.fromisoformat(value) if isinstance(value, str) else value


def _double(field: Field, value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise _unfit(field, value)
    return float(value)


def _whole(field: Field, value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int):
        raise _unfit(field, value)
    return value


def _flag(field: Field, value: Any) -> Any:
    if not isinstance(value, bool):
        raise _unfit(field, value)
    return value


def _bytes(field: Field, value: Any) -> Any:
    if not isinstance(value, bytes):
        raise _unfit(field, value)
    return value


def _unfit(field: Field, value: Any) -> ValueError:
    return ValueError(f"{field.name} is a {field.type}; it cannot store {value!r}")


_HOLD: dict[str, Callable[[Field, Any], Any]] = {
    "boolean": _flag,
    "int": _whole,
    "long": _whole,
    "double": _double,
    "percent": _double,
    "currency": _double,
    "date": _day,
    "datetime": _moment,
    "time": _time,
    "base64": _bytes,
}


class Rows:
    """All rows of one object, soft-deleted ones included."""

    def __init__(self, spec: SObject) -> None:
        self._spec = spec
        self.fields = {field.name: field for field in spec.fields}
        self.generated: GeneratedRows | None = None
        self.shadowed: set[int] = set()
        self.version = 0
        self._records: dict[str, Record] = {}
        self._table: tuple[int, SObject, pa.Table] | None = None

    @property
    def spec(self) -> SObject:
        """The object's definition."""
        return self._spec

    @spec.setter
    def spec(self, spec: SObject) -> None:
        self._spec = spec
        self.fields = {field.name: field for field in spec.fields}
        self.version += 1

    def __len__(self) -> int:
        generated = self.generated.rows - len(self.shadowed) if self.generated else 0
        return len(self._records) + generated

    def ids(self) -> list[str]:
        """The ids of stored records, without generated rows."""
        return list(self._records)

    def records(self) -> list[Record]:
        """The stored records, without generated rows."""
        return list(self._records.values())

    def get(self, record_id: str) -> Record | None:
        """A record by its 18-character id."""
        record = self._records.get(record_id)
        if record is not None or self.generated is None:
            return record
        index = self.generated.index_of(record_id)
        if index is None or index in self.shadowed:
            return None
        return self.generated.record(index)

    def many(self, record_ids: Iterable[str]) -> list[Record]:
        """Records by their ids; generated rows are read column by column."""
        generated = self.generated
        records: list[Record] = []
        numbers: list[int] = []
        for record_id in record_ids:
            index = generated.index_of(record_id) if generated else None
            if record_id in self._records:
                records.append(self._records[record_id])
            elif index is not None and index not in self.shadowed:
                numbers.append(index)
        return records + (generated.records(numbers) if generated else [])

    def put(self, record: Mapping[str, Any]) -> None:
        """Add a record, or replace the one with its id."""
        record_id = record["Id"]
        self._shadow(record_id)
        fields = self.fields
        unknown = [name for name in record if name not in fields]
        if unknown:
            raise ValueError(f"{self.spec.name} has no {', '.join(unknown)}")
        self._records[record_id] = {
            name: None if value is None else held(fields[name], value)
            for name, value in record.items()
        }
        self.version += 1

    def remove(self, record_id: str) -> None:
        """Remove a record, also from the delete log and the recycle bin."""
        self._shadow(record_id)
        self._records.pop(record_id, None)
        self.version += 1

    def reshape(self, spec: SObject) -> None:
        """Change the fields of the object; values of removed fields are lost."""
        before = {field.name: field for field in self.spec.fields}
        kept = {field.name for field in spec.fields}
        retyped = {
            field
            for field in spec.fields
            if field.name in before and arrow_type(before[field.name]) != arrow_type(field)
        }
        for record in self._records.values():
            for name in set(record) - kept:
                del record[name]
            for field in retyped:
                record[field.name] = retype(field, record.get(field.name))
        self.spec = spec
        if self.generated is not None:
            self.generated.reshape(spec)

    def table(self) -> pa.Table:
        """The records as Arrow columns, compound fields excluded."""
        cached = self._table
        if cached is not None and cached[0] == self.version and cached[1] is self.spec:
            return cached[2]
        version, spec = self.version, self.spec
        records = list(self._records.values())
        columns = {
            field.name: pa.array(
                [_plain(record.get(field.name)) for record in records], type=arrow_type(field)
            )
            for field in spec.fields
            if field.type not in COMPOUND
        }
        table = pa.table(columns)
        self._table = (version, spec, table)
        return table

    def raws(self) -> dict[str, dict[str, bytes]]:
        """id -> field -> raw bytes, for cells that have raw bytes."""
        raw_cells: dict[str, dict[str, bytes]] = {}
        for record_id, record in self._records.items():
            cells = {name: cell.data for name, cell in record.items() if isinstance(cell, Raw)}
            if cells:
                raw_cells[record_id] = cells
        return raw_cells

    def _shadow(self, record_id: str) -> None:
        if self.generated is not None:
            index = self.generated.index_of(record_id)
            if index is not None:
                self.shadowed.add(index)


def retype(field: Field, value: Any) -> Any:
    """A value after its field got another type; None if it does not convert."""
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
