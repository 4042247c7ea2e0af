"""Invented records of a new org, the same for the same seed."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any

from tailrace.testing.org import catalog, names
from tailrace.testing.org.store import OrgStore

Values = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Number of records per object in a new org."""

    users: int = 8
    accounts: int = 60
    contacts: int = 200
    leads: int = 80
    opportunities: int = 120
    campaigns: int = 6
    campaign_members: int = 240
    cases: int = 90
    tasks: int = 120
    events: int = 60


def seed_org(org: OrgStore, sizes: Sizes) -> None:
    """Fill an empty org."""
    seeder = Seeder(org, random.Random(org.seed))
    for kind in (
        "user", "account", "contact", "lead", "campaign", "opportunity", "case", "task", "event"
    ):  # fmt: skip
        for number in range(getattr(sizes, _plural(kind))):
            seeder.add(kind, number)
    seeder.campaign_members(sizes.campaign_members)
    seeder.odd_ones()


def _plural(kind: str) -> str:
    return "opportunities" if kind == "opportunity" else f"{kind}s"


class Seeder:
    """Creates invented records, also on later days."""

    def __init__(self, org: OrgStore, chance: random.Random) -> None:
        self.org = org
        self.chance = chance

    def add(self, kind: str, number: int, *, at: datetime | None = None) -> str:
        """Create one record of a kind: `contact`, `opportunity` …"""
        values = getattr(self, f"_{kind}")(number)
        sobject = kind.capitalize()
        created = at or self.past(900)
        record_id = self.org.insert(sobject, values, at=created)
        if at is None and self.chance.random() < 0.6:
            touched = created + (self.org.now() - created) * self.chance.random()
            self.org.update(sobject, record_id, {}, at=touched)
        return record_id

    def past(self, days: int) -> datetime:
        """A random time in the last `days` days, at least an hour ago."""
        seconds = self.chance.randrange(3_600, days * 86_400)
        return self.org.now() - timedelta(seconds=seconds)

    def one(self, sobject: str) -> str | None:
        """The id of a random record; None if there are none."""
        ids = self.org.rows(sobject).ids()
        return self.chance.choice(ids) if ids else None

    def maybe(self, share: float, value: Any) -> Any:
        """The value with a probability of `share`, else None."""
        return value if self.chance.random() < share else None

    def pick(self, values: tuple[str, ...]) -> str:
        """A random value."""
        return self.chance.choice(values)

    def campaign_members(self, rows: int) -> None:
        """Add contacts and some leads to campaigns, once per person and campaign."""
        taken: set[tuple[str | None, str | None]] = set()
        for _ in range(rows):
            person = "Lead" if self.chance.random() < 0.2 else "Contact"
            pair = (self.one("Campaign"), self.one(person))
            if None in pair or pair in taken:
                continue
            taken.add(pair)
            values = {"CampaignId": pair[0], f"{person}Id": pair[1]}
            values["Status"] = self.pick(catalog.MEMBER_STATUSES)
            self.org.insert("CampaignMember", values, at=self.past(300))

    def odd_ones(self) -> None:
        """A few records of the special objects."""
        account = self.one("Account")
        for label, closed in (("New", False), ("Working", False), ("Closed", True)):
            values = {"MasterLabel": label, "ApiName": label, "IsClosed": closed}
            self.org.insert("CaseStatus", values, at=self.past(900))
        if account is None:
            return
        for number in range(3):
            body = b"%PDF-1.7 not really"
            attachment = {"ParentId": account, "Name": f"scan {number}.pdf", "Body": body}
            self.org.insert("Attachment", {**attachment, "BodyLength": len(body)}, at=self.past(90))
            history = {"AccountId": account, "Field": "Name", "DataType": "Text"}
            self.org.insert("AccountHistory", history, at=self.past(90))
            login = {"UserId": self.one("User"), "LoginTime": self.past(9), "Status": "Success"}
            self.org.insert("LoginHistory", login)

    def _user(self, number: int) -> Values:
        values = self._named(number)
        return values | {
            "Username": f"user{number}@example.com.invalid",
            "Email": f"user{number}@example.com",
            "Alias": f"user{number}",
            "IsActive": number != 3,
            "TimeZoneSidKey": "Europe/Berlin",
            "LocaleSidKey": "en_US",
        }

    def _account(self, number: int) -> Values:
        place = self.chance.randrange(len(names.CITIES))
        website = f"https://www.example.com/{number}"
        return {
            "Name": f"{self.pick(names.COMPANIES)} {self.pick(names.ENDINGS)}",
            "Type": self.maybe(0.9, self.pick(("Customer", "Prospect", "Partner"))),
            "Industry": self.maybe(0.9, self.pick(catalog.INDUSTRIES)),
            "AnnualRevenue": self.maybe(0.7, self.chance.randrange(1, 900) * 1e5),
            "NumberOfEmployees": self.maybe(0.7, self.chance.randrange(3, 9_000)),
            "Website": self.maybe(0.8, website),
            "Phone": self.maybe(0.8, self.pick(names.PHONES)),
            "AccountNumber": f"{number:05d}",
            "Rating": self.maybe(0.4, self.pick(("Hot", "Warm", "Cold"))),
            "Tier__c": self.maybe(0.8, self.pick(("Gold", "Silver", "Bronze"))),
            "Description": self.maybe(0.2, self.pick(names.POOLS["Description"])),
            "OwnerId": self.one("User"),
            "ParentId": self.maybe(0.1, self.one("Account")),
            **self._address("Billing", place),
        }

    def _contact(self, number: int) -> Values:
        values = self._named(number)
        email = self._email(values, number)
        return values | {
            "AccountId": self.maybe(0.97, self.one("Account")),
            "Email": self.maybe(0.95, email),
            "npe01__HomeEmail__c": self.maybe(0.3, email.replace("@", ".home@")),
            "Title": self.maybe(0.8, self.pick(names.TITLES)),
            "Department": self.maybe(0.6, self.pick(names.DEPARTMENTS)),
            "LeadSource": self.maybe(0.7, self.pick(catalog.SOURCES)),
            "Phone": self.maybe(0.7, self.pick(names.PHONES)),
            "MobilePhone": self.maybe(0.4, self.pick(names.PHONES)),
            "Birthdate": self.maybe(
                0.5, date(1950, 1, 1) + timedelta(self.chance.randrange(20_000))
            ),
            "HasOptedOutOfEmail": self.chance.random() < 0.08,
            "OwnerId": self.one("User"),
            "ltv__c": self.maybe(0.8, self.chance.randrange(0, 9_000_000) / 100),
            "Engagement__c": self.maybe(0.7, self.chance.randrange(0, 1_000) / 10),
            "Visits__c": self.maybe(0.8, float(self.chance.randrange(0, 400))),
            "Interests__c": self.maybe(0.6, self.pick(names.several(catalog.INTERESTS))),
            "Preferred_Time__c": self.maybe(0.3, time(self.chance.randrange(7, 20), 30)),
            "Description": self.maybe(0.1, self.pick(names.POOLS["Description"])),
            **self._address("Mailing", self.chance.randrange(len(names.CITIES))),
        }

    def _lead(self, number: int) -> Values:
        values = self._named(number)
        return values | {
            "Company": f"{self.pick(names.COMPANIES)} {self.pick(names.ENDINGS)}",
            "Email": self.maybe(0.95, self._email(values, number).replace("@", ".lead@")),
            "Status": self.pick(("Open", "Working", "Qualified", "Unqualified")),
            "LeadSource": self.maybe(0.8, self.pick(catalog.SOURCES)),
            "Industry": self.maybe(0.6, self.pick(catalog.INDUSTRIES)),
            "Rating": self.maybe(0.5, self.pick(("Hot", "Warm", "Cold"))),
            "Title": self.maybe(0.7, self.pick(names.TITLES)),
            "HasOptedOutOfEmail": self.chance.random() < 0.05,
            "OwnerId": self.one("User"),
            **self._address("", self.chance.randrange(len(names.CITIES))),
        }

    def _campaign(self, number: int) -> Values:
        kinds = ("Email", "Webinar", "Conference")
        start = (self.org.now() - timedelta(days=200 - 30 * number)).date()
        return {
            "Name": f"{kinds[number % 3]} {start:%B %Y}",
            "Type": kinds[number % 3],
            "Status": self.pick(("Planned", "In Progress", "Completed")),
            "StartDate": start,
            "EndDate": start + timedelta(days=14),
            "BudgetedCost": self.chance.randrange(1, 90) * 1e3,
            "IsActive": number % 2 == 0,
            "OwnerId": self.one("User"),
        }

    def _opportunity(self, number: int) -> Values:
        stage = self.pick(catalog.STAGES)
        ahead = 0 if stage.startswith("Closed") else 120
        close = self.org.now().date() + timedelta(days=ahead - self.chance.randrange(0, 500))
        return {
            "Name": f"{self.pick(('Renewal', 'New', 'Upgrade'))} {number:03d}",
            "AccountId": self.maybe(0.97, self.one("Account")),
            "StageName": stage,
            "Amount": self.maybe(0.95, self.chance.randrange(5, 1_200) * 100 + 0.5),
            "CloseDate": close,
            "Type": self.maybe(0.8, self.pick(("New Business", "Renewal", "Upgrade"))),
            "LeadSource": self.maybe(0.5, self.pick(catalog.SOURCES)),
            "CampaignId": self.maybe(0.3, self.one("Campaign")),
            "ContactId": self.maybe(0.6, self.one("Contact")),
            "NextStep": self.maybe(0.3, "Send the offer"),
            "OwnerId": self.one("User"),
        }

    def _case(self, number: int) -> Values:
        return {
            "CaseNumber": f"{number + 1:08d}",
            "ContactId": self.maybe(0.9, self.one("Contact")),
            "AccountId": self.maybe(0.9, self.one("Account")),
            "Status": self.pick(("New", "Working", "Escalated", "Closed", "Closed", "Closed")),
            "Type": self.maybe(0.7, self.pick(("Question", "Problem"))),
            "Origin": self.pick(("Phone", "Email", "Web")),
            "Subject": self.pick(names.SUBJECTS),
            "Priority": self.pick(("High", "Medium", "Low")),
            "OwnerId": self.one("User"),
        }

    def _task(self, number: int) -> Values:
        done = self.chance.random() < 0.7
        return {
            "Subject": self.pick(("Call", "Send Letter")),
            "WhoId": self.maybe(0.9, self.one("Contact")),
            "WhatId": self.maybe(0.5, self.one("Opportunity")),
            "Status": "Completed" if done else "Not Started",
            "IsClosed": done,
            "IsArchived": done and self.chance.random() < 0.1,
            "Priority": "Normal",
            "ActivityDate": self.maybe(0.9, self.past(200).date()),
            "CallDurationInSeconds": self.maybe(0.3, self.chance.randrange(10, 4_000)),
            "OwnerId": self.one("User"),
        }

    def _event(self, number: int) -> Values:
        start = self.past(200).replace(minute=0, second=0, microsecond=0)
        return {
            "Subject": self.pick(("Call", "Meeting")),
            "WhoId": self.maybe(0.9, self.one("Contact")),
            "Location": self.maybe(0.5, self.pick(names.CITIES)),
            "StartDateTime": start,
            "ActivityDateTime": start,
            "EndDateTime": start + timedelta(minutes=30),
            "ActivityDate": start.date(),
            "DurationInMinutes": 30,
            "OwnerId": self.one("User"),
        }

    def _birthday(self) -> date:
        return date(1950, 1, 1) + timedelta(days=self.chance.randrange(20_000))

    def _named(self, number: int) -> Values:
        first = names.FIRST_NAMES[(number * 7 + self.chance.randrange(3)) % len(names.FIRST_NAMES)]
        return {"FirstName": self.maybe(0.98, first), "LastName": self.pick(names.LAST_NAMES)}

    def _email(self, values: Values, number: int) -> str:
        plain = "".join(c for c in str(values["LastName"]).lower() if "a" <= c <= "z")
        return f"{plain}.{number}@example.com"

    def _address(self, prefix: str, place: int) -> Values:
        if self.chance.random() < 0.15:
            return {}
        exact = self.chance.random() < 0.5
        return {
            f"{prefix}Street": self.pick(names.STREETS),
            f"{prefix}City": names.CITIES[place],
            f"{prefix}Country": names.COUNTRIES[place],
            f"{prefix}PostalCode": self.pick(names.POOLS["PostalCode"]),
            f"{prefix}Latitude": round(self.chance.uniform(-60, 60), 6) if exact else None,
            f"{prefix}Longitude": round(self.chance.uniform(-180, 180), 6) if exact else None,
        }
