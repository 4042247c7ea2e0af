"""Commands on the ledger of an audience that goes to a webhook."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from webhook_shop import SECRET, WebhookShop

from tailrace.cli.commands.doctor import examine
from tailrace.cli.output.text import blocks
from tailrace.errors import NothingSelected, ReceiverChanged
from tailrace.plan.policy import PlanOptions
from tailrace.project import Project
from tailrace.run import job
from tailrace.testing import SegmentSimulator
from tailrace.testing.http.faults import Fault
from tailrace.testing.webhook import WebhookReceiver


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    with WebhookReceiver(secrets=[SECRET]) as running:
        yield running


@pytest.fixture
def shop(tmp_path: Path, receiver: WebhookReceiver) -> WebhookShop:
    made = WebhookShop(tmp_path / "shop", receiver.url)
    made.header()
    made.people(people(3))
    return made


def people(count: int, **values: Any) -> list[dict[str, Any]]:
    return [
        {"id": f"c{n}", "email": f"c{n}@example.com", "city": "Oslo", "score": 1.5, **values}
        for n in range(count)
    ]


def project(shop: WebhookShop) -> Project:
    return Project(shop.project, clock=shop.clock)


def ops(receiver: WebhookReceiver, start: int = 0) -> list[tuple[str, str]]:
    return [(element["op"], element["key"]) for element in receiver.elements[start:]]


def test_a_plan_shows_masked_elements(shop: WebhookShop, receiver: WebhookReceiver) -> None:
    shop.header("{body: {email: email, type: city, event: {value: vip}}}")
    (audience,) = shop.plan(options=PlanOptions(show_rows_max=1)).audiences
    (message,) = audience.rows[0].messages
    assert {"id", "op", "key", "email", "type", "event"} == set(message)
    assert "entered" == message["op"]
    assert not {"c0@example.com", "Oslo", "c0"} & {str(value) for value in message.values()}
    shown = shop.plan(options=PlanOptions(show_rows_max=1, show_values=True)).audiences[0]
    assert "c0@example.com" == shown.rows[0].messages[0]["email"]
    assert [] == receiver.requests


def test_a_rejected_element_is_kept_masked_and_sent_by_retry_alone(
    shop: WebhookShop, receiver: WebhookReceiver
) -> None:
    receiver.verdicts = "element"
    receiver.reject = lambda element: (
        f"no mail to {element['values']['email']}" if element["key"] == "c1" else None
    )
    shop.sync()
    found = project(shop).rejected().data
    (entry,) = found["rejected"]
    assert ("people__webhook", "element", 1) == (entry["audience"], entry["kind"], entry["rows"])
    assert "example.com" not in str(found)
    ((payload,),) = shop.query("SELECT payload FROM tailrace.rejections")
    assert '"op":"entered"' in payload and '"audience":"people"' in payload
    assert "example.com" not in payload and "Oslo" not in payload
    receiver.reject = None
    shop.people([*people(3), {"id": "c9", "email": "c9@example.com"}])
    before = len(receiver.elements)
    assert 0 == project(shop).retry().exit_code
    assert [("entered", "c1")] == ops(receiver, before)


def test_a_member_is_traced(shop: WebhookShop) -> None:
    shop.sync()
    (audience,) = project(shop).trace("c1").data["audiences"]
    assert ("webhook", "member") == (audience["destination"], audience["membership"])
    (call,) = audience["events"][0]["calls"]
    assert ("element", "tr1-") == (call["kind"], call["message_id"][:4])


def test_a_retired_audience_exits_with_its_last_values(
    shop: WebhookShop, receiver: WebhookReceiver
) -> None:
    shop.sync()
    shop.forget_audience("people")
    done = job.retire(shop.project, "people", clock=shop.clock)
    assert 0 == done.exit_code, done.errors
    assert [("exited", f"c{n}") for n in range(3)] == sorted(ops(receiver, 3))
    assert {"Oslo"} == {element["values"]["city"] for element in receiver.elements[3:]}


def test_rename_reset_and_purge(shop: WebhookShop, receiver: WebhookReceiver) -> None:
    shop.sync()
    shop.forget_audience("people")
    text = "/* ---\naudience: folk\nkey: id\nwebhook: {}\n--- */\n"
    shop.audience(text + "SELECT id, email, city, score FROM salesforce.contact", "folk")
    project(shop).rename("people", "folk")
    assert 0 == shop.sync().as_dict()["destinations"]["webhook"]["calls"]
    project(shop).purge(timedelta(days=0))
    assert 0 == project(shop).reset("folk", send=True).exit_code
    assert [("entered", f"c{n}") for n in range(3)] == sorted(ops(receiver, 3))
    assert 6 == len({element["id"] for element in receiver.elements})
    assert {"folk"} == {element["audience"] for element in receiver.elements[3:]}


def test_a_second_webhook_is_brought_up_from_the_ledger(
    shop: WebhookShop, receiver: WebhookReceiver
) -> None:
    shop.sync()
    with WebhookReceiver() as other:
        shop.environ |= {"DESTINATION__CRM__TYPE": "webhook", "DESTINATION__CRM__URL": other.url}
        done = job.replay(shop.project, "people", "crm", clock=shop.clock)
        assert 0 == done.exit_code, done.errors
        assert [("entered", f"c{n}") for n in range(3)] == sorted(ops(other))
        assert set() == {e["id"] for e in other.elements} & {e["id"] for e in receiver.elements}
        shop.header(more="destination: [webhook, crm]\n")
        assert 0 == shop.plan().by_destination()["crm"]["calls"]
    shop.environ["DESTINATION__SEGMENT_EU__WRITE_KEY"] = "k"
    with pytest.raises(NothingSelected, match="of type segment"):
        job.replay(shop.project, "people", "segment_eu", clock=shop.clock)


def test_a_new_column_follows_the_policy(shop: WebhookShop, receiver: WebhookReceiver) -> None:
    shop.header(select="SELECT id, email FROM salesforce.contact")
    shop.sync()
    shop.header(select="SELECT id, email, city FROM salesforce.contact")
    plan = shop.plan()
    assert (0, ["city"]) == (
        plan.by_destination()["webhook"]["calls"],
        plan.audiences[0].as_dict()["new_columns"],
    )
    done = shop.sync(options=PlanOptions(on_new_column="send"))
    assert 0 == done.exit_code
    assert [("changed", f"c{n}") for n in range(3)] == sorted(ops(receiver, 3))
    assert "Oslo" == receiver.elements[-1]["values"]["city"]


def test_a_dropped_name_is_neither_sent_nor_compared(
    shop: WebhookShop, receiver: WebhookReceiver
) -> None:
    shop.header(more="destinations: {webhook: {drop: [email], rename: {city: town}}}\n")
    shop.sync()
    assert {"id", "town", "score"} == set(receiver.elements[0]["values"])
    shop.people(people(3, email="other@example.com"))
    assert 0 == shop.plan().by_destination()["webhook"]["calls"]
    shop.people(people(3, city="Bergen"))
    shop.sync()
    assert {"town": "Oslo"} == receiver.elements[-1]["previous"]


def test_another_url_is_another_receiver_until_it_is_accepted(shop: WebhookShop) -> None:
    shop.sync()
    with WebhookReceiver() as other:
        shop.set(url=other.url)
        with pytest.raises(ReceiverChanged, match=r"destination\.webhook"):
            shop.sync()
        job.rebind(shop.project, "webhook", clock=shop.clock)
        shop.people(people(1))
        assert 0 == shop.sync().exit_code
        assert 2 == len(other.elements)


def test_a_stopped_destination_is_part_of_the_status(
    shop: WebhookShop, receiver: WebhookReceiver
) -> None:
    receiver.faults.append(Fault(status=410))
    shop.sync()
    (stopped,) = project(shop).status().data["stopped"]
    assert "webhook" == stopped["destination"]
    printed = "\n".join(str(block) for block in blocks(project(shop).status().as_dict()))
    assert "tailrace destinations resume webhook" in printed
    shop.environ |= {"DESTINATION__CRM__TYPE": "webhook", "DESTINATION__CRM__URL": receiver.url}
    with pytest.raises(NothingSelected, match="is not stopped"):
        job.resume(shop.project, "crm", clock=shop.clock)


def test_doctor_connects_and_sends_nothing(
    shop: WebhookShop, receiver: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in shop.environ.items():
        monkeypatch.setenv(name, value)

    def checked() -> tuple[str, str]:
        checks = examine(shop.root, None, clock=shop.clock)
        (check,) = [check for check in checks if check.check == "webhook"]
        return check.status, check.found

    assert ("ok", "127.0.0.1 is reachable; requests are signed") == checked()
    assert [] == receiver.requests
    receiver.close()
    assert ("failed", "127.0.0.1 cannot be reached: no connection") == checked()


def test_validate_needs_no_secret(shop: WebhookShop) -> None:
    del shop.environ["DESTINATION__WEBHOOK__SECRET"]
    assert 0 == project(shop).validate().exit_code


def test_segment_and_webhook_are_delivered_side_by_side(
    shop: WebhookShop, receiver: WebhookReceiver
) -> None:
    calls = "user_id: id\ntrack: {properties: {score: score, city: city}}\n"
    transformed = (
        "destinations: {segment: {drop: [score], rename: {city: town}, "
        "track: {entered: Became VIP, exited: false}}}\n"
    )
    with SegmentSimulator() as segment:
        shop.environ |= {
            "DESTINATION__SEGMENT__HOST": segment.url,
            "DESTINATION__SEGMENT__WRITE_KEY": segment.write_key,
        }
        shop.header(more=calls + transformed)
        done = shop.sync()
        assert (0, 3, 3) == (done.exit_code, len(segment.events), len(receiver.elements))
        event = segment.events[0]
        assert ("Became VIP", {"town": "Oslo", "audience_key": "people"}) == (
            event["event"],
            event["properties"],
        )
        assert {"segment": 3, "webhook": 3} == {
            name: total["calls"] for name, total in done.as_dict()["destinations"].items()
        }
        assert 3 == done.as_dict()["segment"]["calls"]
        receiver.faults.append(Fault(status=401))
        shop.people(people(2))
        failed = shop.sync()
        # The other destination is delivered all the same; its exit event is off.
        assert {"segment": "ok", "webhook": "failed"} == {
            entry["destination"]: entry["status"] for entry in failed.audiences
        }
        assert 3 == len(segment.events)
        receiver.faults.clear()
        assert 0 == shop.sync().exit_code
        assert [("exited", "c2")] == ops(receiver, 3)
