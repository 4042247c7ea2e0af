"""The simulated org itself: its days, its masses, its shapes, and its life as a process."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import requests
from testing.test_salesforce import Client, refusal
from testing.test_salesforce_queries import bulk_rows, finished, job

from tailrace.testing import Fault, SalesforceSimulator
from tailrace.testing.org.describe import Field
from tailrace.testing.org.editions import add_wide_object, enable_currencies, enable_person_accounts
from tailrace.testing.org.org import START, Org, Sizes


@pytest.fixture
def simulator() -> Iterator[SalesforceSimulator]:
    with SalesforceSimulator(org=Org(ticking=False)) as running:
        running.bulk.settings.polls = 0
        yield running


@pytest.fixture
def client(simulator: SalesforceSimulator) -> Client:
    return Client(simulator)


def stamps(client: Client, sobject: str) -> dict[str, tuple[str, bool]]:
    """id -> SystemModstamp and IsDeleted of all rows, the recycle bin included."""
    query = f"SELECT Id, SystemModstamp, IsDeleted FROM {sobject}"
    return {
        each["Id"]: (each["SystemModstamp"], each["IsDeleted"])
        for each in client.rows(query, "queryAll")
    }


class TestDays:
    """A day of changes, and the truth about it."""

    def test_the_same_seed_gives_the_same_org(self) -> None:
        """Two orgs of one seed agree, day by day; another seed differs."""
        first, second, other = Org(ticking=False), Org(ticking=False), Org(seed=8, ticking=False)
        for _ in range(2):
            assert first.rows("Contact").records() == second.rows("Contact").records()
            assert first.advance_day() == second.advance_day()
        assert first.rows("Contact").records() != other.rows("Contact").records()

    def test_the_truth_is_what_a_client_sees(
        self, simulator: SalesforceSimulator, client: Client
    ) -> None:
        """Five days long, queryAll before and after gives exactly the changes that were told."""
        org = simulator.org
        names = ("Account", "Contact", "Opportunity", "CampaignMember", "Case", "Lead", "Task")
        for _ in range(5):
            before = {name: stamps(client, name) for name in names}
            day = org.advance_day()
            for name in names:
                was, now, told = before[name], stamps(client, name), day.objects[name]
                assert {each for each in now if each not in was} == set(told.inserted)
                gone = {each for each in was if not was[each][1] and now.get(each, ("", True))[1]}
                assert gone == set(told.deleted)
                back = {each for each in now if was.get(each, ("", False))[1] and not now[each][1]}
                assert back == set(told.undeleted)
                kept = was.keys() & now.keys()
                moved = {each for each in kept if was[each] != now[each]} - gone - back
                assert moved == set(told.updated)
        assert org.now() == START + timedelta(days=5)

    def test_a_day_has_something_of_everything(self) -> None:
        """Deals are won, people opt out, come, go, come back and merge; formulas move alone."""
        org = Org(ticking=False)
        org.advance_day()
        before = {each["Id"]: each for each in org.rows("Account").records()}
        day = org.advance_day()
        people = day.objects["Contact"]
        assert day.won
        assert day.opted_out
        assert people.inserted
        assert people.updated
        assert people.deleted
        assert people.undeleted
        loser, winner = next(iter(people.merged.items()))
        assert org.get("Contact", loser)["MasterRecordId"] == winner
        for won in day.won:
            assert org.get("Opportunity", won)["IsWon"] is True
        silent = [
            each
            for each in day.objects["Account"].recalculated
            if each not in day.objects["Account"].updated + day.objects["Account"].inserted
        ]
        assert silent
        for account in silent:
            after = org.get("Account", account)
            assert after["SystemModstamp"] == before[account]["SystemModstamp"]
            assert after != before[account]

    def test_changes_lie_within_the_day(self, simulator: SalesforceSimulator) -> None:
        """All times of a day are after its start and before its end."""
        org = simulator.org
        day = org.advance_day()
        for name, told in day.objects.items():
            for each in told.inserted + told.updated + told.undeleted:
                record = org.get(name, each)
                # A row of a field history is never changed.
                moment = record.get("SystemModstamp") or record["CreatedDate"]
                assert day.since.replace(tzinfo=None) < moment < day.until.replace(tzinfo=None)

    def test_sizes(self) -> None:
        """An org can be as small as one wants it."""
        org = Org(sizes=Sizes(contacts=3, leads=0, campaign_members=0), ticking=False)
        assert len(org.rows("Contact")) == 3
        assert len(org.rows("Lead")) == 0
        org.advance_day()


class TestRecycleBin:
    """What goes in, and what comes out."""

    def test_memberships_go_and_come_with_their_contact(self) -> None:
        """A deleted contact takes its campaign memberships along, and brings them back."""
        org = Org(ticking=False)
        member = next(
            each for each in org.rows("CampaignMember").records() if each.get("ContactId")
        )
        org.advance(hours=1)
        org.delete("Contact", member["ContactId"])
        assert org.get("CampaignMember", member["Id"])["IsDeleted"] is True
        org.advance(hours=1)
        org.undelete("Contact", member["ContactId"])
        assert org.get("CampaignMember", member["Id"])["IsDeleted"] is False
        assert org.deleted_between("Contact", START, org.now()) == []
        assert org.deleted_between("CampaignMember", START, org.now()) == []

    def test_a_merge_moves_the_children(self) -> None:
        """What belonged to the loser belongs to the winner."""
        org = Org(ticking=False)
        case = next(each for each in org.rows("Case").records() if each.get("ContactId"))
        winner = next(each for each in org.rows("Contact").ids() if each != case["ContactId"])
        org.merge("Contact", winner, case["ContactId"])
        assert org.get("Case", case["Id"])["ContactId"] == winner
        assert org.get("Contact", case["ContactId"])["MasterRecordId"] == winner

    def test_values_must_fit_their_fields(self) -> None:
        """A value that Salesforce would refuse is refused here."""
        org = Org(ticking=False)
        contact = org.rows("Contact").ids()[0]
        for values in (
            {"Nope": 1},
            {"LastName": 1},
            {"HasOptedOutOfEmail": "yes"},
            {"ltv__c": "x"},
        ):
            with pytest.raises(ValueError, match=next(iter(values))):
                org.update("Contact", contact, values)


class TestMass:
    """Generated rows."""

    def test_both_ways_give_the_same(self, simulator: SalesforceSimulator, client: Client) -> None:
        """A generated contact is the same over REST, Bulk and by its id."""
        simulator.org.add_mass("Contact", 3_000)
        query = "SELECT Id, Name, Email, MailingPostalCode, Title FROM Contact"
        rest = {each["Id"]: each for each in client.rows(query)}
        bulk = bulk_rows(client, query)
        assert len(rest) == len(bulk) == 3_200
        for row in bulk:
            assert {k: v or None for k, v in row.items()} == {k: rest[row["Id"]][k] for k in row}
        generated = next(each for each in rest if each.startswith("003Gn"))
        assert simulator.org.get("Contact", generated)["Email"] == rest[generated]["Email"]

    def test_they_can_be_changed(self, simulator: SalesforceSimulator, client: Client) -> None:
        """Updated, deleted and purged generated rows are what they became, and counted once."""
        org = simulator.org
        org.add_mass("Contact", 1_000)
        ids = [each for each in stamps(client, "Contact") if each.startswith("003Gn")]
        org.advance(hours=1)
        org.update("Contact", ids[0], {"Title": "Changed"})
        org.delete("Contact", ids[1])
        org.purge("Contact", ids[2])
        assert len(stamps(client, "Contact")) == 1_199
        since = "SystemModstamp >= 2026-11-20T07:00:00Z"
        changed = bulk_rows(
            client, f"SELECT Id, Title, IsDeleted FROM Contact WHERE {since}", "queryAll"
        )
        assert [(row["Id"], row["IsDeleted"]) for row in changed] == [
            (ids[0], "false"),
            (ids[1], "true"),
        ]
        updated = client.get(
            "sobjects/Contact/updated",
            start="2026-11-20T06:30:00Z",
            end="2026-11-20T07:30:00Z",
        ).json()
        assert updated["ids"] == [ids[0]]

    def test_a_delta(self, simulator: SalesforceSimulator, client: Client) -> None:
        """`touch` changes the first so many rows at once."""
        org = simulator.org
        org.add_mass("Contact", 2_000)
        org.advance(minutes=5)
        assert len(org.touch("Contact", 500, {"Title": "Touched"})) == 500
        rows = bulk_rows(
            client, "SELECT Id FROM Contact WHERE SystemModstamp >= 2026-11-20T06:05:00Z"
        )
        assert len(rows) == 500
        assert client.soql("SELECT COUNT() FROM Contact").json()["totalSize"] == 2_200

    def test_rendering_is_fast_and_kept(
        self, simulator: SalesforceSimulator, client: Client
    ) -> None:
        """A second job over the same rows costs the server next to nothing."""
        simulator.org.add_mass("Contact", 50_000)
        query = "SELECT Id, Name, Email, CreatedDate, ltv__c FROM Contact"
        started = time.process_time()
        client.get(f"{finished(client, query)}/results")
        first = time.process_time() - started
        started = time.process_time()
        client.get(f"{finished(client, query + ' WHERE IsDeleted = false')}/results")
        assert time.process_time() - started < max(first, 0.5)


class TestShapes:
    """Orgs that are built differently."""

    def test_person_accounts(self, simulator: SalesforceSimulator, client: Client) -> None:
        """A person account is an account with a name in parts, and has a contact."""
        made = enable_person_accounts(simulator.org, 3)
        rows = client.rows(
            "SELECT Id, Name, PersonContactId FROM Account WHERE IsPersonAccount = true"
        )
        assert {each["Id"] for each in rows} == set(made)
        assert rows[0]["Name"] == "Pat Person 0"
        contact = client.get(f"sobjects/Contact/{rows[0]['PersonContactId']}").json()
        assert contact["AccountId"] == rows[0]["Id"]
        fields = client.get("sobjects/Account/describe").json()["fields"]
        parts = {each["name"] for each in fields if each["compoundFieldName"] == "Name"}
        assert {"FirstName", "LastName", "Salutation"} <= parts

    def test_currencies(self, simulator: SalesforceSimulator, client: Client) -> None:
        """Rows with money carry their currency; the rates are an object of their own."""
        enable_currencies(simulator.org)
        rows = client.rows("SELECT CurrencyIsoCode FROM Opportunity")
        assert {each["CurrencyIsoCode"] for each in rows} == {"EUR", "USD", "JPY"}
        rates = client.rows("SELECT IsoCode, ConversionRate, IsCorporate FROM CurrencyType")
        assert [each["IsCorporate"] for each in rates] == [True, False, False]

    def test_a_wide_object(self, simulator: SalesforceSimulator, client: Client) -> None:
        """250 fields fit no URI, and do fit a Bulk job."""
        name = add_wide_object(simulator.org, rows=20, fields=450)
        fields = client.get(f"sobjects/{name}/describe").json()["fields"]
        assert len(fields) > 450
        query = f"SELECT {', '.join(each['name'] for each in fields)} FROM {name}"
        assert client.soql(query).status_code == 414
        assert len(bulk_rows(client, query)) == 20

    def test_fields_come_and_go(self, simulator: SalesforceSimulator, client: Client) -> None:
        """A new field, a removed one, a changed type: describe and rows follow."""
        org = simulator.org
        org.add_field("Contact", Field(name="Shoe__c", type="double", scale=1))
        first = org.rows("Contact").ids()[0]
        org.update("Contact", first, {"Shoe__c": 43})
        org.change_type("Contact", "Shoe__c", "string", length=10)
        where = f"WHERE Id = '{first}'"
        assert client.rows(f"SELECT Shoe__c FROM Contact {where}")[0]["Shoe__c"] == "43"
        org.remove_field("Contact", "Shoe__c")
        assert refusal(client.soql("SELECT Shoe__c FROM Contact")) == (400, "INVALID_FIELD")
        with pytest.raises(ValueError, match="Shoe__c"):
            org.update("Contact", first, {"Shoe__c": 1})

    def test_field_definitions(self, client: Client) -> None:
        """Descriptions and data classification are in FieldDefinition, not in describe."""
        query = (
            "SELECT QualifiedApiName, ComplianceGroup, SecurityClassification, Description"
            " FROM FieldDefinition WHERE EntityDefinition.QualifiedApiName = 'Contact'"
        )
        for resource in ("query", "tooling/query"):
            found = {each["QualifiedApiName"]: each for each in client.rows(query, resource)}
            assert found["Email"]["ComplianceGroup"] == "GDPR;PII"
            assert found["Birthdate"]["SecurityClassification"] == "Restricted"
            assert found["ltv__c"]["Description"].startswith("What this person")
        described = client.get("sobjects/Contact/describe").json()["fields"]
        assert "complianceGroup" not in described[0]
        unfiltered = client.soql("SELECT QualifiedApiName FROM FieldDefinition")
        assert refusal(unfiltered) == (400, "MALFORMED_QUERY")
        assert refusal(job(client, query)) == (400, "INVALIDENTITY")

    def test_archived_activities(self, simulator: SalesforceSimulator, client: Client) -> None:
        """Archived tasks show in queryAll only, although they are not deleted."""
        query = "SELECT Id, IsArchived, IsDeleted FROM Task"
        every = client.rows(query, "queryAll")
        archived = {each["Id"] for each in every if each["IsArchived"]}
        assert archived
        assert not archived & {each["Id"] for each in client.rows(query)}


class TestTrouble:
    """Faults in the middle of a download."""

    def test_a_torn_page_can_be_read_again(
        self, simulator: SalesforceSimulator, client: Client
    ) -> None:
        """A page that breaks off is an error to the client, and whole on the second try."""
        simulator.org.add_mass("Contact", 2_000)
        path = finished(client, "SELECT Id, Name FROM Contact")
        simulator.faults.append(Fault(path="*/results", cut="middle", times=1))
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            client.get(f"{path}/results")
        assert client.get(f"{path}/results").headers["Sforce-NumberOfRecords"] == "2200"

    def test_a_token_that_dies_between_pages(
        self, simulator: SalesforceSimulator, client: Client
    ) -> None:
        """The second page is 401 INVALID_SESSION_ID; a new token goes on at the locator."""
        path = finished(client, "SELECT Id FROM Contact")
        simulator.faults.append(Fault(path="*/results", nth=2, expire_token=True))
        first = client.get(f"{path}/results", maxRecords="100")
        following = {"maxRecords": "100", "locator": first.headers["Sforce-Locator"]}
        assert refusal(client.get(f"{path}/results", **following)) == (401, "INVALID_SESSION_ID")
        again = Client(simulator).get(f"{path}/results", **following)
        assert again.headers["Sforce-NumberOfRecords"] == "100"

    @pytest.mark.parametrize("status", [406, 420, 429, 500, 502, 503, 504])
    def test_scripted_statuses_speak_as_salesforce_does(
        self, simulator: SalesforceSimulator, client: Client, status: int
    ) -> None:
        """Known codes are an array of errors, proxies' statuses a page of HTML."""
        simulator.faults.append(Fault(status=status, times=1))
        answer = client.get("limits")
        assert answer.status_code == status
        if status in (429, 500, 503):
            assert refusal(answer)[0] == status
        else:
            assert answer.headers["Content-Type"] == "text/html"


class TestProcess:
    """`python -m tailrace.testing salesforce`."""

    def start(self, *arguments: str) -> tuple[subprocess.Popen[str], dict[str, Any]]:
        command = [sys.executable, "-m", "tailrace.testing", "salesforce", *arguments]
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        return process, json.loads(process.stdout.readline())

    def test_it_serves_until_it_is_stopped(self) -> None:
        """One line of JSON says where it is; a token can be had; SIGTERM ends it quietly."""
        process, told = self.start("--contacts", "1000", "--start", "2026-11-20T06:00:00Z")
        with process:
            form = {"client_id": told["client_id"], "client_secret": told["client_secret"]}
            grant = {"grant_type": "client_credentials", **form}
            token = requests.post(f"{told['url']}/services/oauth2/token", data=grant).json()
            session = {"Authorization": f"Bearer {token['access_token']}"}
            counted = requests.get(
                f"{told['url']}/services/data/v64.0/query",
                params={"q": "SELECT COUNT() FROM Contact"},
                headers=session,
            )
            assert counted.json()["totalSize"] == 1_200
            assert counted.headers["Date"].startswith("Fri, 20 Nov 2026 06:00")
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
            assert process.stderr is not None
            assert process.stderr.read() == ""

    def test_it_ends_with_its_parent(self) -> None:
        """When the parent's end of the pipe closes, the simulator goes."""
        process, _ = self.start()
        with process:
            assert process.stdin is not None
            process.stdin.close()
            assert process.wait(10) == 0


def test_describe_says_what_a_real_one_says(client: Client) -> None:
    """No key that a real describe (v60 and later) has is missing, and none is made up."""
    described = client.get("sobjects/Contact/describe").json()
    assert set(described) >= {
        "actionOverrides", "activateable", "childRelationships", "compactLayoutable", "createable",
        "custom", "customSetting", "deepCloneable", "defaultImplementation", "deletable",
        "deprecatedAndHidden", "extendedBy", "extendsInterfaces", "feedEnabled", "fields",
        "hasSubtypes", "implementedBy", "implementsInterfaces", "isInterface", "isSubtype",
        "keyPrefix", "label", "labelPlural", "layoutable", "listviewable", "lookupLayoutable",
        "mergeable", "mruEnabled", "name", "namedLayoutInfos", "networkScopeFieldName", "queryable",
        "recordTypeInfos", "replicateable", "retrieveable", "searchLayoutable", "searchable",
        "supportedScopes", "triggerable", "undeletable", "updateable", "urls",
    }  # fmt: skip
    assert set(described["fields"][0]) == {
        "aggregatable", "aiPredictionField", "autoNumber", "byteLength", "calculated",
        "calculatedFormula", "cascadeDelete", "caseSensitive", "compoundFieldName",
        "controllerName", "createable", "custom", "defaultValue", "defaultValueFormula",
        "defaultedOnCreate", "dependentPicklist", "deprecatedAndHidden", "digits",
        "displayLocationInDecimal", "encrypted", "externalId", "extraTypeInfo", "filterable",
        "filteredLookupInfo", "formulaTreatNullNumberAsZero", "groupable", "highScaleNumber",
        "htmlFormatted", "idLookup", "inlineHelpText", "label", "length", "mask", "maskType",
        "name", "nameField", "namePointing", "nillable", "permissionable", "picklistValues",
        "polymorphicForeignKey", "precision", "queryByDistance", "referenceTargetField",
        "referenceTo", "relationshipName", "relationshipOrder", "restrictedDelete",
        "restrictedPicklist", "scale", "searchPrefilterable", "soapType", "sortable", "type",
        "unique", "updateable", "writeRequiresMasterRead",
    }  # fmt: skip
