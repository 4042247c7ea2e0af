"""Which values a field may refuse, and which records are current, as lists of columns."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Literal, cast

from tailrace.destinations.messages import Message
from tailrace.destinations.row_checks import CreatedRecords, LandedRecords, RowChecks
from tailrace.destinations.salesforce.describe import (
    NUMBER_TYPES,
    WHOLE_TYPES,
    WritableField,
    WritableObject,
)
from tailrace.destinations.salesforce.header import FieldSource, WriteBack
from tailrace.destinations.salesforce.records import read_record
from tailrace.destinations.salesforce.rules import Target, target
from tailrace.destinations.salesforce.values import WHOLE_DIGITS_MAX, ValueRefused, cell_of, json_of
from tailrace.warehouse.statements import Column

Family = Literal["text", "flag", "number", "day", "moment", "other"]
# The texts of numbers, dates and booleans are not longer than this.
SHORT_TEXT_MIN = 40
SEPARATOR = "|"

_FAMILIES: tuple[tuple[re.Pattern[str], Family], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), cast("Family", name))
    for pattern, name in (
        (r"VARCHAR(\(\d+\))?|(LONG)?TEXT|STRING|CHARACTER VARYING(\(\d+\))?", "text"),
        (r"BOOLEAN", "flag"),
        (r"U?(TINY|SMALL|BIG)?INT|U?INTEGER|DOUBLE( PRECISION)?|FLOAT[48]?|REAL", "number"),
        (r"(DECIMAL|NUMERIC|NUMBER)(\([\d, ]+\))?", "number"),
        (r"DATE", "day"),
        (r"TIMESTAMP[\w ()]*|DATETIME(\(\d\))?", "moment"),
    )
)


def family(column_type: str) -> Family:
    """The family of a column type of the warehouse.

    >>> family("VARCHAR"), family("DECIMAL(18,2)"), family("VARCHAR[]")
    ('text', 'number', 'other')
    >>> family("LONGTEXT"), family("STRING"), family("NUMBER(38,0)"), family("DATETIME(6)")
    ('text', 'text', 'number', 'moment')
    """
    return next((f for pattern, f in _FAMILIES if pattern.fullmatch(column_type)), "other")


_WHOLE = re.compile(
    r"U?(TINY|SMALL|BIG)?INT|U?INTEGER|HUGEINT|(DECIMAL|NUMERIC|NUMBER)\(\d+, ?0\)", re.IGNORECASE
)


def is_whole(column_type: str) -> bool:
    """Whether a type of the warehouse has whole numbers only.

    >>> is_whole("BIGINT"), is_whole("DECIMAL(18,2)")
    (True, False)
    """
    return _WHOLE.fullmatch(column_type) is not None


def row_checks(
    write_back: WriteBack, described: Mapping[str, WritableObject], columns: Sequence[Column]
) -> RowChecks | None:
    """The checks of an audience's rows; None if the object is not described.

    Args:
        described: Described objects by name in lower case.
        columns: The columns of the model, with their types.
    """
    sobject = described.get(write_back.object.lower())
    if sobject is None:
        return None
    types = {column.name: column for column in columns}
    checks = _Checks()
    match = {name: FieldSource(column=column) for name, column in write_back.match.items()}
    for name, source in (*match.items(), *write_back.fields.items()):
        if source.column is None or source.column not in types:
            continue
        resolved = target(name, sobject, described)
        checks.add(resolved, source, types[source.column], is_key=name in match)
    return RowChecks(
        suspects=checks.lists(),
        every_row=checks.every_row,
        unique=_unique(write_back, sobject, types),
        landed=_landed(write_back, sobject, described, types),
        created=_created(write_back, sobject, types),
    )


def _unique(
    write_back: WriteBack, sobject: WritableObject, types: Mapping[str, Column]
) -> dict[str, tuple[Column, ...]]:
    """The columns that together identify a record."""
    lists: dict[str, list[Column]] = defaultdict(list)
    for name, column in write_back.match.items():
        field = sobject.find(name)
        if field is None or column not in types:
            return {}
        folded = (
            field.is_text
            and field.type not in ("id", "reference")
            and (not field.case_sensitive and family(types[column].type) == "text")
        )
        lists["unique_folded" if folded else "unique_exact"].append(types[column])
    return {name: tuple(columns) for name, columns in lists.items()}


class _Checks:
    """The columns by the condition that makes their rows suspects."""

    def __init__(self) -> None:
        self.every_row = False
        self._lists: dict[str, list[Column]] = defaultdict(list)

    def lists(self) -> dict[str, tuple[Column, ...]]:
        return {name: tuple(columns) for name, columns in self._lists.items()}

    def add(self, resolved: Target, source: FieldSource, column: Column, *, is_key: bool) -> None:
        field = resolved.field
        if field is None:
            self.every_row = self.every_row or family(column.type) == "other"
            return
        holder = resolved.lookup or field
        cannot_be_null = holder.type == "boolean" or not (holder.nillable or holder.defaulted)
        if is_key or (cannot_be_null and not source.keep):
            self._put("required", column)
        kind = family(column.type)
        if field.is_text:
            self._add_text(field, column, kind)
        elif field.type in NUMBER_TYPES | WHOLE_TYPES and kind == "number":
            digits = WHOLE_DIGITS_MAX.get(field.type, field.digits_max)
            if digits > 0:
                # One less: a value is rounded to the field's scale before it is compared.
                self._put("numbers", column, str(10**digits - 1))
            fraction = field.type in WHOLE_TYPES and not is_whole(column.type)
            self.every_row = self.every_row or fraction
        elif field.type in ("date", "datetime") and kind in ("day", "moment"):
            self._put("days" if kind == "day" else "moments", column)
        elif not (field.type == "boolean" and kind == "flag"):
            self.every_row = True

    def _add_text(self, field: WritableField, column: Column, kind: Family) -> None:
        if kind == "other" or field.type == "multipicklist":
            self.every_row = True
        elif kind != "text":
            short = 0 < field.length < SHORT_TEXT_MIN
            self.every_row = self.every_row or field.restricted or short
        elif field.restricted and any(SEPARATOR in value for value in field.values):
            self.every_row = True
        elif field.restricted:
            values = SEPARATOR.join(field.values)
            self._put("picklists", column, f"{SEPARATOR}{values}{SEPARATOR}")
        elif field.length:
            self._put("long_texts", column, str(field.length))

    def _put(self, name: str, column: Column, label: str = "") -> None:
        self._lists[name].append(Column(column.name, column.type, label))


def _landed(
    write_back: WriteBack,
    sobject: WritableObject,
    described: Mapping[str, WritableObject],
    types: Mapping[str, Column],
) -> LandedRecords | None:
    """How transitions are compared with landed records; None if some value cannot be."""
    lists = _landed_keys(write_back, sobject, types)
    if lists is None:
        return None
    for name, source in write_back.fields.items():
        field = target(name, sobject, described).field
        if field is None or "." in name:
            return None
        if not _add_compared(lists, field, source, types):
            return None
    return LandedRecords(
        object=sobject.name, lists={name: tuple(columns) for name, columns in lists.items()}
    )


def _landed_keys(
    write_back: WriteBack, sobject: WritableObject, types: Mapping[str, Column]
) -> dict[str, list[Column]] | None:
    """How rows find their landed records; None if their keys cannot be compared."""
    lists: dict[str, list[Column]] = defaultdict(list)
    for name, column in write_back.match.items():
        field = sobject.find(name)
        if field is None or column not in types or family(types[column].type) != "text":
            return None
        by_id = field.type in ("id", "reference")
        kind = "keys_by_id" if by_id else "keys_exact" if field.case_sensitive else "keys_folded"
        lists[kind].append(Column(column, "VARCHAR", pair=field.name))
    return lists or None


def _created(
    write_back: WriteBack, sobject: WritableObject, types: Mapping[str, Column]
) -> CreatedRecords | None:
    """What Salesforce refuses to create: a record without a required field."""
    always = {name.lower() for name in write_back.match}
    always |= {
        target(name, sobject, {}).cleared_as.lower()
        for name, source in write_back.fields.items()
        if not source.keep
    }
    required = [
        field
        for field in sobject.fields.values()
        if field.required and field.name.lower() not in always
    ]
    lists = _landed_keys(write_back, sobject, types)
    if write_back.mode != "upsert" or write_back.is_campaign_member or not required or not lists:
        return None

    def refusal(message: Message) -> str:
        record = read_record(message.body)
        missing = [
            field.name
            for field in required
            if field.name not in record and (field.relationship or "") not in record
        ]
        verb = "is" if len(missing) == 1 else "are"
        return f"{', '.join(missing)} {verb} required to create a record" if missing else ""

    columns = {name: tuple(columns) for name, columns in lists.items()}
    return CreatedRecords(landed=LandedRecords(object=sobject.name, lists=columns), refusal=refusal)


def _add_compared(
    lists: dict[str, list[Column]],
    field: WritableField,
    source: FieldSource,
    types: Mapping[str, Column],
) -> bool:
    if source.column is None:
        return _add_constant(lists, field, source)
    column = types.get(source.column)
    kinds = {"text": "texts", "number": "numbers", "flag": "flags", "day": "days"}
    wanted = _family_of_field(field)
    if column is None or family(column.type) != wanted or wanted not in kinds:
        return False
    name = f"kept_{kinds[wanted]}" if source.keep else kinds[wanted]
    lists[name].append(Column(column.name, column.type, pair=field.name))
    return True


def _add_constant(
    lists: dict[str, list[Column]], field: WritableField, source: FieldSource
) -> bool:
    try:
        value = json_of(source.value, field)
    except ValueRefused:
        return False
    wanted = _family_of_field(field)
    if value is None:
        lists["constant_nulls"].append(Column(field.name))
    elif wanted in ("text", "flag", "number"):
        lists[f"constant_{wanted}s"].append(Column(field.name, label=cell_of(value)))
    else:
        return False
    return True


def _family_of_field(field: WritableField) -> Family:
    if field.type in NUMBER_TYPES | WHOLE_TYPES:
        return "number"
    if field.type == "date":
        return "day"
    if field.type == "boolean":
        return "flag"
    return "text" if field.is_text and field.type != "multipicklist" else "other"
