"""The published schema of a plan is what plans are: no key is missing from it, and none is made up.

What is held against it comes from the real command line and from real files.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from shop import PEOPLE, Shop

from tailrace import PlanOptions, Project
from tailrace.cli.output import json as output
from tailrace.cli.output.audiences import left_over
from tailrace.errors import NothingSelected
from tailrace.ledger.ledger import Ledger
from tailrace.plan import guards
from tailrace.testing.segment.simulator import SegmentSimulator
from tailrace.warehouse.opening import open_warehouse

SCHEMA_FILE = Path(guards.__file__).parent / "schemas" / "plan.schema.json"
SCHEMA = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
ACCOUNTS = """/* ---
key: id
user_id: id
group: {group_id: id, traits: {city: city}}
guards: {max_entered: 1, min_rows: 1, max_changed: 50%}
on_definition_change: hold
--- */
SELECT id, city FROM salesforce.account
"""
PAIRS = """/* ---
key: id
user_id: id
track: true
--- */
SELECT id, is_deleted FROM salesforce.contact UNION ALL SELECT 'c1', FALSE
"""


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with SegmentSimulator() as segment:
        yield Shop(tmp_path, segment)


def validator() -> Any:
    return jsonschema_rs.Draft7Validator(SCHEMA)


def told(shop: Shop, *select: str, out: Path | None = None, **chosen: Any) -> dict[str, Any]:
    """What `tailrace plan --json` prints, held against the schema."""
    project = Project(shop.project, clock=shop.clock)
    options = PlanOptions(allow=frozenset(chosen.pop("allow", ())), **chosen)
    made = project.plan(select=select, options=options, out=out)
    return checked(output.render(made.as_dict()), "answer")


def previewed(shop: Shop) -> dict[str, Any]:
    """A plan with rows, in which one audience fails."""
    sql = PEOPLE.replace("audience: people\n", "").replace(
        "city, score FROM", "score, no AS city FROM"
    )
    shop.audience(sql, "bad")
    project = Project(shop.project, clock=shop.clock)
    result = project.plan(options=PlanOptions(show_rows_max=1))
    shop.forget_audience("bad")
    assert ("failed", 1) == (result.data["audiences"][-1]["status"], result.exit_code)
    return checked(output.render(result.as_dict()), "answer")


def typed(command: Any, shop: Shop, *, shape: str) -> dict[str, Any]:
    """The same as a process."""
    done = command("plan", "--json", cwd=shop.root)
    result = checked(done.stdout, shape)
    assert done.returncode == result["exit_code"]
    return result


def checked(text: str, shape: str) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(text)
    # The whole schema says only that none of its shapes fits; one of them says what does not.
    one = {"$ref": f"#/definitions/{shape}", "definitions": SCHEMA["definitions"]}
    jsonschema_rs.Draft7Validator(one).validate(result)
    validator().validate(result)
    return result


def interrupted(shop: Shop) -> dict[str, Any]:
    """The plan after a run that delivered nothing."""
    there = dict(shop.environ)
    shop.environ |= {
        "DESTINATION__SEGMENT__HOST": "http://127.0.0.1:9",
        "DESTINATION__SEGMENT__RETRY_SECONDS_MAX": "0.1",
    }
    assert 1 == shop.sync().exit_code
    shop.environ = there
    return told(shop)


def deliver(shop: Shop) -> None:
    """Three audiences are delivered; Segment refuses one of the people."""
    assert shop.segment is not None
    shop.audience(PEOPLE)
    shop.audience(ACCOUNTS, "accounts")
    shop.audience(PEOPLE.replace("audience: people\n", ""), "gone")
    contacts = [{"id": f"c{number}", "city": "Oslo", "score": 1.0} for number in range(4)]
    shop.land([*contacts, {"id": "c9", "city": "x" * 40_000}])
    shop.land([{"id": "a1", "city": "Oslo"}], table="account")
    assert 4 == shop.sync().exit_code


def trouble(shop: Shop) -> None:
    """The data moves, SQL and headers are edited, a file goes, keys are bad, an extract failed."""
    shop.forget_audience("gone")
    edited = PEOPLE.replace("score: score}", "score: score, far: far}")
    shop.audience(edited.replace("city, score FROM", "city, score, 1 AS far FROM") + " AND id > ''")
    shop.audience(ACCOUNTS.replace("SELECT id", "SELECT 'b' || id AS id"), "accounts")
    shop.audience(PAIRS, "pairs")
    cities = {"c1": "Moss", "c2": "Oslo", "c3": "Oslo", "c4": "Moss"}
    shop.land([{"id": id_, "city": city, "score": 1.0} for id_, city in cities.items()])
    with open_warehouse(shop.project, clock=shop.clock) as warehouse:
        ledger = Ledger(warehouse, clock=shop.clock)
        ledger.extracts.save(
            ledger.runs.start("extract", suffix="0000"),
            object="Account",
            table_name="account",
            rows_landed=0,
            window_start=None,
            window_end=None,
            watermark=None,
            complete=False,
            empty=False,
            quarantined=0,
            vanished_fields="",
            error="cut off",
        )


def test_every_plan_is_as_its_schema_says(shop: Shop, command: Any) -> None:
    """First plans, calm ones, held ones, allowed ones, with rejections, orphans and bad keys."""
    shop.audience(PEOPLE)
    shop.land([{"id": "c1"}])
    first = typed(command, shop, shape="answer")
    left = interrupted(shop)
    deliver(shop)
    calm = told(shop, "accounts")
    trouble(shop)
    held = told(shop, allow=(("pairs", "keys"),))
    shown = previewed(shop)
    sent = told(shop, "people", on_new_column="send", on_mapping_change="send")
    held_too = told(shop, "people", on_new_column="hold", on_mapping_change="absorb")

    statuses = {each["audience"]: each["status"] for each in held["audiences"]}
    assert {"people": "ok", "accounts": "held", "pairs": "ok"} == statuses
    assert (["gone"], 3) == (held["orphans"], held["exit_code"])
    guards_held = [g["name"] for g in held["audiences"][0]["guards"] if g["held"]]
    assert ["upstream", "definition"] == guards_held
    assert {"initial"} == set(first["audiences"][0]["by_reason"])
    assert [] == calm["audiences"][0]["samples"]
    assert sent["audiences"][0]["rejected_before"] == 1
    assert "held" == held_too["audiences"][0]["status"]
    assert {"flag"} == {
        held_too["audiences"][0]["choices"][name]["decided_by"]
        for name in ("on_new_column", "on_mapping_change")
    }
    reasons = {reason for each in (first, held, sent) for reason in reasons_of(each)}
    assert set(properties("audience", "by_reason")) == reasons
    assert [{"audience": "people", "members": 1}] == left["unfinished"]
    assert (
        keys_of(held) | keys_of(sent) | keys_of(left) | keys_of(shown)
        # Segment has no budget of API calls; tests/run/test_write_back.py has plans with one.
        >= documented() - refused_only() - {"api_calls"}
    )


def test_a_plan_for_review_is_as_its_schema_says(shop: Shop) -> None:
    """The file is another shape, with the same parts."""
    deliver(shop)
    trouble(shop)
    file = shop.root / "plan.json"
    told(shop, out=file, allow=(("accounts", "upstream"), ("pairs", "keys")))

    written = checked(file.read_text(), "file")
    assert ["accounts:upstream", "pairs:keys"] == written["tailrace_plan"]["choices"]["allow"]


def test_a_refusal_is_as_its_schema_says(shop: Shop, command: Any) -> None:
    """A mistake has its file and line; one on the command line has none."""
    shop.audience(PEOPLE.partition("SELECT")[0] + "SELEKT 1")
    mistaken = typed(command, shop, shape="refusal")
    assert (2, 12) == (mistaken["exit_code"], mistaken["errors"][0]["line"])

    shop.audience(PEOPLE)
    with pytest.raises(NothingSelected) as raised:
        told(shop, "nobody")
    refused = checked(output.render(output.failure("plan", raised.value)), "refusal")
    assert (2, None) == (refused["exit_code"], refused["errors"][0]["line"])


def test_a_key_that_is_not_in_the_schema_is_found(shop: Shop) -> None:
    """The schema allows no key that it does not describe."""
    shop.audience(PEOPLE)
    shop.land([{"id": "c1"}])
    plan = told(shop)
    plan["audiences"][0]["undocumented"] = 1
    assert not validator().is_valid(plan)


def test_the_schema_is_valid_and_explains_every_key() -> None:
    """Draft-07, each key with a sentence, nothing left open."""
    assert "http://json-schema.org/draft-07/schema#" == SCHEMA["$schema"]
    assert jsonschema_rs.meta.is_valid(SCHEMA)
    for where, node in objects(SCHEMA):
        assert "additionalProperties" in node, where
        for name, each in node.get("properties", {}).items():
            target = SCHEMA["definitions"].get(each.get("$ref", "").rpartition("/")[2], {})
            assert each.get("description") or target.get("description"), f"{where}.{name}"


def objects(node: Any, where: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every part of the schema that describes an object."""
    if isinstance(node, dict):
        if node.get("type") == "object":
            yield where, node
        for name, each in node.items():
            yield from objects(each, f"{where}.{name}")


def properties(definition: str, name: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = SCHEMA["definitions"][definition]["properties"][name]["properties"]
    return found


def documented() -> set[str]:
    return {name for _, node in objects(SCHEMA) for name in node.get("properties", {})}


def refused_only() -> set[str]:
    """Keys of other shapes than that of an answer."""
    file = {"tailrace_plan", *SCHEMA["definitions"]["file"]["properties"]}
    inner = SCHEMA["definitions"]["file"]["properties"]["tailrace_plan"]["properties"]
    chosen = inner["choices"]["properties"]
    return {*file, *inner, *chosen, *SCHEMA["definitions"]["error"]["properties"]}


def keys_of(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set(value).union(*map(keys_of, value.values()))
    return set().union(*map(keys_of, value)) if isinstance(value, list) else set()


def reasons_of(plan: Mapping[str, Any]) -> set[str]:
    return {reason for each in plan["audiences"] for reason in each["by_reason"]}


def test_a_plan_warns_of_a_window_without_an_order(shop: Shop) -> None:
    """In the model that it is in, once, however many audiences read it."""
    (shop.root / "models" / "staging").mkdir()
    (shop.root / "models" / "staging" / "ranked.sql").write_text(
        "SELECT id, email, score, is_deleted,\n"
        "  ROW_NUMBER() OVER () AS city FROM salesforce.contact"
    )
    for name in ("people", "others"):
        text = PEOPLE.replace("audience: people", f"audience: {name}")
        shop.audience(text.replace("salesforce.contact", "ranked"), name)
    shop.land([{"id": "c1", "score": 1.0}])
    plan = told(shop)
    (warning,) = plan["warnings"]
    assert ("models/staging/ranked.sql", 2) == (warning["file"], warning["line"])
    assert f"ranked.sql:2: {warning['message']}" in "\n".join(left_over(plan))
