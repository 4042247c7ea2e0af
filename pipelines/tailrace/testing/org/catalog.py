"""The standard objects of an org, with a few custom fields."""

from __future__ import annotations

from tailrace.testing.org.describe import Field, SObject, address_fields, system_fields, with_fields

STAGES = (
    "Prospecting",
    "Qualification",
    "Proposal/Price Quote",
    "Negotiation/Review",
    "Closed Won",
    "Closed Lost",
)
INDUSTRIES = ("Banking", "Biotechnology", "Education", "Energy", "Retail", "Technology")
SOURCES = ("Web", "Phone Inquiry", "Partner Referral", "Purchased List", "Other")
INTERESTS = ("Analytics", "Data warehouse", "E-mail", "Mobile")
MEMBER_STATUSES = ("Sent", "Opened", "Responded", "Attended")


def _text(name: str, length: int = 255, *, compound: str | None = None, **more: bool) -> Field:
    return Field(
        name=name, type="string", length=length, compound=compound, nillable=not more.get("must")
    )


def _ref(name: str, *refers_to: str, must: bool = False) -> Field:
    return Field(name=name, type="reference", refers_to=refers_to, nillable=not must)


def _pick(
    name: str,
    *values: str,
    must: bool = False,
    compound: str | None = None,
    default: str | None = None,
) -> Field:
    return Field(
        name=name,
        type="picklist",
        values=values,
        nillable=not must,
        compound=compound,
        default=default,
    )


def _flag(name: str, **more: bool) -> Field:
    return Field(name=name, type="boolean", nillable=False, calculated=more.get("formula", False))


def _of(kind: str, *names: str) -> tuple[Field, ...]:
    return tuple(Field(name=name, type=kind) for name in names)


def _money(name: str, *, scale: int = 2) -> Field:
    return Field(name=name, type="currency", scale=scale)


def _long(name: str) -> Field:
    return Field(name=name, type="textarea", length=32_000)


def _viewed() -> tuple[Field, ...]:
    return (
        Field(name="LastActivityDate", type="date"),
        *_of("datetime", "LastViewedDate", "LastReferencedDate"),
    )


def _person(*, length: int = 40) -> tuple[Field, ...]:
    return (
        _text("LastName", 80, compound="Name", must=True),
        _text("FirstName", length, compound="Name"),
        _pick("Salutation", "Mr.", "Ms.", "Dr.", compound="Name"),
        _text("Name", 121, must=True),
    )


def _email(name: str = "Email", label: str = "") -> Field:
    return Field(
        name=name, type="email", label=label, compliance="GDPR;PII", sensitivity="Confidential"
    )


ACCOUNT = SObject(
    name="Account",
    key_prefix="001",
    mergeable=True,
    fields=with_fields(
        system_fields(),
        _ref("MasterRecordId", "Account"),
        _text("Name", 255, must=True),
        _pick("Type", "Customer", "Prospect", "Partner"),
        _ref("ParentId", "Account"),
        address_fields("Billing"),
        address_fields("Shipping"),
        _of("phone", "Phone", "Fax"),
        _text("AccountNumber", 40),
        _of("url", "Website", "PhotoUrl"),
        _text("Sic", 20),
        _pick("Industry", *INDUSTRIES),
        _money("AnnualRevenue", scale=0),
        Field(name="NumberOfEmployees", type="int", label="Employees"),
        _pick("Rating", "Hot", "Warm", "Cold"),
        _long("Description"),
        _ref("OwnerId", "User", must=True),
        _viewed(),
        _pick("AccountSource", *SOURCES),
        _pick("Tier__c", "Gold", "Silver", "Bronze"),
        Field(name="Won_Amount__c", type="currency", calculated=True),
        Field(
            name="Health_Score__c",
            type="double",
            precision=5,
            scale=1,
            calculated=True,
            formula="10 - Open_Cases__c",
            help="Ten, less one for each open case.",
        ),
    ),
)

CONTACT = SObject(
    name="Contact",
    key_prefix="003",
    mergeable=True,
    fields=with_fields(
        system_fields(),
        _ref("MasterRecordId", "Contact"),
        _ref("AccountId", "Account"),
        _person(),
        address_fields("Mailing"),
        address_fields("Other"),
        _of("phone", "Phone", "Fax", "MobilePhone", "HomePhone"),
        _ref("ReportsToId", "Contact"),
        _email(),
        _text("Title", 128),
        _text("Department", 80),
        _pick("LeadSource", *SOURCES),
        Field(name="Birthdate", type="date", compliance="PII", sensitivity="Restricted"),
        _long("Description"),
        _ref("OwnerId", "User", must=True),
        _flag("HasOptedOutOfEmail"),
        _flag("DoNotCall"),
        _viewed(),
        _text("EmailBouncedReason", 255),
        Field(name="EmailBouncedDate", type="datetime"),
        _flag("IsEmailBounced"),
        _ref("IndividualId", "Individual"),
        Field(
            name="ltv__c",
            type="currency",
            label="Lifetime value",
            description="What this person has spent so far, in the org's currency.",
        ),
        Field(name="Engagement__c", type="percent", precision=5, scale=1),
        Field(name="Visits__c", type="double", scale=0, label="Visits"),
        Field(name="Interests__c", type="multipicklist", values=INTERESTS),
        Field(name="Preferred_Time__c", type="time"),
        Field(name="Score__c", type="double", scale=1, calculated=True, formula="Visits__c * 0.1"),
        _email("npe01__HomeEmail__c", "Home Email"),
        _of("location", "Home__c"),
        Field(name="Home__Latitude__s", type="double", scale=6, compound="Home__c"),
        Field(name="Home__Longitude__s", type="double", scale=6, compound="Home__c"),
    ),
)

LEAD = SObject(
    name="Lead",
    key_prefix="00Q",
    mergeable=True,
    fields=with_fields(
        system_fields(),
        _ref("MasterRecordId", "Lead"),
        _person(),
        _text("Title", 128),
        _text("Company", 255, must=True),
        address_fields(""),
        _of("phone", "Phone", "MobilePhone"),
        _email(),
        _of("url", "Website"),
        _long("Description"),
        _pick("LeadSource", *SOURCES),
        _pick("Status", "Open", "Working", "Qualified", "Unqualified", must=True, default="Open"),
        _pick("Industry", *INDUSTRIES),
        _pick("Rating", "Hot", "Warm", "Cold"),
        _money("AnnualRevenue", scale=0),
        Field(name="NumberOfEmployees", type="int"),
        _ref("OwnerId", "Group", "User", must=True),
        _flag("HasOptedOutOfEmail"),
        _flag("IsConverted"),
        Field(name="ConvertedDate", type="date"),
        _ref("ConvertedAccountId", "Account"),
        _ref("ConvertedContactId", "Contact"),
        _ref("ConvertedOpportunityId", "Opportunity"),
        _viewed(),
    ),
)

OPPORTUNITY = SObject(
    name="Opportunity",
    key_prefix="006",
    fields=with_fields(
        system_fields(),
        _ref("AccountId", "Account"),
        _flag("IsPrivate"),
        _text("Name", 120, must=True),
        _long("Description"),
        _pick("StageName", *STAGES, must=True),
        _money("Amount"),
        Field(name="Probability", type="percent", precision=3, scale=0),
        _money("ExpectedRevenue"),
        Field(name="TotalOpportunityQuantity", type="double"),
        Field(name="CloseDate", type="date", nillable=False),
        _pick("Type", "New Business", "Renewal", "Upgrade"),
        _text("NextStep", 255),
        _pick("LeadSource", *SOURCES),
        _flag("IsClosed"),
        _flag("IsWon"),
        _pick("ForecastCategory", "Pipeline", "BestCase", "Closed", "Omitted", must=True),
        _ref("CampaignId", "Campaign"),
        _ref("OwnerId", "User", must=True),
        _viewed(),
        Field(name="LastStageChangeDate", type="datetime"),
        Field(name="FiscalQuarter", type="int", compound="Fiscal"),
        Field(name="FiscalYear", type="int", compound="Fiscal"),
        Field(name="Fiscal", type="string", length=6, label="Fiscal Period"),
        _ref("ContactId", "Contact"),
    ),
)

CAMPAIGN = SObject(
    name="Campaign",
    key_prefix="701",
    fields=with_fields(
        system_fields(),
        _text("Name", 80, must=True),
        _ref("ParentId", "Campaign"),
        _pick("Type", "Email", "Webinar", "Conference"),
        _pick("Status", "Planned", "In Progress", "Completed"),
        _of("date", "StartDate", "EndDate"),
        _money("BudgetedCost", scale=0),
        _money("ActualCost", scale=0),
        Field(name="ExpectedResponse", type="percent", precision=10),
        _flag("IsActive"),
        _long("Description"),
        Field(name="NumberOfContacts", type="int", calculated=True, nillable=False),
        _ref("OwnerId", "User", must=True),
        _viewed(),
    ),
)

CAMPAIGN_MEMBER = SObject(
    name="CampaignMember",
    key_prefix="00v",
    undeletable=False,
    fields=with_fields(
        system_fields(),
        _ref("CampaignId", "Campaign", must=True),
        _ref("LeadId", "Lead"),
        _ref("ContactId", "Contact"),
        _pick("Status", *MEMBER_STATUSES, default="Sent"),
        _flag("HasResponded"),
        Field(name="FirstRespondedDate", type="date"),
    ),
)

CASE = SObject(
    name="Case",
    key_prefix="500",
    fields=with_fields(
        system_fields(),
        Field(name="CaseNumber", type="string", length=30, nillable=False, auto_number=True),
        _ref("ContactId", "Contact"),
        _ref("AccountId", "Account"),
        _pick("Type", "Question", "Problem"),
        _pick("Status", "New", "Working", "Escalated", "Closed"),
        _pick("Reason", "Installation", "Performance", "Billing"),
        _pick("Origin", "Phone", "Email", "Web"),
        _text("Subject", 255),
        _pick("Priority", "High", "Medium", "Low"),
        _long("Description"),
        _flag("IsClosed"),
        Field(name="ClosedDate", type="datetime"),
        _flag("IsEscalated"),
        _ref("OwnerId", "Group", "User", must=True),
        _viewed()[1:],
    ),
)

TASK = SObject(
    name="Task",
    key_prefix="00T",
    fields=with_fields(
        system_fields(),
        _ref("WhoId", "Contact", "Lead"),
        _ref("WhatId", "Account", "Opportunity", "Campaign", "Case"),
        Field(name="Subject", type="combobox", length=255, values=("Call", "Send Letter")),
        Field(name="ActivityDate", type="date", label="Due Date Only"),
        _pick(
            "Status", "Not Started", "In Progress", "Completed", must=True, default="Not Started"
        ),
        _pick("Priority", "High", "Normal", "Low", must=True, default="Normal"),
        _flag("IsHighPriority"),
        _ref("OwnerId", "User", must=True),
        _long("Description"),
        _flag("IsClosed"),
        _flag("IsArchived"),
        Field(name="CallDurationInSeconds", type="int"),
    ),
)

EVENT = SObject(
    name="Event",
    key_prefix="00U",
    fields=with_fields(
        system_fields(),
        _ref("WhoId", "Contact", "Lead"),
        _ref("WhatId", "Account", "Opportunity", "Campaign", "Case"),
        Field(name="Subject", type="combobox", length=255, values=("Call", "Meeting")),
        _text("Location", 255),
        _flag("IsAllDayEvent"),
        _of("datetime", "ActivityDateTime", "StartDateTime", "EndDateTime"),
        Field(name="ActivityDate", type="date"),
        Field(name="DurationInMinutes", type="int"),
        _ref("OwnerId", "User", must=True),
        _long("Description"),
        _flag("IsArchived"),
    ),
)

USER = SObject(
    name="User",
    key_prefix="005",
    undeletable=False,
    fields=with_fields(
        system_fields(deleted=False),
        _text("Username", 80, must=True),
        _person(),
        _text("CompanyName", 80),
        _text("Department", 80),
        _text("Title", 80),
        _email(),
        _text("Alias", 8, must=True),
        _flag("IsActive"),
        _pick("TimeZoneSidKey", "Europe/Berlin", "America/New_York", must=True),
        _pick("LocaleSidKey", "en_US", "de_DE", must=True),
        Field(name="LastLoginDate", type="datetime"),
    ),
)
