"""Reads the golden payloads and holds the independent rule set they are checked with."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs
import yaml

from tailrace.audience.header import read_audience
from tailrace.audience.yaml import read_header
from tailrace.destinations.messages import Transition
from tailrace.destinations.segment.mapper import Mapper

PAYLOADS = Path(__file__).parent / "payloads"
SCHEMAS = PAYLOADS / "schemas"
NAMESPACE = "6f8a1c52-6f0e-4a39-a3d5-3d1c9b5f7a10"
PLANNED_AT = datetime(2026, 11, 22, 5, tzinfo=UTC)


class _Loader(yaml.SafeLoader):
    """YAML with decimals, which a warehouse has and YAML has not."""


_Loader.add_constructor("!decimal", lambda loader, node: Decimal(loader.construct_scalar(node)))


@dataclass(frozen=True, kw_only=True)
class Case:
    """A header, a transition, and what Segment is to be sent for it."""

    claim: str
    mapper: Mapper
    transition: Transition
    calls: list[dict[str, Any]]
    refusals: list[dict[str, str]]


def read_case(path: Path) -> Case:
    """One golden file."""
    written = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    header = read_header(yaml.safe_dump(written["header"]), file=path.name)
    moved = written["transition"]
    return Case(
        claim=written["claim"],
        mapper=Mapper(
            read_audience(header, default_name="vip_contacts"),
            namespace=NAMESPACE,
            planned_at=PLANNED_AT,
        ),
        transition=Transition(
            seq=1,
            op=moved["op"],
            reason=moved["reason"],
            base_v=moved["base_v"],
            key=tuple(moved["key"]),
            new=moved["new"],
            old=moved.get("old", {}),
        ),
        calls=written.get("calls", []),
        refusals=written.get("refusals", []),
    )


@cache
def _validator(kind: str) -> Any:
    # `$ref`s look at the root, so the definitions of the common schema go there.
    common = json.loads((SCHEMAS / "common.json").read_text(encoding="utf-8"))
    own = json.loads((SCHEMAS / f"{kind}.json").read_text(encoding="utf-8"))
    whole = {"allOf": [common, own], "definitions": common["definitions"]}
    return jsonschema_rs.validator_for(
        {"$schema": common["$schema"], **whole}, validate_formats=True
    )


def broken_rules(message: dict[str, Any]) -> list[str]:
    """What a message breaks of the Segment spec as its documentation has it."""
    return [
        f"{'.'.join(map(str, error.instance_path))}: {error.message}"
        for error in _validator(message["type"]).iter_errors(message)
    ]
