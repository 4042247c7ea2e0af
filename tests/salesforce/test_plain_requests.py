"""Plain answers are read without the libraries; the full session repeats every other request."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from salesforce_landing import QuickClock

from tailrace.config.settings import SalesforceCredentials, SalesforceSettings
from tailrace.errors import CredentialRefused, SalesforceFault, Unreachable
from tailrace.salesforce.client import Api
from tailrace.salesforce.plain_requests import PlainTransport
from tailrace.testing import Fault, SalesforceSimulator


@pytest.fixture
def sf() -> Iterator[SalesforceSimulator]:
    with SalesforceSimulator() as simulator:
        yield simulator


def api_of(sf: SalesforceSimulator, *, expects_no_news: bool = True, **changes: Any) -> Api:
    credentials = SalesforceCredentials(
        instance_url=sf.url, client_id=sf.client_id, client_secret=sf.client_secret
    )
    settings = SalesforceSettings(**changes)
    return Api(
        credentials,
        settings,
        clock=QuickClock(),
        jitter=lambda: 0.5,
        expects_no_news=expects_no_news,
    )


def asked(api: Api) -> list[Any]:
    """What an extract without news asks for."""
    query = "SELECT Id, Name FROM Account WHERE Name > 'ä & b' ORDER BY Id LIMIT 5"
    return [
        api.org_id(),
        api.single_call("/limits", "limits/")["DailyApiRequests"]["Max"],
        api.single_call("describe", "sobjects/Account/describe"),
        api.get("queryAll", q=query, timeout=60.0),
        api.get("query?q=SELECT+count()+FROM+Contact")["totalSize"],
    ]


def test_plain_answers_are_those_of_the_full_session(sf: SalesforceSimulator) -> None:
    plain, full = api_of(sf), api_of(sf, expects_no_news=False)
    assert asked(full) == asked(plain)
    assert plain._opened is None and full._opened is not None
    assert full.usage.calls == plain.usage.calls
    assert (full.usage.max, full.usage.used_at_start) != (None, None)
    assert full.usage.max == plain.usage.max
    assert plain.server_time is not None and plain.contacted
    plain.close()
    full.close()


def test_a_session_that_expects_little_news_makes_the_next_requests_plainly(
    sf: SalesforceSimulator,
) -> None:
    """With the token of the full session, which is not asked again."""
    api = api_of(sf, expects_no_news=False)
    before = asked(api)
    session, api._opened = api._opened, None
    api.expect_little_news()
    assert before == asked(api)
    assert session is not None and api._opened is None
    session.close()
    api.close()


@pytest.mark.parametrize(
    "fault",
    [
        Fault(path="*/limits/", nth=1, status=503),
        Fault(path="*/limits/", nth=1, status=200, body="<html>A proxy</html>"),
        Fault(path="*/limits/", nth=1, status=200, body=""),
        Fault(path="*/limits/", nth=1, status=204, body=""),
        Fault(path="*/limits/", times=2, cut="before"),
        Fault(path="*/limits/", nth=1, cut="middle"),
        Fault(path="*/limits/", nth=1, expire_token=True),
    ],
    ids=["503", "no JSON", "empty", "no content", "closed", "cut", "401"],
)
def test_a_request_without_a_plain_answer_is_repeated(
    sf: SalesforceSimulator, fault: Fault
) -> None:
    api = api_of(sf)
    api.token()
    sf.faults.append(fault)
    assert "DailyApiRequests" in api.get("limits/")
    assert api._opened is not None
    # The plain transport is used again.
    opened = api._opened
    assert "DailyApiRequests" in api.get("limits/")
    assert opened is api._opened
    api.close()


def test_an_answer_beyond_a_limit_is_left_to_the_full_session(sf: SalesforceSimulator) -> None:
    from tailrace.errors import AnswerBeyondLimit

    api = api_of(sf, answer_bytes_max=2_000)
    with pytest.raises(AnswerBeyondLimit):
        api.get("sobjects/Account/describe")


def test_errors_are_those_of_the_full_session(sf: SalesforceSimulator) -> None:
    api = api_of(sf)
    with pytest.raises(SalesforceFault) as raised:
        api.get("queryAll", q="SELECT Nothing__c FROM Account")
    assert "INVALID_FIELD" == raised.value.code
    api.close()


@pytest.mark.parametrize("secret", ["wrong", ""])
def test_a_refused_login_is_reported_by_the_full_session(
    sf: SalesforceSimulator, secret: str
) -> None:
    credentials = SalesforceCredentials(
        instance_url=sf.url, client_id=sf.client_id, client_secret=secret or "another"
    )
    api = Api(credentials, SalesforceSettings(), clock=QuickClock(), expects_no_news=True)
    with pytest.raises(CredentialRefused, match="client credentials"):
        api.token()


def test_a_host_that_does_not_answer_is_reported_by_the_full_session() -> None:
    credentials = SalesforceCredentials(
        instance_url="http://127.0.0.1:9", client_id="id", client_secret="secret"
    )
    api = Api(credentials, SalesforceSettings(), clock=QuickClock(), expects_no_news=True)
    with pytest.raises(Unreachable):
        api.token()


def test_a_connection_that_the_server_closed_is_opened_again(sf: SalesforceSimulator) -> None:
    api = api_of(sf)
    api.get("limits/")
    assert api._plain is not None
    api._plain._local.connection.sock.shutdown(2)
    api.get("limits/")
    assert api._opened is None
    api.close()


def test_a_proxy_is_left_to_the_full_session(
    sf: SalesforceSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    settings, clock = SalesforceSettings(), QuickClock()
    assert PlainTransport.of(settings, clock=clock) is not None
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    assert PlainTransport.of(settings, clock=clock) is None
