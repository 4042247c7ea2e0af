"""Parses CSV pages and JSON records into Arrow, with the types of describe.

A page is parsed with its types first. When one value does not fit, the page is parsed again as
bytes and cast column by column. A value that still does not fit lands as NULL and is reported with
its row's id, its field and the class of the value. The value itself is never reported.
"""

from __future__ import annotations

import codecs
import csv
import dataclasses
import io
import math
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation
from operator import itemgetter
from typing import Any, NamedTuple, Protocol

import orjson

from tailrace.dataclass import dataclass
from tailrace.salesforce.arrow import pa, pa_csv, pc
from tailrace.salesforce.describe import ColumnKind, Field, arrow_type

BLOCK_BYTES = 1 << 20
# A row must fit a block. This holds two hundred long text areas of 131,072 characters.
WIDE_BLOCK_BYTES = 128 << 20
HEADER_BYTES_MAX = 1 << 18
INT64_MAX = 2**63 - 1
# Beyond this, doubles cannot represent every whole number.
EXACT_DOUBLE_MAX = 2**53


class Bytes(Protocol):
    """A stream of bytes, which is all that Arrow needs of a file."""

    def read(self, size: int = -1, /) -> bytes: ...


class RejectedValue(NamedTuple):
    """A value that does not fit its field's type."""

    id: str
    field: str
    expected: str
    value_class: str


@dataclass()
class CsvPage:
    """A page of CSV.

    Attributes:
        open: Returns the bytes from the start, once for each attempt.
        rejected: The values that did not fit.
    """

    open: Callable[[], Bytes]
    fields: Sequence[Field]
    rejected: list[RejectedValue] = dataclasses.field(default_factory=list)

    def typed(self) -> Iterator[pa.RecordBatch]:
        """The batches of the page, with the described types.

        Raises:
            pa.ArrowInvalid: A value does not fit, or the page is not CSV.
        """
        types = {
            field.name: pa.string() if field.kind == "time" else arrow_type(field.kind)
            for field in self.fields
        }
        try:
            for batch in self._batches(types, BLOCK_BYTES):
                yield _finished(batch, self.fields)
        except pa.ArrowInvalid as error:
            if "straddling" not in str(error):
                raise
            raise WideRow from None

    def lenient(self) -> Iterator[pa.RecordBatch]:
        """The same batches, with NULL for values that do not fit; `rejected` lists them."""
        self.rejected.clear()
        types = {field.name: pa.binary() for field in self.fields}
        for batch in self._batches(types, WIDE_BLOCK_BYTES):
            ids = _texts(batch.column("Id")) if "Id" in batch.schema.names else None
            columns = []
            for field in self.fields:
                cast = ColumnCast(field.kind)
                columns.append(cast.column(batch.column(field.name)))
                for row, value_class in cast.rejected:
                    record_id = str(ids[row].as_py()) if ids is not None else ""
                    self.rejected.append(
                        RejectedValue(record_id, field.name, field.type, value_class)
                    )
            yield pa.RecordBatch.from_arrays(columns, schema=schema_of(self.fields))

    def _batches(
        self, types: Mapping[str, pa.DataType], block_bytes: int
    ) -> Iterator[pa.RecordBatch]:
        stream = PeekableStream(self.open())
        names, header = _header(stream, [field.name for field in self.fields])
        if stream.is_empty(after=header):
            return
        # One thread a page: several pages are parsed in parallel, which keeps every core busy.
        reader = pa_csv.open_csv(
            pa.PythonFile(stream, mode="r"),
            pa_csv.ReadOptions(
                column_names=names, skip_rows=header, block_size=block_bytes, use_threads=False
            ),
            pa_csv.ParseOptions(newlines_in_values=True),
            pa_csv.ConvertOptions(
                column_types=types,
                include_columns=[field.name for field in self.fields],
                # Salesforce has no empty strings: an empty cell is NULL, "NA" and "null" are text.
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=True,
            ),
        )
        yield from reader


class WideRow(Exception):
    """A row is larger than a block; the page must be read with larger ones."""


class PeekableStream:
    """A stream whose first bytes can be read ahead, without the NUL bytes that some orgs hold."""

    closed = False

    def __init__(self, stream: Bytes) -> None:
        self._stream = stream
        self._ahead = b""

    def peek(self, size: int) -> bytes:
        """The next bytes, without consuming them."""
        while len(self._ahead) < size:
            chunk = self._stream.read(size - len(self._ahead))
            if not chunk:
                break
            self._ahead += chunk.replace(b"\0", b"")
        return self._ahead[:size].removeprefix(codecs.BOM_UTF8)

    def is_empty(self, *, after: int) -> bool:
        """Whether the stream holds no more than `after` lines."""
        start = self.peek(HEADER_BYTES_MAX)
        if len(self._ahead) >= HEADER_BYTES_MAX:
            # Blank space at the start of a long page says nothing about the rest of it.
            return False
        lines = start.split(b"\n", after)
        return len(lines) <= after or not lines[after].strip()

    def read(self, size: int = -1, /) -> bytes:
        """Exactly `size` bytes, except at the end: Arrow takes each piece for a block of rows."""
        wanted = size if size >= 0 else sys.maxsize
        pieces, self._ahead = [self._ahead[:wanted]], self._ahead[wanted:]
        missing = wanted - len(pieces[0])
        while missing > 0:
            chunk = self._stream.read(min(missing, BLOCK_BYTES))
            if not chunk:
                break
            clean = chunk.replace(b"\0", b"")
            pieces.append(clean)
            missing -= len(clean)
        return b"".join(pieces)

    def close(self) -> None:
        self.closed = True


def schema_of(fields: Sequence[Field]) -> pa.Schema:
    """The Arrow schema of described fields."""
    return pa.schema([(field.name, arrow_type(field.kind)) for field in fields])


def records_to_batch(
    records: Sequence[Mapping[str, Any]], fields: Sequence[Field], rejected: list[RejectedValue]
) -> pa.RecordBatch:
    """Records of a REST page as Arrow; values that do not fit are NULL and added to `rejected`."""
    columns = []
    for field, values in zip(fields, _by_field(records, fields), strict=True):
        try:
            column = _from_json(values, field.kind)
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            cast = ColumnCast(field.kind)
            column = cast.column(pa.array([_as_bytes(value) for value in values], pa.binary()))
            for row, value_class in cast.rejected:
                record_id = str(records[row].get("Id") or "")
                rejected.append(RejectedValue(record_id, field.name, field.type, value_class))
        columns.append(column)
    return pa.RecordBatch.from_arrays(columns, schema=schema_of(fields))


def _by_field(
    records: Sequence[Mapping[str, Any]], fields: Sequence[Field]
) -> Sequence[Sequence[Any]]:
    names = [field.name for field in fields]
    if len(names) < 2 or not records:
        return [[record.get(name) for record in records] for name in names]
    try:
        return list(zip(*map(itemgetter(*names), records), strict=True))
    except KeyError:
        return [[record.get(name) for record in records] for name in names]


class ColumnCast:
    """Casts one column: all values at once where that works, else one by one."""

    def __init__(self, kind: ColumnKind) -> None:
        self.kind = kind
        self.rejected: list[tuple[int, str]] = []

    def column(self, raw: pa.Array) -> pa.Array:
        """The column cast to its kind; `rejected` gets the rows that did not fit."""
        try:
            return _cast(raw.cast(pa.string()), self.kind)
        except pa.ArrowInvalid:
            values = [self._value(row, cell) for row, cell in enumerate(raw.to_pylist())]
            return pa.array(values, type=arrow_type(self.kind))

    def _value(self, row: int, raw: bytes | None) -> Any:
        if raw is None:
            return None
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError:
            self.rejected.append((row, "invalid UTF-8"))
            # Text is still useful with U+FFFD in place of the bytes that are not UTF-8.
            return raw.decode("utf-8", errors="replace") if self.kind == "text" else None
        try:
            return _PARSERS[self.kind](text)
        except (ValueError, OverflowError, InvalidOperation):
            self.rejected.append((row, value_class(text)))
            return None


def value_class(text: str) -> str:
    """The class of a value, without the value.

    >>> [value_class(text) for text in ("12.5", "2026-13-01", "n/a", "1e999", " ")]
    ['number', 'date-like', 'text', 'number', 'blank']
    """
    if not text.strip():
        return "blank"
    if re.fullmatch(r"[+-]?[\d.,]+([eE][+-]?\d+)?", text.strip()):
        return "number"
    if re.match(r"\d{1,4}-\d{1,2}-\d{1,2}", text):
        return "date-like"
    if re.match(r"\d{1,2}:\d{2}", text):
        return "time-like"
    return "text"


def _header(stream: PeekableStream, expected: list[str]) -> tuple[list[str], int]:
    """The columns of a page, and its header lines: 1, or 0 where later pages have none."""
    line = stream.peek(HEADER_BYTES_MAX).split(b"\n", 1)[0]
    try:
        first = next(csv.reader(io.StringIO(line.decode("utf-8"))), [])
    except (UnicodeDecodeError, csv.Error):
        return expected, 0
    by_lower = {name.lower(): name for name in expected}
    names = [by_lower.get(cell.strip().lower(), "") for cell in first]
    if set(names) == set(expected) and len(names) == len(expected):
        return names, 1
    return expected, 0


def _finished(batch: pa.RecordBatch, fields: Sequence[Field]) -> pa.RecordBatch:
    """The typed batch: parses times, and refuses numbers that are not finite."""
    columns = []
    for field in fields:
        column = batch.column(field.name)
        if field.kind == "time":
            column = _cast(column, "time")
        elif field.kind == "double":
            column = _finite(column)
        columns.append(column)
    return pa.RecordBatch.from_arrays(columns, schema=schema_of(fields))


def _finite(doubles: pa.Array) -> pa.Array:
    # Arrow reads "nan" and "1e999" as numbers, which JSON and most warehouses cannot hold.
    if pc.all(pc.is_finite(doubles)).as_py() is False:
        raise pa.ArrowInvalid("not a number")
    return doubles


def _texts(raw: pa.Array) -> pa.Array:
    return raw.cast(pa.string(), safe=False)


def _cast(texts: pa.Array, kind: ColumnKind) -> pa.Array:
    """A column of text as its kind.

    Raises:
        pa.ArrowInvalid: A value does not fit.
    """
    if kind == "text":
        return texts
    if kind == "time":
        # Arrow cannot cast text to a time, but a timestamp to its time of day.
        moments = pc.binary_join_element_wise("1970-01-01T", texts.cast(pa.string()), "")
        naive = pc.replace_substring_regex(moments, "Z$", "").cast(pa.timestamp("us"))
        return naive.cast(arrow_type(kind))
    if kind == "timestamp":
        return pc.replace_substring_regex(texts, r"\+0000$", "Z").cast(arrow_type(kind))
    if kind == "bool":
        # Arrow also accepts "1" and "0", which Salesforce never writes.
        return texts.cast(pa.bool_())
    if kind == "bigint":
        return _cast_whole(texts)
    if kind == "double":
        return _finite(texts.cast(pa.float64()))
    return texts.cast(arrow_type(kind))


def _cast_whole(texts: pa.Array) -> pa.Array:
    try:
        return texts.cast(pa.int64())
    except pa.ArrowInvalid:
        # "5.0" and "5E2" are whole numbers too.
        doubles = texts.cast(pa.float64())
        largest = pc.max(pc.abs(doubles)).as_py()
        if largest is not None and not largest < EXACT_DOUBLE_MAX:
            raise
        return doubles.cast(pa.int64())


def _from_json(values: Sequence[Any], kind: ColumnKind) -> pa.Array:
    if kind in ("timestamp", "time", "date"):
        return _cast(pa.array(values, pa.string()), kind)
    if kind == "text":
        with suppress(pa.ArrowInvalid, pa.ArrowTypeError):
            return pa.array(values, pa.string())
        # Values of anyType fields have the type of the field that they refer to.
        texts = [None if value is None else _json_text(value) for value in values]
        return pa.array(texts, pa.string())
    if kind == "bigint" and any(isinstance(value, float) and value % 1 for value in values):
        # Arrow would cut the fraction off without an error.
        raise pa.ArrowInvalid("not a whole number")
    return pa.array(values, arrow_type(kind))


def _json_text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (dict, list)):
        return orjson.dumps(value).decode()
    return str(value)


def _as_bytes(value: Any) -> bytes | None:
    return None if value is None else _json_text(value).encode("utf-8", errors="surrogatepass")


def _integer(text: str) -> int:
    number = Decimal(text)
    if not number.is_finite() or not re.fullmatch(r"[-+.\deE]+", text, re.ASCII):
        raise ValueError(text)
    whole = int(number)
    if whole != number or abs(whole) > INT64_MAX:
        raise ValueError(text)
    return whole


def _double(text: str) -> float:
    # float() also accepts spaces, underscores and digits of other scripts.
    number = float(text)
    if not math.isfinite(number) or not re.fullmatch(r"[-+.\deE]+", text, re.ASCII):
        raise ValueError(text)
    return number


def _bool(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(text)
    return text.lower() == "true"


def _date(text: str) -> date:
    # A datetime where a date belongs lands as its day, as Salesforce shows it.
    if not re.fullmatch(r".{10}(T.*)?", text):
        raise ValueError(text)
    return date.fromisoformat(text[:10])


def _timestamp(text: str) -> datetime:
    parsed = datetime.fromisoformat(text)
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).astimezone(UTC)


def _time(text: str) -> time:
    return time.fromisoformat(text.removesuffix("Z"))


_PARSERS: dict[ColumnKind, Callable[[str], Any]] = {
    "text": str,
    "bool": _bool,
    "bigint": _integer,
    "double": _double,
    "date": _date,
    "timestamp": _timestamp,
    "time": _time,
}
