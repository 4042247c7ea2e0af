"""A URL in a header must not lead into a network that only this machine reaches."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from webhook_shop import WebhookShop

from tailrace.destinations.http import exchange, new_session
from tailrace.destinations.webhook.address import AddressRule, is_public
from tailrace.errors import PrivateAddress
from tailrace.testing.webhook import WebhookReceiver

INSIDE = (
    *("10.1.2.3", "172.16.0.1", "192.168.0.1", "169.254.169.254", "127.0.0.2", "0.0.0.0"),
    *("100.64.0.1", "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fc00::1", "ff02::1"),
    *("::ffff:10.0.0.1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:0a00:0001::", "nonsense"),
    *("::10.0.0.1", "::ffff:0:10.0.0.1", "fec0::1", "5f00::1", "100::1"),
)


@pytest.mark.parametrize("address", INSIDE)
def test_an_address_inside_a_network_is_refused(address: str) -> None:
    assert not is_public(address)
    rule = AddressRule("destination.webhook", private_addresses=False)
    with pytest.raises(PrivateAddress, match="leads into a private network"):
        rule.check("crm.example.com", address)
    AddressRule("destination.webhook", private_addresses=True).check("crm.example.com", address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "64:ff9b::808:808"])
def test_an_address_of_the_internet_is_accepted(address: str) -> None:
    AddressRule("destination.webhook", private_addresses=False).check("crm.example.com", address)


def test_a_name_that_leads_to_this_machine_is_refused_and_the_machine_itself_is_not() -> None:
    rule = AddressRule("destination.webhook", private_addresses=False)
    rule.check("127.0.0.1", "127.0.0.1")
    rule.check("localhost", "127.0.0.1")
    with pytest.raises(PrivateAddress):
        rule.check("localhost.example.com", "127.0.0.1")


@pytest.mark.parametrize(
    ("host", "proxy"),
    [
        ("10.255.255.1", ""),
        ("[fd00::1]", ""),
        ("2130706433", ""),
        ("0251.0376.0251.0376", ""),
        ("169.254.169.254", "http://127.0.0.1:9"),
    ],
)
def test_a_run_ends_before_its_first_request(host: str, proxy: str, tmp_path: Path) -> None:
    """Also where a proxy would make the connection, and for an IPv4 address in another notation."""
    shop = WebhookShop(tmp_path, f"https://{host}/hooks")
    if proxy:
        shop.set(proxy=proxy)
    shop.header()
    shop.people([{"id": "c1"}])
    done = shop.sync()
    assert 2 == done.exit_code
    assert "private_addresses = true" in (done.errors[0].hint or "")


def test_the_connection_goes_to_the_checked_address() -> None:
    """A name that resolves to another address after the check cannot be used."""
    asked: list[tuple[str, str]] = []

    def check(host: str, address: str) -> None:
        asked.append((host, address))

    with WebhookReceiver() as receiver:
        url = receiver.url.replace("127.0.0.1", "localhost")
        session = new_session(in_flight_max=1, answer_seconds_max=5.0, check_address=check)
        answer = exchange(session, "POST", url, json={"a": 1}, timeout=5.0)
        assert 200 == answer.status
        assert ("localhost", "127.0.0.1") in asked
        (request,) = [entry.request for entry in receiver.requests]
        assert request.headers["host"].startswith("localhost:")

        def refuse(host: str, address: str) -> None:
            raise PrivateAddress(f"{host} is {address}")

        session = new_session(in_flight_max=1, answer_seconds_max=5.0, check_address=refuse)
        with pytest.raises(PrivateAddress):
            exchange(session, "POST", url, json={"a": 1}, timeout=5.0)
        assert 1 == len(receiver.requests)


def test_an_address_that_does_not_answer_is_skipped_for_the_next() -> None:
    """Localhost often is ::1 first, and the receiver listens on 127.0.0.1 alone."""
    addresses = {entry[4][0] for entry in socket.getaddrinfo("localhost", 80)}
    if addresses <= {"127.0.0.1"}:
        pytest.skip("localhost has one address here")
    with WebhookReceiver() as receiver:
        session = new_session(
            in_flight_max=1, answer_seconds_max=5.0, check_address=lambda host, address: None
        )
        url = receiver.url.replace("127.0.0.1", "localhost")
        assert 200 == exchange(session, "POST", url, json=[], timeout=5.0).status
