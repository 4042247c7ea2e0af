"""Tracking plans: drafted as Protocols takes them, enforced before sending."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema_rs
import orjson
import pytest
import yaml
from destinations.segment.payload_cases import NAMESPACE, PAYLOADS, PLANNED_AT, read_case

from tailrace.audience.audience import Audience, Consent, Field, Group, Identify, Track
from tailrace.destinations.segment.mapper import Mapper, Transition
from tailrace.destinations.segment.tracking_plan import TrackingPlan, draft
from tailrace.errors import TrackingPlanInvalid

TRACK = {"type": "track", "userId": "u", "event": "Segment Entered", "properties": {}}
VIP = Audience(
    name="vip",
    key=("id",),
    user_id="id",
    track=Track(
        entered="Segment Entered",
        exited=None,
        properties={"ltv": Field(column="ltv"), "email": Field(column="email")},
    ),
)


def rule(schema: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A rule about the properties of `Segment Entered`."""
    whole = {"properties": {"properties": schema}}
    return {"type": "TRACK", "key": "Segment Entered", "jsonSchema": whole, **changes}


def broken(properties: dict[str, Any], *rules: dict[str, Any], **plan: Any) -> list[Any]:
    found = TrackingPlan({"rules": rules, **plan}).check({**TRACK, "properties": properties})
    return [(each.rule, each.path, each.action) for each in found]


# Enforced


@pytest.mark.parametrize(
    ("schema", "properties", "rule_name", "path"),
    [
        ({"properties": {"ltv": {"type": "number"}}}, {"ltv": "1"}, "type", "properties.ltv"),
        ({"properties": {"sku": {"pattern": "^A"}}}, {"sku": "B"}, "pattern", "properties.sku"),
        ({"properties": {"tier": {"enum": ["a"]}}}, {"tier": "b"}, "enum", "properties.tier"),
        ({"properties": {"ltv": {"minimum": 0}}}, {"ltv": -1}, "minimum", "properties.ltv"),
        ({"properties": {"on": {"format": "date"}}}, {"on": "soon"}, "format", "properties.on"),
        ({"required": ["ltv"]}, {}, "required", "properties.ltv"),
        (
            {"properties": {"ltv": {}}, "additionalProperties": False},
            {"ltv": 1, "x": 1},
            "additionalProperties",
            "properties.x",
        ),
        (
            {"properties": {"won": {"items": {"required": ["id"]}}}},
            {"won": [{"id": 1}, {}]},
            "required",
            "properties.won.1.id",
        ),
        (
            {"properties": {"won": {"items": {"properties": {"sum": {"minimum": 1}}}}}},
            {"won": [{"sum": 0}]},
            "minimum",
            "properties.won.0.sum",
        ),
    ],
)
def test_a_rule_finds_what_breaks_it(
    schema: dict[str, Any], properties: dict[str, Any], rule_name: str, path: str
) -> None:
    """Types, patterns, enums, minima, what is required, arrays of objects: rule and path."""
    assert [(f"schema_violation/{rule_name}", path, "block")] == broken(properties, rule(schema))


def test_each_rule_blocks_flags_or_is_off() -> None:
    """A rule's own word counts before the plan's."""
    needs = {"required": ["ltv"]}
    name = ("schema_violation/required", "properties.ltv")
    assert [(*name, "block")] == broken({}, rule(needs))
    assert [(*name, "flag")] == broken({}, rule(needs), enforce="flag")
    assert [(*name, "block")] == broken({}, rule(needs, enforce="block"), enforce="flag")
    assert [] == broken({}, rule(needs, enforce="off"))


def test_common_rules_are_for_every_message() -> None:
    """They have Segment's name for them."""
    common = {"type": "COMMON", "jsonSchema": {"required": ["anonymousId"]}}
    assert [("common_schema_violation/required", "anonymousId", "block")] == broken({}, common)


def test_an_event_without_a_rule_is_unplanned() -> None:
    """Off unless the plan says otherwise; identify calls are never unplanned."""
    other = rule({}, key="Other Event")
    assert [] == broken({}, other)
    assert [("unplanned", "event", "flag")] == broken({}, other, unplanned="flag")
    plan = TrackingPlan({"rules": [other], "unplanned": "block"})
    assert () == plan.check({"type": "identify", "userId": "u", "traits": {}})


def test_the_newest_version_of_an_event_counts() -> None:
    """Older versions are for older apps."""
    old, new = rule({"required": ["old"]}, version=1), rule({"required": ["new"]}, version=2)
    for rules in ([old, new], [new, old]):
        assert ["properties.new"] == [path for _, path, _ in broken({}, *rules)]


def made(plan: TrackingPlan, **row: Any) -> tuple[Mapper, Any, Any]:
    mapper = Mapper(VIP, namespace=NAMESPACE, planned_at=PLANNED_AT, tracking_plan=plan)
    moved = Transition(seq=1, op="entered", reason="data", base_v=0, key=(1,), new=row, old={})
    calls, refusals, _ = mapper.messages(moved)
    return mapper, calls, refusals


def test_a_violation_that_blocks_is_a_refusal() -> None:
    """It names rule and path, and nothing of the person."""
    plan = TrackingPlan({"rules": [rule({"properties": {"email": {"pattern": "^x"}}})]})
    _, calls, refusals = made(plan, ltv=1, email="ann@example.com")
    assert [] == calls
    assert [("schema_violation/pattern", "properties.email")] == [
        (each.rule, each.path) for each in refusals
    ]
    assert "ann@" not in repr(refusals)


def test_a_violation_that_is_flagged_is_counted_and_sent() -> None:
    """The mapper knows which rules were broken how often."""
    plan = TrackingPlan({"rules": [rule({"properties": {"ltv": {"minimum": 2}}}, enforce="flag")]})
    mapper, calls, refusals = made(plan, ltv=1, email=None)
    assert (1, []) == (len(calls), refusals)
    assert {("schema_violation/minimum", "properties.ltv"): 1} == mapper.flagged


# Read


def test_a_project_without_a_plan_has_none(tmp_path: Path) -> None:
    """The file is optional."""
    assert TrackingPlan.read(tmp_path / "tracking_plan.yaml") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rules: [", "not YAML"),
        ("events: []", "list of rules"),
        ("rules: [1]", "Rule 1 must be a mapping"),
        ("rules: []\nruels: []", "unknown key 'ruels'"),
        ("rules: [{type: TRACK, keys: A}]", "unknown key 'keys'"),
        ("rules: [{type: track}]", "must be one of TRACK"),
        ("rules: [{type: TRACK}]", "must name an event"),
        ("rules: [{type: GROUP, version: x}]", "must be a number"),
        ("rules: [{type: GROUP, enforce: maybe}]", "must be one of block"),
        ("rules: [{type: GROUP}]", "not valid"),
        ("rules: [{type: GROUP, jsonSchema: {type: strin}}]", "not valid"),
    ],
)
def test_a_bad_plan_is_refused_with_its_file(tmp_path: Path, text: str, message: str) -> None:
    """Nothing is enforced by half."""
    file = tmp_path / "tracking_plan.yaml"
    file.write_text(text)
    with pytest.raises(TrackingPlanInvalid, match=message) as refused:
        TrackingPlan.read(file)
    assert str(file) == refused.value.file
    assert 2 == refused.value.exit_code


def test_words_and_dates_in_a_plan_are_text(tmp_path: Path) -> None:
    """YAML would make a boolean of `on` and of `off`, and a date that no message has."""
    file = tmp_path / "tracking_plan.yaml"
    schema = "{properties: {properties: {properties: {on: {enum: [2024-01-01]}}}}}"
    key = "type: TRACK, key: Segment Entered"
    file.write_text(f"unplanned: off\nrules: [{{{key}, jsonSchema: {schema}}}]")
    plan = TrackingPlan.read(file)
    assert plan is not None
    assert () == plan.check({**TRACK, "properties": {"on": "2024-01-01"}})
    found = plan.check({**TRACK, "properties": {"on": "2024-01-02"}})
    assert ["properties.on"] == [each.path for each in found]


# Drafted

WIDE = Audience(
    name="wide",
    key=("id",),
    user_id="id",
    track=Track(
        entered="Segment Entered",
        changed="Wide Changed",
        exited=None,
        properties={
            "ltv": Field(column="ltv"),
            "place.city": Field(column="city"),
            "place.zip": Field(column="zip", drop_if_null=True),
            "source": Field(value="Salesforce"),
            "email_sha256": Field(column="email", hash="sha256"),
        },
    ),
    identify=Identify(traits={"since": Field(column="since")}, membership_trait="is_wide"),
    group=Group(group_id="acc", traits={"employees": Field(column="employees")}),
    consent=Consent(categories={"ads": "ads"}),
)
TYPES = {
    "wide": {
        "ltv": "DECIMAL(10,2)",
        "city": "VARCHAR",
        "since": "TIMESTAMP WITH TIME ZONE",
        "employees": "BIGINT",
    },
    "vip": {"ltv": "INTEGER"},
}


def drafted(*audiences: Audience) -> dict[tuple[str, str | None], Any]:
    plan = draft(audiences, column_types=TYPES)
    return {(each["type"], each.get("key")): each["jsonSchema"] for each in plan["rules"]}


def test_the_draft_is_what_protocols_takes() -> None:
    """Draft-07 over the whole message, a rule for each event and one each for the other calls."""
    rules = drafted(WIDE)
    assert [
        ("TRACK", "Segment Consent Preference Updated"),
        ("TRACK", "Segment Entered"),
        ("TRACK", "Wide Changed"),
        ("IDENTIFY", None),
        ("GROUP", None),
    ] == list(rules)
    for schema in rules.values():
        jsonschema_rs.meta.validate(schema)
        assert {"context", "properties", "traits"} == set(schema["properties"])
        assert "http://json-schema.org/draft-07/schema#" == schema["$schema"]
    assert {
        "type": "object",
        "required": ["audience_key", "email_sha256", "ltv", "place", "source"],
        "properties": {
            "audience_key": {"type": "string", "enum": ["wide"]},
            "email_sha256": {"type": ["string", "null"], "pattern": "^[0-9A-Fa-f]{64}$"},
            "ltv": {"type": ["number", "null"]},
            "place": {
                "type": "object",
                "required": ["city"],
                "properties": {"city": {"type": ["string", "null"]}, "zip": {}},
            },
            "source": {"type": "string"},
        },
    } == rules["TRACK", "Segment Entered"]["properties"]["properties"]
    traits = rules["IDENTIFY", None]["properties"]["traits"]
    assert {"type": ["string", "null"], "format": "date-time"} == traits["properties"]["since"]
    assert {"type": "boolean"} == traits["properties"]["is_wide"]
    assert "required" not in traits


def test_audiences_that_share_an_event_share_its_rule() -> None:
    """What both send is required; what either sends is allowed; each name is known."""
    shared = drafted(VIP, WIDE)["TRACK", "Segment Entered"]["properties"]["properties"]
    assert ["audience_key", "ltv"] == shared["required"]
    assert ["vip", "wide"] == shared["properties"]["audience_key"]["enum"]
    assert {"type": ["integer", "null", "number"]} == shared["properties"]["ltv"]


@pytest.mark.parametrize(
    ("sql_type", "json_type"),
    [
        ("VARCHAR(80)", ["string"]),
        ("SMALLINT", ["integer"]),
        ("INTEGER", ["integer"]),
        ("BIGINT", ["integer", "string"]),
        ("INTEGER[]", ["array"]),
        ("STRUCT(a INTEGER)", ["object"]),
        ("INTERVAL", ["string"]),
        ("DECIMAL(18,2)", ["number", "string"]),
        ("NUMERIC(9)", ["integer"]),
        ("decimal", ["number", "string"]),
        ("DOUBLE", ["number"]),
        ("BOOLEAN", ["boolean"]),
        ("DATE", ["string"]),
        ("TIME", ["string"]),
        ("UUID", ["string"]),
        ("HLLSKETCH", None),
    ],
)
def test_a_columns_type_is_its_json_type(sql_type: str, json_type: list[str] | None) -> None:
    """An unknown type is not guessed."""
    rules = draft([VIP], column_types={"vip": {"ltv": sql_type}})["rules"]
    ltv = rules[0]["jsonSchema"]["properties"]["properties"]["properties"]["ltv"]
    assert ([*json_type, "null"] if json_type else None) == ltv.get("type")


@pytest.mark.parametrize("path", sorted(PAYLOADS.glob("*.yaml")), ids=lambda path: path.stem)
def test_what_an_audience_sends_holds_to_its_own_draft(path: Path) -> None:
    """The draft of a header, written to a file and read again, finds nothing in its payloads."""
    case = read_case(path)
    text = yaml.safe_dump({**draft([case.mapper.audience]), "unplanned": "block"})
    plan = TrackingPlan(yaml.safe_load(text))
    for call in case.mapper.messages(case.transition)[0]:
        assert () == plan.check(orjson.loads(call.body))
