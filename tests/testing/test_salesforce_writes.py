"""Writes to the Salesforce simulator: records, collections, Bulk ingest, events, Apex REST."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from salesforce_org import forget_writes, served_org

from tailrace.testing import JobFault, SalesforceSimulator, Sizes
from tailrace.testing.org.editions import enable_person_accounts, enable_write_back
from tailrace.testing.org.org import Org
from tailrace.testing.salesforce.apex import ApexError
from tailrace.testing.salesforce.write_settings import RowFault

QUIET = {"Sforce-Auto-Assign": "FALSE", "Sforce-Call-Options": "client=tailrace"}
SIZES = Sizes(
    users=3, accounts=4, contacts=10, leads=4, opportunities=2,
    campaigns=2, campaign_members=0, cases=1, tasks=1, events=1,
)  # fmt: skip
KEY = "Contact/Crm_Key__c"


@pytest.fixture(scope="module")
def served() -> Iterator[SalesforceSimulator]:
    with served_org(polls=1) as running:
        yield running


@pytest.fixture
def simulator(served: SalesforceSimulator) -> Iterator[SalesforceSimulator]:
    yield served
    forget_writes(served)


class Client:
    """A session that writes, with the headers of a careful client."""

    def __init__(self, simulator: SalesforceSimulator) -> None:
        self.url = simulator.url
        self.root = f"{self.url}/services/data/v64.0"
        token = {"Authorization": f"Bearer {simulator.access_token()}"}
        self.headers = {**token, **QUIET}

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> requests.Response:
        url = path if path.startswith("http") else f"{self.root}/{path}"
        return requests.request(method, url, json=body, headers=self.headers | headers)

    def upsert(self, *rows: dict[str, Any], path: str = KEY, **headers: str) -> list[Any]:
        """The results of a collections upsert that is taken as a whole."""
        answer = self.collection(*rows, path=path, **headers)
        assert answer.status_code == 200, answer.text
        results: list[Any] = answer.json()
        return results

    def collection(
        self, *rows: dict[str, Any], path: str = KEY, all_or_none: bool = False, **headers: str
    ) -> requests.Response:
        kind = {"attributes": {"type": path.split("/")[0]}}
        records = [kind | row for row in rows]
        body = {"allOrNone": all_or_none, "records": records}
        return self.send("PATCH", f"composite/sobjects/{path}", body, **headers)


@pytest.fixture
def client(simulator: SalesforceSimulator) -> Client:
    return Client(simulator)


def ids(simulator: SalesforceSimulator, sobject: str) -> list[str]:
    rows = simulator.org.rows(sobject).records()
    return [row["Id"] for row in rows if not row.get("IsDeleted")]


def contact(simulator: SalesforceSimulator, key: str) -> dict[str, Any]:
    rows = simulator.org.rows("Contact").records()
    return next(row for row in rows if row.get("Crm_Key__c") == key)


def error(result: dict[str, Any]) -> str | None:
    """The status code of a failed row; None for success."""
    if result["success"]:
        assert result["errors"] == []
        return None
    assert set(result["errors"][0]) == {"statusCode", "message", "fields"}
    return str(result["errors"][0]["statusCode"])


def code(response: requests.Response) -> tuple[int, str]:
    return response.status_code, response.json()[0]["errorCode"]


class TestCollections:
    """`/composite/sobjects`."""

    def test_upsert(self, simulator: SalesforceSimulator, client: Client) -> None:
        """Results in request order; null clears, a missing key leaves a field as it is."""
        before = contact(simulator, "c-0001")
        results = client.upsert(
            {"Crm_Key__c": "new-1", "LastName": "New", "Plan_Tier__c": "gold"},
            {"Crm_Key__c": "C-0001", "Title": None, "Health__c": 12.36, "Is_VIP__c": True},
            {"Crm_Key__c": "new-2"},
        )
        assert [result.get("created") for result in results] == [True, False, None]
        assert error(results[2]) == "REQUIRED_FIELD_MISSING"
        after = contact(simulator, "c-0001")
        assert results[1]["id"] == before["Id"]
        assert (after["Title"], after["Health__c"], after["Is_VIP__c"]) == (None, 12.4, True)
        assert after["LastName"] == before["LastName"]
        assert after["OwnerId"] == before["OwnerId"]
        assert contact(simulator, "new-1")["Plan_Tier__c"] == "gold"
        writes = simulator.writer.writes
        assert [write.operation for write in writes] == ["create", "update"]
        assert writes[0].change_origin == "com/salesforce/api/rest/64.0;client=tailrace"

    @pytest.mark.parametrize(
        ("values", "expected"),
        [
            ({"Title": "x" * 129}, "STRING_TOO_LONG"),
            ({"Plan_Tier__c": "platinum"}, "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST"),
            ({"Health__c": 1000}, "NUMBER_OUTSIDE_VALID_RANGE"),
            ({"Email": "nobody"}, "INVALID_EMAIL_ADDRESS"),
            ({"Renewal_Date__c": "1600-01-01"}, "NUMBER_OUTSIDE_VALID_RANGE"),
            ({"AccountId": "abc"}, "MALFORMED_ID"),
            ({"AccountId": "001Hs0000000zzzIAA"}, "INVALID_CROSS_REFERENCE_KEY"),
            ({"LastName": None}, "REQUIRED_FIELD_MISSING"),
            ({"LastName": ""}, "REQUIRED_FIELD_MISSING"),
            ({"Is_VIP__c": None}, "INVALID_TYPE_ON_FIELD_IN_RECORD"),
            ({"Score__c": 1}, "INVALID_FIELD_FOR_INSERT_UPDATE"),
            ({"Name": "Ada"}, "INVALID_FIELD_FOR_INSERT_UPDATE"),
            ({"CreatedDate": "2026-01-01T00:00:00Z"}, "INVALID_FIELD_FOR_INSERT_UPDATE"),
            ({"Account": {"Crm_Key__c": "nowhere"}}, "INVALID_FIELD"),
        ],
    )
    def test_a_row_that_is_refused(
        self, simulator: SalesforceSimulator, client: Client, values: dict[str, Any], expected: str
    ) -> None:
        """The row's own error; the other row is written."""
        before = dict(contact(simulator, "c-0002"))
        results = client.upsert(
            {"Crm_Key__c": "c-0002", **values}, {"Crm_Key__c": "c-0003", "Next_Offer__c": "A"}
        )
        assert [error(result) for result in results] == [expected, None]
        assert contact(simulator, "c-0002") == before

    @pytest.mark.parametrize(
        ("values", "expected"),
        [
            ({"Nonsense__c": 1}, "INVALID_FIELD"),
            ({"Title": 5}, "JSON_PARSER_ERROR"),
            ({"Health__c": "5"}, "JSON_PARSER_ERROR"),
            ({"Is_VIP__c": "true"}, "JSON_PARSER_ERROR"),
            ({"Renewal_Date__c": "2026-13-01"}, "JSON_PARSER_ERROR"),
            ({"Scored_At__c": "2026-01-01T00:00:00"}, "JSON_PARSER_ERROR"),
            ({"Id": "003Hs0000000001AAA"}, "INVALID_FIELD"),
        ],
    )
    def test_a_request_that_is_refused(
        self, simulator: SalesforceSimulator, client: Client, values: dict[str, Any], expected: str
    ) -> None:
        """A field that does not exist and a wrong JSON type refuse all rows."""
        good = {"Crm_Key__c": "c-0003", "Next_Offer__c": "B"}
        answer = client.collection(good, {"Crm_Key__c": "c-0002", **values})
        assert code(answer) == (400, expected)
        assert contact(simulator, "c-0003").get("Next_Offer__c") != "B"

    def test_limits_of_a_request(self, client: Client) -> None:
        """At most 200 rows, one object type, and an external id field."""
        rows = [{"Crm_Key__c": f"x-{number}"} for number in range(201)]
        assert code(client.collection(*rows)) == (400, "EXCEEDED_ID_LIMIT")
        wrong = client.collection({"Crm_Key__c": "x", "attributes": {"type": "Lead"}})
        assert code(wrong) == (400, "INVALID_INPUT")
        for field in ("Title", "Nonsense__c", "Id"):
            assert client.collection({"x": 1}, path=f"Contact/{field}").status_code == 404
        assert code(client.collection({}, path="Nothing__c/Id")) == (400, "INVALID_TYPE")
        in_the_query = client.send("PATCH", f"composite/sobjects/{KEY}?allOrNone=true", {"all": 1})
        assert code(in_the_query) == (400, "JSON_PARSER_ERROR")

    def test_keys(self, simulator: SalesforceSimulator, client: Client) -> None:
        """A missing key, the same key twice, and a value that another record has."""
        results = client.upsert(
            {"Crm_Key__c": None, "Title": "x"},
            {"Crm_Key__c": "c-0004", "Title": "first"},
            {"Crm_Key__c": "C-0004", "Title": "second"},
        )
        expected = ["MISSING_ARGUMENT", None, "DUPLICATE_EXTERNAL_ID"]
        assert [error(result) for result in results] == expected
        assert contact(simulator, "c-0004")["Title"] == "first"
        other = contact(simulator, "c-0005")["Id"]
        body = {
            "records": [{"attributes": {"type": "Contact"}, "id": other, "Crm_Key__c": "c-0004"}]
        }
        taken = client.send("PATCH", "composite/sobjects", body).json()
        assert error(taken[0]) == "DUPLICATE_VALUE"

    def test_lookup_by_the_external_id_of_the_parent(
        self, simulator: SalesforceSimulator, client: Client
    ) -> None:
        """The nested object names the parent; null clears the lookup."""
        account = simulator.org.rows("Account").records()[1]
        client.upsert({"Crm_Key__c": "c-0006", "Account": {"Crm_Key__c": account["Crm_Key__c"]}})
        assert contact(simulator, "c-0006")["AccountId"] == account["Id"]
        client.upsert({"Crm_Key__c": "c-0006", "AccountId": None})
        assert contact(simulator, "c-0006")["AccountId"] is None

    def test_all_or_none(self, simulator: SalesforceSimulator, client: Client) -> None:
        """One failure undoes the other rows."""
        before = [dict(row) for row in simulator.org.rows("Contact").records()]
        answer = client.collection(
            {"Crm_Key__c": "c-0007", "Title": "undone"},
            {"Crm_Key__c": "all-1", "LastName": "Undone"},
            {"Crm_Key__c": "c-0008", "Title": "x" * 200},
            all_or_none=True,
        )
        rolled_back = "ALL_OR_NONE_OPERATION_ROLLED_BACK"
        assert [error(row) for row in answer.json()] == [
            rolled_back,
            rolled_back,
            "STRING_TOO_LONG",
        ]
        assert simulator.org.rows("Contact").records() == before
        assert simulator.writer.writes == []

    def test_insert_update_delete_by_id(
        self, simulator: SalesforceSimulator, client: Client
    ) -> None:
        """POST inserts, PATCH updates by id, DELETE takes ids and allOrNone in the query."""
        kind = {"attributes": {"type": "Lead"}}
        lead = {**kind, "LastName": "L", "Company": "C"}
        made = client.send("POST", "composite/sobjects", {"records": [lead]}).json()[0]
        assert simulator.org.get("Lead", made["id"])["Status"] == "Open"
        update = {**kind, "id": made["id"], "Title": "CTO"}
        changed = client.send("PATCH", "composite/sobjects", {"records": [update]}).json()
        assert error(changed[0]) is None
        gone = client.send("DELETE", f"composite/sobjects?ids={made['id']},003Hs0000000zzzAAA")
        assert [error(row) for row in gone.json()] == [None, "INVALID_CROSS_REFERENCE_KEY"]
        again = client.send("PATCH", "composite/sobjects", {"records": [update]}).json()
        assert error(again[0]) == "ENTITY_IS_DELETED"
        malformed = client.send("PATCH", "composite/sobjects", {"records": [{**update, "id": "1"}]})
        assert error(malformed.json()[0]) == "MALFORMED_ID"


class TestOneRecord:
    """`/sobjects/{object}…`."""

    def test_upsert_by_key(self, simulator: SalesforceSimulator, client: Client) -> None:
        """201 creates, 200 updates; the key stands in the URL only."""
        path = "sobjects/Contact/Crm_Key__c/one-1"
        made = client.send("PATCH", path, {"LastName": "One"})
        assert (made.status_code, made.json()["created"]) == (201, True)
        again = client.send("PATCH", path, {"Title": "T"})
        assert (again.status_code, again.json()["created"]) == (200, False)
        twice = client.send("PATCH", path, {"Crm_Key__c": "one-1"})
        assert code(twice) == (400, "INVALID_FIELD")
        assert client.send("DELETE", path).status_code == 204
        assert client.send("DELETE", path).status_code == 404

    def test_several_records_with_the_key(
        self, simulator: SalesforceSimulator, client: Client
    ) -> None:
        """An upsert that matches several records writes nothing and lists them with 300."""
        two = [contact(simulator, key)["Id"] for key in ("c-0009", "c-0010")]
        for record_id in two:
            simulator.org.update("Contact", record_id, {"Email": "both@example.com"})
        answer = client.send("PATCH", "sobjects/Contact/Email/both@example.com", {"Title": "x"})
        assert answer.status_code == 300
        assert [url.rsplit("/", 1)[1] for url in answer.json()] == two
        rows = client.upsert({"Email": "both@example.com", "Title": "x"}, path="Contact/Email")
        assert error(rows[0]) == "DUPLICATE_EXTERNAL_ID"

    def test_update_only(self, simulator: SalesforceSimulator, client: Client) -> None:
        """`updateOnly=true` never creates, and exists from version 61 on."""
        path = "sobjects/Contact/Crm_Key__c/nobody?updateOnly=true"
        assert client.send("PATCH", path, {"LastName": "X"}).status_code == 404
        old = f"{client.url}/services/data/v60.0/{path}"
        assert client.send("PATCH", old, {"LastName": "X"}).status_code == 400

    def test_insert_and_update(self, simulator: SalesforceSimulator, client: Client) -> None:
        """POST and PATCH of one record; errors name their fields."""
        made = client.send("POST", "sobjects/Contact", {"LastName": "Single"})
        assert made.status_code == 201
        path = f"sobjects/Contact/{made.json()['id']}"
        assert client.send("PATCH", path, {"Title": "T"}).status_code == 204
        refused = client.send("PATCH", path, {"Title": "T" * 200})
        assert code(refused) == (400, "STRING_TOO_LONG")
        assert refused.json()[0]["fields"] == ["Title"]
        assert client.send("DELETE", path).status_code == 204
        assert client.send("DELETE", path).status_code == 404

    def test_composite(self, simulator: SalesforceSimulator, client: Client) -> None:
        """Several single writes and a query in one call of the API."""
        root = "/services/data/v64.0"
        key = f"{root}/sobjects/Contact/Crm_Key__c"
        query = f"{root}/query?q=SELECT+Id+FROM+Contact+WHERE+Crm_Key__c='c-0001'"
        calls = [
            {"method": "PATCH", "url": f"{key}/c-0001", "referenceId": "a", "body": {"Title": "C"}},
            {"method": "PATCH", "url": f"{key}/c-0002", "referenceId": "b", "body": {"Nope": 1}},
            {"method": "GET", "url": query, "referenceId": "c"},
        ]
        used = simulator.api_calls_used
        answer = client.send("POST", "composite", {"compositeRequest": calls}).json()
        statuses = [part["httpStatusCode"] for part in answer["compositeResponse"]]
        assert statuses == [200, 400, 200]
        assert simulator.api_calls_used == used + 1
        assert contact(simulator, "c-0001")["Title"] == "C"


class TestRulesOfTheOrg:
    """Rules that describe does not show."""

    @pytest.mark.parametrize(
        ("header", "kept"),
        [
            ({"Sforce-Auto-Assign": "FALSE"}, True),
            ({"Sforce-Auto-Assign": "TRUE"}, False),
            ({}, False),
        ],
    )
    def test_assignment_rules(
        self, simulator: SalesforceSimulator, client: Client, header: dict[str, str], kept: bool
    ) -> None:
        """A write without `Sforce-Auto-Assign: FALSE` gives the lead to another owner."""
        users = ids(simulator, "User")
        lead = simulator.org.rows("Lead").records()[0]
        simulator.org.update("Lead", lead["Id"], {"OwnerId": users[0]})
        simulator.writer.settings.assignment_owner = users[1]
        client.headers.pop("Sforce-Auto-Assign")
        row = {"Crm_Key__c": lead["Crm_Key__c"], "Next_Offer__c": "A"}
        assert error(client.upsert(row, path="Lead/Crm_Key__c", **header)[0]) is None
        owner = simulator.org.get("Lead", lead["Id"])["OwnerId"]
        assert (owner == users[0]) == kept

    def test_duplicate_rules(self, simulator: SalesforceSimulator, client: Client) -> None:
        """An alert rule blocks unless `allowSave=true`; a blocking rule blocks all the same."""
        simulator.org.update(
            "Contact", contact(simulator, "c-0001")["Id"], {"Email": "a@example.com"}
        )
        simulator.writer.settings.duplicate_rules = {"Contact": ("Email",)}
        allow = {"Sforce-Duplicate-Rule-Header": "allowSave=true; runAsCurrentUser=true"}
        rows = [
            {"Crm_Key__c": f"dup-{n}", "LastName": "D", "Email": "A@example.com"} for n in (1, 2)
        ]
        assert error(client.upsert(rows[0])[0]) == "DUPLICATES_DETECTED"
        simulator.writer.settings.duplicate_rules_block = True
        assert error(client.upsert(rows[0], **allow)[0]) == "DUPLICATES_DETECTED"
        simulator.writer.settings.duplicate_rules_block = False
        assert error(client.upsert(rows[0], **allow)[0]) is None

    def test_row_faults(self, simulator: SalesforceSimulator, client: Client) -> None:
        """A lock passes, a validation rule does not; both hit only their rows."""
        simulator.writer.row_faults += [
            RowFault(code="UNABLE_TO_LOCK_ROW", sobject="Contact", values={"Title": "locked"}),
            RowFault(
                code="FIELD_CUSTOM_VALIDATION_EXCEPTION",
                fields=("Title",),
                when=lambda values: values.get("Title") == "never",
                times=None,
            ),
        ]
        rows = [
            {"Crm_Key__c": f"c-000{number}", "Title": title}
            for number, title in enumerate(("locked", "never", "fine"), start=1)
        ]
        invalid = "FIELD_CUSTOM_VALIDATION_EXCEPTION"
        first = [error(result) for result in client.upsert(*rows)]
        assert first == ["UNABLE_TO_LOCK_ROW", invalid, None]
        assert [error(result) for result in client.upsert(*rows)] == [None, invalid, None]

    def test_trigger_limits(self, simulator: SalesforceSimulator, client: Client) -> None:
        """Triggers that cannot process three rows fail all of them; two are written."""
        simulator.writer.settings.trigger_rows_max = {"Contact": 2}
        rows = [{"Crm_Key__c": f"c-000{number}", "Title": "T"} for number in (1, 2, 3)]
        results = client.upsert(*rows)
        assert {error(row) for row in results} == {"CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY"}
        assert "Too many SOQL queries: 101" in results[0]["errors"][0]["message"]
        assert [error(row) for row in client.upsert(*rows[:2])] == [None, None]

    def test_campaign_members(self, simulator: SalesforceSimulator, client: Client) -> None:
        """A person is a member once; campaign and person are fixed; the status must exist."""
        campaign = ids(simulator, "Campaign")[0]
        person = contact(simulator, "c-0001")["Id"]
        kind = {"attributes": {"type": "CampaignMember"}}
        member = {"CampaignId": campaign, "ContactId": person}
        path = "CampaignMember/Member_Key__c"
        first = client.upsert({"Member_Key__c": "m-1", **member, "Status": "Responded"}, path=path)
        stored = simulator.org.get("CampaignMember", first[0]["id"])
        assert stored["HasResponded"] is True
        again = client.upsert({"Member_Key__c": "m-2", **member}, path=path)[0]
        assert again["errors"][0]["message"] == "Already a campaign member."
        assert error(again) == "DUPLICATE_VALUE"
        for values, expected in (
            ({"CampaignId": campaign}, "INVALID_FIELD_FOR_INSERT_UPDATE"),
            ({"Status": "Nope"}, "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST"),
            ({"Status": "Sent"}, None),
        ):
            body = {"records": [{**kind, "id": first[0]["id"], **values}]}
            assert error(client.send("PATCH", "composite/sobjects", body).json()[0]) == expected
        alone = client.upsert({"Member_Key__c": "m-3", "CampaignId": campaign}, path=path)[0]
        assert error(alone) == "REQUIRED_FIELD_MISSING"
        simulator.org.delete("CampaignMember", first[0]["id"])

    def test_converted_lead(self, simulator: SalesforceSimulator, client: Client) -> None:
        """A converted lead cannot be changed."""
        lead = simulator.org.rows("Lead").records()[1]
        simulator.org.update("Lead", lead["Id"], {"IsConverted": True})
        row = {"Crm_Key__c": lead["Crm_Key__c"], "Title": "x"}
        result = client.upsert(row, path="Lead/Crm_Key__c")[0]
        assert error(result) == "CANNOT_UPDATE_CONVERTED_LEAD"

    def test_deleted_record(self, simulator: SalesforceSimulator, client: Client) -> None:
        """The key of a record in the recycle bin is free: an upsert creates another one."""
        gone = client.upsert({"Crm_Key__c": "bin-1", "LastName": "B"})[0]["id"]
        simulator.org.delete("Contact", gone)
        made = client.upsert({"Crm_Key__c": "bin-1", "LastName": "B"})[0]
        assert (made["created"], made["id"] != gone) == (True, True)

    def test_read_only_field_and_object(
        self, simulator: SalesforceSimulator, client: Client
    ) -> None:
        """Field-level security without edit shows in describe, and refuses the row."""
        simulator.org.lock_field("Lead", "Next_Offer__c")
        described = client.send("GET", "sobjects/Lead/describe").json()["fields"]
        flags = {field["name"]: (field["createable"], field["updateable"]) for field in described}
        assert flags["Next_Offer__c"] == (False, False)
        assert (flags["IsConverted"], flags["Name"]) == ((True, False), (False, False))
        row = {"Crm_Key__c": "l-0003", "Next_Offer__c": "x"}
        result = client.upsert(row, path="Lead/Crm_Key__c")[0]
        assert error(result) == "INVALID_FIELD_FOR_INSERT_UPDATE"
        simulator.org.lock_field("Lead", "Next_Offer__c", locked=False)
        assert client.upsert(row, path="Lead/Crm_Key__c")[0]["success"]

    def test_person_accounts(self) -> None:
        """A person account has a last name, a business account a name, and never both."""
        org = Org(ticking=False, sizes=SIZES)
        enable_person_accounts(org, 1)
        enable_write_back(org)
        with SalesforceSimulator(org=org) as running:
            client = Client(running)
            path = "Account/Crm_Key__c"
            person = client.upsert(
                {"Crm_Key__c": "pa-1", "LastName": "P", "PersonEmail": "p@example.com"}, path=path
            )[0]
            assert org.get("Account", person["id"])["IsPersonAccount"] is True
            for row in (
                {"Crm_Key__c": "pa-1", "Name": "P"},
                {"Crm_Key__c": "a-0001", "LastName": "P"},
            ):
                result = client.upsert(row, path=path)[0]
                assert error(result) == "INVALID_FIELD_FOR_INSERT_UPDATE"


class TestEventsAndApex:
    """Platform events and Apex REST."""

    def test_platform_event(self, simulator: SalesforceSimulator, client: Client) -> None:
        """A published event is a success with an entry in `errors`; it cannot be changed."""
        event = {"Email__c": "a@example.com", "Tier__c": "gold"}
        made = client.send("POST", "sobjects/Vip_Change__e", event)
        assert (made.status_code, made.json()["success"]) == (201, True)
        assert made.json()["errors"][0]["statusCode"] == "OPERATION_ENQUEUED"
        both = [
            {"attributes": {"type": "Vip_Change__e"}, **row} for row in (event, {"Tier__c": "x"})
        ]
        results = client.send("POST", "composite/sobjects", {"records": both}).json()
        assert [result["success"] for result in results] == [True, False]
        assert [item.values for item in simulator.writer.events] == [event, event]
        changed = client.send("PATCH", "sobjects/Vip_Change__e/e00x00000000000AAA", event)
        assert code(changed) == (400, "INVALID_TYPE_FOR_OPERATION")

    def test_apex_rest(self, simulator: SalesforceSimulator, client: Client) -> None:
        """A class answers JSON and counts as an API call; its errors are Salesforce's."""
        address = f"{client.url}/services/apexrest/vip/v1"
        assert code(client.send("POST", address, [])) == (404, "NOT_FOUND")
        simulator.apex.classes["/vip/v1"] = lambda rows: [{"success": True} for _ in rows]
        used = simulator.api_calls_used
        answer = client.send("POST", address, [{"a": 1}, {"a": 2}])
        assert answer.json() == [{"success": True}, {"success": True}]
        assert simulator.api_calls_used == used + 1
        assert "api-usage=" in answer.headers["Sforce-Limit-Info"]

        def broken(rows: Any) -> Any:
            raise ApexError("System.DmlException: Insert failed")

        simulator.apex.classes["/vip/v1"] = broken
        assert code(client.send("POST", address, [])) == (500, "APEX_ERROR")
        assert code(client.send("POST", address, "x" * 6_000_000)) == (413, "REQUEST_TOO_LARGE")
        simulator.apex.in_flight_max = 0
        assert code(client.send("POST", address, [])) == (503, "REQUEST_LIMIT_EXCEEDED")
        simulator.apex.in_flight_max = 10
        client.headers["Authorization"] = "Bearer x"
        assert code(client.send("POST", address, [])) == (401, "INVALID_SESSION_ID")


class TestIngest:
    """Bulk API 2.0 ingest."""

    def open(self, client: Client, **more: Any) -> str:
        body = {"object": "Contact", "operation": "upsert", "externalIdFieldName": "Crm_Key__c"}
        made = client.send("POST", "jobs/ingest", {**body, "lineEnding": "LF"} | more)
        assert made.json()["state"] == "Open", made.text
        return str(made.json()["id"])

    def put(self, client: Client, job: str, text: str) -> requests.Response:
        headers = client.headers | {"Content-Type": "text/csv"}
        url = f"{client.root}/jobs/ingest/{job}/batches"
        return requests.put(url, data=text.encode(), headers=headers)

    def run(self, client: Client, text: str, **more: Any) -> tuple[dict[str, Any], str]:
        """A job that was uploaded, closed and polled to its end."""
        job = self.open(client, **more)
        assert self.put(client, job, text).status_code == 201
        closed = client.send("PATCH", f"jobs/ingest/{job}", {"state": "UploadComplete"})
        assert closed.json()["state"] == "UploadComplete"
        states = [client.send("GET", f"jobs/ingest/{job}").json() for _ in range(2)]
        assert states[0]["state"] == "InProgress"
        return states[1], job

    def rows(self, client: Client, job: str, kind: str) -> list[dict[str, str]]:
        answer = client.send("GET", f"jobs/ingest/{job}/{kind}/")
        assert answer.status_code == 200
        return list(csv.DictReader(io.StringIO(answer.text)))

    def test_upsert(self, simulator: SalesforceSimulator, client: Client) -> None:
        """Three result files; `#N/A` clears, an empty cell leaves a field as it is."""
        before = dict(contact(simulator, "c-0005"))
        text = (
            "Crm_Key__c,LastName,Title,Health__c,Account.Crm_Key__c\n"
            'c-0005,,#N/A,1.26,a-0002\nbulk-1,"Line\nbreak, ""q""",T,,\nbulk-2,,T,,\n'
            "c-0006,,,abc,\n"
        )
        info, job = self.run(client, text)
        assert (info["state"], info["numberRecordsProcessed"], info["numberRecordsFailed"]) == (
            "JobComplete", 4, 2,
        )  # fmt: skip
        successful = self.rows(client, job, "successfulResults")
        # In another order than the upload, and as the org stores the values.
        assert [row["Crm_Key__c"] for row in successful] == ["bulk-1", "c-0005"]
        assert [row["sf__Created"] for row in successful] == ["true", "false"]
        assert successful[1]["Health__c"] == "1.3"
        failed = {
            row["Crm_Key__c"]: row["sf__Error"] for row in self.rows(client, job, "failedResults")
        }
        assert failed["bulk-2"].startswith("REQUIRED_FIELD_MISSING:")
        assert failed["c-0006"].startswith("INVALID_TYPE_ON_FIELD_IN_RECORD:")
        assert self.rows(client, job, "unprocessedrecords") == []
        after = contact(simulator, "c-0005")
        assert (after["Title"], after["LastName"]) == (None, before["LastName"])
        assert after["AccountId"] == simulator.org.rows("Account").records()[1]["Id"]
        assert contact(simulator, "bulk-1")["LastName"] == 'Line\nbreak, "q"'
        assert simulator.writer.writes[-1].change_origin.endswith("bulkapi/64.0;client=tailrace")

    def test_a_job_that_fails_part_way(
        self, simulator: SalesforceSimulator, client: Client
    ) -> None:
        """Rows before the failure are written, the others are unprocessed."""
        simulator.ingest.faults.append(
            JobFault(contains="upsert Contact", message="InternalServerError", after_rows=1)
        )
        info, job = self.run(client, "Crm_Key__c,Title\nc-0007,P\nc-0008,P\n")
        assert (info["state"], info["errorMessage"]) == ("Failed", "InternalServerError")
        assert [row["Crm_Key__c"] for row in self.rows(client, job, "successfulResults")] == [
            "c-0007"
        ]
        assert self.rows(client, job, "unprocessedrecords") == [
            {"Crm_Key__c": "c-0008", "Title": "P"}
        ]
        assert contact(simulator, "c-0007")["Title"] == "P"

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("Crm_Key__c,Nope\nc-0001,x\n", "Field name not found : Nope"),
            ("Crm_Key__c,title\nc-0001,x\n", "Field name not found : title"),
            ("Crm_Key__c,Title\r\nc-0001,x\r\n", "LineEnding is invalid"),
            ("Crm_Key__c,Title\nc-0001\n", "Row has 1 cells"),
            ('Crm_Key__c,Title\nc-0001,"x\n', "unexpected end"),
        ],
    )
    def test_an_upload_that_fails_the_job(self, client: Client, text: str, message: str) -> None:
        """A header or a form that Salesforce cannot read fails the job as a whole."""
        info, _ = self.run(client, text)
        assert info["state"] == "Failed"
        assert message in info["errorMessage"]

    def test_the_life_of_a_job(self, simulator: SalesforceSimulator, client: Client) -> None:
        """One upload, no results before the end, abort, delete, and a job that is found later."""
        job = self.open(client)
        assert code(client.send("DELETE", f"jobs/ingest/{job}")) == (400, "INVALIDJOBSTATE")
        assert self.put(client, job, "Crm_Key__c,Title\nc-0001,L\n").status_code == 201
        assert code(self.put(client, job, "Crm_Key__c\nx\n")) == (400, "INVALIDJOBSTATE")
        early = client.send("GET", f"jobs/ingest/{job}/failedResults")
        assert code(early) == (400, "INVALIDJOBSTATE")
        assert client.send("GET", f"jobs/ingest/{job}").json()["state"] == "Open"
        listed = client.send("GET", "jobs/ingest").json()["records"]
        assert job in [entry["id"] for entry in listed]
        assert client.send("PATCH", f"jobs/ingest/{job}", {"state": "Aborted"}).status_code == 200
        closed = client.send("PATCH", f"jobs/ingest/{job}", {"state": "UploadComplete"})
        assert code(closed) == (400, "INVALIDJOBSTATE")
        assert contact(simulator, "c-0001").get("Title") != "L"
        assert client.send("DELETE", f"jobs/ingest/{job}").status_code == 204
        assert client.send("GET", f"jobs/ingest/{job}").status_code == 404

    @pytest.mark.parametrize(
        ("body", "status"),
        [
            ({"object": "Nope"}, "INVALIDJOB"),
            ({"externalIdFieldName": "Title"}, "INVALIDJOB"),
            ({"operation": "merge"}, "INVALIDJOB"),
            ({"operation": "hardDelete"}, "FEATURENOTENABLED"),
            ({"contentType": "JSON"}, "INVALIDJOB"),
            ({"allOrNone": True}, "JSON_PARSER_ERROR"),
        ],
    )
    def test_a_job_that_is_refused(self, client: Client, body: dict[str, Any], status: str) -> None:
        """Unknown object, key, operation, content type and option."""
        good = {"object": "Contact", "operation": "upsert", "externalIdFieldName": "Crm_Key__c"}
        assert code(client.send("POST", "jobs/ingest", good | body)) == (400, status)

    def test_limits(self, simulator: SalesforceSimulator, client: Client) -> None:
        """The size of an upload, the batches of a day, and results without content."""
        settings = simulator.writer.settings
        settings.ingest_bytes_max = 20
        job = self.open(client)
        assert code(self.put(client, job, "Crm_Key__c,Title\nc-0001,L\n")) == (
            413, "EXCEEDED_MAX_SIZE_REQUEST",
        )  # fmt: skip
        settings.ingest_bytes_max = 1_000
        settings.empty_results = "no_content"
        _, job = self.run(client, "Crm_Key__c,Title\nc-0001,L\n")
        empty = client.send("GET", f"jobs/ingest/{job}/failedResults")
        assert (empty.status_code, empty.content) == (204, b"")
        settings.ingest_batches_max = simulator.ingest.batches_today()
        body = {"object": "Contact", "operation": "insert"}
        assert code(client.send("POST", "jobs/ingest", body)) == (400, "LIMIT_EXCEEDED")

    def test_parents_lock_batches(self, simulator: SalesforceSimulator, client: Client) -> None:
        """Children of one parent in two batches fail, unless they are sorted by parent."""
        settings = simulator.writer.settings
        settings.lock_parents = True
        settings.ingest_batch_rows = 2
        head = "Crm_Key__c,Account.Crm_Key__c\n"
        mixed = head + "c-0001,a-0001\nc-0002,a-0002\nc-0003,a-0001\nc-0004,a-0003\n"
        ordered = head + "c-0001,a-0001\nc-0003,a-0001\nc-0002,a-0002\nc-0004,a-0003\n"
        info, job = self.run(client, mixed)
        assert info["numberRecordsFailed"] == 1
        assert self.rows(client, job, "failedResults")[0]["sf__Error"].startswith(
            "UNABLE_TO_LOCK_ROW:"
        )
        assert self.run(client, ordered)[0]["numberRecordsFailed"] == 0

    def test_insert_update_delete(self, simulator: SalesforceSimulator, client: Client) -> None:
        """The other operations; update and delete need an Id."""
        settings = simulator.writer.settings
        users = ids(simulator, "User")
        settings.assignment_owner = users[2]
        insert = {"object": "Lead", "operation": "insert", "externalIdFieldName": None}
        text = "LastName,Company\nBulk,B\n"
        _, job = self.run(client, text, **insert)
        made = self.rows(client, job, "successfulResults")[0]["sf__Id"]
        # Bulk runs no assignment rule unless the job names one.
        assert simulator.org.get("Lead", made)["OwnerId"] != users[2]
        _, job = self.run(client, text, **insert, assignmentRuleId="01Q000000000001AAA")
        other = self.rows(client, job, "successfulResults")[0]["sf__Id"]
        assert simulator.org.get("Lead", other)["OwnerId"] == users[2]
        update = {**insert, "operation": "update"}
        info, job = self.run(client, f"Id,Title\n{made},T\n,T\n", **update)
        assert info["numberRecordsFailed"] == 1
        assert simulator.org.get("Lead", made)["Title"] == "T"
        info, job = self.run(client, f"Id\n{made}\n{other}\n", **{**insert, "operation": "delete"})
        assert simulator.org.get("Lead", made)["IsDeleted"] is True


def test_generated_rows_can_be_written() -> None:
    """A generated row is found by its key and becomes a record; the others stay generated."""
    org = Org(ticking=False, sizes=SIZES)
    enable_write_back(org)
    org.add_mass("Contact", 1_000)
    with SalesforceSimulator(org=org) as running:
        client = Client(running)
        generated = org.rows("Contact").generated
        assert generated is not None
        key = generated.column(0, "Crm_Key__c").to_pylist()
        value = next(text for text in key if text and key.count(text) == 1)
        result = client.upsert({"Crm_Key__c": value, "Next_Offer__c": "A"})[0]
        assert (result["success"], result["created"]) == (True, False)
        assert org.get("Contact", result["id"])["Next_Offer__c"] == "A"
        assert len(org.rows("Contact")) == 1_010
