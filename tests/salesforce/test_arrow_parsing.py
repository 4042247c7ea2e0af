"""Cells: what Salesforce sends lands as it was meant, or is NULL and told of."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tailrace.salesforce.describe import ColumnKind, Field
from tailrace.salesforce.extract.arrow_parsing import (
    CsvPage,
    RejectedValue,
    WideRow,
    records_to_batch,
    schema_of,
)

ID = Field(name="Id", type="id", kind="text")


def column(kind: ColumnKind, name: str = "Value__c", type: str | None = None) -> Field:
    """A field of a kind."""
    return Field(name=name, type=type or kind, kind=kind)


def body(rows: Sequence[Sequence[str]], header: Sequence[str] | None = None) -> bytes:
    """A page as Salesforce writes it: every value quoted, lines ended by LF."""
    out = io.StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\n")
    if header:
        writer.writerow(header)
    writer.writerows(rows)
    return out.getvalue().encode()


def read(data: bytes, *fields: Field) -> tuple[pa.Table, list[RejectedValue]]:
    """The page as the extract reads it: typed, and leniently where that fails."""
    page = CsvPage(open=lambda: io.BytesIO(data), fields=fields)
    try:
        return pa.Table.from_batches(list(page.typed()), schema=schema_of(fields)), page.rejected
    except (pa.ArrowInvalid, WideRow):
        return pa.Table.from_batches(list(page.lenient()), schema=schema_of(fields)), page.rejected


def values(kind: ColumnKind, *cells: str) -> list[Any]:
    """What cells of a kind land as, none of them bad."""
    rows = [(f"003{number:015d}", cell) for number, cell in enumerate(cells)]
    table, bad = read(body(rows, ("Id", "Value__c")), ID, column(kind))
    assert [] == bad
    return list(table.column("Value__c").to_pylist())


def the_bad_one(kind: ColumnKind, cell: str) -> str:
    """The class of a cell that does not fit."""
    table, bad = read(body([("003A", cell), ("003B", "")], ("Id", "Value__c")), ID, column(kind))
    assert [None, None] == table.column("Value__c").to_pylist()
    assert [("003A", "Value__c")] == [(each.id, each.field) for each in bad]
    return bad[0].value_class


def test_text_is_never_taken_for_null_or_a_number() -> None:
    """Only the empty cell is NULL: words that mean nothing elsewhere are names of people here."""
    cells = ["NA", "null", "N/A", "nan", "00123", "1E5", "true", " ", "-", ""]

    assert [*cells[:-1], None] == values("text", *cells)


def test_text_keeps_quotes_commas_and_line_breaks() -> None:
    """What CSV needs to escape comes back as it was."""
    cells = ['say "hi"', "a,b", "two\nlines", "two\r\nlines", "ünïcödé ✓", "tab\there"]

    assert cells == values("text", *cells)


@pytest.mark.parametrize("cell", ["5", "5.0", "5E0", "0.5e1", "+5"])
def test_whole_numbers_in_every_spelling(cell: str) -> None:
    """Salesforce writes whole numbers as doubles now and then."""
    assert [5] == values("bigint", cell)


def test_whole_numbers_beyond_a_double() -> None:
    """A long keeps its last digit even when its neighbour is spelled as a double."""
    assert [9007199254740993, 7] == values("bigint", "9007199254740993", "7.0")


def test_doubles_in_scientific_notation_and_over_precise() -> None:
    """More digits than the field's scale are digits that Salesforce holds."""
    assert [1.5e10, 1.239, 0.1, None] == values("double", "1.5E10", "1.239", "0.10", "")


def test_dates_of_every_century() -> None:
    """The year 1600 is a date too."""
    assert [date(1600, 1, 1), date(2026, 2, 28)] == values("date", "1600-01-01", "2026-02-28")


def test_moments_in_both_spellings() -> None:
    """Bulk writes Z, REST writes +0000, and the year 1600 fits."""
    expected = [datetime(1600, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)]

    assert expected == values("timestamp", "1600-01-01T00:00:00.000Z", "2026-01-02T03:04:05.678Z")
    assert expected == values(
        "timestamp", "1600-01-01T00:00:00.000+0000", "2026-01-02T03:04:05.678+0000"
    )


def test_times_lose_only_their_z() -> None:
    """Salesforce's times carry a Z that means nothing."""
    assert [time(10, 22), time(0, 0, 0, 1000)] == values("time", "10:22:00.000Z", "00:00:00.001Z")


def test_booleans() -> None:
    """Two spellings and nothing."""
    assert [True, False, None] == values("bool", "true", "false", "")


@pytest.mark.parametrize(
    ("kind", "cell", "expected"),
    [
        ("bigint", "12.5", "number"),
        ("bigint", "99999999999999999999", "number"),
        ("double", "12,50 €", "text"),
        ("double", "1e999", "number"),
        ("date", "2026-13-01", "date-like"),
        ("date", "tomorrow", "text"),
        ("timestamp", "2026-01-01T25:00:00Z", "date-like"),
        ("time", "25:00:00.000Z", "time-like"),
        ("bool", "maybe", "text"),
    ],
)
def test_a_cell_that_does_not_fit_is_null_and_reported(
    kind: ColumnKind, cell: str, expected: str
) -> None:
    """A bad cell costs neither its row nor its page, and its value is reported nowhere."""
    assert expected == the_bad_one(kind, cell)


def test_one_bad_cell_leaves_its_neighbours_alone() -> None:
    """Every other cell of the page is typed as on the fast path."""
    rows = [("003A", "1", "2026-01-01"), ("003B", "x", "2026-01-02"), ("003C", "3.0", "")]
    fields = (ID, column("bigint", "N__c"), column("date", "D__c"))

    table, bad = read(body(rows, ("Id", "N__c", "D__c")), *fields)

    assert [1, None, 3] == table.column("N__c").to_pylist()
    assert [date(2026, 1, 1), date(2026, 1, 2), None] == table.column("D__c").to_pylist()
    assert [RejectedValue("003B", "N__c", "bigint", "text")] == bad


def test_bad_utf8_lands_as_text_and_is_reported() -> None:
    """Text with a broken byte is still worth having."""
    data = body([("003A", "Jos")], ("Id", "Value__c")).replace(b"Jos", b"Jos\xe9")

    table, bad = read(data, ID, column("text"))

    assert ["Jos�"] == table.column("Value__c").to_pylist()
    assert [RejectedValue("003A", "Value__c", "text", "invalid UTF-8")] == bad


def test_nul_bytes_are_dropped() -> None:
    """No warehouse but DuckDB takes a NUL byte in a text."""
    data = body([("003A", "Jo#e"), ("003B", "x")], ("Id", "Value__c")).replace(b"#", b"\0")

    table, bad = read(data, ID, column("text"))

    assert (["Joe", "x"], []) == (table.column("Value__c").to_pylist(), bad)


@pytest.mark.parametrize("position", [0, 1, 2])
def test_rows_of_more_than_a_megabyte(position: int) -> None:
    """A row may be larger than the block that Arrow reads at once."""
    cells = ["short", "short", "short"]
    cells[position] = "long, with \n breaks " * 100_000

    assert cells == values("text", *cells)


def test_pages_with_and_without_a_header() -> None:
    """Later pages have a header line, or have none: both are documented."""
    fields = (ID, column("text"))
    rows = [("003A", "x"), ("003B", "y")]

    with_header, _ = read(body(rows, ("Id", "Value__c")), *fields)
    without, _ = read(body(rows), *fields)

    assert with_header == without


def test_the_header_says_which_column_is_which() -> None:
    """The order of a page's columns is the header's, in whatever case."""
    fields = (ID, column("text"))

    table, _ = read(body([("x", "003A")], ("VALUE__c", "id")), *fields)

    assert [{"Id": "003A", "Value__c": "x"}] == table.to_pylist()


@pytest.mark.parametrize(
    "data", [b"", b"\n", b'"Id","Value__c"', b'"Id","Value__c"\n', b'"Id","Value__c"\r\n']
)
def test_empty_pages(data: bytes) -> None:
    """Nothing, with or without a header, is no rows and no error."""
    table, bad = read(data, ID, column("double"))

    assert (0, []) == (table.num_rows, bad)


def test_a_byte_order_mark_is_not_a_name() -> None:
    """A mark before the header does not turn the header into a row."""
    data = b"\xef\xbb\xbf" + body([("003A", "x")], ("Id", "Value__c"))

    table, _ = read(data, ID, column("text"))

    assert [{"Id": "003A", "Value__c": "x"}] == table.to_pylist()


def test_json_records_land_as_csv_does() -> None:
    """REST and bulk give the same rows."""
    fields = (
        ID,
        column("bigint", "N__c"),
        column("double", "D__c"),
        column("bool", "B__c"),
        column("timestamp", "T__c"),
        column("time", "C__c"),
        column("text", "A__c"),
    )
    moment = "2026-01-02T03:04:05.000+0000"
    records = [
        {
            "Id": "003A",
            "N__c": 5,
            "D__c": 1.5,
            "B__c": True,
            "T__c": moment,
            "C__c": "10:22:00.000Z",
        },
        {"Id": "003B", "N__c": 5.0, "D__c": 2, "B__c": False, "T__c": None, "A__c": 12},
        {"Id": "003C", "N__c": 5.5, "D__c": None, "B__c": None, "A__c": True},
    ]
    bad: list[RejectedValue] = []

    batch = records_to_batch(records, fields, bad)

    assert [5, 5, None] == batch.column("N__c").to_pylist()
    assert [1.5, 2.0, None] == batch.column("D__c").to_pylist()
    assert [True, False, None] == batch.column("B__c").to_pylist()
    assert datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC) == batch.column("T__c")[0].as_py()
    assert [time(10, 22), None, None] == batch.column("C__c").to_pylist()
    assert [None, "12", "true"] == batch.column("A__c").to_pylist()
    assert [RejectedValue("003C", "N__c", "bigint", "number")] == bad


TEXTS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), min_size=1, max_size=40
)
CELLS: dict[ColumnKind, st.SearchStrategy[str]] = {
    "text": TEXTS,
    "bigint": st.one_of(
        st.integers(-(2**70), 2**70).map(str), st.floats(allow_nan=False).map(repr), TEXTS
    ),
    "double": st.one_of(st.floats().map(repr), st.decimals(allow_nan=False).map(str), TEXTS),
    "bool": st.one_of(st.sampled_from(["true", "false"]), TEXTS),
    "date": st.one_of(st.dates().map(str), TEXTS),
    "timestamp": st.one_of(st.datetimes().map(lambda each: each.isoformat() + "Z"), TEXTS),
    "time": st.one_of(st.times().map(lambda each: each.isoformat() + "Z"), TEXTS),
}


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_every_cell_survives_or_is_counted(data: st.DataObject) -> None:
    """Arbitrary cells of every type come out of DuckDB as they went in, or NULL and told of."""
    kinds = list(CELLS)
    fields = (ID, *(column(kind, f"F{number}__c") for number, kind in enumerate(kinds)))
    rows = data.draw(st.lists(st.tuples(*(CELLS[kind] for kind in kinds)), min_size=1, max_size=8))
    lines = [(f"003{number:015d}", *row) for number, row in enumerate(rows)]

    arrow, bad = read(body(lines, [each.name for each in fields]), *fields)
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("landed", arrow)
        landed = connection.execute("SELECT * FROM landed").fetchall()

    assert [line[0] for line in lines] == [row[0] for row in landed]
    told = {(each.id, each.field) for each in bad}
    for line, row in zip(lines, landed, strict=True):
        for kind, field, sent, got in zip(kinds, fields[1:], line[1:], row[1:], strict=True):
            if got is None:
                assert (line[0], field.name) in told
            else:
                assert same(kind, sent, got), (kind, sent, got)


def same(kind: ColumnKind, sent: str, got: Any) -> bool:
    """Whether a landed value is the one that was sent."""
    if kind == "text":
        return bool(sent == got)
    if kind == "bigint":
        return float(sent) == float(got)
    if kind == "double":
        return math.isfinite(got) and float(sent) == got
    if kind == "bool":
        return sent.lower() in (str(got).lower(), str(int(got)))
    if kind == "date":
        return sent.startswith(str(got))
    if kind == "timestamp":
        return datetime.fromisoformat(sent).astimezone(UTC) == got.astimezone(UTC)
    return time.fromisoformat(sent.removesuffix("Z")) == got
