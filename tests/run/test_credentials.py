"""Commands ask only for the settings of the destinations that they send to."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from salesforce_org import forget_writes, served_org
from shop import Shop

import tailrace
from tailrace.errors import MissingCredential, TailraceError
from tailrace.testing import Fault, SalesforceSimulator, SegmentSimulator
from tailrace.testing.webhook import WebhookReceiver

BLOCKS = {
    "segment": "user_id: id\ntrack: {properties: {city: city}}",
    "salesforce": "salesforce:\n  object: Contact\n  match: {Crm_Key__c: id}\n"
    "  mode: update\n  fields: {Next_Offer__c: city}",
    "webhook": "webhook: {}",
}
REFUSED = "refused by every receiver" + "x" * 40_000
Services = dict[str, Any]


@pytest.fixture(scope="module")
def services() -> Iterator[Services]:
    with (
        served_org() as salesforce,
        SegmentSimulator() as segment,
        WebhookReceiver() as webhook,
    ):
        yield {"salesforce": salesforce, "segment": segment, "webhook": webhook}


class Mixed(Shop):
    """A project with one audience for each destination, which has the destination's name."""

    def __init__(self, root: Path, services: Services) -> None:
        super().__init__(root)
        segment: SegmentSimulator = services["segment"]
        salesforce: SalesforceSimulator = services["salesforce"]
        login = "SOURCES__SALESFORCE__CREDENTIALS__"
        self.credentials = {
            "segment": {"DESTINATION__SEGMENT__WRITE_KEY": segment.write_key},
            "salesforce": {
                f"{login}INSTANCE_URL": salesforce.url,
                f"{login}ACCESS_TOKEN": salesforce.access_token(),
            },
            "webhook": {"DESTINATION__WEBHOOK__URL": services["webhook"].url},
        }
        for name, block in BLOCKS.items():
            self.audience(
                f"/* ---\naudience: to_{name}\nkey: id\n{block}\n--- */\n"
                "SELECT id, city FROM salesforce.contact\n",
                name,
            )
        self.settings = self.environ | {
            "DESTINATION__SEGMENT__HOST": segment.url,
            "DESTINATION__SEGMENT__RETRY_SECONDS_MAX": "0.1",
            "DESTINATION__WEBHOOK__RETRY_SECONDS_MAX": "0.1",
        }

    def having(self, *destinations: str) -> tailrace.Project:
        """The project with the credentials of these destinations only."""
        self.environ = dict(self.settings)
        for name in destinations:
            self.environ |= self.credentials[name]
        return tailrace.Project.load(self.root, environ=self.environ)


@pytest.fixture
def mixed(tmp_path: Path, services: Services) -> Iterator[Mixed]:
    shop = Mixed(tmp_path / "shop", services)
    shop.land([{"id": "c-0001", "city": "Oslo"}, {"id": "c-0002", "city": REFUSED}])
    yield shop
    forget_writes(services["salesforce"])
    for service in services.values():
        service.faults.clear()


def test_a_command_asks_only_for_the_credentials_of_what_it_sends_to(
    mixed: Mixed, services: Services
) -> None:
    """What reads asks for none. What sends asks before a run is recorded or a change saved."""
    services["webhook"].faults.append(Fault(contains=REFUSED[:20], status=422))
    assert mixed.having(*BLOCKS).sync().errors == ()
    nothing = mixed.having()
    assert nothing.plan().exit_code == 0
    assert nothing.validate().exit_code == 0
    assert nothing.status().exit_code == 0
    assert len(nothing.rejected().data["rows"]) == 3
    assert nothing.history("to_webhook").exit_code == 0
    assert nothing.trace("c-0001").exit_code == 0
    assert nothing.purge(timedelta(days=1)).exit_code == 0
    assert nothing.reset("to_webhook", send=True, dry_run=True).exit_code == 0
    runs = mixed.query("SELECT count(*) FROM tailrace.runs")
    for name in BLOCKS:
        audience = f"to_{name}"
        project = mixed.having(*(other for other in BLOCKS if other != name))
        for refused in (
            partial(project.retry),
            partial(project.reset, audience, send=True),
            partial(project.replay, audience, name),
            partial(project.retire, audience),
        ):
            with pytest.raises(MissingCredential, match="is not configured") as raised:
                refused()
            assert raised.value.hint
    assert mixed.query("SELECT count(*) FROM tailrace.runs") == runs
    mixed.land([{"id": "c-0001", "city": "Oslo"}, {"id": "c-0002", "city": "Bergen"}])
    # Only audiences with rejected rows are sent again.
    assert list(mixed.having("segment").retry(select=["to_segment"]).audiences) == ["to_segment"]
    assert len(mixed.having("salesforce", "webhook").retry().audiences) == 2
    assert nothing.retry().audiences == {}
    project = mixed.having("webhook")
    assert project.replay("to_webhook", "webhook").exit_code == 0
    assert nothing.reset("to_webhook", send=False).exit_code == 0
    assert project.retire("to_webhook").exit_code == 0


def test_a_pending_delivery_of_another_audience_waits_for_its_credential(
    mixed: Mixed, services: Services
) -> None:
    """A job of other audiences leaves it with a warning; one of its own audience, or of all, asks
    for the credential."""
    mixed.land([{"id": "c-0001", "city": "Oslo"}])
    services["webhook"].faults.append(Fault(path="*", status=503))
    assert mixed.having(*BLOCKS).sync().exit_code == 1
    services["webhook"].faults.clear()
    services["webhook"].deliveries.clear()
    project = mixed.having("segment", "salesforce")
    for command in (
        lambda: project.sync(select=["to_segment"]),
        lambda: project.retry(),
        lambda: project.retire("to_salesforce"),
    ):
        result = command()
        assert result.exit_code == 0, result.errors
        (warning,) = (w for w in result.data["warnings"] if "pending" in w["message"])
        assert "to_webhook" in warning["message"]
        assert "[destination.webhook]" in warning["hint"]
    for command in (
        lambda: project.retire("to_webhook"),
        lambda: project.reset("to_webhook", send=False),
    ):
        assert "destination.webhook.url is not configured" in str(_error_of(command))
    assert mixed.having("webhook").retry().errors == ()
    assert len(services["webhook"].elements) == 1


def _error_of(command: Any) -> TailraceError:
    try:
        (error,) = command().errors
    except TailraceError as raised:
        return raised
    assert isinstance(error, TailraceError)
    return error
