"""Tracking plans in the format of Segment Protocols: drafted from the audiences, and enforced.

A plan is a list of rules, each a JSON Schema (draft-07) over a whole message:

    enforce: block              # block | flag | off: the default of the rules
    unplanned: off              # the same, for events without a rule
    rules:
      - type: TRACK             # or IDENTIFY, GROUP; COMMON is for every message
        key: Segment Entered    # the event of a TRACK
        version: 1
        enforce: flag
        jsonSchema:
          properties:
            properties:
              properties: {ltv: {type: number, minimum: 0}}
              required: [ltv]

`draft` writes the format that the Public API takes for the rules of a plan and that this module
reads. Violations have Segment's names: `schema_violation`, `common_schema_violation`, `unplanned`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast

import jsonschema_rs
import yaml

from tailrace.audience.audience import Audience, Field
from tailrace.dataclass import dataclass
from tailrace.destinations.segment.spec import CONSENT_EVENT
from tailrace.errors import TrackingPlanInvalid

Action = Literal["block", "flag", "off"]
# The names of an audience's columns with their SQL types.
ColumnTypes = Mapping[str, str]
Schema = dict[str, Any]

DRAFT = "http://json-schema.org/draft-07/schema#"
ACTIONS = ("block", "flag", "off")
KINDS = ("TRACK", "IDENTIFY", "GROUP", "PAGE", "SCREEN", "COMMON")
KEYS = frozenset({"name", "type", "description", "enforce", "unplanned", "rules"})
RULE_KEYS = frozenset({"type", "key", "version", "enforce", "jsonSchema"})


class _Loader(yaml.SafeLoader):
    """YAML in which `on`, `off` and dates are text, as in JSON."""


_Loader.yaml_implicit_resolvers = {
    letter: [
        resolver for resolver in resolvers if not resolver[0].endswith((":bool", ":timestamp"))
    ]
    for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("true|false"), ["t", "f"])


@dataclass(frozen=True, kw_only=True)
class Violation:
    """A rule of the tracking plan that a message breaks, and the path in the message."""

    rule: str
    path: str
    action: Action


@dataclass(frozen=True, kw_only=True)
class _Rule:
    name: str
    action: Action
    validator: Any

    def violations(self, message: Mapping[str, Any]) -> Iterator[Violation]:
        if self.validator.is_valid(message):
            return
        for error in self.validator.iter_errors(message):
            words = [step for step in error.schema_path if isinstance(step, str)]
            # A missing or an additional property is not part of the error's path.
            missing = getattr(error.kind, "property", None)
            unexpected = getattr(error.kind, "unexpected", None)
            last = [missing] if missing else unexpected[:1] if unexpected else []
            steps = [*error.instance_path, *last]
            yield Violation(
                rule=f"{self.name}/{words[-1] if words else 'false'}",
                path=".".join(map(str, steps)),
                action=self.action,
            )


class TrackingPlan:
    """The rules of a project, compiled."""

    def __init__(self, plan: Mapping[str, Any], *, file: str | None = None) -> None:
        self._file = file
        if not isinstance(plan, Mapping) or not isinstance(plan.get("rules"), Sequence):
            raise TrackingPlanInvalid("A tracking plan is a list of rules", file=file)
        self._known(plan, KEYS, "the plan")
        default = self._action(plan.get("enforce", "block"), "enforce")
        self._unplanned = self._action(plan.get("unplanned", "off"), "unplanned")
        self._rules: dict[tuple[str, str | None], list[_Rule]] = {}
        self._events: set[str] = set()
        versions: dict[tuple[str, str | None], int] = {}
        for number, rule in enumerate(plan["rules"], 1):
            kind, key, version = self._placed(rule, number)
            self._events.update([key] if key else [])
            if kind != "COMMON":
                # The newest version of an event applies.
                if version < versions.get((kind, key), version):
                    continue
                if version > versions.get((kind, key), version):
                    del self._rules[kind, key]
                versions[kind, key] = version
            action = self._action(rule.get("enforce", default), f"enforce of rule {number}")
            compiled = self._compiled(rule, kind, action, number)
            self._rules.setdefault((kind, key), []).append(compiled)

    @classmethod
    def read(cls, file: Path) -> TrackingPlan | None:
        """The plan in a file; None if the file does not exist."""
        if not file.exists():
            return None
        try:
            plan = yaml.load(file.read_text(encoding="utf-8"), Loader=_Loader)
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            mark = getattr(error, "problem_mark", None)
            raise TrackingPlanInvalid(
                f"The tracking plan is not YAML: {getattr(error, 'problem', None) or error}",
                file=file,
                line=mark.line + 1 if mark else None,
            ) from None
        except OSError as error:
            raise TrackingPlanInvalid(
                f"The tracking plan cannot be read: {error.strerror}",
                hint="Give this user the right to read the file.",
                file=file,
            ) from None
        return cls(plan, file=str(file))

    def check(self, message: Mapping[str, Any]) -> tuple[Violation, ...]:
        """The rules that a message breaks, without those that are off."""
        kind = str(message["type"]).upper()
        event = message.get("event") if kind == "TRACK" else None
        rules = [*self._rules.get((kind, event), ()), *self._rules.get(("COMMON", None), ())]
        violations = [
            violation
            for rule in rules
            if rule.action != "off"
            for violation in rule.violations(message)
        ]
        if event is not None and event not in self._events and self._unplanned != "off":
            violations.append(Violation(rule="unplanned", path="event", action=self._unplanned))
        return tuple(violations)

    def _placed(self, rule: Any, number: int) -> tuple[str, str | None, int]:
        if not isinstance(rule, Mapping):
            raise TrackingPlanInvalid(f"Rule {number} must be a mapping", file=self._file)
        self._known(rule, RULE_KEYS, f"rule {number}")
        kind, key, version = rule.get("type"), rule.get("key"), rule.get("version", 1)
        if kind not in KINDS:
            raise TrackingPlanInvalid(
                f"The type of rule {number} must be one of {', '.join(KINDS)}", file=self._file
            )
        if kind == "TRACK" and not (isinstance(key, str) and key):
            raise TrackingPlanInvalid(f"Rule {number} must name an event (key)", file=self._file)
        if not isinstance(version, int):
            raise TrackingPlanInvalid(
                f"The version of rule {number} must be a number", file=self._file
            )
        return kind, key if kind == "TRACK" else None, version

    def _compiled(self, rule: Mapping[str, Any], kind: str, action: Action, number: int) -> _Rule:
        schema = rule.get("jsonSchema")
        try:
            validator = jsonschema_rs.validator_for(
                {"$schema": DRAFT, **cast(Mapping[str, Any], schema)}, validate_formats=True
            )
        except (ValueError, TypeError) as error:
            reason = str(error).splitlines()[0]
            raise TrackingPlanInvalid(
                f"The jsonSchema of rule {number} is not valid: {reason}", file=self._file
            ) from None
        name = "common_schema_violation" if kind == "COMMON" else "schema_violation"
        return _Rule(name=name, action=action, validator=validator)

    def _action(self, written: Any, where: str) -> Action:
        if written not in ACTIONS:
            raise TrackingPlanInvalid(
                f"{where} must be one of {', '.join(ACTIONS)}", file=self._file
            )
        return cast(Action, written)

    def _known(self, mapping: Mapping[str, Any], keys: frozenset[str], where: str) -> None:
        unknown = sorted(str(key) for key in mapping if key not in keys)
        if unknown:
            raise TrackingPlanInvalid(f"{where} has an unknown key {unknown[0]!r}", file=self._file)


def draft(
    audiences: Sequence[Audience],
    *,
    name: str = "Tailrace audiences",
    column_types: Mapping[str, ColumnTypes] | None = None,
) -> dict[str, Any]:
    """A plan of everything that the audiences send; columns with a known type are typed.

    Audiences with the same event share its rule: it allows what any of them sends and requires
    what all of them send.
    """
    types = column_types or {}
    rules: dict[tuple[str, str | None], Schema] = {}
    for audience in audiences:
        for place, schema in _schemas(audience, types.get(audience.name, {})):
            rules[place] = _merged(rules[place], schema) if place in rules else schema
    order = {kind: index for index, kind in enumerate(KINDS)}
    return {
        "name": name,
        "type": "LIVE",
        "description": "Drafted from the headers of the audiences.",
        "rules": [
            {
                "type": kind,
                **({"key": key} if key else {}),
                "version": 1,
                "jsonSchema": {"$schema": DRAFT, **rules[kind, key]},
            }
            for kind, key in sorted(rules, key=lambda place: (order[place[0]], place[1] or ""))
        ],
    }


def _schemas(
    audience: Audience, types: ColumnTypes
) -> Iterator[tuple[tuple[str, str | None], Schema]]:
    track, identify, group = audience.track, audience.identify, audience.group
    flag = {audience.name: {"type": "boolean"}} if audience.payload == "engage" else {}
    key = {"audience_key": {"type": "string", "enum": [audience.name]}}
    if track is not None:
        properties = _object(track.properties, types, {**flag, **key})
        for op in ("entered", "changed", "exited"):
            event = getattr(track, op)
            if event and op == "changed":
                previous = {"previous": {"type": "object"}}
                wider = {**properties, "properties": {**properties["properties"], **previous}}
                yield ("TRACK", event), _message(properties=wider)
            elif event:
                yield ("TRACK", event), _message(properties=properties)
    if audience.consent is not None and audience.consent.categories:
        yield ("TRACK", CONSENT_EVENT), _message(properties=_object({}, types, key))
    if identify is not None:
        membership = identify.membership_trait
        members = {**flag, **({membership: {"type": "boolean"}} if membership else {})}
        traits = _object(identify.traits, types, members)
        yield ("IDENTIFY", None), _message(traits=_optional(traits))
    if group is not None:
        yield ("GROUP", None), _message(traits=_optional(_object(group.traits, types, {})))


def _message(**parts: Schema) -> Schema:
    blank: dict[str, Schema] = {"context": {}, "properties": {}, "traits": {}}
    return {"type": "object", "properties": {**blank, **parts}, "required": sorted(parts)}


def _optional(schema: Schema) -> Schema:
    """Without `required`: an identify or a group may have only some of its traits."""
    return {name: part for name, part in schema.items() if name != "required"}


def _object(
    fields: Mapping[str, Field], types: ColumnTypes, constants: Mapping[str, Schema]
) -> Schema:
    whole: Schema = {"type": "object", "properties": {}, "required": []}
    for name in sorted({*fields, *constants}):
        schema = constants.get(name) or _field(fields[name], types)
        place = whole
        *outer, last = name.split(".") if all(name.split(".")) else [name]
        for step in outer:
            if step not in place["required"]:
                place["required"].append(step)
            inner: Schema = {"type": "object", "properties": {}, "required": []}
            place = place["properties"].setdefault(step, inner)
        place["properties"][last] = schema
        if name in constants or not fields[name].drop_if_null:
            place["required"].append(last)
    return whole


def _field(field: Field, types: ColumnTypes) -> Schema:
    null = [] if field.drop_if_null else ["null"]
    if field.hash:
        return {"type": ["string", *null], "pattern": "^[0-9A-Fa-f]{64}$"}
    if field.mask or field.normalize not in (None, "none"):
        return {"type": ["string", *null]}
    if field.column is None:
        return {"type": _json_type(field.value)}
    schema = _sql_type(types.get(field.column, ""))
    return {**schema, "type": [*schema["type"], *null]} if schema else {}


def _json_type(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return "null" if value is None else "boolean"
    for known, name in ((int, "integer"), (float, "number"), (Mapping, "object"), (list, "array")):
        if isinstance(value, known):
            return name
    return "string"


# By the beginning of a type's name, in SQL's spelling or dlt's; the first match applies. JSON is
# missing: such a column may hold any JSON value.
_SQL_TYPES: tuple[tuple[str, Schema], ...] = (
    (r".*\[\d*\]$|list|array", {"type": ["array"]}),
    (r"struct|map|union|row", {"type": ["object"]}),
    (r"interval", {"type": ["string"]}),
    (r"hugeint|uhugeint|ubigint|bigint|int8|long|wei", {"type": ["integer", "string"]}),
    (r"(?:u?(?:tiny|small|medium)?int|integer|u?integer|int\d)", {"type": ["integer"]}),
    (r"double|float|real", {"type": ["number"]}),
    (r"bool", {"type": ["boolean"]}),
    (r"timestamp|datetime", {"type": ["string"], "format": "date-time"}),
    (r"date$", {"type": ["string"], "format": "date"}),
    (r"varchar|text|char|string|uuid|enum|blob|bytea|binary|bit|time", {"type": ["string"]}),
)


def _sql_type(name: str) -> Schema:
    """The JSON Schema of a column's type; empty for unknown types."""
    name = name.strip().lower()
    exact = re.match(r"(?:decimal|numeric)(?:\((\d+)(?:,\s*(\d+))?\))?", name)
    if exact and not name.endswith("]"):
        precision, scale = int(exact[1] or 38), int(exact[2] or (0 if exact[1] else 9))
        number = "number" if scale else "integer"
        return {"type": [number] if precision <= 15 else [number, "string"]}
    for pattern, schema in _SQL_TYPES:
        if re.match(pattern, name):
            return dict(schema)
    return {}


def _merged(one: Schema, other: Schema) -> Schema:
    """A schema that accepts what either of two accepts."""
    if one == other:
        return one
    merged: Schema = {}
    if "type" in one and "type" in other:
        merged["type"] = _joined(one["type"], other["type"])
    if "enum" in one and "enum" in other:
        merged["enum"] = sorted({*one["enum"], *other["enum"]})
    for keyword in ("format", "pattern"):
        if keyword in one and one[keyword] == other.get(keyword):
            merged[keyword] = one[keyword]
    if "properties" in one and "properties" in other:
        left, right = one["properties"], other["properties"]
        merged["properties"] = {
            name: _merged(left[name], right[name])
            if name in left and name in right
            else left.get(name, right.get(name))
            for name in sorted({*left, *right})
        }
    if "required" in one and "required" in other:
        merged["required"] = [name for name in one["required"] if name in other["required"]]
    return merged


def _joined(one: str | list[str], other: str | list[str]) -> str | list[str]:
    both = [[names] if isinstance(names, str) else names for names in (one, other)]
    joined = list(dict.fromkeys([*both[0], *both[1]]))
    return joined[0] if len(joined) == 1 else joined
