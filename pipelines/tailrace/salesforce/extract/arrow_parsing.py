"""From what Salesforce sends to Arrow: CSV pages and JSON records, typed by describe.

A page is read on a typed fast path. When one cell does not fit, the page is read again as bytes
and cast column by column; a cell that still does not fit is landed as NULL and told of, with its
row's id, its field and the class of its value. The value itself is told to nobody.
"""

from __future__ import annotations

import codecs
import csv
import io
import math
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation
from operator import itemgetter
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from tailrace.salesforce.describe import ARROW_OF_KIND, Field, Kind

BLOCK_BYTES = 1 << 20
# A row must fit a block. Two hundred long text areas of 131,072 characters do.
WIDE_BLOCK_BYTES = 128 << 20
HEADER_BYTES_MAX = 1 << 18
INT64_MAX = 2**63 - 1
# Up to here every whole double is a whole number; beyond, casting by way of one may be off.
EXACT_DOUBLE_MAX = 2**53


class Bytes(Protocol):
    """A stream of bytes: all that Arrow asks of a file."""

    def read(self, size: int = -1, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class BadCell:
    """A cell that does not fit its field's type."""

    id: str
    field: str
    expected: str
    value_class: str


@dataclass(slots=True)
class Page:
    """A page being read: a fresh reader for each attempt, and what did not fit."""

    open: Callable[[], Bytes]
    fields: Sequence[Field]
    bad: list[BadCell] = field(default_factory=list)

    def typed(self) -> Iterator[pa.RecordBatch]:
        """The batches of the page, all cells of the described types.

        Raises:
            pa.ArrowInvalid: A cell does not fit, or the page is not CSV.
        """
        types = {
            each.name: pa.string() if each.kind == "time" else ARROW_OF_KIND[each.kind]
            for each in self.fields
        }
        try:
            for batch in self._batches(types, BLOCK_BYTES):
                yield _finished(batch, self.fields)
        except pa.ArrowInvalid as error:
            if "straddling" not in str(error):
                raise
            raise WideRow from None

    def tolerant(self) -> Iterator[pa.RecordBatch]:
        """The same batches, with NULL for each cell that does not fit, which `bad` then holds."""
        self.bad.clear()
        types = {each.name: pa.binary() for each in self.fields}
        for batch in self._batches(types, WIDE_BLOCK_BYTES):
            ids = _texts(batch.column("Id")) if "Id" in batch.schema.names else None
            columns = []
            for each in self.fields:
                cast = Casting(each.kind)
                columns.append(cast.column(batch.column(each.name)))
                for row, value_class in cast.bad:
                    of = str(ids[row].as_py()) if ids is not None else ""
                    self.bad.append(BadCell(of, each.name, each.type, value_class))
            yield pa.RecordBatch.from_arrays(columns, schema=schema_of(self.fields))

    def _batches(
        self, types: Mapping[str, pa.DataType], block_bytes: int
    ) -> Iterator[pa.RecordBatch]:
        stream = Peeked(self.open())
        names, header = _header(stream, [each.name for each in self.fields])
        if stream.is_empty(after=header):
            return
        # One thread: pages are read side by side, and that keeps every core busy.
        reader = pa_csv.open_csv(
            pa.PythonFile(stream, mode="r"),
            pa_csv.ReadOptions(
                column_names=names, skip_rows=header, block_size=block_bytes, use_threads=False
            ),
            pa_csv.ParseOptions(newlines_in_values=True),
            pa_csv.ConvertOptions(
                column_types=types,
                include_columns=[each.name for each in self.fields],
                # Salesforce has no empty strings: an empty cell is NULL, "NA" and "null" are text.
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=True,
            ),
        )
        yield from reader


class WideRow(Exception):
    """A row is larger than a block; the page must be read with larger ones."""


class Peeked:
    """A stream whose first bytes were looked at, without the NUL bytes that some orgs hold."""

    closed = False

    def __init__(self, stream: Bytes) -> None:
        self._stream = stream
        self._ahead = b""

    def peek(self, size: int) -> bytes:
        """The next bytes, which stay in the stream."""
        while len(self._ahead) < size:
            chunk = self._stream.read(size - len(self._ahead))
            if not chunk:
                break
            self._ahead += chunk.replace(b"\0", b"")
        return self._ahead[:size].removeprefix(codecs.BOM_UTF8)

    def is_empty(self, *, after: int) -> bool:
        """Whether nothing but `after` lines is left."""
        start = self.peek(HEADER_BYTES_MAX)
        lines = start.split(b"\n", after)
        return len(lines) <= after or not lines[after].strip()

    def read(self, size: int = -1, /) -> bytes:
        """As many bytes as asked for: Arrow takes a piece for a block, and a row must fit one."""
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
    return pa.schema([(each.name, ARROW_OF_KIND[each.kind]) for each in fields])


def records_to_batch(
    records: Sequence[Mapping[str, Any]], fields: Sequence[Field], bad: list[BadCell]
) -> pa.RecordBatch:
    """Records of a REST page as Arrow."""
    columns = []
    for each, values in zip(fields, _by_field(records, fields), strict=True):
        try:
            column = _from_json(values, each.kind)
        except (pa.ArrowInvalid, pa.ArrowTypeError, UnicodeError):
            cast = Casting(each.kind)
            column = cast.column(pa.array([_as_bytes(value) for value in values], pa.binary()))
            for row, value_class in cast.bad:
                of = str(records[row].get("Id") or "")
                bad.append(BadCell(of, each.name, each.type, value_class))
        columns.append(column)
    return pa.RecordBatch.from_arrays(columns, schema=schema_of(fields))


def _by_field(
    records: Sequence[Mapping[str, Any]], fields: Sequence[Field]
) -> Sequence[Sequence[Any]]:
    names = [each.name for each in fields]
    if len(names) < 2 or not records:
        return [[record.get(name) for record in records] for name in names]
    try:
        return list(zip(*map(itemgetter(*names), records), strict=True))
    except KeyError:
        return [[record.get(name) for record in records] for name in names]


class Casting:
    """One column on the tolerant path: at once where that works, else cell by cell."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.bad: list[tuple[int, str]] = []

    def column(self, raw: pa.Array) -> pa.Array:
        """The column cast to its kind; `bad` holds the rows that did not fit."""
        try:
            return _cast(raw.cast(pa.string()), self.kind)
        except pa.ArrowInvalid:
            values = [self._cell(row, each) for row, each in enumerate(raw.to_pylist())]
            return pa.array(values, type=ARROW_OF_KIND[self.kind])

    def _cell(self, row: int, raw: bytes | None) -> Any:
        if raw is None:
            return None
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError:
            self.bad.append((row, "invalid UTF-8"))
            # Text is still worth having: what is no UTF-8 in it shows as U+FFFD.
            return raw.decode("utf-8", errors="replace") if self.kind == "text" else None
        try:
            return _READERS[self.kind](text)
        except (ValueError, OverflowError, InvalidOperation):
            self.bad.append((row, value_class(text)))
            return None


def value_class(text: str) -> str:
    """What kind of thing a value is, without telling the value.

    >>> [value_class(each) for each in ("12.5", "2026-13-01", "n/a", "1e999", " ")]
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


def _header(stream: Peeked, expected: list[str]) -> tuple[list[str], int]:
    """The columns of a page, and how many lines of it are a header: 1, or 0 on later pages."""
    line = stream.peek(HEADER_BYTES_MAX).split(b"\n", 1)[0]
    try:
        first = next(csv.reader(io.StringIO(line.decode("utf-8"))), [])
    except (UnicodeDecodeError, csv.Error):
        return expected, 0
    by_lower = {each.lower(): each for each in expected}
    names = [by_lower.get(cell.strip().lower(), "") for cell in first]
    if set(names) == set(expected) and len(names) == len(expected):
        return names, 1
    return expected, 0


def _finished(batch: pa.RecordBatch, fields: Sequence[Field]) -> pa.RecordBatch:
    """What Arrow's CSV reader leaves to do: times, and numbers that are none."""
    columns = []
    for each in fields:
        column = batch.column(each.name)
        if each.kind == "time":
            column = _cast(column, "time")
        elif each.kind == "double":
            column = _finite(column)
        columns.append(column)
    return pa.RecordBatch.from_arrays(columns, schema=schema_of(fields))


def _finite(doubles: pa.Array) -> pa.Array:
    # Arrow reads "nan" and "1e999" as numbers; JSON and most warehouses do not.
    if pc.all(pc.is_finite(doubles)).as_py() is False:
        raise pa.ArrowInvalid("not a number")
    return doubles


def _texts(raw: pa.Array) -> pa.Array:
    return raw.cast(pa.string(), safe=False)


def _cast(texts: pa.Array, kind: Kind) -> pa.Array:
    """A column of text as its kind.

    Raises:
        pa.ArrowInvalid: A cell does not fit.
    """
    if kind == "text":
        return texts
    if kind == "time":
        # Arrow casts no text to a time, but the end of a moment is one.
        moments = pc.binary_join_element_wise("1970-01-01T", texts.cast(pa.string()), "")
        naive = pc.replace_substring_regex(moments, "Z$", "").cast(pa.timestamp("us"))
        return naive.cast(ARROW_OF_KIND[kind])
    if kind == "timestamp":
        return pc.replace_substring_regex(texts, r"\+0000$", "Z").cast(ARROW_OF_KIND[kind])
    if kind == "bool":
        # Arrow takes "1" and "0" for booleans too; Salesforce never writes them.
        return texts.cast(pa.bool_())
    if kind == "bigint":
        return _cast_whole(texts)
    if kind == "double":
        return _finite(texts.cast(pa.float64()))
    return texts.cast(ARROW_OF_KIND[kind])


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


def _from_json(values: Sequence[Any], kind: Kind) -> pa.Array:
    if kind in ("timestamp", "time", "date"):
        return _cast(pa.array(values, pa.string()), kind)
    if kind == "text":
        with suppress(pa.ArrowInvalid, pa.ArrowTypeError):
            return pa.array(values, pa.string())
        # anyType fields hold whatever the field they speak of holds.
        return pa.array([None if each is None else _spelled(each) for each in values], pa.string())
    if kind == "bigint" and any(isinstance(each, float) and each % 1 for each in values):
        # Arrow would cut the fraction off without a word.
        raise pa.ArrowInvalid("not a whole number")
    return pa.array(values, ARROW_OF_KIND[kind])


def _spelled(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _as_bytes(value: Any) -> bytes | None:
    return None if value is None else _spelled(value).encode("utf-8", errors="surrogatepass")


def _whole(text: str) -> int:
    number = Decimal(text)
    if not number.is_finite() or not re.fullmatch(r"[-+.\deE]+", text, re.ASCII):
        raise ValueError(text)
    whole = int(number)
    if whole != number or abs(whole) > INT64_MAX:
        raise ValueError(text)
    return whole


def _double(text: str) -> float:
    # float() takes more than Salesforce writes: spaces, underscores, digits of other scripts.
    number = float(text)
    if not math.isfinite(number) or not re.fullmatch(r"[-+.\deE]+", text, re.ASCII):
        raise ValueError(text)
    return number


def _bool(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(text)
    return text.lower() == "true"


def _date(text: str) -> date:
    # A datetime where a date belongs: its day, as Salesforce shows it.
    if not re.fullmatch(r".{10}(T.*)?", text):
        raise ValueError(text)
    return date.fromisoformat(text[:10])


def _timestamp(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _time(text: str) -> time:
    return time.fromisoformat(text.removesuffix("Z"))


_READERS: dict[Kind, Callable[[str], Any]] = {
    "text": str,
    "bool": _bool,
    "bigint": _whole,
    "double": _double,
    "date": _date,
    "timestamp": _timestamp,
    "time": _time,
}


def read_all(batches: Iterable[pa.RecordBatch], fields: Sequence[Field]) -> pa.Table:
    """Batches as one table: for small pages and tests."""
    return pa.Table.from_batches(list(batches), schema=schema_of(fields))
