"""One session: four logins, one re-login, patience with a service that stumbles, a budget."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from salesforce_landing import Landing, QuickClock, landing_of

from tailrace.config.settings import SalesforceCredentials, SalesforceSettings
from tailrace.errors import (
    CredentialRefused,
    MissingCredential,
    QuotaSpent,
    SalesforceFault,
    ServiceFailed,
    Unreachable,
)
from tailrace.salesforce.auth import kind_of
from tailrace.salesforce.client import Api, Usage
from tailrace.salesforce.extract.facts import PASSWORD_LOGIN_RETIRES
from tailrace.salesforce.login import log_in
from tailrace.testing import Fault, SalesforceSimulator

TRANSIENT = [406, 420, 429, 500, 502, 503, 504]


@pytest.fixture
def sf() -> Iterator[SalesforceSimulator]:
    with SalesforceSimulator() as simulator:
        yield simulator


@pytest.fixture
def landing(tmp_path: Path) -> Iterator[Landing]:
    with landing_of(tmp_path) as each:
        yield each


def credentials(sf: SalesforceSimulator, kind: str = "client credentials") -> SalesforceCredentials:
    """What it takes to log in in one of the four ways."""
    ways: dict[str, dict[str, str]] = {
        "client credentials": {"client_id": sf.client_id, "client_secret": sf.client_secret},
        "JWT bearer": {
            "client_id": sf.client_id,
            "username": sf.username,
            "private_key": sf.private_key_pem,
        },
        "access token": {"access_token": sf.access_token()},
        "username and password": {
            "username": sf.username,
            "password": sf.password,
            "security_token": sf.security_token,
        },
    }
    return SalesforceCredentials(instance_url=sf.url, **ways[kind])


def api_of(sf: SalesforceSimulator, kind: str = "client credentials", **changes: Any) -> Api:
    """A session whose waits are short."""
    return Api(
        credentials(sf, kind), SalesforceSettings(**changes), clock=QuickClock(), jitter=lambda: 0.5
    )


@pytest.mark.parametrize(
    "kind", ["client credentials", "JWT bearer", "access token", "username and password"]
)
def test_four_ways_to_log_in(sf: SalesforceSimulator, kind: str) -> None:
    """Each gives a session that works, and no secret travels in a URL."""
    api = api_of(sf, kind)

    assert "DailyApiRequests" in api.salesforce.limits()

    assert kind == api.login_kind
    given = credentials(sf, kind)
    secrets = [given.client_secret, given.password, given.private_key, given.access_token]
    targets = " ".join(each.request.target for each in sf.requests)
    assert not [each for each in secrets if each and each in targets]


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        ("client credentials", {"client_secret": "wr0ng-s3cret"}),
        ("client credentials", {"client_id": "wr0ng-s3cret"}),
        ("JWT bearer", {"username": "wr0ng-s3cret"}),
        ("JWT bearer", {"private_key": "wr0ng-s3cret"}),
        ("username and password", {"password": "wr0ng-s3cret"}),
    ],
)
def test_a_refused_login_is_reported_with_a_hint_and_without_the_secret(
    sf: SalesforceSimulator, kind: str, wrong: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    """Exit code 2, tried once."""
    given = replace(credentials(sf, kind), **wrong)
    caplog.set_level(logging.DEBUG)

    with pytest.raises(CredentialRefused) as caught:
        log_in(given, api_version="64.0", timeout_seconds=5)

    assert (2, True) == (caught.value.exit_code, bool(caught.value.hint))
    assert "wr0ng-s3cret" not in f"{caught.value.as_dict()} {caplog.text} {given!r}"
    assert len(sf.requests) <= 1


def test_a_private_key_from_an_environment_variable(sf: SalesforceSimulator) -> None:
    """Its line breaks are often two characters each."""
    given = credentials(sf, "JWT bearer")
    flat = replace(given, private_key=str(given.private_key).replace("\n", "\\n"))

    assert log_in(flat, api_version="64.0", timeout_seconds=5).value


def test_credentials_that_are_not_enough() -> None:
    """The hint lists the ways there are."""
    with pytest.raises(MissingCredential) as caught:
        kind_of(SalesforceCredentials(instance_url="https://acme.my.salesforce.com", username="u"))

    assert "client_secret" in caught.value.hint and "private_key" in caught.value.hint


def test_a_login_that_is_redirected_is_not_followed(sf: SalesforceSimulator) -> None:
    """The secret goes to the configured host, or nowhere."""
    elsewhere = {"Location": "https://elsewhere.example.com/services/oauth2/token"}
    sf.faults.append(Fault(path="/services/oauth2/token", status=302, body="", headers=elsewhere))

    with pytest.raises(ServiceFailed):
        api_of(sf).token()


def test_an_answer_that_is_a_redirect_is_not_followed(sf: SalesforceSimulator) -> None:
    """Neither is the token's."""
    elsewhere = {"Location": "https://elsewhere.example.com/"}
    sf.faults.append(Fault(path="*/limits/", status=307, body="", headers=elsewhere))

    with pytest.raises(ServiceFailed, match="redirect") as caught:
        api_of(sf).salesforce.limits()

    assert "My Domain" in caught.value.hint


def test_the_password_login_warns(landing: Landing) -> None:
    """It works until Salesforce retires it, and says so."""
    sf = landing.sf
    assert () == landing.extract("User").warnings

    landing.credentials = credentials(sf, "username and password")

    assert (PASSWORD_LOGIN_RETIRES,) == landing.extract("User").warnings


@pytest.mark.parametrize("status", TRANSIENT)
def test_transient_statuses_are_waited_out(sf: SalesforceSimulator, status: int) -> None:
    """Longer each time, with jitter."""
    sf.faults.append(Fault(path="*/limits/", times=3, status=status))
    api = api_of(sf)

    assert "DailyApiRequests" in api.salesforce.limits()

    assert [0.5, 1.0, 2.0] == api.clock.slept  # type: ignore[attr-defined]
    assert 4 == api.usage.calls


def test_retry_after_is_honoured_up_to_a_limit(sf: SalesforceSimulator) -> None:
    """The service may ask for patience, not for an hour."""
    sf.faults.append(Fault(path="*/limits/", nth=1, status=503, headers={"Retry-After": "7"}))
    sf.faults.append(Fault(path="*/limits/", nth=2, status=503, headers={"Retry-After": "3600"}))
    api = api_of(sf)

    api.salesforce.limits()

    assert [7.0, 120.0] == api.clock.slept  # type: ignore[attr-defined]


def test_patience_ends(sf: SalesforceSimulator) -> None:
    """After `attempts_max` the service's own words are told."""
    sf.faults.append(Fault(path="*/limits/", status=503))

    with pytest.raises(SalesforceFault, match="SERVER_UNAVAILABLE"):
        api_of(sf, attempts_max=3).salesforce.limits()

    assert 3 == sum(each.request.path.endswith("/limits/") for each in sf.requests)


@pytest.mark.parametrize("cut", ["before", "after", "middle"])
def test_cut_connections_are_tried_again(sf: SalesforceSimulator, cut: Any) -> None:
    """Wherever the line was cut."""
    sf.faults.append(Fault(path="*/limits/", times=2, cut=cut))

    assert "DailyApiRequests" in api_of(sf).salesforce.limits()


def test_a_service_that_does_not_answer_in_time(sf: SalesforceSimulator) -> None:
    """Every call has a timeout."""
    sf.faults.append(Fault(path="*/limits/", delay_seconds=5))

    with pytest.raises(Unreachable, match="no answer in time"):
        api_of(sf, attempts_max=2, timeout_seconds=0.1).salesforce.limits()


def test_an_expired_token_is_renewed_once_for_all_threads(sf: SalesforceSimulator) -> None:
    """Many calls find it expired; one of them logs in again."""
    api = api_of(sf)
    api.token()
    sf.expire_tokens()

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: api.get("limits"), range(24)))

    assert 24 == len(found)
    logins = [each for each in sf.requests if each.request.path.endswith("/oauth2/token")]
    assert 2 == len(logins)


def test_a_session_that_never_holds_is_not_renewed_for_ever(sf: SalesforceSimulator) -> None:
    """A fresh token that is refused too ends it."""
    sf.faults.append(Fault(path="*/limits/", expire_token=True))

    with pytest.raises(CredentialRefused):
        api_of(sf).salesforce.limits()

    assert 2 == sum(each.request.path.endswith("/limits/") for each in sf.requests)


def test_an_access_token_cannot_be_renewed(sf: SalesforceSimulator) -> None:
    """It says what would help."""
    api = api_of(sf, "access token")
    sf.expire_tokens()

    with pytest.raises(CredentialRefused, match="expired") as caught:
        api.salesforce.limits()

    assert "log in again" in caught.value.hint


def test_a_token_that_expires_amid_a_bulk_download(landing: Landing) -> None:
    """Pages after it are read with the new token; nothing is read twice."""
    landing.sf.bulk.settings.page_rows = 40
    pages = "*/results"
    landing.sf.faults.append(Fault(path=pages, nth=3, expire_token=True))

    facts = landing.one("Contact", api="bulk", page_rows_max=40)

    assert (200, "bulk", True) == (facts.rows, facts.api, facts.complete)
    assert 200 == landing.value("SELECT count(DISTINCT id) FROM salesforce.contact")


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("api-usage=18/5000", (18, 5000)),
        ("api-usage=10018/100000; api-bursts=1/750", (10018, 100000)),
        ("api-bursts=1/750; api-usage=10018/100000", (10018, 100000)),
        ("api-usage=25/5000; per-app-api-usage=17/250(appName=sample)", (25, 5000)),
        ("per-app-api-usage=17/250(appName=sample); api-usage=25/5000", (25, 5000)),
        ("api-bursts=1/750", (None, None)),
        (None, (None, None)),
    ],
)
def test_the_header_of_the_budget(header: str | None, expected: tuple[Any, Any]) -> None:
    """The part about bursts, new in 2026, does not hide the part about the day."""
    usage = Usage()

    usage.note(header)

    assert expected == (usage.used, usage.max)


def test_calls_are_counted_and_shown(landing: Landing) -> None:
    """What the run used, and the org's budget before and after."""
    landing.sf.api_calls_used = 1000
    result = landing.extract("Contact")

    assert landing.sf.api_calls_used - 1000 == result.calls_used
    assert (1001, 1000 + result.calls_used, 100_000) == (
        result.quota_used_before,
        result.quota_used,
        result.quota_max,
    )


def test_a_ceiling_of_calls_keeps_what_is_complete(landing: Landing) -> None:
    """The objects read so far land, the others keep their watermark, and the next run goes on."""
    ceiling = {"api_calls_max": 7, "objects_in_flight_max": 1}

    result = landing.extract("Account", "Contact", **ceiling)

    account, contact = result.objects
    assert (True, False) == (account.complete, contact.complete)
    assert isinstance(contact.error, QuotaSpent) and "api_calls_max" in contact.error.message
    assert (1, 7) == (contact.error.exit_code, result.calls_used)
    assert account.rows == landing.value("SELECT count(*) FROM salesforce.account")

    again = landing.extract("Account", "Contact")
    assert [True, True] == [each.complete for each in again.objects]


def test_a_share_of_the_quota_is_not_exceeded(landing: Landing) -> None:
    """It stops before the org's other integrations starve, and says when to try again."""
    landing.sf.api_calls_max, landing.sf.api_calls_used = 1000, 797

    (facts,) = landing.extract("Contact", quota_share_max=0.8).objects

    assert isinstance(facts.error, QuotaSpent)
    assert "try again" in facts.error.hint and "1000" in facts.error.hint
    assert landing.sf.api_calls_used <= 801


def test_an_exhausted_quota_stops_cleanly(landing: Landing) -> None:
    """REQUEST_LIMIT_EXCEEDED is not retried, and the state is kept."""
    landing.one("Contact")
    before = landing.rows("SELECT count(*), max(system_modstamp) FROM salesforce.contact")
    landing.sf.org.advance_day()
    landing.sf.api_calls_max = landing.sf.api_calls_used + 4

    result = landing.extract("Contact")

    (facts,) = result.objects
    assert isinstance(facts.error, QuotaSpent) and facts.error.hint
    assert before == landing.rows("SELECT count(*), max(system_modstamp) FROM salesforce.contact")
    landing.sf.api_calls_max = 100_000
    assert landing.one("Contact").rows > 0


def test_a_quota_that_is_spent_before_the_start(landing: Landing) -> None:
    """Nothing can be described: the run ends with the reason."""
    landing.sf.api_calls_used = landing.sf.api_calls_max

    with pytest.raises(QuotaSpent) as caught:
        landing.extract("Contact")

    assert 1 == caught.value.exit_code


def test_too_many_calls_at_once_are_waited_out(sf: SalesforceSimulator) -> None:
    """The same code as the daily limit's, with another message."""
    body = [
        {
            "message": "ConcurrentPerOrgLongTxn Limit exceeded.",
            "errorCode": "REQUEST_LIMIT_EXCEEDED",
        }
    ]
    sf.faults.append(Fault(path="*/limits/", times=2, status=403, body=body))

    assert "DailyApiRequests" in api_of(sf).salesforce.limits()


def test_nothing_secret_is_logged(
    sf: SalesforceSimulator, caplog: pytest.LogCaptureFixture
) -> None:
    """Not even on the most talkative level."""
    caplog.set_level(logging.DEBUG)
    api = api_of(sf)
    api.salesforce.limits()
    token, _, _ = api.token()

    told = f"{caplog.text} {api.credentials!r} {api._login.token!r}"

    assert token not in told and sf.client_secret not in told


@pytest.fixture
def refusing_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for scheme in ("HTTP", "HTTPS"):
        monkeypatch.setenv(f"{scheme}_PROXY", "http://user:geheim@127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("refusing_proxy")
def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(sf: SalesforceSimulator) -> None:
    api = api_of(sf)
    assert api.get("limits/")
    api.close()


@pytest.mark.usefixtures("refusing_proxy")
def test_a_proxy_that_does_not_connect_is_named(sf: SalesforceSimulator) -> None:
    host = "acme.my.salesforce.com"
    elsewhere = replace(credentials(sf, "client credentials"), instance_url=f"https://{host}")
    api = Api(elsewhere, SalesforceSettings(), clock=QuickClock(), jitter=lambda: 0.5)

    with pytest.raises(Unreachable, match="the proxy does not connect") as caught:
        api.get("limits/")

    assert "HTTPS_PROXY" in caught.value.hint
    assert "geheim" not in str(caught.value.as_dict())
