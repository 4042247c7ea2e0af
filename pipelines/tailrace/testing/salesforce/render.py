"""Rows as Bulk CSV and REST JSON, with the date and number formats of either."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from tailrace.testing.org.describe import Field, SObject
from tailrace.testing.org.rows import COMPOUND
from tailrace.testing.salesforce.select import Piece, Result

DELIMITERS = {
    "COMMA": ",",
    "TAB": "\t",
    "SEMICOLON": ";",
    "PIPE": "|",
    "CARET": "^",
    "BACKQUOTE": "`",
}
LINE_ENDINGS = {"LF": "\n", "CRLF": "\r\n"}
_ADDRESS_KEYS = (
    ("city", "City"),
    ("country", "Country"),
    ("geocodeAccuracy", "GeocodeAccuracy"),
    ("latitude", "Latitude"),
    ("longitude", "Longitude"),
    ("postalCode", "PostalCode"),
    ("state", "State"),
    ("street", "Street"),
)


def csv_header(fields: Iterable[Field], delimiter: str, line_ending: str) -> bytes:
    """The header line, quoted like every other line."""
    return (delimiter.join(f'"{field.name}"' for field in fields) + line_ending).encode()


def csv_rows(result: Result, piece: Piece, delimiter: str, line_ending: str) -> bytes:
    """The rows as Bulk API 2.0 writes them: all cells quoted, NULL as an empty cell."""
    columns = {
        field.name: pc.fill_null(_csv_text(field, piece.column(field.name)), "")
        for field in result.fields
    }
    raws = _raws_of(result, piece)
    if raws or line_ending != "\n":
        return _csv_slowly(columns, piece, raws, delimiter, line_ending)
    buffer = io.BytesIO()
    options = csv.WriteOptions(
        include_header=False, delimiter=delimiter, quoting_style="all_valid", batch_size=65_536
    )
    csv.write_csv(pa.table(columns), buffer, options)
    return buffer.getvalue()


def json_records(result: Result, pieces: Iterable[Piece], version: str) -> list[dict[str, Any]]:
    """The rows as REST writes them, with their types and addresses."""
    records: list[dict[str, Any]] = []
    for piece in pieces:
        records.extend(_json_piece(result, piece, version))
    return records


def to_json(value: Any) -> bytes:
    """JSON as bytes."""
    return orjson.dumps(value)


def java_double(value: float) -> str:
    """A double in Java notation, as Salesforce writes it: 950.0, 1.39E8."""
    text = repr(float(value))
    size = abs(value)
    if size != 0 and (size >= 1e7 or size < 1e-3):
        mantissa, exponent = f"{value:.17e}".split("e")
        digits, _, power = text.partition("e")
        if power:
            mantissa = digits if "." in digits else f"{digits}.0"
            return f"{mantissa}E{int(power)}"
        sign = "-" if value < 0 else ""
        figures = digits.lstrip("-").replace(".", "").strip("0") or "0"
        return f"{sign}{figures[0]}.{figures[1:] or '0'}E{int(exponent)}"
    return text


def _csv_text(field: Field, values: pa.Array) -> pa.Array:
    kind = values.type
    if pa.types.is_string(kind):
        return values
    if pa.types.is_floating(kind):
        distinct = values.dictionary_encode()
        written = [java_double(number) for number in distinct.dictionary.to_pylist()]
        return pa.array(written, pa.string()).take(distinct.indices)
    if pa.types.is_timestamp(kind):
        return _stamps(values, "Z")
    if pa.types.is_time(kind):
        return pc.binary_join_element_wise(values.cast(pa.string()), "Z", "")
    return values.cast(pa.string())


def _stamps(values: pa.Array, zone: str) -> pa.Array:
    """`2026-11-20T06:00:00.000` and the zone, without the cost of strftime."""
    text = pc.replace_substring(values.cast(pa.string()), " ", "T", max_replacements=1)
    return pc.binary_join_element_wise(text, zone, "")


def _csv_slowly(
    columns: Mapping[str, pa.Array],
    piece: Piece,
    raws: Mapping[str, Mapping[str, bytes]],
    delimiter: str,
    line_ending: str,
) -> bytes:
    ids = piece.column("Id").to_pylist() if raws else []
    cells = {
        name: [text.encode() for text in column.to_pylist()] for name, column in columns.items()
    }
    lines: list[bytes] = []
    for index in range(piece.rows):
        raw = raws.get(ids[index], {}) if raws else {}
        line = [
            b'"' + raw.get(name, column[index]).replace(b'"', b'""') + b'"'
            for name, column in cells.items()
        ]
        lines.append(delimiter.encode().join(line) + line_ending.encode())
    return b"".join(lines)


def _raws_of(result: Result, piece: Piece) -> dict[str, dict[str, bytes]]:
    """The raw cells of a piece; generated rows have none."""
    if not result.raws or piece.part.key is not None:
        return {}
    ids = set(piece.column("Id").to_pylist())
    return {record_id: cells for record_id, cells in result.raws.items() if record_id in ids}


def _json_piece(result: Result, piece: Piece, version: str) -> Iterable[dict[str, Any]]:
    root = f"/services/data/v{version}/sobjects/{result.spec.name}/"
    ids = piece.column("Id").to_pylist()
    names = [field.name for field in result.fields]
    columns = [_json_values(result.spec, field, piece, root) for field in result.fields]
    raws = _raws_of(result, piece)
    kind = result.spec.name
    for record_id, values in zip(ids, zip(*columns, strict=True), strict=True):
        record = {"attributes": {"type": kind, "url": root + record_id}}
        record.update(zip(names, values, strict=True))
        for name, data in raws.get(record_id, {}).items():
            if name in record:
                record[name] = data.decode("utf-8", "replace")  # type: ignore[assignment]
        yield record


def _json_values(spec: SObject, field: Field, piece: Piece, root: str) -> list[Any]:
    if field.type in COMPOUND:
        return _compound_values(spec, field, piece)
    if field.type == "base64":
        return [f"{root}{record_id}/{field.name}" for record_id in piece.column("Id").to_pylist()]
    values = piece.column(field.name)
    kind = values.type
    if pa.types.is_timestamp(kind):
        values = _stamps(values, "+0000")
    elif pa.types.is_time(kind) or pa.types.is_date(kind):
        values = _csv_text(field, values)
    return list(values.to_pylist())


def _compound_values(spec: SObject, field: Field, piece: Piece) -> list[Any]:
    parts = {
        part.name: _json_values(spec, part, piece, "")
        for part in spec.fields
        if part.compound == field.name
    }
    if field.type == "location":
        latitude = next(name for name in parts if "Latitude" in name)
        longitude = next(name for name in parts if "Longitude" in name)
        keys = [("latitude", latitude), ("longitude", longitude)]
    else:
        prefix = field.name.removesuffix("Address")
        keys = [(key, prefix + ending) for key, ending in _ADDRESS_KEYS]
    rows = zip(*(parts[name] for _, name in keys), strict=True)
    return [
        dict(zip((key for key, _ in keys), row, strict=True)) if any(row) else None for row in rows
    ]
