"""What describe says about writing an object: rights, types, lengths, picklists and keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from functools import cached_property
from typing import Any

from tailrace.dataclass import dataclass

TEXT_TYPES = frozenset(
    {
        *("string", "textarea", "picklist", "multipicklist", "combobox", "phone", "url", "email"),
        *("encryptedstring", "id", "reference", "anyType"),
    }
)
NUMBER_TYPES = frozenset({"double", "percent", "currency"})
WHOLE_TYPES = frozenset({"int", "long"})


@dataclass(frozen=True, kw_only=True)
class WritableField:
    """One field of an object.

    Attributes:
        digits_max: Digits before the decimal point of a number.
        required: A record cannot be created without it.
        key: Records can be matched by it (`externalId` or `idLookup`).
        compound: The field that this one is a part of.
    """

    name: str
    type: str
    label: str = ""
    length: int = 0
    precision: int = 0
    scale: int = 0
    nillable: bool = True
    createable: bool = False
    updateable: bool = False
    calculated: bool = False
    defaulted: bool = False
    restricted: bool = False
    values: tuple[str, ...] = ()
    key: bool = False
    unique: bool = False
    case_sensitive: bool = False
    relationship: str | None = None
    compound: str | None = None
    parents: tuple[str, ...] = ()

    @property
    def required(self) -> bool:
        return self.createable and not self.nillable and not self.defaulted

    @property
    def is_text(self) -> bool:
        return self.type in TEXT_TYPES

    @property
    def digits_max(self) -> int:
        return self.precision - self.scale

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> WritableField:
        """A field of a describe."""
        values = entry.get("picklistValues") or ()
        return cls(
            name=str(entry["name"]),
            type=str(entry.get("type") or "string"),
            label=str(entry.get("label") or ""),
            length=int(entry.get("length") or 0),
            precision=int(entry.get("precision") or 0),
            scale=int(entry.get("scale") or 0),
            nillable=bool(entry.get("nillable", True)),
            createable=bool(entry.get("createable")),
            updateable=bool(entry.get("updateable")),
            calculated=bool(entry.get("calculated")),
            defaulted=bool(entry.get("defaultedOnCreate")),
            restricted=bool(entry.get("restrictedPicklist")),
            values=tuple(str(one.get("value")) for one in values if one.get("active", True)),
            key=bool(entry.get("externalId") or entry.get("idLookup")),
            unique=bool(entry.get("unique")),
            case_sensitive=bool(entry.get("caseSensitive")),
            relationship=entry.get("relationshipName"),
            compound=entry.get("compoundFieldName"),
            parents=tuple(entry.get("referenceTo") or ()),
        )


@dataclass(frozen=True, kw_only=True)
class WritableObject:
    """An object as a destination sees it."""

    name: str
    label: str = ""
    createable: bool = True
    updateable: bool = True
    deletable: bool = True
    fields: Mapping[str, WritableField] = field(default_factory=dict)

    @classmethod
    def of(cls, described: Mapping[str, Any]) -> WritableObject:
        """An object out of Salesforce's describe, or out of `compact`."""
        entries = (WritableField.of(entry) for entry in described.get("fields") or ())
        return cls(
            name=str(described["name"]),
            label=str(described.get("label") or ""),
            createable=bool(described.get("createable", True)),
            updateable=bool(described.get("updateable", True)),
            deletable=bool(described.get("deletable", True)),
            fields={entry.name: entry for entry in entries},
        )

    def find(self, name: str) -> WritableField | None:
        """The field of a name in any case."""
        return self._by_lower.get(name.lower())

    def find_lookup(self, relationship: str) -> WritableField | None:
        """The lookup field of a relationship name in any case."""
        return self._by_relationship.get(relationship.lower())

    def parts_of(self, name: str) -> tuple[str, ...]:
        """The fields that a compound field is made of; empty for any other."""
        return tuple(
            entry.name
            for entry in self.fields.values()
            if entry.compound == name and entry.name != name
        )

    @cached_property
    def _by_lower(self) -> Mapping[str, WritableField]:
        return {name.lower(): entry for name, entry in self.fields.items()}

    @cached_property
    def _by_relationship(self) -> Mapping[str, WritableField]:
        return {
            entry.relationship.lower(): entry
            for entry in self.fields.values()
            if entry.relationship
        }
