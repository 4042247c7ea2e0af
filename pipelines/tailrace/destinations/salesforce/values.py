"""Values of the warehouse as Salesforce takes them, by the type of the field.

| field                    | JSON                             | CSV                    |
| ------------------------ | -------------------------------- | ---------------------- |
| NULL, NaN, empty text    | null                             | `#N/A`                 |
| text, picklist, id       | a text; numbers become texts     | the text               |
| multi-select picklist    | texts joined with `;`            | the same               |
| checkbox                 | true, false                      | `true`, `false`        |
| number                   | a number with all its digits     | the same               |
| date                     | `2026-11-22`                     | the same               |
| date and time            | `2026-11-22T05:00:00.000Z`       | the same               |
| time                     | `05:00:00.000Z`                  | the same               |

A field that is not described takes the value's own type.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import orjson

from tailrace.destinations.salesforce.describe import NUMBER_TYPES, WHOLE_TYPES, WritableField
from tailrace.encoding.values import Encoder
from tailrace.errors import UnsupportedValue

# Bulk API 2.0: "To set a field's value to null, use #N/A".
NULL_CELL = "#N/A"
DATE_MIN, DATE_MAX = date(1700, 1, 1), date(4000, 12, 31)
# Salesforce's int has nine digits for writing, and its long eighteen.
WHOLE_DIGITS_MAX = {"int": 9, "long": 18}
TRUE_TEXTS = frozenset({"true", "t", "1", "yes"})
FALSE_TEXTS = frozenset({"false", "f", "0", "no"})

_encoder = Encoder()


class ValueRefused(Exception):
    """A value that a field cannot take. The message has no value in it."""


def is_null(value: Any) -> bool:
    """Whether a value clears a field: Salesforce stores no empty texts, and no NaN."""
    if value is None or value == "":
        return True
    if isinstance(value, float):
        return not math.isfinite(value)
    return isinstance(value, Decimal) and not bool(value.is_finite())


def json_of(value: Any, field: WritableField | None) -> Any:
    """A value as orjson writes it for a field.

    Raises:
        ValueRefused: The field cannot take the value.
    """
    if is_null(value):
        return None
    if field is None:
        return _undescribed(value)
    write: Callable[[Any, Any], Any] = _WRITERS.get(field.type, _text)
    return write(value, field)


def cell_of(value: Any) -> str:
    """A value of a JSON record as a CSV cell.

    >>> cell_of(None), cell_of(True), cell_of(12.5), cell_of("a")
    ('#N/A', 'true', '12.5', 'a')
    """
    if value is None:
        return NULL_CELL
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else str(value)


def _undescribed(value: Any) -> Any:
    if isinstance(value, Decimal):
        return _number_text(value)
    if isinstance(value, datetime):
        return _moment(value)
    if isinstance(value, time):
        return _time_of_day(value)
    if isinstance(value, date | bool | int | float | str):
        return value.isoformat() if isinstance(value, date) else value
    return _text(value, None)


def _text(value: Any, field: WritableField | None) -> str | None:
    if value.__class__ is str and value.isascii():
        # The most frequent case, which no rule below but the field's own can change.
        if field is not None:
            _check_text(value, field)
        return str(value)
    if isinstance(value, Mapping):
        raise ValueRefused("is an object, which no field can hold")
    if isinstance(value, list | tuple):
        if field is None or field.type != "multipicklist":
            raise ValueRefused("is a list, which only a multi-select picklist can hold")
        return ";".join(_part(item) for item in value) or None
    if isinstance(value, datetime):
        return _moment(value)
    text = _part(value)
    if field is not None:
        _check_text(text, field)
    return text


def _part(value: Any) -> str:
    if isinstance(value, str):
        return str(_encoder.encode(value)) if value.isascii() else _whole(value)
    try:
        return _encoder.text(value) or ""
    except UnsupportedValue as error:
        raise ValueRefused(error.message) from None


def _whole(text: str) -> str:
    try:
        text.encode()
        return text
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _check_text(text: str, field: WritableField) -> None:
    if field.restricted:
        chosen = text.split(";") if field.type == "multipicklist" else [text]
        if not all(choice in field.values for choice in chosen):
            raise ValueRefused("is not a value of the restricted picklist")
    if field.type != "multipicklist" and field.length and utf16_length(text) > field.length:
        raise ValueRefused(f"is longer than {field.length} characters")


def utf16_length(text: str) -> int:
    """The length as Salesforce counts it: a character beyond U+FFFF counts twice."""
    if text.isascii():
        return len(text)
    return len(text) + sum(letter > "\uffff" for letter in text)


def _flag(value: Any, field: WritableField) -> bool:
    if isinstance(value, bool):
        return value
    text = _part(value).lower()
    if text in TRUE_TEXTS:
        return True
    if text in FALSE_TEXTS:
        return False
    raise ValueRefused("is not true or false")


def _number(value: Any, field: WritableField) -> Any:
    number = _decimal(value)
    if field.precision and _is_too_long(number, field):
        raise ValueRefused(f"has more than {field.digits_max} digits before the decimal point")
    return _number_text(number)


def _is_too_long(number: Decimal, field: WritableField) -> bool:
    """Whether a number has too many digits before the point, as Salesforce rounds it.

    With one place after the point, 999.96 has four.
    """
    digits = number.adjusted() + 1
    if not number or digits < field.digits_max:
        return False
    if digits > field.digits_max:
        return True
    rounded = abs(number).quantize(Decimal(1).scaleb(-field.scale), ROUND_HALF_UP)
    return bool(rounded >= Decimal(10) ** field.digits_max)


def _whole_number(value: Any, field: WritableField) -> int:
    number = _decimal(value)
    if number != number.to_integral_value():
        raise ValueRefused("is not a whole number")
    if abs(number) >= Decimal(10) ** WHOLE_DIGITS_MAX[field.type]:
        raise ValueRefused(f"has more than {WHOLE_DIGITS_MAX[field.type]} digits")
    return int(number)


def _decimal(value: Any) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal | str):
        raise ValueRefused("is not a number")
    try:
        number = Decimal(repr(value) if isinstance(value, float) else str(value).strip())
    except ArithmeticError:
        raise ValueRefused("is not a number") from None
    if not number.is_finite():
        raise ValueRefused("is not a number")
    return number


def _number_text(number: Decimal) -> Any:
    """A JSON number with all digits: a double would round those after the fifteenth."""
    if number.adjusted() > 300 or number.adjusted() < -300:
        return float(number)
    return Number(format(number, "f"))


class Number(str):
    """A number in its decimal form, written to JSON without quotes."""

    __slots__ = ()


def dumps(document: Any) -> bytes:
    """JSON of a record."""
    return orjson.dumps(document, default=_fragment, option=orjson.OPT_PASSTHROUGH_SUBCLASS)


def _fragment(value: Any) -> Any:
    if isinstance(value, Number):
        return orjson.Fragment(value.encode())
    raise TypeError


def _day(value: Any, field: WritableField) -> str:
    day = _as_datetime(value)
    day = day.date() if isinstance(day, datetime) else day
    _check_range(day)
    return day.isoformat()


def _date_time(value: Any, field: WritableField) -> str:
    moment = _as_datetime(value)
    _check_range(moment.date() if isinstance(moment, datetime) else moment)
    if not isinstance(moment, datetime):
        return f"{moment.isoformat()}T00:00:00.000Z"
    return _moment(moment)


def _as_datetime(value: Any) -> date | datetime:
    if isinstance(value, datetime):
        try:
            return value if value.tzinfo is None else value.astimezone(UTC)
        except OverflowError:
            raise ValueRefused("is outside of the years 1700 to 4000") from None
    if isinstance(value, date):
        return value
    if isinstance(value, str):
        try:
            if len(value) == 10:
                return date.fromisoformat(value)
            return _as_datetime(datetime.fromisoformat(value))
        except ValueError:
            pass
    raise ValueRefused("is not a date")


def _check_range(day: date) -> None:
    if not DATE_MIN <= day <= DATE_MAX:
        raise ValueRefused("is outside of the years 1700 to 4000")


def _moment(value: datetime) -> str:
    """A timestamp with milliseconds, the precision of Salesforce; without a zone it is UTC."""
    utc = value if value.tzinfo is None else value.astimezone(UTC)
    return f"{utc.replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"


def _time(value: Any, field: WritableField) -> str:
    if isinstance(value, str):
        try:
            value = time.fromisoformat(value)
        except ValueError:
            raise ValueRefused("is not a time of day") from None
    if not isinstance(value, time):
        raise ValueRefused("is not a time of day")
    return _time_of_day(value)


def _time_of_day(value: time) -> str:
    return f"{value.replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"


_WRITERS: dict[str, Callable[[Any, Any], Any]] = {
    "boolean": _flag,
    **dict.fromkeys(NUMBER_TYPES, _number),
    **dict.fromkeys(WHOLE_TYPES, _whole_number),
    "date": _day,
    "datetime": _date_time,
    "time": _time,
}
