"""The strict encoder: every warehouse type, golden."""

from __future__ import annotations

import enum
import math
from collections import OrderedDict
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import duckdb
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace.encoding.values import INTEGER_MAX, Encoder, same
from tailrace.errors import UnsupportedValue

CEST = timezone(timedelta(hours=2))

# One line a type: an expression in DuckDB's SQL, and what the payload has.
DUCKDB_TYPES = [
    ("'Zoë 東京 🎈'", '"Zoë 東京 🎈"'),
    ("TRUE", "true"),
    ("NULL::INTEGER", "null"),
    ("42::TINYINT", "42"),
    ("9007199254740991::BIGINT", "9007199254740991"),
    ("9007199254740992::BIGINT", '"9007199254740992"'),
    ("-9007199254740992::BIGINT", '"-9007199254740992"'),
    ("18446744073709551615::UBIGINT", '"18446744073709551615"'),
    ("(10^20)::HUGEINT", '"100000000000000000000"'),
    ("0.1::DOUBLE", "0.1"),
    ("1e300::DOUBLE", "1e+300"),
    ("'nan'::DOUBLE", "null"),
    ("'-infinity'::FLOAT", "null"),
    ("12.50::DECIMAL(10,2)", "12.5"),
    ("100.00::DECIMAL(10,2)", "100.0"),
    ("100::DECIMAL(10,0)", "100"),
    ("1234567890123.45::DECIMAL(18,2)", "1234567890123.45"),
    ("12345678901234567.89::DECIMAL(19,2)", '"12345678901234567.89"'),
    ("12345678901234567890::DECIMAL(38,0)", '"12345678901234567890"'),
    ("0.0000000001::DECIMAL(38,10)", "1e-10"),
    ("DATE '2024-02-29'", '"2024-02-29"'),
    ("TIME '10:11:12.5'", '"10:11:12.500000"'),
    ("'10:11:12+02'::TIMETZ", '"10:11:12+02:00"'),
    ("TIMESTAMP '2024-01-01 10:00:00'", '"2024-01-01T10:00:00Z"'),
    ("TIMESTAMP '2024-01-01 10:00:00.120'", '"2024-01-01T10:00:00.120000Z"'),
    ("TIMESTAMPTZ '2024-01-01 10:00:00+02'", '"2024-01-01T08:00:00Z"'),
    ("'2024-01-01 10:00:00.123456789'::TIMESTAMP_NS", '"2024-01-01T10:00:00.123456Z"'),
    ("INTERVAL '1 day 2 hours'", '"P1DT2H"'),
    ("INTERVAL '-5 seconds'", '"-PT5S"'),
    ("INTERVAL '0 seconds'", '"PT0S"'),
    ("INTERVAL '1.5 seconds'", '"PT1.5S"'),
    ("'0f14d0ab-9605-4a62-a9e4-5ed26688389b'::UUID", '"0f14d0ab-9605-4a62-a9e4-5ed26688389b"'),
    (r"'\x00\xFF'::BLOB", '"AP8="'),
    ("[1, NULL, 3]", "[1,null,3]"),
    ("array_value(0.5::DOUBLE, 'nan'::DOUBLE)", "[0.5,null]"),
    ("{'b': 1, 'a': DATE '2024-01-01'}", '{"a":"2024-01-01","b":1}'),
    ("MAP {2: 'two', 1: 'one'}", '{"1":"one","2":"two"}'),
    ("MAP {DATE '2024-01-01': TRUE}", '{"2024-01-01":true}'),
    ("[{'n': 1.5::DECIMAL(3,1), 'd': DATE '2024-01-01'}]", '[{"d":"2024-01-01","n":1.5}]'),
    ("'{\"a\": 1}'::JSON", '"{\\"a\\": 1}"'),
    ("'b'::ENUM('a', 'b')", '"b"'),
    ("'101'::BIT", '"101"'),
    ("union_value(n := 7)", "7"),
]  # fmt: skip


def encoded(value: Any) -> str:
    """The JSON of one value."""
    encoder = Encoder()
    return encoder.dumps(encoder.encode(value)).decode()


@pytest.fixture(scope="module")
def duck() -> duckdb.DuckDBPyConnection:
    """A warehouse whose session is far from UTC."""
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'Asia/Tokyo'")
    return connection


@pytest.mark.parametrize(("expression", "expected"), DUCKDB_TYPES)
def test_every_type_of_duckdb(
    duck: duckdb.DuckDBPyConnection, expression: str, expected: str
) -> None:
    """A value out of DuckDB, whatever the session's time zone, has one form in JSON."""
    row = duck.execute(f"SELECT {expression}").fetchone()
    assert row is not None
    assert expected == encoded(row[0])


class Color(enum.IntEnum):
    """A class that derives from a known one."""

    RED = 1


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (memoryview(b"\x00\xff"), '"AP8="'),
        (bytearray(b"ab"), '"YWI="'),
        (datetime(2024, 1, 1, 10, tzinfo=CEST), '"2024-01-01T08:00:00Z"'),
        (datetime(2024, 1, 1, 10, tzinfo=UTC), '"2024-01-01T10:00:00Z"'),
        (datetime.min.replace(tzinfo=CEST), '"0001-01-01T00:00:00+02:00"'),
        (Decimal("Infinity"), "null"),
        (Decimal("NaN"), "null"),
        (Decimal("1E+3"), "1000.0"),
        (Decimal("1E-400"), f'"{Decimal("1E-400"):f}"'),
        (Decimal("123456789012345.60"), '"123456789012345.60"'),
        (Decimal("12345678901234.50"), "12345678901234.5"),
        (Color.RED, "1"),
        (OrderedDict(b=1, a=2), '{"a":2,"b":1}'),
        (timedelta(days=3, hours=4, minutes=5, seconds=6, microseconds=70), '"P3DT4H5M6.00007S"'),
        (timedelta(days=-1, seconds=1), '"-PT23H59M59S"'),
        ({None: 1, True: 2}, '{"null":1,"true":2}'),
        ("\u0000\u2028</script>", '"\\u0000\u2028</script>"'),
        (time(1, 2, 3, tzinfo=UTC), '"01:02:03+00:00"'),
    ],
)
def test_what_other_drivers_hand_out(value: Any, expected: str) -> None:
    """Drivers' own classes and the edges of the known ones."""
    assert expected == encoded(value)


def test_nan_and_infinity_are_null_and_counted() -> None:
    """JSON has neither, and a bare NaN would spoil the whole batch."""
    encoder = Encoder()
    row = [math.nan, math.inf, -math.inf, Decimal("NaN"), [math.nan], 1.5]
    assert [None, None, None, None, [None], 1.5] == encoder.encode(row)
    assert 5 == encoder.nulled


def test_half_a_surrogate_pair_is_replaced_and_counted() -> None:
    """A cut pair that stands whole is joined; what is left over becomes U+FFFD."""
    encoder = Encoder()
    assert '"a\ufffd"' == encoder.dumps("a\ud83d").decode()
    assert '"\U0001f388"' == encoder.dumps("\ud83c\udf88").decode()
    assert {"k\ufffd": ["\ufffd"]} == orjson.loads(encoder.dumps({"k\ud800": ["\udfff"]}))
    assert 4 == encoder.repaired


@pytest.mark.parametrize("value", [object(), 1j, {1, 2}, {"1": 1, 1: 2}, Encoder])
def test_anything_else_is_refused(value: Any) -> None:
    """Nothing is guessed, and nothing is dropped in silence."""
    with pytest.raises(UnsupportedValue) as refused:
        encoded(value)
    assert "SELECT" in refused.value.hint


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("003", "003"),
        (" x ", " x "),
        ("", None),
        ("  \t", None),
        (None, None),
        (0, "0"),
        (12, "12"),
        (12.0, "12"),
        (1e22, "10000000000000000000000"),
        (1.5, "1.5"),
        (math.nan, None),
        (Decimal("12.00"), "12"),
        (Decimal("100"), "100"),
        (2**70, str(2**70)),
        (True, "true"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (date(2024, 1, 1), "2024-01-01"),
    ],
)
def test_an_id_is_text(value: Any, text: str | None) -> None:
    """Numbers lose their fraction of nought, what is blank is no id."""
    assert text == Encoder().text(value)


def test_a_list_is_no_id() -> None:
    """Segment refuses an id that is not a string; so does this."""
    with pytest.raises(UnsupportedValue):
        Encoder().text([1])


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        (None, None, True),
        (None, 0, False),
        (math.nan, math.nan, True),
        (math.nan, None, False),
        (math.nan, 1.0, False),
        (Decimal("1.5"), Decimal("1.50"), True),
        (Decimal("0.1"), 0.1, True),
        (1, 1.0, True),
        ([math.nan, 1], [math.nan, 1], True),
        ([1], [1, 2], False),
        ({"a": math.nan}, {"a": math.nan}, True),
        ({"a": 1}, {"b": 1}, False),
        ("1", 1, False),
    ],
)
def test_same_is_the_ledgers_equality(one: Any, other: Any, equal: bool) -> None:
    """NULL- and NaN-safe, and blind to a column that was widened."""
    assert equal is same(one, other)
    assert equal is same(other, one)


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.decimals()
    | st.text(st.characters(exclude_categories=()))
    | st.binary()
    | st.datetimes(timezones=st.none() | st.timezones())
    | st.dates()
    | st.times()
    | st.timedeltas()
    | st.uuids()
)
anything = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8
)


@given(anything)
def test_whatever_a_warehouse_holds_becomes_strict_json(value: Any) -> None:
    """The result parses strictly, is the same each time, and equals itself after a round trip."""
    first = encoded(value)
    assert first == encoded(value)
    assert "NaN" not in first or isinstance(value, str | list | dict)
    assert first == encoded(orjson.loads(first))


@given(st.integers() | st.decimals(allow_nan=False, allow_infinity=False))
def test_no_number_loses_a_digit(value: int | Decimal) -> None:
    """A reader that knows only doubles, and one that takes the text, both get the value."""
    back = orjson.loads(encoded(value))
    if isinstance(back, int):
        assert abs(back) <= INTEGER_MAX
    exact = Decimal(repr(back)) if isinstance(back, float) else Decimal(back)
    assert Decimal(value) == exact
