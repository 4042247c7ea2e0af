"""The Salesforce simulator's data: SOQL, REST pages, Bulk jobs, replication."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests
from testing.test_salesforce import Client, refusal

from tailrace.testing import SalesforceSimulator
from tailrace.testing.org.describe import Field
from tailrace.testing.org.org import START, Org
from tailrace.testing.org.rows import Raw
from tailrace.testing.salesforce.bulk import JobFault


@pytest.fixture
def simulator() -> Iterator[SalesforceSimulator]:
    with SalesforceSimulator(org=Org(ticking=False)) as running:
        running.bulk.settings.polls = 0
        yield running


@pytest.fixture
def client(simulator: SalesforceSimulator) -> Client:
    return Client(simulator)


def job(client: Client, query: str, operation: str = "query", **more: str) -> requests.Response:
    body = {"operation": operation, "query": query, **more}
    return client.session.post(f"{client.root}/jobs/query", json=body)


def finished(client: Client, query: str, operation: str = "query", **more: str) -> str:
    """The path of a job that is complete."""
    answer = job(client, query, operation, **more)
    assert answer.ok, answer.text
    path = f"jobs/query/{answer.json()['id']}"
    assert client.get(path).json()["state"] == "JobComplete"
    return path


def bulk_rows(client: Client, query: str, operation: str = "query") -> list[dict[str, str]]:
    text = client.get(f"{finished(client, query, operation)}/results").content.decode()
    return list(csv.DictReader(io.StringIO(text, newline="")))


class TestSoql:
    """What is refused, and in whose words."""

    @pytest.mark.parametrize(
        ("query", "code"),
        [
            ("", "MALFORMED_QUERY"),
            ("SELECT FROM Contact", "MALFORMED_QUERY"),
            ("SELECT Id FROM Contact;", "MALFORMED_QUERY"),
            ("SELECT Id FROM Contact garbage garbage", "MALFORMED_QUERY"),
            ("SELECT Id, FROM Contact", "MALFORMED_QUERY"),
            ("SELECT * FROM Contact", "MALFORMED_QUERY"),
            ("SELECT Id FRM Contact", "MALFORMED_QUERY"),
            ("SELECT Id FROM Contact WHERE", "MALFORMED_QUERY"),
            ("SELECT Id FROM Contact WHERE Name == 'x'", "MALFORMED_QUERY"),
            ('SELECT Id FROM Contact WHERE Name = "x"', "MALFORMED_QUERY"),
            ("SELECT Id FROM Contact WHERE Name = 'O'Brien'", "MALFORMED_QUERY"),
            ("SELECT Id FROM Contact WHERE Name = '\\q'", "MALFORMED_QUERY"),
            ("SELECT Id FROM Contact LIMIT -1", "MALFORMED_QUERY"),
            (
                "SELECT Id FROM Contact WHERE IsDeleted = false AND Name = 'x' OR Name = 'y'",
                "MALFORMED_QUERY",
            ),
            (
                "SELECT Id FROM Contact WHERE SystemModstamp > 2026-11-20T06:00:00.000000Z",
                "MALFORMED_QUERY",
            ),
            ("SELECT Id FROM Contact WHERE SystemModstamp > 2026-11-20 06:00", "MALFORMED_QUERY"),
            ("SELECT Id FROM Contact WHERE CreatedDate > 2026-13-20T06:00:00Z", "MALFORMED_QUERY"),
            ("SELECT Id FROM Contact WHERE CreatedDate > '2026-11-20T06:00:00Z'", "INVALID_FIELD"),
            ("SELECT Id FROM Contact WHERE SystemModstamp > 2026-11-20", "INVALID_FIELD"),
            ("SELECT Id FROM Contact WHERE IsDeleted = 'false'", "INVALID_FIELD"),
            ("SELECT Id FROM Contact WHERE Name = 5", "INVALID_FIELD"),
            ("SELECT Id FROM Contact WHERE Description = 'x'", "INVALID_FIELD"),
            ("SELECT Id FROM Contact ORDER BY Description", "INVALID_FIELD"),
            ("SELECT Id, Nope__c FROM Contact", "INVALID_FIELD"),
            ("SELECT Id, Id FROM Contact", "INVALID_FIELD"),
            ("SELECT Id FROM Contact WHERE Id = 'x'", "INVALID_QUERY_FILTER_OPERATOR"),
            ("SELECT Id FROM Contact WHERE IsDeleted LIKE 'x'", "INVALID_FIELD"),
            ("SELECT Id FROM Nope", "INVALID_TYPE"),
            ("SELECT Id FROM ContentDocumentLink", "MALFORMED_QUERY"),
        ],
    )  # fmt: skip
    def test_refusals(self, client: Client, query: str, code: str) -> None:
        """A query with a mistake in it is 400 with Salesforce's own code."""
        assert refusal(client.soql(query)) == (400, code)

    @pytest.mark.parametrize(
        "query",
        [
            "SELECT Account.Name FROM Contact",
            "SELECT FIELDS(ALL) FROM Contact LIMIT 200",
            "SELECT (SELECT Id FROM Contacts) FROM Account",
            "SELECT Id FROM Contact WHERE AccountId IN (SELECT Id FROM Account)",
            "SELECT MAX(CreatedDate) FROM Contact",
            "SELECT Id FROM Contact c WHERE c.Id != null",
        ],
    )
    def test_what_is_not_played_is_loud(self, client: Client, query: str) -> None:
        """Valid SOQL beyond the simulator is 501, never a wrong answer."""
        assert refusal(client.soql(query)) == (501, "NOT_IN_SIMULATOR")

    def test_the_place_of_a_mistake(self, client: Client) -> None:
        """The message points at the mistake with row and column."""
        message = client.soql("SELECT Id,\nNope FROM Contact").json()[0]["message"]
        assert "ERROR at Row:2:Column:1" in message
        assert "No such column 'Nope' on entity 'Contact'" in message

    def test_conditions(self, simulator: SalesforceSimulator, client: Client) -> None:
        """Comparisons find what plain Python finds; text in any case, NULL on its own."""
        records = simulator.org.rows("Contact").records()

        def found(where: str) -> set[str]:
            return {each["Id"] for each in client.rows(f"SELECT Id FROM Contact WHERE {where}")}

        def wanted(predicate: Any) -> set[str]:
            return {each["Id"] for each in records if predicate(each)}

        assert found("Title = 'ceo'") == wanted(lambda r: r["Title"] == "CEO")
        assert found("Title != 'CEO'") == wanted(lambda r: r["Title"] != "CEO")
        assert found("Title = null") == wanted(lambda r: r["Title"] is None)
        assert found("Title <> NULL") == wanted(lambda r: r["Title"] is not None)
        assert found("Title LIKE 'c%'") == wanted(lambda r: str(r["Title"]).startswith("C"))
        assert found("ltv__c >= 5e4") == wanted(lambda r: (r["ltv__c"] or 0) >= 50_000)
        assert found("HasOptedOutOfEmail = TRUE") == wanted(lambda r: r["HasOptedOutOfEmail"])
        assert found("LastName IN ('Berg', 'ITO')") == wanted(
            lambda r: r["LastName"] in ("Berg", "Ito")
        )
        assert found("NOT (LastName = 'Berg' OR Title = 'CEO')") == wanted(
            lambda r: r["LastName"] != "Berg" and r["Title"] != "CEO"
        )
        assert found("LastName = 'O\\'Brien'") == wanted(lambda r: r["LastName"] == "O'Brien")
        assert found("Birthdate < 1980-01-01") == wanted(
            lambda r: r["Birthdate"] is not None and r["Birthdate"].year < 1980
        )
        middle = START - timedelta(days=200)
        for text in (middle.strftime("%Y-%m-%dT%H:%M:%SZ"), "2026-05-04T08:00:00%2B02:00"):
            assert found(f"SystemModstamp >= {text.replace('%2B', '+')}") == wanted(
                lambda r: r["SystemModstamp"] >= middle.replace(tzinfo=None)
            )

    def test_ids_have_a_case(self, simulator: SalesforceSimulator, client: Client) -> None:
        """Two ids that differ in case only are two records, in 15 or 18 characters."""
        ids = simulator.org.rows("Contact").ids()
        lower = {each[:15].lower() for each in ids}
        assert len(lower) < len(ids)
        assert len({each.lower() for each in ids}) == len(ids)
        for record_id in ids[8:12] + ids[34:38]:
            rows = client.rows(f"SELECT Id FROM Contact WHERE Id = '{record_id[:15]}'")
            assert [each["Id"] for each in rows] == [record_id]

    def test_order_limit_and_count(self, client: Client) -> None:
        """ORDER BY puts NULL first; LIMIT and OFFSET cut; count() only counts."""
        rows = client.rows("SELECT Id, ltv__c FROM Contact ORDER BY ltv__c DESC NULLS LAST LIMIT 5")
        values = [each["ltv__c"] for each in rows]
        assert len(values) == 5
        assert values == sorted(values, reverse=True)
        first = client.rows("SELECT Id, ltv__c FROM Contact ORDER BY ltv__c LIMIT 1")[0]
        assert first["ltv__c"] is None
        following = client.rows("SELECT Id FROM Contact ORDER BY Id LIMIT 2 OFFSET 1")
        assert following == client.rows("SELECT Id FROM Contact ORDER BY Id LIMIT 3")[1:]
        counted = client.soql("SELECT COUNT() FROM Contact WHERE HasOptedOutOfEmail = true").json()
        assert counted["records"] == []
        assert 0 < counted["totalSize"] < 200


class TestRestPages:
    """Rows over REST."""

    def test_shapes_of_values(self, simulator: SalesforceSimulator, client: Client) -> None:
        """Datetimes end in +0000, times in Z, compounds are objects, NULL is null."""
        org = simulator.org
        made = org.insert(
            "Contact",
            {
                "LastName": "Weiß",
                "Birthdate": "1970-02-28",
                "Preferred_Time__c": "10:22:00",
                "MailingCity": "Kraków",
                "MailingLatitude": 50.06,
                "Home__Latitude__s": 1.5,
                "Home__Longitude__s": 2.5,
                "ltv__c": 12_500_000,
            },
        )
        names = (
            "Id, Name, Birthdate, Preferred_Time__c, MailingAddress, OtherAddress, Home__c,"
            " ltv__c, CreatedDate, IsDeleted, Title"
        )
        row = client.rows(f"SELECT {names} FROM Contact WHERE Id = '{made}'")[0]
        assert row == {
            "attributes": {
                "type": "Contact",
                "url": f"/services/data/v64.0/sobjects/Contact/{made}",
            },
            "Id": made,
            "Name": "Weiß",
            "Birthdate": "1970-02-28",
            "Preferred_Time__c": "10:22:00.000Z",
            "MailingAddress": {
                "city": "Kraków",
                "country": None,
                "geocodeAccuracy": None,
                "latitude": 50.06,
                "longitude": None,
                "postalCode": None,
                "state": None,
                "street": None,
            },
            "OtherAddress": None,
            "Home__c": {"latitude": 1.5, "longitude": 2.5},
            "ltv__c": 12_500_000.0,
            "CreatedDate": "2026-11-20T06:00:00.000+0000",
            "IsDeleted": False,
            "Title": None,
        }

    def test_pages(self, simulator: SalesforceSimulator, client: Client) -> None:
        """2,000 rows a page at most; pages of a queryAll go on under /query/."""
        simulator.org.add_mass("Contact", 4_100)
        first = client.soql("SELECT Id FROM Contact", "queryAll").json()
        assert (first["totalSize"], first["done"], len(first["records"])) == (4_300, False, 2_000)
        assert first["nextRecordsUrl"].startswith("/services/data/v64.0/query/")
        rows = client.rows("SELECT Id FROM Contact", "queryAll")
        assert len({each["Id"] for each in rows}) == 4_300
        small = client.session.get(
            f"{client.root}/query",
            params={"q": "SELECT Id FROM Contact"},
            headers={"Sforce-Query-Options": "batchSize=200"},
        )
        assert len(small.json()["records"]) == 200

    def test_cursors_end(self, simulator: SalesforceSimulator, client: Client) -> None:
        """A cursor lives two days; another one was never there."""
        simulator.org.add_mass("Contact", 4_100)
        url = client.soql("SELECT Id FROM Contact").json()["nextRecordsUrl"]
        simulator.org.advance(days=2, minutes=1)
        late = client.session.get(simulator.url + url)
        assert refusal(late) == (400, "INVALID_QUERY_LOCATOR")
        never = client.get("query/0r8000000000000AAA-2000")
        assert refusal(never) == (400, "INVALID_QUERY_LOCATOR")

    def test_soft_deleted_rows(self, simulator: SalesforceSimulator, client: Client) -> None:
        """query hides what is in the recycle bin, queryAll does not; the merged name the winner."""
        org = simulator.org
        gone, winner, loser = org.rows("Contact").ids()[:3]
        org.delete("Contact", gone)
        org.merge("Contact", winner, loser)
        live = {each["Id"] for each in client.rows("SELECT Id FROM Contact")}
        assert not live & {gone, loser}
        every = client.rows(
            "SELECT Id, MasterRecordId, IsDeleted FROM Contact WHERE IsDeleted = true", "queryAll"
        )
        assert {each["Id"]: each["MasterRecordId"] for each in every} == {gone: None, loser: winner}
        org.purge("Contact", gone)
        assert len(client.rows("SELECT Id FROM Contact", "queryAll")) == 199


class TestReplication:
    """/updated and /deleted."""

    def span(self, client: Client, what: str, start: str, end: str) -> requests.Response:
        return client.get(f"sobjects/Contact/{what}/", start=start, end=end)

    def test_updated(self, simulator: SalesforceSimulator, client: Client) -> None:
        """Changed ids of the span's minutes; its seconds do not count."""
        org = simulator.org
        changed = org.rows("Contact").ids()[5]
        org.advance(minutes=10, seconds=30)
        org.update("Contact", changed, {"Title": "CTO"})
        org.advance(minutes=5)
        answer = self.span(
            client,
            "updated",
            "2026-11-20T06:05:59Z",
            "2026-11-20T06:14:42%2B00:00".replace("%2B", "+"),
        )
        assert answer.json() == {
            "ids": [changed],
            "latestDateCovered": "2026-11-20T06:14:00.000+0000",
        }

    def test_deleted(self, simulator: SalesforceSimulator, client: Client) -> None:
        """Deleted ids with their times; an undeleted one is not among them."""
        org = simulator.org
        first, second = org.rows("Contact").ids()[:2]
        org.advance(minutes=5)
        org.delete("Contact", first, second)
        org.undelete("Contact", second)
        org.advance(minutes=5)
        answer = self.span(client, "deleted", "2026-11-20T06:00:00Z", "2026-11-20T06:09:00Z").json()
        assert answer["deletedRecords"] == [
            {"deletedDate": "2026-11-20T06:05:00.000+0000", "id": first}
        ]
        assert answer["earliestDateAvailable"] == "2026-11-05T06:10:00.000+0000"

    @pytest.mark.parametrize(
        ("start", "end"),
        [
            ("2026-11-20T06:00:01Z", "2026-11-20T06:00:59Z"),
            ("2026-11-20T06:05:00Z", "2026-11-20T06:00:00Z"),
            ("2026-09-20T06:05:00Z", "2026-11-20T06:00:00Z"),
            ("2026-11-20T05:00:00 00:00", "2026-11-20T06:00:00Z"),
            ("2026-11-20T05:00:00", "2026-11-20T06:00:00Z"),
        ],
    )
    def test_spans_that_are_refused(self, client: Client, start: str, end: str) -> None:
        """Within a minute, backwards, older than 30 days, or malformed."""
        refused = self.span(client, "updated", start, end)
        assert refusal(refused) == (400, "INVALID_REPLICATION_DATE")

    def test_a_long_transaction_holds_the_date_back(
        self, simulator: SalesforceSimulator, client: Client
    ) -> None:
        """Uncommitted rows are invisible and carry early times; latestDateCovered waits."""
        org = simulator.org
        late = org.begin()
        made = late.insert("Contact", {"LastName": "Late"})
        org.advance(minutes=30)
        window = ("2026-11-20T05:00:00Z", "2026-11-20T06:30:00Z")
        covered = self.span(client, "updated", *window).json()
        assert covered["latestDateCovered"] == "2026-11-20T06:00:00.000+0000"
        assert made not in covered["ids"]
        query = f"SELECT SystemModstamp FROM Contact WHERE Id = '{made}'"
        assert client.rows(query) == []
        late.commit()
        assert client.rows(query)[0]["SystemModstamp"] == "2026-11-20T06:00:00.000+0000"
        covered = self.span(client, "updated", *window).json()
        assert covered["latestDateCovered"] == "2026-11-20T06:30:00.000+0000"
        assert made in covered["ids"]

    def test_a_purged_delete_log(self, simulator: SalesforceSimulator, client: Client) -> None:
        """What the log has forgotten shows in earliestDateAvailable only."""
        org = simulator.org
        org.delete("Contact", org.rows("Contact").ids()[0])
        org.advance(hours=2)
        org.purge_delete_log("Contact", org.now() - timedelta(hours=1))
        answer = self.span(client, "deleted", "2026-11-20T05:00:00Z", "2026-11-20T08:00:00Z").json()
        assert answer["deletedRecords"] == []
        assert answer["earliestDateAvailable"] == "2026-11-20T07:00:00.000+0000"

    def test_too_many_ids(self, simulator: SalesforceSimulator, client: Client) -> None:
        """Above the limit of ids a shorter span is asked for."""
        org = simulator.org
        org.replication_ids_max = 3
        org.advance(minutes=5)
        org.touch("Contact", 4)
        org.advance(minutes=5)
        answer = self.span(client, "updated", "2026-11-20T06:00:00Z", "2026-11-20T06:09:00Z")
        assert refusal(answer) == (400, "EXCEEDED_ID_LIMIT")

    def test_objects_that_are_not_replicated(self, client: Client) -> None:
        """CaseStatus has no replication."""
        answer = client.get(
            "sobjects/CaseStatus/updated", start="2026-11-20T05:00:00Z", end="2026-11-20T06:00:00Z"
        )
        assert refusal(answer) == (400, "INVALID_TYPE_FOR_OPERATION")


class TestBulk:
    """Bulk API 2.0 query jobs."""

    def test_the_life_of_a_job(self, simulator: SalesforceSimulator, client: Client) -> None:
        """UploadComplete, InProgress, JobComplete; early results are 412."""
        simulator.bulk.settings.polls = 1
        made = job(client, "SELECT Id FROM Contact").json()
        assert (made["state"], made["object"], made["apiVersion"]) == (
            "UploadComplete", "Contact", 64.0,
        )  # fmt: skip
        path = f"jobs/query/{made['id']}"
        assert refusal(client.get(f"{path}/results")) == (412, "JOB_NOT_COMPLETE")
        assert refusal(client.get(f"{path}/resultPages")) == (412, "JOB_NOT_COMPLETE")
        assert client.get(path).json()["state"] == "InProgress"
        assert refusal(client.get(f"{path}/results")) == (412, "JOB_NOT_COMPLETE")
        done = client.get(path).json()
        assert (done["state"], done["numberRecordsProcessed"]) == ("JobComplete", 200)
        assert done["isPkChunkingSupported"] is True

    def test_csv(self, simulator: SalesforceSimulator, client: Client) -> None:
        """Every value is quoted, NULL is empty, datetimes end in Z, doubles are Java's."""
        made = simulator.org.insert(
            "Contact",
            {
                "LastName": 'Say "hi",\nO\'Brien',
                "ltv__c": 12_500_000,
                "Visits__c": 0.0005,
                "Preferred_Time__c": "10:22:00",
                "Birthdate": "1601-01-01",
            },
        )
        names = "Id, LastName, Title, ltv__c, Visits__c, Preferred_Time__c, Birthdate, CreatedDate"
        query = f"SELECT {names}, IsDeleted FROM Contact WHERE Id = '{made}'"
        answer = client.get(f"{finished(client, query)}/results")
        assert answer.content.decode() == (
            '"Id","LastName","Title","ltv__c","Visits__c","Preferred_Time__c","Birthdate",'
            '"CreatedDate","IsDeleted"\n'
            f'"{made}","Say ""hi"",\nO\'Brien","","1.25E7","5.0E-4","10:22:00.000Z","1601-01-01",'
            '"2026-11-20T06:00:00.000Z","false"\n'
        )
        assert answer.headers["Content-Type"] == "text/csv"
        assert answer.headers["Sforce-Locator"] == "null"
        assert answer.headers["Sforce-NumberOfRecords"] == "1"

    def test_the_same_rows_as_rest(self, client: Client) -> None:
        """Both ways give the same contacts."""
        query = "SELECT Id, Name, Email, Title, Description FROM Contact"
        rest = {each["Id"]: each for each in client.rows(query)}
        bulk = bulk_rows(client, query)
        assert len(bulk) == len(rest) == 200
        for row in bulk:
            assert {k: v or None for k, v in row.items()} == {
                name: rest[row["Id"]][name] for name in row
            }

    def test_query_all(self, simulator: SalesforceSimulator, client: Client) -> None:
        """queryAll has the deleted rows, query has not."""
        simulator.org.delete("Contact", simulator.org.rows("Contact").ids()[0])
        query = "SELECT Id, IsDeleted FROM Contact"
        assert len(bulk_rows(client, query)) == 199
        assert [row["IsDeleted"] for row in bulk_rows(client, query, "queryAll")].count("true") == 1

    def test_locators(self, client: Client) -> None:
        """Pages follow by locator, and a locator gives the same page each time."""
        path = finished(client, "SELECT Id FROM Contact")
        seen: list[str] = []
        locator = None
        while locator != "null":
            query = {"maxRecords": "70"} | ({"locator": locator} if locator else {})
            page = client.get(f"{path}/results", **query)
            assert page.content == client.get(f"{path}/results", **query).content
            lines = page.text.splitlines()
            assert lines[0] == '"Id"'
            assert len(lines) - 1 == int(page.headers["Sforce-NumberOfRecords"])
            seen += lines[1:]
            locator = page.headers["Sforce-Locator"]
        assert len(set(seen)) == 200
        wrong = client.get(f"{path}/results", locator="MTAw")
        assert refusal(wrong) == (400, "INVALID_LOCATOR")

    def test_header_on_the_first_page_only(
        self, simulator: SalesforceSimulator, client: Client
    ) -> None:
        """The header line of later pages can be switched off."""
        simulator.bulk.settings.header = "first"
        simulator.bulk.settings.page_rows = 150
        path = finished(client, "SELECT Id FROM Contact")
        first = client.get(f"{path}/results")
        second = client.get(f"{path}/results", locator=first.headers["Sforce-Locator"])
        assert first.text.startswith('"Id"\n')
        assert second.text.startswith('"003')

    def test_result_pages(self, simulator: SalesforceSimulator, client: Client) -> None:
        """Five addresses at a time, until done; together they are the whole result."""
        simulator.bulk.settings.page_rows = 30
        path = finished(client, "SELECT Id FROM Contact")
        listed = client.get(f"{path}/resultPages").json()
        assert (len(listed["resultPages"]), listed["done"]) == (5, False)
        rest = client.session.get(simulator.url + listed["nextRecordsUrl"]).json()
        assert (len(rest["resultPages"]), rest["done"]) == (2, True)
        assert rest["nextRecordsUrl"] is None
        ids: set[str] = set()
        for each in listed["resultPages"] + rest["resultPages"]:
            page = client.session.get(simulator.url + each["resultUrl"])
            ids |= set(page.text.splitlines()[1:])
        assert len(ids) == 200

    def test_an_empty_result(self, client: Client) -> None:
        """No rows: a header line, zero records, no locator."""
        path = finished(client, "SELECT Id, Name FROM Contact WHERE LastName = 'Nobody'")
        page = client.get(f"{path}/results")
        assert page.text == '"Id","Name"\n'
        assert page.headers["Sforce-NumberOfRecords"] == "0"
        assert page.headers["Sforce-Locator"] == "null"
        assert client.get(f"{path}/resultPages").json()["done"] is True

    def test_versions(self, simulator: SalesforceSimulator, client: Client) -> None:
        """Results are fetched with the version that made the job; resultPages are younger."""
        path = finished(client, "SELECT Id FROM Contact")
        other = Client(simulator, "60.0")
        assert refusal(other.get(f"{path}/results")) == (409, "CONFLICT")
        old = Client(simulator, "57.0")
        assert old.get(f"{finished(old, 'SELECT Id FROM Contact')}/results").ok
        pages = old.get(f"{finished(old, 'SELECT Id FROM Contact')}/resultPages")
        assert refusal(pages) == (404, "NOT_FOUND")

    def test_abort_and_delete(self, simulator: SalesforceSimulator, client: Client) -> None:
        """A running job can be aborted, a finished one deleted, and not the other way round."""
        simulator.bulk.settings.polls = 1
        path = f"{client.root}/jobs/query/{job(client, 'SELECT Id FROM Contact').json()['id']}"
        assert refusal(client.session.delete(path)) == (400, "INVALIDJOBSTATE")
        aborted = client.session.patch(path, json={"state": "Aborted"})
        assert aborted.json()["state"] == "Aborted"
        assert refusal(client.session.get(f"{path}/results")) == (400, "INVALIDJOBSTATE")
        again = client.session.patch(path, json={"state": "Aborted"})
        assert refusal(again) == (400, "INVALIDJOBSTATE")
        assert client.session.delete(path).status_code == 204
        assert refusal(client.session.get(path)) == (404, "NOT_FOUND")

    @pytest.mark.parametrize(
        ("query", "code"),
        [
            ("SELECT Id, MailingAddress FROM Contact", "FUNCTIONALITY_NOT_ENABLED"),
            ("SELECT Id, Home__c FROM Contact", "FUNCTIONALITY_NOT_ENABLED"),
            ("SELECT Id, Body FROM Attachment", "FUNCTIONALITY_NOT_ENABLED"),
            ("SELECT COUNT() FROM Contact", "FEATURENOTENABLED"),
            ("SELECT LastName FROM Contact GROUP BY LastName", "FEATURENOTENABLED"),
            ("SELECT MAX(CreatedDate) FROM Contact", "FEATURENOTENABLED"),
            ("SELECT Id FROM Contact LIMIT 5 OFFSET 5", "FEATURENOTENABLED"),
            ("SELECT Id FROM CaseStatus", "INVALIDENTITY"),
            ("SELECT Id, Nope FROM Contact", "INVALID_FIELD"),
            ("SELECT Id FROM Nope", "INVALID_TYPE"),
            ("SELECT Id FROM Contact;", "MALFORMED_QUERY"),
            ("", "MALFORMED_QUERY"),
        ],
    )
    def test_refused_queries(self, client: Client, query: str, code: str) -> None:
        """What Bulk does not take is refused when the job is created."""
        assert refusal(job(client, query)) == (400, code)

    def test_refused_bodies(self, client: Client) -> None:
        """The body is JSON, called JSON, and has no keys that are not documented."""
        url = f"{client.root}/jobs/query"
        query = {"operation": "query", "query": "SELECT Id FROM Contact"}
        assert refusal(client.session.post(url, data=query))[0] == 415
        unknown = client.session.post(url, json={**query, "object": "Contact"})
        assert refusal(unknown) == (400, "JSON_PARSER_ERROR")
        wrong = client.session.post(url, json={**query, "operation": "insert"})
        assert refusal(wrong) == (400, "INVALIDJOB")
        headers = {"Content-Type": "application/json"}
        torn = client.session.post(url, data="{", headers=headers)
        assert refusal(torn) == (400, "JSON_PARSER_ERROR")

    def test_order_by_is_taken_and_remembered(self, client: Client) -> None:
        """ORDER BY works, but switches PK chunking off, and the job says so."""
        made = job(client, "SELECT Id FROM Contact ORDER BY Id").json()
        info = client.get(f"jobs/query/{made['id']}").json()
        assert info["isPkChunkingSupported"] is False

    def test_failed_jobs(self, simulator: SalesforceSimulator, client: Client) -> None:
        """A job can be scripted to fail, or fail because it finds too much."""
        simulator.bulk.faults.append(JobFault(contains="FROM Contact"))
        path = f"jobs/query/{job(client, 'SELECT Id FROM Contact').json()['id']}"
        failed = client.get(path).json()
        assert failed["state"] == "Failed"
        assert failed["errorMessage"].startswith("QUERY_TIMEOUT")
        assert refusal(client.get(f"{path}/results")) == (400, "INVALIDJOBSTATE")
        finished(client, "SELECT Id FROM Contact")
        simulator.bulk.settings.rows_max = 100
        path = f"jobs/query/{job(client, 'SELECT Id FROM Contact').json()['id']}"
        assert "retried more than 15 times" in client.get(path).json()["errorMessage"]

    def test_delimiters_and_line_endings(self, client: Client) -> None:
        """Tabs and CRLF when asked for; pipes too."""
        query = "SELECT Id, Name FROM Contact LIMIT 1"
        crlf = finished(client, query, lineEnding="CRLF", columnDelimiter="TAB")
        assert client.get(f"{crlf}/results").content.startswith(b'"Id"\t"Name"\r\n"003')
        pipe = finished(client, query, columnDelimiter="PIPE")
        assert client.get(f"{pipe}/results").content.startswith(b'"Id"|"Name"\n"003')

    def test_gzip_when_asked(self, client: Client) -> None:
        """Pages are compressed for a client that says it can read that."""
        path = finished(client, "SELECT Id, Name FROM Contact")
        zipped = client.get(f"{path}/results")
        assert zipped.headers["Content-Encoding"] == "gzip"
        plain = client.session.get(
            f"{client.root}/{path}/results", headers={"Accept-Encoding": "identity"}
        )
        assert "Content-Encoding" not in plain.headers
        assert plain.content == zipped.content

    def test_raw_cells(self, simulator: SalesforceSimulator, client: Client) -> None:
        """A cell can hold any bytes: NUL, broken UTF-8, numbers in odd spellings."""
        org = simulator.org
        contact, other = org.rows("Contact").ids()[:2]
        cells = {"Title": Raw(b"a\x00b\xff"), "ltv__c": Raw(b"1.2390000"), "Visits__c": Raw(b"0.0")}
        org.update("Contact", contact, cells)
        path = finished(
            client,
            f"SELECT Title, ltv__c, Visits__c FROM Contact WHERE Id IN ('{contact}', '{other}')",
        )
        lines = client.get(f"{path}/results").content.split(b"\n")
        assert b'"a\x00b\xff","1.2390000","0.0"' in lines
        rest = client.rows(f"SELECT Title FROM Contact WHERE Id = '{contact}'")
        assert rest[0]["Title"] == "a\x00b\ufffd"

    def test_jobs_last_seven_days(self, simulator: SalesforceSimulator, client: Client) -> None:
        """After a week a job is not found."""
        path = finished(client, "SELECT Id FROM Contact")
        simulator.org.advance(days=7, seconds=1)
        assert refusal(client.get(path)) == (404, "NOT_FOUND")

    def test_the_daily_number_of_jobs(self, simulator: SalesforceSimulator, client: Client) -> None:
        """A job too many is refused, and /limits knows how many are left."""
        simulator.bulk.settings.jobs_max = 1
        finished(client, "SELECT Id FROM Contact")
        assert client.get("limits").json()["DailyBulkV2QueryJobs"] == {"Max": 1, "Remaining": 0}
        assert refusal(job(client, "SELECT Id FROM Contact")) == (400, "LIMIT_EXCEEDED")


def test_locators_say_nothing() -> None:
    """A locator is opaque: a client that does arithmetic on it breaks."""
    with SalesforceSimulator(org=Org(ticking=False)) as simulator:
        simulator.bulk.settings.polls = 0
        client = Client(simulator)
        path = finished(client, "SELECT Id FROM Contact")
        locator = client.get(f"{path}/results", maxRecords="10").headers["Sforce-Locator"]
        assert not locator.isdecimal()
        assert base64.urlsafe_b64decode(locator + "===") != b"10"


def test_now_is_the_orgs() -> None:
    """The Date header is the org's time, so that a client can close its windows by it."""
    moment = datetime(2031, 2, 3, 4, 5, 6, tzinfo=UTC)
    with SalesforceSimulator(org=Org(ticking=False, start=moment)) as simulator:
        answer = requests.get(f"{simulator.url}/services/data")
        assert answer.headers["Date"] == "Mon, 03 Feb 2031 04:05:06 GMT"


def test_a_field_of_every_sort_can_be_added() -> None:
    """Custom fields of any type take values, and show up in describe and in rows."""
    with SalesforceSimulator(org=Org(ticking=False)) as simulator:
        simulator.bulk.settings.polls = 0
        org, client = simulator.org, Client(simulator)
        kinds: dict[str, Any] = {
            "string": "00123", "long": 9_007_199_254_740_993, "encryptedstring": "****",
            "anyType": "1E5", "time": "00:00:00", "json": "{}", "multipicklist": "a;b",
        }  # fmt: skip
        for kind in kinds:
            org.add_field("Account", Field(name=f"X_{kind}__c", type=kind))
        record = {f"X_{kind}__c": value for kind, value in kinds.items()}
        made = org.insert("Account", {"Name": "Odd", **record})
        fields = ", ".join(record)
        row = bulk_rows(client, f"SELECT {fields} FROM Account WHERE Id = '{made}'")[0]
        assert row == {**{k: str(v) for k, v in record.items()}, "X_time__c": "00:00:00.000Z"}
