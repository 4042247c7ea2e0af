"""Audiences at an Apex class of the org, with the org's login."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from webhook_shop import WebhookShop

from tailrace.testing import Fault, SalesforceSimulator
from tailrace.testing.salesforce.apex import ApexError

PATH = "/vip/v1"


@pytest.fixture
def org() -> Iterator[SalesforceSimulator]:
    with SalesforceSimulator() as running:
        yield running


@pytest.fixture
def shop(tmp_path: Path, org: SalesforceSimulator) -> WebhookShop:
    made = WebhookShop(tmp_path / "shop", f"salesforce:/services/apexrest{PATH}")
    prefix = "SOURCES__SALESFORCE__CREDENTIALS__"
    made.environ |= {
        f"{prefix}INSTANCE_URL": org.url,
        f"{prefix}CLIENT_ID": org.client_id,
        f"{prefix}CLIENT_SECRET": org.client_secret,
    }
    made.header()
    made.people([{"id": f"c{n}", "email": f"c{n}@example.com"} for n in range(8)])
    return made


def accepts(org: SalesforceSimulator, apex_class: Any) -> None:
    org.apex.classes[PATH] = apex_class


def test_an_apex_class_takes_an_audience(shop: WebhookShop, org: SalesforceSimulator) -> None:
    accepts(org, lambda body: [{"success": True} for _ in body])
    shop.set(batch_rows_max=5)
    assert 2 == shop.plan().by_destination()["webhook"]["api_calls"]
    done = shop.sync()
    assert 0 == done.exit_code
    assert 2 == done.as_dict()["destinations"]["webhook"]["api_calls"]
    calls = sorted(org.apex.calls, key=lambda call: str(call.body[0]["key"]))
    keys = [element["key"] for call in calls for element in call.body]
    assert [f"c{n}" for n in range(8)] == keys


def test_the_budget_of_a_run_ends_it(shop: WebhookShop, org: SalesforceSimulator) -> None:
    accepts(org, lambda body: {})
    shop.environ["SOURCES__SALESFORCE__API_CALLS_MAX"] = "1"
    shop.set(batch_rows_max=4)
    stopped = shop.sync()
    assert 1 == stopped.exit_code
    assert "api_calls_max" in stopped.errors[0].message
    assert 1 == len(org.apex.calls)
    assert 0 == shop.sync().exit_code
    assert 8 == sum(len(call.body) for call in org.apex.calls)


def test_its_verdicts_reject_rows(shop: WebhookShop, org: SalesforceSimulator) -> None:
    def upsert(body: list[dict[str, Any]]) -> list[dict[str, Any]]:
        error = {"statusCode": "STRING_TOO_LONG", "message": "Title is too long"}
        return [
            {"success": False, "errors": [error]} if element["key"] == "c3" else {"success": True}
            for element in body
        ]

    accepts(org, upsert)
    done = shop.sync()
    assert 4 == done.exit_code
    assert [("STRING_TOO_LONG: Title is too long",)] == shop.query(
        "SELECT reason FROM tailrace.rejections"
    )


def test_an_exception_of_the_class_is_bisected_to_its_row(
    shop: WebhookShop, org: SalesforceSimulator
) -> None:
    """Salesforce rolls back the transaction of an exception that nobody catches."""

    def insert(body: list[dict[str, Any]]) -> dict[str, Any]:
        if any(element["key"] == "c3" for element in body):
            raise ApexError("System.DmlException: REQUIRED_FIELD_MISSING")
        return {}

    accepts(org, insert)
    done = shop.sync()
    (audience,) = done.audiences
    assert (4, 7, 1) == (done.exit_code, audience["sent"], audience["rejected"])


def test_a_locked_row_is_retried(shop: WebhookShop, org: SalesforceSimulator) -> None:
    tries = iter(["System.DmlException: UNABLE_TO_LOCK_ROW, unable to obtain", ""])

    def update(body: Any) -> dict[str, Any]:
        if problem := next(tries, ""):
            raise ApexError(problem)
        return {}

    accepts(org, update)
    assert 0 == shop.sync().exit_code
    assert 1 == len(org.apex.calls)


def test_a_class_that_is_missing_ends_the_run(shop: WebhookShop, org: SalesforceSimulator) -> None:
    done = shop.sync()
    assert 1 == done.exit_code
    assert "NOT_FOUND" in done.errors[0].message
    assert "destination.webhook" in (done.errors[0].hint or "")


def test_an_expired_session_is_renewed(shop: WebhookShop, org: SalesforceSimulator) -> None:
    accepts(org, lambda body: {})
    org.faults.append(Fault(path="/services/apexrest/*", expire_token=True, times=1))
    assert 0 == shop.sync().exit_code
    assert 1 == len(org.apex.calls)


def test_at_most_two_requests_are_in_flight(shop: WebhookShop, org: SalesforceSimulator) -> None:
    lock, running, most = threading.Lock(), 0, 0

    def slow(body: Any) -> dict[str, Any]:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.05)
        with lock:
            running -= 1
        return {}

    accepts(org, slow)
    shop.set(batch_rows_max=1, requests_in_flight_max=8)
    assert 0 == shop.sync().exit_code
    assert 2 == most
