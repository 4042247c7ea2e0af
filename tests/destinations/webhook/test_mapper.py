"""Elements of any row and any template: what arrives has the row's values."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from webhook_shop import SECRET

from tailrace.audience.audience import Audience
from tailrace.audience.blocks import Transformation
from tailrace.audience.yaml import read_header
from tailrace.clock import SystemClock
from tailrace.destinations.messages import Message, Op, Transition
from tailrace.destinations.protocol import MapperOptions, TransitionFacts
from tailrace.destinations.webhook.header import compile_block
from tailrace.destinations.webhook.http import WebhookConnection
from tailrace.destinations.webhook.mapper import WebhookMapper
from tailrace.destinations.webhook.settings import WebhookTarget
from tailrace.testing.webhook import WebhookReceiver

PLANNED_AT = datetime(2026, 11, 22, 5, tzinfo=UTC)
COLUMNS = ("a", "b", "c")
GOLDEN = Path(__file__).parent / "elements.json"
TEMPLATE = "{x: a, y: {deep: [b, {z: c}], n: {value: 7}}, h: {column: a, hash: sha256}}"

values = (
    st.none()
    | st.booleans()
    | st.integers(min_value=-(2**70), max_value=2**70)
    | st.floats()
    | st.decimals(allow_nan=False, allow_infinity=False, places=2)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
    | st.datetimes(timezones=st.just(UTC))
    | st.lists(st.integers(-9, 9) | st.none(), max_size=3)
)
rows = st.fixed_dictionaries({"id": st.text(max_size=4), **dict.fromkeys(COLUMNS, values)})


def mapper(block: str = "{}", **options: Any) -> WebhookMapper:
    header = read_header(f"key: id\nwebhook: {block}\n", file="a.sql")
    compiled = compile_block(header, "webhook", Transformation())
    audience = Audience(
        name=options.pop("name", "vip"), key=("id",), destination="webhook", block=compiled
    ).with_columns(("id", *COLUMNS))
    given_options = {"namespace": "n", "planned_at": PLANNED_AT, **options}
    return WebhookMapper(audience, MapperOptions(**given_options))


def transition(
    row: Mapping[str, Any], op: Op = "entered", old: Mapping[str, Any] | None = None, **more: Any
) -> Transition:
    given_parts = {"seq": 1, "reason": "data", "base_v": 0, "key": (row["id"],), **more}
    return Transition(op=op, new=row, old=old or {}, **given_parts)


def element_of(made: WebhookMapper, moved: Transition) -> dict[str, Any]:
    (message,), refusals, _ = made.messages(moved)
    assert [] == refusals
    element: dict[str, Any] = orjson.loads(message.body)
    assert message.message_id == element["id"]
    return element


def received(value: Any) -> Any:
    """A value as JSON carries it; see docs/reference/value-types.md."""
    if isinstance(value, list):
        return [received(item) for item in value]
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, int):
        return value if abs(value) < 2**53 else str(value)
    exact = Decimal(value)
    digits = len(exact.normalize().as_tuple().digits)
    return float(exact) if digits <= 15 else format(exact, "f")


@pytest.fixture(scope="module")
def receiver() -> Iterator[WebhookReceiver]:
    with WebhookReceiver(secrets=[SECRET]) as running:
        yield running


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(rows, min_size=1, max_size=5, unique_by=lambda row: row["id"]))
def test_a_receiver_holds_the_values_of_any_row(
    receiver: WebhookReceiver, members: list[dict[str, Any]]
) -> None:
    receiver.deliveries.clear()
    target = WebhookTarget(url=receiver.url, secret=SECRET)
    connection = WebhookConnection(target, clock=SystemClock(), destination="webhook")
    for route in ("array", "ndjson"):
        made = mapper(f"{{batch: {route}}}", namespace=route)
        messages: list[Message] = []
        for row in members:
            messages += made.messages(transition(row))[0]
        assert "accepted" == connection.send(messages, retries=0).outcome
    connection.close()
    for delivery in receiver.deliveries[-2:]:
        assert [row["id"] for row in members] == [e["key"] for e in delivery.elements]
        for row, element in zip(members, delivery.elements, strict=True):
            assert {name: received(value) for name, value in row.items()} == element["values"]


@settings(max_examples=150, deadline=None)
@given(rows, rows)
def test_previous_has_the_old_values_of_what_changed(
    new: dict[str, Any], other: dict[str, Any]
) -> None:
    old = {**other, "id": new["id"]}
    messages, _, _ = mapper().messages(transition(new, "changed", old))
    changed = {
        name: received(old[name]) for name in COLUMNS if received(old[name]) != received(new[name])
    }
    if not messages:
        assert {} == changed
        return
    element = orjson.loads(messages[0].body)
    # 1 and 1.0 and True are one value in Python, and not in JSON.
    assert changed.items() <= element["previous"].items()
    for name, value in element["previous"].items():
        assert received(old[name]) == value
        assert json.dumps(received(new[name])) != json.dumps(value)


@settings(max_examples=100, deadline=None)
@given(rows, st.sampled_from(["entered", "changed", "exited"]), st.booleans())
def test_a_plan_counts_what_a_run_sends(row: dict[str, Any], op: Op, template: bool) -> None:
    made = mapper(f"{{body: {TEMPLATE}, send: [entered, changed]}}" if template else "{}")
    old = {**row, "a": "before"} if op == "changed" else {}
    facts = TransitionFacts(op=op, reason="data", changed=frozenset({"element"}))
    messages, refusals, _ = made.messages(transition(row, op, old))
    if not refusals and old.get("a") != row["a"]:
        assert made.message_counts(facts) == {"element": len(messages)}


def test_ids_depend_on_the_content_and_not_on_the_time() -> None:
    row = {"id": "1", "a": "x", "b": 1, "c": None}
    first = element_of(mapper(), transition(row))
    later = element_of(mapper(planned_at=datetime(2027, 1, 1, tzinfo=UTC)), transition(row))
    assert (first["id"], "2027-01-01T00:00:00.000000Z") == (later["id"], later["at"])
    replayed = element_of(mapper(), transition(row, at=datetime(2026, 1, 1, tzinfo=UTC)))
    assert (first["id"], "2026-01-01T00:00:00.000000Z") == (replayed["id"], replayed["at"])
    others = [
        element_of(mapper(namespace="m"), transition(row)),
        element_of(mapper(name="other"), transition(row)),
        element_of(mapper(), transition({**row, "a": "y"})),
        element_of(mapper(), transition({**row, "id": "2"})),
        element_of(mapper(), transition(row, base_v=1)),
        element_of(mapper(), transition(row, "exited")),
        element_of(mapper(), transition(row, "changed", {**row, "b": 2})),
    ]
    assert 8 == len({first["id"], *(element["id"] for element in others)})


def test_a_change_that_a_receiver_cannot_see_sends_nothing() -> None:
    made = mapper("{body: {mail: {column: a, hash: sha256}}}")
    row = {"id": "1", "a": "Ann", "b": 1, "c": None}
    assert [] == made.messages(transition(row, "changed", {**row, "a": "ann "}))[0]
    assert [] == made.messages(transition(row, "changed", {**row, "b": 2}))[0]
    # Without old values, the member is sent as it is.
    element = element_of(made, transition(row, "changed"))
    assert "previous" not in element


def test_a_value_that_cannot_be_sent_refuses_its_row() -> None:
    row = {"id": "1", "a": object(), "b": 1, "c": None}
    messages, (refusal,), user = mapper().messages(transition(row))
    assert ([], "element", "a", "1") == (messages, refusal.kind, refusal.path, user)


def test_elements_are_these_bytes() -> None:
    """The golden file has the exact bytes of an element of each kind."""
    row = {"id": "c1", "a": "Zoë", "b": Decimal("12.50"), "c": datetime(2026, 1, 2, tzinfo=UTC)}
    old = {**row, "a": "Zoe", "b": Decimal("3.00")}
    blocks = {"every column": "{}", "template": f"{{body: {TEMPLATE}}}"}
    bodies = {
        f"{name}, {op}": mapper(block)
        .messages(transition(row, op, old if previous else None))[0][0]
        .body.decode()
        for name, block in blocks.items()
        for op, previous in (("entered", False), ("changed", True), ("exited", False))
    }
    assert json.loads(GOLDEN.read_text(encoding="utf-8")) == bodies
