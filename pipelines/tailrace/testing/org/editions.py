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
    """Enable person accounts and create some; returns the ids of their accounts.

    Each person has an account, whose Name becomes a compound field, and a contact.
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
    accounts: list[str] = []
    for number in range(people):
        name = {"FirstName": "Pat", "LastName": f"Person {number}", "IsPersonAccount": True}
        email = f"person.{number}@example.com"
        account = org.insert("Account", {**name, "PersonEmail": email})
        contact = org.insert("Contact", {**name, "Email": email, "AccountId": account})
        org.silently("Account", account, {"PersonContactId": contact})
        accounts.append(account)
    return tuple(accounts)


def enable_currencies(org: Org, *codes: str) -> None:
    """Enable several currencies, the corporate one first; default: EUR, USD, JPY."""
    names = codes or ("EUR", "USD", "JPY")
    code = Field(name="CurrencyIsoCode", type="picklist", values=names, nillable=False)
    for spec in list(org.objects()):
        if any(field.type == "currency" for field in spec.fields):
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


def enable_write_back(org: Org) -> None:
    """Add the fields, keys and events that a write-back needs.

    Contact, Lead, Account and Campaign get the unique external id `Crm_Key__c` with the values
    `c-0001`, `l-0001`, `a-0001` and `p-0001` onwards. Contact and Lead also get `Plan_Tier__c`
    (restricted picklist), `Health__c` (three digits, one decimal), `Is_VIP__c`, `Next_Offer__c`
    (40 characters), `Renewal_Date__c` and `Scored_At__c`. CampaignMember gets the external id
    `Member_Key__c`. `Vip_Change__e` is a platform event.
    """
    custom = (
        Field(
            name="Plan_Tier__c",
            type="picklist",
            values=("gold", "silver", "bronze"),
            restricted=True,
        ),
        Field(name="Health__c", type="double", precision=4, scale=1),
        Field(name="Is_VIP__c", type="boolean", nillable=False),
        Field(name="Next_Offer__c", type="string", length=40),
        Field(name="Renewal_Date__c", type="date"),
        Field(name="Scored_At__c", type="datetime"),
    )
    for sobject in ("Contact", "Lead", "Account", "Campaign"):
        org.add_field(sobject, _external_id("Crm_Key__c"))
        prefix = {"Campaign": "p"}.get(sobject, sobject[0].lower())
        for number, record_id in enumerate(org.rows(sobject).ids(), start=1):
            org.silently(sobject, record_id, {"Crm_Key__c": f"{prefix}-{number:04d}"})
    for sobject in ("Contact", "Lead"):
        for field in custom:
            org.add_field(sobject, field)
        for record_id in org.rows(sobject).ids():
            org.silently(sobject, record_id, {"Is_VIP__c": False})
    org.add_field("CampaignMember", _external_id("Member_Key__c"))
    org.add_object(
        SObject(
            name="Vip_Change__e",
            key_prefix="e00",
            queryable=False,
            replicateable=False,
            undeletable=False,
            bulk=False,
            fields=(
                Field(name="ReplayId", type="string", auto_number=True),
                Field(name="CreatedDate", type="datetime", nillable=False),
                Field(name="Email__c", type="string", length=80, nillable=False),
                Field(name="Tier__c", type="string", length=20),
                Field(name="Score__c", type="double", scale=1),
            ),
        )
    )


def _external_id(name: str) -> Field:
    return Field(name=name, type="string", length=64, external_id=True, unique=True)


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
    """Add an object with many fields of all types, whose SELECT is too long for a URL."""
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
