"""What `describe` says about an object, and which of its fields land as which type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import pyarrow as pa

from tailrace.config.project import did_you_mean
from tailrace.config.settings import Formula, ObjectSettings
from tailrace.errors import UnknownField, all_of

Kind = Literal["text", "bool", "bigint", "double", "date", "timestamp", "time"]

# dlt's names of data types. Currency is a double, as in Salesforce's own API: a decimal of the
# described scale would lose digits of values that Salesforce holds with more of them.
KIND_OF_TYPE: dict[str, Kind] = {
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
ARROW_OF_KIND: dict[Kind, pa.DataType] = {
    "text": pa.string(),
    "bool": pa.bool_(),
    "bigint": pa.int64(),
    "double": pa.float64(),
    "date": pa.date32(),
    # Microseconds: nanoseconds cannot hold the year 1600, which real orgs have.
    "timestamp": pa.timestamp("us", tz="UTC"),
    "time": pa.time64("us"),
}
# Compound values of these types repeat their components. Every other compound parent, as
# Name or Opportunity.Fiscal, is a value of its own.
COMPOUND_TYPES = frozenset({"address", "location"})
NOT_LANDED_TYPES = COMPOUND_TYPES | {"base64"}
CURSORS = ("SystemModstamp", "LastModifiedDate", "CreatedDate", "LoginTime")
ALWAYS_LANDED = ("Id", "IsDeleted", "MasterRecordId")


@dataclass(frozen=True, kw_only=True)
class Field:
    """A field that lands.

    Attributes:
        note: What an administrator wrote about it; None when that was not asked for.
    """

    name: str
    type: str
    kind: Kind
    label: str = ""
    help: str = ""
    calculated: bool = False
    note: str | None = None
    compliance: str = ""
    sensitivity: str = ""

    @property
    def description(self) -> str:
        """For people: the label, and what is said about the field to whom."""
        said = [each for each in (self.note, self.help) if each]
        return f"{self.label}: {' '.join(said)}" if said else self.label

    def defined(self, definition: Mapping[str, Any]) -> Field:
        """The field with what an administrator wrote about it, and how he classed it."""
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
        cursor: The field that says when a row changed; without one every extract reads it whole.
        formulas: Calculated fields: formulas and roll-ups, which change without moving the cursor.
    """

    name: str
    label: str
    fields: tuple[Field, ...]
    visible: frozenset[str]
    cursor: str | None
    replicateable: bool
    queryable: bool
    formula: Formula

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
        visible = frozenset(each for each in self.visible if each.lower() != name.lower())
        return replace(self, fields=fields, visible=visible)


def read_describe(
    described: Mapping[str, Any], settings: ObjectSettings, *, formula: Formula
) -> SObject:
    """The object as it lands under these settings.

    Raises:
        UnknownField, SeveralUnknown: `fields` or `exclude` names what describe does not show.
    """
    name = str(described["name"])
    entries = {str(entry["name"]): entry for entry in described["fields"]}
    policy = settings.formula or formula
    cursor = next((each for each in CURSORS if _is_cursor(entries.get(each))), None)
    must = {each for each in (*ALWAYS_LANDED, cursor) if each in entries}
    # Every name that is wrong is told of at once.
    _resolved(name, (*settings.exclude, *(settings.fields or ())), entries)
    excluded = _resolved(name, settings.exclude, entries)
    chosen = set(entries) if settings.fields is None else _resolved(name, settings.fields, entries)
    fields = tuple(
        _field(entry)
        for each, entry in entries.items()
        if each in must
        or (
            each in chosen
            and each not in excluded
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
    )


def _field(entry: Mapping[str, Any]) -> Field:
    return Field(
        name=str(entry["name"]),
        type=str(entry["type"]),
        kind=KIND_OF_TYPE.get(str(entry["type"]), "text"),
        label=str(entry.get("label") or ""),
        help=str(entry.get("inlineHelpText") or ""),
        calculated=bool(entry.get("calculated")),
    )


def _is_cursor(entry: Mapping[str, Any] | None) -> bool:
    # Some objects show a SystemModstamp that WHERE may not name.
    return bool(entry and entry["type"] == "datetime" and entry.get("filterable"))


def _resolved(
    object_name: str, wanted: Sequence[str], entries: Mapping[str, Any]
) -> frozenset[str]:
    by_lower = {each.lower(): each for each in entries}
    unknown = [
        UnknownField(
            f"{object_name} has no field {each} that this user may see."
            f"{did_you_mean(each, entries)}",
            hint=f"Correct [sources.salesforce.object.{object_name}], or give the user read"
            " access to the field.",
        )
        for each in dict.fromkeys(wanted)
        if each.lower() not in by_lower
    ]
    if unknown:
        raise all_of(unknown)
    return frozenset(by_lower[each.lower()] for each in wanted)
