"""Changes to an org: person accounts, several currencies, wide objects, unusual names."""

from __future__ import annotations

from tailrace.testing.org.describe import Field, SObject, system_fields, with_fields
from tailrace.testing.org.org import Org

WIDE_FIELDS = 250
_WIDE_TYPES = (
    "string", "double", "currency", "percent", "boolean", "date", "datetime", "picklist",
    "textarea", "int", "phone", "url", "email", "time", "multipicklist", "reference",
)  # fmt: skip


def enable_person_accounts(org: Org, people: int = 10) -> tuple[str, ...]:
    """Switch person accounts on, and create some; answers the ids of their accounts.

    Each has an account, whose compound Name has components now, and a contact of its own.
    """
    for field in (
        Field(name="Name", type="string", length=255, nillable=False, compound="Name"),
        Field(name="LastName", type="string", length=80, compound="Name"),
        Field(name="FirstName", type="string", length=40, compound="Name"),
        Field(name="Salutation", type="picklist", values=("Mr.", "Ms."), compound="Name"),
        Field(name="IsPersonAccount", type="boolean", nillable=False),
        Field(name="PersonContactId", type="reference", refers_to=("Contact",)),
        Field(name="PersonEmail", type="email"),
        Field(name="PersonHasOptedOutOfEmail", type="boolean", nillable=False),
    ):
        org.add_field("Account", field)
    org.add_field("Contact", Field(name="IsPersonAccount", type="boolean", nillable=False))
    for sobject in ("Account", "Contact"):
        for record_id in org.rows(sobject).ids():
            org.silently(sobject, record_id, {"IsPersonAccount": False})
    made: list[str] = []
    for number in range(people):
        name = {"FirstName": "Pat", "LastName": f"Person {number}", "IsPersonAccount": True}
        email = f"person.{number}@example.com"
        account = org.insert("Account", {**name, "PersonEmail": email})
        contact = org.insert("Contact", {**name, "Email": email, "AccountId": account})
        org.silently("Account", account, {"PersonContactId": contact})
        made.append(account)
    return tuple(made)


def enable_currencies(org: Org, *codes: str) -> None:
    """Switch several currencies on; the corporate one first (EUR, USD, JPY unless told)."""
    names = codes or ("EUR", "USD", "JPY")
    code = Field(name="CurrencyIsoCode", type="picklist", values=names, nillable=False)
    for spec in list(org.objects()):
        if any(each.type == "currency" for each in spec.fields):
            org.add_field(spec.name, code)
            for number, record_id in enumerate(org.rows(spec.name).ids()):
                value = {"CurrencyIsoCode": names[number % len(names)]}
                org.silently(spec.name, record_id, value)
    org.add_object(
        SObject(
            name="CurrencyType",
            key_prefix="01L",
            undeletable=False,
            fields=with_fields(
                system_fields(deleted=False),
                Field(name="IsoCode", type="picklist", values=names, nillable=False),
                Field(name="ConversionRate", type="double", scale=6, nillable=False),
                Field(name="DecimalPlaces", type="int", nillable=False),
                Field(name="IsActive", type="boolean", nillable=False),
                Field(name="IsCorporate", type="boolean", nillable=False),
            ),
        )
    )
    for number, name in enumerate(names):
        rate = {"IsoCode": name, "ConversionRate": 1.0 + number, "DecimalPlaces": 2}
        org.insert("CurrencyType", {**rate, "IsActive": True, "IsCorporate": number == 0})


def add_similar_names(org: Org, rows: int = 3) -> tuple[str, str]:
    """Add two objects whose names differ in an underscore only; return their names."""
    names = ("OrderLine__c", "Order_Line__c")
    for number, name in enumerate(names):
        quantity = Field(name="Quantity__c", type="double", scale=0)
        spec = SObject(
            name=name,
            key_prefix=f"a1{number}",
            fields=with_fields(system_fields(), Field(name="Name", type="string"), quantity),
        )
        org.add_object(spec)
        for index in range(rows):
            org.insert(name, {"Name": f"{name} {index}", "Quantity__c": float(index)})
    return names


def add_uncountable_objects(org: Org, rows: int = 3) -> tuple[str, str]:
    """Add a big object and a custom metadata type, which refuse `SELECT count()`."""
    names = ("Usage__b", "Rule__mdt")
    for number, name in enumerate(names):
        spec = SObject(
            name=name,
            key_prefix=f"m0{number}",
            countable=False,
            replicateable=False,
            undeletable=False,
            fields=with_fields(system_fields(deleted=False), Field(name="Label__c", type="string")),
        )
        org.add_object(spec)
        for index in range(rows):
            org.insert(name, {"Label__c": f"{name} {index}"})
    return names


def add_wide_object(
    org: Org, *, name: str = "Wide__c", fields: int = WIDE_FIELDS, rows: int = 100
) -> str:
    """A custom object of many long-named fields of all sorts; its SELECT fits no URI."""
    custom = [
        Field(
            name=f"A_rather_long_name_for_a_field_{number:03d}__c",
            type=_WIDE_TYPES[number % len(_WIDE_TYPES)],
            values=("Red", "Green", "Blue"),
            length=32_000 if number % 32 == 8 else 0,
            refers_to=("User",),
        )
        for number in range(fields)
    ]
    named = (
        Field(name="Name", type="string", length=80, nillable=False),
        Field(name="OwnerId", type="reference", refers_to=("User",), nillable=False),
    )
    spec = SObject(name=name, key_prefix="a0W", fields=with_fields(system_fields(), named, custom))
    org.add_object(spec)
    org.add_mass(name, rows)
    return name
