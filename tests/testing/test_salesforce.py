"""The Salesforce simulator over its wire: logins, REST, quotas, and what it refuses."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import jwt
import pytest
import requests

from tailrace.testing import Fault, SalesforceSimulator
from tailrace.testing.org.org import Org


class Client:
    """A small client that speaks the API with plain requests."""

    def __init__(self, simulator: SalesforceSimulator, version: str = "64.0") -> None:
        self.root = f"{simulator.url}/services/data/v{version}"
        self.session = requests.Session()
        self.session.headers["Authorization"] = f"Bearer {simulator.access_token()}"

    def get(self, path: str, **query: str) -> requests.Response:
        return self.session.get(f"{self.root}/{path}", params=query)

    def soql(self, text: str, resource: str = "query") -> requests.Response:
        return self.get(resource, q=text)

    def rows(self, text: str, resource: str = "query") -> list[dict[str, Any]]:
        page = self.soql(text, resource).json()
        records: list[dict[str, Any]] = page["records"]
        while not page["done"]:
            host = self.root.split("/services")[0]
            page = self.session.get(host + page["nextRecordsUrl"]).json()
            records += page["records"]
        return records


def refusal(response: requests.Response) -> tuple[int, str]:
    """The status and the error code of a refusal."""
    body = response.json()
    assert isinstance(body, list)
    assert set(body[0]) == {"message", "errorCode"}
    return response.status_code, body[0]["errorCode"]


@pytest.fixture
def simulator() -> Iterator[SalesforceSimulator]:
    with SalesforceSimulator(org=Org(ticking=False)) as running:
        yield running


@pytest.fixture
def client(simulator: SalesforceSimulator) -> Client:
    return Client(simulator)


def token(simulator: SalesforceSimulator, **form: str) -> requests.Response:
    return requests.post(f"{simulator.url}/services/oauth2/token", data=form)


class TestLogins:
    """OAuth 2.0, SOAP, and the life of a token."""

    def test_client_credentials(self, simulator: SalesforceSimulator) -> None:
        """The consumer key and secret, in the form or as basic authentication, give a token."""
        grant = {"grant_type": "client_credentials"}
        named = {"client_id": simulator.client_id, "client_secret": simulator.client_secret}
        answer = token(simulator, **grant, **named)
        assert answer.status_code == 200
        assert answer.json()["instance_url"] == simulator.url
        basic = requests.post(
            f"{simulator.url}/services/oauth2/token",
            data=grant,
            auth=(simulator.client_id, simulator.client_secret),
        )
        session = {"Authorization": f"Bearer {basic.json()['access_token']}"}
        limits = requests.get(f"{simulator.url}/services/data/v64.0/limits", headers=session)
        assert limits.json()["DailyApiRequests"]["Max"] == 100_000

    @pytest.mark.parametrize(
        ("form", "error"),
        [
            ({"grant_type": "client_credentials"}, "invalid_request"),
            ({"grant_type": "magic"}, "unsupported_grant_type"),
            (
                {"grant_type": "client_credentials", "client_id": "x", "client_secret": "y"},
                "invalid_client_id",
            ),
        ],
    )
    def test_refusals(
        self, simulator: SalesforceSimulator, form: dict[str, str], error: str
    ) -> None:
        """Errors are one JSON object with `error` and `error_description`."""
        answer = token(simulator, **form)
        assert answer.status_code == 400
        assert answer.json()["error"] == error
        assert answer.json()["error_description"]

    def test_a_json_body_is_no_token_request(self, simulator: SalesforceSimulator) -> None:
        """The token endpoint reads forms only, and takes no secrets in the URL."""
        url = f"{simulator.url}/services/oauth2/token"
        form = {
            "grant_type": "client_credentials",
            "client_id": simulator.client_id,
            "client_secret": simulator.client_secret,
        }
        assert requests.post(url, json=form).json()["error"] == "unsupported_grant_type"
        assert requests.post(url, params=form).json()["error"] == "invalid_request"
        assert requests.get(url).status_code == 405

    def test_jwt_bearer(self, simulator: SalesforceSimulator) -> None:
        """A JWT signed with the integration's key gives a token; anything else does not."""
        claims = {
            "iss": simulator.client_id,
            "sub": simulator.username,
            "aud": "https://login.salesforce.com",
            "exp": int(time.time()) + 120,
        }
        key = simulator.private_key_pem

        def ask(**changed: Any) -> requests.Response:
            assertion = jwt.encode({**claims, **changed}, key, algorithm="RS256")
            grant = "urn:ietf:params:oauth:grant-type:jwt-bearer"
            return token(simulator, grant_type=grant, assertion=assertion)

        assert ask().status_code == 200
        assert ask(aud=simulator.url).status_code == 200
        assert ask(exp=str(int(time.time()) + 60)).status_code == 200
        assert ask(aud="https://elsewhere.example.com").json()["error"] == "invalid_grant"
        assert ask(sub="nobody@example.com").json()["error"] == "invalid_grant"
        assert ask(iss="other").json()["error"] == "invalid_client_id"
        assert ask(exp=int(time.time()) - 600).json()["error"] == "invalid_grant"
        grant = "urn:ietf:params:oauth:grant-type:jwt-bearer"
        forged = jwt.encode(claims, "a secret that is thirty-two bytes long", algorithm="HS256")
        answer = token(simulator, grant_type=grant, assertion=forged)
        assert answer.json()["error"] == "invalid_grant"
        head, body, signature = jwt.encode(claims, key, algorithm="RS256").split(".")
        bent = f"{head}.{body}.{signature[:-8]}AAAAAAAA"
        assert token(simulator, grant_type=grant, assertion=bent).status_code == 400

    def test_password_grant(self, simulator: SalesforceSimulator) -> None:
        """The old password grant wants the security token behind the password."""
        form = {
            "grant_type": "password",
            "client_id": simulator.client_id,
            "client_secret": simulator.client_secret,
            "username": simulator.username,
        }
        right = simulator.password + simulator.security_token
        assert token(simulator, **form, password=right).status_code == 200
        wrong = token(simulator, **form, password=simulator.password)
        assert wrong.json() == {
            "error": "invalid_grant",
            "error_description": "authentication failure",
        }

    def test_a_call_needs_a_living_token(
        self, simulator: SalesforceSimulator, client: Client
    ) -> None:
        """Without a token, with a wrong one, and after it expired: 401 INVALID_SESSION_ID."""
        bare = requests.get(f"{client.root}/limits")
        assert refusal(bare) == (401, "INVALID_SESSION_ID")
        assert client.get("limits").ok
        simulator.expire_tokens()
        assert refusal(client.get("limits")) == (401, "INVALID_SESSION_ID")

    def test_a_fault_expires_the_token_in_the_middle(
        self, simulator: SalesforceSimulator, client: Client
    ) -> None:
        """A rule can end the session just before a chosen request."""
        simulator.faults.append(Fault(path="*/limits", nth=2, expire_token=True))
        statuses = [client.get("limits").status_code for _ in range(3)]
        assert statuses == [200, 401, 401]


class TestThroughSimpleSalesforce:
    """The library that the extractor logs in with."""

    @pytest.fixture
    def session(self, simulator: SalesforceSimulator) -> requests.Session:
        class Local(requests.adapters.HTTPAdapter):
            def send(self, request: Any, *args: Any, **kwargs: Any) -> requests.Response:
                path = request.url.split("/", 3)[3]
                request.url = f"{simulator.url}/{path}"
                return super().send(request, *args, **kwargs)

        session = requests.Session()
        session.mount("https://", Local())
        return session

    @pytest.mark.parametrize("kind", ["soap", "client", "jwt", "password"])
    def test_every_login(
        self, simulator: SalesforceSimulator, session: requests.Session, kind: str
    ) -> None:
        """Its four ways in work, and then describe, query, limits and updated do."""
        from simple_salesforce import Salesforce

        sim = simulator
        ways: dict[str, dict[str, Any]] = {
            "soap": {
                "username": sim.username,
                "password": sim.password,
                "security_token": sim.security_token,
            },
            "client": {
                "consumer_key": sim.client_id,
                "consumer_secret": sim.client_secret,
                "domain": "acme.my",
            },
            "jwt": {
                "username": sim.username,
                "consumer_key": sim.client_id,
                "privatekey": sim.private_key_pem,
            },
            "password": {
                "username": sim.username,
                "password": sim.password + sim.security_token,
                "consumer_key": sim.client_id,
                "consumer_secret": sim.client_secret,
            },
        }
        sf = Salesforce(**ways[kind], session=session, version="59.0")
        fields = {each["name"]: each for each in sf.Contact.describe()["fields"]}
        assert fields["Email"]["type"] == "email"
        records = sf.query_all("SELECT Id, Name FROM Contact")["records"]
        assert len(records) == 200
        assert "DailyApiRequests" in sf.limits()
        assert sf.api_usage["api-usage"].total == 100_000

    def test_a_wrong_password(
        self, simulator: SalesforceSimulator, session: requests.Session
    ) -> None:
        """The SOAP fault reads as INVALID_LOGIN; a switched-off login says so."""
        from simple_salesforce import Salesforce
        from simple_salesforce.exceptions import SalesforceAuthenticationFailed

        given = {"username": simulator.username, "password": "wrong", "security_token": ""}
        with pytest.raises(SalesforceAuthenticationFailed, match="INVALID_LOGIN"):
            Salesforce(**given, session=session)
        simulator.logins.soap = False
        with pytest.raises(SalesforceAuthenticationFailed, match="INVALID_OPERATION"):
            Salesforce(**given, session=session)
        with pytest.raises(SalesforceAuthenticationFailed, match="UNSUPPORTED_API_VERSION"):
            Salesforce(**given, session=session, version="65.0")

    def test_bulk2(self, simulator: SalesforceSimulator, session: requests.Session) -> None:
        """Its Bulk 2.0 client reads the pages by locator."""
        from simple_salesforce import Salesforce

        sf = Salesforce(
            username=simulator.username,
            consumer_key=simulator.client_id,
            privatekey=simulator.private_key_pem,
            session=session,
        )
        query = "SELECT Id, Email FROM Contact"
        pages = list(sf.bulk2.Contact.query(query, max_records=60, wait=0.01))
        assert [page.count("\n") - 1 for page in pages] == [60, 60, 60, 20]


class TestRest:
    """Versions, objects, describes, records."""

    def test_versions_need_no_login(self, simulator: SalesforceSimulator) -> None:
        """`/services/data` lists the versions to anybody."""
        versions = requests.get(f"{simulator.url}/services/data").json()
        assert versions[-1]["version"] == "68.0"
        named = {each["version"]: each["label"] for each in versions}
        assert named["64.0"] == "Summer '25"
        assert named["62.0"] == "Winter '25"

    def test_versions_that_are_not(self, simulator: SalesforceSimulator) -> None:
        """A retired version is gone, a future one not found."""
        assert refusal(Client(simulator, "30.0").get("limits"))[0] == 410
        assert refusal(Client(simulator, "99.0").get("limits")) == (404, "NOT_FOUND")

    def test_describe(self, client: Client) -> None:
        """Describe has what the real one has, classification and compounds included."""
        described = client.get("sobjects/Contact/describe").json()
        assert described["keyPrefix"] == "003"
        fields = {each["name"]: each for each in described["fields"]}
        assert fields["MailingCity"]["compoundFieldName"] == "MailingAddress"
        assert fields["MailingAddress"]["type"] == "address"
        assert fields["ltv__c"]["custom"] is True
        assert fields["Score__c"]["calculated"] is True
        assert fields["Description"]["filterable"] is False
        assert {each["type"] for each in described["fields"]} >= {
            "id", "reference", "string", "picklist", "multipicklist", "textarea", "boolean",
            "double", "percent", "currency", "date", "datetime", "time", "address", "location",
        }  # fmt: skip
        opportunity = client.get("sobjects/Opportunity/describe").json()
        fiscal = {each["name"]: each for each in opportunity["fields"]}
        assert fiscal["FiscalYear"]["compoundFieldName"] == "Fiscal"
        assert fiscal["Fiscal"]["type"] == "string"

    def test_objects(self, client: Client) -> None:
        """The list of objects; an object that is not there."""
        listed = client.get("sobjects").json()["sobjects"]
        assert {"Account", "Contact", "CampaignMember"} <= {each["name"] for each in listed}
        assert refusal(client.get("sobjects/Nope/describe")) == (404, "NOT_FOUND")

    def test_one_record(self, simulator: SalesforceSimulator, client: Client) -> None:
        """A record by its id, 15 or 18 characters long; its compound fields whole."""
        record_id = simulator.org.rows("Contact").ids()[3]
        record = client.get(f"sobjects/Contact/{record_id}").json()
        assert record["Id"] == record_id
        short = client.get(f"sobjects/Contact/{record_id[:15]}", fields="Id,Name").json()
        assert short["Name"] == record["Name"]
        assert refusal(client.get("sobjects/Contact/003000000000000AAA")) == (404, "NOT_FOUND")

    @pytest.mark.parametrize(
        ("method", "path", "status"),
        [
            ("POST", "limits", 405),
            ("DELETE", "query", 405),
            ("PUT", "sobjects/Contact", 405),
            ("GET", "composite", 405),
            ("POST", "composite/batch", 501),
            ("GET", "nonsense", 404),
            ("PUT", "jobs/query", 405),
        ],
    )
    def test_methods_and_paths(self, client: Client, method: str, path: str, status: int) -> None:
        """A wrong method is 405, a wrong path 404, and what is not simulated is loud."""
        answer = client.session.request(method, f"{client.root}/{path}", json={})
        assert answer.status_code == status
        assert refusal(answer)[0] == status

    def test_queries_in_the_body_of_a_call(self, client: Client) -> None:
        """A composite call has no long URL, answers each query, and refuses too many of them."""

        def called(*queries: str, method: str = "GET") -> requests.Response:
            root = client.root.removeprefix(client.root.split("/services")[0])
            calls = [
                {"method": method, "url": f"{root}/queryAll?q={text}", "referenceId": f"q{n}"}
                for n, text in enumerate(queries)
            ]
            body = {"allOrNone": False, "compositeRequest": calls}
            return client.session.post(f"{client.root}/composite", json=body)

        long = "SELECT+Id+FROM+Contact" + "+" * 17_000
        right, wrong = called(long, "SELECT+Nope+FROM+Contact").json()["compositeResponse"]
        assert (200, "q0", 200) == (
            right["httpStatusCode"],
            right["referenceId"],
            right["body"]["totalSize"],
        )
        assert (400, "INVALID_FIELD") == (wrong["httpStatusCode"], wrong["body"][0]["errorCode"])
        assert (400, "LIMIT_EXCEEDED") == refusal(called(*["SELECT+Id+FROM+Contact"] * 6))
        assert (501, "NOT_IN_SIMULATOR") == refusal(called(long, method="POST"))
        assert 400 == client.session.post(f"{client.root}/composite", json={}).status_code

    def test_long_addresses(self, client: Client) -> None:
        """The URI and the headers may not exceed 16,384 bytes."""
        assert client.soql("SELECT Id FROM Contact" + " " * 17_000).status_code == 414
        headers = {"X-Long": "x" * 17_000}
        assert client.session.get(f"{client.root}/limits", headers=headers).status_code == 431

    def test_a_hidden_field_is_not_there(
        self, simulator: SalesforceSimulator, client: Client
    ) -> None:
        """Field-level security takes a field from describe and from queries without a word."""
        simulator.org.hide_field("Contact", "ltv__c")
        described = client.get("sobjects/Contact/describe").json()
        assert "ltv__c" not in {each["name"] for each in described["fields"]}
        assert refusal(client.soql("SELECT ltv__c FROM Contact")) == (400, "INVALID_FIELD")
        simulator.org.show_field("Contact", "ltv__c")
        assert client.soql("SELECT ltv__c FROM Contact").ok


class TestQuota:
    """The API budget."""

    def test_every_call_counts(self, simulator: SalesforceSimulator, client: Client) -> None:
        """The header counts real calls and speaks of bursts; logins are free."""
        first = client.get("limits").headers["Sforce-Limit-Info"]
        second = client.get("nonsense").headers["Sforce-Limit-Info"]
        assert first == "api-usage=1/100000; api-bursts=1/750"
        assert second.startswith("api-usage=2/100000")
        assert client.get("limits").json()["DailyApiRequests"] == {
            "Max": 100_000,
            "Remaining": 99_997,
        }

    def test_a_spent_quota(self, simulator: SalesforceSimulator, client: Client) -> None:
        """Above the quota every call is 403 REQUEST_LIMIT_EXCEEDED."""
        simulator.api_calls_max = 2
        answers = [client.get("limits") for _ in range(3)]
        assert [each.status_code for each in answers] == [200, 200, 403]
        assert refusal(answers[2]) == (403, "REQUEST_LIMIT_EXCEEDED")


class TestControl:
    """The door for tests in another process."""

    def test_a_day_and_a_record(self, simulator: SalesforceSimulator, client: Client) -> None:
        """Days are played, and records made, over HTTP."""
        door = f"{simulator.url}/_control"
        played = requests.post(f"{door}/advance", json={"days": 1}).json()
        assert played["days"][0]["day"] == 1
        assert played["days"][0]["won"]
        made = requests.post(
            f"{door}/insert", json={"object": "Contact", "values": {"LastName": "New"}}
        ).json()
        found = client.rows(f"SELECT Name FROM Contact WHERE Id = '{made['id']}'")
        assert [each["Name"] for each in found] == ["New"]
        wrong = requests.post(f"{door}/insert", json={"object": "Contact", "values": {"X": 1}})
        assert wrong.status_code == 400
        overview = requests.get(f"{door}/org").json()
        assert overview["days"] == 1
        assert overview["rows"]["User"] == 8
        assert json.dumps(overview)

    def test_the_shape_can_be_changed(self, simulator: SalesforceSimulator, client: Client) -> None:
        """Fields are made, hidden, retyped and removed; settings and replication steered."""
        door = f"{simulator.url}/_control"

        def do(name: str, /, **given: Any) -> None:
            answer = requests.post(f"{door}/{name}", json=given)
            assert answer.ok, answer.text

        do("field", object="Contact", field={"name": "Shoe__c", "type": "double"})
        assert client.soql("SELECT Shoe__c FROM Contact LIMIT 1").ok
        do("change_type", object="Contact", name="Shoe__c", type="string")
        do("hide", object="Contact", name="Shoe__c")
        assert refusal(client.soql("SELECT Shoe__c FROM Contact")) == (400, "INVALID_FIELD")
        do("hide", object="Contact", name="Shoe__c", hidden=False)
        do("remove_field", object="Contact", name="Shoe__c")
        assert refusal(client.soql("SELECT Shoe__c FROM Contact")) == (400, "INVALID_FIELD")
        do("hold_back", until="2026-11-20T05:30:00+00:00")
        span = {"start": "2026-11-20T05:00:00Z", "end": "2026-11-20T06:00:00Z"}
        covered = client.get("sobjects/Contact/updated", **span).json()["latestDateCovered"]
        assert covered == "2026-11-20T05:30:00.000+0000"
        do("purge_delete_log", object="Contact", before="2026-11-20T05:00:00+00:00")
        do("mass", object="Contact", rows=100)
        do("touch", object="Contact", rows=10)
        do("warm", query="SELECT Id FROM Contact")
        do("settings", api_calls_max=5, page_rows=10)
        do("job_fault", contains="Contact", message="QUERY_TIMEOUT")
        do("expire_tokens")
        assert refusal(client.get("limits")) == (401, "INVALID_SESSION_ID")
        assert requests.post(f"{door}/settings", json={"nope": 1}).status_code == 400
        records = requests.post(f"{door}/records", json={"object": "User"}).json()
        assert len(records) == 8
