"""Generated rows: any number, the same for the same seed, computed in chunks.

Each column of a chunk is computed from the row numbers by integer arithmetic: a million rows need
little memory and time, so a benchmark measures the client.
"""

from __future__ import annotations

import zlib
from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime, timedelta
from threading import Lock
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tailrace.testing.org import names
from tailrace.testing.org.describe import Field, SObject

CHUNK_ROWS = 50_000
CHUNK_COLUMNS_HELD_MAX = 256
_MASK = 0x7FFF_FFFF
_FALSE_FIELDS = ("IsDeleted", "IsPersonAccount")
_UNIX = datetime(1970, 1, 1)


class GeneratedRows:
    """Generated rows of one object, none deleted, all modified before `before`."""

    def __init__(
        self,
        spec: SObject,
        *,
        rows: int,
        before: datetime,
        seed: int = 7,
        ids: dict[str, list[str]] | None = None,
        chunk_rows: int = CHUNK_ROWS,
    ) -> None:
        self.spec = spec
        self.rows = rows
        self.chunk_rows = chunk_rows
        self.shape = 0
        self._before = int((before.replace(tzinfo=None) - _UNIX) / timedelta(seconds=1))
        self._seed = seed
        self._ids = ids or {}
        self._prefix = f"{spec.key_prefix}Gn"
        self._suffix = checksum(self._prefix + "0" * 10)
        self._columns: OrderedDict[tuple[int, str], pa.Array] = OrderedDict()
        self._counted: tuple[int, pa.Array] | None = None
        self._lock = Lock()

    @property
    def chunks(self) -> int:
        """How many chunks there are."""
        return -(-self.rows // self.chunk_rows)

    def chunk_size(self, chunk: int) -> int:
        """How many rows a chunk has."""
        return min(self.chunk_rows, self.rows - chunk * self.chunk_rows)

    def reshape(self, spec: SObject) -> None:
        """Use another definition of the object."""
        self.spec = spec
        self.shape += 1
        self._columns.clear()

    def index_of(self, record_id: str) -> int | None:
        """The row number in an id of a generated row."""
        digits = record_id[5:15]
        if not record_id.startswith(self._prefix) or not digits.isdecimal():
            return None
        return int(digits) if int(digits) < self.rows else None

    def id_of(self, index: int) -> str:
        """The id of a generated row."""
        return f"{self._prefix}{index:010d}{self._suffix}"

    def record(self, index: int) -> dict[str, Any]:
        """One generated row as a record."""
        return self.records([index])[0]

    def records(self, indexes: Sequence[int]) -> list[dict[str, Any]]:
        """Some generated rows as records."""
        chunks: dict[int, list[int]] = {}
        for index in indexes:
            chunk, offset = divmod(index, self.chunk_rows)
            chunks.setdefault(chunk, []).append(offset)
        names = [
            field.name
            for field in self.spec.fields
            if field.type not in ("address", "location", "base64")
        ]
        records: list[dict[str, Any]] = []
        for chunk, offsets in chunks.items():
            columns = {name: self.column(chunk, name).take(pa.array(offsets)) for name in names}
            records += pa.table(columns).to_pylist()
        return records

    def column(self, chunk: int, name: str) -> pa.Array:
        """One column of one chunk."""
        key = (chunk, name)
        with self._lock:
            column = self._columns.get(key)
            if column is not None:
                self._columns.move_to_end(key)
                return column
        column = self._make(chunk, name)
        with self._lock:
            self._columns[key] = column
            while len(self._columns) > CHUNK_COLUMNS_HELD_MAX:
                self._columns.popitem(last=False)
        return column

    def _make(self, chunk: int, name: str) -> pa.Array:
        field = next(item for item in self.spec.fields if item.name == name)
        return _Columns(self, self._numbers(chunk)).values(field)

    def _numbers(self, chunk: int) -> pa.Array:
        held = self._counted
        if held is None or held[0] != chunk:
            start = chunk * self.chunk_rows
            rows = range(start, start + self.chunk_size(chunk))
            held = self._counted = (chunk, pa.array(rows, type=pa.int64()))
        return held[1]

    def hashed(self, numbers: pa.Array, name: str) -> pa.Array:
        """A pseudo-random number below 2^31 per row, different for each name."""
        salt = zlib.crc32(f"{self._seed}/{self.spec.name}/{name}".encode())
        mixed = pc.bit_wise_and(pc.add(pc.multiply(numbers, 2_654_435_761), salt), _MASK)
        mixed = pc.bit_wise_xor(mixed, pc.shift_right(mixed, 15))
        mixed = pc.bit_wise_and(pc.multiply(mixed, 1_103_515_245), _MASK)
        return pc.bit_wise_xor(mixed, pc.shift_right(mixed, 13))


class _Columns:
    """The columns of one chunk, by field name or else by type."""

    def __init__(self, generated: GeneratedRows, numbers: pa.Array) -> None:
        self.generated = generated
        self.numbers = numbers

    def values(self, field: Field) -> pa.Array:
        special = _SPECIAL.get(field.name)
        if special is not None:
            values: pa.Array = special(self)
            return values
        if field.name in names.POOLS and field.type not in ("int", "double"):
            return self.thinned(field, self.from_pool(field.name, names.POOLS[field.name]))
        return self.thinned(field, self.by_type(field))

    def by_type(self, field: Field) -> pa.Array:
        kind, name = field.type, field.name
        if kind == "boolean":
            if name in _FALSE_FIELDS:
                return pc.equal(self.numbers, -1)
            return pc.less(self.below(name, 100), 12)
        if kind in ("picklist", "combobox") and field.values:
            return self.from_pool(name, field.values)
        if kind == "multipicklist":
            return self.from_pool(name, names.several(field.values))
        if kind == "reference":
            return self.references(field)
        if kind in ("double", "percent", "currency"):
            top = 1_000 if kind == "percent" else 2_000_000
            return pc.divide(self.below(name, top).cast(pa.float64()), float(10**field.scale or 1))
        if kind in ("int", "long"):
            return self.below(name, 5_000)
        if kind == "date":
            days = self._days(name, 20_000 if name == "Birthdate" else 900)
            return days.cast(pa.int32()).cast(pa.date32())
        if kind == "datetime":
            return self.moments(name)
        if kind == "time":
            quarter = pc.multiply(self.below(name, 96), 900_000)
            return quarter.cast(pa.int32()).cast(pa.time32("ms"))
        return self.joined(f"{name} ", self.digits(self.below(name, 100_000)))

    def thinned(self, field: Field, values: pa.Array) -> pa.Array:
        """Set some values of nillable fields to NULL; most of long texts."""
        if not field.nillable:
            return values
        share = 70 if field.type in ("textarea", "reference") else 10
        if field.name in ("MasterRecordId", "ReportsToId", "IndividualId"):
            return pa.nulls(len(values), values.type)
        if field.name in ("FirstName", "AccountId", "Email"):
            share = 2
        empty = pc.less(self.below(f"{field.name}?", 100), share)
        return pc.if_else(empty, pa.scalar(None, values.type), values)

    def below(self, name: str, top: int) -> pa.Array:
        hashed = self.generated.hashed(self.numbers, name)
        return pc.subtract(hashed, pc.multiply(pc.divide(hashed, top), top))

    def from_pool(self, name: str, pool: tuple[str, ...]) -> pa.Array:
        return pa.array(pool).take(self.below(name, len(pool)))

    def references(self, field: Field) -> pa.Array:
        for target in field.refers_to:
            pool = self.generated._ids.get(target)
            if pool:
                return self.from_pool(field.name, tuple(pool))
        return pa.nulls(len(self.numbers), pa.string())

    def ids(self) -> pa.Array:
        digits = pc.utf8_lpad(self.digits(self.numbers), 10, "0")
        return self.joined(self.generated._prefix, digits, self.generated._suffix)

    def person(self) -> pa.Array:
        first = pc.fill_null(self.values(Field(name="FirstName", type="string")), "")
        last = self.values(Field(name="LastName", type="string", nillable=False))
        return pc.utf8_ltrim_whitespace(self.joined(first, " ", last))

    def email(self) -> pa.Array:
        first = self.from_pool("FirstName", names.POOLS["FirstName"])
        ascii_first = pc.replace_substring_regex(pc.utf8_lower(first), "[^a-z]", "")
        emails = self.joined(ascii_first, ".", self.digits(self.numbers), "@example.com")
        return self.thinned(Field(name="Email", type="email"), emails)

    def modified(self) -> pa.Array:
        return self._moment(self._age("modified", 700))

    def created(self) -> pa.Array:
        return self._moment(pc.add(self._age("modified", 700), self._age("created", 400)))

    def moments(self, name: str) -> pa.Array:
        return self._moment(self._age(name, 900))

    def joined(self, *parts: Any) -> pa.Array:
        return pc.binary_join_element_wise(*parts, "")

    def digits(self, numbers: pa.Array) -> pa.Array:
        return numbers.cast(pa.string())

    def _age(self, name: str, days: int) -> pa.Array:
        return pc.add(self.below(name, days * 86_400), 3_600)

    def _days(self, name: str, days: int) -> pa.Array:
        return pc.subtract(self.generated._before // 86_400, self.below(name, days))

    def _moment(self, age_seconds: pa.Array) -> pa.Array:
        seconds = pc.subtract(self.generated._before, age_seconds)
        return pc.multiply(seconds, 1_000).cast(pa.timestamp("ms"))


_SPECIAL: dict[str, Any] = {
    "Id": _Columns.ids,
    "Name": _Columns.person,
    "Email": _Columns.email,
    "SystemModstamp": _Columns.modified,
    "LastModifiedDate": _Columns.modified,
    "CreatedDate": _Columns.created,
}


def checksum(short_id: str) -> str:
    """The suffix that turns a 15-character id into its case-insensitive 18-character form."""
    table = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
    return "".join(
        table[sum(1 << bit for bit, c in enumerate(short_id[at : at + 5]) if c.isupper())]
        for at in (0, 5, 10)
    )
