"""Encodes warehouse values as JSON; values that JSON cannot hold are counted or refused.

| value                              | in the payload                                              |
| ---------------------------------- | ----------------------------------------------------------- |
| text, boolean, NULL                | itself; a lone surrogate becomes U+FFFD, and is counted     |
| integer                            | a number up to 2^53 - 1 either way, text beyond             |
| float                              | the shortest number that reads back the same                |
| NaN, infinity                      | null, and counted                                           |
| decimal without a fraction         | as an integer                                               |
| decimal with a fraction            | a number up to 15 significant digits, text beyond           |
| timestamp                          | `2026-11-22T05:00:00Z`; without a zone it is read as UTC    |
| date, time                         | ISO 8601                                                    |
| infinity, years outside 1 to 9999  | null, and counted; rejected as `track.timestamp`            |
| interval                           | an ISO 8601 duration, `P1DT2H`                              |
| UUID                               | its text                                                    |
| bytes                              | base64                                                      |
| list, array                        | an array                                                    |
| struct, map                        | an object, its keys as text and sorted                      |
| JSON                               | its JSON value, by the rules of this table                  |
| anything else                      | refused: cast it in the SELECT                              |

Fifteen significant digits are what every reader's double gives back unchanged, so a decimal is
either a number that no reader rounds, or a text.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from types import NoneType
from typing import Any
from uuid import UUID

import orjson

from tailrace.errors import UnsupportedValue

INTEGER_MAX = 2**53 - 1
DECIMAL_DIGITS_MAX = 15
# Stands for a date or timestamp that Python's classes cannot hold: infinity, BC, beyond 9999.
OUT_OF_RANGE = math.nan

# The classes that orjson writes as the table says. A value that it refuses (an integer beyond 2^53,
# half a surrogate pair) makes `dumps` fail and is repaired there, so other rows need no check.
PLAIN = frozenset({str, int, bool, NoneType, date, UUID})
_OPTIONS = orjson.OPT_NAIVE_UTC | orjson.OPT_UTC_Z
_STRICT = _OPTIONS | orjson.OPT_STRICT_INTEGER


class Encoder:
    """Encodes values and counts those that could not be sent unchanged."""

    def __init__(self) -> None:
        self.nulled = 0
        self.repaired = 0

    def encode(self, value: Any) -> Any:
        """A value in the classes that `dumps` writes as the table says."""
        kind = value.__class__
        if kind in PLAIN:
            return value
        if kind is float:
            return value if math.isfinite(value) else self._null()
        if kind is Decimal:
            text = str(value)
            if len(text) <= DECIMAL_DIGITS_MAX and "." in text and "E" not in text:
                return float(text)
            return self._decimal(value)
        if kind is datetime:
            return value if value.tzinfo is None else _in_utc(value)
        if kind is list or kind is tuple:
            return [self.encode(item) for item in value]
        if kind is dict:
            return self._object(value)
        to_text = _TEXTS.get(kind)
        return to_text(value) if to_text else self._subclass(value)

    def dumps(self, document: Any) -> bytes:
        """JSON in UTF-8 of an encoded document, keys in the order they have.

        Raises:
            UnsupportedValue: It has more than some 250 levels; rule `nested_too_deeply`.
        """
        try:
            return orjson.dumps(document, option=_STRICT)
        except orjson.JSONEncodeError:
            pass
        try:
            return orjson.dumps(self._repaired(document), option=_OPTIONS)
        except (orjson.JSONEncodeError, RecursionError):
            raise UnsupportedValue("nested too deeply", rule="nested_too_deeply") from None

    def text(self, value: Any) -> str | None:
        """A value as an id or as what gets hashed: text, or None where there is nothing."""
        if value.__class__ is str:
            return self._whole(value) if value and not value.isspace() else None
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, float) and math.isfinite(value):
            value = Decimal(repr(value))
        if isinstance(value, Decimal) and value.is_finite():
            plain = format(value, "f")
            return plain.rstrip("0").rstrip(".") if "." in plain else plain
        if isinstance(value, int):
            return str(int(value))
        to_text = _TEXTS.get(value.__class__)
        encoded = to_text(value) if to_text else self.encode(value)
        if encoded is None:
            return None
        if not isinstance(encoded, str):
            raise UnsupportedValue(f"a {type(value).__name__} is not an id or a text")
        return self.text(encoded)

    def _null(self) -> None:
        self.nulled += 1

    def _decimal(self, value: Decimal) -> Any:
        if not value.is_finite():
            return self._null()
        _, digits, exponent = value.as_tuple()
        if exponent == 0:
            return int(value)
        significant = len(digits)
        if significant > DECIMAL_DIGITS_MAX:
            significant = len(value.normalize().as_tuple().digits)
        # Beyond 300 places a double runs out of exponent before it runs out of digits.
        if significant <= DECIMAL_DIGITS_MAX and abs(value.adjusted()) < 300:
            return float(value)
        return format(value, "f")

    def _object(self, value: dict[Any, Any]) -> dict[str, Any]:
        texts = {self._key(key): item for key, item in value.items()}
        if len(texts) != len(value):
            raise UnsupportedValue("two keys of a map are the same text")
        return {key: self.encode(texts[key]) for key in sorted(texts)}

    def _key(self, key: Any) -> str:
        if key.__class__ is str:
            return self._whole(key)
        return "null" if key is None else self.text(key) or ""

    def _subclass(self, value: Any) -> Any:
        """A value of a class that derives from a known one, as enums and drivers' own types do."""
        for base in _BASES:
            if isinstance(value, base):
                return self.encode(base(value))
        for base, to_text in _TEXTS.items():
            if isinstance(value, base):
                return to_text(value)
        raise UnsupportedValue(f"JSON cannot carry a {type(value).__name__}")

    def _repaired(self, document: Any) -> Any:
        """The same document with integers beyond 2^53 as text, and without half surrogate pairs."""
        if isinstance(document, str):
            return self._whole(document)
        if isinstance(document, dict):
            return {self._whole(key): self._repaired(item) for key, item in document.items()}
        if isinstance(document, list):
            return [self._repaired(item) for item in document]
        if document.__class__ is int and abs(document) > INTEGER_MAX:
            return str(document)
        return document

    def _whole(self, text: str) -> str:
        if text.isascii():
            return text
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            self.repaired += 1
            # UTF-16 joins the two halves of a pair that was cut, and replaces those left over.
            return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return text


def same(one: Any, other: Any) -> bool:
    """Whether the ledger stores two values as equal: NULL is NULL, NaN is NaN, 1.50 is 1.5.

    >>> same({"n": 1}, {"n": 1.0}), same({"n": 1}, {"n": True})
    (True, False)
    """
    if one is other:
        return True
    if one is None or other is None or isinstance(one, bool) is not isinstance(other, bool):
        return False
    if one.__class__ is float and other.__class__ is float and one != one:
        return bool(other != other)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if {one.__class__, other.__class__} == {float, Decimal}:
        # A column that was widened from decimal to double has the same values.
        return float(one) == float(other)
    return bool(one == other)


def json_value(value: Any) -> Any:
    """A value of DuckDB's type JSON, or a list of these, which arrive as text.

    >>> json_value('{"n": 1}'), json_value(['"a"', None])
    ({'n': 1}, ['a', None])
    """
    if isinstance(value, list):
        return [json_value(item) for item in value]
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def equal_when_sent(one: Any, other: Any) -> bool:
    """Whether two values are the same JSON, such as NULL and NaN.

    >>> equal_when_sent(None, math.nan), equal_when_sent("1", 1)
    (True, False)
    """
    encoder = Encoder()
    try:
        return encoder.dumps(encoder.encode(one)) == encoder.dumps(encoder.encode(other))
    except (UnsupportedValue, RecursionError):
        return False


def unchanged(one: Any, other: Any) -> bool:
    """Whether a change from one value to the other is none: equal in the ledger, or when sent."""
    return one is other or same(one, other) or equal_when_sent(one, other)


def moment(value: datetime) -> str:
    """A timestamp in UTC, with its zone."""
    utc = value if value.tzinfo is None else _in_utc(value)
    # The first and the last day of the range may not fit into UTC, and keep their own offset.
    return utc if isinstance(utc, str) else utc.replace(tzinfo=None).isoformat() + "Z"


def duration(value: timedelta) -> str:
    """An interval as ISO 8601 writes it: `P1DT2H3.5S`, `-PT5S`."""
    sign, value = ("-", -value) if value < timedelta(0) else ("", value)
    hours, seconds = divmod(value.seconds, 3600)
    minutes, seconds = divmod(seconds, 60)
    fraction = f".{value.microseconds:06d}".rstrip("0") if value.microseconds else ""
    days = f"{value.days}D" if value.days else ""
    clock = f"{hours}H" if hours else ""
    clock += f"{minutes}M" if minutes else ""
    clock += f"{seconds}{fraction}S" if seconds or fraction else ""
    return f"{sign}P{days}T{clock}" if clock else f"{sign}P{days or 'T0S'}"


def _in_utc(value: datetime) -> datetime | str:
    try:
        return value.astimezone(UTC)
    except OverflowError:
        return value.isoformat()


def _base64(value: bytes | bytearray | memoryview) -> str:
    return base64.b64encode(bytes(value)).decode("ascii")


_BASES: tuple[type[Any], ...] = (int, str, float, Decimal, list, tuple, dict)
# A datetime is also a date, so it comes first.
_TEXTS: dict[type, Callable[[Any], str]] = {
    datetime: moment,
    date: date.isoformat,
    time: time.isoformat,
    timedelta: duration,
    UUID: str,
    bytes: _base64,
    bytearray: _base64,
    memoryview: _base64,
}
