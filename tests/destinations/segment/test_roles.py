"""Every column type in every role: both encoders give the same messages and rejections."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from rendered_rows import compare, mapper_of
from warehouses.desk import Desk, desk_on
from warehouses.stores import WAREHOUSES

# Values of each type; the first two are usual, the others such as encoders may disagree about.
VALUES = {
    "VARCHAR": ["'a'", "'2026-01-31'", "' '", "'infinity'", "'2026-01-31T10:00:00+02:00'", "'1e5'"],
    "BOOLEAN": ["TRUE", "FALSE"],
    "BIGINT": ["1", "1743206400", "9007199254740993"],
    "DOUBLE": ["1.5", "2", "'nan'", "'-inf'", "1e22"],
    "DECIMAL(18,2)": ["1.50", "2", "9999999999999999.99"],
    "DATE": ["'2026-01-31'", "'0999-12-31'", "'infinity'", "'12026-01-01'", "'0044-01-01 (BC)'"],
    "TIMESTAMP": ["'2026-01-31 10:00:00.5'", "'2026-01-31'", "'infinity'", "'9999-12-31 01:00:00'"],
    "TIMESTAMPTZ": ["'2026-01-31 10:00:00+02'", "'2026-01-31'", "'-infinity'"],
    "TIMESTAMP_NS": ["'2026-01-31 10:00:00.123456789'", "'2026-01-31'"],
    "TIME": ["'10:00:00'", "'23:59:59.5'"],
    "INTERVAL": ["'1 day'", "'-5 seconds'"],
    "UUID": ["'6f8a1c52-6f0e-4a39-a3d5-3d1c9b5f7a10'"],
    "BLOB": [r"'\x00\xFF'"],
    "VARCHAR[]": ["['a', 'b']", "[]"],
    "STRUCT(b INTEGER, a DATE)": ["{'b': 1, 'a': DATE '2026-01-31'}"],
    "MAP(VARCHAR, INTEGER)": ["MAP {'b': 2, 'a': 1}"],
    "JSON": ["""'{"b": [1, null], "a": 1.5}'""", "'\"a\"'", "'1'", "'null'", "'true'", "'[]'"],
    "JSON[]": ["""['{"n": 1}', '"a"']"""],
    "ENUM('x', 'y')": ["'x'", "'y'"],
}
ROLES = {
    "user id": "user_id: v\ntrack:\n  properties: {id: id}",
    "anonymous id and group": "anonymous_id: v\ngroup:\n  group_id: v\n  traits: {v: v}",
    "timestamp": "user_id: id\ntrack:\n  timestamp: v\n  properties: {id: id}",
    "message id and context": "user_id: id\nexternal_ids: {crm: v}\n"
    "track:\n  message_id: v\n  properties: {id: id}",
    "values": "user_id: id\ntrack:\n  changed: Moved\n  properties: {a.b: v, v: v}\n"
    "identify:\n  traits: {v: v, h: {column: v, hash: sha256}}",
    "plain values": "user_id: id\ntrack:\n  changed: Moved\n  properties: {v: v}\n"
    "identify:\n  traits: {v: v}",
}
MODEL = "/* ---\naudience: people\nkey: id\n{role}\n--- */\nSELECT id, v FROM salesforce.contact\n"


@pytest.fixture(scope="module")
def desk(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Desk]:
    with desk_on(request, tmp_path_factory.mktemp("desk")) as desk:
        yield desk


@pytest.mark.parametrize("desk", [pytest.param("duckdb", id="duckdb")], indirect=True)
@pytest.mark.parametrize("type_", VALUES)
def test_both_encoders_agree_in_every_role(desk: Desk, type_: str) -> None:
    """The warehouse renders what it can, and leaves the rest to the mapper."""
    values = [*VALUES[type_], "NULL"]
    rows = ", ".join(f"('c{at}', CAST({value} AS {type_}))" for at, value in enumerate(values))
    for role in ROLES.values():
        desk.clear()
        desk.warehouse.execute(
            f"CREATE TABLE salesforce.contact AS SELECT * FROM (VALUES {rows}) AS t(id, v)"
        )
        desk.store.audience(MODEL.format(role=role))
        _, delivery = desk.save_plan()
        compare(desk, delivery)


DOCUMENT = '{"b": {"d": [1, 2.50, null], "c": "\\u00e9"}, "a": 12345678901234567890}'


@pytest.mark.parametrize("desk", WAREHOUSES, indirect=True)
def test_json_columns_are_json_values(desk: Desk) -> None:
    """Objects with sorted keys, and exact numbers; text in JSON is text once, on every engine."""
    desk.clear()
    # PostgreSQL cannot compare values of its type json.
    type_ = "JSONB" if desk.warehouse.dialect == "postgres" else "JSON"
    desk.warehouse.execute(
        "CREATE TABLE salesforce.contact AS SELECT 'c1' AS id, "
        f"CAST('{DOCUMENT}' AS {type_}) AS document, CAST('\"1\"' AS {type_}) AS word, "
        f"CAST('\"u1\"' AS {type_}) AS person, CAST('null' AS {type_}) AS nothing"
    )
    desk.store.audience(
        "/* ---\naudience: people\nkey: id\nuser_id: person\ntrack:\n"
        "  properties: {document: document, word: word, nothing: nothing}\n--- */\n"
        "SELECT * FROM salesforce.contact\n"
    )
    _, delivery = desk.save_plan()
    ((transition, _),) = desk.transitions(delivery)
    (message,), refusals, user = mapper_of(desk, delivery).messages(transition)
    assert ([], "u1") == (refusals, user)
    expected = (
        '{"audience_key":"people","document":'
        '{"a":"12345678901234567890","b":{"c":"é","d":[1,2.5,null]}},"nothing":null,"word":"1"}'
    )
    assert message.body.decode().endswith(f'"properties":{expected}}}')


@pytest.mark.parametrize("desk", [pytest.param("duckdb", id="duckdb")], indirect=True)
@pytest.mark.parametrize("levels", [200, 300, 900])
def test_json_that_is_too_deep_is_rejected(desk: Desk, levels: int) -> None:
    """Writers of JSON have a limit; the row is rejected by its rule, and the run goes on."""
    desk.clear()
    text = "[" * levels + "]" * levels
    desk.warehouse.execute(
        f"CREATE TABLE salesforce.contact AS SELECT 'c1' AS id, CAST('{text}' AS JSON) AS v"
    )
    desk.store.audience(MODEL.format(role="user_id: id\ntrack:\n  properties: {v: v}"))
    _, delivery = desk.save_plan()
    ((transition, _),) = desk.transitions(delivery)
    messages, refusals, _ = mapper_of(desk, delivery).messages(transition)
    if levels < 250:
        assert text in json.dumps(json.loads(messages[0].body))
    else:
        assert ["nested_too_deeply"] == [refusal.rule for refusal in refusals]
