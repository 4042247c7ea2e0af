"""Orgs that differ from the documented API, one option or named fault at a time."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Iterator
from typing import Any

import jwt
import pytest
import requests

from tailrace.testing import BulkSettings, SalesforceSimulator, Sizes
from tailrace.testing.org.editions import add_similar_names, add_uncountable_objects
from tailrace.testing.org.org import ORG_ID, Org
from tailrace.testing.salesforce.behavior import OrgBehavior
from tailrace.testing.salesforce.named_faults import (
    API_REFUSALS,
    LOGIN_REFUSALS,
    SALESFORCE_FAULTS,
    named_fault,
)

CONTACTS = "SELECT Id, LastName, Department, SystemModstamp FROM Contact"
SIZES = Sizes(
    users=2, accounts=4, contacts=10, leads=2, opportunities=2,
    campaigns=1, campaign_members=2, cases=2, tasks=2, events=2,
)  # fmt: skip


@pytest.fixture(scope="module")
def served() -> Iterator[SalesforceSimulator]:
    org = Org(ticking=False, sizes=SIZES)
    with SalesforceSimulator(org=org, bulk=BulkSettings(page_rows=4, polls=0)) as running:
        yield running


@pytest.fixture
def simulator(served: SalesforceSimulator) -> Iterator[SalesforceSimulator]:
    yield served
    for name, value in vars(OrgBehavior()).items():
        served.behavior.change(name, value)
    served.faults.clear()
    served.requests.clear()


class Client:
    """A session of the API that follows the documented ways of paging."""

    def __init__(self, simulator: SalesforceSimulator) -> None:
        self.url = simulator.url
        self.root = f"{self.url}/services/data/v64.0"
        self.headers = {"Authorization": f"Bearer {simulator.access_token()}"}

    def get(self, address: str, **query: Any) -> requests.Response:
        url = address if address.startswith("http") else f"{self.root}/{address}"
        return requests.get(url, params=query, headers=self.headers, allow_redirects=False)

    def job(self, query: str = CONTACTS) -> dict[str, Any]:
        """A job that was polled once."""
        body = {"operation": "query", "query": query}
        made = requests.post(f"{self.root}/jobs/query", json=body, headers=self.headers).json()
        job: dict[str, Any] = self.get(f"jobs/query/{made['id']}").json()
        return job

    def pages(self, query: str = CONTACTS, batch: int = 200, most: int = 10) -> list[Any]:
        """The pages of a REST query, at most `most` of them."""
        self.headers["Sforce-Query-Options"] = f"batchSize={batch}"
        pages = [self.get("query", q=query).json()]
        while not pages[-1]["done"] and len(pages) < most:
            pages.append(self.get(self.url + pages[-1]["nextRecordsUrl"]).json())
        return pages


@pytest.fixture
def client(simulator: SalesforceSimulator) -> Client:
    return Client(simulator)


def code(response: requests.Response) -> tuple[int, str]:
    return response.status_code, response.json()[0]["errorCode"]


def rows(response: requests.Response) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(response.text)))


class TestBulkPages:
    """`/results` and `/resultPages`."""

    @pytest.mark.parametrize(
        ("shape", "list_key", "link_key", "start"),
        [
            ("documented", "resultPages", "resultUrl", "/services/data/v64.0/jobs/query/750"),
            ("absolute", "resultPages", "resultUrl", "http://127.0.0.1:"),
            ("chunks", "resultChunks", "resultLink", "/jobs/query/750"),
            ("chunks_relative", "resultChunks", "resultLink", "jobs/query/750"),
        ],
    )
    def test_result_pages(
        self,
        simulator: SalesforceSimulator,
        client: Client,
        shape: str,
        list_key: str,
        link_key: str,
        start: str,
    ) -> None:
        """The list of pages has either shape; its addresses lead to all rows."""
        simulator.behavior.change("result_pages", shape)
        listed = client.get(f"jobs/query/{client.job()['id']}/resultPages").json()
        assert set(listed) == {list_key, "nextRecordsUrl", "done"}
        links = [page[link_key] for page in listed[list_key]]
        assert len(links) == 3
        assert all(link.startswith(start) for link in links)
        base = {"documented": client.url, "absolute": ""}.get(shape, client.root + "/")
        addresses = [
            base + (link if base in ("", client.url) else link.lstrip("/")) for link in links
        ]
        assert sum(len(rows(client.get(address))) for address in addresses) == 10

    @pytest.mark.parametrize(("shape", "status"), [("not_found", 404), ("bad_request", 400)])
    def test_result_pages_refused(
        self, simulator: SalesforceSimulator, client: Client, shape: str, status: int
    ) -> None:
        """An org may refuse the list of pages; the locator still leads through the result."""
        simulator.behavior.change("result_pages", shape)
        job = client.job()
        assert client.get(f"jobs/query/{job['id']}/resultPages").status_code == status
        assert client.get(f"jobs/query/{job['id']}/results").headers["Sforce-Locator"] != "null"

    def test_pages_end_early(self, simulator: SalesforceSimulator, client: Client) -> None:
        """Both ways of paging can end before the rows that the job counts."""
        simulator.behavior.change("result_pages_listed_max", 2)
        simulator.behavior.change("bulk_pages_max", 1)
        job = client.job()
        assert job["numberRecordsProcessed"] == 10
        listed = client.get(f"jobs/query/{job['id']}/resultPages").json()
        assert (len(listed["resultPages"]), listed["done"]) == (2, True)
        page = client.get(f"jobs/query/{job['id']}/results")
        assert (len(rows(page)), page.headers["Sforce-Locator"]) == (4, "null")

    def test_wrong_counts(self, simulator: SalesforceSimulator, client: Client) -> None:
        """The counts of the job and of a page can be wrong, or the header can be missing."""
        simulator.behavior.change("job_rows_offset", 5)
        simulator.behavior.change("page_rows_offset", -1)
        job = client.job()
        assert job["numberRecordsProcessed"] == 15
        page = f"jobs/query/{job['id']}/results"
        assert client.get(page).headers["Sforce-NumberOfRecords"] == "3"
        simulator.behavior.change("page_rows_header", False)
        assert "Sforce-NumberOfRecords" not in client.get(page).headers

    @pytest.mark.parametrize("paging", ["repeats", "endless"])
    def test_paging_without_end(
        self, simulator: SalesforceSimulator, client: Client, paging: str
    ) -> None:
        """The locator leads to the same page, or around to the first page under a new name."""
        simulator.behavior.change("paging", paging)
        results = f"jobs/query/{client.job()['id']}/results"
        locators = []
        locator: dict[str, str] = {}
        for _ in range(7):
            page = client.get(results, **locator)
            assert page.status_code == 200
            locator = {"locator": page.headers["Sforce-Locator"]}
            locators.append(locator["locator"])
        assert "null" not in locators
        assert (len(set(locators)) == 1) == (paging == "repeats")

    def test_results_without_content_once(
        self, simulator: SalesforceSimulator, client: Client
    ) -> None:
        """A 204 in place of a page, once."""
        simulator.faults.append(named_fault("results_no_content"))
        results = f"jobs/query/{client.job()['id']}/results"
        assert client.get(results).status_code == 204
        assert len(rows(client.get(results))) == 4

    def test_gzip_members(self, simulator: SalesforceSimulator, client: Client) -> None:
        """The page arrives whole for a client that reads all members."""
        results = f"jobs/query/{client.job()['id']}/results"
        plain = client.get(results).content
        simulator.faults.append(named_fault("gzip_members"))
        assert client.get(results).content[: len(plain) // 3] == plain[: len(plain) // 3]
        assert simulator.requests[-1].fault is not None


class TestRestPages:
    """`/query` and `nextRecordsUrl`."""

    @pytest.fixture(autouse=True)
    def small_pages(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("tailrace.testing.salesforce.rest.PAGE_ROWS_MIN", 4)

    def test_pages_end_early(self, simulator: SalesforceSimulator, client: Client) -> None:
        """`done` comes before the rows that `totalSize` counts."""
        simulator.behavior.change("rest_pages_max", 2)
        pages = client.pages(batch=4)
        assert [len(page["records"]) for page in pages] == [4, 4]
        assert pages[0]["totalSize"] == 10

    def test_wrong_total(self, simulator: SalesforceSimulator, client: Client) -> None:
        """`totalSize` can be wrong, of a count too."""
        simulator.behavior.change("total_size_offset", -3)
        assert client.pages()[0]["totalSize"] == 7
        assert client.get("query", q="SELECT count() FROM Contact").json()["totalSize"] == 7

    @pytest.mark.parametrize("paging", ["repeats", "endless"])
    def test_paging_without_end(
        self, simulator: SalesforceSimulator, client: Client, paging: str
    ) -> None:
        """`nextRecordsUrl` leads to the same page, or around to the first one."""
        simulator.behavior.change("paging", paging)
        pages = client.pages(batch=4, most=7)
        assert len(pages) == 7
        assert {page["totalSize"] for page in pages} == {10}
        addresses = {page["nextRecordsUrl"] for page in pages}
        assert (len(addresses) == 1) == (paging == "repeats")

    @pytest.mark.parametrize(
        ("sessions", "answer"),
        [
            ("any", None),
            ("unauthorized", (401, "INVALID_SESSION_ID")),
            ("invalid_locator", (400, "INVALID_QUERY_LOCATOR")),
        ],
    )
    def test_a_cursor_and_its_session(
        self,
        simulator: SalesforceSimulator,
        client: Client,
        sessions: str,
        answer: tuple[int, str] | None,
    ) -> None:
        """The next page can depend on the session that sent the query."""
        simulator.behavior.change("cursor_sessions", sessions)
        following = client.url + client.pages(batch=4, most=1)[0]["nextRecordsUrl"]
        assert client.get(following).status_code == 200
        other = Client(simulator).get(following)
        assert (code(other) if other.status_code != 200 else None) == answer

    def test_invalid_locator_once(self, simulator: SalesforceSimulator, client: Client) -> None:
        """The second page is refused once; the query as a whole can be repeated."""
        simulator.faults.append(named_fault("invalid_query_locator", times=1))
        following = client.url + client.pages(batch=4, most=1)[0]["nextRecordsUrl"]
        assert code(client.get(following)) == (400, "INVALID_QUERY_LOCATOR")
        assert len(client.pages(batch=4)) == 3


class TestQueries:
    """What queries return or refuse."""

    @pytest.mark.parametrize("stale", [False, True])
    def test_repeated_rows(
        self, simulator: SalesforceSimulator, client: Client, stale: bool
    ) -> None:
        """The same id appears twice, both times as it is or once as it was."""
        simulator.behavior.change("repeated_rows", 3)
        simulator.behavior.change("repeated_rows_stale", stale)
        records = client.pages()[0]["records"]
        ids = [record["Id"] for record in records]
        assert (len(ids), len(set(ids))) == (13, 10)
        for record, copy in zip(records[:3], records[10:], strict=True):
            assert record["Id"] == copy["Id"]
            assert (record["SystemModstamp"] > copy["SystemModstamp"]) == stale
        assert client.job()["numberRecordsProcessed"] == 13

    @pytest.mark.parametrize("error", ["QUERY_TIMEOUT", "OPERATION_TOO_LARGE"])
    def test_too_many_rows(
        self, simulator: SalesforceSimulator, client: Client, error: str
    ) -> None:
        """A query fails until a filter makes it small enough; a count never does."""
        simulator.behavior.change("query_rows_max", 5)
        simulator.behavior.change("query_rows_error", error)
        assert code(client.get("query", q=CONTACTS)) == (400, error)
        job = client.job()
        assert job["state"] == "Failed"
        assert job["errorMessage"].startswith(f"{error}: ")
        assert client.get("query", q="SELECT count() FROM Contact").json()["totalSize"] == 10
        ids = sorted(simulator.org.rows("Contact").ids())
        part = f"{CONTACTS} WHERE Id >= '{ids[0]}' AND Id < '{ids[5]}'"
        assert client.job(part)["numberRecordsProcessed"] == 5
        assert len(client.get("query", q=part).json()["records"]) == 5

    def test_uncountable_objects(self) -> None:
        """Big objects and custom metadata answer queries, but not count()."""
        org = Org(ticking=False, sizes=SIZES)
        names = add_uncountable_objects(org)
        with SalesforceSimulator(org=org) as running:
            client = Client(running)
            for name in names:
                refused = client.get("query", q=f"SELECT count() FROM {name}")
                assert code(refused) == (400, "INVALID_TYPE_FOR_OPERATION")
                assert client.get("query", q=f"SELECT Id FROM {name}").json()["totalSize"] == 3

    def test_similar_names(self) -> None:
        """Two objects whose names differ in an underscore only."""
        org = Org(ticking=False, sizes=SIZES)
        assert add_similar_names(org) == ("OrderLine__c", "Order_Line__c")
        assert {spec.name for spec in org.objects()} >= {"OrderLine__c", "Order_Line__c"}

    @pytest.mark.parametrize(
        ("language", "word"), [("de", "Spalte"), ("ja", "列"), ("en", "No such")]
    )
    def test_messages_in_other_languages(
        self, simulator: SalesforceSimulator, client: Client, language: str, word: str
    ) -> None:
        """The message is translated, the error code is not."""
        simulator.behavior.change("language", language)
        answer = client.get("query", q="SELECT Nonsense FROM Contact")
        assert code(answer) == (400, "INVALID_FIELD")
        assert word in answer.json()[0]["message"]

    def test_stale_describe(self, simulator: SalesforceSimulator, client: Client) -> None:
        """The first describe lists a field that queries already refuse."""
        simulator.org.hide_field("Contact", "Department")
        simulator.behavior.change("stale_describes", 1)

        def described() -> set[str]:
            fields = client.get("sobjects/Contact/describe").json()["fields"]
            return {field["name"] for field in fields}

        try:
            assert "Department" in described()
            assert code(client.get("query", q=CONTACTS)) == (400, "INVALID_FIELD")
            assert "Department" not in described()
        finally:
            simulator.org.show_field("Contact", "Department")

    def test_hidden_object(self, simulator: SalesforceSimulator, client: Client) -> None:
        """An object without permission: no describe, no query, not in the list."""
        simulator.org.hide_object("Contact")
        try:
            assert code(client.get("sobjects/Contact/describe")) == (404, "NOT_FOUND")
            assert code(client.get("query", q=CONTACTS)) == (400, "INVALID_TYPE")
            listed = client.get("sobjects").json()["sobjects"]
            assert "Contact" not in {entry["name"] for entry in listed}
        finally:
            simulator.org.hide_object("Contact", hidden=False)
        assert client.get("query", q=CONTACTS).status_code == 200

    @pytest.mark.parametrize(
        ("version", "answer"),
        [("40.0", (410, "UNSUPPORTED_API_VERSION")), ("66.0", (404, "NOT_FOUND"))],
    )
    def test_versions(
        self, simulator: SalesforceSimulator, client: Client, version: str, answer: tuple[int, str]
    ) -> None:
        """Versions outside the org's range are retired or do not exist."""
        simulator.behavior.change("version_first", 50)
        simulator.behavior.change("version_last", 65)
        assert code(client.get(f"{client.url}/services/data/v{version}/limits")) == answer
        listed = client.get(f"{client.url}/services/data").json()
        assert [entry["version"] for entry in (listed[0], listed[-1])] == ["50.0", "65.0"]


class TestLogins:
    """The token endpoint and the identity of the org."""

    def token(self, simulator: SalesforceSimulator) -> requests.Response:
        secret = {"client_id": simulator.client_id, "client_secret": simulator.client_secret}
        return requests.post(
            f"{simulator.url}/services/oauth2/token",
            data={"grant_type": "client_credentials", **secret},
            allow_redirects=False,
        )

    @pytest.mark.parametrize("name", list(LOGIN_REFUSALS))
    def test_refused(self, simulator: SalesforceSimulator, name: str) -> None:
        """Each refusal has its error and error_description; without the fault login works."""
        simulator.faults.append(named_fault(name, times=1))
        answer = self.token(simulator)
        error, description = LOGIN_REFUSALS[name]
        assert answer.status_code == 400
        assert answer.json() == {"error": error, "error_description": description}
        assert self.token(simulator).status_code == 200

    def test_token_without_instance_url(self, simulator: SalesforceSimulator) -> None:
        """The token response can lack keys."""
        simulator.behavior.change("token_omits", ["instance_url", "issued_at"])
        answer = self.token(simulator).json()
        assert "access_token" in answer
        assert not {"instance_url", "issued_at"} & set(answer)

    def test_token_endpoint_moved(self, simulator: SalesforceSimulator) -> None:
        """The token endpoint can answer 302, by a fault or for good."""
        simulator.faults.append(named_fault("token_moved", times=1))
        assert self.token(simulator).headers["Location"].startswith("https://login.salesforce.com")
        simulator.behavior.change("token_redirect", "https://example.com/token")
        answer = self.token(simulator)
        assert (answer.status_code, answer.headers["Location"]) == (
            302,
            "https://example.com/token",
        )

    @pytest.mark.parametrize(
        ("required", "audience", "status"),
        [
            (None, "https://login.salesforce.com", 200),
            (None, "https://test.salesforce.com", 200),
            ("https://test.salesforce.com", "https://test.salesforce.com", 200),
            ("https://test.salesforce.com", "https://login.salesforce.com", 400),
        ],
    )
    def test_jwt_audience(
        self, simulator: SalesforceSimulator, required: str | None, audience: str, status: int
    ) -> None:
        """A sandbox can require the audience of sandboxes."""
        simulator.behavior.change("jwt_audience", required)
        claims = {
            "iss": simulator.client_id,
            "sub": simulator.username,
            "aud": audience,
            "exp": int(time.time()) + 120,
        }
        form = {
            "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
            "assertion": jwt.encode(claims, simulator.private_key_pem, algorithm="RS256"),
        }
        answer = requests.post(f"{simulator.url}/services/oauth2/token", data=form)
        assert answer.status_code == status
        assert (answer.json().get("error_description") == "audience is invalid") == (status == 400)

    def test_another_org_id(self, simulator: SalesforceSimulator, client: Client) -> None:
        """A refreshed sandbox: login, userinfo and the Organization record name the new id."""
        other = "00DHs0000000002MAA"
        seen = client.get(f"{client.url}/services/oauth2/userinfo").json()["organization_id"]
        assert seen == ORG_ID
        simulator.org.org_id = other
        try:
            assert f"/id/{other}/" in self.token(simulator).json()["id"]
            record = client.get("query", q="SELECT Id FROM Organization").json()["records"]
            assert [entry["Id"] for entry in record] == [other]
        finally:
            simulator.org.org_id = ORG_ID


@pytest.mark.parametrize("name", list(API_REFUSALS))
def test_refused_calls(simulator: SalesforceSimulator, client: Client, name: str) -> None:
    """Each named refusal answers its own calls with its status and error code, and no others."""
    simulator.faults.append(named_fault(name))
    status, error, _, path = API_REFUSALS[name]
    target = {
        "/services/data/*": "limits",
        "/services/data/*/quer*": "query?q=SELECT+Id+FROM+Contact",
        "*/query/0r8*": "query/0r8Hs0000000001AAA-4",
        "*/deleted": "sobjects/Contact/deleted",
        "*/updated": "sobjects/Contact/updated",
        "*/limits": "limits",
        "*/jobs/*": "jobs/query",
        "*/jobs/query": "jobs/query",
        "*/resultPages": "jobs/query/x/resultPages",
    }[path]
    assert code(client.get(target)) == (status, error)
    if path != "/services/data/*":
        assert client.get("sobjects/Contact/describe").status_code == 200


@pytest.mark.parametrize(
    "target", ["limits", "sobjects/Contact/describe", "query?q=SELECT+Id+FROM+User"]
)
def test_unexpected_answers(simulator: SalesforceSimulator, client: Client, target: str) -> None:
    """A 200 with HTML, garbage or nothing, on every resource."""
    for name in ("api_html", "api_garbage", "api_empty", "api_json_list"):
        simulator.faults.clear()
        simulator.faults.append(named_fault(name))
        answer = client.get(target)
        assert answer.status_code == 200
        assert answer.content[:1] in (b"<", b"%", b"", b"[")


def test_named_faults_by_control_call(simulator: SalesforceSimulator, client: Client) -> None:
    """A test in another process adds named faults and sets options; mistakes are refused."""
    control = f"{simulator.url}/_control"
    added = requests.post(f"{control}/named_fault", json={"name": "ip_restricted", "times": 1})
    assert added.json()["body"]["error_description"] == "ip restricted"
    assert requests.post(f"{control}/named_fault", json={"name": "x"}).status_code == 400
    assert requests.post(f"{control}/settings", json={"paging": "repeats"}).status_code == 200
    assert simulator.behavior.paging == "repeats"
    for wrong in ({"paging": "sometimes"}, {"pages": 1}):
        assert requests.post(f"{control}/settings", json=wrong).status_code == 400
    assert set(LOGIN_REFUSALS) | set(API_REFUSALS) <= set(SALESFORCE_FAULTS)
