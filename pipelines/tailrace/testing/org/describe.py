"""Definitions of objects and fields, and their describe results."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

# type -> (soapType, default length, filterable, sortable, groupable)
_KINDS: dict[str, tuple[str, int, bool, bool, bool]] = {
    "id": ("tns:ID", 18, True, True, True),
    "reference": ("tns:ID", 18, True, True, True),
    "string": ("xsd:string", 255, True, True, True),
    "picklist": ("xsd:string", 255, True, True, True),
    "multipicklist": ("xsd:string", 4099, True, False, False),
    "combobox": ("xsd:string", 255, True, True, True),
    "textarea": ("xsd:string", 255, True, True, True),
    "phone": ("xsd:string", 40, True, True, True),
    "url": ("xsd:string", 255, True, True, True),
    "email": ("xsd:string", 80, True, True, True),
    "encryptedstring": ("xsd:string", 175, False, False, False),
    "anyType": ("xsd:anyType", 0, False, False, False),
    "complexvalue": ("urn:complexvalue", 0, False, False, False),
    "json": ("urn:JSON", 0, False, False, False),
    "datacategorygroupreference": ("xsd:string", 80, True, True, True),
    "boolean": ("xsd:boolean", 0, True, True, True),
    "int": ("xsd:int", 0, True, True, True),
    "long": ("xsd:long", 0, True, True, True),
    "double": ("xsd:double", 0, True, True, False),
    "percent": ("xsd:double", 0, True, True, False),
    "currency": ("xsd:double", 0, True, True, False),
    "date": ("xsd:date", 0, True, True, True),
    "datetime": ("xsd:dateTime", 0, True, True, False),
    "time": ("xsd:time", 0, True, True, True),
    "address": ("urn:address", 0, True, False, False),
    "location": ("urn:location", 0, True, False, False),
    "base64": ("xsd:base64Binary", 0, False, False, False),
}
# Keys of a real describe that have the same value for every field of a simulated org.
_CONSTANT: dict[str, Any] = {
    "aiPredictionField": False,
    "cascadeDelete": False,
    "controllerName": None,
    "defaultValueFormula": None,
    "dependentPicklist": False,
    "displayLocationInDecimal": False,
    "filteredLookupInfo": None,
    "formulaTreatNullNumberAsZero": False,
    "highScaleNumber": False,
    "htmlFormatted": False,
    "mask": None,
    "maskType": None,
    "referenceTargetField": None,
    "relationshipOrder": None,
    "restrictedDelete": False,
    "writeRequiresMasterRead": False,
}
_OBJECT_NULLS = (
    "associateEntityType",
    "associateParentEntity",
    "defaultImplementation",
    "extendedBy",
    "extendsInterfaces",
    "implementedBy",
    "implementsInterfaces",
    "listviewable",
    "lookupLayoutable",
    "networkScopeFieldName",
)
LONG_TEXT_MIN = 256
_NUMBERS = ("double", "percent", "currency")
_TEXTS = ("string", "picklist", "multipicklist", "combobox", "textarea", "phone", "url", "email")


@dataclass(frozen=True, kw_only=True)
class Field:
    """One field as an administrator defined it.

    `description`, `compliance` and `sensitivity` are not part of describe: see FieldDefinition.
    """

    name: str
    type: str
    label: str = ""
    length: int = 0
    precision: int = 18
    scale: int = 2
    nillable: bool = True
    calculated: bool = False
    formula: str | None = None
    compound: str | None = None
    refers_to: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    help: str | None = None
    description: str | None = None
    filterable: bool | None = None
    deprecated: bool = False
    compliance: str | None = None
    sensitivity: str | None = None
    external_id: bool = False
    unique: bool = False
    case_sensitive: bool = False
    restricted: bool = False
    auto_number: bool = False
    default: Any = None

    @property
    def custom(self) -> bool:
        """Whether an administrator or a package added it."""
        return self.name.endswith(("__c", "__s"))

    @property
    def long_text(self) -> bool:
        """Long text areas can be neither filtered nor sorted."""
        return self.type == "textarea" and self.length >= LONG_TEXT_MIN

    @property
    def can_filter(self) -> bool:
        """Whether WHERE may use the field."""
        if self.filterable is not None:
            return self.filterable
        return _KINDS[self.type][2] and not self.long_text

    @property
    def can_sort(self) -> bool:
        """Whether ORDER BY may use the field."""
        return _KINDS[self.type][3] and not self.long_text and self.filterable is not False

    @property
    def defaulted(self) -> bool:
        """Whether Salesforce fills the field in if a new record does not set it."""
        return self.type == "boolean" or self.default is not None or self.name in _SET_ON_CREATE

    @property
    def id_lookup(self) -> bool:
        """Whether an upsert can match records by this field."""
        return self.type in ("id", "email") or self.external_id

    def describe(self, *, createable: bool, updateable: bool) -> dict[str, Any]:
        """The field's entry in the object's describe."""
        soap_type, length, _, _, groupable = _KINDS[self.type]
        length = self.length or length
        number = self.type in _NUMBERS
        return {
            **_CONSTANT,
            "aggregatable": self.type not in ("address", "location", "base64", "boolean"),
            "byteLength": length * 3 if self.type in _TEXTS else length,
            "calculated": self.calculated,
            "calculatedFormula": self.formula,
            "compoundFieldName": self.compound,
            "createable": createable,
            "custom": self.custom,
            "defaultValue": False if self.type == "boolean" else self.default,
            "defaultedOnCreate": self.defaulted,
            "deprecatedAndHidden": self.deprecated,
            "digits": {"int": 8, "long": 18}.get(self.type, 0),
            "encrypted": self.type == "encryptedstring",
            "extraTypeInfo": "plaintextarea" if self.type == "textarea" else None,
            "filterable": self.can_filter,
            "groupable": groupable and not self.long_text and not self.calculated,
            "idLookup": self.id_lookup,
            "inlineHelpText": self.help,
            "label": self.label or label_of(self.name),
            "length": length,
            "name": self.name,
            "nameField": self.name == "Name",
            "namePointing": len(self.refers_to) > 1,
            "nillable": self.nillable,
            "permissionable": self.nillable and self.custom,
            "picklistValues": [_picked(value) for value in self.values],
            "polymorphicForeignKey": len(self.refers_to) > 1,
            "precision": self.precision if number else 0,
            "queryByDistance": self.type in ("address", "location"),
            "referenceTo": list(self.refers_to),
            "relationshipName": self.relationship,
            "scale": self.scale if number else 0,
            "searchPrefilterable": self.type == "reference",
            "soapType": soap_type,
            "sortable": self.can_sort,
            "type": self.type,
            "updateable": updateable,
            "autoNumber": self.auto_number,
            "caseSensitive": self.case_sensitive,
            "externalId": self.external_id,
            "restrictedPicklist": self.restricted,
            "unique": self.unique,
        }

    @property
    def relationship(self) -> str | None:
        """The name of the relationship of a lookup."""
        if self.type != "reference":
            return None
        if self.custom:
            return self.name.removesuffix("__c") + "__r"
        return self.name.removesuffix("Id") or None


@dataclass(frozen=True, kw_only=True)
class SObject:
    """One object as an administrator defined it.

    `bulk` False: the Bulk API refuses it. `countable` False: `SELECT count()` is refused.
    `needs_filter`: a query must filter on one of these fields.
    """

    name: str
    key_prefix: str
    fields: tuple[Field, ...]
    label: str = ""
    queryable: bool = True
    replicateable: bool = True
    mergeable: bool = False
    undeletable: bool = True
    bulk: bool = True
    countable: bool = True
    needs_filter: tuple[str, ...] = ()
    hidden: frozenset[str] = field(default_factory=frozenset)
    read_only: frozenset[str] = field(default_factory=frozenset)
    writable: bool = True

    @property
    def custom(self) -> bool:
        """Whether an administrator or a package added it."""
        return self.name.endswith(("__c", "__mdt", "__e", "__b"))

    @property
    def visible(self) -> tuple[Field, ...]:
        """The fields that the user can see."""
        return tuple(field for field in self.fields if field.name.lower() not in self.hidden)

    def find(self, name: str) -> Field | None:
        """A visible field by its name in any case."""
        return self._by_name.get(name.lower())

    @cached_property
    def _by_name(self) -> dict[str, Field]:
        return {field.name.lower(): field for field in self.visible}

    def find_lookup(self, relationship: str) -> Field | None:
        """A visible lookup by the name of its relationship, such as `Account`."""
        wanted = relationship.lower()
        return next(
            (item for item in self.visible if (item.relationship or "").lower() == wanted), None
        )

    def createable(self, field: Field) -> bool:
        """Whether a new record may set the field."""
        return field.name in self._createable

    @cached_property
    def _createable(self) -> frozenset[str]:
        if not self.writable:
            return frozenset()
        parents = {field.compound for field in self.fields if field.compound != field.name}
        return frozenset(
            field.name
            for field in self.fields
            if not field.calculated
            and not field.auto_number
            and field.name not in READ_ONLY_FIELDS
            and field.name.lower() not in self.read_only
            and (field.compound or field.name not in parents)
        )

    @cached_property
    def required(self) -> tuple[Field, ...]:
        """The visible fields that a new record must set."""
        return tuple(
            field
            for field in self.visible
            if field.name in self._createable and not field.nillable and not field.defaulted
        )

    def updateable(self, field: Field) -> bool:
        """Whether an update may change the field."""
        return self.createable(field) and (self.name, field.name) not in CREATE_ONLY_FIELDS

    def with_field(self, new: Field) -> SObject:
        """The object with this field added or replaced."""
        if any(field.name.lower() == new.name.lower() for field in self.fields):
            kept = [
                new if field.name.lower() == new.name.lower() else field for field in self.fields
            ]
            return replace(self, fields=tuple(kept))
        return replace(self, fields=(*self.fields, new))

    def without_field(self, name: str) -> SObject:
        """The object without the field."""
        kept = tuple(field for field in self.fields if field.name.lower() != name.lower())
        return replace(self, fields=kept)

    def summary(self, version: str) -> dict[str, Any]:
        """The object's entry in the list of all objects."""
        root = f"/services/data/v{version}/sobjects/{self.name}"
        return {
            "activateable": False,
            "createable": self.writable,
            "custom": self.custom,
            "customSetting": False,
            "deletable": self.writable and not self.name.endswith("__e"),
            "deprecatedAndHidden": False,
            "feedEnabled": False,
            "hasSubtypes": False,
            "isSubtype": False,
            "keyPrefix": self.key_prefix,
            "label": self.label or label_of(self.name),
            "labelPlural": (self.label or label_of(self.name)) + "s",
            "layoutable": True,
            "mergeable": self.mergeable,
            "mruEnabled": True,
            "name": self.name,
            "queryable": self.queryable,
            "replicateable": self.replicateable,
            "retrieveable": True,
            "searchable": True,
            "triggerable": True,
            "undeletable": self.undeletable,
            "updateable": self.writable and not self.name.endswith("__e"),
            "urls": {
                "sobject": root,
                "describe": f"{root}/describe",
                "rowTemplate": f"{root}/{{ID}}",
            },
        }

    def describe(self, version: str) -> dict[str, Any]:
        """The whole describe of the object."""
        return {
            **self.summary(version),
            **dict.fromkeys(_OBJECT_NULLS),
            "actionOverrides": [],
            "childRelationships": [],
            "compactLayoutable": True,
            "deepCloneable": False,
            "fields": [
                field.describe(createable=self.createable(field), updateable=self.updateable(field))
                for field in self.visible
            ],
            "isInterface": False,
            "namedLayoutInfos": [],
            "recordTypeInfos": [],
            "searchLayoutable": True,
            "supportedScopes": [{"label": "All", "name": "everything"}],
        }


def system_fields(*, deleted: bool = True, modified: bool = True) -> tuple[Field, ...]:
    """The audit fields that nearly every object has."""
    fields = [Field(name="Id", type="id", nillable=False)]
    if deleted:
        fields.append(Field(name="IsDeleted", type="boolean", nillable=False, label="Deleted"))
    fields += [
        Field(name="CreatedDate", type="datetime", nillable=False),
        Field(name="CreatedById", type="reference", refers_to=("User",), nillable=False),
    ]
    if modified:
        fields += [
            Field(name="LastModifiedDate", type="datetime", nillable=False),
            Field(name="LastModifiedById", type="reference", refers_to=("User",), nillable=False),
            Field(name="SystemModstamp", type="datetime", nillable=False),
        ]
    return tuple(fields)


SYSTEM_FIELDS = frozenset(field.name for field in system_fields()) | {"MasterRecordId"}
# Fields that recorded describes of real orgs give as neither createable nor updateable.
READ_ONLY_FIELDS = SYSTEM_FIELDS | {
    "ClosedDate", "ConvertedAccountId", "ConvertedContactId", "ConvertedDate",
    "ConvertedOpportunityId", "ExpectedRevenue", "FirstRespondedDate", "Fiscal", "FiscalQuarter",
    "FiscalYear", "ForecastCategory", "HasResponded", "IsArchived", "IsClosed", "IsEmailBounced",
    "IsHighPriority", "IsPersonAccount", "IsWon", "LastActivityDate", "LastReferencedDate",
    "LastStageChangeDate", "LastViewedDate", "PersonContactId", "PhotoUrl",
}  # fmt: skip
CREATE_ONLY_FIELDS = frozenset(
    (
        ("CampaignMember", "CampaignId"),
        ("CampaignMember", "ContactId"),
        ("CampaignMember", "LeadId"),
        ("Lead", "IsConverted"),
        ("Opportunity", "ContactId"),
        ("OpportunityContactRole", "OpportunityId"),
    )
)
_SET_ON_CREATE = frozenset(field.name for field in system_fields(deleted=False)) | {
    "OwnerId", "Probability",
}  # fmt: skip


def address_fields(prefix: str) -> tuple[Field, ...]:
    """A compound address and its components, in describe's order."""
    compound = f"{prefix}Address"
    parts = (
        ("Street", "textarea", 255),
        ("City", "string", 40),
        ("State", "string", 80),
        ("PostalCode", "string", 20),
        ("Country", "string", 80),
        ("Latitude", "double", 0),
        ("Longitude", "double", 0),
        ("GeocodeAccuracy", "picklist", 40),
    )
    components = [
        Field(
            name=prefix + name,
            type=kind,
            length=length,
            compound=compound,
            scale=15,
            values=("Address", "City", "Zip") if name == "GeocodeAccuracy" else (),
        )
        for name, kind, length in parts
    ]
    return (*components, Field(name=compound, type="address"))


def with_fields(base: Iterable[Field], *more: Field | Iterable[Field]) -> tuple[Field, ...]:
    """Fields and groups of fields as one tuple."""
    fields = list(base)
    for fields_or_field in more:
        if isinstance(fields_or_field, Field):
            fields.append(fields_or_field)
        else:
            fields.extend(fields_or_field)
    return tuple(fields)


def label_of(name: str) -> str:
    """A label made from an API name: `npe01__HomeEmail__c` becomes Home Email."""
    plain = name.removesuffix("__c").split("__")[-1]
    words = "".join(f" {c}" if c.isupper() else c for c in plain.replace("_", " ")).split()
    if len(words) > 1 and words[-1] == "Id":
        words[-1] = "ID"
    return " ".join(words)


def _picked(value: str) -> dict[str, Any]:
    return {
        "active": True,
        "defaultValue": False,
        "label": value,
        "validFor": None,
        "value": value,
    }
