"""Reads `describe`: which fields of an object land, and as which type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from functools import cache
from typing import Any, Literal
from urllib.parse import quote

from tailrace.config.partitions import PartitionBy, key_of, partition_by_of
from tailrace.config.project import did_you_mean
from tailrace.config.settings import Formula, ObjectSettings
from tailrace.dataclass import dataclass
from tailrace.errors import (
    AnswerUnreadable,
    InvalidConfigValue,
    SalesforceFault,
    UnknownField,
    UnknownObject,
    all_of,
)
from tailrace.salesforce.answers import as_mapping, as_records, as_text
from tailrace.salesforce.arrow import pa
from tailrace.salesforce.client import Api
from tailrace.salesforce.faults import NOT_VISIBLE_CODES, named

ColumnKind = Literal["text", "bool", "bigint", "double", "date", "timestamp", "time"]

# dlt's names of data types. Currency is a double, as in Salesforce's own API: values may have more
# digits than the described scale, and a decimal would lose them.
KIND_OF_TYPE: dict[str, ColumnKind] = {
    "boolean": "bool",
    "int": "bigint",
    "long": "bigint",
    "double": "double",
    "percent": "double",
    "currency": "double",
    "date": "date",
    "datetime": "timestamp",
    "time": "time",
}
# Compound values of these types repeat their components. Other compound parents, for example
# Name and Opportunity.Fiscal, have values of their own.
COMPOUND_TYPES = frozenset({"address", "location"})
NOT_LANDED_TYPES = COMPOUND_TYPES | {"base64"}
_OBJECT_KEYS = ("name", "label", "createable", "updateable", "deletable")
_FIELD_KEYS = (
    *("name", "type", "label", "length", "precision", "scale", "nillable", "createable"),
    *("updateable", "calculated", "defaultedOnCreate", "restrictedPicklist", "picklistValues"),
    *("externalId", "idLookup", "unique", "caseSensitive", "relationshipName", "referenceTo"),
    "compoundFieldName",
)
PARTITIONING_TYPES = ("date", "datetime")
CURSORS = ("SystemModstamp", "LastModifiedDate", "CreatedDate", "LoginTime")
ALWAYS_LANDED = ("Id", "IsDeleted", "MasterRecordId")


@dataclass(frozen=True, kw_only=True)
class Field:
    """A field that lands.

    Attributes:
        note: The administrator's description; None when it was not asked for.
    """

    name: str
    type: str
    kind: ColumnKind
    label: str = ""
    help: str = ""
    calculated: bool = False
    note: str | None = None
    compliance: str = ""
    sensitivity: str = ""

    @property
    def description(self) -> str:
        """Label, administrator's description and help text."""
        texts = [text for text in (self.note, self.help) if text]
        return f"{self.label}: {' '.join(texts)}" if texts else self.label

    def defined(self, definition: Mapping[str, Any]) -> Field:
        """The field with its description and data classification out of a FieldDefinition."""
        return replace(
            self,
            note=str(definition.get("Description") or ""),
            compliance=str(definition.get("ComplianceGroup") or ""),
            sensitivity=str(definition.get("SecurityClassification") or ""),
        )


@dataclass(frozen=True, kw_only=True)
class SObject:
    """An object with the fields that land.

    Attributes:
        visible: Every field name that describe shows, landed or not.
        cursor: The field that says when a row changed; without one, every extract reads all rows.
        formulas: Calculated fields: formulas and roll-ups, which change without moving the cursor.
        partition_by: The partitions of the landed table.
        described: What describe says about reading and writing the object; see `compact_describe`.
    """

    name: str
    label: str
    fields: tuple[Field, ...]
    visible: frozenset[str]
    cursor: str | None
    replicateable: bool
    queryable: bool
    formula: Formula
    partition_by: PartitionBy | None = None
    described: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(field.name for field in self.fields)

    @property
    def formulas(self) -> tuple[Field, ...]:
        return tuple(field for field in self.fields if field.calculated)

    @property
    def has_deleted(self) -> bool:
        """Whether Salesforce keeps deleted rows of this object for a while."""
        return any(field.name == "IsDeleted" for field in self.fields)

    def without(self, name: str) -> SObject:
        """The object without a field that turned out not to be readable."""
        fields = tuple(field for field in self.fields if field.name.lower() != name.lower())
        visible = frozenset(field for field in self.visible if field.lower() != name.lower())
        return replace(self, fields=fields, visible=visible)


def describe_object(api: Api, name: str) -> Mapping[str, Any]:
    """Salesforce's describe of an object.

    Raises:
        UnknownObject: There is no such object, or this user may not see it.
    """
    path = f"sobjects/{quote(name, safe='')}/describe"
    try:
        return api.single_call(f"describe of {name}", path)
    except SalesforceFault as fault:
        if fault.code not in NOT_VISIBLE_CODES:
            raise named(fault, name) from None
    listed = as_records(as_mapping(api.get("sobjects"), "/sobjects").get("sobjects"), "sobjects")
    names = [str(entry.get("name")) for entry in listed if entry.get("name") != name]
    raise UnknownObject(
        f"Salesforce has no object {name} that this user may see.{did_you_mean(name, names)}",
        hint="Correct objects under [sources.salesforce], or give the user access to the object.",
    )


def kind_of_type(salesforce_type: str) -> ColumnKind:
    """The kind that a Salesforce type lands as; types that are not known land as text."""
    return KIND_OF_TYPE.get(salesforce_type, "text")


@cache
def arrow_type(kind: ColumnKind) -> pa.DataType:
    """The Arrow type of a kind."""
    types: Mapping[ColumnKind, pa.DataType] = {
        "text": pa.string(),
        "bool": pa.bool_(),
        "bigint": pa.int64(),
        "double": pa.float64(),
        "date": pa.date32(),
        # Real orgs have dates of the year 1600, which nanoseconds cannot hold.
        "timestamp": pa.timestamp("us", tz="UTC"),
        "time": pa.time64("us"),
    }
    return types[kind]


def read_describe(
    described: Mapping[str, Any], settings: ObjectSettings, *, formula: Formula
) -> SObject:
    """The object as it lands under these settings.

    Raises:
        UnknownField, SeveralUnknown: A setting names a field that is not visible.
        InvalidConfigValue: `partition_by` names a field that is not a date.
        AnswerUnreadable: The answer is not a describe.
    """
    name = as_text(described.get("name"), "name of a describe")
    listed = as_records(described.get("fields"), f"fields of {name}")
    entries = {as_text(entry.get("name"), f"a field's name of {name}"): entry for entry in listed}
    for field_name, entry in entries.items():
        as_text(entry.get("type"), f"type of {name}.{field_name}")
    if "Id" not in entries:
        raise AnswerUnreadable(f"Salesforce describes {name} without a field Id")
    policy = settings.formula or formula
    cursor = next((field for field in CURSORS if _is_cursor(entries.get(field))), None)
    partition_by = _partition_by(name, settings, entries)
    partition_field = partition_by.field if partition_by is not None else None
    required = {field for field in (*ALWAYS_LANDED, cursor, partition_field) if field in entries}
    # One check of both settings, so that all unknown names are reported together.
    _resolved(name, (*settings.exclude, *(settings.fields or ())), entries)
    excluded = _resolved(name, settings.exclude, entries)
    chosen = set(entries) if settings.fields is None else _resolved(name, settings.fields, entries)
    fields = tuple(
        _field(entry)
        for field, entry in entries.items()
        if field in required
        or (
            field in chosen
            and field not in excluded
            and entry["type"] not in NOT_LANDED_TYPES
            and not (policy == "exclude" and entry.get("calculated"))
        )
    )
    return SObject(
        name=name,
        label=str(described.get("label") or name),
        fields=fields,
        visible=frozenset(entries),
        cursor=cursor,
        replicateable=bool(described.get("replicateable")),
        queryable=bool(described.get("queryable", True)),
        formula=policy,
        partition_by=partition_by,
        described=compact_describe(described),
    )


def _partition_by(
    name: str, settings: ObjectSettings, entries: Mapping[str, Mapping[str, Any]]
) -> PartitionBy | None:
    """The partitions with the field's name as Salesforce writes it."""
    configured = partition_by_of(name, settings)
    if configured is None:
        return None
    dates = [date for date, entry in entries.items() if entry["type"] in PARTITIONING_TYPES]
    for date in dates:
        if date.lower() == configured.field.lower():
            return replace(configured, field=date)
    hint = f"Name a date field of {name} in partition_by: {', '.join(dates)}."
    # A field that is not visible is reported as one of `fields` is.
    if configured.field.lower() in {entry.lower() for entry in entries}:
        raise InvalidConfigValue(
            f'{key_of(name)} is "{configured}", and {configured.field} is not a date',
            hint=hint,
            key=key_of(name),
        )
    unknown = UnknownField(
        f"{name} has no field {configured.field} that this user may see."
        f"{did_you_mean(configured.field, dates)}",
        hint=hint,
    )
    unknown.key = key_of(name)
    raise unknown


def compact_describe(described: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a describe that says what may be written, in the same form.

    Values that are the usual ones are left out: null, false, 0 and empty lists.
    """
    fields = [
        {key: entry[key] for key in _FIELD_KEYS if entry.get(key) or key == "nillable"}
        for entry in described.get("fields") or ()
    ]
    for entry in fields:
        if "picklistValues" in entry:
            entry["picklistValues"] = [
                {"value": one.get("value")}
                for one in entry["picklistValues"]
                if isinstance(one, Mapping) and one.get("active", True)
            ]
    return {**{key: described.get(key) for key in _OBJECT_KEYS}, "fields": fields}


def _field(entry: Mapping[str, Any]) -> Field:
    return Field(
        name=str(entry["name"]),
        type=str(entry["type"]),
        kind=kind_of_type(str(entry["type"])),
        label=str(entry.get("label") or ""),
        help=str(entry.get("inlineHelpText") or ""),
        calculated=bool(entry.get("calculated")),
    )


def _is_cursor(entry: Mapping[str, Any] | None) -> bool:
    # Some objects show a SystemModstamp that WHERE must not name.
    return bool(entry and entry["type"] == "datetime" and entry.get("filterable"))


def _resolved(object_name: str, names: Sequence[str], entries: Mapping[str, Any]) -> frozenset[str]:
    by_lower = {field.lower(): field for field in entries}
    unknown = [
        UnknownField(
            f"{object_name} has no field {name} that this user may see."
            f"{did_you_mean(name, entries)}",
            hint=f"Correct [sources.salesforce.object.{object_name}], or give the user read"
            " access to the field.",
        )
        for name in dict.fromkeys(names)
        if name.lower() not in by_lower
    ]
    if unknown:
        raise all_of(unknown)
    return frozenset(by_lower[name.lower()] for name in names)
