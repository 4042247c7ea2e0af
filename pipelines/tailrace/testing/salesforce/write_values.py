"""Values of a write request: JSON or CSV text to what the org stores, or the reason against it."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, time
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Any

from tailrace.testing.org.describe import Field
from tailrace.testing.salesforce.refusals import Refused

NULL_MARK = "#N/A"
DATE_MIN, DATE_MAX = date(1700, 1, 1), date(4000, 12, 31)
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s.]+")
_ID = re.compile(r"[A-Za-z0-9]{15}(?:[A-Za-z0-9]{3})?")
_ZONED = re.compile(r"\d{4,}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:?\d\d)")
_NUMBERS = ("double", "percent", "currency")
_DIGITS = {"int": 9, "long": 18}


class RowRefused(Exception):
    """One row of a write is refused; the other rows of the request are not affected."""

    def __init__(self, code: str, message: str, *fields: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.fields = fields


def from_json(field: Field, value: Any) -> Any:
    """A JSON value as the org stores it.

    Raises:
        Refused: The JSON type is wrong, which Salesforce answers for the request as a whole.
        RowRefused: The value breaks a rule of the field.
    """
    if value is None:
        return _null(field)
    expected = _JSON_TYPES.get(field.type, (str,))
    if (isinstance(value, bool) and bool not in expected) or not isinstance(value, expected):
        raise _malformed(field, value)
    try:
        return _checked(field, _READ.get(field.type, _text)(value))
    except ValueError:
        raise _malformed(field, value) from None


def from_csv(field: Field, text: str) -> Any:
    """A CSV cell that is not empty as the org stores it; `#N/A` clears the field.

    Raises:
        RowRefused: The text is not a value of the field's type, or breaks a rule of the field.
    """
    if text == NULL_MARK:
        return _null(field)
    read: Callable[[str], Any] = _READ_CSV.get(field.type) or _READ.get(field.type) or _text
    try:
        return _checked(field, read(text))
    except ValueError:
        message = f"{field.name}: value not of required type: {text}"
        raise RowRefused("INVALID_TYPE_ON_FIELD_IN_RECORD", message, field.name) from None


def check_id(field: Field, value: str) -> None:
    """Check the form of a record id.

    Raises:
        RowRefused: The text is not an id.
    """
    if not _ID.fullmatch(value):
        message = f"{_label(field)}: id value of incorrect type: {value}"
        raise RowRefused("MALFORMED_ID", message, field.name)


def _null(field: Field) -> None:
    if field.type == "boolean":
        message = f"{_label(field)}: a checkbox cannot be empty"
        raise RowRefused("INVALID_TYPE_ON_FIELD_IN_RECORD", message, field.name)
    if not field.nillable and not field.defaulted:
        message = f"Required fields are missing: [{field.name}]"
        raise RowRefused("REQUIRED_FIELD_MISSING", message, field.name)


def _checked(field: Field, value: Any) -> Any:
    if value is None:
        return _null(field)
    if isinstance(value, str):
        return _checked_text(field, value)
    if field.type in _NUMBERS:
        return _checked_number(field, value)
    if field.type in _DIGITS and abs(value) >= 10 ** _DIGITS[field.type]:
        raise _out_of_range(field, value)
    if isinstance(value, date):
        day = value.date() if isinstance(value, datetime) else value
        if not DATE_MIN <= day <= DATE_MAX:
            raise _out_of_range(field, value)
    return value


def _checked_text(field: Field, value: str) -> str:
    if field.type in ("id", "reference"):
        check_id(field, value)
        return value
    length = field.length or {"email": 80, "phone": 40}.get(field.type, 255)
    chosen = value.split(";") if field.type == "multipicklist" else [value]
    if field.restricted:
        for choice in chosen:
            if choice not in field.values:
                message = f"{_label(field)}: bad value for restricted picklist field: {choice}"
                code = "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST"
                raise RowRefused(code, message, field.name)
    if field.type != "multipicklist" and len(value) > length:
        message = f"{_label(field)}: data value too large: {value} (max length={length})"
        raise RowRefused("STRING_TOO_LONG", message, field.name)
    if field.type == "email" and not _EMAIL.fullmatch(value):
        message = f"{_label(field)}: invalid email address: {value}"
        raise RowRefused("INVALID_EMAIL_ADDRESS", message, field.name)
    return value


def _checked_number(field: Field, value: float) -> float:
    """A number rounded to the field's scale, as Salesforce stores it."""
    try:
        rounded = Decimal(repr(value)).quantize(Decimal(1).scaleb(-field.scale), ROUND_HALF_UP)
    except InvalidOperation:
        raise _out_of_range(field, value) from None
    if abs(rounded) >= Decimal(10) ** (field.precision - field.scale):
        raise _out_of_range(field, value)
    return float(rounded)


def _out_of_range(field: Field, value: Any) -> RowRefused:
    message = f"{_label(field)}: value outside of valid range on numeric field: {value}"
    return RowRefused("NUMBER_OUTSIDE_VALID_RANGE", message, field.name)


def _malformed(field: Field, value: Any) -> Refused:
    kinds = {bool: "VALUE_BOOLEAN", int: "VALUE_NUMBER_INT", float: "VALUE_NUMBER_FLOAT"}
    kind = kinds.get(type(value), "VALUE_STRING" if isinstance(value, str) else "START_OBJECT")
    message = (
        f"Cannot deserialize instance of {field.type} from {kind} value {value} or request may be"
        f" missing a required field at {field.name}"
    )
    return Refused(400, "JSON_PARSER_ERROR", message)


def _label(field: Field) -> str:
    return field.label or field.name


def _text(value: str) -> str | None:
    # Salesforce stores no empty strings.
    return value or None


def _as_is(value: Any) -> Any:
    return value


def _number(value: float | str) -> float:
    number = float(value)
    if number != number or number in (float("inf"), float("-inf")):
        raise ValueError(value)
    return number


def _whole(value: int | float | str) -> int:
    number = float(value)
    if number != int(number):
        raise ValueError(value)
    return int(value) if isinstance(value, int) else int(number)


def _day(value: str) -> date:
    return date.fromisoformat(value[:10]) if "T" in value else date.fromisoformat(value)


def _moment(value: str) -> datetime:
    if not _ZONED.fullmatch(value):
        raise ValueError(value)
    return datetime.fromisoformat(value).astimezone(UTC)


def _time(value: str) -> time:
    return time.fromisoformat(value.removesuffix("Z"))


def _flag(value: str) -> bool:
    flags = {"true": True, "1": True, "false": False, "0": False}
    if value.lower() not in flags:
        raise ValueError(value)
    return flags[value.lower()]


_JSON_TYPES: dict[str, tuple[type, ...]] = {
    "boolean": (bool,),
    "int": (int,),
    "long": (int,),
    "double": (int, float),
    "percent": (int, float),
    "currency": (int, float),
}
_READ: dict[str, Callable[[Any], Any]] = {
    "boolean": _as_is,
    "int": _whole,
    "long": _whole,
    "double": _number,
    "percent": _number,
    "currency": _number,
    "date": _day,
    "datetime": _moment,
    "time": _time,
}
_READ_CSV: dict[str, Callable[[str], Any]] = {"boolean": _flag}
