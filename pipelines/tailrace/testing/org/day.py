"""A day of typical changes in an org, and the list of what changed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from tailrace.testing.org import catalog
from tailrace.testing.org.changes import DayOfChanges, ObjectChanges
from tailrace.testing.org.seed import Seeder
from tailrace.testing.org.store import OrgStore

Record = dict[str, Any]


def play_day(org: OrgStore) -> DayOfChanges:
    """Move the clock by a day and apply its changes."""
    org.days += 1
    since = org.now().replace(microsecond=0)
    day = _Day(org, since)
    before = {spec.name: _snapshot(org, spec.name) for spec in org.objects()}
    org.advance(days=1)
    day.work()
    recalculated = org.recalculate()
    return _truth(org, day, before, recalculated)


class _Day:
    """The changes of one day, at increasing times."""

    def __init__(self, org: OrgStore, since: datetime) -> None:
        self.org = org
        self.since = since
        self.chance = random.Random(f"{org.seed}/{org.days}")
        self.seeder = Seeder(org, self.chance)
        self.minutes = 30
        self.won: list[str] = []
        self.opted_out: list[str] = []

    def moment(self) -> datetime:
        """A time shortly after the previous one, within the day."""
        self.minutes = min(self.minutes + self.chance.randrange(1, 20), 23 * 60)
        return self.since + timedelta(minutes=self.minutes, seconds=self.chance.randrange(60))

    def work(self) -> None:
        self.sell()
        self.new_people()
        self.change_people()
        self.campaigns()
        self.service()
        self.clean_up()

    def some(self, sobject: str, count: int, **wanted: Any) -> Iterator[Record]:
        """Up to `count` random records, not deleted, that have these values."""
        records = [
            record
            for record in self.org.rows(sobject).records()
            if not record.get("IsDeleted")
            and all(record.get(name) == value for name, value in wanted.items())
        ]
        yield from self.chance.sample(records, min(count, len(records)))

    def sell(self) -> None:
        for deal in self.some("Opportunity", 3, IsClosed=False):
            at = self.moment()
            stage = {"StageName": "Closed Won", "CloseDate": at.date(), "LastStageChangeDate": at}
            amount = deal.get("Amount") or 60_000.0
            self.org.update("Opportunity", deal["Id"], {**stage, "Amount": amount}, at=at)
            self.won.append(deal["Id"])
        for deal in self.some("Opportunity", 1, IsClosed=False):
            self.org.update(
                "Opportunity", deal["Id"], {"StageName": "Closed Lost"}, at=self.moment()
            )
        for number in range(2):
            self.seeder.add("opportunity", 1_000 * self.org.days + number, at=self.moment())

    def new_people(self) -> None:
        self.seeder.add("account", 1_000 * self.org.days, at=self.moment())
        for number in range(4):
            self.seeder.add("contact", 1_000 * self.org.days + number, at=self.moment())
        self.seeder.add("lead", 1_000 * self.org.days, at=self.moment())

    def change_people(self) -> None:
        for contact in self.some("Contact", 2, HasOptedOutOfEmail=False):
            choice = {"HasOptedOutOfEmail": True}
            self.org.update("Contact", contact["Id"], choice, at=self.moment())
            self.opted_out.append(contact["Id"])
        for contact in self.some("Contact", 3):
            address = f"new.{self.org.days}.{contact['Id'][-6:].lower()}@example.com"
            self.org.update("Contact", contact["Id"], {"Email": address}, at=self.moment())
        for contact in self.some("Contact", 1):
            self.org.update("Contact", contact["Id"], {"Title": None}, at=self.moment())
        for account in self.some("Account", 2):
            tier = self.chance.choice(("Gold", "Silver", "Bronze"))
            self.org.update("Account", account["Id"], {"Tier__c": tier}, at=self.moment())
        for lead in self.some("Lead", 2, Status="Working"):
            self.org.update("Lead", lead["Id"], {"Status": "Qualified"}, at=self.moment())

    def campaigns(self) -> None:
        members = self.org.rows("CampaignMember").records()
        taken = {(member["CampaignId"], member.get("ContactId")) for member in members}
        for campaign in self.some("Campaign", 1):
            for contact in self.some("Contact", 5):
                pair = (campaign["Id"], contact["Id"])
                if pair not in taken:
                    values = {"CampaignId": pair[0], "ContactId": pair[1], "Status": "Sent"}
                    self.org.insert("CampaignMember", values, at=self.moment())
        for member in self.some("CampaignMember", 4, HasResponded=False):
            status = self.chance.choice(catalog.MEMBER_STATUSES[2:])
            at = self.moment()
            self.org.update("CampaignMember", member["Id"], {"Status": status}, at=at)

    def service(self) -> None:
        for case in self.some("Case", 3, IsClosed=False):
            self.org.update("Case", case["Id"], {"Status": "Closed"}, at=self.moment())
        for number in range(2):
            self.seeder.add("case", 1_000 * self.org.days + number, at=self.moment())
        for task in self.some("Task", 3, IsClosed=False):
            done = {"Status": "Completed", "IsClosed": True}
            self.org.update("Task", task["Id"], done, at=self.moment())

    def clean_up(self) -> None:
        deleted = [
            contact for contact in self.org.rows("Contact").records() if contact.get("IsDeleted")
        ]
        restorable = [contact["Id"] for contact in deleted if not contact.get("MasterRecordId")]
        for contact in list(self.some("Contact", 2)):
            self.org.delete("Contact", contact["Id"], at=self.moment())
        pair = [contact["Id"] for contact in self.some("Contact", 2)]
        if len(pair) == 2:
            self.org.merge("Contact", pair[0], pair[1], at=self.moment())
        if restorable:
            self.org.undelete("Contact", self.chance.choice(restorable), at=self.moment())
        for member in list(self.some("CampaignMember", 1)):
            self.org.purge("CampaignMember", member["Id"], at=self.moment())


def _snapshot(org: OrgStore, sobject: str) -> dict[str, Record]:
    return {record["Id"]: dict(record) for record in org.rows(sobject).records()}


def _truth(
    org: OrgStore,
    day: _Day,
    before: dict[str, dict[str, Record]],
    recalculated: dict[str, tuple[str, ...]],
) -> DayOfChanges:
    objects: dict[str, ObjectChanges] = {}
    for sobject, was in before.items():
        changes = _compared(was, _snapshot(org, sobject))
        changes["recalculated"] = recalculated.get(sobject, ())
        if any(changes.values()):
            objects[sobject] = ObjectChanges(**changes)
    living = {
        contact["Id"] for contact in org.rows("Contact").records() if not contact["IsDeleted"]
    }
    return DayOfChanges(
        day=org.days,
        since=day.since,
        until=org.now().replace(microsecond=0),
        objects=objects,
        won=tuple(day.won),
        opted_out=tuple(contact_id for contact_id in day.opted_out if contact_id in living),
    )


def _compared(was: dict[str, Record], now: dict[str, Record]) -> dict[str, Any]:
    inserted = [
        record_id
        for record_id in now
        if record_id not in was and not now[record_id].get("IsDeleted")
    ]
    deleted = [record_id for record_id in was if record_id not in now]
    updated: list[str] = []
    undeleted: list[str] = []
    merged: dict[str, str] = {}
    for record_id in was.keys() & now.keys():
        old, new = was[record_id], now[record_id]
        gone = (bool(old.get("IsDeleted")), bool(new.get("IsDeleted")))
        if gone == (False, True):
            deleted.append(record_id)
            if new.get("MasterRecordId"):
                merged[record_id] = new["MasterRecordId"]
        elif gone == (True, False):
            undeleted.append(record_id)
        elif old.get("SystemModstamp") != new.get("SystemModstamp"):
            updated.append(record_id)
    return {
        "inserted": tuple(inserted),
        "updated": tuple(sorted(updated)),
        "deleted": tuple(sorted(deleted)),
        "undeleted": tuple(sorted(undeleted)),
        "merged": merged,
    }
