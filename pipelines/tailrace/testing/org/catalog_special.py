"""Objects with a peculiarity: no Bulk, no SystemModstamp, base64, a required filter."""

from __future__ import annotations

from tailrace.testing.org.describe import Field, SObject, system_fields, with_fields

ATTACHMENT = SObject(
    name="Attachment",
    key_prefix="00P",
    fields=with_fields(
        system_fields(),
        Field(name="ParentId", type="reference", refers_to=("Account", "Case"), nillable=False),
        Field(name="Name", type="string", nillable=False),
        Field(name="ContentType", type="string", length=120),
        Field(name="BodyLength", type="int"),
        Field(name="Body", type="base64", nillable=False),
    ),
)

CASE_STATUS = SObject(
    name="CaseStatus",
    key_prefix="01J",
    replicateable=False,
    bulk=False,
    fields=with_fields(
        system_fields(deleted=False),
        Field(name="MasterLabel", type="string", nillable=False),
        Field(name="ApiName", type="string", nillable=False),
        Field(name="SortOrder", type="int"),
        Field(name="IsDefault", type="boolean", nillable=False),
        Field(name="IsClosed", type="boolean", nillable=False),
    ),
)


def _field_history(name: str, parent: str) -> SObject:
    """The history of an object's tracked fields: rows are added, and never changed."""
    return SObject(
        name=name,
        key_prefix="017",
        undeletable=False,
        fields=with_fields(
            system_fields(modified=False),
            Field(name=f"{parent}Id", type="reference", refers_to=(parent,), nillable=False),
            Field(name="Field", type="picklist", nillable=False),
            Field(name="DataType", type="picklist", length=40),
            Field(name="OldValue", type="anyType"),
            Field(name="NewValue", type="anyType"),
        ),
    )


ACCOUNT_HISTORY = _field_history("AccountHistory", "Account")
OPPORTUNITY_HISTORY = _field_history("OpportunityFieldHistory", "Opportunity")

LOGIN_HISTORY = SObject(
    name="LoginHistory",
    key_prefix="0Ya",
    replicateable=False,
    undeletable=False,
    fields=(
        Field(name="Id", type="id", nillable=False),
        Field(name="UserId", type="reference", refers_to=("User",)),
        Field(name="LoginTime", type="datetime"),
        Field(name="SourceIp", type="string", length=39, compliance="PII"),
        Field(name="Status", type="string", length=128),
    ),
)

CONTENT_DOCUMENT_LINK = SObject(
    name="ContentDocumentLink",
    key_prefix="06A",
    undeletable=False,
    needs_filter=("ContentDocumentId", "LinkedEntityId", "Id"),
    fields=(
        Field(name="Id", type="id", nillable=False),
        Field(name="LinkedEntityId", type="reference", refers_to=("Account",), nillable=False),
        Field(name="ContentDocumentId", type="reference", nillable=False),
        Field(name="IsDeleted", type="boolean", nillable=False),
        Field(name="SystemModstamp", type="datetime", nillable=False),
    ),
)

ORGANIZATION = SObject(
    name="Organization",
    key_prefix="00D",
    undeletable=False,
    fields=with_fields(
        system_fields(deleted=False),
        Field(name="Name", type="string", length=80, nillable=False),
        Field(name="OrganizationType", type="picklist", values=("Enterprise Edition",)),
        Field(name="InstanceName", type="string", length=5),
        Field(name="IsSandbox", type="boolean", nillable=False),
    ),
)

CONTACT_ROLE = SObject(
    name="OpportunityContactRole",
    key_prefix="00K",
    undeletable=False,
    fields=with_fields(
        system_fields(),
        Field(name="OpportunityId", type="reference", refers_to=("Opportunity",), nillable=False),
        Field(name="ContactId", type="reference", refers_to=("Contact",), nillable=False),
        Field(name="Role", type="picklist", length=40, values=("Decision Maker", "User")),
        Field(name="IsPrimary", type="boolean", nillable=False),
    ),
)
