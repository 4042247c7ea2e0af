"""A tracking plan is drafted of what the audiences send, and the audiences keep to it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from shop import PEOPLE, Shop

from tailrace.reporting.selection import select_usable
from tailrace.reporting.tracking_plan_draft import draft_of
from tailrace.testing import SegmentSimulator


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with SegmentSimulator() as segment:
        made = Shop(tmp_path / "shop", segment)
        made.audience(PEOPLE)
        yield made


def rule(plan: dict[str, Any], kind: str, key: str | None = None) -> dict[str, Any]:
    (found,) = (e for e in plan["rules"] if (e["type"], e.get("key")) == (kind, key))
    schema: dict[str, Any] = found["jsonSchema"]
    return schema


def test_columns_have_the_types_of_the_warehouse(shop: Shop) -> None:
    shop.land([{"id": "c0", "email": "ada@example.com", "city": "Oslo", "score": 1.5}])
    plan = draft_of(shop.project, select_usable(shop.project), clock=shop.clock)
    properties = rule(plan, "TRACK", "Segment Entered")["properties"]["properties"]["properties"]
    assert {"type": ["number", "null"]} == properties["score"]
    traits = rule(plan, "IDENTIFY")["properties"]["traits"]["properties"]
    assert {"type": "boolean"} == traits["people"]


def test_before_anything_has_landed_columns_have_no_type(shop: Shop) -> None:
    plan = draft_of(shop.project, select_usable(shop.project), clock=shop.clock)
    properties = rule(plan, "TRACK", "Segment Entered")["properties"]["properties"]["properties"]
    assert {} == properties["score"]


def test_what_is_drafted_can_be_enforced(shop: Shop) -> None:
    """The draft of the audiences refuses none of their messages."""
    shop.land([{"id": "c0", "email": "ada@example.com", "score": 1.5}, {"id": "c1"}])
    plan = draft_of(shop.project, select_usable(shop.project), clock=shop.clock)
    (shop.root / "tracking_plan.yaml").write_text(yaml.safe_dump(plan))
    done = shop.sync()
    assert (0, 2) == (done.exit_code, done.audiences[0]["sent"])
    shop.land([{"id": "c0", "email": "ada@example.com", "score": 3.0}])
    assert 0 == shop.sync().exit_code


def test_the_command_prints_yaml_or_writes_it_or_says_it_as_json(
    command: Any, project: Path
) -> None:
    printed = command("tracking-plan", "-s", "vip_contacts", cwd=project)
    assert (0, "") == (printed.returncode, printed.stderr)
    plan = yaml.safe_load(printed.stdout)
    written = command("tracking-plan", "--out", "tracking_plan.yaml", cwd=project)
    assert 0 == written.returncode, written.stderr
    assert "tracking_plan.yaml" in written.stdout
    assert len(yaml.safe_load((project / "tracking_plan.yaml").read_text())["rules"]) > 2
    told = json.loads(command("tracking-plan", "-s", "vip_contacts", "--json", cwd=project).stdout)
    assert plan == told["tracking_plan"]
    assert 0 == command("validate", cwd=project).returncode
    (project / "tracking_plan.yaml").write_text("rules: no\n")
    assert 2 == command("validate", cwd=project).returncode


def test_validate_says_what_to_think_over_with_its_line(command: Any, project: Path) -> None:
    (project / "models" / "audiences" / "odd.sql").write_text(
        "/* ---\nkey: id\nuser_id: id\ntrack:\n  properties:\n    Plan: id\n--- */\n"
        "SELECT id FROM salesforce.contact\n"
    )
    done = command("validate", "--json", cwd=project)
    (warning,) = json.loads(done.stdout)["warnings"]
    assert ("odd", "models/audiences/odd.sql", 6) == (
        warning["audience"],
        warning["file"],
        warning["line"],
    )
    assert "warning: models/audiences/odd.sql:6: track.properties.Plan" in done.stderr
