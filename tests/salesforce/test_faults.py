"""Each fault is one object's, names what to change, and never ends as an internal error."""

from __future__ import annotations

import errno
import logging
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from salesforce_landing import Landing, QuickClock, landing_of

from tailrace.config.settings import SalesforceCredentials, SalesforceSettings
from tailrace.errors import (
    CredentialRefused,
    ExtractIncomplete,
    InvalidConfigValue,
    ObjectNotVisible,
    OtherOrg,
    ServiceFailed,
    TailraceError,
    UnknownObject,
)
from tailrace.salesforce.auth import audience_of
from tailrace.salesforce.client import Api
from tailrace.salesforce.extract.extraction import extract
from tailrace.testing import Fault, SalesforceSimulator
from tailrace.testing.http.messages import Request
from tailrace.testing.salesforce.named_faults import LOGIN_REFUSALS, named_fault

# A few whole extracts; tests/fuzz tries many more answers, one request each.
FUZZ_ROUNDS, FUZZ_SEEDS = 16, 2


@pytest.fixture
def landing(tmp_path: Path) -> Iterator[Landing]:
    with landing_of(tmp_path) as landing:
        yield landing


@pytest.fixture(scope="module")
def sf() -> Iterator[SalesforceSimulator]:
    with SalesforceSimulator() as simulator:
        yield simulator


def api_of(sf: SalesforceSimulator) -> Api:
    credentials = SalesforceCredentials(
        instance_url=sf.url, client_id=sf.client_id, client_secret=sf.client_secret
    )
    return Api(credentials, SalesforceSettings(), clock=QuickClock(), jitter=lambda: 0.5)


HINTS = {
    "ip_restricted": "IP",
    "authentication_failure": "client_secret",
    "user_not_approved": "pre-authorized",
    "audience_invalid": "audience",
    "no_run_as_user": "run-as user",
    "wrong_domain": "My Domain",
    "inactive_user": "Activate",
    "inactive_org": "administrator",
    "app_blocked": "unblock",
    "app_access_denied": "permission set",
    "app_not_installed": "Install",
    "not_admin_approved": "permission set",
    "client_id_invalid": "consumer key",
    "client_secret_invalid": "client_secret",
    "grant_type_disabled": "flow",
    "scope_invalid": "scope",
}


@pytest.mark.parametrize("name", sorted(set(LOGIN_REFUSALS) - {"token_unknown_error"}))
def test_a_refused_login_shows_its_reason_and_what_to_change(
    sf: SalesforceSimulator, name: str
) -> None:
    sf.faults.clear()
    sf.faults.append(named_fault(name))

    with pytest.raises(CredentialRefused) as caught:
        api_of(sf).token()

    error, description = LOGIN_REFUSALS[name]
    assert error in caught.value.message and description in caught.value.message
    assert "{" not in caught.value.message
    assert HINTS.get(name, "") in caught.value.hint


def test_a_login_that_asks_for_a_retry_is_retried(sf: SalesforceSimulator) -> None:
    sf.faults.clear()
    sf.faults.append(named_fault("token_unknown_error", times=2))

    assert api_of(sf).token()[0]


def test_a_login_without_an_instance_url_uses_the_configured_one(sf: SalesforceSimulator) -> None:
    sf.faults.clear()
    sf.behavior.change("token_omits", ["instance_url"])
    try:
        assert sf.url == api_of(sf).token()[1]
    finally:
        sf.behavior.change("token_omits", [])


def test_a_redirected_login_names_the_host_and_my_domain(sf: SalesforceSimulator) -> None:
    sf.faults.clear()
    sf.faults.append(named_fault("token_moved"))

    with pytest.raises(ServiceFailed, match=r"login\.salesforce\.com") as caught:
        api_of(sf).token()

    assert "My Domain" in caught.value.hint


def test_a_session_that_rest_refuses_shows_the_reason(sf: SalesforceSimulator) -> None:
    sf.faults.clear()
    sf.faults.append(named_fault("session_not_for_rest"))

    with pytest.raises(CredentialRefused, match="not valid for use with the REST API") as caught:
        api_of(sf).get("limits")

    assert "API Enabled" in caught.value.hint


@pytest.mark.parametrize(
    ("host", "audience"),
    [
        ("acme.my.salesforce.com", "login"),
        ("acme-dev-ed.develop.my.salesforce.com", "login"),
        ("acme.trailblaze.my.salesforce.com", "login"),
        ("na139.salesforce.com", "login"),
        ("acme--uat.sandbox.my.salesforce.com", "test"),
        ("acme--uat.my.salesforce.com", "test"),
        ("velocity-page-2345-dev-ed.scratch.my.salesforce.com", "test"),
        ("test.salesforce.com", "test"),
        ("cs42.salesforce.com", "test"),
        ("ACME--UAT.cs42.my.salesforce.com", "test"),
    ],
)
def test_the_audience_of_a_jwt_follows_the_kind_of_org(host: str, audience: str) -> None:
    credentials = SalesforceCredentials(instance_url=f"https://{host}")

    assert audience == audience_of(credentials)


def test_the_audience_of_a_jwt_can_be_set() -> None:
    url = "https://acme.my.salesforce.com"
    chosen = SalesforceCredentials(instance_url=url, audience="https://test.salesforce.com")
    assert "test" == audience_of(chosen)

    with pytest.raises(InvalidConfigValue, match="audience"):
        audience_of(SalesforceCredentials(instance_url=url, audience="http://evil.example.com"))


@pytest.mark.parametrize(("version", "hint"), [("30.0", "31.0 to 68.0"), ("99.0", "31.0 to 68.0")])
def test_an_api_version_that_the_org_does_not_serve(
    landing: Landing, version: str, hint: str
) -> None:
    with pytest.raises(InvalidConfigValue, match=version) as caught:
        landing.extract("Account", api_version=version)

    assert hint in caught.value.hint and 2 == caught.value.exit_code


@pytest.mark.parametrize(
    ("code", "status", "hint"),
    [
        ("MALFORMED_QUERY", 400, "Take Account out of objects"),
        ("INSUFFICIENT_ACCESS", 403, "read access to Account"),
        ("API_DISABLED_FOR_ORG", 403, "API Enabled"),
        ("INVALID_TYPE_FOR_OPERATION", 400, "Take Account out of objects"),
        ("TXN_SECURITY_METERING_ERROR", 400, "Account"),
    ],
)
def test_a_lasting_fault_names_the_object_and_what_to_change(
    landing: Landing, code: str, status: int, hint: str
) -> None:
    """Other objects land."""
    body = [{"errorCode": code, "message": "nein"}]
    landing.sf.faults.append(
        Fault(path="*/queryAll", contains="FROM+Account", status=status, body=body)
    )

    account, contact = landing.extract("Account", "Contact").objects

    assert account.error is not None and 1 == account.error.exit_code
    assert account.error.message.startswith("Account: ") and code in account.error.message
    assert hint in account.error.hint
    assert (200, True) == (contact.rows, contact.complete)


def test_an_unreadable_answer_names_the_object(landing: Landing) -> None:
    landing.sf.faults.append(
        Fault(path="*/queryAll", contains="FROM+Account", unexpected_body="html")
    )

    account, contact = landing.extract("Account", "Contact", attempts_max=2).objects

    assert account.error is not None and account.error.message.startswith("Account: ")
    assert contact.complete


def test_an_object_that_landed_and_is_hidden_is_its_own_failure(landing: Landing) -> None:
    landing.extract("Account", "Contact")
    landing.sf.faults.append(named_fault("result_pages_not_found", path="*/Account/describe"))

    account, contact = landing.extract("Account", "Contact").objects

    assert isinstance(account.error, ObjectNotVisible) and 1 == account.error.exit_code
    assert "Did you mean" not in account.error.message and contact.complete


def test_an_object_that_never_landed_is_a_mistake_of_the_configuration(landing: Landing) -> None:
    landing.sf.faults.append(named_fault("result_pages_not_found", path="*/Account/describe"))

    with pytest.raises(UnknownObject) as caught:
        landing.extract("Account", "Contact")

    assert "Did you mean Account" not in caught.value.message and 2 == caught.value.exit_code


def test_a_log_of_deletions_that_is_refused_is_replaced_by_a_comparison(landing: Landing) -> None:
    landing.one("Contact")
    (gone,) = landing.sf.org.rows("Contact").ids()[:1]
    landing.sf.org.advance(hours=1)
    landing.sf.org.purge("Contact", gone, logged=False)
    landing.sf.faults.append(named_fault("deleted_refused", path="*/deleted/"))

    result = landing.extract("Contact")

    assert result.objects[0].complete and "log of deletions" in "".join(result.warnings)
    query = f"SELECT _hard_deleted FROM salesforce.contact WHERE id = '{gone}'"
    assert landing.value(query) is True


def test_another_org_behind_the_same_address_is_refused(landing: Landing) -> None:
    """A refreshed sandbox has a new id; nothing lands until all of it is replaced."""
    landing.extract("Account", "Contact")
    other = {
        "access_token": landing.sf.access_token(),
        "instance_url": landing.sf.url,
        "id": f"{landing.sf.url}/id/00DXx0000009999EAA/005Xx0000001111AAA",
    }
    landing.sf.faults.append(Fault(path="/services/oauth2/token", status=200, body=other))

    with pytest.raises(OtherOrg) as caught:
        landing.extract("Account")
    assert 2 == caught.value.exit_code
    assert "--full-refresh" in caught.value.hint and "dataset" in caught.value.hint
    with pytest.raises(OtherOrg):
        landing.extract("Account", full_refresh=True)

    assert all(facts.complete for facts in landing.extract(full_refresh=True).objects)
    assert all(facts.complete for facts in landing.extract().objects)


def test_only_an_object_that_had_rows_is_empty(landing: Landing) -> None:
    org = landing.sf.org
    for record_id in org.rows("Lead").ids():
        org.purge("Lead", record_id)
    assert [False, False] == [facts.empty for facts in landing.extract("Lead", "Contact").objects]
    assert not landing.one("Lead").empty

    org.advance(hours=1)
    org.delete("Contact", *org.rows("Contact").ids())

    assert [False, True] == [facts.empty for facts in landing.extract("Lead", "Contact").objects]
    assert landing.one("Contact").empty


def test_a_vanished_and_a_retyped_field_are_recorded_until_they_are_resolved(
    landing: Landing,
) -> None:
    landing.one("Contact")
    landing.sf.org.hide_field("Contact", "Title")
    landing.sf.org.change_type("Contact", "Department", "double")

    for _ in range(2):
        landing.sf.org.advance(hours=1)
        facts = landing.one("Contact")
        drift = {change.column: (change.field, change.now) for change in facts.drift}
        assert {"title": ("Title", None), "department": ("Department", "double")} == drift
        resources = landing.pipeline.state["sources"]["salesforce"]["resources"]
        assert set(drift) == set(resources["contact"]["drift"])

    assert () == landing.extract("Contact", full_refresh=True).objects[0].drift


def test_libraries_log_to_the_debug_log_only(
    landing: Landing, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """A disk that is full is one message of ours, without the lines of a library."""
    caplog.set_level(logging.DEBUG, logger="tailrace")

    def load_fails(name: str, rows: int, expected: int) -> None:
        for library in ("dlt", "urllib3"):
            logging.getLogger(library).error("%s stumbles", library)
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(ExtractIncomplete, match="The disk is full") as caught:
        extract(
            landing.landing,
            landing.settings,
            landing.credentials,
            clock=landing.clock,
            progress=load_fails,
        )

    assert "Free some space" in caught.value.hint
    assert "stumbles" not in "".join(capfd.readouterr())
    assert {"dlt: dlt stumbles", "urllib3: urllib3 stumbles"} <= set(caplog.messages)


def garbage(chance: random.Random, answer: Any) -> Any:
    """A JSON answer with a value replaced, a key removed, or replaced as a whole."""
    values: list[Any] = [None, -1, 1e400, "", "x", [], {}, [[]], True, "2026-13-45", 10**30]
    if not isinstance(answer, (dict, list)) or not answer or chance.random() < 0.15:
        return chance.choice(values[:2] + values[3:10])
    changed = answer.copy()
    key = chance.choice(list(changed) if isinstance(changed, dict) else range(len(changed)))
    if isinstance(changed, dict) and chance.random() < 0.2:
        del changed[key]
    else:
        changed[key] = garbage(chance, changed[key])
    return changed


@pytest.mark.parametrize("seed", range(FUZZ_SEEDS))
def test_no_answer_ends_as_an_internal_error(tmp_path: Path, seed: int) -> None:
    """Wrong types, missing keys, HTML, empty bodies and other statuses, at every call."""
    chance = random.Random(seed)
    bodies = [b"", b"<html>", b"[" * 2_000, b"\xff\xfe", b"nul", b'"x"', b"1", b"Id\n\n", b"{}"]
    with landing_of(tmp_path) as landing:
        landing.sf.bulk.settings.page_rows = 100
        answers: dict[str, Any] = {}
        for _ in range(FUZZ_ROUNDS // FUZZ_SEEDS):
            landing.sf.faults.clear()
            landing.sf.org.advance(minutes=10)
            landing.sf.org.touch("Contact", 3)
            nth = chance.randint(1, 14)
            status = chance.choice([200, 200, 200, 201, 204, 302, 400, 404, 500])
            body = chance.choice(bodies)
            if answers and chance.random() < 0.6:
                body = orjson.dumps(
                    garbage(chance, chance.choice(list(answers.values()))), default=str
                )

            def is_api_call(request: Request) -> bool:
                return "/services/" in request.path

            landing.sf.faults.append(
                Fault(when=is_api_call, nth=nth, times=9, status=status, body=body)
            )
            api = chance.choice(["rest", "bulk", "auto"])
            try:
                result = landing.extract(
                    "Contact", api=api, attempts_max=2, page_rows_max=100, reconcile=True
                )
            except TailraceError as error:
                assert error.exit_code in (1, 2), error
            else:
                for facts in result.objects:
                    assert facts.complete or facts.error is not None
            for path in ("sobjects/Contact/describe", "limits", "queryAll?q=SELECT+Id+FROM+User"):
                if path not in answers:
                    landing.sf.faults.clear()
                    answers[path] = api_of(landing.sf).get(path)
        landing.sf.faults.clear()
        landing.sf.org.advance(hours=1)
        landing.one("Contact")
        assert 200 == landing.value("SELECT count(DISTINCT id) FROM salesforce.contact")
