"""Records of a batch: which requests are made, and what becomes of each row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from salesforce_org import Org, forget_writes, served_org

from tailrace.destinations.salesforce.records import RowResult
from tailrace.errors import NoAnswer, QuotaSpent, SalesforceFault
from tailrace.testing import Fault, SalesforceSimulator
from tailrace.testing.salesforce.write_settings import RowFault

UPSERT = ("PATCH", "composite/sobjects/Contact/Crm_Key__c")
LOCKED = RowFault(code="UNABLE_TO_LOCK_ROW", sobject="Contact")


@pytest.fixture(scope="module")
def served() -> Iterator[SalesforceSimulator]:
    with served_org(polls=1) as running:
        yield running


@pytest.fixture
def simulator(served: SalesforceSimulator) -> Iterator[SalesforceSimulator]:
    yield served
    forget_writes(served)


def keys(count: int, first: int = 1) -> list[dict[str, Any]]:
    return [{"Crm_Key__c": f"c-{n:04d}", "Health__c": n % 90} for n in range(first, first + count)]


def test_a_row_keeps_its_own_result(simulator: SalesforceSimulator) -> None:
    """Each row has its result, and a refused row does not affect its neighbours."""
    org = Org(simulator)
    before = org.record("c-0003")
    codes = org.write(
        "upsert",
        {"Crm_Key__c": "c-0001", "Plan_Tier__c": "gold"},
        {"Crm_Key__c": "c-0002", "Plan_Tier__c": "platinum"},
        {"Crm_Key__c": "c-0003", "Plan_Tier__c": None},
    )
    assert codes == ["", "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", ""]
    assert org.record("c-0001")["Plan_Tier__c"] == "gold"
    after = org.record("c-0003")
    assert {name for name in after if after[name] != before.get(name)} <= {
        "Plan_Tier__c", "SystemModstamp", "LastModifiedDate", "LastModifiedById"
    }  # fmt: skip


def test_headers_leave_owners_and_duplicates_alone(simulator: SalesforceSimulator) -> None:
    """Without Sforce-Auto-Assign: FALSE the owner of a lead would change."""
    user = simulator.org.rows("User").ids()[-1]
    simulator.writer.settings.assignment_owner = user
    record = {"Crm_Key__c": "l-0001", "Plan_Tier__c": "gold"}
    quiet = Org(simulator, object="Lead")
    owner = quiet.record("l-0001", "Lead")["OwnerId"]
    assert owner != user
    assert quiet.write("upsert", record) == [""]
    assert quiet.record("l-0001", "Lead")["OwnerId"] == owner
    (write,) = simulator.writer.writes
    assert write.client == "tailrace"
    assert Org(simulator, object="Lead", assignment_rules=True).write("upsert", record) == [""]
    assert quiet.record("l-0001", "Lead")["OwnerId"] == user


@pytest.mark.parametrize(("rule", "code"), [("block", "DUPLICATES_DETECTED"), ("allow", "")])
def test_duplicate_rules(simulator: SalesforceSimulator, rule: str, code: str) -> None:
    simulator.writer.settings.duplicate_rules = {"Contact": ("LastName", "Email")}
    org = Org(simulator, duplicate_rules=rule)
    twin = org.record("c-0001")
    new = {"Crm_Key__c": f"twin-{rule}", "LastName": twin["LastName"], "Email": twin["Email"]}
    assert org.write("upsert", new) == [code]


def test_rows_are_grouped_by_their_fields(simulator: SalesforceSimulator) -> None:
    """A request has rows of one set of fields, and results stand in the order of the messages."""
    org = Org(simulator)
    codes = org.write(
        "upsert",
        {"Crm_Key__c": "c-0001", "Health__c": 1},
        {"Crm_Key__c": "c-0002", "Plan_Tier__c": "none"},
        {"Crm_Key__c": "c-0003", "Health__c": 3},
    )
    assert codes == ["", "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", ""]
    assert org.requests() == [UPSERT, UPSERT]


def test_200_rows_a_request(simulator: SalesforceSimulator) -> None:
    org = Org(simulator)
    assert org.write("upsert", *keys(250)) == [""] * 250
    assert org.requests() == [UPSERT, UPSERT]


def test_locked_rows_are_sent_again_alone(simulator: SalesforceSimulator) -> None:
    """Only the locked rows are repeated, after a pause, in smaller requests."""
    org = Org(simulator)
    simulator.writer.row_faults.append(
        RowFault(code="UNABLE_TO_LOCK_ROW", when=lambda v: v["Health__c"] == 7, times=2)
    )
    assert org.write("upsert", *keys(20)) == [""] * 20
    assert len(simulator.writer.writes) == 20
    assert len(org.requests()) == 3
    assert len(org.clock.slept) == 2


def test_a_row_that_stays_locked(simulator: SalesforceSimulator) -> None:
    """It gets a bounded number of attempts, and its neighbours are written once."""
    org = Org(simulator)
    simulator.writer.row_faults.append(
        RowFault(code="UNABLE_TO_LOCK_ROW", when=lambda v: v["Health__c"] == 3, times=None)
    )
    assert org.write("upsert", *keys(4)) == ["", "", "UNABLE_TO_LOCK_ROW", ""]
    assert len(simulator.writer.writes) == 3
    assert len(org.requests()) == 8


def test_a_trigger_that_takes_few_rows(simulator: SalesforceSimulator) -> None:
    """The limit is met by smaller requests, and later requests are small from the start."""
    org = Org(simulator)
    simulator.writer.settings.trigger_rows_max = {"Contact": 10}
    assert org.write("upsert", *keys(60)) == [""] * 60
    assert len(simulator.writer.writes) == 60
    simulator.requests.clear()
    assert org.write("upsert", *keys(20, first=100)) == [""] * 20
    assert org.requests() == [UPSERT, UPSERT]


def test_update_never_creates(simulator: SalesforceSimulator) -> None:
    org = Org(simulator, mode="update")
    rows = simulator.org.rows("Contact")
    count = len(list(rows.ids()))
    codes = org.write("update", {"Crm_Key__c": "C-0001", "Health__c": 5}, {"Crm_Key__c": "nowhere"})
    assert codes == ["", "NO_RECORD"]
    assert org.record("c-0001")["Health__c"] == 5
    assert len(list(rows.ids())) == count
    assert [method for method, _ in org.requests()] == ["GET", "PATCH", "GET"]


def test_several_records_of_a_key(simulator: SalesforceSimulator) -> None:
    """None of them is written: nobody could say which one was meant."""
    org = Org(simulator, match={"LastName": "name"}, mode="update")
    names = [row["LastName"] for row in simulator.org.rows("Contact").records()]
    twice = next(name for name in names if names.count(name) > 1)
    assert org.write("update", {"LastName": twice, "Health__c": 1}) == ["DUPLICATE_EXTERNAL_ID"]
    assert simulator.writer.writes == []


def test_exits(simulator: SalesforceSimulator) -> None:
    """An exit changes or deletes an existing record, and is done if there is none."""
    org = Org(simulator, on_exit="delete")
    org.write("upsert", {"Crm_Key__c": "gone-1", "LastName": "Gone"})
    assert org.write("delete", {"Crm_Key__c": "gone-1"}, {"Crm_Key__c": "nowhere"}) == ["", ""]
    deleted = [r for r in simulator.org.rows("Contact").records() if r.get("IsDeleted")]
    assert [row["Crm_Key__c"] for row in deleted] == ["gone-1"]
    cleared = {"Crm_Key__c": "c-0009", "Health__c": None}
    assert org.write("clear", cleared, {"Crm_Key__c": "nowhere", "Health__c": None}) == ["", ""]
    assert org.record("c-0009")["Health__c"] is None


def test_records_by_id(simulator: SalesforceSimulator) -> None:
    org = Org(simulator, match={"Id": "contact_id"})
    record_id = org.record("c-0299")["Id"]
    assert org.write("update", {"Id": record_id, "Health__c": 11}) == [""]
    assert org.record("c-0299")["Health__c"] == 11
    assert org.requests() == [("PATCH", "composite/sobjects")]
    assert org.write("delete", {"Id": record_id}) == [""]
    assert org.write("delete", {"Id": record_id}) == [""], "deleted already"


class TestCampaignMembers:
    """Members are matched by campaign and person."""

    def member(self, simulator: SalesforceSimulator, place: int, **values: Any) -> dict[str, Any]:
        campaign = next(iter(simulator.org.rows("Campaign").ids()))
        contact = list(simulator.org.rows("Contact").ids())[place]
        return {"CampaignId": campaign, "ContactId": contact, **values}

    def org(self, simulator: SalesforceSimulator) -> Org:
        match = {"CampaignId": "campaign_id", "ContactId": "contact_id"}
        return Org(simulator, object="CampaignMember", match=match, fields={"Status": "status"})

    def members(self, simulator: SalesforceSimulator) -> list[dict[str, Any]]:
        rows = simulator.org.rows("CampaignMember").records()
        return [row for row in rows if not row.get("IsDeleted")]

    def test_added_and_updated(self, simulator: SalesforceSimulator) -> None:
        org = self.org(simulator)
        row = self.member(simulator, 20, Status="Sent")
        assert org.write("member", row) == [""]
        assert org.write("member", row | {"Status": "Responded"}) == [""]
        (member,) = self.members(simulator)
        assert member["Status"] == "Responded"
        assert org.write("set", row | {"Status": "Sent"}) == [""]
        assert org.write("delete", row) == [""]
        assert org.write("delete", row) == [""]
        assert self.members(simulator) == []

    def test_member_since_the_query(self, simulator: SalesforceSimulator) -> None:
        """Already a campaign member is a success, and the Status is written."""
        org = self.org(simulator)
        row = self.member(simulator, 21, Status="Responded")
        seen = org.writer._member_ids
        answers = iter([[None]])
        org.writer._member_ids = lambda rows: next(answers, None) or seen(rows)  # type: ignore
        simulator.org.insert("CampaignMember", {**row, "Status": "Sent"})
        assert org.write("member", row) == [""]
        (member,) = self.members(simulator)
        assert member["Status"] == "Responded"


def test_events(simulator: SalesforceSimulator) -> None:
    """A published event is a success although its result has an entry in errors."""
    fields = {"Email__c": "email"}
    org = Org(simulator, object="Vip_Change__e", match={}, fields=fields)
    codes = org.write("publish", {"Email__c": "a@example.com"}, {"Tier__c": "gold"})
    assert codes == ["", "REQUIRED_FIELD_MISSING"]
    assert [event.values["Email__c"] for event in simulator.writer.events] == ["a@example.com"]


def test_results_survive_a_failed_request(simulator: SalesforceSimulator) -> None:
    """A repeated batch sends only the rows whose result is not known."""
    org = Org(simulator)
    results: dict[str, RowResult] = {}
    simulator.faults.extend([Fault(path="*/composite/*", nth=2, cut="before")])
    with pytest.raises(NoAnswer):
        org.write("upsert", *keys(250), results=results)
    assert len(results) == 200
    simulator.writer.writes.clear()
    assert org.write("upsert", *keys(250), results=results) == [""] * 250
    assert len(simulator.writer.writes) == 50


def test_a_request_that_is_refused(simulator: SalesforceSimulator) -> None:
    org = Org(simulator)
    with pytest.raises(SalesforceFault) as caught:
        org.write("upsert", {"Crm_Key__c": "c-0001", "Nowhere__c": 1})
    assert caught.value.code == "INVALID_FIELD"


def test_the_storage_is_full(simulator: SalesforceSimulator) -> None:
    """It ends the delivery; no row is rejected for it."""
    org = Org(simulator)
    simulator.writer.row_faults.append(RowFault(code="STORAGE_LIMIT_EXCEEDED", times=None))
    with pytest.raises(QuotaSpent):
        org.write("upsert", {"Crm_Key__c": "c-0001", "Health__c": 1})
